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
# [Lesson 04](04_unet.ipynb) built a network that has learned nothing yet. What should it learn in order to draw new
# digits? The answer starts from the likelihood of a digit, an integral that nobody can compute, and ends, four steps
# later, with a regression so plain that `compile("mse")` and `fit` will do. We take the four steps, the first three
# with checks, then write the training loop by hand, and then let it run for some minutes. At the end the network
# draws digits.

# %% [markdown]
# **You will**
#
# - **derive** the loss: from the likelihood to the squared error of a guess at the noise;
# - **train** a U-Net, first with a training step written by hand in seven parts, then with `fit`, and watch the right
#   curves;
# - **keep** what was learned: averaged weights, checkpoints that survive a crash, and a card that describes the
#   network.
#
# **You need** lesson 03 (the posterior, the perfect denoiser) and lesson 04 (the network). To run, it
# takes <!-- measured -->about 9 minutes on two CPU cores and 2.3 GB of memory<!-- /measured -->.

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
# A sampler starts from pure noise, $x_T$ from $\mathcal N(0, I)$, and takes $T$ random steps back. Each step is
# Gaussian, and a network gives its mean:
#
# $$p_\theta(x_{t-1} \mid x_t) = \mathcal N\big(x_{t-1};\ \mu_\theta(x_t, t),\ \sigma_t^2 I\big) \qquad \text{(DDPM, eq. 1)}$$
#
# - $\theta$ are the network's parameters, its weights, and $\mu_\theta$ is the mean that it proposes;
# - $\sigma_t^2$ is a variance that we fix beforehand (eq. 1 would let the network choose it; why we need not comes
#   below).
#
# Good parameters make the real digits likely: $-\log p_\theta(x_0)$ should be small. But $p_\theta(x_0)$ is an
# integral over *all* paths from noise to $x_0$, $\int p_\theta(x_{0:T})\, dx_{1:T}$, which cannot be computed. Here
# $x_{0:T}$ is a whole path, $x_0, x_1, \dots, x_T$, and its probability is that of its start times those of its
# steps, $p(x_T) \prod_t p_\theta(x_{t-1} \mid x_t)$. The forward chain $q$, read backwards, gives us paths that do
# end in $x_0$. We multiply and divide by its probability, and the integral becomes an average $E_q$ over such paths:
#
# $$p_\theta(x_0) = \int q(x_{1:T} \mid x_0)\, \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\, dx_{1:T} = E_q\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\right]$$
#
# As the logarithm of an average is never less than the average of the logarithm (Jensen), we get for each $x_0$
#
# $$-\log p_\theta(x_0) = -\log E_q\left[\frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\right]
# \ \le\ E_q\left[-\log \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}\right] = L \qquad \text{(DDPM, eq. 3)}$$
#
# The right side is the bound $L$. (DDPM averages both sides over the data as well.) **$L$ can be estimated**: we walk
# forward and add up the logarithms of every step in both directions. Let us try this in a world that we know
# completely. The data is one number, normally distributed, $x_0 \sim \mathcal N(m, s^2)$, and the chain has 20 steps.
# In place of a network, the perfect denoiser of lesson 03 gives the best guess at $x_0$, and $\mu_\theta$ is the
# posterior mean $\tilde\mu_t$ for that guess.

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
# In this world we can compute the true $p_\theta(x_0)$ too. Every step back is a linear function of $x_t$ plus
# Gaussian noise, so $x_0$ stays Gaussian: we start from mean 0 and variance 1 and follow both. $L$ is an average over
# many forward walks. We average both over the data.


# %%
def follow(world, sigma2):
    """Mean and variance of x_0 at the end of the walk back, for step variances sigma2."""
    mean, variance = 0.0, 1.0
    for t in range(world.schedule.T, 0, -1):
        low, high = mu_theta(np.array([[0.0], [1.0]]), t, world).ravel()  # of a straight line
        slope = high - low
        mean, variance = low + slope * mean, slope**2 * variance + sigma2[t]
    return mean, variance


x = numbers = rng.normal(m, np.sqrt(s2), (80_000, 1))
truth = -log_normal(numbers, *follow(little, beta))
bound = np.zeros_like(x)
for t in range(1, short.T + 1):
    before, x = x, np.sqrt(1 - beta[t]) * x + np.sqrt(beta[t]) * rng.normal(size=x.shape)
    bound += log_normal(x, np.sqrt(1 - beta[t]) * before, beta[t])
    bound -= log_normal(before, mu_theta(x, t), beta[t])
bound -= log_normal(x, 0, 1)

error, gap = bound.std() / np.sqrt(len(x)), bound - truth
print(f"-log p(x_0) is {truth.mean():.3f}; L, from walks, {bound.mean():.3f} ± {error:.3f}")
assert abs(gap.mean() - 0.044) < 5 * gap.std() / np.sqrt(len(x)) < 0.01

