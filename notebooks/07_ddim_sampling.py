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
# [Lesson 06](06_ddpm_sampling.ipynb) asked the network 200 times for one sheet of digits, and threw fresh noise in
# after every answer. Now the same network, not trained any further, draws a sheet in ten steps and without any new
# noise. That brings more than speed: each noise now leads to one picture, always the same. So we can walk from
# picture to picture, and from a picture back to the noise that it comes from.

# %% [markdown]
# **You will**
#
# - **derive** the family of steps to which DDPM's belongs, and the one of them that adds no noise (DDIM);
# - **draw** in ten steps, and see what noise, number and choice of the steps do;
# - **travel** between pictures: blend two noises, and find the noise that a digit comes from.
#
# **You need** lesson 06 (the walk back, its posterior) and the packaged network. To run, it
# takes <!-- measured -->about 2 minutes on two CPU cores and 1.0 GB of memory<!-- /measured -->.

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
from ipywidgets import interact_manual

from lessons_lib import data, diffusion, oracle, plots, sampling, schedule, training
from lessons_lib.checks import lesson_07 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
T = 1000
POINTS = choose(smoke=500, cpu=2000, gpu=2000)  # that walk in the plane
COUNT = choose(smoke=8, cpu=64, gpu=64)  # digits
STEPS = 10  # of their walk
FINE = choose(smoke=400, cpu=1000, gpu=1000)  # steps of a walk that passes for a curve
LONG = choose(smoke=20, cpu=200, gpu=200)  # many steps, to compare with
BACK = choose(
    smoke=(5, 10), cpu=(10, 25, 50, 100), gpu=(10, 25, 50, 100, 200)
)  # there and back

keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(SEED)
predict_noise, noise_schedule = training.load_weights("digits")

# %% [markdown]
# ## The loss knows no chain
#
# Look once more at what the network was trained on (lesson 05): a picture $x_0$, a time $t$, a noise $\epsilon$, and
# from them $x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$. No two times ever meet in the loss.
# It knows $q(x_t \mid x_0)$ for each $t$, and does not know whether $x_{600}$ was made from $x_{300}$ by a chain of
# small steps, or in any other way (DDIM, section 3). (Ours answered with the velocity. At each $t$ that is the same
# loss, times $1 / \bar\alpha_t$.)
#
# So let us compare two ways, in lesson 06's three clouds: the *chain*, which adds new noise between $t = 300$ and
# $t = 600$, and *one noise* for both times, so that each point's path is fixed by its $x_0$ and $\epsilon$. The
# losses must agree; the correlation of the noise in $x_{300}$ with that in $x_{600}$ shows how different the two are.

# %%
centres = np.array([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]])
widths, shares = np.array([0.14, 0.22, 0.1]), np.array([0.5, 0.3, 0.2])
linear = schedule.linear(T)
world = oracle.mixture(linear, centres, widths**2, shares)
clouds = rng.choice(3, 20_000, p=shares)
x_0 = centres[clouds] + widths[clouds, None] * rng.standard_normal((len(clouds), 2))
a_s, a_t = linear.alpha_bar[[300, 600]]

one, fresh = rng.standard_normal((2, *x_0.shape))
x_s = np.asarray(diffusion.add_noise(x_0, one, a_s))
processes = {
    "chain": np.sqrt(a_t / a_s) * x_s + np.sqrt(1 - a_t / a_s) * fresh,
    "one noise": np.asarray(diffusion.add_noise(x_0, one, a_t)),
}
losses, correlations = [], []
for name, x_t in processes.items():
    noise = np.asarray(diffusion.to_noise(x_t, x_0, a_t))
    noise_pred = np.asarray(world.predict_noise(x_t, np.full(len(x_t), 600)))
    losses.append(np.mean((noise_pred - noise) ** 2))
    correlations.append(np.corrcoef(noise.ravel(), one.ravel())[0, 1])
    print(
        f"{name:9}: loss at t = 600 {losses[-1]:.4f}, noises correlate by {correlations[-1]:.2f}"
    )
assert abs(losses[0] / losses[1] - 1) < 0.1
assert correlations[0] < 0.3 < 0.99 < correlations[1]

