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
# In lesson 02 we walked a digit into noise, a thousand steps for one picture. To train a network we shall need
# millions of noisy pictures, each at a time $t$ of its own. This lesson gets any of them in a single step, and
# exactly. Then it turns round: given a noisy picture, where may it have been a step earlier, and what is the best
# guess at the clean one? For data that we know completely, that best guess can be computed without any network, and
# looking at it explains a good part of what trained networks do.

# %% [markdown]
# **You will**
#
# - **jump** from a clean image to any $x_t$ at once, and show that nothing is lost against walking;
# - **return** by one step, with Bayes' rule, and check it by brute force;
# - **meet** the perfect denoiser of a small data set, and see why it blurs.
#
# **You need** lesson 02: the chain, $\beta_t$ and $\bar\alpha_t$. To run, it
# takes <!-- measured -->about 1 minute on two CPU cores and 0.9 GB of memory<!-- /measured -->.

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
AT = 300  # the time at which walks and jumps are compared
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
# Many copies of one digit walk 300 steps, each copy with noise of its own:

# %%
digits, labels = next(iter(data.load_digits("test[:2000]", 2000)))
digit = digits.numpy()[4:5]

start = time.perf_counter()
walked = np.repeat(digit, COPIES, axis=0)
for t in range(1, AT + 1):
    walked = diffusion.forward_step(walked, normal(*walked.shape), linear.beta[t])
walked = np.asarray(walked)
walking = time.perf_counter() - start
print(f"{COPIES} copies walked {AT} steps in {walking:.1f} s")

# %% [markdown]
# ## The sum of two Gaussians
#
# Each of the steps added a Gaussian noise. Could one noise do for all? It could, for **the sum of two independent
# Gaussians is again a Gaussian**, whose variance is the sum of theirs. Look at it before you believe it. Take
# $a\,z_1 + b\,z_2$ with two independent standard normal numbers:

# %%
z_1, z_2 = normal(2, 100_000)
total = 0.6 * z_1 + 0.3 * z_2
print(f"variance {total.var():.4f}, and 0.6² + 0.3² = {0.6**2 + 0.3**2:.4f}")
assert abs(total.var() / 0.45 - 1) < 4 * np.sqrt(2 / len(total))  # four standard errors

# %%
figure, axes = plt.subplots(figsize=(7, 2.5))
grid = np.linspace(-3, 3, 200)
axes.hist(total, bins=100, range=(-3, 3), density=True, color=plots.BLUE, alpha=0.6)
axes.plot(grid, np.exp(-(grid**2) / 0.9) / np.sqrt(0.9 * np.pi), color=plots.ORANGE)
axes.set(xlabel="0.6 z₁ + 0.3 z₂", yticks=[])
plots.show(figure, "The histogram of the sum lies under the bell curve of variance 0.45.")

# %% [markdown]
# Why? The density of the pair, $e^{-(z_1^2 + z_2^2) / 2}$ but for a factor, depends on its distance from the origin
# alone and looks the same in every direction. Now $a\,z_1 + b\,z_2$ is $\sqrt{a^2 + b^2}$ times the coordinate of
# $(z_1, z_2)$ along the direction $(a, b)$, and along any direction that coordinate is distributed as $z_1$ is: a
# standard normal number.
#
# Now two steps of the chain, the second put on top of the first, with noises $z_1$ and $z_2$:
#
# $$x_2 = \sqrt{1 - \beta_2}\,\big(\sqrt{1 - \beta_1}\, x_0 + \sqrt{\beta_1}\, z_1\big) + \sqrt{\beta_2}\, z_2$$
#
# The image has been multiplied by $\sqrt{(1 - \beta_1)(1 - \beta_2)} = \sqrt{\bar\alpha_2}$. The two noises add up to
# one Gaussian, of variance
#
# $$(1 - \beta_2)\,\beta_1 + \beta_2 = 1 - (1 - \beta_1)(1 - \beta_2) = 1 - \bar\alpha_2 .$$
#
# With a third step the same happens again, with $\bar\alpha_2$ in the place of $1 - \beta_1$, and so on for all $t$:
#
# $$q(x_t \mid x_0) = \mathcal N\big(x_t;\ \sqrt{\bar\alpha_t}\, x_0,\ (1 - \bar\alpha_t) I\big) \qquad \text{(DDPM, eq. 4)}$$
#
# or, as a recipe, with one single noise $\epsilon$ from $\mathcal N(0, I)$, called `noise` in code:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$$
#
# Writing a random thing as a fixed function of a standard one is called the **reparameterization trick**.


