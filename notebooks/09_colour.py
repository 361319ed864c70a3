# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09. Draw in colour, at 64 by 64
#
# So far we have drawn grey digits, 28 pixels wide. One of the two articles from which this course grew (Vedant Jumle,
# named in lesson 05) says that its code is robust enough for higher resolution and colour, and shows faces of 64 by 64
# pixels. That is nearly true: `noisify`, `fit` and `sample` take such pictures as they are. But three things can go
# wrong as pictures grow, and none of them raises an error.

# %% [markdown]
# **You will**
#
# - **draw** pictures of 64 by 64 pixels in colour, with the functions of lessons 05 to 07;
# - **find** three things to check when pictures grow, and build a repair for each;
# - **judge** whether the drawn pictures are whole, varied, and not copied.
#
# **You need** lessons 05 to 08. To run, it
# takes <!-- measured -->about 6 minutes on two CPU cores and 2.9 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

import warnings
from contextlib import chdir
from tempfile import TemporaryDirectory

import keras
import numpy as np
from einops import rearrange, reduce
from PIL import Image
from scipy import ndimage

from lessons_lib import (
    data,
    diffusion,
    judges,
    metrics,
    optimizers,
    oracle,
    plots,
    sampling,
    schedule,
    training,
    unet,
    weights,
)
from lessons_lib.checks import lesson_09 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
BATCH = 32
TRAIN = choose(smoke="train[:1000]", cpu="train", gpu="train")  # scenes to learn from
STEPS = choose(smoke=20, slow=400, cpu=1400, gpu=6000)  # of the training
COUNT = choose(smoke=40, slow=200, cpu=400, gpu=1000)  # pictures to draw
WALK = choose(smoke=5, cpu=25, gpu=25)  # steps of each of them
CHECKPOINTS = None  # a folder, to be able to go on later

keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Pictures that every machine has
#
# MNIST has no colour, and large sets of photographs are slow to download. So the library brings a set of its own:
# `scenes`, 24,000 pictures that a program draws when they are first asked for. Each shows one or two things on one of
# five grounds and comes with a caption, which we shall need in lesson 13.

# %%
batches = data.load("scenes", "train[:64]", 64, label="caption")
pictures, captions = (part.numpy() for part in next(iter(batches)))
print(*(caption.decode() for caption in captions[:4]), sep="\n")
what = "circles, squares, triangles, stars, hearts and rings in six colours, on five grounds"
plots.show_images(pictures, f"Sixty-four scenes of one or two things: {what}.", columns=16)

# %% [markdown]
# Each value of shape, colour, size, ground and relation is as likely as any other, and only shape and colour depend on
# each other: six combinations, such as a red triangle, occur in no training picture. They are *held out*, and in lesson
# 13 we shall ask a network to draw them. Captions choose among synonyms, and may start with either thing.
#
# Drawn scenes are clean and few in kind. Photographs are neither, so we also look at Oxford Flowers 102 (Nilsback and
# Zisserman 2008), cropped to the middle square and reduced to 64 by 64 pixels. They were collected from the web, and
# their rights remain with their authors; this course shows fourteen, eight of them here, and packages none. If they cannot be had on your
# machine, one line says so, and scenes take their place.

# %%
source = data.flowers()
split = "validation" if source != "scenes" else "test"
photographs = next(iter(data.load(source, split, 8, size=64, label=None))).numpy()
what = "flowers, mostly one large blossom before green leaves" if split != "test" else "scenes"
plots.show_images(photographs, f"Eight pictures of {what}.")

# %% [markdown]
# ## What does not change
#
# `noisify`, `fit` and `sample` never asked how large a picture is or how many channels it has. The U-Net has to know
# both, but works for any size that it can divide. What grows is its cost. A picture of 64 by 64 pixels with three
# channels has 15.7 times as many numbers as a digit. As in lesson 05, we first **fold** squares of pixels into
# channels, now 4 by 4 of them. The picture becomes 16 by 16 positions with $4 \cdot 4 \cdot 3 = 48$ numbers each.
# Nothing is lost:


# %%
def fold(x, side):
    return rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=side, q=side)


def unfold(x, side):
    return rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=side, q=side)


print(pictures.shape, "folds to", fold(pictures, 4).shape)
assert fold(pictures, 4).shape[1:] == (16, 16, 48)
np.testing.assert_array_equal(unfold(fold(pictures, 4), 4), pictures)

# %% [markdown]
# **Earned.** `unet.unet(..., patch=4)` does this before its first convolution and undoes it after the last. What does a
# picture cost, by its size? The seconds and gigabytes below were measured once, on two cores, for one training step
# with 32 pictures (`make tables LESSONS=09`); operations are counted here.

# %%
kept = weights.results("09")
NETWORK = {"channels": 3, "widths": (48, 96), "blocks": 1, "patch": 4}
print("pixels  operations  seconds a step  gigabytes")
for side in (16, 32, 64, 128):
    cost, operations = (
        kept[f"cost, {side} pixels"],
        unet.flops(unet.unet(side, **NETWORK)) / 1e9,
    )
    memory = cost["gigabytes"] - cost["gigabytes_before"]
    print(f"{side:6} {operations:9.3f}e9 {cost['step_seconds']:15.2f} {memory:10.2f}")
    np.testing.assert_allclose(operations, cost["gflop"], rtol=1e-3)
digit = unet.flops(unet.unet(28, 1, (32, 64), blocks=2, patch=2)) / 1e9
print(f"lesson 05's network: {digit:.3f}e9")

# %% [markdown]
# A picture of 64 by 64 pixels takes twice as many operations as a digit took, thanks to larger patches and fewer
# blocks. Twice the side means four times the operations; the seconds grow by less, 2.3 times from 32 to 64 pixels and
# 3.4 times from 64 to 128.
#
# ## The same noise hides less of a larger picture
#
# We add noise to five scenes, at a time when its coefficient is twice that of the scene. Below, the same noisy
# pictures are averaged over squares of 4 by 4 pixels:


# %%
rng, cosine, t = np.random.default_rng(SEED), schedule.cosine(), 700
a, noise = cosine.alpha_bar[t], rng.standard_normal((5, 64, 64, 3), dtype=np.float32)
x_t = diffusion.add_noise(pictures[:5], noise, np.float32(a)).numpy()


def shrunk(x, side):
    return reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=side, q=side)


print(f"deviation of the noise: {noise.std():.3f}, averaged {shrunk(noise, 4).std():.4f}")
assert abs(shrunk(noise, 4).std() * 4 - 1) < 4 / np.sqrt(2 * noise.size / 16)
plots.show_filmstrip(
    [pictures[:5], x_t, shrunk(x_t, 4).repeat(4, axis=1).repeat(4, axis=2)],
    "Five scenes, the same under strong noise, and the noisy ones averaged over 4 by 4 pixels, "
    "in which light, dark and coloured areas stand out.",
    row_labels=["x_0", f"x_t, t = {t}", "averaged"],
)