# %% [markdown]
# With $\sigma_t^2 = \beta_t$, the bound holds, and it lies close above the truth. The gap between the two is the
# divergence (defined below) of the paths of $q$ from those paths of the sampler that end in the same $x_0$.
#
# **Step 1: sort the terms.** So far one value of the loss takes a whole walk. If we sort its terms by time, each can
# be computed from a single jump, and a training step may pick any one of them. Bayes' rule turns a forward step
# around, as in lesson 03:
#
# $$q(x_t \mid x_{t-1}) = q(x_{t-1} \mid x_t, x_0)\, \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)} \qquad \text{for } t > 1$$
#
# Watch what this does to a walk of $T = 3$ steps. We leave the first step as it is, and turn the others around:
#
# $$\begin{aligned}
# q(x_{1:3} \mid x_0) &= q(x_1 \mid x_0)\; q(x_2 \mid x_1)\; q(x_3 \mid x_2) \\
# &= q(x_1 \mid x_0)\; q(x_1 \mid x_2, x_0)\, \frac{q(x_2 \mid x_0)}{q(x_1 \mid x_0)}\; q(x_2 \mid x_3, x_0)\, \frac{q(x_3 \mid x_0)}{q(x_2 \mid x_0)} \\
# &= q(x_1 \mid x_2, x_0)\; q(x_2 \mid x_3, x_0)\; q(x_3 \mid x_0)
# \end{aligned}$$
#
# Both $q(x_1 \mid x_0)$ and $q(x_2 \mid x_0)$ appear once as a factor and once in a denominator, and cancel. Only
# $q(x_3 \mid x_0)$ is left. For any $T$ it works in the same way. Now the forward walk is a product over steps
# *back*, and we can pair each of them with the network's step for the same $t$:
#
# $$-\log \frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)} = \log \frac{q(x_T \mid x_0)}{p(x_T)} + \sum_{t > 1} \log \frac{q(x_{t-1} \mid x_t, x_0)}{p_\theta(x_{t-1} \mid x_t)} - \log p_\theta(x_0 \mid x_1)$$
#
# Averaging a logarithm of $q / p$ over $q$ gives a **Kullback-Leibler divergence**,
# $D(q \,\|\, p) = E_q[\log q - \log p]$, which says how much worse $p$ explains what $q$ does, and is 0 if they are
# equal. In the term for $t$ we average first over $x_{t-1}$, with $x_t$ and $x_0$ held fixed, which gives a
# divergence. The outer $E_q$ then averages over $x_t$ and $x_0$:
#
# $$L = E_q\Big[\underbrace{D\big(q(x_T \mid x_0) \,\|\, p(x_T)\big)}_{L_T} + \sum_{t > 1}
# \underbrace{D\big(q(x_{t-1} \mid x_t, x_0) \,\|\, p_\theta(x_{t-1} \mid x_t)\big)}_{L_{t-1}} \underbrace{- \log p_\theta(x_0 \mid x_1)}_{L_0}\Big] \quad \text{(DDPM, eq. 5)}$$
#
# $L_T$ does not depend on $\theta$. Each $L_{t-1}$ compares **one step back of the network with the posterior of
# lesson 03**, and both are Gaussian. For one number $z = x_{t-1}$, with means $\tilde\mu_t$ and $\mu_\theta$ and
# variances $\tilde\beta_t$ and $\sigma_t^2$, the difference of the two logarithms is
#
# $$\log q(z) - \log p_\theta(z) = \frac{1}{2}\left[\log\frac{\sigma_t^2}{\tilde\beta_t} + \frac{(z - \mu_\theta)^2}{\sigma_t^2} - \frac{(z - \tilde\mu_t)^2}{\tilde\beta_t}\right].$$
#
# Averaged over $q$, $(z - \tilde\mu_t)^2$ is the variance $\tilde\beta_t$, and $(z - \mu_\theta)^2$ is this variance
# plus the squared distance of the means:
#
# $$D = \frac{1}{2}\left[\log\frac{\sigma_t^2}{\tilde\beta_t} + \frac{\tilde\beta_t + (\tilde\mu_t - \mu_\theta)^2}{\sigma_t^2} - 1\right]$$
#
# For a picture, we sum over its pixels. The last term, $L_0$, looks much the same. At $t = 1$ the posterior is the
# single point $\tilde\mu_1 = x_0$, and $-\log p_\theta(x_0 \mid x_1)$ is
# $(\tilde\mu_1 - \mu_\theta)^2 / (2 \sigma_1^2)$ plus a constant. (For pictures, DDPM gives each of a pixel's 256
# values a probability instead; section 3.3.)
#
# So no walk is needed any more. For each $t$ one *jump* to $x_t$ is enough:


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


terms = divergence(np.sqrt(alpha_bar[-1]) * numbers, 1 - alpha_bar[-1], 0, 1)  # L_T
for t in range(2, short.T + 1):
    _, _, mu, tilde_beta, guess = jump(t)
    terms = terms + divergence(mu, tilde_beta, guess, beta[t])