# %% tags=["slide"]
def add_noise(x_0, noise, alpha_bar):
    return np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise


start = time.perf_counter()
alpha_bar = np.float32(linear.alpha_bar[AT])
jumped = add_noise(np.repeat(digit, COPIES, axis=0), normal(COPIES, 28, 28, 1), alpha_bar)
jumping = time.perf_counter() - start
print(f"the jump is {walking / jumping:.0f} times as fast as {AT} steps")
assert walking > 5 * jumping

# %% [markdown]
# One reads at times that the recipe is an approximation. It is not: no term was dropped on the way. A jumped
# $x_{300}$ is not the *same* picture as a walked one, since other noise went in, but it is drawn from the very same
# distribution, and nobody who gets one of each can tell which is which.
#
# ## Chain against jump
#
# The proof is above; a check finds slips in the code. We have thousands of both kinds. Their means should agree in
# every pixel, and so should their variances and the covariances between pixels (we take every thirteenth pixel, 61 of
# them), up to the accident of the sample. Divided by their standard errors, the differences should have mean 0 and
# spread 1.

# %%
# A mean of n numbers of variance v has the standard error sqrt(v / n), a variance v sqrt(2 / n),
# a covariance v / sqrt(n); a difference of two such has one that is larger by sqrt(2).
v, n = 1 - alpha_bar, COPIES
a, b = (x.reshape(n, -1).astype(np.float64) for x in (walked, jumped))
difference = {
    "means": (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(2 * v / n),
    "variances": (a.var(axis=0) - b.var(axis=0)) / (v * np.sqrt(4 / n)),
    "covariances": (np.cov(a[:, ::13].T) - np.cov(b[:, ::13].T)) / (v * np.sqrt(2 / n)),
}
difference["covariances"] = difference["covariances"][np.triu_indices(61, 1)]  # each pair once
for name, z in difference.items():
    print(f"{name:11} {z.size:4} numbers, mean {z.mean():+.2f}, spread {z.std():.2f}")
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 5 / np.sqrt(2 * z.size)

# %%
plots.show_filmstrip(
    [walked[:8], jumped[:8]],
    "Eight walked and eight jumped pictures of one digit under noise; no difference in kind.",
    row_labels=["walked", "jumped"],
)

# %% [markdown]
# **Earned.** The recipe is `diffusion.add_noise`; from now on we import it. It wants one $\bar\alpha$ per image, in
# an array of shape $(8, 1, 1, 1)$ for eight images, which `linear.at` delivers: every image can have a time of its
# own.

# %%
x_0 = digits.numpy()[:8]
times = np.array([1, 100, 200, 400, 600, 800, 900, 1000])
noise = normal(*x_0.shape)
x_t = diffusion.add_noise(x_0, noise, linear.at(times, like=x_0))
expected = [
    add_noise(x, e, linear.alpha_bar[t]) for x, e, t in zip(x_0, noise, times, strict=True)
]
np.testing.assert_allclose(x_t, expected, atol=1e-5)  # 1 - alpha_bar in float32

# %% [markdown]
# ## The way back, if you know the noise
#
# The recipe has three things in it, $x_0$, $x_t$ and $\epsilon$; any two give the third. Solved for the image:
#
# $$x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\, \epsilon}{\sqrt{\bar\alpha_t}} \qquad \text{(DDPM, eq. 15)}$$
#
# So a network that guesses the *noise* also guesses the *image*, and the other way round. But look at the
# denominator. We hand in the true noise with an error of one per cent:

# %%
back = diffusion.to_x_0(x_t, noise, linear.at(times, like=x_0))
np.testing.assert_allclose(back, x_0, atol=1e-3)
nearly = diffusion.to_x_0(x_t, noise + 0.01 * normal(*noise.shape), linear.at(times, like=x_0))
plots.show_filmstrip(
    [x_0, x_t, nearly],
    "Eight digits: clean, noisy at growing t, and recovered from a noise that is one per cent "
    "off; perfect at first, grainy from t = 800 on, spoilt at 1000.",
    row_labels=["x_0", "x_t", "recovered"],
    column_labels=[f"t={t}" for t in times],
)

# %%
errors = np.sqrt(np.mean((np.asarray(nearly) - x_0) ** 2, axis=(1, 2, 3)))
growth = linear.noise_rate[times] / linear.signal_rate[times]
np.testing.assert_allclose(errors, 0.01 * growth, rtol=0.15)
print(f"the error of 0.01 is {errors[2]:.3f} at t = 200 and {errors[-1]:.1f} at t = 1000")

# %% [markdown]
# An error in the noise is multiplied by $\sqrt{1 - \bar\alpha_t} / \sqrt{\bar\alpha_t}$: less than 1 while the
# picture is the stronger, 157 at the end. Near $t = 1000$ even a very good guess of the noise says little about the
# picture.
#
# ## One step back
#
# To go back we shall have to guess $x_0$, and at first the guess will be bad: good enough for one small step, but not
# for jumping to it. How large is that step, and where does it lead, if the guess were true? Suppose, then, that we
# know both ends, $x_0$ and $x_t$. Where was the chain at $t - 1$? **Bayes' rule** turns the step round:
#
# $$q(x_{t-1} \mid x_t, x_0) = \frac{q(x_t \mid x_{t-1})\; q(x_{t-1} \mid x_0)}{q(x_t \mid x_0)}$$
#
# (the first factor needs no $x_0$: the chain forgets). All three are Gaussians that we know, and their pixels are
# independent, so that we can do one pixel at a time: the right side is $e$ to the power of
#
# $$-\frac{(x_t - \sqrt{1 - \beta_t}\, x_{t-1})^2}{2 \beta_t} - \frac{(x_{t-1} - \sqrt{\bar\alpha_{t-1}}\, x_0)^2}{2 (1 - \bar\alpha_{t-1})} + \dots$$
#
# where the dots do not contain $x_{t-1}$. (At $t = 1$ there is nothing to compute: $\bar\alpha_0 = 1$, and $x_{t-1}$
# *is* $x_0$.) This is quadratic in $x_{t-1}$, so the answer is a Gaussian again: $e^{-A x^2 / 2 + B x}$ is, but for a
# factor, the one of variance $1 / A$ and mean $B / A$. What stands before $x_{t-1}^2$ gives the variance,
# $1 / \tilde\beta_t = (1 - \beta_t) / \beta_t + 1 / (1 - \bar\alpha_{t-1})$, and what stands before $x_{t-1}$ the
# mean,
# $\tilde\mu_t = \tilde\beta_t\, [\sqrt{1 - \beta_t}\, x_t / \beta_t + \sqrt{\bar\alpha_{t-1}}\, x_0 / (1 - \bar\alpha_{t-1})]$.
# With $\beta_t + (1 - \beta_t)(1 - \bar\alpha_{t-1}) = 1 - \bar\alpha_t$ both become shorter:
#
# $$\tilde\mu_t = \frac{\sqrt{\bar\alpha_{t-1}}\, \beta_t}{1 - \bar\alpha_t}\, x_0 + \frac{\sqrt{1 - \beta_t}\,(1 - \bar\alpha_{t-1})}{1 - \bar\alpha_t}\, x_t,
# \qquad \tilde\beta_t = \frac{1 - \bar\alpha_{t-1}}{1 - \bar\alpha_t}\, \beta_t \qquad \text{(DDPM, eq. 7)}$$
#
# - $\tilde\mu_t$, the mean, is mixed from the two ends;
# - $\tilde\beta_t$, the variance, is less than $\beta_t$: hardly, at large $t$; by more than half at $t = 2$; at
#   $t = 1$ it is 0.
#
# Such algebra wants a check. For a single pixel (all are independent, so one is enough) Bayes' rule can be computed
# by brute force: put $x_{t-1}$ on a fine grid, multiply the densities, divide by the sum.


# %%
def log_density(x, mean, variance):
    """Of a Gaussian, but for a constant."""
    return -((x - mean) ** 2) / (2 * variance)


def brute_force(x_0, x_t, t):
    """Mean and variance of x_{t-1} given both ends, summed on a grid."""
    beta, before = linear.beta[t], linear.alpha_bar[t - 1]
    x = np.linspace(-8, 8, 400_001)
    log_weight = log_density(x_t, np.sqrt(1 - beta) * x, beta)
    log_weight += log_density(x, np.sqrt(before) * x_0, 1 - before)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = np.sum(weight * x)
    return mean, np.sum(weight * (x - mean) ** 2)


# %%
print("by formula, by force   mean              variance            beta")
for t in (2, 10, 100, 500, 1000):
    ends = np.array([[0.7]]), np.array([[-0.4]])  # x_0 and x_t, chosen at will
    mean, variance = diffusion.posterior(*ends, linear.alpha_bar[t], linear.alpha_bar[t - 1])
    mean, variance, (m, v) = float(mean[0, 0]), float(variance), brute_force(0.7, -0.4, t)
    print(f"t = {t:4}               {mean:+.5f} {m:+.5f}", end="  ")
    print(f"{variance:.6f} {v:.6f}  {linear.beta[t]:.6f}")
    np.testing.assert_allclose((mean, variance), (m, v), rtol=1e-6)

# %% [markdown]
# Formula and brute force agree to six digits. This posterior is the heart of DDPM: a network will guess $x_0$, and
# the rest of the step is what you see here.
#
# ## What a perfect network would answer
#
# How well can $x_0$ be guessed from $x_t$? Suppose that the whole world consists of ten pictures, each as likely as
# the others. Then a noisy $x_t$ may come from any of them. The ones that it lies close to (after fading) are likely,
# the others are not:
#
# $$w_i = \frac{q(x_t \mid x^{(i)})}{\sum_j q(x_t \mid x^{(j)})}, \qquad E[x_0 \mid x_t] = \sum_i w_i\, x^{(i)} .$$
#
# - $x^{(i)}$ are the ten pictures, $w_i$ is the probability that $x_t$ is a noisy $x^{(i)}$ (Bayes' rule, all ten
#   being as likely beforehand);
# - $q(x_t \mid x^{(i)})$ is the jump's Gaussian: its logarithm is
#   $-\lVert x_t - \sqrt{\bar\alpha_t}\, x^{(i)} \rVert^2 / (2 (1 - \bar\alpha_t))$, summed over pixels, and a
#   constant that cancels;
# - $E[x_0 \mid x_t]$ is the average of all pictures that are possible, each by its probability. Lesson 01 told you
#   what it is good for: it is the answer with the least squared error. No network can do better.

# %%
world = np.stack([digits.numpy()[labels.numpy() == k][0] for k in range(10)])


def denoise(x_t, t):
    """The average of the world's pictures, each as likely as x_t makes it."""
    squares = ((x_t[:, None] - linear.signal_rate[t] * world) ** 2).sum(axis=(2, 3, 4))
    log_w = -squares / (2 * (1 - linear.alpha_bar[t]))
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))  # the largest is 1: no overflow
    return np.einsum("bk,khwc->bhwc", w / w.sum(axis=1, keepdims=True), world)


