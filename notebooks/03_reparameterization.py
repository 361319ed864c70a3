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
# # 03. Jump to any step at once, and back
#
# In lesson 02 we walked a digit into noise, a thousand steps for one picture. Training takes many noisy pictures,
# each at its own time $t$, and walking to each is slow. Lesson 02 already jumped to some, on credit; this lesson
# proves that the jump is exact. Then it turns around: given a noisy picture, where was the chain one step earlier,
# and what is the best guess at the clean picture? For data that we know completely, this guess needs no network.

# %% [markdown]
# **You will**
#
# - **jump** from a clean image to any $x_t$ at once, with the same distribution as walking;
# - **return** by one step, with Bayes' rule, and check it by brute force;
# - **meet** the perfect denoiser of a small data set, and see why it blurs.
#
# **You need** lesson 02: the chain, $\beta_t$ and $\bar\alpha_t$. To run, it
# takes <!-- measured -->about 1 minute on two CPU cores and 0.8 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

import time

import keras
import matplotlib.pyplot as plt
import numpy as np

from lessons_lib import data, diffusion, oracle, plots, schedule
from lessons_lib.checks import lesson_03 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
T = 1000
AT = 200  # walks and jumps are compared here: early enough that a step too many would show
COPIES = choose(smoke=1000, cpu=4000, gpu=4000)  # of one digit, for the statistics

keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(SEED)
linear = schedule.linear(T)


def normal(*shape):
    """Fresh Gaussian noise."""
    return rng.standard_normal(shape, dtype=np.float32)


# %% [markdown]
# ## Walking is slow
#
# Many copies of one digit walk 200 steps, each with its own noise:

# %%
digits, labels = (x.numpy() for x in next(iter(data.load_digits("test[:2000]", 2000))))
walked = copies = np.repeat(digits[4:5], COPIES, axis=0)

start = time.perf_counter()
for t in range(1, AT + 1):
    beta = np.float32(linear.beta[t])
    walked = np.sqrt(1 - beta) * walked + np.sqrt(beta) * normal(*copies.shape)  # lesson 02
walking = time.perf_counter() - start
print(f"{COPIES} copies walked {AT} steps in {walking:.1f} s")

# %% [markdown]
# ## The sum of two Gaussians
#
# A single Gaussian can replace the Gaussian noise of all the steps, because **the sum of two independent Gaussians is
# again a Gaussian**, and its variance is the sum of their variances. Here is the sum $a\,z_1 + b\,z_2$ for two
# Gaussian numbers, and for two uniform ones of the same mean and variance:

# %%
uniform = np.sqrt(12) * (rng.random((2, 100_000)) - 0.5)  # variance 1, too
pairs = {"Gaussian": normal(2, 100_000), "uniform": uniform}
sums = {name: 0.6 * z_1 + 0.3 * z_2 for name, (z_1, z_2) in pairs.items()}
kurtosis = {name: np.mean(x**4) / np.var(x) ** 2 for name, x in sums.items()}
for name, x in sums.items():  # asserted within four standard errors
    print(f"{name:8} numbers: sum of variance {x.var():.3f}, kurtosis {kurtosis[name]:.2f}")
    assert abs(x.var() - (0.6**2 + 0.3**2)) < 4 * 0.45 * np.sqrt(2 / len(x))
assert abs(kurtosis["Gaussian"] - 3) < 4 * np.sqrt(24 / 100_000) < 3 - kurtosis["uniform"]

# %%
figure, panels = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True, layout="constrained")
x = np.linspace(-2.5, 2.5, 200)
bell = np.exp(-(x**2) / (2 * 0.45)) / np.sqrt(2 * np.pi * 0.45)
for panel, (name, values) in zip(panels, sums.items(), strict=True):
    panel.hist(values, bins=80, density=True, color=plots.BLUE, alpha=0.6)
    panel.plot(x, bell, color=plots.ORANGE, label="Gaussian of variance 0.45")
    panel.set(title=f"sum of two {name} numbers", xlabel="0.6 z₁ + 0.3 z₂")
    panel.set(xlim=(-2.5, 2.5), yticks=[])
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", frameon=False)
plots.show(
    figure,
    "The histogram of the Gaussian sum fills the bell curve; that of the uniform sum is a "
    "trapezoid with a flat top, lower than the curve, and without tails.",
)

