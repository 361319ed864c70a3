import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from lessons_lib import diffusion

RNG = np.random.default_rng(0)
X, NOISE = RNG.uniform(size=(2, 3, 4, 4, 1)).astype(np.float32)


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_corrupt_mixes_each_image_by_its_own_amount(amounts):
    mixed = diffusion.corrupt(X, NOISE, np.float32(amounts))
    expected = [(1 - a) * x + a * n for a, x, n in zip(amounts, X.astype(float), NOISE.astype(float), strict=True)]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)


def test_nothing_and_all():
    mixed = diffusion.corrupt(X, NOISE, [0.0, 1.0, 0.5])
    np.testing.assert_array_equal(mixed[0], X[0])
    np.testing.assert_array_equal(mixed[1], NOISE[1])


def test_points_are_as_good_as_images():
    assert diffusion.corrupt(X[:, 0, 0, :2], NOISE[:, 0, 0, :2], [0.1, 0.2, 0.3]).shape == (3, 1)


def test_a_traced_function_gives_the_same():
    traced = tf.function(diffusion.corrupt)(X, NOISE, tf.constant([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(traced, diffusion.corrupt(X, NOISE, [0.1, 0.2, 0.3]), atol=1e-7)


@pytest.mark.parametrize(
    ("x", "noise", "amount", "error", "message"),
    [
        (np.uint8(X * 255), NOISE, [0.5] * 3, TypeError, "x: expected floats; received uint8"),
        (X, np.int32(NOISE), [0.5] * 3, TypeError, "noise: expected floats; received int32"),
        (X, NOISE[:2], [0.5] * 3, ValueError, r"noise: expected the shape of x, \(3, 4, 4, 1\); received \(2, 4, 4, 1\)"),
        (X, NOISE, [0.5] * 2, ValueError, r"amount: expected one number for each of the images .*; received \(2,\)"),
        (X, NOISE, 0.5, ValueError, r"amount: expected one number for each .*; received \(\)"),
        (X, NOISE, [0, 0.5, 1.5], ValueError, r"amount: expected values in \[0, 1\]; received 0.0 to 1.5"),
        (X, NOISE, [0, -0.5, 1], ValueError, r"amount: expected values in \[0, 1\]; received -0.5 to 1.0"),
        (X, NOISE, [0, np.nan, 1], ValueError, r"amount: expected values in \[0, 1\]; received nan"),
    ],
)
def test_bad_input_is_named(x, noise, amount, error, message):
    with pytest.raises(error, match=message):
        diffusion.corrupt(x, noise, amount)
