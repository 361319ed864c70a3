"""The tables of lesson 08, into lessons_lib/weights/tables.json: `make tables`. Needs MNIST; each cell says how long it took.

A cell is saved when it is known, so that a second call goes on where the first one stopped. What was made with other weights or
other settings is refused, not mixed in: delete the file to start anew.
"""

import json
import subprocess
import sys
import time
from datetime import date
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np

import weights as recipes
from lessons_lib import data, diffusion, metrics, sampling, training, weights

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import tensorflow as tf

FILE = weights.FOLDER / "tables.json"
DIGITS = weights.FOLDER / "digits.weights.h5"
STEPS = (10, 20, 50, 100, 200, 1000)
ETAS = {"eta 0": 0.0, "eta 0.2": 0.2, "eta 0.5": 0.5, "eta 1": 1.0, "sigma-hat": 1.0}
SEED = 1


def main(path=FILE, images=1000, steps=STEPS, training_steps=2400):
    """Make what is missing."""
    settings = {"weights_sha256": weights.read(DIGITS)["sha256"], "images": images, "seed": SEED, "clip": True}
    table = begun(path, settings | {"ladder": f"lesson 05's recipe, {training_steps} steps"})
    for name, measure in cells(images, steps, training_steps):
        if name not in table["cells"]:
            start = time.monotonic()
            table["cells"][name] = measure() | {"seconds": round(time.monotonic() - start, 1)}
            training.write_json(Path(path), table)
            print(time.strftime("%H:%M"), name, table["cells"][name], flush=True)
    return table


