"""Checks for the exercises of lesson 05."""

import numpy as np

from lessons_lib import schedule
from lessons_lib.checks import exercise


@exercise(4)
def moving_average(answer):
    """`answer(values, decay)`: the exponential moving average that starts with values[0], with a decay that warms up."""
    rng = np.random.default_rng(0)
    for decay, count in ((0.5, 30), (0.2, 10), (0.99, 4)):
        values = rng.normal(size=(count, 3))
        expected = values[0]
        for n in range(1, count):
            d = min(decay, (1 + n) / (10 + n))
            expected = d * expected + (1 - d) * values[n]
        received = np.asarray(answer(list(values), decay))
        assert received.shape == (3,), (
            f"moving_average: expected one average, of shape (3,) like each of the values; received shape {received.shape}"
        )
        worst = np.abs(received - expected).max()
        assert worst < 1e-9, (
            f"moving_average of {count} values with decay {decay}: expected {expected.round(3)}; received "
            f"{received.round(3)}. Hint: d stands at what is remembered, 1 - d at what is new; in step n, from 1, it is the "
            "smaller of decay and (1 + n) / (10 + n)."
        )


@exercise(5)
def min_snr(answer):
    """`answer(schedule, gamma)`: the weights of a velocity's squared error, for t = 1..T, that are min-SNR's for x_0's."""
    for chain in (schedule.linear(50), schedule.cosine(30)):
        for gamma in (5.0, 1.0):
            a = chain.alpha_bar[1:]
            expected = np.minimum(a, gamma * (1 - a))  # min(snr, gamma) * (1 - a)
            received = np.asarray(answer(chain, gamma))
            assert received.shape == a.shape, (
                f"min_snr: expected a weight for each t in 1..{chain.T}, shape {a.shape}; received shape {received.shape}. "
                "Hint: the arrays of a schedule begin at t = 0."
            )
            worst = np.abs(received - expected).argmax()
            assert np.allclose(received, expected, rtol=1e-6, atol=1e-9), (
                f"min_snr with gamma = {gamma}: expected {expected[worst]:.4f} at t = {worst + 1}, where the ratio is "
                f"{chain.snr[worst + 1]:.3g}; received {received[worst]:.4f}. Hint: an error of x_0 weighs min(snr, gamma), "
                "and the squared error of x_0 is 1 - alpha_bar times that of the velocity."
            )


@exercise(6)
def make_pairs(answer):
    """`answer(x_0, schedule, rng)`: x_t, t in 1..T and noise of its own for every image, that fit together."""
    chain, rng = schedule.linear(4), np.random.default_rng(0)
    x_0 = rng.normal(size=(400, 4, 4, 1))
    x_t, t, noise = (np.asarray(part) for part in answer(x_0, chain, rng))
    assert x_t.shape == noise.shape == x_0.shape, (
        f"make_pairs: expected x_t and noise of the shape of x_0, {x_0.shape}; received {x_t.shape} and {noise.shape}"
    )
    times = np.unique(t).tolist()
    assert times == [1, 2, 3, 4], (
        f"make_pairs: expected every t from 1 to {chain.T} for T = {chain.T}; received {times}. Hint: t = 0 is the data, with "
        "nothing to remove, and rng.integers leaves its upper end out."
    )
    assert not np.array_equal(noise[0], noise[1]), (
        "make_pairs: expected noise of its own for every image; received the same for two of them. Hint: look at the shape that "
        "is drawn."
    )
    mean, spread = noise.mean(), noise.std()
    assert abs(mean) + abs(spread - 1) < 0.06, (
        f"make_pairs: expected noise of mean 0 and standard deviation 1; received {mean:.2f} and {spread:.2f}"
    )
    alpha_bar = chain.alpha_bar[t][:, None, None, None]
    worst = np.abs(x_t - np.sqrt(alpha_bar) * x_0 - np.sqrt(1 - alpha_bar) * noise).max()
    assert worst < 1e-5, (
        f"make_pairs: expected x_t mixed from x_0 and the noise that is given back, at each image's t; received one that is off "
        f"by up to {worst:.2g}. Hint: (DDPM, eq. 4)."
    )