# %% [markdown]
# Two different processes, one loss. A network trained for one of them is trained for the other, and for every process
# that has the same $q(x_t \mid x_0)$ at each $t$. We may choose the one that is best to walk back.
#
# ## A family of steps
#
# Say we know $x_0$ and $x_t$, hence the noise between them,
# $\epsilon = (x_t - \sqrt{\bar\alpha_t}\,x_0) / \sqrt{1 - \bar\alpha_t}$, and want an $x_s$ for an earlier time
# $s < t$. It must have the signal $\sqrt{\bar\alpha_s}\,x_0$ and noise of variance $1 - \bar\alpha_s$. Of that noise
# we take a part from $\epsilon$, and the rest, of variance $\sigma^2$, anew:
#
# $$x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\;\epsilon + \sigma z, \qquad z \sim \mathcal N(0, I) \qquad \text{(DDIM, eq. 7)}$$
#
# Variances of independent noises add up: $(1 - \bar\alpha_s - \sigma^2) + \sigma^2 = 1 - \bar\alpha_s$, whatever
# $\sigma$ is, as long as $\sigma^2 \le 1 - \bar\alpha_s$. So if the noise in $x_t$ is standard normal, that in $x_s$
# is too, and from $T$ downwards each time keeps its $q(x_s \mid x_0)$. With the $x_t$ above:

# %%
before = np.asarray(diffusion.to_noise(processes["chain"], x_0, a_t))
for sigma in (0.0, 0.3, np.sqrt(1 - a_s)):
    z = rng.standard_normal(before.shape)
    stepped = np.sqrt(a_s) * x_0 + np.sqrt(1 - a_s - sigma**2) * before + sigma * z
    noise = np.asarray(diffusion.to_noise(stepped, x_0, a_s))
    kept = np.corrcoef(noise.ravel(), before.ravel())[0, 1]
    print(f"sigma {sigma:.2f}: noise of size {noise.std():.3f}, correlation {kept:.2f}")
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * noise.size)

# %% [markdown]
# From all the noise kept to none of it. (Except for one $\sigma$ the forward process of such a family is no Markov
# chain: the way from $x_s$ to $x_t$ also depends on $x_0$. Nobody has to walk it.)
#
# That one $\sigma$ is the standard deviation of lesson 03's posterior, and it makes a good unit. We write $\eta$
# ("eta") for how much of it we use:
#
# $$\sigma = \eta\, \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}}\, \sqrt{1 - \frac{\bar\alpha_t}{\bar\alpha_s}} \qquad \text{(DDIM, eq. 16)}$$
#
# $\eta = 1$ is DDPM: variance *and* mean are the posterior's, as we check. $\eta = 0$ keeps all the noise it has and
# adds none: the step is a fixed function of $x_t$ and $x_0$.


# %%
def deviation(t, s, chain, eta):
    a_t, a_s = chain.alpha_bar[[t, s]]
    return eta * np.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))


for t, s in ((1000, 999), (600, 300), (5, 1)):
    a_t, a_s = linear.alpha_bar[[t, s]]
    mean, variance = diffusion.posterior(x_0, x_t, a_t, a_s)
    np.testing.assert_allclose(deviation(t, s, linear, 1.0) ** 2, variance)
    noise = np.asarray(diffusion.to_noise(x_t, x_0, a_t))
    kept = np.sqrt(1 - a_s - deviation(t, s, linear, 1.0) ** 2) * noise
    np.testing.assert_allclose(np.sqrt(a_s) * x_0 + kept, mean, atol=1e-8)

# %% [markdown]
# ## DDIM
#
# As in lesson 06 we know no $x_0$ on the way back, and put the network's guess in its place: $\hat\epsilon$ for the
# noise, and $\hat x_0$ for what is left of $x_t$ without it.
#
# $$x_s = \sqrt{\bar\alpha_s}\,\underbrace{\frac{x_t - \sqrt{1 - \bar\alpha_t}\,\hat\epsilon}{\sqrt{\bar\alpha_t}}}_{\hat x_0} + \sqrt{1 - \bar\alpha_s - \sigma^2}\;\hat\epsilon + \sigma z \qquad \text{(DDIM, eq. 12)}$$
#
# One formula, for any two times and any $\eta$.


# %% tags=["slide"]
def step_down(x_t, noise_pred, t, s, chain, eta=0.0, z=0.0):
    a_t, a_s = chain.alpha_bar[[t, s]]
    sigma = deviation(t, s, chain, eta)
    guess = (x_t - np.sqrt(1 - a_t) * noise_pred) / np.sqrt(a_t)
    return np.sqrt(a_s) * guess + np.sqrt(1 - a_s - sigma**2) * noise_pred + sigma * z


