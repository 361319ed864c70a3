"""Lesson 10's cells: what guidance buys and costs, and what several heads do. Needs MNIST."""

from functools import cache, partial
from pathlib import Path

import numpy as np

import weights as recipes
from lessons_lib import data, guidance, judges, metrics, sampling, training
from tables import Cell, flat

STRENGTHS = (0, 1, 1.5, 2, 3, 5, 8)
INTERVALS = ((1, 300), (301, 600), (601, 1000))  # of t
INSIDE = 3  # how strong guidance is within an interval
STEPS = 25  # of a walk
LENGTH, SEEDS, HEADS = 2400, (0, 1, 2), (1, 4)  # of the trainings that compare heads
FIRST = 2000  # of real digits
SEED = 1  # of what is drawn
NETWORK = "digits_by_label"
NONE = 10  # the label that stands for none
CHECKPOINTS = Path("build/tables")


def cells(images=1000, length=LENGTH, seeds=SEEDS):
    """All of them."""
    drawn, both = {"images": images, "seed": SEED, "clip": True, "steps": STEPS}, (NETWORK, "classifier")
    yield Cell("real digits", {"images": images}, both[1:], partial(real, images))
    for g in STRENGTHS:
        yield Cell(f"guidance {g:g}", drawn | {"guidance": g}, both, partial(guided, images, g))
    for low, high in INTERVALS:
        settings = drawn | {"guidance": INSIDE, "low": low, "high": high}
        yield Cell(f"guidance {INSIDE}, t in {low}..{high}", settings, both, partial(guided, images, INSIDE, low, high))
    for heads in HEADS:
        for seed in seeds:
            settings = drawn | {"training": length, "training_seed": seed, "recipe": recipes.usual() | {"heads": heads}}
            yield Cell(f"heads {heads}, seed {seed}", settings, both[1:], partial(with_heads, heads, images, length, seed))


def real(images):
    """What MNIST's test digits are like: what the judge sees rightly, and the floor of the distances, from those after them."""
    split = f"test[{FIRST}:{FIRST + images}]"  # the judge's reference holds the features of those before
    pictures, labels = (part.numpy() for part in next(iter(data.load("mnist", split, images))))
    return looks(pictures, labels)


def guided(images, g, low=0, high=1000):
    """Digits by label, drawn with so much guidance for low <= t <= high, and as trained elsewhere; all from the same noise."""
    labels = asked(images)
    pictures = drawn(images, g, low, high)
    before = judges.labels(drawn(images, 1)) == labels
    more = (judges.labels(pictures) == labels) - before.astype(float)
    gain = metrics.Estimate(float(more.mean()), float(more.std(ddof=1) / np.sqrt(images)))
    return looks(pictures, labels) | flat({"gain": gain})


def asked(images):
    """The labels: 0 to 9, and again."""
    return np.arange(images) % 10


@cache
def drawn(images, g, low=0, high=1000):
    """The same digits are asked for twice: once to be looked at, once to be compared with."""
    conditioned, noise = training.load_weights(NETWORK)
    one, other = (conditioned(labels, batch_size=250) for labels in (asked(images), np.full(images, NONE)))
    predict_noise = guidance.within(low, high, guidance.guide(one, other, g), one)
    *_, last = sampling.sample(predict_noise, noise, (images, 28, 28, 1), STEPS, seed=SEED, clip=True)
    return last.x_t


def with_heads(heads, images, length, seed):
    """How far digits are from MNIST's that an unconditional network draws whose attention has so many heads."""
    run = recipes.trained(CHECKPOINTS / f"heads-{heads}-{length}-{seed}", steps=length, seed=seed, heads=heads)
    return distances(judges.features(recipes.drawn(run, STEPS, images, SEED)))


def looks(pictures, labels):
    """Numbers of digits, each with its standard error.

    right: the share that the judge takes for what they should be. frechet, kernel: Fréchet and kernel distance from MNIST's test
    digits. precision, recall. variance: of features within a class, summed over features, the mean of the classes.
    """
    found, (_, reference) = judges.features(pictures), judges.reference()
    right = judges.labels(pictures) == labels
    share = metrics.Estimate(float(right.mean()), float(right.std(ddof=1) / np.sqrt(len(right))))
    precision, recall = metrics.precision_recall(reference[: len(found)], found)
    parts = {"right": share, "precision": precision, "recall": recall, "variance": within_classes(found, labels)}
    return distances(found) | flat(parts)


def within_classes(found, labels):
    """How much features vary among digits of one label: the unbiased variance, summed over features, the mean of the labels."""
    each, errors = [], []
    for label in np.unique(labels):
        of = found[labels == label]
        squares = np.square(of - of.mean(axis=0)).sum(axis=1) * len(of) / (len(of) - 1)
        each.append(squares.mean())
        errors.append(squares.std(ddof=1) / np.sqrt(len(of)))
    return metrics.Estimate(float(np.mean(each)), float(np.sqrt(np.sum(np.square(errors))) / len(each)))


def distances(found):
    """Of features from those of MNIST's test digits."""
    reference, first = judges.reference()
    return flat({"frechet": metrics.frechet_distance(found, reference), "kernel": metrics.kernel_distance(found, first)})
