import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from lessons_lib import diffusion, oracle, sampling, schedule

T = 40
SHORT = schedule.linear(T)
LINEAR, COSINE = schedule.linear(1000), schedule.cosine(1000)
PAIRS = [(t, s) for t in range(1, T + 1) for s in range(t)]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def step(x_t, noise_pred, t, s, *rest, **options):
    x_s, x_0 = sampling.reverse_step(x_t, noise_pred, t, s, SHORT, *rest, **options)
    return ops.convert_to_numpy(x_s), ops.convert_to_numpy(x_0)


def last(states):
    *_, state = states
    return state


@given(st.integers(1, 1000), st.data(), st.booleans())
@settings(deadline=None)
def test_a_grid_goes_from_T_to_0_in_so_many_steps(T, data, quadratic):
    steps = data.draw(st.integers(1, T))
    times = sampling.time_grid(T, steps, quadratic=quadratic)
    assert len(times) == steps + 1
    assert (times[0], times[-1]) == (T, 0)
    assert (np.diff(times) < 0).all()


def test_grids_are_the_articles():
    assert sampling.time_grid(1000, 5).tolist() == [1000, 800, 600, 400, 200, 0]
    assert sampling.time_grid(1000, 5, quadratic=True).tolist() == [1000, 640, 360, 160, 40, 0]
    assert sampling.time_grid(10, 10, quadratic=True).tolist() == list(range(10, -1, -1))


@pytest.mark.parametrize("steps", [0, 11, 2.0, -1, True])
def test_more_steps_than_times_are_refused(steps):
    with pytest.raises(ValueError, match=rf"steps: expected an integer in 1..10; received {steps}"):
        sampling.time_grid(10, steps)


def test_a_grid_of_numpys_small_integers():
    assert sampling.time_grid(1000, np.uint8(255)).tolist() == sampling.time_grid(1000, 255).tolist()


def test_eta_1_is_ddpms_posterior_for_every_pair_of_times():
    """(DDPM, eq. 7), with x_0 as the noise implies it, is (DDIM, eqs. 12 and 16) at eta = 1: mean and variance."""
    x_t, noise_pred, noise = normal(3, 2, 5)
    for t, s in PAIRS:
        a_t, a_s = SHORT.alpha_bar[[t, s]]
        x_0 = (x_t - np.sqrt(1 - a_t) * noise_pred) / np.sqrt(a_t)
        mean, variance = diffusion.posterior(x_0, x_t, a_t, a_s)
        x_s, predicted = step(x_t, noise_pred, t, s, 1.0, noise)
        np.testing.assert_allclose(predicted, x_0, rtol=1e-12)
        expected = ops.convert_to_numpy(mean) + np.sqrt(ops.convert_to_numpy(variance)) * noise
        np.testing.assert_allclose(x_s, expected, atol=1e-10 * np.abs(x_0).max())


@pytest.mark.parametrize("eta", [0, 0.2, 0.5, 1])
def test_any_eta_keeps_the_marginals(eta):
    """If x_t was drawn from q(x_t | x_0), then x_s is from q(x_s | x_0) (DDIM, lemma 1): signal and variance."""
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    for t, s in PAIRS:
        rate_t, rate_s = np.sqrt(SHORT.alpha_bar[[t, s]])
        signal, _ = step(rate_t * one, zero, t, s, eta, zero)
        kept, _ = step(np.sqrt(1 - rate_t**2) * one, one, t, s, eta, zero)
        fresh, _ = step(zero, zero, t, s, eta, one)
        np.testing.assert_allclose(signal, rate_s, rtol=1e-12)
        np.testing.assert_allclose(kept**2 + fresh**2, 1 - rate_s**2, atol=1e-12)


