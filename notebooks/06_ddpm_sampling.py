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
# # 06. Walk back from noise to a digit
#
# [Lesson 05](05_training.ipynb) trained a network and drew digits with a function that we took on trust. Now we open
# it. Asked about pure noise, even a perfect network answers with a blur. But if we take a small step towards the
# blur, add a little fresh noise, and ask again, a few hundred times, we arrive at a digit that nobody wrote. That is
# DDPM's algorithm 2: three lines of code.

# %% [markdown]
# **You will**
#
# - **walk** back from noise step by step, with the posterior of lesson 03 and a guess in place of $x_0$;
# - **watch** the walk in a world where everything is known, from the right start and from a wrong one;
# - **draw** digits with the packaged network, and see what noise, variance and clipping contribute.
#
# **You need** lesson 02 (where the chain ends), lesson 03 (the posterior, the perfect denoiser) and a trained network
# such as lesson 05's; one comes with the library. To run, it
# takes <!-- measured -->about 1 minute on two CPU cores and 1.3 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

import time
import warnings
from itertools import pairwise

import keras
import matplotlib.pyplot as plt
import numpy as np

from lessons_lib import data, diffusion, judges, oracle, plots, sampling, schedule, training
from lessons_lib.checks import lesson_06 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
T = 1000
POINTS = choose(smoke=500, cpu=4000, gpu=4000)  # that walk in the plane
COUNT = choose(smoke=8, cpu=64, gpu=64)  # digits to draw
STEPS = choose(smoke=10, cpu=200, gpu=200)  # steps of their walk
LONG = choose(smoke=20, cpu=1000, gpu=1000)  # steps for a few digits

keras.utils.set_random_seed(SEED)
predict_noise, noise_schedule = training.load_weights("digits")

# %% [markdown]
# ## One jump is not enough
#
# Give the network pure noise, remove the noise that it predicts and divide by the signal rate (lesson 03): the result
# is its guess at the picture, $\hat x_0$. The first row below shows it for eight noises at $t = 1000$, the others on
# the way back. The walk is `sampling.sample`, which this lesson takes apart, in 50 steps of 20 times each, on the
# network's cosine schedule. (A state holds $x_t$ and the guess made one step earlier, hence `t + 20`.)

# %%
walked = list(
    sampling.sample(predict_noise, noise_schedule, (8, 28, 28, 1), 50, eta=1.0, seed=SEED)
)
guesses = [state for state in walked if state.t in (980, 780, 580, 380, 180, 0)]
first, *_, last = (state.x_0.std(axis=0).mean() for state in guesses)
assert first < last / 10
digits, _ = next(iter(data.load_digits("test[:2000]", 2000)))
average = digits.numpy().mean(axis=0)
if data.digits() == "mnist":  # on which the network was trained
    assert (
        np.abs(guesses[0].x_0 - average).mean() < 0.02 < np.abs(digits - average).mean() / 10
    )
plots.show_filmstrip(
    [state.x_0 for state in guesses],
    "Guesses at eight pictures, one row for each time: at t = 1000 the same grey blot eight times, "
    "then different blurred shapes, at the end eight digits in clear strokes.",
    row_labels=[f"guess at t={state.t + 20}" for state in guesses],
)

# %% [markdown]
# The first row shows the average digit eight times: from noise alone every digit is possible, and the guess with the
# least squared error is the mean of all. As $t$ falls, fewer digits remain possible, and the guesses differ.
#
# ## Algorithm 2
#
# If $x_t$ and $x_0$ are known, then $x_{t-1}$ is Gaussian with mean $\tilde\mu_t$ and variance $\tilde\beta_t$
# (lesson 03). We do not know $x_0$, so we put the guess in its place. The perfect denoiser's guess, $E[x_0|x_t]$,
# gives exactly the right mean, $E[x_{t-1}|x_t]$: as $\tilde\mu_t$ is linear in $x_0$, its average over all possible
# $x_0$ is $\tilde\mu_t$ at their average. For a small step one Gaussian is enough (lesson 03). With lesson 05's form
# of the mean,
#
# $$x_{t-1} = \frac{1}{\sqrt{1 - \beta_t}} \Big(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \hat\epsilon(x_t, t)\Big) + \sigma_t\, z \qquad \text{(DDPM, algorithm 2)}$$
#
# - $\hat\epsilon(x_t, t)$ is the predicted noise, $\epsilon_\theta$ in lesson 05;
# - $z \sim \mathcal N(0, I)$ is fresh noise; the last step, to $x_0$, adds none;
# - $\sigma_t^2$ is the step's variance, $\tilde\beta_t$ or $\beta_t$, compared below.


