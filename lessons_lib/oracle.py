"""Exact denoisers for data whose density is known: what a perfect network would answer, without any training.

Points, a Gaussian and a mixture are one thing: a mixture of Gaussians, a point being one of no width. Noise makes of it
another mixture: each mean shrinks by sqrt(alpha_bar), each covariance becomes alpha_bar * covariance + (1 - alpha_bar) * I.
Along the axes of its covariance a Gaussian is independent numbers, so nothing more than divisions is left to do.
"""

from dataclasses import dataclass

import numpy as np
from keras import ops

from lessons_lib.schedule import Schedule, check_float, known, same_shape


@dataclass(frozen=True, eq=False, repr=False)
class Oracle:
    """Exact answers about noised data, made by `points`, `gaussian` or `mixture`; `oracle.predict_noise` is what samplers take.

    Every method takes x_t, (B, ...) of float32 or float64, and t, (B,) integers in 1..T. Raises TypeError for other types,
    ValueError for other shapes or times. It holds a few times B * K * D numbers at once: K parts, D numbers in an image.
    """

    schedule: Schedule
    shape: tuple  # of one image or point
    weights: np.ndarray  # (K,)
    means: np.ndarray  # (K, D)
    variances: np.ndarray  # (K, D), along the axes
    axes: np.ndarray | None  # (K, D, D), one axis a column; None if they are the coordinates'

    def predict_noise(self, x_t, t):
        """E[noise | x_t], the minimum of the training loss (DDPM, eq. 14): -sqrt(1 - alpha_bar) times the score."""
        alpha_bar, distance, _, total, log_joint = self._parts(x_t, t)
        return self._average(log_joint, self._turn(ops.sqrt(1 - alpha_bar) * distance / total, "kde,bke->bkd"))

    def score(self, x_t, t):
        """The gradient of `log_likelihood` in x_t, of x_t's shape."""
        _, distance, _, total, log_joint = self._parts(x_t, t)
        return self._average(log_joint, self._turn(-distance / total, "kde,bke->bkd"))

    def denoise(self, x_t, t):
        """E[x_0 | x_t], the mean of all data that x_t may come from, of x_t's shape (Tweedie's formula: Robbins 1956)."""
        alpha_bar, distance, variances, total, log_joint = self._parts(x_t, t)
        shift = self._turn(ops.sqrt(alpha_bar) * variances * distance / total, "kde,bke->bkd")
        return self._average(log_joint, ops.convert_to_tensor(self.means, ops.dtype(shift)) + shift)

    def log_likelihood(self, x_t, t):
        """log q(x_t), the density of the noised data, (B,)."""
        return ops.logsumexp(self._parts(x_t, t)[-1], axis=1)

    def posterior(self, x_t, t):
        """How likely x_t came from each part, (B, K), each row summing to 1: the exact classifier (Bayes' rule)."""
        return _shares(self._parts(x_t, t)[-1])

    def _parts(self, x_t, t):
        """alpha_bar (B, 1, 1); along the axes of each part (B, K, D): distance, variances before and after; log_joint (B, K)."""
        x_t = ops.convert_to_tensor(x_t)
        check_float("x_t", x_t)
        if not same_shape(x_t.shape[1:], self.shape):
            raise ValueError(f"x_t: expected shape (B, {str(self.shape)[1:-1]}); received {tuple(x_t.shape)}")
        x = ops.reshape(x_t, (-1, 1, self.means.shape[1]))
        alpha_bar = self.schedule.at(t, like=x)
        values = known(alpha_bar)
        if values is not None and (values == 1).any():
            raise ValueError(f"t: expected integers in 1..{self.schedule.T}, where there is noise; received {known(t).min()}")
        constants = (self.weights, self.means, self.variances)
        weights, means, variances = (ops.convert_to_tensor(value, ops.dtype(x)) for value in constants)
        distance = self._turn(x - ops.sqrt(alpha_bar) * means, "kde,bkd->bke")
        total = alpha_bar * variances + (1 - alpha_bar)
        log_density = -0.5 * ops.sum(distance**2 / total + ops.log(2 * np.pi * total), axis=-1)
        return alpha_bar, distance, variances, total, ops.log(weights) + log_density

    def _turn(self, vectors, how):
        """Vectors (B, K, D) into the axes of their parts, "kde,bkd->bke", or back, "kde,bke->bkd"."""
        if self.axes is None:
            return vectors
        return ops.einsum(how, ops.convert_to_tensor(self.axes, ops.dtype(vectors)), vectors)

    def _average(self, log_joint, values):
        """The mean of the parts' values (B, K, D), each as likely as x_t makes it, in the shape of x_t."""
        return ops.reshape(ops.sum(_shares(log_joint)[..., None] * values, axis=1), (-1, *self.shape))