# %% [markdown]
# Both sums have the variance $0.6^2 + 0.3^2$, but only the left one has the shape of its parts. Its **kurtosis**, the
# fourth moment divided by the squared variance, is 3, as for every Gaussian. Why? The density of the pair
# $(z_1, z_2)$ is, up to a constant, $e^{-(z_1^2 + z_2^2) / 2}$. It depends only on the distance from the origin, not
# on the direction. The sum $a\,z_1 + b\,z_2$ is $\sqrt{a^2 + b^2}$ times the coordinate of the pair along the
# direction $(a, b)$, and along any direction this coordinate is a standard Gaussian, like $z_1$.
#
# Now take two steps of the chain, with noises $z_1$ and $z_2$, and insert the first into the second:
#
# $$x_2 = \sqrt{1-\beta_2}\,\big(\sqrt{1-\beta_1}\, x_0 + \sqrt{\beta_1}\, z_1\big) + \sqrt{\beta_2}\, z_2$$
#
# The image is multiplied by $\sqrt{(1 - \beta_1)(1 - \beta_2)} = \sqrt{\bar\alpha_2}$. The two noises add up to one
# Gaussian of variance
#
# $$(1-\beta_2)\,\beta_1 + \beta_2 = 1 - (1-\beta_1)(1-\beta_2) = 1 - \bar\alpha_2 .$$
#
# A third step repeats the argument, with $\bar\alpha_2$ in place of $1 - \beta_1$, and so on for every $t$:
#
# $$q(x_t \mid x_0) = \mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\, x_0,\ (1-\bar\alpha_t) I\big) \qquad \text{(DDPM, eq. 4)}$$
#
# or, as a recipe, with one noise $\epsilon$ from $\mathcal N(0, I)$, called `noise` in code:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1-\bar\alpha_t}\, \epsilon$$
#
# Writing a random variable as a fixed function of its parameters and of standard noise is called the
# **reparameterization trick**. Kingma and Welling (2014) use it to differentiate through a random draw; we use it to
# draw $x_t$ directly. The recipe is exact; the function `between` repeats the argument step by step.


# %% tags=["slide"]
def add_noise(x_0, noise, alpha_bar):
    return np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise


start = time.perf_counter()
alpha_bar = np.float32(linear.alpha_bar[AT])
jumped = add_noise(copies, normal(*copies.shape), alpha_bar)
jumping = time.perf_counter() - start
print(f"the jump is {walking / jumping:.0f} times as fast as {AT} steps")
assert walking > AT / 10 * jumping


# %%
def between(s, t):
    """Steps s + 1 to t in one: x_t is kept * x_s, plus Gaussian noise of variance added."""
    kept, added = 1.0, 0.0
    for beta in linear.beta[s + 1 : t + 1]:
        kept, added = np.sqrt(1 - beta) * kept, (1 - beta) * added + beta
    return kept, added


np.testing.assert_allclose(between(0, AT), (np.sqrt(alpha_bar), 1 - alpha_bar), rtol=1e-6)

# %% [markdown]
# ## Chain against jump
#
# A jumped and a walked $x_{200}$ contain different noise, but come from the same distribution. The proof is above; a
# measurement finds slips in the code, even one step too many. Up to sampling error, walked and jumped pictures should
# agree in the mean and variance of every pixel, and in the covariances between pixels. Divided by their standard
# errors, the differences should have mean 0 and standard deviation 1.

# %%
# With n Gaussian numbers of variance v, a mean has the standard error sqrt(v / n), a variance v sqrt(2 / n),
# a covariance v / sqrt(n); a difference of two such has one that is larger by sqrt(2).
v, n = 1 - alpha_bar, COPIES
one, other = (x.reshape(n, -1).astype(np.float64) for x in (walked, jumped))
each_pair = np.triu_indices(61, 1)  # of every thirteenth pixel, 61 of them
covariance = np.cov(one[:, ::13].T) - np.cov(other[:, ::13].T)
difference = {
    "means": (one.mean(axis=0) - other.mean(axis=0)) / np.sqrt(2 * v / n),
    "variances": (one.var(axis=0) - other.var(axis=0)) / (v * np.sqrt(4 / n)),
    "covariances": covariance[each_pair] / (v * np.sqrt(2 / n)),
}
for name, d in difference.items():
    print(f"{name:11} {d.size:4} differences, mean {d.mean():+.2f}, deviation {d.std():.2f}")
for d in difference.values():
    assert abs(d.mean()) < 5 / np.sqrt(d.size)
    assert abs(d.std() - 1) < 5 / np.sqrt(2 * d.size)

# %%
plots.show_filmstrip(
    [walked[:8], jumped[:8]],
    "Eight walked and eight jumped pictures of one digit under noise; no difference in kind.",
    row_labels=["walked", "jumped"],
)

# %% [markdown]
# **Earned.** From now on we import the recipe, `diffusion.add_noise`. It takes one $\bar\alpha$ per image, so every
# image can have its own time; for eight images, `linear.at` makes an array of shape $(8, 1, 1, 1)$.

