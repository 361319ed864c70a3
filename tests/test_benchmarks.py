"""`make bench` on a tiny network: that it works, not how fast."""

import contextlib
import hashlib
import importlib.util
import itertools
import os
import re
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import augment
import peer
import quality
import speed
import table
import weights as tool
from lessons import ROOT
from lessons_lib import data, grammar, judges, metrics, resize, scenes, schedule, text, training, unet, weights
from lessons_lib.layers import AdaptiveGroupNorm

NUMBER = r"\d+(?:\.\d+)?"
TINY = """
import sys, speed
import keras
from keras import Input, Model, layers
x_t, t = Input((8, 8, 1)), Input((), dtype="int32")
tiny = lambda: Model([x_t, t], layers.Conv2D(1, 3, padding="same")(x_t))
speed.main(["--quick", "--batch", "2", "--peer", sys.argv[1]], {"tiny": tiny}, side=64)
assert keras.config.dtype_policy().name == "float32"  # as it was
assert (keras.backend.backend() == "tensorflow") == ("tensorflow" in sys.modules)
"""


@pytest.fixture
def no_peer(tmp_path):
    """A Python without any package."""
    return program(tmp_path, f'exec {sys.executable} -S "$@"')


@pytest.fixture
def fake_peer(tmp_path):
    """A peer that answers half a second to whatever it is asked."""
    return program(tmp_path, """echo '{"flops": 1000, "versions": "PyTorch 0"}'\nwhile read -r line; do echo 0.5; done""")


def program(folder, lines):
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def rows(said, name):
    """The cells of the table rows that begin with `name`."""
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in said.splitlines() if line.startswith(f"| {name} ")]


def check_speeds(rows, precisions=("float32", "bfloat16")):
    assert [row[1] for row in rows] == list(precisions)
    for row in rows:
        numbers = [re.findall(NUMBER, cell) for cell in row[2:]]
        assert [len(cell) for cell in numbers] == [1, 1, 3, 3, 1, 1, 3, 3]
        assert all(float(number) > 0 for cell in numbers for number in cell)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_it_prints_positive_numbers_and_nothing_else(backend, no_peer):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    path = os.pathsep.join([str(ROOT / "benchmarks"), str(ROOT)])
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", TINY, no_peer], capture_output=True, text=True, env=environment)
    assert done.stderr == ""
    said = done.stdout
    assert re.match(rf"\S+, \d+ cores, .+; .+; {backend} \S+, Keras \S+\. Batches of 2, 2 repeats\.\n", said)
    check_speeds(rows(said, "tiny"))
    assert [len(re.findall(NUMBER, row[1])) for row in rows(said, "float32") + rows(said, "bfloat16")] == [3, 3]
    assert [row[:2] for row in rows(said, "tiny, bfloat16")] == [["tiny, bfloat16", "tiny, float32"]]
    assert said.splitlines()[-1].startswith("Peer: not measured; it needs torch and diffusers")
    assert str(ROOT) not in said


def test_the_peer_takes_its_turns(fake_peer):
    with peer.running(fake_peer, 2, 64) as (ask, hello):
        candidates = peer.candidates(ask, hello, "tiny")
        table.measure(candidates, {"float32": lambda: 0.25}, repeats=2)
    said = table.speeds(candidates, 2, 64)
    check_speeds(rows(said, "tiny in diffusers"))
    assert rows(said, "tiny in diffusers")[0][3:5] == ["0.500", "500 (500..500)"]
    assert hello["versions"] == "PyTorch 0"


def test_a_network_is_compared_with_itself_in_other_layers():
    names = [("a", "float32"), ("a", "bfloat16"), ("a in b", "float32"), ("c", "float32")]
    seconds = {"step": [1], "forward": [1]}
    candidates = [table.Candidate(*name, 1, 1, dict.fromkeys(seconds), seconds) for name in names]
    said = table.ratios(candidates).splitlines()[2:]
    assert [line.split("|")[1].strip() for line in said] == ["a, float32", "a, bfloat16"]


