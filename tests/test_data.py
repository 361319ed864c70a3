import contextlib
import functools
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import filelock
import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lessons_lib import data, diffusion, glyphs, oracle, prepared, sampling, schedule, text


def test_pixels_survive_the_round_trip():
    pixels = np.arange(256, dtype=np.uint8)
    images = data.to_unit(pixels)
    assert images.dtype == tf.float32
    assert (images.numpy().min(), images.numpy().max()) == (-1.0, 1.0)
    np.testing.assert_array_equal(data.to_pixels(images), pixels)


@given(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32))
def test_brighter_images_have_brighter_pixels(low, high):
    dark, bright = data.to_pixels(np.sort(np.float32([low, high])))
    assert dark <= bright
    assert abs((bright - 127.5) / 127.5 - max(low, high)) <= 0.5 / 127.5 + 1e-6  # the nearest pixel


def test_overshoot_becomes_the_nearest_pixel():
    np.testing.assert_array_equal(data.to_pixels(np.float32([-1.3, 1.3])), [0, 255])


@pytest.mark.parametrize("pixels", [np.float32([0.5]), np.int64([3])])
def test_to_unit_takes_uint8_only(pixels):
    with pytest.raises(TypeError, match=f"pixels: expected uint8, 0..255; received {pixels.dtype}"):
        data.to_unit(pixels)


def test_to_pixels_refuses_integers_and_nan():
    with pytest.raises(TypeError, match=r"images: expected floats in .*; received uint8"):
        data.to_pixels(np.uint8([3]))
    with pytest.raises(TypeError, match=r"images: expected floats in .*; received complex128"):
        data.to_pixels(np.array([1j]))
    with pytest.raises(ValueError, match="images: expected finite values; received 2 NaN or infinite ones"):
        data.to_pixels(np.float32([0, np.nan, np.inf]))


def collect(batches):
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_one_pass_gives_every_image_once_in_order(few_glyphs):
    images, labels = collect(data.load("glyphs", "train+test[:5]", 16, data_dir=few_glyphs))
    parts = [tfds.load("glyphs", split=split, data_dir=few_glyphs, batch_size=-1) for split in ("train", "test[:5]")]
    np.testing.assert_array_equal(data.to_pixels(images), np.concatenate([part["image"] for part in parts]))
    np.testing.assert_array_equal(labels, np.concatenate([part["label"] for part in parts]))
    assert images.shape == (65, 28, 28, 1)


def test_a_seed_gives_full_batches_without_end(few_glyphs):
    stream = data.load("glyphs", "train", 25, seed=3, data_dir=few_glyphs)
    assert stream.element_spec[0].shape == (25, 28, 28, 1)
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY
    images, _ = collect(stream.take(12))  # 300 images: five passes over 60
    passes = images.reshape(5, 60, -1)
    for one in passes:  # each pass has every image once: nothing is dropped at its end
        assert len(np.unique(one, axis=0)) == 60
        np.testing.assert_array_equal(np.sort(one, axis=0), np.sort(passes[0], axis=0))
    assert not np.array_equal(passes[0], passes[1])


def test_the_same_seed_gives_the_same_stream(few_glyphs):
    first, again, other = (collect(data.load("glyphs", "train", 20, seed=s, data_dir=few_glyphs).take(7))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("in_memory", [data.IN_MEMORY, 28 * 28 * 30])
@pytest.mark.parametrize("everybodys", [0, 1])
def test_a_stream_starts_the_same_whoever_has_read_of_it(few_glyphs, monkeypatch, in_memory, everybodys):
    monkeypatch.setattr(data, "IN_MEMORY", in_memory)
    keras.utils.set_random_seed(everybodys)
    stream = data.load("glyphs", "train", 20, seed=1, data_dir=few_glyphs)
    whole, _ = collect(stream.take(7))
    np.testing.assert_array_equal(collect(stream.take(7))[0], whole)
    np.testing.assert_array_equal(collect(stream.skip(5).take(2))[0], whole[100:])


def test_images_of_any_shape_are_cropped_to_the_middle_and_resized(tmp_path):
    (images,) = data.load("odd_sizes", "train", 6, size=8, label=None, data_dir=tmp_path)
    assert images.shape == (6, 8, 8, 3)
    pixels = data.to_pixels(images)
    np.testing.assert_array_equal(pixels[:, :, 0], np.broadcast_to([255, 0, 0], (6, 8, 3)))  # left: red
    np.testing.assert_array_equal(pixels[:, :, -1], np.broadcast_to([0, 0, 255], (6, 8, 3)))  # right: blue


def test_a_set_too_large_for_memory_is_streamed(few_glyphs, monkeypatch):
    whole = collect(data.load("glyphs", "train", 20, data_dir=few_glyphs))
    monkeypatch.setattr(data, "IN_MEMORY", 28 * 28 * 30)
    streamed = collect(data.load("glyphs", "train", 20, data_dir=few_glyphs))
    for one, other in zip(whole, streamed, strict=True):
        np.testing.assert_array_equal(one, other)
    both = data.load("glyphs", "train+test", 20, data_dir=few_glyphs)  # two files, one after the other
    np.testing.assert_array_equal(collect(both)[0][:60], whole[0])
    shuffled = data.load("glyphs", "train", 20, seed=0, data_dir=few_glyphs)
    images, _ = collect(shuffled.take(3))
    assert len(np.unique(images.reshape(60, -1), axis=0)) == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnits"}, "name: expected a data set of TFDS, or 'glyphs' or 'scenes'; received 'mnits'"),
        ({"name": "mnist:9.9.9"}, "name: expected a data set of TFDS, or 'glyphs' or 'scenes'; received 'mnist:9.9.9'"),
        ({"split": "trian"}, r"split: expected something within .*test\[:20\].*; received 'trian'"),
        ({"split": "test[:999]"}, r"split: expected something within .*test\[:20\].*; received 'test\[:999\]'"),
        ({"split": "train[60:]"}, r"split: expected at least one image; 'train\[60:\]' of 'glyphs' has none"),
        ({"batch_size": 0}, "batch_size: expected a positive integer; received 0"),
        ({"batch_size": 2.5}, "batch_size: expected a positive integer; received 2.5"),
        ({"size": -1}, "size: expected a positive integer; received -1"),
        ({"label": "digit"}, "label: expected one of image, label, or None; received 'digit'"),
        ({"name": "words_only"}, "name: expected a set of images; 'words_only' has the features name"),
        (
            {"name": "odd_sizes", "size": 8, "label": "words"},
            r"label: expected a feature with one shape for all images, or None; received 'words', of shape \(None,\)",
        ),
        ({"name": "odd_sizes", "size": 8, "label": "both"}, r"label: expected .*; received 'both', of shape \(None, 4\), \(\)"),
        ({"name": "odd_sizes", "label": None}, "size: expected an integer, as the images of 'odd_sizes' differ in shape"),
    ],
)
def test_bad_arguments_are_named(few_glyphs, arguments, message):
    with pytest.raises(ValueError, match=message):
        data.load(**{"name": "glyphs", "data_dir": few_glyphs} | arguments)


