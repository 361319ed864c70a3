"""Lesson 11's cells: what rounds of filling do to digits' right halves, and how exactly a guided walk returns. Needs MNIST."""

from functools import partial

import numpy as np

from lessons_lib import data, editing, guidance, judges, metrics, sampling, training
from tables import Cell, flat

PLANS = ((1, 50), (2, 50), (5, 50), (10, 50), (20, 50), (1, 250), (1, 500))  # rounds, steps; the last: as slow as 5 and 10
SEEDS = (1, 2)  # of two fillings of each hole
COLUMNS = 14  # that are known, of 28
STRENGTHS = (1, 2, 3, 5)  # of guidance
WAYS = {"plain": (25, 0), "corrected": (25, 1), "longer": (100, 0)}  # steps, and corrections, of a walk there and back
LABEL, NONE = 3, 10  # which digits go there and back, and the label that stands for none
FIRST = 5000  # test digits, among which they are sought


def cells(images=500, plans=PLANS, threes=200, ways=WAYS):
    """All of them."""
    for rounds, steps in plans:
        settings = {"images": images, "seeds": SEEDS, "rounds": rounds, "steps": steps, "clip": True}
        name = f"{rounds} round{'s' * (rounds > 1)}, {steps} steps"
        yield Cell(name, settings, ("digits", "classifier"), partial(filled, images, rounds, steps))
    yield Cell("real digits", {"images": images}, ("classifier",), partial(real, images))
    for g in STRENGTHS:
        settings = {"images": threes, "guidance": g, "ways": {name: list(way) for name, way in ways.items()}}
        yield Cell(f"return, g = {g}", settings, ("digits_by_label",), partial(returned, threes, g, ways))


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


def returned(images, g, ways):
    """How far threes are from themselves that walked to their noise and back under their label, with guidance both ways.

    Mean squared difference, by the names of the ways; and how much larger it is than that of the first way, three by three.
    """
    conditioned, noise = training.load_weights("digits_by_label")
    pictures, labels = (part.numpy() for part in next(iter(data.load("mnist", "test", FIRST))))
    pictures = pictures[labels == LABEL][:images]
    asked, unasked = (conditioned(np.full(len(pictures), label), batch_size=100) for label in (LABEL, NONE))
    guided = guidance.guide(asked, unasked, g) if g != 1 else asked
    errors = {}
    for name, (steps, corrections) in ways.items():
        x_T = last(sampling.invert(guided, noise, pictures, steps, corrections=corrections))
        back = ended(sampling.sample(guided, noise, pictures.shape, steps, x_T=x_T))
        errors[name] = np.mean(np.square(back - pictures), axis=(1, 2, 3))
    first, *others = errors
    more = {f"{name}_more": errors[name] - errors[first] for name in others}
    return flat({name: estimate(values) for name, values in (errors | more).items()})


def ended(states):
    """The pictures of a walk's end."""
    return last(states).clip(-1, 1)


def last(states):
    """The x_t of the last state, without keeping the others."""
    for state in states:
        x_t = state.x_t
    return x_t


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
