from itertools import pairwise

import keras
import numpy as np
import pytest
from keras import Input, Model, layers, ops

from lessons_lib import diffusion, guidance, oracle, sampling, schedule

RNG = np.random.default_rng(0)
X_T, T = RNG.normal(size=(8, 4, 4, 1)).astype(np.float32), np.arange(1, 9).astype(np.int32)
LABELS, WORDS = np.arange(8) % 5, RNG.normal(size=(8, 3)).astype(np.float32)


def network():
    """An answer that depends on everything: the label, the words, the time and the picture, and on no other row."""
    keras.utils.set_random_seed(0)
    x_t, t, label, words = Input((4, 4, 1)), Input((), dtype="int32"), Input((), dtype="int32"), Input((3,))
    told = layers.Concatenate()([layers.Embedding(5, 4)(label), words, layers.Reshape((1,))(layers.Rescaling(0.1)(t))])
    return Model([x_t, t, label, words], layers.Multiply()([x_t, layers.Reshape((4, 4, 1))(layers.Dense(16)(told))]))


@pytest.fixture(scope="module")
def model():
    return network()


def test_conditions_are_filled_in(model):
    answer = guidance.given(model, LABELS, WORDS)
    np.testing.assert_array_equal(answer(X_T, T), model.predict_on_batch([X_T, T, LABELS, WORDS]))
    np.testing.assert_allclose(answer(ops.convert_to_tensor(X_T), T), answer(X_T, T))


def test_each_image_has_its_own(model):
    """Another order of images and conditions gives the same answers in that order; two labels exchanged change two answers."""
    order = RNG.permutation(8)
    answers = guidance.given(model, LABELS, WORDS)(X_T, T)
    np.testing.assert_allclose(
        guidance.given(model, LABELS[order], WORDS[order])(X_T[order], T[order]), answers[order], atol=1e-6
    )
    exchanged = LABELS[[0, 2, 1, 3, 4, 5, 6, 7]]
    changed = np.abs(guidance.given(model, exchanged, WORDS)(X_T, T) - answers).max(axis=(1, 2, 3)) > 1e-4
    np.testing.assert_array_equal(changed, [False, True, True, False, False, False, False, False])


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_pictures_do_not_depend_on_the_batch_size(model, size):
    whole, parts = (guidance.given(model, LABELS, WORDS, batch_size=n) for n in (None, size))
    np.testing.assert_allclose(parts(X_T, T), whole(X_T, T), atol=1e-6)
    chain = schedule.linear(10)
    drawn = [list(sampling.sample(one, chain, X_T.shape, 4, eta=1))[-1].x_t for one in (whole, parts)]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-5 * np.abs(drawn[0]).max())  # untrained: the walk grows


def test_a_sampler_that_splits_is_told_who_should(model):
    answer = guidance.given(model, LABELS, WORDS)
    message = (
        "x_t: expected 8 images, one for each row of the conditions; received 3.*pass batch_size to `given`, not to `sample`"
    )
    with pytest.raises(ValueError, match=message):
        list(sampling.sample(answer, schedule.linear(10), X_T.shape, 4, batch_size=3))
    list(sampling.sample(answer, schedule.linear(10), X_T.shape, 4, batch_size=8))  # that is all of them