# %% [markdown]
# The average of $f \cdot f$ independent numbers with variance 1 has variance $1/f^2$. So averaging turns
# $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$ into the same mixture of the smaller picture with noise
# that is $f$ times weaker: the signal-to-noise ratio of the averages is $f^2$ times that of the pixels. A picture
# contains all its smaller versions, and at time $t$ each of them has a ratio of its own.
#
# We can say at which time each scale drowns. Any picture is a sum of waves (a Fourier transform finds them), and its
# variance is the sum of theirs. A wave with one cycle a picture is a slow change from one side to the other; one with
# 32 cycles changes from pixel to pixel. `metrics.octaves` adds up the variances of all waves in an **octave**, from
# some number of cycles a picture to twice that number. Let $p_k$ be the variance of $x_0$ in octave $k$, and $w_k$ that
# of white noise. Their ratio in $x_t$ is
#
# $$\frac{\bar\alpha_t}{1-\bar\alpha_t} \cdot \frac{p_k}{w_k},$$
#
# which is 1 where $\log \mathrm{SNR}_t=\log w_k-\log p_k$. We try this on Gaussian pictures with a known spectrum: the
# amplitude falls as one over the frequency, as it roughly does in photographs (Field 1987).

# %%
cycles = np.hypot(np.fft.fftfreq(64, 1 / 64)[:, None], np.fft.fftfreq(64, 1 / 64))
gain = np.where(cycles > 0, 8 / cycles.clip(1), 0)


def clouds(count):
    white = rng.standard_normal((count, 64, 64))
    return np.fft.ifft2(np.fft.fft2(white) * gain).real[..., None]


octave = np.floor(np.log2(cycles.clip(0.5))).clip(max=5)  # of each wave
waves = np.abs(np.fft.fft2(pictures[0].mean(axis=-1))) ** 2 / 64**4  # their variances
by_hand = [np.sum(waves[octave == k]) for k in range(6)]
np.testing.assert_allclose(by_hand, metrics.octaves(pictures[:1])[0], rtol=1e-5)
exact = np.array([np.sum(gain[octave == k] ** 2) for k in range(6)]) / 64**2
white = np.array([np.sum(octave == k) for k in range(6)]) / 64**2  # of one channel
drowned = np.array(
    [np.argmin(abs(cosine.log_snr - np.log(w / p))) for w, p in zip(white, exact, strict=True)]
)
signal, noises = (
    metrics.octaves(clouds(1000)),
    metrics.octaves(rng.normal(size=(1000, 64, 64, 1))),
)
for k, t in enumerate(drowned):
    ratio = cosine.snr[t] * signal[:, k].mean() / noises[:, k].mean()
    error = np.sqrt(
        np.sum([(x[:, k].std() / x[:, k].mean()) ** 2 for x in (signal, noises)]) / 1000
    )
    print(f"{2**k:2} cycles: drowned at t = {t}; ratio there {ratio:.3f} ± {error:.3f}")
    assert abs(ratio - 1) < 4 * error + 0.01

# %% [markdown]
# Coarse structure outlives fine structure by far. Now the same for real pictures. Brightness is the mean of three
# channels, so its noise has a third of the variance; the spectra of 1,000 scenes and 1,000 flowers are read from the
# committed table.

# %%
WIDER = 64 / 28
moved = schedule.shifted(cosine, WIDER)


def drowns(name, chain):
    power = np.array([kept[name][f"octave_{2**k}_value"] for k in range(6)])
    level = np.log(white / 3 / power)
    return {2**k: int(np.argmin(abs(chain.log_snr - level[k]))) for k in range(6)}


curves = {
    "scenes": drowns("real, train", cosine),
    "flowers": drowns("flowers, validation", cosine),
    "scenes, shifted schedule": drowns("real, train", moved),
}
for name, curve in curves.items():
    print(f"{name:24}", *(f"{t:4}" for t in curve.values()))
assert all(np.all(np.diff(list(curve.values())) < 0) for curve in curves.values())
plots.plot_estimates(
    curves,
    "Time at which an octave drowns, by its lowest frequency: it falls from 780 to 940 for the "
    "coarsest to below 30 for the finest; on the shifted schedule every octave drowns earlier.",
    labels=("cycles a picture", "t at which noise equals signal"),
)

# %% [markdown]
# In a scene, changes from pixel to pixel drown before $t=30$, and the coarsest octave only at 899. Flowers have more
# variance in every octave than scenes, and drown later. On the way back, octaves appear in the reverse order: coarse
# structure first, fine detail in the last steps. The two coarsest octaves of scenes have appeared after a quarter of
# the walk, at $t=740$; on the shifted schedule, to which we come now, only after half of it, at 502.
#
# **The repair.** If a quarter of the walk is too short for coarse structure, we need more noise at each $t$, at the
# price of fewer steps for fine detail. If the side is $f$ times as long, we want the averaged picture to have the
# signal-to-noise ratio that the small picture had, which means to divide the ratio by $f^2$ (Hoogeboom et al. 2023,
# section 3.1):
#
# $$\frac{\bar\alpha'_t}{1-\bar\alpha'_t}=\frac{1}{f^2} \cdot \frac{\bar\alpha_t}{1-\bar\alpha_t}
# \qquad \Longleftrightarrow \qquad \bar\alpha'_t=\frac{\bar\alpha_t}{\bar\alpha_t+f^2\,(1-\bar\alpha_t)}$$
#
# The logarithm of the ratio moves down by $2 \log f$ at every $t$.

# %%
by_hand = cosine.alpha_bar / (cosine.alpha_bar + WIDER**2 * (1 - cosine.alpha_bar))
np.testing.assert_allclose(moved.alpha_bar, by_hand, rtol=1e-9)
four = schedule.shifted(cosine, 4)  # averaging over 4 by 4 pixels multiplies the ratio by 16
np.testing.assert_allclose(four.snr[1:] * 4**2, cosine.snr[1:], rtol=1e-6)
plots.plot_schedule(
    {"cosine": cosine, "cosine, shifted by 64 / 28": moved},
    "The shifted schedule's signal falls earlier; its ratio lies seven decibels lower throughout.",
)

# %% [markdown]
# **Earned.** `schedule.shifted(chain, factor)`. We know what the cosine schedule does at 28 pixels, so we shift it by
# 64 / 28. (The paper shifts from 64 pixels upwards.)
#
# Do our scenes gain by the shift? Six networks were trained for 2,500 steps with 32 scenes each, three on each
# schedule, with the same three seeds; nothing else differs. (They answer with the picture, for a reason that comes
# below.) Each drew 1,000 scenes twice, from the same noise, in 25 steps that are evenly spaced in $t$: along its own
# schedule, and along the other one. A network knows the noise by its time, so on the other schedule we tell it the time
# at which its own has the nearest signal-to-noise ratio. In the table, rows with the same walk differ by the training,
# and rows with the same training by the walk. We count the scenes that are **whole**, that is, those which a program
# can read (we shall meet it below), and compare the fine detail, the octave from 16 to 32 cycles, with that of real
# scenes (`make tables LESSONS=09`).