def test_ddim_adds_no_noise_and_the_last_step_never_does():
    x_t, noise_pred = normal(2, 2, 5)
    for t, s, eta, std in [(9, 4, 0, None), (9, 0, 1, None), (9, 0, 0.5, None), (9, 0, 1, 0.7)]:
        without, _ = step(x_t, noise_pred, t, s, eta, noise_std=std)
        with_noise, _ = step(x_t, noise_pred, t, s, eta, 100 * x_t, noise_std=std)
        np.testing.assert_array_equal(without, with_noise)


def test_the_large_noise_is_betas_and_leaves_the_direction_alone():
    """(DDIM, appendix D.3): sigma-hat multiplies the fresh noise only."""
    x_t, noise_pred, noise = normal(3, 2, 5)
    for t, s in [(9, 8), (9, 4), (40, 39)]:
        std = sampling.sigma_hat(SHORT, t, s)
        small, _ = step(x_t, noise_pred, t, s, 1.0, 0 * noise)
        large, _ = step(x_t, noise_pred, t, s, 1.0, noise, noise_std=std)
        np.testing.assert_allclose(large - small, std * noise, atol=1e-12)
    np.testing.assert_allclose(sampling.sigma_hat(SHORT, 9, 8) ** 2, SHORT.beta[9], rtol=1e-12)


def test_clipping_recomputes_the_noise():
    x_t, noise_pred = 3 * normal(2, 4, 5)
    t, s = 20, 10
    a_t, a_s = SHORT.alpha_bar[[t, s]]
    x_s, x_0 = step(x_t, noise_pred, t, s, clip=True)
    assert np.abs(x_0).max() == 1
    consistent = (x_t - np.sqrt(a_t) * x_0) / np.sqrt(1 - a_t)
    np.testing.assert_allclose(x_s, np.sqrt(a_s) * x_0 + np.sqrt(1 - a_s) * consistent, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 1.1}, r"eta: expected a number in \[0, 1\]; received 1.1"),
        ({"eta": -0.1}, r"eta: expected a number in \[0, 1\]; received -0.1"),
        ({"eta": float("nan")}, "eta: expected a number"),
        ({"eta": "0.5"}, r"eta: expected a number in \[0, 1\]; received '0.5'"),
        ({"eta": np.array([0.5])}, r"eta: .* received array\(\[0.5\]\)"),
        ({"t": 41}, "t: expected an integer in 1..40; received 41"),
        ({"t": 9.0}, "t: expected an integer in 1..40; received 9.0"),
        ({"t": 4}, "s: expected a time before t = 4; received 4"),
        ({"s": -1}, "s: expected an integer of at least 0; received -1"),
        ({"noise_pred": normal(1, 3)}, r"noise_pred: expected the shape of x_t, \(2, 3\); received \(1, 3\)"),
        ({"noise_pred": normal(2, 3) * np.nan}, "noise_pred: expected finite values; received 6 NaN"),
        ({"eta": 1, "noise": normal(1, 3)}, r"noise: expected the shape of x_t, \(2, 3\); received \(1, 3\)"),
        ({"noise": normal(2, 3), "noise_std": -3.0}, r"noise_std: expected a number in \[0, 1\]; received -3.0"),
        ({"noise": normal(2, 3), "noise_std": np.nan}, "noise_std: expected a number"),
        ({"eta": 0.5}, r"noise: expected noise of the shape of x_t, as this step adds some \(eta = 0.5\); received None"),
    ],
)
def test_bad_steps_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        step(**{"x_t": normal(2, 3), "noise_pred": normal(2, 3), "t": 9, "s": 4, "eta": 0.0} | arguments)


@pytest.mark.parametrize("noises", [LINEAR, COSINE])
@pytest.mark.parametrize("eta", [0, 1])
@pytest.mark.parametrize("steps", [1, 10, 200])
def test_a_single_point_is_hit_by_any_number_of_steps(noises, eta, steps):
    point = np.array([[0.5, -1.0, 0.25]])
    state = last(sampling.sample(oracle.points(noises, point).predict_noise, noises, (5, 3), steps, eta=eta))
    assert state.t == 0
    np.testing.assert_allclose(state.x_t, np.repeat(point, 5, axis=0), atol=2e-3)  # float32 through 1 / sqrt(alpha_bar)