# %%
x_0 = digits[:8]
times = np.array([1, 100, 200, 400, 600, 800, 900, 1000])
noise = normal(*x_0.shape)
x_t = np.asarray(diffusion.add_noise(x_0, noise, linear.at(times, like=x_0)))
expected = [
    add_noise(x, e, linear.alpha_bar[t]) for x, e, t in zip(x_0, noise, times, strict=True)
]
np.testing.assert_allclose(x_t, expected, atol=1e-5)  # 1 - alpha_bar in float32

# %% [markdown]
# ## The way back, if you know the noise
#
# The recipe relates $x_0$, $x_t$ and $\epsilon$, and any two give the third. Solved for the image:
#
# $$x_0 = \frac{x_t - \sqrt{1-\bar\alpha_t}\, \epsilon}{\sqrt{\bar\alpha_t}} \qquad \text{(DDPM, eq. 15)}$$
#
# So a network that guesses the *noise* also guesses the *image*, and vice versa. How accurate must the guess be? We
# insert the true noise with an error of one per cent:


# %%
def to_x_0(x_t, noise, alpha_bar):
    return (x_t - np.sqrt(1 - alpha_bar) * noise) / np.sqrt(alpha_bar)


at_times = np.asarray(linear.at(times, like=x_0))
nearly = to_x_0(x_t, noise + 0.01 * normal(*noise.shape), at_times)
plots.show_filmstrip(
    [x_0, x_t, nearly],
    "Eight digits: clean, noisy at growing t, and recovered from a noise that is one per cent "
    "off; the last are clean at small t, grainy from t = 800 on, and spoilt at 1000.",
    row_labels=["x_0", "x_t", "recovered"],
    column_labels=[f"t={t}" for t in times],
)

# %%
np.testing.assert_allclose(to_x_0(x_t, noise, at_times), x_0, atol=1e-3)
np.testing.assert_allclose(diffusion.to_x_0(x_t, noise, at_times), x_0, atol=1e-3)
errors = np.sqrt(np.mean((nearly - x_0) ** 2, axis=(1, 2, 3)))
growth = linear.noise_rate[times] / linear.signal_rate[times]
print(f"the error of 0.01 is {errors[2]:.3f} at t = 200 and {errors[-1]:.1f} at t = 1000")
np.testing.assert_allclose(errors, 0.01 * growth, rtol=0.15)
assert abs(growth[-1] - 157) < 0.5
assert (linear.noise_rate < linear.signal_rate)[259:261].tolist() == [True, False]

# %% [markdown]
# The error in the noise is multiplied by $\sqrt{1 - \bar\alpha_t} / \sqrt{\bar\alpha_t}$, the noise's share of $x_t$
# divided by the signal's. This ratio is below 1 up to $t = 259$, and 157 at the end. Near $t = 1000$ even a very good
# guess at the noise says little about the picture.
#
# ## One step back
#
# To draw a picture, lesson 06 will walk the chain backwards, one small step at a time. Suppose first that we know
# both ends, $x_0$ and $x_t$. Where was the chain at $t - 1$? **Bayes' rule** turns the step around:
#
# $$q(x_{t-1} \mid x_t, x_0) = \frac{q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)}$$
#
# The first factor needs no $x_0$, because this is a Markov chain. All factors are known Gaussians with independent
# pixels, so one pixel is enough. We write $x$ for its $x_{t-1}$, and "const" for everything without $x$, such as the
# denominator. For $t > 1$, the logarithm of the right side is
#
# $$-\frac{(x_t-\sqrt{1-\beta_t}\,x)^2}{2\beta_t} - \frac{(x-\sqrt{\bar\alpha_{t-1}}\,x_0)^2}{2(1-\bar\alpha_{t-1})} + \text{const}.$$
#
# Multiply out the squares. Two of the six terms do not contain $x$:
#
# $$-\frac{(1-\beta_t)\,x^2-2\sqrt{1-\beta_t}\,x_t\,x}{2\beta_t} - \frac{x^2-2\sqrt{\bar\alpha_{t-1}}\,x_0\,x}{2(1-\bar\alpha_{t-1})} + \text{const}$$
#
# Sort by powers of $x$, and call the brackets $A$ and $B$:
#
# $$-\frac{x^2}{2}\underbrace{\left(\frac{1-\beta_t}{\beta_t} + \frac{1}{1-\bar\alpha_{t-1}}\right)}_{A} + x\underbrace{\left(\frac{\sqrt{1-\beta_t}\,x_t}{\beta_t} + \frac{\sqrt{\bar\alpha_{t-1}}\,x_0}{1-\bar\alpha_{t-1}}\right)}_{B} + \text{const}$$
#
# Complete the square. The remainder, $B^2/(2A)$, does not contain $x$ either:
#
# $$-\frac{A}{2}x^2 + Bx = -\frac{A}{2}\left(x^2 - 2\,\frac{B}{A}\,x\right) = -\frac{A}{2}\left(x-\frac{B}{A}\right)^2 + \frac{B^2}{2A}$$
#
# The logarithm of a Gaussian of mean $m$ and variance $v$ is $-(x-m)^2/(2v)$ plus a constant. So $x_{t-1}$ is
# Gaussian, with variance $1/A$ and mean $B/A$. To simplify $A$, take a common denominator:
#
# $$A = \frac{(1-\beta_t)(1-\bar\alpha_{t-1}) + \beta_t}{\beta_t\,(1-\bar\alpha_{t-1})} = \frac{1-\bar\alpha_t}{\beta_t\,(1-\bar\alpha_{t-1})}$$
#
# The numerator is $1-\beta_t-\bar\alpha_t+\beta_t$, because $(1-\beta_t)\,\bar\alpha_{t-1} = \bar\alpha_t$. In each
# term of $B/A$ one factor cancels:
#
# $$\tilde\beta_t = \frac{1}{A} = \frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t, \qquad \tilde\mu_t = \frac{B}{A} = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}\,x_0 + \frac{\sqrt{1-\beta_t}\,(1-\bar\alpha_{t-1})}{1-\bar\alpha_t}\,x_t \qquad \text{(DDPM, eq. 7)}$$
#
# - $\tilde\mu_t$, the mean, is a weighted sum of the two ends;
# - $\tilde\beta_t$, the variance, is smaller than $\beta_t$: less than half of it at $t = 2$, but almost equal at
#   large $t$. At $t = 1$ it is 0 and the mean is $x_0$.
#
# **Any earlier time.** By the sum of Gaussians, the steps $s + 1$ to $t$ are together one step, which multiplies
# $x_s$ by $\sqrt{\bar\alpha_t / \bar\alpha_s}$ and adds noise of variance $1 - \bar\alpha_t / \bar\alpha_s$. So the
# formulas hold for any $s < t$, once we replace
#
# $$t-1 \to s, \qquad \beta_t \to 1 - \frac{\bar\alpha_t}{\bar\alpha_s} .$$


