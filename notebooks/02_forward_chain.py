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
# A GAN (generative adversarial network) draws its image in a single pass, and nothing is revised. Lesson 01 ended with
# the opposite idea, many small corrections, each based on the result of the last. Before we build an image in small
# steps, we take one apart in small steps.

# %% [markdown]
# **You will**
#
# - **walk** a Markov chain, and see what a fit can tell about its memory;
# - **destroy** digits in a thousand steps of noise, and measure how long a simple reader can read them;
# - **repair** a common shortcut, a schedule that stops long before pure noise.
#
# **You need** lesson 01, the Gaussian with its mean and variance, least squares, correlation and the standard error.
# To run, it takes <!-- measured -->about 1 minute on two CPU cores and 1.2 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from IPython.display import display

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
# The idea comes from physics. A drop of ink in a glass of water spreads, by small random steps of its molecules, until
# the water is evenly grey, and it never gathers again. Over a *very short* time, however, the reversed motion is a
# small random step too, and a network can estimate its mean. Sohl-Dickstein et al. turned this idea into a generative
# model in 2015. Ho, Jain and Abbeel obtained high-quality images with it in 2020; we call their paper DDPM. All of this
# rests on one claim, which lesson 03 checks in an example: a small Gaussian step, reversed, is nearly a small Gaussian
# step again.
#
# Three things change from lesson 01. Pixels now lie in $[-1, 1]$. The noise is Gaussian instead of uniform, because a
# sum of independent Gaussians is Gaussian, so that one formula describes a thousand steps. And the weights of image and
# noise no longer add to 1; their squares do.
#
# ## Play with a Markov chain
#
# Take a number, shrink it a little, add a little noise, and repeat:


# %%
def step(x):
    # With this much noise a variance of 1 stays 1; "One step of noise" says why.
    return 0.9 * x + rng.normal(scale=np.sqrt(1 - 0.9**2), size=x.shape)