@pytest.mark.parametrize(("name", "kind"), [("deep_pixels", "uint16"), ("float_pixels", "float32")])
@pytest.mark.parametrize("size", [None, 4])
def test_pixels_of_other_than_8_bits_are_refused(tmp_path, name, kind, size):
    """Resizing would clip their range to 0..255 and say nothing."""
    with pytest.raises(TypeError, match=f"name: expected a set of images of 8 bits, .*; those of '{name}' are {kind}"):
        data.load(name, size=size, data_dir=tmp_path)


def test_a_label_that_varies_is_not_damage(tmp_path):
    """Whole data are never advised to be deleted."""
    for label in ("words", "both"):
        with pytest.raises(ValueError, match="label: expected a feature with one shape"):
            data.load("odd_sizes", "train", 6, size=8, label=label, data_dir=tmp_path)
    ((_, names),) = data.load("odd_sizes", "train", 6, size=8, label="name", data_dir=tmp_path)
    assert names.shape == (6,)


def test_a_folder_may_begin_at_home(tmp_path, monkeypatch, few_glyphs):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data.load("glyphs", "test", 20, data_dir="~/of mine")
    assert (tmp_path / "of mine" / "glyphs").is_dir()
    monkeypatch.setenv("TFDS_DATA_DIR", "~/of the environment")
    assert Path(prepared.builder("odd_sizes").data_dir).parent.parent == tmp_path / "of the environment"
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("arguments", [{"name": 3}, {"split": None}, {"seed": "1"}, {"seed": 1.5}])
def test_arguments_of_a_wrong_type_are_named(few_glyphs, arguments):
    ((argument, value),) = arguments.items()
    with pytest.raises(TypeError, match=f"{argument}: expected .*; received {value!r}"):
        data.load(**{"name": "glyphs", "data_dir": few_glyphs} | arguments)


# ---- pairs for training

TEN = schedule.linear(10)
PICTURES = np.random.default_rng(0).uniform(-1, 1, (6, 4, 4, 1)).astype(np.float32)


def batches(number=6, size=3):
    return tf.data.Dataset.from_tensor_slices(PICTURES[:number]).batch(size, drop_remainder=True)


def first(pairs, number):
    """The first pairs as arrays: x_t (steps, B, ...), t (steps, B) and target (steps, B, ...)."""
    (x_t, t), target = next(iter(pairs.batch(number)))
    return x_t.numpy(), t.numpy(), target.numpy()


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_pairs_have_known_types_and_shapes():
    (x_t, t), target = data.noisify(batches(), TEN).element_spec
    assert (x_t.shape, x_t.dtype) == (target.shape, target.dtype) == ((3, 4, 4, 1), tf.float32)
    assert (t.shape, t.dtype) == ((3,), tf.int32)
    assert data.noisify(batches(), TEN).cardinality() == tf.data.INFINITE_CARDINALITY


@pytest.mark.parametrize("target", [data.the_noise, diffusion.to_velocity])
def test_a_pair_is_the_forward_process_and_its_target(target):
    """What the loss (DDPM, eq. 14) is given, of the noise and of other targets."""
    x_t, t, answers = first(data.noisify(batches(), TEN, target), 20)
    for step in range(20):
        x_0 = PICTURES[:3] if step % 2 == 0 else PICTURES[3:]
        alpha_bar = TEN.at(t[step], like=x_0)
        back = diffusion.to_x_0 if target is data.the_noise else diffusion.velocity_to_x_0
        np.testing.assert_allclose(back(x_t[step], answers[step], alpha_bar), x_0, atol=2e-5)  # x_10 keeps 0.6 % of x_0
        noise = answers[step]
        if target is diffusion.to_velocity:
            noise = diffusion.velocity_to_noise(x_t[step], answers[step], alpha_bar)
            np.testing.assert_allclose(answers[step], target(x_0, noise, alpha_bar), atol=1e-5)
        np.testing.assert_allclose(x_t[step], diffusion.add_noise(x_0, noise, alpha_bar), atol=1e-5)


def test_a_seed_and_a_step_make_the_pair(monkeypatch):
    """However many threads prepare it: the same as one by one, and as computed again from (seed, step)."""
    several = first(data.noisify(batches(), TEN, seed=7), 12)
    monkeypatch.setattr(data.tf.data, "AUTOTUNE", 1)
    assert equal(first(data.noisify(batches(), TEN, seed=7), 12), several)
    for step, (t, noise) in enumerate(zip(several[1], several[2], strict=True)):
        keys = tf.random.split(tf.constant([7, step], tf.int64), 2)
        np.testing.assert_array_equal(tf.random.stateless_uniform([3], keys[0], 1, 11, tf.int32), t)
        np.testing.assert_array_equal(tf.random.stateless_normal([3, 4, 4, 1], keys[1]), noise)


def test_other_seeds_give_other_pairs():
    assert equal(first(data.noisify(batches(), TEN, seed=1), 4), first(data.noisify(batches(), TEN, seed=np.int64(1)), 4))
    for other in (2, -1):
        assert not equal(first(data.noisify(batches(), TEN, seed=1), 4), first(data.noisify(batches(), TEN, seed=other), 4))