@pytest.mark.parametrize("eta", [0, 0.5, 1])
@pytest.mark.parametrize("steps", [3, 30])
def test_a_gaussians_moments_follow_the_recursion(eta, steps):
    """For Gaussian data each step is linear in x, so mean and variance are known for these very steps."""
    mean, variance, count = 0.5, 0.09, 40_000
    times = sampling.time_grid(1000, steps)
    m, v = 0.0, 1.0
    for t, s in pairwise(times):
        a_t, a_s = LINEAR.alpha_bar[[t, s]]
        sigma = eta * np.sqrt((1 - a_s) / (1 - a_t)) * np.sqrt(1 - a_t / a_s)
        slope = np.sqrt(1 - a_t) / (a_t * variance + 1 - a_t)  # of the noise in x_t
        keep = (1 - np.sqrt(1 - a_t) * slope) * np.sqrt(a_s / a_t) + np.sqrt(1 - a_s - sigma**2) * slope
        m = np.sqrt(a_s) * mean + keep * (m - np.sqrt(a_t) * mean)
        v = keep**2 * v + sigma**2
    world = oracle.gaussian(LINEAR, np.array([mean]), variance)
    x_0 = last(sampling.sample(world.predict_noise, LINEAR, (count, 1), steps, eta=eta)).x_t
    assert abs(x_0.mean() - m) < 4 * np.sqrt(v / count)
    assert abs(x_0.var() / v - 1) < 4 * np.sqrt(2 / count)


def test_ddims_error_falls_in_proportion_to_the_steps():
    """For Gaussian data the limit of ever more steps is known: x_T at so many deviations ends at as many."""
    mean, variance = np.array([0.5]), 0.25
    world = oracle.gaussian(COSINE, mean, variance)
    errors = []
    for steps in (20, 40, 80, 160):
        first, *_, final = sampling.sample(world.predict_noise, COSINE, (200, 1), steps)
        a = COSINE.alpha_bar[-1]
        exact = mean + np.sqrt(variance / (a * variance + 1 - a)) * (first.x_t - np.sqrt(a) * mean)
        errors.append(np.abs(final.x_t - exact).mean())
    slopes = np.diff(np.log2(errors))
    assert ((slopes > -1.2) & (slopes < -0.8)).all(), slopes


def test_ddpm_is_algorithm_2():
    """(DDPM, algorithm 2), written again in NumPy with the variance beta-tilde, on every step of a short chain."""
    world = oracle.points(SHORT, np.array([[1.0, 0.0], [-1.0, 0.5]]))
    betas, alphas, products = SHORT.beta, 1 - SHORT.beta, np.cumprod(1 - SHORT.beta)
    x = sampling.noise_of(7, 0, (6, 2))
    for i, t in enumerate(range(T, 0, -1), 1):
        noise_pred = np.asarray(world.predict_noise(x, np.full(6, t)))
        mean = (x - betas[t] / np.sqrt(1 - products[t]) * noise_pred) / np.sqrt(alphas[t])
        tilde = (1 - products[t - 1]) / (1 - products[t]) * betas[t]
        z = sampling.noise_of(7, i, (6, 2)) if t > 1 else 0
        x = (mean + np.sqrt(tilde) * z).astype(np.float32)
    state = last(sampling.sample(world.predict_noise, SHORT, (6, 2), T, eta=1.0, seed=7))
    np.testing.assert_allclose(state.x_t, x, atol=1e-4)


