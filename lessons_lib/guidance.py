"""Conditions and guidance: wrappers around what a network answers, so that the sampler need not know of them."""

import numpy as np
from keras import ops

from lessons_lib.diffusion import alike, to_noise, to_x_0
from lessons_lib.schedule import whole


def given(model, *conditions, batch_size=None):
    """A network's answer under conditions, `answer(x_t, t)`, which `from_noise`, `from_velocity`, `from_x_0` take for a model.

    model: a network that is called with [x_t, t, *conditions]. conditions: arrays, (B, ...) each, with a row for every image.
    batch_size: how many images to ask about at once; None: all. It is given here and not to `sample`, which knows no conditions
    that it could split. Raises ValueError if the network takes no conditions or another number of them, if these differ in
    length, or if the answer is asked about x_t of another length.
    """
    conditions = [np.array(condition) for condition in conditions]  # copies: the caller's may change before the walk ends
    expected = len(model.inputs) - 2 if hasattr(model, "inputs") else max(1, len(conditions))
    if len(conditions) != expected:
        raise ValueError(f"conditions: expected {expected}, as the network takes; received {len(conditions)}")
    if not conditions:
        raise ValueError("model: expected a network that takes conditions; received one of [x_t, t]")
    shapes = [condition.shape for condition in conditions]
    if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(f"conditions: expected a row for every image, (B, ...) each; received shapes {str(shapes)[1:-1]}")
    count = shapes[0][0]
    size = count if batch_size is None else whole("batch_size", batch_size, 1)

    def answer(x_t, t):
        if len(x_t) != count:
            raise ValueError(
                f"x_t: expected {count} images, one for each row of the conditions; received {len(x_t)}. (To ask about fewer at "
                "once, pass batch_size to `given`, not to `sample`.)"
            )
        parts = [slice(i, i + size) for i in range(0, count, size)]
        inputs = (x_t, t, *conditions)
        return np.concatenate([model.predict_on_batch([one[part] for one in inputs]) for part in parts])

    return answer


def guide(conditional, unconditional, guidance):
    """Classifier-free guidance, u + guidance (c - u), as a `predict_noise` (Ho and Salimans 2022, algorithm 2; w = guidance - 1).

    conditional, unconditional: c and u, two of `predict_noise(x_t, t)`; or two answers, as `given` makes them, for the formula
    gives the same walk in noise, velocity and x_0, as long as nothing is clipped before. guidance: a number, or (B,), one for
    each image: 0 ignores the condition, 1 is as trained, beyond 1 is more than was asked, below 0 away from it. Each step asks
    for two answers. Raises ValueError if guidance is not finite or of another length, or if the answers differ in shape.
    """
    guidance = _strength("guidance", guidance)

    def guided(x_t, t):
        c, u = alike(conditional=conditional(x_t, t), unconditional=unconditional(x_t, t))
        return u + _for_each("guidance", guidance, u) * (c - u)

    return guided


def guide_by_classifier(predict_noise, gradient, schedule, scale):
    """Classifier guidance, noise - scale sqrt(1 - alpha_bar) gradient, as a `predict_noise`.

    (Dhariwal and Nichol 2021, algorithm 2), which is printed without the scale.

    gradient(x_t, t): of log p(y | x_t) in x_t, of x_t's shape, for the classes y that are wanted; a function, since Keras has no
    gradient for all backends. scale: a number, or (B,), one for each image: 0 ignores the classifier, 1 is Bayes' rule if
    predict_noise knows no class. Raises ValueError if scale is not finite or of another length, or if the gradient has another
    shape; TypeError if it is None, as `tf.GradientTape` gives it for what it did not watch.
    """
    scale = _strength("scale", scale)

    def guided(x_t, t):
        slope = gradient(x_t, t)
        if slope is None:
            raise TypeError("gradient: expected the shape of x_t; received None. (Does the tape watch x_t?)")
        noise, slope = alike(noise=predict_noise(x_t, t), gradient=slope)
        return noise - _for_each("scale", scale, noise) * ops.sqrt(1 - schedule.at(t, like=noise)) * slope

    return guided


def within(low, high, guided, plain):
    """Guidance in an interval alone (Kynkäänniemi et al. 2024): `guided` for low <= t <= high, else `plain`.

    guided, plain: two of `predict_noise(x_t, t)`; outside, only `plain` is asked. low, high: integers. Raises ValueError unless
    0 <= low <= high.
    """
    low = whole("low", low, 0)
    high = whole("high", high, low)

    def answer(x_t, t):
        inside = (low <= np.asarray(t)) & (np.asarray(t) <= high)
        if inside.all():
            return guided(x_t, t)
        if not inside.any():
            return plain(x_t, t)
        one, other = alike(guided=guided(x_t, t), plain=plain(x_t, t))
        return ops.where(_for_each("t", inside, one) > 0, one, other)

    return answer


def consistent(predict_noise, schedule, correct):
    """Correct the guess at x_0 in each step, and nothing else, as a `predict_noise` (Wang et al. 2022).

    correct(x_0): the guess, (B, ...), as it should be: with known pixels put back, say, or within a range. It comes after
    guidance and takes the place of `sample`'s clip. Raises ValueError if it gives another shape.
    """

    def corrected(x_t, t):
        alpha_bar = schedule.at(t, like=x_t)
        x_0 = to_x_0(x_t, predict_noise(x_t, t), alpha_bar)
        _, x_0 = alike(x_0=x_0, corrected=correct(x_0))
        return to_noise(x_t, x_0, alpha_bar)

    return corrected


def dynamic_threshold(x_0, share=0.995):
    """Each image brought back into [-1, 1]: clipped at the quantile of its values' sizes, if that is beyond 1, and divided by it.

    (Saharia et al. 2022, section 2.3). x_0: (B, ...), guesses at images in [-1, 1]; share: of an image's values, in (0, 1], that
    the quantile leaves unclipped; 1 divides only. For `consistent`, after guidance; not for data without a range of their own,
    as embeddings. Raises ValueError if share is outside of (0, 1].
    """
    (x_0,) = alike(x_0=x_0)
    if isinstance(share, bool) or not 0 < share <= 1:
        raise ValueError(f"share: expected more than 0 and at most 1; received {share!r}")
    size = ops.quantile(ops.reshape(ops.abs(x_0), (x_0.shape[0], -1)), share, axis=1)
    size = ops.reshape(ops.maximum(size, 1), (-1,) + (1,) * (len(x_0.shape) - 1))
    return ops.clip(x_0, -size, size) / size


def _strength(argument, value):
    """A number, or one for each image, as an array of float64."""
    strength = np.asarray(value)
    if strength.dtype.kind not in "iuf" or strength.ndim > 1 or not np.isfinite(strength).all():
        raise ValueError(f"{argument}: expected a finite number, or one for each image, (B,); received {value!r}")
    return strength.astype(np.float64)


def _for_each(argument, values, images):
    """One number, or (B,) of them as (B, 1, ...), in the type of images, (B, ...)."""
    if values.ndim and len(values) != images.shape[0]:
        raise ValueError(f"{argument}: expected a number, or {images.shape[0]}, one for each image; received {len(values)}")
    shape = (-1,) + (1,) * (len(images.shape) - 1) if values.ndim else ()
    return ops.convert_to_tensor(values.reshape(shape), ops.dtype(images))