# %%
times = np.array([100, 400, 500, 600, 700, 800, 900, 1000])
x_0 = np.repeat(world[3:4], 8, axis=0)
x_t = np.asarray(diffusion.add_noise(x_0, normal(*x_0.shape), linear.at(times, like=x_0)))
best = np.concatenate([denoise(x[None], t) for x, t in zip(x_t, times, strict=True)])
plots.show_filmstrip(
    [x_t, best],
    "A three under more and more noise, and the perfect answer below: a clean three as long as "
    "it is certain, then a blend of several digits, in the end the average of all ten.",
    row_labels=["x_t", "best guess"],
    column_labels=[f"t={t}" for t in times],
)

# %% [markdown]
# As long as one picture is nearly certain, the answer is that picture, clean. When several are possible it *blends*
# them (at 700 a one looks likelier than the three that it was), and at the end it is the average of the world. The
# blur of lesson 01 is not only a weakness of a small network: even the perfect answer blurs. What comes to the rescue
# is going in steps: a little towards the blend, and ask again. (Ten pictures are easily told apart, so ours is
# certain up to $t = 600$. Among thousands the blend sets in earlier.)
#
# **Earned.** We call a perfect denoiser of a known world an *oracle*. The library has one as `oracle.points`, and in
# the same way for Gaussians and mixtures of them. Later lessons and all tests of the samplers lean on these exact
# answers. It also gives the noise that goes with its guess,
# $\hat\epsilon(x_t, t) = (x_t - \sqrt{\bar\alpha_t}\, E[x_0 \mid x_t]) / \sqrt{1 - \bar\alpha_t}$: the guess is as
# good in one form as in the other.

