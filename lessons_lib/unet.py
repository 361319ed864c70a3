"""The networks, as functional Keras models built by small functions."""

from functools import partial

import numpy as np
from keras import Input, Model, layers

from lessons_lib.layers import GROUPS, AdaptiveGroupNorm, Attention, Rearrange, SinusoidalEmbedding

# Images are NHWC, whatever Keras' settings are on this machine.
_convolution = partial(layers.Conv2D, padding="same", data_format="channels_last")
_upsampling = partial(layers.UpSampling2D, data_format="channels_last")
_pooling = partial(layers.MaxPooling2D, data_format="channels_last")


def basic_unet(size=28, channels=1, output_activation=None):
    """The smallest U-Net that denoises (Ronneberger et al. 2015, section 2, with additive skips): six 5x5 convolutions.

    Input and output: (B, size, size, channels), any range. `output_activation` bounds what the network can answer: SiLU,
    say, never goes below -0.28. Raises ValueError unless size is a positive multiple of 4 (it is halved twice) and channels is
    positive.
    """
    check_positive(channels=channels)
    if not isinstance(size, int) or size < 4 or size % 4:
        raise ValueError(f"size: expected a positive multiple of 4; received {size!r}")

    x = noisy = Input((size, size, channels))
    x = full = _convolution(32, 5, activation="silu")(x)
    x = _pooling(2)(x)
    x = half = _convolution(64, 5, activation="silu")(x)
    x = _pooling(2)(x)
    x = _convolution(64, 5, activation="silu")(x)

    x = _convolution(64, 5, activation="silu")(x)
    x = layers.Add()([_upsampling(2)(x), half])
    x = _convolution(32, 5, activation="silu")(x)
    x = layers.Add()([_upsampling(2)(x), full])
    x = _convolution(channels, 5, activation=output_activation)(x)
    return Model(noisy, x, name="basic_unet")


def unet(size=28, channels=1, widths=(32, 64, 128), blocks=2, *, attention=None, heads=1, patch=1):
    """A U-Net that knows the time (DDPM, appendix B), in a size for laptops: functional Keras, called with [x_t, t].

    x_t: (B, size, size, channels); t: (B,) int32. Gives the shape of x_t, float32; all zero until it is trained.

    `widths`: the channels of each level, which is half the size of the one before. `blocks`: residual blocks of a level, as many
    on the way down as on the way up (DDPM's code has one more there). `attention`: the levels with self-attention, 0 being the
    finest; without a word, the coarsest. `heads`: how many each of them has (Dhariwal and Nichol 2021, section 3). `patch`: the
    side of the squares of pixels that are folded into channels first; patch^2 times fewer positions. Raises ValueError if these
    are not positive integers, if size cannot be divided by patch and halved between the levels, if a width is no multiple of 8,
    or if there is no such level.
    """
    check_positive(size=size, channels=channels)
    check_widths(widths)
    x_t, t = Input((size, size, channels), name="x_t"), Input((), dtype="int32", name="t")
    x = backbone(x_t, time_embedding(t, 4 * widths[0]), widths, blocks, attention=attention, heads=heads, patch=patch)
    return Model([x_t, t], x, name="unet")


def labelled(size=28, channels=1, widths=(32, 64, 128), blocks=2, *, classes=10, attention=None, heads=1, patch=1):
    """`unet` that is told a class too, by a vector for each, added to the time's (Dhariwal and Nichol 2021, section 3.1).

    Called with [x_t, t, label]; label: (B,) int32, 0 to classes - 1, or classes, the null label, which stands for no class.
    Other arguments and errors as for `unet`; classes: a positive integer.
    """
    check_positive(size=size, channels=channels, classes=classes)
    check_widths(widths)
    x_t, t, label = (
        Input((size, size, channels), name="x_t"),
        Input((), dtype="int32", name="t"),
        Input((), dtype="int32", name="label"),
    )
    vectors = layers.Embedding(classes + 1, 4 * widths[0], dtype="float32", name="classes")
    embedding = layers.Add(dtype="float32")([time_embedding(t, 4 * widths[0]), vectors(label)])
    x = backbone(x_t, embedding, widths, blocks, attention=attention, heads=heads, patch=patch)
    return Model([x_t, t, label], x, name="labelled")


def upsampler(size=28, channels=1, widths=(32, 64, 128), blocks=2, *, factor=4, attention=None, heads=1, patch=1):
    """`unet` that also sees a small picture, enlarged, as further channels (Saharia et al. 2021, section 2).

    Called with [x_t, t, small]; small: (B, size / factor, size / factor, channels), each pixel of which becomes a square, as
    `resize.enlarge` has it. Other arguments and errors as for `unet`; factor: a positive integer that divides size.
    """
    check_positive(size=size, channels=channels)
    check_widths(widths)
    x_t, t = Input((size, size, channels), name="x_t"), Input((), dtype="int32", name="t")
    small, enlarged = small_picture(size, channels, factor)
    x = layers.Concatenate()([x_t, enlarged])
    embedding = time_embedding(t, 4 * widths[0])
    x = backbone(x, embedding, widths, blocks, channels=channels, attention=attention, heads=heads, patch=patch)
    return Model([x_t, t, small], x, name="upsampler")


