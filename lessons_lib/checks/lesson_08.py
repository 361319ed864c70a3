"""Checks for the exercises of lesson 08."""

import numpy as np

from lessons_lib import metrics
from lessons_lib.checks import exercise, expect


@exercise(4)
def kernel_distance(answer):
    """`answer(x, y)`: the kernel distance of two sets of features (Bińkowski et al. 2018, eq. 4)."""

    def with_mistake(x, y, size=None, plus=1, power=3, itself=1, pairs=1, across=2):
        def kernel(a, b):
            return (a @ b.T / (size or a.shape[1]) + plus) ** power

        def among(a):
            return (kernel(a, a).sum() - itself * np.trace(kernel(a, a))) / (len(a) * (len(a) - pairs))

        return among(x) + among(y) - across * kernel(x, y).mean()

    mistakes = {
        "here you divide a.b by 64; divide by D, the length of these vectors.": {"size": 64},
        "here a.b is not divided by D, the length of a vector.": {"size": 1},
        "in the kernel, the + 1 is missing.": {"plus": 0},
        "the kernel is a third power, and this is a square.": {"power": 2},
        "here vectors are also compared with themselves.": {"itself": 0, "pairs": 0},
        "you count the pairs i != j, but the sum still has those with i = j.": {"itself": 0},
        "you leave out the pairs with i = j, but divide as if they were there.": {"pairs": 0},
        "the third term has a factor of 2.": {"across": 1},
    }
    rng = np.random.default_rng(0)
    for n, m, size in ((3, 4, 2), (40, 30, 6)):
        x, y = rng.normal(size=(n, size)), rng.normal(0.5, 1, (m, size))
        received, expected = np.asarray(answer(x.copy(), y.copy())), metrics.kernel_distance(x, y).value
        expect(received.shape == (), f"kernel_distance: expected one number; received shape {received.shape}")
        seen = [hint for hint, mistake in mistakes.items() if np.isclose(received, with_mistake(x, y, **mistake))]
        expect(
            np.isclose(received, expected, rtol=1e-9, atol=1e-9),
            f"kernel_distance of {n} and {m} vectors of length {size}: expected {expected:.6g}; received {received:.6g}. Hint: "
            + (seen[0] if seen else "work out the three terms one by one, for two vectors in each set."),
        )


@exercise(5)
def mended(answer):
    """`answer(x, y)`: the squared Fréchet distance of two sets of features (Dowson and Landau 1982)."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    x = rng.normal(size=(200, 3)) * [1.0, 2.0, 0.5]
    cases = {
        "the same set twice, its features correlated": (x @ turn, x @ turn),
        "a set and itself, moved by (3, 0, 4)": (x, x + np.array([3.0, 0.0, 4.0])),
        "a set of uncorrelated features and itself, twice as wide": (x, 2 * x),
        "two sets whose features are correlated in different ways": (
            x @ turn,
            rng.normal(size=(300, 3)) * [3.0, 1.0, 1.0] @ turn.T,
        ),
    }
    of_entries = "the root is one of a matrix, C^(1/2) C^(1/2) = C; np.sqrt takes the root of each entry."
    hints = [
        of_entries,
        "look at the first term: is it squared?",
        "how do the standard deviations enter when the features are uncorrelated? Compare with the lesson's first formula.",
        "the trace of a matrix root is the sum of the roots of the matrix's eigenvalues.",
    ]
    for (name, (one, other)), hint in zip(cases.items(), hints, strict=True):
        with np.errstate(all="ignore"):
            received = np.asarray(answer(one.copy(), other.copy()))
        expected = max(0.0, metrics.frechet_distance(one, other, resamples=0).value)  # no -0.000
        expect(received.shape == (), f"mended: expected one number; received shape {received.shape}")
        if np.isclose(received, np.sum((one.mean(axis=0) - other.mean(axis=0)) ** 2), atol=1e-9) and expected > received + 1e-3:
            hint = "this is the distance of the means alone."
        expect(
            abs(received - expected) < 1e-3 * max(1, expected),
            f"mended, of {name}: expected {expected:.3f}; received {received:.3f}. Hint: {hint}",
        )
