import numpy as np
import pytest

from lessons_lib import unet


def reference(weights, x):
    """The network again, from its description, in plain NumPy: x (H, W, C) -> (H, W, C)."""

    def convolve(x, kernel, bias):
        height, width, _ = x.shape
        padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
        windows = np.stack([padded[i : i + height, j : j + width] for i in range(5) for j in range(5)], axis=2)
        return np.einsum("hwkc,kcd->hwd", windows, kernel.reshape(25, *kernel.shape[2:])) + bias

    def silu(x):
        return x / (1 + np.exp(-x))

    def halve(x):
        height, width, channels = x.shape
        return x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))

    def double(x):
        return x.repeat(2, axis=0).repeat(2, axis=1)

    layers = list(zip(weights[::2], weights[1::2], strict=True))
    full = silu(convolve(x, *layers[0]))
    half = silu(convolve(halve(full), *layers[1]))
    low = silu(convolve(halve(half), *layers[2]))
    x = silu(convolve(low, *layers[3]))
    x = silu(convolve(double(x) + half, *layers[4]))
    return convolve(double(x) + full, *layers[5])


def test_basic_unet_equals_a_second_implementation():
    network = unet.basic_unet(size=8, channels=3)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    weights = [weight.astype(np.float64) for weight in network.get_weights()]
    expected = [reference(weights, image) for image in x.astype(np.float64)]
    np.testing.assert_allclose(network.predict_on_batch(x), expected, atol=1e-5)


def test_basic_unet_has_the_articles_size():
    network = unet.basic_unet()
    assert network.count_params() == 309_057
    assert network.input_shape == network.output_shape == (None, 28, 28, 1)


def test_an_activation_bounds_the_answer():
    x = np.random.default_rng(0).normal(scale=10, size=(8, 28, 28, 1)).astype(np.float32)
    assert unet.basic_unet(output_activation="silu").predict_on_batch(x).min() >= -0.2785
    assert unet.basic_unet().predict_on_batch(x).min() < -0.2785


@pytest.mark.parametrize("size", [0, -4, 30, 28.0])
def test_a_size_that_cannot_be_halved_twice_is_refused(size):
    with pytest.raises(ValueError, match=rf"size: expected a positive multiple of 4; received {size}"):
        unet.basic_unet(size)


def test_channels_are_positive():
    with pytest.raises(ValueError, match="channels: expected a positive integer; received 0"):
        unet.basic_unet(channels=0)
