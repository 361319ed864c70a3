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
# [Lesson 05](05_training.ipynb) trained a network (on the velocity, from which the noise follows), and at the end
# digits came out of a function that we took on trust. Now we open it, first in its random form. The guess alone makes
# no picture: asked about pure noise, the best answer is a blur. But a small step towards the blur, a little fresh
# noise, and another question, a few hundred times over, lead to a digit that nobody drew. This is DDPM's algorithm 2,
# and it fits on three lines.

# %% [markdown]
# **You will**
#
# - **walk** back step by step, with the posterior of lesson 03 and a guess in the place of $x_0$;
# - **watch** the walk where everything is known: a perfect denoiser in the plane, with the right start and a wrong
#   one;
# - **draw** digits with the packaged network, and see what noise, variance and clipping do to them.
#
# **You need** lesson 02 (the end of the chain), lesson 03 (the posterior, the perfect denoiser) and the outcome of
# lesson 05, a network that comes with the library. To run, it
# takes <!-- measured -->about 2 minutes on two CPU cores and 1.1 GB of memory<!-- /measured -->.

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
from ipywidgets import interact

from lessons_lib import diffusion, oracle, plots, sampling, schedule, training
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
# Hand the network pure noise, take the noise that it sees away, and you have its guess at the picture, $\hat x_0$
# (lesson 03). Here it is for eight noises at the last time, $t = 1000$, and for what becomes of them on the way back.
# (`sampling.sample` walks as this lesson will, if told `eta=1.0`, here in 50 steps of 20. Each state holds $x_t$ and
# the guess made one step earlier, hence `t + 20`.)

# %%
walk = sampling.sample(predict_noise, noise_schedule, (8, 28, 28, 1), 50, eta=1.0, seed=SEED)
states = [state for state in walk if state.t in (980, 780, 580, 380, 180, 0)]
plots.show_filmstrip(
    [state.x_0 for state in states],
    "Guesses at eight pictures, from above: much the same grey blot for all at first, then "
    "different blurred shapes, in the end digits, most of them clear.",
    row_labels=[f"guess at t={state.t + 20}" for state in states],
)

# %% [markdown]
# From noise alone, every digit is possible, and the guess with the least squared error is the mean of all. Nothing is
# wrong with the network: lesson 03's perfect denoiser answers the same. But with every step towards a guess and some
# new noise, fewer digits are possible, and the guesses become more and more different. For a while they may still
# change their minds: in some columns a later guess is another digit than an earlier one.
#
# ## Algorithm 2
#
# How large a step? Lesson 03 computed where the chain was at $t - 1$, if $x_t$ *and* $x_0$ are known: a Gaussian with
# mean $\tilde\mu_t$ and variance $\tilde\beta_t$. We do not know $x_0$; we put the guess in its place. May we?
# $\tilde\mu_t$ is linear in $x_0$, so its average over all $x_0$ that are possible is $\tilde\mu_t$ at their mean:
# with a perfect guess the mean of the step is exactly right. (That the step is *one* Gaussian holds as long as it is
# small: lesson 03.) Lesson 05 simplified the mean, with $\hat\epsilon$ (its $\epsilon_\theta$) for the predicted
# noise:
#
# $$x_{t-1} = \frac{1}{\sqrt{1 - \beta_t}} \Big(x_t - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \hat\epsilon(x_t, t)\Big) + \sigma_t\, z \qquad \text{(DDPM, algorithm 2)}$$
#
# - $z \sim \mathcal N(0, I)$ is fresh noise; at the last step, to $x_0$, there is none;
# - $\sigma_t^2$ is $\tilde\beta_t$ or $\beta_t$, about which more below.


# %% tags=["slide"]
def step_back(x_t, t, noise_pred, chain, variance, z):
    beta = chain.beta[t]
    mean = (x_t - beta / np.sqrt(1 - chain.alpha_bar[t]) * noise_pred) / np.sqrt(1 - beta)
    return mean if t == 1 else mean + np.sqrt(variance[t]) * z


