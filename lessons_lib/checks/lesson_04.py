"""Checks for the exercises of lesson 04."""

import inspect

import numpy as np

from lessons_lib.checks import exercise, expect

READY_MADE = {"einops", "rearrange", "Rearrange"}  # names in an answer's code that do exercise 4 in one call


@exercise(4)
def unpatch(answer):
    """`answer(patches, side)` turns (B, h, w, side * side * C) back into the images, by reshape and transpose."""
    images = np.random.default_rng(0).normal(size=(2, 6, 12, 2))
    for p in (3, 2, 1):
        h, w = 6 // p, 12 // p
        squares = images.reshape(2, h, p, w, p, 2).transpose(0, 1, 3, 2, 4, 5)  # b h w p q c
        patches = squares.reshape(2, h, w, p * p * 2)
        received = np.asarray(answer(patches, p))
        expect(
            received.shape == images.shape,
            f"unpatch with side = {p}: expected shape {images.shape} from {patches.shape}; received {received.shape}. Hint: "
            "which axes grow, which one shrinks, and by what factor?",
        )
        mixed = "neighbouring pixels come from different squares: in a pair of axes that become one, the last index runs fastest."
        mistakes = [
            (squares.transpose(0, 1, 4, 2, 3, 5), "every square is mirrored at its diagonal: which index counts its rows?"),
            (squares.transpose(0, 3, 1, 2, 4, 5), mixed),
            (squares.transpose(0, 1, 3, 4, 2, 5), mixed),
            (squares.transpose(0, 3, 1, 4, 2, 5), mixed),
            (
                patches.reshape(2, h, w, 2, p, p).transpose(0, 1, 4, 2, 5, 3),
                "the last axis of the patches was split in another order than it was made: C runs fastest in it.",
            ),
            (squares, "the numbers have a new shape, but none has moved. Which axes must change places first?"),
        ]
        mistakes = [(mistake.reshape(images.shape), hint) for mistake, hint in mistakes]
        off = (received != images).mean()
        hint = _hint(received, mistakes) or "follow one pixel: which square is it in, and where in that square?"
        expect(not off, f"unpatch with side = {p}: expected every pixel back in its place; {off:.0%} are elsewhere. Hint: {hint}")
    names = getattr(getattr(inspect.unwrap(answer), "__code__", None), "co_names", ())
    used = [name for name in names if name in READY_MADE]
    expect(
        not used,
        f"unpatch: every pixel is in its place, but by way of `{' and '.join(used)}`. Hint: "
        "`reshape` can split the last axis into three. Which axes must then become neighbours?",
    )


@exercise(5)
def multi_head(answer):
    """`answer(queries, keys, values, heads)`: attention in each head's share of the channels, the shares side by side."""
    q, k, v = 2 * np.random.default_rng(0).normal(size=(3, 2, 6, 6))
    for heads in (3, 2, 1):
        size = 6 // heads
        shares, root = np.split(np.arange(6), heads), np.sqrt(size)
        expected = _side_by_side(q, k, v, shares, root)
        received = np.asarray(answer(q, k, v, heads))
        expect(
            received.shape == expected.shape,
            f"multi_head with {heads} heads: expected the shape of the values, {expected.shape}; received {received.shape}",
        )
        every, by_position = [np.arange(6)], [x.reshape(2 * heads, size, 6) for x in (q, k, v)]
        apart = np.arange(6).reshape(size, heads).T  # every heads-th channel
        strided, neighbours = _side_by_side(q, k, v, apart, root), "a head takes channels that follow each other in the input."
        mistakes = [
            (_side_by_side(q, k, v, every, np.sqrt(6)), "this is what one single head gives. What may a head see?"),
            (_side_by_side(q, k, v, shares, np.sqrt(6)), "by which root does a head divide, and how many channels has it?"),
            (_side_by_side(q, k, v, shares, 1), "the products are not divided by any root."),
            (_side_by_side(q, k, v, shares, root, axis=1), "the weights of one *query* must add up to 1: which axis is that?"),
            (strided, neighbours),
            (strided[..., np.argsort(apart.ravel())], neighbours),
            (_side_by_side(k, q, v, shares, root), "queries and keys have changed places."),
            (
                _side_by_side(*by_position, every, np.sqrt(6)).reshape(2, 6, 6),
                "the positions were divided among the heads. What should be divided instead?",
            ),
        ]
        worst = np.abs(received - expected).max()
        hint = _hint(received, mistakes) or "compare the first head with `attend` of its own channels."
        expect(worst < 1e-4, f"multi_head with {heads} heads: the result is off by up to {worst:.2g}. Hint: {hint}")


def _hint(received, mistakes):
    """The hint of the first mistake that gives this result, or None."""
    return next((hint for mistake, hint in mistakes if np.allclose(received, mistake, atol=1e-4)), None)


def _side_by_side(q, k, v, shares, root, axis=2):
    """Attention in each share of the channels on its own: products divided by root, softmax over that axis."""
    results = []
    for share in shares:
        scores = np.exp(q[..., share] @ k[..., share].swapaxes(1, 2) / root)
        results.append(scores / scores.sum(axis=axis, keepdims=True) @ v[..., share])
    return np.concatenate(results, axis=-1)
