import re
import subprocess
import sys
from functools import partial, reduce
from itertools import pairwise

import numpy as np
import pytest
from einops import rearrange
from IPython.core.interactiveshell import InteractiveShell

from lessons_lib import (
    checks,
    data,
    diffusion,
    editing,
    grammar,
    guidance,
    oracle,
    resize,
    sampling,
    schedule,
    training,
    unet,
)
from lessons_lib.checks import (
    lesson_01,
    lesson_02,
    lesson_03,
    lesson_04,
    lesson_05,
    lesson_06,
    lesson_07,
    lesson_08,
    lesson_09,
    lesson_10,
    lesson_11,
    lesson_12,
    lesson_13,
)


def rates(betas):
    return np.sqrt(np.cumprod(np.append(1.0, 1 - betas)))


def noise(x_t, x_0, a):
    return (x_t - np.sqrt(a) * x_0) / np.sqrt(1 - a)


def jump(x_0, noise, t, betas, first=1, root=np.sqrt):
    alpha_bar = np.cumprod(1 - betas)[t - first]
    return np.sqrt(alpha_bar) * x_0 + root(1 - alpha_bar) * noise


def unpatch(patches, p, pattern="b h w (p q c) -> b (h p) (w q) c"):
    return rearrange(patches, pattern, p=p, q=p)


def unpatch_by_hand(patches, side):
    b, h, w, channels = patches.shape
    squares = patches.reshape(b, h, w, side, side, channels // side**2).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(b, h * side, w * side, -1)


def attend(q, k, v, root, axis=-1):
    scores = np.exp(np.einsum("...ic,...jc->...ij", q, k) / np.sqrt(root))
    return scores / scores.sum(axis=axis, keepdims=True) @ v


def multi_head(q, k, v, heads, pattern="b n (h c) -> b h n c", root=None, axis=-1):
    q, k, v = (rearrange(x, pattern, h=heads) for x in (q, k, v))
    return rearrange(attend(q, k, v, root or q.shape[-1], axis), "b h n c -> b n (h c)")


def respaced(chain, times):
    alpha_bar = chain.alpha_bar[times[::-1]]
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def posterior_mean(x_t, x_0, t, chain, root=np.sqrt):
    beta, now, before = chain.beta[t], chain.alpha_bar[t], chain.alpha_bar[t - 1]
    return (np.sqrt(before) * beta * x_0 + root(1 - beta) * (1 - before) * x_t) / (1 - now)


def weighted(x_t, x_0, t, chain, of_x_0=None, of_x_t=None):
    """The posterior's mean with another weight for one of its ends."""
    rates = chain.beta[t], chain.alpha_bar[t - 1], chain.alpha_bar[t]
    zero = np.zeros_like(x_t)
    part_0 = of_x_0(*rates) * x_0 if of_x_0 else posterior_mean(zero, x_0, t, chain)
    part_t = of_x_t(*rates) * x_t if of_x_t else posterior_mean(x_t, zero, t, chain)
    return part_0 + part_t


def library_mean(x_t, x_0, t, chain):
    return diffusion.posterior(x_0, x_t, chain.alpha_bar[t], chain.alpha_bar[t - 1])[0]


def from_velocity(x_t, v, t, s, chain, of_x_0=-1, of_noise=1, root=np.sqrt):
    (a, b), (c, d) = (root([chain.alpha_bar[at], 1 - chain.alpha_bar[at]]) for at in (t, s))
    return c * (a * x_t + of_x_0 * b * v) + d * (b * x_t + of_noise * a * v)


def posterior_std(a, b):
    return np.sqrt((1 - b) / (1 - a) * (1 - a / b))


def ddim(x_t, noise, t, s, chain, eta, z, sigma=posterior_std, kept=lambda variance, std: variance - std**2, power=1.0):
    a, b = chain.alpha_bar[[t, s]]
    std = eta**power * sigma(a, b)
    return np.sqrt(b / a) * (x_t - np.sqrt(1 - a) * noise) + np.sqrt(kept(1 - b, std)) * noise + std * z


def kernel_distance(x, y, size=None, itself=1, across=2, pairs=1, plus=1, power=3):
    def kernel(a, b):
        return (a @ b.T / (size or a.shape[1]) + plus) ** power

    def among(a):
        k, n = kernel(a, a), len(a)
        return (k.sum() - itself * np.trace(k)) / (n * (n - pairs))

    return among(x) + among(y) - across * kernel(x, y).mean()


def root_trace(product):
    return np.sqrt(np.linalg.eigvals(product).real.clip(0)).sum()


def frechet(x, y, root_trace=root_trace, square=np.square):
    one, other = np.cov(x.T), np.cov(y.T)
    move = square(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))
    return move + np.trace(one + other) - 2 * root_trace(one @ other)


def moving_average(values, decay, warm=lambda n: (1 + n) / (10 + n), swap=False):
    average = values[0]
    for n, value in enumerate(values[1:], 1):
        d = min(decay, warm(n))
        if swap:
            d = 1 - d
        average = d * average + (1 - d) * value
    return average


def make_pairs(x_0, chain, rng, low=1, high=5, shape=None, size=1.0):
    t = rng.integers(low, high, len(x_0))
    noise = np.broadcast_to(rng.normal(size=shape or x_0.shape), x_0.shape)
    a = chain.alpha_bar[t][:, None, None, None]
    return np.sqrt(a) * x_0 + np.sqrt(1 - a) * noise, t, size * noise


def pairs_at(x_0, chain, rng, change):
    x_t, t, noise = make_pairs(x_0, chain, rng)
    return x_t, change(t), noise


def shifted_betas(betas, factor):
    alpha_bar = np.cumprod(1 - betas)
    alpha_bar = alpha_bar / (alpha_bar + factor**2 * (1 - alpha_bar))
    return 1 - alpha_bar / np.append(1, alpha_bar[:-1])


def largest_signal(side, c, left):
    return np.sqrt((1 / left - 1) / (side**2 * c - 1)) if side**2 * c > 1 else np.nan


def to_pixels(x, back=lambda x: (x + 1) * 127.5, whole=np.rint, clip=lambda x: np.clip(x, -1, 1)):
    return whole(back(clip(x))).astype(np.int64).astype(np.uint8)


def make_pictures(pixels, work, there=lambda x: x / 127.5 - 1, **options):
    return to_pixels(work(there(pixels.astype(np.float64))), **options)


def guided(c, u, g, each=lambda g: np.reshape(g, (-1, 1, 1, 1))):
    return u + each(g) * (c - u)


def drop_labels(labels, share, null, rng):
    return np.where(rng.random(len(labels)) < share, null, labels)


def dropped_in_place(labels, share, null, rng):
    labels[rng.random(len(labels)) < share] = null
    return labels


def permuted(labels, share, null, rng):
    return rng.permutation(drop_labels(labels, share, null, rng))


def first_share(labels, share, null, rng):
    return np.where(np.arange(len(labels)) < share * len(labels), null, labels)


