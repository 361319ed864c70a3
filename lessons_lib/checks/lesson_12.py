"""Checks for the exercises of lesson 12."""

import numpy as np

from lessons_lib.checks import compare, exercise, expect


@exercise(4)
def parts(answer):
    """`answer(x, factor)`: the part of x that its small picture tells, enlarged, and the detail (Wang et al. 2022)."""
    rng = np.random.default_rng(0)
    for shape, factor in (((2, 4, 4, 1), 2), ((3, 6, 12, 2), 3), ((1, 8, 4, 3), 4)):
        x = rng.normal(size=shape)
        count, height, width, channels = shape
        squares = x.reshape(count, height // factor, factor, width // factor, factor, channels)

        def repeated(small, factor=factor):
            return small.repeat(factor, axis=1).repeat(factor, axis=2)

        small = squares.mean(axis=(2, 4))
        told = f"parts of {height} x {width} pixels by {factor}"
        received = answer(x.copy(), factor)
        expect(isinstance(received, tuple | list) and len(received) == 2, f"{told}: expected two arrays; received {received!r}")
        coarse, detail = map(np.asarray, received)
        for name, one in (("coarse part", coarse), ("detail", detail)):
            hint = " Hint: enlarge it again." if one.shape == small.shape else ""
            expect(one.shape == shape, f"{told}: expected a {name} of shape {shape}; received {one.shape}.{hint}")
        tiled = np.tile(small, (1, factor, factor, 1))
        mistakes = {
            "each small pixel becomes a square; np.tile repeats the whole picture.": tiled,
            "a square's mean, not its first pixel.": repeated(x[:, ::factor, ::factor]),
            "the mean of a square, not its sum.": repeated(squares.sum(axis=(2, 4))),
            "the coarse part comes first.": x - repeated(small),
        }
        compare(f"{told}, coarse", coarse, repeated(small), mistakes, "shrink, and enlarge what comes out.")
        mistakes = {"what is left of x, not what is added to it.": repeated(small) - x}
        compare(f"{told}, detail", detail, x - repeated(small), mistakes, "coarse and detail add up to x.")


@exercise(5)
def psnr_of(answer):
    """`answer(answers, truth)`: the peak signal-to-noise ratio of each picture, in dB; pictures in [-1, 1]."""
    rng = np.random.default_rng(0)
    for shape, size in (((3, 4, 4, 1), 0.5), ((5, 6, 3, 3), 0.02), ((2, 8, 8, 2), 1.0)):
        truth = rng.uniform(-1, 1, shape)
        errors = size * rng.uniform(0.1, 1, (shape[0], 1, 1, 1)) * rng.normal(size=shape)
        each = np.mean(errors**2, axis=(1, 2, 3))
        received = np.asarray(answer(truth + errors, truth.copy()))
        told = f"psnr_of {shape[0]} pictures"
        whole = 10 * np.log10(4 / np.mean(each))
        if received.shape == () and np.isclose(received, whole):
            expect(False, f"{told}: received one number. Hint: one for each picture, from the mean over its own pixels.")
        expect(received.shape == shape[:1], f"{told}: expected shape {shape[:1]}; received {received.shape}")
        mistakes = {
            "from -1 to 1 the peak is 2, and its square 4.": 10 * np.log10(1 / each),
            "square the peak, too.": 10 * np.log10(2 / each),
            "a decibel is ten times the logarithm to base 10.": 10 * np.log(4 / each),
            "with a squared error it is 10 log10, not 20.": 20 * np.log10(4 / each),
            "a smaller error is a larger PSNR.": -10 * np.log10(4 / each),
            "the mean of the squared errors, not of their absolute values.": 10
            * np.log10(4 / np.mean(np.abs(errors), axis=(1, 2, 3))),
        }
        compare(told, received, 10 * np.log10(4 / each), mistakes, "10 log10(4 / mean squared error).")


@exercise(6)
def training_loss(answer):
    """`answer(x_0, noise, t, alpha_bar, network, factor)`: the loss of one training step of (Saharia et al. 2021, section 2)."""
    rng = np.random.default_rng(0)
    alpha_bar = np.linspace(1, 0.01, 11) ** 2
    for count, side, factor in ((4, 4, 2), (3, 6, 3), (5, 8, 4)):
        x_0, noise = rng.normal(size=(2, count, side, side, 1))
        t = rng.permutation(np.arange(1, 11))[:count]
        squares = x_0.reshape(count, side // factor, factor, side // factor, factor, 1)
        small = squares.mean(axis=(2, 4))

        def network(x_t, t, y, factor=factor):
            t = np.broadcast_to(t, len(x_t)).reshape(-1, 1, 1, 1)
            return 0.3 * x_t * np.cos(t) + 0.5 * np.asarray(y).repeat(factor, axis=1).repeat(factor, axis=2) ** 2

        def loss(y=small, times=t, total=np.mean, x_0=x_0, noise=noise, network=network):
            level = alpha_bar[times].reshape(-1, 1, 1, 1)
            x_t = np.sqrt(level) * x_0 + np.sqrt(1 - level) * noise
            return total(np.square(network(x_t, times, y) - noise))

        one = np.full(count, t[0])
        rolled = np.roll(small, 1, axis=0)
        wrongs = {"y": rolled, "times": one, "total": np.sum}
        hints = {
            "y": "every picture is told its own small one, not its neighbour's.",
            "times": "every picture has a time of its own.",
            "total": "a sum grows with the batch and the pictures, and so would the learning rate.",
        }
        mistakes = {hints[name]: loss(**{name: wrong}) for name, wrong in wrongs.items()}
        for right in wrongs:
            left = {name: wrong for name, wrong in wrongs.items() if name != right}
            names = {"y": "the small pictures", "times": "the times", "total": "the sum"}
            mistakes[f"two mistakes are left: {' and '.join(names[name] for name in left)}."] = loss(**left)
        mistakes |= {"all three mistakes are still there.": loss(**wrongs), "y is the small picture.": loss(y=0 * small)}
        received = np.asarray(answer(x_0.copy(), noise.copy(), t.copy(), alpha_bar, network, factor))
        told = f"training_loss of {count} pictures"
        expect(received.shape == (), f"{told}: expected one number, the loss; received shape {received.shape}")
        mistakes = {hint: np.asarray(value) for hint, value in mistakes.items()}
        compare(told, received, np.asarray(loss()), mistakes, "the mean squared error of the guess at the noise.")
