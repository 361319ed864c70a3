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
# # 07. Take fewer, straighter steps with the same network
#
# [Lesson 06](06_ddpm_sampling.ipynb) asked the network 200 times for one sheet of digits, and added fresh noise after
# every answer but the last. Now the same network, without further training, draws a sheet in ten steps and adds no
# noise. Each starting noise then leads to one picture, so we can also walk from picture to picture, and from a
# picture back to its noise.


# %% [markdown]
# **You will**
#
# - **derive** the family of steps that contains DDPM's, and its member that adds no noise, the *denoising diffusion
#   implicit model* (DDIM);
# - **draw** digits in ten steps, and see what the added noise, the number and the choice of the steps change;
# - **travel** between pictures: blend two noises, and find the noise that leads to a given digit.
#
# **You need** lesson 06 (the walk back, its posterior) and the packaged network. To run, it
# takes <!-- measured -->about 2 minutes on two CPU cores and 1.2 GB of memory<!-- /measured -->.

# %%
try:
    import lessons_lib  # noqa: F401
except ModuleNotFoundError:  # in Colab, which keeps its own TensorFlow
    # %pip install --quiet ..
    pass

import time
from itertools import pairwise

import keras
import matplotlib.pyplot as plt
import numpy as np

from lessons_lib import data, diffusion, judges, oracle, plots, sampling, schedule, training
from lessons_lib.checks import lesson_07 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
T = 1000
POINTS = choose(smoke=500, cpu=2000, gpu=2000)  # that walk in the plane
COUNT = choose(smoke=8, cpu=64, gpu=64)  # digits
STEPS = 10  # of their walk
STARTS = choose(smoke=8, cpu=32, gpu=32)  # from which several walks begin
FINE = choose(smoke=400, cpu=1000, gpu=1000)  # steps of the walk that stands in for the curve
# steps of walks from the same noise, and of the long one that they are compared with
LESS, LONG = choose(smoke=((5, 10, 15), 30), cpu=((5, 10, 50), 100), gpu=((5, 10, 50), 100))
BUDGETS = choose(smoke=(30, 60), cpu=(30, 150, 300), gpu=(30, 150, 300, 600))  # questions

keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(SEED)
predict_noise, noise_schedule = training.load_weights("digits")

# %% [markdown]
# ## The loss knows no chain
#
# Recall what the network was trained on (lesson 05): a picture $x_0$, a time $t$, a noise $\epsilon$, and their
# mixture $x_t=\sqrt{\bar\alpha_t}\,x_0+\sqrt{1-\bar\alpha_t}\,\epsilon$. Two times never meet in this loss. It
# depends on $q(x_t \mid x_0)$ at each $t$, but not on how $x_{600}$ is related to $x_{300}$. This is the key
# observation of the DDIM paper (section 3). (Our network's velocity loss is this one, divided by $\bar\alpha_t$.)
#
# We compare two such relations in lesson 06's three clouds. The *chain* adds new noise between $t=300$ and $t=600$.
# The other process uses *one noise* for both times. The perfect denoiser should have the same loss in both, although
# the noises in $x_{300}$ and $x_{600}$ are correlated quite differently.


# %%
centres = np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
widths, shares = np.array([0.14, 0.22, 0.1]), np.array([0.5, 0.3, 0.2])
linear = schedule.linear(T)
labels = rng.choice(3, 20_000, p=shares)
x_0 = centres[labels] + widths[labels, None] * rng.standard_normal((len(labels), 2))
one, fresh = rng.standard_normal((2, *x_0.shape))

a_300, a_600 = linear.alpha_bar[[300, 600]]
x_300 = np.sqrt(a_300) * x_0 + np.sqrt(1 - a_300) * one
processes = {
    "chain": np.sqrt(a_600 / a_300) * x_300 + np.sqrt(1 - a_600 / a_300) * fresh,
    "one noise": np.sqrt(a_600) * x_0 + np.sqrt(1 - a_600) * one,
}
perfect = oracle.mixture(linear, centres, widths**2, shares)
noises, squares, shared = {}, [], {}
for name, x_600 in processes.items():
    noises[name] = (x_600 - np.sqrt(a_600) * x_0) / np.sqrt(1 - a_600)
    answers = np.asarray(perfect.predict_noise(x_600, np.full(len(x_600), 600)))
    squares.append(((answers - noises[name]) ** 2).mean(axis=1))
    shared[name] = np.corrcoef(noises[name].ravel(), one.ravel())[0, 1]
    print(f"{name:9}: loss {squares[-1].mean():.4f}, correlation of noises {shared[name]:.2f}")
    assert abs(noises[name].std() - 1) < 4 / np.sqrt(2 * x_0.size)
assert shared["one noise"] > 0.99 and abs(shared["chain"] - 0.2) < 0.02
standard_error = np.sqrt(np.sum(np.var(squares, axis=1)) / len(x_0))
assert abs(squares[0].mean() - squares[1].mean()) < 4 * standard_error

