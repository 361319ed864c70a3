import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lessons_lib import diffusion, oracle, schedule

few = settings(max_examples=30 if keras.backend.backend() == "tensorflow" else 5, deadline=None)  # JAX compiles each shape
SCHEDULES = {"linear": schedule.linear(), "cosine": schedule.cosine()}
every_schedule = pytest.mark.parametrize("one", SCHEDULES.values(), ids=SCHEDULES)
RNG = np.random.default_rng(0)
FACTOR = RNG.normal(size=(3, 3))
FULL = FACTOR @ FACTOR.T + 0.1 * np.eye(3)
MEANS, WEIGHTS = RNG.normal(size=(3, 3)), np.array([0.5, 0.3, 0.2])
COVARIANCES = [FULL, np.array([0.5, 1.0, 0.0]), 0.3]  # full, diagonal with a flat direction, isotropic
METHODS = ("predict_noise", "score", "denoise", "log_likelihood")


def mixed(one):
    return oracle.mixture(one, MEANS, COVARIANCES, WEIGHTS)


def noised(one, t=(1, 10, 300, 700, 1000)):
    """Some x_t that the mixture of MEANS may become, (5, 3), and their times."""
    t = np.int32(t)
    x_0 = MEANS[RNG.integers(3, size=len(t))] + 0.5 * RNG.normal(size=(len(t), 3))
    return ops.convert_to_numpy(diffusion.add_noise(x_0, RNG.normal(size=x_0.shape), one.at(t, like=x_0))), t


def reference(one, means, covariances, weights, x, t):
    """One x_t (D,), in plain NumPy, by matrix inverses: the four answers, in the order of METHODS."""
    alpha_bar, size = one.alpha_bar[t], means.shape[1]
    joint, scores, clean = [], [], []
    for mean, covariance, weight in zip(means, covariances, weights, strict=True):
        data = np.diag(covariance * np.ones(size)) if np.ndim(covariance) < 2 else covariance
        total = alpha_bar * data + (1 - alpha_bar) * np.eye(size)
        solved = np.linalg.inv(total) @ (x - np.sqrt(alpha_bar) * mean)
        distance = (x - np.sqrt(alpha_bar) * mean) @ solved
        joint.append(weight * np.exp(-0.5 * distance) / np.sqrt(np.linalg.det(2 * np.pi * total)))
        scores.append(-solved)
        clean.append(mean + np.sqrt(alpha_bar) * data @ solved)
    likely = np.array(joint) / np.sum(joint)
    score, denoised = likely @ scores, likely @ clean
    return -np.sqrt(1 - alpha_bar) * score, score, denoised, np.log(np.sum(joint))