def in_blocks(labels, share, null, rng):
    return np.where(np.repeat(rng.random(len(labels) // 2), 2) < share, null, labels)


def answer_with(model, labels, g, null=10, combine=lambda c, u, g: u + g * (c - u)):
    nobody = np.full_like(labels, null)
    return lambda x_t, t: combine(model(x_t, t, labels), model(x_t, t, nobody), g)


def collage(x_s, pieces, noise, alpha_bar_s, root=np.sqrt, level=None, order=1, swap=False):
    level = alpha_bar_s if level is None else level
    for picture, mask in pieces[::order]:
        x_s = np.where(mask != swap, np.sqrt(level) * picture + root(1 - level) * noise, x_s)
    return x_s


def pasted_in_place(x_s, pieces, noise, alpha_bar_s):
    for picture, mask in pieces:
        x_s[mask] = (np.sqrt(alpha_bar_s) * picture + np.sqrt(1 - alpha_bar_s) * noise)[mask]
    return x_s


def jumps(times, length, rounds, more=1, end=0):
    moves = []
    for first in range(0, len(times) - 1, length):
        part = times[first : first + length + 1]
        down = list(pairwise(part))
        moves += down + (part[-1] >= end and (part[-1] != 0 or end < 0)) * (rounds - more) * [(part[-1], part[0]), *down]
    return moves


def keep_known(x_t, known, mask, t, s, alpha_bar, step, noise, root=np.sqrt, level=None, swap=False):
    level = alpha_bar[s if level is None else level(t, s)]
    return np.where(mask != swap, np.sqrt(level) * known + root(1 - level) * noise, step(x_t, t, s))


def parts(x, factor, of=np.mean, repeat=None, sign=1):
    small = of(rearrange(x, "b (h p) (w q) c -> b h w (p q) c", p=factor, q=factor), axis=3)
    coarse = (repeat or (lambda y: y.repeat(factor, axis=1).repeat(factor, axis=2)))(small)
    return coarse, sign * (x - coarse)


def psnr_of(answers, truth, peak=4, times=10, log=np.log10, power=2):
    return times * log(peak / np.mean(np.abs(answers - truth) ** power, axis=(1, 2, 3)))


def training_loss(x_0, noise, t, alpha_bar, network, factor, roll=0, one_t=False, total=np.mean):
    t = np.full(len(t), t[0]) if one_t else t
    level = alpha_bar[t].reshape(-1, 1, 1, 1)
    y = np.roll(np.asarray(resize.shrink(x_0, factor)), roll, axis=0)
    return total(np.square(network(np.sqrt(level) * x_0 + np.sqrt(1 - level) * noise, t, y) - noise))


def masked_mean(vectors, tokens, start=0):
    return np.stack([one[row > start].mean(axis=0) for one, row in zip(vectors, tokens, strict=True)])


def corrected_share(observed, s, f):
    return (observed - f) / (s - f)


def masked_attention(q, k, v, seen, over=None, axis=-1, hide=lambda scores, seen: np.where(seen, scores, -1e9)):
    scores = hide(np.einsum("bqc,bkc->bqk", q, k) / np.sqrt(over or q.shape[-1]), seen[:, None])
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores) / np.exp(scores).sum(axis=axis, keepdims=True)
    return np.einsum("bqk,bkc->bqc", weights, v)


def by_keys(q, k, v, seen, **changes):
    return masked_attention(q, k, v, seen, over=k.shape[1], **changes)


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (lesson_01.amounts_left, lambda n: [1 - i / n for i in range(n)]),
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n, endpoint=False)),
        (lesson_01.amounts_left, lambda n: np.float32(np.arange(n, 0, -1) / n)),
        (lesson_02.signal_rates, rates),
        (lesson_02.signal_rates, lambda betas: list(rates(betas))),
        (lesson_02.signal_rates, lambda betas: np.float32(np.exp(np.append(0, np.cumsum(np.log1p(-betas))) / 2))),
        (lesson_03.to_noise, noise),
        (lesson_03.mended, jump),
        (lesson_04.unpatch, unpatch_by_hand),
        (lesson_04.multi_head, multi_head),
        (lesson_05.moving_average, moving_average),
        (lesson_05.min_snr, lambda s, gamma: np.minimum(s.alpha_bar, gamma * (1 - s.alpha_bar))[1:]),
        (lesson_05.min_snr, lambda s, gamma: np.minimum(s.snr[1:], gamma) / (s.snr[1:] + 1)),
        (lesson_05.make_pairs, make_pairs),
        (lesson_06.respaced, respaced),
        (lesson_06.mean_from_x_0, posterior_mean),
        (lesson_07.step_from_velocity, from_velocity),
        (lesson_07.mended, ddim),
        (lesson_08.kernel_distance, kernel_distance),
        (lesson_08.mended, frechet),
        (lesson_09.shifted_betas, shifted_betas),
        (lesson_09.largest_signal, largest_signal),
        (lesson_09.make_pictures, make_pictures),
        (lesson_09.make_pictures, lambda pixels, work: to_pixels(np.asarray(work(pixels / 127.5 - 1)))),
        (lesson_10.guided, guided),
        (lesson_10.guided, lambda c, u, g: (1 - g[:, None, None, None]) * u + g[:, None, None, None] * c),
        (lesson_10.drop_labels, drop_labels),
        (lesson_10.drop_labels, lambda labels, share, null, rng: np.where(rng.binomial(1, share, len(labels)), null, labels)),
        (lesson_10.answer_with, answer_with),
        (lesson_11.collage, collage),
        (lesson_11.collage, lambda x, p, n, a: reduce(lambda x, one: editing.paint(x, one[0], n, one[1], a), p, x)),
        (lesson_11.jumps, jumps),
        (lesson_11.jumps, lambda times, length, rounds: editing.jumps(times, length, rounds)),
        (lesson_11.keep_known, keep_known),
        (lesson_12.parts, parts),
        (lesson_12.parts, lambda x, factor: list(parts(x, factor))),
        (lesson_12.psnr_of, psnr_of),
        (lesson_12.training_loss, training_loss),
        (lesson_12.training_loss, lambda *a: float(training_loss(*a))),
        (lesson_13.masked_mean, masked_mean),
        (lesson_13.corrected_share, corrected_share),
        (lesson_13.masked_attention, masked_attention),
    ],
)
def test_a_right_answer_passes(check, right, capsys):
    check(right)
    assert "well done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("check", "wrong", "message"),
    [
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n), "expected 0.200, received 0.000, off by -0.2.*last is 0"),
        (lesson_01.amounts_left, lambda n: [(1 - 1 / n) ** i for i in range(n)], "step 4: .*the same fraction of the way"),
        (lesson_01.amounts_left, lambda n: [i / n for i in range(n)], "Hint: that is what has been removed"),
        (lesson_01.amounts_left, lambda n: [1 - (i + 1) / n for i in range(n)], "Hint: that is what is left after each step"),
        (lesson_01.amounts_left, lambda n: [(i + 1) / n for i in range(n)], "Hint: the order"),
        (lesson_01.amounts_left, lambda n: [1 / (n - i) for i in range(n)], "Hint: these are the fractions"),
        (lesson_01.amounts_left, lambda n: [1 - 1 / (n - i) for i in range(n)], "Hint: this is the share that a step leaves"),
        (lesson_01.amounts_left, lambda n: range(n, 0, -1), "off by .4.000. Hint: an amount is at most 1"),
        (lesson_01.amounts_left, lambda n: [1 - i // n for i in range(n)], "Hint: every amount is 1"),
        (lesson_01.amounts_left, lambda n: [0.5] * n, "Hint: follow the first two steps by hand"),
        (lesson_01.amounts_left, lambda n: np.linspace(1, 0, n + 1), r"expected 5 numbers, .* shape \(6,\). Hint: what is left"),
        (lesson_01.amounts_left, lambda n: 1.0, r"received shape \(\). Hint: it is one number a step"),
        (lesson_02.signal_rates, lambda b: rates(b)[1:], r"expected 3 numbers, .*received shape \(2,\). Hint: to which t"),
        (lesson_02.signal_rates, lambda b: rates(b)[-1], r"received shape \(\). Hint: a rate is wanted for each t"),
        (lesson_02.signal_rates, lambda b: rates(b) ** 2, r"\[1.0, 0.8, 0.6\]; received \[1.0, 0.64, 0.36\]. Hint: .*power"),
        (lesson_02.signal_rates, lambda b: np.sqrt(np.append(1, 1 - b)), r"received \[1.0, 0.8, 0.75\]. Hint: .*a single step"),
        (lesson_02.signal_rates, lambda b: np.sqrt(1 - rates(b) ** 2), r"received \[0.0, 0.6, 0.8\]. Hint: .*the noise"),
        (lesson_02.signal_rates, lambda b: np.full(len(b) + 1, rates(b)[-1]), r"\[0.6, 0.6, 0.6\]. Hint: .*how many steps"),
        (lesson_02.signal_rates, lambda b: rates(1 - b), "Hint: beta is what a step adds"),
        (lesson_02.signal_rates, lambda b: np.roll(rates(b), -1), r"received \[0.8, 0.6, 1.0\]. Hint: .*belongs to t = 0"),
        (lesson_02.signal_rates, lambda b: rates(b) * np.exp(b.sum()), "Hint: by which factor"),
        (lesson_02.signal_rates, lambda b: rates(b) ** (1 + (len(b) > 2)), r"1,000 betas: at t = \d+, .*; received .*power"),
        (
            lesson_03.to_noise,
            lambda x_t, x_0, a: noise(x_t, x_0, a) / np.sqrt(1 - a),
            "x_t = 2.2, x_0 = 2 and alpha_bar = 0.64: expected 1.0000, received 1.6667. Hint: 1 - alpha_bar is a variance",
        ),
        (lesson_03.to_noise, lambda x_t, x_0, a: (x_t - a * x_0) / np.sqrt(1 - a), "received 1.5333. Hint: how much of x_0"),
        (lesson_03.to_noise, lambda x_t, x_0, a: (x_t - x_0) / np.sqrt(1 - a), "received 0.3333. Hint: x_t contains x_0 faded"),
        (lesson_03.to_noise, lambda *a: -noise(*a), "expected 1.0000, received -1.0000. Hint: the signs"),
        (lesson_03.to_noise, lambda x_t, x_0, a: x_t - np.sqrt(a) * x_0, "received 0.6000. Hint: that is the noise as it stands"),
        (lesson_03.to_noise, lambda *a: noise(*a) * (1 - a[2]), "received 0.3600. Hint: that is multiplied"),
        (lesson_03.to_noise, lambda *a: noise(*a) * np.sqrt(1 / a[2] - 1), "received 0.7500. Hint: .*the rate of x_0"),
        (lesson_03.to_noise, lambda x_t, x_0, a: noise(x_0, x_t, a), "received 0.4000. Hint: x_t is the first argument"),
        (lesson_03.to_noise, lambda x_t, x_0, a: noise(x_t, x_0, 1 - a), "received 1.2500. Hint: this is the formula for x_0"),
        (lesson_03.to_noise, lambda *a: 2 * noise(*a), "received 2.0000. Hint: write down x_t"),
        (lesson_03.to_noise, lambda x_t, x_0, a: noise(x_t, x_0, a)[0], "expected the shape of x_t"),
        (lesson_03.to_noise, lambda *a: [noise(*a)].clear(), "received None: does your function return"),
        (lesson_03.to_noise, diffusion.to_noise, "expected code of your own"),
        (
            lesson_03.mended,
            lambda *a: jump(*a, first=0),
            "at t = 2: expected x_0 times 0.8485; received it times 0.6000. Hint: that is the rate at t = 3; which entry",
        ),
        (lesson_03.mended, lambda *a: jump(*a, first=2), "received it times 0.9487. Hint: that is the rate at t = 1"),
        (
            lesson_03.mended,
            lambda *a: jump(*a, root=float),
            "expected the noise times 0.5292; received it times 0.2800. Hint: 1 - alpha_bar is a variance",
        ),
        (
            lesson_03.mended,
            lambda x, z, t, b: np.cumprod(1 - b)[t - 1] * x + 0 * z,
            "expected x_0 times 0.8485; received it times 0.7200. Hint: alpha_bar is the rate squared",
        ),
        (lesson_03.mended, lambda x, z, t, b: jump(x, z, 1, b[t - 1 :]), "received it times 0.8944. Hint: that is a single step"),
        (
            lesson_03.mended,
            lambda x, z, t, b: jump(x, z, t, b[[0, 0, 1, 2, 3]][: t + 1], 0),
            "expected x_0 times 0.8485; received it times 0.8050. Hint: alpha_bar at t is the product of the first t",
        ),
        (lesson_03.mended, lambda x, z, t, b: jump(x, z, t, b)[0], r"the shape of x_0, \(3, 4\); received \(4,\)"),
        (lesson_04.unpatch, partial(unpatch, pattern="b h w (q p c) -> b (h p) (w q) c"), "side = 3: .* elsewhere.* mirrored"),
        (lesson_04.unpatch, partial(unpatch, pattern="b h w (p q c) -> b (p h) (q w) c"), "side = 3: .* the last index runs"),
        (lesson_04.unpatch, partial(unpatch, pattern="b h w (p q c) -> b (p h) (w q) c"), "side = 3: .* the last index runs"),
        (lesson_04.unpatch, partial(unpatch, pattern="b h w (p q c) -> b (h p) (q w) c"), "side = 3: .* the last index runs"),
        (lesson_04.unpatch, partial(unpatch, pattern="b h w (c p q) -> b (h p) (w q) c"), "side = 3: .* C runs fastest in it"),
        (lesson_04.unpatch, lambda x, p: x.reshape(2, 6, 12, 2), "side = 3: .* none has moved"),
        (lesson_04.unpatch, lambda x, p: unpatch(x, p)[:, ::-1], "side = 3: .* follow one pixel"),
        (lesson_04.unpatch, unpatch, "in its place, but by way of `rearrange`. Hint: `reshape` can split"),
        (lesson_04.unpatch, lambda x, p: x, r"shape \(2, 6, 12, 2\) from \(2, 2, 4, 18\); received \(2, 2, 4, 18\). Hint"),
        (lesson_04.multi_head, lambda q, k, v, heads: attend(q, k, v, 6), "with 3 heads: .* off by up to .* one single head"),
        (lesson_04.multi_head, partial(multi_head, root=6), "with 3 heads: .* by which root"),
        (lesson_04.multi_head, partial(multi_head, root=1), "with 3 heads: .* not divided by any root"),
        (lesson_04.multi_head, partial(multi_head, axis=-2), r"with 3 heads: .* one \*query\* must add up to 1"),
        (lesson_04.multi_head, partial(multi_head, pattern="b n (c h) -> b h n c"), "with 3 heads: .* follow each other"),
        (
            lesson_04.multi_head,
            lambda *a: rearrange(multi_head(*a, pattern="b n (c h) -> b h n c"), "b n (h c) -> b n (c h)", h=a[-1]),
            "with 3 heads: .* follow each other",
        ),
        (lesson_04.multi_head, lambda q, k, v, heads: multi_head(k, q, v, heads), "with 3 heads: .* changed places"),
        (
            lesson_04.multi_head,
            lambda *a: attend(*(x.reshape(2, a[-1], -1, 6) for x in a[:3]), 6).reshape(2, 6, 6),
            "with 3 heads: .* the positions were divided",
        ),
        (lesson_04.multi_head, lambda *a: multi_head(*a) + 1, "with 3 heads: .* off by up to 1. Hint: compare the first head"),
        (lesson_04.multi_head, lambda q, k, v, heads: q[0], r"the shape of the values, \(2, 6, 6\); received \(6, 6\)"),
        (
            lesson_05.moving_average,
            lambda v, d: moving_average(v, d, swap=True),
            "0, 1, 1, 1, 1 .*Hint: d and 1 - d have changed",
        ),
        (
            lesson_05.moving_average,
            lambda v, d: moving_average(v, d, lambda n: 1),
            "expected 0.9950, received 0.0394. .*the warm-up",
        ),
        (
            lesson_05.moving_average,
            lambda v, d: moving_average(v, d, lambda n: n / (9 + n)),
            "0, 1, 1, 1, 1 .*n = 0 in the first",
        ),
        (lesson_05.moving_average, lambda v, d: moving_average(v, 1.0), "of 30 values with decay 0.5: .*without `decay`"),
        (lesson_05.moving_average, lambda v, d: np.mean(v, axis=0), "expected 0.9950, received 0.8000. Hint: work out"),
        (lesson_05.moving_average, lambda v, d: 0.0, r"shape \(1,\) like each of the values; received shape \(\)"),
        (lesson_05.min_snr, lambda s, gamma: np.minimum(s.snr, gamma)[1:], "gamma = 5: .*Hint: these are the weights for x_0"),
        (lesson_05.min_snr, lambda s, gamma: np.minimum(s.snr, gamma) * (1 - s.alpha_bar), r"in 1..50, shape .*begin at t = 0"),
        (lesson_05.min_snr, lambda s, gamma: np.minimum(1, gamma / s.snr[1:]), "gamma = 5: .*the weights for the noise"),
        (lesson_05.min_snr, lambda s, gamma: np.maximum(s.snr, gamma)[1:] * (1 - s.alpha_bar[1:]), "not the larger"),
        (lesson_05.min_snr, lambda s, gamma: s.snr[1:], "expected .* at t = 1, .*when the velocity's is 1"),
        (
            lesson_05.make_pairs,
            lambda *a: make_pairs(*a, low=0),
            r"from 1 to 4 .* received \[0, 1, 2, 3, 4\]. Hint: what does t = 0",
        ),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a, high=4), r"received \[1, 2, 3\]. Hint: .*is the upper end of"),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a, shape=(4, 4, 1)), "received the same for two of them. Hint"),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a, size=1.2), "expected noise of mean 0 .* received -?0.0. and 1.2"),
        (lesson_05.make_pairs, lambda x, *a: (x, *make_pairs(x, *a)[1:]), "off by up to .*Hint: .DDPM, eq. 4"),
        (
            lesson_05.make_pairs,
            lambda *a: [part[:1] for part in make_pairs(*a)],
            r"the shape of x_0, \(400, 4, 4, 1\); received \(1",
        ),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a)[::2], "expected three parts, x_t, t and noise; received 2 parts"),
        (lesson_05.make_pairs, lambda *a: make_pairs(*a)[0], "expected three parts, x_t, t and noise; received one ndarray"),
        (
            lesson_05.make_pairs,
            lambda x, *a: pairs_at(x, *a, lambda t: t.astype(float)),
            r"expected an integer t for every image, shape \(400,\); received float64 of shape \(400,\). Hint: .*rng.integers",
        ),
        (
            lesson_05.make_pairs,
            lambda x, *a: pairs_at(x, *a, lambda t: t[:, None, None, None]),
            r"expected an integer t for every image, shape \(400,\); received int64 of shape \(400, 1, 1, 1\). Hint: ",
        ),
        (
            lesson_06.respaced,
            lambda chain, times: respaced(chain, times)[::-1],
            r"beta is off by [+-]0.*: expected .*Hint: .*their order",
        ),
        (
            lesson_06.respaced,
            lambda chain, times: chain.beta[times[::-1]][1:],
            "from 5 to 12, beta is off.*betas of the long chain",
        ),
        (
            lesson_06.respaced,
            lambda chain, times: chain.beta[times],
            r"expected 3 betas, one for each .*; received shape \(4,\). Hint",
        ),
        (
            lesson_06.respaced,
            lambda chain, times: 1 - respaced(chain, times),
            "is the part of the signal's variance that a step keeps",
        ),
        (lesson_06.respaced, lambda chain, times: 1 - (1 - respaced(chain, times)) ** 0.5, "belong to them, or its root"),
        (lesson_06.respaced, lambda chain, times: respaced(chain, times) ** 0.5, "this is a standard deviation"),
        (lesson_06.respaced, lambda chain, times: -np.diff(chain.alpha_bar[times[::-1]]), "a part of what was left"),
        (lesson_06.respaced, lambda chain, times: 1 - 1 / (1 - respaced(chain, times)), "no beta is negative"),
        (lesson_06.respaced, lambda chain, times: -np.diff(np.cumsum(chain.beta)[times])[::-1], "betas do not add up"),
        (lesson_06.respaced, lambda chain, times: 0.9 * respaced(chain, times), "What does one step do to this product"),
        (
            lesson_06.mean_from_x_0,
            lambda x_t, x_0, t, chain: posterior_mean(x_0, x_t, t, chain),
            r"of x_0 is off by \+0.*changed places",
        ),
        (lesson_06.mean_from_x_0, lambda *a: posterior_mean(*a, root=lambda x: x), "of x_t is off by -0.*does 1 - beta multiply"),
        (
            lesson_06.mean_from_x_0,
            lambda *a: weighted(*a, of_x_0=lambda b, s, t: s * b / (1 - t)),
            "of x_0 .*does alpha_bar multiply",
        ),
        (
            lesson_06.mean_from_x_0,
            lambda *a: weighted(*a, of_x_0=lambda b, s, t: t**0.5 * b / (1 - t)),
            "how much of x_0 is in x_t, or",
        ),
        (lesson_06.mean_from_x_0, lambda *a: weighted(*a, of_x_0=lambda b, s, t: s**0.5 * b), "of x_0 .*what do you divide by"),
        (
            lesson_06.mean_from_x_0,
            lambda *a: weighted(*a, of_x_0=lambda b, s, t: s**0.5 * b / max(1 - s, 1e-9)),
            "in the denominator",
        ),
        (
            lesson_06.mean_from_x_0,
            lambda *a: weighted(*a, of_x_t=lambda b, s, t: t**0.5 * (1 - s) / (1 - t)),
            "this factor is of one",
        ),
        (
            lesson_06.mean_from_x_0,
            lambda *a: weighted(*a, of_x_t=lambda b, s, t: (1 - b) ** 0.5 * (1 - s)),
            "of x_t .*you divide by",
        ),
        (lesson_06.mean_from_x_0, lambda *a: weighted(*a, of_x_t=lambda b, s, t: (1 - b) ** 0.5), "it must be 0. Which factor"),
        (lesson_06.mean_from_x_0, lambda *a: 0.9 * posterior_mean(*a), "at t = 10: .*the mean must be x_0 itself"),
        (
            lesson_06.mean_from_x_0,
            lambda *a: abs(posterior_mean(*a)),
            "right for ones and zeros, but off by up to .*weighted sum",
        ),
        (lesson_06.mean_from_x_0, lambda *a: posterior_mean(*a)[0], r"the shape of x_t, \(3,\); received \(\)"),
        (lesson_06.mean_from_x_0, lambda *a: (posterior_mean(*a), 0.1), "expected the mean alone; received a tuple"),
        (lesson_06.mean_from_x_0, library_mean, "expected a formula .*; received a call of the library"),
        (lesson_07.step_from_velocity, lambda *a: from_velocity(*a, of_x_0=1), "expected 0.68.*received 1.96.*sign .* enter it"),
        (lesson_07.step_from_velocity, lambda *a: from_velocity(*a, of_noise=-1), "Hint: look at the noise again: .*sign"),
        (lesson_07.step_from_velocity, lambda *a: from_velocity(*a, of_x_0=1, of_noise=-1), "Hint: that goes as far, but up"),
        (lesson_07.step_from_velocity, lambda x, v, t, s, chain: from_velocity(x, v, s, t, chain), "as far, but up"),
        (lesson_07.step_from_velocity, lambda x, v, t, s, chain: from_velocity(x, v, t, t, chain), "that is x_t itself"),
        (lesson_07.step_from_velocity, lambda x, v, t, s, chain: from_velocity(x, v, t, 0, chain), "that is the guess at x_0"),
        (lesson_07.step_from_velocity, lambda *a: from_velocity(*a, root=np.array), "squares of the rates"),
        (lesson_07.step_from_velocity, lambda *a: ddim(*a, 0.0, 0.0), "the velocity is not the noise"),
        (lesson_07.step_from_velocity, lambda *a: 2 * from_velocity(*a), r"received 1.36.*DDIM, eq. 12"),
        (lesson_07.step_from_velocity, lambda *a: from_velocity(*a)[0], r"the shape of x_t, \(1, 1\); received \(1,\)"),
        (
            lesson_07.mended,
            lambda *a: ddim(*a, sigma=lambda a, b: np.sqrt((1 - a) / (1 - b) * (1 - a / b)), kept=lambda variance, std: variance),
            "from t = 2 to s = 1 with eta = 1.0, for z = 1 alone: expected 0.4961, received 0.8819. Hint: .*factor by factor",
        ),
        (
            lesson_07.mended,
            lambda *a: ddim(*a, sigma=lambda a, b: np.sqrt((1 - a) / (1 - b) * (1 - a / b))),
            "expected numbers; received nan. Hint: of what negative number is that the root",
        ),
        (
            lesson_07.mended,
            lambda *a: ddim(*a, sigma=lambda a, b: posterior_std(a, b) / (b < 1)),
            "from t = 1 to s = 0 .*Hint: s = 0 has no noise: where",
        ),
        (lesson_07.mended, lambda *a: ddim(*a, sigma=lambda a, b: np.sqrt(1 - a / b), kept=max), "DDPM's other variance"),
        (lesson_07.mended, lambda *a: ddim(*a, sigma=lambda a, b: posterior_std(a, b) ** 2), "that is the variance"),
        (lesson_07.mended, lambda *a: ddim(*a, power=0), "eta = 0.5 adds half of what"),
        (lesson_07.mended, lambda *a: ddim(*a, power=0.5), "eta multiplies the standard deviation"),
        (lesson_07.mended, lambda *a: ddim(*a, kept=lambda variance, std: variance), "for noise_pred = 1 .*comes on top"),
        (lesson_07.mended, lambda *a: ddim(*a, kept=lambda variance, std: variance + std**2), "has to be missing here"),
        (
            lesson_07.mended,
            lambda *a: ddim(*a, kept=lambda variance, std: (np.sqrt(variance) - std) ** 2),
            "standard deviations do not",
        ),
        (lesson_07.mended, lambda *a: ddim(*a)[0], r"the shape of x_t, \(3, 4\); received \(4,\)"),
        (
            lesson_08.kernel_distance,
            lambda *a: kernel_distance(*a, itself=0, pairs=0),
            "4 vectors of .* also compared with themselves",
        ),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, itself=0), "the sum still has those with i = j"),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, pairs=0), "divide as if they were there"),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, size=64), "you divide a.b by 64"),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, size=1), "a.b is not divided by D"),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, plus=0), "the . 1 is missing"),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, power=2), "this is a square"),
        (lesson_08.kernel_distance, lambda *a: kernel_distance(*a, across=1), "the third term has a factor of 2"),
        (lesson_08.kernel_distance, lambda *a: 2 * kernel_distance(*a), "work out the three terms"),
        (lesson_08.kernel_distance, lambda x, y: x @ y.T, r"expected one number; received shape \(3, 4\)"),
        (
            lesson_08.mended,
            lambda x, y: frechet(x, y, lambda product: np.trace(np.sqrt(abs(product)))),
            "of the same set twice.*: expected 0.000; received .* takes the root of each entry",
        ),
        (
            lesson_08.mended,
            lambda x, y: frechet(x, y, square=float),
            "moved by .*: expected 25.000; received 5.000. Hint: .* squared",
        ),
        (
            lesson_08.mended,
            lambda x, y: frechet(x, y, lambda p: np.trace(p) ** 0.5),
            "the same set twice.*: expected 0.000; received",
        ),
        (lesson_08.mended, lambda x, y: np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2), "twice as wide.* of the means alone"),
        (
            lesson_08.mended,
            lambda x, y: np.sum((x.mean(axis=0) - y.mean(axis=0)) ** 2 + (x.std(axis=0, ddof=1) - y.std(axis=0, ddof=1)) ** 2),
            "correlated in different ways: expected .* roots of the matrix's eigenvalues",
        ),
        (lesson_08.mended, lambda x, y: x - x, r"expected one number; received shape \(200, 3\)"),
        (lesson_09.shifted_betas, lambda b, f: shifted_betas(b, 1 / f), "of 2 steps by 2: expected 0.8.*the other way"),
        (lesson_09.shifted_betas, lambda b, f: shifted_betas(b, f**0.5), "f squared, not by f"),
        (lesson_09.shifted_betas, lambda b, f: shifted_betas(b, f**2), "that shifts twice"),
        (lesson_09.shifted_betas, lambda b, f: np.cumprod(1 - shifted_betas(b, f)), "which betas have them as products"),
        (lesson_09.shifted_betas, lambda b, f: b, "the schedule has not changed"),
        (lesson_09.shifted_betas, lambda b, f: [shifted_betas(one, f)[0] for one in b[:, None]], "each beta by itself"),
        (lesson_09.shifted_betas, lambda b, f: np.append(1 - (1 - b[0]) / f**2, b[1:]), "divides alpha_bar"),
        (lesson_09.shifted_betas, lambda b, f: 1 - b, "work out by hand"),
        (lesson_09.shifted_betas, lambda b, f: np.append(0, shifted_betas(b, f)), r"shape \(2,\); received.* \(3,\)"),
        (
            lesson_09.largest_signal,
            lambda *a: largest_signal(*a) ** 2,
            "side 10, c = 0.5, left = 0.5: expected 0.1429, .*its root",
        ),
        (lesson_09.largest_signal, lambda side, *a: largest_signal(side**0.5, *a), "side \\* side pixels"),
        (lesson_09.largest_signal, lambda side, c, left: np.sqrt((1 / left - 1) / (side**2 * c)), "the 1 in n c - 1"),
        (lesson_09.largest_signal, lambda side, c, left: largest_signal(side, c, 1 - left), "that keeps 1 - left"),
        (lesson_09.largest_signal, lambda side, c, left: largest_signal(side, c, left**2), "not of the deviation"),
        (lesson_09.largest_signal, lambda *a: 3 * largest_signal(*a), "solve the lesson's formula"),
        (lesson_09.largest_signal, lambda *a: [largest_signal(*a)], r"expected one number; received shape \(1,\)"),
        (lesson_09.make_pictures, lambda *a: make_pictures(*a, there=lambda x: x / 255), "received 0 to 1. Hint: which range"),
        (lesson_09.make_pictures, lambda *a: make_pictures(*a, back=lambda x: 255 * x), "changes nothing: .* the inverse"),
        (
            lesson_09.make_pictures,
            lambda *a: make_pictures(*a, whole=lambda x: np.floor(x + 1e-6)),
            "darker: .* round to the nearest",
        ),
        (lesson_09.make_pictures, lambda *a: make_pictures(*a, clip=lambda x: x), "overshoots by a tenth: .* clip it first"),
        (lesson_09.make_pictures, lambda pixels, work: pixels, "it never calls `work`"),
        (lesson_09.make_pictures, lambda *a: make_pictures(*a) / 255, r"expected uint8 of .*; received float64 of shape"),
        (lesson_10.guided, lambda c, u, g: guided(c, c, g) + (guided(c, u, g) - u), "counts from the conditional answer"),
        (lesson_10.guided, lambda c, u, g: guided(u, c, g), "goes from c to u"),
        (lesson_10.guided, lambda c, u, g: u + np.reshape(g, (-1, 1, 1, 1)) * c, "difference of both answers"),
        (lesson_10.guided, lambda c, u, g: np.reshape(g, (-1, 1, 1, 1)) * (c - u), "the unconditional answer is missing"),
        (
            lesson_10.guided,
            lambda c, u, g: guided(c, u, g, lambda g: np.resize(g, c.shape[-1])),
            "its own g, along the first axis",
        ),
        (lesson_10.guided, lambda c, u, g: guided(c, u, g[:1]), "its own g, along the first axis"),
        (lesson_10.drop_labels, lambda y, s, n, r: drop_labels(y, 1 - s, n, r), "drops what should be kept"),
        (lesson_10.drop_labels, lambda y, s, n, r: drop_labels(y, s**2, n, r), "with share 0.1: dropped 1"),
        (lesson_10.drop_labels, dropped_in_place, "change a copy"),
        (lesson_10.drop_labels, permuted, "has changed, or moved"),
        (lesson_10.drop_labels, first_share, "one half loses more labels"),
        (lesson_10.drop_labels, in_blocks, "neighbours are not dropped independently"),
        (
            lesson_10.drop_labels,
            lambda y, s, n, r: drop_labels(y, s, n, np.random.default_rng(1)),
            "two calls drop the same places",
        ),
        (lesson_10.drop_labels, lambda y, s, n, r: np.full_like(y, n) if r.random() < s else y, "with share 0.1: dropped 0.0%"),
        (lesson_10.drop_labels, lambda y, s, n, r: drop_labels(y, s, n, r)[y < 5], "expected 20000 integers"),
        (
            lesson_10.answer_with,
            lambda m, y, g: answer_with(m, y, g, null=-1),
            r"\[10, 10, 10\]; received \[-1, -1, -1\].*which label stands for none",
        ),
        (
            lesson_10.answer_with,
            lambda m, y, g: answer_with(m, y, g, combine=lambda c, u, g: c + g * (c - u)),
            "where does the sum begin",
        ),
        (
            lesson_10.answer_with,
            lambda m, y, g: answer_with(m, y, g, combine=lambda c, u, g: u - g * (c - u)),
            "not away from it",
        ),
        (
            lesson_10.answer_with,
            lambda m, y, g: answer_with(m, y, g, combine=lambda c, u, g: c - g * (c - u)),
            "from the label's answer",
        ),
        (lesson_10.answer_with, lambda m, y, g: 3, "expected a function of"),
        (lesson_11.collage, lambda *a: collage(*a, order=-1), "of 2 pieces .*the last one counts"),
        (lesson_11.collage, lambda *a: collage(*a, swap=True), "true where its piece is to be put"),
        (lesson_11.collage, lambda *a: collage(*a, root=lambda x: x), "with the root of 1 - alpha_bar_s"),
        (lesson_11.collage, lambda *a: collage(*a, level=1.0), "as noisy as x_s"),
        (lesson_11.collage, lambda x, p, n, a: x, "fade each piece"),
        (lesson_11.collage, pasted_in_place, "np.where makes a new one"),
        (lesson_11.collage, lambda *a: collage(*a)[..., 0], r"expected shape \(2, 5, 4, 1\)"),
        (lesson_11.jumps, lambda *a: jumps(*a, more=0), "one more than the jumps up"),
        (lesson_11.jumps, lambda *a: jumps(*a, end=-1), "from 0 nobody goes up again"),
        (lesson_11.jumps, lambda times, length, rounds: jumps(times, 1, rounds), r"2, 2\): .* `length` steps before"),
        (lesson_11.jumps, lambda times, *a: [(s, t) for t, s in jumps(times, *a)], "the walk is at 4, so that .* cannot follow"),
        (lesson_11.jumps, lambda times, *a: times, "expected a list of pairs"),
        (lesson_11.jumps, lambda *a: np.array(jumps(*a)), "expected a list of pairs"),
        (lesson_11.keep_known, lambda *a: keep_known(*a, level=lambda t, s: t), "as noisy as what the step gives"),
        (lesson_11.keep_known, lambda *a: keep_known(*a, root=lambda x: x), "needs its root"),
        (lesson_11.keep_known, lambda *a: keep_known(*a, swap=True), "true where pixels are known"),
        (lesson_11.keep_known, lambda *a: keep_known(*a, level=lambda t, s: t, swap=True), "the level, and the mask"),
        (lesson_11.keep_known, lambda *a: keep_known(*a, root=lambda x: x, swap=True), "the root, and the mask"),
        (lesson_11.keep_known, lambda *a: keep_known(*a, level=lambda t, s: t, root=lambda x: x), "the level, and the root"),
        (lesson_11.keep_known, lambda x, *a: keep_known(x + 1, *a), "known pixels at the level of s"),
        (lesson_11.keep_known, lambda *a: keep_known(*a)[0], r"expected shape"),
        (lesson_12.parts, lambda x, f: parts(x, f)[0], "expected two arrays"),
        (lesson_12.parts, lambda x, f: (np.asarray(resize.shrink(x, f)), x), "coarse part of shape .*Hint: enlarge it again"),
        (lesson_12.parts, lambda x, f: parts(x, f, repeat=lambda y: np.tile(y, (1, f, f, 1))), "np.tile repeats the whole"),
        (lesson_12.parts, lambda x, f: parts(x, f, of=np.sum), "the mean of a square, not its sum"),
        (lesson_12.parts, lambda x, f: parts(x, f, of=lambda s, axis: s[..., 0, :]), "not its first pixel"),
        (lesson_12.parts, lambda x, f: parts(x, f)[::-1], "the coarse part comes first"),
        (lesson_12.parts, lambda x, f: parts(x, f, sign=-1), "detail: .*what is left of x"),
        (lesson_12.parts, lambda x, f: (parts(x, f)[0], x), "detail: .*coarse and detail add up to x"),
        (lesson_12.psnr_of, lambda *a: 10 * np.log10(4 / np.mean(10 ** (-psnr_of(*a) / 10) * 4)), "received one number"),
        (lesson_12.psnr_of, lambda *a: psnr_of(*a, peak=1), "the peak is 2, and its square 4"),
        (lesson_12.psnr_of, lambda *a: psnr_of(*a, peak=2), "square the peak"),
        (lesson_12.psnr_of, lambda *a: psnr_of(*a, log=np.log), "logarithm to base 10"),
        (lesson_12.psnr_of, lambda *a: psnr_of(*a, times=20), "10 log10, not 20"),
        (lesson_12.psnr_of, lambda *a: -psnr_of(*a), "a smaller error is a larger PSNR"),
        (lesson_12.psnr_of, lambda *a: psnr_of(*a, power=1), "not of their absolute values"),
        (lesson_12.psnr_of, lambda *a: psnr_of(*a) + 1, r"10 log10\(4 / mean squared error\)"),
        (lesson_12.psnr_of, lambda one, two: np.mean(one - two, axis=0), r"expected shape \(3,\)"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, roll=1), "its own small one, not its neighbour's"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, one_t=True), "a time of its own"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, total=np.sum), "grows with the batch"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, roll=1, one_t=True), "left: the small pictures and the times"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, roll=1, total=np.sum), "left: the small pictures and the sum"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, one_t=True, total=np.sum), "left: the times and the sum"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, roll=1, one_t=True, total=np.sum), "all three mistakes"),
        (lesson_12.training_loss, lambda *a: training_loss(*a) + 1, "the mean squared error of the guess at the noise"),
        (lesson_12.training_loss, lambda *a: training_loss(*a, total=lambda x: x.mean(axis=(1, 2, 3))), "expected one number"),
        (lesson_13.masked_mean, lambda v, t: v.mean(axis=1), "not of all positions: padding counts"),
        (lesson_13.masked_mean, lambda v, t: (v * (t > 0)[..., None]).mean(axis=1), "not by the length of the row"),
        (lesson_13.masked_mean, lambda v, t: (v * (t > 0)[..., None]).sum(axis=1), "a mean, not a sum"),
        (
            lesson_13.masked_mean,
            lambda v, t: (v * (t > 0)[..., None]).sum(axis=1) / (t > 0).sum() * len(t),
            "a length of its own",
        ),
        (
            lesson_13.masked_mean,
            lambda v, t: (v * (t > 1)[..., None]).sum(axis=1) / (t > 0).sum(axis=1)[:, None],
            "the start is a token",
        ),
        (lesson_13.masked_mean, lambda v, t: masked_mean(v, t) + 1, "a token that is 0 is padding"),
        (lesson_13.masked_mean, lambda v, t: masked_mean(v, t)[0], r"expected shape \(3, 4\)"),
        (lesson_13.corrected_share, lambda o, s, f: o / s, "take it away"),
        (lesson_13.corrected_share, lambda o, s, f: (o - f) / s, "the denominator, too"),
        (lesson_13.corrected_share, lambda o, s, f: o * s + (1 - o) * f, "what would be observed"),
        (lesson_13.corrected_share, lambda o, s, f: (o - f) * (s - f), "divide by the difference"),
        (lesson_13.corrected_share, lambda o, s, f: (o - f) / (1 - s + f), "that of the two error rates"),
        (lesson_13.corrected_share, lambda o, s, f: o, r"observed = p s \+ \(1 - p\) f"),
        (lesson_13.corrected_share, lambda o, s, f: [o, s], "expected one number"),
        (lesson_13.masked_attention, by_keys, "not of the number of keys"),
        (lesson_13.masked_attention, lambda *a: masked_attention(*a, axis=-2), "its weights for all keys sum to 1"),
        (lesson_13.masked_attention, lambda *a: masked_attention(*a, hide=np.multiply), "a score of 0 is a score like any other"),
        (lesson_13.masked_attention, lambda *a: masked_attention(*a, hide=lambda scores, seen: scores), "here all is"),
        (lesson_13.masked_attention, lambda *a: by_keys(*a, axis=-2), "NaN, 0 / 0. Hint: each query shares out"),
        (
            lesson_13.masked_attention,
            lambda *a: by_keys(*a, hide=np.multiply),
            "left: the length in the root and how keys are hidden",
        ),
        (
            lesson_13.masked_attention,
            lambda *a: masked_attention(*a, axis=-2, hide=np.multiply),
            "left: the axis of the sum and how keys are hidden",
        ),
        (lesson_13.masked_attention, lambda *a: by_keys(*a, axis=-2, hide=np.multiply), "all three mistakes"),
        (lesson_13.masked_attention, lambda *a: masked_attention(*a) + 1, "over the keys that are seen, times v"),
        (lesson_13.masked_attention, lambda *a: masked_attention(*a)[0], "expected shape"),
    ],
)
def test_a_wrong_answer_is_told_what_was_expected(check, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(wrong)


@pytest.mark.filterwarnings("ignore:x_T keeps")
def test_a_schedule_is_no_answer_in_lesson_02():
    with pytest.raises(AssertionError, match="without the library's Schedule"):
        lesson_02.signal_rates(lambda betas: schedule.Schedule(betas).signal_rate)


def test_the_numbers_in_lesson_02s_answers():
    betas = np.linspace(1e-4, 0.02, 1000)
    variance = 0.4
    for beta in betas:
        variance = (1 - beta) * variance + beta**2
    assert variance == pytest.approx(0.02, abs=0.002)
    reverse = rates(betas[::-1])
    assert reverse[-1] == pytest.approx(rates(betas)[-1])
    assert np.abs(rates(betas) - reverse[100]).argmin() == 434
    assert rates(betas)[100] == pytest.approx(0.95, abs=0.005)
    assert betas[:-101:-1].mean() == pytest.approx(0.019, abs=0.0001)
    assert reverse[100] == pytest.approx(0.38, abs=0.005)
    assert np.exp(-0.95) == pytest.approx(0.39, abs=0.005)
    assert rates(np.linspace(1e-4, 0.02, 50))[-1] == pytest.approx(0.78, abs=0.005)


# ---- what all exercises have in common


@checks.exercise(7)
def double(answer):
    """A check that needs a number of `answer(x)`, twice."""
    for x in (1.0, 2.0):
        assert abs(answer(x) - 2 * x) < 1e-6, f"expected {2 * x}"


BODIES = {
    "dots": "def answer(x): ...",
    "dots below, and a comment": "def answer(x, *more, y=2.0, **others):\n    ...  # your code here",
    "a docstring": 'def answer(x):\n    """Twice x."""\n    ...',
    "a docstring alone": 'def answer(x):\n    """Twice x."""',
    "pass": "def answer(x):\n    pass",
    "None": "def answer(x):\n    pass\n    return None",
    "no function": "answer = ...",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_untouched_answer_is_not_done_yet(body):
    names = {}
    exec(body, names)
    with pytest.raises(checks.NotDoneYet, match=r"Exercise 7: not done yet. .* the body of `double` in the place of the dots"):
        double(names["answer"])


FORGOTTEN = {
    "a name": "def answer(x):\n    y = 2 * x",
    "the bare value": "def answer(x):\n    2 * x",
    "the bare argument": "def answer(x):\n    x",
    "in one branch": "def answer(x):\n    if x < 2:\n        return 2 * x",
    "print": "def answer(x):\n    print(2 * x)",
}


@pytest.mark.parametrize("body", FORGOTTEN.values(), ids=FORGOTTEN)
def test_a_forgotten_return_is_told(body):
    names = {}
    exec(body, names)
    with pytest.raises(AssertionError, match=r"^double: received None: does your function return its result") as caught:
        double(names["answer"])
    assert caught.type is checks.NotRightYet


@pytest.mark.parametrize("constant", [0.0, "2 x", False, ...], ids=repr)
def test_a_constant_is_an_answer_and_a_wrong_one(constant):
    assert not checks.is_untouched(lambda x: constant)
    names = {}
    exec(f"def answer(x):\n    return {constant!r}".replace("Ellipsis", "..."), names)
    assert not checks.is_untouched(names["answer"])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("lambda b: b", "signal_rates"),
        ("lambda b: None", "Exercise 4: not done yet"),
        ("lambda b: b.no_such_thing", "AttributeError"),
    ],
)
def test_a_notebook_shows_what_a_check_says_and_not_how_it_finds_out(answer, told):
    shell = InteractiveShell()
    shell.user_ns["checks"] = lesson_02
    shown = []
    shell._showtraceback = lambda kind, error, lines: shown.extend(lines)
    shell.run_cell(f"checks.signal_rates({answer})")
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(shown))
    assert told in text
    assert "cumprod" not in text  # the check's own computation
    assert "with_traceback" not in text
    assert ("no_such_thing" in text) == (told == "AttributeError")


