"""Lesson 11's cells: what rounds of filling do to the right halves of digits, judged without knowing the truth. Needs MNIST."""

from functools import partial

import numpy as np

from lessons_lib import data, editing, judges, metrics, training
from tables import Cell, flat

PLANS = (
    (1, 50),
    (2, 50),
    (5, 50),
    (10, 50),
    (20, 50),
    (1, 250),
    (1, 500),
)  # rounds and steps; the last two: as slow as 5, 10 rounds
SEEDS = (1, 2)  # of two fillings of each hole
COLUMNS = 14  # that are known, of 28


def cells(images=500, plans=PLANS):
    """All of them."""
    for rounds, steps in plans:
        settings = {"images": images, "seeds": SEEDS, "rounds": rounds, "steps": steps, "clip": True}
        yield Cell(f"{rounds} rounds, {steps} steps", settings, ("digits", "classifier"), partial(filled, images, rounds, steps))
    yield Cell("real digits", {"images": images}, ("classifier",), partial(real, images))


def halves(images):
    """Test digits, what they are, and what of them is known: the left half."""
    pictures, labels = (part.numpy() for part in next(iter(data.load("mnist", "test", images))))
    known = np.zeros(pictures.shape, bool)
    known[:, :, :COLUMNS] = True
    return pictures, labels, known


def filled(images, rounds, steps):
    """What two fillings of each hole are like.

    error: mean squared difference from the truth, over unknown pixels. between: that of one filling from the other; both are the
    same where fillings are drawn from what could be there. ratio: of the two. kept: the share that the judge still takes for the
    digit it was. seam: see `seams`.
    """
    predict_noise, noise = training.load_weights("digits")
    pictures, labels, known = halves(images)
    one, other = (
        ended(editing.fill(predict_noise, noise, pictures, known, steps, repeats=rounds, seed=seed, clip=True, batch_size=250))
        for seed in SEEDS
    )
    errors = 0.5 * (apart(one, pictures) + apart(other, pictures))
    between = apart(one, other)
    ratio = errors.mean() / between.mean()
    of_ratio = (errors - ratio * between).std(ddof=1) / between.mean() / np.sqrt(images)
    kept = judges.labels(one) == labels
    numbers = {"error": errors, "between": between, "kept": kept, "seam": seams(one)}
    numbers = {name: estimate(values) for name, values in numbers.items()}
    return flat(numbers | {"ratio": metrics.Estimate(float(ratio), float(of_ratio))})


def real(images):
    """The same of digits as they are: the judge's share, and their seams."""
    pictures, labels, _ = halves(images)
    return flat({"kept": estimate(judges.labels(pictures) == labels), "seam": estimate(seams(pictures))})


def ended(states):
    """The pictures of the last state, without keeping the others."""
    for state in states:
        last = state.x_t
    return last.clip(-1, 1)


def apart(one, other):
    """For each picture, the mean squared difference over the unknown half."""
    return np.mean(np.square(one - other)[:, :, COLUMNS:], axis=(1, 2, 3))


def seams(pictures):
    """For each picture, how much neighbours differ across the border, over how much they do one column to either side."""
    steps = np.abs(np.diff(pictures, axis=2)).mean(axis=(1, 3))
    return steps[:, COLUMNS - 1] / np.maximum(steps[:, [COLUMNS - 2, COLUMNS]].mean(axis=1), 1e-3)


def estimate(values):
    """Mean and standard error."""
    return metrics.Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))