walks = [np.repeat([4.0, -4.0], WALKS // 2)]  # half start here, half there
for _ in range(40):
    walks.append(step(walks[-1]))
walks = np.array(walks)
same_side = np.mean(np.sign(walks) == np.sign(walks[0]), axis=1)
print(
    f"on the side of their start: {same_side[10]:.0%} after 10, {same_side[40]:.0%} after 40"
)
assert abs(same_side[10] - 0.93) < 0.015
assert abs(same_side[40] - 0.52) < 0.025
assert abs(walks[40].var() - 1) < 0.06

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(walks[:, :30], color=plots.BLUE, alpha=0.3, linewidth=0.8)
axes.plot(walks[:, -30:], color=plots.ORANGE, alpha=0.3, linewidth=0.8)
axes.set(xlabel="step", ylabel="$x$")
plots.show(
    figure,
    "Thirty walks from 4, in blue, and thirty from -4, in orange, approach each other and mix "
    "around 0.",
)

# %% [markdown]
# After ten steps, 93 % of the walks are still on the side of 0 where they started. After forty it is 52 %, hardly
# more than chance: the walks forget their start. The process is a **Markov chain**: given the present state, the
# next state does not depend on any earlier one.
#
# It is Markov by construction, because `step` receives nothing but the present state. Can data show it? We fit
# $x_{t+1} = a\, x_t + b\, x_{t-1} + c$ by least squares. In our chain the mean of $x_{t+1}$ is $0.9\, x_t$, so $b$
# must be zero up to sampling error, whose size is the **standard error**. We replace step 21 by two other steps from
# the same $x_{19}$ and $x_{20}$, with fresh noise $z$:
#
# - with momentum, $x_{t+1} = x_t + \frac12 (x_t - x_{t-1}) + z$;
# - with noise whose size depends on the past, $x_{t+1} = 0.9\, x_t + |x_{t-1}|\, z$.


# %%
def fit(before, now, after):
    """The least-squares coefficient of `before`, beside `now`, and its standard error."""
    known = np.stack([now - now.mean(), before - before.mean()], axis=1)  # so c is 0
    wanted = after - after.mean()
    inverse = np.linalg.pinv(known)
    coefficients = inverse @ wanted
    # Noise may vary in size, so each residual counts with its own square (White 1980).
    variances = inverse**2 @ (wanted - known @ coefficients) ** 2
    return coefficients[1], np.sqrt(variances[1])


# %%
before, now, z = walks[19], walks[20], rng.normal(size=WALKS)
b_chain, error_chain = fit(before, now, walks[21])
b_momentum, error_momentum = fit(before, now, now + 0.5 * (now - before) + z)
b_size, error_size = fit(before, now, 0.9 * now + np.abs(before) * z)
print(f"our chain:           b = {b_chain:+.3f}, standard error {error_chain:.3f}")
print(f"momentum:            b = {b_momentum:+.3f}, standard error {error_momentum:.3f}")
print(f"noise from the past: b = {b_size:+.3f}, standard error {error_size:.3f}")
assert abs(b_chain) < 4 * error_chain
assert abs(b_momentum + 0.5) < 4 * error_momentum < 0.2
assert abs(b_size) < 4 * error_size
assert abs(error_size - 0.029) < 0.002

# %% [markdown]
# Up to sampling error, $b$ is zero in our chain, and minus one half with momentum. The last line is a warning: $b$ is
# zero again, yet the size of the noise depends on $x_{t-1}$, so this is no Markov chain. When the conditional mean is
# linear, as here, $b = 0$ is necessary for the Markov property but not sufficient.
#
# ## One step of noise
#
# Now the state is an image, beginning with $x_0$, and each step adds Gaussian noise of a small variance $\beta$. Should
# a step also shrink the image, as it shrank the numbers? We try 1,000 steps with and without shrinking, with
# $\beta = 0.02$:

# %%
digits, labels = next(iter(data.load_digits("test[:1000]", 1000)))
x_0 = digits.numpy()
grown, kept = x_0[:200], x_0[:200]
print(f"variance of the digits: {x_0[:200].var():.2f}")
for _ in range(T):
    noise = rng.normal(size=grown.shape)
    grown = grown + np.sqrt(0.02) * noise
    kept = np.sqrt(1 - 0.02) * kept + np.sqrt(0.02) * noise
print(f"variance after {T} steps: {grown.var():.2f} without shrinking, {kept.var():.2f} with")
assert abs(x_0[:200].var() - 0.4) < 0.02
assert abs(grown.var() - (0.4 + 0.02 * T)) < 0.4
assert abs(kept.var() - 1) < 0.02

# %% [markdown]
# Without shrinking, every step adds 0.02 to the variance, and a network would have to cope with inputs of very
# different sizes. Multiplying by $\sqrt{1 - \beta}$ makes room for the noise. Variances of independent variables add, so
# a step turns a variance $V$ into $(1 - \beta)\, V + \beta$: a variance of 1 stays 1, and any other, such as our digits'
# 0.4, comes closer to 1. One step of the chain is therefore
#
# $$q(x_t \mid x_{t-1}) = \mathcal N\big(x_t;\ \sqrt{1 - \beta_t}\, x_{t-1},\ \beta_t I\big) \qquad \text{(DDPM, eq. 2)}$$
#
# - $x_{t-1}$ and $x_t$ are the image before and after step $t$, for $t = 1, \dots, T$; $x_0$ is the data;
# - $\beta_t$, between 0 and 1, is the variance of the noise in step $t$;
# - $\mathcal N(x; m, V I)$ says that $x$ is Gaussian with mean $m$ and, in every pixel independently, variance $V$;
# - $q$ denotes the distributions of this *forward process*, which has no parameters to learn.


# %% tags=["slide"]
def forward_step(x, noise, beta):
    return np.sqrt(1 - beta) * x + np.sqrt(beta) * noise


# %% [markdown]
# ## The schedule
#
# The **variance schedule** is the list of all $\beta_t$. DDPM takes $T = 1000$ steps, with $\beta$ increasing
# linearly from 0.0001 to 0.02. They are small enough that the reversed steps have nearly the form of the
# forward ones, yet large enough to leave almost no signal in $x_T$ (DDPM, section 4). Why increase them? One first step
# of 0.02 would spoil a clean image as much as the first 40 steps do; in an image that is mostly noise, the same noise
# makes little difference.
#
# The probability density of a whole walk, $x_{1:T} = x_1, x_2, \dots, x_T$, is the product of its steps' densities,
#
# $$q(x_{1:T} \mid x_0) = \prod_{t=1}^{T} q(x_t \mid x_{t-1}) \qquad \text{(DDPM, eq. 2)}$$
#
# because, by the Markov property, each state depends on its predecessor alone. Lesson 05 needs this product. To sample
# a walk, we step:

# %%
beta = np.concatenate([[0.0], np.linspace(1e-4, 0.02, T)])  # beta[t]; nothing happens at t = 0
assert abs(1 - np.prod(1 - beta[:41]) - 0.02) < 0.001  # the noise of 40 steps, or of one
kept_at = [0, 10, 50, 100, 200, 300, 400, 600, 800, 1000]

chain, x = {0: x_0}, x_0
for t in plots.progress(range(1, T + 1), T, "walking"):
    x = forward_step(x, rng.standard_normal(x.shape, dtype=np.float32), np.float32(beta[t]))
    if t in kept_at or t % 50 == 0:
        chain[t] = x

plots.show_filmstrip(
    np.stack([chain[t][:6] for t in kept_at], axis=1),
    "Six digits in rows, at ten times from left to right: noise covers them, and from 600 on "
    "nothing else can be seen.",
    column_labels=[f"t={t}" for t in kept_at],
)

# %% [markdown]
# Each row is one walk. At $t = 400$ we can still make out the bold digits; at 600 we see none, although 400 steps are
# still to come. Here are seven walks as an animation, a frame for every fifty steps, beside a clock:


# %%
def clock(t):
    """A picture with ink up to the height t / T."""
    heights = np.broadcast_to(np.linspace(1, 0, 28)[None, :, None, None], (1, 28, 28, 1))
    return np.where(heights < t / T, 1.0, -1.0)


frames = [np.concatenate([chain[t][:7], clock(t)]) for t in sorted(chain) if t % 50 == 0]
about = "Seven digits dissolve into noise, which goes on flickering, beside a filling clock."
plots.animate(frames, about, fps=6)

# %% [markdown]
# A diffusion model has two directions, and the next diagram shows both. (Figure 2 of DDPM has them mirrored: noise on
# the left, $q$ dashed.) Solid blue arrows are the steps that we have just taken; dashed orange ones lead back:
# $p_\theta(x_{t-1} \mid x_t)$ is the distribution of one step back, which a network with weights $\theta$ computes.
# Lessons 04 to 06 build it, train it, and walk back.

# %%
noise = rng.standard_normal(x_0.shape, dtype=np.float32)
x_201 = forward_step(chain[200], noise, np.float32(beta[201]))
states = {"$x_0$": x_0, "$x_{t-1}$": chain[200], "$x_t$": x_201, "$x_T$": chain[T]}

figure, axes = plt.subplots(figsize=(10, 2.2))
for left, (name, state) in zip((0, 5, 10, 15), states.items(), strict=True):
    circle = axes.add_patch(plt.Circle((left + 1, 1), 1, fill=False, color=plots.GREY))
    place = (left, left + 2, 0, 2)
    axes.imshow(state[0], cmap="gray_r", vmin=-1, vmax=1, extent=place, clip_path=circle)
    axes.text(left + 1, -0.2, name, ha="center", va="top", fontsize=14)
solid = {"arrowstyle": "-|>", "mutation_scale": 14, "color": plots.BLUE}
dashed = solid | {"color": plots.ORANGE, "linestyle": "--"}
for begin, end in (2, 3.1), (3.9, 5), (7, 10), (12, 13.1), (13.9, 15):
    axes.annotate("", (end, 1.3), (begin, 1.3), arrowprops=solid)
    axes.annotate("", (begin, 0.7), (end, 0.7), arrowprops=dashed)
style = {"ha": "center", "va": "center", "fontsize": 13}
axes.text(3.5, 1, "· · ·", **style)
axes.text(13.5, 1, "· · ·", **style)
axes.text(8.5, 1.75, r"$q(x_t \mid x_{t-1})$", color=plots.BLUE, **style)
axes.text(8.5, 0.2, r"$p_\theta(x_{t-1} \mid x_t)$", color=plots.ORANGE, **style)
axes.set(xlim=(-0.1, 17.1), ylim=(-0.9, 2.1), aspect="equal")
axes.axis("off")
plots.show(
    figure,
    "The chain as one digit in four circles from left to right: x_0 is clean, x_{t-1} and x_t are "
    "noisy and look the same, x_T is noise; dots stand for the states between. Solid arrows, "
    "labelled q(x_t | x_{t-1}), lead to the right; dashed ones, p_theta(x_{t-1} | x_t), lead back.",
)

# %% [markdown]
# The two pictures in the middle, at $t = 200$ and 201, look the same: the step changes a pixel by only 0.064 (root mean
# square), so a step back has little to do.
#
# **Earned.** The schedule is `schedule.linear` and the step is `diffusion.forward_step`; from now on we import them.

# %%
change = np.sqrt(np.mean((x_201 - chain[200]) ** 2))
assert abs(change - 0.064) < 0.001

linear = schedule.linear(T)
print(linear)
np.testing.assert_allclose(linear.beta, beta, atol=1e-15)
np.testing.assert_allclose(
    diffusion.forward_step(chain[200], noise, linear.beta[201]), x_201, atol=1e-5
)

# %% [markdown]
# ## Where the information goes
#
# The eye is one judge. Here are three more: a fitted line, a histogram and a simple reader. Each step multiplies the
# image by $\sqrt{1 - \beta_t}$ and adds independent noise. So after $t$ steps the original has been multiplied by
#
# $$\sqrt{\bar\alpha_t} \quad\text{with}\quad \bar\alpha_t = \prod_{i=1}^{t} (1 - \beta_i),$$
#
# the **signal rate**. The product runs over the steps $i$ up to $t$, not up to $T$. The rest of $x_t$ is noise, of
# variance $1 - \bar\alpha_t$, as lesson 03 proves. The first judge, a line fitted to all pairs of pixels $(x_0, x_t)$,
# measures both: its slope should be the signal rate.

# %%
alpha_bar = np.cumprod(1 - beta)
np.testing.assert_allclose(linear.alpha_bar, alpha_bar, atol=1e-12)

centred = x_0 - x_0.mean()
slope_error = 1 / np.sqrt(np.sum(centred**2))  # its standard error, for noise of variance 1
for t in sorted(chain):
    slope = np.sum(centred * chain[t]) / np.sum(centred**2)
    rest = np.var(chain[t] - np.sqrt(alpha_bar[t]) * x_0)
    if t in (100, 300, 500, 1000):
        print(
            f"t = {t:4}: slope {slope:.4f}, signal rate {np.sqrt(alpha_bar[t]):.4f}", end="; "
        )
        print(f"variance of the rest {rest:.4f}, expected {1 - alpha_bar[t]:.4f}")
    assert abs(slope - np.sqrt(alpha_bar[t])) < 4 * slope_error
    assert abs(rest - (1 - alpha_bar[t])) <= 0.01 * (1 - alpha_bar[t])

# %% [markdown]
# Both match the formula, up to sampling error, at every time. The second judge is the histogram of the pixel values, in
# blue. It starts as two spikes, paper at $-1$ (cut off in the first two panels) and ink at 1. In the end it should be
# the normal distribution $\mathcal N(0, 1)$, the dashed orange curve.

# %%
edges = np.linspace(-4, 4, 81)
middles = (edges[1:] + edges[:-1]) / 2
normal = np.exp(-(middles**2) / 2) / np.sqrt(2 * np.pi)

figure, axes = plt.subplots(1, 5, figsize=(10, 2.6), sharey=True, layout="constrained")
for axis, t in zip(axes, (0, 50, 200, 400, 1000), strict=True):
    of_x_t = {"density": True, "color": plots.BLUE, "label": "$x_t$"}
    heights, *_ = axis.hist(chain[t].ravel(), edges, **of_x_t)
    axis.plot(middles, normal, "--", color=plots.ORANGE, label=r"$\mathcal{N}(0, 1)$")
    axis.set(title=f"$t = {t}$", xticks=[-3, 0, 3], ylim=(0, 1.5))
axes[0].set(ylabel="density")
axes[2].set(xlabel="pixel value")
handles = axes[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
assert np.abs(heights - normal).max() < 0.015  # in the last panel
assert chain[400].mean() < -0.25
plots.show(
    figure,
    "Histograms of pixel values: a high spike at -1 and a small one at 1 widen and merge into one "
    "hump, which is left of the dashed normal distribution at t = 400 and agrees with it at 1000.",
)

# %% [markdown]
# At $t = 400$ the mean is still below 0, since most pixels were paper; at 1000 the two agree. The third judge, the
# reader, is a nearest-neighbour classifier: it compares each of our 1,000 noisy test digits with 10,000 clean training
# digits, multiplied by the signal rate of that time, and answers with the label of the nearest.
#
# How long can it read? We print its success beside two measures of the signal. The *power* of a signal is its mean
# square. The **signal-to-noise ratio**, $\bar\alpha_t / (1 - \bar\alpha_t)$, is the ratio of the two powers in $x_t$ for
# data of power 1. In decibels, ten times its logarithm to base 10, it is negative where the noise is stronger than such
# data; our digits have power 0.93. The **correlation** of the pixels of $x_t$ with those of $x_0$ is
#
# $$\sqrt{\frac{\bar\alpha_t V}{\bar\alpha_t V + 1 - \bar\alpha_t}},$$
#
# the root of the signal's share in the variance of $x_t$, with $V = 0.39$ for our digits.

# %%
clean, clean_labels = next(iter(data.load_digits(f"train[:{KNOWN}]", KNOWN)))
clean = tf.reshape(clean, (KNOWN, -1))


def read(x_t, t):
    """The labels of the nearest faded digits."""
    faded = clean * np.sqrt(alpha_bar[t])
    # The squared distance is |x_t|^2 + |faded|^2 - 2 x_t faded; |x_t|^2 is the same for all.
    products = tf.matmul(tf.reshape(x_t, (len(x_t), -1)), faded, transpose_b=True)
    nearest = tf.argmin(tf.reduce_sum(faded**2, axis=1) - 2 * products, axis=1)
    return tf.gather(clean_labels, nearest)


# %%
# A training digit that is faded but free of noise is its own nearest neighbour.
assert np.all(read(clean[:1000] * np.sqrt(alpha_bar[T]), T) == clean_labels[:1000])

times = [t for t in sorted(chain) if t]
decibels = {t: 10 * np.log10(alpha_bar[t] / (1 - alpha_bar[t])) for t in times}
share_read = {t: float(np.mean(read(chain[t], t) == labels)) for t in times}
correlation = {t: np.corrcoef(x_0.ravel(), chain[t].ravel())[0, 1] for t in times}
for t in (100, 300, 400, 600, 700, 1000):
    print(f"t = {t:4}: {decibels[t]:+3.0f} dB, correlation {correlation[t]:.2f}", end=", ")
    print(f"{share_read[t]:4.0%} of the digits read")
    share = alpha_bar[t] * x_0.var() / (alpha_bar[t] * x_0.var() + 1 - alpha_bar[t])
    assert abs(correlation[t] - np.sqrt(share)) < 4 / np.sqrt(x_0.size)
assert abs(x_0.var() - 0.39) < 0.02 and abs(np.mean(x_0**2) - 0.93) < 0.06
assert abs(decibels[300] + 1.8) < 0.1
assert abs(correlation[300] - 0.45) < 0.01
assert 0.85 < share_read[300] < 0.98
assert 0.25 < share_read[600] < 0.4
assert share_read[700] < 0.23
assert abs(share_read[1000] - 0.1) < 0.05

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(times, share_read.values(), "o-", color=plots.BLUE, label="digits read")
label = "correlation with $x_0$"
axes.plot(times, correlation.values(), "s--", color=plots.ORANGE, label=label)
axes.axhline(0.1, color=plots.GREY, linestyle=":", label="reading by chance")
axes.set(xlabel="$t$", ylabel="share, correlation", ylim=(0, 1.05))
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False)
plots.show(
    figure,
    "The share of digits read, in blue, stays near its start until step 300, then drops, nearly "
    "to chance at 700; the correlation with x_0, in orange, falls from the start.",
)

# %% [markdown]
# At $t = 300$ the noise is stronger than the signal, and the correlation (orange) is 0.45. Yet our reader (blue) still
# reads about nine digits in ten. At 600 it is right about one time in three, and at the end it guesses. Between 300 and
# 700, then, it loses track of which digit it sees. This suggests that a network decides in those same steps, on the way
# back, *which* digit to draw; lesson 06 takes a look.
#
# ## Another schedule: cosine
#
# Nichol and Dhariwal found that on small pictures the noisiest steps of the linear chain contribute little: skipping up
# to 20 % of the way back hardly harmed samples of 64x64 pixels. They chose the signal rate first, a cosine, and
# computed the betas from it:
#
# $$\bar\alpha_t = \frac{f(t)}{f(0)}, \quad f(t) = \cos^2\Big(\frac{t / T + 0.008}{1.008} \cdot \frac{\pi}{2}\Big), \quad \beta_t = 1 - \frac{\bar\alpha_t}{\bar\alpha_{t-1}} \qquad \text{(Nichol and Dhariwal 2021, eq. 17 and below)}$$
#
# The offset 0.008 keeps the first betas from being too small: with only a tiny amount of noise in its input, the
# authors found, the network could hardly predict that noise accurately enough. They also clip $\beta$ at 0.999, which
# changes only the last one.

# %%
f = np.cos((np.arange(T + 1) / T + 0.008) / 1.008 * np.pi / 2) ** 2
unclipped = 1 - f[1:] / f[:-1]  # beta_1 to beta_T
cosine = schedule.cosine(T)
np.testing.assert_allclose(cosine.beta[1:], np.minimum(unclipped, 0.999), atol=1e-12)
assert np.sum(unclipped > 0.999) == 1

# %%
equal = [int(np.argmax(each.snr < 1)) for each in (linear, cosine)]
print(f"more noise than signal from t = {equal[0]} on (linear), {equal[1]} on (cosine)")
np.testing.assert_allclose(equal, (T / 4, T / 2), atol=T / 50)
plots.plot_schedule(
    {"linear": linear, "cosine": cosine},
    "Signal rate and signal-to-noise ratio by time: the cosine's, dashed orange, are higher until "
    "shortly before the end, where its ratio drops steeply below the linear one's, in blue.",
)

# %% [markdown]
# The cosine keeps more signal than noise for half of the way, the linear schedule for a quarter. Here is one digit under
# both, with the same noise, and, in a running notebook, a slider for eight digits. We jump to each time instead of
# walking; lesson 03 shows that each $x_t$ then has the right distribution, though a row is not a walk.

# %%
frozen, both = rng.standard_normal((8, 28, 28, 1), dtype=np.float32), ["linear", "cosine"]


def jump(x_0, noise, alpha_bar):
    return np.sqrt(alpha_bar) * x_0 + np.sqrt(1 - alpha_bar) * noise


def under_both(t):
    """Eight digits at time t under both schedules, always with the same noise."""
    rows = [jump(x_0[:8], frozen, each.alpha_bar[t]) for each in (linear, cosine)]
    return plots.show_filmstrip(rows, f"Eight digits at {t = }.", row_labels=both)


# %%
shown = range(100, 1001, 100)
ten_times = plots.show_filmstrip(
    [[jump(x_0[0], frozen[0], each.alpha_bar[t]) for t in shown] for each in (linear, cosine)],
    "One digit at ten times under both schedules: noise hides it much earlier under the linear "
    "schedule than under the cosine.",
    row_labels=both,
    column_labels=[f"t={t}" for t in shown],
)
np.testing.assert_allclose(
    jump(x_0[:8], frozen, 0.3), diffusion.add_noise(x_0[:8], frozen, 0.3), atol=1e-6
)
display(ten_times)
plots.sliders(under_both, t=(0, T, 10))

# %% [markdown]
# With the cosine we lose sight of the digit later. Lesson 05 reports which does better in our training.
#
# ## A schedule that stops too early
#
# A thousand steps are slow. The notebook of a popular tutorial,
# [The Annotated Diffusion Model](https://github.com/huggingface/notebooks/blob/main/examples/annotated_diffusion.ipynb),
# keeps the betas from 0.0001 to 0.02 but takes only $T = 200$ steps (300 in the blog post). Our library warns about
# this shortcut:

# %%
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    short = schedule.Schedule(np.linspace(1e-4, 0.02, 200))
print(f"{heard[0].category.__name__}: {heard[0].message}")
print(short)
assert abs(short.terminal_signal - 0.364) < 0.001

# %% [markdown]
# The **terminal signal** is the signal rate at $T$, $\sqrt{\bar\alpha_T}$. Here it is 0.36: the chain stops long before
# pure noise. The average of a thousand $x_T$ shows it. Averaging $n$ independent noises reduces their variance to
# $1 / n$, but leaves the mean image. So $n$ times the power of the average is about 1 for pure noise, and larger if
# images are left in it.
#
# The cure is to fade faster: one step of 200 has to do the work of five of 1,000. Five steps with the same $\beta$
# multiply $\bar\alpha_t$, and with it the signal's power, by $(1 - \beta)^5$, so the repaired step takes
# $1 - (1 - \beta)^5$ in place of $\beta$. This is `schedule.linear(200)`. Its price is a largest $\beta$ of 0.096, and
# steps that are less nearly Gaussian when reversed (lesson 03). The averages for all three:

# %%
repaired = schedule.Schedule(1 - (1 - np.linspace(1e-4, 0.02, 200)) ** 5)
np.testing.assert_allclose(schedule.linear(200).beta, repaired.beta, atol=1e-12)
assert abs(repaired.beta.max() - 0.096) < 0.0005
candidates = {"T = 1000": linear, "T = 200": short, "repaired": repaired}
averages = {}
for name, candidate in candidates.items():
    noise = rng.standard_normal(x_0.shape, dtype=np.float32)
    averages[name] = jump(x_0, noise, candidate.alpha_bar[-1]).mean(axis=0)

figure, axes = plt.subplots(1, 3, figsize=(7, 2.6))
for axis, (name, average) in zip(axes, averages.items(), strict=True):
    axis.imshow(average, cmap="gray_r", vmin=-1, vmax=1)
    axis.set(title=name, xticks=[], yticks=[])
plots.show(
    figure,
    "Three averages of a thousand x_T: the first and the third are plain grey, the second is paler "
    "and has a blurred dark blot of all digits in its middle.",
)

# %%
trace = {name: len(x_0) * np.mean(average**2) for name, average in averages.items()}
for name, candidate in candidates.items():
    print(f"{name:8}: terminal signal {candidate.terminal_signal:.4f}", end=", ")
    print(f"1,000 times the power of the average {trace[name]:.1f}")
level, power = averages["T = 200"].mean(), trace["T = 200"]
pale = len(x_0) * level**2  # what is left is 1,000 times the variance over the pixels
print(f"T = 200 : mean {level:.2f}, which makes {pale:.1f}; the rest {power - pale:.1f}")
trace_error = np.sqrt(2 / 784)  # the standard error of a mean of 784 squares of N(0, 1)
assert abs(trace["T = 1000"] - 1) < 4 * trace_error
assert abs(trace["repaired"] - 1) < 4 * trace_error
assert abs(power - 87) < 3
assert abs(level + 0.27) < 0.03
assert abs(pale - 70) < 7

# %% [markdown]
# The second average is a ghost of all digits on paler paper; the repaired one is plain grey. Most of the 87 is that
# paleness: the mean, $-0.27$, alone gives 70. A sampler starts from $\mathcal N(0, I)$, where the mean of the 784
# pixels is $0 \pm 0.04$. A network trained with the shortcut has seen no such noise at $t = T$, and no error is raised.
# Lesson 06 shows in an example what goes wrong. Lin et al. (2024) found the same flaw in Stable Diffusion, where it
# limited pictures to medium brightness.
#
# ## Recap
#
# - You **walked** a Markov chain, and saw why a fit alone cannot establish the Markov property.
# - You **destroyed** digits in a thousand steps. The slope of $x_t$ on $x_0$ followed $\sqrt{\bar\alpha_t}$, and a
#   simple reader lost the digits between $t = 300$ and 700.
# - You **repaired** a schedule whose signal rate ended at 0.36, by doing the same fading in fewer steps.
#
# Lesson 03 jumps to any $t$ in a single step.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything. The first exercise uses this function:


# %%
def walk(betas, root=np.sqrt):
    x = x_0[:8]
    for beta_t in betas:
        x = np.sqrt(1 - beta_t) * x + root(beta_t) * rng.normal(size=x.shape)
    return x


# %% [markdown]
# **1. Forget the root.** What do the images at $t = 1000$ look like, and what is their variance? See
# `plots.show_images(walk(beta[1:], root=lambda b: b), "no root")`.
#
# <details><summary>Answer</summary>
#
# Grey with a little noise. The image fades as before, but a step turns a variance $V$ into
# $(1 - \beta_t)\, V + \beta_t^2$, which is $V$ again for $V = \beta_t$. So $V$ follows $\beta_t$, and ends near 0.02.
#
# </details>
#
# **2. Betas in reverse.** Let $\beta$ *fall* from 0.02 to 0.0001. What is the signal rate at $t = 1000$? And at 100,
# where it was 0.95? Estimate by hand: the mean $\beta$ up to there is now 0.019, and $1 - \beta \approx e^{-\beta}$.
# Then compute `np.sqrt(np.prod(1 - beta[:-101:-1]))`.
#
# <details><summary>Answer</summary>
#
# At 1000 it is the same, as a product does not depend on the order of its factors. At 100 it is about
# $e^{-0.95} \approx 0.39$; exactly, 0.38, as before at $t = 434$. The large steps now hit a clean image.
#
# </details>
#
# **3. Fifty steps.** What is the terminal signal of `schedule.Schedule(np.linspace(1e-4, 0.02, 50))`? Estimate it by
# hand first.
#
# <details><summary>Answer</summary>
#
# The mean $\beta$ is about 0.01, so $\bar\alpha_T \approx e^{-0.5}$, and its root is $e^{-0.25} \approx 0.78$. This
# schedule is the default of [tiny-diffusion](https://github.com/tanelp/tiny-diffusion).
#
# </details>
#
# **4. In code.** Write `signal_rates(betas)`, which takes $\beta_1, \dots, \beta_T$ and returns the $T + 1$ signal
# rates at $t = 0, \dots, T$, beginning with that of the untouched image.


# %% tags=["solution"]
def signal_rates(betas):
    return np.sqrt(np.cumprod(np.concatenate([[1.0], 1 - np.asarray(betas)])))


# %%
checks.signal_rates(signal_rates)

# %% [markdown]
# ## In practice
#
# - *DDPM*: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020), sections 2 and 4. Before it,
#   Sohl-Dickstein et al., "Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (2015).
# - *Cosine*: Nichol and Dhariwal, "Improved Denoising Diffusion Probabilistic Models" (2021), section 3.2. For fewer
#   steps their code multiplies the linear betas by $1000 / T$; our $1 - (1 - \beta)^{1000 / T}$ stays below 1.
# - *Counting*: here $t = 0$ is the data and $\beta_0 = 0$. Much code counts from 0 to $T - 1$: its $\beta_0$ is our
#   $\beta_1$.
# - *Zero terminal signal*: Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed" (2024),
#   algorithm 1, rescale a schedule so that no signal is left. The network must then predict something other than noise.
