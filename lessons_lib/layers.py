"""The layers of the U-Net that Keras does not have: the time as a vector, the normalisation it steers, attention, patches."""

import einops
import numpy as np
from keras import backend, layers, ops, saving

GROUPS = 8  # of channels that are normalised together
EPSILON = 1e-5


@saving.register_keras_serializable("lessons_lib")
class SinusoidalEmbedding(layers.Layer):
    """Sines and cosines of the time, at frequencies from 1 down to 1 / 10000 (Vaswani et al. 2017, section 3.5), as DDPM's
    code lays them out.

    t: (B,) integers. Gives (B, width), float32, the sines first. Raises ValueError if width is not even and positive.
    """

    def __init__(self, width, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})  # bfloat16 cannot tell 256 from 257
        if not isinstance(width, int) or width < 2 or width % 2:
            raise ValueError(f"width: expected a positive even integer; received {width!r}")
        self.width = width

    def call(self, t):
        frequencies = np.geomspace(1, 1e-4, self.width // 2, dtype="float32")
        angles = ops.cast(t, "float32")[:, None] * frequencies
        return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@saving.register_keras_serializable("lessons_lib")
class AdaptiveGroupNorm(layers.Layer):
    """Group normalisation (Wu and He 2018, eqs. 1, 2 and 6), scale and shift as one multiply-add over the image, and SiLU.

    x: (B, height, width, channels); scale_shift: (B, 2 * channels), what the time makes of them, or nothing: then the layer
    learns one of its own. Gives SiLU((1 + scale) * norm(x) + shift), or without SiLU, in the type of x; statistics in float32.
    As slope * x + offset it loses digits where the mean is many times the deviation, in bfloat16 sooner (at 10 times: 4 %);
    float16, of small range, is for answers, not for training.
    Raises ValueError if channels is no multiple of 8, the groups, or scale_shift is of another size.
    """

    def __init__(self, silu=True, **kwargs):
        super().__init__(**{**kwargs, "autocast": False})  # of x as it comes, scale and shift keep their float32
        self.silu = silu

    def build(self, x_shape, scale_shift_shape=None):
        channels = x_shape[-1]
        if channels % GROUPS:
            raise ValueError(f"x: expected a multiple of {GROUPS} channels; received shape {tuple(x_shape)}")
        if scale_shift_shape is None:
            self.scale_shift = self.add_weight((1, 2 * channels), "zeros", name="scale_shift", dtype="float32")
        elif scale_shift_shape[-1] != 2 * channels:
            raise ValueError(f"scale_shift: expected shape (B, {2 * channels}); received {tuple(scale_shift_shape)}")

    def call(self, x, scale_shift=None):
        if scale_shift is None:
            scale_shift = ops.broadcast_to(self.scale_shift, (ops.shape(x)[0], 2 * x.shape[-1]))
        return _norm(x, scale_shift, self.silu)

    def get_config(self):
        return {**super().get_config(), "silu": self.silu}


@saving.register_keras_serializable("lessons_lib")
class Attention(layers.Layer):
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) over positions, or over positions and a context; no weights.

    Queries, keys and values: (B, ..., 3 * channels), in this order; positions of an image, (B, height, width, ...), or of a text,
    (B, K, ...). Gives (B, ..., channels). context: (B, K, 2 * channels), keys and values beside those of the positions, as of a
    text's words. seen: (B, K) booleans, which of the context, or without one which of the positions, may be looked at (Keras has
    another use for the word mask). heads: each has weights of its own and as many of the channels as the others (section 3.2.2).
    Raises ValueError unless heads is a positive integer by which the channels can be divided.
    """

    def __init__(self, heads=1, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
            raise ValueError(f"heads: expected a positive integer; received {heads!r}")
        self.heads = heads

    def build(self, queries_keys_values_shape, context_shape=None, seen_shape=None):
        if queries_keys_values_shape[-1] % (3 * self.heads):
            channels = queries_keys_values_shape[-1] // 3
            raise ValueError(f"heads: expected a divisor of the {channels} channels; received {self.heads}")
        if context_shape is not None and 3 * context_shape[-1] != 2 * queries_keys_values_shape[-1]:
            expected = f"(B, K, {queries_keys_values_shape[-1] // 3 * 2})"
            raise ValueError(f"context: expected shape {expected}; received {tuple(context_shape)}")

    def call(self, queries_keys_values, context=None, seen=None):
        def apart(x, parts):
            x = einops.rearrange(x, "b ... (parts heads c) -> parts b heads (...) c", parts=parts, heads=self.heads)
            return ops.unstack(x, parts)

        q, k, v = apart(queries_keys_values, 3)
        if context is not None:
            of_context = apart(context, 2)
            if seen is not None:  # the positions always are
                seen = ops.concatenate([ops.ones_like(k[:, 0, :, 0], "bool"), seen], axis=1)
            k, v = (ops.concatenate(both, axis=2) for both in zip((k, v), of_context, strict=True))
        attended = ops.matmul(attention_weights(q, k, None if seen is None else seen[:, None, None]), v)
        attended = einops.rearrange(attended, "b heads n c -> b n (heads c)")
        return ops.reshape(attended, (-1, *ops.shape(queries_keys_values)[1:-1], attended.shape[-1]))

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@saving.register_keras_serializable("lessons_lib")
class Rearrange(layers.Layer):
    """einops.rearrange as a layer: einops does not know Keras' symbolic tensors."""

    def __init__(self, pattern, *, dtype=None, name=None, trainable=True, **sizes):
        super().__init__(dtype=dtype, name=name, trainable=trainable)
        self.pattern, self.sizes = pattern, sizes

    def call(self, x):
        return einops.rearrange(x, self.pattern, **self.sizes)

    def get_config(self):
        return {**super().get_config(), "pattern": self.pattern, **self.sizes}


