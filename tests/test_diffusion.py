import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lessons_lib import diffusion, schedule
from lessons_lib.schedule import Schedule

few = settings(max_examples=30 if keras.backend.backend() == "tensorflow" else 5, deadline=None)  # JAX compiles each shape
RNG = np.random.default_rng(0)
X, NOISE = RNG.uniform(size=(2, 3, 4, 4, 1)).astype(np.float32)
SCHEDULES = {"linear": schedule.linear(), "cosine": schedule.cosine(), "short": schedule.linear(10), "one": Schedule([0.999])}
TWO_IMAGES = {  # each function with the names of its two images, and the function alone of numbers, from the paper
    diffusion.forward_step: ("x_prev", "noise", lambda x, e, b: math.sqrt(1 - b) * x + math.sqrt(b) * e),
    diffusion.add_noise: ("x_0", "noise", lambda x, e, a: math.sqrt(a) * x + math.sqrt(1 - a) * e),
    diffusion.to_x_0: ("x_t", "noise", lambda x, e, a: x / math.sqrt(a) - math.sqrt(1 / a - 1) * e),
    diffusion.to_noise: ("x_t", "x_0", lambda x, x_0, a: x / math.sqrt(1 - a) - math.sqrt(a / (1 - a)) * x_0),
    diffusion.to_velocity: ("x_0", "noise", lambda x, e, a: math.sqrt(a) * e - math.sqrt(1 - a) * x),
    diffusion.velocity_to_x_0: ("x_t", "velocity", lambda x, v, a: math.sqrt(a) * x - math.sqrt(1 - a) * v),
    diffusion.velocity_to_noise: ("x_t", "velocity", lambda x, v, a: math.sqrt(1 - a) * x + math.sqrt(a) * v),
}
every_function = pytest.mark.parametrize("function", TWO_IMAGES, ids=lambda function: function.__name__)


def trace(function):
    if keras.backend.backend() == "jax":
        from jax import jit as trace
    else:
        from tensorflow import function as trace
    return trace(function)


def pairs(draw_from):
    """A schedule and, for each image of a batch, two times s < t."""
    one = SCHEDULES[draw_from(st.sampled_from(list(SCHEDULES)))]
    times = st.lists(st.integers(0, one.T), min_size=2, max_size=2, unique=True).map(sorted)
    s, t = np.transpose(draw_from(st.lists(times, min_size=1, max_size=4)))
    return one, np.int32(s), np.int32(t)


def images(count, shape, dtype="float64", number=2):
    rng = np.random.default_rng(count + len(shape))
    return rng.normal(size=(number, count, *shape)).astype(dtype)


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3)


# ---- lesson 01's naive mixture


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
@few
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


def test_a_traced_corrupt_gives_the_same():
    traced = trace(diffusion.corrupt)(X, NOISE, ops.convert_to_tensor([0.1, 0.2, 0.3], "float32"))
    np.testing.assert_allclose(traced, diffusion.corrupt(X, NOISE, [0.1, 0.2, 0.3]), atol=1e-7)


@pytest.mark.parametrize(
    ("x", "noise", "amount", "error", "message"),
    [
        (np.uint8(X * 255), NOISE, [0.5] * 3, TypeError, "x: expected float32 or float64; received uint8"),
        (X, np.int32(NOISE), [0.5] * 3, TypeError, "noise: expected the type of x, float32; received int32"),
        (X, NOISE[:2], [0.5] * 3, ValueError, r"noise: expected the shape of x, \(3, 4, 4, 1\); received \(2, 4, 4, 1\)"),
        (X, NOISE.astype(float), [0.5] * 3, TypeError, "noise: expected the type of x, float32; received float64"),
        (X, NOISE, [0.5] * 2, ValueError, r"amount: expected one number for each of the images .*; received \(2,\)"),
        (X, NOISE, 0.5, ValueError, r"amount: expected one number for each .*; received \(\)"),
        (X, NOISE, [0, 0.5, 1.5], ValueError, r"amount: expected values in \[0, 1\]; received 0.0 to 1.5"),
        (X, NOISE, [0, -0.5, 1], ValueError, r"amount: expected values in \[0, 1\]; received -0.5 to 1.0"),
        (X, NOISE, [0, np.nan, 1], ValueError, r"amount: expected values in \[0, 1\]; received nan"),
    ],
)
def test_bad_input_of_corrupt_is_named(x, noise, amount, error, message):
    with pytest.raises(error, match=message):
        diffusion.corrupt(x, noise, amount)


