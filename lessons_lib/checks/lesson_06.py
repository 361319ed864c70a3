"""Checks for the exercises of lesson 06."""

from itertools import pairwise

import numpy as np

from lessons_lib import schedule
from lessons_lib.checks import exercise, expect


@exercise(4)
def respaced(answer):
    """`answer(chain, times)`: the betas of the chain that visits only these times, which fall from T to 0."""
    chain = schedule.linear(20)
    for times in ([20, 12, 5, 0], [20, 3, 0], list(range(20, -1, -1))):
        steps, named = list(pairwise(times[::-1])), ", ".join(map(str, times[:4])) + (", ..." if len(times) > 4 else "")
        before, after = chain.alpha_bar[steps].T
        expected, kept = 1 - after / before, after / before
        sums = [chain.beta[s + 1 : t + 1].sum() for s, t in steps]
        received = np.asarray(answer(chain, np.array(times)), np.float64)
        expect(
            received.shape == expected.shape,
            f"respaced for the times {named}: expected {len(steps)} betas, one for each step; received shape {received.shape}. "
            "Hint: a step joins two neighbouring times.",
        )
        hint = _hint(
            received,
            "alpha_bar is the product of all 1 - beta. What does one step do to this product?",
            (expected[::-1], "the numbers are right, their order is not. Which step does the first beta belong to?"),
            (chain.beta[times[-2::-1]], "these are betas of the long chain, each of a single step from t - 1 to t."),
            (sums, "betas do not add up: each step also shrinks the noise of the ones before."),
            (kept, "this is the part of the signal's variance that a step keeps. What is its beta?"),
            (1 - np.sqrt(kept), "beta is about variances. Does alpha_bar belong to them, or its root?"),
            (np.sqrt(expected), "this is a standard deviation. What is beta?"),
            (before - after, "this is the part of the untouched picture that a step takes. Beta is a part of what was left."),
            (1 - before / after, "no beta is negative. Which of two neighbouring alpha_bar is the smaller?"),
        )
        worst = np.abs(received - expected).argmax()
        s, t = steps[worst]
        expect(
            np.allclose(received, expected, rtol=1e-6),
            f"respaced for the times {named}: from {s} to {t}, beta is off by {received[worst] - expected[worst]:+.3f}: "
            f"expected {expected[worst]:.3f}; received {received[worst]:.3f}. Hint: {hint}",
        )


@exercise(5)
def mean_from_x_0(answer):
    """`answer(x_t, x_0, t, chain)`: the mean of the posterior (DDPM, eq. 7), for one time t."""
    chain, ones, zeros = schedule.linear(20), np.ones(3), np.zeros(3)
    for t in (10, 20, 2, 1):  # at 10 no two of the mistakes below look alike
        beta, before, now = chain.beta[t], chain.alpha_bar[t - 1], chain.alpha_bar[t]
        weights = np.sqrt(before) * beta / (1 - now), np.sqrt(1 - beta) * (1 - before) / (1 - now)
        received = _mean(answer, zeros, ones, t, chain)[0], _mean(answer, ones, zeros, t, chain)[0]  # linear in both
        mistakes = (
            (
                (weights[1], "this is the weight of x_t: the two have changed places."),
                (before * beta / (1 - now), "does alpha_bar multiply a picture, or does its root?"),
                (np.sqrt(now) * beta / (1 - now), "should it say how much of x_0 is in x_t, or in x_{t-1}?"),
                (np.sqrt(before) * beta, "the weights of (DDPM, eq. 7) are fractions: what do you divide by?"),
                (weights[0] * (1 - now) / max(1 - before, 1e-9), "which of the two alpha_bar is in the denominator?"),
            ),
            (
                (weights[0], "this is the weight of x_0: the two have changed places."),
                ((1 - beta) * (1 - before) / (1 - now), "does 1 - beta multiply a picture, or does its root?"),
                (np.sqrt(now) * (1 - before) / (1 - now), "alpha_bar is the product of many steps; this factor is of one."),
                (weights[1] * (1 - now), "the weights of (DDPM, eq. 7) are fractions: what do you divide by?"),
                (np.sqrt(1 - beta), "at t = 1 it must be 0. Which factor does that?"),
            ),
        )
        for name, got, expected, known in zip(("x_0", "x_t"), received, weights, mistakes, strict=True):
            hint = _hint(got, "at t = 1, where alpha_bar at t - 1 is 1, the mean must be x_0 itself. Is yours?", *known)
            expect(
                np.isclose(got, expected, rtol=1e-6, atol=1e-9),
                f"mean_from_x_0 at t = {t}: the weight of {name} is off by {got - expected:+.3f}: expected {expected:.3f}; "
                f"received {got:.3f}. Hint: {hint}",
            )
        x_t, x_0 = np.random.default_rng(0).normal(size=(2, 3, 4))
        worst = np.abs(_mean(answer, x_t, x_0, t, chain) - weights[0] * x_0 - weights[1] * x_t).max()
        expect(
            worst < 1e-6,
            f"mean_from_x_0 at t = {t}: right for ones and zeros, but off by up to {worst:.2g} for other numbers. Hint: the mean "
            "is a weighted sum, element by element.",
        )


def _mean(answer, x_t, x_0, t, chain):
    """What an answer makes of these two, as an array of their shape."""
    try:
        received = answer(x_t.copy(), x_0.copy(), t, chain)
    except ValueError as error:
        if "expected images or points" not in str(error):  # the library's words for plain lists of numbers, as these are
            raise
        raise AssertionError(
            "mean_from_x_0: expected a formula in chain.beta and chain.alpha_bar; received a call of the library, which has it "
            "already. Write it out."
        ) from error
    expect(not isinstance(received, tuple), "mean_from_x_0: expected the mean alone; received a tuple")
    received = np.asarray(received, np.float64)
    expect(received.shape == x_t.shape, f"mean_from_x_0: expected the shape of x_t, {x_t.shape}; received {received.shape}")
    return received


def _hint(received, otherwise, *mistakes):
    """The hint of the first of the mistakes, (result, hint), that this is the result of."""
    return next((hint for result, hint in mistakes if np.allclose(received, result, rtol=1e-4, atol=1e-9)), otherwise)
