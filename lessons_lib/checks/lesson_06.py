"""Checks for the exercises of lesson 06."""

import numpy as np

from lessons_lib import diffusion, schedule
from lessons_lib.checks import exercise


@exercise(4)
def respaced(answer):
    """`answer(chain, times)`: the betas of the chain that visits only these times, which fall from T to 0."""
    chain = schedule.linear(20)
    for times in (np.arange(20, -1, -1), np.array([20, 15, 10, 5, 0]), np.array([20, 3, 0])):
        alpha_bar = chain.alpha_bar[times[::-1]]
        expected = 1 - alpha_bar[1:] / alpha_bar[:-1]
        received = np.asarray(answer(chain, times))
        assert received.shape == expected.shape, (
            f"respaced: expected a beta for each of the {len(expected)} steps; received shape {received.shape}. Hint: a step "
            "joins two neighbouring times."
        )
        worst = np.abs(received - expected).argmax()
        assert np.allclose(received, expected, rtol=1e-6), (
            f"respaced for the times {times.tolist()}: expected {expected.round(4)}; received {received.round(4)}, which differ "
            f"in step {worst + 1}. Hint: alpha_bar is the product of all 1 - beta, so one step multiplies it by 1 - beta; and "
            "the first beta is the one next to the data."
        )


@exercise(5)
def mean_from_x_0(answer):
    """`answer(x_t, x_0, t, chain)`: the mean of the posterior (DDPM, eq. 7), for one time t."""
    chain, rng = schedule.linear(20), np.random.default_rng(0)
    x_t, x_0 = rng.normal(size=(2, 3, 4))
    for t in (20, 10, 1):
        expected = np.asarray(diffusion.posterior(x_0, x_t, chain.alpha_bar[t], chain.alpha_bar[t - 1])[0])
        received = np.asarray(answer(x_t.copy(), x_0.copy(), t, chain))
        assert received.shape == expected.shape, (
            f"mean_from_x_0: expected the shape of x_t, {expected.shape}; received {received.shape}"
        )
        worst = np.abs(received - expected).max()
        assert worst < 1e-6, (
            f"mean_from_x_0 at t = {t}: expected the mean of (DDPM, eq. 7); received values that are off by up to {worst:.2g}. "
            "Hint: x_0 is weighed by the root of alpha_bar at t - 1, times beta; x_t by the root of 1 - beta, times 1 - "
            "alpha_bar at t - 1; both over 1 - alpha_bar at t. At t = 1 the mean is x_0."
        )
