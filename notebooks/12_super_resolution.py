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
# We want to enlarge a picture from 16 by 16 to 64 by 64 pixels. Fifteen of sixteen numbers are missing, and many large
# pictures fit what is left. Lesson 11 filled holes whose pixels were missing altogether. Here we know something about
# every pixel, but no pixel exactly.

# %% [markdown]
# **You will**
#
# - **derive** how much worse than the best answer a perfect sampler must look, and check it where all is known;
# - **train** a network that sees the small picture, and a rival that predicts the mean of all possible pictures;
# - **judge** ways to enlarge flowers, and find a failure that the loss does not show.
#
# **You need** lessons 09 to 11. To run, it
# takes <!-- measured -->about 6 minutes on two CPU cores and 1.8 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

from functools import cache
from itertools import pairwise

import keras
import numpy as np
import tensorflow as tf
from keras import layers

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
BATCH = 32
WIDTHS = choose(smoke=(8, 16), cpu=(32, 64), gpu=(32, 64))  # of the networks for digits
BLOCKS = choose(smoke=1, cpu=1, gpu=2)
STEPS = choose(smoke=20, slow=400, cpu=1200, gpu=6000)  # of each training
DIGITS = choose(smoke=50, cpu=500, gpu=500)  # to enlarge
COUNT = choose(smoke=8, slow=32, cpu=64, gpu=500)  # flowers to enlarge
WALK = choose(smoke=4, cpu=25, gpu=25)  # steps of a walk
GAUSSIANS = choose(smoke=100, cpu=2000, gpu=2000)  # pictures where all is known
# Steps of the walks there.
WALKS = choose(smoke=(10, 25), cpu=(10, 25, 250), gpu=(10, 25, 250))
PHOTOGRAPHS = None  # a folder of your own, for the last section
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
flowers = next(iter(data.load(source, split, COUNT, size=SIDE, label=None))).numpy()
small, four, eight = shrink(flowers, FACTOR), slice(4), slice(8)
detail = flowers - enlarge(small, FACTOR)
np.testing.assert_allclose(shrink(enlarge(small, FACTOR), FACTOR), small, atol=1e-6)
np.testing.assert_allclose(shrink(detail, FACTOR), 0, atol=1e-6)
another = np.roll(enlarge(small, FACTOR), 1, axis=0)
np.testing.assert_allclose(np.mean(detail * another, axis=(1, 2, 3)), 0, atol=1e-6)
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
plots.show_filmstrip(
    [one[1:4] for one in (flowers, enlarge(small, FACTOR), detail, borrowed)],
    "Three flowers; the same shrunk to 16 by 16, as squares; their detail, grey with fine edges; and the squares with the "
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
# possible pictures, $m=\mathrm{E}[x\mid y]$; lesson 03 showed this for denoising. Now let a perfect sampler draw
# $\hat x$ from $p(x\mid y)$. Given $y$, the truth $x$ and the drawn $\hat x$ are independent and have the same
# distribution. So
#
# $$\mathrm{E}\|\hat x-x\|^2
# =\mathrm{E}\|(\hat x-m)-(x-m)\|^2
# =\mathrm{E}\|\hat x-m\|^2+\mathrm{E}\|x-m\|^2
# =2\,\mathrm{E}\|x-m\|^2,$$
#
# since the mixed term, $-2\,\mathrm{E}\langle\hat x-m,\,x-m\rangle$, is zero: given $y$, the two factors are
# independent and their means are zero. A perfect sampler has exactly **twice** the squared error of the mean. The
# usual unit is the peak signal-to-noise ratio, $\mathrm{PSNR}=10\log_{10}(2^2/\mathrm{error})$ for pictures in
# $[-1,1]$, whose largest difference is 2. Twice the error is $10\log_{10}2=3.01$ dB less.
#
# And a sampler that is not perfect? If its answers have the variance $v$ given $y$, and their mean the error $b$, then
# its error is $b+v$, by the same argument. No mean has a smaller error than $m$. So a sampler that loses *less* than 3
# dB to $m$ is not better than perfect: its $v$ is too small, and its answers to one $y$ vary too little.


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
# We draw pictures, shrink them, and draw one answer to each from its posterior. `eigh` gives a square root of $P$;
# `np.linalg.cholesky` would refuse, as four eigenvalues of $P$ are zero:

# %%
values, axes = np.linalg.eigh(P)
root = axes * np.sqrt(values.clip(0))
truth = rng.multivariate_normal(np.zeros(64), C, GAUSSIANS)
shrunk = truth @ A.T
means = shrunk @ K.T
answers = means + rng.standard_normal((GAUSSIANS, 64)) @ root.T


# %%
def errors_of(answers):
    return np.mean(np.square(answers - truth), axis=1)


mine, least = errors_of(answers), errors_of(means)
ratio = mine.mean() / least.mean()
uncertain = (mine - ratio * least).std(ddof=1) / least.mean() / np.sqrt(GAUSSIANS)
print(f"error of drawn answers over that of the mean: {metrics.Estimate(ratio, uncertain)}")
assert abs(ratio - 2) < 4 * uncertain

# %% [markdown]
# ## Without any training
#
# The network of lesson 09 draws flowers, and knows nothing about small pictures. Lesson 11 has shown how to use it
# nevertheless: in each step, correct the guess at $x_0$ before the step is taken. There we put known pixels back; here
# we replace the mean of each square of the guess by the right one, and keep its detail,
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
# Does this give samples of $p(x\mid y)$? In lesson 11, the same idea was biased. On our Gaussian pictures the answer
# can be computed, as there: an exact denoiser is linear here, so a step from $t$ to $s$ takes $x_t$ to a matrix times
# $x_t$, plus a matrix times $y$, plus noise. We find the two matrices by applying the step to unit vectors:

# %%
gaussian_chain = schedule.linear()
world = oracle.gaussian(gaussian_chain, np.zeros(64), C)


def step(t, s, eta):
    x, y = np.split(np.vstack([np.zeros(68), np.eye(68)]), [64], axis=1)

    def right_means(x_0):
        large, small = np.asarray(x_0).reshape(-1, 8, 8, 1), y.reshape(-1, 2, 2, 1)
        return corrected(large, small, 4).reshape(-1, 64)

    answer = guidance.consistent(world.predict_noise, gaussian_chain, right_means)
    noise_pred, still, moving = answer(x, np.full(69, t)), np.zeros_like(x), np.ones_like(x)
    plain, noisy = (
        np.asarray(sampling.reverse_step(x, noise_pred, t, s, gaussian_chain, eta, z)[0])
        for z in (still, moving)
    )
    on_x, on_y = np.split((plain[1:] - plain[0]).T, [64], axis=1)
    return on_x, on_y, (noisy - plain)[0, 0]


# %% [markdown]
# So the answers to $y$ have a mean $F y$ and a covariance $S$, which we follow step by step. With them we know $b$ and
# $v$, here divided by the error of $m$. For a perfect sampler both are 1.


# %%
def error_and_variance(steps, eta):
    F, S = np.zeros((64, 4)), np.eye(64)
    for t, s in pairwise(sampling.time_grid(1000, steps).tolist()):
        on_x, on_y, std = step(t, s, eta)
        F, S = on_x @ F + on_y, on_x @ S @ on_x.T + std**2 * np.eye(64)
    np.testing.assert_allclose(A @ F, np.eye(4), atol=1e-6)  # the small picture is right
    np.testing.assert_allclose(A @ S @ A.T, 0, atol=1e-6)
    bias = np.trace((F - K) @ A @ C @ A.T @ (F - K).T) / 64
    return 1 + bias / best, np.trace(S) / 64 / best


print("steps  eta     b     v   ratio")
known = {}
for steps in WALKS:
    for eta in (0, 1):
        b, v = known[steps, eta] = error_and_variance(steps, eta)
        print(f"{steps:5}  {eta:3}  {b:.2f}  {v:.2f}  {b + v:6.2f}")

# %%
for (steps, _), (b, v) in known.items():
    assert steps < 10 or 1 < b < 1.04
    assert steps > 25 or v < 0.9
    assert steps < 250 or abs(v - 1) < 0.05
for steps in (10, 25):
    assert known[steps, 0][1] > known[steps, 1][1]

# %% [markdown]
# With 250 steps both are nearly right. The method is not exact: the mean of its answers is a little off, with
# $\eta=0$ by 3 % of the least error. With few steps $v$ is too small, and so the ratio is below 2. In squared
# error such answers beat a perfect sampler's. That is not an advantage, since they vary too little; remember it when
# a sampler with few steps has a good PSNR. DDIM ($\eta=0$) keeps more of the variance in few steps than DDPM does.
#
# Now the same with flowers, where we first clip the guess to the range of pictures:

# %%
load_weights = cache(training.load_weights)


def zero_shot_flowers(y, steps=WALK, seed=SEED):
    predict_noise, chain = load_weights("flowers")

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
    [answer[1:4] for answer in (*ways.values(), flowers)],
    "Three small flowers as squares; bicubic, smooth and blurred; drawn without training, with leaves, edges and "
    "fine grain, some of it on petals that are smooth in the last row; and the flowers as they were.",
    row_labels=[*ways, "real"],
)

