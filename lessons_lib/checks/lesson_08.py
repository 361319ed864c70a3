"""Checks for the exercises of lesson 08."""

import numpy as np

from lessons_lib import metrics
from lessons_lib.checks import exercise


@exercise(4)
def kernel_distance(answer):
    """`answer(x, y)`: the kernel distance of two sets of features (Binkowski et al. 2018, eq. 4)."""
    rng = np.random.default_rng(0)
    for n, m, size in ((3, 3, 1), (5, 8, 2), (40, 30, 6)):
        x, y = rng.normal(size=(n, size)), rng.normal(0.5, 1, (m, size))
        received, expected = np.asarray(answer(x.copy(), y.copy())), metrics.kernel_distance(x, y).value
        assert received.shape == (), f"kernel_distance: expected one number; received shape {received.shape}"
        assert abs(received - expected) < 1e-9 * max(1, abs(expected)), (
            f"kernel_distance of {n} and {m} vectors of {size}: expected {expected:.6g}; received {received:.6g}. Hint: "
            "k(a, b) = (a.b / D + 1)^3, with D the length of a vector; nobody is compared with itself, and so n vectors make "
            "n (n - 1) pairs, while there are n m across, which count twice."
        )


@exercise(5)
def mended(answer):
    """`answer(x, y)`: the squared Fréchet distance of two sets of features (Dowson and Landau 1982, eq. 4)."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    x = rng.normal(size=(200, 3)) * [1.0, 2.0, 0.5]
    cases = {
        "the same set twice": (x @ turn, x @ turn),
        "a set and itself, moved by (3, 0, 4)": (x, x + np.array([3.0, 0.0, 4.0])),
        "a set of independent features and itself, twice as wide": (x, 2 * x),
        "two sets whose features depend on each other": (x @ turn, rng.normal(size=(300, 3)) * [3.0, 1.0, 1.0] @ turn.T),
    }
    hints = [
        "the traces add up to 0 where both covariances are C, as the root of C C is C: of the matrix, not of its entries.",
        "the distance is a squared one, in its first term as in the others: for a move by (3, 0, 4) that is 25.",
        "the root of a product of matrices: its trace is the sum of the roots of the product's eigenvalues.",
        "the root of a product of matrices: its trace is the sum of the roots of the product's eigenvalues.",
    ]
    for (name, (one, other)), hint in zip(cases.items(), hints, strict=True):
        with np.errstate(all="ignore"):
            received = np.asarray(answer(one.copy(), other.copy()))
        expected = max(0.0, metrics.frechet_distance(one, other, resamples=0).value)  # no -0.000
        assert received.shape == (), f"mended: expected one number; received shape {received.shape}"
        assert abs(received - expected) < 1e-3 * max(1, expected), (
            f"mended, of {name}: expected {expected:.3f}; received {received:.3f}. Hint: {hint}"
        )
