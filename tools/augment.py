"""Random squares of a picture, on every backend: few pictures last longer if none is seen twice in the same frame."""

import numpy as np
from keras import ops


def cut_out(images, lot, size):
    """One square of each image, with a side of between `size` pixels and all, resized to `size` with antialiasing.

    images: (B, side, side, C) floats. lot: (B, 3), uniform in [0, 1]: of the square's side, its top and its left. Gives (B, size,
    size, C). The filter is a triangle over so many pixels as one of the result covers, as in `tf.image.resize`.
    """
    side = images.shape[1]
    lot = ops.cast(lot, images.dtype)
    cut = size + lot[:, 0] * (side - size)
    scale = cut / size
    pixels, places = np.arange(side, dtype=np.float32), np.arange(size, dtype=np.float32) + 0.5

    def filtered(share):
        """(B, size, side): what each place takes of each pixel."""
        centres = (share * (side - cut))[:, None] + scale[:, None] * places - 0.5
        weights = ops.maximum(1 - ops.abs(centres[:, :, None] - pixels) / scale[:, None, None], 0.0)
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    rows, columns = filtered(lot[:, 1]), filtered(lot[:, 2])
    return ops.einsum("bij,bjkc,blk->bilc", rows, images, columns)