@pytest.mark.parametrize(("cell", "advised"), [("assert 1 == 2, 'received 1'", True), ("checks.signal_rates(3)", False)])
def test_a_claim_that_fails_says_what_to_try(cell, advised):
    shell = InteractiveShell()
    shell.set_custom_exc((AssertionError,), checks._advise)
    shell.user_ns["checks"], shown = lesson_02, []
    shell._showtraceback = lambda kind, error, lines: shown.extend(lines)
    result = shell.run_cell(cell)
    assert isinstance(result.error_in_exec, AssertionError)
    assert ("Restart Kernel and Run All Cells" in "\n".join(shown)) == advised
    assert "received" in "\n".join(shown)  # as always


def test_every_lesson_is_so_advised():
    code = "from lessons_lib import checks; print(get_ipython().custom_exceptions, get_ipython().CustomTB.__func__.__name__)"
    done = subprocess.run([sys.executable, "-m", "IPython", "-c", code], capture_output=True, text=True)
    assert "AssertionError" in done.stdout, done.stderr


def careful(x):
    assert x < 1, "my own assert"


@pytest.mark.parametrize(("answer", "kind"), [(careful, AssertionError), (lambda x: x / 0, ZeroDivisionError)])
def test_an_error_within_the_answer_shows_its_lines_alone(answer, kind):
    with pytest.raises(kind) as caught:
        double(answer)
    assert caught.type is kind
    assert [entry.name for entry in caught.traceback][-2:] == ["checked", answer.__name__]


