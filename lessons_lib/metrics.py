"""Distances between sets of features, with error bars; spectra. What makes features of pictures is in `judges`."""

from typing import NamedTuple

import numpy as np

from lessons_lib.schedule import whole


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self):
        return f"{self.value:.2f} ± {self.error:.2f}"


class Statistics(NamedTuple):
    """What a Fréchet distance needs of a set of features: mean (D,) and covariance (D, D), float64, of `count` images."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def statistics(x):
    """The `Statistics` of features x, (N, D), N at least 2."""
    x = _checked("x", x)
    return Statistics(x.mean(axis=0), np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]), len(x))


def frechet_distance(x, y, *, resamples=100, seed=0):
    """The squared Fréchet distance of two Gaussians with the sets' means and covariances (Dowson and Landau 1982).

    x, y: features, (N, D), or the `Statistics` of such. Gives an `Estimate`; its error is that of drawing the images, by the
    bootstrap over those of x and y that are features. The value is too large, by a bias that falls with N. Near-singular
    covariances do no harm: all goes through eigenvalues in float64, and those below zero by rounding count as zero.
    """
    sets = [one if isinstance(one, Statistics) else _checked(name, one) for name, one in (("x", x), ("y", y))]
    sizes = [one.mean.shape[-1] if isinstance(one, Statistics) else one.shape[-1] for one in sets]
    if sizes[0] != sizes[1]:
        raise ValueError(f"y: expected {sizes[0]} features an image, as x has; received {sizes[1]}")
    rng = np.random.default_rng(seed)

    def distance(draw):
        return _frechet(*(one if isinstance(one, Statistics) else statistics(draw(one)) for one in sets))

    again = [distance(lambda one: one[rng.integers(len(one), size=len(one))]) for _ in range(resamples)]
    return Estimate(distance(lambda one: one), float(np.std(again, ddof=1)) if resamples > 1 else float("nan"))


def frechet_at_infinity(x, y, *, splits=10, seed=0):
    """The `frechet_distance` that ever more images like those of x would have (Chong and Forsyth 2020).

    Its bias falls roughly as 1 / N, so that twice the distance of all images, less that of half of them, has none of it; the mean
    over random halves. x: features, (N, D), N at least 40. y: features, (M, D), M at least 2, all of which are taken, or
    `Statistics`. Gives an `Estimate`, which may be below 0; its error is a jackknife's, each time without a tenth of x.
    """
    x, splits = _checked("x", x, least=40), whole("splits", splits, 1)
    y = y if isinstance(y, Statistics) else statistics(_checked("y", y))
    rng = np.random.default_rng(seed)

    def limit(x):
        halves = [half for _ in range(splits) for half in np.array_split(rng.permutation(x), 2)]
        of_halves = np.mean([frechet_distance(half, y, resamples=0).value for half in halves])
        return 2 * frechet_distance(x, y, resamples=0).value - of_halves

    value, groups = limit(x), np.array_split(rng.permutation(len(x)), 10)
    without = [limit(np.delete(x, group, axis=0)) for group in groups]
    return Estimate(value, float(np.sqrt(9 / 10 * np.sum((without - np.mean(without)) ** 2))))


def kernel_distance(x, y):
    """The kernel distance, KID (Bińkowski et al. 2018, eq. 4): the squared maximum mean discrepancy by k(a, b) = (a.b / D + 1)^3.

    x, y: features, (N, D) and (M, D), N and M at least 3. Gives an `Estimate` without bias, so below 0 as often as above for sets
    of one origin; its error is a jackknife's over single images.
    """
    x, y = _checked("x", x, least=3), _checked("y", y, least=3, like=x)
    (of_x, _), (of_y, _), (across_x, across_y) = _kernel_sums(x, x), _kernel_sums(y, y), _kernel_sums(x, y)
    of_x, of_y = of_x - _kernel(np.sum(x * x, axis=1), x), of_y - _kernel(np.sum(y * y, axis=1), y)  # no image beside itself
    n, m, xx, yy, xy = len(x), len(y), of_x.sum(), of_y.sum(), across_x.sum()

    without_x = (xx - 2 * of_x) / ((n - 1) * (n - 2)) + yy / (m * (m - 1)) - 2 * (xy - across_x) / ((n - 1) * m)
    without_y = xx / (n * (n - 1)) + (yy - 2 * of_y) / ((m - 1) * (m - 2)) - 2 * (xy - across_y) / (n * (m - 1))
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()
    return Estimate(float(xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m)), float(np.sqrt(variance)))


def precision_recall(real, drawn, k=3):
    """How many drawn images look real, and how many real ones could have been drawn (Kynkäänniemi et al. 2019, eqs. 1 and 2).

    real, drawn: features, (N, D) and (M, D), better equally many, as the shares depend on it. An image counts if it is no farther
    from some image of the other set than that one is from its k-th nearest neighbour in its own. Gives two `Estimate`s in
    [0, 1]; their errors are those of the images that are counted, for neighbourhoods as they are.
    """
    k = whole("k", k, 1)
    real, drawn = _checked("real", real, least=k + 1), _checked("drawn", drawn, least=k + 1, like=real)
    return _share_within(drawn, real, k), _share_within(real, drawn, k)


def nearest(x, y):
    """For each of x the nearest of y: its index, (N,) integers, and how far it is, (N,) float64, by Euclid.

    x, y: (N, ...) and (M, ...), N and M at least 1, floats: images or features. Raises ValueError for NaN and infinity. Which one
    is the nearest is looked for in float32, beside the mean of y; how far it is comes from float64.
    """
    x, y = np.asarray(x), np.asarray(y)
    if not x.size:
        raise ValueError(f"x: expected some images; received shape {x.shape}")
    if x.shape[1:] != y.shape[1:] or not len(y):
        raise ValueError(f"y: expected images of shape {x.shape[1:]}, as x has; received shape {y.shape}")
    for argument, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"{argument}: expected finite values; received {np.sum(~np.isfinite(values))} NaN or infinite ones")
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    centre = y.mean(axis=0, dtype=np.promote_types(y.dtype, np.float32))  # far from zero, float32's squares would cancel
    index = np.concatenate([d.argmin(axis=1) for d in _squared_distances(*((z - centre).astype(np.float32) for z in (x, y)))])
    return index, np.linalg.norm(x.astype(np.float64) - y[index], axis=1)


def octaves(images):
    """Each picture's variance of brightness by spatial frequency, in octaves: (N, K) float64, K = 1 + floor(log2(side / 2)).

    images: (N, side, side, C), floats, a side of at least 2. Brightness is the mean of the channels. Column k is the variance at
    2^k up to, not including, 2^(k + 1) cycles a picture, in any direction; the last one is all from 2^(K - 1) on, corners
    included, so that a row's sum is the variance of the picture's pixels (Parseval). Raises ValueError if they are not square.
    """
    images = np.asarray(images, np.float64)
    side = images.shape[1] if images.ndim == 4 else 0
    if side < 2 or images.shape[2] != side:
        raise ValueError(f"images: expected square ones of at least 2 pixels, (N, side, side, C); received shape {images.shape}")
    power = np.abs(np.fft.fft2(images.mean(axis=-1))) ** 2 / side**4
    cycles = np.fft.fftfreq(side, 1 / side)
    octave = np.floor(np.log2(np.hypot(cycles[:, None], cycles).clip(0.5))).clip(max=np.log2(side / 2) // 1)
    return np.stack([power[:, octave == k].sum(axis=1) for k in range(int(octave.max()) + 1)], axis=1)


def _frechet(one, other):
    root = _square_root(one.covariance)
    product = np.linalg.eigvalsh(root @ other.covariance @ root).clip(0)
    means = np.sum((one.mean - other.mean) ** 2)
    return float(means + np.trace(one.covariance) + np.trace(other.covariance) - 2 * np.sqrt(product).sum())


def _square_root(covariance):
    values, axes = np.linalg.eigh(covariance)
    return axes * np.sqrt(values.clip(0)) @ axes.T


def _kernel(products, x):
    return (products / x.shape[1] + 1) ** 3


def _kernel_sums(x, y):
    """The kernel's sums over y for each of x, and over x for each of y; in blocks, as all of it may not fit."""
    over_y, over_x = [], np.zeros(len(y))
    for i in range(0, len(x), 1000):
        block = _kernel(x[i : i + 1000] @ y.T, x)
        over_y.append(block.sum(axis=1))
        over_x += block.sum(axis=0)
    return np.concatenate(over_y), over_x


def _squared_distances(x, y):
    """Blocks of the matrix, (up to 1000, M)."""
    sizes = np.sum(y * y, axis=1)
    for i in range(0, len(x), 1000):
        block = x[i : i + 1000]
        yield (np.sum(block * block, axis=1)[:, None] + sizes - 2 * block @ y.T).clip(0)


def _share_within(x, y, k):
    radii = np.concatenate([np.partition(d, k, axis=1)[:, k].copy() for d in _squared_distances(y, y)])  # the 0-th is itself
    share = float(np.mean(np.concatenate([(d <= radii).any(axis=1) for d in _squared_distances(x, y)])))
    return Estimate(share, float(np.sqrt(share * (1 - share) / len(x))))


def _checked(argument, values, least=2, like=None):
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) < least:
        raise ValueError(f"{argument}: expected features of at least {least} images, (N, D); received shape {values.shape}")
    if like is not None and values.shape[1] != like.shape[1]:
        raise ValueError(f"{argument}: expected {like.shape[1]} features an image; received {values.shape[1]}")
    if not np.isfinite(values).all():
        raise ValueError(f"{argument}: expected finite values; received {np.sum(~np.isfinite(values))} NaN or infinite ones")
    return values