# %% tags=["slide"]
def step_back(x_t, t, noise_pred, chain, variance, z):
    beta = chain.beta[t]
    mean = (x_t - beta / np.sqrt(1 - chain.alpha_bar[t]) * noise_pred) / np.sqrt(1 - beta)
    return mean if t == 1 else mean + np.sqrt(variance[t]) * z


def both_variances(chain):
    tilde = chain.beta[1:] * (1 - chain.alpha_bar[:-1]) / (1 - chain.alpha_bar[1:])
    return {"beta-tilde": np.append(0, tilde), "beta": chain.beta}


# %% [markdown]
# ## In the plane
#
# We first walk where everything is known: the world is three clouds, which hold one half, three tenths and one fifth
# of all points, and lesson 03's oracle is its perfect denoiser. We walk 4,000 points back from pure noise under the
# linear schedule.

# %%
centres = np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
WIDTHS, SHARES = np.array([0.14, 0.22, 0.1]), np.array([0.5, 0.3, 0.2])


def walk_back(chain, variance, at=centres, start=None, noisy=True):
    """All x_t, from t = T down to 0: (T + 1, POINTS, 2)."""
    world, rng = oracle.mixture(chain, at, WIDTHS**2, SHARES), np.random.default_rng(SEED)
    path = [rng.standard_normal((POINTS, 2)) if start is None else start]
    for t in range(chain.T, 0, -1):
        noise_pred = np.asarray(world.predict_noise(path[-1], np.full(POINTS, t)))
        z = rng.standard_normal((POINTS, 2)) if noisy else 0
        path.append(step_back(path[-1], t, noise_pred, chain, variance, z))
    return np.stack(path)


linear = schedule.linear(T)
paths = {name: walk_back(linear, v) for name, v in both_variances(linear).items()}

figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), sharey=True, layout="constrained")
for axis, t in zip(axes, (1000, 300, 100, 0), strict=True):
    path = paths["beta-tilde"][max(0, T - t - 100) : T - t + 1]  # the last hundred steps
    axis.scatter(*path[-1, : POINTS // 2].T, s=2, color=plots.GREY, alpha=0.5)
    for i, color in enumerate((plots.BLUE, plots.ORANGE, plots.GREEN)):
        axis.plot(*path[:, i].T, color=color, linewidth=1)
        axis.plot(*path[-1, i], "o", color=color, markersize=6)
    axis.set(title=f"t = {t}", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
plots.show(
    figure,
    "Four pictures of the plane: a round cloud of points at t = 1000, still round at 300, three "
    "lobes at 100, three small clouds at 0; three coloured points wander there.",
)

# %% [markdown]
# One round cloud becomes three small ones (here with $\tilde\beta_t$). The three coloured points, with their last
# hundred steps, wander like noise and end where the data is. Does each cloud get its share and the right width?


# %%
def look(points, at=centres):
    """Each cloud's share of the points, and its width."""
    nearest = ((points[:, None] - at) ** 2).sum(axis=-1).argmin(axis=1)
    own = [points[nearest == i] for i in range(len(at))]
    shares = np.array([len(some) for some in own]) / len(points)
    return shares, np.array([some.std(axis=0).mean() if len(some) else 0 for some in own])


found = {name: look(path[-1]) for name, path in paths.items()}
print(f"{'expected':10} shares {SHARES}, widths {WIDTHS}")
for name, (shares, widths) in found.items():
    print(f"{name:10} shares {shares.round(2)}, widths {widths.round(3)}")
    assert (abs(shares - SHARES) < 4 * np.sqrt(SHARES * (1 - SHARES) / POINTS)).all()

# %% [markdown]
# With either variance each cloud gets its share. The widths look right, but have a standard error of one to two per
# cent. For a single cloud of width $w$ around 0 we need no points. Let $v_t = \bar\alpha_t w^2 + 1 - \bar\alpha_t$,
# the variance of $x_t$ in the forward chain. The score of $\mathcal N(0, v_t)$ is $-x_t / v_t$, so the oracle answers
# $\hat\epsilon = \sqrt{1 - \bar\alpha_t}\, x_t / v_t$ (lesson 03). A step multiplies $x_t$ by a number and adds
# independent noise, so the variance $d_t^2$ of walking points follows from step to step, with $\sigma_1 = 0$:
#
# $$d_{t-1}^2 = \frac{(1 - \beta_t/v_t)^2}{1-\beta_t}\,d_t^2 + \sigma_t^2, \qquad d_T^2 = 1$$


# %%
def spreads(w, chain, variance):
    """The walk's d_t, from t = T down to 0, if all data is one cloud of width w around 0."""
    path = [1.0]
    for t in range(chain.T, 0, -1):
        v = chain.alpha_bar[t] * w**2 + 1 - chain.alpha_bar[t]
        slope = (1 - chain.beta[t] / v) / np.sqrt(1 - chain.beta[t])
        path.append(np.hypot(slope * path[-1], np.sqrt(variance[t]) if t > 1 else 0))
    return np.array(path)


off = {}
for steps in (T, 10 * T):
    for name, variance in both_variances(schedule.linear(steps)).items():
        ends = [spreads(w, schedule.linear(steps), variance)[-1] for w in WIDTHS]
        off[steps, name] = ends / WIDTHS - 1
        told = ", ".join(f"{part:+.2%}" for part in off[steps, name])
        print(f"{steps:5} steps with {name:10}: widths off by {told}")

np.testing.assert_allclose(off[T, "beta-tilde"], (-0.026, -0.017, -0.037), atol=1e-3)
np.testing.assert_allclose(off[T, "beta"], (0.006, 0.004, 0.008), atol=1e-3)
for name in found:
    assert (abs(off[T, name] / off[10 * T, name] - 9) < 2).all()

# %% [markdown]
# A single cloud of one of these widths becomes 1.7 to 3.7 per cent too narrow with $\tilde\beta_t$, and 0.4 to 0.8
# per cent too wide with $\beta_t$. Ten times as many steps make these errors seven to ten times smaller: they come
# from the step size.
#
# ## Which variance?
#
# $\tilde\beta_t$ is the variance of $x_{t-1}$ for a *known* $x_0$. We only know which $x_0$ are likely, so $x_{t-1}$
# varies more, by the **law of total variance**: the variance is the average of the variances for each $x_0$, plus the
# variance of the means.
#
# $$\operatorname{Var}(x_{t-1}|x_t) = \underbrace{E\big[\operatorname{Var}(x_{t-1}|x_t,x_0)\big]}_{\tilde\beta_t}
# + \underbrace{\operatorname{Var}\big(E[x_{t-1}|x_t,x_0]\big)}_{c_t^2\,\operatorname{Var}(x_0|x_t)}, \qquad c_t = \frac{\sqrt{\bar\alpha_{t-1}}\,\beta_t}{1-\bar\alpha_t}$$
#
# - The outer $E$ and $\operatorname{Var}$ run over all $x_0$ possible given $x_t$.
# - The first term is the same for every $x_0$.
# - The second is the variance of $\tilde\mu_t$, which contains $c_t x_0$ (DDPM, eq. 7).
#
# As $\bar\alpha_t = (1 - \beta_t)\, \bar\alpha_{t-1}$, we have
# $\beta_t - \tilde\beta_t = c_t^2\, (1 - \bar\alpha_t)$. So the right variance lies the fraction
# $\operatorname{Var}(x_0|x_t) / (1 - \bar\alpha_t)$ of the way from $\tilde\beta_t$ to $\beta_t$. If the data is a
# single point, this is 0; if it is $\mathcal N(0, 1)$, then $\operatorname{Var}(x_0|x_t) = 1 - \bar\alpha_t$, and it
# is 1. The paper names these two extremes (DDPM, section 3.2). For our cloud it is $w^2 / v_t$, in between, as
# $w < 1$. To make the differences large, we take ten steps and look at $t = 1$: as the last step adds no noise, a
# point ($w = 0$) would come out right with any variance.


# %%
def total_variance(w, chain):
    """Both terms for each t, if all data is one cloud of width w around 0."""
    before, now, beta = chain.alpha_bar[:-1], chain.alpha_bar[1:], chain.beta[1:]
    uncertain = w**2 * (1 - now) / (now * w**2 + 1 - now)  # Var(x_0 | x_t)
    second = before * (beta / (1 - now)) ** 2 * uncertain
    return both_variances(chain)["beta-tilde"] + np.append(0, second)


ten = schedule.linear(10)
for w in (0.0, 0.5, 1.0):
    right = np.sqrt(ten.alpha_bar[1] * w**2 + 1 - ten.alpha_bar[1])
    choices = {**both_variances(ten), "both terms": total_variance(w, ten)}
    reached = {name: spreads(w, ten, variance)[9] for name, variance in choices.items()}
    told = ", ".join(f"{spread:.3f} with {name}" for name, spread in reached.items())
    print(f"width {w}: {right:.3f} expected; {told}")
    tilde, beta, both = np.array(list(reached.values())) / right - 1
    assert abs(both) < 1e-3
    assert abs(tilde) < 1e-3 if w == 0 else tilde < -0.1
    assert abs(beta) < 1e-3 if w == 1 else beta > 0.1
    fraction = w**2 / (ten.alpha_bar[1:] * w**2 + 1 - ten.alpha_bar[1:])
    low, high = (variance[1:] for variance in both_variances(ten).values())
    by_fraction = low + fraction * (high - low)
    np.testing.assert_allclose(total_variance(w, ten)[1:], by_fraction, atol=1e-12)
narrow = 0.01 / (linear.alpha_bar[[300, 10]] * 0.01 + 1 - linear.alpha_bar[[300, 10]])
np.testing.assert_allclose(narrow, (0.016, 0.842), atol=0.001)  # a cloud of width 0.1

# %% [markdown]
# With both terms the width at $t = 1$ is right for every $w$: each step then has exactly the distribution of
# $x_{t-1}$ given $x_t$. $\tilde\beta_t$ is right only for a point, $\beta_t$ only for a cloud as wide as the noise.
#
# We add noise to 256 digits and let the network guess them. On average, a guess's squared error is at least
# $\operatorname{Var}(x_0|x_t)$. Divided by $1 - \bar\alpha_t$, it bounds the fraction of the way to $\beta_t$:

# %%
x_0, parts = digits.numpy()[:256], {}
for t in (900, 700, 500, 300, 100, 20, 5):
    a_t = noise_schedule.alpha_bar[t]
    x_t = diffusion.add_noise(x_0, sampling.noise_of(SEED, t, x_0.shape), a_t)
    guess = diffusion.to_x_0(x_t, predict_noise(x_t, np.full(256, t)), a_t)
    parts[t] = np.mean((guess - x_0) ** 2) / (1 - a_t)
print("of the way to beta:", ", ".join(f"{part:.2f} at t={t}" for t, part in parts.items()))
assert data.digits() != "mnist" or max(parts.values()) < 0.33

# %% [markdown]
# At all these times, even the late ones, the right variance lies less than a third of the way to $\beta_t$, so we
# draw digits with $\tilde\beta_t$, as the library does. The late times matter: for the cloud of width 0.1 the
# fraction is 0.02 at $t = 300$ but 0.84 at $t = 10$, and $\beta_t$ gave the better width. So in the plane we keep
# $\beta_t$.
#
# ## Why the noise?
#
# We leave the fresh noise out of every step:

# %%
silent = walk_back(linear, linear.beta, noisy=False)[-1]
print(f"without noise: all at {silent.mean(axis=0).round(2)} ± {silent.std(axis=0).max():.4f}")
assert silent.std(axis=0).max() < 1e-3
assert np.linalg.norm(silent.mean(axis=0) - centres[0]) < 0.05
assert spreads(0.14, linear, 0 * linear.beta)[-1] < 0.14 / 1000

# %% [markdown]
# All 4,000 points end on one spot, near the middle of the cloud that should hold half of them (next figure). Each
# step moves a point towards the *mean* of all that is possible, which shrinks the spread; the noise restores it. The
# recursion agrees: without $\sigma_t^2$, a cloud of width 0.14 keeps less than a thousandth of it. The last step adds
# none, as no later step could remove it: with $\beta_t$ the points would keep an extra spread of
# $\sqrt{\beta_1} = 0.01$. ($\tilde\beta_1$ is 0.) Not every walk without fresh noise collapses: here nothing replaced
# $\sigma_t z$, while lesson 07's steps keep more of the predicted noise.
#
# ## The wrong start
#
# The start, $\mathcal N(0, I)$, is right only if the forward chain ends there. Lesson 02 warned of a shortcut,
# $T = 200$ steps with betas from 0.0001 to 0.02, after which $x_T$ keeps 36 % of the signal. If the data is not
# centred on 0, neither is this $x_T$. We move the clouds away from 0 and walk back along the shortcut, from
# $\mathcal N(0, I)$ and from real $x_{200}$, the right start. A third walk takes `linear(200)`. The figure moves the
# clouds back.

# %%
shift = np.array([-5, 5])
far = centres + shift
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the schedule warns of just this
    shortcut = schedule.Schedule(np.linspace(1e-4, 0.02, 200))
assert abs(shortcut.terminal_signal - 0.364) < 0.001

rng = np.random.default_rng(SEED)
cloud = rng.choice(3, POINTS, p=SHARES)
real = far[cloud] + WIDTHS[cloud, None] * rng.standard_normal((POINTS, 2))
x_200 = diffusion.add_noise(real, rng.standard_normal(real.shape), shortcut.alpha_bar[200])
ours, wrong = schedule.linear(200), walk_back(shortcut, shortcut.beta, far)
walks = {
    "shortcut from N(0, I)": wrong[-1],
    "shortcut from real x_200": walk_back(shortcut, shortcut.beta, far, x_200.numpy())[-1],
    "linear(200) from N(0, I)": walk_back(ours, ours.beta, far)[-1],
}
world = oracle.mixture(shortcut, far, WIDTHS**2, SHARES)
predicted = np.asarray(world.posterior(wrong[0], np.full(POINTS, 200))).mean(axis=0)
for (name, end), expected in zip(walks.items(), (predicted, SHARES, SHARES), strict=True):
    shares, _ = look(end, far)
    print(f"{name:25} shares {shares.round(2)}, expected {expected.round(2)}")
    assert (abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / POINTS)).all()
np.testing.assert_allclose(predicted, (0.27, 0.66, 0.07), atol=0.03)

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 3), sharey=True, layout="constrained")
shown = {"no noise in the steps": silent} | {name: end - shift for name, end in walks.items()}
for axis, (title, points) in zip(axes, shown.items(), strict=True):
    axis.scatter(*points.T, s=40 if points is silent else 2, color=plots.GREY, alpha=0.5)
    axis.scatter(*centres.T, marker="x", color=plots.ORANGE, zorder=3)
    for (x, y), share in zip(centres, look(points)[0], strict=True):
        axis.text(x, y + 0.85, f"{share:.0%}", ha="center")
    axis.set(title=title, xlim=(-2, 2), ylim=(-2, 2.4), aspect="equal")
