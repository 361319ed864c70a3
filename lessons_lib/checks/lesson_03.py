"""Checks for the exercises of lesson 03."""

import numpy as np

from lessons_lib.checks import exercise


@exercise(4)
def to_noise(answer):
    """`answer(x_t, x_0, alpha_bar)` gives the noise that leads from x_0 to x_t."""
    rng = np.random.default_rng(0)
    x_0, noise = rng.normal(size=(2, 4, 3, 3, 1))
    for alpha_bar in (0.99, 0.5, 0.01):
        x_t = np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise
        received = np.asarray(answer(x_t, x_0, alpha_bar))
        assert received.shape == noise.shape, f"to_noise: expected the shape of x_t, {noise.shape}; received {received.shape}"
        worst = np.abs(received - noise).max()
        assert worst < 1e-6, (
            f"to_noise at alpha_bar = {alpha_bar}: expected the noise that was mixed in; received one that is off by up to "
            f"{worst:.2g}. Hint: put the recipe x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) noise down and solve it."
        )


@exercise(5)
def mended(answer):
    """`answer(x_0, noise, t, betas)`: the jump from x_0 to x_t (DDPM, eq. 4), for betas of t = 1 to T."""
    rng = np.random.default_rng(0)
    betas = np.array([0.1, 0.2, 0.5, 0.4])
    alpha_bars = [0.9, 0.72, 0.36, 0.216]
    for t, alpha_bar in enumerate(alpha_bars, 1):
        x_0, noise = rng.normal(size=(2, 3, 4))
        signal, added = (np.asarray(answer(*pair, t, betas)) for pair in ((x_0, 0 * noise), (0 * x_0, noise)))
        for what, received, given, rate, hint in (
            (
                "x_0",
                signal,
                x_0,
                np.sqrt(alpha_bar),
                "alpha_bar at t is the product of the first t numbers 1 - beta; which index has the first?",
            ),
            ("the noise", added, noise, np.sqrt(1 - alpha_bar), "1 - alpha_bar is a variance; what is multiplied?"),
        ):
            assert received.shape == given.shape, f"mended: expected the shape of x_0, {given.shape}; received {received.shape}"
            factor = float(np.sum(received * given) / np.sum(given**2))
            assert np.allclose(received, rate * given, atol=1e-6), (
                f"mended at t = {t}: expected {what} times {rate:.4f}; received it times {factor:.4f}. Hint: {hint}"
            )
