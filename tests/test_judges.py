import shutil
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lessons_lib import glyphs, grammar, judges, metrics, scenes, weights
from lessons_lib.grammar import Scene, Thing


@pytest.fixture(scope="module")
def printed():
    """400 glyphs and what they are."""
    rng = np.random.default_rng(6)
    labels = rng.integers(10, size=400)
    return np.stack([glyphs.draw(label, rng) for label in labels]).astype(np.float32) / 127.5 - 1, labels


def accuracy(images, labels):
    network = judges.classifier()
    weights.load_into(network, weights.FOLDER / "classifier.weights.h5")
    answers = [network.predict_on_batch(images[i : i + 500]).argmax(axis=1) for i in range(0, len(images), 500)]
    return np.mean(np.concatenate(answers) == labels)


def test_the_classifier_is_small():
    network = judges.classifier()
    assert (network.input_shape, network.output_shape) == ((None, 28, 28, 1), (None, 10))
    assert network.get_layer("features").output.shape == (None, 64)
    assert (weights.FOLDER / "classifier.weights.h5").stat().st_size <= 1_000_000


def test_the_classifier_reads_printed_digits(printed):
    """Which it was not trained on; chance is 0.1."""
    assert accuracy(*printed) > 0.95
    assert accuracy(*printed) == np.mean(judges.labels(printed[0]) == printed[1])


def test_the_classifier_reads_handwriting():
    """At least 99 % of 2,000 digits of MNIST's test set, where it is."""
    data = pytest.importorskip("lessons_lib.data", exc_type=ModuleNotFoundError)  # not for the run on JAX
    if not Path(data.prepared.builder("mnist").data_dir).exists():
        pytest.skip("MNIST is not prepared on this machine")
    images, labels = next(iter(data.load("mnist", "test", 2000)))
    assert accuracy(images.numpy(), labels.numpy()) >= 0.99


def test_features_of_an_image_depend_on_it_alone(printed):
    images, _ = printed
    seen = judges.features(images)
    assert (seen.shape, seen.dtype) == ((400, judges.FEATURES), np.float32)
    assert seen.min() >= 0
    assert seen.std() > 0.1
    np.testing.assert_array_equal(judges.features(images), seen)
    for size in (1, 7, 130):
        parts = [judges.features(images[i : i + size]) for i in range(0, 130, size)]
        np.testing.assert_allclose(np.concatenate(parts)[:130], seen[:130], atol=1e-4)
    np.testing.assert_allclose(judges.features(np.tile(images[:2], (300, 1, 1, 1)))[-2:], seen[:2], atol=1e-4)  # 600


def test_more_noise_is_farther_away(printed):
    images, _ = printed
    rng = np.random.default_rng(7)
    of_half = judges.features(images[:200])
    noise = rng.normal(size=(200, 28, 28, 1))
    worse = [judges.features(images[200:] + s * noise) for s in (0, 0.25, 0.5, 1)]
    distances = [metrics.frechet_distance(of_half, seen, resamples=20) for seen in worse]
    for one, other in pairwise(distances):
        assert other.value - one.value > 2 * np.hypot(one.error, other.error)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((5, 28, 28)), ValueError, r"images: expected shape \(N, 28, 28, 1\); received \(5, 28, 28\)"),
        (np.zeros((5, 32, 32, 1)), ValueError, r"images: expected shape \(N, 28, 28, 1\); received \(5, 32, 32, 1\)"),
        (np.zeros((0, 28, 28, 1)), ValueError, r"images: expected shape \(N, 28, 28, 1\); received \(0, 28, 28, 1\)"),
        (np.full((5, 28, 28, 1), np.nan), ValueError, "images: expected finite values; received 3920 NaN or infinite ones"),
        (np.linspace(0, 255, 5 * 784).reshape(5, 28, 28, 1), ValueError, r"images: .* received 0 to 255. `data.to_unit` brings"),
        (np.linspace(-11, 1, 5 * 784).reshape(5, 28, 28, 1), ValueError, "images: .* received -11 to 1"),
        (np.zeros((5, 28, 28, 1), np.uint8), TypeError, r"images: expected floats in \[-1, 1\]; received uint8"),
    ],
)
def test_bad_images_are_named(images, error, message):
    with pytest.raises(error, match=message):
        judges.features(images)


