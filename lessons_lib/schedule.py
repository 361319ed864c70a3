"""How fast the signal fades: the variance schedule of the forward process, in float64, with t = 0 for the data."""

import warnings
from dataclasses import InitVar, dataclass, field
from numbers import Integral, Real

import numpy as np
from keras import ops

FAINT = 0.05  # a terminal signal above this shows: the last x_t is not yet the noise that sampling starts from


@dataclass(frozen=True, eq=False, repr=False)
class Schedule:
    """A variance schedule and all that follows from it; read-only, every array float64 of T + 1 entries, t = 0..T.

    betas: (T,), beta_1 to beta_T, each in (0, 1). Raises ValueError for others; warns if x_T keeps more than 5 % signal.
    """

    betas: InitVar[np.ndarray]
    beta: np.ndarray = field(init=False)  # beta[0] = 0
    alpha_bar: np.ndarray = field(init=False)  # alpha_bar[0] = 1

    def __post_init__(self, betas):
        betas = np.asarray(betas, np.float64)
        if betas.ndim != 1 or not betas.size:
            raise ValueError(f"betas: expected a list of numbers, beta_1 to beta_T; received shape {betas.shape}")
        alphas = 1 - betas
        if not ((alphas > 0) & (alphas < 1)).all():  # in 1 - beta, so that one too small to change anything is found too
            raise ValueError(f"betas: expected values in (0, 1); received {betas.min()} to {betas.max()}")
        arrays = {"beta": np.append(0.0, betas), "alpha_bar": np.append(1.0, np.cumprod(alphas))}
        for name, values in arrays.items():
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if self.terminal_signal > FAINT:
            warnings.warn(
                f"x_T keeps {self.terminal_signal:.1%} of the signal, so it is not the noise that sampling starts from "
                f"(at most {FAINT:.0%} is): take more steps or larger betas; linear(T) and cosine(T) fit them to any T",
                stacklevel=3,
            )

    def __repr__(self):
        first, last = self.beta[[1, -1]]
        return f"Schedule(T={self.T}, beta {first:.3g} to {last:.3g}, terminal signal {self.terminal_signal:.2g})"

    @property
    def T(self):
        """The number of steps."""
        return len(self.beta) - 1

    @property
    def signal_rate(self):
        """What multiplies x_0 in x_t: sqrt(alpha_bar), from 1 down."""
        return np.sqrt(self.alpha_bar)

    @property
    def noise_rate(self):
        """What multiplies the noise in x_t: sqrt(1 - alpha_bar), from 0 up."""
        return np.sqrt(1 - self.alpha_bar)

    @property
    def snr(self):
        """Signal-to-noise ratio of the powers, alpha_bar / (1 - alpha_bar); infinite at t = 0."""
        with np.errstate(divide="ignore"):
            return self.alpha_bar / (1 - self.alpha_bar)

    @property
    def log_snr(self):
        """Natural logarithm of `snr`; infinite at t = 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.alpha_bar) - np.log1p(-self.alpha_bar)

    @property
    def terminal_signal(self):
        """How much of x_0 is left in x_T: sqrt(alpha_bar[T])."""
        return float(self.signal_rate[-1])

    def at(self, t, like):
        """alpha_bar at each image's own time, in the type of the images and ready to multiply them.

        t: (B,) integers in 0..T; like: (B, ...), float32 or float64. Gives (B, 1, ..., 1). Raises TypeError for other types,
        ValueError for other shapes or times (times inside a traced function, not known yet, go unchecked).
        """
        t, like = ops.convert_to_tensor(t), ops.convert_to_tensor(like)
        if "int" not in ops.dtype(t):
            raise TypeError(f"t: expected integers; received {ops.dtype(t)}")
        check_float("like", like)
        if len(t.shape) != 1 or not same_shape(t.shape, like.shape[:1]):
            raise ValueError(f"t: expected one time for each of the images {tuple(like.shape)}; received shape {tuple(t.shape)}")
        times = known(t)
        if times is not None and times.size and not 0 <= times.min() <= times.max() <= self.T:
            raise ValueError(f"t: expected integers in 0..{self.T}; received {times.min()} to {times.max()}")
        alpha_bar = ops.take(ops.convert_to_tensor(self.alpha_bar, ops.dtype(like)), ops.cast(t, "int32"))
        return ops.reshape(alpha_bar, (-1,) + (1,) * (len(like.shape) - 1))


def linear(T=1000):
    """The schedule of (DDPM, section 4), beta from 1e-4 to 0.02 in T = 1000 equal steps; for another T rescaled.

    T: an integer of at least 2. One step of T stands for 1000 / T of theirs, so that the same little signal is left.
    """
    whole("T", T, least=2)
    return Schedule(1 - (1 - np.linspace(1e-4, 0.02, T)) ** (1000 / T))


def cosine(T=1000):
    """The cosine schedule (Nichol and Dhariwal 2021, eq. 17): offset 0.008, beta at most 0.999, as in the paper.

    T: a positive integer.
    """
    whole("T", T, least=1)
    alpha_bar = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
    return Schedule(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], 0.999))  # its first value, not 1, cancels in the ratios


def shifted(schedule, factor):
    """The same schedule for pictures with a side `factor` times as long: log-SNR lower by 2 log(factor) at every t.

    (Hoogeboom et al. 2023, section 3.1): averaged down to the smaller side, such a picture at time t has the signal-to-noise
    ratio that the smaller one had. factor: a positive number; 1 changes nothing, below 1 there is less noise. Raises ValueError
    for others.
    """
    if not isinstance(factor, Real) or not 0 < factor < np.inf:
        raise ValueError(f"factor: expected a positive number; received {factor!r}")
    alpha_bar = schedule.alpha_bar / (schedule.alpha_bar + factor**2 * (1 - schedule.alpha_bar))
    return Schedule(1 - alpha_bar[1:] / alpha_bar[:-1])


def check_float(argument, x):
    """Refuse a tensor that is neither float32 nor float64: with fewer digits, 1 - alpha_bar is 0 at the first steps."""
    if ops.dtype(x) not in ("float32", "float64"):
        raise TypeError(f"{argument}: expected float32 or float64; received {ops.dtype(x)}")


def same_shape(one, other):
    """Whether two shapes are equal as far as they are known: a traced function's batch may be None."""
    return len(one) == len(other) and all(a == b or None in (a, b) for a, b in zip(one, other, strict=True))


