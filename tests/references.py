"""The U-Net and its parts again, image by image, in plain NumPy from the articles; and gradients on either backend."""

import re

import keras
import numpy as np

from lessons_lib.layers import AdaptiveGroupNorm

GROUPS, EPSILON = 8, 1e-5


def gradients(function, *arguments):
    """Of a function's scalar, with respect to each of its arguments."""
    if keras.backend.backend() == "jax":
        import jax

        found = jax.jit(jax.grad(function, argnums=range(len(arguments))))(*arguments)
    else:
        import tensorflow as tf

        arguments = [tf.convert_to_tensor(argument) for argument in arguments]
        with tf.GradientTape() as tape:
            tape.watch(arguments)
            value = function(*arguments)
        found = tape.gradient(value, arguments)
    return [keras.ops.convert_to_numpy(keras.ops.cast(gradient, "float64")) for gradient in found]


def shake(model, scale=0.1):
    """Move all weights, so that none is zero."""
    rng = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32")) + rng.normal(scale=scale, size=weight.shape))
    return model


def silu(x):
    return x / (1 + np.exp(-x))


def sinusoids(t, width):
    """(DDPM's code, after Vaswani et al. 2017, section 3.5) The time t as a vector."""
    half = width // 2
    angles = [t * np.exp(-np.log(10000) * i / max(half - 1, 1)) for i in range(half)]
    return np.array([np.sin(angle) for angle in angles] + [np.cos(angle) for angle in angles])


def group_norm(x, scale_shift, activation=silu):
    """(Wu and He 2018, eqs. 1, 2 and 6) x: (H, W, C); scale_shift: (2 C,)."""
    normed, size = np.empty_like(x), x.shape[-1] // GROUPS
    for first in range(0, x.shape[-1], size):
        group = x[..., first : first + size]
        normed[..., first : first + size] = (group - group.mean()) / np.sqrt(group.var() + EPSILON)
    scale, shift = np.split(scale_shift, 2)
    y = (1 + scale) * normed + shift
    return activation(y) if activation else y


def attention(x, heads=1):
    """(Vaswani et al. 2017, eq. 1) x: (H, W, 3 C), queries, keys and values; one position after another, head by head."""
    if heads > 1:
        q, k, v = (np.split(part, heads, axis=-1) for part in np.split(x, 3, axis=-1))
        return np.concatenate([attention(np.concatenate(one, axis=-1)) for one in zip(q, k, v, strict=True)], axis=-1)
    q, k, v = np.split(x.reshape(-1, x.shape[-1]), 3, axis=-1)
    y = np.zeros_like(v)
    for i, query in enumerate(q):
        weights = np.exp([query @ key / np.sqrt(len(key)) for key in k])
        y[i] = sum(weight * value for weight, value in zip(weights, v, strict=True)) / weights.sum()
    return y.reshape(*x.shape[:2], -1)


def convolve(x, kernel, bias=0.0, stride=1):
    """3x3 or 1x1; what is missing at the border is zero, and of an even size with stride 2 only on the right and below."""
    reach = kernel.shape[0] // 2
    before, (height, width) = reach if stride == 1 else 0, x.shape[:2]
    padded = np.pad(x, ((before, reach), (before, reach), (0, 0)))
    y = np.zeros((height // stride, width // stride, kernel.shape[-1])) + bias
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            window = padded[i * stride :, j * stride :][: kernel.shape[0], : kernel.shape[1]]
            y[i, j] += np.tensordot(window, kernel, 3)
    return y


class Reference:
    """A model's weights in the order its layers were made, and what is computed with them, for one image."""

    def __init__(self, model):
        kinds = {"convolution": keras.layers.Conv2D, "dense": keras.layers.Dense, "norm": AdaptiveGroupNorm}
        self.weights = {name: iter(_weights(model, kind)) for name, kind in kinds.items()}

    def convolution(self, x, stride=1):
        return convolve(x, *next(self.weights["convolution"]), stride=stride)

    def dense(self, x):
        kernel, *bias = next(self.weights["dense"])
        return x @ kernel + sum(bias)

    def norm(self, x, scale_shift=None, activation=silu):
        own = next(self.weights["norm"])
        return group_norm(x, own[0][0] if scale_shift is None else scale_shift, activation)

    def time_embedding(self, t, width):
        return silu(self.dense(silu(self.dense(sinusoids(t, width)))))

    def residual_block(self, x, embedding, width):
        shortcut = x if x.shape[-1] == width else self.convolution(x)
        y = self.convolution(self.norm(x))
        return shortcut + self.convolution(self.norm(y, self.dense(embedding)))

    def self_attention(self, x, heads=1):
        return x + self.dense(attention(self.dense(self.norm(x, activation=None)), heads))

    def unet(self, x_t, t, widths, blocks, attention, patch, heads=1, answers=None):
        """(DDPM, appendix B); answers: the channels of what it gives, if they are not those of x_t."""
        size, channels, coarsest = x_t.shape[0] // patch, x_t.shape[-1], len(widths) - 1
        answers = channels if answers is None else answers
        levels = [coarsest] if attention is None else attention
        embedding = self.time_embedding(t, 4 * widths[0])

        def block(x, level):
            x = self.residual_block(x, embedding, widths[level])
            return self.self_attention(x, heads) if level in levels else x

        patches = np.empty((size, size, patch * patch * channels))
        for i in range(size):
            for j in range(size):
                patches[i, j] = x_t[i * patch : (i + 1) * patch, j * patch : (j + 1) * patch].ravel()
        x = self.convolution(patches)
        down = []
        for level in range(coarsest + 1):
            x = self.convolution(x, stride=2) if level else x
            for _ in range(blocks):
                x = block(x, level)
                down.append(x)
        x = self.residual_block(block(x, coarsest), embedding, widths[-1])
        for level in range(coarsest, -1, -1):
            for _ in range(blocks):
                x = block(np.concatenate([x, down.pop()], axis=-1), level)
            x = x.repeat(2, axis=0).repeat(2, axis=1) if level else x
        x = self.convolution(self.norm(x))
        y = np.empty((*x_t.shape[:2], answers))
        for i in range(size):
            for j in range(size):
                y[i * patch : (i + 1) * patch, j * patch : (j + 1) * patch] = x[i, j].reshape(patch, patch, answers)
        return y


def _weights(model, kind):
    """Keras numbers the layers of a kind as they are made."""
    made = [layer for layer in model.layers if isinstance(layer, kind)]
    made.sort(key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0]))
    return [[weight.astype(np.float64) for weight in layer.get_weights()] for layer in made]