# %% [markdown]
# Both processes have the same loss, up to chance. They must, as $x_0$ and the noise in $x_{600}$ have the same
# distribution in both. A network trained for one is trained for every process with the same $q(x_t \mid x_0)$ at each
# $t$, and we may choose the one that is best to walk back.
#
# ## A family of steps
#
# Suppose that we know $x_0$ and $x_t$, hence the noise
# $\epsilon=(x_t-\sqrt{\bar\alpha_t}\,x_0)/\sqrt{1-\bar\alpha_t}$, and want an $x_s$ for an earlier time $s < t$. It
# consists of the signal $\sqrt{\bar\alpha_s}\,x_0$ and of noise with variance $1-\bar\alpha_s$. One part of this
# noise is $\epsilon$, scaled down; the rest is fresh, $\sigma z$:
#
# $$x_s = \sqrt{\bar\alpha_s}\,x_0+\sqrt{1-\bar\alpha_s-\sigma^2}\;\epsilon+\sigma z, \qquad z \sim \mathcal N(0,I) \qquad \text{(DDIM, eq. 7)}$$
#
# (The paper writes $\alpha$ for our $\bar\alpha$, and $s=t-1$; its section 4.2 leaves times out.) Variances of
# independent noises add up, here to $1-\bar\alpha_s$, for every $\sigma^2 \le 1-\bar\alpha_s$. So if the noise in
# $x_t$ is standard normal, the noise in $x_s$ is too; by induction from $T$ down, every $x_s$ has the distribution
# $q(x_s \mid x_0)$. From the chain's $x_{600}$ we take such steps to $t=300$, the second with the standard deviation
# of lesson 03's posterior:

# %%
_, variance = diffusion.posterior(x_0, processes["chain"], a_600, a_300)
for sigma, right in ((0, 1), (np.sqrt(variance), shared["chain"]), (np.sqrt(1 - a_300), 0)):
    kept, z = np.sqrt(1 - a_300 - sigma**2), rng.standard_normal(x_0.shape)
    x_300 = np.sqrt(a_300) * x_0 + kept * noises["chain"] + sigma * z
    noise_300 = (x_300 - np.sqrt(a_300) * x_0) / np.sqrt(1 - a_300)
    both = np.corrcoef(noise_300.ravel(), noises["chain"].ravel())[0, 1]
    print(f"sigma {sigma:.2f}: noise of size {noise_300.std():.3f}, correlation {both:.2f}")
    assert abs(noise_300.std() - 1) < 0.02 and abs(both - right) < 0.02

# %% [markdown]
# The noise keeps its size, whether the step keeps all of $\epsilon$, a part or nothing. The posterior's $\sigma$
# gives the noises the correlation that they have in the chain, 0.20. We measure $\sigma$ in units of it, and call the
# factor $\eta$ ("eta"):
#
# $$\sigma = \eta\,\sqrt{\frac{1-\bar\alpha_s}{1-\bar\alpha_t}}\,\sqrt{1-\frac{\bar\alpha_t}{\bar\alpha_s}} \qquad \text{(DDIM, eq. 16)}$$
#
# With $\eta=1$ the step is DDPM's. Then
# $1-\bar\alpha_s-\sigma^2=(1-\bar\alpha_s)^2\,\bar\alpha_t/(\bar\alpha_s(1-\bar\alpha_t))$, and its root times
# $\epsilon$ gives $x_t$ the coefficient $\sqrt{\bar\alpha_t/\bar\alpha_s}\,(1-\bar\alpha_s)/(1-\bar\alpha_t)$ of
# lesson 03's posterior. The next cell checks the whole step. With $\eta=0$ it is deterministic.


# %%
def deviation(t, s, chain, eta):
    a_t, a_s = chain.alpha_bar[[t, s]]
    return eta * np.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))


for t, s in ((1000, 999), (600, 300), (5, 1)):
    (a_t, a_s), sigma = linear.alpha_bar[[t, s]], deviation(t, s, linear, eta=1.0)
    mean, variance = diffusion.posterior(x_0, diffusion.add_noise(x_0, one, a_t), a_t, a_s)
    ours = np.sqrt(a_s) * x_0 + np.sqrt(1 - a_s - sigma**2) * one
    np.testing.assert_allclose(ours + sigma * z, mean + np.sqrt(variance) * z, atol=1e-8)

# %% [markdown]
# ## DDIM
#
# On the way back $x_0$ is unknown, and the network's guess takes its place: $\hat\epsilon$ for the noise, and
# $\hat x_0$ for what is left of $x_t$ without it.
#
# $$x_s = \sqrt{\bar\alpha_s}\,\underbrace{\frac{x_t-\sqrt{1-\bar\alpha_t}\,\hat\epsilon}{\sqrt{\bar\alpha_t}}}_{\hat x_0}+\sqrt{1-\bar\alpha_s-\sigma^2}\;\hat\epsilon+\sigma z \qquad \text{(DDIM, eq. 12)}$$


# %% tags=["slide"]
def step_down(x_t, noise_pred, t, s, chain, eta=0.0, z=0.0):
    a_t, a_s = chain.alpha_bar[[t, s]]
    sigma = deviation(t, s, chain, eta)
    guess = (x_t - np.sqrt(1 - a_t) * noise_pred) / np.sqrt(a_t)
    return np.sqrt(a_s) * guess + np.sqrt(1 - a_s - sigma**2) * noise_pred + sigma * z