def test_the_states_are_those_of_the_walk():
    world = oracle.gaussian(LINEAR, np.zeros((4, 4, 1)), 1.0)
    states = list(sampling.sample(world.predict_noise, LINEAR, (3, 4, 4, 1), 5, eta=1.0))
    assert [state.t for state in states] == [1000, 800, 600, 400, 200, 0]
    assert states[0].x_0 is None
    np.testing.assert_array_equal(states[0].x_t, sampling.noise_of(0, 0, (3, 4, 4, 1)))
    np.testing.assert_array_equal(states[-1].x_t, states[-1].x_0)
    assert {state.x_t.dtype.name for state in states} == {"float32"}


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_pictures_do_not_depend_on_the_split(eta):
    asked = []
    world = oracle.points(LINEAR, normal(3, 4, 4, 1))

    def predict_noise(x_t, t):
        asked.append((len(x_t), t.dtype.name, len(t)))
        return world.predict_noise(x_t, t)

    options = {"eta": eta, "seed": 3, "large_noise": bool(eta)}
    whole = last(sampling.sample(predict_noise, LINEAR, (5, 4, 4, 1), 4, **options)).x_t
    split = last(sampling.sample(predict_noise, LINEAR, (5, 4, 4, 1), 4, batch_size=2, **options)).x_t
    np.testing.assert_allclose(split, whole, atol=1e-4)
    assert asked == [(5, "int32", 5)] * 4 + [(2, "int32", 2), (2, "int32", 2), (1, "int32", 1)] * 4


def test_noise_is_by_seed_and_step_and_new_for_every_image():
    noise = sampling.noise_of(1, 2, (3, 50))
    np.testing.assert_array_equal(noise, sampling.noise_of(1, 2, (3, 50)))
    others = [sampling.noise_of(2, 2, (3, 50)), sampling.noise_of(1, 3, (3, 50)), noise[::-1]]
    assert all(abs(np.corrcoef(noise.ravel()[:100], other.ravel()[:100])[0, 1]) < 0.5 for other in others)


def test_the_network_is_never_asked_about_the_data():
    asked = []
    world = oracle.gaussian(LINEAR, np.zeros(2), 1.0)

    def predict_noise(x_t, t):
        asked.extend(t)
        return world.predict_noise(x_t, t)

    last(sampling.sample(predict_noise, LINEAR, (2, 2), 1000, eta=1.0))
    assert min(asked) == 1
    assert max(asked) == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1; received 0"),
        ({"batch_size": 2.0}, "batch_size: expected an integer of at least 1; received 2.0"),
        ({"batch_size": True}, "batch_size: expected an integer of at least 1; received True"),
        ({"eta": 2}, r"eta: expected a number in \[0, 1\]; received 2"),
        ({"large_noise": True}, "eta: expected 1 with large_noise, which is for DDPM's step; received 0.0"),
        ({"seed": -1}, "seed: expected an integer in 0..4294967295; received -1"),
        ({"seed": None}, "seed: .* received None"),
        ({"shape": (0, 3)}, "shape: expected an integer of at least 1; received 0"),
        ({"shape": (4,)}, r"shape: expected that of images or points, \(B, ...\); received \(4,\)"),
        ({"x_T": normal(3, 3)}, r"x_T: expected float32 or float64 of shape \(2, 3\); received float64 of \(3, 3\)"),
        ({"x_T": normal(2, 3) * np.inf}, "x_T: expected finite values; received 6 NaN or infinite ones"),
    ],
)
def test_bad_walks_are_refused_before_the_network_is_asked(arguments, message):
    with pytest.raises(ValueError, match=message):
        next(sampling.sample(None, SHORT, **{"shape": (2, 3), "steps": 2} | arguments))


def test_a_schedule_that_leaves_no_signal_is_named():
    with pytest.raises(ValueError, match=r"schedule: expected some signal at t = 200; received alpha_bar = 6.2e-61"):
        list(sampling.sample(lambda x_t, t: x_t, schedule.Schedule(np.full(200, 0.5)), (2, 3), 2))