# %% tags=["slide"]
def posterior(x_0, x_t, t, s):
    """Mean and variance of q(x_s | x_t, x_0); theirs is s = t - 1 (DDPM, eq. 7)."""
    now, before = linear.alpha_bar[t], linear.alpha_bar[s]
    beta = 1 - now / before
    mean = np.sqrt(before) * beta * x_0 + np.sqrt(1 - beta) * (1 - before) * x_t
    return mean / (1 - now), (1 - before) / (1 - now) * beta


# %% [markdown]
# We check the algebra by brute force: for one pixel, put $x_s$ on a fine grid, multiply the densities of Bayes'
# rule, and divide by the sum. The coefficients come from `between`, which knows only the betas.


# %%
def log_density(x, mean, variance):
    """The logarithm of the Gaussian density at x."""
    return -((x - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2


def brute_force(x_0, x_t, t, s):
    """Mean and variance of x_s given both ends, summed on a grid."""
    x = np.linspace(-8, 8, 400_001)
    (kept, added), (kept_before, added_before) = between(s, t), between(0, s)
    log_weight = log_density(x_t, kept * x, added)
    log_weight += log_density(x, kept_before * x_0, added_before)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = np.sum(weight * x)
    return mean, np.sum(weight * (x - mean) ** 2)


# %%
print("by formula, by force  mean               variance           beta")
for t, s in ((2, 1), (10, 9), (100, 99), (1000, 999), (300, 200), (300, 50)):
    (mean, variance), (m, v) = posterior(0.7, -0.4, t, s), brute_force(0.7, -0.4, t, s)
    print(f"from {t:4} to {s:3}      {mean:+.5f} {m:+.5f}", end="  ")
    print(f"{variance:.6f} {v:.6f}  {1 - linear.alpha_bar[t] / linear.alpha_bar[s]:.6f}")
    np.testing.assert_allclose((mean, variance), (m, v), rtol=1e-6)
    ends = np.array([[0.7]]), np.array([[-0.4]])
    theirs = diffusion.posterior(*ends, linear.alpha_bar[t], linear.alpha_bar[s])
    np.testing.assert_allclose([np.squeeze(x) for x in theirs], (mean, variance), rtol=1e-9)
assert posterior(0.7, -0.4, 1, 0) == (0.7, 0)
assert posterior(0.7, -0.4, 2, 1)[1] < 0.5 * linear.beta[2]
assert posterior(0.7, -0.4, 1000, 999)[1] > 0.99 * linear.beta[1000]

# %% [markdown]
# Formula and brute force agree to six digits. **Earned.** The library's `diffusion.posterior` takes the two
# $\bar\alpha$ instead of times. This posterior is the heart of DDPM. A network will guess the noise, and hence $x_0$;
# inserted into $\tilde\mu_t$, the guess gives the mean of the step back.
#
# ## What a perfect network would answer
#
# How well can $x_0$ be guessed from $x_t$? Suppose that the world consists of ten equally likely pictures. Each may
# have led to $x_t$, and is probable if its faded version lies close to $x_t$:
#
# $$w_i = \frac{q(x_t \mid x^{(i)})}{\sum_j q(x_t \mid x^{(j)})}, \qquad E[x_0 \mid x_t] = \sum_i w_i\, x^{(i)} .$$
#
# - $x^{(i)}$ are the ten pictures, and $w_i$ is the probability that $x_t$ is a noisy $x^{(i)}$ (Bayes' rule with
#   equal priors);
# - $q(x_t \mid x^{(i)})$ is the jump's Gaussian: its logarithm is
#   $-\lVert x_t - \sqrt{\bar\alpha_t}\, x^{(i)} \rVert^2 / (2 (1 - \bar\alpha_t))$, summed over pixels, plus a
#   constant that cancels;
# - $E[x_0 \mid x_t]$ is the average of all the pictures, weighted by their probability. By lesson 01's derivative,
#   now with the weights $w_i$, it has the least expected squared error: on average, no network can do better.
#
# We compare two worlds: one digit of each kind, and all 2,000 loaded digits.


# %%
def weights(x_t, t, world):
    """How probable each of the world's pictures is, given each x_t: (B, K)."""
    x, faded = x_t.reshape(len(x_t), -1), linear.signal_rate[t] * world.reshape(len(world), -1)
    # -|x - faded|^2 / 2, without |x|^2, which cancels:
    log_w = (x @ faded.T - np.sum(faded**2, axis=1) / 2) / (1 - linear.alpha_bar[t])
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))  # the largest is 1: no overflow
    return w / w.sum(axis=1, keepdims=True)