# ---- each function against its equation, image by image


@every_function
@few
@given(rates=st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=4), shape=shapes)
def test_each_image_is_mixed_by_its_own_rate(function, rates, shape):
    """(DDPM, eq. 2), (DDPM, eq. 4), (DDPM, eq. 15) and the velocity's three, in float64 and in plain arithmetic."""
    one, other = images(len(rates), shape)
    *_, of_numbers = TWO_IMAGES[function]
    answer = function(one, other, np.reshape(rates, (-1,) + (1,) * len(shape)))
    assert ops.dtype(answer) == "float64"
    expected = [of_numbers(x, y, rate) for x, y, rate in zip(one, other, rates, strict=True)]
    np.testing.assert_allclose(answer, expected, rtol=1e-12, atol=1e-12 / min(min(rates), 1 - max(rates)) ** 0.5)


@every_function
@pytest.mark.parametrize("rate", [0.0064, 0.5, 0.9999])
def test_one_number_serves_all_images(function, rate):
    rates = np.full((3, 1, 1, 1), rate)
    np.testing.assert_array_equal(function(X, NOISE, rate), function(X, NOISE, rates))


@every_function
def test_float32_is_as_exact_as_its_rates(function):
    """The images stay float32 though the schedule is float64; relative to the exact answer for the rate as rounded."""
    for rate in (np.float32(1e-4), np.float32(0.5), np.float32(0.9999)):
        answer = function(X, NOISE, rate)
        assert ops.dtype(answer) == "float32"
        *_, of_numbers = TWO_IMAGES[function]
        expected = of_numbers(X.astype(float), NOISE.astype(float), float(rate))
        np.testing.assert_allclose(answer, expected, rtol=2e-6, atol=3e-7 * abs(expected).max())


