"""Checks for the exercises of lesson 04."""

import numpy as np

from lessons_lib.checks import exercise


@exercise(4)
def unpatch(answer):
    """`answer(patches, p)` turns (B, h, w, p * p * C) back into the images (B, h * p, w * p, C) that were folded."""
    images = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
    for p in (1, 2):
        squares = images.reshape(2, 4 // p, p, 6 // p, p, 3).transpose(0, 1, 3, 2, 4, 5)
        received = np.asarray(answer(squares.reshape(2, 4 // p, 6 // p, p * p * 3), p))
        assert received.shape == images.shape, (
            f"unpatch with p = {p}: expected shape {images.shape}; received {received.shape}. Hint: height and width grow p "
            "times, the channels shrink p * p times."
        )
        wrong = (received != images).mean()
        assert not wrong, (
            f"unpatch with p = {p}: expected every pixel back in its place; received {wrong:.0%} of them elsewhere. Hint: "
            'in the pattern, (h p) is row h of squares, row p within the square: "b (h p) (w q) c".'
        )


@exercise(5)
def multi_head(answer):
    """`answer(q, k, v, heads)`: attention in each head's share of the channels on its own, the shares side by side."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 5, 6))
    for heads in (1, 2, 3):
        shares = []
        for share in np.split(np.arange(6), heads):
            scores = np.exp(q[..., share] @ k[..., share].swapaxes(1, 2) / np.sqrt(len(share)))
            shares.append(scores / scores.sum(axis=-1, keepdims=True) @ v[..., share])
        expected = np.concatenate(shares, axis=-1)
        received = np.asarray(answer(q, k, v, heads))
        assert received.shape == expected.shape, (
            f"multi_head with {heads} heads: expected the shape of v, {expected.shape}; received {received.shape}"
        )
        worst = np.abs(received - expected).max()
        assert worst < 1e-5, (
            f"multi_head with {heads} heads: expected each head to attend with its own {6 // heads} channels; received values "
            f"that are off by up to {worst:.2g}. Hint: head 1 takes the first {6 // heads} channels of q, k and v; within a "
            f"head, divide by the root of {6 // heads}, not of 6; put the results side by side."
        )