def test_later_changes_of_the_callers_array_do_no_harm(model):
    labels = LABELS.copy()
    answer = guidance.given(model, labels, WORDS)
    before = answer(X_T, T)
    labels[:] = 0
    np.testing.assert_array_equal(answer(X_T, T), before)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ((LABELS[:1], WORDS), r"conditions: expected a row for every image, \(B, ...\) each; received shapes \(1,\), \(8, 3\)"),
        ((3, WORDS), r"conditions: expected a row for every image, \(B, ...\) each; received shapes \(\), \(8, 3\)"),
        ((LABELS,), "conditions: expected 2, as the network takes; received 1"),
        ((), "conditions: expected 2, as the network takes; received 0"),
        ((LABELS, WORDS, WORDS), "conditions: expected 2, as the network takes; received 3"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(model, conditions, message):
    with pytest.raises(ValueError, match=message):
        guidance.given(model, *conditions)


def test_one_row_does_not_serve_many_images(model):
    with pytest.raises(ValueError, match="x_t: expected 1 images, one for each row of the conditions; received 8"):
        guidance.given(model, LABELS[:1], WORDS[:1])(X_T, T)


def test_a_batch_size_is_positive(model):
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1; received 0"):
        guidance.given(model, LABELS, WORDS, batch_size=0)


def test_a_network_without_conditions_is_refused():
    x_t, t = Input((4, 4, 1)), Input((), dtype="int32")
    with pytest.raises(ValueError, match=r"model: expected a network that takes conditions; received one of \[x_t, t\]"):
        guidance.given(Model([x_t, t], layers.Identity()(x_t)))


# ---- guidance: what it is, where everything is known

CHAIN = schedule.linear()
NARROW, WIDE = oracle.gaussian(CHAIN, [0.0], 1.0), oracle.gaussian(CHAIN, [0.0], 2.0)  # with the condition, and without
MEANS, COVARIANCES, WEIGHTS = [[1.0, 0.5], [-1.0, 0.0], [0.0, -1.5]], [0.3, [[0.4, 0.2], [0.2, 0.5]], 0.1], [0.5, 0.3, 0.2]
CLOUDS = oracle.mixture(CHAIN, MEANS, COVARIANCES, WEIGHTS)
EACH = [oracle.gaussian(CHAIN, mean, covariance) for mean, covariance in zip(MEANS, COVARIANCES, strict=True)]
PLANE, TIMES = 1.5 * RNG.normal(size=(40, 2)), RNG.integers(1, 1001, 40).astype(np.int32)


def variances(times, guidance, eta):
    """What a walk from variance 1 ends with where c is N(0, 1) and u is N(0, 2) (Ho and Salimans 2022, eq. 6), in plain NumPy."""
    variance = 1.0
    for t, s in pairwise(times):
        now, then = CHAIN.alpha_bar[t], CHAIN.alpha_bar[s]
        noise = np.sqrt(1 - now) * (guidance + (1 - guidance) / (1 + now))  # of x_t = 1
        x_0 = (1 - np.sqrt(1 - now) * noise) / np.sqrt(now)
        sigma = eta * np.sqrt((1 - then) / (1 - now) * (1 - now / then))
        factor = np.sqrt(then) * x_0 + np.sqrt(1 - then - sigma**2) * noise
        variance = factor**2 * variance + sigma**2
    return variance


@pytest.mark.parametrize(
    ("strength", "ddim", "ddpm"),
    [
        (0, (1.9934, 1.8744, 1.4441), (1.9855, 1.9441, 1.7541)),
        (1, (0.9963, 0.9284, 0.6879), (0.9911, 0.9662, 0.8574)),
        (2, (0.4977, 0.4556, 0.3099), (0.5765, 0.5580, 0.4797)),
        (3, (0.2485, 0.2214, 0.1307), (0.3819, 0.3666, 0.3043)),
        (5, (0.0619, 0.0508, 0.0180), (0.2174, 0.2058, 0.1606)),
    ],
)
def test_what_guidance_makes_of_two_gaussians(strength, ddim, ddpm):
    """The variance by recursion, in few steps that of `sample` itself, in many near the limits of both processes."""
    for eta, steps, known in ((0, (1000, 50, 10), ddim), (1, (1000, 250, 50), ddpm)):
        found = [variances(sampling.time_grid(1000, n), strength, eta) for n in steps]
        np.testing.assert_allclose(found, known, atol=6e-5)
    limits = 2.0 ** (1 - strength), (2 - 2.0 ** (2 - 2 * strength)) / (2 * strength - 1)
    np.testing.assert_allclose((ddim[0], ddpm[0]), limits, rtol=0.02)
    guided, times = guidance.guide(NARROW.predict_noise, WIDE.predict_noise, strength), sampling.time_grid(1000, 10)
    *_, last = sampling.sample(guided, CHAIN, (1, 1), 10, x_T=np.ones((1, 1)))
    assert last.x_t.item() ** 2 == pytest.approx(variances(times, strength, 0), rel=1e-9)
    variance = 1.0
    for t, s in pairwise(times):
        x_t = np.array([[1.0], [0.0]])
        x_s, _ = sampling.reverse_step(x_t, guided(x_t, np.full(2, t, np.int32)), t, s, CHAIN, 1.0, x_t[::-1])
        factor, sigma = np.ravel(x_s)
        variance = factor**2 * variance + sigma**2
    assert variance == pytest.approx(variances(times, strength, 1), rel=1e-9)


def test_no_guidance_is_the_unconditional_and_one_the_conditional_answer():
    for one, strength in ((WIDE, 0), (NARROW, 1)):
        guided = guidance.guide(NARROW.predict_noise, WIDE.predict_noise, strength)
        np.testing.assert_allclose(guided(PLANE[:, :1], TIMES), one.predict_noise(PLANE[:, :1], TIMES), rtol=1e-12)


def test_each_image_may_have_its_own_guidance():
    strengths = RNG.normal(size=40)
    together = guidance.guide(EACH[0].predict_noise, CLOUDS.predict_noise, strengths)(PLANE, TIMES)
    for i, strength in enumerate(strengths):
        alone = guidance.guide(EACH[0].predict_noise, CLOUDS.predict_noise, strength)(PLANE[i : i + 1], TIMES[i : i + 1])
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=1e-9)