plots.show(
    figure,
    "Where the points end, with the share of each cloud and a cross at its middle: all on one spot "
    "without noise; two thirds on the right by the shortcut; one half on the left otherwise.",
)

# %% [markdown]
# From $\mathcal N(0, I)$, the shortcut sends two thirds of the points to the right-hand cloud instead of three
# tenths. With the right start the same denoiser gives the right shares, so the start alone is to blame. A point ends
# in each cloud with the probability that the oracle assigns to it at the point's start; averaged over the wrong
# start, this gives the shares "expected" above. Real $x_{200}$ lie around $0.36 \cdot (-5, 5) = (-1.8, 1.8)$; near 0
# the oracle favours the closest cloud, the right-hand one.
#
# No training loss reveals this, as it only sees $x_t$ from the forward chain. Hence `schedule.linear` scales its
# betas to fit $T$, and a `Schedule` warns if they leave too much signal.
#
# ## Digits
#
# The network was trained on the cosine schedule with $T = 1000$ (`noise_schedule`), but the walk need not visit
# every time. By lesson 03's sum of Gaussians, all steps from $s$ to $t$ together are one Gaussian step:
#
# $$q(x_t \mid x_s) = \mathcal N\Big(x_t;\ \sqrt{\bar\alpha_t / \bar\alpha_s}\; x_s,\ \big(1 - \bar\alpha_t / \bar\alpha_s\big) I\Big)$$
#
# So the posterior holds for any two times $s < t$, with $\bar\alpha_s$ in place of $\bar\alpha_{t-1}$ and
# $1 - \bar\alpha_t / \bar\alpha_s$ in place of $\beta_t$. The network, trained on pairs $(x_t, t)$ made by jumps,
# does not notice the gaps. We visit 200 times: 1000, 995, 990 and so on.
#
# This time we pass the guess $\hat x_0$ itself to `diffusion.posterior`. The step is the same, but we can clip the
# guess to $[-1, 1]$, the range of a picture.


