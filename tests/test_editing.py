"""RePaint on data where the truth is known: two correlated numbers, one of them known."""

from itertools import pairwise

import numpy as np
import pytest

from lessons_lib import editing, guidance, oracle, sampling, schedule

RNG = np.random.default_rng(0)
CHAIN, CORRELATED = schedule.linear(), np.array([[1.0, 0.9], [0.9, 1.0]])
WORLD = oracle.gaussian(CHAIN, [0.0, 0.0], CORRELATED)
PICTURES, NOISE = RNG.normal(size=(2, 3, 4, 4, 2)).astype(np.float32)
MASK = RNG.random((3, 4, 4, 2)) < 0.5


def linear_step(t, s, eta, consistent):
    """What a step makes of x_t: a matrix, a shift, and the standard deviation of the noise that it adds; plain NumPy."""
    now, then = CHAIN.alpha_bar[t], CHAIN.alpha_bar[s]
    noise = np.sqrt(1 - now) * np.linalg.inv(now * CORRELATED + (1 - now) * np.eye(2))
    sigma = eta * np.sqrt((1 - then) / (1 - now) * (1 - now / then))
    x_0, shift, kept = (np.eye(2) - np.sqrt(1 - now) * noise) / np.sqrt(now), np.zeros(2), np.sqrt(1 - then - sigma**2)
    if consistent:  # the guess at the first number is 1, whatever x_t is
        x_0[0], known = 0, np.array([1.0, 0.0])
        noise = (np.eye(2) - np.sqrt(now) * x_0) / np.sqrt(1 - now)
        shift = (np.sqrt(then) - kept * np.sqrt(now) / np.sqrt(1 - now)) * known
    return np.sqrt(then) * x_0 + kept * noise, shift, sigma


def moments(steps, repeats=1, eta=1.0, consistent=False):
    """Mean and variance of the unknown number, by recursion."""
    mean, covariance = np.zeros(2), np.eye(2)
    for t, s in pairwise(sampling.time_grid(1000, steps).tolist()):
        for turn in range(repeats if s else 1):
            if turn:
                ratio = CHAIN.alpha_bar[t] / CHAIN.alpha_bar[s]
                mean, covariance = np.sqrt(ratio) * mean, ratio * covariance + (1 - ratio) * np.eye(2)
            matrix, shift, sigma = linear_step(t, s, eta, consistent)
            mean, covariance = matrix @ mean + shift, matrix @ covariance @ matrix.T + sigma**2 * np.eye(2)
            if not consistent:
                mean[0], covariance[0], covariance[:, 0] = np.sqrt(CHAIN.alpha_bar[s]), 0, 0
                covariance[0, 0] = 1 - CHAIN.alpha_bar[s]
    return mean[1], covariance[1, 1]


@pytest.mark.parametrize(
    ("steps", "repeats", "known"),
    [
        (1000, 1, (0.626, 0.308)),
        (1000, 2, (0.765, 0.238)),
        (1000, 10, (0.880, 0.189)),
        (250, 1, (0.622, 0.300)),
        (250, 5, (0.853, 0.186)),
        (50, 1, (0.603, 0.274)),
        (50, 20, (0.876, 0.132)),
    ],
)
def test_replacement_is_biased_and_repetition_mends_the_mean(steps, repeats, known):
    """The truth is 0.9 and 0.19. In few steps, repetition takes variance away."""
    np.testing.assert_allclose(moments(steps, repeats), known, atol=6e-4)


@pytest.mark.parametrize("repeats", [1, 4])
def test_what_fill_draws_has_the_moments_of_the_recursion(repeats):
    known, mask = np.tile([1.0, 0.0], (20_000, 1)), np.tile([True, False], (20_000, 1))
    *_, last = editing.fill(WORLD.predict_noise, CHAIN, known, mask, 10, repeats=repeats)
    np.testing.assert_array_equal(last.x_t[:, 0], 1)
    mean, variance = moments(10, repeats)
    assert abs(last.x_t[:, 1].mean() - mean) < 4 * np.sqrt(variance / 20_000)
    assert abs(last.x_t[:, 1].var() / variance - 1) < 4 * np.sqrt(2 / 20_000)