@every_function
def test_a_traced_function_gives_the_same(function):
    rates = ops.convert_to_tensor(np.full((3, 1, 1, 1), 0.3), "float32")
    np.testing.assert_allclose(trace(function)(X, NOISE, rates), function(X, NOISE, rates), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
def test_batches_of_unknown_size_inside_tf_data():
    import tensorflow as tf

    def noisy(x, noise, t):
        return diffusion.add_noise(x, noise, SCHEDULES["linear"].at(t, like=x))

    t = np.int32([1, 500, 1000])
    stream = tf.data.Dataset.from_tensor_slices((X, NOISE, t)).batch(2).map(noisy)
    expected = diffusion.add_noise(X, NOISE, SCHEDULES["linear"].at(t, like=X))
    np.testing.assert_allclose(np.concatenate(list(stream.as_numpy_iterator())), expected, atol=1e-7)


def test_the_ends_are_data_and_noise():
    np.testing.assert_array_equal(diffusion.forward_step(X, NOISE, 0.0), X)
    np.testing.assert_array_equal(diffusion.add_noise(X, NOISE, 1.0), X)
    np.testing.assert_array_equal(diffusion.add_noise(X, NOISE, 0.0), NOISE)
    np.testing.assert_array_equal(diffusion.to_x_0(X, NOISE, 1.0), X)
    np.testing.assert_array_equal(diffusion.to_noise(X, NOISE, 0.0), X)
    np.testing.assert_array_equal(diffusion.to_velocity(X, NOISE, 1.0), NOISE)
    np.testing.assert_array_equal(diffusion.to_velocity(X, NOISE, 0.0), -X)


# ---- there and back


@few
@given(data=st.data(), shape=shapes, dtype=st.sampled_from(["float32", "float64"]))
def test_round_trips(data, shape, dtype):
    """Dividing by a small rate costs as many digits as it has zeros; the velocity's ways back cost none."""
    one, _, t = pairs(data.draw)
    digits = np.finfo(dtype).eps * 20
    x_0, noise = images(len(t), shape, dtype)
    alpha_bar = one.at(t, like=x_0)
    x_t = diffusion.add_noise(x_0, noise, alpha_bar)
    velocity = diffusion.to_velocity(x_0, noise, alpha_bar)
    signal, noisiness = one.signal_rate[t].min(), one.noise_rate[t].min()
    np.testing.assert_allclose(diffusion.to_x_0(x_t, noise, alpha_bar), x_0, atol=digits / signal)
    np.testing.assert_allclose(diffusion.to_noise(x_t, x_0, alpha_bar), noise, atol=digits / noisiness)
    np.testing.assert_allclose(diffusion.velocity_to_x_0(x_t, velocity, alpha_bar), x_0, atol=digits)
    np.testing.assert_allclose(diffusion.velocity_to_noise(x_t, velocity, alpha_bar), noise, atol=digits)


# ---- the chain and the jump


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_the_chain_is_the_jump_in_mean_and_variance(name):
    """(DDPM, eq. 2) again and again is (DDPM, eq. 4), exactly: the mean shrinks, the variances add up."""
    one = SCHEDULES[name]
    mean, zero, unit, variance = np.full((1, 1), 3.0), np.zeros((1, 1)), np.ones((1, 1)), 0.0
    for t in range(1, one.T + 1):
        mean = diffusion.forward_step(mean, zero, one.beta[t])
        kept, added = (float(diffusion.forward_step(*pair, one.beta[t])[0, 0]) for pair in ((unit, zero), (zero, unit)))
        variance = kept**2 * variance + added**2
        if t in (1, 2, 10, 500, one.T):
            jump = one.at([t], like=mean)
            np.testing.assert_allclose(mean, diffusion.add_noise(3 * unit, zero, jump), rtol=1e-12, atol=1e-12)
            assert variance == pytest.approx(float(diffusion.add_noise(zero, unit, jump)[0, 0]) ** 2, abs=1e-12)


def test_a_simulated_chain_has_the_jumps_moments():
    """50,000 points walk 20 steps. The standard error of a mean is sigma / sqrt(N), of a variance sigma^2 sqrt(2 / N)."""
    one, number, rng = schedule.linear(20), 50_000, np.random.default_rng(1)
    x = x_0 = np.tile([[1.0, -0.5]], (number, 1))
    for t in range(1, one.T + 1):
        x = diffusion.forward_step(x, rng.normal(size=x_0.shape), one.beta[t])
        if t in (1, 5, 12, 20):
            walked = ops.convert_to_numpy(x)
            variance = one.noise_rate[t] ** 2
            assert (abs(walked.mean(axis=0) - one.signal_rate[t] * x_0[0]) < 4 * (variance / number) ** 0.5).all()
            assert (abs(walked.var(axis=0) - variance) < 4 * variance * (2 / number) ** 0.5).all()
            assert abs(np.corrcoef(walked.T)[0, 1]) < 4 / number**0.5  # coordinates stay independent


# ---- the posterior


def density(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


@pytest.mark.parametrize("name", ["linear", "cosine", "short"])
@pytest.mark.parametrize(("s", "t"), [(1, 2), (4, 5), (9, 10), (3, 8), (1, 10)])
def test_the_posterior_is_bayes_rule(name, s, t):
    """q(x_s | x_t, x_0) by direct integration of q(x_s | x_0) q(x_t | x_s), each from single steps (DDPM, eq. 2)."""
    betas = SCHEDULES[name].beta

    def walk(x, first, last):  # mean and variance after the steps first + 1 .. last
        variance = 0.0
        for beta in betas[first + 1 : last + 1]:
            x, variance = math.sqrt(1 - beta) * x, (1 - beta) * variance + beta
        return x, variance

    x_0 = 0.7
    prior_mean, prior_variance = walk(x_0, 0, s)
    mean, variance = walk(x_0, 0, t)
    x_t = mean + 1.3 * variance**0.5  # somewhere it may well be
    x_s = prior_mean + np.linspace(-12, 12, 20_001) * prior_variance**0.5
    weights = density(x_s, prior_mean, prior_variance) * density(x_t, *walk(x_s, s, t))
    weights /= weights.sum()
    mean = weights @ x_s
    variance = weights @ (x_s - mean) ** 2

    ours = diffusion.posterior(np.array([[x_0]]), np.array([[x_t]]), *SCHEDULES[name].alpha_bar[[t, s]])
    np.testing.assert_allclose(ours[0], [[mean]], rtol=1e-9)
    np.testing.assert_allclose(ours[1], variance, rtol=1e-9)


@few
@given(data=st.data(), shape=shapes)
def test_neighbours_have_ddpms_posterior(data, shape):
    """(DDPM, eq. 7), in its own words: beta-tilde, and both coefficients of the mean."""
    one = SCHEDULES[data.draw(st.sampled_from(list(SCHEDULES)))]
    t = np.int32(data.draw(st.lists(st.integers(1, one.T), min_size=1, max_size=4)))
    x_0, x_t = images(len(t), shape)
    mean, variance = diffusion.posterior(x_0, x_t, one.at(t, like=x_t), one.at(t - 1, like=x_t))
    for i, time in enumerate(t):
        beta, now, before = one.beta[time], one.alpha_bar[time], one.alpha_bar[time - 1]
        of_x_0 = math.sqrt(before) * beta / (1 - now)
        of_x_t = math.sqrt(1 - beta) * (1 - before) / (1 - now)
        np.testing.assert_allclose(mean[i], of_x_0 * x_0[i] + of_x_t * x_t[i], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(np.ravel(variance[i]), (1 - before) / (1 - now) * beta, rtol=1e-9)


@few
@given(data=st.data(), shape=shapes)
def test_back_by_the_posterior_is_where_the_jump_would_be(data, shape):
    """x_t drawn from x_0 and x_s from both is x_s drawn from x_0: its mean and its variance say so (DDPM, eq. 7)."""
    one, s, t = pairs(data.draw)
    x_0, zero, unit = *images(len(t), shape, number=1), np.zeros((len(t), *shape)), np.ones((len(t), *shape))
    now, before = one.at(t, like=x_0), one.at(s, like=x_0)
    mean, variance = diffusion.posterior(x_0, diffusion.add_noise(x_0, zero, now), now, before)
    np.testing.assert_allclose(mean, diffusion.add_noise(x_0, zero, before), rtol=1e-9, atol=1e-12)
    carried, _ = diffusion.posterior(zero, diffusion.add_noise(zero, unit, now), now, before)
    np.testing.assert_allclose(variance + carried**2, (1 - before) * unit, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_last_step_is_certain(name, dtype):
    """At s = 0 the posterior is x_0, to the last digit, so that no mask is needed (residual noise: DDPM-Pytorch#3)."""
    one = SCHEDULES[name]
    x_0, x_t = images(2, (4, 4, 1), dtype)
    for t in (1, one.T):
        times = np.full(2, t)
        mean, variance = diffusion.posterior(x_0, x_t, one.at(times, like=x_t), one.at(0 * times, like=x_t))
        assert tuple(variance.shape) == (2, 1, 1, 1)
        np.testing.assert_array_equal(variance, np.zeros((2, 1, 1, 1)))
        np.testing.assert_allclose(mean, x_0, rtol=np.finfo(dtype).eps)


def test_neighbours_keep_their_digits_in_float32():
    """1 - alpha of two rounded alpha_bar: exact but for their own rounding, where 1 - alpha_bar_t / alpha_bar_s is not."""
    now, before = (SCHEDULES["linear"].alpha_bar[t].astype(np.float32) for t in (2, 1))
    _, variance = diffusion.posterior(X, X, now, before)
    now, before = float(now), float(before)
    assert float(variance) == pytest.approx((1 - before) / (1 - now) * (1 - now / before), rel=3e-7)


# ---- bad input


ONE = np.ones((3, 1, 1, 1))


@every_function
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({0: np.uint8(X)}, TypeError, "{0}: expected float32 or float64; received uint8"),
        ({0: X.astype(np.float16)}, TypeError, "{0}: expected float32 or float64; received float16"),
        ({1: np.int32(X)}, TypeError, "{1}: expected the type of {0}, float32; received int32"),
        (
            {0: np.where(X > 0.5, np.float32("nan"), X)},
            ValueError,
            r"{0}: expected finite values; received \d+ NaN or infinite ones",
        ),
        ({1: np.where(X > 0.5, np.float32("inf"), X)}, ValueError, r"{1}: expected finite values; received \d+ NaN"),
        ({1: X[:1]}, ValueError, r"{1}: expected the shape of {0}, \(3, 4, 4, 1\); received \(1, 4, 4, 1\)"),
        ({1: X[..., 0]}, ValueError, r"{1}: expected the shape of {0}, .*; received \(3, 4, 4\)"),
        ({0: X[:, 0, 0, 0]}, ValueError, r"{0}: expected images or points, \(B, ...\); received shape \(3,\)"),
        ({2: [0.5] * 3}, ValueError, r"{2}: expected shape \(3, 1, 1, 1\), or one number; received shape \(3,\)"),
        ({2: ONE[:1] / 2}, ValueError, r"{2}: expected shape \(3, 1, 1, 1\), or .*; received shape \(1, 1, 1, 1\)"),
        ({2: ONE[..., 0] / 2}, ValueError, r"{2}: expected shape .*; received shape \(3, 1, 1\)"),
        ({2: -0.5 * ONE}, ValueError, r"{2}: expected values in [\[\(]0, 1[\]\)]; received -0.5 to -0.5"),
        ({2: 1.5}, ValueError, r"{2}: expected values in [\[\(]0, 1[\]\)]; received 1.5 to 1.5"),
        ({2: np.nan}, ValueError, r"{2}: expected values in .*; received nan"),
    ],
)
def test_bad_input_is_named(function, change, error, message):
    first, second, _ = TWO_IMAGES[function]
    rate = "beta" if function is diffusion.forward_step else "alpha_bar"
    arguments = [change.get(i, default) for i, default in enumerate((X, NOISE, 0.5 * ONE))]
    with pytest.raises(error, match=message.format(first, second, rate)):
        function(*arguments)


@every_function
def test_a_rate_for_each_image_never_runs_along_the_last_axis(function):
    """Three points of three coordinates: (3,) would broadcast in silence, over the wrong axis."""
    with pytest.raises(ValueError, match=r"expected shape \(3, 1\), or one number; received shape \(3,\)"):
        function(X[:, :3, 0, 0], NOISE[:, :3, 0, 0], [0.1, 0.2, 0.3])


def test_nothing_is_divided_by_zero():
    with pytest.raises(ValueError, match=r"alpha_bar: expected values in \(0, 1\]; received 0.0 to 0.0"):
        diffusion.to_x_0(X, NOISE, 0.0)
    with pytest.raises(ValueError, match=r"alpha_bar: expected values in \[0, 1\); received 1.0 to 1.0"):
        diffusion.to_noise(X, NOISE, 1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((X, NOISE[:2], 0.1, 0.2), ValueError, "x_t: expected the shape of x_0"),
        ((X, NOISE.astype(np.float64), 0.1, 0.2), TypeError, "x_t: expected the type of x_0, float32; received float64"),
        ((np.int32(X), NOISE, 0.1, 0.2), TypeError, "x_0: expected float32 or float64; received int32"),
        ((X, NOISE, [0.1] * 3, 0.2), ValueError, r"alpha_bar_t: expected shape \(3, 1, 1, 1\), or one number"),
        ((X, NOISE, 0.1, [0.2] * 3), ValueError, r"alpha_bar_s: expected shape \(3, 1, 1, 1\), or one number"),
        ((X, NOISE, 1.0, 1.0), ValueError, r"alpha_bar_t: expected values in \[0, 1\); received 1.0"),
        ((X, NOISE, 0.0, 0.0), ValueError, r"alpha_bar_s: expected values in \(0, 1\]; received 0.0"),
        ((X, NOISE, 0.5, 0.25), ValueError, r"alpha_bar_s: expected more than alpha_bar_t, as s < t; received 0.25 and 0.5"),
        ((X, NOISE, 0.5, 0.5), ValueError, r"alpha_bar_s: expected more than alpha_bar_t"),
    ],
)
def test_bad_input_of_posterior_is_named(arguments, error, message):
    with pytest.raises(error, match=message):
        diffusion.posterior(*arguments)