def test_pairs_go_on_where_they_were_left(few_glyphs):
    images = data.load("glyphs", "train", 20, seed=3, data_dir=few_glyphs)
    x_t, t, target = first(data.noisify(images, TEN), 8)
    images = data.load("glyphs", "train", 20, seed=3, data_dir=few_glyphs)
    assert equal(first(data.noisify(images, TEN).skip(5), 3), (x_t[5:], t[5:], target[5:]))


def test_no_noise_is_used_twice():
    """Not for another image of the batch, nor in another epoch: two of 16 numbers each correlate by 1/4, some by 0.9."""
    _, _, noise = first(data.noisify(batches(), TEN), 30)  # 15 epochs
    noise = noise.reshape(90, 16)
    assert len(np.unique(noise, axis=0)) == 90
    similarity = np.corrcoef(noise)[~np.eye(90, dtype=bool)]
    assert abs(similarity).max() < 0.95
    assert abs(similarity).mean() < 0.25


def test_the_times_are_even_and_the_noise_is_gaussian():
    """Within four standard errors, over 2,000 steps of three images and 16 pixels."""
    _, t, noise = first(data.noisify(batches(), TEN), 2000)
    assert (t.min(), t.max()) == (1, 10)
    counts = np.bincount(t.ravel(), minlength=11)[1:]
    assert (abs(counts - t.size / 10) < 4 * (t.size * 0.1 * 0.9) ** 0.5).all()
    for lag in (1, 2, 3):  # neither images nor steps know of one another
        assert abs(np.corrcoef(t.ravel()[lag:], t.ravel()[:-lag])[0, 1]) < 4 / t.size**0.5
    number = noise.size
    for moment, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # of x^moment, for a standard normal x
        assert abs((noise.astype(float) ** moment).mean() - expected) < 4 * (variance / number) ** 0.5
    assert abs(np.corrcoef(noise.reshape(-1, 16).T)[~np.eye(16, dtype=bool)]).max() < 5 / 6000**0.5
    assert abs(np.corrcoef(t.ravel(), (noise**2).reshape(-1, 16).mean(1))[0, 1]) < 4 / t.size**0.5


def test_what_comes_with_the_images_is_dropped():
    labelled = tf.data.Dataset.zip(batches(), tf.data.Dataset.range(2))
    assert equal(first(data.noisify(labelled, TEN), 4), first(data.noisify(batches(), TEN), 4))


def test_the_last_batch_may_be_smaller():
    pairs = data.noisify(tf.data.Dataset.from_tensor_slices(PICTURES).batch(4), TEN)
    assert pairs.element_spec[0][1].shape == (None,)
    assert [len(t) for (_, t), _ in pairs.take(4)] == [4, 2, 4, 2]


def test_a_finite_set_of_pairs_is_the_same_each_time():
    pairs = data.noisify(batches(), TEN).take(4)
    one, other = ([target.numpy() for _, target in pairs] for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("images", "seed", "message"),
    [
        (PICTURES, 0, "images: expected a tf.data.Dataset of batches; received ndarray"),
        (batches().map(lambda x: tf.cast(x, tf.uint8)), 0, "images: expected batches of float32, .*; received .*uint8"),
        (batches().map(lambda x: tf.cast(x, tf.float64)), 0, "images: expected batches of float32, .*; received .*float64"),
        (batches().map(lambda x: {"image": x}), 0, "images: expected batches of float32, .*; received {'image'"),
        (batches(), 1.5, "seed: expected an integer; received 1.5"),
        (batches(), None, "seed: expected an integer; received None"),
    ],
)
def test_noisify_names_bad_input(images, seed, message):
    with pytest.raises(TypeError, match=message):
        data.noisify(images, TEN, seed=seed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: (x + 1) * 127.5, "images: expected values in .*, with black at -1; received .* to 25.*`data.to_unit` brings"),
        (lambda x: 1.01 * x / tf.reduce_max(abs(x)), "images: expected values in .*; received "),
        (lambda x: tf.where(x == tf.reduce_max(x), float("nan"), x), "images: expected finite values; received 1 NaN"),
    ],
)
@pytest.mark.parametrize("labelled", [False, True])
def test_images_in_another_range_are_refused(change, message, labelled):
    images = batches().map(change)
    with pytest.raises(ValueError, match=message):
        data.noisify(tf.data.Dataset.zip(images, tf.data.Dataset.range(2)) if labelled else images, TEN)


def test_images_without_anything_negative_are_doubted():
    """The loss is smaller in that range, so nothing else would tell."""
    with pytest.warns(UserWarning, match=r"received .*, nothing negative. If they are in \[0, 1\], take 2 \* images - 1") as told:
        data.noisify(batches().map(lambda x: (x + 1) / 2), TEN)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        data.noisify(batches().map(lambda x: x / tf.reduce_max(abs(x))), TEN)  # all the range
        data.noisify(batches().map(lambda x: 1.0005 * x / tf.reduce_max(abs(x))), TEN)  # and rounding


def test_points_have_no_range():
    points = tf.data.Dataset.from_tensors(np.float32([[30.0, 40.0]]))
    next(iter(data.noisify(points, TEN)))
    with pytest.raises(ValueError, match="received 30 to 40"):
        data.noisify(points.map(lambda x: x[..., None, None]), TEN)


# ---- conditions, weights, and what a large picture shows

LABELS = np.arange(6)
WORDS = np.random.default_rng(1).normal(size=(6, 5, 2)).astype(np.float32)  # some other condition: five words of two numbers


def conditioned(size=3, **arguments):
    """Pairs whose images say what their conditions are: PICTURES[i], label i, WORDS[i]."""
    batches = tf.data.Dataset.from_tensor_slices((PICTURES, LABELS, WORDS)).batch(size)
    return data.noisify(batches, TEN, **{"null": (-1, np.zeros((5, 2))), "drop": 0.5} | arguments)