terms = terms - log_normal(numbers, jump(1)[-1], beta[1])  # L_0

error_of_terms = terms.std() / np.sqrt(len(terms))
print(f"L by walking {bound.mean():.3f} ± {error:.3f}")
print(f"L from its terms {terms.mean():.3f} ± {error_of_terms:.3f}")
assert abs(terms.mean() - bound.mean()) < 4 * np.hypot(error, error_of_terms) < 0.02
assert 1.5 < error_of_terms / error < 2

# %% [markdown]
# Both ways give the same number, within their standard errors. The sorted sum is no more precise than the walk; the
# gain is that each term can be computed without the others.
#
# **Step 2: fix the variance.** If $\sigma_t^2$ is not learned, all that depends on the network is one squared
# difference:
#
# $$E_q[L_{t-1}] = E_q\left[\frac{1}{2\sigma_t^2}\, \big\|\tilde\mu_t(x_t, x_0) - \mu_\theta(x_t, t)\big\|^2\right] + C_t \qquad \text{(DDPM, eq. 8)}$$
#
# where $C_t$ does not depend on the network.
#
# **Step 3: ask for the noise.** The network knows $x_t$; what it lacks is the noise in it. The posterior's mean is
#
# $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0 + \frac{\sqrt{1-\beta_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t \qquad \text{(DDPM, eq. 7; lesson 03)}$$
#
# We insert $x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon) / \sqrt{\bar\alpha_t}$. As
# $\sqrt{\bar\alpha_{t-1} / \bar\alpha_t} = 1 / \sqrt{1 - \beta_t}$, collecting what multiplies $x_t$ and what
# multiplies $\epsilon$ gives
#
# $$\tilde\mu_t = \frac{\beta_t + (1 - \beta_t)(1 - \bar\alpha_{t-1})}{(1 - \bar\alpha_t) \sqrt{1 - \beta_t}}\, x_t - \frac{\beta_t}{\sqrt{1 - \beta_t} \sqrt{1 - \bar\alpha_t}}\, \epsilon
# = \frac{1}{\sqrt{1 - \beta_t}}\Big(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon\Big),$$
#
# since $\beta_t + (1 - \beta_t)(1 - \bar\alpha_{t-1}) = 1 - (1 - \beta_t)\bar\alpha_{t-1} = 1 - \bar\alpha_t$. The
# network guesses the noise, $\epsilon_\theta(x_t, t)$, and its mean is the same expression with this guess. (We write
# $\hat\epsilon$ when it does not matter who guesses.)
#
# $$\mu_\theta = \frac{1}{\sqrt{1 - \beta_t}}\Big(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \epsilon_\theta\Big) \qquad \text{(DDPM, eq. 11)}$$
#
# In the difference of the two means $x_t$ cancels, and only the noises are left:
#
# $$E_q[L_{t-1}] - C_t = E\left[\frac{\beta_t^2}{2 \sigma_t^2 (1 - \beta_t)(1 - \bar\alpha_t)}\, \big\|\epsilon - \epsilon_\theta(x_t, t)\big\|^2\right] \qquad \text{(DDPM, eq. 12)}$$


# %%
def bound_weight(chain):
    """The bound's weight of a squared error of the noise, t = 1 to T (sigma² = beta)."""
    beta, alpha_bar = chain.beta[1:], chain.alpha_bar[1:]
    return beta / (2 * (1 - beta) * (1 - alpha_bar))


for t in (2, 10, 20):
    noise, x_t, mu, tilde_beta, guess = jump(t)
    answer = little.predict_noise(x_t, np.full(len(x_t), t)).numpy()
    from_noise = x_t - beta[t] / np.sqrt(1 - alpha_bar[t]) * answer  # eq. 11
    np.testing.assert_allclose(from_noise / np.sqrt(1 - beta[t]), guess, rtol=1e-9, atol=1e-12)

    by_mean = (mu - guess) ** 2 / (2 * beta[t])  # eq. 8
    constant = divergence(0, tilde_beta, 0, beta[t])
    whole = divergence(mu, tilde_beta, guess, beta[t])
    np.testing.assert_allclose(by_mean + constant, whole, rtol=1e-9, atol=1e-12)
    by_noise = bound_weight(short)[t - 1] * (noise - answer) ** 2  # eq. 12
    np.testing.assert_allclose(by_noise, by_mean, rtol=1e-9, atol=1e-12)

# %% [markdown]
# The three equations agree for every sample, to nine digits. **Is a fixed variance good enough?** There are two
# natural choices: $\beta_t$, which is right if the data is $\mathcal N(0, I)$, and the posterior's $\tilde\beta_t$,
# which is right if the data is a single point (DDPM, section 3.2). Data whose variance is at most 1, such as pixels
# in $[-1, 1]$, lies between these extremes. In our little world we can compute, for any number of steps, the
# divergence of the data's Gaussian from the sampler's:

# %%
off = {}
for steps in (10, 100, 1000):
    chain = schedule.linear(steps)
    world, a = oracle.gaussian(chain, [m], s2), chain.alpha_bar
    tilde = np.append(0, chain.beta[1:] * (1 - a[:-1]) / (1 - a[1:]))
    off[steps] = b, c = [divergence(m, s2, *follow(world, s)) for s in (chain.beta, tilde)]
    print(f"{steps:4} steps: divergence {b:.5f} with beta, {c:.5f} with beta-tilde")
assert off[10][1] > 5 * off[10][0] > 10 * max(off[100]) > 0.01 > 100 * max(off[1000])

# %% [markdown]
# With a thousand steps, both variances bring the divergence below 0.0001, so in this world there is no need to learn
# one. With ten steps the choice matters, and $\beta_t$ is better here. Lesson 07 compares the two on digits. (In the
# bound we stay with $\beta_t$: as $\tilde\beta_1 = 0$, our $L_0$ would be infinite.)
#
# **Step 4: drop the factor.** Without its factor, eq. 12 is an ordinary regression, and it is the loss that DDPM
# trains on:
#
# $$L_{\text{simple}} = E_{t, x_0, \epsilon}\Big[\big\|\epsilon - \epsilon_\theta\big(\sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon,\ t\big)\big\|^2\Big] \qquad \text{(DDPM, eq. 14)}$$
#
# where $t$ is uniform on 1 to $T$. May we drop the factor? The *best* answer does not change: at each $t$ it is the
# average noise given $x_t$, whatever the factor. But no network is perfect, and the factor decides at which times its
# errors count most. (Keras' `mse` takes the mean over the pixels instead of their sum, one more constant factor. All
# losses below are per pixel.)
#
# ## Noise, picture or velocity?
#
# The choice of what we ask the network for changes these factors too. Given $x_t$, any one of $\epsilon$, $x_0$ and
# the **velocity** $v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1 - \bar\alpha_t}\,x_0$ determines the other two, so a
# network may learn any of them. An error in one is an error in the others, times a factor that depends on $t$:
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
# The bound gives most weight to small $t$, which means to the last steps back and the finest grain of a picture.
# Asking for the noise gives every time the same weight. Asking for $x_0$ gives almost none to small $t$. The velocity
# is never trivial: it is nearly the noise at small $t$ and nearly minus the picture at large $t$, and each time $x_t$
# shows little of it. Its weight of 25,000 at $t = 1000$ is less than it seems, as the noise is easy to guess there:
# the guess $\hat\epsilon = x_t$ is wrong by little more than $\sqrt{\bar\alpha_t}\, x_0$, which the factor
# $1 / \bar\alpha_t$ turns into the mean square of a pixel, about 1.
#
# Which of them draws the best digits after some minutes of training? We measured it. Of two trainings of equal length
# that differ only in the target, the one on the velocity reached a distance (explained below) of 14.1, and the one on
# the noise 21.3. Of two others that differ only in the schedule, the cosine reached 19.3 and the linear 24.2. Each is
# a single run with Adam, at a learning rate that we had searched for the velocity and the cosine, so the comparison
# favours those two; drawing only 1,000 digits makes each number uncertain by 0.7 to 0.9. In another pair, $x_0$ with
# a suitable weight for every $t$ reached 13.7 and the velocity 13.3, which is no difference. We train on **the
# velocity, under the cosine schedule**.
#
# ## The loop, by hand
#
# One of the two articles from which this course grew (Vedant Jumle, "Image generation with diffusion models using
# Keras and TensorFlow", Towards Data Science) trains in seven steps, which are DDPM's algorithm 1 in more detail. We
# follow it here, with $T = 1000$ in place of its 200: the target is the noise, the schedule is linear, and the
# optimizer is Adam with a learning rate of $10^{-4}$. Each step carries its number below. `GradientTape` records what
# is computed inside its `with` block and differentiates it, and `tf.function` turns the step into a graph when it is
# first called.

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
losses, batches = [], data.load_digits("train", BATCH, seed=SEED).take(BY_HAND)
for x_0, _ in plots.progress(batches, BY_HAND, "by hand", lambda: f"loss {losses[-1]:.3f}"):
    noise = tf.random.normal(tf.shape(x_0))  # 1. draw the noise
    t = tf.random.uniform((BATCH,), 1, T + 1, tf.int32)  # 2. and a time for each image
    x_t = diffusion.add_noise(x_0, noise, linear.at(t, like=x_0))  # 3. go forward
    losses.append(float(learn(x_t, t, noise)))  # 4. to 6.; and 7. go on to the next batch
np.testing.assert_allclose(diffusion.to_noise(x_t, x_0, linear.at(t, x_0)), noise, atol=1e-3)
assert np.mean(losses[-5:]) < choose(smoke=1.05, cpu=0.97, gpu=0.95)

