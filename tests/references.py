"""The U-Net and its parts again, image by image, in plain NumPy from the articles; and gradients on either backend."""

import math
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


def attention(x, heads=1, context=None):
    """(Vaswani et al. 2017, eq. 1) x: (..., 3 C), queries, keys and values; one position after another, head by head.

    context: (K, 2 C), further keys and values.
    """
    *shape, channels = x.shape
    context = np.zeros((0, channels // 3 * 2)) if context is None else context
    q, k, v = (np.split(part, heads, axis=-1) for part in np.split(x.reshape(-1, channels), 3, axis=-1))
    more_k, more_v = (np.split(part, heads, axis=-1) for part in np.split(context, 2, axis=-1))
    y = [np.zeros_like(head) for head in v]
    for head in range(heads):
        keys, values = np.concatenate([k[head], more_k[head]]), np.concatenate([v[head], more_v[head]])
        for i, query in enumerate(q[head]):
            weights = np.exp([query @ key / np.sqrt(len(key)) for key in keys])
            y[head][i] = sum(weight * value for weight, value in zip(weights, values, strict=True)) / weights.sum()
    return np.concatenate(y, axis=-1).reshape(*shape, channels // 3)


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
        kinds |= {"layer_norm": keras.layers.LayerNormalization, "embedding": keras.layers.Embedding}
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

    def layer_norm(self, x):
        """(Ba et al. 2016, eq. 3), with Keras' epsilon."""
        gamma, beta = next(self.weights["layer_norm"])
        return gamma * (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-3) + beta

    def encoder(self, numbers, blocks, heads, order=True):
        """(Vaswani et al. 2017, section 3.1), the normalisation first; numbers: of the tokens, without padding."""
        x = next(self.weights["embedding"])[0][numbers]
        x = x + next(self.weights["embedding"])[0][: len(x)] if order else x
        for _ in range(blocks):
            x = x + self.dense(attention(self.dense(self.layer_norm(x)), heads))
            hidden = self.dense(self.layer_norm(x))
            x = x + self.dense(hidden * (1 + np.vectorize(math.erf)(hidden / np.sqrt(2))) / 2)
        return self.layer_norm(x)

    def self_attention(self, x, heads=1, context=None):
        y = self.dense(self.norm(x, activation=None))
        return x + self.dense(attention(y, heads, None if context is None else self.dense(context)))

    def captioned(self, x_t, t, numbers, widths, blocks, patch, text_blocks, order=True, all_words=True, small=None, level=None):
        """(Nichol et al. 2021, section 4.1); numbers: of the tokens, without padding; small, level: of an up-sampler."""
        words = self.encoder(numbers, text_blocks, 4, order)
        embedding = self.time_embedding(t, 4 * widths[0]) + self.dense(words[0])
        context, x, answers = words if all_words else words[:1], x_t, x_t.shape[-1]
        if small is not None:
            x = np.concatenate([x_t, np.kron(small, np.ones((len(x_t) // len(small),) * 2 + (1,)))], axis=-1)
            embedding = embedding + self.time_embedding(level, 4 * widths[0])
        return self.backbone(x, embedding, widths, blocks, None, patch, 1, answers, context=context)

    def unet(self, x_t, t, widths, blocks, attention, patch, heads=1, answers=None):
        """(DDPM, appendix B); answers: the channels of what it gives, if they are not those of x_t."""
        return self.backbone(x_t, self.time_embedding(t, 4 * widths[0]), widths, blocks, attention, patch, heads, answers)

    def backbone(self, x_t, embedding, widths, blocks, attention, patch, heads=1, answers=None, context=None):
        size, channels, coarsest = x_t.shape[0] // patch, x_t.shape[-1], len(widths) - 1
        answers = channels if answers is None else answers
        levels = [coarsest] if attention is None else attention

        def block(x, level):
            x = self.residual_block(x, embedding, widths[level])
            return self.self_attention(x, heads, context) if level in levels else x

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
