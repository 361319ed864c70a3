import re
import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons_lib import metrics


def gaussian(rng, number, mean, covariance):
    """Points whose mean and covariance are these, to the last digits, however few they are."""
    x = rng.normal(size=(number, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False).reshape(len(mean), -1))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def value(x, y):
    return metrics.frechet_distance(x, y, resamples=0).value


def reference(x, y):
    """The distance as papers write it, with SciPy's square root of a matrix."""
    one, other = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(one @ other)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(one + other - 2 * root.real)


# ---- the distance


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 3), st.floats(0.1, 3))
@settings(max_examples=20, deadline=None)
def test_one_feature_has_the_closed_form(m_1, m_2, s_1, s_2):
    """(m_1 - m_2)^2 + (s_1 - s_2)^2 (Dowson and Landau 1982)."""
    rng = np.random.default_rng(0)
    x, y = (gaussian(rng, 20, [m], [[s**2]]) for m, s in ((m_1, s_1), (m_2, s_2)))
    assert value(x, y) == pytest.approx((m_1 - m_2) ** 2 + (s_1 - s_2) ** 2, abs=1e-12)


def test_gaussians_of_common_axes_have_the_closed_form():
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    means, deviations = rng.normal(size=(2, 5)), rng.uniform(0.1, 2, size=(2, 5))
    x, y = (gaussian(rng, 50, m @ axes, axes.T * s**2 @ axes) for m, s in zip(means, deviations, strict=True))
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((deviations[0] - deviations[1]) ** 2)
    assert value(x, y) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("features", [2, 8, 64])
def test_the_distance_equals_a_second_implementation(features):
    """(Dowson and Landau 1982, eq. 4), with SciPy's roots of matrices."""
    rng = np.random.default_rng(features)
    x, y = (rng.normal(size=(300, features)) @ rng.normal(size=(features, features)) + rng.normal() for _ in range(2))
    assert value(x, y) == pytest.approx(reference(x, y), rel=1e-8)


