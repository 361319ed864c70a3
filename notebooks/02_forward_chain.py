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
# # 02. Destroy an image in a thousand small steps
#
# A GAN (generative adversarial network), the best-known generator before diffusion, draws its picture in a single
# stroke: noise in, image out, and no second look. Lesson 01 ended on the opposite idea: many small corrections, each
# made in view of the last. To learn how to build an image in small steps, we first take it apart in small steps, and
# we do it so that every step can be computed with. This lesson is about taking apart. No network is trained.

# %% [markdown]
# **You will**
#
# - **walk** a Markov chain, and check that it forgets all but its present;
# - **destroy** digits in a thousand steps of noise, and measure when a machine can no longer read them;
# - **repair** a common short cut, a schedule that never quite ends in noise.
#
# **You need** lesson 01, and what a Gaussian is: its mean and its variance. To run, it
# takes <!-- measured -->about 1 minute on two CPU cores and 1.4 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from ipywidgets import interact

from lessons_lib import data, diffusion, plots, schedule
from lessons_lib.checks import lesson_02 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
T = 1000  # steps of the chain
WALKS = 10_000  # for the statistics on numbers
KNOWN = choose(smoke=2000, cpu=10_000, gpu=10_000)  # digits to compare with

keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(SEED)

# %% [markdown]
# The idea is borrowed from physics. A drop of ink in a glass of water spreads until the glass is evenly grey: each
# molecule takes small random steps, and in the end nothing tells where the drop was. It never gathers again by
# itself. But over a *very short* time the reverse is a small random step too; such a step is described by a mean and
# a variance, and those a network can guess. Sohl-Dickstein and colleagues turned this into a way of generating data
# in 2015; Ho, Jain and Abbeel made it draw sharp images in 2020, in the paper that gave the method its name,
# *denoising diffusion probabilistic models*: DDPM from here on.
#
# (That a small Gaussian step, reversed, is nearly a small Gaussian step again is what all of this rests on; lesson 03
# shows it.)
#
# Why Gaussian noise, after lesson 01's, which was evenly spread? Because a sum of independent Gaussians is a
# Gaussian, so that thousands of steps can be summed up in one formula. And from here on pixels are grey values in
# $[-1, 1]$.
#
# ## Play with a Markov chain
#
# Take a number, shrink it a little, and add a little noise. Again, and again:


# %%
def step(x):
    # A size of noise that keeps the variance at 1; why, below.
    return 0.9 * x + rng.normal(scale=np.sqrt(1 - 0.9**2), size=x.shape)