# %% [markdown]
# What is a sensible baseline for this loss? Always answering 0 costs the variance of the noise, 1, and our network
# starts there, because its last layer starts at zero. After these few steps it is below. A loss that stays at 1 tells
# you that the network learns nothing.
#
# ## The same, as supervised learning
#
# Steps 1 to 3 do not involve the network at all. They turn images into pairs of an input and a target, and a data set
# of such pairs is all that Keras' own `compile` and `fit` need.
#
# **Earned.** `data.noisify` makes these pairs inside `tf.data`, on other threads while the network computes. To check
# that `fit` then does our steps 4 to 6, we take two steps with each, from the same weights and on the same pairs.
# Adam keeps running means of the gradients and of their squares, so if these agree, the gradients agreed as well.

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

answer_0 = np.mean(np.square(next(iter(pairs))[1]))
assert abs(by_hand[0] - answer_0) < 1e-5  # which it starts with
print("by hand", np.round(by_hand, 5), "and fit", np.round(by_fit.history["loss"], 5))
np.testing.assert_allclose(by_fit.history["loss"], by_hand, rtol=1e-4)
for ours, theirs in zip(optimizer.variables, network.optimizer.variables, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())

# %% [markdown]
# These pairs have another advantage. Their noise and times depend only on the seed and the number of the step, so we
# get the same pairs whenever we ask, on any number of threads, although every step and every image has noise of its
# own. An interrupted training can therefore be continued exactly. It also gives us a good validation set: **held-out
# digits under frozen noise**. Two evaluations then differ only in the network.
#
# For the velocity, 0 is a poor baseline, since $v$ is nearly $-x_0$ at large $t$. A better one is the best answer
# that knows $t$ but sees no picture, $-\sqrt{1 - \bar\alpha_t}$ times the mean digit:

# %%
unseen = data.load_digits("test[:1000]", BATCH)
frozen = data.noisify(unseen, cosine, diffusion.to_velocity, seed=1).take(VALIDATION)
times = np.concatenate([t for (_, t), _ in frozen])
v, again = (np.concatenate([target for _, target in frozen]) for _ in range(2))
np.testing.assert_array_equal(v, again)

mean_digit = -cosine.noise_rate[times][:, None, None, None] * digits.numpy().mean(axis=0)
blind = np.square(v - mean_digit).mean(axis=(1, 2, 3))
print(f"always answering 0 costs {np.square(v).mean():.3f}; seeing t alone {blind.mean():.3f}")

# %% [markdown]
# ## Optimizer, learning rate, averaged weights
#
# **Steps of one length in every direction.** Adam scales the step of each weight separately. The weights of a
# convolution act together, however: its kernel is a matrix that maps a patch of the image, $3 \cdot 3 \cdot C$
# numbers for $C$ channels, to the channels of the next layer. The loss's gradient is a matrix $G$ of the same shape.
# Like every matrix it is a sum
#
# $$G = \sum_i \lambda_i\, u_i v_i^\top = U \Lambda V^\top \qquad \text{(singular value decomposition)}$$
#
# with orthonormal vectors $u_i$ and orthonormal $v_i$, the columns of $U$ and $V$, and lengths $\lambda_i \ge 0$ on
# the diagonal of $\Lambda$. We call each $u_i v_i^\top$ a direction. How different are their lengths? We look at our
# network, which has hardly been trained, and at a trained one that comes with the library.


