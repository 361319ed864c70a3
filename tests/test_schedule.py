import dataclasses
import math
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lessons_lib import schedule
from lessons_lib.schedule import Schedule

few = settings(max_examples=30 if keras.backend.backend() == "tensorflow" else 5, deadline=None)  # JAX compiles each shape
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data and tf.function are TensorFlow's")
unlike_noise = pytest.mark.filterwarnings("ignore:x_T keeps")
LINEAR, COSINE = schedule.linear(), schedule.cosine()


# ---- the schedules of the papers


def test_linear_is_ddpms_own():
    """(DDPM, section 4): forward process variances from 1e-4 to 0.02, linearly, T = 1000."""
    assert LINEAR.T == 1000
    assert LINEAR.beta[0] == 0
    for t in range(1, 1001):
        assert LINEAR.beta[t] == pytest.approx(1e-4 + (0.02 - 1e-4) * (t - 1) / 999, rel=0, abs=1e-12)
    assert LINEAR.alpha_bar[1000] == pytest.approx(4.04e-5, rel=2e-3)  # as published
    assert LINEAR.alpha_bar[259] > 0.5 > LINEAR.alpha_bar[260]  # "step 259" where steps are counted from 0


@few
@given(st.integers(2, 5000))
def test_linear_leaves_the_same_little_signal_for_any_number_of_steps(T):
    """The common mistake is to shorten the chain and keep the betas."""
    one = schedule.linear(T)
    assert one.T == T
    assert 0.006 < one.terminal_signal < 0.0066
    assert ((one.beta[1:] > 0) & (one.beta[1:] < 1)).all()


