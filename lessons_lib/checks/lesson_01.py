"""Checks for the exercises of lesson 01."""

import numpy as np

from lessons_lib.checks import exercise, expect

MISTAKES = [  # what step i of n would get by a plausible mistake, and a hint that lets one find it
    (lambda i, n: i / n, "that is what has been removed; step 0 starts from pure noise."),
    (lambda i, n: 1 - (i + 1) / n, "that is what is left after each step; how much is there before it?"),
    (lambda i, n: (i + 1) / n, "the order: the first number is for step 0, which starts from pure noise."),
    (lambda i, n: 1 - i / max(n - 1, 1), "the last is 0, but the last step still finds some noise to remove."),
    (lambda i, n: (1 - 1 / n) ** i, "does every step move by the same fraction of the way?"),
    (lambda i, n: 1 / (n - i), "these are the fractions by which the steps move; how much does each of them leave?"),
    (lambda i, n: 1 - 1 / (n - i), "this is the share that a step leaves of what it finds; and what does it find?"),
    (lambda i, n: n - i, "an amount is at most 1, which is noise alone."),
    (lambda i, n: 1 - i // n, "every amount is 1; is a division rounded to whole numbers?"),
]


@exercise(4)
def amounts_left(answer):
    """`answer(n_steps)` gives the amount of noise left before each step of lesson 01's sampler, for a guess that stays."""
    for n_steps in (5, 1, 2, 50):
        received = np.asarray(answer(n_steps), dtype=float)
        expect(
            received.shape == (n_steps,),
            f"amounts_left({n_steps}): expected {n_steps} numbers, one before each step; received shape {received.shape}. "
            "Hint: " + ("what is left after the last step does not count." if received.size > 1 else "it is one number a step."),
        )
        expected = np.empty(n_steps)
        left = 1.0
        for i in range(n_steps):
            expected[i] = left
            left -= left / (n_steps - i)
        worst = np.argmax(np.abs(received - expected))
        hints = [hint for mistake, hint in MISTAKES if np.allclose(received, [mistake(i, n_steps) for i in range(n_steps)])]
        expect(
            np.allclose(received, expected),
            f"amounts_left({n_steps}), before step {worst}: expected {expected[worst]:.3f}, received {received[worst]:.3f}, "
            f"off by {received[worst] - expected[worst]:+.3f}. "
            f"Hint: {(hints or ['follow the first two steps by hand: what share of the noise does each of them remove?'])[0]}",
        )