# %% [markdown]
# Lesson 06's walk without its noise collapsed to one spot: it kept a part of the noise,
# $\sqrt{1-\bar\alpha_s-\sigma^2}\,\hat\epsilon$, and nothing replaced the rest. With $\sigma=0$ the step keeps all
# the noise that belongs to $s$. But it loses something, too. Given $x_t$, many $x_0$ are possible, and eq. 7 with
# $\sigma=0$ makes $x_s$ vary with them, by the second term in lesson 06's law of total variance:
#
# $$\operatorname{Var}(x_s|x_t) = c^2\operatorname{Var}(x_0|x_t), \qquad c = \sqrt{\bar\alpha_s}-\sqrt{\bar\alpha_t}\sqrt{(1-\bar\alpha_s)/(1-\bar\alpha_t)}$$
#
# DDIM puts in the mean, and drops this variance. But $c$ shrinks with the step: when steps are half as long, each
# loses about a quarter as much, and all together about half. One cloud of width 0.22 shows it:


# %%
def walk_down(x_T, ask, chain, times, eta=0.0, noisy=True):
    """All x_t of a walk through times that fall from T to 0: (len(times), *x_T.shape)."""
    path = [x_T]
    for step, (t, s) in enumerate(pairwise(times), 1):
        noise_pred = np.asarray(ask(path[-1], np.full(len(x_T), t)))
        z = sampling.noise_of(SEED, step, x_T.shape) if noisy else 0.0
        path.append(step_down(path[-1], noise_pred, t, s, chain, eta, z))
    return np.stack(path)


cloud, normal = oracle.gaussian(linear, [0.0], 0.22**2), rng.standard_normal((2000, 1))
normal, lost = normal / normal.std(), {}  # so that a sample's chance plays no part
for steps, eta in ((1000, 1.0), (10, 0.0), (100, 0.0), (1000, 0.0)):
    times = sampling.time_grid(T, steps)
    end = walk_down(normal, cloud.predict_noise, linear, times, eta, noisy=False)[-1]
    lost[steps, eta] = 1 - end.std() / 0.22
    print(f"eta {eta:.0f}, {steps} steps: width {end.std():.4f}, {lost[steps, eta]:.1%} lost")
assert lost[1000, 1.0] > 0.99 and abs(lost[1000, 0.0] - 0.0067) < 2e-4
assert all(7 < lost[n, 0.0] / lost[10 * n, 0.0] < 10 for n in (10, 100))

# %% [markdown]
# With ten times as many steps, DDIM loses about a tenth as much.
#
# **Earned.** The step is `sampling.reverse_step` and the walk is `sampling.sample`, where `eta=0.0`, the default, is
# DDIM and `eta=1.0` is lesson 06's walk.

# %%
for eta in (0.0, 0.5, 1.0):
    options = {"x_T": normal, "eta": eta, "seed": SEED}
    *_, theirs = sampling.sample(cloud.predict_noise, linear, normal.shape, 10, **options)
    ours = walk_down(normal, cloud.predict_noise, linear, sampling.time_grid(T, 10), eta)[-1]
    np.testing.assert_allclose(ours, theirs.x_t, atol=1e-9)

# %% [markdown]
# ## In the plane
#
# We return to the three clouds, with the cosine schedule of our digits' network. Five walks share their starts and
# the perfect denoiser. The last is fine down to $t=100$, and takes one step from there.


# %%
def three_clouds(chain):
    return oracle.mixture(chain, centres, widths**2, shares).predict_noise


