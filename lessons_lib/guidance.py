"""Conditions and guidance: wrappers around what a network answers, so that the sampler need not know of them."""

import numpy as np

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