@pytest.mark.parametrize("target", ["velocity", "x_0"])
def test_guidance_is_the_same_in_other_targets(target):
    """The weights sum to 1, and what is known of x_t cancels."""
    to, back = {
        "velocity": (diffusion.to_velocity, diffusion.velocity_to_noise),
        "x_0": (lambda x_0, noise, alpha_bar: x_0, diffusion.to_noise),
    }[target]

    def answers(world):
        def answer(x_t, t):
            noise = world.predict_noise(x_t, t)
            return to(diffusion.to_x_0(x_t, noise, CHAIN.at(t, like=x_t)), noise, CHAIN.at(t, like=x_t))

        return answer

    inside = guidance.guide(answers(EACH[0]), answers(CLOUDS), 3.0)(PLANE, TIMES)
    outside = guidance.guide(EACH[0].predict_noise, CLOUDS.predict_noise, 3.0)(PLANE, TIMES)
    np.testing.assert_allclose(back(PLANE, inside, CHAIN.at(TIMES, like=PLANE)), outside, rtol=1e-6)


def test_the_law_of_total_score():
    """The unconditional answer is the conditional ones', each as likely as x_t makes its class."""
    shares = np.array(CLOUDS.posterior(PLANE, TIMES))
    total = sum(shares[:, k, None] * np.array(one.predict_noise(PLANE, TIMES)) for k, one in enumerate(EACH))
    np.testing.assert_allclose(total, CLOUDS.predict_noise(PLANE, TIMES), atol=1e-13)


def log_posterior(x_t, t, k):
    return np.log(np.array(CLOUDS.posterior(x_t, t))[:, k])


def slopes(k, x_t, t, step=1e-5):
    """The gradient of log p(k | x_t) by finite differences."""
    moves = step * np.eye(2)
    return np.stack([(log_posterior(x_t + m, t, k) - log_posterior(x_t - m, t, k)) / (2 * step) for m in moves], axis=1)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_guidance_by_the_exact_classifier_gives_the_conditional_answer(k):
    """At scale 1 it is Bayes' rule (Dhariwal and Nichol 2021, eq. 14); at any other, classifier-free guidance by that number."""
    predict = EACH[k].predict_noise

    def exact(x_t, t):
        return EACH[k].score(x_t, t) - CLOUDS.score(x_t, t)

    for gradient, tolerance in ((exact, 1e-13), (lambda x_t, t: slopes(k, x_t, t), 1e-6)):
        by_classifier = guidance.guide_by_classifier(CLOUDS.predict_noise, gradient, CHAIN, 1)
        np.testing.assert_allclose(by_classifier(PLANE, TIMES), predict(PLANE, TIMES), atol=tolerance)
    for strength in (0, 3, RNG.normal(size=40)):
        by_classifier = guidance.guide_by_classifier(CLOUDS.predict_noise, exact, CHAIN, strength)
        free = guidance.guide(predict, CLOUDS.predict_noise, strength)
        np.testing.assert_allclose(by_classifier(PLANE, TIMES), free(PLANE, TIMES), atol=1e-12)


