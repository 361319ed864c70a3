"""Train the packaged weights anew: `make weights WEIGHTS=classifier`. Needs MNIST; the card says how long it took.

What comes out differs by machine: sums are rounded in another order, and training magnifies that.
"""

import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from lessons_lib import data, metrics, weights

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import keras
import tensorflow as tf

SEED = 0


def classifier(folder=weights.FOLDER, epochs=8, train="train", test="test"):
    """The classifier whose features the metrics compare, and what it sees in MNIST's test digits."""
    keras.utils.set_random_seed(SEED)
    batch, images = 128, len(arrays(train)[0])
    steps = images // batch
    model = metrics.classifier()
    rate = keras.optimizers.schedules.CosineDecay(0.0, epochs * steps, warmup_target=3e-3, warmup_steps=max(1, steps // 4))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss, metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)

    start = time.monotonic()
    batches = moved(data.load("mnist", train, batch, seed=SEED))
    history = model.fit(batches, steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=2)
    minutes = (time.monotonic() - start) / 60
    digits, labels = arrays(test)
    right = np.argmax(model.predict(digits, batch_size=500, verbose=0), axis=1) == labels

    look = keras.Model(model.input, model.get_layer("features").output)
    seen, of_training = (look.predict(images, batch_size=500, verbose=0) for images in (digits, arrays(train)[0][:2000]))
    known, path = metrics.statistics(seen), Path(folder) / "mnist_features.npz"
    np.savez_compressed(path, features=seen[:2000], **known._asdict())

    card = described(train, minutes) | {
        "network": "metrics.classifier()",
        "settings": f"AdamW, weight decay 0.01, learning rate 3e-3 with a cosine's decay, batches of {batch}, {epochs} epochs; "
        "images turned by up to 11 degrees, moved by up to 8 % and scaled by up to 10 %",
        "loss": round(history.history["loss"][-1], 4),
        "test_accuracy": round(float(right.mean()), 4),
        "features": f"of {known.count} digits, split {test}, the first {len(seen[:2000])} one by one",
        "features_sha256": weights.sha256(path),
        "floor": f"{metrics.frechet_distance(of_training, known)}, of {len(of_training)} training digits",
    }
    weights.write(model, Path(folder) / "classifier.weights.h5", card)
    return card


def moved(batches):
    """Training images, each a little turned, moved and scaled."""
    layers = [
        keras.layers.RandomRotation(0.03, fill_mode="constant", fill_value=-1.0, seed=SEED),
        keras.layers.RandomTranslation(0.08, 0.08, fill_mode="constant", fill_value=-1.0, seed=SEED + 1),
        keras.layers.RandomZoom(0.1, fill_mode="constant", fill_value=-1.0, seed=SEED + 2),
    ]
    change = keras.Sequential(layers)
    return batches.map(lambda images, labels: (change(images, training=True), labels)).prefetch(2)


def arrays(split):
    """All images and labels of an MNIST split."""
    images, labels = zip(*data.load("mnist", split, 1000), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def described(split, minutes):
    """What every card says: data, code, versions, machine, seed and time."""
    describe = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "data": f"MNIST, split {split}, as TensorFlow Datasets has it",
        "code": describe.stdout.strip() or "unknown",
        "versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
        "machine": f"{platform.machine()}, CPU",
        "precision": keras.config.dtype_policy().name,
        "seed": SEED,
        "minutes": round(minutes, 1),
    }


if __name__ == "__main__":
    names = {"classifier": classifier}
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        sys.exit(f"WEIGHTS: expected one of {', '.join(names)}; received {' '.join(sys.argv[1:]) or 'nothing'}")
    print(names[sys.argv[1]]())