def test_an_answer_that_cannot_be_called_is_told():
    with pytest.raises(checks.NotRightYet, match=r"takes 2 positional arguments but 3 were given|missing 1 required positional"):
        double(lambda x, y: 2 * x)
    with pytest.raises(checks.NotRightYet, match=r"expected 2\.0"):
        double(lambda x: 3 * x)


def test_an_answer_is_a_function():
    for wrong in (np.array([2.0, 4.0]), None, 2.0):
        with pytest.raises(AssertionError, match=f"double: expected a function; received {type(wrong).__name__}"):
            double(wrong)


@pytest.mark.parametrize("right", [lambda x: 2 * x, np.float64(2).__mul__, partial(np.multiply, 2)])
def test_any_callable_may_answer(right, capsys):
    double(right)
    assert capsys.readouterr().out == "Exercise 7: well done.\n"


def test_the_librarys_own_function_is_no_answer():
    seen = []

    @checks.exercise(4)
    def to_noise(answer):
        seen.append(answer)

    with pytest.raises(AssertionError, match="to_noise: expected code of your own; received one of the library's functions"):
        to_noise(diffusion.to_noise)
    assert seen == [diffusion.to_noise]  # as it is, for a check that knows more
    to_noise(lambda *a: diffusion.to_noise(*a))