def kinds(pairs, steps):
    """Which condition each image got, (images, 2): 0 its own, 1 the null one, 2 another; in order."""
    found = []
    for (x_t, t, labels, words), noise in pairs.take(steps):
        x_0 = diffusion.to_x_0(x_t, noise, TEN.at(t, like=x_t)).numpy()
        which = np.abs(x_0[:, None] - PICTURES).max(axis=(2, 3, 4)).argmin(axis=1)
        of_labels = np.where(labels == which, 0, np.where(labels == -1, 1, 2))
        of_words = [0 if np.array_equal(w, WORDS[i]) else 2 - (not w.numpy().any()) for w, i in zip(words, which, strict=True)]
        found += list(zip(of_labels, of_words, strict=True))
    return np.array(found)


def test_conditions_come_along_each_with_its_image():
    (_, _, labels, words), _ = conditioned().element_spec
    assert (labels.shape, labels.dtype, words.shape, words.dtype) == ((None,), tf.int64, (None, 5, 2), tf.float32)
    assert not kinds(conditioned(drop=0), 8).any()
    assert (kinds(conditioned(drop=1), 8) == 1).all()
    found = kinds(conditioned(), 200)
    assert not (found == 2).any()
    assert (found[:, 0] == found[:, 1]).all()  # one draw for both


def test_conditions_change_neither_images_nor_noise():
    """Whatever is dropped: the comparison of a network with and without labels changes one thing."""
    plain = data.noisify(tf.data.Dataset.from_tensor_slices(PICTURES).batch(3), TEN)
    for drop in (0, 0.5, (0.1, 0.5)):
        for ((x_t, t), noise), ((other_x_t, other_t, *_), other_noise) in zip(
            plain.take(4), conditioned(drop=drop), strict=False
        ):
            assert equal((x_t, t, noise), (other_x_t, other_t, other_noise))


@pytest.mark.parametrize(("drop", "shares"), [(0.1, (0.1, 0.1)), ((0.1, 0.5), (0.1, 0.5)), ((0.2, 0), (0.2, 0))])
def test_the_null_condition_has_its_share(drop, shares):
    """In 10,000 draws, within four standard errors; two shares are drawn independently (Ramesh et al. 2022, section 2.1)."""
    batches = tf.data.Dataset.from_tensor_slices(
        (np.full((100, 1, 1, 1), -1.0, np.float32), np.ones(100, int), np.ones(100, int))
    )
    pairs = data.noisify(batches.batch(100), TEN, null=(0, 0), drop=drop)
    dropped = 1 - np.array([conditions for (_, _, *conditions), _ in pairs.take(100)]).transpose(1, 0, 2).reshape(2, -1)
    for found, share in zip(dropped, shares, strict=True):
        assert abs(found.mean() - share) <= 4 * (share * (1 - share) / 1e4) ** 0.5
    if drop == 0.1:
        assert (dropped[0] == dropped[1]).all()
        per_step, per_image = (dropped[0].reshape(100, 100).mean(axis=axis) for axis in (1, 0))
        for share in (per_step, per_image):  # no image, and no step, is always without or never
            assert 0.5 < share.var() / (0.1 * 0.9 / 100) < 1.6
    if drop == (0.1, 0.5):
        assert abs((dropped[0] * dropped[1]).mean() - 0.05) < 4 * (0.05 * 0.95 / 1e4) ** 0.5


def test_other_conditions_are_dropped_in_each_epoch_and_the_same_by_a_seed():
    found = kinds(conditioned(), 40).reshape(20, 6, 2)  # 20 epochs
    assert len(np.unique(found[..., 0], axis=0)) > 10
    assert (found[..., 0].mean(axis=0) > 0).all()
    np.testing.assert_array_equal(kinds(conditioned(), 40).reshape(found.shape), found)
    np.testing.assert_array_equal(kinds(conditioned().skip(8), 32), found.reshape(-1, 2)[24:])
    assert (kinds(conditioned(seed=1), 40).reshape(found.shape) != found).any()


def test_captions_become_tokens_and_whole_rows_of_them_are_dropped():
    captions = ["a b c d"[: 2 * i + 1] for i in range(4)] * 2
    images = np.random.default_rng(1).uniform(-1, 1, (8, 4, 4, 1)).astype(np.float32)
    images[:, 0, 0, 0] = np.arange(8) / 10  # which one it is
    tokenize = functools.partial(text.tokens, words=["a", "b", "c", "d"], length=6)
    batches = data.tokenized(tf.data.Dataset.from_tensor_slices((images, captions)).batch(4), tokenize)
    assert batches.element_spec[1] == tf.TensorSpec((None, 6), tf.int32)
    found = np.concatenate([tokens for _, tokens in batches])
    np.testing.assert_array_equal(found, tokenize(captions))
    null = tokenize([""])[0]
    pairs = data.noisify(batches, schedule.cosine(1000), lambda x_0, noise, alpha_bar: x_0, null=(null,), drop=0.25)
    dropped = []
    for (_, _, tokens), x_0 in pairs.take(1000):
        of = np.rint(x_0[:, 0, 0, 0] * 10).astype(int)  # whose tokens they are
        is_null = (tokens.numpy() == null).all(axis=1)
        np.testing.assert_array_equal(tokens[~is_null], tokenize(captions)[of][~is_null])
        dropped.append(is_null)
    share = np.mean(dropped)
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_a_condition_that_is_always_there():
    found = kinds(conditioned(null=(-1, None), drop=1), 8)
    assert (found == [1, 0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"null": -1}, r"null: expected a tuple, an entry for each of the 2 conditions; received -1"),
        ({"null": (-1,)}, r"null: expected a tuple, an entry for each of the 2 conditions; received \(-1,\)"),
        ({"null": (-1.5, None)}, r"null\[0\]: expected int64 of shape \(\), as one of the conditions is; received -1.5"),
        (
            {"null": (-1, np.zeros((5, 3)))},
            r"null\[1\]: expected float32 of shape \(5, 2\), as one of the conditions is; received",
        ),
        ({"null": (-1, 0.0)}, r"null\[1\]: expected float32 of shape \(5, 2\), as one of the conditions is; received 0.0"),
        ({"null": (np.float64(1.5), None)}, r"null\[0\]: expected int64 of shape \(\), .*; received np.float64\(1.5\)"),
        ({"null": (np.float64("nan"), None)}, r"null\[0\]: expected int64 of shape \(\), .*; received np.float64\(nan\)"),
        ({"drop": (0.1,)}, r"drop: expected a probability in \[0, 1\], or a tuple of 2; received \(0.1,\)"),
        ({"drop": ()}, r"drop: expected a probability in \[0, 1\], or a tuple of 2; received \(\)"),
        ({"null": None, "drop": ()}, r"drop: expected a probability in \[0, 1\]; received \(\)"),
        ({"null": None, "drop": (0.1,)}, r"drop: expected a probability in \[0, 1\]; received \(0.1,\)"),
        ({"drop": 1.5}, r"drop: expected a probability in \[0, 1\], or a tuple of 2; received 1.5"),
        ({"drop": (0.1, 0.2, 0.3)}, r"drop: expected a probability in \[0, 1\], or a tuple of 2; received \(0.1, 0.2, 0.3\)"),
        ({"drop": "0.1"}, r"drop: expected a probability in \[0, 1\], or a tuple of 2; received '0.1'"),
    ],
)
def test_noisify_names_bad_conditions(change, message):
    with pytest.raises(ValueError, match=message):
        conditioned(**change)