# %%
assert np.abs(best[0] - world[3]).max() < 1e-3  # certain
assert np.corrcoef(best[-1].ravel(), world.mean(axis=0).ravel())[0, 1] > 0.9  # the average

perfect = oracle.points(linear, world)
np.testing.assert_allclose(perfect.denoise(x_t, times), best, atol=1e-4)
noise_pred = diffusion.to_noise(x_t, perfect.denoise(x_t, times), linear.at(times, like=x_t))
np.testing.assert_allclose(perfect.predict_noise(x_t, times), noise_pred, atol=1e-3)

# %% [markdown]
# ## Why the steps are small
#
# We know $q(x_{t-1} \mid x_t, x_0)$, a Gaussian. But who walks back does not know $x_0$, and needs
# $q(x_{t-1} \mid x_t)$: a mixture of these Gaussians, one for each $x_0$ that is possible, with the weights $w_i$. Is
# that a Gaussian, too? Take the smallest world there is, two single numbers, $-1$ and $1$, and go back from $t = 300$
# to several times $s$ (the formulas of one step back hold for any $s < t$):

# %%
ends, here = np.array([[-1.0], [1.0]]), np.full((2, 1), 0.1)  # both x_0, and x_t
w = np.exp(log_density(here, linear.signal_rate[300] * ends, 1 - linear.alpha_bar[300]))
w /= w.sum()