def denoise(x_t, t, world):  # the mean of its pictures, weighted by probability given x_t
    return np.einsum("bk,k...->b...", weights(x_t, t, world), world)


# %%
def noisy(x_0, t):
    return add_noise(x_0, normal(*x_0.shape), linear.alpha_bar[t])


first = [np.flatnonzero(labels == k)[0] for k in range(10)]  # of each digit
ten = digits[first]
stages = [100, 400, 500, 600, 700, 800, 900, 1000]
threes = [noisy(ten[3:4], t) for t in stages]
guesses = [
    np.concatenate([denoise(x, t, world) for x, t in zip(threes, stages, strict=True)])
    for world in (ten, digits)
]
plots.show_filmstrip(
    [np.concatenate(threes), *guesses],
    "A three under more and more noise, and below it two rows of best guesses: first both "
    "are the clean three, at the end the average of the world; that of 2,000 blurs earlier.",
    row_labels=["x_t", "guess, 10 pictures", "guess, 2,000 pictures"],
    column_labels=[f"t={t}" for t in stages],
)

# %% [markdown]
# The guess is at first the clean three, then a *blend* of several pictures, and at the end nearly the average of the
# world. How probable is the true picture, on average over 200 noisy threes? And does the blend at $t = 700$ really
# have a smaller squared error than the likeliest of the ten pictures?

# %%
sure = {}
for t in stages:
    many = noisy(np.repeat(ten[3:4], 200, axis=0), t)
    worlds = (ten, 3), (digits, first[3])
    sure[t] = [weights(many, t, world)[:, true].mean() for world, true in worlds]
    print(f"t = {t:4}: {sure[t][0]:4.0%} sure among 10, {sure[t][1]:4.0%} among 2,000")

truth = ten[rng.integers(0, 10, 500)]
many = noisy(truth, 700)
likeliest = ten[weights(many, 700, ten).argmax(axis=1)]
blend, sharp = (np.mean((x - truth) ** 2) for x in (denoise(many, 700, ten), likeliest))
print(f"squared error at t = 700: {blend:.2f} for the blend, {sharp:.2f} for the likeliest")
assert blend < 0.8 * sharp

# %%
assert sure[500][0] > 0.85 > sure[500][1]
for guess, world in zip(guesses, (ten, digits), strict=True):
    assert np.abs(guess[-1] - world.mean(axis=0)).mean() < 0.04

perfect, in_rows = oracle.points(linear, ten), np.concatenate(threes)
at_stages = np.array(stages)
np.testing.assert_allclose(perfect.denoise(in_rows, at_stages), guesses[0], atol=1e-6)
noise_pred = diffusion.to_noise(in_rows, guesses[0], linear.at(at_stages, like=in_rows))
np.testing.assert_allclose(perfect.predict_noise(in_rows, at_stages), noise_pred, atol=1e-6)