@every_schedule
def test_a_mixture_equals_a_second_implementation(one):
    x_t, t = noised(one)
    expected = [reference(one, MEANS, COVARIANCES, WEIGHTS, x, time) for x, time in zip(x_t, t, strict=True)]
    for method, values in zip(METHODS, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(getattr(mixed(one), method)(x_t, t), values, rtol=1e-8, atol=1e-9, err_msg=method)


@every_schedule
def test_float32_is_as_good_as_float32_can_be(one):
    """At t = 1 the variance is 1 - alpha_bar, 1e-4 or less, of which a rounded alpha_bar keeps three digits."""
    x_t, t = noised(one)
    for method in METHODS:
        single = getattr(mixed(one), method)(x_t.astype(np.float32), t)
        double = np.asarray(getattr(mixed(one), method)(x_t, t))
        assert ops.dtype(single) == "float32"
        np.testing.assert_allclose(single, double, rtol=5e-3, atol=5e-3, err_msg=method)


@every_schedule
@pytest.mark.parametrize("t", [20, 300, 700, 1000])
def test_one_dimension_by_direct_integration(one, t):
    """q(x_t), E[x_0 | x_t] and E[noise | x_t] as integrals over all x_0 of q(x_0) q(x_t | x_0) (DDPM, eq. 4)."""

    def normal(x, mean, variance):
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    x_0, step = np.linspace(-12, 12, 40_001, retstep=True)
    signal, variance = one.signal_rate[t], one.noise_rate[t] ** 2
    x_t = signal * 0.4 + np.array([-1.0, 0.1, 1.5]) * variance**0.5
    data = 0.7 * normal(x_0, -1.0, 0.3) + 0.3 * normal(x_0, 2.0, 0.05)
    joint = data * normal(x_t[:, None], signal * x_0, variance)
    density = joint.sum(axis=1) * step
    clean = joint @ x_0 * step / density

    exact = oracle.mixture(one, [[-1.0], [2.0]], [0.3, 0.05], [0.7, 0.3])
    times = np.full(3, t)
    np.testing.assert_allclose(exact.log_likelihood(x_t[:, None], times), np.log(density), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.ravel(exact.denoise(x_t[:, None], times)), clean, rtol=1e-9, atol=1e-9)
    noise = (x_t - signal * clean) / variance**0.5
    np.testing.assert_allclose(np.ravel(exact.predict_noise(x_t[:, None], times)), noise, rtol=1e-8, atol=1e-8)


def gradient(function, x):
    """The gradient of a function of x, summed over the batch, by the backend's own differentiation."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.grad(lambda x: function(x).sum())(x)
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x := tf.convert_to_tensor(x))
        value = function(x)
    return tape.gradient(value, x)


@every_schedule
def test_the_score_is_the_gradient_of_the_log_likelihood(one):
    x_t, t = noised(one)
    expected = gradient(lambda x: mixed(one).log_likelihood(x, t), x_t)
    np.testing.assert_allclose(mixed(one).score(x_t, t), expected, rtol=1e-8, atol=1e-10)


@few
@given(t=st.lists(st.integers(1, 1000), min_size=5, max_size=5), name=st.sampled_from(list(SCHEDULES)))
def test_tweedie(t, name):
    """The posterior mean is x_t moved along the score; with the expected noise it makes up x_t again (DDPM, eq. 4)."""
    one = SCHEDULES[name]
    x_t, t = noised(one, t)
    exact, alpha_bar = mixed(one), one.alpha_bar[t][:, None]
    clean, noise, score = exact.denoise(x_t, t), exact.predict_noise(x_t, t), np.asarray(exact.score(x_t, t))
    np.testing.assert_allclose(np.sqrt(alpha_bar) * clean, x_t + (1 - alpha_bar) * score, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(diffusion.add_noise(clean, noise, one.at(t, like=x_t)), x_t, rtol=1e-9, atol=1e-11)


# ---- points


@few
@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    count=st.integers(1, 4),
    name=st.sampled_from(list(SCHEDULES)),
)
def test_points_of_any_shape_answer_by_how_near_they_are(data, shape, count, name):
    """E[noise | x_t] by listing all data: each point's own noise (DDPM, eq. 4), as likely as that noise is."""
    one = SCHEDULES[name]
    t = np.int32(data.draw(st.lists(st.integers(1, 1000), min_size=1, max_size=3)))
    rng = np.random.default_rng(count)
    x, x_t = rng.normal(size=(count, *shape)), rng.normal(size=(len(t), *shape))
    answer = oracle.points(one, x).predict_noise(x_t, t)
    for i, time in enumerate(t):
        noises = (x_t[i] - one.signal_rate[time] * x) / one.noise_rate[time]
        log_likely = -0.5 * (noises.reshape(count, -1) ** 2).sum(axis=1)
        likely = np.exp(log_likely - log_likely.max())
        np.testing.assert_allclose(answer[i], np.tensordot(likely / likely.sum(), noises, 1), rtol=1e-7, atol=1e-8)


@every_schedule
def test_the_posterior_is_the_exact_classifier(one):
    """Bayes' rule by hand; the answers of the parts, by their shares, are the mixture's (the law of total score)."""
    x_t, t = noised(one)
    shares = ops.convert_to_numpy(mixed(one).posterior(x_t, t))
    parts = [oracle.gaussian(one, mean, covariance) for mean, covariance in zip(MEANS, COVARIANCES, strict=True)]
    joint = WEIGHTS * np.exp(np.stack([ops.convert_to_numpy(part.log_likelihood(x_t, t)) for part in parts], axis=1))
    np.testing.assert_allclose(shares, joint / joint.sum(axis=1, keepdims=True), rtol=1e-9)
    assert shares.shape == (5, 3)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-12)
    for method in ("score", "denoise", "predict_noise"):
        total = sum(share[:, None] * getattr(part, method)(x_t, t) for share, part in zip(shares.T, parts, strict=True))
        np.testing.assert_allclose(getattr(mixed(one), method)(x_t, t), total, rtol=1e-9, atol=1e-9, err_msg=method)