figure, panels = plt.subplots(1, 3, figsize=(9, 2.4), layout="constrained")
for panel, s in zip(panels, (299, 200, 50), strict=True):
    means, variance = diffusion.posterior(
        ends, here, linear.alpha_bar[300], linear.alpha_bar[s]
    )
    mean = np.sum(w * means)
    total = variance + np.sum(w * (means - mean) ** 2)  # within each, and between them
    grid = mean + np.sqrt(total) * np.linspace(-4, 4, 400)
    mixture = np.sum(w * np.exp(log_density(grid, means, variance)), axis=0) / np.sqrt(
        variance
    )
    bell = np.exp(log_density(grid, mean, total)) / np.sqrt(total)
    panel.plot(grid, mixture, color=plots.BLUE)
    panel.plot(grid, bell, "--", color=plots.ORANGE)
    off = np.abs(mixture - bell).max() / bell.max()
    panel.set(title=f"from 300 to {s}: off by {off:.1%}", yticks=[])
    assert off < 0.005 if s == 299 else off > 0.05
plots.show(
    figure,
    "Densities after a step back, and dashed the Gaussians of the same mean and variance: one "
    "curve for a small step, two humps against one for the largest.",
)

# %% [markdown]
# For a small step, yes, as nearly as one can draw it: the two Gaussians lie so close together that they merge. For a
# long one there are two humps, as $x_s$ is decided by then. That is why the chain has many small steps: then a step
# back is *one* Gaussian, and to know its mean is enough.
#
# ## The score: which way is more likely
#
# There is another way to see the same answer. Let $q(x_t)$ be the density of *all* noisy data at time $t$, and take
# the gradient of its logarithm, $\nabla \log q(x_t)$: the direction in which $x_t$ becomes more likely fastest. It is
# called the **score**, and
#
# $$E[x_0 \mid x_t] = \frac{x_t + (1 - \bar\alpha_t)\, \nabla \log q(x_t)}{\sqrt{\bar\alpha_t}}, \qquad
# E[\epsilon \mid x_t] = -\sqrt{1 - \bar\alpha_t}\; \nabla \log q(x_t) .$$
#
# The first is Tweedie's formula (Robbins 1956); the second follows from the recipe. Why is it so? For a world of
# pictures $q(x_t) = \frac{1}{n} \sum_i q_i$ with $q_i = q(x_t \mid x^{(i)})$. As $\nabla f = f\, \nabla \log f$, its
# gradient is $\frac{1}{n} \sum_i q_i \nabla \log q_i$; divided by $q(x_t)$, the weights become $w_i$, and the score
# is $\sum_i w_i \nabla \log q_i$. Each $\nabla \log q_i$ is that of a Gaussian's exponent,
# $(\sqrt{\bar\alpha_t}\, x^{(i)} - x_t) / (1 - \bar\alpha_t)$. The sum of all, with the weights $w_i$, is
# $(\sqrt{\bar\alpha_t}\, E[x_0 \mid x_t] - x_t) / (1 - \bar\alpha_t)$, which is the first formula. (It holds for any
# data; a finite world makes the proof short.) So *to guess the noise is to know which way the data lies*. In the
# plane one can draw the way to the best guess; our world is now three points.