@pytest.mark.parametrize(
    ("answer", "received"),
    [
        (lambda x_t: None, "None"),
        (lambda x_t: x_t[:1], r"float32 of \(1, 3\)"),
        (lambda x_t: x_t.astype("float64"), r"float64 of \(2, 3\)"),
        (lambda x_t: 0.5, "0.5"),
    ],
)
def test_a_network_that_answers_something_else_is_told(answer, received):
    states = sampling.sample(lambda x_t, t: answer(x_t), SHORT, (5, 3), 2, batch_size=2)
    with pytest.raises(TypeError, match=rf"predict_noise: expected an answer of float32 of \(2, 3\); received {received}"):
        list(states)


@pytest.mark.parametrize("steps", [6, sampling.time_grid(T, 6, quadratic=True), [30, 7, 2, 0]])
@pytest.mark.parametrize("options", [{}, {"clip": True}, {"eta": 1.0}, {"eta": 1.0, "large_noise": True}])
def test_a_walk_is_its_steps(options, steps):
    """The options of `sample`, one by one, as `reverse_step` is told them."""
    eta, clip = options.get("eta", 0.0), options.get("clip", False)
    times, x = list(sampling.time_grid(T, 6) if np.ndim(steps) == 0 else steps), sampling.noise_of(4, 0, (3, 5))
    states = sampling.sample(lambda x_t, t: np.sin(4 * x_t), SHORT, (3, 5), steps, seed=4, **options)
    assert next(states).t == times[0]
    for step, (state, (t, s)) in enumerate(zip(states, pairwise(map(int, times)), strict=True), 1):
        std = sampling.sigma_hat(SHORT, t, s) if options.get("large_noise") else None
        noise = sampling.noise_of(4, step, (3, 5))
        x, x_0 = sampling.reverse_step(x, np.sin(4 * x), t, s, SHORT, eta, noise, noise_std=std, clip=clip)
        x = ops.convert_to_numpy(x)
        assert state.t == s
        np.testing.assert_array_equal(state.x_t, x)
        np.testing.assert_array_equal(state.x_0, ops.convert_to_numpy(x_0))
    assert [one.t for one in sampling.invert(lambda x_t, t: x_t, SHORT, x, steps)] == list(times)[::-1]


@pytest.mark.parametrize(
    "times",
    [
        [],
        [0],
        [40, 20],
        [20, 40, 0],
        [40, 20, 20, 0],
        [41, 0],
        [40.0, 20.0, 0.0],
        [40, -1, 0],
        [40, -1],
        [[40, 0]],
        [True, False],
    ],
)
def test_times_that_do_not_fall_to_0_are_refused(times):
    expected = r"steps: expected a number of steps, or times, strictly falling integers from at most 40 to 0; received "
    with pytest.raises(ValueError, match=expected + re.escape(str(times))):
        next(sampling.sample(lambda x_t, t: x_t, SHORT, (2, 3), times))


def test_the_states_cannot_be_changed_and_the_callers_start_is_not():
    def predict_noise(x_t, t):
        with pytest.raises(ValueError, match="read-only"):
            x_t *= 2
        return np.zeros_like(x_t)

    x_T = normal(2, 3)
    kept = x_T.copy()
    for state in sampling.sample(predict_noise, SHORT, (2, 3), 3, x_T=x_T):
        with pytest.raises(ValueError, match="read-only"):
            state.x_t[:] = 0
        x_T += 1  # the caller's own
    np.testing.assert_allclose(state.x_t, kept / np.sqrt(SHORT.alpha_bar[-1]))


def test_rounding_of_the_kept_noise_does_no_harm():
    """1 - alpha_bar - sigma^2 is 0, or less by rounding, where next to no signal is left."""
    x, halving = normal(2, 3), schedule.Schedule(np.full(54, 0.5))
    for s in range(1, 53):
        assert np.isfinite(ops.convert_to_numpy(sampling.reverse_step(x, x, 53, s, halving, 1.0, x)[0])).all()