def test_the_distance_is_one():
    """Zero to itself, the same both ways and after a rotation, with the square of a scale, a shift d as d^2."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(100, 8)), 0.5 * rng.normal(size=(80, 8)) + 0.3
    assert value(x, x) == pytest.approx(0, abs=1e-12)
    assert value(x, rng.permutation(x)) == pytest.approx(0, abs=1e-12)
    assert value(x, y) == pytest.approx(value(y, x), rel=1e-12)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert value(x @ turn, y @ turn) == pytest.approx(value(x, y), rel=1e-12)
    assert value(3 * x, 3 * y) == pytest.approx(9 * value(x, y), rel=1e-12)
    assert value(x, x + np.eye(8)[0] * 5) == pytest.approx(25, rel=1e-12)


@pytest.mark.parametrize("few", [2, 5, 40])
def test_near_singular_covariances_do_no_harm(few):
    """Fewer images than features, features that never change, copies of one another: eigenvalues below zero by rounding."""
    rng = np.random.default_rng(3)
    many = rng.normal(size=(200, 64)) * 100
    many[:, :20] = 7
    many[:, 20:30] = many[:, 30:40]
    estimate = metrics.frechet_distance(many[:few], many, resamples=5)
    assert np.isfinite(estimate).all()
    assert estimate.value > 0
    scale = np.trace(np.cov(many, rowvar=False))
    for x in (many, many[:few]):
        assert abs(value(x, x)) < 1e-6 * scale
    assert value(np.ones((few, 64)), np.ones((9, 64))) == 0
    assert value(many[:few], many[:few] + 1) == pytest.approx(64, abs=1e-6 * scale)


def test_statistics_stand_for_features():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(60, 3)) + 1
    of_x, of_y = metrics.statistics(x), metrics.statistics(y)
    assert (of_x.mean.shape, of_x.covariance.shape, of_x.count, of_x.mean.dtype) == ((3,), (3, 3), 50, np.float64)
    np.testing.assert_allclose(of_x.covariance, np.cov(x.T), rtol=1e-12)
    for pair in ((of_x, y), (x, of_y), (of_x, of_y)):
        assert metrics.frechet_distance(*pair).value == value(x, y)
    errors = [metrics.frechet_distance(*pair).error for pair in ((x, y), (x, of_y), (of_x, y), (of_x, of_y))]
    assert errors[0] > max(errors[1:3]) > min(errors[1:3]) > errors[3] == 0  # only what is drawn varies
    again = metrics.frechet_distance(x, y)
    assert again == metrics.frechet_distance(x, y) != metrics.frechet_distance(x, y, seed=1)
    assert str(metrics.Estimate(1.234, 0.056)) == "1.23 ± 0.06"
    assert np.isnan(metrics.frechet_distance(x, y, resamples=0).error)


FLOOR = metrics.Statistics(np.zeros(16), np.eye(16), 10_000)


def test_the_error_is_that_of_drawing_anew():
    """The mean of ten bootstraps beside the deviation of 200 fresh draws: alike within a factor of 2, and mostly better."""
    rng = np.random.default_rng(5)

    def draw():
        return rng.normal(size=(200, 4)), rng.normal(size=(300, 4)) * [1, 2, 1, 1] + 0.5

    true = np.std([value(*draw()) for _ in range(200)])
    claimed = np.mean([metrics.frechet_distance(*draw(), resamples=50).error for _ in range(10)])
    assert true / 2 < claimed < 2 * true


def test_near_the_floor_the_error_is_too_large():
    """Where both sets have one distribution the bootstrap overstates; where their means are apart it hardly does."""
    rng, far = np.random.default_rng(6), np.append(3.0, np.zeros(15))
    ratios = []
    for shift in (0, far):
        draws = [metrics.frechet_distance(rng.normal(size=(200, 16)) + shift, FLOOR, resamples=10) for _ in range(100)]
        ratios.append(np.mean([draw.error for draw in draws]) / np.std([draw.value for draw in draws]))
    assert 1.3 < ratios[0] < 2.2
    assert 0.75 < ratios[1] < 1.25  # a deviation of 100 is known to 7 %


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((1, 3)), np.ones((5, 3)), r"x: expected features of at least 2 images, \(N, D\); received shape \(1, 3\)"),
        (np.ones((5, 3)), np.ones(5), r"y: expected features of at least 2 images, \(N, D\); received shape \(5,\)"),
        (np.ones((5, 3)), np.ones((5, 2)), "y: expected 3 features an image, as x has; received 2"),
        (np.ones((5, 3)), np.full((5, 3), np.nan), "y: expected finite values; received 15 NaN or infinite ones"),
        (metrics.statistics(np.ones((5, 3))), np.ones((5, 2)), "y: expected 3 features an image, as x has; received 2"),
    ],
)
def test_bad_input_of_the_distance_is_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        metrics.frechet_distance(x, y)


# ---- without its bias


def test_the_distance_at_infinity_has_no_bias():
    """Two sets of one origin: the distance is above zero by some 1 / N, its limit is zero within its error."""
    rng = np.random.default_rng(7)
    pairs = [rng.normal(size=(2, 300, 6)) for _ in range(40)]
    truth = metrics.Statistics(np.zeros(6), np.eye(6), 10**9)
    biased = np.mean([value(x, truth) for x, _ in pairs])
    limits = [metrics.frechet_at_infinity(x, truth, splits=3) for x, _ in pairs]
    values, errors = np.array(limits).T
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(40) < biased / 2
    assert 0.5 < errors.mean() / values.std() < 2
    assert (values < 0).any()


def test_the_distance_at_infinity_is_the_distance_of_many():
    rng = np.random.default_rng(8)
    many = rng.normal(size=(200_000, 4)) * [1, 2, 0.5, 1] + 0.3
    other = rng.normal(size=(5000, 4))
    limit = metrics.frechet_at_infinity(many[:1000], other)
    assert abs(limit.value - value(many, other)) < 4 * limit.error
    assert limit == metrics.frechet_at_infinity(many[:1000], other, splits=10, seed=0)
    assert limit.value == pytest.approx(metrics.frechet_at_infinity(many[:1000], metrics.statistics(other)).value, rel=1e-12)


# ---- the kernel distance


def kernel_distance(x, y):
    """Pair by pair."""

    def mean(one, other, same):
        pairs = [(a @ b / len(a) + 1) ** 3 for i, a in enumerate(one) for j, b in enumerate(other) if not (same and i == j)]
        return np.mean(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_the_kernel_distance_equals_a_second_implementation():
    """(Bińkowski et al. 2018, eq. 4)."""
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(23, 5)), rng.normal(size=(17, 5)) * 1.5 + 0.2
    estimate = metrics.kernel_distance(x, y)
    assert estimate.value == pytest.approx(kernel_distance(x, y), rel=1e-10)
    assert metrics.kernel_distance(y, x) == pytest.approx(estimate, rel=1e-10)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert metrics.kernel_distance(x @ turn, y @ turn) == pytest.approx(estimate, rel=1e-10)
    without = [metrics.kernel_distance(np.delete(x, i, axis=0), y).value for i in range(23)]
    without_y = [metrics.kernel_distance(x, np.delete(y, j, axis=0)).value for j in range(17)]
    jackknife = 22 / 23 * np.sum((without - np.mean(without)) ** 2) + 16 / 17 * np.sum((without_y - np.mean(without_y)) ** 2)
    assert estimate.error == pytest.approx(np.sqrt(jackknife), rel=1e-8)


def test_the_kernel_distance_has_no_bias_and_its_error_is_right():
    rng = np.random.default_rng(10)
    for shift, sizes in ((0.0, (40, 60)), (0.5, (80, 50))):
        draws = [[rng.normal(size=(n, 4)) + d for n, d in zip(sizes, (0, shift), strict=True)] for _ in range(300)]
        values, errors = np.array([metrics.kernel_distance(*pair) for pair in draws]).T
        many = [rng.normal(size=(5000, 4)) + d for d in (0, shift)]
        true = metrics.kernel_distance(*many)
        assert abs(values.mean() - true.value) < 4 * values.std() / np.sqrt(300) + 4 * true.error
        assert 0.5 < errors.mean() / values.std() < 2
        assert shift or (values < 0).any()


def test_the_kernel_distance_in_blocks():
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=(2100, 2)), rng.normal(size=(1500, 2))
    inner, outer = (x @ x.T / 2 + 1) ** 3, (x @ y.T / 2 + 1) ** 3
    of_y = (y @ y.T / 2 + 1) ** 3
    expected = (inner.sum() - np.trace(inner)) / (2100 * 2099) + (of_y.sum() - np.trace(of_y)) / (1500 * 1499) - 2 * outer.mean()
    assert metrics.kernel_distance(x, y).value == pytest.approx(expected, rel=1e-6, abs=1e-9)


# ---- precision and recall


def within(x, y, k):
    """The share of x inside a ball around one of y that reaches to its k-th neighbour."""
    count = 0
    for point in x:
        for i, centre in enumerate(y):
            radius = sorted(np.linalg.norm(other - centre) for j, other in enumerate(y) if j != i)[k - 1]
            if np.linalg.norm(point - centre) <= radius:
                count += 1
                break
    return count / len(x)


def test_precision_and_recall_equal_a_second_implementation():
    """(Kynkäänniemi et al. 2019, eqs. 1 and 2), by loops."""
    rng = np.random.default_rng(12)
    real, drawn = rng.normal(size=(40, 2)), rng.normal(size=(30, 2)) * 0.5
    for k in (1, 3):
        precision, recall = metrics.precision_recall(real, drawn, k)
        assert (precision.value, recall.value) == (within(drawn, real, k), within(real, drawn, k))
        assert precision.error == pytest.approx(np.sqrt(precision.value * (1 - precision.value) / 30))


def test_precision_and_recall_tell_apart_what_is_wrong():
    rng = np.random.default_rng(13)
    real = rng.normal(size=(1200, 3)) + rng.choice([-10, 10], size=(1200, 1))
    lost, blurred = real[real[:, 0] > 0], np.concatenate([real[:600], rng.normal(size=(600, 3)) * 30])
    assert [share.value for share in metrics.precision_recall(real, real)] == [1, 1]
    assert [share.value for share in metrics.precision_recall(real, real + 100)] == [0, 0]
    precision, recall = metrics.precision_recall(real, lost)
    assert (precision.value, recall.value) == (1, pytest.approx(0.5, abs=0.1))
    precision, recall = metrics.precision_recall(real, blurred)
    assert precision.value < 0.7 < 0.9 < recall.value


# ---- the nearest


def test_the_nearest_is_found():
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=(1100, 4, 2)).astype(np.float32), rng.normal(size=(50, 4, 2)).astype(np.float32)
    index, distance = metrics.nearest(x, y)
    every = np.linalg.norm((x[:, None] - y[None]).reshape(1100, 50, 8), axis=2)
    np.testing.assert_array_equal(index, every.argmin(axis=1))
    np.testing.assert_allclose(distance, every.min(axis=1), rtol=1e-5)
    index, distance = metrics.nearest(y, np.concatenate([y[::-1], x]))
    np.testing.assert_array_equal(index, np.arange(50)[::-1])
    assert (distance == 0).all()  # copies are copies, not nearly


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_nearest_is_found_far_from_zero(kind):
    """Where squares have more digits than float32: a little beside each of y lies one of x."""
    rng = np.random.default_rng(16)
    y = (rng.normal(size=(500, 8)) + 3000).astype(kind)
    x = y[::-1] + kind(0.01)
    index, distance = metrics.nearest(x, y)
    np.testing.assert_array_equal(index, np.arange(500)[::-1])
    np.testing.assert_allclose(distance, np.linalg.norm(x.astype(np.float64) - y[::-1], axis=1), rtol=1e-6)


# ---- octaves


@pytest.mark.parametrize(("cycles", "octave"), [(1, 0), (2, 1), (3, 1), (4, 2), (15, 3), (16, 4), (31, 4), (32, 5)])
@pytest.mark.parametrize("way", [0, 1])
def test_a_wave_is_in_its_octave(cycles, octave, way):
    wave = np.cos(2 * np.pi * cycles * np.arange(64) / 64)
    image = np.broadcast_to(0.3 + 0.5 * wave[:, None, None], (64, 64, 3))
    expected = np.zeros(6)
    expected[octave] = 0.25 if cycles == 32 else 0.125  # at the highest frequency a cosine is 1, -1, 1, ...
    np.testing.assert_allclose(metrics.octaves([np.swapaxes(image, 0, way)])[0], expected, atol=1e-15)


def test_a_slanted_wave_counts_by_its_length():
    """3 cycles down and 3 across are 4.2 cycles, and the highest both ways are in the last octave."""
    down, across = np.mgrid[:64, :64] / 64
    image = np.cos(2 * np.pi * (3 * down + 3 * across))[..., None]
    corner = np.cos(2 * np.pi * 32 * (down + across))[..., None]
    np.testing.assert_allclose(metrics.octaves([image, corner]), [[0, 0, 0.5, 0, 0, 0], [0, 0, 0, 0, 0, 1]], atol=1e-15)


@pytest.mark.parametrize("side", [2, 3, 28, 64])
def test_octaves_add_up_to_the_variance(side):
    images = np.random.default_rng(0).normal(size=(5, side, side, 3)) + 1
    octaves = metrics.octaves(images)
    assert octaves.shape == (5, 1 + int(np.log2(side / 2)))
    np.testing.assert_allclose(octaves.sum(axis=1), images.mean(axis=-1).var(axis=(1, 2)), rtol=1e-12)


@pytest.mark.parametrize("shape", [(2, 64, 32, 3), (64, 64, 3), (2, 1, 1, 3)])
def test_octaves_are_of_square_pictures(shape):
    with pytest.raises(ValueError, match=rf"images: expected square ones .*; received shape {re.escape(str(shape))}"):
        metrics.octaves(np.zeros(shape))


# ---- sets that do not fit


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda x: metrics.frechet_at_infinity(x[:39], x), r"x: expected features of at least 40 images, .* shape \(39, 3\)"),
        (lambda x: metrics.frechet_at_infinity(x, x[:1]), r"y: expected features of at least 2 images, .* shape \(1, 3\)"),
        (lambda x: metrics.kernel_distance(x, x[:2]), r"y: expected features of at least 3 images, .* received shape \(2, 3\)"),
        (lambda x: metrics.kernel_distance(x, x[:, :2]), "y: expected 3 features an image; received 2"),
        (lambda x: metrics.kernel_distance(x * np.inf, x), "x: expected finite values; received 150 NaN or infinite ones"),
        (lambda x: metrics.frechet_at_infinity(x, x, splits=0), "splits: expected an integer of at least 1; received 0"),
        (lambda x: metrics.precision_recall(x, x, 0), "k: expected an integer of at least 1; received 0"),
        (lambda x: metrics.precision_recall(x, x[:3]), "drawn: expected features of at least 4 images"),
        (lambda x: metrics.precision_recall(x[:, :2], x), "drawn: expected 2 features an image; received 3"),
        (lambda x: metrics.nearest(x, x[:, :2]), r"y: expected images of shape \(3,\), as x has; received shape \(50, 2\)"),
        (lambda x: metrics.nearest(x, x[:0]), r"y: expected images .* received shape \(0, 3\)"),
        (lambda x: metrics.nearest(x[:0], x), r"x: expected some images; received shape \(0, 3\)"),
        (lambda x: metrics.nearest(x[:, :0], x[:, :0]), r"x: expected some images; received shape \(50, 0\)"),
        (lambda x: metrics.nearest(x * np.nan, x), "x: expected finite values; received 150 NaN or infinite ones"),
        (
            lambda x: metrics.nearest(x, np.where(x == x[3], np.inf, x)),
            "y: expected finite values; received 3 NaN or infinite ones",
        ),
    ],
)
def test_bad_sets_are_named(measure, message):
    x = np.random.default_rng(15).normal(size=(50, 3)) + 1
    with pytest.raises(ValueError, match=message):
        measure(x)


def test_precision_and_recall_never_hold_all_distances():
    """Of 5,000 images from one another they would be 200 MB; they are looked at in blocks of 40."""
    features = np.random.default_rng(0).normal(size=(5000, 2))
    tracemalloc.start()
    metrics.precision_recall(features, features[:10])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 180e6
