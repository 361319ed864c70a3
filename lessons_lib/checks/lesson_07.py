"""Checks for the exercises of lesson 07."""

import numpy as np

from lessons_lib import sampling, schedule
from lessons_lib.checks import exercise


@exercise(4)
def step_up(answer):
    """`answer(x_s, noise_pred, s, t, chain)`: the x_t from which DDIM's step with that noise leads to x_s (DDIM, eq. 12)."""
    chain, rng = schedule.linear(20), np.random.default_rng(0)
    x_s, noise_pred = rng.normal(size=(2, 3, 4))
    for s, t in ((0, 1), (0, 20), (5, 6), (5, 15), (19, 20)):
        received = np.asarray(answer(x_s.copy(), noise_pred.copy(), s, t, chain))
        assert received.shape == x_s.shape, f"step_up: expected the shape of x_s, {x_s.shape}; received {received.shape}"
        back, _ = sampling.reverse_step(received, noise_pred, t, s, chain)
        worst = np.abs(np.asarray(back) - x_s).max()
        assert worst < 1e-6, (
            f"step_up from s = {s} to t = {t}: expected an x_t from which the step down leads back to x_s; received one "
            f"from which it ends up to {worst:.2g} away. Hint: the guess at x_0 is what is left of x_s without its noise, at "
            "the rates of s; mix it with the same noise at the rates of t."
        )


@exercise(5)
def mended(answer):
    """`answer(x_t, noise_pred, t, s, chain, eta, z)`: DDIM's step with noise (DDIM, eqs. 12 and 16)."""
    chain, rng = schedule.linear(20), np.random.default_rng(0)
    x_t, noise_pred, z = rng.normal(size=(3, 3, 4))
    zero = np.zeros_like(x_t)
    for t, s in ((20, 19), (15, 5), (6, 5), (1, 0)):
        for eta in (0.0, 0.5, 1.0):
            with np.errstate(all="ignore"):
                received = np.asarray(answer(x_t.copy(), noise_pred.copy(), t, s, chain, eta, z.copy()))
                added = np.asarray(answer(zero.copy(), zero.copy(), t, s, chain, eta, z.copy()))
            assert received.shape == x_t.shape, f"mended: expected the shape of x_t, {x_t.shape}; received {received.shape}"
            right = sampling.reverse_step(zero, zero, t, s, chain, eta, z)[0]
            expected, size = (float(np.sqrt(np.mean(np.square(noise)))) for noise in (right, added))
            assert np.allclose(added, right, atol=1e-6), (
                f"mended from t = {t} to s = {s} with eta = {eta}: expected added noise of size {expected:.4f}; received "
                f"{size:.4f}. Hint: look at (DDIM, eq. 16) and at which of the two times stands above the line."
            )
            right = sampling.reverse_step(x_t, noise_pred, t, s, chain, eta, z)[0]
            worst = np.abs(received - np.asarray(right)).max()
            assert worst < 1e-6, (
                f"mended from t = {t} to s = {s} with eta = {eta}: the added noise is right, but what is kept is off by up to "
                f"{worst:.2g}. Hint: how much variance may x_s have, and how much of it does the added noise already take?"
            )