# %%
def over_seeds(network, part, where=""):
    cells = [kept[f"{network}, seed {seed}{where}"] for seed in (0, 1, 2)]
    values = np.array([cell[f"{part}_value"] for cell in cells])
    drawing = np.mean([cell[f"{part}_error"] ** 2 for cell in cells])
    return metrics.Estimate(values.mean(), np.sqrt(values.var(ddof=1) / 3 + drawing))


def errors_apart(one, other):
    return (other.value - one.value) / np.hypot(one.error, other.error)


trainings, found = {"cosine": "as it is", "shifted": "shifted"}, {}
of_scenes = kept["real, test"]["octave_16_value"]
print("trained on  walk along   whole scenes     fine detail, of the real scenes'")
for trained_on, name in trainings.items():
    for along in trainings:
        where = "" if along == trained_on else ", on the other's walk"
        for part in ("whole", "octave_16"):
            found[part, trained_on, along] = over_seeds(f"x_0, {name}, width 48", part, where)
        whole, fine = (found[part, trained_on, along] for part in ("whole", "octave_16"))
        print(f"{trained_on:11} {along:11} {whole!s:>13} {fine.value / of_scenes:14.0%}")
for along, chain in {"cosine": cosine, "shifted": moved}.items():
    variance, start = 3 * of_scenes / white[4], np.ones((1, 1))  # in units of the noise
    world = oracle.gaussian(chain, np.zeros(1), variance)
    *_, last = sampling.sample(world.predict_noise, chain, (1, 1), 25, x_T=start)
    print(f"exact       {along:11} {last.x_t.item() ** 2 / variance:28.0%}")
for along in trainings:
    whole, fine = (
        errors_apart(*(found[part, trained_on, along] for trained_on in trainings))
        for part in ("whole", "octave_16")
    )
    assert 0 < whole < 3 and fine < -7
by_walk = (found["octave_16", "shifted", along] for along in trainings)
assert errors_apart(*by_walk) < -3

# %% [markdown]
# After training on the shifted schedule more scenes are whole, along both walks and for each of the three seeds, but
# neither difference is beyond three standard errors. (The error has two parts: the three trainings differ, and 1,000
# pictures are a sample. It is cautious, as all networks draw from the same noise.) Fine detail falls by a third, a
# difference of more than seven standard errors. Along the same walk only the training differs: the octave from 16
# cycles stands above the noise at 55 of the 1,000 times of the cosine schedule, but at 21 of the shifted one, so a
# network that is trained on that one sees less of it. The walk itself also takes some of it: an exact denoiser of
# Gaussian numbers would keep 55 % along the cosine schedule in 25 even steps, and 23 % along the shifted one. So along
# the shifted schedule the walk alone would be reason enough for what is missing.
#
# The walk matters in another way. Along the shifted schedule no more scenes are whole, but more of the mean colour is
# left: its variance, for the networks that were trained on this schedule, is 0.42 in place of 0.26, where real scenes
# have 0.72. So the shift buys colour along an even walk, perhaps whole scenes, and costs fine detail. The networks that
# we use below were trained on the shifted schedule.
#
# ## The mean colour survives
#
# The largest square to average over is the whole picture. Its mean colour is averaged over $n=64 \cdot 64=4096$ pixels,
# so the noise in it has variance $1/n$ only. Let $c$ be the variance of the mean colour among pictures. At the end of
# the chain the ratio of signal to noise in the mean colour is $\bar\alpha_T\, n\,c/(1-\bar\alpha_T)$, which need not be
# small although $\bar\alpha_T$ is. But sampling starts from pure noise, whose mean colour says nothing.
#
# What does that do? Multiply the mean colour by $\sqrt n$: this number $m_0$ has variance $n\,c$, and its noise has
# variance 1. If it is Gaussian with mean 0, the exact walk back with $\eta=0$ multiplies $m_T$ by a constant (lesson
# 07, exercise 3), the one that brings the variance from that of $m_T$, $\bar\alpha_T\, n\,c+1-\bar\alpha_T$, to that of
# $m_0$, $n\,c$. If the walk starts from variance 1 instead, it ends with the fraction
#
# $$\frac{1}{\bar\alpha_T\,(n\,c-1)+1}$$
#
# of the variance of the mean colour. The drawn pictures are all too close to 0, medium grey. A mean other than 0 is
# pulled towards 0 as well.
#
# The mean colour has three numbers. We take the direction in which they vary most, and for $c$ the variance along it,
# the largest eigenvalue of their covariance. Then we walk back with an exact denoiser of $m_0$, for three ends of the
# chain and three sizes of pictures.


# %%
def variance_left(chain, n, c):
    return 1 / (chain.alpha_bar[-1] * (n * c - 1) + 1)


def ended(least):  # cosine, cut off where it keeps so much signal
    return schedule.Schedule(cosine.beta[1 : np.argmax(cosine.signal_rate <= least) + 1])