# %% [markdown]
# At $t = 500$ the true picture is nearly certain among ten, but not among 2,000. The blend has the smaller error,
# although the likeliest picture is sharp. So blur is not only a weakness of small networks: under much noise, the
# best possible answer blurs too. The remedy is to take a small step towards the blend, add a little fresh noise, and
# ask again, many times (lesson 06).
#
# **Earned.** We call a perfect denoiser of a known world an *oracle*. Ours is `oracle.points`; the library has others
# for Gaussians and their mixtures. Later lessons rely on these exact answers. An oracle also gives the noise that
# belongs to its guess,
# $\hat\epsilon(x_t, t) = (x_t - \sqrt{\bar\alpha_t}\, E[x_0 \mid x_t]) / \sqrt{1 - \bar\alpha_t}$.
#
# ## Why the steps are small
#
# On the way back $x_0$ is unknown. In place of the Gaussian $q(x_s \mid x_t, x_0)$ we need
#
# $$q(x_s \mid x_t) = \sum_i w_i\; q(x_s \mid x_t, x^{(i)}),$$
#
# a mixture of such Gaussians, one for each possible $x_0$. Is it nearly Gaussian, too? Take the smallest world in
# which anything is undecided, the two numbers $-1$ and $1$. From $x_{300} = 0.1$ we go back to three times $s$, and
# compare the mixture with the Gaussian of the same mean and variance:
#
# $$\mu = \sum_i w_i\,\tilde\mu_i, \qquad \operatorname{Var}(x_s \mid x_t) = \tilde\beta + \sum_i w_i\,(\tilde\mu_i-\mu)^2$$
#
# - $\tilde\mu_i$ is the posterior's mean for $x_0 = x^{(i)}$, and $\mu$ the mean of the mixture;
# - $\tilde\beta$ is the posterior's variance, the same for all $i$.
#
# The second equation is the **law of total variance**: the mean of the variances plus the variance of the means.
# Within component $i$ the mean of $(x_s - \mu)^2$ is $\tilde\beta + (\tilde\mu_i - \mu)^2$, and we average this over
# $i$. The titles below give the share of the probability that must move to turn one density into the other, their
# *total variation distance*.


# %%
def step_back(x_t, t, s, world):
    """A grid of x_s, its density given x_t, the Gaussian, and their distance, for (B,) x_t."""
    w = weights(x_t[:, None], t, world).T
    means, within = posterior(world, x_t, t, s)  # (2, B), and one number
    mean = np.sum(w * means, axis=0)
    variance = within + np.sum(w * (means - mean) ** 2, axis=0)  # the law of total variance
    x_s = mean + np.sqrt(variance) * np.linspace(-6, 6, 2001)[:, None]
    mixture = sum(w[i] * np.exp(log_density(x_s, means[i], within)) for i in (0, 1))
    bell = np.exp(log_density(x_s, mean, variance))
    return x_s, mixture, bell, np.sum(np.abs(mixture - bell), axis=0) * (x_s[1] - x_s[0]) / 2


two, begin = np.array([[-1.0], [1.0]]), 300
figure, panels = plt.subplots(1, 3, figsize=(9, 2.7), layout="constrained")
for panel, steps in zip(panels, (1, 100, 250), strict=True):
    x_s, mixture, bell, moved = step_back(np.array([0.1]), begin, begin - steps, two)
    panel.plot(x_s, mixture, color=plots.BLUE, label="$x_s$ given $x_t$")
    panel.plot(x_s, bell, "--", color=plots.ORANGE, label="Gaussian, same mean and variance")
    panel.set(
        title=f"t = {begin} to {begin - steps}: {moved[0]:.1%} moved",
        xlabel="$x_s$",
        yticks=[],
    )
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
plots.show(
    figure,
    "Densities after a step back and Gaussians of the same mean and variance: one curve after "
    "a single step, a lopsided hill after 100, two narrow humps and a broad hill after 250.",
)


# %%
def distance(t, s, world=two):  # on average over x_t
    states = add_noise(rng.choice(world[:, 0], 500), normal(500), linear.alpha_bar[t])
    return step_back(states, t, s, world)[-1].mean()


times = 2, 5, 10, 20, 50, *range(100, T + 1, 50)
single, apart = (max(distance(t, t - 1, world) for t in times) for world in (two, 10 * two))
some, most = distance(300, 200), distance(300, 50)
apart_are = np.linalg.norm((ten[:, None] - ten).reshape(10, 10, -1), axis=2).sum() / 90
assert abs(apart_are - 20) < 4  # two of the ten digits, on average
print(f"one step: at most {single:.2%}, ten times as far apart {apart:.2%}", end="; ")
print(f"300 to 200: {some:.0%}; 300 to 50: {most:.0%}")
assert max(single, apart) < 0.001 < 0.04 < some < 0.1 < 0.5 < most