def test_shares_and_gains_are_those_of_neighbours():
    """On a machine that halves its speed between two turns they stay what they are."""
    one, other = (
        table.Candidate("a", precision, flops=10**6, first=1, calls={"step": None}) for precision in ("bfloat16", "float32")
    )
    one.seconds["step"], other.seconds["step"], one.products["step"] = [1, 2], [3, 6], [0.5, 1]
    assert table.gains(one, other, "step") == [3, 3]
    work = 3 * 10**6 * 4  # FLOP of a step
    np.testing.assert_allclose(table.shares(one, "step", batch=4, side=100), [work / 1 / (2 * 100**3 / 0.5)] * 2)


def test_a_product_is_measured_on_both_sides():
    clock = iter(range(1, 100))
    candidate = table.Candidate("a", "float32", 1, 1, {"step": lambda: next(clock), "forward": lambda: next(clock)})
    seconds = table.measure([candidate], {"float32": lambda: next(clock)}, repeats=2)
    assert candidate.seconds == {"step": [2, 8], "forward": [4, 10]}
    assert candidate.products == {"step": [2, 8], "forward": [4, 10]}
    assert seconds == {"float32": [6, 12]}


@pytest.mark.parametrize(
    ("value", "shown"), [(0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"), (1234.4, "1234")]
)
def test_numbers_have_three_digits(value, shown):
    assert table.number(value) == shown


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("steered", [True, False])
def test_keras_own_layers_do_the_same(silu, steered):
    rng = np.random.default_rng(0)
    inputs = [rng.normal(2, 3, size=(2, 4, 4, 16)).astype("float32"), rng.normal(size=(2, 32)).astype("float32")][: 1 + steered]
    expected, received = (
        keras.ops.convert_to_numpy(build(silu)(*map(keras.ops.convert_to_tensor, inputs)))
        for build in (AdaptiveGroupNorm, speed.as_they_come)
    )
    np.testing.assert_allclose(received, expected, atol=1e-4)


def test_the_network_in_keras_own_layers_is_of_equal_size():
    folded, unfolded = speed.reference(), speed.unfolded()
    assert unfolded.count_params() == folded.count_params()
    assert unet.flops(unfolded) == unet.flops(folded) == 771_489_792
    assert {type(layer).__name__ for layer in unfolded.layers} >= {"GroupNormalization"}
    assert not any(isinstance(layer, AdaptiveGroupNorm) for layer in unfolded.layers)


def test_the_peers_work_is_counted_by_hooks():
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):
        config = type("Config", (), {"sample_size": 8})

        def __init__(self):
            super().__init__()
            self.halve, self.dense = torch.nn.Conv2d(1, 6, 3, stride=2, padding=1), torch.nn.Linear(4, 5)

        def forward(self, x, t):
            return self.dense(self.halve(x))

    assert peer.flops(Two()) == 2 * (9 * 6 * 4 * 4) + 2 * (4 * 5 * 6 * 4)


# ---- quality


@pytest.fixture
def small_mnist(few_glyphs, monkeypatch):
    """What is to be MNIST is sixty printed digits."""
    load = data.load
    monkeypatch.setattr(data, "load", lambda name, *rest, **options: load("glyphs", *rest, **options, data_dir=few_glyphs))


def test_quality_is_measured_by_steps_and_seeds(small_mnist, monkeypatch, capsys):
    calls = []

    def predict_noise(x_t, t):
        calls.append(t)
        return 0 * x_t

    monkeypatch.setattr(training, "load_weights", lambda name: (predict_noise, schedule.linear(1000)))
    looks = itertools.count()  # a clock that advances by a second with every call of the network, and hardly when it is read
    monkeypatch.setattr(time, "perf_counter", lambda: len(calls) + 1e-6 * next(looks))
    arguments = ["--steps", "1", "2", "--seeds", "3", "4", "--repeats", "1", "--recipe", "widths=(8,)", "patch=4", "target=noise"]
    quality.main(arguments, images=4)
    said = capsys.readouterr().out
    table = rows(said, "widths")
    assert [row[1:3] for row in table] == [["3", "1"], ["3", "2"], ["4", "1"], ["4", "2"]]
    for row in table:
        assert row[0] == "widths (8,), patch 4, target noise"
        assert float(row[3]) > 0
        assert 0.5 < float(row[4]) < 2  # the loss of answering 0
        assert all(re.fullmatch(rf"{NUMBER} ± {NUMBER}", cell) for cell in row[5:])
    times = {int(row[0]): float(row[1].split()[0]) for count in (10, 50, 200) for row in rows(said, count)}
    assert times == {10: 10, 50: 50, 200: 200}
    assert [float(row[2].split()[0]) for count in (10, 50, 200) for row in rows(said, count)] == [1, 1, 1]


def test_the_peers_digits_are_measured_as_ours_are(small_mnist, tmp_path):
    """A peer that draws the digits it was given."""
    script = """
import json, sys, numpy as np
digits, out, minutes, count, steps = sys.argv[2:]
images = np.load(digits)
assert (images.shape, images.dtype, steps) == ((60, 28, 28, 1), np.uint8, "25")
np.save(out, images[:int(count)].astype(np.float32) / 127.5 - 1)
print(json.dumps({"steps": 3, "minutes": float(minutes), "loss": 0.5}))
"""
    (tmp_path / "peer.py").write_text(script)
    row = quality.peers(program(tmp_path, f'exec {sys.executable} {tmp_path / "peer.py"} "$@"'), 0.25, 8)
    assert row[:6] == ["diffusers", "0", "3", "0.250", "0.500", ""]
    printed = next(iter(data.load("mnist", "train", 8)))[0].numpy()
    assert row[6] == str(metrics.frechet_distance(judges.features(printed), judges.reference()[0]))


def test_a_recipe_has_twenty_checkpoints():
    with pytest.raises(ValueError, match="steps: expected a multiple of 20, for twenty checkpoints; received 1210"):
        tool.recipe(steps=1210)


def test_minutes_are_those_of_all_parts(small_mnist, tmp_path, monkeypatch):
    """A run that was stopped half-way tells of twice the minutes of its second part."""
    clock = iter(range(0, 10_000, 600))
    monkeypatch.setattr(tool.time, "monotonic", lambda: next(clock))
    card = {"losses": [0.5] * 20, "network": {}, "target": "noise", "schedule": "linear", "T": 10}

    def second_part(*rest, callbacks, **options):
        for epoch in range(10, 20):
            callbacks[0].on_epoch_end(epoch, {"loss": 0.5})
        return tool.Run(None, training.EMA(), None, card)

    monkeypatch.setattr(tool, "recipe", second_part)
    monkeypatch.setattr(tool, "distance", lambda *rest, **options: 1.0)
    saved = []
    monkeypatch.setattr(training, "save_weights", lambda model, path, card, **options: saved.append(card))
    monkeypatch.setattr(tool, "kept", lambda path: tool.Run(None, None, None, saved[0]))
    monkeypatch.setattr(weights, "load_into", lambda *rest: None)
    monkeypatch.setattr(training.EMA, "applied", lambda self: contextlib.nullcontext())
    (tmp_path / "digits").mkdir()
    assert tool.digits(tmp_path, tmp_path)["minutes"] == 20


SMALL = {"widths": [8], "patch": 4, "batch": 4, "blocks": 1, "steps": 20, "images": 4}


def test_the_command_trains_digits_once(small_mnist, tmp_path, monkeypatch, capsys):
    """Several in a row may be stopped: what is packaged is not trained again."""
    card = tool.digits(tmp_path / "out", tmp_path / "checkpoints", **SMALL)
    assert capsys.readouterr().out.count(" of 20: loss ") == 20
    monkeypatch.setattr(tool, "recipe", lambda *rest, **options: pytest.fail("trained again"))
    assert tool.digits(tmp_path / "out", tmp_path / "checkpoints", **SMALL).items() >= card.items()
    assert "digits: packaged already; delete " in capsys.readouterr().out
    packaged = weights.read(tmp_path / "out" / "digits.weights.h5")
    assert packaged.items() >= card.items()
    assert packaged["stored"] == "float16"
    assert {"distance_in_32_bits", "build"} <= card.keys()
    assert (card["steps"], len(card["losses"])) == (20, 20)
    assert {"data", "code", "versions", "settings", "precision", "seed", "minutes", "distance"} <= card.keys()
    predict_noise, noise = training.load_weights(tmp_path / "out" / "digits.weights.h5")
    assert predict_noise(np.zeros((2, 28, 28, 1), np.float32), np.array([1, noise.T])).shape == (2, 28, 28, 1)


def test_the_command_trains_digits_by_label(small_mnist, tmp_path, monkeypatch):
    """Each image with its own label, and none for three of ten; judged by what was asked for, and without a label."""
    drawn, labels, noisify, asked, nulls = tool.drawn, judges.labels, data.noisify, [], []
    monkeypatch.setattr(
        tool, "drawn", lambda *rest, **options: asked.append(options["labels"] if options else rest[-1]) or images
    )
    monkeypatch.setattr(judges, "labels", lambda pictures: labels(pictures) * 0 + 3)
    monkeypatch.setattr(data, "noisify", lambda *rest, **options: nulls.append(options) or noisify(*rest, **options))
    images = np.concatenate([batch for batch, _ in data.load("mnist", "train", 20)])[:20]
    card = tool.digits_by_label(tmp_path / "out", tmp_path / "checkpoints", **SMALL | {"images": 20})
    assert [(one["null"], one["drop"]) for one in nulls] == [((10,), 0.3)]
    assert "batches of 4, 30% of the labels hidden, weights averaged" in card["settings"]
    assert "hidden" not in tool.complete(tool.BY_LABEL | {"null": (None,)})["card"]["settings"]
    assert [sorted(set(one)) for one in asked] == 2 * [list(range(10)), [10], [10]]
    assert card["distance"].startswith("10.0% ± 6.7% are read as the digit that was asked for; ")
    assert re.search(
        rf"; {NUMBER} ± {NUMBER} in 50 steps of DDIM, without a label {NUMBER} ± {NUMBER} in 50 steps of DDPM", card["distance"]
    )
    run = tool.kept(tmp_path / "checkpoints" / "digits_by_label" / "trained.weights.h5")
    one, other = (drawn(run, 2, 4, labels=np.array(told)) for told in ([0, 1, 2, 3], [0, 2, 1, 3]))
    assert (np.abs(one - other).max(axis=(1, 2, 3)) > 0).tolist() == [False, True, True, False]
    conditioned, noise = training.load_weights(tmp_path / "out" / "digits_by_label.weights.h5")
    assert conditioned(np.arange(2))(np.zeros((2, 28, 28, 1), np.float32), np.array([1, noise.T])).shape == (2, 28, 28, 1)


@pytest.fixture
def few_scenes(monkeypatch, tmp_path):
    """A dozen, whatever is asked for."""
    load = data.load
    monkeypatch.setattr(scenes, "COUNTS", {"train": 12, "test": 8, "held_out": 8})
    monkeypatch.setattr(data, "load", lambda name, *rest, **options: load("scenes", *rest, **options, data_dir=tmp_path / "tfds"))


def test_a_recipe_for_pictures_in_colour(few_scenes):
    """Without labels; their size is the network's too."""
    pictures = {"source": "scenes", "label": None, "size": 32, "channels": 3}
    run = tool.recipe(steps=2, batch=4, target="x_0", shift=2.0, **pictures, widths=[8], patch=8, blocks=1)
    assert run.model.output_shape == (None, 32, 32, 3)
    np.testing.assert_array_equal(run.noise.beta, schedule.shifted(schedule.cosine(), 2.0).beta)
    assert (run.card["shift"], run.card["network"]["size"]) == (2.0, 32)


def test_the_command_trains_scenes(few_scenes, tmp_path, monkeypatch):
    """The reader counts those of DDPM and of DDIM, in 32 bits and in 16."""
    read, seen = judges.read, []
    monkeypatch.setattr(judges, "read", lambda pictures: seen.append(pictures) or [None, "a scene", None, None])
    card = tool.scenes(tmp_path / "out", tmp_path / "checkpoints", **SMALL | {"size": 32})
    assert [pictures.shape for pictures in seen] == 4 * [(4, 32, 32, 3)]
    assert card["distance"].startswith("whole scenes, as judges.read sees them: 25.0% ± 21.7% of DDPM and 25.0% ± 21.7% of DDIM")
    assert (card["data"], card["target"]) == ("Scenes, split train, as TensorFlow Datasets has it", "x_0")
    pixels = [data.to_pixels(images) for images in data.load("scenes", "train", 5, size=32, label=None)]
    assert card["data_sha256"] == hashlib.sha256(np.concatenate(pixels).tobytes()).hexdigest()
    monkeypatch.setattr(judges, "read", read)
    assert read(seen[0].repeat(2, 1).repeat(2, 2)) == [None] * 4


def test_the_command_trains_flowers(few_scenes, tmp_path):
    """Thumbnails of what it draws, beside those of real ones, and these beside others."""
    card = tool.flowers(
        tmp_path / "out", tmp_path / "checkpoints", "held_out", **SMALL | {"size": 32, "images": 8, "split": "train"}
    )
    assert re.fullmatch(
        rf"of thumbnails from those of held_out: {NUMBER} ± {NUMBER} of DDPM, {NUMBER} ± {NUMBER} of DDIM, in 25 steps, 8 each; "
        rf"floor {NUMBER} ± {NUMBER}",
        card["distance"],
    )
    drawn, floor = (float(part.split()[0]) for part in (card["distance"].split(": ")[1], card["distance"].split("floor ")[1]))
    assert drawn > 2 * floor
    assert card["data"].startswith("Oxford Flowers 102, split train")


def test_a_stop_while_it_measures_loses_no_training(small_mnist, tmp_path, monkeypatch):
    """Nor its average: in 32 bits or in 16, of DDPM or of DDIM."""
    recipe, distance, out, runs, calls = tool.recipe, tool.distance, tmp_path / "out", [], []

    def counted(*rest, **options):
        runs.append(recipe(*rest, **options))
        return runs[-1]

    def stopped(*rest, **options):
        calls.append(rest)
        if len(calls) == number:
            raise KeyboardInterrupt
        return distance(*rest, **options)

    monkeypatch.setattr(tool, "recipe", counted)
    monkeypatch.setattr(tool, "distance", stopped)
    for number in (1, 2, 3, 4):  # noqa: B007 (`stopped` reads it)
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            tool.digits(out, tmp_path / "checkpoints", **SMALL)
    number = 0
    card = tool.digits(out, tmp_path / "checkpoints", **SMALL)
    assert (len(runs), len(card["losses"])) == (1, 20)
    assert weights.read(out / "digits.weights.h5").items() >= card.items() >= runs[0].card.items()
    model = training.builder(card["build"])(**card["network"])
    weights.load_into(model, out / "digits.weights.h5")
    for weight, mean in zip(model.trainable_variables, runs[0].average.averages, strict=True):
        np.testing.assert_array_equal(weight, mean.numpy().astype(np.float16).astype(np.float32))


def test_half_of_the_images_are_flipped():
    """Each by a lot of its own, new at every pass; the same again with the same seed."""
    images = np.random.default_rng(0).random((2, 50, 4, 6, 3), np.float32)
    batches = tf.data.Dataset.from_tensor_slices(images).repeat(2)
    first, again, other = ([batch.numpy() for batch in tool.flipped(batches, seed)] for seed in (0, 0, 1))
    turned = []
    for batch, before in zip(first, [*images, *images], strict=True):
        as_they_were, mirrored = ((batch == x).all(axis=(1, 2, 3)) for x in (before, before[:, :, ::-1]))
        assert (as_they_were ^ mirrored).all()
        turned.append(mirrored)
    assert 75 < np.sum(turned) < 125
    assert all((turned[0] != others).any() for others in turned[1:])
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_recipe_flips_only_if_it_is_asked_to(few_scenes, monkeypatch):
    asked = []
    monkeypatch.setattr(tool, "flipped", lambda images, seed: asked.append(seed) or images)
    pictures = {"source": "scenes", "label": None, "size": 32, "channels": 3, "widths": [8], "patch": 8, "blocks": 1}
    for flip in (False, True):
        run = tool.recipe(steps=2, batch=4, target="x_0", seed=7, flip=flip, **pictures)
        assert ("half of the images flipped" in run.card["settings"]) == flip
    assert asked == [7]


@pytest.mark.parametrize("moment", ["tell", "distance", "nothing"])
def test_other_options_are_another_training(small_mnist, tmp_path, monkeypatch, moment):
    """Whether the first one was stopped while it trained or while it was measured, or has ended."""

    def stop(*rest, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tool, moment, stop, raising=False)
        with contextlib.suppress(KeyboardInterrupt):
            tool.digits(tmp_path / "out", tmp_path / "checkpoints", **SMALL)
    with pytest.raises(
        ValueError, match=r"options: expected {.*'decay': 0.999.*}, with which .*digits was begun; received {.*0.9[,}]"
    ):
        tool.digits(tmp_path / "out", tmp_path / "checkpoints", **SMALL | {"decay": 0.9})
    assert tool.digits(tmp_path / "out", tmp_path / "checkpoints", **SMALL)["steps"] == 20


def test_squares_are_cut_out_as_tensorflow_resizes_them():
    """Whole pictures, and squares with whole pixels at their edges, by `tf.image.resize` with antialiasing."""
    images = np.random.default_rng(0).normal(size=(3, 12, 12, 2)).astype(np.float32)
    cut = augment.cut_out(images, np.ones((3, 3), np.float32), 8)
    np.testing.assert_allclose(cut, tf.image.resize(images, (8, 8), antialias=True), atol=1e-5)
    for side, top, left in ((8, 0, 4), (10, 1, 2), (10, 2, 0)):
        lot = [(side - 8) / 4, top / (12 - side), left / (12 - side)]
        cut = augment.cut_out(images[:1], np.float32([lot]), 8)
        exact = tf.image.resize(images[:1, top : top + side, left : left + side], (8, 8), antialias=True)
        inner = slice(1, -1)  # at its edges the square sees what lies beyond, and the piece does not
        np.testing.assert_allclose(cut[:, inner, inner], exact[:, inner, inner], atol=1e-5)


def test_squares_are_of_all_sizes_and_from_everywhere():
    """On a ramp, a square's first pixel tells where it begins, and its last one where it ends."""
    rng, ramp = np.random.default_rng(0), np.broadcast_to(np.arange(96.0, dtype=np.float32)[:, None, None], (2000, 96, 96, 1))
    cut = np.asarray(augment.cut_out(ramp, rng.random((2000, 3), np.float32), 64))
    scale = (cut[:, -2, 0, 0] - cut[:, 1, 0, 0]) / 61
    assert (scale.min(), scale.max()) == pytest.approx((1, 1.5), abs=0.01)
    assert scale.mean() == pytest.approx(1.25, abs=4 * 0.5 / np.sqrt(12 * 2000))
    top = cut[:, 1, 0, 0] - 1.5 * scale + 0.5  # the square's edge, where a pixel's is its number - 0.5 + 0.5
    room = 96 - 64 * scale
    assert -0.02 < top.min() < 1
    assert (room - top).min() > -0.05
    assert (top / room)[room > 1].mean() == pytest.approx(0.5, abs=0.03)


def test_pictures_are_shown_with_their_small_ones(monkeypatch, few_glyphs):
    """What a recipe for `unet.upsampler` trains on: small pictures are those of x_0 itself, cut out and flipped as it is."""
    seen, load = [], data.load
    monkeypatch.setattr(data, "load", lambda name, *rest, **options: load("glyphs", *rest, **options, data_dir=few_glyphs))

    def fit(model, pairs, *rest, **options):
        seen.extend(pairs.take(3))
        return {"loss": [0.0]}

    monkeypatch.setattr(tool.training, "fit", fit)
    options = {"build": "unet.upsampler", "size": 28, "channels": 1, "widths": [8], "blocks": 1, "patch": 4}
    options |= {"factor": 4, "cut": 32, "flip": True, "target": "x_0", "label": None, "steps": 3, "batch": 8}
    run = tool.recipe(**options)
    assert "squares cut out of 32 pixels at random, half of the images flipped, weights" in run.card["settings"]
    assert run.card["network"]["factor"] == 4
    for (x_t, t, small), x_0, _ in seen:
        np.testing.assert_allclose(small, resize.shrink(x_0, 4), atol=1e-6)
        assert x_t.shape == x_0.shape == (8, 28, 28, 1)
        assert len(set(t.numpy())) > 4
    noisy = [x_0.numpy() for _, x_0, _ in seen]
    seen.clear()
    run = tool.recipe(**options, blind=True)
    assert "x_t = 0 at the last t" in run.card["settings"]
    for ((x_t, t, small), x_0), before in zip(seen, noisy, strict=True):
        np.testing.assert_array_equal(x_0, before)
        np.testing.assert_allclose(small, resize.shrink(x_0, 4), atol=1e-6)
        assert not np.any(x_t)
        np.testing.assert_array_equal(t, np.full(8, 1000))
    assert tool.complete(options | {"blind": True})["card"].items() <= run.card.items()


def test_what_is_erased_is_a_rectangle_and_the_rest_is_told():
    """With sides of 16 to 48 of 64 pixels and everywhere, other ones in each step, the same for a seed."""
    images = np.random.default_rng(0).uniform(-1, 1, (50, 64, 64, 3)).astype(np.float32)
    batches = tf.data.Dataset.from_tensors((images, np.arange(50))).repeat(20)
    found = list(tool.erased(batches, 3))
    sides, everywhere = [], np.zeros((64, 64))
    for x_0, number, known in found:
        np.testing.assert_array_equal(x_0, images)
        np.testing.assert_array_equal(number, np.arange(50))
        left = known[..., 3:].numpy()
        np.testing.assert_array_equal(known[..., :3], images * left)
        assert set(np.unique(left)) == {0, 1}
        for gone in 1 - left[..., 0]:
            rows, columns = gone.any(axis=1), gone.any(axis=0)
            np.testing.assert_array_equal(gone, rows[:, None] & columns)
            sides += [rows.sum(), columns.sum()]
            everywhere += gone
    assert (min(sides), max(sides)) == (16, 48)
    assert np.mean(sides) == pytest.approx(32, abs=4 * 32 / np.sqrt(12 * len(sides)))
    assert everywhere.any(axis=0).all()
    assert everywhere.any(axis=1).all()
    assert (np.array(sides[:100]) != sides[100:200]).any()
    again = next(iter(tool.erased(batches, 3)))
    np.testing.assert_array_equal(again[2], found[0][2])


def test_small_pictures_get_noise_of_a_level_that_is_told():
    """(Saharia et al. 2022, section 2.4): every level equally often, in one batch too, and as much noise as it says."""
    chain = schedule.shifted(schedule.cosine(100), 2.0)
    images = np.random.default_rng(0).uniform(-1, 1, (250, 16, 16, 3)).astype(np.float32)
    found = list(tool.noised(tf.data.Dataset.from_tensors((images, np.arange(250))).repeat(20), chain, 4, 30, 3))
    alpha_bar, small = schedule.shifted(chain, 1 / 4).alpha_bar, resize.shrink(images, 4).numpy()
    for x_0, number, _, _ in found:
        np.testing.assert_array_equal(x_0, images)
        np.testing.assert_array_equal(number, np.arange(250))
    levels = np.array([level for *_, level in found])
    counts = np.bincount(levels.ravel(), minlength=31)
    assert len(counts) == 31
    assert abs(counts - 5000 / 31).max() < 5 * np.sqrt(5000 / 31)
    assert len(np.unique(levels[0])) == 31
    for level in (0, 1, 15, 30):
        noise = np.concatenate([(noised - alpha_bar[level] ** 0.5 * small)[of == level] for *_, noised, of in found])
        assert noise.var() == pytest.approx(1 - alpha_bar[level], rel=5 * np.sqrt(2 / noise.size), abs=1e-12)
    assert (levels[0] != levels[1]).any()
    again = next(iter(tool.noised(tf.data.Dataset.from_tensors((images,)), chain, 4, 30, 3)))
    np.testing.assert_array_equal(again[2], found[0][3])
    np.testing.assert_array_equal(again[1], found[0][2])


def test_a_network_of_captions_is_trained_and_then_told_a_part(monkeypatch, tmp_path):
    """As `scenes_by_caption` is: with tokens, some of them null; and one that goes on from it, with something erased."""
    seen = []

    def load(name, split, batch, **options):
        rng = np.random.default_rng(0)
        captions = ["a red ring by day", "a blue heart at night"] * 8
        images = rng.uniform(-1, 1, (16, 16, 16, 3)).astype(np.float32)
        return tf.data.Dataset.from_tensor_slices((images, captions)).batch(batch).repeat()

    def fit(model, pairs, *rest, **options):
        seen.append((model, list(pairs.take(20))))
        return {"loss": [0.0]}

    monkeypatch.setattr(data, "load", load)
    monkeypatch.setattr(tool.training, "fit", fit)
    options = tool.CAPTIONED | {"size": 16, "widths": [8], "text_width": 8, "steps": 20, "batch": 8}
    run = tool.recipe(**options)
    assert ", 10% of the captions hidden, weights averaged" in run.card["settings"]
    tokens = np.concatenate([inputs[2] for inputs, *_ in seen[0][1]])
    null = text.tokens([""], grammar.VOCABULARY)
    share = (tokens == null).all(axis=1).mean()
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / len(tokens)) ** 0.5
    assert len(np.unique(tokens, axis=0)) == 3

    for weight in run.model.weights:
        weight.assign(np.random.default_rng(1).normal(0, 0.1, weight.shape))
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    training.save_weights(run.model, tmp_path / "base.weights.h5", run.card)
    filler = tool.recipe(**options, known=True, start=str(tmp_path / "base.weights.h5"))
    assert ", a rectangle erased, begun with " in filler.card["settings"]
    (x_t, t, tokens, known), _, _ = seen[1][1][0]
    assert known.shape == (8, 16, 16, 4)
    expected = run.model.predict_on_batch([x_t, t, tokens])
    np.testing.assert_allclose(filler.model.predict_on_batch([x_t, t, tokens, known]), expected, atol=1e-5)

    small = tool.recipe(**options | {"size": 4, "shrunk": 4})
    assert small.model.input_shape[0] == (None, 4, 4, 3)
    assert ", images shrunk by 4" in small.card["settings"]
    (x_t, t, _), x_0, _ = seen[2][1][0]
    assert x_t.shape == x_0.shape == (8, 4, 4, 3)
    large = tool.recipe(**options, factor=4, levels=20)
    assert ", noise up to a random level of at most 20 added to the small picture" in large.card["settings"]
    (x_t, t, tokens, told, level), x_0, _ = seen[3][1][0]
    assert (told.shape, level.shape) == ((8, 4, 4, 3), (8,))
    clean = np.abs(told - resize.shrink(x_0, 4)).mean(axis=(1, 2, 3))
    assert np.corrcoef(clean, level)[0, 1] > 0.8
    assert large.model.predict_on_batch([x_t, t, tokens, told, level]).shape == x_t.shape


