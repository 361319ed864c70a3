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
# # 12. Make a small picture large
#
# A picture of 16 by 16 pixels is to become one of 64 by 64. Fifteen of sixteen numbers are missing, and many large
# pictures fit what is left. Lesson 11 filled holes whose pixels were missing altogether. Here something is known about
# every pixel, but nothing exactly.

# %% [markdown]
# **You will**
#
# - **derive** how much worse than the best answer a perfect sampler must look, and check it where all is known;
# - **train** a network that sees the small picture, and a rival that answers with the mean of all that is possible;
# - **judge** eight ways to enlarge flowers, and find out what goes unnoticed in the loss.
#
# **You need** lessons 09 to 11. To run, it
# takes <!-- measured -->about 5 minutes on two CPU cores and 1.5 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

from contextlib import chdir
from tempfile import TemporaryDirectory

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from matplotlib import pyplot as plt
from PIL import Image

from lessons_lib import (
    data,
    diffusion,
    guidance,
    metrics,
    optimizers,
    oracle,
    plots,
    resize,
    sampling,
    schedule,
    training,
    unet,
    weights,
)
from lessons_lib.checks import lesson_12 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
BATCH = 64
STEPS = choose(smoke=20, slow=600, cpu=1200, gpu=6000)  # of each training
COUNT = choose(smoke=8, slow=32, cpu=64, gpu=500)  # flowers to enlarge
WALK = choose(smoke=4, cpu=25, gpu=25)  # steps of a walk
GAUSSIANS = choose(smoke=100, cpu=500, gpu=500)  # drawn where all is known
CHECKPOINTS = None  # a folder, to be able to go on later

keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(SEED)

# %% [markdown]
# ## Small and large
#
# To **shrink** a picture by a factor $f$, we take the mean of each square of $f$ by $f$ pixels. To **enlarge** one, we
# make each pixel a square of $f$ by $f$ equal ones. Both are linear, so we write $y=A\,x$ for the small picture of
# $x$, and $A^+y$ for the enlarged one.


