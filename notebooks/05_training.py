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
# # 05. Train it to guess the noise
#
# [Lesson 04](04_unet.ipynb) built a network that has learned nothing yet. What should it learn, so that it can draw
# digits that nobody drew? The answer starts from the likelihood of a digit, an integral that nobody can compute, and
# ends, four steps later, with a regression so plain that `compile("mse")` and `fit` will do. We take the four steps,
# each with a check, then write the training loop by hand, and then let it run for some minutes. At the end the
# network draws digits.

# %% [markdown]
# **You will**
#
# - **derive** the loss: from the likelihood to the squared error of a guess at the noise;
# - **train** a U-Net, first in a loop of seven steps, then with `fit`, and watch the right curves;
# - **keep** what was learned: averaged weights, checkpoints that survive a kill, a card.
#
# **You need** lesson 03 (the posterior, the perfect denoiser) and lesson 04 (the network). To run, it
# takes <!-- measured -->about 10 minutes on two CPU cores and 2.2 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

import contextlib
import shutil

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

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
from lessons_lib.checks import lesson_05 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
T = 1000
BATCH = 32
BY_HAND = choose(smoke=5, cpu=40, gpu=100)  # steps of the loop that we write ourselves
STEPS = choose(smoke=40, slow=800, cpu=3600, gpu=20000)  # of the training proper
VALIDATION = choose(smoke=4, cpu=20, gpu=20)  # batches to validate with
RATE = 4e-3  # the highest learning rate
DECAY = 0.99  # of the averaged weights
DRAWN = choose(smoke=64, slow=1000, cpu=2000, gpu=2000)  # digits, to measure how good they are
CHECKPOINTS = None  # or a folder, from which a stopped training goes on

keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(SEED)
linear, cosine = schedule.linear(T), schedule.cosine(T)

# %% [markdown]
# ## Four steps from a likelihood to a regression
#
# A sampler starts from pure noise, $x_T$ from $\mathcal N(0, I)$, and takes $T$ random steps back. Each is a
# Gaussian, and a network says where its middle lies:
#
# $$p_\theta(x_{t-1} \mid x_t) = \mathcal N\big(x_{t-1};\ \mu_\theta(x_t, t),\ \sigma_t^2 I\big) \qquad \text{(DDPM, eq. 1)}$$
#
# - $\theta$ are the network's weights, $\mu_\theta$ is the mean that it proposes;
# - $\sigma_t^2$ is a variance that we fix beforehand (why that is enough comes below).
#
# Good weights make the real digits likely: $-\log p_\theta(x_0)$ should be small. But $p_\theta(x_0)$ is an integral
# over *all* paths from noise to $x_0$, $\int p_\theta(x_{0:T})\, dx_{1:T}$, and there are far too many. ($x_{0:T}$ is
# a whole path, $x_0, x_1, \dots, x_T$, and its probability is that of its start times that of all its steps,
# $p(x_T) \prod_t p_\theta(x_{t-1} \mid x_t)$.) The forward chain $q$ proposes paths that do end in $x_0$. Multiply
# and divide by it, and the integral becomes an average over such paths, $E_q$:
#
# $$p_\theta(x_0) = \int q(x_{1:T} \mid x_0)\, \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\, dx_{1:T} = E_q\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\right]$$
#
# As the logarithm of an average is never less than the average of the logarithm (Jensen), we get for each $x_0$
#
# $$-\log p_\theta(x_0) = -\log E_q\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\right]
# \ \le\ E_q\left[-\log \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\right] = L \qquad \text{(DDPM, eq. 3)}$$
#
# which we call $L$. (DDPM averages both sides over the data too.) **$L$ can be estimated**: walk forward, and take
# the logarithm of each step in both directions. Does it work? Take a world that we know fully: one number, normally
# distributed, $x_0 \sim \mathcal N(m, s^2)$, with a chain of 20 steps. In place of a network, the perfect denoiser of
# lesson 03 gives the best guess at $x_0$; the posterior $\tilde\mu_t$ for that guess is our $\mu_\theta$.

# %%
m, s2, short = 0.5, 0.25, schedule.linear(20)
alpha_bar, beta = short.alpha_bar, short.beta
little = oracle.gaussian(short, [m], s2)