# %%
def draw(x_t, times, ask=predict_noise, limit=1.0, noisy=True):
    for step, (t, s) in enumerate(pairwise(times), 1):
        a_t, a_s = noise_schedule.alpha_bar[[t, s]]
        guess = diffusion.to_x_0(x_t, ask(x_t, np.full(len(x_t), t)), a_t)
        mean, variance = diffusion.posterior(np.clip(guess, -limit, limit), x_t, a_t, a_s)
        z = sampling.noise_of(SEED, step, x_t.shape) if noisy else 0
        x_t = np.asarray(mean) + np.sqrt(variance) * z  # in the last step the variance is 0
    return x_t


# %% [markdown]
# **Earned.** From now on we import both from the library. `step_back` is `sampling.reverse_step` with `eta=1.0`
# (lesson 07 explains eta); for the variance $\beta_t$ one passes `noise_std=sampling.sigma_hat(...)`, its square
# root. `draw` is `sampling.sample` with `clip=True`, which yields its state after every step. The noise of a step
# depends only on the seed and the step's number.

# %%
x, noise_pred, z = rng.standard_normal((3, 5, 2))
for t in (1000, 500, 1):
    deviations = {"beta-tilde": None, "beta": sampling.sigma_hat(linear, t, t - 1)}
    for name, std in deviations.items():
        by_hand = step_back(x, t, noise_pred, linear, both_variances(linear)[name], z)
        step = sampling.reverse_step(x, noise_pred, t, t - 1, linear, 1.0, z, noise_std=std)
        np.testing.assert_allclose(step[0], by_hand, atol=1e-9)