# %%
def shrink(x, factor):
    count, height, width, channels = x.shape
    squares = x.reshape(count, height // factor, factor, width // factor, factor, channels)
    return squares.mean(axis=(2, 4))


def enlarge(y, factor):
    return y.repeat(factor, axis=1).repeat(factor, axis=2)


# %% [markdown]
# The two fit together. Shrinking what was enlarged gives back the small picture, $A\,A^+y=y$. The other way round,
# $A^+A\,x$ is $x$ with each square replaced by its mean. What this takes away, $x-A^+A\,x$, is the **detail**. The
# detail has mean 0 in each square, so it shrinks to nothing, and it is orthogonal to every enlarged picture:

# %%
source = data.flowers()
real = source != "scenes"  # photographs, and not the built-in scenes
split, FACTOR, SIDE = "validation" if real else "test", 4, 64
flowers = next(iter(data.load(source, split, 600, size=SIDE, label=None))).numpy()[:COUNT]
small = shrink(flowers, FACTOR)
detail = flowers - enlarge(small, FACTOR)
np.testing.assert_allclose(shrink(enlarge(small, FACTOR), FACTOR), small, atol=1e-6)
np.testing.assert_allclose(shrink(detail, FACTOR), 0, atol=1e-6)
assert abs(np.mean(detail * enlarge(small, FACTOR))) < 1e-6
np.testing.assert_allclose(resize.shrink(flowers, FACTOR), small, atol=1e-6)
np.testing.assert_array_equal(resize.enlarge(small, FACTOR), enlarge(small, FACTOR))

# %% [markdown]
# **Earned.** `resize.shrink` and `resize.enlarge`. They are used everywhere from here on, in training as well as in
# use; near the end we shall see why this matters.
#
# Which large pictures shrink to $y$? All of the form $A^+y$ plus some detail, and the detail is free. To show how free
# it is, we give flowers the detail of other flowers:

# %%
borrowed = enlarge(small, FACTOR) + np.roll(detail, 1, axis=0)
np.testing.assert_allclose(shrink(borrowed, FACTOR), small, atol=1e-6)
eight = slice(8)
plots.show_filmstrip(
    [flowers[eight], enlarge(small, FACTOR)[eight], detail[eight], borrowed[eight]],
    "Eight flowers; the same shrunk to 16 by 16, as squares; their detail, grey with fine edges; and the squares with the "
    "detail of the flower before, which look like two pictures on top of each other.",
    row_labels=["flower", "small", "detail", "borrowed"],
)

# %% [markdown]
# The last row shrinks to exactly the same small pictures as the first one. Nobody would take it for flowers. So the
# small picture says what is *possible*, and what we know about flowers says what is *probable*: the answer that we
# look for comes from $p(x\mid y)$. It is not one picture, but a distribution of pictures.
#
# ## Three decibels
#
# What should we answer if there is only one answer? If the squared error counts, the best answer is the mean of all
# possible pictures, $m=\mathrm{E}[x\mid y]$; lesson 03 has shown it for denoising. Now let a perfect sampler draw
# $\hat x$ from $p(x\mid y)$. Given $y$, the truth $x$ and the drawn $\hat x$ are independent and have the same
# distribution. So
#
# $$\mathrm{E}\|\hat x-x\|^2
# =\mathrm{E}\|(\hat x-m)-(x-m)\|^2
# =\mathrm{E}\|\hat x-m\|^2+\mathrm{E}\|x-m\|^2
# =2\,\mathrm{E}\|x-m\|^2,$$
#
# since the mixed term is the product of two means that are zero. A perfect sampler has exactly **twice** the squared error of
# the mean. The usual unit is the peak signal-to-noise ratio, $\mathrm{PSNR}=10\log_{10}(2^2/\mathrm{error})$ for
# pictures in $[-1,1]$, whose largest difference is 2. Twice the error is $10\log_{10}2=3.01$ dB less. So a sampler
# that loses *less* than 3 dB to the best mean is not better than perfect. Its answers vary too little.


# %%
def psnr(answer, truth):
    return 10 * np.log10(4 / np.mean(np.square(answer - truth), axis=(1, 2, 3)))


print(f"10 log10(2) = {10 * np.log10(2):.2f} dB")
np.testing.assert_allclose(psnr(small, -small), tf.image.psnr(small, -small, 2.0), rtol=1e-4)

# %% [markdown]
# We check the law where everything is known. Our pictures have 8 by 8 pixels, are Gaussian, and neighbours have a
# correlation of 0.95, which falls off with distance. They are shrunk by 4, to 2 by 2 pixels. As a matrix, $A$ has a
# row for each small pixel. For a covariance $C$, the posterior has mean $K\,y$ with $K=C A^\top(A\,C A^\top)^{-1}$ and
# covariance $P=C-K A\,C$.

# %%
apart = np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
C = np.kron(0.95**apart, 0.95**apart)
A = shrink(np.eye(64).reshape(64, 8, 8, 1), 4).reshape(64, 4).T
K = C @ A.T @ np.linalg.inv(A @ C @ A.T)
P = C - K @ A @ C
best = np.trace(P) / 64
print(f"error of the mean, a pixel: {best:.4f}")
np.testing.assert_allclose(A @ P @ A.T, 0, atol=1e-12)  # the small picture is certain

# %% [markdown]
# We draw pictures, shrink them, and draw one answer to each from its posterior. `eigh` gives a square root of $P$,
# which has no Cholesky factor, because four directions are certain:

# %%
values, axes = np.linalg.eigh(P)
root = axes * np.sqrt(values.clip(0))
truth = rng.multivariate_normal(np.zeros(64), C, GAUSSIANS)
shrunk = truth @ A.T
means = shrunk @ K.T
answers = means + rng.standard_normal((GAUSSIANS, 64)) @ root.T


# %%
def compared(answers, mean_answers=means):
    mine, least = (np.mean(np.square(one - truth), axis=1) for one in (answers, mean_answers))
    ratio = mine.mean() / least.mean()
    error = (mine - ratio * least).std(ddof=1) / least.mean() / np.sqrt(len(truth))
    return metrics.Estimate(ratio, error)


exact = compared(answers)
print(f"error of drawn answers over that of the mean: {exact}")
assert abs(exact.value - 2) < 4 * exact.error

# %% [markdown]
# ## Without any training
#
# The network of lesson 09 draws flowers, and knows nothing about small pictures. Lesson 11 has shown how to use it
# nevertheless: in each step, correct the guess at $x_0$ before the step is taken. There we put known pixels back; here
# we replace the guess's squares' means by the right ones and keep its detail,
#
# $$\hat x_0\;\mapsto\;\hat x_0+A^+(y-A\,\hat x_0)$$
#
# (Wang et al. 2022, DDNM). The corrected guess shrinks to $y$, exactly:


# %%
def corrected(x_0, y, factor):
    return x_0 + enlarge(y - shrink(x_0, factor), factor)


wrong = rng.standard_normal(flowers.shape, dtype=np.float32)
np.testing.assert_allclose(shrink(corrected(wrong, small, FACTOR), FACTOR), small, atol=1e-6)
np.testing.assert_allclose(corrected(flowers, small, FACTOR), flowers, atol=1e-6)

# %% [markdown]
# Is it a sample of $p(x\mid y)$? In lesson 11, the same idea was biased for masks. On our Gaussian pictures we can see,
# with an exact denoiser that knows only $p(x)$:

# %%
chain = schedule.linear()
world = oracle.gaussian(chain, np.zeros(64), C)


def right_means(x_0):
    x_0 = np.asarray(x_0).reshape(-1, 8, 8, 1)
    return corrected(x_0, shrunk.reshape(-1, 2, 2, 1), 4).reshape(-1, 64)


print("steps  eta  error over that of the mean")
for steps in (10, 250):
    for eta in (0.0, 1.0):
        made = guidance.consistent(world.predict_noise, chain, right_means)
        x_T = rng.standard_normal(truth.shape)
        *_, last = sampling.sample(
            made, chain, truth.shape, steps, x_T=x_T, eta=eta, seed=SEED
        )
        zero_shot = compared(last.x_t)
        print(f"{steps:5}  {eta:.0f}    {zero_shot}")
        np.testing.assert_allclose(last.x_t @ A.T, shrunk, atol=1e-9)
assert abs(zero_shot.value - 2) < 0.1 + 4 * zero_shot.error

# %% [markdown]
# [With 250 steps it is near 2: for averages the method is nearly right, where it was far off for masks.] The small
# pictures are right to rounding. Now the same with flowers, where the guess is put into the range of pictures first:


# %%
def zero_shot_flowers(y, steps=WALK, seed=SEED):
    predict_noise, chain = training.load_weights("flowers")

    def correct(x_0):
        return corrected(np.asarray(x_0).clip(-1, 1), y, FACTOR)

    predict_noise = guidance.consistent(predict_noise, chain, correct)
    shape = (len(y), SIDE, SIDE, 3)
    *_, last = sampling.sample(predict_noise, chain, shape, steps, eta=1.0, seed=seed)
    return last.x_t


# %%
ways = {"squares": enlarge(small, FACTOR)}
ways["bicubic"] = tf.image.resize(small, (SIDE, SIDE), method="bicubic").numpy()
ways["no training"] = zero_shot_flowers(small)
for name, answer in ways.items():
    print(f"{name:12} {psnr(answer.clip(-1, 1), flowers).mean():.2f} dB")
np.testing.assert_allclose(shrink(ways["no training"], FACTOR), small, atol=1e-5)
plots.show_filmstrip(
    [answer[eight] for answer in (*ways.values(), flowers)],
    "Eight small flowers as squares, bicubic, drawn without training, and as they were. [..]",
    row_labels=[*ways, "real"],
)

# %% [markdown]
# [what it looks like.] **Bicubic** interpolation is what programs for photographs do. It knows nothing about flowers.
#
# ## A network that sees the small picture
#
# *SR3* (Saharia et al. 2021) trains a network for $p(x\mid y)$ itself. It is the U-Net of lesson 04 with more input
# channels: beside $x_t$ it gets the small picture, enlarged. Nothing else changes, neither the loss nor the walk. The
# whole network is


# %%
def upsampler(size, channels, widths, blocks, factor, patch):
    x_t, t = keras.Input((size, size, channels)), keras.Input((), dtype="int32")
    y = keras.Input((size // factor, size // factor, channels))
    x = layers.Concatenate()([x_t, layers.UpSampling2D(factor)(y)])
    time = unet.time_embedding(t, 4 * widths[0])
    x = unet.backbone(x, time, widths, blocks, channels=channels, patch=patch)
    return keras.Model([x_t, t, y], x)


# %% [markdown]
# `UpSampling2D` is our `enlarge`. The paper enlarges by bicubic interpolation, and tells the network the noise level
# $\sqrt{\bar\alpha_t}$, drawn at random between those of two neighbouring times, in place of $t$. That lets one network
# walk along any schedule. Our schedule stays the same, and our network is told $t$, as in DDPM.

# %%
NETWORK = {"size": 28, "channels": 1, "widths": (32, 64), "blocks": 2, "factor": 4, "patch": 2}
ours, theirs = upsampler(**NETWORK), unet.upsampler(**NETWORK)
shapes = [[weight.shape for weight in model.weights] for model in (ours, theirs)]
assert shapes[0] == shapes[1] and unet.flops(ours) == unet.flops(theirs)
for weight in ours.trainable_variables:  # the last layer starts at zero, and would hide all
    weight.assign(keras.random.normal(weight.shape, stddev=0.1))
theirs.set_weights(ours.get_weights())
x_t, y = (rng.standard_normal((3, side, side, 1), dtype=np.float32) for side in (28, 7))
asked = [x_t, np.array([1, 400, 1000]), y]
np.testing.assert_allclose(
    ours.predict_on_batch(asked), theirs.predict_on_batch(asked), atol=1e-4
)

# %% [markdown]
# **Earned.** `unet.upsampler`. We train one for digits, from 7 by 7 to 28 by 28 pixels. The small picture is a
# condition as the label was in lesson 10, and is never hidden (`null=(None,)`). The target is $x_0$, as in lesson 09.

# %%
cosine = schedule.cosine()
digits = data.load_digits("train", BATCH, seed=SEED)
with_small = digits.map(lambda x_0, label: (x_0, resize.shrink(x_0, 4)))
pairs = data.noisify(with_small, cosine, data.the_image, seed=SEED, null=(None,))

# %% [markdown]
# Its **rival** is the same network with the same training, except for one thing: it never sees a noisy picture. Its $x_t$ is
# always 0 and its $t$ always $T$, so that it can only learn the mean of all $x_0$ that fit the small picture. That is
# regression.

# %%
blind = pairs.map(
    lambda told, x_0, weight: ((0 * told[0], 0 * told[1] + cosine.T, told[2]), x_0)
)


# %%
def train(pairs, name):
    keras.utils.set_random_seed(SEED)
    network, average = unet.upsampler(**NETWORK), training.EMA(0.99)
    warm_up = STEPS // 24
    rates = keras.optimizers.schedules.CosineDecay(
        0.0, STEPS - warm_up, warmup_target=4e-3, warmup_steps=warm_up
    )
    network.compile(optimizers.Muon(rates, adam_beta_2=0.99), "mse")
    training.fit(
        network,
        pairs,
        STEPS,
        CHECKPOINTS and f"{CHECKPOINTS}/{name}",
        settings={"seed": SEED, "data": data.digits(), "pairs": name},
        average=average,
        every=max(1, STEPS // 20),
        callbacks=[plots.fit_progress(STEPS, name)],
    )
    return network, average


# %%
told, told_average = train(pairs, "told the small picture")
regressor, regressor_average = train(blind, "regression")

# %% [markdown]
# We enlarge digits that neither network has seen. The regression answers in one step, the other one walks:

# %%
held_out = next(iter(data.load_digits("test", 500)))[0].numpy()
little = shrink(held_out, 4)
with regressor_average.applied():
    last_t = np.full(len(little), cosine.T)
    regressed = regressor.predict_on_batch([0 * held_out, last_t, little])


def enlarged_digits(y, seed=SEED, steps=WALK):
    with told_average.applied():
        predict_noise = training.from_x_0(guidance.given(told, y, batch_size=250), cosine)
        shape = (len(y), 28, 28, 1)
        *_, last = sampling.sample(
            predict_noise, cosine, shape, steps, eta=1.0, seed=seed, clip=True
        )
    return last.x_t


# %%
drawn = [enlarged_digits(little, seed) for seed in range(3)]
ten = slice(10)
plots.show_filmstrip(
    [one[ten] for one in (enlarge(little, 4), regressed, *drawn, held_out)],
    "Ten small digits as squares; the regression's, soft at their edges; three drawings of each, sharp; and the digits "
    "as they were. [..]",
    row_labels=["small", "regression", "drawn", "again", "again", "real"],
)

# %%
errors = {
    name: np.mean(np.square(one - held_out), axis=(1, 2, 3))
    for name, one in {"regression": regressed, "drawn": drawn[0]}.items()
}
for name, error in errors.items():
    away = 127.5 * np.abs(shrink(regressed if name == "regression" else drawn[0], 4) - little)
    print(f"{name:10} error {error.mean():.4f}, small picture off by {away.mean():.2f} of 255")
ratio = errors["drawn"].mean() / errors["regression"].mean()
print(f"ratio {ratio:.2f}")

# %% [markdown]
# [..]

# %% [markdown]
# ## Does it look?
#
# A network that ignores the small picture still learns to remove noise. Would the loss tell? We ask ours about each
# digit twice: with its own small picture, and with that of the digit before. The table has the error of the guess at
# $x_0$, and the error of the same guess read as one of the noise, which is $\bar\alpha_t/(1-\bar\alpha_t)$ times as
# large. The latter is the loss of lesson 05, and of SR3.

# %%
swapped, gains = np.roll(little, 1, axis=0), {}
print("          x_0             noise")
print("   t   own  swapped   own   swapped")
with told_average.applied():
    for t in (50, 200, 400, 600, 800, 950):
        z = sampling.noise_of(SEED, t, held_out.shape)
        x_t = diffusion.add_noise(held_out, z, cosine.alpha_bar[t]).numpy()
        own, other = (
            np.mean(np.square(told.predict_on_batch([x_t, np.full(500, t), y]) - held_out))
            for y in (little, swapped)
        )
        factor = cosine.alpha_bar[t] / (1 - cosine.alpha_bar[t])
        gains[t] = other - own, factor * (other - own)
        print(f"{t:4} {own:6.4f} {other:6.4f}  {factor * own:7.4f} {factor * other:7.4f}")

# %% [markdown]
# [..]
#
# ## Flowers, in every way
#
# A network like this one comes with the course, for flowers from 16 to 64 pixels, and so does its rival. Both are as
# large as lesson 09's network, and both were trained for 10,000 steps of 128 squares cut out of 4,524 flowers. There
# are so few that a longer training only helps to know them by heart; the loss of held-out flowers says when to stop.


# %%
def sr3_flowers(y, steps=WALK, seed=SEED):
    conditioned, chain = training.load_weights("flowers_upsampler")
    predict_noise, shape = conditioned(y, batch_size=100), (len(y), SIDE, SIDE, 3)
    options = {"eta": 1.0, "seed": seed, "clip": True}
    *_, last = sampling.sample(predict_noise, chain, shape, steps, **options)
    return last.x_t


# %% [markdown]
# The regression's $x_t$ is 0, and a step from $T$ to 0 gives its guess at $x_0$, so one step of `sample` asks it:


# %%
def regressed_flowers(y):
    conditioned, chain = training.load_weights("flowers_regression")
    x_T = np.zeros((len(y), SIDE, SIDE, 3), np.float32)
    *_, last = sampling.sample(conditioned(y, batch_size=100), chain, x_T.shape, 1, x_T=x_T)
    return last.x_t.clip(-1, 1)


# %%
ways["regression"] = regressed_flowers(small)
for steps in (1, 10, WALK):
    ways[f"SR3, {steps}"] = sr3_flowers(small, steps)
decibels = {name: psnr(answer.clip(-1, 1), flowers) for name, answer in ways.items()}
for name, one in decibels.items():
    print(f"{name:12} {one.mean():.2f} dB")
plots.show_filmstrip(
    [answer[eight] for answer in (*ways.values(), flowers)],
    "Eight flowers in seven ways, and as they were. [..]",
    row_labels=[*ways, "real"],
)

# %% [markdown]
# [..]
#
# A thousand held-out flowers tell more. These numbers were measured once (`make tables LESSONS=12`):
#
# - **PSNR** and **SSIM** (structural similarity, Wang et al. 2004; 1 is the same picture) compare with the real flower.
# - **off** is how far the answer, shrunk, is from the small picture: root mean square, in 0..255.
# - **spectra** is the Fréchet distance between the logarithms of three colours' octaves (lesson 09), of these answers
#   and of other real flowers.
# - **found** stands for the people whom the paper asked which of two pictures a camera had taken. A small network learns
#   on 700 answers and 700 real flowers, and is asked about 300 others of each. At 50 % it cannot tell.

# %%
kept = weights.results("12")
ORDER = [
    "as it is",
    "bicubic",
    "regression",
    "no training, 25 steps",
    "no training, 100 steps",
]
ORDER += ["SR3, 1 step", "SR3, 10 steps", "SR3, 25 steps", "SR3, 100 steps", "real"]
print(" " * 24 + "PSNR         SSIM   off  spectra  found")
for name in ORDER:
    one = {
        key: kept[name][f"{key}_value"] for key in ("psnr", "ssim", "consistency", "frechet")
    }
    right, error = kept[name]["psnr_error"], kept[name]["frechet_error"]
    found = metrics.Estimate(100 * kept[name]["found_value"], 100 * kept[name]["found_error"])
    print(
        f"{name:22} {one['psnr']:5.2f} ± {right:.2f} {one['ssim']:6.3f} {one['consistency']:6.2f} "
        f"{one['frechet']:6.2f} ± {error:.2f} {found.value:4.0f} ± {found.error:.0f} %"
    )

# %% [markdown]
# [..]
#
# ## Do the answers vary enough?
#
# [calibration]

# %%
calibration = kept["calibration"]
print("ratio {ratio_value:.2f} ± {ratio_error:.2f}, expected {expected}".format(**calibration))

# %% [markdown]
# Where do they vary? We draw eight answers for each of four flowers:

# %%
four = small[:4]
several = np.stack([sr3_flowers(four, seed=seed) for seed in range(8)])
spread = several.std(axis=0, ddof=1).mean(axis=-1, keepdims=True)
off = np.abs(several.mean(axis=0) - flowers[:4]).mean(axis=-1, keepdims=True)
plots.show_filmstrip(
    [
        [
            *several[:3, i],
            np.tile(4 * spread[i] - 1, 3),
            np.tile(4 * off[i] - 1, 3),
            flowers[i],
        ]
        for i in range(4)
    ],
    "Four flowers, each drawn three times; where eight drawings differ, bright at edges and dark elsewhere; how far their "
    "mean is from the real flower, bright at the same places; and the real flower.",
    column_labels=["drawn", "again", "again", "spread", "off", "real"],
)
likeness = [np.corrcoef(spread[i].ravel(), off[i].ravel())[0, 1] for i in range(4)]
print("correlation of spread and error:", *(f"{one:.2f}" for one in likeness))

# %% [markdown]
# [..]
#
# ## Small pictures that were made otherwise
#
# [filters]

# %%
print("small by                        off   PSNR          spectra")
for name in ("bicubic", "bicubic without antialiasing", "every fourth pixel"):
    one = kept[f"small by {name}"]
    print(
        f"{name:30} {one['small_value']:5.2f}  {one['psnr_value']:5.2f} ± {one['psnr_error']:.2f} "
        f"{one['frechet_value']:6.2f} ± {one['frechet_error']:.2f}"
    )

# %%
FILTERS = {"mean": lambda x: shrink(x, FACTOR), "every fourth": lambda x: x[:, 2::4, 2::4]}
rows = []
for make in FILTERS.values():
    rows += [enlarge(make(flowers[eight]), FACTOR), sr3_flowers(make(flowers[eight]))]
plots.show_filmstrip(
    [*rows, flowers[eight]],
    "Eight flowers shrunk by the mean, and enlarged; shrunk by taking every fourth pixel, and enlarged. [..]",
    row_labels=["mean", "enlarged", "every fourth", "enlarged", "real"],
)

# %% [markdown]
# [..]
#
# ## Your own photograph
#
# The network takes 16 by 16 pixels. A larger picture can be cut into tiles, each of which is enlarged on its own. Or we
# build the network for a larger size and give it the same weights: its convolutions and its attention work at any
# size. Put your photographs in a folder and its name in the place of the dot; here the folder holds one flower, 64 by
# 64 pixels.

# %%
with TemporaryDirectory() as place, chdir(place):
    Image.fromarray(data.to_pixels(flowers[2])).save("flower.png")
    photograph = next(iter(data.load_folder(".", 1, size=64))).numpy()


def as_tiles(picture, side):
    rows = picture.reshape(-1, side, picture.shape[1] // side, side, 3)
    return rows.swapaxes(1, 2).reshape(-1, side, side, 3)


def from_tiles(tiles, across):
    rows = tiles.reshape(-1, across, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(1, -1, across * tiles.shape[2], 3)


np.testing.assert_array_equal(from_tiles(as_tiles(photograph, 16), 4), photograph)

# %%
card, chain = weights.read("flowers_upsampler"), training.load_weights("flowers_upsampler")[1]
large = unet.upsampler(**card["network"] | {"size": 256})
weights.load_into(large, "flowers_upsampler")
predict_noise = training.from_x_0(guidance.given(large, photograph), chain)
*_, whole = sampling.sample(
    predict_noise, chain, (1, 256, 256, 3), WALK, eta=1.0, seed=SEED, clip=True
)
tiled = from_tiles(sr3_flowers(as_tiles(photograph, 16)), 4)
smooth = tf.image.resize(photograph, (256, 256), method="bicubic").numpy()
shown = {"bicubic": smooth, "tile by tile": tiled, "as a whole": whole.x_t}


def seams(picture, every=64):
    jump = np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2, 3))
    border = np.arange(len(jump)) % every == every - 1
    return jump[border].mean() / jump[np.arange(len(jump)) % 4 == 3].mean()


# %%
plots.show_filmstrip(
    [[one[0] for one in shown.values()]],
    "[..]",
    column_labels=list(shown),
)
for name, one in shown.items():
    print(f"{name:12} step at the tiles' borders over others: {seams(one):.2f}")

# %%
scenes = next(iter(data.load("scenes", "test", 200, label=None))).numpy()[: 2 * COUNT]
y = shrink(scenes, FACTOR)
unlike = {
    "bicubic": tf.image.resize(y, (SIDE, SIDE), method="bicubic").numpy(),
    "SR3": sr3_flowers(y),
}
unlike["regression"] = regressed_flowers(y)
for name, answer in unlike.items():
    print(f"{name:10} {psnr(answer.clip(-1, 1), scenes).mean():.2f} dB")
plots.show_filmstrip(
    [one[eight] for one in (*unlike.values(), scenes)],
    "[..]",
    row_labels=[*unlike, "real"],
)