many = next(iter(data.load("scenes", "train[:1000]", 1000, label=None))).numpy()
c = np.linalg.eigvalsh(np.cov(many.mean(axis=(1, 2)), rowvar=False))[-1]
print(f"c = {c:.2f} for scenes")
n, coarser = np.array([28, 64, 256]) ** 2, choose(smoke=5, cpu=1, gpu=1)  # steps
print("signal left", *(f"{side:3} pixels" for side in (28, 64, 256)))
for chain in map(ended, (0.05, 0.02, 0.0064)):
    world, start = oracle.gaussian(chain, np.zeros(3), n * c), np.ones((1, 3))
    walked = sampling.sample(world.predict_noise, chain, (1, 3), chain.T // coarser, x_T=start)
    *_, last = walked
    shares = last.x_t[0] ** 2 / (n * c)
    print(f"{chain.terminal_signal:11.4f}", *(f"{share:10.0%}" for share in shares))
    np.testing.assert_allclose(shares, variance_left(chain, n, c), rtol=0.05 * coarser)

# %% [markdown]
# With the same $c$, 5 % of the signal leaves 42 % of the variance at 28 pixels, 12 % at 64 and 1 % at 256. What counts
# is $\bar\alpha_T\,n\,c$: for a given $c$, the product of signal and side, squared. (Walk and formula agree within 5 %:
# the walk takes steps of finite length.) Which schedules end late enough?

# %%
for name, chain in {"linear": schedule.linear(), "cosine": cosine, "shifted": moved}.items():
    print(
        f"{name:7} leaves {variance_left(chain, 64**2, c):.1%} of the mean colour's variance"
    )

digits, _ = next(iter(data.load_digits("test[:1000]", 1000)))
of_digits = digits.numpy().mean(axis=(1, 2, 3)).var()
print(
    f"c = {of_digits:.3f} for digits; 5 % leave {variance_left(ended(0.05), 28**2, of_digits):.0%}"
)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    data.noisify(data.load("scenes", "train[:1000]", 1000, label=None), ended(0.05))
print(caught[0].message)
assert f"{variance_left(ended(0.05), 64**2, c):.0%}" in str(caught[0].message)

# %% [markdown]
# `Schedule` warns above 5 % signal. Digits then keep 99 % of the variance of their mean brightness, which hardly
# differs between them. Scenes at 64 pixels would lose seven eighths of the variance of their mean colour. Even with
# `linear`, DDPM's own schedule, they lose a tenth.
# **The repair** is a schedule that ends with less signal, such as `cosine`, shifted or not. `noisify` computes $c$ from
# the first batch and warns below 90 %. The same fault, in a published schedule, keeps Stable Diffusion from drawing
# very bright and very dark pictures (Lin et al. 2024).
#
# Do trained networks follow the formula? The library's network of scenes, which we meet below, drew 500 pictures on
# each of six chains that end where this much signal is left. The network, the noise and the number of steps, 100,
# stayed the same (`make tables LESSONS=09`). **Spread** is the variance of the mean colour, summed over the three
# channels. Beside it stands what an exact denoiser of a Gaussian mean colour leaves on the same walk, along each
# eigenvector of its covariance.

# %%
spreads = {}
eigenvalues = np.linalg.eigvalsh(np.cov(many.mean(axis=(1, 2)), rowvar=False))
print("signal       spread    exact         snow       night")
for least in (0, 1, 2, 5, 10, 20):
    cell = kept[f"a chain that keeps {least}%"]
    spread, snow, night = (
        metrics.Estimate(cell[f"{part}_value"], cell[f"{part}_error"])
        for part in ("spread", "snow", "night")
    )
    end, signal = np.flatnonzero(moved.signal_rate >= least / 100)[-1], cell["terminal_signal"]
    world, start = oracle.gaussian(moved, np.zeros(3), 64**2 * eigenvalues), np.ones((1, 3))
    times = sampling.time_grid(end, 100)
    *_, last = sampling.sample(world.predict_noise, moved, (1, 3), times, x_T=start)
    spreads[least], exact = spread, np.sum(last.x_t**2) / 64**2
    print(f"{signal:6.4f} {spread!s:>12} {exact:8.3f} {snow!s:>12} {night!s:>11}")
    np.testing.assert_allclose(moved.signal_rate[end], signal, rtol=1e-3)
for one, other in ((2, 5), (5, 10), (10, 20)):
    (value, error), (less, its) = spreads[one], spreads[other]
    assert value - less > 3 * np.hypot(error, its)

# %% [markdown]
# Up to 2 % the spread does not change beyond its errors; from there on it falls at each row, beyond three of them. The
# brightest ground goes first: one whole scene in five shows snow, then one in seven, one in twelve, and from 5 % on
# next to none. At 20 % all scenes have nearly the same mean colour. The exact walk falls in the same way, but earlier:
# from 1 to 5 % the network keeps more. Its colours are not Gaussian; whether this is the reason, we did not test. (In
# the first row, the 100 steps alone take a quarter of the variance from the exact walk, and nights are too rare. Long
# steps will be our subject below.)
#
# ## The noise does not fit through
#
# The third thing is in the network, and comes with larger patches. Each position has 48 numbers, and the first
# convolution makes as many of them as the first width. Our first width, 48, is just enough: as many numbers leave the
# convolution as enter it. With a width of 24, only half as many would leave. All later layers see only these. Is that a
# loss? It depends on what we ask for:
#
# - *The picture* is smooth. Neighbouring pixels are nearly equal, and few numbers describe 4 by 4 of them.
# - *The noise* is white. Its 48 numbers are independent: what the network knows about 24 combinations of them tells
#   nothing about the 24 that are orthogonal to these.
#
# So there is a bound. The first convolution is linear. In all, it makes `width` numbers for each position, out of 48
# that are independent. Even a network that knew $x_0$ exactly, but saw $x_t$ only through this convolution, could not
# guess the rest better than by 0. Its mean squared error is at least $1-\text{width}/48$ for the noise. In the velocity
# $\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$ the noise counts with the factor $\bar\alpha_t$:

# %%
narrow = rng.standard_normal((24, 48))  # any 24 combinations of 48 numbers
numbers = rng.standard_normal((20_000, 48))
guessed = numbers @ narrow.T @ np.linalg.pinv(narrow).T  # the best linear guess
missing = np.mean((numbers - guessed) ** 2)
bound = missing * moved.alpha_bar[1:].mean()
print(f"noise: at least {missing:.3f}; velocity, mean over t: at least {bound:.3f}")
np.testing.assert_allclose(missing, 0.5, atol=0.01)
np.testing.assert_allclose(bound, 0.149, atol=0.003)

# %% [markdown]
# The guess is linear, and for Gaussian numbers no other guess is better. For a width of 48 or more, such as ours, the
# bound is 0 and says nothing. Whether the choice matters there, we shall measure. For $x_0$ there is no such bound.
# **The repair** is to ask for $x_0$. (Li and He 2025 argue along these lines that a network should predict clean
# pictures, with patches of up to thousands of numbers.)
#
# A plain squared error of $x_0$ would give almost no weight to small $t$ (lesson 05). We want the weights of the
# velocity's error. From $x_0=\sqrt{\bar\alpha_t}\,x_t-\sqrt{1-\bar\alpha_t}\,v$ for the truth and for the guess, both
# with the same $x_t$:
#
# $$\|x_0-\hat x_0\|^2=(1-\bar\alpha_t)\,\|v-\hat v\|^2$$
#
# So we divide by $1-\bar\alpha_t$. Near $t=0$ this divides by nearly 0, so we limit the weight to 10. The limit acts at
# the first 85 times, at which the three finest octaves drown: where that from 16 cycles does, at $t=21$, it replaces a
# weight of 102. A target that comes with a weight is one more function for `noisify`:


# %%
def image_with_weight(x_0, noise, alpha_bar):
    weight = keras.ops.minimum(1 / (1 - alpha_bar), 10.0)
    return x_0, weight[..., 0]  # (B, 1, 1): Keras' loss has no axis of channels


alpha_bar = moved.at(np.array([1, 500, 900]), like=pictures[:3])
np.testing.assert_array_equal(
    image_with_weight(pictures[:3], None, alpha_bar)[1],
    data.the_image(pictures[:3], None, alpha_bar)[1],
)
off = rng.standard_normal((3, 64, 64, 3), dtype=np.float32)  # of the velocity
x_t = diffusion.add_noise(pictures[:3], noise[:3], alpha_bar)
v = diffusion.to_velocity(pictures[:3], noise[:3], alpha_bar)
errors = pictures[:3] - diffusion.velocity_to_x_0(x_t, v + off, alpha_bar)
factors = np.mean(errors**2, axis=(1, 2, 3)) / np.mean(off**2, axis=(1, 2, 3))
np.testing.assert_allclose(factors, 1 - np.ravel(alpha_bar), rtol=2e-3)

# %% [markdown]
# **Earned.** `data.the_image` is this target, and `training.from_x_0` turns a network that answers with $\hat x_0$ into
# the `predict_noise` that the sampler takes.
#
# Does the bound show in trained networks? Eighteen were trained for 2,500 steps on the shifted schedule: for both
# targets, with first widths of 24, 48 and 96, from three seeds. Their losses are now in the same unit, the squared
# error of the velocity, except at the first 85 times, where the weight is limited. **Grain** is the typical difference
# of neighbouring pixels, from 0 to 255: the median over a picture, which is 0 for a real scene, as most of it is smooth
# (`make tables LESSONS=09`).


# %%
print("width  target      loss          grain           whole")
loss, grain = {}, {}
for width in (24, 48, 96):
    for target in ("velocity", "x_0"):
        network = f"{target}, shifted, width {width}"
        loss[target, width] = [kept[f"{network}, seed {seed}"]["loss"] for seed in (0, 1, 2)]
        grain[target, width], whole = (
            over_seeds(network, part) for part in ("grain", "whole")
        )
        last_loss = np.mean(loss[target, width])
        print(
            f"{width:5}  {target:8} {last_loss:7.3f} {grain[target, width]!s:>14} {whole!s:>15}"
        )
assert min(loss["velocity", 24]) > bound > max(loss["x_0", 24])
for width in (24, 48, 96):
    assert errors_apart(grain["x_0", width], grain["velocity", width]) > 3

# %% [markdown]
# With a width of 24, the velocity's loss stays above the bound, as it must, and scenes are covered with grain:
# neighbouring pixels differ by 53 grey levels. With 48 the bound is 0, but grain of 13 is left, and next to no scene is
# whole; with 96 it is 2, and one scene in twelve is whole. The networks that answer with the picture have no such grain
# at any width, and a fifth to a quarter of their scenes are whole. What do the widths say about the bound? It holds at 24.
# At 48 and 96 it forbids nothing, so something else keeps the velocity behind. A wider network also has more weights in
# all its layers, so we cannot tell how much of the gain from width to width is due to the first convolution.
#
# ## Train for some minutes
#
# Everything else is lesson 05's: the pairs, Muon, a learning rate that rises and falls, averaged weights.

# %%
network, warm_up = unet.unet(64, **NETWORK), STEPS // 24
rates = keras.optimizers.schedules.CosineDecay(
    0.0, STEPS - warm_up, warmup_target=4e-3, warmup_steps=warm_up
)
network.compile(optimizers.Muon(rates, adam_beta_2=0.99), "mse")
average = training.EMA(0.99)
images = data.load("scenes", TRAIN, BATCH, seed=SEED, label=None)
pairs = data.noisify(images, moved, data.the_image, seed=SEED)


# %%
weight = np.minimum(1 / (1 - moved.alpha_bar[1:]), 10).mean()
blind = weight * np.mean((many - many.mean(axis=0)) ** 2)
print(f"always answering with the mean picture costs {blind:.3f}")
history = training.fit(
    network,
    pairs,
    STEPS,
    CHECKPOINTS,
    settings={"seed": SEED, "data": "scenes", "target": "x_0, shifted cosine"},
    average=average,
    every=STEPS // 20,
    callbacks=[plots.fit_progress(STEPS, "training")],
)
assert history["loss"][-1] < choose(smoke=1.5, slow=0.2, cpu=0.1, gpu=0.1) * blind
plots.plot_estimates(
    {
        "training (dashed: the mean picture)": dict(
            zip(STEPS // 20 * np.arange(1, 21), history["loss"], strict=True)
        )
    },
    "The loss falls steeply at first and then ever more slowly.",
    labels=("training step", "loss of x_0"),
    floor=blind,
)

# %% [markdown]
# The loss is a weighted error of $x_0$ and cannot be compared with the losses of earlier lessons. It falls to a tenth
# of the baseline within about 200 steps, and then slowly. Now we draw, with the sampler of lesson 07 and averaged
# weights:


# %%
predict_noise, options = training.from_x_0(network, moved), {"seed": SEED, "clip": True}
with average.applied():
    *_, last = sampling.sample(predict_noise, moved, (100, 64, 64, 3), WALK, **options)
own = last.x_t.clip(-1, 1)
what = "smooth grounds with coloured blots, few of them near a shape"
plots.show_images(own[:32], f"Thirty-two drawn scenes: {what}.", columns=16)

# %% [markdown]
# After some minutes of training, grounds and colours look right, and shapes begin.
#
# ## Train for longer
#
# The library brings two networks of the same size that have seen far more. `scenes` took 48,000 steps with 128 scenes
# each, 137 times as many pictures as ours, and `flowers` 14,000 steps with 128 flowers. One GPU needed six minutes and
# one and a half; by the table above, two CPU cores would need nine hours and two and a half. There are few flowers, so
# a random half of each batch is mirrored.
#
# We change the walk in two ways. It adds noise in each step ($\eta=1$, lesson 07): the card of the weights counts 83 %
# whole scenes with it and 78 % without, of 1,000 each. And its 25 times are evenly spaced in log-SNR instead of in $t$,
# for a reason that shows below. `sample` takes them in place of their number. With such times the shift no longer
# decides where the steps lie; it still decides which noise the network has practised on.


# %%
def spaced(chain, steps):
    levels = np.linspace(-10, 8, steps)  # from the mean colour to fine detail
    times = 1 + np.abs(chain.log_snr[1:, None] - levels).argmin(axis=0)
    return np.append(times, 0)


packaged = {
    "scenes": training.load_weights("scenes"),
    "flowers": training.load_weights("flowers"),
}


def walk(name, count, even=False):
    predict_noise, chain = packaged[name]
    times = WALK if even else spaced(chain, WALK)
    options = {"seed": SEED + 1, "eta": 1.0, "clip": True, "batch_size": 100}
    return sampling.sample(predict_noise, chain, (count, 64, 64, 3), times, **options)


def end(states):  # `*_, last = states` would hold all of them
    for state in states:
        last = state.x_t
    return last.clip(-1, 1)


drawn = end(walk("scenes", COUNT))
plots.show_images(
    drawn[:64],
    "Sixty-four drawn scenes on all five grounds: most show one thing, a circle, square, triangle, star, "
    "heart or ring, some two, a few none or a lump.",
    columns=16,
)

# %%
flowers = end(walk("flowers", 64))
plots.show_images(
    flowers,
    "Sixty-four drawn flowers: mostly one blossom, red, yellow, white or violet, before dark leaves; "
    "some are only patches of petals.",
    columns=16,
)

# %% [markdown]
# How does a picture come about? These are the guesses at $x_0$ along the walk, for one scene and one flower:

# %%
states = {name: list(walk(name, 2))[1:] for name in ("scenes", "flowers")}
shown = np.linspace(0, WALK - 1, min(WALK, 7)).astype(int)
plots.show_filmstrip(
    [np.stack([states[name][i].x_0[1] for i in shown]) for name in states],
    "Guesses at a scene and a flower: a mean picture, then colours, blurred things, outlines.",
    row_labels=list(states),
    column_labels=[f"step {i + 1}" for i in shown],
)

# %%
guesses = [np.concatenate([states[name][i].x_0 for name in states]) for i in range(WALK)]
plots.animate(
    np.stack(guesses)[:: -max(1, WALK // 12)][:12][::-1],
    "Guesses at two scenes and two flowers along the walk: colours come first, outlines last.",
)

# %% [markdown]
# ## How many are whole?
#
# Since we know how scenes are drawn, a program can read them. `judges.read` finds the patches of the six colours,
# compares each with the twelve outlines (six shapes, two sizes), and recognises the ground by its sky and its land. It
# gives `None` unless each patch fits an outline (intersection over union at least 0.7), so lumps can pass. How many
# real test scenes it refuses is the control.

# %%
real, share = next(iter(data.load("scenes", "test", COUNT, label=None))).numpy(), {}
for name, images in {"real": real, "ours": own, "packaged": drawn}.items():
    whole = np.array([scene is not None for scene in judges.read(images)])
    share[name] = metrics.Estimate(whole.mean(), np.sqrt(whole.var() / len(whole)))
    print(f"{name:8} {share[name].value:.1%} ± {share[name].error:.1%} are whole")
assert share["real"].value > 0.98
assert STEPS < 1000 or 0.01 < share["ours"].value < 0.5
assert WALK < 25 or share["packaged"].value > 0.7
single = [
    np.mean(
        [len(scene.things) == 1 for scene in judges.read(images) if scene is not None] or 0
    )
    for images in (real, drawn)
]
print(
    "one thing only: {:.0%} of the real whole scenes, {:.0%} of the packaged".format(*single)
)
assert WALK < 25 or single[1] > single[0] + 0.1

# %% [markdown]
# About one in six of our scenes is whole, and four in five of the packaged network's. (Training and walk both differ
# here; the card's 78 %, on a walk such as ours, says that training matters most.) The others have blots where things
# should be, too many of them, or none. A language model that looks at pictures, and was not told which of forty scenes
# were drawn, was stricter: thirteen of twenty drawn ones were whole to it, and all real ones (`docs/judged.md`). Among
# the whole ones, scenes with a single thing are too frequent: half of the real scenes show two.
#
# ## Learned, or copied?
#
# A network that stores its training pictures also draws whole scenes, and flowers are few enough to be stored. For each
# drawn picture we look up the nearest training picture, at a quarter of the side, so that edges do not decide. The
# controls: how near are held-out pictures, which the network has never seen; how near are these when they are blurred,
# as drawn pictures are a little; and how near are slightly blurred copies of training pictures?


# %%
def nearest_of(images, held_out, batches):
    pixels, small = [], []
    for batch in batches:
        pixels.append(data.to_pixels(batch))
        small.append(shrunk(batch.numpy(), 4))
    pixels, small = np.concatenate(pixels), np.concatenate(small)
    small = np.concatenate([small, small[:, :, ::-1]])  # mirror images, too
    copies = ndimage.gaussian_filter(data.to_unit(pixels[:COUNT]).numpy(), (0, 0.8, 0.8, 0))
    blurred, found = ndimage.gaussian_filter(held_out, (0, 3, 3, 0)), {}
    rows = {"drawn": images, "held out": held_out, "blurred": blurred, "copies": copies}
    for name, x in rows.items():
        index, found[name] = metrics.nearest(shrunk(x, 4), small)
        least, median, most = np.quantile(found[name], [0, 0.5, 1])
        print(f"{name:8}: median {median:5.2f}, least {least:5.2f}, most {most:5.2f}")
        if name == "drawn":
            twins = data.to_unit(pixels[index[:6] % len(pixels)])
    middle = {name: np.median(distances) for name, distances in found.items()}
    assert (
        middle["copies"] < 0.4 * middle["held out"] and middle["blurred"] < middle["held out"]
    )
    if WALK == 25:
        assert 0.7 * middle["held out"] < middle["drawn"] < middle["held out"]
        assert found["drawn"].min() > middle["copies"]
    return twins


# %%
twins = nearest_of(drawn, real, data.load("scenes", TRAIN, 1000, label=None))

# %% [markdown]
# These were the scenes. Now the flowers, and then the nearest pictures of both:

# %%
rows = [drawn[:6], twins]
if source != "scenes":  # otherwise there are no flowers to compare with
    unseen = next(iter(data.load(source, "validation", COUNT, size=64, label=None))).numpy()
    batches = data.load(source, "train+test", 1000, size=64, label=None)
    rows += [flowers[:6], nearest_of(flowers, unseen, batches)]

# %%
plots.show_filmstrip(
    rows,
    "Six drawn scenes and flowers above the nearest training pictures: one scene has a twin with the same "
    "ring in another place, the others differ in colour, shape or number; the flowers differ in kind.",
    row_labels=["drawn", "nearest"] * (len(rows) // 2),
)

# %% [markdown]
# Drawn pictures lie a fifth nearer to the training pictures than held-out ones do. This alone does not make them
# copies: blurring held-out pictures brings them nearer, too. No drawn flower is nearer than 5.4, while one of the
# held-out flowers is within 1.0 of a training one, as the set has photographs that are nearly the same. So no flower is
# a copy, nor a copy of a mirror image, which we search too. Scenes are so few in kind that even a held-out one (0.66)
# lies as near to a training picture as some of the copies do (up to 0.83). No drawn one does (0.84), but there nearness
# alone could not tell a copy from a coincidence. This does not tell us whether a larger network, or a longer training,
# would lead to copies.
#
# ## An honest verdict
#
# Whole scenes could still have the wrong colours, or too little detail. We compare drawn with real pictures in two
# kinds of numbers: the mean of the three colours, and variances, of the mean brightness and in each octave. The floor
# is the difference of real training from real test scenes.


# %%
def numbers_of(x):
    light = x.mean(axis=(1, 2, 3))
    parts = {
        name: x[..., i].mean(axis=(1, 2)) for i, name in enumerate(("red", "green", "blue"))
    }
    parts["brightness"] = (light - light.mean()) ** 2
    return parts | {f"{2**k} cycles": np.log(p) for k, p in enumerate(metrics.octaves(x).T)}


colours = ("red", "green", "blue", "brightness")


def apart(x):  # from real test scenes
    found = {}
    for name, values in numbers_of(x).items():
        others = of_real[name]
        error = np.hypot(values.std() / len(values) ** 0.5, others.std() / len(others) ** 0.5)
        found[name] = metrics.Estimate(values.mean() - others.mean(), error)
    return found


# %%
of_real = numbers_of(real)
by_network, floor = apart(drawn), apart(many)
s2 = 3 * np.array([kept["real, train"][f"octave_{2**k}_value"] for k in range(6)]) / white
world, options = oracle.gaussian(moved, np.zeros(6), s2), {"eta": 1.0, "seed": SEED}
chosen = spaced(moved, WALK)
*_, last = sampling.sample(world.predict_noise, moved, (5000, 6), chosen, **options)
exact = dict(zip(list(of_real)[4:], np.log(last.x_t.var(axis=0) / s2), strict=True))
print(f"{'':10} {'drawn - real':>15} {'train - real':>15}  exact")
for name in of_real:
    print(f"{name:10} {by_network[name]!s:>15} {floor[name]!s:>15} {exact.get(name, 0):6.2f}")
assert all(abs(value) < 4 * error for value, error in floor.values())
if WALK == 25:
    assert all(abs(by_network[name].value) < 4 * by_network[name].error for name in colours)
    assert all(
        by_network[f"{n} cycles"].value > exact[f"{n} cycles"] - 0.15 for n in (1, 2, 4, 8)
    )
    assert by_network["32 cycles"].value < exact["32 cycles"] - 1

# %% [markdown]
# The octaves are compared by their logarithm: $-2$ means a seventh of the variance. The mean colours and the variance
# of the brightness agree with those of real scenes within three errors. In the octaves, something is missing. Is that
# the network, or the walk of only 25 steps? An exact denoiser can tell. To it each octave is one Gaussian number with
# variance $p_k/w_k$ in units of the noise, and the last column shows what it loses on the same walk (colours and
# brightness have no such number). Below 16 cycles it loses as much as the network or more, up to the errors, so the
# walk may be the reason there; and in 100 even steps without noise, the same network's three coarsest octaves have
# their real variances within 6 % (`make tables LESSONS=09`). From 16 cycles on the network loses more than the exact
# denoiser, and in the finest octave, with its stars and sharp edges, far more. We cannot tell from this whether it
# lacks training, channels, or weight at small $t$.
#
# Now the times. We draw the same scenes, from the same noise, at 25 times that are evenly spaced in $t$. The mean colour
# is decided while its own ratio of signal to noise, $n\,c\,\bar\alpha_t/(1-\bar\alpha_t)$, grows from 0.1 to 10:

# %%
drawn_evenly, of_light = end(walk("scenes", COUNT, even=True)), real.mean(axis=(1, 2, 3)).var()
world, even = oracle.gaussian(moved, np.zeros(1), 64**2 * c), sampling.time_grid(1000, WALK)
ratio, left, nights = 64**2 * c * moved.snr, {}, {}
for name, times, images in (("log-SNR", chosen, drawn), ("even", even, drawn_evenly)):
    *_, last = sampling.sample(world.predict_noise, moved, (5000, 1), times, **options)
    left[name] = last.x_t.var() / (64**2 * c), images.mean(axis=(1, 2, 3)).var() / of_light
    grounds = [scene.ground for scene in judges.read(images) if scene is not None]
    nights[name] = np.mean([ground == "night" for ground in grounds] or 0)
    print(f"{name}: decided at {[int(t) for t in times if 0.1 < ratio[t] < 10]}")
    print("  variance left: exact {:.0%}, drawn {:.0%}".format(*left[name]), end="; ")
    print(f"nights: {nights[name]:.0%}")
if WALK == 25:
    assert left["even"][0] < 0.5 < 0.6 < left["log-SNR"][0]
    assert left["even"][1] < 0.7 < 0.8 < left["log-SNR"][1]
    assert nights["even"] < 0.5 * nights["log-SNR"]

# %% [markdown]
# Of the scenes that can be read, 7 % are nights at even times and 19 % at the others. On a chain that ends too early
# nights vanish as well, but here the end is not to blame. The network is the same, and so is the noise; only the times
# differ. Two of the even times lie where the mean colour is decided, and six of the others. An exact denoiser for a
# Gaussian mean colour loses two thirds of the variance at the even times, too, and one third at the others. So long
# steps are enough of a reason for the lost variance, and it is plausible that the nights go with it, as theirs is the
# darkest mean colour.
#
# We chose the range from 8 to -10, and $\eta=1$, among nine sets of times with and without noise, by the colours and the
# whole scenes of 300 pictures. A choice flatters the numbers that it was made by. So the pictures of this lesson start
# from another noise, which had no part in it.
#
# Numbers that we choose can miss what is wrong. So we let a small network choose: it learns to tell drawn from real
# pictures on half of them, and is tried on the other half (a **two-sample test** by a classifier: Lopez-Paz and Oquab
# 2017). Besides the pictures it gets what averaging over 3 by 3 pixels takes away, so that fine detail is easy to see.
# If both sets come from the same distribution, it is right half of the time on average. As a control, it also has to
# tell test scenes from training scenes.


# %%
def told_apart(one, other):
    x, y = np.concatenate([one, other]), np.repeat([0.0, 1.0], [len(one), len(other)])
    first = np.tile(np.arange(len(one)) < len(one) // 2, 2)
    keras.utils.set_random_seed(SEED)
    images = keras.Input((64, 64, 3))
    smooth = keras.layers.AveragePooling2D(3, 1, "same")(images)
    h = keras.layers.Concatenate()([images, keras.layers.Subtract()([images, smooth])])
    for width in (16, 32, 32):
        h = keras.layers.BatchNormalization(momentum=0.9)(h)
        h = keras.layers.Conv2D(width, 5, strides=2, padding="same", activation="relu")(h)
    h = keras.layers.GlobalAveragePooling2D()(h)
    judge = keras.Model(images, keras.layers.Dense(1)(h))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    judge.compile(keras.optimizers.Adam(1e-2), loss)
    judge.fit(x[first], y[first], epochs=choose(smoke=1, cpu=10, gpu=10), verbose=0)
    right = (judge(x[~first]).numpy()[:, 0] > 0) == y[~first]
    return metrics.Estimate(right.mean(), np.sqrt(0.25 / len(right)))


judged, control_judged = told_apart(real, drawn), told_apart(real, many[:COUNT])
print("drawn from real:", judged)
print("train from test:", control_judged)
assert abs(control_judged.value - 0.5) < 4 * control_judged.error
assert STEPS < 1000 or judged.value > 0.9

# %% [markdown]
# It is right about 94 % of the pictures, but only 49 % in the control, where there is nothing to find. Had it been
# right half of the time in both, it might just be blind; a judge must first show that it can see.
#
# ## Your own pictures
#
# `data.load_folder` takes a folder of JPEG, PNG, WebP or GIF files and gives batches as `data.load` does with
# `label=None`. Pictures may have any size and colour mode. We try it on four, one of which is smaller than 64 pixels:

# %%
with TemporaryDirectory() as place, chdir(place):
    picture = Image.fromarray(data.to_pixels(pictures[0])).resize((200, 120))
    for file, mode in {"grey.png": "L", "palette.gif": "P", "wide.jpg": "RGB"}.items():
        picture.convert(mode).save(file)
    picture.resize((40, 40)).save("small.png")
    own = next(iter(data.load_folder(".", 3, size=64))).numpy()
assert own.shape == (3, 64, 64, 3) and np.ptp(own[0], axis=-1).max() == 0
plots.show_images(own, "A stretched scene three times: grey, of a palette, in full colour.")

# %% [markdown]
# It says what it left out and why. If you have hundreds of pictures, or better thousands, replace `data.load("scenes",
# ...)` in the training cell by `data.load_folder("your folder", BATCH, seed=SEED)`, and the name in `settings`, too.
# The judges of scenes do not apply.
#
# ## Recap
#
# - You **drew** colour pictures of 64 by 64 pixels with the functions that drew digits.
# - You **found** three things to check as pictures grow: the noise at each time, the end of the chain, and the first
#   convolution's width. You built a repair for each, and saw what the first one costs, and what a walk of few steps
#   loses.
# - You **judged** the drawn scenes by a reader, by their nearest neighbours, by their colours and octaves, and by a
#   network that tries to tell them from real ones.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Stronger noise, larger squares.** In the cell with the five noisy scenes, set `t` to 950 and average over 16 by
# 16 pixels (`shrunk(..., 16)`, repeated 16 times). The mean of 256 numbers has a sixteenth of their deviation. What can
# still be recognised? Afterwards put 700 and 4 back.
#
# <details><summary>Answer</summary>
#
# At this time 8 % of the signal is left, and the noise of the averages has a deviation of 0.06. Next to nothing can be
# recognised: a square of snow differs from one of a sunset by about 0.06, too. Only over the whole picture, 16 squares,
# is the noise small enough, 0.016, to tell snow from sunset. The section on the mean colour is about this.
#
# </details>
#
# **2. Smaller patches.** Compare `unet.flops(unet.unet(64, **NETWORK | {"patch": 2}))` with the table. How many times
# as many operations are they? How small may the first width become before the bound for the noise rises above 0?
#
# <details><summary>Answer</summary>
#
# There are four times as many positions, but only 3.7 times as many operations: the first and the last convolution see
# a quarter of the numbers at each. A square of 2 by 2 pixels has 12 numbers, so the bound is 0 from a width of 12 on.
# (`unet` takes multiples of 8, so 16.)
#
# </details>
#
# **3. One percent.** What do pictures of 28, 64 and 256 pixels keep of the variance of their mean colour if the chain
# ends with 1 % of the signal, for the same $c$? Add 0.01 to the list in the cell that walks.
#
# <details><summary>Answer</summary>
#
# The cell ends at 0.94 % and prints 93 %, 77 % and 19 %; its finite steps cost up to two points. For exactly 1 %, the
# formula gives 95 %, 77 % and 18 %. With $n\,c$ much larger than 1, what counts is the product of the signal and the
# side, here 0.28, 0.64 and 2.56.
#
# </details>
#
# **4. In code.** Write `shifted_betas(betas, factor)`: from $\beta_1$ to $\beta_T$ of a schedule, a NumPy array, those
# of the schedule for pictures with a side `factor` times as long.


# %% tags=["solution"]
def shifted_betas(betas, factor):
    alpha_bar = np.cumprod(1 - betas)
    alpha_bar = alpha_bar / (alpha_bar + factor**2 * (1 - alpha_bar))
    return 1 - alpha_bar / np.append(1, alpha_bar[:-1])


# %%
checks.shifted_betas(shifted_betas)

# %% [markdown]
# **5. In code.** Write `largest_signal(side, c, left)`: the largest $\sqrt{\bar\alpha_T}$ with which pictures of `side`
# by `side` pixels keep the fraction `left` of the variance `c` of their mean colour.


# %% tags=["solution"]
def largest_signal(side, c, left):
    return np.sqrt((1 / left - 1) / (side**2 * c - 1))


# %%
checks.largest_signal(largest_signal)

# %% [markdown]
# **6. Bug clinic.** `make_pictures` takes photographs as pixels, lets a network `work` on them in the model's range,
# and gives pixels again, uint8. The colours that come out are wrong. It contains three mistakes, one of them in two
# places. Mend it.
#
# ```python
# def make_pictures(pixels, work):
#     x_0 = pixels.astype(np.float32) / 255
#     x_0 = work(x_0)
#     return (255 * x_0).astype(np.uint8)
# ```


# %% tags=["solution"]
def make_pictures(pixels, work):
    x_0 = pixels.astype(np.float32) / 127.5 - 1
    x_0 = np.clip(work(x_0), -1, 1)
    return np.rint((x_0 + 1) * 127.5).astype(np.uint8)


# %%
checks.make_pictures(make_pictures)

# %% [markdown]
# ## In practice
#
# - *More noise for larger pictures*: Hoogeboom, Heek and Salimans, "simple diffusion: End-to-end diffusion for high
#   resolution images" (2023). *Where the chain ends*: Lin et al., "Common Diffusion Noise Schedules and Sample Steps
#   are Flawed" (2024). *Where the steps go*: Lu et al., "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic
#   Model Sampling in Around 10 Steps" (2022), also takes times evenly spaced in log-SNR.
# - *The picture as target*: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022),
#   with the weights; Li and He, "Back to Basics: Let Denoising Generative Models Denoise" (2025), for large patches.
# - *Octaves of photographs*: Field, "Relations between the statistics of natural images and the response properties
#   of cortical cells" (1987). *Telling sets apart*: Lopez-Paz and Oquab, "Revisiting Classifier Two-Sample Tests"
#   (2017).
# - *Flowers*: Nilsback and Zisserman, "Automated Flower Classification over a Large Number of Classes" (2008).
# - *Faces*: `data.load("celeb_a", size=64, label=None)` gives the article's data. TensorFlow Datasets downloads it, and
#   where the server refuses, which is frequent, the message says which files to put where.