# %% [markdown]
# Lesson 06's walk without its noise ended on one spot. Why does this one not? What that one took away with
# $\sqrt{1 - \bar\alpha_s - \sigma^2}\;\hat\epsilon$, nothing put back; with $\sigma = 0$ the step keeps
# $\sqrt{1 - \bar\alpha_s}\;\hat\epsilon$, all the noise that belongs to $s$. Both, for a cloud of width 0.22:

# %%
cloud = oracle.gaussian(linear, [0.0], 0.22**2)
for name, eta in {"DDIM": 0.0, "DDPM without its noise": 1.0}.items():
    x = rng.standard_normal((2000, 1))
    for t in range(T, 0, -1):
        x = step_down(x, cloud.predict_noise(x, np.full(len(x), t)), t, t - 1, linear, eta)
    print(f"{name}: width {np.std(x):.4f}")
    assert abs(np.std(x) - (0.0 if eta else 0.22)) < 0.014  # four standard errors

# %% [markdown]
# **Earned.** The step is `sampling.reverse_step`, and `sampling.sample` goes from one to the next with it: `eta=0.0`,
# unless told otherwise, is DDIM, and `eta=1.0` is the walk of lesson 06.

# %%
x_t, noise_pred, z = rng.standard_normal((3, 5, 2))
for eta in (0.0, 0.5, 1.0):
    ours = step_down(x_t, noise_pred, 600, 300, linear, eta, z)
    theirs, _ = sampling.reverse_step(x_t, noise_pred, 600, 300, linear, eta, z)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)

# %% [markdown]
# ## In the plane
#
# Now the three clouds with the schedule of our digits' network, the cosine (lesson 02). The same starts (large dots),
# the same perfect denoiser; four points with their paths, in a thousand steps and in ten, with DDPM's noise and
# without. Grey is where all points end.


# %%
def walk_back(steps, eta=0.0, chain=noise_schedule, quadratic=False):
    """All x_t of a walk, from t = T down to 0: (steps + 1, POINTS, 2)."""
    ask = oracle.mixture(chain, centres, widths**2, shares).predict_noise
    walk = sampling.sample(
        ask, chain, (POINTS, 2), steps, eta=eta, seed=SEED, quadratic=quadratic
    )
    return np.stack([state.x_t for state in walk])


paths = {(eta, steps): walk_back(steps, eta) for eta in (1.0, 0.0) for steps in (FINE, 10)}
for (eta, steps), path in paths.items():
    own = ((path[-1][:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1)
    found = np.array([path[-1][own == i].std(axis=0).mean() for i in range(3)])
    print(f"eta = {eta:.0f}, {steps:4} steps: widths {found.round(2)}, expected {widths}")
    assert steps == 10 or (abs(found / widths - 1) < 0.15).all()

figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), sharey=True, layout="constrained")
for axis, ((eta, steps), path) in zip(axes, paths.items(), strict=True):
    axis.scatter(*path[-1].T, s=2, color=plots.GREY, alpha=0.5)
    for i, color in enumerate((plots.BLUE, plots.ORANGE, plots.GREEN, "black")):
        dots = {"marker": ".", "markersize": 3} if steps == 10 else {}
        axis.plot(*path[:, i].T, color=color, linewidth=0.8, **dots)
        axis.plot(*path[0, i], "o", color=color, markersize=5)
    axis.set(
        title=f"eta = {eta:.0f}, {steps} steps", xlim=(-3, 3), ylim=(-3, 3), aspect="equal"
    )
plots.show(
    figure,
    "Paths of four points to three clouds. With eta = 1 tangled over the plane in 1,000 steps, "
    "ragged in 10; with eta = 0 smooth curves, which ten straight pieces follow closely.",
)