# %% [markdown]
# After a single step the two Gaussians merge into one. After 250 there are two humps: by then $x_s$ has decided
# between $-1$ and $1$. Averages over $x_t$, with single steps at many times, say the same, also for two points 20
# apart, about the distance between two digits. That is why the chain has many small steps: a step back is then nearly
# *one* Gaussian, which needs only a mean and a variance. The mean follows from the best guess, as $\tilde\mu_t$ is
# linear in $x_0$. The variance must still be chosen (lessons 05 and 06).
#
# ## The score: where the density grows fastest
#
# Let $q(x_t)$ be the density of *all* noisy data at time $t$. The gradient of its logarithm, $\nabla \log q(x_t)$, is
# called the **score**. It gives the direction in which $q$ grows fastest, and determines the best guess:
#
# $$E[x_0 \mid x_t] = \frac{x_t + (1-\bar\alpha_t)\, \nabla \log q(x_t)}{\sqrt{\bar\alpha_t}}, \qquad
# E[\epsilon \mid x_t] = -\sqrt{1-\bar\alpha_t}\; \nabla \log q(x_t) .$$
#
# The first is **Tweedie's formula**. To obtain the second, insert it into the recipe, solved for the noise:
# $E[\epsilon \mid x_t] = (x_t - \sqrt{\bar\alpha_t}\, E[x_0 \mid x_t]) / \sqrt{1-\bar\alpha_t}$. For a world of $n$
# pictures, $q(x_t) = \frac{1}{n} \sum_i q_i$ with $q_i = q(x_t \mid x^{(i)})$, the proof is short:
#
# $$\nabla \log q(x_t) = \frac{\sum_i \nabla q_i}{\sum_j q_j} = \frac{\sum_i q_i\,\nabla \log q_i}{\sum_j q_j} = \sum_i w_i\,\nabla \log q_i = \sum_i w_i\,\frac{\sqrt{\bar\alpha_t}\,x^{(i)} - x_t}{1-\bar\alpha_t}$$
#
# The second step uses $\nabla q_i = q_i\,\nabla \log q_i$, the last one the exponent of a Gaussian. Solved for
# $\sum_i w_i\, x^{(i)} = E[x_0 \mid x_t]$, this is Tweedie's formula. For other data the sums become integrals. So
# *to guess the noise is to know which way the data lies*. To check it, we move $x_t$ a little and see how much
# $\log q$ grows, in a world of three points in the plane.


# %%
def log_q(x_t, t, world):
    """log q(x_t) for points (B, D) in a world of points (K, D)."""
    faded, variance = linear.signal_rate[t] * world, 1 - linear.alpha_bar[t]
    each = np.sum(log_density(x_t[:, None], faded, variance), axis=2)
    return np.log(np.mean(np.exp(each), axis=1))


def score(x_t, t, world):
    guess = denoise(x_t, t, world)
    return (linear.signal_rate[t] * guess - x_t) / (1 - linear.alpha_bar[t])


corners, h = np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]]), 1e-4
plane = np.stack(np.meshgrid(*2 * [np.linspace(-2, 2, 17)]), axis=-1).reshape(-1, 2)
triangle = oracle.points(linear, corners)
for t in (600, 300, 100):
    rise = [log_q(plane + d, t, corners) - log_q(plane - d, t, corners) for d in h * np.eye(2)]
    off = np.abs(score(plane, t, corners) - np.stack(rise, axis=1) / (2 * h)).max()
    print(f"t = {t}: formula and measurement differ by {off:.0e}")
    assert off < 1e-5
    in_noise = -linear.noise_rate[t] * score(plane, t, corners)
    predicted = triangle.predict_noise(plane, np.full(len(plane), t))
    np.testing.assert_allclose(predicted, in_noise, atol=1e-9)

faded = linear.signal_rate[100] * corners
nearest = corners[np.linalg.norm(plane[:, None] - faded, axis=2).argmin(axis=1)]
assert np.mean(np.linalg.norm(denoise(plane, 100, corners) - nearest, axis=1) < 0.1) > 0.8
assert np.linalg.norm(denoise(plane, 600, corners), axis=1).max() < 0.5

