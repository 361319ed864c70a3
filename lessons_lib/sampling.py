"""The reverse process: one step for the whole family of DDPM and DDIM, and one loop.

`predict_noise(x_t, t)` is any callable that takes states (B, ...) and times (B,) int32 and gives the noise in them, of their
shape: an oracle's method, or a network's from `training.from_noise` or `from_velocity`.
"""

from itertools import pairwise
from math import sqrt
from numbers import Real
from typing import NamedTuple

import numpy as np
from keras import ops

from lessons_lib.diffusion import add_noise, alike, to_noise, to_x_0
from lessons_lib.schedule import whole


class State(NamedTuple):
    """Where the sampler stands: at time t, with x_t and, but for the start, the x_0 that the last step predicted.

    NumPy arrays, read-only, as the walk goes on from them; change a copy.
    """

    t: int
    x_t: np.ndarray
    x_0: np.ndarray | None


def time_grid(T, steps, *, quadratic=False):
    """The times that a sampler visits: steps + 1 integers, strictly falling from T to 0 (DDIM, appendix D.2).

    Evenly spaced, or quadratic, which lie closer towards 0. Raises ValueError unless 1 <= steps <= T.
    """
    steps = whole("steps", steps, 1, T)
    way = np.arange(steps + 1) / steps
    times = np.rint(T * (way**2 if quadratic else way)).astype(int)
    return np.maximum(times, np.arange(steps + 1))[::-1]  # where squares round to the same time: the next one


def visited(schedule, steps):
    """The times of a walk, a list: `time_grid`'s for a number of steps, or the given ones if they fall from T at most to 0.

    Raises ValueError for others.
    """
    if np.ndim(steps) == 0:
        return time_grid(schedule.T, steps).tolist()
    times = np.asarray(steps)
    falling = times.ndim == 1 and times.dtype.kind in "iu" and len(times) > 1 and (np.diff(times.astype(int)) < 0).all()
    if not falling or times[-1] != 0 or times[0] > schedule.T:
        expected = f"a number of steps, or times, strictly falling integers from at most {schedule.T} to 0"
        raise ValueError(f"steps: expected {expected}; received {times.tolist()}")
    return times.tolist()


def reverse_step(x_t, noise_pred, t, s, schedule, eta=0.0, noise=None, *, noise_std=None, clip=False):
    """One step from time t back to s < t (DDIM, eq. 12): eta = 0 is DDIM, eta = 1 draws from DDPM's posterior (DDPM, eq. 7).

    x_t, noise_pred, noise: (B, ...), float32 or float64; noise may be left out where none is added. t, s: integers, T >= t > s
    >= 0. eta: in [0, 1], what part of the posterior's noise is added (DDIM, eq. 16). noise_std: the standard deviation of the
    noise added, in [0, 1], in place of eta's, while the rest of the step stays as eta has it: `sigma_hat` (DDIM, appendix D.3).
    clip: keep the predicted x_0 within [-1, 1], and recompute the noise from it. Gives x_s and the predicted x_0. Raises
    ValueError for other times, etas and shapes, TypeError for other types.
    """
    eta, (alpha_bar_t, alpha_bar_s) = _part("eta", eta), _alpha_bars(schedule, t, s)
    x_t, noise_pred = alike(x_t=x_t, noise_pred=noise_pred)
    sigma = eta * sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_s))
    x_0 = to_x_0(x_t, noise_pred, alpha_bar_t)
    if clip:
        x_0 = ops.clip(x_0, -1, 1)
        noise_pred = to_noise(x_t, x_0, alpha_bar_t)
    kept = sqrt(max(0.0, 1 - alpha_bar_s - sigma**2))  # below 0 by rounding only
    x_s = sqrt(alpha_bar_s) * x_0 + kept * noise_pred
    std = sigma if noise_std is None else _part("noise_std", noise_std)
    if s == 0 or std == 0:
        return x_s, x_0
    if noise is None:
        raise ValueError(f"noise: expected noise of the shape of x_t, as this step adds some (eta = {eta}); received None")
    _, noise = alike(x_t=x_t, noise=noise)
    return x_s + std * noise, x_0


