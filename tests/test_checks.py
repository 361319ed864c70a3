import numpy as np
import pytest
from einops import rearrange

from lessons_lib.checks import lesson_01, lesson_02, lesson_03, lesson_04, lesson_05, lesson_06, lesson_07, lesson_08


def rates(betas):
    return np.sqrt(np.cumprod(np.append(1.0, 1 - betas)))


def noise(x_t, x_0, a):
    return (x_t - np.sqrt(a) * x_0) / np.sqrt(1 - a)


def jump(x_0, noise, t, betas, first=1, root=np.sqrt):
    alpha_bar = np.cumprod(1 - betas)[t - first]
    return np.sqrt(alpha_bar) * x_0 + root(1 - alpha_bar) * noise


def unpatch(patches, p, pattern="b h w (p q c) -> b (h p) (w q) c"):
    return rearrange(patches, pattern, p=p, q=p)


def attend(q, k, v, root):
    scores = np.exp(np.einsum("...ic,...jc->...ij", q, k) / np.sqrt(root))
    return scores / scores.sum(axis=-1, keepdims=True) @ v


def multi_head(q, k, v, heads, pattern="b n (h c) -> b h n c", root=None):
    q, k, v = (rearrange(x, pattern, h=heads) for x in (q, k, v))
    return rearrange(attend(q, k, v, root or q.shape[-1]), "b h n c -> b n (h c)")


def respaced(chain, times):
    alpha_bar = chain.alpha_bar[times[::-1]]
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def posterior_mean(x_t, x_0, t, chain, root=np.sqrt):
    beta, now, before = chain.beta[t], chain.alpha_bar[t], chain.alpha_bar[t - 1]
    return (np.sqrt(before) * beta * x_0 + root(1 - beta) * (1 - before) * x_t) / (1 - now)


def step_up(x_s, noise, s, t, chain, into=np.sqrt):
    a, b = chain.alpha_bar[[s, t]]
    return np.sqrt(b / a) * (x_s - np.sqrt(1 - a) * noise) + into(1 - b) * noise


def ddim(x_t, noise, t, s, chain, eta, z, sigma=lambda a, b: np.sqrt((1 - b) / (1 - a) * (1 - a / b)), kept=1.0):
    a, b = chain.alpha_bar[[t, s]]
    std = eta * sigma(a, b)
    return np.sqrt(b / a) * (x_t - np.sqrt(1 - a) * noise) + np.sqrt(1 - b - kept * std**2) * noise + std * z


def kernel_distance(x, y, size=None, itself=1, across=2):
    def kernel(a, b):
        return (a @ b.T / (size or a.shape[1]) + 1) ** 3

    def among(a):
        k, n = kernel(a, a), len(a)
        return (k.sum() - itself * np.trace(k)) / (n * (n - itself))

    return among(x) + among(y) - across * kernel(x, y).mean()


def root_trace(product):
    return np.sqrt(np.linalg.eigvals(product).real.clip(0)).sum()


def frechet(x, y, root_trace=root_trace, square=np.square):
    one, other = np.cov(x.T), np.cov(y.T)
    move = square(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))
    return move + np.trace(one + other) - 2 * root_trace(one @ other)


def moving_average(values, decay, warm=lambda n: (1 + n) / (10 + n), first=0):
    average = values[first]
    for n, value in enumerate(values[1:], 1):
        d = min(decay, warm(n))
        average = d * average + (1 - d) * value
    return average