shape, options = (4, 28, 28, 1), {"eta": 1.0, "seed": SEED, "clip": True}
*_, end = sampling.sample(predict_noise, noise_schedule, shape, 10, **options)
by_hand = draw(sampling.noise_of(SEED, 0, shape), sampling.time_grid(T, 10))
np.testing.assert_allclose(end.x_t, by_hand, atol=1e-3)

# %%
begin = time.perf_counter()
walk = sampling.sample(predict_noise, noise_schedule, (COUNT, 28, 28, 1), STEPS, **options)
states = list(plots.progress(walk, STEPS + 1, f"drawing {COUNT} digits"))
print(f"{(time.perf_counter() - begin) / COUNT:.2f} s for each digit")
plots.show_images(
    states[-1].x_t, f"{COUNT} digits as if written by hand, most of them legible.", columns=16
)

# %% [markdown]
# Below are the walks of the first two digits, with the guess made at $t + 5$ under each $x_t$. The percentages say
# how many of the sixty-four guesses a classifier already reads as the final digit.

# %%
film = [states[round(part * STEPS)] for part in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1)]
final = judges.labels(states[-1].x_t)
decided = [np.mean(judges.labels(state.x_0) == final) for state in film]
assert decided[0] < 0.5 < decided[3]
plots.show_filmstrip(
    [
        np.stack([getattr(state, name)[i] for state in film])
        for i in (0, 1)
        for name in ("x_t", "x_0")
    ],
    "Two digits take shape: under noise that clears late, the guess is a blot at first, then a "
    "digit in outlines, and later only becomes sharper.",
    row_labels=["x_t", "guess"] * 2,
    column_labels=[f"t={s.t}\n{part:.0%}" for s, part in zip(film, decided, strict=True)],
)

# %% [markdown]
# Most digits are decided between $t = 900$ and 600; later guesses add detail. Lesson 02 expected this: its simple
# reader lost the digits between $t = 300$ and 700 of the linear schedule, and the same signal rates lie at $t = 560$
# and 950 here.

