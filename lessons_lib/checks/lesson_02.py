"""Checks for the exercises of lesson 02."""

import numpy as np

from lessons_lib.checks import exercise


@exercise(4)
def signal_rates(answer):
    """`answer(betas)` gives sqrt(alpha_bar) for t = 0 to T, from the T betas."""
    for betas in (np.array([0.5]), np.array([0.36, 0.75]), np.linspace(1e-4, 0.02, 1000)):
        received = np.asarray(answer(betas), dtype=float)
        given = f"signal_rates of {len(betas)} betas"
        assert received.shape == (len(betas) + 1,), (
            f"{given}: expected {len(betas) + 1} numbers, the untouched image first; received shape {received.shape}. "
            "Hint: at t = 0 nothing has happened yet, and the signal rate is 1."
        )
        expected = np.sqrt(np.append(1.0, np.cumprod(1 - betas)))
        assert np.allclose(received, expected), (
            f"{given}: expected {np.round(expected[:3], 4).tolist()} first and {expected[-1]:.4f} last; "
            f"received {np.round(received[:3], 4).tolist()} and {received[-1]:.4f}. "
            "Hint: each step multiplies the image by the square root of 1 - beta, and all steps so far have done so."
        )
