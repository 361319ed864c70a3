"""The forward process: mix data with noise."""

from keras import ops


def corrupt(x, noise, amount):
    """Mix data with noise by hand, (1 - amount) * x + amount * noise: lesson 01's naive process, no paper's.

    x, noise: (B, ...), floats of one range; amount: (B,), one number per image in [0, 1], 1 being noise alone. Gives the
    shape and type of x. Raises TypeError for integers, ValueError for shapes that differ or amounts outside [0, 1] (inside
    a traced function, where numbers are not known yet, they go unchecked).
    """
    x, noise = ops.convert_to_tensor(x), ops.convert_to_tensor(noise)
    for argument, value in (("x", x), ("noise", noise)):
        if "float" not in ops.dtype(value):
            raise TypeError(f"{argument}: expected floats; received {ops.dtype(value)}")
    amount = ops.convert_to_tensor(amount, x.dtype)
    if x.shape != noise.shape:
        raise ValueError(f"noise: expected the shape of x, {tuple(x.shape)}; received {tuple(noise.shape)}")
    if len(x.shape) < 2 or amount.shape != x.shape[:1]:
        raise ValueError(f"amount: expected one number for each of the images {tuple(x.shape)}; received {tuple(amount.shape)}")
    if (values := _known(amount)) is not None and not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"amount: expected values in [0, 1]; received {values.min()} to {values.max()}")

    amount = ops.reshape(amount, (-1,) + (1,) * (len(x.shape) - 1))
    return (1 - amount) * x + amount * noise


def _known(x):
    """A tensor's values, or None while a function is traced and there are none yet."""
    try:
        return ops.convert_to_numpy(x)
    except (NotImplementedError, TypeError):  # TensorFlow's and JAX's words for that
        return None