def test_images_in_another_range_are_doubted(printed):
    """In [0, 1] the judge reads on, and is wrong: its answers are no longer those of the same digits."""
    images, _ = printed
    unit = (images + 1) / 2
    with pytest.warns(
        UserWarning, match=r"images: expected values in \[-1, 1\].*; received 0 to 1, nothing negative.*to_unit"
    ) as told:
        wrong = judges.features(unit)
    assert told[0].filename == __file__
    assert metrics.frechet_distance(wrong, judges.features(images), resamples=0).value > 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judges.features(images)


def test_what_a_sampler_overshoots_is_taken_for_the_nearest_pixel(printed):
    images, _ = printed
    beyond = np.where(abs(images) == 1, 1.4 * images, images)
    assert abs(beyond).max() > 1.3
    np.testing.assert_array_equal(judges.features(beyond), judges.features(images))
    np.testing.assert_array_equal(judges.labels(beyond), judges.labels(images))


def test_the_reference_is_mnists_test_digits():
    known, seen = judges.reference()
    assert (known.count, known.mean.shape, known.covariance.shape, seen.shape) == (10_000, (64,), (64, 64), (2000, 64))
    # A fifth of the digits lie as near to all of them as 2,000 of 10,000 do.
    assert metrics.frechet_distance(seen, known, resamples=2).value < 1