def sigma_hat(schedule, t, s):
    """The noise of DDPM's other variance, beta, for a step from t to s: to be passed as `noise_std` (DDIM, appendix D.3)."""
    alpha_bar_t, alpha_bar_s = _alpha_bars(schedule, t, s)
    return sqrt(1 - alpha_bar_t / alpha_bar_s)


def noise_of(seed, step, shape, *more):
    """The noise of one step for all images, (B, ...) float32: from (seed, step) alone; step 0 is where sampling starts.

    more: further integers, for a step that needs several noises.
    """
    return np.random.default_rng([seed, step, *more]).standard_normal(shape, dtype=np.float32)


def sample(
    predict_noise,
    schedule,
    shape,
    steps,
    *,
    x_T=None,
    eta=0.0,
    seed=0,
    clip=False,
    large_noise=False,
    batch_size=None,
):
    """Walk from noise to data: yields the `State` at T, then after each step, the last at 0 (DDIM, eq. 12; DDPM, algorithm 2).

    shape: (B, ...) of what is sampled. steps: how many of the schedule's T times to visit, evenly spaced, or these times
    themselves: strictly falling integers that end in 0. If they begin before T, so does the walk, and the first state is there.
    x_T: where to start, float32 or float64 of that shape; without a word, noise by the seed. eta: 0 is DDIM, 1 is DDPM. seed: 0
    to 2**32 - 1; same seed, same pictures. clip: keep each predicted x_0 within [-1, 1], as images are; the network's errors near
    T would be magnified otherwise. large_noise: DDPM's other variance, `sigma_hat`, in place of the one for eta = 1. batch_size:
    how many images to ask the network about at once; None: all. The pictures do not depend on it.
    """
    times, eta, ask = visited(schedule, steps), _part("eta", eta), asking(predict_noise, batch_size)
    if large_noise and eta != 1:
        raise ValueError(f"eta: expected 1 with large_noise, which is for DDPM's step; received {eta}")
    seed, shape = whole("seed", seed, 0, 2**32 - 1), tuple(whole("shape", size, 1) for size in shape)
    if len(shape) < 2:
        raise ValueError(f"shape: expected that of images or points, (B, ...); received {shape}")
    x_t = frozen(noise_of(seed, 0, shape) if x_T is None else _checked("x_T", x_T, shape))
    yield State(times[0], x_t, None)
    for step, (t, s) in enumerate(pairwise(times), 1):
        std = sigma_hat(schedule, t, s) if large_noise else None
        noise = noise_of(seed, step, shape).astype(x_t.dtype) if eta and s else None
        x_t, x_0 = reverse_step(x_t, ask(x_t, t), t, s, schedule, eta, noise, noise_std=std, clip=clip)
        x_t, x_0 = frozen(x_t), frozen(x_0)
        yield State(s, x_t, x_0)


def invert(predict_noise, schedule, x_0, steps, *, corrections=0, batch_size=None):
    """Walk from data to the noise that DDIM would make it of: its steps backwards, from 0 to T (DDIM, section 4.3).

    x_0: (B, ...), float32 or float64. Yields the `State` at 0, then after each step. A step from s up to t takes the noise
    predicted at t, as the step down did, though x_t is not known yet: x_s stands in for it, or, with `corrections`, as often,
    the x_t found so far. So the network is never asked about t = 0, and `sample` leads back, up to an error that falls with the
    steps. Other arguments as for `sample`.
    """
    corrections, ask = whole("corrections", corrections, 0), asking(predict_noise, batch_size)
    times = visited(schedule, steps)[::-1]
    x_s = frozen(_checked("x_0", x_0, np.shape(x_0)))
    yield State(0, x_s, None)
    for s, t in pairwise(times):
        x_t = x_s
        for _ in range(1 + corrections):
            noise_pred = ask(x_t, t)
            x_0 = to_x_0(x_s, noise_pred, schedule.alpha_bar[s]) if s else x_s
            x_t = frozen(add_noise(x_0, noise_pred, schedule.alpha_bar[t]))
        yield State(t, x_t, frozen(x_0))
        x_s = x_t