def points(schedule, x, weights=None):
    """The oracle of data that is one of a few points or images, and nothing else.

    x: (K, ...); weights: (K,), how often each occurs, positive with sum 1; None: all alike.
    """
    x = _finite("x", x)
    if x.ndim < 2 or not x.size:
        raise ValueError(f"x: expected some points or images, (K, ...); received shape {x.shape}")
    return mixture(schedule, x, np.zeros(len(x)), np.full(len(x), 1 / len(x)) if weights is None else weights)


def gaussian(schedule, mean, covariance):
    """The oracle of Gaussian data.

    mean: one point or image of D numbers, any shape; covariance: a number, the variance of every coordinate; or the shape of
    mean, one variance each; or (D, D), symmetric. No variance is negative; 0 is allowed.
    """
    return mixture(schedule, _finite("mean", mean)[None], [covariance], [1.0])


def mixture(schedule, means, covariances, weights):
    """The oracle of data from several Gaussians.

    means: (K, ...); covariances: K of them, each as `gaussian` takes it; weights: (K,), positive with sum 1.
    """
    means, weights = _finite("means", means), _finite("weights", weights)
    if means.ndim < 2 or not means.size:
        raise ValueError(f"means: expected some points or images, (K, ...); received shape {means.shape}")
    count, *shape = means.shape
    if weights.shape != (count,) or not (weights > 0).all() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError(f"weights: expected {count} positive numbers with sum 1; received {weights.tolist()}")
    if not np.iterable(covariances) or len(covariances) != count:
        received = len(covariances) if np.iterable(covariances) else covariances
        raise ValueError(f"covariances: expected a list of {count}, one for each mean; received {received}")
    variances, axes = zip(*(_decompose(covariance, shape) for covariance in covariances), strict=True)
    turned = any(part is not None for part in axes)
    axes = np.stack([np.eye(variances[0].size) if part is None else part for part in axes]) if turned else None
    return Oracle(schedule, tuple(shape), weights, means.reshape(count, -1), np.stack(variances), axes)


def _shares(log_joint):
    """The probability of each part given x_t, (B, K)."""
    return ops.exp(log_joint - ops.logsumexp(log_joint, axis=1, keepdims=True))  # softmax warns if K is 1


def _decompose(covariance, shape):
    """Variances (D,) along the axes of a covariance, and those axes (D, D), one a column, or None for the coordinates'."""
    covariance = _finite("covariance", covariance)
    size = int(np.prod(shape))
    if covariance.shape == (size, size) != tuple(shape):
        if abs(covariance - covariance.T).max() > 1e-9 * abs(covariance).max():
            raise ValueError(f"covariance: expected a symmetric matrix; received {covariance.tolist()}")
        variances, axes = np.linalg.eigh(covariance)
        rounding = size * np.finfo(np.float64).eps * abs(variances).max()
        variances = np.where(abs(variances) <= rounding, 0.0, variances)  # a zero, as eigh computes it
    elif covariance.shape in ((), tuple(shape)):
        variances, axes = np.broadcast_to(covariance, shape).ravel(), None
    else:
        raise ValueError(f"covariance: expected a number or shape {tuple(shape)} or {(size, size)}; received {covariance.shape}")
    if variances.min() < 0:
        raise ValueError(f"covariance: expected no negative variance; received {variances.min()} along one axis")
    return variances, axes


def _finite(argument, values):
    values = np.asarray(values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{argument}: expected finite values; received {np.sum(~np.isfinite(values))} NaN or infinite ones")
    return values
