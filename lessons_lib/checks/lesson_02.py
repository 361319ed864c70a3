"""Checks for the exercises of lesson 02."""

import numpy as np

from lessons_lib.checks import exercise, expect


@exercise(4)
def signal_rates(answer):
    """`answer(betas)` gives sqrt(alpha_bar) for t = 0 to T, from the T betas."""
    # In the first case all usual mistakes give other numbers, and round ones.
    for betas in (np.array([0.36, 0.4375]), np.array([0.5]), np.linspace(1e-4, 0.02, 1000)):
        few = len(betas) < 5
        given = f"signal_rates({betas.tolist()})" if few else f"signal_rates of DDPM's {len(betas):,} betas"
        received = np.asarray(answer(betas), dtype=float)
        expect(
            received.shape == (len(betas) + 1,),
            f"{given}: expected {len(betas) + 1} numbers, the untouched image first; received shape {received.shape}. "
            f"Hint: {'a rate is wanted for each t.' if received.ndim == 0 else 'to which t does the first of yours belong?'}",
        )
        alpha_bar = np.append(1.0, np.cumprod(1 - betas))
        expected = np.sqrt(alpha_bar)
        mistakes = {
            "these are shares of the signal's power; what multiplies the image itself?": alpha_bar,
            "each of these knows a single step, but by t the image has been through t of them.": np.sqrt(np.append(1, 1 - betas)),
            "this is what multiplies the noise.": np.sqrt(1 - alpha_bar),
            "all of these belong to t = T; how many steps have been taken at t?": np.full_like(expected, expected[-1]),
            "beta is what a step adds of noise; which share of the image's power does the step keep?": np.sqrt(
                np.append(1, np.cumprod(betas))
            ),
            "the untouched image belongs to t = 0.": np.roll(expected, -1),
        }
        seen = [hint for hint, numbers in mistakes.items() if np.allclose(received, numbers)]
        hint = seen[0] if seen else "by which factor does one step multiply the image, and two of them?"
        worst = np.abs(received - expected).argmax()
        told = f"expected {expected.round(4).tolist()}; received {received.round(4).tolist()}"
        if not few:
            told = f"at t = {worst}, expected {expected[worst]:.4f}; received {received[worst]:.4f}"
        expect(np.allclose(received, expected, rtol=1e-4), f"{given}: {told}. Hint: {hint}")
    try:
        answer(np.zeros(1))
    except ValueError as error:  # from a Schedule, which takes no such beta
        raise AssertionError(
            "signal_rates([0.0]): expected [1.0, 1.0], as a step without noise changes nothing; received a ValueError "
            f"({error}). Hint: write the product yourself, without the library's Schedule."
        ) from error
