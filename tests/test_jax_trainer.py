"""The trainer on JAX: it learns what `tools/weights.py` would teach, and what it leaves is packaged."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment
import jax_trainer
import weights as recipes
from lessons import ROOT
from lessons_lib import data, resize, schedule, training

if not importlib.util.find_spec("jax"):
    pytest.skip("jax is not installed (it is in the dev group of pyproject.toml)", allow_module_level=True)

RUN = """
import sys

class NoTensorFlow:
    def find_spec(name, *_):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTensorFlow)
import jax_trainer
jax_trainer.train(sys.argv[1])
"""
SMALL = {"widths": [8], "patch": 4, "batch": 16, "blocks": 1, "steps": 200, "decay": 0.9, "flip": True}


def on_jax(*command):
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"}
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", ["x_0", "velocity"])
def test_what_was_trained_on_jax_is_taken_for_trained(few_glyphs, tmp_path, monkeypatch, target):
    """With the options of a recipe, and no others; its loss is that of `data.noisify`'s pairs."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, *rest, **options: load("glyphs", *rest, **options, data_dir=few_glyphs))
    options = recipes.BY_LABEL | SMALL | {"target": target}
    jax_trainer.pack(tmp_path, **options)
    assert on_jax("-c", RUN, tmp_path).count(" of 20 after ") == 20
    monkeypatch.setattr(recipes, "recipe", lambda *rest, **options: pytest.fail("trained again"))
    run = recipes.trained(tmp_path, **options)
    with pytest.raises(ValueError, match="options: expected"):
        recipes.trained(tmp_path, **options | {"decay": 0.99})
    assert run.card["versions"].startswith("JAX ")
    assert (run.card["steps"], len(run.card["losses"]), run.card["held_out"]) == (200, 20, "test, 20 images")
    assert (
        "batches of 16, 30% of the labels hidden, half of the images flipped, weights averaged with decay 0.9"
        in run.card["settings"]
    )
    assert run.card["losses"][-1] < 0.8 * run.card["losses"][0]
    run.model.compile(loss="mse")
    pairs = data.noisify(
        data.load("mnist", "test", 20, seed=0), schedule.cosine(), recipes.TARGETS[target], null=(10,), drop=0.1
    ).take(100)
    assert run.model.evaluate(pairs, verbose=0) == pytest.approx(run.card["held_out_losses"][-1], rel=0.3)


@pytest.mark.parametrize("target", ["noise", "velocity", "x_0"])
def test_targets_are_those_of_the_pairs(target):
    rng = np.random.default_rng(0)
    x_0, noise = rng.standard_normal((2, 6, 4, 4, 3)).astype(np.float32)
    alpha_bar = schedule.cosine().alpha_bar[[1, 100, 300, 500, 900, 1000]].astype(np.float32)[:, None, None, None]
    expected = recipes.TARGETS[target](x_0, noise, tf.constant(alpha_bar))
    expected, weight = expected if isinstance(expected, tuple) else (expected, np.ones((6, 1, 1)))
    one, other = jax_trainer.wanted(target, x_0, noise, alpha_bar)
    np.testing.assert_allclose(one, expected, rtol=1e-6)
    np.testing.assert_allclose(other * np.ones((6, 1, 1)), weight, rtol=1e-6)