# %%
corners = np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
triangle = oracle.points(linear, corners)
axis = np.linspace(-2, 2, 17)
plane = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True)
for panel, t in zip(panels, (600, 300, 100), strict=True):
    guess = np.asarray(triangle.denoise(plane, np.full(len(plane), t)))
    panel.quiver(
        *plane.T,
        *(guess - plane).T,
        angles="xy",
        scale_units="xy",
        scale=4,
        color=plots.BLUE,
        width=0.004,
    )
    panel.scatter(*corners.T, color=plots.ORANGE, zorder=2)
    panel.set(title=f"t = {t}", aspect="equal", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2))
plots.show(
    figure,
    "Arrows towards the best guess; at t = 600 they lead to about the middle of three points, "
    "at t = 300 to somewhere between them, at t = 100 each to the nearest point.",
)

# %% [markdown]
# Each arrow leads a quarter of the way to the best guess. (They are not the scores: those lead to the *faded* guess,
# $\sqrt{\bar\alpha_t}$ of it.) Under much noise (left) all lead to about the middle of the three points: nothing is
# decided. With less noise the guesses part, and at last (right) the plane falls into three basins, each with its own
# point. Walking back from $t = 1000$ to 0 means following a field that sharpens as you go: first roughly where the
# data is, then which of its parts, then exactly what.
#
# Are the formulas true? A gradient can be measured: go a little to the right, and see how much $\log q$ has grown.