def make_pairs(x_0, chain, rng, low=1, high=5, shape=None, size=1.0):
    t = rng.integers(low, high, len(x_0))
    noise = np.broadcast_to(rng.normal(size=shape or x_0.shape), x_0.shape)
    a = chain.alpha_bar[t][:, None, None, None]
    return np.sqrt(a) * x_0 + np.sqrt(1 - a) * noise, t, size * noise


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (lesson_01.amounts_left, lambda n: [1 - i / n for i in range(n)]),
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n, endpoint=False)),
        (lesson_01.amounts_left, lambda n: np.float32(np.arange(n, 0, -1) / n)),
        (lesson_02.signal_rates, rates),
        (lesson_02.signal_rates, lambda betas: list(rates(betas))),
        (lesson_03.to_noise, noise),
        (lesson_03.mended, jump),
        (lesson_04.unpatch, unpatch),
        (lesson_04.multi_head, multi_head),
        (lesson_05.moving_average, moving_average),
        (lesson_05.min_snr, lambda s, gamma: np.minimum(s.alpha_bar, gamma * (1 - s.alpha_bar))[1:]),
        (lesson_05.min_snr, lambda s, gamma: np.minimum(s.snr[1:], gamma) / (s.snr[1:] + 1)),
        (lesson_05.make_pairs, make_pairs),
        (lesson_06.respaced, respaced),
        (lesson_06.mean_from_x_0, posterior_mean),
        (lesson_07.step_up, step_up),
        (lesson_07.mended, ddim),
        (lesson_08.kernel_distance, kernel_distance),
        (lesson_08.mended, frechet),
    ],
)
def test_a_right_answer_passes(check, right, capsys):
    check(right)
    assert "well done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n), r"expected \[1.0, 0.5\] first; received \[1.0, 0.0\].*Hint"),
        (lesson_01.amounts_left, lambda n: [(1 - 1 / n) ** i for i in range(n)], "received .*Hint: step i removes one part"),
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n + 1), r"expected 1 numbers, .*; received shape \(2,\)"),
        (lesson_01.amounts_left, lambda n: 1.0, r"received shape \(\)"),
        (lesson_02.signal_rates, lambda b: rates(b)[1:], r"expected 2 numbers, the untouched image first; received shape \(1,\)"),
        (lesson_02.signal_rates, lambda b: rates(b) ** 2, "and 0.7071 last; received .* and 0.5000. Hint"),  # no root
        (lesson_02.signal_rates, lambda b: np.sqrt(np.append(1, 1 - b)), "Hint: each step multiplies"),  # alpha, not alpha_bar
        (lesson_02.signal_rates, lambda b: np.full(len(b) + 1, rates(b)[-1]), "Hint: each step"),  # the product to T
        (lesson_03.to_noise, lambda x_t, x_0, a: (x_t - np.sqrt(a) * x_0) / (1 - a), "off by up to .*Hint"),  # no root
        (lesson_03.to_noise, lambda x_t, x_0, a: (x_t - a * x_0) / np.sqrt(1 - a), "off by up to .*Hint"),
        (lesson_03.to_noise, lambda x_t, x_0, a: noise(x_t, x_0, a)[0], "expected the shape of x_t"),
        (lesson_03.mended, lambda *a: jump(*a, first=0), "at t = 1: expected x_0 times 0.9487; received it times 0.8485. Hint"),
        (
            lesson_03.mended,
            lambda *a: jump(*a, root=float),
            "expected the noise times 0.3162; received it times 0.1000. .*variance",
        ),
        (
            lesson_03.mended,
            lambda x, z, t, b: jump(x, z, t, b[1:]),
            "at t = 1: expected x_0 times 0.9487; received it times 0.8944",
        ),
        (
            lesson_03.mended,
            lambda x, z, t, b: jump(x, z, t, b[[0, 0, 1, 2, 3]][: t + 1], 0),
            "expected x_0 times 0.9487; received",
        ),
        (lesson_03.mended, lambda x, z, t, b: jump(x, z, t, b)[0], r"the shape of x_0, \(3, 4\); received \(4,\)"),
        (lesson_04.unpatch, lambda x, p: unpatch(x, p, "b h w (p q c) -> b (p h) (q w) c"), ".*% of them elsewhere. Hint"),
        (lesson_04.unpatch, lambda x, p: unpatch(x, p, "b h w (q p c) -> b (h p) (w q) c"), ".*% of them elsewhere. Hint"),
        (lesson_04.unpatch, lambda x, p: x, r"p = 2: expected shape \(2, 4, 6, 3\); received \(2, 2, 3, 12\). Hint"),
        (lesson_04.multi_head, lambda q, k, v, heads: attend(q, k, v, 6), "with 2 heads: .* off by up to .*Hint"),
        (lesson_04.multi_head, lambda q, k, v, heads: multi_head(q, k, v, heads, root=6), "off by up to .*of 3, not of 6"),
        (lesson_04.multi_head, lambda q, k, v, heads: multi_head(q, k, v, heads, "b n (c h) -> b h n c"), "with 2 heads: .*Hint"),
        (lesson_04.multi_head, lambda q, k, v, heads: q[0], r"expected the shape of v, \(2, 5, 6\); received \(5, 6\)"),
        (lesson_05.moving_average, lambda v, d: moving_average(v, 1 - d), "Hint: d stands at what is remembered"),
        (lesson_05.moving_average, lambda v, d: moving_average(v, d, lambda n: 1), "with decay 0.5: .*smaller of decay and"),
        (
            lesson_05.moving_average,
            lambda v, d: moving_average(v, d, lambda n: n / (9 + n)),
            "in step n, from 1",
        ),
        (lesson_05.moving_average, lambda v, d: moving_average(v, 1.0), "with decay 0.5: .*Hint: .*smaller of decay and"),
        (lesson_05.moving_average, lambda v, d: np.mean(v, axis=0), "of 30 values with decay 0.5: expected .*Hint"),
        (lesson_05.moving_average, lambda v, d: 0.0, r"shape \(3,\) like each of the values; received shape \(\)"),
        (
            lesson_05.min_snr,
            lambda s, gamma: np.minimum(s.snr, gamma)[1:],
            "gamma = 5.0: .*Hint: an error of x_0 weighs",
        ),
        (
            lesson_05.min_snr,
            lambda s, gamma: np.minimum(s.snr, gamma) * (1 - s.alpha_bar),
            r"in 1..50, shape .*begin at t = 0",
        ),
        (lesson_05.min_snr, lambda s, gamma: (np.minimum(s.snr, gamma) / np.maximum(s.snr, 1e-9))[1:], "expected .* at t = "),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a, low=0), r"from 1 to 4 .* received \[0, 1, 2, 3, 4\]. Hint: t = 0 is"),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a, high=4), r"received \[1, 2, 3\]. Hint: .*leaves its upper end out"),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a, shape=(4, 4, 1)), "received the same for two of them. Hint"),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a, size=1.2), "expected noise of mean 0 .* received -?0.0. and 1.2"),
        (lesson_05.make_pairs, lambda x, *a: (x, *make_pairs(x, *a)[1:]), "off by up to .*Hint: .DDPM, eq. 4"),
        (
            lesson_05.make_pairs,
            lambda *a: [part[:1] for part in make_pairs(*a)],
            r"the shape of x_0, \(400, 4, 4, 1\); received \(1",
        ),
        (lesson_06.respaced, lambda chain, times: respaced(chain, times)[::-1], "the first beta is the one next to the data"),
        (lesson_06.respaced, lambda chain, times: chain.beta[times[::-1]][1:], "differ in step .*Hint: alpha_bar is the product"),
        (lesson_06.respaced, lambda chain, times: chain.beta[times], r"each of the 20 steps; received shape \(21,\). Hint"),
        (lesson_06.mean_from_x_0, lambda x_t, x_0, t, chain: posterior_mean(x_0, x_t, t, chain), "off by up to .*Hint"),
        (lesson_06.mean_from_x_0, lambda *a: posterior_mean(*a, root=lambda x: x), "the root of 1 - beta"),
        (lesson_06.mean_from_x_0, lambda *a: posterior_mean(*a)[0], r"the shape of x_t, \(3, 4\); received \(4,\)"),
        (lesson_07.step_up, lambda *a: step_up(*a, into=lambda x: x), "from s = 0 to t = 1: .*ends up to .*Hint"),
        (lesson_07.step_up, lambda x, noise, s, t, chain: step_up(x, noise, t, s, chain), "expected an x_t from which .*Hint"),
        (lesson_07.step_up, lambda *a: step_up(*a)[0], r"the shape of x_s, \(3, 4\); received \(4,\)"),
        (
            lesson_07.mended,
            lambda *a: ddim(*a, sigma=lambda a, b: np.sqrt((1 - a) / (1 - b) * (1 - a / b)), kept=0),
            "with eta = 0.5: expected added noise of size 0.*which of the two times stands above",
        ),
        (lesson_07.mended, lambda *a: ddim(*a, kept=0), "eta = 0.5: the added noise is right, but what is kept is off .*Hint"),
        (lesson_07.mended, lambda *a: ddim(*a, kept=0.5), "how much of it does the added noise already take"),
        (lesson_07.mended, lambda *a: ddim(*a)[0], r"the shape of x_t, \(3, 4\); received \(4,\)"),
        (
            lesson_08.kernel_distance,
            lambda *a: kernel_distance(*a, itself=0),
            "of 3 and 3 vectors of 1: expected .*compared with itself",
        ),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, size=1), "vectors of 2: expected .*the length of a vector"),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, across=1), "across, which count twice"),
        (lesson_08.kernel_distance, lambda x, y: x @ y.T, r"expected one number; received shape \(3, 3\)"),
        (
            lesson_08.mended,
            lambda x, y: frechet(x, y, lambda product: np.trace(np.sqrt(abs(product)))),
            "of the same set twice: expected 0.000; received .* of the matrix, not of its entries",
        ),
        (
            lesson_08.mended,
            lambda x, y: frechet(x, y, square=float),
            "moved by .*: expected 25.000; received 5.000. Hint: .* squared",
        ),
        (
            lesson_08.mended,
            lambda x, y: frechet(x, y, lambda p: np.trace(p) ** 0.5),
            "the same set twice: expected 0.000; received",
        ),
        (lesson_08.mended, lambda x, y: x - x, r"expected one number; received shape \(200, 3\)"),
    ],
)
def test_a_wrong_answer_is_told_what_was_expected(check, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(wrong)