COLORS, paths = (plots.BLUE, plots.ORANGE, plots.GREEN), {}
plane_x_T = sampling.noise_of(SEED, 0, (POINTS, 2)).astype(float)
fine, ten = sampling.time_grid(T, FINE), sampling.time_grid(T, 10)
jump = np.append(fine[: -FINE // 10], 0)  # fine, except for the last step of ten
for eta, times in ((1.0, fine), (1.0, ten), (0.0, fine), (0.0, ten), (0.0, jump)):
    path = walk_down(plane_x_T, three_clouds(noise_schedule), noise_schedule, times, eta)
    paths[eta, len(times) - 1] = path
    nearest = ((path[-1][:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
    found = np.array([path[-1][nearest == i].std(axis=0).mean() for i in range(3)])
    print(f"eta {eta:.0f}, {len(times) - 1} steps: widths {found.round(2)} for {widths}")
    assert (abs(found / widths - 1) < 0.15 if times is fine else found < 0.92 * widths).all()

figure, axes = plt.subplots(1, 3, figsize=(11, 3), layout="constrained")
for i, color in enumerate(COLORS):
    for axis, eta in ((axes[0], 1.0), (axes[1], 0.0)):
        axis.plot(fine, paths[eta, FINE][:, i, 0], color=color, linewidth=0.8)
        axis.set(title=f"eta = {eta:.0f}", xlim=(T, 0), ylim=(-3, 3), xlabel="t")
    axes[2].plot(*paths[0.0, FINE][:, i].T, "-x", color=color, markevery=[-1], markersize=9)
    axes[2].plot(*paths[0.0, 10][:, i].T, ".", color=color)
axes[0].set_ylabel("first coordinate of x_t")
axes[2].scatter(*paths[0.0, FINE][-1].T, s=2, color=plots.GREY, alpha=0.3, zorder=0)
axes[2].set(title="eta = 0, curves end at x", xlabel="first coordinate", aspect="equal")
axes[2].set_ylabel("second coordinate")
plots.show(
    figure,
    "Three points on their way from t = 1000 to 0. With eta = 1 the coordinate jumps about; with "
    "eta = 0 it follows a smooth curve, and dots, a ten-step walk, roughly follow it.",
)

# %% [markdown]
# With $\eta=1$ the points jump about. With $\eta=0$ each follows a smooth curve, and the dots of a ten-step walk
# roughly follow it. (Ten steps leave the clouds too narrow, with either $\eta$, and so does the last of them alone:
# it has $c=1$, and jumps to the mean of all possible $x_0$.) Why can a step be so long? Set $\sigma=0$ in eq. 12,
# divide by $\sqrt{\bar\alpha_s}$, and write out $\hat x_0$:
#
# $$\frac{x_s}{\sqrt{\bar\alpha_s}} = \hat x_0+\sqrt{\frac{1-\bar\alpha_s}{\bar\alpha_s}}\;\hat\epsilon, \qquad \hat x_0 = \frac{x_t}{\sqrt{\bar\alpha_t}}-\sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}}\;\hat\epsilon$$
#
# Two quantities occur in both: $r=\sqrt{(1-\bar\alpha)/\bar\alpha}$, the ratio of noise to signal, and
# $y=x/\sqrt{\bar\alpha}=x_0+r\epsilon$, the state rescaled so that $x_0$ has the factor 1. So
# $y_s=\hat x_0+r_s\hat\epsilon$ and $\hat x_0=y_t-r_t\hat\epsilon$. Insert the second in the first:
#
# $$y_s = y_t+(r_s-r_t)\,\hat\epsilon \qquad \text{(DDIM, eq. 13)}$$
#
# When we plot $y$ against $r$, a step is a straight line with slope $\hat\epsilon$. With ever more steps the walk
# approaches a curve with this slope at each point, a solution of an *ordinary differential equation* (ODE):
#
# $$\frac{dy}{dr} = \hat\epsilon \qquad \text{(DDIM, eq. 14)}$$
#
# DDIM follows it in straight steps; this is *Euler's method*. Where $\hat\epsilon$ stays the same, a step is exact,
# however long. Its only error is the change of $\hat\epsilon$ along the step.


# %%
a, y = noise_schedule.alpha_bar, {}
r = np.sqrt((1 - a) / a)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for steps, times, style in ((FINE, fine, "-"), (10, ten, ".--")):
    y[steps] = paths[0.0, steps] / np.sqrt(a[times])[:, None, None]
    for i, color in enumerate(COLORS):
        for axis in axes:
            axis.plot(r[times], y[steps][:, i, 0], style, color=color, linewidth=1)
axes[0].set(xlim=(7, 0), ylim=(-8, 8), xlabel="r", title="after the first step")
axes[1].set(xlim=(1, 0), ylim=(-1.5, 1.5), xlabel="r", title="the end, enlarged")
axes[0].set_ylabel("first coordinate of y")

t, s = ten[5:7]
answers = np.asarray(three_clouds(noise_schedule)(paths[0.0, 10][5], np.full(POINTS, t)))
np.testing.assert_allclose(y[10][6], y[10][5] + (r[s] - r[t]) * answers)
gap = np.median(np.linalg.norm(y[10] - y[FINE][:: FINE // 10], axis=2), axis=1)
for i in (1, 7, 10):
    print(f"r = {r[ten[i]]:.2f}: off the curve by {gap[i]:.3f}")
assert (abs(gap[[1, 7, 10]] - (0.06, 0.10, 0.06)) < 0.012).all()
slope = np.diff(y[FINE], axis=0) / np.diff(r[fine])[:, None, None]
slope = slope[[abs(r[fine] - ratio).argmin() for ratio in (8, 4, 2, 0.5)]]
turn = np.median(np.linalg.norm(np.diff(slope, axis=0), axis=2), axis=1)
assert turn[0] < 0.05 and turn[2] > 0.3  # nearly straight from r = 8 to 4, not from 2 to 0.5
plots.show(
    figure,
    "y against r for three points: curves, nearly straight at large r, bend near r = 1; a ten-step "
    "walk, dashed with dots, runs beside each and ends close to it.",
)

# %% [markdown]
# The curves are nearly straight at large $r$ and bend near $r=1$. The ten-step walk leaves them early: its first
# step, from $r=20{,}000$ to 6.4, does not fit in the plot, and ends at a median distance of 0.06. By $r=0.5$ this
# grows to 0.10; later steps pull the walk part of the way back, to 0.06.
#
# ## How many steps, and which?
#
# We use a 1,000-step walk as a stand-in for the curve, and measure how far from its end a shorter walk arrives. The
# times may be *evenly spaced* or *quadratic*, $T\,(i/n)^2$ for $n$ steps, closer together towards $t=0$ (in the DDIM
# paper used for CIFAR-10 only, appendix D.2).


# %%
counts = np.array([5, 10, 20, 50, 100])
chains = {"linear": linear, "cosine": noise_schedule}
colors = {"even": plots.BLUE, "quadratic": plots.ORANGE}
left = {"linear": (0.6, 0.5, 0.4), "cosine": (0.85, 0.77, 0.67)}  # in 10, 20 and 100 steps
grids = {
    "even": [sampling.time_grid(T, n) for n in counts],
    "quadratic": [sampling.time_grid(T, n, quadratic=True) for n in counts],
    "fine, then one step": [jump],
    "nine steps, then fine": [np.append(ten[:-1], range(T // 10 - 1, -1, -1))],
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for axis, (label, chain) in zip(axes, chains.items(), strict=True):
    ask, off = three_clouds(chain), []
    curve_end = walk_down(plane_x_T, ask, chain, fine)[-1]
    for kind, several in grids.items():
        ends = np.stack([walk_down(plane_x_T, ask, chain, times)[-1] for times in several])
        off.append(np.median(np.linalg.norm(ends - curve_end, axis=2), axis=1))
        print(f"{label} schedule, {kind}: off by {off[-1].round(3)}")
        if kind in colors:
            axis.loglog(counts, off[-1], "o-", color=colors[kind], label=f"{kind} times")
            assert 0.8 < np.log10(off[-1][1] / off[-1][-1]) < 1.2
    even, quadratic, (last,), (nine,) = off
    assert (abs((quadratic / even)[[1, 2, 4]] - left[label]) < 0.06).all()
    assert 0.9 < last / even[1] < 1.2 and 0.5 < nine / even[1] < 0.8
    axis.set(title=f"{label} schedule", xlabel="steps", xticks=counts, xticklabels=counts)
    axis.set(yticks=(0.01, 0.03, 0.1, 0.3), yticklabels=("0.01", "0.03", "0.1", "0.3"))
axes[0].set_ylabel("off the curve's end (median)")
axes[0].legend()
alt = "Distance from the curve's end: twice the steps halve it; quadratic times shorten it."
plots.show(figure, alt)

# %% [markdown]
# From ten steps on, twice the steps give about half the error: DDIM is a *first-order* method. Where does the error
# of ten steps arise? A fine walk with only the last of them ends about as far off as all ten. The first nine,
# continued in fine steps, end 0.6 to 0.7 times as far off. Quadratic times split the last step at 90, 40 and 10. With
# the linear schedule they reduce the error by 40 % at ten steps, by half at twenty and by 60 % at a hundred; with the
# cosine, by 15 to 33 %.
#
# ## Ten steps for two hundred
#
# Back to the digits, now with ten questions. (As in lesson 06, `clip=True` keeps the guess within $[-1, 1]$;
# $\hat\epsilon$ is then recomputed from it.)

# %%
begin = time.perf_counter()
walk = sampling.sample(
    predict_noise, noise_schedule, (COUNT, 28, 28, 1), STEPS, seed=SEED, clip=True
)
states = list(walk)
print(f"{COUNT} digits in {STEPS} steps: {time.perf_counter() - begin:.1f} s")
plots.show_images(states[-1].x_t, "Sixty-four digits, most of them readable.", columns=16)

# %% [markdown]
# Most of the digits can be read, for a twentieth of the work; lesson 08 measures how good they are. Here are the ten
# states of two of them, each above the network's guess, and eight digits as an animation.


# %%
shown = states[1:]
strips = [(i, name) for i in (1, 2) for name in ("x_t", "x_0")]
plots.show_filmstrip(
    [np.stack([getattr(state, name)[i] for state in shown]) for i, name in strips],
    "Two digits take shape under thinning noise; below each, the guess: a blur, then a digit.",
    row_labels=["x_t", "guess"] * 2,
    column_labels=[f"t={state.t}" for state in shown],
)

# %%
frames = [state.x_t[:8] for state in states]
plots.save_gif("output/ddim.gif", frames, fps=4)
plots.animate(frames, "Noise becomes eight digits in ten steps.", fps=4)

# %% [markdown]
# ## From DDIM to DDPM
#
# What does $\eta$ change? We draw in ten steps from the same starts. The fifth row adds noise with DDPM's other
# variance, $\hat\sigma^2=1-\bar\alpha_t/\bar\alpha_s$, but keeps as much of $\hat\epsilon$ as $\eta=1$ does (DDIM,
# appendix D.3). The sixth asks the perfect denoiser of a world of 200 training digits (lesson 03). We also measure
# the noise in the corners, practically always paper, before and after the last step.


# %%
train = next(iter(data.load_digits("train", 200)))[0].numpy()
exact, corner = oracle.points(noise_schedule, train).predict_noise, np.r_[0:3, 25:28]
trials = {f"eta = {eta}": (predict_noise, {"eta": eta}) for eta in (0.0, 0.2, 0.5, 1.0)}
trials["sigma-hat"] = (predict_noise, {"eta": 1.0, "large_noise": True})
trials["sigma-hat, perfect"] = (exact, {"eta": 1.0, "large_noise": True})
rows, grain, shape = {}, {}, (8, 28, 28, 1)
for name, (ask, option) in trials.items():
    *_, before, after = sampling.sample(
        ask, noise_schedule, shape, 10, seed=SEED, clip=True, **option
    )
    rows[name] = after.x_t
    early, late = (state.x_t[:, corner][:, :, corner].std() for state in (before, after))
    grain[name] = early, late
    print(f"{name:18}: noise {early:.2f} at t = {before.t}, {late:.3f} at 0")
assert abs(noise_schedule.noise_rate[100] - 0.17) < 0.005
*_, ddpm, hat, perfect_hat = grain.values()
if data.digits() == "mnist":
    assert abs(ddpm[0] - 0.17) < 0.03 and 1.6 < hat[0] / 0.17 < 2 and perfect_hat[0] > 0.27
    assert hat[1] > 2 * ddpm[1] and perfect_hat[1] < 0.01
plots.show_filmstrip(
    list(rows.values()),
    "Six rows of eight digits, which change as eta grows. The row with sigma-hat has the digits of "
    "eta = 1 again, but full of specks; the perfect denoiser leaves none.",
    row_labels=list(rows),
)

# %% [markdown]
# With more noise the same starts lead to other digits. With $\hat\sigma$ we see specks. Which variance is right
# depends on the data (lesson 06): uncertainty about $x_0$ makes the true step wider than $\tilde\beta$. But paper is
# certain to be $-1$. In the corners $x_{100}$ should have noise of size $\sqrt{1-\bar\alpha_{100}}=0.17$, as it has
# with $\eta=1$; with $\hat\sigma$ it is almost twice as loud. The perfect denoiser removes it all in the last step.
# The network leaves a part: the specks.
#
# ## The same noise, the same picture
#
# Without fresh noise, $x_T$ decides everything, and another `seed` changes nothing. More steps follow the curve more
# closely, so they should lead to the same digit, ever closer to the curve's end; with $\eta=1$ they should not. We
# measure mean absolute differences per pixel, and compare them with those between neighbours in a row.


# %%
more = sampling.noise_of(SEED, 0, (STARTS, 28, 28, 1))
start = more[:8]


def draw(steps, x_T=start, eta=0.0, seed=SEED):
    *_, last = sampling.sample(
        predict_noise, noise_schedule, x_T.shape, steps, x_T=x_T, eta=eta, seed=seed, clip=True
    )
    return last.x_t


sheets = {steps: draw(steps, more) for steps in LESS}
drawn = {f"{steps} steps": sheet[:8] for steps, sheet in sheets.items()}
drawn[f"{LONG} steps"] = goal = draw(LONG)
drawn[f"eta 1, {LONG} steps"] = draw(LONG, eta=1.0)
apart = {name: np.abs(sheet - goal).mean() for name, sheet in drawn.items()}
apart["neighbours"] = np.abs(np.roll(goal, 1, axis=0) - goal).mean()
print("\n".join(f"{name:>16}: {distance:.2f} a pixel" for name, distance in apart.items()))
same = [np.mean(judges.labels(sheets[n]) == judges.labels(sheets[LESS[-1]])) for n in LESS[:2]]
print(f"same as by {LESS[-1]} steps, of {STARTS}: {same[0]:.0%} by 5, {same[1]:.0%} by 10")
np.testing.assert_allclose(draw(10, seed=SEED + 1), drawn["10 steps"], atol=1e-4)
assert (np.diff([apart[f"{steps} steps"] for steps in (*LESS, LONG)]) < 0).all()
assert apart["5 steps"] < apart["neighbours"] / 2 < apart[f"eta 1, {LONG} steps"]
assert min(same) > 0.5
alt = (
    "Eight digits by 5, 10, 50 and 100 steps: mostly the same digit down each column. In the last "
    "row, with eta = 1, they are other digits."
)
plots.show_filmstrip(list(drawn.values()), alt, row_labels=list(drawn))


# %%
def digits_by(steps, eta):
    """Eight digits from the same start."""
    return plots.show_images(draw(steps, eta=eta), f"Eight digits, {steps = }, {eta = }.")


plots.sliders(digits_by, button="draw", steps=(1, 50), eta=(0.0, 1.0, 0.1))

# %% [markdown]
# Down each column we see mostly the same digit, and the difference shrinks with every row. For most of 32 starts the
# classifier reads the same digit after five or ten steps as after fifty. In the last row the same starts lead to
# other digits, about as far away as a neighbour. (In a running notebook, move the sliders.) So with $\eta=0$ the
# noise $x_T$ encodes its picture: it is a *latent variable*, and we can compute with it.
#
# ## Between two noises
#
# A path from noise to noise leads from picture to picture. Which path? Half-way between two independent noises, their
# mean has the standard deviation $\sqrt{1/2}$, which the network has never seen at $T$. Nearly all noise of 784
# pixels lies close to a sphere of radius $\sqrt{784}=28$. It is safer to follow an arc on it, by *spherical linear
# interpolation* or *slerp* (Shoemake 1985, "Animating Rotation with Quaternion Curves"; DDIM, appendix D.5):
#
# $$x_T = \frac{\sin((1-p)\,\varphi)}{\sin\varphi}\,x_T^{(0)}+\frac{\sin(p\,\varphi)}{\sin\varphi}\,x_T^{(1)}$$
#
# where $\varphi$ is the angle between the two noises and $p$ runs from 0 to 1. A, B and C are our first three starts.


# %%
def slerp(one_end, other_end, p):
    lengths = np.linalg.norm(one_end) * np.linalg.norm(other_end)
    angle = np.arccos(np.sum(one_end * other_end) / lengths)
    return (np.sin((1 - p) * angle) * one_end + np.sin(p * angle) * other_end) / np.sin(angle)


parts, blends = np.linspace(0, 1, 9, dtype=np.float32)[:, None, None, None], {}
for name, other in zip("BC", start[1:3], strict=True):
    blends[f"A to {name}, slerp"] = slerp(start[0], other, parts)
    blends[f"A to {name}, straight"] = (1 - parts) * start[0] + parts * other
    wanted = sampling.slerp(np.stack([start[0]] * 9), np.stack([other] * 9), parts.ravel())
    np.testing.assert_allclose(blends[f"A to {name}, slerp"], wanted, atol=1e-5)
for name, blend in blends.items():
    sizes = blend.std(axis=(1, 2, 3))
    print(f"{name:16}: noise of size {sizes.round(2)}")
    assert sizes.min() > 0.9 if "slerp" in name else abs(sizes[4] - np.sqrt(0.5)) < 0.05
plots.show_filmstrip(
    [draw(50, blend) for blend in blends.values()],
    "Four rows of nine pictures, from the first of the eight digits above to the second and to the "
    "third; nearly all of them are digits, by either path.",
    row_labels=list(blends),
)

# %% [markdown]
# Nearly all pictures on the way are digits, too. The straight rows look no worse here, although $\mathcal N(0,I)$
# would practically never produce their middle starts. Exercise 3 shows what a quiet start does: plainer digits.
# (`sampling.slerp` is the same function.)
#
# ## There and back
#
# Which noise belongs to *this* picture? We walk the curve in the other direction (*DDIM inversion*). From $s$ up to
# $t$ the formula is eq. 12 again, with the two times exchanged and $\sigma=0$. But the step down asked about $x_t$,
# which the step up does not know yet. It asks about $x_s$ instead, at time $t$, and makes a small error. A
# *correction* asks again, about the $x_t$ just found. There and back, a plain step costs two questions (network
# evaluations, *NFE*) and a corrected one three, so we compare them at equal numbers of questions. (A clipped step
# cannot be walked back, so we do not clip.)


# %%
def walk_up(x_s, times, corrections=0):
    for s, t in pairwise(times):
        a_s, a_t = noise_schedule.alpha_bar[[s, t]]
        x_t = x_s
        for _ in range(1 + corrections):
            noise_pred = predict_noise(x_t, np.full(len(x_t), t))
            guess = diffusion.to_x_0(x_s, noise_pred, a_s)
            x_t = np.asarray(diffusion.add_noise(guess, noise_pred, a_t))
        x_s = x_t
    return x_s


# %%
digits = next(iter(data.load_digits("test", 8)))[0].numpy()
*_, theirs = sampling.invert(predict_noise, noise_schedule, digits, 5, corrections=1)
ours = walk_up(digits, sampling.time_grid(T, 5)[::-1], corrections=1)
np.testing.assert_allclose(ours, theirs.x_t, atol=1e-4)

errors, walks = np.zeros((len(BUDGETS), 2)), {}
for i, questions in enumerate(BUDGETS):
    for corrections in (0, 1):
        steps = questions // (2 + corrections)
        up = walk_up(digits, sampling.time_grid(T, steps)[::-1], corrections)
        *_, again = sampling.sample(predict_noise, noise_schedule, up.shape, steps, x_T=up)
        errors[i, corrections] = np.mean((again.x_t - digits) ** 2)
        walks[questions, corrections] = up, again.x_t
    plain, corrected = errors[i]
    print(f"{questions:3} questions: error {plain:.4f} plain, {corrected:.4f} corrected")
if data.digits() == "mnist":  # the network has seen no printed digits
    assert (np.diff(errors, axis=0) < 0).all() and 0.6 < errors[0, 1] / errors[0, 0] < 1.6
    assert all(errors[i, 1] < errors[i, 0] for i, n in enumerate(BUDGETS) if n >= 150)
up, again = walks[BUDGETS[1], 1]
plots.show_filmstrip(
    [digits, up, again],
    "Eight digits; below each its noise, in which strokes stand out as grain on a nearly uniform "
    "grey; below that the digit that comes back from it, the same.",
    row_labels=["digit", "its noise", "back again"],
)

# %% [markdown]
# The digits come back, more exactly the more questions we ask. With 30 questions it matters little how we spend them;
# with 150 or more, the correction pays.
#
# Now look at the noise, here of 50 corrected steps. It should be a sample of $\mathcal N(0,I)$, but it looks like a
# sample only along the strokes. Where there was paper it is a nearly uniform grey with a faint pattern. Clean paper
# is *exactly* $-1$: each step up asks for the noise in a pixel that has none, and the answer is next to none. If that
# is the reason, grain should change it. We begin the same walk at its first time, $t=20$, with the noise that belongs
# there:

# %%
times = sampling.time_grid(T, BUDGETS[1] // 3)[::-1]
added = sampling.noise_of(SEED, 1, digits.shape)
grainy = np.asarray(diffusion.add_noise(digits, added, noise_schedule.alpha_bar[times[1]]))
ups = {"clean": up, "with grain": walk_up(grainy, times[1:], corrections=1)}
sizes = {name: noise[digits == -1].std() for name, noise in ups.items()}
print(*(f"paper, {name}: noise of size {size:.2f}" for name, size in sizes.items()), sep="\n")
assert sizes["clean"] < 0.5 and 0.75 < sizes["with grain"] < 1.25

# %% [markdown]
# That was the reason: with the grain, the noise is about as large as it should be. So the $x_T$ of a digit on clean
# paper leads back to it, but is one that a draw from $\mathcal N(0,I)$ would practically never give.
#
# ## Recap
#
# - You **derived** the family of steps that share the training loss, from DDPM ($\eta=1$) to DDIM ($\eta=0$).
# - You **drew** digits in ten steps where lesson 06 took 200.
# - You **travelled** between noises on the sphere, and from a digit to its noise and back.
#
# Are ten steps as good as two hundred? [Lesson 08](08_evaluation.ipynb) measures.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Three steps.** Set `STEPS = 3` and draw the sheet and the filmstrip again. What do the digits look like, and
# why? (Put it back to 10.)
#
# <details><summary>Answer</summary>
#
# Many can be read, with grey or doubled strokes; others are ghosts of two digits at once. The first guess is the blot
# that all digits have in common, the second still a blur, and only one step is left.
#
# </details>
#
# **2. The same noise, with noise.** Will `draw(10, eta=1.0)`, run twice, give the same digits? And
# `draw(10, -start, eta=1.0)`, from the opposite start? And `draw(10, eta=1.0, seed=SEED + 1)`?
#
# <details><summary>Answer</summary>
#
# Yes: the noise of a step depends on the seed and the step's number alone. The opposite start gives nearly the same
# again: `deviation(1000, 900, noise_schedule, 1.0)` is practically $\sqrt{1-\bar\alpha_{900}}$, all the noise that
# $x_{900}$ may have, so next to nothing is kept of the start's. Another seed gives other digits.
#
# </details>
#
# **3. A loud noise.** What do `draw(10, 1.2 * start)` and `draw(10, 0.8 * start)` look like? Compare their
# `.std(axis=0).mean()`, how much a pixel varies from digit to digit.
#
# <details><summary>Answer</summary>
#
# Mostly the same digits: a little bolder and rougher from the louder noise; thinner and plainer from the quieter one,
# and a pixel varies less. For one Gaussian cloud DDIM only scales $x_T$ and adds the mean, so a louder start lands
# farther from it.
#
# </details>
#
# **4. In code.** Our network predicts the velocity $v=\sqrt{\bar\alpha_t}\,\epsilon-\sqrt{1-\bar\alpha_t}\,x_0$
# (lesson 05). Write `step_from_velocity(x_t, velocity, t, s, chain)`: DDIM's step with $\eta=0$, from the velocity
# itself.


# %% tags=["solution"]
def step_from_velocity(x_t, velocity, t, s, chain):
    # With cos(angle) = sqrt(alpha_bar) it is a rotation by angle_t - angle_s, as adding up the
    # factors of x_t and of the velocity shows (Salimans and Ho 2022, appendix D).
    a_t, a_s = chain.alpha_bar[[t, s]]
    guess = np.sqrt(a_t) * x_t - np.sqrt(1 - a_t) * velocity
    noise_pred = np.sqrt(1 - a_t) * x_t + np.sqrt(a_t) * velocity
    return np.sqrt(a_s) * guess + np.sqrt(1 - a_s) * noise_pred


# %%
checks.step_from_velocity(step_from_velocity)

# %% [markdown]
# **5. Bug clinic.** Your cell starts from this step, with two mistakes. In which step of a walk does it fail
# altogether? What do the pictures look like before that, with $\eta=1$ and with $\eta=0$? Mend it.
#
# ```python
# def mended(x_t, noise_pred, t, s, chain, eta, z):
#     a_t, a_s = chain.alpha_bar[[t, s]]
#     sigma = eta * np.sqrt((1 - a_t) / (1 - a_s) * (1 - a_t / a_s))
#     guess = (x_t - np.sqrt(1 - a_t) * noise_pred) / np.sqrt(a_t)
#     return np.sqrt(a_s) * guess + np.sqrt(1 - a_s) * noise_pred + sigma * z
# ```
#
# <details><summary>Answer</summary>
#
# In the last: there it divides by $1-\bar\alpha_0=0$, and every pixel is infinite, or NaN with $\eta=0$. Until then
# $\eta=0$ is right. With $\eta=1$ each step keeps all the noise that $x_s$ may have and adds more: after nine of ten
# steps the digits are hardly visible.
#
# </details>


# %% tags=["solution"]
def mended(x_t, noise_pred, t, s, chain, eta, z):
    a_t, a_s = chain.alpha_bar[[t, s]]
    sigma = eta * np.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))
    guess = (x_t - np.sqrt(1 - a_t) * noise_pred) / np.sqrt(a_t)
    return np.sqrt(a_s) * guess + np.sqrt(1 - a_s - sigma**2) * noise_pred + sigma * z


# %%
checks.mended(mended)

# %% [markdown]
# ## In practice
#
# - *DDIM*: Song, Meng and Ermon, "Denoising Diffusion Implicit Models" (2021). Lesson 08 repeats its tables 1 and 2 on
#   a small scale.
# - *Better steps along the same curve*: Lu et al., "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic Model
#   Sampling in Around 10 Steps" (2022), and Karras et al., "Elucidating the Design Space of Diffusion-Based Generative
#   Models" (2022), take steps of higher order and need fewer questions.
# - *Editing pictures* by walking up and, with other instructions, down: Mokady et al., "Null-text Inversion for Editing
#   Real Images using Guided Diffusion Models" (2023), who also correct the accumulated errors.
# - *Noise is not useless*: a little of it corrects earlier errors (Karras et al., section 4).