# %%
like = [
    np.abs(noise_schedule.signal_rate - linear.signal_rate[t]).argmin() for t in (300, 700)
]
np.testing.assert_allclose(like, (560, 950), atol=5)
frames = [state.x_t[:8] for state in states[:: max(1, STEPS // 25)]]
plots.save_gif("output/ddpm.gif", frames)
plots.animate(frames, "Noise clears into eight digits in some twenty-five pictures.")


# %%
def after(step):
    """What the walk has reached after so many steps, and what the network took the pictures to be."""
    state = states[step]
    rows, alt = [state.x_t[:8], state.x_0[:8]], f"Eight digits after step {step}."
    return plots.show_filmstrip(rows, alt, row_labels=["x_t", "guess"])


plots.sliders(after, step=(1, STEPS))

# %% [markdown]
# ## What can go wrong
#
# **Without the noise**, all points in the plane ended at one spot. Do the pictures collapse, too?

# %%
start = sampling.noise_of(SEED, 0, (8, 28, 28, 1))
met = draw(start, sampling.time_grid(T, STEPS), noisy=False)
with_noise, without = (digits.std(axis=0).mean() for digits in (states[-1].x_t[:8], met))
print(f"standard deviation of a pixel: {with_noise:.2f} with noise, {without:.2f} without")
assert without < with_noise / 20
plots.show_images(met, "Eight times one and the same picture.")

# %% [markdown]
# Eight starts end in one picture.
#
# **Without clipping.** As pixels lie in $[-1, 1]$, clipping a guess can only bring it closer to every possible
# picture. This matters when the guess is computed from a predicted *noise*: dividing by $\sqrt{\bar\alpha_t}$, which
# is tiny near $T$, magnifies every error (lesson 03). Our network learned the velocity. To give it the weakness of
# one that learned the noise, we add an error of one per cent to its predicted noise, in all of twenty steps (row two
# and, clipped, row three) or in all but the first (row four).


# %%
def shaky(x_t, t, since=T):
    """The network's answers, from time `since` downwards with an error of one per cent."""
    error = np.random.default_rng(int(t[0])).standard_normal(x_t.shape, dtype=np.float32)
    return predict_noise(x_t, t) + (0.01 if t[0] <= since else 0.0) * error


twenty = sampling.time_grid(T, 20)
drawn = {
    "as it is": draw(start, twenty, limit=np.inf),
    "1 % off": draw(start, twenty, shaky, np.inf),
    "1 % off, clipped": draw(start, twenty, shaky),
    "1 % off below T": draw(start, twenty, lambda *asked: shaky(*asked, T - 1), np.inf),
}
as_it_is, spoilt, *mended = (digits.clip(-1, 1) for digits in drawn.values())
for digits in mended:
    assert np.abs(digits - as_it_is).mean() < np.abs(spoilt - as_it_is).mean() / 3
rate = noise_schedule.signal_rate[[1000, 950]]
beyond = draw(start, twenty[:2], shaky, np.inf).std()  # of x_950
np.testing.assert_allclose((0.01 / rate[0], rate[1], beyond), (200, 0.08, 16), rtol=0.05)
plots.show_filmstrip(
    list(drawn.values()),
    "Four rows of eight digits: the second consists of scraps of ink, few of them digits; the "
    "other three are nearly alike.",
    row_labels=list(drawn),
)

# %% [markdown]
# The second row is ruined. Clipping prevents this (row three), as does leaving the error out of the first step (row
# four): the harm is done there. The cosine schedule ends at a signal rate of 0.00005, so an error of 0.01 in the
# noise becomes one of $0.01 / 0.00005 = 200$ in the guess. The step to $t = 950$ multiplies the guess by
# $\sqrt{\bar\alpha_{950}} = 0.08$, so $x_{950}$ is off by 16, where its noise has size 1. A clipped guess is
# nonsense, but of size 1.
#
# **More steps.** We compare 200 steps with all thousand, and with 200 steps of the same noises from another start:

# %%
begin = time.perf_counter()
slow = draw(start, sampling.time_grid(T, LONG))
print(f"{time.perf_counter() - begin:.0f} s for eight digits in {LONG} steps")
fast, elsewhere = states[-1].x_t[:8], draw(-start, sampling.time_grid(T, STEPS))
a_t, a_s = noise_schedule.alpha_bar[[T, T - T // 200]]  # of the first of 200 steps
kept, _ = diffusion.posterior(np.zeros((1, 1)), np.ones((1, 1)), a_t, a_s)
assert kept < 0.01  # of x_T
print(f"a pixel differs by {np.abs(fast - elsewhere).mean():.3f} if the walk starts elsewhere")
if STEPS > 100:
    assert np.abs(fast - elsewhere).mean() < 0.1 * np.abs(fast - slow).mean()
plots.show_filmstrip(
    [fast, slow, elsewhere],
    "Three rows of eight digits: 1,000 steps draw other digits than 200; 200 steps from another "
    "start draw the same as before.",
    row_labels=[f"{STEPS} steps", f"{LONG} steps", "another start"],
)

# %% [markdown]
# A thousand steps use other noises and draw other digits. Eight cannot show whether these are better; lesson 08
# measures it. Another start gives the same digits: under this schedule the first step keeps less than a hundredth of
# $x_T$, so the noise of the steps decides which digits appear. Lesson 07's steps add none; there, the start decides,
# and ten steps will do.
#
# ## Recap
#
# - You **walked** back: a guess at the noise, the posterior's mean, some fresh noise, and again.
# - You **watched** the walk in the plane: right shares from the right start, wrong ones from a wrong start, one point
#   without noise.
# - You **drew** digits and saw what each part of a step contributes.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. More steps, without clipping.** Show `draw(start, sampling.time_grid(T, 200), shaky, np.inf)`: the row that
# was ruined in twenty steps, now in 200. Is it ruined again?
#
# <details><summary>Answer</summary>
#
# No: these are good digits, nearly those at the top left of the sheet, which has the same noises. The first step now
# leads to $t = 995$, where the signal rate is 0.008 in place of 0.08. So $x_{995}$ is off by 1.6 in place of 16.
#
# </details>
#
# **2. Another ending.** Let `step_back` add noise at the last step too. By how much do the widths of the three
# clouds change, with either variance? Put it back afterwards.
#
# <details><summary>Answer</summary>
#
# With $\tilde\beta_t$ not at all, as $\tilde\beta_1 = 0$. With $\beta_t$ hardly: variances add up, and even for the
# narrowest cloud $\sqrt{0.1^2 + \beta_1} = 0.1005$.
#
# </details>
#
# **3. A wider world.** Walk to `3 * centres`, where the noise of the start hardly reaches:
# `look(walk_back(linear, linear.beta, 3 * centres)[-1], 3 * centres)`. Do all three clouds still get their shares?
#
# <details><summary>Answer</summary>
#
# They do. The signal rate at $T$ is 0.006, so even a cloud three and a half units from 0 moves $x_T$ by little more
# than 0.02. With `shortcut` in place of `linear` the shares are wrong.
#
# </details>
#
# **4. In code.** Write `respaced(chain, times)`: the betas of the shorter chain that visits only `times`, an array
# that falls from $T$ to 0. The first beta belongs to the forward step from 0 to the smallest time above it.


# %% tags=["solution"]
def respaced(chain, times):
    alpha_bar = chain.alpha_bar[times[::-1]]
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


# %%
checks.respaced(respaced)

# %% [markdown]
# **5. In code.** Papers write the mean of the step back in two ways: with $x_0$ (DDPM, eq. 7) or with the noise
# (DDPM, eq. 11). Write `mean_from_x_0(x_t, x_0, t, chain)`, the first of them, using only `chain.beta` and
# `chain.alpha_bar`.


# %% tags=["solution"]
def mean_from_x_0(x_t, x_0, t, chain):
    beta, now, before = chain.beta[t], chain.alpha_bar[t], chain.alpha_bar[t - 1]
    of_x_t = np.sqrt(1 - beta) * (1 - before) / (1 - now)
    return np.sqrt(before) * beta / (1 - now) * x_0 + of_x_t * x_t


# %%
checks.mean_from_x_0(mean_from_x_0)

# %% [markdown]
# ## In practice
#
# - *Algorithm 2*: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (*DDPM*, 2020), section 3.2: both
#   variances gave similar results. Their code clips the guess, and takes $\beta_t$ for CIFAR-10.
# - *Fewer steps*: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021). Their network
#   also predicts the variance, between $\tilde\beta_t$ and $\beta_t$ (eq. 15), and needs fewer steps (section 4).
# - *The wrong start*: Lin, Liu, Li and Yang, "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2024):
#   for this reason Stable Diffusion could not draw very bright or very dark pictures.
# - *Clipping* is for pixels. Models such as Stable Diffusion walk in the output of another network, an autoencoder,
#   which has no fixed range, and do not clip guesses to $[-1, 1]$.
