"""Lesson 08's cells: the DDIM paper's two tables on digits, and what each lesson of the course bought. Needs MNIST."""

import contextlib
from functools import cache, partial
from pathlib import Path

import numpy as np

import weights as recipes
from lessons_lib import data, diffusion, judges, metrics, sampling, training
from tables import Cell, rounded

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import tensorflow as tf

STEPS = (10, 20, 50, 100, 200, 1000)
ETAS = {"eta 0": 0.0, "eta 0.2": 0.2, "eta 0.5": 0.5, "eta 1": 1.0, "sigma-hat": 1.0}
LENGTHS = {2400: (0, 1, 2), 16_000: (0,)}  # of a rung's training, in steps: its seeds
SEED = 1  # of what is drawn
BOTH = ("digits", "classifier")  # the packaged network that draws, and the judge of every distance
CHECKPOINTS = Path("build/tables")


def cells(images=1000, steps=STEPS, lengths=LENGTHS):
    """All of them."""
    drawn = {"images": images, "seed": SEED, "clip": True}
    for count in steps:
        settings = {"images": images // 5}
        yield Cell(f"reconstruction, {count} steps", settings, ("digits",), partial(reconstruction, count, images // 5))
        for eta in ETAS:
            if count < 1000 or eta in ("eta 0", "eta 1", "sigma-hat"):
                yield Cell(f"distance, {eta}, {count} steps", drawn, BOTH, partial(table_1, eta, count, images))
            if count < 200 and eta in ("eta 0", "eta 1", "sigma-hat"):
                settings, measure = drawn | {"quadratic": True}, partial(table_1, eta, count, images, quadratic=True)
                yield Cell(f"distance, {eta}, quadratic times, {count} steps", settings, BOTH, measure)
    for length, seeds in lengths.items():
        for seed in seeds:
            for name in LADDER:
                settings = drawn | {"training": length, "training_seed": seed, "recipe": recipes.usual()}
                measure = partial(rung, name, images, length, seed)
                yield Cell(f"ladder, {name}, trained {length} steps, seed {seed}", settings, BOTH[1:], measure)


# ---- the DDIM paper's tables


def table_1(eta, steps, images, quadratic=False):
    """How far the packaged network's digits are from MNIST's test digits."""
    predict_noise, noise = training.load_weights("digits")
    times = sampling.time_grid(noise.T, steps, quadratic=quadratic)
    return distances(walked(predict_noise, noise, times, images, eta=ETAS[eta], large_noise=eta == "sigma-hat"))


def reconstruction(steps, images):
    """The mean squared error, for pixels in [0, 1], of test digits that were walked to noise and back (DDIM, table 2)."""
    predict_noise, noise = training.load_weights("digits")
    digits = next(iter(data.load("mnist", "test", images)))[0].numpy()
    *_, top = sampling.invert(predict_noise, noise, digits, steps)
    *_, last = sampling.sample(predict_noise, noise, digits.shape, steps, x_T=top.x_t)
    errors = np.mean(np.square((last.x_t - digits) / 2), axis=(1, 2, 3))
    return rounded(metrics.Estimate(float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(images))))


# ---- the ladder


def naive_pairs(images, noise, seed):
    """Lesson 01's: uniform noise, mixed in by an amount that the network is not told; the clean image is the target."""

    def mix(step, x_0, _):
        keys = tf.random.split(tf.stack([tf.cast(seed, tf.int64), step]), 2)
        amount = tf.random.stateless_uniform((tf.shape(x_0)[0], 1, 1, 1), keys[0])
        uniform = tf.random.stateless_uniform(tf.shape(x_0), keys[1], -1.0, 1.0)
        mixed = tf.ensure_shape((1 - amount) * x_0 + amount * uniform, x_0.shape)
        return (mixed, tf.ones(tf.shape(x_0)[:1], tf.int32)), x_0

    return images.repeat().enumerate().map(lambda step, pair: mix(step, *pair)).prefetch(2)


def timeless_pairs(images, noise, seed):
    """Gaussian noise by the schedule, but always with the same t."""
    pairs = PAIRS["image"](images, noise, seed)
    return pairs.map(lambda given, x_0: ((given[0], tf.ones_like(given[1])), x_0))


def pairs_of(target):
    """What `recipes.recipe` takes, for a target of `data.noisify`."""
    return lambda images, noise, seed: data.noisify(images, noise, target, seed=seed)


PAIRS = {  # what a rung's network learns from
    "naive": naive_pairs,
    "timeless": timeless_pairs,
    "image": pairs_of(lambda x_0, noise, alpha_bar: x_0),
    "noise": pairs_of(data.the_noise),
    "velocity": pairs_of(diffusion.to_velocity),
}


def naive_walk(run, steps, images):
    """Lesson 01's sampler: from uniform noise, by the guess at the clean image, in even parts."""
    x = np.random.default_rng(SEED).uniform(-1, 1, (images, 28, 28, 1)).astype(np.float32)
    once = np.ones(images, np.int32)
    for left in range(steps, 0, -1):
        x += (run.model.predict([x, once], batch_size=250, verbose=0) - x) / left
    return x


def walk(from_answer, timeless=False, **options):
    """A sampler for networks whose answer `from_answer(x_t, answer, alpha_bar)` makes noise of."""

    def draw(run, steps, images):
        def predict_noise(x_t, t):
            answer = run.model.predict_on_batch([x_t, np.ones_like(t) if timeless else t])
            return from_answer(x_t, answer, run.noise.at(t, like=x_t))

        return walked(predict_noise, run.noise, steps, images, **options)

    return draw


VELOCITY = ("velocity", walk(diffusion.velocity_to_noise))
DDPM = ("velocity", walk(diffusion.velocity_to_noise, eta=1.0))
LADDER = {  # name: (pairs, sampler), whether the weights are averaged, steps
    "the naive denoiser": ("naive", naive_walk, False, 50),
    "Gaussian noise": ("timeless", walk(diffusion.to_noise, timeless=True), False, 50),
    "told the time": ("image", walk(diffusion.to_noise), False, 50),
    "the noise as target": ("noise", walk(lambda x_t, answer, alpha_bar: answer), False, 50),
    "the velocity as target": (*VELOCITY, False, 50),
    "averaged weights": (*VELOCITY, True, 50),
    "DDPM, 10 steps": (*DDPM, True, 10),
    "DDPM, 200 steps": (*DDPM, True, 200),
    "DDIM, 10 steps": (*VELOCITY, True, 10),
    "DDIM, 200 steps": (*VELOCITY, True, 200),
}


def rung(name, images, length, seed):
    """One rung: trained as long as the others, drawn as it is meant to be drawn."""
    pairs, draw, averaged, steps = LADDER[name]
    run = trained(pairs, length, seed)
    with run.average.applied() if averaged else contextlib.nullcontext():
        return distances(draw(run, steps, images))


@cache
def trained(pairs, length, seed):
    """A network that learned from such pairs, once for all rungs that draw with it."""
    return recipes.recipe(CHECKPOINTS / f"{pairs}-{length}-{seed}", steps=length, seed=seed, pairs=PAIRS[pairs])


# ---- what both need


def walked(predict_noise, noise, steps, images, **options):
    """Digits, drawn by `sampling.sample`."""
    options |= {"seed": SEED, "clip": True, "batch_size": 250}
    *_, last = sampling.sample(predict_noise, noise, (images, 28, 28, 1), steps, **options)
    return last.x_t


def distances(digits):
    """From MNIST's test digits."""
    found, (reference, first) = judges.features(digits), judges.reference()
    kernel = {f"kernel_{name}": value for name, value in rounded(metrics.kernel_distance(found, first)).items()}
    return rounded(metrics.frechet_distance(found, reference)) | kernel
