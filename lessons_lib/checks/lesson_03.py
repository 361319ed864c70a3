"""Checks for the exercises of lesson 03."""

import numpy as np


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
    print("Exercise 4: well done.")