@pytest.mark.parametrize("value", [300, -1, np.int64(300)])
def test_a_null_that_its_type_cannot_hold_is_refused(value):
    """TensorFlow would take 44 for 300."""
    batches = tf.data.Dataset.from_tensor_slices((PICTURES, np.uint8(LABELS))).batch(3)
    with pytest.raises(ValueError, match=rf"null\[0\]: expected uint8 of shape \(\), .*; received .*{value}"):
        data.noisify(batches, TEN, null=(value,))


def test_an_error_of_the_image_weighs_what_that_of_the_velocity_does():
    """SNR + 1 (Salimans and Ho 2022, section 4), up to 10: at alpha_bar 0.9 and below, the two losses are one number."""
    rng, chain = np.random.default_rng(2), schedule.cosine(100)
    t = np.arange(1, 101).astype(np.int32)
    x_0, noise, guess = rng.normal(size=(3, 100, 4, 4, 2)).astype(np.float32)
    alpha_bar = chain.at(t, like=x_0)
    x_t = diffusion.add_noise(x_0, noise, alpha_bar)
    target, weight = (part.numpy() if hasattr(part, "numpy") else part for part in data.the_image(x_0, noise, alpha_bar))
    assert weight.shape == (100, 1, 1)
    np.testing.assert_array_equal(target, x_0)

    def velocity(x_0):
        return diffusion.to_velocity(x_0, diffusion.to_noise(x_t, x_0, alpha_bar), alpha_bar)

    of_velocity = np.mean(np.square(velocity(guess) - velocity(x_0)), axis=(1, 2, 3))
    weighted = weight[:, 0, 0] * np.mean(np.square(guess - x_0), axis=(1, 2, 3))
    noisy = chain.alpha_bar[t] < 0.9
    np.testing.assert_allclose(weighted[noisy], of_velocity[noisy], rtol=1e-3)
    assert (weight[~noisy] == 10).all()
    assert np.max(weight) == 10  # not the 40,000 of t = 1


def test_a_weighted_target_is_a_third_part_of_a_pair():
    """The loss of `fit` is the mean over images of weight times squared error, by hand."""
    batches = tf.data.Dataset.from_tensor_slices(PICTURES).batch(4, drop_remainder=True)  # as many as wide
    pairs = data.noisify(batches, TEN, data.the_image)
    _, target, weight = pairs.element_spec
    assert (target.shape, weight.shape) == ((4, 4, 4, 1), (4, 1, 1))
    _, x_0, weight = next(iter(pairs))
    image = keras.Input((4, 4, 1))
    model = keras.Model([image, keras.Input((), dtype="int32")], keras.layers.Rescaling(0.0)(image))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    by_hand = np.mean(weight[:, 0, 0] * np.mean(np.square(x_0), axis=(1, 2, 3)))
    assert model.evaluate(pairs.take(1), verbose=0) == pytest.approx(by_hand, rel=1e-5)
    assert np.ptp(weight) > 0.5


@pytest.mark.parametrize(("size", "side"), [(64, 64), (4, 4)])
def test_a_weight_of_one_axis_is_refused(size, side):
    """Keras would run it along the pictures' width, where that is as large as the batch."""
    batches = tf.data.Dataset.from_tensors(np.full((size, side, side, 3), -1.0, np.float32))
    for wrong in (lambda alpha_bar: alpha_bar[:, 0, 0, 0], lambda alpha_bar: alpha_bar):
        with pytest.raises(ValueError, match=rf"target: expected a weight of shape \({size}, 1, 1\), as x_0 is .*; received"):
            data.noisify(batches, TEN, lambda x_0, noise, alpha_bar, wrong=wrong: (x_0, wrong(alpha_bar)))


@pytest.mark.parametrize(
    ("shape", "signal", "spread", "percent"),
    [
        # Half of the pictures lighter by the spread, half darker: the colour's variance along grey is spread^2 times channels.
        ((8, 64, 64, 3), 0.03, 0.5, 24),  # 100 / (0.0009 * 4096 * 0.75 * 8/7 + 1)
        ((8, 64, 64, 1), 0.03, 0.5, 49),
        ((8, 28, 28, 3), 0.03, 0.5, 62),
        ((8, 32, 128, 1), 0.03, 0.5, 49),
        ((8, 64, 64, 3), 0.03, 0.2, 66),
        ((8, 64, 64, 3), 0.005, 0.5, None),  # 0.92
        ((8, 28, 28, 1), 0.03, 0.2, None),  # 0.97: digits have about the same mean
        ((8, 64, 64, 3), 0.04, 0.0, None),
        ((1, 64, 64, 3), 0.04, 0.5, None),  # nothing to compare
        ((8, 4096), 0.04, 0.5, None),  # no picture
    ],
)
def test_the_mean_colour_is_not_to_show(shape, signal, spread, percent):
    chain = schedule.Schedule(np.full(10, 1 - signal ** (2 / 10)))
    assert chain.terminal_signal == pytest.approx(signal)
    sign = np.where(np.arange(shape[0]) % 2, 1, -1).reshape(-1, *[1] * (len(shape) - 1))
    batches = tf.data.Dataset.from_tensors(np.broadcast_to(-0.2 + spread * sign, shape).astype(np.float32))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data.noisify(batches, chain)
    caught = [one for one in caught if one.category is UserWarning]
    assert len(caught) == (percent is not None)
    if percent:
        assert caught[0].filename == __file__
        said = re.search(r"so shows the mean colour of (\d+) x (\d+) pixels\..* about (\d+)% of the", str(caught[0].message))
        assert [int(number) for number in said.groups()] == [*shape[1:3], percent]


