"""Keep a part of a picture and draw the rest anew: RePaint's steps, with the levels of noise that its derivation asks for."""

from itertools import pairwise

import numpy as np
from keras import ops

from lessons_lib.diffusion import add_noise, alike
from lessons_lib.sampling import State, asking, frozen, noise_of, reverse_step, visited
from lessons_lib.schedule import same_shape, whole


def paint(x_s, known, noise, mask, alpha_bar_s):
    """Put what is known, noised to the level of x_s, where the mask is true (Lugmayr et al. 2022, algorithm 1).

    x_s, known, noise: (B, ...), float32 or float64; known is a clean picture, noise standard Gaussian. mask: booleans of that
    shape, or with one channel for all. alpha_bar_s: of the time s of x_s, (B, 1, ...) or a number in [0, 1]; where it is 1, the
    known pixels come out bit for bit. Raises ValueError for other shapes, TypeError for a mask that is not boolean.
    """
    x_s, known, noise = alike(x_s=x_s, known=known, noise=noise)
    return ops.where(_mask(mask, x_s), add_noise(known, noise, alpha_bar_s), x_s)


def back_to_noise(x_s, noise, alpha_bar_t, alpha_bar_s):
    """From time s up to t > s: a sample of q(x_t | x_s), however far apart (Lugmayr et al. 2022, section 4.2).

    x_s, noise: (B, ...); alpha_bar_t <= alpha_bar_s: (B, 1, ...) or numbers, in (0, 1]. One jump has the distribution of two.
    """
    return add_noise(x_s, noise, alpha_bar_t / alpha_bar_s)


def jumps(times, length=1, repeats=1):
    """Which way to go: [(t, s), ...], down where s < t, up where s > t (Lugmayr et al. 2022, figure 8).

    times: strictly falling integers, the last 0, as `time_grid` gives them. After every `length` steps down, and never from 0,
    the walk jumps up again to where they began, `repeats` - 1 times. repeats = 1 only goes down. Raises ValueError for others.
    """
    times = [whole("times", time, 0) for time in np.asarray(times).tolist()]
    if len(times) < 2 or times[-1] or any(t <= s for t, s in pairwise(times)):
        raise ValueError(f"times: expected strictly falling integers, the last 0; received {times}")
    length, repeats = whole("length", length, 1), whole("repeats", repeats, 1)
    moves = []
    for first in range(0, len(times) - 1, length):
        part = times[first : first + length + 1]
        down, up = list(pairwise(part)), (part[-1], part[0])
        moves += down if not part[-1] else [*down, *(repeats - 1) * [up, *down]]
    return moves


def fill(predict_noise, schedule, known, mask, steps, *, length=1, repeats=1, eta=1.0, seed=0, clip=False, batch_size=None):
    """Draw what is not known, (Lugmayr et al. 2022, algorithm 1) with the right levels: yields `State`s as `sample` does.

    known: (B, ...), float32 or float64, clean pictures; what the mask leaves out does not matter. mask: as for `paint`. length,
    repeats: as for `jumps`, repeats being the paper's U. Other arguments as for `sample`, with which it agrees where nothing is
    known. The last state holds the known pixels bit for bit.
    """
    times, ask = visited(schedule, steps), asking(predict_noise, batch_size)
    (known,) = alike(known=known)
    mask, known = _mask(mask, known), ops.convert_to_numpy(known)
    seed = whole("seed", seed, 0, 2**32 - 1)
    x, x_0 = frozen(noise_of(seed, 0, known.shape).astype(known.dtype)), None
    yield State(times[0], x, x_0)
    for move, (t, s) in enumerate(jumps(times, length, repeats), 1):
        noise = noise_of(seed, move, known.shape).astype(known.dtype)
        if s > t:
            x = back_to_noise(x, noise, schedule.alpha_bar[s], schedule.alpha_bar[t])
        else:
            x, x_0 = reverse_step(x, ask(x, t), t, s, schedule, eta, noise, clip=clip)
            its_own = noise_of(seed, move, known.shape, 1).astype(known.dtype)
            x, x_0 = paint(x, known, its_own, mask, schedule.alpha_bar[s]), frozen(x_0)
        x = frozen(x)
        yield State(s, x, x_0)


def _mask(mask, images):
    """A mask for images, as a tensor of booleans."""
    mask = ops.convert_to_tensor(mask)
    if ops.dtype(mask) != "bool":
        raise TypeError(f"mask: expected booleans, true where a pixel is known; received {ops.dtype(mask)}")
    one = (*images.shape[:-1], 1)
    if not same_shape(mask.shape, images.shape) and not same_shape(mask.shape, one):
        raise ValueError(f"mask: expected shape {tuple(images.shape)} or {one}; received {tuple(mask.shape)}")
    return mask