def test_the_reference_needs_its_card(monkeypatch, tmp_path):
    for path in weights.FOLDER.glob("*.*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    with (tmp_path / "mnist_features.npz").open("r+b") as file:
        file.write(b"damaged")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(weights.WeightsError, match=r"mnist_features.npz: expected SHA-256 .* as the classifier's card says"):
        judges.reference()


def test_the_card_of_the_classifier_says_where_it_is_from():
    card = weights.read(judges.CLASSIFIER)
    assert card["test_accuracy"] >= 0.993
    assert {"data", "code", "versions", "settings", "precision", "seed", "minutes", "loss", "floor"} <= card.keys()


def test_the_command_trains_a_classifier(tmp_path, monkeypatch, printed):
    """In small, on printed digits."""
    tool = pytest.importorskip("weights", exc_type=ModuleNotFoundError)  # needs TensorFlow
    import tensorflow as tf

    def load(name, split, batch_size, *, seed=None, size=None, label="label"):
        digits = tf.data.Dataset.from_tensor_slices(printed if label else printed[0])
        return (digits if seed is None else digits.shuffle(400, seed).repeat()).batch(batch_size)

    monkeypatch.setattr(tool.data, "load", load)
    card = tool.classifier(tmp_path, epochs=4)
    assert weights.read(tmp_path / "classifier.weights.h5").items() >= card.items()
    assert 0 < card["loss"] < np.log(10)
    with np.load(tmp_path / "mnist_features.npz") as saved:
        assert saved["features"].shape == (400, 64)
        assert saved["count"] == 400


# ---- the reader of scenes


def pictures(count, seed):
    """Scenes and their pictures in [-1, 1], the half of them with held-out combinations."""
    rngs = [np.random.default_rng([seed, i]) for i in range(count)]
    known = [grammar.scene(rng, held_out=i % 2 == 0) for i, rng in enumerate(rngs)]
    return known, np.stack([scenes.draw(one, rng) for one, rng in zip(known, rngs, strict=True)]) / 127.5 - 1


def same(one, other):
    """Whether they show the same, whatever comes first."""
    told = []
    for scene in (one, other):
        looks = [thing[:3] for thing in scene.things]
        told.append((scene.ground, looks, scene.relation))
    ground, looks, relation = told[1]
    return told[0] in (told[1], (ground, looks[::-1], grammar.OPPOSITE.get(relation)))


def test_the_reader_reads_scenes():
    """Real ones, noised ones and blurred ones, 400 each."""
    known, images = pictures(400, seed=17)
    noised = images + np.random.default_rng(0).normal(0, 0.1, images.shape)
    for seen, least in ((images, 0.99), (noised, 0.98), (ndimage.gaussian_filter(images, (0, 0.7, 0.7, 0)), 0.96)):
        found = judges.read(seen)
        right = [one is not None and same(one, other) for one, other in zip(found, known, strict=True)]
        assert np.mean(right) >= least
        for one, other, ok in zip(found, known, right, strict=True):
            places = [[thing[3:] for thing in sorted(scene.things)] for scene in (one, other) if ok]
            np.testing.assert_allclose(*places or (0, 0), atol=1.0)


def test_the_reader_says_what_is_new_to_it(monkeypatch):
    """Other shapes are none of the six; a diamond is taken for a heart, as the docstring says."""
    strangers = {
        "bar": [(-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)],
        "L": [(-1, -1), (-0.3, -1), (-0.3, 0.3), (1, 0.3), (1, 1), (-1, 1)],
        "half a disc": [(np.sin(turn), -np.cos(turn)) for turn in np.linspace(0, np.pi, 30)],
        "diamond": [(0, -1), (1, 0), (0, 1), (-1, 0)],
    }
    judges.read(pictures(1, 0)[1])
    for size in grammar.SIZES:
        for shape in grammar.SHAPES:
            judges._outline(shape, size)  # before another is put in its place
    for name, corners in strangers.items():
        monkeypatch.setattr(scenes, "_outline", lambda shape, corners=corners: np.array(corners))
        known, images = pictures(60, seed=3)
        alone = [image for scene, image in zip(known, images, strict=True) if len(scene.things) == 1]
        found = [one.things[0].shape if one else None for one in judges.read(np.stack(alone))]
        expected = "heart" if name == "diamond" else None
        assert found.count(expected) > 0.7 * len(found), (name, found)


def test_what_is_no_whole_scene_is_none():
    _, images = pictures(40, seed=5)
    paper = scenes.draw(Scene("snow", (Thing("star", "red", "small", 20, 20),), ""), np.random.default_rng(0)) / 127.5 - 1
    assert judges.read(paper[None])[0].things[0].shape == "star"
    without = paper.copy()
    without[8:34, 8:34] = paper[8:34, 36:62]
    many = paper.copy()
    for row, column in ((2, 40), (34, 4)):
        many[row : row + 26, column : column + 24] = paper[8:34, 8:32]
    half = paper.copy()
    half[8:34, 20:34] = paper[8:34, 36:50]
    upside_down = paper[::-1]
    grey = np.zeros_like(paper)
    nowhere = np.where(abs(paper - paper[20, 20]).max(axis=2, keepdims=True) < 0.3, paper, [1, -1, 1])  # the star, on no ground
    noise = np.random.default_rng(1).uniform(-1, 1, paper.shape)
    assert judges.read(np.stack([without, many, half, upside_down, grey, nowhere, noise])) == [None] * 7
    mixed = (images[:20] + images[20:]) / 2
    assert np.mean([one is None for one in judges.read(mixed)]) > 0.7


def test_a_relation_is_the_first_ones():
    for relation, (x, y) in grammar.RELATIONS.items():
        first, second = (
            Thing("ring", "red", "large", 32 + 15 * x, 32 + 15 * y),
            Thing("star", "blue", "small", 32 - 15 * x, 32 - 15 * y),
        )
        for things, expected in (((first, second), relation), ((second, first), relation)):
            picture = scenes.draw(Scene("night", things, expected), np.random.default_rng(0))
            (found,) = judges.read(picture[None] / 127.5 - 1)
            assert (found.ground, found.relation) == ("night", relation)
            assert [thing.colour for thing in found.things] == ["red", "blue"]


def test_the_reader_doubts_another_range_on_the_callers_line():
    with pytest.warns(UserWarning, match="received 0 to 1, nothing negative") as told:
        judges.read(np.linspace(0, 1, 64 * 64 * 3).reshape(1, 64, 64, 3))
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((5, 28, 28, 1)), ValueError, r"images: expected shape \(N, 64, 64, 3\); received \(5, 28, 28, 1\)"),
        (np.zeros((5, 64, 64, 3), np.uint8), TypeError, r"images: expected floats in \[-1, 1\]; received uint8"),
        (np.linspace(-11, 1, 3 * 64**2).reshape(1, 64, 64, 3), ValueError, "images: .* received -11 to 1"),
    ],
)
def test_the_reader_names_bad_input(images, error, message):
    with pytest.raises(error, match=message):
        judges.read(images)