def log_normal(x, mean, variance):
    return -((x - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2


def mu_theta(x_t, t, world=little):
    x_0 = world.denoise(x_t, np.full(len(x_t), t))
    return diffusion.posterior(x_0, x_t, *world.schedule.alpha_bar[[t, t - 1]])[0].numpy()


# %% [markdown]
# The true $p_\theta(x_0)$ can be had here, as every step back is a straight line plus Gaussian noise: we start from
# mean 0 and variance 1, and follow both. And $L$ is the average over many forward walks. Both are averaged over the
# data.


# %%
def follow(world, sigma2):
    """Mean and variance of x_0 at the end of the walk back, for step variances sigma2."""
    mean, variance = 0.0, 1.0
    for t in range(world.schedule.T, 0, -1):
        low, high = mu_theta(np.array([[0.0], [1.0]]), t, world).ravel()  # two points tell
        slope = high - low
        mean, variance = low + slope * mean, slope**2 * variance + sigma2[t]
    return mean, variance


x = numbers = rng.normal(m, np.sqrt(s2), (20_000, 1))
truth = -log_normal(numbers, *follow(little, beta)).mean()
walk = np.zeros_like(x)
for t in range(1, short.T + 1):
    before, x = x, np.sqrt(1 - beta[t]) * x + np.sqrt(beta[t]) * rng.normal(size=x.shape)
    walk += log_normal(x, np.sqrt(1 - beta[t]) * before, beta[t])
    walk -= log_normal(before, mu_theta(x, t), beta[t])
walk -= log_normal(x, 0, 1)

error = walk.std() / np.sqrt(len(walk))
print(f"-log p(x_0) is {truth:.3f}; the bound L, from walks, {walk.mean():.3f} ± {error:.3f}")
assert truth - 3 * error < walk.mean() < truth + 0.1

# %% [markdown]
# (We took $\sigma_t^2 = \beta_t$.) The bound holds, and lies close above the truth. The gap says how much the paths
# of $q$ differ from those that the steps back take; more steps make it smaller.
#
# **Step 1: sort the terms.** Averages over walks are noisy. Turn each forward step round with Bayes' rule, as in
# lesson 03: $q(x_t \mid x_{t-1}) = q(x_{t-1} \mid x_t, x_0)\, q(x_t \mid x_0) / q(x_{t-1} \mid x_0)$. In the product
# over all $t > 1$ the fractions cancel in pairs, all but $q(x_T \mid x_0) / q(x_1 \mid x_0)$, and that denominator
# cancels the first step, $q(x_1 \mid x_0)$. Put what belongs to one time together:
#
# $$L = E_q\Big[\underbrace{D\big(q(x_T \mid x_0) \,\|\, p(x_T)\big)}_{L_T} + \sum_{t > 1}
# \underbrace{D\big(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t)\big)}_{L_{t-1}} \underbrace{- \log p_\theta(x_0 \mid x_1)}_{L_0}\Big] \quad \text{(DDPM, eq. 5)}$$
#
# where $D(q \,\|\, p)$ is the Kullback-Leibler divergence, the average of $\log q - \log p$ over $q$: how much worse
# $p$ explains what $q$ does. It is 0 if they are equal. $L_T$ has nothing to learn. Each $L_{t-1}$ compares **one
# step back of the network with the posterior of lesson 03**. Both are Gaussians, so, with the variances
# $\tilde\beta_t$ and $\sigma_t^2$,
#
# $$D = \frac{1}{2}\left[\log\frac{\sigma_t^2}{\tilde\beta_t} + \frac{\tilde\beta_t + (\tilde\mu_t - \mu_\theta)^2}{\sigma_t^2} - 1\right],$$
#
# summed over the numbers in a picture. $L_0$ is no divergence, but of the same kind: at $t = 1$ the posterior is the
# point $\tilde\mu_1 = x_0$, and $-\log p_\theta(x_0 \mid x_1)$ is $(\tilde\mu_1 - \mu_\theta)^2 / (2 \sigma_1^2)$ and
# a constant.
#
# No walk is needed any more: for each $t$, *jump* to $x_t$.


# %%
def divergence(mean_q, variance_q, mean_p, variance_p):
    squares = (variance_q + (mean_q - mean_p) ** 2) / variance_p
    return (np.log(variance_p / variance_q) + squares - 1) / 2


def jump(t):
    """x_t, and what the posterior and the network say about x_{t-1}."""
    a, noise = alpha_bar[t], rng.normal(size=numbers.shape)
    x_t = np.sqrt(a) * numbers + np.sqrt(1 - a) * noise
    mean, tilde_beta = diffusion.posterior(numbers, x_t, a, alpha_bar[t - 1])
    return noise, x_t, mean.numpy(), float(tilde_beta), mu_theta(x_t, t)


total = divergence(np.sqrt(alpha_bar[-1]) * numbers, 1 - alpha_bar[-1], 0, 1).mean()  # L_T
for t in range(2, short.T + 1):
    _, _, mu, tilde_beta, guess = jump(t)
    total += divergence(mu, tilde_beta, guess, beta[t]).mean()
total -= log_normal(numbers, jump(1)[-1], beta[1]).mean()  # L_0

print(f"L from its terms {total:.3f}; by walking {walk.mean():.3f} ± {error:.3f}")
assert abs(total - walk.mean()) < 4 * error

# %% [markdown]
# The same number, within its error (the first has one too). **Step 2: fix the variance.** If $\sigma_t^2$ is not
# learned, all that depends on the network is one squared difference:
#
# $$E_q[L_{t-1}] = E_q\left[\frac{1}{2\sigma_t^2}\, \big\|\tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t)\big\|^2\right] + C_t \qquad \text{(DDPM, eq. 8)}$$
#
# and $C_t$, in which the network does not occur.
#
# **Step 3: ask for the noise.** The network knows $x_t$; what it lacks is the noise in it. Put
# $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$ into the posterior's mean (DDPM, eq. 7).
# The factor of $x_t$ becomes
# $\frac{\beta_t + (1 - \beta_t)(1 - \bar\alpha_{t-1})}{(1 - \bar\alpha_t) \sqrt{1 - \beta_t}} = \frac{1}{\sqrt{1 - \beta_t}}$,
# that of $\epsilon$ is $-\frac{\beta_t}{\sqrt{1 - \beta_t} \sqrt{1 - \bar\alpha_t}}$. Let the network guess the
# noise, $\epsilon_\theta(x_t, t)$ (written $\hat\epsilon$ when it does not matter who guesses), and take the same
# expression:
#
# $$\mu_\theta = \frac{1}{\sqrt{1 - \beta_t}}\Big(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon_\theta\Big) \qquad \text{(DDPM, eq. 11)}$$
#
# In the difference of the two, everything but the noises cancels, and what is left is
#
# $$E_q[L_{t-1}] - C_t = E\left[\frac{\beta_t^2}{2 \sigma_t^2 (1 - \beta_t)(1 - \bar\alpha_t)}\, \big\|\epsilon - \epsilon_\theta(x_t, t)\big\|^2\right] \qquad \text{(DDPM, eq. 12)}$$


# %%
def bound_weight(chain):
    """What the bound weighs an error of the noise, for each t from 1 (sigma² = beta)."""
    beta, alpha_bar = chain.beta[1:], chain.alpha_bar[1:]
    return beta / (2 * (1 - beta) * (1 - alpha_bar))


for t in (2, 10, 20):
    noise, x_t, mu, tilde_beta, guess = jump(t)
    answer = little.predict_noise(x_t, np.full(len(x_t), t)).numpy()
    from_noise = x_t - beta[t] / np.sqrt(1 - alpha_bar[t]) * answer  # eq. 11
    np.testing.assert_allclose(from_noise / np.sqrt(1 - beta[t]), guess, atol=1e-9)

    by_mean = (mu - guess) ** 2 / (2 * beta[t])  # eq. 8
    constant = divergence(0, tilde_beta, 0, beta[t])
    whole = divergence(mu, tilde_beta, guess, beta[t])
    np.testing.assert_allclose(by_mean + constant, whole, atol=1e-9)
    by_noise = bound_weight(short)[t - 1] * (noise - answer) ** 2  # eq. 12
    np.testing.assert_allclose(by_noise, by_mean, atol=1e-9)

# %% [markdown]
# Sample by sample, to many digits. **Is a fixed variance good enough?** Two choices suggest themselves: $\beta_t$,
# which is right if the data is $\mathcal N(0, I)$, and the posterior's $\tilde\beta_t$, right if the data is a single
# point (DDPM, section 3.2). Real data lies between. In our little world the truth can be followed for any number of
# steps: how far is the sampler's Gaussian from the data's?

# %%
off = {}
for steps in (10, 100, 1000):
    chain = schedule.linear(steps)
    world, a = oracle.gaussian(chain, [m], s2), chain.alpha_bar
    tilde = np.append(0, chain.beta[1:] * (1 - a[:-1]) / (1 - a[1:]))
    off[steps] = b, c = [divergence(m, s2, *follow(world, s)) for s in (chain.beta, tilde)]
    print(f"{steps:4} steps: off by {b:.5f} with beta, {c:.5f} with beta-tilde")
assert max(off[10]) > 10 * max(off[100]) > 100 * max(off[1000])

# %% [markdown]
# With a thousand steps both are as good as perfect, so for the sake of the samples a network need not learn a
# variance. (The likelihood gains from it.) With few steps it does matter: here $\beta_t$ is better, as the data is
# broad; with digits, lesson 06 will see.
#
# **Step 4: drop the factor.** What remains is the loss that everybody uses, and it is an ordinary regression:
#
# $$L_{\text{simple}} = E_{t, x_0, \epsilon}\Big[\big\|\epsilon - \epsilon_\theta\big(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon,\ t\big)\big\|^2\Big] \qquad \text{(DDPM, eq. 14)}$$
#
# with every $t$ from 1 to $T$ as likely. May we drop it? The *best* answer does not change, since at each $t$ it is
# the average noise given $x_t$, whatever the factor. But a network is never perfect, and the factor says how much an
# error weighs: where it should try hardest.
#
# ## Noise, picture or velocity?
#
# The same goes for what we ask. $x_t$ and any one of $\epsilon$, $x_0$ and the **velocity**
# $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1 - \bar\alpha_t}\,x_0$ give the other two, so a network may learn any of
# them. An error in one is an error in the others, times a number that depends on $t$:
#
# $$\|x_0 - \hat x_0\|^2 = \frac{1 - \bar\alpha_t}{\bar\alpha_t}\, \|\epsilon - \hat\epsilon\|^2, \qquad \|v - \hat v\|^2 = \frac{1}{\bar\alpha_t}\, \|\epsilon - \hat\epsilon\|^2 .$$

# %%
digits, _ = next(iter(data.load_digits("test[:2000]", 2000)))
x_0, noise, wrong = digits.numpy(), *rng.standard_normal((2, *digits.shape), dtype=np.float32)
for t in (10, 300, 900):
    a = np.float32(linear.alpha_bar[t])
    x_hat = diffusion.to_x_0(diffusion.add_noise(x_0, noise, a), wrong, a)
    off_x = np.mean((x_0 - x_hat) ** 2)
    off_v = np.mean(
        (diffusion.to_velocity(x_0, noise, a) - diffusion.to_velocity(x_hat, wrong, a)) ** 2
    )
    off_noise = np.mean((noise - wrong) ** 2)
    np.testing.assert_allclose([off_x, off_v], np.array([1 - a, 1]) / a * off_noise, rtol=1e-3)

t, a = np.arange(1, T + 1), linear.alpha_bar[1:]
by_target = {"the bound": bound_weight(linear), "noise": np.ones(T), "x_0": (1 - a) / a}
figure, axes = plt.subplots(figsize=(7, 3))
for (name, weight), style in zip(
    {**by_target, "velocity": 1 / a}.items(), ("-", "--", "-.", ":"), strict=True
):
    axes.plot(t, weight, style, label=name, linewidth=2)
axes.set(xlabel="t", ylabel="weight of a squared\nerror of the noise", yscale="log")
axes.legend(ncols=2)
plots.show(
    figure,
    "Weights by t on a logarithmic axis, linear schedule: the bound's falls from 0.5 to 0.005 and"
    " ends at 0.01; the noise's is 1 throughout; those of x_0 and velocity rise to 25,000 at the "
    "end, x_0's from nearly zero.",
)

# %% [markdown]
# The bound cares most about small $t$, the last steps back, the finest grain of a picture. Asked for the noise with
# equal weights, the network works harder on what makes a digit a digit, at large $t$; asked for $x_0$ it neglects the
# fine grain. The velocity is never easy: at small $t$ it is nearly the noise, at large $t$ nearly minus the picture,
# always something that cannot be read off $x_t$. (Do not fear the 25,000: at large $t$ the noise is nearly $x_t$
# itself and its error tiny, and weight times error stays below 1.)
#
# Which one draws the best digits in some minutes? That is a question for a measurement. Of two trainings of equal
# length, the one on the velocity came to a distance (explained below) of 14.1, the one on the noise to 21.3; of two
# others, under the cosine schedule to 19.3, under the linear one to 24.2. (One run each, ± 0.9,
# with Adam, at a learning rate that was searched for the velocity; `benchmarks/README.md` has them all.) So we shall train on **the velocity, under the cosine schedule**.
#
# ## The loop, by hand
#
# The article from which this course grew ("Image generation with diffusion models using Keras and TensorFlow",
# Towards Data Science) trains in seven steps (DDPM, algorithm 1). Here they are, on the noise and the linear schedule
# as there, with its optimizer, Adam at a learning rate of $10^{-4}$. (`GradientTape` records what is computed under
# it and differentiates it; `tf.function` turns the step into a graph when it is first called.)

# %% tags=["slide"]
network = unet.unet(28, 1, (32, 64), blocks=2, patch=2)
untrained = network.get_weights()
optimizer = keras.optimizers.Adam(1e-4)
optimizer.build(network.trainable_variables)
fresh = [variable.numpy() for variable in optimizer.variables]


@tf.function
def learn(x_t, t, noise):
    with tf.GradientTape() as tape:
        answer = network([x_t, t], training=True)  # 4. ask
        loss = tf.reduce_mean(tf.square(noise - answer))  # 5. compare
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply(gradients, network.trainable_variables)  # 6. improve
    return loss


# %%
losses = []
batches = data.load_digits("train", BATCH, seed=SEED).take(BY_HAND)
for x_0, _ in plots.progress(batches, BY_HAND, "by hand", lambda: f"loss {losses[-1]:.3f}"):
    noise = tf.random.normal(tf.shape(x_0))  # 1. draw the noise
    t = tf.random.uniform((BATCH,), 1, T + 1, tf.int32)  # 2. and a time for each image
    x_t = diffusion.add_noise(x_0, noise, linear.at(t, like=x_0))  # 3. go forward
    losses.append(float(learn(x_t, t, noise)))  # 4. to 6.; and 7. go on to the next batch
assert np.mean(losses[-5:]) < 1.02

# %% [markdown]
# A loss means nothing without something to hold it against. Answering 0 costs the variance of the noise, 1, and the
# network starts there. A network that never learns stays there: a loss that does not leave 1 is the commonest sign of
# a mistake.
#
# ## The same, as supervised learning
#
# Steps 1 to 3 do not involve the network at all: they turn images into pairs of input and target, like any data
# set's. **Earned.** `data.noisify` does them inside `tf.data`, on other threads while the network computes; and with
# pairs for an input, Keras' own `compile` and `fit` do the rest. Is it the same? Two steps of each, from the same
# weights, on the same pairs. Adam remembers running means of the gradients and of their squares; if both optimizers
# remember the same, the gradients were the same.

# %%
pairs = data.noisify(data.load_digits("train", BATCH, seed=SEED), linear, seed=SEED)

network.set_weights(untrained)
for variable, value in zip(optimizer.variables, fresh, strict=True):
    variable.assign(value)
by_hand = [float(learn(x_t, t, noise)) for (x_t, t), noise in pairs.take(2)]

network.set_weights(untrained)
network.compile(keras.optimizers.Adam(1e-4), "mse")
network.optimizer.build(network.trainable_variables)
by_fit = network.fit(pairs, steps_per_epoch=1, epochs=2, shuffle=False, verbose=0)

print("by hand", np.round(by_hand, 5), "and fit", np.round(by_fit.history["loss"], 5))
np.testing.assert_allclose(by_fit.history["loss"], by_hand, rtol=1e-4)
for ours, theirs in zip(optimizer.variables, network.optimizer.variables, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())

# %% [markdown]
# The pairs have more to offer. Their noise and times come from the seed and the number of the step alone, so the same
# pairs come again whenever we ask, on any number of threads; yet every step has new noise, every image its own, and
# every $t$ from 1 to $T$ is as likely. That makes an interrupted training repeatable, and it makes a good validation
# set: **held-out digits under frozen noise**. With fresh noise every time, a validation loss jumps by more than the
# progress that we want to see.
#
# What should its loss be held against? Answering 0 is a poor yardstick for the velocity, which is nearly $-x_0$ at
# large $t$. A better one is the best answer of somebody who is told $t$ but sees no picture,
# $-\sqrt{1 - \bar\alpha_t}$ times the mean digit:

# %%
unseen = data.load_digits("test[:1000]", BATCH)
frozen = data.noisify(unseen, cosine, diffusion.to_velocity, seed=1).take(VALIDATION)
times, again = (np.concatenate([t for (_, t), _ in frozen]) for _ in range(2))
np.testing.assert_array_equal(times, again)

v = np.concatenate([target for _, target in frozen])
mean_digit = -cosine.noise_rate[times][:, None, None, None] * digits.numpy().mean(axis=0)
blind = np.square(v - mean_digit).mean(axis=(1, 2, 3))
print(f"always answering 0 costs {np.square(v).mean():.3f}; seeing t alone {blind.mean():.3f}")

# %% [markdown]
# ## Three things that make short trainings good
#
# **Steps of one length in every direction.** Adam scales the step of each weight separately. The weights of a
# convolution, however, act together: its kernel is a matrix that maps a patch of the image, $3 \cdot 3 \cdot C$
# numbers, to the channels of the next layer. The gradient of a matrix has a singular value decomposition,
# $G = U \Lambda V^\top$, a sum of directions with lengths $\lambda_i$ on the diagonal of $\Lambda$. How different are
# the lengths?

# %%
(x_t, t), target = next(iter(frozen))
kernel = max(network.trainable_variables, key=lambda weight: np.prod(weight.shape))
with tf.GradientTape() as tape:
    loss = tf.reduce_mean(tf.square(target - network([x_t, t], training=True)))
gradient = tape.gradient(loss, kernel.value)
matrix = gradient.numpy().reshape(-1, gradient.shape[-1])


def orthogonalize(matrix, rounds=5):
    """U Lambda V^T to nearly U V^T, by products of matrices."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(rounds):
        square = x.T @ x
        x = 3.4445 * x + x @ (-4.7750 * square + 2.0315 * square @ square)
    return x


before, after = (np.linalg.svd(x)[1] for x in (matrix, orthogonalize(matrix)))
share = np.sum(before[:3] ** 2) / np.sum(before**2)
print(
    f"3 of the {len(before)} directions of a {matrix.shape} kernel hold {share:.0%} of its gradient"
)
print(f"lengths from {before[-1] / before[0]:.2%} to 100 % of the longest")
print(f"after five rounds, from {after[-1]:.2f} to {after[0]:.2f}")
assert share > 0.8
assert before[-1] < 0.05 * before[0]
assert 0.5 < after[-1] < after[0] < 1.3

# %% [markdown]
# A few directions dominate, and a step along $G$ hardly moves along the others. **Muon** (Jordan et al. 2024) steps
# along $U V^\top$: the same directions, all of one length. The decomposition itself is not needed. Each round of the
# function above, a sum of products of $X$ with itself, leaves the directions of $X$ as they are and maps every length
# $\lambda$ to $3.44\,\lambda - 4.78\,\lambda^3 + 2.03\,\lambda^5$. Five rounds bring all but the tiniest lengths close
# to 1.
#
# **Earned.** `optimizers.Muon` does this to the momentum, a sum of past gradients, of every kernel, times
# $0.2 \sqrt{\max(\text{rows}, \text{columns})}$, so that a step is as large as Adam's (Liu et al. 2025). What is not a
# matrix gets Adam's own step. Does it pay? In two trainings of 2,400 steps that differ in the optimizer alone, digits
# came to a distance of 9.9 with Muon and 13.3 with Adam (± 0.6, one run each), and a step took a tenth longer.

# %%
moved = keras.Variable(tf.zeros_like(gradient))
muon = optimizers.Muon(1.0, nesterov=False)
muon.build([moved])
muon.apply([gradient], [moved])
step = -0.2 * max(matrix.shape) ** 0.5 * orthogonalize(matrix)
np.testing.assert_allclose(moved.numpy().reshape(matrix.shape), step, atol=2e-3)

# %% [markdown]
# **The learning rate** should be as high as the network bears in the beginning, and small in the end: large steps
# find the right region, small ones settle in it. A **warm-up** from 0 protects the first steps, when the optimizer
# knows nothing yet about the gradients. (Ours is forty times the article's.)
#
# **Averaged weights.** At a high learning rate the weights tremble around the place where they should be. The mean of
# where they have been lately is closer to it than where they happen to be now. The **exponential moving average**
# (EMA) keeps such a mean at hardly any cost, with $n$ the number of steps so far:
#
# $$\bar\theta \leftarrow d\, \bar\theta + (1 - d)\, \theta, \qquad d = \min\big(0.99,\ \tfrac{1 + n}{10 + n}\big)$$
#
# It remembers about $1 / (1 - d) = 100$ steps, in the beginning fewer, so that the untrained weights are soon
# forgotten. Training goes on with $\theta$; we draw pictures with $\bar\theta$. For colour pictures, DDPM used
# $d = 0.9999$ and 800,000 steps.

# %%
keras.utils.set_random_seed(SEED)
network = unet.unet(28, 1, (32, 64), blocks=2, patch=2)
warm_up = STEPS // 24
rates = keras.optimizers.schedules.CosineDecay(
    0.0, STEPS - warm_up, warmup_target=RATE, warmup_steps=warm_up
)
network.compile(optimizers.Muon(rates), "mse")
average = training.EMA(DECAY)

# %% [markdown]
# ## Some minutes
#
# Everything is in place: pairs with the velocity as target, under the cosine schedule, a network, its optimizer, the
# average. `training.fit` is Keras' `fit` with checkpoints. If you name a folder in `CHECKPOINTS` and this notebook is
# stopped, even killed outright, running it again goes on from there. At every twentieth of the way we look at the
# frozen validation pairs, with the trembling weights (`fit` does that) and with the average.

# %%
every, averaged = STEPS // 20, np.full(20, np.nan)
frozen = frozen.cache()  # made once, from here on


def with_average(epoch, logs):
    with average.applied():
        averaged[epoch] = network.evaluate(frozen, verbose=0)


train = data.load_digits("train", BATCH, seed=SEED)
history = training.fit(
    network,
    data.noisify(train, cosine, diffusion.to_velocity, seed=SEED),
    STEPS,
    CHECKPOINTS,
    settings={
        "seed": SEED,
        "data": data.digits(),
        "batch": BATCH,
        "target": "velocity, cosine",
    },
    average=average,
    validation=frozen,
    every=every,
    callbacks=[
        keras.callbacks.LambdaCallback(on_epoch_end=with_average),
        plots.fit_progress(STEPS, "training"),
    ],
)

# %%
steps = every * np.arange(1, 21)
figure, (axes, rate) = plt.subplots(
    1, 2, figsize=(9, 3), width_ratios=(2, 1), layout="constrained"
)
axes.plot(steps, history["loss"], ":", color=plots.GREY, label="training")
axes.plot(steps, history["val_loss"], "--", color=plots.BLUE, label="validation")
axes.plot(steps, averaged, color=plots.ORANGE, label="validation, averaged weights")
axes.set(
    xlabel="training step",
    ylabel="loss of the velocity",
    ylim=(None, 1.1 * history["val_loss"][0]),
)
axes.legend()
rate.plot(range(STEPS), [float(rates(step)) for step in range(STEPS)], color=plots.GREEN)
rate.set(xlabel="training step", ylabel="learning rate")
ratio = averaged / history["val_loss"]
early = ratio[2:10].mean()  # NaN if this run went on from a later checkpoint
if not np.isnan(early):
    print(f"before half-time the average's loss is {early:.0%} of the trembling weights'")
if STEPS > 1000:
    assert not early >= 1
    assert abs(ratio[-1] - 1) < 0.02
plots.show(
    figure,
    "Left: three falling losses; the averaged weights' is the lower of the two in validation, until "
    "they meet at the end. "
    "Right: the learning rate rises quickly and falls to 0 in a cosine's curve.",
)

# %% [markdown]
# Training and validation losses agree (the first is an average over the last twentieth of the way, and so lags
# behind): our steps see each digit about twice, never with the same noise, and so there is little to learn by
# heart. While the learning rate is high, the averaged weights are ahead; as it falls to zero, the trembling stops and
# the two meet: here an average and a falling rate do the same job.
#
# One number hides a lot, though. How well does it do **at each time**?

# %%
with average.applied():
    wrong = np.concatenate([network.predict_on_batch([x, t]) - v for (x, t), v in frozen])
squares = np.square(wrong).mean(axis=(1, 2, 3))
bins = 10 * (times - 1) // T
by_t, blind_by_t = (np.bincount(bins, x) / np.bincount(bins) for x in (squares, blind))
assert squares.mean() < choose(smoke=1.5, cpu=0.3, gpu=0.3) * blind.mean()

figure, axes = plt.subplots(figsize=(7, 2.8))
axes.bar(np.arange(50, T, 100), blind_by_t, 80, color="0.85", label="seeing t alone")
axes.bar(np.arange(50, T, 100), by_t, 80, color=plots.BLUE, label="the network")
axes.set(xlabel="t", ylabel="loss of the velocity")
axes.legend()
plots.show(
    figure,
    "Bars of the loss in ten ranges of t before those of seeing t alone: an eighth of theirs for "
    "small t, a tenth in the middle, hardly lower in the last range.",
)

# %% [markdown]
# Nobody can do well everywhere. At large $t$ the picture is so faint that many digits are possible, and the best
# answer is their blend (lesson 03): there is hardly anything to gain. At small $t$ an eighth is left, as so faint a
# noise can hardly be told from the grain of the picture. What the network has learned best lies between.
#
# ## Digits
#
# Now we walk back from noise, in 25 steps: most of the 1,000 can be left out. Why, and how to walk, is the business
# of lessons 06 and 07, so take `sampling.sample` on trust here. It wants one thing of a network: a function
# `predict_noise(x_t, t)`. Ours answers with velocities, and `training.from_velocity` translates.

# %%
with average.applied():
    predict_noise = training.from_velocity(network, cosine)
    walk = sampling.sample(predict_noise, cosine, (DRAWN, 28, 28, 1), 25, seed=1, clip=True)
    *_, end = plots.progress(walk, 26, f"drawing {DRAWN} digits")
plots.show_images(end.x_t[:64], "Sixty-four drawn digits, two in three readable.", columns=16)

# %% [markdown]
# Minutes ago this network knew nothing; now about two in three of its digits can be read. **How good is that?**
# Counting readable ones is tedious and a matter of taste. The usual measure shows both sets, drawn and real, to a
# *classifier* that has learned to tell digits apart, and compares what it sees: 64 numbers an image, their means and
# covariances. The **Fréchet distance** is how far apart two Gaussians with those means and covariances are (its
# square, to be exact; lesson 08 derives it). Even real digits are at a small distance from other real digits, as both
# sets are finite: that is the floor. The test digits' numbers come with the library. To have something at the other
# end, we also measure dots at random, with as much ink as digits.

# %%
real, _ = judges.reference()
drawn = metrics.frechet_distance(judges.features(end.x_t), real)
dots = np.where(rng.random((DRAWN, 28, 28, 1)) < 0.2, 1.0, -1.0)
of_dots = metrics.frechet_distance(judges.features(dots), real)
floor = weights.read(judges.CLASSIFIER)["floor"]
print(f"from MNIST's test digits: {drawn}; random dots {of_dots}; floor {floor}")
if data.digits() == "mnist" and STEPS > 1000:  # other digits are far from MNIST's
    assert drawn.value < 12 < of_dots.value

# %% [markdown]
# (The ± is the standard error from drawing only so many digits.) From dots to digits, most of the way is done; as
# seen from the floor, a lot is missing.
#
# ## Nothing is lost
#
# Trainings get interrupted: a laptop runs out of battery, a machine in the cloud is taken away. What has to be in a
# checkpoint so that the rest of the training is what it would have been? The weights, clearly. But also Adam's memory
# of past gradients, the averaged weights, and the number of the step: from it follow the learning rate and the place
# in the stream of pairs, since pairs depend on nothing but the seed and the step. TensorFlow's checkpoint manager
# writes all that and keeps the newest two. We interrupt a very small training rudely after step 13, call
# `training.fit` again, and compare with one that was never disturbed.

# %%
folder = "output/interrupted"
shutil.rmtree(folder, ignore_errors=True)


def small_training(folder, stop_after=None):
    """The weights and averages that it ends with, and the number of steps that it took."""
    taken = []

    def count(step, logs):
        taken.append(step)
        if len(taken) == stop_after:
            raise KeyboardInterrupt

    keras.utils.clear_session()
    keras.utils.set_random_seed(SEED)
    model = unet.unet(28, 1, (8,), blocks=1, patch=4, attention=())
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    pairs = data.noisify(train, cosine, seed=SEED)
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=count)
    ema = training.EMA(0.9)
    training.fit(model, pairs, 20, folder, average=ema, every=5, callbacks=[watch])
    return model.get_weights() + [value.numpy() for value in ema.averages], len(taken)


undisturbed, taken = small_training(None)
with contextlib.suppress(KeyboardInterrupt):
    small_training(folder, stop_after=13)
resumed, rest = small_training(folder)
assert (taken, rest) == (20, 10)  # it went on from the checkpoint at step 10
for one, other in zip(undisturbed, resumed, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-6)

# %% [markdown]
# The same, up to the order in which TensorFlow's threads add. The library's tests do it the hard way: they kill the
# process without warning, in a step and while it saves, fix that order (`enable_op_determinism`), and demand the same
# weights bit for bit.
#
# **From now on we import it.** A trained network is worth keeping only with its papers: which data, which schedule,
# which target, how long. `training.save_weights` writes weights and such a card, `training.load_weights` checks that
# both are whole and belong together. One network comes with the library. It is like the one you have just trained,
# with a third block at each level, larger batches, Adam as its optimizer, and far more steps:

# %%
predict_noise, its_schedule = training.load_weights("digits")
*_, end = sampling.sample(predict_noise, its_schedule, (64, 28, 28, 1), 50, clip=True)
card = weights.read("digits")
print(f"{card['steps']:,} steps in {card['minutes']:.0f} minutes")
plots.show_images(
    end.x_t, "Sixty-four drawn digits, nearly all as readable as handwriting.", columns=16
)

# %% [markdown]
# ## Recap
#
# - You **derived** the loss: a bound on the likelihood is a sum of comparisons between Gaussians, each of them a
#   squared error of the noise; drop the factors, and it is a plain regression.
# - You **trained** a U-Net in seven steps by hand, then with `noisify` and `fit`, watched it against baselines,
#   frozen noise and time by time, and drew digits with it.
# - You **kept** it: averaged weights, an interruption without a loss, weights with a card.
#
# Next: lesson 06 opens the walk that we took on trust.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Another target.** In the cell with the frozen pairs, replace `diffusion.to_velocity` by
# `lambda x_0, noise, alpha_bar: x_0`, and let `mean_digit = digits.numpy().mean(axis=0)`. What does always answering
# 0 cost now? Is 0 still a good answer for somebody who sees no picture?
#
# <details><summary>Answer</summary>
#
# It costs the mean square of a pixel, 0.93. But most pixels are paper, $-1$: always answering the mean picture costs
# only 0.28. For the noise, 0 is the best blind answer; for $x_0$ it is far too easy to beat, and a loss below it
# proves nothing.
#
# </details>
#
# **2. One time for the whole batch.** Take the trained network and the frozen pairs. Average `squares` over 20 groups
# of 32: once as they come, and once after `np.sort` by time (`squares[np.argsort(times)]`), so that a group has
# nearly one $t$. How much do the 20 averages scatter in either case, and what does that say about drawing one $t$ for
# all images of a batch?
#
# <details><summary>Answer</summary>
#
# The mean of all is the same. The averages scatter by a tenth of it with mixed times, by six tenths with one time a
# group. A batch with a single $t$ gives the right gradient on average, with far more noise in it. (A mistake that is
# easy to make, and hard to see: the loss still falls.)
#
# </details>
#
# **3. A longer memory.** With `DECAY = 0.9999`, DDPM's, after how many steps has the average its full memory of
# 10,000 steps? And how long is it when our 3,600 steps end?
#
# <details><summary>Answer</summary>
#
# $(1 + n) / (10 + n)$ reaches 0.9999 at $n = 89{,}990$. After 3,600 steps $1 / (1 - d) = (10 + n) / 9$ is 401 steps:
# that is what the second term is for. Without it, the average would still hold $0.9999^{3600} = 70\,\%$ of the
# untrained network.
#
# </details>
#
# **4. In code.** Write `moving_average(values, decay)`: what `training.EMA` holds after the steps whose weights are
# `values[1]`, `values[2]`, ..., if it started with `values[0]`.


# %% tags=["solution"]
def moving_average(values, decay):
    average = values[0]
    for n, value in enumerate(values[1:], 1):
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * value
    return average


# %%
checks.moving_average(moving_average)

# %% [markdown]
# **5. In code.** Equal weights for the noise are weights of $\bar\alpha_t / (1 - \bar\alpha_t)$, the signal-to-noise
# ratio, for $x_0$. Between those and equal weights for $x_0$ there is a compromise: the ratio, but no more than
# $\gamma = 5$ (min-SNR; Hang et al. 2023). Write `min_snr(chain, gamma)` for a schedule `chain`: for each $t$ from 1
# to $T$, the weight of an error of the *velocity* that amounts to the same. `chain.snr` holds the ratios from
# $t = 0$.


# %% tags=["solution"]
def min_snr(chain, gamma):
    alpha_bar, snr = chain.alpha_bar[1:], chain.snr[1:]
    # A squared error of x_0 is (1 - alpha_bar) of that of v.
    return np.minimum(snr, gamma) * (1 - alpha_bar)


# %%
checks.min_snr(min_snr)

# %% [markdown]
# **6. Bug clinic.** This function is to make a batch of pairs from images `x_0`, (B, 28, 28, 1), for a schedule
# `chain`. It runs, and the loss falls. Two mistakes are in it. Find and mend them.
#
# ```python
# def make_pairs(x_0, chain, rng):
#     t = rng.integers(0, chain.T, len(x_0))
#     noise = rng.standard_normal(x_0.shape[1:])
#     alpha_bar = chain.alpha_bar[t][:, None, None, None]
#     x_t = np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise
#     return x_t, t, np.broadcast_to(noise, x_0.shape)
# ```


# %% tags=["solution"]
def make_pairs(x_0, chain, rng):
    t = rng.integers(1, chain.T + 1, len(x_0))  # the upper end is left out
    noise = rng.standard_normal(x_0.shape)  # its own for every image
    alpha_bar = chain.alpha_bar[t][:, None, None, None]
    x_t = np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise
    return x_t, t, noise


# %%
checks.make_pairs(make_pairs)

# %% [markdown]
# ## In practice
#
# - *The bound*: Sohl-Dickstein et al. (2015); Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models"
#   (*DDPM*, 2020, section 3 and appendix A). For 32x32 colour pictures they train 800,000 steps of 128, with Adam at
#   2e-4 and an average with decay 0.9999.
# - *Learned variances* help with few steps and in likelihood: Nichol and Dhariwal, "Improved Denoising Diffusion
#   Probabilistic Models" (2021, sections 3.1 and 4), who also brought the cosine schedule.
# - *Velocity*: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022, section 4 and
#   appendix D). *Weights by t*: Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy" (2023).
# - *Muon*: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); Liu et al., "Muon is
#   Scalable for LLM Training" (2025). Keras has one for matrices alone, `keras.optimizers.Muon`.
# - *Fréchet distance*: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017), with the features of
#   another network, Inception, trained on photographs; so their figures and ours cannot be compared.
# - *Several GPUs*: build and compile under `tf.distribute.MirroredStrategy().scope()`; `training.fit` then works as
#   it is, since the pairs are made before they are dealt out.
# - *16 bits*: `keras.config.set_dtype_policy("mixed_bfloat16")` before the network is built. On processors that
#   compute in bfloat16, a step takes a fifth less.