def test_as_much_of_the_mean_colour_is_left_as_the_warning_says():
    """The exact denoiser of Gaussian colours, walked back from pure noise in small steps."""
    chain = schedule.linear(2000)
    chain = schedule.Schedule(1 - (1 - chain.beta[1:]) ** (np.log(0.04) / np.log(chain.terminal_signal)))
    n, images = 32 * 32, np.random.default_rng(0).normal(scale=0.4, size=(500, 1, 1, 1)).clip(-1, 1)
    images = np.broadcast_to(images, (500, 32, 32, 1)).astype(np.float32)
    with pytest.warns(UserWarning, match="shows the mean colour") as caught:
        data.noisify(tf.data.Dataset.from_tensors(images), chain)
    said = int(re.search(r"about (\d+)%", str(caught[0].message))[1]) / 100
    variance = n * images[:, 0, 0, 0].var(ddof=1, dtype=np.float64)  # in units of the noise of a mean
    world = oracle.gaussian(chain, [0.0], variance)
    *_, end = sampling.sample(world.predict_noise, chain, (1, 1), chain.T, x_T=np.ones((1, 1)))
    assert end.x_t.item() ** 2 / variance == pytest.approx(said, abs=0.01)


@pytest.mark.parametrize(
    ("chain", "shape"),
    [
        (schedule.cosine(), (8, 64, 64, 3)),
        (schedule.shifted(schedule.cosine(), 64 / 28), (8, 64, 64, 3)),
        (schedule.linear(), (8, 28, 28, 1)),
    ],
)
def test_the_schedules_of_the_lessons_hide_the_mean(chain, shape):
    """Even among black pictures and white ones."""
    images = np.broadcast_to(np.where(np.arange(8) % 2, 1.0, -1.0).reshape(8, 1, 1, 1), shape).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        data.noisify(tf.data.Dataset.from_tensors(images), chain)


# ---- damaged data


def ready(few_glyphs):
    data.load("glyphs", "test", data_dir=few_glyphs)
    return few_glyphs / "glyphs" / "1.0.0"


def cut_short(folder):
    file = next(folder.glob("*train.tfrecord*"))
    os.truncate(file, file.stat().st_size - 1)


def flip_a_bit(folder):
    file = next(folder.glob("*train.tfrecord*"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: next(folder.glob("*train.tfrecord*")).unlink(), "half-prepared: .* lacks glyphs-train.tfrecord"),
        (lambda folder: (folder / "dataset_info.json").unlink(), "half-prepared: .* has no dataset_info.json"),
        (cut_short, r"damaged: the train files in .* have \d+ bytes, not \d+"),
        (flip_a_bit, "damaged: .* cannot be read"),
    ],
)
def test_damaged_data_is_refused_by_path_and_with_a_remedy(few_glyphs, damage, said):
    folder = ready(few_glyphs)
    damage(folder)
    with pytest.raises(data.DataError, match=said) as error:
        data.load("glyphs", "train", data_dir=few_glyphs)
    assert str(folder) in str(error.value)
    assert "Remove" in str(error.value)
    shutil.rmtree(folder)  # the remedy
    data.load("glyphs", "train", data_dir=few_glyphs)


@pytest.mark.parametrize("content", ["", '{"name": "gly'])
def test_a_damaged_description_is_refused_by_path(few_glyphs, content):
    folder = ready(few_glyphs)
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(data.DataError, match=r"glyphs is damaged: a dataset_info.json in .* cannot be read\. Remove") as error:
        data.load("glyphs", data_dir=few_glyphs)
    assert str(folder.parent) in str(error.value)


def test_a_damaged_mnist_is_not_replaced_in_silence(monkeypatch, tmp_path):
    (tmp_path / "mnist" / "3.0.1").mkdir(parents=True)
    mnist = tfds.builder("mnist", data_dir=tmp_path)
    monkeypatch.setattr(prepared, "builder", lambda name, data_dir=None: mnist)
    data.digits.cache_clear()
    with pytest.raises(data.DataError, match="mnist is half-prepared"):
        data.load_digits("train")
    data.digits.cache_clear()


def test_two_processes_may_prepare_at_once(few_glyphs, monkeypatch):
    folder = ready(few_glyphs)
    elsewhere = folder.rename(few_glyphs / "elsewhere")

    def the_other_one_is_faster(builder):
        elsewhere.rename(folder)
        raise OSError("the folder is there already")

    monkeypatch.setattr(glyphs.Glyphs, "download_and_prepare", the_other_one_is_faster)
    images, _ = next(iter(data.load("glyphs", "test", 20, data_dir=few_glyphs)))
    assert images.shape == (20, 28, 28, 1)


def test_who_comes_second_waits_for_the_first(few_glyphs, monkeypatch):
    """The folder appears while another process holds the lock; nothing is prepared a second time."""
    folder = ready(few_glyphs)
    elsewhere = folder.rename(few_glyphs / "elsewhere")
    monkeypatch.setattr(glyphs.Glyphs, "download_and_prepare", lambda builder: pytest.fail("prepared twice"))
    loaded = []
    second = threading.Thread(target=lambda: loaded.append(data.load("glyphs", "test", 20, data_dir=few_glyphs)))
    with filelock.FileLock(few_glyphs / ".glyphs.lock", thread_local=False):
        second.start()
        second.join(1)
        assert second.is_alive()
        assert not loaded
        elsewhere.rename(folder)
    second.join(60)
    images, _ = next(iter(loaded[0]))
    assert images.shape == (20, 28, 28, 1)


# ---- no network


@contextlib.contextmanager
def server(handler):
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


