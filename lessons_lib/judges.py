"""Networks that look at pictures and say what they see: the judges behind the distances in `metrics`.

A judge has never seen a drawn picture. This one is a digit classifier; its features are what distances compare.
"""

import functools

import numpy as np
from keras import Input, Model, layers

from lessons_lib import weights
from lessons_lib.metrics import Statistics
from lessons_lib.schedule import check_images

FEATURES = 64  # numbers that the classifier makes of an image
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


def _answers(images, output):
    """The classifier's features or logits."""
    images = np.asarray(images)
    if images.dtype.kind != "f":
        raise TypeError(f"images: expected floats in [-1, 1]; received {images.dtype}")
    images = images.astype(np.float32)
    if images.shape[1:] != (28, 28, 1) or not len(images):
        raise ValueError(f"images: expected shape (N, 28, 28, 1); received {images.shape}")
    check_images(images, most=10.0, stacklevel=4)
    images = images.clip(-1, 1)  # as `data.to_pixels` does: samplers overshoot
    network = _classifier()
    return np.concatenate([network.predict_on_batch(images[i : i + 500])[output] for i in range(0, len(images), 500)])


@functools.cache
def _classifier():
    model = classifier()
    weights.load_into(model, CLASSIFIER)
    return Model(model.input, [model.get_layer("features").output, model.output])