@pytest.mark.parametrize(("eta", "known"), [(1.0, (0.622, 0.346)), (0.0, (0.446, 0.514))])
def test_consistent_is_as_biased(eta, known):
    """By recursion, and the wrapper's own walk: two starts give its matrix and its shift."""
    np.testing.assert_allclose(moments(250, eta=eta, consistent=True), known, atol=6e-4)
    if not eta:
        right = guidance.consistent(WORLD.predict_noise, CHAIN, lambda x_0: np.where([True, False], 1.0, x_0))
        *_, last = sampling.sample(right, CHAIN, (3, 2), 10, x_T=np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        shift, *columns = last.x_t[:, 1]
        assert shift == pytest.approx(moments(10, eta=0, consistent=True)[0])
        assert np.square(np.array(columns) - shift).sum() == pytest.approx(moments(10, eta=0, consistent=True)[1])
        np.testing.assert_allclose(last.x_t[:, 0], 1, rtol=1e-12)


def test_a_correction_that_changes_nothing_gives_the_same_noise():
    x, t = RNG.normal(size=(50, 2)), RNG.integers(1, 1001, 50).astype(np.int32)
    same = guidance.consistent(WORLD.predict_noise, CHAIN, lambda x_0: x_0)
    np.testing.assert_allclose(same(x, t), WORLD.predict_noise(x, t), rtol=1e-6)
    with pytest.raises(ValueError, match=r"corrected: expected the shape of x_0, \(50, 2\); received \(50, 1\)"):
        guidance.consistent(WORLD.predict_noise, CHAIN, lambda x_0: x_0[:, :1])(x, t)


@pytest.mark.parametrize("channels", [1, 2])
def test_known_pixels_have_the_level_of_their_time(channels):
    """Their variance is 1 - alpha_bar_s, their mean the picture's, faded; the others are left alone."""
    many, mask, s = np.ones((5000, 4, 4, 2), np.float32), MASK[:1, ..., :channels].repeat(5000, axis=0), 400
    noise = RNG.standard_normal(many.shape, dtype=np.float32)
    painted = np.asarray(editing.paint(7 * many, many, noise, mask, CHAIN.alpha_bar[s]))
    known = np.broadcast_to(mask, many.shape)
    np.testing.assert_array_equal(painted[~known], 7)
    assert painted[known].mean() == pytest.approx(np.sqrt(CHAIN.alpha_bar[s]), abs=0.02)
    assert painted[known].var() == pytest.approx(1 - CHAIN.alpha_bar[s], rel=0.03)
    clean = np.asarray(editing.paint(7 * many, many, noise, mask, 1.0))
    np.testing.assert_array_equal(clean[known], 1)


def test_one_jump_up_is_as_two():
    """From s by way of r to t: the same coefficient of x_s, the same variance."""
    s, r, t = CHAIN.alpha_bar[[100, 300, 500]]
    zero, one = np.zeros((1, 1)), np.ones((1, 1))
    at_once, halfway = editing.back_to_noise(one, zero, t, s), editing.back_to_noise(one, zero, r, s)
    np.testing.assert_allclose(editing.back_to_noise(np.asarray(halfway), zero, t, r), at_once, rtol=1e-12)
    first, second = (np.asarray(editing.back_to_noise(zero, one, *ends)).item() for ends in ((r, s), (t, r)))
    variance = (np.asarray(editing.back_to_noise(one, zero, t, r)).item() * first) ** 2 + second**2
    assert variance == pytest.approx(np.asarray(editing.back_to_noise(zero, one, t, s)).item() ** 2)
    assert np.asarray(at_once).item() == pytest.approx(np.sqrt(t / s))


def test_what_is_known_has_the_level_of_its_time_after_every_move():
    """Also after a jump up, on a chain where the time before has a very different beta (as RePaint's algorithm 1 prints it)."""
    chain = schedule.Schedule(np.array([0.02, 0.4, 0.1, 0.5, 0.995]))
    zeros = np.zeros((20_000, 2))
    for state in editing.fill(lambda x_t, t: 0 * x_t, chain, zeros, zeros == 0, chain.T, repeats=2):
        level = 1 - chain.alpha_bar[state.t]
        assert abs(state.x_t.mean()) <= 4 * np.sqrt(level / zeros.size)
        assert abs(state.x_t.var() - level) <= 4 * level * np.sqrt(2 / zeros.size)


@pytest.mark.parametrize(
    ("length", "repeats", "expected"),
    [
        (1, 1, [(4, 3), (3, 2), (2, 1), (1, 0)]),
        (1, 2, [(4, 3), (3, 4), (4, 3), (3, 2), (2, 3), (3, 2), (2, 1), (1, 2), (2, 1), (1, 0)]),
        (2, 2, [(4, 3), (3, 2), (2, 4), (4, 3), (3, 2), (2, 1), (1, 0)]),
        (3, 3, [(4, 3), (3, 2), (2, 1), (1, 4), (4, 3), (3, 2), (2, 1), (1, 4), (4, 3), (3, 2), (2, 1), (1, 0)]),
        (9, 5, [(4, 3), (3, 2), (2, 1), (1, 0)]),
    ],
)
def test_jumps_by_hand(length, repeats, expected):
    assert editing.jumps([4, 3, 2, 1, 0], length, repeats) == expected


def test_jumps_over_other_times():
    assert editing.jumps(np.array([1000, 500, 0]), repeats=2) == [(1000, 500), (500, 1000), (1000, 500), (500, 0)]


def guess(x_t, t):
    """An answer that depends on the whole picture."""
    return 0.5 * x_t + 0.1 * x_t.mean(axis=(1, 2, 3), keepdims=True)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [6, [800, 300, 1, 0]])