# %% [markdown]
# **Bicubic** interpolation is what programs for photographs do. It knows nothing about flowers, and its answers are
# blurred. What the network of lesson 09 draws has edges and leaves, but its petals are grainy, and its PSNR is lower
# than that of bicubic interpolation. A lower PSNR alone does not show that it is worse.
#
# ## A network that sees the small picture
#
# *SR3* (Saharia et al. 2021, section 2) trains a network for $p(x\mid y)$ itself. It is the U-Net of lesson 04 with
# more input channels: beside $x_t$ it gets the small picture, enlarged. In everything else we follow lesson 09; in
# particular, our networks predict $x_0$, and SR3's the noise. Here is the whole network:


# %%
def upsampler(size, channels, widths, blocks, factor, patch):
    x_t, t = keras.Input((size, size, channels)), keras.Input((), dtype="int32")
    y = keras.Input((size // factor, size // factor, channels))
    x = layers.Concatenate()([x_t, layers.UpSampling2D(factor)(y)])
    time = unet.time_embedding(t, 4 * widths[0])
    x = unet.backbone(x, time, widths, blocks, channels=channels, patch=patch)
    return keras.Model([x_t, t, y], x)


# %% [markdown]
# `UpSampling2D` is our `enlarge`; the paper enlarges by bicubic interpolation. The paper tells the network $\gamma$,
# which is our $\bar\alpha$, in place of $t$, and in training draws it uniformly between the values of two neighbouring
# times. One network can then walk along any schedule. We keep one schedule throughout and tell the network $t$, as
# DDPM does.

# %%
NETWORK = {"size": 28, "channels": 1, "factor": 4, "patch": 2}
NETWORK |= {"widths": WIDTHS, "blocks": BLOCKS}
ours, theirs = upsampler(**NETWORK), unet.upsampler(**NETWORK)
assert unet.flops(ours) == unet.flops(theirs)
for weight in ours.trainable_variables:  # the last layer starts at zero, and would hide all
    weight.assign(keras.random.normal(weight.shape, stddev=0.1))
theirs.set_weights(ours.get_weights())
x_t, y = (rng.standard_normal((3, side, side, 1), dtype=np.float32) for side in (28, 7))
asked = [x_t, np.array([1, 400, 1000], np.int32), y]
np.testing.assert_allclose(ours(asked), theirs(asked), atol=1e-4)

# %% [markdown]
# **Earned.** `unet.upsampler`. We train one for digits, from 7 by 7 to 28 by 28 pixels. The small picture is a
# condition as the label was in lesson 10, and is never dropped in training (`null=(None,)`). The target is $x_0$, as
# in lesson 09.

# %%
cosine = schedule.cosine()
digits = data.load_digits("train", BATCH, seed=SEED)
with_small = digits.map(lambda x_0, label: (x_0, resize.shrink(x_0, 4)))
pairs = data.noisify(with_small, cosine, data.the_image, seed=SEED, null=(None,))

# %% [markdown]
# Its **rival** is the same network with the same training, except for one thing: it never sees a noisy picture. Its
# $x_t$ is always 0 and its $t$ always $T$, so that it can only learn the mean of all $x_0$ that fit the small picture.
# That is regression. (Lesson 09's weight of the loss goes, too; at $t=T$ it is 1.)

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


# %% [markdown]
# Both trainings follow lesson 05's recipe, with the same seed, and so see the same digits in the same order. Only the
# pairs differ.

# %%
told, told_average = train(pairs, "told the small picture")
regressor, regressor_average = train(blind, "regression")

# %% [markdown]
# We enlarge digits that neither network has seen. The regression answers in one step, the other one walks:

# %%
held_out = next(iter(data.load_digits("test", DIGITS)))[0].numpy()
little = shrink(held_out, 4)
with regressor_average.applied():
    last_t = np.full(len(little), cosine.T)
    regressed = regressor.predict_on_batch([0 * held_out, last_t, little])


def enlarged_digits(y, seed=SEED, steps=WALK):
    with told_average.applied():
        predict_noise = training.from_x_0(guidance.given(told, y, batch_size=500), cosine)
        shape = (len(y), 28, 28, 1)
        *_, last = sampling.sample(
            predict_noise, cosine, shape, steps, eta=1.0, seed=seed, clip=True
        )
    return last.x_t


# %% [markdown]
# Each digit is drawn three times, from three different noises:

# %%
drawn = [enlarged_digits(little, seed) for seed in range(3)]
ten = slice(10)
plots.show_filmstrip(
    [one[ten] for one in (enlarge(little, 4), regressed, *drawn, held_out)],
    "Ten small digits as squares, some hard to read; the regression's answers, with strokes that are grey where it is "
    "unsure; three drawings of each, black and sharp, which differ a little; and the digits as they were.",
    row_labels=["small", "regression", "drawn", "again", "again", "real"],
)

# %%
answers = {"regression": regressed, "drawn": drawn[0]}
errors = {
    name: np.square(one - held_out).mean(axis=(1, 2, 3)) for name, one in answers.items()
}
for name, one in answers.items():
    away = 127.5 * np.abs(shrink(one, 4) - little).mean()
    print(f"{name:10} error {errors[name].mean():.4f}, small picture off by {away:.2f} of 255")
    assert STEPS < 1200 or data.digits() != "mnist" or away < 1.5
times_as_large = errors["drawn"].mean() / errors["regression"].mean()
print(f"ratio {times_as_large:.2f}")
if STEPS >= 1200 and data.digits() == "mnist":
    assert 1.6 < times_as_large < 2 and errors["regression"].mean() < 0.03

# %% [markdown]
# Seven by seven pixels tell what most of these digits are, but not where exactly the strokes run. There the
# regression's strokes are grey, and each drawing chooses a place. The ratio of the errors is a little below 2. This
# alone proves nothing, since the regression need not be the best mean; exercise 2 looks at it more closely. Nothing
# made either network respect the small picture. Both have learned to, within about one grey level of 255.
#
# ## Does the network use the small picture?
#
# A network that ignores the small picture still learns to remove noise. Would the loss tell? We ask ours about each
# digit twice: with its own small picture, and with that of the digit before. The table has the error of the guess at
# $x_0$, and the error of the same guess read as one of the noise, which is $\bar\alpha_t/(1-\bar\alpha_t)$ times as
# large. The latter is the loss of lesson 05, and SR3's if its errors are squared.

# %%
swapped, gains = np.roll(little, 1, axis=0), {}
print("          x_0              noise")
print("   t   own  swapped     own  swapped")
with told_average.applied():
    for t in (50, 200, 400, 600, 800, 950):
        z = sampling.noise_of(SEED, t, held_out.shape)
        x_t = diffusion.add_noise(held_out, z, cosine.alpha_bar[t]).numpy()
        times = np.full(len(x_t), t)
        guesses = [
            told.predict_on_batch([x_t, times, told_small]) for told_small in (little, swapped)
        ]
        own, other = (np.mean(np.square(guess - held_out)) for guess in guesses)
        as_noise = cosine.alpha_bar[t] / (1 - cosine.alpha_bar[t])
        gains[t] = other - own, as_noise * (other - own)
        print(f"{t:4} {own:6.4f} {other:6.4f}  {as_noise * own:8.4f} {as_noise * other:7.4f}")
if STEPS >= 1200 and data.digits() == "mnist":
    assert np.all(np.diff([of_x_0 for of_x_0, _ in gains.values()]) > 0)
    assert np.all(np.diff([of_noise for _, of_noise in gains.values()]) < 0)
    assert gains[950][1] < 0.005 < 30 < gains[50][1]

# %% [markdown]
# Read the two columns on the left from top to bottom. The more noise there is, the worse is the guess with another
# digit's small picture. The columns on the right say the opposite: there the difference falls, from more than 30 at
# $t=50$ to 0.003 at $t=950$, while the loss with the right one is about 0.2 at $t=50$. So in the average of this loss
# nobody would notice a network that does not look at the small picture where the walk begins. A test like this one
# finds it: swap the small pictures within a batch, and look at each $t$ on its own.
#
# ## Ways to enlarge flowers
#
# A network of this kind comes with the course, for flowers from 16 to 64 pixels, and so does its rival. Each has the
# size of lesson 09's network, and each was trained for 10,000 steps, in batches of 128, with pieces of 64 to 96 pixels
# cut out of 4,524 flowers at random and reduced to 64. The cards tell that the rival's error on held-out flowers
# stopped falling before the training ended, while its error on those that it was trained with still fell.


# %%
def sr3_flowers(y, steps=WALK, seed=SEED):
    conditioned, chain = load_weights("flowers_upsampler")
    predict_noise, shape = conditioned(y, batch_size=100), (len(y), SIDE, SIDE, 3)
    options = {"eta": 1.0, "seed": seed, "clip": True}
    *_, last = sampling.sample(predict_noise, chain, shape, steps, **options)
    return last.x_t


# %% [markdown]
# The regression's $x_t$ is 0, and a step from $T$ to 0 gives its guess at $x_0$, so one step of `sample` asks it:


# %%
def regressed_flowers(y):
    conditioned, chain = load_weights("flowers_regression")
    x_T = np.zeros((len(y), SIDE, SIDE, 3), np.float32)
    *_, last = sampling.sample(conditioned(y, batch_size=100), chain, x_T.shape, 1, x_T=x_T)
    return last.x_t.clip(-1, 1)


rival = weights.read("flowers_regression")
assert rival["held_out_losses"][-1] > min(rival["held_out_losses"])
assert rival["losses"][-1] < rival["losses"][10]


# %%
ways["regression"] = regressed_flowers(small)
for steps in (1, 10, WALK):
    ways[f"SR3, {steps}"] = sr3_flowers(small, steps)
decibels = {name: psnr(answer.clip(-1, 1), flowers) for name, answer in ways.items()}
for name, one in decibels.items():
    print(f"{name:12} {one.mean():.2f} dB")
plots.show_filmstrip(
    [answer[eight] for answer in (*ways.values(), flowers)],
    "Eight flowers in seven ways, and as they were. The regression's are clear but soft, as if out of focus; SR3's in "
    "one step look the same; with ten and more steps edges, veins and leaves become sharper.",
    row_labels=[*ways, "real"],
)

# %% [markdown]
# The regression's flowers are clear and soft. So are SR3's after a single step, and this is no coincidence: at $t=T$
# there is next to no trace of the picture in $x_t$, so the best guess at $x_0$ is the mean of all that fit the small
# picture. With more steps veins, edges and leaves appear, and the PSNR falls.
#
# A thousand held-out flowers tell more. These numbers were measured once (`make tables LESSONS=12`):
#
# - **PSNR** and **SSIM** (structural similarity, Wang et al. 2004; 1 is the same picture) compare with the real flower.
# - **off** tells how far the answer, shrunk, is from the small picture: the root mean square, in 0..255.
# - **strength** is the mean square of the answers' details over that of the real flowers'. (It does not tell how much
#   several answers to one small picture differ.)
# - **detail** is the Fréchet distance (lesson 08) between details of answers and of other real flowers, with patches of
#   8 by 8 pixels, 192 numbers, as features.
# - **found** replaces the paper's human judges, who were asked which of two pictures a camera had taken: a small
#   network learns on 700 answers and the 700 real flowers, and is asked about 300 others of each. At 50 % it cannot
#   tell.

# %%
kept = weights.results("12")
ORDER = ["as it is", "bicubic", "regression", "no training, 25 steps"]
ORDER += [f"SR3, {steps}" for steps in ("1 step", "10 steps", "25 steps", "100 steps")]
ORDER += ["SR3, 25 steps, eta = 0", "SR3, 25 steps, corrected", "real"]
FORMS = {"psnr": "6.2f", "ssim": "6.2f", "consistency": "7.2f", "varied": "10.2f"}
print(f"{'':24}  PSNR  SSIM    off  strength  detail         found")
for name in ORDER:
    one = kept[name]
    numbers = "".join(f"{one[f'{part}_value']:{form}}" for part, form in FORMS.items())
    distance = f"{one['detail_value']:5.2f} ± {one['detail_error']:.2f}"
    print(
        f"{name:24}{numbers}  {distance}  {one['found_value']:5.0%} ± {one['found_error']:.0%}"
    )

# %% [markdown]
# The first row leaves the small pictures as they are, as squares. The last row has *other* real flowers for answers.
# They are far from the right ones, yet details and judge pass them as real. So no column is enough on its own. The
# next cell checks what the text below says of the table.


# %%
def of(name, part):
    return metrics.Estimate(kept[name][f"{part}_value"], kept[name][f"{part}_error"])


regression, walks = "regression", [f"SR3, {steps} steps" for steps in (10, 25, 100)]
lost = [of(regression, "psnr").value - of(name, "psnr").value for name in walks]
print("dB lost against the regression:", *(f"{one:.2f}" for one in lost))
print(
    "errors over the regression's:",
    *(f"{of(name, 'mse').value / of(regression, 'mse').value:.2f}" for name in walks),
)
assert np.all(np.diff([0, *lost, 3.01]) > 0)
missing = of(regression, "mse").value / of("as it is", "mse").value
assert abs(of(regression, "varied").value + missing - 1) < 0.03
assert np.all(np.diff([of(name, "detail").value for name in (regression, *walks)]) < 0)

# %% [markdown]
# - The **regression** has the best PSNR and SSIM. For the squared error the law says so; for SSIM it is only a
#   measurement. Its details have 55 % of the strength of real ones. By the law of total variance (lesson 03), the rest
#   should be its squared error, and it is: 47 % of that of the squares, whose error is all of the detail.
# - **SR3** loses about 2 dB with 100 steps. At the same time its details come ever nearer to real ones. Judged by PSNR
#   alone, a single step would be best.
# - The table has two variants of SR3 with 25 steps. With $\eta=0$ the details are stronger and nearer to real ones.
#   The other one also corrects each guess, as in the section without training. Its small pictures are exact; no other
#   column changes.
# - **No training** has exact small pictures, too, and its details are nearer to real ones than the regression's. But
#   SR3 with 25 steps is better in every column except *off*.
# - The **judge** finds most answers of every kind. It is wrong most often about SR3 with 25 steps or more, in one case
#   of nine. In the paper, SR3's faces fooled people in nearly half of the trials.
#
# SR3's own table (Saharia et al. 2021, table 1) has 23.96 dB for the regression and 23.04 for SR3, on faces, a loss of
# 0.92 dB. Table 2 has 27.9 and 26.4 on ImageNet, 1.5 dB less. A perfect sampler would lose 3.01 dB to the best mean.
# (The law is about the mean error, and the tables have means of PSNRs; in ours the two differ by 0.01 dB.) So either
# their regression is not the best, or their samples vary less than $p(x\mid y)$ does. PSNR cannot tell which.
#
# ## Do the answers vary enough?
#
# We use $b$ and $v$ once more: one drawing has the error $b+v$, where $b$ is the error of the mean of infinitely many
# drawings. The mean of 16 of them has the error $b+v/16$. For a perfect sampler $b=v$, and the ratio
# $\frac{b+v}{b+v/16}$ is $2/(1+\frac{1}{16})=1.88$. It is smaller if the drawings vary too little, or if their mean is
# wrong, since then $b>v$. We measured it for 200 flowers with 25 steps:

# %%
calibration = kept["calibration"]
print("ratio {ratio_value:.2f} ± {ratio_error:.2f}, expected {expected}".format(**calibration))
parts_of_error = {"v": "between", "b": "beyond", "the regression's error": "regression"}
for name, part in parts_of_error.items():
    print(
        "{}: {:.4f} ± {:.4f}".format(
            name, *(calibration[f"{part}_{x}"] for x in ("value", "error"))
        )
    )
v, b, other = (calibration[f"{part}_value"] for part in parts_of_error.values())
assert calibration["ratio_value"] + 3 * calibration["ratio_error"] < calibration["expected"]
assert v < b / 2 and abs(b / other - 1) < 0.05

# %% [markdown]
# The ratio is 1.39, and the parts say why. On these flowers $b$ is the regression's error, so we find no fault in the
# mean of the drawings. But $v$ is less than half of $b$: they vary too little. So the small loss in PSNR is not a
# merit of SR3. Too few steps may be one reason, as on the Gaussian pictures: with 100 steps the total error is larger.
# We have not split it into $b$ and $v$ there.
#
# Where do they vary? We draw eight answers for each of four flowers, and show two of them for three:

# %%
several = np.stack([sr3_flowers(small[four], seed=seed) for seed in range(8)])
spread = several.std(axis=0, ddof=1).mean(axis=-1, keepdims=True)
off = np.abs(several.mean(axis=0) - flowers[four]).mean(axis=-1, keepdims=True)
likeness = [np.corrcoef(spread[i].ravel(), off[i].ravel())[0, 1] for i in range(4)]
print("correlation of spread and error:", *(f"{one:.2f}" for one in likeness))
if real and WALK == 25:
    assert min(likeness) > 0.3
maps = [np.repeat(8 * one - 1, 3, axis=-1) for one in (spread, off)]
plots.show_filmstrip(
    [[*several[:2, i], *(one[i] for one in maps), flowers[i]] for i in (1, 2, 3)],
    "Three flowers, each drawn twice; where eight drawings differ, bright at edges and dark elsewhere; how far their "
    "mean is from the real flower, bright at many of the same places; and the real flower.",
    column_labels=["drawn", "again", "spread", "off", "real"],
)

# %% [markdown]
# Both maps are bright along edges and dark within petals: where drawings differ is where they are likely to be wrong.
# Such a map needs no real picture, so it can be shown to whoever has to rely on an enlarged one.
#
# ## Small pictures from another filter
#
# Our networks have seen small pictures of one kind, the means of squares. Programs shrink in many ways. *Bicubic*
# interpolation with antialiasing takes weighted means over a wider area; without antialiasing it is dominated by the
# four pixels in the middle of each square, and *every fourth pixel* takes one of sixteen. Below, the same network
# draws in 25 steps from small pictures that were made in these ways. Here *off* tells how far the small pictures
# themselves are from the means:

# %%
print(f"{'small by':30}  off   PSNR          detail")
print(
    f"{'mean of squares':30} 0.00  {of('SR3, 25 steps', 'psnr')}  {of('SR3, 25 steps', 'detail')}"
)
for name in ("bicubic", "bicubic without antialiasing", "every fourth pixel"):
    small_off = of(f"small by {name}", "small").value
    numbers = [of(f"small by {name}", part) for part in ("psnr", "detail")]
    print(f"{name:30} {small_off:4.2f}  {numbers[0]}  {numbers[1]}")
exact_small, blurred = of("SR3, 25 steps", "detail"), of("small by bicubic", "detail")
assert blurred.value - exact_small.value > 3 * np.hypot(blurred.error, exact_small.error)

# %%
FILTERS = {"mean": lambda x: shrink(x, FACTOR), "every fourth": lambda x: x[:, 2::4, 2::4]}
rows = []
for make in FILTERS.values():
    rows += [enlarge(make(flowers[1:4]), FACTOR), sr3_flowers(make(flowers[1:4]))]
plots.show_filmstrip(
    [*rows, flowers[1:4]],
    "Three flowers as small pictures by the mean, and enlarged; by every fourth pixel, with jagged edges, and enlarged, "
    "with frayed petals and speckled leaves; and as they were.",
    row_labels=["mean", "enlarged", "every fourth", "enlarged", "real"],
)

# %% [markdown]
# With antialiased bicubic pictures the PSNR rises a little, and the details are farther from real ones; why, we have
# not tested. The other two cost 3.6 and 4.5 dB. Their small pictures have jagged edges and speckles, and the network
# draws frayed petals and speckled leaves for them. So an upsampler fits one way of shrinking, and nothing warns you of
# another. Published networks differ in their filters, and two libraries' *bicubic* need not be the same.
#
# ## Your own photograph
#
# The network takes 16 by 16 pixels. A larger picture can be cut into tiles, each of which is enlarged on its own. Or
# we build the network for a larger size and give it the same weights, since the shapes of the weights do not depend on
# the size. (The cost does; that of attention grows with its square.) To try it with a photograph of your own, put its
# folder into `PHOTOGRAPHS` at the top; the first file is taken, reduced to 256 by 256, and then shrunk by our means to
# 64 by 64. Without one, we take a flower of 64 by 64 pixels as it is. It becomes four times as large as any that the
# network has seen:

# %%
photograph = flowers[2:3]
if PHOTOGRAPHS:
    photograph = shrink(next(iter(data.load_folder(PHOTOGRAPHS, 1, size=256))).numpy(), 4)

# %% [markdown]
# These two functions cut a square picture into tiles, and put tiles together again:


# %%
def as_tiles(picture, side):
    rows = picture.reshape(-1, side, picture.shape[1] // side, side, 3)
    return rows.swapaxes(1, 2).reshape(-1, side, side, 3)


def from_tiles(tiles, across):
    rows = tiles.reshape(-1, across, *tiles.shape[1:]).swapaxes(1, 2)
    return rows.reshape(1, -1, across * tiles.shape[2], 3)


np.testing.assert_array_equal(from_tiles(as_tiles(photograph, 16), 4), photograph)

# %% [markdown]
# `load_weights` builds the network for 64 pixels. For 256 we build it ourselves, with the arguments from its card:

# %%
card, (_, flower_chain) = weights.read("flowers_upsampler"), load_weights("flowers_upsampler")
large = unet.upsampler(**card["network"] | {"size": 256})
weights.load_into(large, "flowers_upsampler")
predict_noise = training.from_x_0(guidance.given(large, photograph), flower_chain)
options = {"eta": 1.0, "seed": SEED, "clip": True}
*_, whole = sampling.sample(predict_noise, flower_chain, (1, 256, 256, 3), WALK, **options)

# %% [markdown]
# Do the pieces fit? `seams` compares the step across the tiles' borders with the steps across the borders of all
# squares that belong to one small pixel, of which the tiles' borders are a part.

# %%
tiles = as_tiles(photograph, 16)
tiled, regressed_tiles = (
    from_tiles(enlarged(tiles), 4) for enlarged in (sr3_flowers, regressed_flowers)
)
smooth = tf.image.resize(photograph, (256, 256), method="bicubic").numpy()
pieces = {"bicubic": smooth, "tile by tile": tiled, "as a whole": whole.x_t}


def seams(picture, every=64):
    jump = np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2, 3))
    border = np.arange(len(jump)) % every == every - 1
    return jump[border].mean() / jump[np.arange(len(jump)) % 4 == 3].mean()


# %%
for name, one in {**pieces, "regression, tile by tile": regressed_tiles}.items():
    print(f"{name:25} step at the tiles' borders over others: {seams(one):.2f}")
if real and WALK == 25 and not PHOTOGRAPHS:
    assert min(seams(tiled), seams(regressed_tiles)) > 1.5 and seams(whole.x_t) < 1.2
plots.show_filmstrip(
    [[one[0, 40:200, 40:200] for one in pieces.values()]],
    "A pink blossom, 160 of its 256 pixels to a side, three times: bicubic, blurred; tile by tile, sharp and rough, with seams; as a "
    "whole, sharp and without seams.",
    column_labels=list(pieces),
)

# %% [markdown]
# The tiles do not fit together: each was enlarged without seeing its neighbours. That is the main reason, for the
# regression's tiles, in which nothing depends on the noise, fit hardly better. The whole picture has no seams.
#
# And a picture unlike flowers? We enlarge scenes with the networks for flowers:

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
if WALK == 25:
    assert np.all(psnr(unlike["SR3"], scenes).mean() > psnr(unlike["bicubic"], scenes).mean())
plots.show_filmstrip(
    [one[four] for one in (*unlike.values(), scenes)],
    "Four scenes enlarged by bicubic interpolation, blurred; by SR3 for flowers, with sharp but frayed edges and grain on "
    "plain ground; by the regression, cleaner and softer; and as they were, with fine stars at night that all have lost.",
    row_labels=[*unlike, "real"],
)

# %% [markdown]
# Both networks are nearer to the real scenes than bicubic interpolation. But SR3 draws grain on plain ground and in the
# sky, as if there were leaves, and gives straight edges a frayed outline. Stars of a single pixel are lost; the small
# picture tells only in which square they were, and that faintly.
#
# ## Recap
#
# - You **derived** that a perfect sampler has twice the squared error of the mean, and checked it where all is known.
# - You **trained** a network that sees the small picture, and its rival, and found a failure that the loss hides.
# - You **judged** ways to enlarge flowers by similarity, detail, consistency with the small picture, and a classifier,
#   and saw what a small picture from another filter does.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. One step.** Put `1` in front of the numbers in `WALKS`, and run the two cells that print $b$ and $v$. What
# does the walk answer with after a single step, and what is its ratio? Afterwards put it back.
#
# <details><summary>Answer</summary>
#
# At $t=T$ the exact denoiser, which knows no small picture, guesses the mean of all pictures, nearly 0. The correction
# makes squares of it, whatever $\eta$ is. So $v$ is 0, and $b$ is 1.20: the mean $K\,y$ also knows how neighbouring
# squares are related. By the ratio the squares are better than any sample, and they look like none of the pictures.
#
# </details>
#
# **2. The mean of several.** Below the digits' errors, take the mean of the three drawings, `np.mean(drawn, axis=0)`,
# as a further answer. What share of one drawing's error do you expect, if the drawings are samples?
#
# <details><summary>Answer</summary>
#
# One drawing has the error $b+v$, the mean of three $b+v/3$. For samples $b=v$, and the share is two thirds. Here it
# is about 73 %, so that $v$ is about $0.7\,b$: these drawings vary too little, too.
#
# </details>
#
# **3. No small picture.** Draw digits from small pictures that are all $-1$, that is, empty, with
# `enlarged_digits(-np.ones_like(little[:10]))`. And from small pictures of Gaussian noise with a deviation of 0.3?
#
# <details><summary>Answer</summary>
#
# From an empty picture, an empty page: no digit has an empty small picture, and the network does not draw one where
# nothing asks for it. From noise it draws nets of strokes all over the page, since strokes are all that it knows. Their
# small pictures are far from the noise, by about 40 grey levels on average.
#
# </details>
#
# **4. In code.** Write `parts(x, factor)`, which splits pictures, (B, H, W, C), into two of the same shape: what the
# small picture tells of them, enlarged, and the detail. Use NumPy alone.


# %% tags=["solution"]
def parts(x, factor):
    count, height, width, channels = x.shape
    squares = x.reshape(count, height // factor, factor, width // factor, factor, channels)
    small = squares.mean(axis=(2, 4))
    coarse = small.repeat(factor, axis=1).repeat(factor, axis=2)
    return coarse, x - coarse


# %%
checks.parts(parts)

# %% [markdown]
# **5. In code.** Write `psnr_of(answers, truth)`, the PSNR of each picture in dB, for pictures in $[-1,1]$.


# %% tags=["solution"]
def psnr_of(answers, truth):
    return 10 * np.log10(2**2 / np.mean((answers - truth) ** 2, axis=(1, 2, 3)))


# %%
checks.psnr_of(psnr_of)

# %% [markdown]
# **6. Bug clinic.** `training_loss` should return the loss of a training step, for a network that predicts the noise
# and is called with $x_t$, the times, and the small pictures. `alpha_bar` holds
# $\bar\alpha$ for each time. It contains three mistakes. Mend it.
#
# ```python
# def training_loss(x_0, noise, t, alpha_bar, network, factor):
#     t = np.full(len(x_0), t[0])
#     level = alpha_bar[t].reshape(-1, 1, 1, 1)
#     x_t = np.sqrt(level) * x_0 + np.sqrt(1 - level) * noise
#     y = np.roll(resize.shrink(x_0, factor), 1, axis=0)
#     return np.sum(np.square(network(x_t, t, y) - noise))
# ```


# %% tags=["solution"]
def training_loss(x_0, noise, t, alpha_bar, network, factor):
    level = alpha_bar[t].reshape(-1, 1, 1, 1)
    x_t = np.sqrt(level) * x_0 + np.sqrt(1 - level) * noise
    return np.mean(np.square(network(x_t, t, resize.shrink(x_0, factor)) - noise))


# %%
checks.training_loss(training_loss)

# %% [markdown]
# ## In practice
#
# - *SR3*: Saharia et al., "Image Super-Resolution via Iterative Refinement" (2021). It chains its networks, from 64
#   to 256 to 1024 pixels; lesson 14 is about such cascades.
# - *Without training*: Wang, Yu and Zhang, "Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model"
#   (2022): the correction, and this choice of $A$ and $A^+$.
# - *Likeness and looks*: Blau and Michaeli, "The Perception-Distortion Tradeoff" (2018), show that error and realism
#   trade off: the nearer the distribution of the answers is to that of real pictures, the larger is the least possible
#   error. For the squared error, twice the least is always enough. Structural similarity: Wang et al., "Image Quality
#   Assessment: From Error Visibility to Structural Similarity" (2004).