def test_sigma_hat_refuses_times_that_are_no_step():
    with pytest.raises(ValueError, match="s: expected a time before t = 4; received 9"):
        sampling.sigma_hat(SHORT, 4, 9)


def test_a_walk_starts_where_it_is_told():
    x_T = normal(3, 2).astype(np.float32)
    world = oracle.gaussian(SHORT, [0.3, -0.2], 0.5)
    first, *_, end = sampling.sample(world.predict_noise, SHORT, (3, 2), 5, x_T=x_T)
    assert (first.t, first.x_0) == (T, None)
    np.testing.assert_array_equal(first.x_t, x_T)
    own = last(sampling.sample(world.predict_noise, SHORT, (3, 2), 5, x_T=sampling.noise_of(0, 0, (3, 2))))
    np.testing.assert_array_equal(own.x_t, last(sampling.sample(world.predict_noise, SHORT, (3, 2), 5)).x_t)
    assert np.abs(own.x_t - end.x_t).max() > 0.1


# ---- invert


@pytest.mark.parametrize(("corrections", "orders"), [(0, (0.8, 1.2)), (1, (0.8, 2.2))])
def test_invert_and_back_gives_x_0_with_an_error_that_falls(corrections, orders):
    world = oracle.gaussian(LINEAR, [0.5, -0.3], 0.25)
    x_0 = 0.5 * normal(50, 2) + [0.5, -0.3]
    errors = []
    for steps in (20, 40, 80):
        up = last(sampling.invert(world.predict_noise, LINEAR, x_0, steps, corrections=corrections))
        assert up.t == 1000
        down = last(sampling.sample(world.predict_noise, LINEAR, x_0.shape, steps, x_T=up.x_t))
        errors.append(np.sqrt(np.mean((down.x_t - x_0) ** 2)))
    slopes = np.diff(np.log2(errors))
    assert (-slopes > orders[0]).all()
    assert (-slopes < orders[1]).all()
    assert errors[0] < (0.1, 0.02)[corrections]


def test_many_corrections_are_the_exact_way_back():
    """The steps of `sample` themselves, backwards: x_t is where the step down leads to x_s."""
    world = oracle.gaussian(LINEAR, [0.5, -0.3], 0.25)
    x_0 = 0.5 * normal(5, 2)
    states = list(sampling.invert(world.predict_noise, LINEAR, x_0, 20, corrections=60))
    assert [state.t for state in states] == sampling.time_grid(1000, 20)[::-1].tolist()
    for below, above in pairwise(states):
        times = np.full(5, above.t)
        x_s, x_0 = sampling.reverse_step(above.x_t, world.predict_noise(above.x_t, times), above.t, below.t, LINEAR)
        np.testing.assert_allclose(x_s, below.x_t, atol=1e-9)
        np.testing.assert_allclose(x_0, above.x_0, atol=1e-9)


def test_inverting_ends_in_the_gaussians_noise():
    """A Gaussian's noise is a straight line's: x_T is x_0 seen in its own units, up to the steps' error."""
    world = oracle.gaussian(LINEAR, [0.5], 0.25)
    x_0 = np.array([[0.0], [0.5], [1.5]])
    up = last(sampling.invert(world.predict_noise, LINEAR, x_0, 500, corrections=1))
    np.testing.assert_allclose(up.x_t, (x_0 - 0.5) / 0.5, atol=0.02)