def slerp(one, other, part):
    """The point on the arc from one noise to another, as long as they are if they are of one length (Shoemake 1985).

    How DDIM goes from picture to picture (DDIM, appendix D.5).

    one, other: (B, ...), of which each image has an arc of its own; part: a number in [0, 1], or one for each image, (B,).
    Raises ValueError for other shapes and parts, and for opposite noises, between which there are many arcs.
    """
    one = _checked("one", one, np.shape(one))
    other, part = _checked("other", other, one.shape), np.asarray(part, np.float64)
    if part.shape not in ((), one.shape[:1]) or not ((part >= 0) & (part <= 1)).all():
        raise ValueError(f"part: expected a number in [0, 1], or {len(one)} of them; received {part.tolist()}")
    rows, others = (x.reshape(len(x), -1).astype(np.float64) for x in (one, other))
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    angle = np.arccos(np.clip(np.sum(rows * others, axis=1) / np.maximum(lengths, 1e-300), -1, 1))
    if (angle > np.pi - 1e-6).any() or not lengths.all():
        raise ValueError("other: expected noises between which there is one arc; received opposite ones, or zeros")
    near = angle < 1e-6  # nearly one point: the arc is a straight line
    sine = np.where(near, 1, np.sin(angle))
    ahead, behind = (np.where(near, x, np.sin(x * angle) / sine) for x in (part, 1 - part))
    return (behind[:, None] * rows + ahead[:, None] * others).reshape(one.shape).astype(one.dtype)


def asking(predict_noise, batch_size):
    """`predict_noise` for all images at one time, so many at once, with its answers checked."""
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, 1)

    def ask(x_t, t):
        size, asked, answers = batch_size or len(x_t), np.full(len(x_t), t, np.int32), []
        for i in range(0, len(x_t), size):
            part = x_t[i : i + size]
            answer = predict_noise(part, asked[i : i + size])
            received = f"{ops.dtype(answer)} of {tuple(answer.shape)}" if hasattr(answer, "shape") else repr(answer)
            if received != f"{part.dtype} of {part.shape}":
                raise TypeError(f"predict_noise: expected an answer of {part.dtype} of {part.shape}; received {received}")
            answers.append(ops.convert_to_numpy(answer))
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    return ask


def _alpha_bars(schedule, t, s):
    """Those of a step back, as Python's floats, which leave the type of any array as it is."""
    t, s = whole("t", t, 1, schedule.T), whole("s", s, 0)
    if s >= t:
        raise ValueError(f"s: expected a time before t = {t}; received {s}")
    if schedule.alpha_bar[t] < np.finfo(np.float32).tiny:
        raise ValueError(f"schedule: expected some signal at t = {t}; received alpha_bar = {schedule.alpha_bar[t]:.1e}")
    return schedule.alpha_bar[[t, s]].tolist()


def _part(argument, value):
    if not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(f"{argument}: expected a number in [0, 1]; received {value!r}")
    return float(value)


def _checked(argument, values, shape):
    """A copy, as the caller's array may change."""
    values = np.array(values)
    if values.dtype not in (np.float32, np.float64) or values.shape != tuple(shape) or values.ndim < 2 or not values.size:
        expected = f"float32 or float64 of shape {tuple(shape) if len(shape) > 1 and all(shape) else '(B, ...)'}"
        raise ValueError(f"{argument}: expected {expected}; received {values.dtype} of {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{argument}: expected finite values; received {np.sum(~np.isfinite(values))} NaN or infinite ones")
    return values


def frozen(x):
    """A tensor as a NumPy array that nobody writes into."""
    x = ops.convert_to_numpy(x)
    x.flags.writeable = False
    return x