def test_guidance_beyond_one_moves_the_mean_beyond_its_class():
    """In two clouds of equal width, the guided mean lies beyond that of the class (Chidambaram et al. 2024)."""
    pair = oracle.mixture(CHAIN, [[1.0], [-1.0]], [1.0, 1.0], [0.5, 0.5])
    right, x_T, means = oracle.gaussian(CHAIN, [1.0], 1.0), RNG.normal(size=(2000, 1)), []
    for strength in (0, 1, 2, 3):
        guided = guidance.guide(right.predict_noise, pair.predict_noise, strength)
        *_, last = sampling.sample(guided, CHAIN, x_T.shape, 50, x_T=x_T)
        means.append(last.x_t.mean())
    np.testing.assert_allclose(means, [0, 1, 1.606, 2.017], atol=0.09)


def test_guidance_within_an_interval():
    def one(x_t, t):
        asked.append(len(t))
        return x_t

    guided, asked = guidance.within(300, 600, one, lambda x_t, t: -x_t), []
    for t, sign, times in ((299, -1, []), (300, 1, [40]), (600, 1, [40]), (601, -1, [])):
        asked.clear()
        np.testing.assert_array_equal(guided(PLANE, np.full(40, t, np.int32)), sign * PLANE)
        assert asked == times
    signs = np.where((TIMES >= 300) & (TIMES <= 600), 1, -1)
    np.testing.assert_array_equal(guided(PLANE, TIMES), signs[:, None] * PLANE)


def test_what_was_answered_is_not_changed():
    """A wrapper that adds in place would change what a cached answer is, and the next step with it."""
    c, u, slope = (RNG.normal(size=(40, 2)) for _ in range(3))
    before = [x.copy() for x in (c, u, slope, PLANE)]
    guidance.guide(lambda *_: c, lambda *_: u, 3)(PLANE, TIMES)
    guidance.guide_by_classifier(lambda *_: c, lambda *_: slope, CHAIN, 3)(PLANE, TIMES)
    for one, other in zip((c, u, slope, PLANE), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_guided_x_0_is_clipped_by_the_sampler():
    """Guidance comes before the clip: what is predicted stays within [-1, 1], however hard one insists."""
    guided = guidance.guide(EACH[0].predict_noise, CLOUDS.predict_noise, 8)
    walk = {
        clip: [np.abs(s.x_0).max() for s in sampling.sample(guided, CHAIN, (40, 2), 10, clip=clip) if s.t < 1000]
        for clip in (True, False)
    }
    assert max(walk[True]) <= 1 < max(walk[False])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, True, "3", None, [[1.0]], [True, False]])
def test_guidance_is_a_number(wrong):
    message = r"expected a finite number, or one for each image, \(B,\); received "
    with pytest.raises(ValueError, match=f"guidance: {message}"):
        guidance.guide(NARROW.predict_noise, WIDE.predict_noise, wrong)
    with pytest.raises(ValueError, match=f"scale: {message}"):
        guidance.guide_by_classifier(WIDE.predict_noise, NARROW.score, CHAIN, wrong)


def test_guidance_for_other_images_is_refused():
    with pytest.raises(ValueError, match="guidance: expected a number, or 40, one for each image; received 39"):
        guidance.guide(EACH[0].predict_noise, CLOUDS.predict_noise, np.ones(39))(PLANE, TIMES)
    with pytest.raises(ValueError, match="scale: expected a number, or 40, one for each image; received 1"):
        guidance.guide_by_classifier(CLOUDS.predict_noise, CLOUDS.score, CHAIN, [1.0])(PLANE, TIMES)


def test_answers_that_do_not_fit_each_other_are_refused():
    one_row = lambda x_t, t: CLOUDS.predict_noise(x_t[:1], t[:1])  # noqa: E731
    with pytest.raises(ValueError, match=r"unconditional: expected the shape of conditional, \(40, 2\); received \(1, 2\)"):
        guidance.guide(EACH[0].predict_noise, one_row, 2)(PLANE, TIMES)
    with pytest.raises(ValueError, match=r"gradient: expected the shape of noise, \(40, 2\); received \(1, 2\)"):
        guidance.guide_by_classifier(CLOUDS.predict_noise, one_row, CHAIN, 2)(PLANE, TIMES)
    with pytest.raises(TypeError, match="gradient: expected the shape of x_t; received None"):
        guidance.guide_by_classifier(CLOUDS.predict_noise, lambda x_t, t: None, CHAIN, 2)(PLANE, TIMES)