def both_variances(chain):
    tilde = chain.beta[1:] * (1 - chain.alpha_bar[:-1]) / (1 - chain.alpha_bar[1:])
    return {"beta": chain.beta, "beta-tilde": np.append(0, tilde)}


# %% [markdown]
# ## In the plane
#
# First where everything is known. The world is three clouds of points in the plane, one with half of all points, one
# with three tenths, one with a fifth. Lesson 03's oracle is its perfect denoiser. We start 4,000 points from pure
# noise and walk them back.

# %%
centres = np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
WIDTHS, SHARES = np.array([0.14, 0.22, 0.1]), np.array([0.5, 0.3, 0.2])


def walk_back(chain, variance, at=centres, widths=WIDTHS, noisy=True):
    """All x_t, from t = T down to 0: (T + 1, POINTS, 2)."""
    world = oracle.mixture(chain, at, widths**2, SHARES)
    rng, path = np.random.default_rng(SEED), []
    path.append(rng.standard_normal((POINTS, 2)))
    for t in range(chain.T, 0, -1):
        noise_pred = np.asarray(world.predict_noise(path[-1], np.full(POINTS, t)))
        z = rng.standard_normal((POINTS, 2)) if noisy else 0
        path.append(step_back(path[-1], t, noise_pred, chain, variance, z))
    return np.stack(path)


linear = schedule.linear(T)
path = walk_back(linear, both_variances(linear)["beta-tilde"])

figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), sharey=True, layout="constrained")
for axis, t in zip(axes, (1000, 300, 100, 0), strict=True):
    axis.scatter(*path[T - t, :2000].T, s=2, color=plots.GREY, alpha=0.5)
    for i, color in enumerate((plots.BLUE, plots.ORANGE, plots.GREEN)):
        axis.plot(*path[max(0, T - t - 100) : T - t + 1, i].T, color=color, linewidth=1)
        axis.plot(*path[T - t, i], "o", color=color, markersize=6)
    axis.set(title=f"t = {t}", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
plots.show(
    figure,
    "Four pictures of the plane: a round cloud of points at t = 1000, still round at 300, three "
    "lobes at 100, three small clouds at 0; three coloured points wander there.",
)

# %% [markdown]
# Half of the points are shown, and three are followed, each with its last hundred steps. They wander as noise does,
# and yet end where data is. Are the clouds right, or only pretty? Each cloud should get its share of the points, with
# the right width.


# %%
def look(points, at=centres):
    """Each cloud's share of the points, and its width."""
    nearest = ((points[:, None] - at) ** 2).sum(axis=-1).argmin(axis=1)
    own = [points[nearest == i] for i in range(len(at))]
    shares = np.array([len(some) for some in own]) / len(points)
    return shares, np.array([some.std(axis=0).mean() if len(some) else 0 for some in own])


print(f"{'expected':10} shares {SHARES}, widths {WIDTHS}")
for name, points in {
    "beta-tilde": path[-1],
    "beta": walk_back(linear, linear.beta)[-1],
}.items():
    shares, found = look(points)
    print(f"{name:10} shares {shares.round(2)}, widths {found.round(3)}")
    assert (abs(shares - SHARES) < 4 * np.sqrt(SHARES * (1 - SHARES) / POINTS)).all()
    assert (abs(found / WIDTHS - 1) < 4 / np.sqrt(4 * POINTS * SHARES) + 0.04).all()  # and 4 %

# %% [markdown]
# Both choices of the variance give each cloud its share. The widths are right to a few per cent, with $\tilde\beta_t$
# a little too small, with $\beta_t$ a little too large, because a thousand steps are still not infinitely many.
#
# ## Which variance?
#
# With a mean that is right, what is the right variance? $\tilde\beta_t$ is the one for a known $x_0$. We only have a
# guess, and what we do not know about $x_0$ makes $x_{t-1}$ vary more:
#
# $$\operatorname{Var}(x_{t-1} \mid x_t) = \tilde\beta_t + \frac{\bar\alpha_{t-1}\,\beta_t^2}{(1 - \bar\alpha_t)^2}\, \operatorname{Var}(x_0 \mid x_t)$$
#
# If the data is one single point, the second term is 0. If it is $\mathcal N(0, 1)$ itself, then
# $\operatorname{Var}(x_0 \mid x_t) = 1 - \bar\alpha_t$, and the sum is exactly $\beta_t$. These are the two ends of
# which DDPM (section 3.2) speaks. To see the difference we take large steps, ten for the whole way, with all the data
# in one cloud of width $w$ around 0, and look before the last step, at $t = 1$: that one adds no noise, and for a
# single point it would repair everything.

# %%
ten = schedule.linear(10)
error = 4 / np.sqrt(4 * POINTS)  # four standard errors, as a part of the spread
for w in (0.0, 0.5, 1.0):
    beta, tilde = (
        walk_back(ten, variance, 0 * centres, np.full(3, w))[9].std()
        for variance in both_variances(ten).values()
    )
    expected = np.sqrt(ten.alpha_bar[1] * w**2 + 1 - ten.alpha_bar[1])
    print(
        f"width {w}: {expected:.3f} expected; {beta:.3f} with beta, {tilde:.3f} with beta-tilde"
    )
    assert (abs(tilde / expected - 1) < error) == (w == 0)
    assert (abs(beta / expected - 1) < error) == (w == 1)

# %% [markdown]
# So it is: $\tilde\beta_t$ is right for a point, $\beta_t$ for the cloud as wide as the noise, and for the one
# between them one is too small, the other too large. Digits are closer to points: once the noise is moderate, $x_t$
# leaves little doubt about $x_0$. For them we take $\tilde\beta_t$, as the library does for `eta=1.0` (unless it is
# told `large_noise=True`). In a thousand steps it hardly matters, and in the plane we go on with $\beta_t$.
#
# ## Why the noise?
#
# We have just learned to remove noise. Why put new noise in, at every step but the last? Leave it out:

# %%
silent = walk_back(linear, linear.beta, noisy=False)[-1]
print(
    f"without noise: at {silent.mean(axis=0).round(2)}, width {silent.std(axis=0).max():.4f}"
)
assert silent.std(axis=0).max() < 1e-3

# %% [markdown]
# All 4,000 points end on one and the same spot, in the middle of the cloud that is largest and densest. (The figure
# below shows it.) Each step leads a little towards the *mean* of all that is possible, and shrinks the spread that
# would have kept the others possible. The noise puts that spread back. (Lesson 07 finds steps that need none: they go
# less far towards the mean.) At the very last step, though, nothing comes after the noise that could take it away: it
# would stay in the picture as grain, of size $\sqrt{\beta_1} = 0.01$ here. (With $\tilde\beta_t$ the question does
# not arise: $\tilde\beta_1 = 0$.)
#
# ## The wrong start
#
# The walk starts from $\mathcal N(0, I)$. That is right if the forward chain ends there. The short cut that lesson 02
# warned of, $T = 200$ steps with betas from 0.0001 to 0.02, still has 36 % of the picture in $x_T$. If the data is
# not centred on 0, neither is $x_T$. (Digits are far from centred: most of their pixels are $-1$.) The same three
# clouds, moved away from 0:

# %%
shift = np.array([-5, 5])
far = centres + shift
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the schedule warns of just this
    short_cut = schedule.Schedule(np.linspace(1e-4, 0.02, 200))

ends = [walk_back(chain, chain.beta, far)[-1] for chain in (short_cut, schedule.linear(200))]
wrong, right = (look(end, far)[0] for end in ends)
print(
    f"expected {SHARES}; with the short cut {wrong.round(3)}, with linear(200) {right.round(3)}"
)
assert abs(wrong - SHARES).max() > 5 * abs(right - SHARES).max()

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.9), sharey=True, layout="constrained")
shown = {"without noise": silent, "the short cut": ends[0], "linear(200)": ends[1]}
for axis, (title, points), at in zip(axes, shown.items(), (0, shift, shift), strict=True):
    axis.scatter(*centres.T, marker="x", color=plots.ORANGE)
    axis.scatter(
        *(points - at).T, s=20 if points is silent else 2, color=plots.GREY, alpha=0.5
    )
    axis.set(title=title, xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
plots.show(
    figure,
    "Where the points end, crosses in the middles of the clouds: without noise all on one spot; "
    "by the short cut most in the cloud on the right; by linear(200) in three clouds.",
)

# %% [markdown]
# A perfect denoiser, the right steps, and still the wrong answer: the cloud that is closest to 0, the one on the
# right, gets far too many points. $x_{200}$ should be centred near $0.36 \cdot 5 = 1.8$, up and to the left; the
# walkers start around 0, where only the nearest cloud's faded points would be. Nothing in the training loss shows
# this. That is why `schedule.linear` fits its betas to $T$, and why a `Schedule` warns of betas that leave too much.
#
# ## Digits
#
# Now the network. It was trained on the cosine schedule with $T = 1000$ (`noise_schedule`), but the walk need not
# visit every time. All steps from $s$ to $t$ together are one Gaussian step, by lesson 03's sum of Gaussians:
#
# $$q(x_t \mid x_s) = \mathcal N\Big(x_t;\ \sqrt{\bar\alpha_t / \bar\alpha_s}\; x_s,\ \big(1 - \bar\alpha_t / \bar\alpha_s\big) I\Big)$$
#
# So the posterior holds for any two times $s < t$, if $\bar\alpha_s$ takes the place of $\bar\alpha_{t-1}$, and
# $1 - \bar\alpha_t / \bar\alpha_s$ that of $\beta_t$. And the network does not notice: it has only ever seen pairs
# $(x_t, t)$ that were made by the jump, and those are the same, whichever times are left out. Take 200 of the
# thousand times, 1000, 995, 990 and so on, and step from each to the next: algorithm 2 of a shorter chain with the
# same two ends.
#
# This time we compute the guess $\hat x_0$ itself and hand it to `diffusion.posterior`, which comes to the same. So
# the guess can be kept within the range of a picture, $[-1, 1]$, before it is used; why, we shall see.


# %%
def draw(x_t, times, ask=predict_noise, limit=1.0, noisy=True):
    a = noise_schedule.alpha_bar
    for step, (t, s) in enumerate(pairwise(times), 1):
        noise_pred = ask(x_t, np.full(len(x_t), t))
        x_0 = np.clip(diffusion.to_x_0(x_t, noise_pred, a[t]), -limit, limit)
        mean, variance = diffusion.posterior(x_0, x_t, a[t], a[s])
        z = sampling.noise_of(SEED, step, x_t.shape) if noisy else 0
        x_t = np.asarray(mean) + np.sqrt(variance) * z  # in the last step the variance is 0
    return x_t


# %% [markdown]
# **Earned.** This is `sampling.sample` with `eta=1.0` (lesson 07 says what eta is) and `clip=True`. It hands out what
# it has after every step; the noise of a step depends on the seed and the step's number alone.

# %%
shape, options = (4, 28, 28, 1), {"eta": 1.0, "seed": SEED, "clip": True}
*_, end = sampling.sample(predict_noise, noise_schedule, shape, 10, **options)
by_hand = draw(sampling.noise_of(SEED, 0, shape), sampling.time_grid(T, 10))
np.testing.assert_allclose(end.x_t, by_hand, atol=1e-3)

# %%
begin = time.perf_counter()
walk = sampling.sample(predict_noise, noise_schedule, (COUNT, 28, 28, 1), STEPS, **options)
states = list(plots.progress(walk, STEPS + 1, f"drawing {COUNT} digits"))
seconds = time.perf_counter() - begin
print(f"{seconds / COUNT:.2f} s a digit, {1000 * seconds / COUNT / STEPS:.1f} ms a step")
plots.show_images(
    states[-1].x_t, "Sixty-four digits, most as readable as handwriting.", columns=16
)

# %% [markdown]
# Sixty-four digits that nobody wrote, at 200 questions each. How did they come about? Above what the walk has
# reached, below what the network takes the picture to be.

# %%
shown = [states[round(part * STEPS)] for part in (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1)]
plots.show_filmstrip(
    [
        np.stack([getattr(state, name)[i] for state in shown])
        for i in (0, 1)
        for name in ("x_t", "x_0")
    ],
    "Two digits come about: under noise that clears late, a guess that is a blot at first, then a "
    "digit in outlines, and from half-way on only sharpens.",
    row_labels=["x_t", "guess"] * 2,
    column_labels=[f"t={state.t}" for state in shown],
)

# %% [markdown]
# Between $t = 900$ and 600 the guess becomes a digit; from half-way on only details change, while in $x_t$ the same
# digit lies under noise until the end. (Lesson 02's simple reader lost the digits between 300 and 700 of the linear
# schedule. The same signal rates lie at 560 to 950 here.) And in motion, which also goes into a file; and in a
# running notebook with a slider, for eight digits (the filmstrip above shows two of them):

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


sliders = interact(after, step=(1, STEPS))

# %% [markdown]
# ## What can go wrong
#
# **Without the noise** the points in the plane all met on one spot. So do the digits:

# %%
start = sampling.noise_of(SEED, 0, (8, 28, 28, 1))
silent = draw(start, sampling.time_grid(T, STEPS), noisy=False)
with_noise, without = (digits.std(axis=0).mean() for digits in (states[-1].x_t[:8], silent))
print(
    f"from digit to digit a pixel varies by {with_noise:.2f}; without noise by {without:.2f}"
)
assert without < with_noise / 2
plots.show_images(silent, "Eight times the same thin, upright 1.")

# %% [markdown]
# Eight different starts, and eight times the same 1, presumably because ones resemble each other most, so that data
# lies densest there, as in the densest of the three clouds.
#
# **Without clipping.** A pixel cannot be darker than ink, so a guess outside $[-1, 1]$ is wrong, and clipping it
# costs nothing. It counts where $\hat x_0$ is computed from a guess at the *noise*: that divides by
# $\sqrt{\bar\alpha_t}$, which is tiny near $T$, and so blows up every error (lesson 03). Our network was trained on
# the velocity. (`predict_noise` makes noise of it and `to_x_0` goes back, which cancels but for rounding.) So we give
# it the weakness of one that was trained on the noise: an error of one per cent of the noise.


# %%
def shaky(x_t, t):
    error = np.random.default_rng(int(t[0])).standard_normal(x_t.shape, dtype=np.float32)
    return predict_noise(x_t, t) + 0.01 * error


# %%
twenty = sampling.time_grid(T, 20)
drawn = {
    "1 % off, clipped": draw(start, twenty, shaky),
    "1 % off, not clipped": draw(start, twenty, shaky, limit=np.inf),
    "exact, not clipped": draw(start, twenty, limit=np.inf),
}
plots.show_filmstrip(
    list(drawn.values()),
    "Eight digits in a clipped row; below, not clipped, scraps of ink, few of them digits; "
    "with the network's own answers digits again, though not clipped.",
    row_labels=list(drawn),
)

# %% [markdown]
# The cosine schedule ends at a signal rate of 0.00005, so that in the first of these twenty steps one per cent of the
# noise makes the guess wrong by $0.01 / 0.00005 = 200$. The step to $t = 950$ weighs it with
# $\sqrt{\bar\alpha_{950}} = 0.08$, and $x_{950}$ is off by 16, where its noise is of size 1. Clipped, the guess is
# nonsense too, but nonsense of size 1. (With hundreds of steps the first has less weight, and the rest of the walk
# mends most of it.)
#
# **More steps.** All thousand, for eight digits, beside the 200 steps with the same seed; and 200 steps from another
# start, with the same noise in the steps:

# %%
begin = time.perf_counter()
slow = draw(start, sampling.time_grid(T, LONG))
print(f"{time.perf_counter() - begin:.0f} s for eight digits in {LONG} steps")
a = noise_schedule.alpha_bar[[T, T - T // 200]]
assert (
    np.sqrt(a[0] / a[1]) * (1 - a[1]) / (1 - a[0]) < 0.01
)  # what the first of 200 steps keeps
fast, elsewhere = states[-1].x_t[:8], draw(-start, sampling.time_grid(T, STEPS))
print(f"a pixel differs by {np.abs(fast - elsewhere).mean():.3f} if the walk starts elsewhere")
if STEPS > 100:
    assert np.abs(fast - elsewhere).mean() < 0.1 * np.abs(fast - slow).mean()
plots.show_filmstrip(
    [fast, slow, elsewhere],
    "Three rows of eight digits: 1,000 steps draw other digits than 200, as good; 200 steps from "
    "another start draw the same as before.",
    row_labels=[f"{STEPS} steps", f"{LONG} steps", "another start"],
)

# %% [markdown]
# A thousand steps are no better to the eye (lesson 08 measures it), and five times the work. They lead to other
# digits, as the noises belong to other times; but another start does not! Under this schedule the first step keeps
# less than a hundredth of $x_T$ and puts fresh noise in its place, so that the start is forgotten at once, and the
# noise of the steps decides which digit it will be. Lesson 07's steps add none, and there the start will decide.
#
# And 200 steps are still 200 questions. Lesson 07 gets by with ten.
#
# ## Recap
#
# - You **walked** back: a guess at the noise, the posterior's mean, some fresh noise, and again.
# - You **watched** it in the plane: the right shares from the right start, one single point without noise, the wrong
#   shares from the wrong start.
# - You **drew** digits, in 200 steps out of 1,000, and saw what each part of the step is for.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Twenty steps.** Set `STEPS = 20`. What happens to the digits?
#
# <details><summary>Answer</summary>
#
# They stay digits, but become other ones, and a few more of them are broken. How much that costs is lesson 08's to
# measure.
#
# </details>
#
# **2. Another ending.** Let `step_back` add noise at the last step too. By how much do the widths of the three clouds
# change, with either variance?
#
# <details><summary>Answer</summary>
#
# With $\tilde\beta_t$ not at all: $\tilde\beta_1 = 0$. With $\beta_t$ by next to nothing: variances add up, and
# $\sqrt{0.14^2 + \beta_1} = 0.1404$. In a picture it would be one grey level of 255: it can be measured, not seen.
#
# </details>
#
# **3. A wider world.** Walk to `3 * centres`, where the noise of the start hardly reaches:
# `look(walk_back(linear, linear.beta, 3 * centres)[-1], 3 * centres)`. Do all three clouds still get their shares?
#
# <details><summary>Answer</summary>
#
# They do. The signal rate at $T$ is 0.006, so that even clouds three and a half units out move $x_T$ by little more
# than 0.02: the start is as good as right. Of the short cut's $x_T$ this could not be said.
#
# </details>
#
# **4. In code.** Write `respaced(chain, times)`: the betas of the shorter chain that visits only `times`, given from
# $T$ down to 0. The first of them belongs to the forward step from 0 to the smallest time above it.


# %% tags=["solution"]
def respaced(chain, times):
    alpha_bar = chain.alpha_bar[times[::-1]]
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


# %%
checks.respaced(respaced)

# %% [markdown]
# **5. In code.** Papers write the step back in two ways: with the guess at $x_0$ (DDPM, eq. 7) or with the noise
# (DDPM, eq. 11). Write `mean_from_x_0(x_t, x_0, t, chain)`, the first of them, from `chain.beta` and
# `chain.alpha_bar`.


# %% tags=["solution"]
def mean_from_x_0(x_t, x_0, t, chain):
    beta, now, before = chain.beta[t], chain.alpha_bar[t], chain.alpha_bar[t - 1]
    on_x_t = np.sqrt(1 - beta) * (1 - before) / (1 - now)
    return np.sqrt(before) * beta / (1 - now) * x_0 + on_x_t * x_t


# %%
checks.mean_from_x_0(mean_from_x_0)

# %% [markdown]
# ## In practice
#
# - *Algorithm 2*: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (*DDPM*, 2020, section 3.2). Their
#   code clips the guess, and takes $\beta_t$ for CIFAR-10; both variances gave them similar results at $T = 1000$.
# - *Fewer steps of the same chain*: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021,
#   section 4), where learned variances pay.
# - *The wrong start*: Lin, Liu, Li and Yang, "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2024):
#   image generators that could not draw anything very dark or very bright, for just this reason.
# - *Clipping* is for pixels. In a space that has no bounds, such as an autoencoder's, there is nothing to clip to.
