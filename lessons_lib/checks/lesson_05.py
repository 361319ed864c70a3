"""Checks for the exercises of lesson 05."""

import numpy as np

from lessons_lib import schedule
from lessons_lib.checks import exercise, expect


@exercise(4)
def moving_average(answer):
    """`answer(values, decay)`: the exponential moving average that starts with values[0], with a decay that warms up."""

    def average(values, decay, warm_up=lambda n: (1 + n) / (10 + n), first=1, old_first=True):
        mean = values[0]
        for n, value in enumerate(values[1:], first):
            d = min(decay, warm_up(n))
            mean = d * mean + (1 - d) * value if old_first else (1 - d) * mean + d * value
        return mean

    rng = np.random.default_rng(0)
    # The first case is where the usual mistakes are far off: the weights jump from 0 to 1 and stay there.
    cases = [(np.repeat([0.0, 1.0], [1, 4])[:, None], 0.99), (rng.normal(size=(30, 3)), 0.5), (rng.normal(size=(10, 3)), 0.2)]
    for values, decay in cases:
        expected = average(values, decay)
        received = np.asarray(answer(list(values), decay))
        expect(
            received.shape == expected.shape,
            f"moving_average: expected one average, of shape {expected.shape} like each of the values; received shape "
            f"{received.shape}",
        )
        mistakes = {
            "that is without the warm-up: d is the smaller of two numbers.": average(values, decay, lambda n: 1),
            "that is with n = 0 in the first step; count from 1.": average(values, decay, first=0),
            "d and 1 - d have changed places: a d near 1 remembers much.": average(values, decay, old_first=False),
            "that is without `decay`: d never exceeds it.": average(values, 1.0),
        }
        seen = [hint for hint, result in mistakes.items() if np.allclose(received, result)]
        hint = seen[0] if seen else "work out the first two steps by hand."
        what = "the values 0, 1, 1, 1, 1" if values.shape[1] == 1 else f"{len(values)} values"
        worst = np.abs(received - expected).argmax()
        expect(
            np.allclose(received, expected, rtol=0, atol=1e-9),
            f"moving_average of {what} with decay {decay}: expected {expected[worst]:.4f}, received {received[worst]:.4f}. "
            f"Hint: {hint}",
        )


@exercise(5)
def min_snr(answer):
    """`answer(schedule, gamma)`: the weights of a velocity's squared error, for t = 1..T, that are min-SNR's for x_0's."""
    for chain in (schedule.linear(50), schedule.cosine(30)):
        for gamma in (5.0, 1.0):
            a, snr = chain.alpha_bar[1:], chain.snr[1:]
            of_x_0 = np.minimum(snr, gamma)
            expected = of_x_0 * (1 - a)
            received = np.asarray(answer(chain, gamma))
            expect(
                received.shape == a.shape,
                f"min_snr: expected a weight for each t in 1..{chain.T}, shape {a.shape}; received shape {received.shape}. "
                "Hint: the arrays of a schedule begin at t = 0.",
            )
            mistakes = {
                "these are the weights for x_0; the same error of the velocity is a larger number.": of_x_0,
                "these are the weights for the noise.": of_x_0 / snr,
                "min-SNR takes the smaller of the two, not the larger.": np.maximum(snr, gamma) * (1 - a),
            }
            seen = [hint for hint, result in mistakes.items() if np.allclose(received, result)]
            hint = seen[0] if seen else "how large is the squared error of x_0 when the velocity's is 1?"
            worst = np.abs(received - expected).argmax()
            expect(
                np.allclose(received, expected, rtol=1e-6, atol=1e-9),
                f"min_snr with gamma = {gamma:g}: expected {expected[worst]:.4f} at t = {worst + 1}, where the ratio is "
                f"{snr[worst]:.3g}; received {received[worst]:.4f}. Hint: {hint}",
            )


@exercise(6)
def make_pairs(answer):
    """`answer(x_0, schedule, rng)`: x_t, t in 1..T and noise of its own for every image, that fit together."""
    chain, rng = schedule.linear(4), np.random.default_rng(0)
    x_0 = rng.normal(size=(400, 4, 4, 1))
    parts = answer(x_0, chain, rng)
    several = isinstance(parts, tuple | list)
    expect(
        several and len(parts) == 3,
        "make_pairs: expected three parts, x_t, t and noise; received "
        + (f"{len(parts)} parts" if several else f"one {type(parts).__name__}"),
    )
    x_t, t, noise = (np.asarray(part) for part in parts)
    expect(
        x_t.shape == noise.shape == x_0.shape,
        f"make_pairs: expected x_t and noise of the shape of x_0, {x_0.shape}; received {x_t.shape} and {noise.shape}",
    )
    expect(
        t.dtype.kind in "iu" and t.shape == x_0.shape[:1],
        f"make_pairs: expected an integer t for every image, shape {x_0.shape[:1]}; received {t.dtype} of shape {t.shape}. Hint: "
        "draw it with rng.integers; what is made of it may have more axes.",
    )
    times = np.unique(t).tolist()
    expect(
        times == [1, 2, 3, 4],
        f"make_pairs: expected every t from 1 to {chain.T} for T = {chain.T}; received {times}. Hint: what does t = 0 stand for, "
        "and is the upper end of rng.integers included?",
    )
    expect(
        not np.array_equal(noise[0], noise[1]),
        "make_pairs: expected noise of its own for every image; received the same for two of them. Hint: look at the shape that "
        "is drawn.",
    )
    mean, spread = noise.mean(), noise.std()
    expect(
        abs(mean) + abs(spread - 1) < 0.06,
        f"make_pairs: expected noise of mean 0 and standard deviation 1; received {mean:.2f} and {spread:.2f}",
    )
    alpha_bar = chain.alpha_bar[t][:, None, None, None]
    worst = np.abs(x_t - np.sqrt(alpha_bar) * x_0 - np.sqrt(1 - alpha_bar) * noise).max()
    expect(
        worst < 1e-5,
        f"make_pairs: expected x_t mixed from x_0 and the noise that is given back, at each image's t; received one that is off "
        f"by up to {worst:.2g}. Hint: (DDPM, eq. 4).",
    )
