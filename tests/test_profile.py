import pytest

from lessons_lib import profile


@pytest.mark.parametrize(("name", "value"), [("smoke", 1), ("cpu", 2), ("gpu", 3)])
def test_the_environment_chooses(monkeypatch, name, value):
    monkeypatch.setenv("LESSONS_PROFILE", name)
    assert profile.name() == name
    assert profile.choose(smoke=1, cpu=2, gpu=3) == value


@pytest.mark.parametrize(("devices", "expected"), [([], "cpu"), (["a GPU"], "gpu")])
def test_without_a_word_the_machine_chooses(monkeypatch, devices, expected):
    import tensorflow as tf

    monkeypatch.delenv("LESSONS_PROFILE")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices if kind == "GPU" else ["a CPU"])
    assert profile.name() == expected


def test_an_unknown_profile_lists_the_three(monkeypatch):
    monkeypatch.setenv("LESSONS_PROFILE", "fast")
    with pytest.raises(ValueError, match=r"LESSONS_PROFILE: expected one of smoke, cpu, gpu; received 'fast'"):
        profile.choose(smoke=1, cpu=2, gpu=3)


def test_every_profile_needs_a_value():
    with pytest.raises(TypeError, match="gpu"):
        profile.choose(smoke=1, cpu=2)
