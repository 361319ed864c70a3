"""Checks for the exercises of lesson 01."""

import numpy as np


def epoch_means(answer):
    """`answer(losses, steps_per_epoch)` gives the mean loss of every whole epoch, as a list."""
    for losses, steps, expected in (
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, [2.0, 5.0]),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2, [1.5, 3.5]),
        ([4.0], 2, []),
    ):
        received = answer(list(losses), steps)
        where = f"epoch_means({losses}, {steps}): expected {expected}, received {received}."
        hint = "Divide each epoch's sum by its number of steps, and leave out a last epoch that is not whole."
        assert isinstance(received, list), f"{where} {hint}"
        assert np.shape(received) == np.shape(expected), f"{where} {hint}"
        assert np.allclose(received, expected), f"{where} {hint}"
    print("Exercise 4: well done.")