def cells(images, steps, training_steps):
    """(name, function that measures it)."""
    for count in steps:
        yield f"reconstruction, {count} steps", partial(reconstruction, count, images // 5)
        for eta in ETAS:
            if count < 1000 or eta in ("eta 0", "eta 1", "sigma-hat"):
                yield f"distance, {eta}, {count} steps", partial(table_1, eta, count, images)
        if count < 200:
            yield f"distance, sigma-hat by the paper's times, {count} steps", partial(by_papers_times, count, images)
    for name in LADDER:
        yield f"ladder, {name}", partial(rung, name, images, training_steps)


# ---- the DDIM paper's tables


def table_1(eta, steps, images):
    """How far the packaged network's digits are from MNIST's test digits."""
    predict_noise, noise = training.load_weights(DIGITS)
    return distances(walked(predict_noise, noise, steps, images, eta=ETAS[eta], large_noise=eta == "sigma-hat"))


def by_papers_times(steps, images):
    """The same for sigma-hat, at the times at which the DDIM paper's code has it: 901, 801, ..., 101, 1, 0 for ten steps."""
    predict_noise, noise = training.load_weights(DIGITS)
    x_t = sampling.noise_of(SEED, 0, (images, 28, 28, 1))
    for t, s in pairwise(papers_times(noise.T, steps)):
        parts = np.array_split(x_t, -(-images // 250))
        noise_pred = np.concatenate([predict_noise(part, np.full(len(part), t, np.int32)) for part in parts])
        std = sampling.sigma_hat(noise, t, s) if s else 0.0
        fresh = sampling.noise_of(SEED, 1 + noise.T - t, x_t.shape)
        x_t = np.asarray(sampling.reverse_step(x_t, noise_pred, t, s, noise, 1.0, fresh, noise_std=std, clip=True)[0])
    return distances(x_t)


def papers_times(T, steps):
    """Evenly spaced from 1, the first of T times in the paper's code, and 0."""
    return [*(1 + i * T // steps for i in reversed(range(steps))), 0]


def reconstruction(steps, images):
    """The mean squared error, for pixels in [0, 1], of test digits that were walked to noise and back (DDIM, table 2)."""
    predict_noise, noise = training.load_weights(DIGITS)
    digits = next(iter(data.load("mnist", "test", images)))[0].numpy()
    *_, top = sampling.invert(predict_noise, noise, digits, steps)
    *_, last = sampling.sample(predict_noise, noise, digits.shape, steps, x_T=top.x_t)
    errors = np.mean(np.square((last.x_t - digits) / 2), axis=(1, 2, 3))
    return rounded(metrics.Estimate(float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(images))))


# ---- the ladder


def naive_pairs(images, noise):
    """Lesson 01's: uniform noise, mixed in by an amount that the network is not told; the clean image is the target."""

    def mix(step, x_0, _):
        keys = tf.random.split(tf.stack([tf.cast(recipes.SEED, tf.int64), step]), 2)
        amount = tf.random.stateless_uniform((tf.shape(x_0)[0], 1, 1, 1), keys[0])
        uniform = tf.random.stateless_uniform(tf.shape(x_0), keys[1], -1.0, 1.0)
        mixed = tf.ensure_shape((1 - amount) * x_0 + amount * uniform, x_0.shape)
        return (mixed, tf.ones(tf.shape(x_0)[:1], tf.int32)), x_0

    return images.repeat().enumerate().map(lambda step, pair: mix(step, *pair)).prefetch(2)


def timeless_pairs(images, noise):
    """Gaussian noise by the schedule, but always with the same t."""
    pairs = data.noisify(images, noise, the_image, seed=recipes.SEED)
    return pairs.map(lambda given, x_0: ((given[0], tf.ones_like(given[1])), x_0))


def the_image(x_0, noise, alpha_bar):
    """The clean image as the target."""
    return x_0


def pairs_of(target):
    """What `recipes.recipe` takes, for a target of `data.noisify`."""
    return lambda images, noise: data.noisify(images, noise, target, seed=recipes.SEED)


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


VELOCITY = (pairs_of(diffusion.to_velocity), walk(diffusion.velocity_to_noise))
DDPM = (VELOCITY[0], walk(diffusion.velocity_to_noise, eta=1.0))
LADDER = {  # name: (pairs, sampler), whether the weights are averaged, steps
    "the naive denoiser": (naive_pairs, naive_walk, False, 50),
    "Gaussian noise": (timeless_pairs, walk(diffusion.to_noise, timeless=True), False, 50),
    "told the time": (pairs_of(the_image), walk(diffusion.to_noise), False, 50),
    "the noise as target": (pairs_of(data.the_noise), walk(lambda x_t, answer, alpha_bar: answer), False, 50),
    "the velocity as target": (*VELOCITY, False, 50),
    "averaged weights": (*VELOCITY, True, 50),
    "DDPM, 10 steps": (*DDPM, True, 10),
    "DDPM, 200 steps": (*DDPM, True, 200),
    "DDIM, 10 steps": (*VELOCITY, True, 10),
    "DDIM, 200 steps": (*VELOCITY, True, 200),
}


def rung(name, images, training_steps):
    """One rung: trained as long as the others, drawn as it is meant to be drawn."""
    pairs, draw, averaged, steps = LADDER[name]
    run = trained(pairs, training_steps)
    if not averaged:
        return distances(draw(run, steps, images))
    with run.average.applied():
        return distances(draw(run, steps, images))


@cache
def trained(pairs, steps):
    """A network that learned from such pairs, once for all rungs that draw with it."""
    return recipes.recipe(steps=steps, pairs=pairs)


# ---- what both need


def walked(predict_noise, noise, steps, images, **options):
    """Digits, drawn by `sampling.sample`."""
    options |= {"seed": SEED, "clip": True, "batch_size": 250}
    *_, last = sampling.sample(predict_noise, noise, (images, 28, 28, 1), steps, **options)
    return last.x_t


def distances(digits):
    """From MNIST's test digits."""
    found, (reference, first) = metrics.features(digits), metrics.reference()
    kernel = {f"kernel_{name}": value for name, value in rounded(metrics.kernel_distance(found, first)).items()}
    return rounded(metrics.frechet_distance(found, reference)) | kernel


def rounded(estimate):
    """To four digits, as JSON has it."""
    return {name: float(f"{value:.4g}") for name, value in estimate._asdict().items()}


def begun(path, settings):
    """The table so far, or a new one. Raises SystemExit if what is there has other settings."""
    if not Path(path).exists():
        code = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
        return {"date": date.today().isoformat(), "code": code.stdout.strip() or "unknown", "settings": settings, "cells": {}}
    table = json.loads(Path(path).read_text())
    if table["settings"] != settings:
        sys.exit(f"{path}: expected a table of {settings}; found one of {table['settings']}. Delete it to start anew.")
    return table


if __name__ == "__main__":
    main()