# %%
def orthogonalize(matrix, rounds=5):
    """U Lambda V^T to nearly U V^T, by products of matrices."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(rounds):
        square = x.T @ x
        x = 3.4445 * x + x @ (-4.7750 * square + 2.0315 * square @ square)
    return x


(x_t, t), target = next(iter(frozen))
trained = unet.unet(**weights.read("digits")["network"])
weights.load_into(trained, "digits")
for name, one in {"hardly trained": network, "trained": trained}.items():
    kernel = max(one.trainable_variables, key=lambda weight: np.prod(weight.shape))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(target - one([x_t, t], training=True)))
    gradient = tape.gradient(loss, kernel.value)
    matrix = gradient.numpy().reshape(-1, gradient.shape[-1])
    lengths, after = (np.linalg.svd(x)[1] for x in (matrix, orthogonalize(matrix)))
    share = np.sum(lengths[:3] ** 2) / np.sum(lengths**2)
    print(
        f"{name}: 3 of {len(lengths)} directions hold {share:.0%} of the squared norm;",
        end=" ",
    )
    print(f"the shortest is {lengths[-1] / lengths[0]:.1%} of the longest")
    print(f"  after five rounds all lengths are in {after[-1]:.2f} to {after[0]:.2f}")
    assert share > (0.5 if data.digits() == "mnist" else 0.2)
    assert lengths[-1] < 0.05 * lengths[0]
    assert 0.66 < after[-1] < after[0] < 1.21

# %% [markdown]
# A few directions dominate, and a step along $G$ hardly moves along the others. **Muon** (Jordan et al. 2024) steps
# along $U V^\top$ instead, which has the same directions, all of one length. It does not need the decomposition
# itself. The function above divides $G$ by its norm. Each round then multiplies the result $X$ with itself so that
# its directions stay, while every length $\lambda$ becomes $3.44\,\lambda - 4.78\,\lambda^3 + 2.03\,\lambda^5$. Five
# rounds bring all lengths of these gradients close to 1.
#
# **Earned.** `optimizers.Muon` does this to the momentum of every kernel, a weighted sum of past gradients. The
# result is multiplied by $0.2 \sqrt{\max(\text{rows}, \text{columns})}$, which makes a step about as large as Adam's
# (Liu et al. 2025). Biases, scales and matrices with fewer than 16 rows or columns get Adam's own step. Does it pay?
# In two trainings of 2,400 steps that differ only in the optimizer, digits reached a distance of 9.9 with Muon and
# 13.3 with Adam (± 0.6, one run each), and a step took a tenth longer.

# %%
moved = keras.Variable(tf.zeros_like(gradient))
muon = optimizers.Muon(1.0, nesterov=False)
muon.build([moved])
for one in (gradient, tf.zeros_like(gradient)):  # the second step is momentum alone
    muon.apply([one], [moved])
step = -0.4 * max(matrix.shape) ** 0.5 * orthogonalize(matrix)
np.testing.assert_allclose(moved.numpy().reshape(matrix.shape), step, atol=2e-3)

# %% [markdown]
# **A learning rate that rises and falls.** Ours starts with a **warm-up** from 0, which is customary; we have not
# tested a training without it. Its peak is forty times the article's rate. (Muon draws about equally well with peaks
# from 2e-3 to 1e-2, so the exact value matters little.) Then it falls to zero along a cosine, so that large steps
# come first and small ones last.
#
# **Averaged weights.** At a high learning rate the weights jitter around a good place, and the mean of recent values
# lies closer to it than the present ones. The **exponential moving average** (EMA) keeps such a mean at little cost.
# After step $n$, counted from 1, it becomes
#
# $$\bar\theta \leftarrow d\, \bar\theta + (1 - d)\, \theta, \qquad d = \min\big(0.99,\ \tfrac{1 + n}{10 + n}\big)$$
#
# It remembers about $1 / (1 - d) = 100$ steps, and fewer in the beginning, so that the untrained weights are soon
# forgotten. Training goes on with $\theta$, and we draw pictures with $\bar\theta$. DDPM used $d = 0.9999$ in
# trainings of 800,000 steps on small colour pictures.

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
# ## Train for some minutes
#
# Everything is in place: the pairs with the velocity as target under the cosine schedule, the network, its optimizer,
# and the average. `training.fit` is Keras' `fit` with checkpoints. If you name a folder in `CHECKPOINTS`, a notebook
# that was stopped, even killed outright, goes on from there when you run it again. Twenty times during the training,
# we compute the loss of the frozen validation pairs, both with the present weights (`fit` does that) and with the
# average.

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
figure, (axes, rate_axes) = plt.subplots(
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
rate_axes.plot(range(STEPS), [float(rates(step)) for step in range(STEPS)], color=plots.GREEN)
rate_axes.set(xlabel="training step", ylabel="learning rate")
ratio = averaged / history["val_loss"]
early = ratio[2:10].mean()  # NaN if this run went on from a later checkpoint
if not np.isnan(early):
    print(f"up to half-way, from the third point on, the average's loss is {early:.0%} of the")
    print("present weights'")
if STEPS > 1000:
    assert not early >= 0.98
    assert abs(ratio[-1] - 1) < 0.02
    assert abs(history["loss"][-1] / history["val_loss"][-1] - 1) < 0.08
plots.show(
    figure,
    "Left: three falling losses; after the first points, the averaged weights' validation loss is "
    "below the present weights', until they meet at the end. "
    "Right: the learning rate rises quickly and falls to 0 in a cosine's curve.",
)

# %% [markdown]
# Training and validation losses agree within the error of the latter, 3 % for so few pairs. So the network does not
# memorise its training digits: it sees each of them about twice, and never with the same noise. (The training loss is
# an average over the preceding twentieth of the training, and so lags behind.) While the learning rate is high, the
# averaged weights are ahead. As it falls to zero, the two meet: at the end of this training the average gains nothing
# more. It would matter if we stopped early.
#
# One number hides a lot. How large is the loss **at each time**?

# %%
with average.applied():
    errors = np.concatenate([network.predict_on_batch([x, t]) - v for (x, t), v in frozen])
squares = np.square(errors).mean(axis=(1, 2, 3))
bins = 10 * (times - 1) // T
by_t, blind_by_t = (np.bincount(bins, x) / np.bincount(bins) for x in (squares, blind))
assert squares.mean() < choose(smoke=1.5, cpu=0.3, gpu=0.3) * blind.mean()
left = by_t / blind_by_t
if STEPS > 1000 and data.digits() == "mnist":
    assert 1 <= left.argmin() <= 4
    assert left[1:5].max() < 0.1 < left[0] < 0.15 < 0.8 < left[-1]
    assert squares.std() / np.sqrt(len(squares)) < 0.04 * squares.mean()  # the loss's error

figure, axes = plt.subplots(figsize=(7, 2.8))
axes.bar(np.arange(50, T, 100), blind_by_t, 80, color="0.85", label="seeing t alone")
axes.bar(np.arange(50, T, 100), by_t, 80, color=plots.BLUE, label="the network")
axes.set(xlabel="t", ylabel="loss of the velocity")
axes.legend()
plots.show(
    figure,
    "Bars of the loss in ten ranges of t before those of seeing t alone: about an eighth of theirs "
    "for small t, under a tenth between 100 and 500, hardly lower in the last range.",
)

# %% [markdown]
# The grey bar is what an answer that knows only $t$ leaves, the blue one what the network leaves. At small $t$ the
# target is nearly the noise, and about an eighth of it remains. The smallest fraction, under a tenth, remains
# between $t = 100$ and 500. At large $t$ the picture is so faint that many digits are possible. The best answer is
# then their blend (lesson 03), and the network is hardly better than the mean digit.
#
# ## Digits
#
# Now we walk back from noise to digits in 25 steps. How such a walk works, and why most of the 1,000 steps can be
# left out, are the subjects of lessons 06 and 07, so please take `sampling.sample` on trust here. All it needs is a
# function `predict_noise(x_t, t)`. Ours answers with velocities, and `training.from_velocity` converts them.

# %%
with average.applied():
    predict_noise = training.from_velocity(network, cosine)
    walk = sampling.sample(predict_noise, cosine, (DRAWN, 28, 28, 1), 25, seed=1, clip=True)
    *_, end = plots.progress(walk, 26, f"drawing {DRAWN} digits")
plots.show_images(end.x_t[:64], "Sixty-four drawn digits, two in three readable.", columns=16)

# %% [markdown]
# Some minutes ago this network knew nothing, and now we can read most of its digits. **How good are they?** Counting
# readable digits is tedious and a matter of taste. The usual measure passes drawn and real images through a
# *classifier* of digits and takes, for each, the 64 numbers of its penultimate layer. The **Fréchet distance**
# compares the means and covariances of these numbers. It is the squared distance between two Gaussians that have
# them, and lesson 08 derives it. Even two sets of real digits are a small distance apart, since they are finite, and
# we call that distance the floor. The test digits' statistics come with the library. For the other end of the scale,
# we also measure random dots, with as much ink as digits.

# %%
real, _ = judges.reference()
mean = digits.numpy().mean()  # -1 is paper, 1 ink
dots = np.where(rng.random((DRAWN, 28, 28, 1)) < (mean + 1) / 2, 1.0, -1.0)
drawn, of_dots = (metrics.frechet_distance(judges.features(x), real) for x in (end.x_t, dots))
floor = weights.read(judges.CLASSIFIER)["floor"]
print(f"from MNIST's test digits: {drawn}; random dots {of_dots}; floor {floor}")
if data.digits() == "mnist" and STEPS > 1000:  # other digits are far from MNIST's
    assert 2 < drawn.value < 12 < of_dots.value / 5 and abs(dots.mean() - mean) < 0.01

# %% [markdown]
# The number after ± is the standard error due to the finite number of digits. The distance is a small part of that of
# random dots, and still many times the floor.
#
# ## Lose nothing when a training is interrupted
#
# Laptops run out of battery, and machines in the cloud are taken away. What must a checkpoint contain, so that the
# rest of the training becomes what it would have been? It needs the weights, the optimizer's memory of past
# gradients, the averaged weights, and the number of the step. The learning rate follows from this number, and so does
# the place in the stream of pairs, which depend only on the seed and the step. TensorFlow's checkpoint manager writes
# all of this and keeps the newest two. To test it, we interrupt a very small training after step 13, call
# `training.fit` again, and compare the result with a training that was never interrupted.

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
# Both trainings end with the same weights, up to the order in which TensorFlow's threads add. The library's tests are
# harsher: they kill the process without warning, between two checkpoints and while it saves, fix the order of the
# sums with `enable_op_determinism`, and demand the same weights bit for bit.
#
# **Keep a card with the weights.** A trained network is useful only if we know its data, schedule and target.
# `training.save_weights` writes the weights together with a card that says so, and `training.load_weights` checks
# that the weights are whole and are those of the card. The library comes with one trained denoiser, and the lessons
# that follow use it. It is like the one you have just trained, with a third block at each level, larger batches, a
# longer average, and far more steps:

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
# - You **derived** the loss. A bound on the likelihood is a sum of terms; those that depend on the network come down
#   to squared errors of the noise, and without the factors that is a plain regression.
# - You **trained** a U-Net in seven steps by hand, then with `noisify` and `fit`. You compared its loss with
#   baselines, under frozen noise and time by time, and drew digits with it.
# - You **kept** what was learned: averaged weights, checkpoints from which an interrupted training goes on, and
#   weights with a card.
#
# Next: lesson 06 explains the walk that we took on trust.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Another target.** In the cell with the frozen pairs, replace `diffusion.to_velocity` by
# `lambda x_0, noise, alpha_bar: x_0`, and let `mean_digit = digits.numpy().mean(axis=0)`. What does always answering
# 0 cost now? Is 0 a good baseline for this target? (Put both back afterwards, and run the cell again.)
#
# <details><summary>Answer</summary>
#
# It costs the mean square of a pixel, 0.93. Most pixels are paper, $-1$, so always answering the mean picture costs
# only 0.28. For the noise, 0 is the best answer that does not look at the picture. For $x_0$ it is far too easy to
# beat, and a loss below it proves nothing.
#
# </details>
#
# **2. One time for the whole batch.** Take the trained network and the frozen pairs. Average `squares` over 20 groups
# of 32: once as they come, and once sorted by time, `squares[np.argsort(times)]`, so that $t$ is nearly the same
# within a group. What is the standard deviation of the 20 averages in each case? What follows for a training that
# draws one $t$ for all images of a batch?
#
# <details><summary>Answer</summary>
#
# Both sets of averages have the same mean. Their standard deviation is about a tenth of that mean with mixed times,
# and about six tenths with nearly one time per group. The loss of a batch with a single $t$ is right on average and
# far noisier. This mistake is easy to make and hard to see, as the loss still falls.
#
# </details>
#
# **3. A longer memory.** With DDPM's `DECAY = 0.9999`, after how many steps does the average reach its full memory of
# 10,000 steps? How long is its memory when our 3,600 steps end?
#
# <details><summary>Answer</summary>
#
# $(1 + n) / (10 + n)$ reaches 0.9999 at $n = 89{,}990$. After 3,600 steps, $1 / (1 - d) = (10 + n) / 9$ is 401 steps.
# The second term of $d$ is there for such cases: without it, the average would still hold $0.9999^{3600} = 70\,\%$ of
# the untrained network.
#
# </details>
#
# **4. In code.** Write `moving_average(values, decay)`: the average $\bar\theta$ that starts as `values[0]`, after
# step 1 has given `values[1]`, step 2 `values[2]`, and so on to the last. The decay $d$ is the one above, with
# `decay` in the place of 0.99.


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
# **5. In code.** Weighting all squared errors of the noise equally amounts to weighting those of $x_0$ by
# $\bar\alpha_t / (1 - \bar\alpha_t)$, the signal-to-noise ratio. Hang et al. (2023) weight $x_0$ by this ratio, but
# by no more than $\gamma = 5$ (min-SNR). Write `min_snr(chain, gamma)` for a schedule `chain`: for each $t$ from 1 to
# $T$, the equivalent weight of a squared error of the *velocity*. `chain.snr` holds the ratios from $t = 0$.


# %% tags=["solution"]
def min_snr(chain, gamma):
    alpha_bar, snr = chain.alpha_bar[1:], chain.snr[1:]
    # A squared error of x_0 is (1 - alpha_bar) of that of v.
    return np.minimum(snr, gamma) * (1 - alpha_bar)


# %%
checks.min_snr(min_snr)

# %% [markdown]
# **6. Bug clinic.** This function should make a batch of pairs from images `x_0`, (B, 28, 28, 1), for a schedule
# `chain`. It runs, and the loss falls, but it has two bugs. Find them and write the function without them.
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
#   (*DDPM*, 2020, sections 2 and 3 and appendix A). For 32x32 colour pictures they train 800,000 steps of 128, with
#   Adam at 2e-4 and an average with decay 0.9999.
# - *Learned variances* help with few steps and in likelihood: Nichol and Dhariwal, "Improved Denoising Diffusion
#   Probabilistic Models" (2021, sections 3.1 and 4), who also brought the cosine schedule.
# - *Velocity*: Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (2022, section 4 and
#   appendix D). *Weights by t*: Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy" (2023).
# - *Muon*: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024); Liu et al., "Muon is
#   Scalable for LLM Training" (2025). Keras' own, `keras.optimizers.Muon`, is for matrices only.
# - *Fréchet distance*: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
#   Equilibrium" (2017), with the features of another network, Inception, trained on photographs; so their figures and
#   ours cannot be compared.
# - *Several GPUs*: build and compile under `tf.distribute.MirroredStrategy().scope()`; `training.fit` then works as
#   it is, since the pairs are made before they are dealt out.
# - *16 bits*: call `keras.config.set_dtype_policy("mixed_bfloat16")` before the network is built. On a processor with
#   instructions for bfloat16, our steps took about a tenth less.