def test_with_nothing_known_it_is_sample(steps, eta):
    filled = editing.fill(guess, CHAIN, PICTURES, np.zeros_like(MASK), steps, eta=eta, seed=3)
    plain = sampling.sample(guess, CHAIN, PICTURES.shape, steps, eta=eta, seed=3)
    for one, other in zip(filled, plain, strict=True):
        assert one.t == other.t
        np.testing.assert_array_equal(one.x_t, other.x_t)
        assert (one.x_0 is None) == (other.x_0 is None)


@pytest.mark.parametrize("repeats", [1, 3])
def test_what_is_known_comes_out_bit_for_bit(repeats):
    everything = np.ones((3, 4, 4, 1), bool)
    *_, last = editing.fill(guess, CHAIN, PICTURES, everything, 4, repeats=repeats, clip=True)
    np.testing.assert_array_equal(last.x_t, PICTURES)
    *_, last = editing.fill(guess, CHAIN, PICTURES, MASK, 4, repeats=repeats)
    np.testing.assert_array_equal(last.x_t[MASK], PICTURES[MASK])
    assert (last.x_t[~MASK] != PICTURES[~MASK]).all()


def test_the_same_seed_fills_alike_and_another_otherwise():
    first, again, other = (
        list(editing.fill(guess, CHAIN, PICTURES, MASK, 4, repeats=2, seed=seed, batch_size=size))[-1].x_t
        for seed, size in ((0, None), (0, 2), (1, None))
    )
    np.testing.assert_allclose(first, again, rtol=1e-5)
    assert np.abs(first - other)[~MASK].min() > 0


def test_states_are_read_only():
    """The walk goes on from them."""
    for state in editing.fill(guess, CHAIN, PICTURES, MASK, 3, repeats=2):
        assert not state.x_t.flags.writeable
        assert state.x_0 is None or not state.x_0.flags.writeable
    with pytest.raises(ValueError, match=r"seed: expected an integer in 0.*received -1"):
        list(editing.fill(guess, CHAIN, PICTURES, MASK, 3, seed=-1))


def test_known_and_unknown_have_noises_of_their_own():
    """Else a pixel's known noise would be the one that is added to it: the two are nowhere correlated."""
    walked = list(editing.fill(lambda x_t, t: 0 * x_t, CHAIN, np.zeros((1, 64, 64, 1)), np.ones((1, 64, 64, 1), bool), 5))
    alone = list(editing.fill(lambda x_t, t: 0 * x_t, CHAIN, np.zeros((1, 64, 64, 1)), np.zeros((1, 64, 64, 1), bool), 5))
    for one, other in zip(walked[1:-1], alone[1:-1], strict=True):
        assert abs(np.corrcoef(one.x_t.ravel(), other.x_t.ravel())[0, 1]) < 4 / 64
    for one, other in pairwise(walked[1:-1]):
        assert abs(np.corrcoef(one.x_t.ravel(), other.x_t.ravel())[0, 1]) < 4 / 64


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (MASK.astype(np.float32), TypeError, "mask: expected booleans, true where a pixel is known; received float32"),
        (MASK[:1], ValueError, r"mask: expected shape \(3, 4, 4, 2\) or \(3, 4, 4, 1\); received \(1, 4, 4, 2\)"),
        (MASK[..., 0], ValueError, r"received \(3, 4, 4\)"),
        (MASK[:, :2], ValueError, r"received \(3, 2, 4, 2\)"),
    ],
)
def test_another_mask_is_refused(mask, error, message):
    with pytest.raises(error, match=message):
        editing.paint(PICTURES, PICTURES, NOISE, mask, 0.5)
    with pytest.raises(error, match=message):
        list(editing.fill(guess, CHAIN, PICTURES, mask, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([4, 2, 1],), r"times: expected strictly falling integers, the last 0; received \[4, 2, 1\]"),
        (([4, 4, 0],), r"times: expected strictly falling .* received \[4, 4, 0\]"),
        (([0],), r"times: .* received \[0\]"),
        (([4, 2.5, 0],), "times: expected an integer of at least 0; received 4.0"),
        (([4, 0], 0), "length: expected an integer of at least 1; received 0"),
        (([4, 0], 1, 0), "repeats: expected an integer of at least 1; received 0"),
    ],
)
def test_jumps_that_lead_nowhere_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        editing.jumps(*arguments)