def known(x):
    """A tensor's values, or None while a function is traced and there are none yet."""
    try:
        return ops.convert_to_numpy(x)
    except (NotImplementedError, TypeError):  # TensorFlow's and JAX's words for that
        return None


def whole(argument, value, least, most=None):
    """An integer as Python's own, or an error that names the argument and what it may be."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least or (most is not None and value > most):
        expected = f"of at least {least}" if most is None else f"in {least}..{most}"
        raise ValueError(f"{argument}: expected an integer {expected}; received {value!r}")
    return int(value)


def check_images(images, most=1 + 1e-3, stacklevel=3):
    """Refuse images that are not in the model's range, [-1, 1], as 0..255 is not; warn of [0, 1], where nothing is negative.

    images: floats of any shape; most: up to where a value still counts, by default all but rounding; stacklevel: whose line the
    warning names, by default that of our caller's caller. Raises ValueError.
    """
    images = np.asarray(images)
    if not np.isfinite(images).all():
        raise ValueError(f"images: expected finite values; received {np.sum(~np.isfinite(images))} NaN or infinite ones")
    low, high = images.min(), images.max()
    told = f"images: expected values in [-1, 1], with black at -1; received {low:.3g} to {high:.3g}"
    if max(-low, high) > most:
        raise ValueError(f"{told}. `data.to_unit` brings pixels into the range")
    if low >= 0:
        told += ", nothing negative. If they are in [0, 1], take 2 * images - 1; pixels, `data.to_unit`"
        warnings.warn(told, stacklevel=stacklevel)
