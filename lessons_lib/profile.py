"""How big a run is: `smoke` (does it run at all), `slow` (a slow laptop), `cpu` (a laptop, minutes) or `gpu`.

Every lesson imports this module, which sets Keras as the lessons need it, whatever ~/.keras/keras.json says.
"""

import os
import statistics
import time
from functools import cache

import keras

PROFILES = ("smoke", "slow", "cpu", "gpu")

# `speed()` of the machine that the README's minutes are of: two cores with AVX-512.
REFERENCE = 180.0
# Less than this share of it, and lesson 05 in the size `cpu` would take more than a quarter of an hour.
SLOW = 0.45

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"The lessons run on TensorFlow, but Keras on {keras.backend.backend()!r}: unset KERAS_BACKEND (in a notebook, "
        "%env KERAS_BACKEND=tensorflow in a cell above the first one), and restart the kernel."
    )
keras.config.set_floatx("float32")
keras.config.set_image_data_format("channels_last")


def name():
    """The profile of this run: the environment's LESSONS_PROFILE, else `gpu` if TensorFlow sees one, else `slow` or `cpu`.

    The last choice measures this machine, once in a process, and says so in a line if it is `slow`. Raises ValueError for a
    LESSONS_PROFILE that is none of the four.
    """
    chosen = os.environ.get("LESSONS_PROFILE")
    if chosen:
        if chosen not in PROFILES:
            raise ValueError(f"LESSONS_PROFILE: expected one of {', '.join(PROFILES)}; received {chosen!r}")
        return chosen
    import tensorflow as tf  # here, because only this question needs it

    return "gpu" if tf.config.list_physical_devices("GPU") else _by_speed()


def choose(*, smoke, cpu, gpu, slow=None):
    """The value for this run's profile, as in `STEPS = choose(smoke=40, cpu=600, gpu=6000)`; slow: as cpu, if it is not given."""
    return {"smoke": smoke, "slow": cpu if slow is None else slow, "cpu": cpu, "gpu": gpu}[name()]


@cache
def speed():
    """How fast this machine trains convolutions like the lessons', in GFLOP/s; measured for a second, once in a process.

    Two layers, 3x3, 64 to 64 channels at 14x14 positions, in batches of 32: forward, backward and update. A tenth of the steps
    are faster than that.
    """
    import numpy as np  # here, as most callers of `choose` never measure

    # All has a name and a seed of its own: a lesson's layers are called, and its random numbers are, as if this had not run.
    x = keras.Input((14, 14, 64), name="speed_input")
    y = x
    for layer in ("speed_1", "speed_2"):
        kernel = keras.initializers.GlorotUniform(seed=0)
        y = keras.layers.Conv2D(64, 3, padding="same", kernel_initializer=kernel, dtype="float32", name=layer)(y)
    model = keras.Model(x, y, name="speed")
    model.compile(keras.optimizers.SGD(name="speed_sgd"), "mse")
    model.optimizer.build(model.trainable_variables)
    images = np.random.default_rng(0).normal(size=(32, 14, 14, 64)).astype("float32")

    # Two layers forward and by their weights, one by its input; two operations for a multiplication and an addition.
    operations = 5 * 2 * images.size * 3 * 3 * 64
    for _ in range(3):
        model.train_on_batch(images, images)  # the first compiles
    seconds, begin = [], time.perf_counter()
    while len(seconds) < 5 or time.perf_counter() - begin < 1:
        step = time.perf_counter()
        model.train_on_batch(images, images)  # its loss is a number in Python, so it has been waited for
        seconds.append(time.perf_counter() - step)
    fast, *_ = statistics.quantiles(seconds, n=10, method="inclusive")  # the steps that other work disturbed least
    return operations / fast / 1e9


@cache
def _by_speed():
    """`cpu`, or `slow` and a line that says why; once in a process."""
    share = speed() / REFERENCE
    if share >= SLOW:
        return "cpu"
    print(
        f"Profile slow: this machine trains convolutions at {speed():.0f} GFLOP/s, {share:.0%} of the speed that the usual sizes "
        "are made for, so long trainings take fewer steps. LESSONS_PROFILE=cpu insists on the usual sizes."
    )
    return "slow"