@pytest.mark.parametrize("T", [200, 2000])
def test_a_rescaled_step_stands_for_so_many_of_ddpms(T):
    for t in (1, T // 2, T):
        theirs = 1e-4 + (0.02 - 1e-4) * (t - 1) / (T - 1)
        assert schedule.linear(T).beta[t] == pytest.approx(-math.expm1(1000 / T * math.log1p(-theirs)), rel=1e-12)


@few
@given(st.integers(1, 5000))
def test_cosine_is_equation_17(T):
    """(Nichol and Dhariwal 2021, eq. 17), with its offset 0.008 and beta at most 0.999."""

    def f(t):
        return math.cos((t / T + 0.008) / (1 + 0.008) * math.pi / 2) ** 2

    one = schedule.cosine(T)
    for t in {1, max(1, T // 2), max(1, T - 1), T}:
        expected = min(1 - f(t) / f(t - 1), 0.999)
        assert one.beta[t] == pytest.approx(expected, abs=1e-12)
        if one.beta[1 : t + 1].max() < 0.999:
            assert one.alpha_bar[t] == pytest.approx(f(t) / f(0), rel=1e-9, abs=1e-12)
    assert one.beta[T] == 0.999


def test_cosine_starts_gently_thanks_to_its_offset():
    assert COSINE.beta[1] == pytest.approx(4.128e-5, rel=1e-3)  # the published value; 2.5e-6 without the offset


# ---- what follows from betas


@pytest.mark.parametrize("one", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("factor", [1, 64 / 28, 4.0])
def test_a_shift_moves_log_snr_by_twice_the_log_of_the_factor(one, factor):
    """(Hoogeboom et al. 2023, section 3.1): log SNR + 2 log(64 / d), where d / 64 is the factor."""
    moved = schedule.shifted(one, factor)
    assert moved.T == one.T
    np.testing.assert_allclose(moved.log_snr[1:], one.log_snr[1:] - 2 * np.log(factor), rtol=0, atol=1e-9)
    assert moved.terminal_signal <= one.terminal_signal


def test_shifts_add_up_and_can_be_undone():
    twice = schedule.shifted(schedule.shifted(COSINE, 2), 3)
    np.testing.assert_allclose(twice.beta, schedule.shifted(COSINE, 6).beta, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(schedule.shifted(schedule.shifted(LINEAR, 8), 1 / 8).beta, LINEAR.beta, rtol=1e-9)


def test_a_larger_picture_that_is_averaged_down_is_as_noisy_as_the_smaller_one():
    """Flat pictures of 64 x 64 pixels with the shifted schedule, averaged to 16 x 16, at times of all kinds."""
    rng, wide = np.random.default_rng(0), schedule.shifted(COSINE, 4)
    level = rng.normal(size=(200, 1, 1))
    for t in (50, 400, 800):
        x_t = wide.signal_rate[t] * level + wide.noise_rate[t] * rng.normal(size=(200, 64, 64))
        small = x_t.reshape(200, 16, 4, 16, 4).mean(axis=(2, 4))
        noise = (small - wide.signal_rate[t] * level).var()
        assert wide.alpha_bar[t] / noise == pytest.approx(COSINE.snr[t], rel=0.03)


@pytest.mark.parametrize("factor", [0, -2.0, np.nan, np.inf, "2", None])
def test_a_factor_is_a_positive_number(factor):
    with pytest.raises(ValueError, match=f"factor: expected a positive number; received {factor!r}"):
        schedule.shifted(COSINE, factor)


@few
@given(st.lists(st.floats(1e-6, 0.9), min_size=1, max_size=50))
@unlike_noise
def test_alpha_bar_is_the_product_up_to_t(betas):
    """(DDPM, section 2): the product runs to t, not to T, and t = 0 is the data."""
    one = Schedule(betas)
    assert len(betas) == one.T
    assert one.beta.tolist() == [0.0, *betas]
    for t in range(len(betas) + 1):
        assert one.alpha_bar[t] == pytest.approx(math.prod(1 - beta for beta in betas[:t]), rel=1e-12)


@pytest.mark.parametrize("one", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_rates_and_ratios(one):
    for values in (one.beta, one.alpha_bar, one.signal_rate, one.noise_rate, one.snr, one.log_snr):
        assert values.shape == (one.T + 1,)
        assert values.dtype == np.float64
    for t in (1, 2, 500, one.T):
        assert one.signal_rate[t] == pytest.approx(math.sqrt(one.alpha_bar[t]), rel=1e-12)
        assert one.noise_rate[t] == pytest.approx(math.sqrt(1 - one.alpha_bar[t]), rel=1e-12)
        assert one.snr[t] == pytest.approx(one.signal_rate[t] ** 2 / one.noise_rate[t] ** 2, rel=1e-12)
        assert one.log_snr[t] == pytest.approx(math.log(one.snr[t]), rel=1e-12, abs=1e-12)
    assert one.terminal_signal == one.signal_rate[one.T]
    assert (np.diff(one.log_snr[1:]) < 0).all()


def test_the_data_are_signal_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a division by zero would be told
        assert (LINEAR.beta[0], LINEAR.alpha_bar[0], LINEAR.signal_rate[0], LINEAR.noise_rate[0]) == (0, 1, 1, 0)
        assert (LINEAR.snr[0], LINEAR.log_snr[0]) == (np.inf, np.inf)


@pytest.mark.parametrize(("T", "signal"), [(500, 0.079), (400, 0.132), (300, 0.219), (250, 0.282), (200, 0.364), (50, 0.777)])
def test_a_chain_cut_short_is_told(T, signal):
    """Betas of 1000 steps in fewer: samplers then start from noise that the network never saw (EngiOpt#67, T = 250)."""
    with pytest.warns(UserWarning, match=r"x_T keeps .* of the signal.* linear\(T\) and cosine\(T\)") as told:
        cut = Schedule(np.linspace(1e-4, 0.02, T))
    assert told[0].filename == __file__
    assert f"x_T keeps {cut.terminal_signal:.1%} of the signal" in str(told[0].message)
    assert cut.terminal_signal == pytest.approx(signal, abs=1e-3)


@pytest.mark.parametrize("T", [2, 50, 200, 1000, 4000])
def test_our_own_end_in_noise_without_a_word(T):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.linear(T)
        schedule.cosine(T)


def test_a_schedule_says_what_it_is():
    assert repr(LINEAR) == "Schedule(T=1000, beta 0.0001 to 0.02, terminal signal 0.0064)"
    assert str(COSINE) == "Schedule(T=1000, beta 4.13e-05 to 0.999, terminal signal 4.9e-05)"


def test_a_schedule_never_changes():
    betas = np.array([0.5, 0.999])
    one = Schedule(betas)
    betas[0] = 0.1
    assert one.beta[1] == 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.beta = betas
    for values in (one.beta, one.alpha_bar):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 3


# ---- alpha_bar for a batch


@few
@given(st.data(), st.lists(st.integers(1, 4), max_size=4), st.sampled_from(["float32", "float64"]))
def test_each_image_gets_the_alpha_bar_of_its_own_time(data, shape, dtype):
    """Off by one in t is the commonest bug of all; the value is rounded once, from float64 to the images' type."""
    t = data.draw(st.lists(st.integers(0, 1000), min_size=1, max_size=5))
    x = np.zeros((len(t), *shape), dtype)
    rates = COSINE.at(np.int32(t), like=x)
    assert ops.dtype(rates) == dtype
    assert tuple(rates.shape) == (len(t),) + (1,) * len(shape)
    np.testing.assert_array_equal(np.ravel(rates), [COSINE.alpha_bar[i].astype(dtype) for i in t])


@pytest.mark.parametrize("t", [[0, 1000], np.int64([0, 1000]), np.uint16([0, 1000]), ops.convert_to_tensor([0, 1000], "int32")])
def test_times_may_be_any_integers(t):
    np.testing.assert_array_equal(
        np.ravel(LINEAR.at(t, like=np.zeros((2, 3), np.float32))), LINEAR.alpha_bar[[0, 1000]].astype(np.float32)
    )


def test_neighbouring_times_differ_in_float32():
    for one in (LINEAR, COSINE):
        rates = np.ravel(one.at(np.arange(1001), like=np.zeros((1001, 1), np.float32)))
        assert (np.diff(rates) < 0).all()


@tensorflow_only
def test_times_inside_tf_data():
    import tensorflow as tf

    t = np.int32([1, 2, 999, 1000, 5])
    stream = tf.data.Dataset.from_tensor_slices((np.zeros((5, 4, 4, 1), np.float32), t)).batch(3)  # a batch of unknown size
    rates = np.concatenate(list(stream.map(lambda x, t: LINEAR.at(t, like=x)).as_numpy_iterator()))
    assert rates.shape == (5, 1, 1, 1)
    np.testing.assert_array_equal(rates.ravel(), LINEAR.alpha_bar[t].astype(np.float32))


def test_times_inside_a_traced_function():
    if keras.backend.backend() == "jax":
        from jax import jit as trace
    else:
        from tensorflow import function as trace
    x = np.zeros((2, 3), np.float32)
    traced = trace(lambda t: LINEAR.at(t, like=x))(ops.convert_to_tensor([7, 8], "int32"))
    np.testing.assert_array_equal(traced, LINEAR.at([7, 8], like=x))


# ---- bad input


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([], r"betas: expected a list of numbers, .*; received shape \(0,\)"),
        (0.1, r"betas: expected a list of numbers, .*; received shape \(\)"),
        ([[0.1, 0.2]], r"betas: expected a list of numbers, .*; received shape \(1, 2\)"),
        ([0.0, 0.5], r"betas: expected values in \(0, 1\); received 0.0 to 0.5"),
        ([0.5, 1.0], r"betas: expected values in \(0, 1\); received 0.5 to 1.0"),
        ([-0.1, 0.5], r"betas: expected values in \(0, 1\); received -0.1 to 0.5"),
        ([0.5, np.nan], r"betas: expected values in \(0, 1\); received nan"),
        ([1e-17, 0.5], r"betas: expected values in \(0, 1\); received 1e-17 to 0.5"),  # 1 - beta is 1
    ],
)
def test_bad_betas_are_named(betas, message):
    with pytest.raises(ValueError, match=message):
        Schedule(betas)


@pytest.mark.parametrize("T", [0, -1, 2.5, 1000.0, True, "1000", None])
def test_the_number_of_steps_is_a_positive_integer(T):
    with pytest.raises(ValueError, match=r"T: expected an integer of at least 2; received"):
        schedule.linear(T)
    with pytest.raises(ValueError, match=r"T: expected an integer of at least 1; received"):
        schedule.cosine(False if T is True else T)


@pytest.mark.parametrize(
    ("t", "like", "error", "message"),
    [
        ([1.0, 2.0], np.zeros((2, 3)), TypeError, "t: expected integers; received float"),
        ([1, 1001], np.zeros((2, 3)), ValueError, r"t: expected integers in 0\.\.1000; received 1 to 1001"),
        ([-1, 5], np.zeros((2, 3)), ValueError, r"t: expected integers in 0\.\.1000; received -1 to 5"),
        ([1, 2], np.zeros((3, 3)), ValueError, r"t: expected one time for each .* \(3, 3\); received shape \(2,\)"),
        (5, np.zeros((3, 3)), ValueError, r"t: expected one time for each .* \(3, 3\); received shape \(\)"),
        ([[1], [2]], np.zeros((2, 3)), ValueError, r"t: expected one time for each .*; received shape \(2, 1\)"),
        ([], np.zeros((2, 3)), TypeError, "t: expected integers; received float"),
        ([1, 2], np.zeros((2, 3), np.uint8), TypeError, "like: expected float32 or float64; received uint8"),
        ([1, 2], np.zeros((2, 3), np.float16), TypeError, "like: expected float32 or float64; received float16"),
    ],
)
def test_bad_times_are_named(t, like, error, message):
    with pytest.raises(error, match=message):
        LINEAR.at(t, like=like)


@pytest.mark.parametrize("images", [[-1, 1], [-1.0009, 0.5], [-0.5, 1.0009], [-1e-6, 0]])
def test_images_in_the_models_range_pass(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule.check_images(np.float32(images))


@pytest.mark.parametrize("images", [[-1.0011, 0], [-1, 1.0011], [0, 255]])
def test_images_beyond_the_models_range_are_refused(images):
    with pytest.raises(ValueError, match=r"images: expected values in \[-1, 1\], .* received .*`data.to_unit`"):
        schedule.check_images(np.float32(images))
    schedule.check_images(np.float32([-1, *images]), most=300)


@pytest.mark.parametrize(("broken", "count"), [([-1, np.nan], 1), ([-1, np.inf, -np.inf], 2)])
def test_images_that_are_no_numbers_are_counted(broken, count):
    with pytest.raises(ValueError, match=f"images: expected finite values; received {count} NaN or infinite ones"):
        schedule.check_images(np.float32(broken))


@pytest.mark.parametrize("images", [[0, 1], [0.2, 0.7]])
def test_images_without_anything_negative_draw_a_warning_of_the_line_that_hands_them_in(images):
    def judge(images):
        schedule.check_images(images)

    with pytest.warns(UserWarning, match=r"nothing negative. If they are in \[0, 1\], take 2 \* images - 1") as told:
        judge(np.float32(images))
    assert told[0].filename == __file__


# ---- what the library's checks share


@pytest.mark.parametrize(("value", "least", "most"), [(3, 1, None), (1, 1, 1), (np.int64(5), 1, 5), (-2, -2, 0)])
def test_a_whole_number_within_its_bounds_is_pythons_own(value, least, most):
    found = schedule.whole("steps", value, least, most)
    assert type(found) is int
    assert found == value


@pytest.mark.parametrize(
    ("value", "least", "most", "expected"),
    [
        (0, 1, None, "of at least 1; received 0"),
        (6, 1, 5, r"in 1\.\.5; received 6"),
        (0, 1, 5, r"in 1\.\.5; received 0"),
        (2.0, 1, None, r"of at least 1; received 2\.0"),
        (True, 0, None, "of at least 0; received True"),
        ("3", 1, None, "of at least 1; received '3'"),
    ],
)
def test_anything_else_is_no_whole_number(value, least, most, expected):
    with pytest.raises(ValueError, match=f"steps: expected an integer {expected}"):
        schedule.whole("steps", value, least, most)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((2, 3), (2, 3), True),
        ((None, 3), (2, 3), True),
        ((2, 3), (2, None), True),
        ((None, 3), (2, 4), False),
        ((2, 3), (3, 2), False),
        ((2, 3), (2, 3, 1), False),
        ((), (), True),
    ],
)
def test_shapes_are_the_same_as_far_as_they_are_known(one, other, same):
    assert schedule.same_shape(one, other) is same