@pytest.mark.parametrize("batch_size", [None, 2, 5])
def test_inverting_never_asks_about_the_data_and_in_batches(batch_size):
    asked = []

    def predict_noise(x_t, t):
        asked.append((len(x_t), t.min(), t.max(), t.dtype))
        return 0.1 * x_t

    x_0 = normal(5, 3).astype(np.float32)
    end = last(sampling.invert(predict_noise, SHORT, x_0, 4, batch_size=batch_size, corrections=1))
    assert min(low for _, low, _, _ in asked) >= 1
    assert all((low == high, kind) == (True, np.int32) for _, low, high, kind in asked)
    assert sum(count for count, *_ in asked) == 2 * 4 * 5
    whole = last(sampling.invert(lambda x_t, t: 0.1 * x_t, SHORT, x_0, 4, corrections=1))
    np.testing.assert_array_equal(end.x_t, whole.x_t)
    assert end.x_t.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"corrections": -1}, "corrections: expected an integer of at least 0; received -1"),
        ({"corrections": 1.5}, "corrections: expected an integer of at least 0; received 1.5"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1; received 0"),
        ({"x_0": np.zeros((2, 3), int)}, r"x_0: expected float32 or float64 of shape \(2, 3\); received int64 of \(2, 3\)"),
        ({"x_0": np.zeros(3)}, r"x_0: expected float32 or float64 of shape \(B, ...\); received float64 of \(3,\)"),
        ({"x_0": np.zeros((0, 3))}, r"x_0: expected float32 or float64 of shape \(B, ...\); received float64 of \(0, 3\)"),
        ({"steps": 41}, "steps: expected an integer in 1..40; received 41"),
    ],
)
def test_bad_inversions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        next(sampling.invert(lambda x_t, t: x_t, SHORT, **({"x_0": normal(2, 3), "steps": 4} | arguments)))


# ---- slerp


def test_slerp_is_the_arc():
    one, other = np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 3.0], [np.sqrt(0.5), np.sqrt(0.5)]])
    np.testing.assert_allclose(
        sampling.slerp(one, other, 1 / 3), [[3 * np.sqrt(0.75), 1.5], [np.cos(np.pi / 12), np.sin(np.pi / 12)]]
    )
    np.testing.assert_allclose(sampling.slerp(one, other, [0.0, 1.0]), [one[0], other[1]], atol=1e-12)


def test_slerp_keeps_what_noise_looks_like():
    one, other = normal(2, 3, 28, 28, 1).astype(np.float32)
    for part in (0.0, 0.25, 0.5, 1.0):
        middle = sampling.slerp(one, other, part)
        assert (middle.dtype, middle.shape) == (np.float32, one.shape)
        assert np.abs(middle.std(axis=(1, 2, 3)) - 1).max() < 0.1  # a straight line's would be 0.71 half-way
    np.testing.assert_array_equal(sampling.slerp(one, other, 0.0), one)
    np.testing.assert_allclose(sampling.slerp(one, other, 0.3), sampling.slerp(other, one, 0.7), atol=1e-6)
    np.testing.assert_allclose(sampling.slerp(one, one, 0.3), one, atol=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "part", "message"),
    [
        (normal(2, 3), normal(2, 4), 0.5, r"other: expected float32 or float64 of shape \(2, 3\); received float64 of \(2, 4\)"),
        (np.ones((2, 3), int), normal(2, 3), 0.5, "one: expected float32 or float64 .* received int64"),
        (normal(2, 3) * np.nan, normal(2, 3), 0.5, "one: expected finite values; received 6 NaN"),
        (1.0, 2.0, 0.5, r"one: .* of shape \(B, ...\); received float64 of \(\)"),
        (normal(2, 3), normal(2, 3), 1.5, r"part: expected a number in \[0, 1\], or 2 of them; received 1.5"),
        (normal(2, 3), normal(2, 3), [0.5] * 3, r"part: .*received \[0.5, 0.5, 0.5\]"),
        (normal(2, 3), -normal(2, 3), 0.5, "received opposite ones, or zeros"),
        (normal(2, 3), 0 * normal(2, 3), 0.5, "received opposite ones, or zeros"),
    ],
)
def test_slerp_refuses_what_has_no_arc(one, other, part, message):
    with pytest.raises(ValueError, match=message):
        sampling.slerp(one, other, part)
