"""Checks for the exercises of lesson 09."""

import numpy as np

from lessons_lib import schedule
from lessons_lib.checks import compare, exercise, expect


@exercise(4)
def shifted_betas(answer):
    """`answer(betas, factor)`: the shifted schedule (Hoogeboom et al. 2023, section 3.1)."""
    by_hand = np.array([0.5, 0.6])  # alpha_bar 0.5 and 0.2; shifted by 2: 1/5 and 1/17
    for betas, factor in ((by_hand, 2), (schedule.cosine(20).beta[1:], 64 / 28), (schedule.linear(20).beta[1:], 0.5)):
        received = np.asarray(answer(betas.copy(), factor))
        alpha_bar = np.cumprod(1 - betas)

        def back(alpha_bar):
            return 1 - alpha_bar / np.append(1, alpha_bar[:-1])

        def divided(by, alpha_bar=alpha_bar):
            return alpha_bar / (alpha_bar + by * (1 - alpha_bar))

        expected = back(divided(factor**2))
        mistakes = {
            "that shifts the other way: larger pictures need more noise, not less.": back(divided(factor**-2)),
            "averaging over f by f pixels divides the noise's variance by f squared, not by f.": back(divided(factor)),
            "that shifts twice.": back(divided(factor**4)),
            "these are the values of alpha_bar; which betas have them as products?": divided(factor**2),
            "the schedule has not changed.": betas,
            "that shifts each beta by itself; the formula is one of alpha_bar.": 1 - divided(factor**2, 1 - betas),
            "that divides alpha_bar; the formula divides its ratio to 1 - alpha_bar.": back(alpha_bar / factor**2),
        }
        expect(received.shape == betas.shape, f"shifted_betas: expected shape {betas.shape}; received {received.shape}")
        compare(
            f"shifted_betas of {len(betas)} steps by {factor:.3g}",
            received,
            expected,
            mistakes,
            "work out by hand what a factor of 2 makes of the betas 0.5 and 0.6.",
        )


@exercise(5)
def largest_signal(answer):
    """`answer(side, c, left)`: the terminal signal with which the mean colour keeps so much of its variance."""
    for side, c, left in ((10, 0.5, 0.5), (64, 0.1, 0.95), (28, 0.02, 0.9), (256, 0.3, 0.99)):
        n, ratio = side**2, 1 / left - 1
        mistakes = {
            "that is alpha_bar; the signal is its root.": ratio / (n * c - 1),
            "a picture has side * side pixels.": np.sqrt(ratio / abs(side * c - 1)),
            "solve 1 / (alpha_bar (n c - 1) + 1) = left once more: where is the 1 in n c - 1?": np.sqrt(ratio / (n * c)),
            "that keeps 1 - left of the variance.": np.sqrt((1 / (1 - left) - 1) / (n * c - 1)),
            "left is a fraction of the variance, not of the deviation.": np.sqrt((1 / left**2 - 1) / (n * c - 1)),
        }
        received, expected = np.asarray(answer(side, c, left)), np.asarray(np.sqrt(ratio / (n * c - 1)))
        expect(received.shape == (), f"largest_signal: expected one number; received shape {received.shape}")
        compare(
            f"largest_signal for side {side}, c = {c}, left = {left}",
            received,
            expected,
            mistakes,
            "solve the lesson's formula for alpha_bar.",
        )


@exercise(6)
def make_pictures(answer):
    """`answer(pixels, work)`: pixels to the model's range, through `work`, and back to pixels."""
    pixels, seen = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1), []

    def through(change):
        def work(x):
            seen.append(np.asarray(x))
            return change(x)

        made = np.asarray(answer(pixels.copy(), work))
        expect(seen, "make_pictures: it never calls `work`.")
        told = f"{made.dtype} of shape {made.shape}"
        fits = made.dtype == np.uint8 and made.shape == pixels.shape
        expect(fits, f"make_pictures: expected uint8 of shape {pixels.shape}; received {told}")
        return made

    made = through(lambda x: x)
    low, high = float(seen[0].min()), float(seen[0].max())
    expect(
        np.isclose(low, -1, atol=1e-3) and np.isclose(high, 1, atol=1e-3),
        f"make_pictures: expected `work` to receive -1 for black and 1 for white; received {low:.3g} to {high:.3g}. "
        "Hint: which range do the lessons' networks work in?",
    )
    cases = {
        "work that changes nothing": (
            made,
            pixels,
            "is the way back the inverse of the way there, with rounding to the nearest level?",
        ),
        "work that makes everything three tenths of a level darker": (
            through(lambda x: x - 0.3 / 127.5),
            pixels,
            "`astype` cuts off decimals; round to the nearest level.",
        ),
        "work that overshoots by a tenth": (
            through(lambda x: 1.1 * x),
            np.rint((np.clip(1.1 * (pixels / 127.5 - 1), -1, 1) + 1) * 127.5),
            "what is beyond white becomes something else in uint8; clip it first.",
        ),
    }
    for name, (received, expected, hint) in cases.items():
        away = np.abs(received.astype(int) - expected)
        expect(not away.any(), f"make_pictures, {name}: {np.mean(away > 0):.0%} of the levels are wrong. Hint: {hint}")