# %% [markdown]
# With $\eta = 0$ a point runs along a smooth curve, which ten steps follow. Why straight steps? Divide eq. 12 by
# $\sqrt{\bar\alpha_s}$: with $y = x / \sqrt{\bar\alpha}$ and $r = \sqrt{(1 - \bar\alpha) / \bar\alpha}$ at each time,
# it reads
#
# $$y_s = y_t + (r_s - r_t)\,\hat\epsilon \qquad \text{(DDIM, eq. 13)}$$
#
# a straight line of slope $\hat\epsilon$. If $\hat\epsilon$ stays the same on the way, the step is exact, however
# long it is. All that a longer step loses is what the answer changes in between.
#
# With $\eta = 1$ a large step throws the point to and fro (the first one replaces nearly all of $x_T$ by new noise),
# and there are few steps left to settle. After ten steps of either the clouds are still too narrow, as the numbers
# above say.
#
# ## How many steps, and which?
#
# The curve itself is where ever more steps lead. (A rule for the slope at each point is a *differential equation*,
# stepping along its slope is *Euler's method*; DDIM, section 4.3.) A walk of 1,000 steps shall pass for it, and we
# measure how far from its end some number of steps arrives. The times may be *evenly spaced* or, as the DDIM paper
# also tries (appendix D.2), *quadratic*: closer together towards $t = 0$.

# %%
counts, halves = np.array([5, 10, 20, 50, 100]), {}
figure, panels = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for axis, (label, chain) in zip(
    panels, {"linear": linear, "cosine": noise_schedule}.items(), strict=True
):
    end, off = walk_back(FINE, chain=chain)[-1], {}
    for times, color in {"evenly spaced": plots.BLUE, "quadratic": plots.ORANGE}.items():
        walks = [walk_back(n, chain=chain, quadratic=times == "quadratic")[-1] for n in counts]
        off[times] = np.array([np.median(np.linalg.norm(x - end, axis=1)) for x in walks])
        axis.loglog(counts, off[times], "o-", color=color, label=times)
        print(f"{label} schedule, {times:13}: off by {off[times].round(4)}")
        assert 0.8 < np.log10(off[times][1] / off[times][-1]) < 1.2  # as 1 / steps, from 10 on
    halves[label] = (off["quadratic"] / off["evenly spaced"])[1:].mean()
    axis.set(title=f"{label} schedule", xlabel="steps", ylabel="off the curve's end (median)")
assert halves["linear"] < 0.65 and halves["linear"] < halves["cosine"] < 1
panels[0].legend()
plots.show(
    figure,
    "Distance against steps, all axes logarithmic: falling lines. With the linear schedule the "
    "quadratic times are off by about half as much, with the cosine by a little less.",
)

# %% [markdown]
# From ten steps on: twice the steps, about half the error. DDIM is of *first order*. (So is our stand-in for the
# curve, which by the same rule is off by a tenth of what 100 steps are.) Which times are best depends on the
# schedule. With the linear one the quadratic times take off about half of the error: there the answers presumably
# change most near $t = 0$. The cosine spreads the change more evenly over all times, and gains less.
#
# ## Ten steps for two hundred
#
# Now the digits. The walk of lesson 06 asked 200 times; this one asks ten times. (`clip=True` keeps the guess within
# $[-1, 1]$, as in lesson 06, and takes $\hat\epsilon$ anew from what was kept.)

# %%
begin = time.perf_counter()
walk = sampling.sample(
    predict_noise, noise_schedule, (COUNT, 28, 28, 1), STEPS, seed=SEED, clip=True
)
states = list(walk)
print(f"{COUNT} digits in {STEPS} steps: {time.perf_counter() - begin:.1f} s")
plots.show_images(states[-1].x_t, "Sixty-four digits, most of them readable.", columns=16)

# %% [markdown]
# A twentieth of the work, and most can be read; some are worse than on lesson 06's sheet. All ten states, above, with
# the guess at the picture below:

