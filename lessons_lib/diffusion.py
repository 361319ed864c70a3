"""The forward process: mix data with noise, un-mix them, and convert what a network may predict into one another.

Images and points alike are (B, ...) of float32 or float64. A rate (beta, alpha_bar) is (B, 1, ..., 1), as `Schedule.at` gives
it, or one number for all. Other types raise TypeError; other shapes, other rates, NaN and infinity ValueError (inside a traced
function, where numbers are not known yet, only types and shapes are checked).
"""

import numpy as np
from keras import ops

from lessons_lib.schedule import check_float, known, same_shape


def corrupt(x, noise, amount):
    """Mix data with noise by hand, along a straight line: (1 - amount) * x + amount * noise, lesson 01's naive process.

    x, noise: (B, ...), of comparable range; amount: (B,), one number per image in [0, 1], 1 being noise alone.
    """
    x, noise = alike(x=x, noise=noise)
    amount = ops.convert_to_tensor(amount, ops.dtype(x))
    if not same_shape(amount.shape, x.shape[:1]):
        raise ValueError(f"amount: expected one number for each of the images {tuple(x.shape)}; received {tuple(amount.shape)}")
    _check_range("amount", amount)
    amount = ops.reshape(amount, (-1,) + (1,) * (len(x.shape) - 1))
    return (1 - amount) * x + amount * noise


def forward_step(x_prev, noise, beta):
    """One step of the chain, x_{t-1} to x_t: a sample of q(x_t | x_{t-1}) (DDPM, eq. 2).

    x_prev, noise: (B, ...); beta: (B, 1, ...) or a number, in [0, 1].
    """
    x_prev, noise = alike(x_prev=x_prev, noise=noise)
    beta = _rate("beta", beta, x_prev)
    return ops.sqrt(1 - beta) * x_prev + ops.sqrt(beta) * noise


def add_noise(x_0, noise, alpha_bar):
    """Jump straight from x_0 to x_t: a sample of q(x_t | x_0) (DDPM, eq. 4).

    x_0, noise: (B, ...); alpha_bar: (B, 1, ...) or a number, in [0, 1].
    """
    x_0, noise = alike(x_0=x_0, noise=noise)
    alpha_bar = _rate("alpha_bar", alpha_bar, x_0)
    return ops.sqrt(alpha_bar) * x_0 + ops.sqrt(1 - alpha_bar) * noise


def to_x_0(x_t, noise, alpha_bar):
    """The x_0 that, mixed with this noise, gives x_t (DDPM, eq. 15).

    x_t, noise: (B, ...); alpha_bar: (B, 1, ...) or a number, in (0, 1].
    """
    x_t, noise = alike(x_t=x_t, noise=noise)
    alpha_bar = _rate("alpha_bar", alpha_bar, x_t, zero=False)
    return (x_t - ops.sqrt(1 - alpha_bar) * noise) / ops.sqrt(alpha_bar)


def to_noise(x_t, x_0, alpha_bar):
    """The noise that, mixed with this x_0, gives x_t: (DDPM, eq. 4) solved for it.

    x_t, x_0: (B, ...); alpha_bar: (B, 1, ...) or a number, in [0, 1).
    """
    x_t, x_0 = alike(x_t=x_t, x_0=x_0)
    alpha_bar = _rate("alpha_bar", alpha_bar, x_t, one=False)
    return (x_t - ops.sqrt(alpha_bar) * x_0) / ops.sqrt(1 - alpha_bar)


def to_velocity(x_0, noise, alpha_bar):
    """The velocity v, a target whose x_0 stays stable at every t (Salimans and Ho 2022, section 4).

    x_0, noise: (B, ...); alpha_bar: (B, 1, ...) or a number, in [0, 1].
    """
    x_0, noise = alike(x_0=x_0, noise=noise)
    alpha_bar = _rate("alpha_bar", alpha_bar, x_0)
    return ops.sqrt(alpha_bar) * noise - ops.sqrt(1 - alpha_bar) * x_0


def velocity_to_x_0(x_t, velocity, alpha_bar):
    """The x_0 that belongs to x_t and its velocity (Salimans and Ho 2022, section 4).

    x_t, velocity: (B, ...); alpha_bar: (B, 1, ...) or a number, in [0, 1].
    """
    x_t, velocity = alike(x_t=x_t, velocity=velocity)
    alpha_bar = _rate("alpha_bar", alpha_bar, x_t)
    return ops.sqrt(alpha_bar) * x_t - ops.sqrt(1 - alpha_bar) * velocity