@pytest.mark.parametrize(
    ("low", "high", "message"), [(-1, 5, "low: .* of at least 0; received -1"), (5, 4, "high: .* of at least 5; received 4")]
)
def test_an_interval_goes_upwards(low, high, message):
    with pytest.raises(ValueError, match=message):
        guidance.within(low, high, CLOUDS.predict_noise, CLOUDS.predict_noise)


BRIGHT = np.array([0.5, 1.5, 4.0, 9.0])[:, None, None, None] * np.random.default_rng(1).normal(
    size=(4, 8, 8, 3)
)  # up to how far beyond 1


@pytest.mark.parametrize("share", [0.5, 0.9, 0.995, 1.0])
def test_a_dynamic_threshold_by_its_definition(share):
    """(Saharia et al. 2022, section 2.3), image by image with numpy; at most the share of values is within."""
    for image, thresholded in zip(BRIGHT, np.asarray(guidance.dynamic_threshold(BRIGHT, share)), strict=True):
        size = max(1.0, np.quantile(np.abs(image), share))
        np.testing.assert_allclose(thresholded, np.clip(image, -size, size) / size, atol=1e-6)  # Keras has the share in 32 bits
        assert np.mean(np.abs(thresholded) < 1) <= max(share, np.mean(np.abs(image) < 1))


def test_a_dynamic_threshold_leaves_what_is_in_range():
    """And if fewer values are beyond than the share leaves, it is the static clip."""
    inside = np.clip(BRIGHT, -1, 1)
    np.testing.assert_array_equal(guidance.dynamic_threshold(inside), inside)
    few = 0.9 * inside
    few[:, 0, 0, 0] = 5.0  # one value of 192
    np.testing.assert_array_equal(guidance.dynamic_threshold(few, 0.99), np.clip(few, -1, 1))


def test_a_dynamic_threshold_is_idempotent_and_forgets_the_scale():
    """The second time nothing changes; an image that is beyond 1 may be any number of times as strong."""
    once = np.asarray(guidance.dynamic_threshold(BRIGHT))
    np.testing.assert_array_equal(guidance.dynamic_threshold(once), once)
    np.testing.assert_allclose(guidance.dynamic_threshold(7 * BRIGHT[1:]), once[1:], atol=1e-6)
    assert not np.allclose(np.clip(7 * BRIGHT[1:], -1, 1), np.clip(BRIGHT[1:], -1, 1))  # the static clip forgets nothing


def test_a_dynamic_threshold_is_each_images_own():
    """A percentile over the batch, as some libraries take, would make pictures depend on their neighbours."""
    together = np.asarray(guidance.dynamic_threshold(BRIGHT))
    alone = np.concatenate([guidance.dynamic_threshold(BRIGHT[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_dynamic_threshold_in_a_walk():
    """In place of the clip, and with the type that x_t has."""
    chain = schedule.cosine(100)
    known = oracle.points(chain, np.array([[[0.9], [-0.9]], [[-0.9], [0.9]]], np.float32)[:, None])
    strong = guidance.consistent(known.predict_noise, chain, lambda x_0: 3 * x_0)  # guesses that are three times too large
    limited = guidance.consistent(strong, chain, guidance.dynamic_threshold)
    *_, last = sampling.sample(limited, chain, (5, 1, 2, 1), 20, seed=0)
    assert np.abs(last.x_t).max() <= 1 + 1e-5
    *_, free = sampling.sample(strong, chain, (5, 1, 2, 1), 20, seed=0)
    assert np.abs(free.x_t).max() > 2


@pytest.mark.parametrize("wrong", [0, -0.1, 1.01, 99.5, float("nan"), True])
def test_a_threshold_is_a_share(wrong):
    with pytest.raises(ValueError, match=r"share: expected more than 0 and at most 1; received"):
        guidance.dynamic_threshold(BRIGHT, wrong)
