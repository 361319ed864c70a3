import numpy as np
import pytest
import tensorflow_datasets as tfds

from lessons_lib import glyphs


def drawn(digit, count, seed=0):
    return np.stack([glyphs.draw(digit, np.random.default_rng([seed, i])) for i in range(count)])


def test_a_glyph_is_like_a_digit_of_mnist():
    images = drawn(3, 200)
    assert images.shape == (200, 28, 28, 1)
    assert images.dtype == np.uint8
    assert (images.max(axis=(1, 2, 3)) == 255).all()  # full ink somewhere
    border = np.concatenate([images[:, [0, -1]].reshape(200, -1), images[:, :, [0, -1]].reshape(200, -1)], axis=1)
    assert np.mean(border > 64) < 0.001  # nothing is cut off
    assert 0.05 < np.mean(images > 127) < 0.25  # MNIST: 0.13


def test_the_same_seed_draws_the_same():
    np.testing.assert_array_equal(drawn(5, 3), drawn(5, 3))


def test_glyphs_vary():
    images = drawn(7, 100).reshape(100, -1)
    assert len(np.unique(images, axis=0)) == 100


def test_every_typeface_has_every_digit():
    for face in glyphs.FACES:
        outlines = {glyphs._outline(face, digit).vertices.tobytes() for digit in range(10)}
        assert len(outlines) == 10  # a missing one would be drawn as the same box each time


def test_the_ten_digits_can_be_told_apart():
    """The nearest of 100 examples a digit has the right label nine times in ten; by chance it would be one in ten."""
    known = np.stack([drawn(digit, 100).reshape(100, -1) for digit in range(10)]).astype(float)
    right = 0
    for digit in range(10):
        for image in drawn(digit, 20, seed=1).reshape(20, -1):
            right += np.argmin(((known - image) ** 2).sum(axis=2).min(axis=1)) == digit
    assert right > 180


def test_the_data_set_holds_all_ten_digits_as_they_are_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr(glyphs, "COUNTS", {"train": 150, "test": 20})
    builder = glyphs.Glyphs(data_dir=tmp_path)
    assert builder.info.features["image"].shape == (28, 28, 1)
    assert builder.info.features["label"].num_classes == 10
    builder.download_and_prepare()
    sets = {split: list(tfds.as_numpy(builder.as_dataset(split=split))) for split in ("train", "test")}
    assert {split: len(examples) for split, examples in sets.items()} == {"train": 150, "test": 20}
    assert {int(one["label"]) for one in sets["train"]} == set(range(10))
    for number, (split, examples) in enumerate(sets.items()):
        known = set()
        for i in range(len(examples)):
            rng = np.random.default_rng([number, i])
            label = int(rng.integers(10))
            known.add((label, glyphs.draw(label, rng).tobytes()))
        assert {(int(one["label"]), one["image"].tobytes()) for one in examples} == known, split


@pytest.mark.parametrize("digit", [-1, 10, "3", 3.0])
def test_only_ten_digits(digit):
    with pytest.raises(ValueError, match=r"digit: expected 0\.\.9; received"):
        glyphs.draw(digit, np.random.default_rng(0))
