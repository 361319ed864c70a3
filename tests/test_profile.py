import random
from itertools import cycle

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_package import imported

from lessons_lib import profile


@pytest.fixture
def measured(monkeypatch):
    """A function that sets what `speed` measures, in a process where nobody has asked for a profile yet and there is no GPU."""
    monkeypatch.delenv("LESSONS_PROFILE")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    profile._by_speed.cache_clear()
    yield lambda share: monkeypatch.setattr(profile, "speed", lambda: share * profile.REFERENCE)
    profile._by_speed.cache_clear()


def never():
    pytest.fail("the machine was measured")


@pytest.mark.parametrize(("name", "value", "with_slow"), [("smoke", 1, 1), ("slow", 2, 4), ("cpu", 2, 2), ("gpu", 3, 3)])
def test_the_environment_chooses_and_nothing_is_measured(monkeypatch, name, value, with_slow):
    monkeypatch.setenv("LESSONS_PROFILE", name)
    monkeypatch.setattr(profile, "speed", never)
    assert profile.name() == name
    assert profile.choose(smoke=1, cpu=2, gpu=3) == value
    assert profile.choose(smoke=1, cpu=2, gpu=3, slow=4) == with_slow


def test_slow_may_be_nothing_at_all(monkeypatch):
    monkeypatch.setenv("LESSONS_PROFILE", "slow")
    assert profile.choose(smoke=1, cpu=2, gpu=3, slow=0) == 0


def test_a_gpu_is_taken_unmeasured(measured, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"] if kind == "GPU" else [])
    monkeypatch.setattr(profile, "speed", never)
    assert profile.name() == "gpu"


@pytest.mark.parametrize(("share", "expected"), [(3.0, "cpu"), (1.0, "cpu"), (0.5, "cpu"), (0.4, "slow"), (0.05, "slow")])
def test_without_a_word_and_without_a_gpu_the_speed_chooses(measured, capsys, share, expected):
    measured(share)
    assert profile.name() == expected
    assert profile.choose(smoke=1, cpu=2, gpu=3, slow=4) == {"slow": 4, "cpu": 2}[expected]
    assert (capsys.readouterr().out == "") == (expected == "cpu")


def test_slow_is_told_once_with_the_reason_and_the_way_out(measured, capsys):
    measured(0.25)
    assert [profile.name() for _ in range(3)] == ["slow"] * 3
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert said.out.startswith("Profile slow")
    assert f"{profile.REFERENCE / 4:.0f} GFLOP/s, 25% of" in said.out
    assert "LESSONS_PROFILE=cpu" in said.out
    assert said.err == ""


def test_the_machine_is_measured_once(monkeypatch):
    steps = []
    count = keras.Model.train_on_batch
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *those: steps.append(1) or count(*those))
    profile.speed.cache_clear()
    first, taken = profile.speed(), len(steps)
    assert 0.1 < first < 1e5  # GFLOP/s of anything that computes
    assert taken >= 8
    assert profile.speed() == first
    assert len(steps) == taken


@pytest.mark.parametrize("seconds", [[0.025], [0.025, 0.1, 0.1, 0.1]], ids=["quiet", "other work in most steps"])
def test_the_speed_is_what_an_undisturbed_step_multiplies(monkeypatch, seconds):
    """Five convolutions, each of 32 images, 14x14 places, 3x3 neighbours, 64 and 64 channels, in 25 ms."""
    now, took = [0.0], cycle(seconds)
    monkeypatch.setattr(profile.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(keras.Model, "train_on_batch", lambda *those: now.append(now.pop() + next(took)))
    assert profile.speed.__wrapped__() == pytest.approx(5 * 2 * 32 * 14**2 * 3**2 * 64**2 / 0.025 / 1e9)
    assert 1 < now[0] < 1.5  # a second of it, and what goes before


def test_a_lesson_does_not_notice_that_the_machine_was_measured():
    """Neither in the names of its layers, of which lesson 01 prints some, nor in its random numbers."""

    def lesson(first):
        keras.utils.clear_session()
        keras.utils.set_random_seed(0)
        first()
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(), "mse")
        names = [model.name, *(layer.name for layer in model.layers), model.optimizer.name, keras.layers.Conv2D(1, 1).name]
        drawn = [random.random(), np.random.random(), tf.random.uniform(()), keras.random.uniform(())]  # noqa: NPY002
        return names, [np.asarray(one).tolist() for one in (*drawn, *model.get_weights())]

    assert lesson(profile.speed.__wrapped__) == lesson(lambda: None)


def test_a_new_process_says_nothing_but_what_it_chose(monkeypatch):
    monkeypatch.delenv("LESSONS_PROFILE")
    done = imported("from lessons_lib import profile; print(profile.name(), profile.name())")
    *said, chosen = done.stdout.splitlines()
    assert chosen in ("cpu cpu", "slow slow", "gpu gpu")
    assert len(said) == (chosen == "slow slow")
    assert done.stderr == ""


def test_an_unknown_profile_lists_the_four(monkeypatch):
    monkeypatch.setenv("LESSONS_PROFILE", "fast")
    with pytest.raises(ValueError, match=r"LESSONS_PROFILE: expected one of smoke, slow, cpu, gpu; received 'fast'"):
        profile.choose(smoke=1, cpu=2, gpu=3)


def test_every_profile_needs_a_value():
    with pytest.raises(TypeError, match="gpu"):
        profile.choose(smoke=1, cpu=2)
