"""Distances between sets of digits, in the features of a small classifier, with error bars."""

import functools
from typing import NamedTuple

import numpy as np
from keras import Input, Model, layers

from lessons_lib import weights

FEATURES = 64  # numbers that the classifier makes of an image
CLASSIFIER = weights.FOLDER / "classifier.weights.h5"


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self):
        return f"{self.value:.2f} ± {self.error:.2f}"


class Statistics(NamedTuple):
    """What a Fréchet distance needs of a set of features: mean (D,) and covariance (D, D), float64, of `count` images."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def classifier():
    """A digit classifier: (B, 28, 28, 1) in [-1, 1] to (B, 10) logits; its layer "features" is what the distances look at."""
    x = image = Input((28, 28, 1))
    for filters in (32, 64, 96):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization()(x)
            x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D(2)(x) if filters < 96 else layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(FEATURES, activation="relu", name="features")(x)
    return Model(image, layers.Dense(10)(x), name="classifier")


def features(images):
    """What the packaged classifier sees in digits: (N, 28, 28, 1) floats in [-1, 1] to (N, 64) float32.

    Raises TypeError for integers, ValueError for other shapes and for NaN.
    """
    images = np.asarray(images)
    if images.dtype.kind != "f":
        raise TypeError(f"images: expected floats in [-1, 1]; received {images.dtype}")
    images = images.astype(np.float32)
    if images.shape[1:] != (28, 28, 1) or not len(images):
        raise ValueError(f"images: expected shape (N, 28, 28, 1); received {images.shape}")
    if not np.isfinite(images).all():
        raise ValueError(f"images: expected finite values; received {np.sum(~np.isfinite(images))} NaN or infinite ones")
    network = _features()
    return np.concatenate([network.predict_on_batch(images[i : i + 500]) for i in range(0, len(images), 500)])


def statistics(x):
    """The `Statistics` of features x, (N, D), N at least 2."""
    x = _checked("x", x)
    return Statistics(x.mean(axis=0), np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]), len(x))


def frechet_distance(x, y, *, resamples=100, seed=0):
    """The squared Fréchet distance of two Gaussians with the sets' means and covariances (Dowson and Landau 1982, eq. 4).

    x, y: features, (N, D), or the `Statistics` of such. Gives an `Estimate`; its error is that of drawing the images, by the
    bootstrap over those of x and y that are features. The value is too large, by a bias that falls with N. Near-singular
    covariances do no harm: all goes through eigenvalues in float64, and those below zero by rounding count as zero.
    """
    sets = [one if isinstance(one, Statistics) else _checked(name, one) for name, one in (("x", x), ("y", y))]
    sizes = [one.mean.shape[-1] if isinstance(one, Statistics) else one.shape[-1] for one in sets]
    if sizes[0] != sizes[1]:
        raise ValueError(f"y: expected {sizes[0]} features an image, as x has; received {sizes[1]}")
    rng = np.random.default_rng(seed)

    def distance(draw):
        return _frechet(*(one if isinstance(one, Statistics) else statistics(draw(one)) for one in sets))

    again = [distance(lambda one: one[rng.integers(len(one), size=len(one))]) for _ in range(resamples)]
    return Estimate(distance(lambda one: one), float(np.std(again, ddof=1)) if resamples > 1 else float("nan"))


def reference():
    """MNIST's 10,000 test digits, as the classifier sees them: their `Statistics`, and the features of the first 2,000.

    Packaged numbers, (64,) and (64, 64), and (2000, 64): they need no MNIST. Raises WeightsError if the file is damaged.
    """
    path, card = weights.FOLDER / "mnist_features.npz", weights.read(CLASSIFIER)
    received = weights.sha256(path)
    if received != card["features_sha256"]:
        raise weights.WeightsError(
            f"{path.name}: expected SHA-256 {card['features_sha256']}, as the classifier's card says; received {received}. "
            "Restore the file from the repository, or train the classifier again."
        )
    with np.load(path) as saved:
        return Statistics(saved["mean"], saved["covariance"], int(saved["count"])), saved["features"]


@functools.cache
def _features():
    model = classifier()
    weights.load_into(model, CLASSIFIER)
    return Model(model.input, model.get_layer("features").output)


def _frechet(one, other):
    root = _square_root(one.covariance)
    product = np.linalg.eigvalsh(root @ other.covariance @ root).clip(0)
    means = np.sum((one.mean - other.mean) ** 2)
    return float(means + np.trace(one.covariance) + np.trace(other.covariance) - 2 * np.sqrt(product).sum())


def _square_root(covariance):
    values, axes = np.linalg.eigh(covariance)
    return axes * np.sqrt(values.clip(0)) @ axes.T


def _checked(argument, values):
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"{argument}: expected features of at least 2 images, (N, D); received shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{argument}: expected finite values; received {np.sum(~np.isfinite(values))} NaN or infinite ones")
    return values