walks = [np.repeat([4.0, -4.0], WALKS // 2)]  # half start here, half there
for _ in range(40):
    walks.append(step(walks[-1]))
walks = np.array(walks)

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(walks[:, :30], color=plots.BLUE, alpha=0.3, linewidth=0.8)
axes.plot(walks[:, -30:], color=plots.ORANGE, alpha=0.3, linewidth=0.8)
axes.set(xlabel="step", ylabel="x")
plots.show(figure, "Thirty walks from 4 and thirty from -4 run together and mingle around 0.")

# %% [markdown]
# Half of the walks start at 4, half at $-4$; after forty steps nobody can tell from a walk where it came from. A
# process like this is a **Markov chain**: the next state is drawn from a distribution that depends on the present
# state *alone*, not on how we got there.
#
# `step` is given the present alone, so our chain is one by construction. Could we have told from the walks? If the
# past mattered, then $x_{t-1}$ would help to predict $x_{t+1}$ for somebody who knows $x_t$ already. We fit
# $x_{t+1} = a\, x_t + b\, x_{t-1}$ by least squares: in our chain $b$ must be zero but for the accident of the
# sample. The size of that accident, the standard deviation that $b$ would have if we drew all walks anew and anew, is
# its **standard error**. Beside it a walk with momentum, which adds half of its last move,
# $x_{t+1} = x_t + \frac12 (x_t - x_{t-1})$ and noise:


# %%
def fit(before, now, after):
    """Least-squares coefficients of (now, before) for after, and their standard errors."""
    known = np.stack([now - now.mean(), before - before.mean()], axis=1)
    wanted = after - after.mean()
    coefficients = np.linalg.lstsq(known, wanted)[0]
    residual = np.var(wanted - known @ coefficients)
    return coefficients, np.sqrt(residual * np.diag(np.linalg.inv(known.T @ known)))


momentum = walks[20] + 0.5 * (walks[20] - walks[19]) + rng.normal(size=WALKS)
(_, b), (_, error) = fit(walks[19], walks[20], walks[21])
(_, b_momentum), (_, error_momentum) = fit(walks[19], walks[20], momentum)
print("How much the past counts")
print(f"chain:         {b:+.3f} with a standard error of {error:.3f}")
print(f"with momentum: {b_momentum:+.3f} with a standard error of {error_momentum:.3f}")
assert abs(b) < 3 * error
assert abs(b_momentum) > 10 * error_momentum

# %% [markdown]
# For the chain the past counts nothing, within three standard errors; with momentum it counts minus one half, which
# is what stands before $x_{t-1}$.
#
# ## One step of noise
#
# Now let the state be an image $x_0$, with pixels in $[-1, 1]$, and each step add Gaussian noise of a small variance
# $\beta_t$. Should we also shrink it, as we did with the numbers? Try both, a thousand times:

# %%
digits, labels = next(iter(data.load_digits("test[:1000]", 1000)))
x_0 = digits.numpy()
grown, kept = x_0[:200], x_0[:200]
print(f"variance of the digits: {kept.var():.2f}")
for _ in range(T):
    noise = rng.normal(size=grown.shape)
    grown = grown + np.sqrt(0.02) * noise
    kept = np.sqrt(1 - 0.02) * kept + np.sqrt(0.02) * noise
print(f"variance after {T} steps: {grown.var():.2f} without shrinking, {kept.var():.2f} with")
assert abs(kept.var() - 1) < 0.02
assert grown.var() > 15

# %% [markdown]
# Without shrinking the variance grows without end, and a network would have to cope with numbers of any size.
# Shrinking by $\sqrt{1 - \beta}$ makes room for what the noise brings. Variances of independent things add, so a
# variance $v$ becomes $(1 - \beta)\, v + \beta$: if it is 1 it stays 1, and if not, its distance from 1 shrinks by
# the factor $1 - \beta$. Our digits start at 0.4. So one step is
#
# $$q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ \sqrt{1 - \beta_t}\, x_{t-1},\ \beta_t I\big) \qquad \text{(DDPM, eq. 2)}$$
#
# - $x_{t-1}$ and $x_t$ are the image before and after step $t$, for $t = 1, \dots, T$; $x_0$ is the data;
# - $\beta_t$, between 0 and 1, is the variance of the noise that step $t$ adds;
# - $\mathcal N(x; m, v I)$ says that $x$ is Gaussian with mean $m$ and, in every pixel independently, variance $v$;
# - $q$ is the customary name for everything on the way *to* noise; it has nothing to learn.


# %% tags=["slide"]
def forward_step(x, noise, beta):
    return np.sqrt(1 - beta) * x + np.sqrt(beta) * noise


# %% [markdown]
# ## The schedule
#
# The **variance schedule** is the list of all $\beta_t$. DDPM takes $T = 1000$ steps and lets $\beta$ grow evenly
# from 0.0001 to 0.02. Why grow? A step is easy to reverse if its noise is small beside the noise that is there
# already. At the start there is no noise yet, so a step must be tiny; later, among much noise, a larger one does no
# more harm.
#
# A chain is drawn one step at a time. The probability of the whole walk, $x_{1:T} = x_1, x_2, \dots, x_T$, is the
# product of its steps',
#
# $$q(x_{1:T} \mid x_0) = \prod_{t=1}^{T} q(x_t \mid x_{t-1}) \qquad \text{(DDPM, eq. 2)}$$
#
# because each step knows its predecessor only. (Lesson 05 will need this product.) To draw a walk, we take the steps.

# %%
beta = np.concatenate([[0.0], np.linspace(1e-4, 0.02, T)])  # beta[t]; nothing happens at t = 0
kept_at = [0, 10, 50, 100, 200, 300, 400, 600, 800, 1000]

chain, x = {0: x_0}, x_0
for t in plots.progress(range(1, T + 1), T, "walking"):
    x = forward_step(x, rng.standard_normal(x.shape, dtype=np.float32), np.float32(beta[t]))
    if t in kept_at or t % 50 == 0:
        chain[t] = x

plots.show_filmstrip(
    np.stack([chain[t][:6] for t in kept_at], axis=1),
    "Six digits in rows; from left to right they drown in noise; none is seen from 600 on.",
    column_labels=[f"t={t}" for t in kept_at],
)

# %% [markdown]
# Each row is one walk, seen at ten of its thousand steps. The same as a film, one frame for every fifty steps:

# %%
frames = [chain[t][:8] for t in sorted(chain) if t % 50 == 0]
plots.animate(frames, "Eight digits dissolve into noise, which goes on flickering.", fps=6)

# %% [markdown]
# The picture fades slowly, then quickly. At $t = 400$ bold digits can still be made out; at 600 the eye sees nothing,
# and yet 400 steps are still ahead.
#
# **Earned.** The schedule is `schedule.linear` and the step is `diffusion.forward_step`; from now on we import them.

# %%
linear = schedule.linear(T)
print(linear)
np.testing.assert_allclose(linear.beta, beta, atol=1e-15)
noise = rng.standard_normal(x_0.shape, dtype=np.float32)
np.testing.assert_allclose(
    diffusion.forward_step(x_0, noise, linear.beta[7]),
    forward_step(x_0, noise, beta[7]),
    atol=1e-6,
)

# %% [markdown]
# ## Where the information goes
#
# The eye is one judge. Let us ask some that give numbers. Each step multiplies what is left of the image by
# $\sqrt{1 - \beta_t}$, and every noise only adds, so after $t$ steps the image itself has been multiplied by
#
# $$\sqrt{\bar\alpha_t} \quad\text{with}\quad \bar\alpha_t = \prod_{s=1}^{t} (1 - \beta_s),$$
#
# the **signal rate**. (Mind the upper limit: it is $t$, not $T$.) The bar says that it is a product; a single factor
# is $\alpha_t = 1 - \beta_t$. What is not image is noise, and its variance is the rest, $1 - \bar\alpha_t$, as lesson
# 03 proves. If the signal rate is right, then it is the slope of a line fitted through all pairs ($x_0$, $x_t$) of
# pixels:

# %%
alpha_bar = np.cumprod(1 - beta)
centred = x_0 - x_0.mean()
slopes = {t: float(np.sum(centred * chain[t]) / np.sum(centred**2)) for t in sorted(chain)}
error = 1 / np.sqrt(np.sum(centred**2))  # a slope's standard error, for noise of variance 1
for t in (100, 300, 500, 1000):
    print(f"t = {t:4}: slope {slopes[t]:.4f}, signal rate {np.sqrt(alpha_bar[t]):.4f}")
    assert abs(slopes[t] - np.sqrt(alpha_bar[t])) < 4 * error

# %% [markdown]
# It is. Next, the values of the pixels: two spikes at the start, for paper and ink; in the end they should be those
# of pure noise, the normal distribution $\mathcal N(0, 1)$ (dashed), whatever the image was. (The spikes reach out of
# the first two panels.)

# %%
figure, axes = plt.subplots(1, 5, figsize=(10, 2.2), sharex=True)
grid = np.linspace(-4, 4, 100)
for axis, t in zip(axes, (0, 50, 200, 400, 1000), strict=True):
    axis.hist(chain[t].ravel(), bins=80, range=(-4, 4), density=True, color=plots.BLUE)
    axis.plot(
        grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color=plots.ORANGE, linestyle="--"
    )
    axis.set(title=f"t = {t}", yticks=[], ylim=(0, 1.5))
plots.show(
    figure,
    "Histograms of pixel values: two spikes at -1 and 1 widen, merge, and in the end lie "
    "under the dashed curve of the normal distribution.",
)

# %% [markdown]
# Last, a machine that reads digits, a very simple one: it compares a noisy digit with many clean ones, each faded by
# the signal rate as it should be by then, and answers with the label of the nearest. How long can it read?

# %%
known, known_labels = next(iter(data.load_digits(f"train[:{KNOWN}]", KNOWN)))
known = tf.reshape(known, (len(known), -1))


def read(x_t, t):
    """The labels of the nearest faded digits."""
    faded = known * np.sqrt(alpha_bar[t])
    # |x - f|^2 is |x|^2 + |f|^2 - 2 x f, and |x|^2 is the same for all f.
    products = tf.matmul(tf.reshape(x_t, (len(x_t), -1)), faded, transpose_b=True)
    nearest = tf.argmin(tf.reduce_sum(faded**2, axis=1) - 2 * products, axis=1)
    return tf.gather(known_labels, nearest)


# %%
decibels = 10 * np.log10(linear.snr[1:])  # signal-to-noise ratio; decibels[t - 1]
times = [t for t in sorted(chain) if t]
right = [float(np.mean(read(chain[t], t) == labels)) for t in times]
alike = [np.corrcoef(x_0.ravel(), chain[t].ravel())[0, 1] for t in times]
for t, share in zip(times, right, strict=True):
    if t in (100, 300, 400, 600, 1000):
        print(f"t = {t:4}: {decibels[t - 1]:+3.0f} dB, {share:4.0%} of the digits read")

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(times, right, "o-", color=plots.BLUE, label="digits read")
axes.plot(times, alike, "s--", color=plots.ORANGE, label="correlation with x_0")
axes.axhline(0.1, color=plots.GREY, linestyle=":", label="reading by chance")
axes.set(xlabel="t", ylim=(0, 1.05))
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
plots.show(
    figure,
    "The share of digits read stays above 90 % until step 300, then drops nearly to chance; "
    "the correlation with x_0 falls more evenly.",
)

# %% [markdown]
# The **signal-to-noise ratio** is $\bar\alpha_t / (1 - \bar\alpha_t)$, the ratio of the squared rates (which are the
# powers, for data of variance 1); in decibels it is ten times the logarithm, and negative where the noise is the
# stronger. At $t = 300$ it is, and still the machine reads nearly all digits, while the correlation of the pixels
# with those of $x_0$ has been falling from the start; at 600 it is right one time in three, and at the end it
# guesses. What makes a digit a 7 is lost to this reader in the middle of the walk, between 300 and 700. (A better one
# would read a little longer.) This suggests that on the way back a network chooses *which* digit to draw in those
# same steps, and after that only how; lesson 06 will show.

# %%
reads = dict(zip(times, right, strict=True))
standard_error = np.sqrt(0.25 / len(labels))  # of a share, at most (lesson 01)
assert reads[300] > 0.8
assert 0.15 < reads[600] < 0.6
assert abs(reads[1000] - 0.1) < 0.03 + 3 * standard_error
assert decibels[300 - 1] < 0

# %% [markdown]
# ## Another pace: cosine
#
# The last third of the linear chain is nearly pure noise and carries little. Nichol and Dhariwal chose the signal
# rate first, a cosine, and worked out the betas from it:
#
# $$\bar\alpha_t = \frac{f(t)}{f(0)}, \quad f(t) = \cos^2\Big(\frac{t / T + 0.008}{1.008} \cdot \frac{\pi}{2}\Big), \quad \beta_t = 1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}} \qquad \text{(Nichol and Dhariwal 2021, eq. 17)}$$
#
# The 0.008 keeps the first betas from being too small to matter, and $\beta$ is held below 0.999, which changes only
# the last one. It is `schedule.cosine`:

# %%
f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
cosine = schedule.cosine(T)
np.testing.assert_allclose(cosine.alpha_bar[:T], f[:T] / f[0], atol=1e-12)
plots.plot_schedule(
    {"linear": linear, "cosine": cosine},
    "Signal rate and signal-to-noise ratio by time; the cosine's fade later and more evenly.",
)

# %%
noise = rng.standard_normal((10, 28, 28, 1), dtype=np.float32)
shown = np.array([100, 200, 300, 400, 500, 600, 700, 800, 900, 1000])
faded = [
    np.sqrt(s.alpha_bar[shown])[:, None, None, None] * x_0[:1]
    + np.sqrt(1 - s.alpha_bar[shown])[:, None, None, None] * noise
    for s in (linear, cosine)
]
plots.show_filmstrip(
    faded,
    "One digit under both schedules: gone by step 500 in the linear row, by 800 in the other.",
    row_labels=["linear", "cosine"],
    column_labels=[f"t={t}" for t in shown],
)

# %% [markdown]
# (We jumped to each time at once instead of walking there. Why that is allowed, and exact, is lesson 03.) With the
# cosine the digit is lost later. Which of the two gives better samples depends on the images, the network and the
# number of steps; lesson 05 tells what we measured.
#
# In a running notebook, drag the slider. (The figure above shows ten of its places.)

# %%
fixed = rng.standard_normal((8, 28, 28, 1), dtype=np.float32)


def under_both(t):
    """Eight digits with the noise of time t, and always the same one, by either schedule."""
    rows = [diffusion.add_noise(x_0[:8], fixed, s.alpha_bar[t]) for s in (linear, cosine)]
    return plots.show_filmstrip(
        rows, f"Eight digits at {t = }.", row_labels=["linear", "cosine"]
    )


sliders = interact(under_both, t=(0, T, 10))

# %% [markdown]
# ## The schedule doctor
#
# A thousand steps are many, and a common short cut is to keep the betas from 0.0001 to 0.02 and walk only $T = 200$
# steps. Our library has something to say about it:

# %%
import warnings

with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    short = schedule.Schedule(np.linspace(1e-4, 0.02, 200))
print(f"{heard[0].category.__name__}: {heard[0].message}")
print(short)

# %% [markdown]
# The **terminal signal**, the signal rate at $T$, is 36 % (13 % of the power): the chain stops long before noise. Can
# one see that in a single $x_T$? Hardly. In the average of a thousand of them, very well: the average of $n$ noises
# has only a variance of $1 / n$, and what is left of the images does not average out. So $n$ times the mean square of
# the average is 1 if there is nothing but noise, and larger if there is more:

# %%
repaired = schedule.linear(200)
candidates = {"T=1000": linear, "T=200, as it is": short, "T=200, repaired": repaired}
last = {
    name: diffusion.add_noise(
        x_0, rng.standard_normal(x_0.shape, dtype=np.float32), s.alpha_bar[-1]
    )
    for name, s in candidates.items()
}
averages = {name: tf.reduce_mean(x, axis=0) for name, x in last.items()}
plots.show_filmstrip(
    [np.stack(list(averages.values()))],
    "Three averages of a thousand x_T: the first and third plain grey, "
    "the second a ghostly blot of all digits.",
    column_labels=["1000", "200", "repaired"],
)

# %%
distance = {
    name: float(tf.reduce_mean(average**2)) * len(x_0) for name, average in averages.items()
}
for name, average in averages.items():
    spread = float(tf.math.reduce_std(last[name]))
    mean, terminal = float(tf.reduce_mean(average)), candidates[name].terminal_signal
    print(f"{name:16} terminal signal {terminal:.4f}, mean {mean:+.3f}, spread {spread:.3f}")
    print(f"{'':16} 1,000 times the mean square of the average: {distance[name]:.1f}")

# %% [markdown]
# The one in the middle is a ghost of all digits. A sampler starts from $\mathcal N(0, I)$, plain noise without a
# ghost. A network trained on chains that end with one has never met such a start, and is off from its first step. No
# error is raised; the pictures just are not good. (Lesson 06 will show what goes wrong.)
#
# The cure is to fade faster in fewer steps. One step of 200 has to do the work of five: $1 - \beta$ to the fifth
# power is what five steps leave. That is what `schedule.linear(200)` does, and the third picture shows it.

# %%
# The mean of 784 squares of N(0, 1), whose variance is 2, has the standard error
accident = np.sqrt(2 / 784)
assert abs(distance["T=1000"] - 1) < 4 * accident
assert abs(distance["T=200, repaired"] - 1) < 4 * accident
assert distance["T=200, as it is"] > 10
assert abs(short.terminal_signal - 0.364) < 0.001
assert abs(repaired.terminal_signal - linear.terminal_signal) < 0.0005

# %% [markdown]
# ## Recap
#
# - You **walked** a Markov chain, and a fit found no trace of the past beyond the present.
# - You **destroyed** digits in a thousand steps; a simple reader lost them between $t = 300$ and 700, and the slope
#   of $x_t$ on $x_0$ followed $\sqrt{\bar\alpha_t}$ all the way down.
# - You **repaired** a schedule that kept 36 % of the signal, by doing the same fading in fewer steps.
#
# Next: lesson 03 jumps to any $t$ in one go.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# For the first two, call this in a new cell:
#
# ```python
# def walk(betas, root=np.sqrt):
#     x = x_0[:8]
#     for b in betas:
#         x = np.sqrt(1 - b) * x + root(b) * rng.normal(size=x.shape)
#     return x
# ```
#
# **1. Forget the root.** What do the images `walk(beta[1:], root=lambda b: b)` look like, and what is their variance?
#
# <details><summary>Answer</summary>
#
# A blank, slightly noisy grey. The image fades as before, but each step adds noise of variance $\beta_t^2$ instead of
# $\beta_t$, at most a fiftieth of it: the variance at the end is near 0.02.
#
# </details>
#
# **2. Betas turned round.** Let $\beta$ *fall* from 0.02 to 0.0001: `walk(beta[:0:-1])`. Is $x_{1000}$ any different?
# Is $x_{100}$, `walk(beta[:-101:-1])`?
#
# <details><summary>Answer</summary>
#
# $x_{1000}$ is just as noisy: a product does not care for order. But $x_{100}$ has lost what before was lost at about
# $t = 434$: the fine steps now come where there is nothing left to refine.
#
# </details>
#
# **3. Fifty steps.** What terminal signal has `schedule.Schedule(np.linspace(1e-4, 0.02, 50))`? (By hand first: the
# mean $\beta$ is about 0.01, and $1 - \beta \approx e^{-\beta}$.)
#
# <details><summary>Answer</summary>
#
# 78 %: about $e^{-0.5}$ of the power is left, and so $e^{-0.25} \approx 0.78$ of the signal. A "sampler" that starts
# from pure noise there starts somewhere that no training image ever was.
#
# </details>
#
# **4. In code.** Write `signal_rates(betas)`: the signal rate after each of the steps `betas`
# $= \beta_1, \dots, \beta_T$, with the untouched image first: $T + 1$ numbers.


# %% tags=["solution"]
def signal_rates(betas):
    return np.sqrt(np.cumprod(np.concatenate([[1.0], 1 - np.asarray(betas)])))


# %%
checks.signal_rates(signal_rates)

# %% [markdown]
# ## In practice
#
# - *DDPM*: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020), sections 2 and 4. *Before it*:
#   Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (2015). *Against GANs*:
#   Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis" (2021).
# - *Counting*: here $t = 0$ is the data and $\beta_0 = 0$; much code counts from 0 to $T - 1$, and its $\beta_0$ is
#   our $\beta_1$. Many a bug lives in that gap.
# - *Float64*: products of a thousand factors close to 1 are taken in float64 and cast once, when they meet an image.
# - *Zero terminal signal*: one can also rescale a schedule until nothing at all is left (Lin et al. 2023, algorithm
#   1); the network must then predict something other than the noise.