def test_wrong_answers_are_not_praised_without_asserts():
    """In a Python that runs with -O, or with PYTHONOPTIMIZE set, which takes `assert` out."""
    command = [
        sys.executable,
        "-O",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "wrong_answer_is_told or not_done",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-300:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100


def test_the_numbers_in_lesson_10s_answers():
    chain, centres = schedule.linear(), np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
    world = oracle.mixture(chain, centres, np.full(3, 0.36), np.full(3, 1 / 3))
    x_T, certain, beyond = sampling.noise_of(0, 0, (600, 2)).astype(float), {}, []
    for g in (-1, 0):
        certain[g] = []
        for y, centre in enumerate(centres):
            guided = guidance.guide(oracle.gaussian(chain, centre, 0.36).predict_noise, world.predict_noise, g)
            *_, last = sampling.sample(guided, chain, x_T.shape, 50, x_T=x_T)
            certain[g].append(np.asarray(world.posterior(last.x_t, np.ones(600, int)))[:, y].mean())
            beyond.append(np.linalg.norm(last.x_t, axis=1).mean())
    assert np.mean(certain[-1]) == pytest.approx(0.07, abs=0.01)
    assert np.mean(certain[0]) == pytest.approx(1 / 3, abs=0.01)
    assert min(beyond[:3]) > 1.8 * max(beyond[3:])
    conditioned, cosine = training.load_weights("digits_by_label")
    c, u = (conditioned(labels) for labels in (np.tile([2, 3, 5, 7, 8], 2), np.full(10, 10)))
    strong, x_T = guidance.guide(c, u, 5), np.repeat(sampling.noise_of(0, 0, (2, 28, 28, 1)), 5, axis=0)
    ways = {"plain": c, "early": guidance.within(601, 1000, strong, c), "late": guidance.within(1, 600, strong, c), "all": strong}
    drawn = {}
    for name, way in ways.items():
        *_, last = sampling.sample(way, cosine, x_T.shape, 25, x_T=x_T, seed=0, clip=True)
        drawn[name] = last.x_t.clip(-1, 1)
    apart = {(a, b): np.square(drawn[a] - drawn[b]).mean() for a in drawn for b in drawn}
    assert apart["early", "all"] == pytest.approx(0.005, abs=0.002)
    assert apart["plain", "all"] == pytest.approx(0.13, abs=0.02)
    assert apart["late", "plain"] == pytest.approx(0.012, abs=0.004)


def test_the_numbers_in_lesson_09s_answers():
    chain = schedule.cosine()
    assert chain.signal_rate[950] == pytest.approx(0.08, abs=0.005)
    snow, sunset = (np.mean(grammar.GROUNDS[name]) / 127.5 - 1 for name in ("snow", "sunset"))
    assert chain.signal_rate[950] * (snow - sunset) == pytest.approx(1 / 16, abs=0.005)
    more = unet.flops(unet.unet(64, 3, (48, 96), blocks=1, patch=2)) / unet.flops(unet.unet(64, 3, (48, 96), blocks=1, patch=4))
    assert more == pytest.approx(3.7, abs=0.05)


def test_what_lesson_09_says_of_the_mean_colour():
    """Of the scenes that it measures, to the percent that is told."""
    many = next(iter(data.load("scenes", "train[:1000]", 1000, label=None))).numpy()
    c, cosine = np.linalg.eigvalsh(np.cov(many.mean(axis=(1, 2)), rowvar=False))[-1], schedule.cosine()
    n = np.array([28, 64, 256]) ** 2

    def left(alpha_bar):
        return np.round(100 / (alpha_bar * (n * c - 1) + 1)).tolist()

    def walked(least):
        chain = schedule.Schedule(cosine.beta[1 : np.argmax(cosine.signal_rate <= least) + 1])
        world, start = oracle.gaussian(chain, np.zeros(3), n * c), np.ones((1, 3))
        *_, last = sampling.sample(world.predict_noise, chain, (1, 3), chain.T, x_T=start)
        return chain.terminal_signal, np.round(100 * last.x_t[0] ** 2 / (n * c)).tolist()

    assert walked(0.05)[1] == [42, 12, 1]
    assert walked(0.01) == (pytest.approx(0.0094, abs=5e-5), [93, 77, 19])
    assert left(1e-4) == [95, 77, 18]
    assert left(schedule.linear().alpha_bar[-1])[1] == 89
