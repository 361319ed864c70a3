"""Who looks at pictures and says what they show: the judges behind the distances in `metrics`. None has seen a drawn picture.

The digits' judge is a network, a classifier whose features distances compare. The scenes' judge knows how they are drawn.
"""

import functools

import numpy as np
from keras import Input, Model, layers
from PIL import Image
from scipy import ndimage

from lessons_lib import grammar, scenes, weights
from lessons_lib.grammar import Scene, Thing
from lessons_lib.metrics import Statistics
from lessons_lib.schedule import check_images

FEATURES = 64  # numbers that the classifier makes of an image
FIT = 0.7  # the least intersection over union of a thing with an outline
CLASSIFIER = weights.FOLDER / "classifier.weights.h5"


def classifier():
    """A digit classifier: (B, 28, 28, 1) in [-1, 1] to (B, 10) logits; its layer "features" is what the distances look at."""
    last = {"data_format": "channels_last"}  # whatever Keras' settings are on this machine
    x = image = Input((28, 28, 1))
    for filters in (32, 64, 96):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, **last)(x)
            x = layers.BatchNormalization()(x)
            x = layers.Activation("relu")(x)
        x = layers.MaxPooling2D(2, **last)(x) if filters < 96 else layers.GlobalAveragePooling2D(**last)(x)
    x = layers.Dense(FEATURES, activation="relu", name="features")(x)
    return Model(image, layers.Dense(10)(x), name="classifier")


def features(images):
    """What the packaged classifier sees in digits: (N, 28, 28, 1) floats in [-1, 1] to (N, 64) float32.

    What lies a little outside is taken for the nearest value inside, as a sampler may overshoot. Raises TypeError for integers,
    ValueError for other shapes, for values beyond [-10, 10] and for NaN; warns of images without anything negative.
    """
    return _answers(images, 0)


def labels(images):
    """Which digit the packaged classifier takes each image for, (N,) integers; images as for `features`."""
    return _answers(images, 1).argmax(axis=1)


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


def read(images, fit=FIT):
    """What pictures of `scenes` show: a list of a `grammar.Scene` for each, or None where there is no whole one.

    images: (N, 64, 64, 3), otherwise as for `features`. A whole scene is one of the grounds and one or two patches of the six
    colours, each covering one of the twelve outlines (six shapes, two sizes) up to a quarter or so: intersection over union of
    at least `fit`. Two things come in the order of their colours, and the relation is the first one's. Of 600 real scenes all
    were read rightly, also under noise of 0.1; blurred by 0.7 pixels, 98.7 %. Other shapes are refused, with two exceptions:
    most diamonds, and triangles that stand on their tip, are taken for hearts.
    """
    images = _checked(images, (grammar.SIZE, grammar.SIZE, 3), stacklevel=4)
    return [_scene(pixels, fit) for pixels in 127.5 * (images + 1)]


def _checked(images, shape, stacklevel):
    """What can be pictures of such a shape, clipped; stacklevel: of `check_images`."""
    images = np.asarray(images)
    if images.dtype.kind != "f":
        raise TypeError(f"images: expected floats in [-1, 1]; received {images.dtype}")
    images = images.astype(np.float32)
    if images.shape[1:] != shape or not len(images):
        raise ValueError(f"images: expected shape (N, {', '.join(map(str, shape))}); received {images.shape}")
    check_images(images, most=10.0, stacklevel=stacklevel)
    return images.clip(-1, 1)  # as `data.to_pixels` does: samplers overshoot


def _answers(images, output):
    """The classifier's features or logits."""
    images = _checked(images, (28, 28, 1), stacklevel=5)
    network = _classifier()
    return np.concatenate([network.predict_on_batch(images[i : i + 500])[output] for i in range(0, len(images), 500)])


@functools.cache
def _classifier():
    model = classifier()
    weights.load_into(model, CLASSIFIER)
    return Model(model.input, [model.get_layer("features").output, model.output])


# ---- the reader of scenes

NEAR = 60  # how far from a thing's colour, in 0..255, its pixels may be
SMALLEST = 12  # pixels of a thing
COVERED = 0.65  # how much of a pixel on the edge a thing covers, for it to be that near


def _scene(pixels, fit):
    """Read one picture, (64, 64, 3) in 0..255."""
    away = np.linalg.norm(pixels[:, :, None] - np.array(list(grammar.COLOURS.values())), axis=-1)
    nearest = np.where(away.min(axis=2) < NEAR, away.argmin(axis=2), -1)
    things, free = [], np.ones(nearest.shape, bool)
    for number, colour in enumerate(grammar.COLOURS):
        patches, count = ndimage.label(nearest == number, np.ones((3, 3)))
        for patch in (patches == i for i in range(1, count + 1)):
            if patch.sum() >= SMALLEST:
                things.append(_thing(patch, colour, fit))
                free &= ~ndimage.binary_dilation(patch, iterations=3)
    ground = _where(pixels, free)
    if ground is None or None in things or not 1 <= len(things) <= 2:
        return None
    if len(things) == 1:
        return Scene(ground, tuple(things), "")
    way = np.subtract(things[0][3:], things[1][3:])
    return Scene(ground, tuple(things), max(grammar.RELATIONS, key=lambda relation: way @ grammar.RELATIONS[relation]))


def _thing(patch, colour, fit):
    """The outline that fits a patch best, if one does."""
    fits = {}
    for shape in grammar.SHAPES:
        for size in grammar.SIZES:
            outline = _outline(shape, size)
            way = np.subtract(ndimage.center_of_mass(patch), ndimage.center_of_mass(outline > COVERED))
            moved = ndimage.shift(outline, way, order=1) > COVERED
            fits[(moved & patch).sum() / (moved | patch).sum()] = Thing(
                shape, colour, size, *np.round(32 + way[::-1], 2).tolist()
            )
    return fits[max(fits)] if max(fits) >= fit else None


@functools.cache
def _outline(shape, size):
    """How much of each pixel such a thing covers in the picture's middle, (64, 64)."""
    large = Image.new("RGB", 2 * (scenes.FINE * grammar.SIZE,))
    scenes.paint(large, Thing(shape, "yellow", size, 32, 32))
    return np.asarray(large.resize((grammar.SIZE, grammar.SIZE), Image.Resampling.BOX))[..., 0] / grammar.COLOURS["yellow"][0]


def _where(pixels, free):
    """The ground whose sky at the top and whose land in front are nearest, where nothing stands; None if none is near."""
    seen = [np.median(pixels[rows][free[rows]], axis=0) for rows in (slice(0, 6), slice(58, 64)) if free[rows].any()]
    if len(seen) < 2:
        return None
    away = {name: np.mean(np.abs(np.subtract(seen, [ground[0], ground[3]]))) for name, ground in grammar.GROUNDS.items()}
    name = min(away, key=away.get)
    return name if away[name] < 40 else None
