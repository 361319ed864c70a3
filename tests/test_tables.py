"""`make tables`, in small."""

import json

import numpy as np
import pytest

import tables
import weights as recipes
from lessons_lib import data, metrics, sampling, schedule, training


@pytest.fixture
def small(few_glyphs, monkeypatch):
    """Printed digits for MNIST, a network of next to nothing, and a packaged one that is an oracle of no picture."""
    load, recipe = data.load, recipes.recipe
    monkeypatch.setattr(data, "load", lambda name, *rest, **options: load("glyphs", *rest, **options, data_dir=few_glyphs))
    tiny = {"widths": (8,), "patch": 4, "batch": 4, "blocks": 1}
    monkeypatch.setattr(recipes, "recipe", lambda *rest, **options: recipe(*rest, **options | tiny))
    monkeypatch.setattr(training, "load_weights", lambda *_: (lambda x_t, t: 0.1 * x_t, schedule.linear(20)))
    tables.trained.cache_clear()


def test_every_cell_is_measured_once_and_kept(small, tmp_path, monkeypatch):
    path, few = tmp_path / "tables.json", ("the naive denoiser", "told the time", "averaged weights")
    monkeypatch.setattr(tables, "LADDER", {name: tables.LADDER[name] for name in few})
    table = tables.main(path, images=10, steps=(2, 3), training_steps=2)
    assert json.loads(path.read_text()) == table
    assert len(table["cells"]) == 2 * (1 + 5 + 1) + 3
    assert table["settings"]["images"] == 10
    for name, cell in table["cells"].items():
        assert {"value", "error", "seconds"} <= cell.keys()
        assert cell["value"] > 0
        assert ("kernel_value" in cell) == ("reconstruction" not in name)

    del table["cells"]["ladder, told the time"]
    path.write_text(json.dumps(table))
    monkeypatch.setattr(tables, "table_1", lambda *_: pytest.fail("a known cell was measured again"))
    again = tables.main(path, images=10, steps=(2, 3), training_steps=2)
    assert again["cells"].keys() == table["cells"].keys() | {"ladder, told the time"}


def test_a_table_of_other_settings_is_refused(small, tmp_path):
    path = tmp_path / "tables.json"
    training.write_json(path, {"settings": {"images": 3}, "cells": {}})
    with pytest.raises(SystemExit, match=r"expected a table of .*'images': 10.* found one of {'images': 3}\. Delete it"):
        tables.main(path, images=10, steps=(), training_steps=2)


def test_the_error_of_a_walk_there_and_back(small):
    """By hand, in [0, 1]: a quarter of that in [-1, 1]."""
    cell = tables.reconstruction(5, 10)
    predict_noise, noise = training.load_weights()
    digits = next(iter(data.load("mnist", "test", 10)))[0].numpy()
    *_, top = sampling.invert(predict_noise, noise, digits, 5)
    *_, last = sampling.sample(predict_noise, noise, digits.shape, 5, x_T=top.x_t)
    assert cell["value"] == pytest.approx(np.mean((last.x_t - digits) ** 2) / 4, rel=1e-3)


def test_naive_pairs_are_lesson_01s(small):
    """Uniform noise mixed in by an amount of its own for each image; the network is told nothing."""
    images = data.load("mnist", "train", 20, seed=0)
    (mixed, t), x_0 = next(iter(tables.naive_pairs(images, None)))
    amount = 1 - np.array([np.polyfit(x.numpy().ravel(), y.numpy().ravel(), 1)[0] for x, y in zip(x_0, mixed, strict=True)])
    assert set(t.numpy()) == {1}
    assert amount.min() < 0.3 < 0.7 < amount.max()
    noise = (mixed - (1 - amount[:, None, None, None]) * x_0) / amount[:, None, None, None]
    assert np.abs(noise.numpy()[amount > 0.5]).max() < 1.3
    first, second = ([m.numpy() for (m, _), _ in tables.naive_pairs(images, None).take(2)] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first[0] - first[1]).mean() > 0.05


@pytest.mark.parametrize("name", ["told the time", "the noise as target", "the velocity as target"])
def test_a_perfect_network_draws_the_same_by_any_target(name):
    """Each sampler makes noise of what its network answers."""
    noise, image = schedule.cosine(50), np.full((1, 28, 28, 1), 0.3, np.float32)

    class Network:
        def predict_on_batch(self, given):
            x_t, t = given
            a = noise.alpha_bar[t][:, None, None, None]
            eps = (x_t - np.sqrt(a) * image) / np.sqrt(1 - a)
            answers = {"told the time": image + 0 * x_t, "the noise as target": eps}
            return answers.get(name, np.sqrt(a) * eps - np.sqrt(1 - a) * image).astype(np.float32)

    run = recipes.Run(Network(), None, noise, {})
    drawn = tables.LADDER[name][1](run, 10, 3)
    np.testing.assert_allclose(drawn, np.broadcast_to(image, drawn.shape), atol=1e-4)


def test_the_naive_walk_ends_at_the_guess():
    class Network:
        def predict(self, given, **_):
            assert set(given[1]) == {1}
            return np.full_like(given[0], 0.25)

    drawn = tables.naive_walk(recipes.Run(Network(), None, None, {}), 7, 3)
    np.testing.assert_allclose(drawn, 0.25, atol=1e-6)
    assert metrics.features(drawn).shape == (3, 64)


def test_the_papers_times_are_those_of_its_code():
    """Zero-based 0, 100, ..., 900, and then out."""
    assert tables.papers_times(1000, 10) == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0]
    assert tables.papers_times(20, 3) == [14, 7, 1, 0]
    assert tables.papers_times(4, 4) == [4, 3, 2, 1, 0]


def test_by_the_papers_times_noise_is_left(monkeypatch):
    """Data of one grey image and a perfect network: x_1 has more noise than belongs there, and the last step leaves the rest."""
    noise, drawn = schedule.linear(1000), []

    def perfect(x_t, t):
        return x_t / np.float32(noise.noise_rate[t[0]])

    def too_sure(x_t, t):  # as networks are that expect the noise of t and no more
        return perfect(x_t, t) if t[0] > 1 else np.clip(perfect(x_t, t), -1, 1)

    monkeypatch.setattr(tables, "distances", drawn.append)
    for network in (perfect, too_sure):
        monkeypatch.setattr(training, "load_weights", lambda *_, network=network: (network, noise))
        tables.by_papers_times(10, 300)
    np.testing.assert_allclose(drawn[0], 0, atol=1e-3)
    assert drawn[1].std() == pytest.approx(sampling.sigma_hat(noise, 101, 1), rel=0.05)