class Answers(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(404)  # a server that is there is enough
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_server_that_answers_is_reachable(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with server(Answers) as url:
        assert prepared._unreachable(url) is None


def test_a_server_that_never_answers_costs_seconds(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        reason = prepared._unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.2)
        assert time.monotonic() - start < 20
        assert "no connection to 127.0.0.1: ReadTimeout" in reason


def test_a_name_that_takes_forever_costs_seconds(monkeypatch):
    monkeypatch.setattr(prepared.requests, "head", lambda *_, **__: time.sleep(5))
    assert prepared._unreachable("http://example.invalid/", seconds=0.1) == "no answer from example.invalid in 0.2 seconds"


def run(code, folder, environment):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment)


def test_without_data_and_network_the_glyphs_take_over(tmp_path, offline):
    code = """
import time
from lessons_lib import data, diffusion, glyphs, prepared, schedule
glyphs.COUNTS = {"train": 60, "test": 20}
start = time.monotonic()
images, labels = next(iter(data.load_digits("train", 60)))
print(images.shape, data.digits(), time.monotonic() - start < 20)
"""
    done = run(code, tmp_path, offline)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *said, last = done.stdout.splitlines()
    assert last == "(60, 28, 28, 1) glyphs True"
    assert said == [
        "MNIST cannot be had here (no connection to storage.googleapis.com: ProxyError): "
        "the built-in glyphs, printed digits, take its place.",
        "Preparing glyphs, once.",
    ]
    assert not (tmp_path / "data").exists()  # the user's data folder is left alone
    assert (tmp_path / "cache/lessons_lib/tensorflow_datasets/glyphs/1.0.0/dataset_info.json").is_file()


def test_without_flowers_and_network_scenes_take_over(tmp_path, offline):
    code = """
from lessons_lib import data, scenes
scenes.COUNTS = {"train": 12, "test": 2, "held_out": 2}
images = next(iter(data.load(data.flowers(), "train", 12, size=64, label=None)))
print(images.shape, data.flowers())
"""
    done = run(code, tmp_path, offline)
    assert (done.returncode, done.stderr) == (0, "")
    said, preparing, last = done.stdout.splitlines()
    assert re.fullmatch(
        r"Oxford Flowers 102 cannot be had here \(no connection to \S+: ProxyError\): the built-in scenes take their place\.",
        said,
    )
    assert (preparing, last) == ("Preparing scenes, once.", "(12, 64, 64, 3) scenes")


def test_faces_that_are_prepared_are_loaded(tmp_path, monkeypatch):
    """CelebA's own builder, with six pictures of ours for its photographs: portraits, of which the middle square counts."""
    colours = np.random.default_rng(0).integers(40, 216, (6, 3), np.uint8)
    builder = tfds.builder("celeb_a", data_dir=tmp_path)
    features = builder.info.features

    def examples():
        for i, colour in enumerate(colours):
            portrait = np.zeros((218, 178, 3), np.uint8)
            portrait[20:198] = colour
            about = {name: dict.fromkeys(features[name], 0) for name in ("attributes", "identity", "landmarks")}
            yield f"{i}.jpg", {"image": portrait} | about

    monkeypatch.setattr(type(builder), "_split_generators", lambda self, manager: {"train": examples()})
    builder.download_and_prepare()
    batch = next(iter(data.load("celeb_a", size=64, label=None, data_dir=tmp_path)))
    assert batch.shape == (6, 64, 64, 3)
    seen = sorted(tuple(np.rint(image.mean(axis=(0, 1))).astype(int)) for image in data.to_pixels(batch))
    np.testing.assert_allclose(seen, sorted(map(tuple, colours.tolist())), atol=3)  # JPEG
    assert data.to_pixels(batch).std(axis=(1, 2)).max() < 3  # nothing of what is above and below


def test_a_large_set_that_cannot_be_fetched_tells_what_to_do_by_hand(tmp_path, offline):
    done = run("from lessons_lib import data; data.load('celeb_a', size=64, label='attributes')", tmp_path, offline)
    assert done.returncode == 1
    assert "DataError: celeb_a is not in" in done.stderr
    assert "img_align_celeba.zip  from  https://drive.google.com/" in done.stderr
    assert str(Path("data", "downloads", "manual")) in done.stderr


def test_files_saved_by_hand_are_used_without_a_network(tmp_path, offline):
    manual = tmp_path / "data" / "downloads" / "manual"
    manual.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (manual / f"{name}-ubyte.gz").write_bytes(b"not the real one")
    done = run("from lessons_lib import data; data.load('mnist')", tmp_path, offline)
    assert "DataError: mnist could not be prepared" in done.stderr
    assert "hecksum" in done.stderr.rpartition("DataError")[2]  # it was opened, and found to be another file


@pytest.mark.parametrize(("error", "reason"), [(OSError("no room\nleft"), "no room"), (MemoryError(), "MemoryError")])
def test_what_cannot_be_prepared_says_why(tmp_path, monkeypatch, error, reason):
    """In the first line of what was raised, or by its name where it has no words."""
    builder = prepared.builder("glyphs", tmp_path)

    def fail(*rest):
        raise error

    monkeypatch.setattr(builder, "download_and_prepare", fail)
    with pytest.raises(data.DataError, match=rf"could not be prepared in .*: {reason}\nBy hand: set XDG_CACHE_HOME") as told:
        prepared.prepare(builder)
    assert told.value.reason == reason


def test_where_nothing_can_be_written_the_glyphs_say_what_helps(tmp_path, offline):
    file = tmp_path / "file"
    file.write_text("")
    done = run("from lessons_lib import data; data.load('glyphs')", tmp_path, offline | {"XDG_CACHE_HOME": str(file)})
    assert "By hand: set XDG_CACHE_HOME to a folder that can be written" in done.stderr


def test_an_empty_data_folder_is_none(tmp_path, offline):
    code = "import lessons_lib, tensorflow_datasets as tfds; print(tfds.core.constants.DATA_DIR)"
    done = run(code, tmp_path, offline | {"TFDS_DATA_DIR": ""})
    assert done.stdout == f"{tmp_path}/tensorflow_datasets\n"


# ---- a full disk


def test_a_full_disk_is_told_and_harms_nothing(tmp_path, offline):
    code = """
import resource
from pathlib import Path
from lessons_lib import data, diffusion, glyphs, prepared, schedule
folder = Path("tfds")
glyphs.COUNTS = {"train": 60, "test": 20}
data.load("glyphs", data_dir=folder)
before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
glyphs.Glyphs.VERSION = "1.0.1"
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    data.load("glyphs", data_dir=folder)
except data.DataError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
print("unharmed:", before == after)
"""
    done = run(code, tmp_path, offline)
    assert "glyphs could not be prepared in" in done.stdout, done.stderr
    assert "unharmed: True" in done.stdout


# ---- a folder of one's own


def half_red(height, width):
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 200
    return Image.fromarray(pixels)


RED, BLUE = (200, 0, 0), (0, 0, 200)


@pytest.fixture
def album(tmp_path):
    """One of each: what is seen in the middle of the left and of the right half of every picture, by name."""
    folder, seen = tmp_path / "my album", {}
    (folder / "more").mkdir(parents=True)

    def save(name, image, left, right, **options):
        image.save(folder / name, **options)
        seen[name] = left, right

    save("a.png", half_red(80, 80), RED, BLUE)
    save("b.JPG", half_red(90, 300), RED, BLUE, format="JPEG", quality=95)  # its middle square
    save("c.webp", half_red(300, 90), RED, BLUE, lossless=True)
    save("d.gif", half_red(64, 64), RED, BLUE, save_all=True, append_images=[Image.new("RGB", (64, 64), "white")])
    save("more/e.png", half_red(70, 70).convert("L"), (60, 60, 60), (23, 23, 23))
    save("f.png", half_red(70, 70).quantize(4), RED, BLUE)
    sixteen = np.repeat(np.array([[257 * 50, 257 * 220]], np.uint16), 35, axis=1).repeat(70, axis=0)
    save("g.png", Image.fromarray(sixteen), (50,) * 3, (220,) * 3)
    clear = half_red(70, 70).convert("RGBA")
    clear.paste((200, 0, 0, 0), (0, 0, 35, 70))
    save("h.png", clear, (255,) * 3, BLUE)
    palette = Image.new("P", (70, 70), 1)
    palette.putpalette([*RED, *BLUE])
    palette.paste(0, (0, 0, 35, 70))
    save("i.png", palette, (255,) * 3, BLUE, transparency=0)
    save("j.png", clear.convert("LA"), (255,) * 3, (23,) * 3)
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned: upright after a quarter to the right
    save("k.jpg", half_red(90, 90).rotate(90), RED, BLUE, exif=turned, quality=95)
    save("l.jpg", half_red(90, 90).convert("CMYK"), RED, BLUE, quality=95)
    (folder / "notes.txt").write_text("no picture")
    return folder, seen


def test_a_folder_of_pictures_of_all_kinds(album, capsys):
    folder, seen = album
    (images,) = data.load_folder(folder, len(seen), size=64)
    assert images.shape == (len(seen), 64, 64, 3)
    pixels = data.to_pixels(images).astype(int)
    for name, image in zip(sorted(seen, key=lambda name: folder / name), pixels, strict=True):
        for place, expected in zip((16, 47), seen[name], strict=True):
            assert abs(image[32, place] - expected).max() <= 8, name
    assert capsys.readouterr().out == f"{len(seen)} pictures of {folder}.\n"


def test_a_folder_gives_what_load_gives(album):
    folder, seen = album
    again, other = (next(iter(data.load_folder(str(folder), 5, seed=seed))) for seed in (1, 2))
    np.testing.assert_array_equal(again, next(iter(data.load_folder(folder, 5, seed=1))))
    assert not np.array_equal(again, other)
    stream = data.load_folder(folder, 5, seed=1)
    assert stream.element_spec == tf.TensorSpec((5, 64, 64, 3), tf.float32)
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY
    assert [len(batch) for batch in data.load_folder(folder, 5)] == [5, 5, len(seen) - 10]


def test_fine_stripes_become_grey(tmp_path):
    """Two columns in eight are white, those that would be seen if only some pixels were looked at."""
    stripes = np.zeros((512, 512), np.uint8)
    stripes[:, 3::8] = stripes[:, 4::8] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    (image,) = next(iter(data.load_folder(tmp_path, 1, size=64)))
    assert np.abs(image[8:-8, 8:-8] + 0.5).max() < 0.15


def test_what_is_left_out_is_told(album, capsys):
    folder, seen = album
    half_red(20, 90).save(folder / "small.png")
    whole = (folder / "b.JPG").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "fake.png").write_text("no picture")
    assert len(next(iter(data.load_folder(folder, len(seen))))) == len(seen)
    said = capsys.readouterr().out
    assert said.startswith(f"{len(seen)} pictures of {folder}, 3 left out: cut.jpg (image file is truncated")
    assert "fake.png (cannot identify image file), small.png (90 x 20, too small)." in said
    for i in range(9):
        half_red(20, 20).save(folder / f"small{i}.png")
    data.load_folder(folder, len(seen))
    assert capsys.readouterr().out.endswith("small0.png (20 x 20, too small), small1.png (20 x 20, too small), ....\n")


def test_a_folder_that_cannot_be_taken_is_named(album, tmp_path, monkeypatch):
    folder, seen = album
    with pytest.raises(ValueError, match=rf"folder: expected at least 100 pictures, a batch; received {len(seen)} in .*my album"):
        data.load_folder(folder, 100)
    with pytest.raises(ValueError, match=r"received 0 in .*nowhere"):
        data.load_folder(tmp_path / "nowhere", 1)
    with pytest.raises(ValueError, match="size: expected an integer of at least 1; received 0"):
        data.load_folder(folder, size=0)
    with pytest.raises(TypeError, match="seed: expected an integer or None; received 'x'"):
        data.load_folder(folder, seed="x")
    monkeypatch.setattr(data, "IN_MEMORY", 20_000)
    with pytest.raises(ValueError, match=r"size: expected pictures of at most 1 GiB in all; .* has more of 64 x 64"):
        data.load_folder(folder, 1)
