"""Small pictures from large ones, and back: one pair of filters, used everywhere in the course."""

from keras import ops

from lessons_lib.diffusion import alike
from lessons_lib.schedule import whole


def shrink(x, factor):
    """The mean of every square of factor x factor pixels: the A of DDNM for super-resolution.

    x: (B, H, W, C), float32 or float64, any range. Gives (B, H / factor, W / factor, C), of the same range. Raises ValueError if
    factor is no positive integer that divides H and W, TypeError for another type.
    """
    x, factor = _images(x), whole("factor", factor, 1)
    height, width, channels = x.shape[1:]
    if height % factor or width % factor:
        raise ValueError(f"x: expected sides that are multiples of {factor}, the factor; received {height} x {width}")
    squares = ops.reshape(x, (-1, height // factor, factor, width // factor, factor, channels))
    return ops.sum(squares, axis=(2, 4)) / factor**2  # on JAX, Keras takes means of float64 in float32


def enlarge(x, factor):
    """Every pixel as a square of factor x factor pixels: the pseudo-inverse of `shrink` (Wang et al. 2022).

    x: (B, H, W, C), float32 or float64, any range. Gives (B, H factor, W factor, C). `shrink(enlarge(x))` is x, and
    `enlarge(shrink(x))` a projection: of all pictures that are flat within the squares, the nearest to x. Errors as for `shrink`.
    """
    x, factor = _images(x), whole("factor", factor, 1)
    return ops.repeat(ops.repeat(x, factor, axis=1), factor, axis=2)


def _images(x):
    (x,) = alike(x=x)
    if len(x.shape) != 4:
        raise ValueError(f"x: expected images, (B, H, W, C); received shape {tuple(x.shape)}")
    return x
