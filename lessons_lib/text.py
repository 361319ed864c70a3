"""Words to numbers to vectors, and a U-Net that is told them."""

import numpy as np
from keras import Input, layers, ops

from lessons_lib.layers import Attention
from lessons_lib.unet import Model, backbone, check_positive, check_widths, small_picture, time_embedding

PAD, START = 0, 1  # what fills a row up, and what begins it
LENGTH = 16  # tokens of a row: the start and fifteen words, as many as the longest caption of `grammar` has


def tokens(captions, words, length=LENGTH):
    """Captions as rows of numbers, (B, length) int32: the start, the words, and padding.

    captions: strings, of which "" says nothing: the null caption, a start alone. words: the vocabulary, whose order gives the
    numbers, from 2 on. Raises ValueError for a word that is not in it and for captions that are too long, and TypeError for
    anything but several strings.
    """
    if isinstance(captions, str) or not all(isinstance(caption, str) for caption in captions):
        raise TypeError(f"captions: expected a list of strings; received {captions!r}")
    numbers = {word: number for number, word in enumerate(words, START + 1)}
    rows = np.full((len(captions), length), PAD, np.int32)
    for row, caption in zip(rows, captions, strict=True):
        told = caption.lower().split()
        if unknown := [word for word in told if word not in numbers]:
            known = ", ".join(words)
            raise ValueError(f"captions: expected words that are known ({known}); received {', '.join(unknown)} in {caption!r}")
        if len(told) >= length:
            raise ValueError(f"captions: expected at most {length - 1} words; received {len(told)}: {caption!r}")
        row[: len(told) + 1] = [START, *(numbers[word] for word in told)]
    return rows


def encoder(tokens, words, width=64, blocks=2, heads=4, *, length=LENGTH, order=True):
    """A vector for each token that knows the others: a Transformer without a causal mask (Nichol et al. 2021, section 4.1).

    tokens: (B, K), symbolic, K at most `length`. Gives (B, K, width), float32; the vectors at padding mean nothing, and no
    other vector depends on them. words: how many the vocabulary has. blocks: each has attention and a network of one hidden
    layer, with the normalisation before them (Xiong et al. 2020). order: whether it is told each token's place; if not, the
    start's vector is the same for all captions of the same words, a bag of words.
    """
    exact = {"dtype": "float32"}
    x = layers.Embedding(words + START + 1, width, **exact)(tokens)
    if order:
        place = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
        x = layers.Add(**exact)([x, layers.Embedding(length, width, **exact)(place)])
    seen = ops.not_equal(tokens, PAD)
    for _ in range(blocks):
        y = layers.LayerNormalization(**exact)(x)
        y = layers.Dense(3 * width, use_bias=False, **exact)(y)
        y = Attention(heads, **exact)(y, seen=seen)
        x = layers.Add(**exact)([x, layers.Dense(width, **exact)(y)])
        y = layers.LayerNormalization(**exact)(x)
        y = layers.Dense(4 * width, activation="gelu", **exact)(y)
        x = layers.Add(**exact)([x, layers.Dense(width, **exact)(y)])
    return layers.LayerNormalization(**exact)(x)


def captioned(
    size=64,
    channels=3,
    widths=(32, 64, 128),
    blocks=2,
    *,
    words,
    length=LENGTH,
    text_width=64,
    text_blocks=2,
    order=True,
    all_words=True,
    known=False,
    factor=None,
    attention=None,
    heads=1,
    patch=1,
):
    """`unet.unet` that is told a caption too, as GLIDE is (Nichol et al. 2021, section 4.1).

    Called with [x_t, t, tokens]; tokens: (B, length) int32, as `tokens` makes them. The vector of the start is added to the
    time's; all words' vectors are among the keys and values of every attention. words: the vocabulary, a list, kept for whoever
    makes tokens. text_width, text_blocks, order: of `encoder`. all_words: whether the attention may look at all words, or at the
    start alone. known: whether it is also told a part of the picture, and called with [x_t, t, tokens, known]: (B, size, size,
    channels + 1), the picture where it is known and 0 elsewhere, and beside it 1 where it is known and 0 elsewhere (section 4.3).
    factor: of an up-sampler, which is also told a small picture and how much noise this has, and called with [x_t, t, tokens,
    small, level] (Saharia et al. 2022, section 2.4): small as for `unet.upsampler`; level: (B,), integers, the t whose noise was
    added to it, 0 for none. Other arguments and errors as for `unet.unet`; known and factor exclude each other.
    """
    check_positive(size=size, channels=channels, length=length, text_width=text_width, text_blocks=text_blocks)
    check_widths(widths)
    if known and factor:
        raise ValueError(f"factor: expected None with known=True; received {factor!r}")
    x_t, t, tokens = (
        Input((size, size, channels), name="x_t"),
        Input((), dtype="int32", name="t"),
        Input((length,), dtype="int32", name="tokens"),
    )
    told = encoder(tokens, len(words), text_width, text_blocks, length=length, order=order)
    width = 4 * widths[0]
    vectors = [time_embedding(t, width), layers.Dense(width, dtype="float32")(told[:, 0])]
    more, beside = [], []
    if known:
        more = beside = [Input((size, size, channels + 1), name="known")]
    if factor:
        (small, enlarged), level = small_picture(size, channels, factor), Input((), dtype="int32", name="level")
        more, beside = [small, level], [enlarged]
        vectors.append(time_embedding(level, width))
    x = layers.Concatenate()([x_t, *beside]) if beside else x_t
    looks = {"attention": attention, "heads": heads, "context": told, "seen": ops.not_equal(tokens, PAD)}
    looks |= {} if all_words else {"seen": ops.equal(tokens, START)}
    x = backbone(x, layers.Add(dtype="float32")(vectors), widths, blocks, channels=channels, patch=patch, **looks)
    return Model([x_t, t, tokens, *more], x, name="captioned")


def widen(network, narrow):
    """Give a `captioned` with known=True the weights of one without, so that it begins with its answers, whatever is known.

    The new input channels' weights are zero (Nichol et al. 2021, section 4.3). Raises ValueError unless nothing else differs.
    """
    shapes = [[tuple(weight.shape) for weight in one.weights] for one in (network, narrow)]
    differ = [i for i, (wide, other) in enumerate(zip(*shapes, strict=False)) if wide != other]
    if len(shapes[0]) != len(shapes[1]) or len(differ) != 1:
        raise ValueError("network: expected the arguments of narrow except for known=True; their weights differ in other ways")
    weights, channels = narrow.get_weights(), narrow.input_shape[0][-1]
    kernel = weights[differ[0]]
    pixels = kernel.shape[2] // channels  # of a patch
    wide = np.zeros((*kernel.shape[:2], pixels, 2 * channels + 1, kernel.shape[-1]), kernel.dtype)
    wide[:, :, :, :channels] = kernel.reshape(*kernel.shape[:2], pixels, channels, -1)
    weights[differ[0]] = wide.reshape(shapes[0][differ[0]])
    network.set_weights(weights)
