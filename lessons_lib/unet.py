"""The networks, as functional Keras models built by small functions."""

from keras import Input, Model, layers


def basic_unet(size=28, channels=1, output_activation=None):
    """The smallest U-Net that denoises (Ronneberger et al. 2015, section 2, with additive skips): six 5x5 convolutions.

    Input and output: (B, size, size, channels), any range. `output_activation` bounds what the network can answer: SiLU,
    say, never goes below -0.28. Raises ValueError unless size is a positive multiple of 4 (it is halved twice) and channels is
    positive.
    """
    if not isinstance(size, int) or size < 4 or size % 4:
        raise ValueError(f"size: expected a positive multiple of 4; received {size!r}")
    if not isinstance(channels, int) or channels < 1:
        raise ValueError(f"channels: expected a positive integer; received {channels!r}")

    def convolution(filters, activation="silu"):
        return layers.Conv2D(filters, 5, padding="same", activation=activation)

    x = noisy = Input((size, size, channels))
    x = full = convolution(32)(x)
    x = layers.MaxPooling2D(2)(x)
    x = half = convolution(64)(x)
    x = layers.MaxPooling2D(2)(x)
    x = convolution(64)(x)

    x = convolution(64)(x)
    x = layers.Add()([layers.UpSampling2D(2)(x), half])
    x = convolution(32)(x)
    x = layers.Add()([layers.UpSampling2D(2)(x), full])
    x = convolution(channels, output_activation)(x)
    return Model(noisy, x, name="basic_unet")