# %%
times = np.full(len(plane), 300)
score = np.asarray(triangle.score(plane, times))
h = 1e-4
measured = np.stack(
    [
        (triangle.log_likelihood(plane + d, times) - triangle.log_likelihood(plane - d, times))
        / (2 * h)
        for d in (np.array([h, 0]), np.array([0, h]))
    ],
    axis=1,
)
off = np.abs(score - measured).max()
print(f"scores up to {np.abs(score).max():.1f}; formula and measurement differ by {off:.0e}")
assert off < 1e-5
tweedie = (plane + (1 - linear.alpha_bar[300]) * score) / linear.signal_rate[300]
np.testing.assert_allclose(triangle.denoise(plane, times), tweedie, atol=1e-9)
noise = -linear.noise_rate[300] * score
np.testing.assert_allclose(triangle.predict_noise(plane, times), noise, atol=1e-9)

# %% [markdown]
# ## Recap
#
# - You **jumped** to any $x_t$ in one step, exactly, because Gaussians add up to Gaussians.
# - You **returned** by one step with Bayes' rule: a Gaussian, its mean mixed from both ends, as brute force
#   confirmed.
# - You **met** the perfect denoiser: the average of all that is possible. It blurs at high noise because it must.
#
# What is missing is a network that gives such answers for real digits. It has to know $t$, and lesson 04 builds it.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. A smaller world.** Let the world be a single picture: show
# `oracle.points(linear, world[3:4]).denoise(normal(1, 28, 28, 1), [1000])`. What is the best guess at pure noise?
#
# <details><summary>Answer</summary>
#
# That picture, perfectly sharp, from pure noise: nothing else is possible. A network that has only ever seen one
# image would answer the same; it remembers rather than reads.
#
# </details>
#
# **2. No root.** Write `(1 - alpha_bar)` for `np.sqrt(1 - alpha_bar)` in `add_noise`, run that cell and the next one
# with code. Which of the differences between chain and jump gives it away?
#
# <details><summary>Answer</summary>
#
# The variances: at $t = 300$ the noise comes out with a variance of $0.60^2 = 0.36$ instead of 0.60, and all 784
# variances are off, by some twelve standard errors. The means stay right; the covariances stay around 0 and are only
# spread too little.
#
# </details>
#
# **3. Which variance?** Where does it matter whether the step back has the variance $\tilde\beta_t$ or $\beta_t$:
# early or late on the way back? Print their ratio at $t = 1000$, 100, 10, 2 and 1.
#
# <details><summary>Answer</summary>
#
# Late. The ratio $(1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)$ is 0.98 or more down to $t = 100$, 0.85 at 10, 0.45 at
# 2, and 0 at 1: with $\beta_t$ the last step would still add noise to a finished picture.
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
# **5. Bug clinic.** This jump, which is still to be mended, has two mistakes, each of which was found in published
# code. It runs at every $t$ but the last, and looks right. `betas` holds $\beta_1, \dots, \beta_T$, and $t$ is 1 to
# $T$. Mend it.
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
# - *DDPM*: equation 4 is the jump, 6 and 7 the posterior, 15 the way back from the noise. DDPM writes
#   $\alpha_t = 1 - \beta_t$; the DDIM paper writes $\alpha_t$ for what is $\bar\alpha_t$ here.
# - *Tweedie's formula* goes back to Robbins, "An Empirical Bayes Approach to Statistics" (1956); the link to
#   denoising networks is Vincent, "A Connection Between Score Matching and Denoising Autoencoders" (2011).
# - *Memorising*: the perfect denoiser of a training set can only give back that set. That trained networks draw new
#   digits is due to their *not* being perfect; lesson 08 looks for copies.
