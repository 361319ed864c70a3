"""Checks for the exercises of lesson 03."""

import numpy as np

from lessons_lib.checks import exercise, expect


@exercise(4)
def to_noise(answer):
    """`answer(x_t, x_0, alpha_bar)` gives the noise that leads from x_0 to x_t."""
    rng = np.random.default_rng(0)
    # The first case can be worked out by hand: the rates are 0.8 and 0.6, and x_t is 0.8 * 2 + 0.6 * 1.
    cases = [(np.array([[2.0]]), np.array([[1.0]]), 0.64), *((*rng.normal(size=(2, 4, 3, 3, 1)), a) for a in (0.99, 0.01))]
    for x_0, noise, alpha_bar in cases:
        signal, added = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
        x_t = signal * x_0 + added * noise
        received = np.asarray(answer(x_t, x_0, alpha_bar))
        expect(received.shape == x_t.shape, f"to_noise: expected the shape of x_t, {x_t.shape}; received {received.shape}")
        mistakes = {
            "1 - alpha_bar is a variance; by what is the noise multiplied in x_t?": added * noise / (1 - alpha_bar),
            "how much of x_0 is there in x_t?": (x_t - alpha_bar * x_0) / added,
            "x_t contains x_0 faded, not x_0 itself.": (x_t - x_0) / added,
            "the signs: what remains of x_t without its part of x_0?": -noise,
            "that is the noise as it stands in x_t; how large was it before?": added * noise,
            "that is multiplied where the solution divides.": added**2 * noise,
            "that is divided by the rate of x_0; which rate belongs to the noise?": added * noise / signal,
            "x_t is the first argument and x_0 the second.": (x_0 - signal * x_t) / added,
            "this is the formula for x_0, with x_0 in the place of the noise.": (x_t - added * x_0) / signal,
        }
        seen = [hint for hint, result in mistakes.items() if np.allclose(received, result)]
        hint = seen[0] if seen else "write down x_t as in (DDPM, eq. 4), and solve it for the noise."
        worst = np.abs(received - noise).argmax()
        a, b, expected, other = (float(array.flat[worst]) for array in (x_t, x_0, noise, received))
        expect(
            np.allclose(received, noise, rtol=0, atol=1e-6),
            f"to_noise of x_t = {a:.3g}, x_0 = {b:.3g} and alpha_bar = {alpha_bar}: expected {expected:.4f}, received "
            f"{other:.4f}. Hint: {hint}",
        )


@exercise(5)
def mended(answer):
    """`answer(x_0, noise, t, betas)`: the jump from x_0 to x_t (DDPM, eq. 4), for betas of t = 1 to T."""
    rng = np.random.default_rng(0)
    betas = np.array([0.1, 0.2, 0.5, 0.4])
    alpha_bars = np.array([1, 0.9, 0.72, 0.36, 0.216])
    for t in (2, 1, 3, 4):  # at t = 2 the usual mistakes are largest
        x_0, noise = rng.normal(size=(2, 3, 4))
        for what, x in ("x_0", x_0), ("the noise", noise):
            expected = np.sqrt(alpha_bars[t] if what == "x_0" else 1 - alpha_bars[t])
            received = np.asarray(answer(x_0, 0 * noise, t, betas) if what == "x_0" else answer(0 * x_0, noise, t, betas))
            expect(received.shape == x.shape, f"mended: expected the shape of x_0, {x.shape}; received {received.shape}")
            factor = float(np.sum(received * x) / np.sum(x**2))
            expect(
                np.allclose(received, expected * x, rtol=0, atol=1e-6),
                f"mended at t = {t}: expected {what} times {expected:.4f}; received it times {factor:.4f}. "
                f"Hint: {_hint(factor if what == 'x_0' else np.sqrt(max(0, 1 - factor**2)), t, betas, alpha_bars, factor)}",
            )


def _hint(rate, t, betas, alpha_bars, factor):
    """What a wrong signal rate tells, or that of a wrong noise rate, `factor`."""
    later = [int(s) for s in np.flatnonzero(np.isclose(np.sqrt(alpha_bars), rate)) if s != t]
    if later:
        return f"that is the rate at t = {later[0]}; which entry of the array belongs to t = 1?"
    if np.isclose(factor, 1 - alpha_bars[t]):
        return "1 - alpha_bar is a variance; what is the noise multiplied by?"
    if np.isclose(factor, alpha_bars[t]):
        return "alpha_bar is the rate squared."
    if np.isclose(rate, np.sqrt(1 - betas), rtol=1e-6).any():
        return "that is a single step; alpha_bar is the product of all from the first to step t."
    return "alpha_bar at t is the product of the first t numbers 1 - beta."