# %%
shown = states[1:]
plots.show_filmstrip(
    [
        np.stack([getattr(state, name)[i] for state in shown])
        for i in (1, 2)
        for name in ("x_t", "x_0")
    ],
    "Two digits come about in ten steps: the noise thins out in the upper row of each, and the "
    "guess below it is a blur, then a digit.",
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
# How much of this is due to $\eta = 0$? The same start and ten steps, for several $\eta$; the last row takes DDPM's
# other variance, $\beta$, in place of $\tilde\beta$.

# %%
options = {f"eta = {eta}": {"eta": eta} for eta in (0.0, 0.2, 0.5, 1.0)}
options["eta = 1, beta"] = {"eta": 1.0, "large_noise": True}
rows = {}
for name, option in options.items():
    *_, last = sampling.sample(
        predict_noise, noise_schedule, (8, 28, 28, 1), STEPS, seed=SEED, clip=True, **option
    )
    rows[name] = last.x_t
plots.show_filmstrip(
    list(rows.values()),
    "Five rows of eight: mostly readable digits, which change as eta grows; in the last row "
    "those of eta = 1 again, but full of specks.",
    row_labels=list(rows),
)

# %% [markdown]
# With more noise other digits come about, from the same start, but, as far as eight digits can tell, no worse ones.
# So the ten steps were bought by leaving out times, which lesson 06 did too; what $\eta = 0$ buys is a fixed map from
# noise to picture. (On photographs $\eta = 1$ does suffer from few steps: table 1 of the DDIM paper. Lesson 08 makes
# that table for digits.)
#
# The last row does suffer. Its noise is of the variance $\hat\sigma^2 = 1 - \bar\alpha_t / \bar\alpha_s$, without
# keeping less of $\hat\epsilon$ in return (DDIM, appendix D.3), so that the variances no longer add up. At first that
# hardly matters, but in the last step that adds noise it is almost twice as loud as it should be, and the step to 0
# takes out no more than it expects. The rest stays, as specks:

# %%
for t, s in ((1000, 900), (600, 500), (200, 100)):
    tilde, beta = (
        deviation(t, s, noise_schedule, 1.0),
        sampling.sigma_hat(noise_schedule, t, s),
    )
    print(f"from {t} to {s}: noise of size {beta:.2f} with beta, {tilde:.2f} with beta-tilde")

# %% [markdown]
# ## The same noise, the same picture
#
# Without fresh noise all is decided by $x_T$: another `seed` changes nothing. More steps then follow the same curve
# more closely, so they should draw the same digit, ever closer to the one at its end. (Which need not be a nicer
# one.) With $\eta = 1$ they should not.


# %%
start = sampling.noise_of(SEED, 0, (8, 28, 28, 1))


def draw(steps, x_T=start, eta=0.0, seed=SEED):
    *_, last = sampling.sample(
        predict_noise, noise_schedule, x_T.shape, steps, x_T=x_T, eta=eta, seed=seed, clip=True
    )
    return last.x_t


walks = {f"{steps} steps": draw(steps) for steps in (5, 10, 50, LONG)}
walks[f"eta 1, {LONG}"] = draw(LONG, eta=1.0)
exact = walks[f"{LONG} steps"]
for name, digits in walks.items():
    print(f"{name:>14}: {np.abs(digits - exact).mean():.3f} a pixel from {LONG} steps of DDIM")
np.testing.assert_allclose(draw(10, seed=SEED + 1), walks["10 steps"], atol=1e-4)
assert (
    np.abs(walks["50 steps"] - exact).mean()
    < np.abs(walks[f"eta 1, {LONG}"] - exact).mean() / 2
)
plots.show_filmstrip(
    list(walks.values()),
    "Eight digits by 5, 10, 50 and 200 steps are mostly the same down each column; in the last "
    "row, with eta = 1, they are other digits.",
    row_labels=list(walks),
)

# %% [markdown]
# Down each column mostly the same digit, already after five steps, and the closer the more steps. A few change all
# the same; presumably their curves pass where two digits are about as likely. In the last row the same start leads to
# other digits, far away. So $x_T$ is a name for the picture that it leads to, and we can compute with names.
#
# In a running notebook, turn both knobs. (The two figures above show some of their places.)


# %%
def digits_by(steps, eta):
    """Eight digits from the same start."""
    return plots.show_images(draw(steps, eta=eta), f"Eight digits, {steps = }, {eta = }.")


sliders = interact_manual(digits_by, steps=(1, 50), eta=(0.0, 1.0, 0.1))

# %% [markdown]
# ## Between two noises
#
# If every noise is a picture, then a way from noise to noise is a way from picture to picture. But which way?
# Half-way between two independent noises their mean has the standard deviation $\sqrt{1/2}$: no noise that the
# network has ever seen at $T$. The sum of 784 squares of noise is 784, give or take 40, so that nearly all noise lies
# close to a sphere of radius 28, and it is safer to go round on its surface (*slerp*; DDIM, appendix D.5):
#
# $$x_T = \frac{\sin((1 - p)\,\varphi)}{\sin\varphi}\, x_T^{(0)} + \frac{\sin(p\,\varphi)}{\sin\varphi}\, x_T^{(1)}, \qquad \text{where } \varphi \text{ is the angle between the two noises.}$$

# %%
# Three of the sheet above, by their places on it.
names, noises = ("a 7", "a 6", "an 8"), sampling.noise_of(SEED, 0, (16, 28, 28, 1))[[0, 2, 14]]
parts = np.linspace(0, 1, 9, dtype=np.float32)
p, rows = parts[:, None, None, None], {}
seven, *others = (np.stack([noise] * 9) for noise in noises)
for name, other in zip(names[1:], others, strict=True):
    rows[f"to {name}, slerp"] = sampling.slerp(seven, other, parts)
    rows[f"to {name}, straight"] = (1 - p) * seven + p * other
sizes = {name: x_T.std(axis=(1, 2, 3)).round(2) for name, x_T in rows.items()}
print("\n".join(f"{name:16}: noise of size {size}" for name, size in sizes.items()))
assert all((size.min() > 0.9) == ("slerp" in name) for name, size in sizes.items())
plots.show_filmstrip(
    [draw(50, x_T) for x_T in rows.values()],
    "Four rows of nine pictures from a 7 to a 6 and to an 8, by way of other digits; in the "
    "straight rows the middle ones are plainer.",
    row_labels=list(rows),
)

# %% [markdown]
# Between one digit and another lie other digits, and few pictures that are none. The change from one to the next is
# quick: handwriting has nothing half-way. On the straight way the middles are plainer digits, hardly worse here; but
# they come from starts that no draw would ever give.
#
# ## There and back
#
# If each picture has its noise, which noise has *this* picture? Walk the curve in the other direction. From $s$ up to
# $t$, the same formula with the times exchanged and $\eta = 0$:
#
# $$x_t = \sqrt{\bar\alpha_t}\,\hat x_0 + \sqrt{1 - \bar\alpha_t}\;\hat\epsilon, \qquad \hat x_0 = \frac{x_s - \sqrt{1 - \bar\alpha_s}\,\hat\epsilon}{\sqrt{\bar\alpha_s}}$$
#
# The step down used the network's answer at $t$. The one up knows $x_s$ but not yet $x_t$, so `sampling.invert` asks
# at $t$ with $x_s$ in place of $x_t$: a small error in each step. With `corrections=1` it asks again with the $x_t$
# that it found. (No clipping here: a clipped step cannot be walked back.)

# %%
digits = next(iter(data.load_digits("test", 8)))[0].numpy()


def there_and_back(steps, corrections=0, x_0=digits):
    *_, top = sampling.invert(
        predict_noise, noise_schedule, x_0, steps, corrections=corrections
    )
    *_, last = sampling.sample(predict_noise, noise_schedule, x_0.shape, steps, x_T=top.x_t)
    return top.x_t, last.x_t


errors = []
for corrections in (0, 1):
    pairs = [there_and_back(steps, corrections) for steps in BACK]
    errors.append([np.mean((again - digits) ** 2) for _, again in pairs])
    line = ", ".join(f"{error:.4f} in {n}" for n, error in zip(BACK, errors[-1], strict=True))
    print(f"corrections={corrections}, mean squared error by steps: {line}")
noise, again = pairs[-1]
if data.digits() == "mnist":  # the network has seen no printed digits
    assert (np.diff(errors, axis=1) < 0).all()
    assert (np.diff(errors, axis=0) < 0).all()
plots.show_filmstrip(
    [digits, noise, again],
    "Eight digits; below each its noise, in which the strokes can be made out on even, faintly "
    "chequered paper; below that the digit that comes back from it, the same.",
    row_labels=["digit", "its noise", "back again"],
)

# %% [markdown]
# The digits come back, the better the more steps we take. At equal steps the correction helps; but it asks twice on
# the way up, and as many questions spent on more steps do as well or better. (Our pixels lie in [-1, 1]; table 2 of
# the DDIM paper has the same error for pixels in [0, 1], where it counts a quarter.)
#
# But look at the noise! It should look like $\mathcal N(0, I)$, and does so, roughly, only along the strokes. (The
# chequers have the size of the network's patches, lesson 04, and presumably come from them.) Plain paper is *exactly*
# $-1$. A step up asks for the noise in a pixel that has none, and the answer is next to none. If that is the reason,
# a little grain in the paper should be enough to mend it:

# %%
grainy = digits + 0.05 * sampling.noise_of(SEED, 1, digits.shape)
sizes = [there_and_back(50, x_0=x_0)[0][digits == -1].std() for x_0 in (digits, grainy)]
print(
    f"noise where there was paper: of size {sizes[0]:.2f}, and {sizes[1]:.2f} if it had a grain"
)
assert sizes[0] < 0.5 < 0.8 < sizes[1] < 1.3

# %% [markdown]
# The grain was what was missing; now the noise is there, if a little too loud. So the $x_T$ of a digit with perfectly
# clean paper leads back to it, but is one that a draw from $\mathcal N(0, I)$ would practically never give.
#
# ## Recap
#
# - You **derived** a family of steps that share the training loss, from DDPM ($\eta = 1$) to DDIM ($\eta = 0$).
# - You **drew** digits in ten steps where lesson 06 took 200, along curves that straight pieces follow well.
# - You **travelled**: between noises on the sphere, and from a digit to its noise and back.
#
# Are ten steps as good as two hundred? [Lesson 08](08_evaluation.ipynb) measures.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Three steps.** Set `STEPS = 3`. What do the digits look like, and why?
#
# <details><summary>Answer</summary>
#
# Some can still be read, with grey and doubled strokes; others are ghosts. The first step's guess is the blot that
# all digits have in common, the second's is a blur, and there is only one more.
#
# </details>
#
# **2. The same noise, with noise.** Will `draw(10, eta=1.0)`, run twice, give the same digits? And
# `draw(10, -start, eta=1.0)`, from the opposite start? And `draw(10, eta=1.0, seed=SEED + 1)`?
#
# <details><summary>Answer</summary>
#
# Twice the same: the noise of a step depends on the seed and the step's number alone. From the opposite start nearly
# the same again, since the first step's $\sigma$ is 0.99 and forgets the start. With another seed other digits. It is
# the noise of the steps that decides.
#
# </details>
#
# **3. A loud noise.** What do `draw(10, 1.2 * start)` and `draw(10, 0.8 * start)` look like?
#
# <details><summary>Answer</summary>
#
# Nearly the same digits. From the louder noise with rough edges and specks, since the network takes the noise to be
# of size 1, and leaves what is above it. From the quieter one plainer and cleaner ones, of the kind that is most
# common.
#
# </details>
#
# **4. In code.** Write `step_up(x_s, noise_pred, s, t, chain)`: the step from $s$ up to $t > s$, for a given
# prediction of the noise, such that `step_down` with the same one leads back to $x_s$.


# %% tags=["solution"]
def step_up(x_s, noise_pred, s, t, chain):
    a_s, a_t = chain.alpha_bar[[s, t]]
    guess = (x_s - np.sqrt(1 - a_s) * noise_pred) / np.sqrt(a_s)
    return np.sqrt(a_t) * guess + np.sqrt(1 - a_t) * noise_pred


# %%
checks.step_up(step_up)

# %% [markdown]
# **5. Bug clinic.** This step has two mistakes, each of which was found in published code. What would the pictures
# look like, and in which step does it fail altogether? Mend it. (The function is called `mended`, so that the check
# finds it.)
#
# ```python
# def mended(x_t, noise_pred, t, s, chain, eta, z):
#     a_t, a_s = chain.alpha_bar[[t, s]]
#     sigma = eta * np.sqrt((1 - a_t) / (1 - a_s) * (1 - a_t / a_s))
#     guess = (x_t - np.sqrt(1 - a_t) * noise_pred) / np.sqrt(a_t)
#     return np.sqrt(a_s) * guess + np.sqrt(1 - a_s) * noise_pred + sigma * z
# ```


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
# - *DDIM*: Song, Meng and Ermon, "Denoising Diffusion Implicit Models" (2021). Its table 1 compares steps and $\eta$,
#   its table 2 the error of there and back; lesson 08 repeats both in small.
# - *Better steps along the same curve*: Lu and others, "DPM-Solver" (2022), and Karras and others, "Elucidating the
#   Design Space of Diffusion-Based Generative Models" (2022), which reach the same quality with fewer questions.
# - *Editing pictures* by going there, changing what the network is told, and coming back: Mokady and others,
#   "Null-text Inversion" (2023), who also mend the errors that add up on the way.
# - *Noise is not useless*: with many steps, a little of it repairs errors of the network (Karras and others, section
#   4).