def attention_weights(queries, keys, mask=None):
    """What each query takes of each key's value: softmax(q k^T / sqrt(channels)) (Vaswani et al. 2017, eq. 1).

    queries: (B, ..., M, channels); keys: (B, ..., N, channels). Gives (B, ..., M, N), each row summing to 1. mask: booleans that
    broadcast against that: where it is False, nothing is taken, and a row that is False throughout takes nothing at all.
    """
    scores = ops.matmul(queries, ops.swapaxes(keys, -2, -1)) * queries.shape[-1] ** -0.5
    if mask is None:
        return ops.softmax(scores, axis=-1)
    return ops.softmax(ops.where(mask, scores, -6e4), axis=-1) * ops.cast(mask, scores.dtype)


def _norm(x, scale_shift, silu):
    """`AdaptiveGroupNorm`, with its gradient by hand: autodiff goes over the image half as often again.

    norm(x) = (x - mean) / deviation, so that all of it is slope * x + offset with one slope and offset per image and channel.
    """
    (height, width, channels), exact = x.shape[1:], backend.result_type(x.dtype, "float32")
    within_groups = np.kron(np.eye(GROUPS), np.full((channels // GROUPS,) * 2, GROUPS / channels)).astype(exact)

    def group_mean(values):
        return ops.matmul(values, within_groups)

    def over_image(values):
        return ops.cast(values, x.dtype)[:, None, None]

    def total(image):
        return ops.cast(ops.sum(image, axis=(1, 2)), exact)

    @ops.custom_gradient
    def forward(x, scale_shift):
        scale, shift = ops.split(ops.cast(scale_shift, exact), 2, axis=-1)
        x_exact = ops.cast(x, exact)
        mean = group_mean(ops.mean(x_exact, axis=(1, 2)))
        variance = group_mean(ops.mean(ops.square(x_exact), axis=(1, 2))) - mean**2
        precision = ops.rsqrt(ops.maximum(variance, 0) + EPSILON)  # 1 / deviation
        slope = (1 + scale) * precision
        h = over_image(slope) * x + over_image(shift - slope * mean)
        y = ops.silu(h) if silu else h

        def gradient(*upstreams, upstream=None):  # TensorFlow and JAX pass it by place, PyTorch by name
            dh = upstreams[0] if upstream is None else upstream
            if silu:
                s = ops.cast(ops.sigmoid(ops.cast(h, exact)), h.dtype)  # in bfloat16 TensorFlow's takes three times as long
                dh = dh * (s + y * (1 - s))
            dshift = total(dh)
            dslope = total(dh * x) - mean * dshift
            dprecision = dslope * (1 + scale)
            dsquare = group_mean(-0.5 * dprecision * precision**3) / (height * width)  # through the mean of x^2
            dmean = group_mean(dprecision * precision**3 * mean - slope * dshift) / (height * width)
            dx = over_image(slope) * dh + (over_image(2 * dsquare) * x + over_image(dmean))
            return dx, ops.cast(ops.concatenate([dslope * precision, dshift], axis=-1), scale_shift.dtype)

        return y, gradient

    return forward(x, scale_shift)
