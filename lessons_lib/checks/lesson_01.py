"""Checks for the exercises of lesson 01."""

import numpy as np

from lessons_lib.checks import exercise


@exercise(4)
def amounts_left(answer):
    """`answer(n_steps)` gives the amount of noise left before each step of lesson 01's sampler, for a guess that stays."""
    for n_steps in (1, 2, 5, 50):
        received = np.asarray(answer(n_steps), dtype=float)
        where = f"amounts_left({n_steps}): expected"
        assert received.shape == (n_steps,), (
            f"{where} {n_steps} numbers, one before each step; received shape {received.shape}. "
            "Hint: step 0 starts from pure noise, and what is left after the last step does not count."
        )
        expected = np.empty(n_steps)
        left = 1.0
        for i in range(n_steps):
            expected[i] = left
            left -= left / (n_steps - i)
        assert np.allclose(received, expected), (
            f"{where} {np.round(expected[:5], 3).tolist()} first; received {np.round(received[:5], 3).tolist()}. "
            "Hint: step i removes one part in n - i of what is left; multiply out what the first two steps leave."
        )