def test_the_posterior_is_sure_at_little_noise_and_knows_nothing_at_much():
    one = schedule.linear()
    two = oracle.points(one, np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0.25, 0.75]))
    x_t = np.array([[0.9, 0.0], [0.9, 0.0], [-0.9, 0.1]])
    shares = ops.convert_to_numpy(two.posterior(x_t, np.int32([1, 1000, 10])))
    np.testing.assert_allclose(shares[[0, 2]], [[0, 1], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(shares[1], [0.25, 0.75], atol=0.01)


@every_schedule
@pytest.mark.parametrize("shape", [(2,), (28, 28, 1), (4, 5, 3)])
def test_a_single_point_knows_the_noise(one, shape):
    """Whatever x_t is, x_0 can only have been the point: in float32, at every time, for points and images."""
    point = RNG.uniform(-1, 1, size=(1, *shape)).astype(np.float32)
    exact = oracle.points(one, point)
    t = np.int32([1, 2, 500, 999, 1000])
    noise = RNG.normal(size=(5, *shape)).astype(np.float32)
    alpha_bar = one.at(t, like=noise)
    x_t = diffusion.add_noise(np.repeat(point, 5, axis=0), noise, alpha_bar)
    np.testing.assert_allclose(exact.predict_noise(x_t, t), noise, atol=5e-5)
    np.testing.assert_array_equal(exact.denoise(x_t, t), np.repeat(point, 5, axis=0))


def test_little_noise_shows_the_nearest_point_and_much_the_mean_of_all():
    one, x, weights = SCHEDULES["cosine"], np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]), [0.5, 0.25, 0.25]
    exact = oracle.points(one, x, weights)
    np.testing.assert_allclose(exact.denoise(x + 0.01, np.full(3, 10)), x, atol=1e-6)
    np.testing.assert_allclose(exact.denoise(np.zeros((1, 2)), [1000]), [weights @ x], atol=1e-3)


def test_far_away_nothing_overflows():
    exact = oracle.points(SCHEDULES["linear"], RNG.normal(size=(5, 28, 28, 1)))
    x_t, t = np.full((2, 28, 28, 1), 1e3, np.float32), np.int32([1, 1000])
    for method in METHODS:
        assert np.isfinite(getattr(exact, method)(x_t, t)).all(), method


# ---- three spellings of one thing


