"""Checks for the exercises of lesson 11."""

from itertools import pairwise

import numpy as np

from lessons_lib.checks import compare, exercise, expect


@exercise(4)
def collage(answer):
    """`answer(x_s, pieces, noise, alpha_bar_s)`: several known pieces at the level of x_s (Lugmayr et al. 2022, algorithm 1)."""
    rng = np.random.default_rng(0)
    for count, alpha_bar_s in ((1, 0.3), (2, 0.6), (3, 0.05), (2, 1.0)):
        x_s, noise, *pictures = rng.normal(size=(2 + count, 2, 5, 4, 1))
        pieces = [(picture, rng.random((2, 5, 4, 1)) < 0.5) for picture in pictures]
        before = [part.copy() for part in (x_s, noise, *(part for piece in pieces for part in piece))]

        def pasted(level=alpha_bar_s, root=np.sqrt, order=1, swap=False, pieces=pieces, x_s=x_s, noise=noise):
            made = x_s
            for picture, mask in pieces[::order]:
                faded = np.sqrt(level) * picture + root(1 - level) * noise
                made = np.where(mask != swap, faded, made)
            return made

        received = np.asarray(answer(x_s, pieces, noise, alpha_bar_s))
        expect(received.shape == x_s.shape, f"collage: expected shape {x_s.shape}; received {received.shape}")
        after = (x_s, noise, *(part for piece in pieces for part in piece))
        unchanged = all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
        expect(unchanged, "collage: expected the arrays that it is given to stay as they are. Hint: np.where makes a new one.")
        mistakes = {
            "where pieces overlap, the last one counts.": pasted(order=-1),
            "a mask is true where its piece is to be put.": pasted(swap=True),
            "noise comes in with the root of 1 - alpha_bar_s.": pasted(root=lambda value: value),
            "pieces have to be as noisy as x_s.": pasted(level=1.0),
        }
        told = f"collage of {count} pieces at alpha_bar_s = {alpha_bar_s}"
        compare(told, received, pasted(), mistakes, "fade each piece to the level of x_s, and put it where its mask is true.")


@exercise(5)
def jumps(answer):
    """`answer(times, length, rounds)`: the moves down and up, [(t, s), ...] (Lugmayr et al. 2022, figure 8)."""

    def way(times, length, rounds):
        moves = []
        for first in range(0, len(times) - 1, length):
            part = times[first : first + length + 1]
            down = list(pairwise(part))
            moves += down + (part[-1] > 0) * (rounds - 1) * [(part[-1], part[0]), *down]
        return moves

    for times, length, rounds in (
        ([4, 3, 2, 1, 0], 1, 1),
        ([4, 3, 2, 1, 0], 1, 2),
        ([4, 3, 2, 1, 0], 2, 2),
        ([9, 6, 3, 0], 3, 4),
        ([8, 7, 5, 4, 2, 0], 2, 3),
    ):
        received, told = answer(list(times), length, rounds), f"jumps({times}, {length}, {rounds})"
        pairs = isinstance(received, list) and all(np.shape(move) == (2,) for move in received)
        expect(pairs, f"{told}: expected a list of pairs (t, s); received {received!r}")
        received = [tuple(int(time) for time in move) for move in received]
        hint = "go down `length` steps, then up to where they began and down again; after all rounds, on."
        broken = next(((one, other) for one, other in pairwise(received) if one[1] != other[0]), None)
        if received == way(times, length, rounds + 1):
            hint = "`rounds` counts the walks down: one more than the jumps up."
        elif received == way(times, 1, rounds):
            hint = "go down `length` steps before the jump up."
        elif broken:
            hint = f"after {broken[0]} the walk is at {broken[0][1]}, so that {broken[1]} cannot follow."
        elif any(s == 0 for _, s in received[:-1]):
            hint = "from 0 nobody goes up again: the picture is done."
        expect(received == way(times, length, rounds), f"{told}: received {received}. Hint: {hint}")


@exercise(6)
def keep_known(answer):
    """`answer(x_t, known, mask, t, s, alpha_bar, step, noise)`: one step of filling, from t to s."""
    rng = np.random.default_rng(0)
    alpha_bar = np.linspace(1, 0.01, 11) ** 2

    def step(x_t, t, s):
        return 0.5 * x_t + 0.1 * t - 0.2 * s

    for t, s in ((8, 6), (5, 1), (2, 0)):
        x_t, known, noise = rng.normal(size=(3, 2, 4, 4, 1))
        mask = rng.random((2, 4, 4, 1)) < 0.4

        def kept(at=s, root=np.sqrt, swap=False, x_t=x_t, known=known, noise=noise, mask=mask, t=t, s=s):
            faded = np.sqrt(alpha_bar[at]) * known + root(1 - alpha_bar[at]) * noise
            return np.where(mask != swap, faded, step(x_t, t, s))

        received = np.asarray(answer(x_t, known, mask, t, s, alpha_bar, step, noise))
        expect(received.shape == x_t.shape, f"keep_known: expected shape {x_t.shape}; received {received.shape}")
        mistakes = {
            "known pixels have to be as noisy as what the step gives.": kept(at=t),
            "a variance of 1 - alpha_bar needs its root as the factor.": kept(root=lambda value: value),
            "the mask is true where pixels are known.": kept(swap=True),
            "two mistakes are left: the level, and the root.": kept(at=t, root=lambda value: value),
            "two mistakes are left: the level, and the mask.": kept(at=t, swap=True),
            "two mistakes are left: the root, and the mask.": kept(root=lambda value: value, swap=True),
        }
        compare(f"keep_known from {t} to {s}", received, kept(), mistakes, "after the step, known pixels at the level of s.")