# %%
figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True)
fine = np.linspace(-2.2, 2.2, 111)
everywhere = np.stack(np.meshgrid(fine, fine), axis=-1).reshape(-1, 2)
for panel, t in zip(panels, (600, 300, 100), strict=True):
    density = np.exp(log_q(everywhere, t, corners)).reshape(111, 111)
    panel.contourf(fine, fine, density, 12, cmap="Greys", alpha=0.5)
    arrows = (1 - linear.alpha_bar[t]) / 4 * score(plane, t, corners)
    units = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004}
    panel.quiver(*plane.T, *arrows.T, color=plots.BLUE, **units)
    panel.scatter(*linear.signal_rate[t] * corners.T, color=plots.ORANGE, zorder=2)
    panel.set(title=f"t = {t}", aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
plots.show(
    figure,
    "The score as arrows that climb the density: at t = 600 and 300 towards one broad hill, at "
    "t = 100 towards three hills, each around one of the faded points.",
)

# %% [markdown]
# The shade is the density $q(x_t)$, and the arrows are the score, times $(1 - \bar\alpha_t) / 4$, so that each ends a
# quarter of the way to the faded guess $\sqrt{\bar\alpha_t}\, E[x_0 \mid x_t]$. The orange points are the faded data.
# Under much noise (left) all arrows lead close to the middle: nothing is decided. With little noise (right) nearly
# all lead to the nearest point. So the field sharpens on the way back.
#
# ## Recap
#
# - You **jumped** to any $x_t$ in one step, exactly, because Gaussians add up to Gaussians.
# - You **returned** by one step with Bayes' rule: a Gaussian whose mean is a weighted sum of both ends, as brute
#   force confirmed.
# - You **met** the perfect denoiser, the average of all pictures, weighted by their probability given $x_t$. It
#   blurs, yet no denoiser has a smaller mean squared error.
#
# What is missing is a network that gives such answers for real digits; lesson 04 builds it.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. A smaller world.** Let the world be a single picture. What is the best guess at pure noise? In a new cell:
# `plots.show_images(denoise(normal(1, 28, 28, 1), T, ten[3:4]), "The best guess.")`.
#
# <details><summary>Answer</summary>
#
# That picture, perfectly sharp: nothing else is possible.
#
# </details>
#
# **2. No root.** Write `(1 - alpha_bar)` for `np.sqrt(1 - alpha_bar)` in `add_noise`, run that cell, and then the one
# that compares chain and jump. Which of its printed lines gives the mistake away? Put the root back, and run both
# again.
#
# <details><summary>Answer</summary>
#
# That of the variances: their mean is about 20 instead of 0 (10 with 1,000 copies), as the noise at $t = 200$ has a
# variance of $0.34^2 = 0.12$ instead of 0.34. The other two means stay near 0, but their deviations fall to about 0.8
# and 0.75, because the jumped pictures vary too little; so the assert already stops at the first line.
#
# </details>
#
# **3. The same steps elsewhere.** In the cell with the three densities, start at `begin = 1000`. After which of the
# 1, 100 and 250 steps back is the density still a Gaussian? Put the 300 back.
#
# <details><summary>Answer</summary>
#
# After all three, with 0.0 % to move. Even at $t = 750$ the signal rate is only 0.06, and hardly anything is decided.
# Steps must be small where something is being decided.
#
# </details>
#
# **4. In code.** Write `to_noise(x_t, x_0, alpha_bar)`: the noise that leads from `x_0` to `x_t`.


# %% tags=["solution"]
def to_noise(x_t, x_0, alpha_bar):
    return (x_t - np.sqrt(alpha_bar) * x_0) / np.sqrt(1 - alpha_bar)


# %%
checks.to_noise(to_noise)

# %% [markdown]
# **5. Bug clinic.** This jump from $x_0$ to $x_t$ runs at every $t$ except the last, but has two mistakes. `betas`
# holds $\beta_1, \dots, \beta_T$, and $t$ is 1 to $T$. Fix both.
#
# ```python
# def mended(x_0, noise, t, betas):
#     alpha_bar = np.cumprod(1 - betas)[t]
#     return np.sqrt(alpha_bar) * x_0 + (1 - alpha_bar) * noise
# ```


# %% tags=["solution"]
def mended(x_0, noise, t, betas):
    alpha_bar = np.cumprod(1 - betas)[t - 1]  # the first of the array belongs to t = 1
    return np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise


# %%
checks.mended(mended)

# %% [markdown]
# ## In practice
#
# - *Notation*: DDPM writes $\alpha_t = 1 - \beta_t$; the DDIM paper writes $\alpha_t$ for our $\bar\alpha_t$.
# - *Reparameterization*: Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), section 2.4.
# - *Tweedie's formula* goes back to Robbins, "An Empirical Bayes Approach to Statistics" (1956); the link to
#   denoising networks is Vincent, "A Connection Between Score Matching and Denoising Autoencoders" (2011).
# - *Exercise 5*: such mistakes were reported in published code, [a wrong
#   time](https://github.com/jychoi118/ilvr_adm/issues/13) and [a wrong
#   factor](https://github.com/Ryota-Kawamura/How-Diffusion-Models-Work/issues/1).
# - *Memorising*: a sampler with the perfect denoiser of its training set ends on a picture of that set. A network
#   that draws new digits must differ from it; lesson 08 looks for copies.
