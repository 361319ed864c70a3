"""The two filters against their definitions: a mean by hand, and a pseudo-inverse by its four equations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons_lib import resize

few = settings(max_examples=20, deadline=None)
PICTURES = np.random.default_rng(0).normal(size=(3, 8, 12, 2))


def as_array(x):
    return np.asarray(x)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_shrink_is_the_mean_of_each_square(factor):
    small = as_array(resize.shrink(PICTURES, factor))
    assert small.shape == (3, 8 // factor, 12 // factor, 2)
    for row, column in ((0, 0), (8 // factor - 1, 1), (1, 12 // factor - 1)):
        square = PICTURES[:, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        np.testing.assert_allclose(small[:, row, column], square.mean(axis=(1, 2)), atol=1e-14)


def test_enlarge_repeats_each_pixel():
    large = as_array(resize.enlarge(PICTURES, 3))
    assert large.shape == (3, 24, 36, 2)
    for row, column in ((0, 0), (5, 7), (23, 35), (2, 33)):
        np.testing.assert_array_equal(large[:, row, column], PICTURES[:, row // 3, column // 3])


@few
@given(
    factor=st.integers(1, 5),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    channels=st.integers(1, 3),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_the_two_are_an_exact_pair(factor, height, width, channels, dtype):
    """The equations of Penrose, written as matrices: A A+ = 1, and A+ A symmetric, so that A+ is the pseudo-inverse of A."""
    sides = (factor * height, factor * width, channels)
    count = int(np.prod(sides))
    down = as_array(resize.shrink(np.eye(count, dtype=dtype).reshape(count, *sides), factor)).reshape(count, -1).T
    up = as_array(resize.enlarge(np.eye(len(down), dtype=dtype).reshape(-1, height, width, channels), factor))
    up = up.reshape(len(down), -1).T
    assert down.dtype == up.dtype == dtype
    np.testing.assert_allclose(down @ up, np.eye(len(down)), atol=1e-6)
    np.testing.assert_allclose(up @ down, (up @ down).T, atol=1e-6)
    np.testing.assert_allclose(up, np.linalg.pinv(down.astype("float64")), atol=1e-6)


def test_a_picture_and_its_frame_do_not_mix():
    one, other = resize.shrink(PICTURES, 4), resize.shrink(PICTURES[::-1], 4)
    np.testing.assert_array_equal(as_array(one)[::-1], as_array(other))


@pytest.mark.parametrize("function", [resize.shrink, resize.enlarge])
@pytest.mark.parametrize(
    ("x", "factor", "error", "message"),
    [
        (PICTURES, 0, ValueError, "factor: expected an integer.*received 0"),
        (PICTURES, 2.0, ValueError, "factor: expected an integer.*received 2.0"),
        (PICTURES[0], 2, ValueError, r"x: expected images, \(B, H, W, C\); received shape \(8, 12, 2\)"),
        (np.zeros((1, 8, 8, 1), np.uint8), 2, TypeError, "x: expected .*float32.*received uint8"),
        (np.full((1, 8, 8, 1), np.nan), 2, ValueError, "x: expected finite values; received 64 NaN"),
    ],
)
def test_bad_input_is_named(function, x, factor, error, message):
    with pytest.raises(error, match=message):
        function(x, factor)


@pytest.mark.parametrize("factor", [3, 8])
def test_a_factor_must_divide_the_sides(factor):
    with pytest.raises(ValueError, match=f"x: expected sides that are multiples of {factor}, the factor; received 8 x 12"):
        resize.shrink(PICTURES, factor)