def test_the_average_is_that_of_training():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    average, rng = training.EMA(0.8), np.random.default_rng(0)
    average.follow(model)
    ours = [weight.numpy() for weight in model.trainable_variables]
    for n in range(1, 60):  # from step 36 on the decay is the limit
        for weight in model.trainable_variables:
            weight.assign(rng.standard_normal(weight.shape))
        average.on_train_batch_end(n)
        ours = jax_trainer.averaged(ours, [weight.numpy() for weight in model.trainable_variables], np.float32(n), 0.8)
        for one, other in zip(ours, average.averages, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_what_a_step_shows():
    """Times, noise, flips and dropped labels, each with its distribution, and independent."""
    import jax

    images = np.random.default_rng(0).integers(0, 256, (4000, 2, 4, 1), np.uint8)
    options = {"flip": True, "drop": 0.1, "null": [10], "cut": None, "factor": None}
    labels = np.arange(4000) % 10
    x_0, t, noise, told = jax.tree.leaves(jax_trainer.drawn(jax.random.key(0), images, labels, options))
    x_0, t, noise, told = map(np.asarray, (x_0, t, noise, told))
    exact = data.to_unit(images).numpy()
    kept, turned = ((np.abs(x_0 - one).max(axis=(1, 2, 3)) < 1e-6) for one in (exact, exact[:, :, ::-1]))
    assert (kept | turned).all()
    dropped = told == 10
    np.testing.assert_array_equal(told[~dropped], labels[~dropped])
    assert (t.min(), t.max()) >= (1, 990)
    assert t.max() <= 1000
    for share, expected in {"turned": (turned, 0.5), "dropped": (dropped, 0.1), "late": (t > 500, 0.5)}.values():
        assert abs(share.mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000)
    for one, other in ((turned, dropped), (t > 500, dropped), (t > 500, turned)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(4000)
    assert abs(noise.std() - 1) < 0.02
    plain = jax_trainer.drawn(jax.random.key(0), images, None, options | {"flip": False})
    np.testing.assert_allclose(plain[0], exact, atol=1e-6)
    assert plain[3] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "adam"}, "optimizer: expected 'muon', .*; received 'adam'"),
        ({"precision": "mixed_bfloat16"}, "precision: expected 'float32', .*; received 'mixed_bfloat16'"),
        ({"pairs": print}, "pairs: expected None, .*; received 'print'"),
        ({"start": "digits"}, "start: expected None, .*; received 'digits'"),
        ({"steps": 30}, "steps: expected a multiple of 20; received 30"),
    ],
)
def test_what_it_cannot_train_is_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        jax_trainer.pack(tmp_path, **recipes.BY_LABEL | change)
    assert not list(tmp_path.iterdir())


def test_every_image_comes_with_its_own_small_one():
    """As it is shown, flipped or not; what was held out is shown as a whole."""
    import jax

    images = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 1), np.uint8)
    options = {"flip": True, "cut": None, "factor": 2}
    x_0, _, _, (small,) = jax_trainer.drawn(jax.random.key(0), images, None, options)
    np.testing.assert_allclose(small, resize.shrink(np.asarray(x_0), 2), atol=1e-6)
    options = {"flip": False, "cut": 12, "size": 8, "factor": None}
    whole, *_ = jax_trainer.drawn(jax.random.key(0), images, None, options, whole=True)
    exact = tf.image.resize(data.to_unit(images), (8, 8), antialias=True)
    np.testing.assert_allclose(np.asarray(whole), exact, atol=1e-5)


@pytest.mark.parametrize("blind", [False, True])
def test_small_pictures_are_trained_with_too(few_glyphs, tmp_path, monkeypatch, blind):
    """The loss is that of the pairs that the recipe would make."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, *rest, **options: load("glyphs", *rest, **options, data_dir=few_glyphs))
    options = {"build": "unet.upsampler", "source": "mnist", "size": 28, "channels": 1, "target": "x_0", "label": None}
    options |= SMALL | {"factor": 4, "cut": 32, "blind": blind}
    jax_trainer.pack(tmp_path, **options)
    assert on_jax("-c", RUN, tmp_path).count(" of 20 after ") == 20
    run = recipes.trained(tmp_path, **options)
    assert run.card["losses"][-1] < 0.8 * run.card["losses"][0]
    run.model.compile(loss="mse")
    whole = data.load("mnist", "test", 20, seed=0, size=32, label=None).map(lambda x: augment.cut_out(x, tf.ones((20, 3)), 28))
    whole = whole.map(lambda large: (large, resize.shrink(large, 4)))
    pairs = data.noisify(whole, schedule.cosine(), recipes.TARGETS["x_0"], null=(None,))
    pairs = recipes.blinded(pairs, 1000) if blind else pairs
    assert run.model.evaluate(pairs.take(100), verbose=0) == pytest.approx(run.card["held_out_losses"][-1], rel=0.3)


def test_every_image_is_seen_as_often_as_the_others():
    order = jax_trainer.shuffled(7, 24, seed=0)
    for start in (0, 7, 14):
        assert sorted(order[start : start + 7]) == list(range(7))
    assert len(order) == 24
    assert not np.array_equal(order[:7], order[7:14])
    np.testing.assert_array_equal(order, jax_trainer.shuffled(7, 24, seed=0))


def test_it_says_how_it_is_called():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "jax_trainer.py", "train", "somewhere"],
        capture_output=True,
        text=True,
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert "expected: pack NAME..., or with KERAS_BACKEND=jax: train FOLDER...; received train somewhere" in done.stderr