def test_an_up_sampler_is_measured_with_real_pictures_made_small(monkeypatch):
    """Without noise and for their own captions; a network that draws from captions alone is told nothing else."""
    images = np.random.default_rng(0).uniform(-1, 1, (6, 64, 64, 3)).astype(np.float32)
    captions = ["a red ring by day", "a blue heart below a red ring at night"] * 3
    batches = tf.data.Dataset.from_tensor_slices((images, captions)).batch(6)
    monkeypatch.setattr(data, "load", lambda *rest, **options: batches)
    told = []

    def given(model, *conditions, batch_size):
        told.append(conditions)
        return lambda x_t, t: np.zeros_like(x_t)

    monkeypatch.setattr(tool.guidance, "given", given)
    network = {"words": list(grammar.VOCABULARY)}
    for factor in (None, 4):
        told.clear()
        card = {"target": "x_0", "network": network | {"factor": factor}}
        run = tool.Run(text.captioned(64, 3, (8,), 1, patch=8, text_width=8, **network), None, schedule.cosine(), card)
        assert "0.0% ± 0.0% of one thing and 0.0% ± 0.0% of two things; held out" in tool.all_right(run, "scenes", 6, 1.0)
        tokens, *more = told[0]
        np.testing.assert_array_equal(tokens, text.tokens(captions, grammar.VOCABULARY))
        assert len(more) == (2 if factor else 0)
    np.testing.assert_array_equal(more[0], resize.shrink(images, 4))
    np.testing.assert_array_equal(more[1], np.zeros(6))
