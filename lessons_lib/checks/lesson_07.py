"""Checks for the exercises of lesson 07."""

import warnings

import numpy as np

from lessons_lib import schedule
from lessons_lib.checks import compare, exercise, expect

OTHERWISE = "compare each factor with (DDIM, eq. 12), and at which time it is taken."


@exercise(4)
def step_from_velocity(answer):
    """`answer(x_t, velocity, t, s, chain)`: DDIM's step from a predicted velocity (Salimans and Ho 2022, appendix D)."""
    rng = np.random.default_rng(0)
    # The first case can be worked out by hand: the rates are 0.6 and 0.8 at t, 0.8 and 0.6 at s.
    ones, many = np.ones((2, 1, 1)), rng.normal(size=(2, 3, 4))
    for chain, t, s, (x_t, velocity) in ((_by_hand(), 2, 1, ones), *((schedule.linear(20), *ts, many) for ts in _TIMES)):
        received = np.asarray(answer(x_t.copy(), velocity.copy(), t, s, chain))
        expect(
            received.shape == x_t.shape, f"step_from_velocity: expected the shape of x_t, {x_t.shape}; received {received.shape}"
        )
        (a, b), (a_s, b_s) = _rates(chain, t), _rates(chain, s)  # of signal and noise
        x_0, noise = a * x_t - b * velocity, b * x_t + a * velocity
        expected = a_s * x_0 + b_s * noise
        mistakes = {
            "that is the guess at x_0; what does x_s consist of besides?": x_0,
            "the velocity is not the noise; lesson 05 says how to get the noise from it.": (
                a_s * (x_t - b * velocity) / a + b_s * velocity
            ),
            "look at x_0 again: with which sign does the velocity enter it?": a_s * (a * x_t + b * velocity) + b_s * noise,
            "look at the noise again: with which sign does the velocity enter it?": a_s * x_0 + b_s * (b * x_t - a * velocity),
            "that goes as far, but up: which time does x_t have, and which the result?": (
                a_s * (a * x_t + b * velocity) + b_s * (b * x_t - a * velocity)
            ),
            "that is x_t itself: at which rates is it taken apart, and at which put together?": x_t,
            "alpha_bar and 1 - alpha_bar are squares of the rates.": (
                a_s**2 * (a**2 * x_t - b**2 * velocity) + b_s**2 * (b**2 * x_t + a**2 * velocity)
            ),
        }
        compare(f"step_from_velocity from t = {t} to s = {s}", received, expected, mistakes, OTHERWISE)


@exercise(5)
def mended(answer):
    """`answer(x_t, noise_pred, t, s, chain, eta, z)`: DDIM's step with noise (DDIM, eqs. 12 and 16)."""
    rng = np.random.default_rng(0)
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    cases = [(_by_hand(), 2, 1), *((schedule.linear(20), *times) for times in _TIMES)]
    for (chain, t, s), eta in ((case, eta) for case in cases for eta in (1.0, 0.5, 0.0)):

        def step(x_t, noise_pred, z, at=(t, s, chain, eta)):
            with np.errstate(all="ignore"):
                return np.asarray(answer(x_t.copy(), noise_pred.copy(), *at, z.copy()))

        where = f"mended from t = {t} to s = {s} with eta = {eta}"
        x_t, noise_pred, z = rng.normal(size=(3, 3, 4))
        received = step(x_t, noise_pred, z)
        expect(received.shape == x_t.shape, f"mended: expected the shape of x_t, {x_t.shape}; received {received.shape}")
        expect(
            np.isfinite(received).all(),
            f"{where}: expected numbers; received {received.flat[0]}. Hint: "
            + (
                "s = 0 has no noise: where is something divided by it?" if s == 0 else "of what negative number is that the root?"
            ),
        )
        (a, b), (a_s, b_s) = _rates(chain, t), _rates(chain, s)
        ratio, rest = b_s / b, np.sqrt(1 - a**2 / a_s**2)
        sigma = eta * ratio * rest
        mistakes = {
            "that is more than may be; compare sigma with (DDIM, eq. 16), factor by factor.": eta * rest / max(ratio, 1e-9),
            "eta = 0.5 adds half of what eta = 1 adds.": ratio * rest,
            "eta multiplies the standard deviation.": np.sqrt(eta) * ratio * rest,
            "that is DDPM's other variance; compare with (DDIM, eq. 16).": eta * rest,
            "that is the variance; what is z multiplied by?": sigma**2,
        }
        compare(f"{where}, for z = 1 alone", step(zero, zero, one), sigma * one, mistakes, OTHERWISE)
        kept, of_guess = np.sqrt(max(0.0, b_s**2 - sigma**2)), -a_s * b / a
        mistakes = {
            "that is all the noise of x_s, and sigma z comes on top: do the variances still add up?": b_s,
            "variances add up; standard deviations do not.": b_s - sigma,
            "under the root stand variances.": np.sqrt(max(0.0, b_s**2 - sigma)),
            "what is added has to be missing here.": np.sqrt(b_s**2 + sigma**2),
        }
        mistakes = {hint: of_guess + share for hint, share in mistakes.items()}
        compare(f"{where}, for noise_pred = 1 alone", step(zero, one, zero), (of_guess + kept) * one, mistakes, OTHERWISE)
        expected = a_s / a * x_t + (of_guess + kept) * noise_pred + sigma * z
        compare(where, received, expected, {}, OTHERWISE)


_TIMES = ((15, 5), (20, 1), (6, 5), (1, 0))  # the last step, to 0, has traps of its own


def _by_hand():
    """A chain of two steps, with signal rates 1, 0.8 and 0.6, and noise rates 0, 0.6 and 0.8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it ends before the signal does
        return schedule.Schedule([1 - 0.64, 1 - 0.36 / 0.64])


def _rates(chain, t):
    return float(np.sqrt(chain.alpha_bar[t])), float(np.sqrt(1 - chain.alpha_bar[t]))