@pytest.mark.parametrize("method", METHODS)
def test_a_covariance_may_be_a_number_a_diagonal_or_a_matrix(method):
    one = SCHEDULES["linear"]
    x_t, t = noised(one)
    answers = [
        getattr(oracle.gaussian(one, MEANS[0], covariance), method)(x_t, t) for covariance in (0.7, [0.7] * 3, 0.7 * np.eye(3))
    ]
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-12)
    np.testing.assert_allclose(answers[0], answers[2], rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_points_and_a_gaussian_are_mixtures(method):
    one = SCHEDULES["cosine"]
    x_t, t = noised(one)
    for special, general in (
        (oracle.gaussian(one, MEANS[0], FULL), oracle.mixture(one, MEANS[:1], [FULL], [1.0])),
        (oracle.gaussian(one, MEANS[0], FULL), oracle.mixture(one, MEANS[[0, 0]], [FULL, FULL], [0.9, 0.1])),
        (oracle.points(one, MEANS, WEIGHTS), oracle.mixture(one, MEANS, np.zeros((3, 3, 3)), WEIGHTS)),
    ):
        np.testing.assert_allclose(getattr(special, method)(x_t, t), getattr(general, method)(x_t, t), rtol=1e-9, atol=1e-9)


def test_images_are_long_points():
    one, mean, t = SCHEDULES["linear"], RNG.normal(size=(2, 2, 3)), np.int32([1, 400])
    factor = RNG.normal(size=(12, 12))
    x_t = RNG.normal(size=(2, 2, 2, 3))
    image = oracle.gaussian(one, mean, factor @ factor.T)
    point = oracle.gaussian(one, mean.ravel(), factor @ factor.T)
    for method in ("predict_noise", "score", "denoise"):
        answer = getattr(image, method)(x_t, t)
        assert tuple(answer.shape) == x_t.shape
        np.testing.assert_array_equal(np.reshape(answer, (2, 12)), getattr(point, method)(x_t.reshape(2, 12), t))


def test_a_covariance_of_fewer_dimensions_than_numbers():
    """As of five images of 784 pixels: eigenvalues that are 0 come out a little below it."""
    few_images = RNG.normal(size=(5, 36))
    exact = oracle.gaussian(SCHEDULES["linear"], few_images.mean(axis=0), np.cov(few_images.T))
    assert (np.sort(exact.variances[0])[:-4] == 0).all()
    assert np.isfinite(exact.score(few_images, np.full(5, 1))).all()


def test_standard_normal_data_stay_what_they_are():
    """x_t is N(0, I) at every t, so its score is -x_t."""
    x_t, t = RNG.normal(size=(4, 2)), np.int32([1, 10, 500, 1000])
    exact = oracle.gaussian(SCHEDULES["cosine"], np.zeros(2), 1.0)
    np.testing.assert_allclose(exact.score(x_t, t), -x_t, rtol=1e-12)
    np.testing.assert_allclose(exact.log_likelihood(x_t, t), -np.log(2 * np.pi) - 0.5 * (x_t**2).sum(axis=1), rtol=1e-12)


def test_the_expected_noise_explains_all_that_can_be_explained():
    """What is left of the noise has nothing to do with x_t: mean products within 4 standard errors, 20,000 points."""
    one, number, rng = SCHEDULES["linear"], 20_000, np.random.default_rng(3)
    part = rng.choice(3, size=number, p=WEIGHTS)
    roots = np.stack([np.linalg.cholesky(FULL), np.diag([0.5, 1.0, 0.0]) ** 0.5, 0.3**0.5 * np.eye(3)])
    x_0 = MEANS[part] + np.einsum("nij,nj->ni", roots[part], rng.normal(size=(number, 3)))
    noise, t = rng.normal(size=(number, 3)), np.full(number, 200)
    x_t = ops.convert_to_numpy(diffusion.add_noise(x_0, noise, one.alpha_bar[200]))
    left = noise - mixed(one).predict_noise(x_t, t)
    for feature in (np.ones((number, 1)), x_t, np.tanh(x_t)):
        products = np.asarray(left) * feature
        assert (abs(products.mean(axis=0)) < 4 * products.std(axis=0) / number**0.5).all()


def test_a_traced_function_gives_the_same():
    one = SCHEDULES["linear"]
    if keras.backend.backend() == "jax":
        from jax import jit as trace
    else:
        from tensorflow import function as trace
    x_t, t = noised(one)
    traced = trace(mixed(one).predict_noise)(ops.convert_to_tensor(x_t), ops.convert_to_tensor(t))
    np.testing.assert_allclose(traced, mixed(one).predict_noise(x_t, t), rtol=1e-9)


# ---- bad input


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("x_t", "t", "error", "message"),
    [
        (np.zeros((2, 3)), [0, 5], ValueError, r"t: expected integers in 1\.\.1000, where there is noise; received 0"),
        (np.zeros((2, 3)), [1, 1001], ValueError, r"t: expected integers in 0\.\.1000; received 1 to 1001"),
        (np.zeros((2, 3)), [1.0, 2.0], TypeError, "t: expected integers; received float"),
        (np.zeros((2, 3)), [1], ValueError, r"t: expected one time for each of the images .*; received shape \(1,\)"),
        (np.zeros((2, 3)), 1, ValueError, r"t: expected one time for each of the images .*; received shape \(\)"),
        (np.zeros((2, 4)), [1, 2], ValueError, r"x_t: expected shape \(B, 3,\); received \(2, 4\)"),
        (np.zeros((2, 1, 3)), [1, 2], ValueError, r"x_t: expected shape \(B, 3,\); received \(2, 1, 3\)"),
        (np.zeros((2, 3), np.uint8), [1, 2], TypeError, "x_t: expected float32 or float64; received uint8"),
    ],
)
def test_bad_questions_are_named(method, x_t, t, error, message):
    with pytest.raises(error, match=message):
        getattr(mixed(SCHEDULES["linear"]), method)(x_t, t)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda one: oracle.points(one, np.zeros(3)), r"x: expected some points or images, \(K, ...\); received shape \(3,\)"),
        (lambda one: oracle.points(one, np.zeros((0, 2))), r"x: expected some points .*; received shape \(0, 2\)"),
        (lambda one: oracle.points(one, [[np.nan, 0]]), "x: expected finite values; received 1 NaN or infinite ones"),
        (lambda one: oracle.points(one, np.zeros((2, 2)), [0.5, 0.6]), "weights: expected 2 positive numbers with sum 1"),
        (lambda one: oracle.points(one, np.zeros((2, 2)), [1.0]), "weights: expected 2 positive numbers with sum 1"),
        (lambda one: oracle.points(one, np.zeros((2, 2)), [1.0, 0.0]), "weights: expected 2 positive numbers"),
        (lambda one: oracle.gaussian(one, 0.0, 1.0), r"means: expected some points .*; received shape \(1,\)"),
        (lambda one: oracle.gaussian(one, [0, np.inf], 1.0), "mean: expected finite values"),
        (lambda one: oracle.gaussian(one, [0, 0], np.nan), "covariance: expected finite values"),
        (lambda one: oracle.gaussian(one, [0, 0], [1, 2, 3]), r"covariance: .* shape \(2,\) or \(2, 2\); received \(3,\)"),
        (lambda one: oracle.gaussian(one, [0, 0], [[1, 0.5], [0, 1]]), "covariance: expected a symmetric matrix"),
        (lambda one: oracle.gaussian(one, [0, 0], [[1, 2], [2, 1]]), "covariance: expected no negative variance; received -1.0"),
        (lambda one: oracle.gaussian(one, [0, 0], -1.0), "covariance: expected no negative variance; received -1.0"),
        (lambda one: oracle.mixture(one, [0, 1], [1, 1], [0.5, 0.5]), r"means: expected some points .*; received shape \(2,\)"),
        (lambda one: oracle.mixture(one, [[0], [1]], [1], [0.5, 0.5]), "covariances: expected a list of 2, .*; received 1"),
        (lambda one: oracle.mixture(one, [[0], [1]], 0.5, [0.5, 0.5]), "covariances: expected a list of 2, .*; received 0.5"),
    ],
)
def test_bad_data_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make(SCHEDULES["linear"])