def backbone(x_t, embedding, widths, blocks=2, *, channels=None, attention=None, heads=1, patch=1, context=None, seen=None):
    """`unet` without its inputs: for an embedding of the time to which one of a class or a text may have been added.

    x_t: (B, size, size, any), with pictures beside it or alone; embedding: (B, E), float32. channels: of what it gives, (B, size,
    size, channels), float32; without a word, those of x_t. context: (B, K, any), what every attention may look at as well, as
    a text's words; seen: (B, K) booleans, at which of them. Raises ValueError as `unet`.
    """
    check_widths(widths)
    levels = range(len(widths))
    attention = levels[-1:] if attention is None else attention
    _check_sizes(x_t.shape, levels, blocks, attention, patch)
    channels = x_t.shape[-1] if channels is None else channels

    def block(x, level):
        x = residual_block(x, embedding, widths[level])
        return self_attention(x, heads, context, seen) if level in attention else x

    x = Rearrange("b (h p) (w q) c -> b h w (p q c)", p=patch, q=patch)(x_t) if patch > 1 else x_t
    x = _convolution(widths[0], 3)(x)
    skips = []
    for level in levels:
        if level:
            x = _convolution(widths[level], 3, strides=2)(x)
        for _ in range(blocks):
            x = block(x, level)
            skips.append(x)
    x = block(x, level)
    x = residual_block(x, embedding, widths[level])
    for level in reversed(levels):
        for _ in range(blocks):
            x = block(layers.Concatenate()([x, skips.pop()]), level)
        if level:
            x = _upsampling(2)(x)
    x = AdaptiveGroupNorm()(x)
    x = _convolution(channels * patch**2, 3, kernel_initializer="zeros", dtype="float32")(x)
    return Rearrange("b h w (p q c) -> b (h p) (w q) c", p=patch, q=patch, dtype="float32")(x) if patch > 1 else x


def time_embedding(t, width):
    """The time as a vector: sinusoids, and a small network that makes of them what the blocks need (as in DDPM's code).

    t: (B,) integers; width: even. Gives (B, width), float32 under any policy, and so different for neighbouring times.
    """
    x = SinusoidalEmbedding(width)(t)
    for _ in range(2):
        x = layers.Dense(width, activation="silu", dtype="float32")(x)
    return x


def residual_block(x, embedding, width):
    """Two convolutions beside a shortcut, in the order of DDPM's code; the time scales and shifts what is between them.

    x: (B, height, width, any); embedding: (B, E). Gives `width` channels. No convolution has a bias.
    Scale and shift: (Nichol and Dhariwal 2021, appendix A).
    """
    shortcut = x if x.shape[-1] == width else _convolution(width, 1, use_bias=False)(x)
    x = AdaptiveGroupNorm()(x)
    x = _convolution(width, 3, use_bias=False)(x)
    x = AdaptiveGroupNorm()(x, layers.Dense(2 * width, dtype="float32")(embedding))
    x = _convolution(width, 3, use_bias=False)(x)
    return layers.Add()([shortcut, x])


def self_attention(x, heads=1, context=None, seen=None):
    """Every position looks at every other, beside a shortcut (Vaswani et al. 2017, eq. 1), with one head or several.

    x: (B, height, width, channels), a multiple of heads. Gives the same shape; its cost grows with the square of height * width.
    context: (B, K, any), whose keys and values are among those of x (Nichol et al. 2021, section 4.1); seen: (B, K) booleans,
    which of them.
    """
    channels = x.shape[-1]
    y = AdaptiveGroupNorm(silu=False)(x)
    y = layers.Dense(3 * channels, use_bias=False)(y)
    beside = () if context is None else (layers.Dense(2 * channels, use_bias=False)(context), seen)
    y = Attention(heads)(y, *beside)
    return layers.Add()([x, layers.Dense(channels)(y)])


def flops(model):
    """Floating-point operations of one image's forward pass, in its convolutions and dense layers: two per multiply-add."""
    kernels = [(layer.kernel, layer.output.shape[1:-1]) for layer in model.layers if hasattr(layer, "kernel")]
    return int(sum(2 * np.prod(kernel.shape) * np.prod(positions) for kernel, positions in kernels))


def small_picture(size, channels, factor):
    """An input, (B, size / factor, size / factor, channels), and the same enlarged; refuses factors that do not divide size."""
    check_positive(factor=factor)
    if size % factor:
        raise ValueError(f"size: expected a multiple of {factor}, the factor; received {size}")
    small = Input((size // factor, size // factor, channels), name="small")
    return small, _upsampling(factor)(small)


def check_positive(**arguments):
    """Refuse arguments that are no positive integers, by name."""
    for argument, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{argument}: expected a positive integer; received {value!r}")


def check_widths(widths):
    """Refuse anything but the channels of each level."""
    if not isinstance(widths, list | tuple) or not widths:
        raise ValueError(f"widths: expected the channels of each level, as a tuple; received {widths!r}")
    check_positive(**{f"widths[{level}]": width for level, width in enumerate(widths)})
    if any(width % GROUPS for width in widths):
        raise ValueError(f"widths: expected multiples of {GROUPS}, the groups of a normalisation; received {widths!r}")


def _check_sizes(shape, levels, blocks, attention, patch):
    """Refuse sizes of a U-Net that do not fit together."""
    check_positive(blocks=blocks, patch=patch)
    if isinstance(attention, int) or not set(attention) <= set(levels):
        raise ValueError(f"attention: expected a tuple of levels in 0..{levels[-1]}; received {attention!r}")
    step = patch * 2 ** levels[-1]
    if any(size is None or size % step for size in shape[1:3]):
        halved = f"patches of {patch}, halved {levels[-1]} times"
        raise ValueError(f"size: expected a multiple of {step} ({halved}); received {shape[1]} x {shape[2]}")