def velocity_to_noise(x_t, velocity, alpha_bar):
    """The noise that belongs to x_t and its velocity (Salimans and Ho 2022, appendix D).

    x_t, velocity: (B, ...); alpha_bar: (B, 1, ...) or a number, in [0, 1].
    """
    x_t, velocity = alike(x_t=x_t, velocity=velocity)
    alpha_bar = _rate("alpha_bar", alpha_bar, x_t)
    return ops.sqrt(1 - alpha_bar) * x_t + ops.sqrt(alpha_bar) * velocity


def posterior(x_0, x_t, alpha_bar_t, alpha_bar_s):
    """Mean and variance of q(x_s | x_t, x_0) for any s < t (DDPM, eq. 7); theirs is s = t - 1.

    x_0, x_t: (B, ...); alpha_bar_t, alpha_bar_s: (B, 1, ...) or a number, 0 <= alpha_bar_t < alpha_bar_s <= 1. The mean has
    the shape of x_t, the variance that of the rates; at s = 0 they are x_0 and 0, exactly.
    """
    x_0, x_t = alike(x_0=x_0, x_t=x_t)
    alpha_bar_t = _rate("alpha_bar_t", alpha_bar_t, x_t, one=False)
    alpha_bar_s = _rate("alpha_bar_s", alpha_bar_s, x_t, zero=False)
    later, earlier = known(alpha_bar_t), known(alpha_bar_s)
    if later is not None and earlier is not None and not (later < earlier).all():
        raise ValueError(f"alpha_bar_s: expected more than alpha_bar_t, as s < t; received {earlier.min()} and {later.max()}")
    alpha = alpha_bar_t / alpha_bar_s
    beta = (alpha_bar_s - alpha_bar_t) / alpha_bar_s  # 1 - alpha, without losing the digits that neighbours share
    mean = (ops.sqrt(alpha_bar_s) * beta * x_0 + ops.sqrt(alpha) * (1 - alpha_bar_s) * x_t) / (1 - alpha_bar_t)
    return mean, (1 - alpha_bar_s) / (1 - alpha_bar_t) * beta


def alike(**arguments):
    """Tensors of one shape and one float type, finite, or an error that names the argument."""
    (first, x), *others = [(argument, ops.convert_to_tensor(value)) for argument, value in arguments.items()]
    check_float(first, x)
    if len(x.shape) < 2:
        raise ValueError(f"{first}: expected images or points, (B, ...); received shape {tuple(x.shape)}")
    for argument, value in others:
        if ops.dtype(value) != ops.dtype(x):
            raise TypeError(f"{argument}: expected the type of {first}, {ops.dtype(x)}; received {ops.dtype(value)}")
        if not same_shape(value.shape, x.shape):
            raise ValueError(f"{argument}: expected the shape of {first}, {tuple(x.shape)}; received {tuple(value.shape)}")
    for argument, value in [(first, x), *others]:
        values = known(value)
        if values is not None and not np.isfinite(values).all():
            broken = np.sum(~np.isfinite(values))
            raise ValueError(f"{argument}: expected finite values; received {broken} NaN or infinite ones")
    return x, *(value for _, value in others)


def _rate(argument, value, x, *, zero=True, one=True):
    """A rate in the type of x, in [0, 1], or an error that names it; whether it may be 0, and 1."""
    rate = ops.convert_to_tensor(value, ops.dtype(x))
    expected = (x.shape[0],) + (1,) * (len(x.shape) - 1)
    if len(rate.shape) and not same_shape(rate.shape, expected):  # (B,) would run along the last axis of x
        raise ValueError(f"{argument}: expected shape {expected}, or one number; received shape {tuple(rate.shape)}")
    _check_range(argument, rate, zero, one)
    return rate


def _check_range(argument, numbers, zero=True, one=True):
    """Refuse numbers outside [0, 1], as far as they are known; whether they may be 0, and 1."""
    values = known(numbers)
    if values is None:
        return
    inside = (values >= 0 if zero else values > 0) & (values <= 1 if one else values < 1)
    if not inside.all():
        interval = f"{'[' if zero else '('}0, 1{']' if one else ')'}"
        raise ValueError(f"{argument}: expected values in {interval}; received {values.min()} to {values.max()}")
