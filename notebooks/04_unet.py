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
# # 04. Build a network that knows how noisy its input is
#
# The network of lesson 01 saw a noisy image and nothing else. The perfect denoiser of
# [lesson 03](03_reparameterization.ipynb) is also told the time $t$, and answers with its best guess at the picture
# or, equivalently, at the noise, $\hat\epsilon(x_t, t)$. We now build the network that will learn to imitate it: a
# U-Net similar to the one in DDPM.

# %% [markdown]
# **You will**
#
# - **turn** the time into a vector that a network can read;
# - **assemble** a U-Net from its parts: normalisation, residual block, attention, patches, skips;
# - **test** it, before the real training, the way practitioners do.
#
# **You need** lesson 03: $x_t$, $\bar\alpha_t$ and the perfect denoiser. To run, it
# takes <!-- measured -->about 2 minutes on two CPU cores and 1.4 GB of memory<!-- /measured -->.

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
from einops import rearrange

from lessons_lib import data, diffusion, layers, oracle, plots, schedule, unet
from lessons_lib.checks import lesson_04 as checks
from lessons_lib.profile import choose

# %% tags=["parameters"]
SEED = 0
T = 1000
BATCH = 64
STEPS = choose(smoke=30, cpu=250, gpu=300)  # on one and the same batch

keras.utils.set_random_seed(SEED)
rng = np.random.default_rng(SEED)
linear = schedule.linear(T)


def normal(*shape):
    """Fresh Gaussian noise."""
    return rng.standard_normal(shape, dtype=np.float32)


digits, labels = (x.numpy() for x in next(iter(data.load_digits("test[:2000]", 2000))))

# %% [markdown]
# ## What if it is told the wrong time?
#
# We tell the perfect denoiser a wrong time, in a world where it can be computed: 200 digits, all equally likely, each
# the centre of a Gaussian cloud of variance 0.1. (Without clouds, it would return nearly the same picture for all
# times up to 600.) The denoiser averages over the digits as in lesson 03; within a cloud, the best guess follows from
# the same Bayes' rule as a step back. We draw 40 pictures $x_0$ from this world, digits with some grain, and add
# noise up to $t = 300$. Then we ask for $x_0$ twenty times, each time naming another $t$.

# %%
world = oracle.mixture(linear, digits[:200], [0.1] * 200, [1 / 200] * 200)
centres = digits[rng.integers(200, size=40)]
drawn = centres + 0.1**0.5 * normal(*centres.shape)
noised = np.asarray(diffusion.add_noise(drawn, normal(*drawn.shape), linear.alpha_bar[300]))

told = np.append(1, np.arange(50, T, 50))
answers = [np.asarray(world.denoise(noised, np.full(40, at))) for at in told]
errors = np.square(answers - drawn).mean(axis=(2, 3, 4))  # one for each time and picture
error = dict(zip(told.tolist(), errors.mean(axis=1), strict=True))
print(*(f"told {at}: {error[at]:.3f}" for at in (1, 250, 300, 600, 700, 950)), sep=", ")

figure, axes = plt.subplots(figsize=(7, 2.8))
axes.plot(told, list(error.values()), "o-", color=plots.BLUE, markersize=4)
axes.axhline(error[300], color=plots.GREY, linestyle="--", linewidth=1)
axes.annotate("told the true time", (300, 0.1), (300, 0.35), arrowprops={"arrowstyle": "->"})
axes.set(xlabel="time that we tell the denoiser", ylabel="squared error", ylim=(0, 0.8))
plots.show(
    figure,
    "The squared error for each time that the denoiser is told. It falls steeply from 0.73 to "
    "the true time, 300, where it is 0.094, stays nearly flat until 700 and rises to 0.35.",
)

# %%
worse = errors - errors[told == 300]
standard_error = worse.std(axis=1) / np.sqrt(40)
assert (worse.mean(axis=1) > 3 * standard_error)[told != 300].all()
ratios = errors.mean(axis=1) / error[300]
if data.digits() == "mnist":  # printed digits are more alike
    assert ratios[(told >= 250) & (told <= 700)].max() < 1.08
    np.testing.assert_allclose([ratios[0], ratios[-1]], [8, 3.75], rtol=0.1)
    assert abs(error[300] - 0.094) < 0.01
grain = drawn - centres
left = {at: np.vdot(answers[at // 50] - centres, grain) for at in (300, 600)}
assert 0 < left[600] < left[300] / 2
bare = oracle.points(linear, digits[:200])
early, late = (bare.denoise(noised, np.full(40, at)) for at in (1, 600))
assert np.square(early - late).mean() < error[300] / 10

shown = (100, 300, 600, 900)
plots.show_filmstrip(
    [drawn[:8], noised[:8], *(answers[at // 50][:8] for at in shown)],
    "Eight digits with some grain, the same under noise, and four answers. Told t = 100, the "
    "denoiser leaves much of the noise; told 300, a little grain; told 600, the digits are "
    "smooth; told 900, it answers with nearly the same grey blot for all.",
    row_labels=["x_0", "x_t, t=300", *(f"told t={at}" for at in shown)],
)

# %% [markdown]
# The error is smallest at the true time. This is no accident: told the true $t$, the denoiser answers with the mean
# of $x_0$ given $x_t$, and no other answer has a smaller mean squared error (lesson 03). But a moderately wrong time
# costs little: from 250 to 700, the error of 0.094 grows by less than 8 %. Told 1, the denoiser leaves the noise in
# the picture, at eight times the error; told 950, it blends many digits, at nearly four times the error. Told 600,
# the pictures look cleaner but are slightly worse: $x_0$ has grain, and less of it is left.
#
# And if the denoiser is told nothing? We can compute this in a smaller world, a single number that is $-1$ or $1$. If
# all times are equally likely, the best answer without $t$ is
#
# $$E[\epsilon \mid x_t] = \sum_t p(t \mid x_t)\, \hat\epsilon(x_t, t),$$
#
# the average of the answers for all times, weighted by how probable each is given $x_t$. We check it against a
# simulation without this formula: 100,000 numbers, each noised at a random time.

# %%
coin = oracle.points(linear, [[-1.0], [1.0]])
grid, some_times = np.linspace(-6, 6, 601)[:, None], np.arange(5, T + 1, 5)
at_each_t = np.stack([coin.predict_noise(grid, np.full(601, at))[:, 0] for at in some_times])
density = np.exp([coin.log_likelihood(grid, np.full(601, at)) for at in some_times])
blind = np.average(at_each_t, axis=0, weights=density)  # p(t | x) is proportional to it

coin_t = rng.choice(some_times, 100_000)
coin_x_0, coin_noise = rng.choice([-1.0, 1.0], (100_000, 1)), rng.normal(size=(100_000, 1))
coin_x_t = diffusion.add_noise(coin_x_0, coin_noise, linear.at(coin_t, like=coin_x_0))
noisy_coins, true_noise = np.ravel(coin_x_t), coin_noise.ravel()

edges = np.linspace(-2.5, 2.5, 26)
counts, _ = np.histogram(noisy_coins, edges)
means = np.histogram(noisy_coins, edges, weights=true_noise)[0] / counts
figure, axes = plt.subplots(figsize=(7, 3))
for at, color in ((100, plots.BLUE), (300, plots.GREEN), (900, plots.GREY)):
    axes.plot(grid, at_each_t[at // 5 - 1], color=color, label=f"told t={at}")
axes.plot(grid, blind, color=plots.ORANGE, linestyle="--", linewidth=2, label="not told")
axes.plot((edges[1:] + edges[:-1]) / 2, means, "k.", label="mean in the simulation")
axes.set(xlabel="$x_t$", ylabel="best guess at the noise", xlim=(-3, 3), ylim=(-3.5, 3.5))
axes.legend(fontsize=8)
plots.show(
    figure,
    "The best guess at the noise in x_t, as a curve for each of three times and one for an "
    "unknown time, on which the simulated means lie. The curve for t = 100 is a zigzag that "
    "differs from the others by more than 2, the one for t = 900 is nearly a straight line.",
)

# %% [markdown]
# The same $x_t$ calls for different answers at different times. Look at the zigzag of $t = 100$, where signal and
# noise are multiplied by 0.95 and 0.32. So $x_t = 0.2$ very probably came from 1, with noise
# $(0.2 - 0.95) / 0.32 = -2.3$. By symmetry $-0.2$ came from $-1$, with noise 2.3. The best guesses, $-2.2$ and $2.2$,
# are a little smaller, since some doubt remains. The steps of the dashed curve come from small times, when $x_t$ is
# close to $\pm 1$: without the times up to 50, they are less than a third as steep.
#
# Not knowing $t$ more than doubles the squared error here. But $x_t$ is only one number. How much does a picture say
# about its time? Before we look, $t$ lies between 250 and 350 with probability 0.105, as 21 of our 200 times do. And
# afterwards?

# %%
told_guess = np.ravel(coin.predict_noise(coin_x_t, coin_t))
missed = true_noise - np.interp(noisy_coins, grid[:, 0], blind)
told_error, blind_error = (true_noise - told_guess) ** 2, missed**2
print(f"error when told t: {told_error.mean():.3f}; when not: {blind_error.mean():.3f}")

excess = blind_error - 2 * told_error
assert excess.mean() > 3 * excess.std() / np.sqrt(excess.size)
missed_in_bin = np.histogram(noisy_coins, edges, weights=missed)[0]
variance_in_bin = np.histogram(noisy_coins, edges, weights=missed**2)[0]
assert (abs(missed_in_bin) < 4 * np.sqrt(variance_in_bin)).all()  # four standard errors

zigzag = coin.predict_noise([[0.2], [-0.2]], [100, 100])
np.testing.assert_allclose(zigzag, [[-2.2], [2.2]], atol=0.05)
neighbours = coin.predict_noise([[1.02], [1.02]], [1, 2])
np.testing.assert_allclose(neighbours, [[2.0], [1.4]], atol=0.05)
without_early = np.average(at_each_t[10:], axis=0, weights=density[10:])  # t > 50
near_one = abs(grid[1:, 0] - 1) < 0.2
steepest = [np.diff(curve)[near_one].max() for curve in (without_early, blind)]
assert steepest[0] < steepest[1] / 3

# %%
close = abs(some_times - 300) <= 50
evidence = [world.log_likelihood(noised[:8], np.full(8, at)) for at in some_times]
odds = np.exp(evidence - np.max(evidence, axis=0))
number, picture = (p[close].sum(axis=0) / p.sum(axis=0) for p in (density, odds))
print(f"probability of 250..350: before looking {close.mean():.3f}; given a number at most")
print(f"{number.max():.3f}; given one of eight pictures at least {picture.min():.3f}")
assert close.mean() == 0.105 < number.max() < 0.13
assert picture.min() > (0.99 if data.digits() == "mnist" else 0.9)

# %% [markdown]
# So in this world, and probably for real digits, a blind network could read the time off the picture (*In practice*,
# below). But we *know* $t$, and a network that is told does not have to find out.
#
# ## The time as a vector
#
# How should $t$ enter? As one number between 0 and 1, it would differ by only a thousandth between neighbours. A
# network would need large weights to react to so little, as it must at small $t$: in our smaller world, the best
# guess for $x_t = 1.02$ is 2.0 at $t = 1$ and 1.4 at $t = 2$. The usual solution comes from machine translation,
# where a model must know where in a sentence a word stands (Vaswani et al. 2017, section 3.5): **a row of clocks**. A
# clock that turns by $\omega$ per step shows
#
# $$\big(\sin \omega t,\ \cos \omega t\big), \qquad \omega = 1,\ \dots,\ \tfrac{1}{10000},$$
#
# where $\omega$ falls by the same factor from each clock to the next. All sines come first, and the slowest $\omega$
# is exactly $1/10000$, as in DDPM's code.


# %%
def sinusoids(t, width):
    frequencies = np.exp(-np.log(10_000) * np.arange(width // 2) / (width // 2 - 1))
    angles = t[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


times = np.arange(1, T + 1)
vectors = sinusoids(times, 64)

figure, (picture_of_all, curve) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
picture_of_all.imshow(vectors.T, aspect="auto", cmap="coolwarm", extent=(1, T, 64, 0))
picture_of_all.set(title="all vectors", xlabel="t", ylabel="component: sines, cosines")
for at, color in ((100, plots.BLUE), (500, plots.ORANGE)):
    from_there = np.linalg.norm(vectors - vectors[at - 1], axis=1)
    curve.plot(times, from_there, color=color, label=f"t={at}")
curve.set(title="distance to the vector of t", xlabel="t", ylabel="distance", ylim=(0, 9.5))
curve.legend(loc="upper right", ncols=2)
plots.show(
    figure,
    "Left: the vectors of all times as a coloured map, sines above and cosines below; in each"
    " half the first flicker from step to step and the last hardly change. Right: distances "
    "from the vectors of t = 100 and t = 500, with narrow dips to zero at these times.",
)

# %% [markdown]
# Left: each column is one $t$; red is 1, blue $-1$. The slow clocks, at the bottom of each half, hardly turn. Right:
# neighbouring times are clearly separated, by the same distance at every $t$, because the squared distance,
# $\sum_\omega (2 - 2 \cos \omega)$, does not contain $t$. Farther away the distance wiggles, and grows slowly on
# average.
#
# We compute these vectors in `float32` even where the network uses 16 bits: `bfloat16` keeps eight significant bits
# and turns 999 into 1000.
#
# As in DDPM's code, two small dense layers turn the clocks into what the blocks need. As in lesson 01, we build the
# network from symbolic tensors, starting from `keras.Input`: Keras records the layers now and computes numbers later.
#
# **Earned.** `layers.SinusoidalEmbedding` computes the same vectors; `unet.time_embedding` adds the dense layers.


# %%
def time_network(t, width):
    x = layers.SinusoidalEmbedding(width)(t)
    x = keras.layers.Dense(width, activation="silu")(x)
    return keras.layers.Dense(width, activation="silu")(x)


# %%
np.testing.assert_allclose(layers.SinusoidalEmbedding(64)(times), vectors, atol=1e-4)
apart = {lag: np.linalg.norm(vectors[lag:] - vectors[:-lag], axis=1) for lag in (1, 30, 900)}
rounded = tf.cast(times, tf.bfloat16).numpy().astype(np.float32)
print(f"neighbours are {apart[1][0]:.2f} apart")
print(f"bfloat16 tells {len(set(rounded))} of the 1,000 times apart")
np.testing.assert_allclose(apart[1], apart[1][0])
assert 3 * apart[1].mean() < apart[30].mean() < apart[900].mean() < 1.5 * apart[30].mean()
assert rounded[times == 999] == 1000

# %% [markdown]
# ## A normalisation that listens to the clock
#
# Inside a network, an image has many features at each position, its **channels**, one for each filter of the
# preceding convolution. **Group normalisation** takes a few channels together, a *group*, and gives all their
# features in one image mean 0 and variance 1. Then a **scale** and a **shift** for each channel let the network
# choose another mean and variance. Usually both are learned like any weight. If a dense layer computes them from the
# time's vector instead, every block can behave differently at each $t$:
#
# $$x \to \mathrm{SiLU}\Big((1 + \text{scale}_t)\,\frac{x - \text{mean}}{\text{std}} + \text{shift}_t\Big), \qquad \mathrm{SiLU}(y) = \frac{y}{1 + e^{-y}} \qquad \text{(Wu and He 2018, eqs. 1, 2 and 6)}$$
#
# - $x$: the image inside the network; mean and std: the mean and the standard deviation of one group in one image,
#   over all positions (with $10^{-5}$ added to the variance, so that we never divide by 0);
# - $1 + \text{scale}_t$: Wu and He learn this factor and the shift. Nichol and Dhariwal (2021, appendix A) compute
#   both from the time, and write the factor with $1 +$, so that a dense layer that answers 0 changes nothing;
# - SiLU: an activation function, which is not part of Wu and He's formula.
#
# In einops, `"b h w (g k) -> b g (h w k)"` splits the channels into $g$ groups of $k$, and puts all features of a
# group into one row. **Earned.** `layers.AdaptiveGroupNorm` does the same as a layer. Without a second argument it
# learns a scale and a shift of its own.


# %% tags=["slide"]
def normalise(x, scale, shift, groups=8):
    grouped = rearrange(x, "b h w (g k) -> b g (h w k)", g=groups)
    centred = grouped - grouped.mean(axis=-1, keepdims=True)
    norm = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-5)
    norm = rearrange(norm, "b g (h w k) -> b h w (g k)", h=x.shape[1], w=x.shape[2])
    y = (1 + scale[:, None, None]) * norm + shift[:, None, None]
    return y / (1 + np.exp(-y))


# %%
images, scale, shift = 3 + 2 * normal(2, 14, 14, 32), normal(2, 32), normal(2, 32)
fast = layers.AdaptiveGroupNorm()(images, np.concatenate([scale, shift], axis=1))
np.testing.assert_allclose(fast, normalise(images, scale, shift), atol=1e-4)

# %% [markdown]
# ## A residual block
#
# The main part of the network is the residual block (He et al. 2016), in the order of DDPM's code: two convolutions,
# each after a normalisation, and a **shortcut** past both, so that the block computes only what to *change*. The time
# enters through the second normalisation. Where the number of channels changes, a $1 \times 1$ convolution adapts the
# shortcut.
#
# **Earned.** `unet.residual_block` is the same function. With the same weights, drawn at random, both must give the
# same answers.


# %%
def residual_block(x, embedding, width):
    change = layers.AdaptiveGroupNorm()(x)
    change = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(change)
    change = layers.AdaptiveGroupNorm()(change, keras.layers.Dense(2 * width)(embedding))
    change = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(change)
    if x.shape[-1] != width:
        x = keras.layers.Conv2D(width, 1, use_bias=False)(x)
    return x + change


# %%
def random_weights(model):
    return [0.1 * normal(*weight.shape) for weight in model.get_weights()]


ends = [keras.Input((14, 14, 32)), keras.Input((64,))]
block = keras.Model(ends, residual_block(*ends, 64))
their_block = keras.Model(ends, unet.residual_block(*ends, 64))
for layer in block.layers:
    kind, shape = type(layer).__name__, str(layer.output.shape)
    print(f"{kind:20}{shape:22}{layer.count_params():7,} parameters")

block.set_weights(random_weights(block))
their_block.set_weights(block.get_weights())
some_input = [normal(4, 14, 14, 32), normal(4, 64)]
np.testing.assert_allclose(their_block(some_input), block(some_input), atol=1e-4)
in_convolutions = 9 * 32 * 64 + 9 * 64 * 64
np.testing.assert_allclose(in_convolutions / block.count_params(), 5 / 6, rtol=0.02)

# %% [markdown]
# Five sixths of the parameters sit in the two $3 \times 3$ convolutions. The first normalisation is not told the time
# and learns a scale and a shift for each of its 32 channels. The second has no weights of its own: the dense layer
# computes them.
#
# ## Attention: look at similar places
#
# In a convolution, a position sees only its neighbours. To close a loop on one side of a zero, it may help to see the
# other side. **Attention** lets every position look at every other. From its features, dense layers make a *query*, a
# *key* and a *value*, the rows of three matrices $Q$, $K$ and $V$. A position's result is the average of all values,
# weighted by how well its query fits their keys:
#
# $$W = \operatorname{softmax}\Big(\frac{Q K^\top}{\sqrt{c}}\Big), \qquad \text{Attention}(Q, K, V) = W V \qquad \text{(Vaswani et al. 2017, eq. 1)}$$
#
# - $W_{ij}$, the **attention weights**: how much position $i$ takes from position $j$. Softmax takes $e$ to the power
#   of each entry and divides by the sum of its row, so that each row adds up to 1;
# - $c$: the number of channels. If the entries of a query and a key are independent, with mean 0 and variance 1,
#   their dot product has standard deviation $\sqrt{c}$. Divided by it, the scores stay near 1, and softmax does not
#   put everything on one position.
#
# What does this do? We can try it without training. Let queries and keys be the pixels of a noisy digit, in squares
# of $5 \times 5$, and each value the pixel in the middle of its square. These vectors differ in length, so this demo
# replaces $QK^\top / \sqrt{c}$ by $-6$ times the mean squared distance; for unit vectors both give the same order.
# The 6 is chosen by hand.

# %%
clean = digits[labels == 0][:1]
noisy = np.asarray(diffusion.add_noise(clean, normal(*clean.shape), linear.alpha_bar[100]))
clean, noisy = clean[0, ..., 0], noisy[0, ..., 0]
windows = np.lib.stride_tricks.sliding_window_view(np.pad(noisy, 2, mode="edge"), (5, 5))
squares = windows.reshape(784, 25)
distances = np.square(squares[:, None] - squares).mean(axis=-1)
attention_weights = np.asarray(keras.ops.softmax(-6 * distances, axis=-1))
attended = (attention_weights @ noisy.ravel()).reshape(28, 28)

# %%
ink = clean > 0.8
places = {"query on ink": tuple(np.argwhere(ink)[-1]), "query on paper": (1, 1)}
of_each = attention_weights.reshape(28, 28, 28, 28)  # query's row and column, then key's
looks = {name: of_each[place] for name, place in places.items()}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained")
for axis, image, title in ((axes[0], noisy, "input"), (axes[3], attended, "output")):
    axis.imshow(image, cmap="gray_r", vmin=-1, vmax=1)
    axis.set_title(title, fontsize=9)
for axis, (name, look) in zip(axes[1:3], looks.items(), strict=True):
    axis.imshow(np.sqrt(look), cmap="Oranges")  # the root shows small ones too
    axis.plot(*places[name][::-1], "o", color=plots.BLUE)
    axis.set_title(f"attention weights, {name}", fontsize=9)
for axis in axes:
    axis.axis("off")
plots.show(
    figure,
    "A noisy zero; where a query at its bottom looks: along the bottom of the ring and at its "
    "top; where a query on the paper looks: all over the paper, away from the ink; and the "
    "output, the same zero with much less noise.",
)

# %% [markdown]
# The query on ink looks along its own stroke and, across the ring, at one that runs the same way. The one on paper
# looks all over the paper. Averaging over similar squares removes three quarters of the squared error, and makes the
# ink a little paler. This denoiser is known as *non-local means* (Buades et al. 2005). In a network, queries and keys
# are learned, and with them what counts as similar.
#
# Here is attention, and the block that the network uses. Attention does not know *where* a position is: if we shuffle
# the positions, the results are shuffled in the same way. (The convolutions around it can still tell, from the padded
# border.) Every position is compared with every other, so we use it only where they are few, on the coarsest level.
#
# **Earned.** `layers.Attention` is `attend` for images whose channels hold query, key and value;
# `unet.self_attention` is the block.


# %%
def attend(queries, keys, values):
    scores = keras.ops.matmul(queries, keras.ops.swapaxes(keys, 1, 2))
    scores = scores / np.sqrt(queries.shape[-1])
    return keras.ops.matmul(keras.ops.softmax(scores, axis=-1), values)


def self_attention(x):
    rows, columns, channels = x.shape[1:]
    change = layers.AdaptiveGroupNorm(silu=False)(x)
    change = keras.layers.Dense(3 * channels, use_bias=False)(change)
    change = keras.layers.Reshape((rows * columns, 3 * channels))(change)
    change = attend(*keras.ops.split(change, 3, axis=-1))
    change = keras.layers.Reshape((rows, columns, channels))(change)
    return x + keras.layers.Dense(channels)(change)


# %%
on_ink, on_paper = (look[clean > -0.5].sum() for look in looks.values())
across = looks["query on ink"][:14].sum()
print(f"attention weights on ink: {on_ink:.0%} of one query's, {on_paper:.1%} of the other's")
print(f"from the bottom of the ring, {across:.0%} fall on the upper half")
printed = data.digits() != "mnist"  # their rings have other widths
assert printed or on_ink > 0.8 > 0.3 > across > 0.05 > on_paper
before, after = np.square(noisy - clean).mean(), np.square(attended - clean).mean()
print(f"squared error before attention {before:.3f}, after {after:.3f}")
np.testing.assert_allclose(after / before, 0.25, atol=0.25 if printed else 0.06)
print(f"mean of the ink before {noisy[ink].mean():.2f}, after {attended[ink].mean():.2f}")
assert printed or 0.05 < noisy[ink].mean() - attended[ink].mean() < 0.15

padded = np.asarray(block([np.ones((1, 14, 14, 32), "float32"), normal(1, 64)]))[0]
assert np.abs(padded[0, 0] - padded[7, 7]).max() > 0.1  # all positions were alike
triple = normal(3, 2, 49, 16)  # queries, keys and values
expected = np.asarray(attend(*triple))
stacked = np.concatenate(list(triple), axis=-1).reshape(2, 7, 7, 48)
result = np.reshape(layers.Attention()(stacked), (2, 49, 16))
np.testing.assert_allclose(result, expected, atol=1e-5)
mix = rng.permutation(49)
mixed = attend(*triple[:, :, mix])
np.testing.assert_allclose(mixed, expected[:, mix], atol=1e-5)

# %% [markdown]
# ## The whole network
#
# We have all the parts. Here is the plan, drawn from the network that `unet.unet` builds for two levels with 48 and
# 96 channels, one residual block per level each way, and patches of $2 \times 2$ pixels.

# %%
network = unet.unet(28, 1, widths=(48, 96), blocks=1, patch=2)
plots.plot_unet(
    network,
    "The network as a letter U. From left to right: 28 by 28 pixels, folded to 14 by 14, then 7 "
    "by 7 at the bottom, and up again. Arrows lead down, along the bottom and up, with the names "
    "of the operations; two more lead across, to bars that become wider by what they receive.",
)

# %% [markdown]
# A bar is as high as its image and as wide as its channels; both stand below it. An operation stands at its arrow.
# Every blue bar receives the vector of $t$. Follow the two green arrows, the **skips**: each ends in a bar that is
# wider because of it, with $96 + 96$ and $96 + 48$ channels.
#
# **The patches.** At $28 \times 28$ positions every layer is expensive. Folding each square of $2 \times 2$ pixels
# into four channels leaves a quarter of the positions and loses nothing.
#
# **The way down** looks for features at each level. A convolution with stride 2 halves height and width, while the
# number of channels doubles. On the coarsest level attention follows the residual block. We keep the result of each
# level for later. At the bottom come two more residual blocks with attention between them.

# %%
FOLD, UNFOLD = "b (h p) (w q) c -> b h w (p q c)", "b h w (p q c) -> b (h p) (w q) c"
folded = rearrange(digits[:8], FOLD, p=2, q=2)
assert folded.shape == (8, 14, 14, 4)
np.testing.assert_array_equal(rearrange(folded, UNFOLD, p=2, q=2), digits[:8])


# %%
def down(x, embedding):
    fine = residual_block(x, embedding, 48)  # 14 x 14
    x = keras.layers.Conv2D(96, 3, strides=2, padding="same")(fine)  # 7 x 7
    coarse = self_attention(residual_block(x, embedding, 96))
    x = self_attention(residual_block(coarse, embedding, 96))
    return residual_block(x, embedding, 96), fine, coarse


# %% [markdown]
# **The way up** mirrors the way down. Nearest-neighbour upsampling, which repeats each position $2 \times 2$ times,
# doubles height and width. Every level also receives what we kept on the way down, so that the fine detail does not
# have to pass through the bottom. Lesson 01 added the skips; here they are concatenated as further channels.


# %%
def up(x, fine, coarse, embedding):
    x = keras.layers.Concatenate()([x, coarse])  # 96 + 96 channels
    x = self_attention(residual_block(x, embedding, 96))
    x = keras.layers.UpSampling2D(2)(x)  # 14 x 14
    x = keras.layers.Concatenate()([x, fine])  # 96 + 48 channels
    return residual_block(x, embedding, 48)


# %% [markdown]
# **The whole**: fold, a first convolution, down, up, a normalisation, a last convolution, unfold. The last
# convolution starts with zero weights, so that the untrained network answers 0, the best constant guess at the noise.
# (`layers.Rearrange` does to symbolic tensors what `rearrange` does to arrays.)
#
# **Earned.** `unet.unet` builds the same network, for any `widths` and `blocks`. With our weights, again drawn at
# random because the zeros would make every answer 0, it must give our answers.

# %%
x_in, t_in = keras.Input((28, 28, 1)), keras.Input((), dtype="int32")
time_vector = time_network(t_in, 4 * 48)
features = layers.Rearrange(FOLD, p=2, q=2)(x_in)
features = keras.layers.Conv2D(48, 3, padding="same")(features)
features = layers.AdaptiveGroupNorm()(up(*down(features, time_vector), time_vector))
features = keras.layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros")(features)
assembled = keras.Model([x_in, t_in], layers.Rearrange(UNFOLD, p=2, q=2)(features))

# %%
theirs = unet.unet(28, 1, widths=(48, 96), blocks=1, patch=2)
assert theirs.count_params() == assembled.count_params()
assembled.set_weights(random_weights(assembled))
theirs.set_weights(assembled.get_weights())
probe = [normal(4, 28, 28, 1), np.int32([1, 10, 500, 1000])]
ours = np.asarray(assembled(probe))
assert ours.std() > 0.1
np.testing.assert_allclose(theirs(probe), ours, atol=1e-4 * ours.std())

# %% [markdown]
# **How far does it see?** Which input pixels influence one output pixel? The gradient of one output with respect to
# the whole input tells us. We compare four networks, all 32 channels wide and without patches and attention: one, two
# and three levels with one block each way, and a single level with three blocks, which has almost as many
# convolutions as the three levels. All are untrained, with random weights in the last layer, and we average over
# three of each kind. Below each map stands the root mean square distance from the middle, weighted by squared
# influence.


# %%
def influence(model):
    """How strongly each input pixel moves the output pixel in the middle: (28, 28)."""
    last = model.get_layer(index=-1)
    last.set_weights(random_weights(last))
    x = tf.constant(normal(8, 28, 28, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        middle = model([x, tf.fill(8, 500)])[:, 14, 14]
    return np.abs(tape.gradient(middle, x)).mean(axis=(0, 3))


designs = {"one level": (1, 1), "one level, 3 blocks": (1, 3)}
designs |= {"two levels": (2, 1), "three levels": (3, 1)}
maps = []
for levels, blocks in designs.values():
    models = [unet.unet(28, 1, (32,) * levels, blocks, attention=()) for _ in range(3)]
    maps.append(np.mean([influence(model) for model in models], axis=0))
from_middle = np.hypot(*np.meshgrid(np.arange(28) - 14, np.arange(28) - 14))  # distance
reach = [np.sqrt(np.average(from_middle**2, weights=seen**2)) for seen in maps]
linearly = [np.average(from_middle, weights=seen) for seen in maps]

# %%
figure, axes = plt.subplots(1, 4, figsize=(9, 2.7), layout="constrained")
for axis, seen, title, pixels in zip(axes, maps, designs, reach, strict=True):
    inked = axis.imshow(seen / seen.max(), norm="log", vmin=3e-3, vmax=1, cmap="Oranges")
    axis.set(xticks=[], yticks=[], xlabel=f"{pixels:.1f} pixels")
    axis.set_title(title, fontsize=10)
figure.colorbar(inked, ax=axes, label="influence", ticks=[0.01, 0.1, 1], format="%g")

np.testing.assert_array_less(reach, np.multiply((1.15, 1.25, 1.7, 2.4), reach[0]))
np.testing.assert_array_less(np.multiply((0.85, 0.9, 1.25, 1.8), reach[0]), reach)
np.testing.assert_allclose(linearly[3] / linearly[0], 1.6, atol=0.15)
single = unet.unet(28, 1, (32,), 1, attention=())
assert [getattr(layer, "kernel_size", 0) for layer in single.layers].count((3, 3)) == 10
assert maps[0][0, 0] > 0  # fourteen rows and columns away
plots.show(
    figure,
    "Four maps of influence on the pixel in the middle. One level: a small dark spot, hardly "
    "larger with three blocks. Two levels: a larger spot. Three levels: larger still, and much "
    "darker surroundings.",
)

# %% [markdown]
# Levels widen the view: in these untrained networks, the distance doubles from one level to three. (Weighted by
# influence itself, the mean distance grows by a factor of 1.6.) One step on a coarser level is two steps on the level
# above, so the same small convolution reaches twice as far. More convolutions on a single level hardly help. Hence
# the U: the lower levels see far, and the skips keep the detail. (The first network's ten $3 \times 3$ convolutions
# reach only ten pixels. The faint colour farther out can only come through group normalisation, whose means and
# deviations take in the whole image.)
#
# ## Is it sound?
#
# A network with a mistake in it often learns all the same. So practitioners first ask a few simple questions, such as
# those in Karpathy's "A Recipe for Training Neural Networks" (2019).
#
# **What does it say before training?** The last convolution starts at zero, so the answer must be 0 for any input,
# and with fresh noise as the target the squared error is the variance of the noise, 1. A first loss that is clearly
# different points to a mistake. **Does every weight take part?** An array of weights whose gradient is zero does not
# learn. Before the first step this is true of all except the last layer, whose zeros stop the gradient.

# %%
x_0 = digits[:BATCH]
t = rng.integers(1, T + 1, BATCH, dtype=np.int32)
noise = normal(*x_0.shape)
x_t = np.asarray(diffusion.add_noise(x_0, noise, linear.at(t, like=x_0)))


def without_gradient(model):
    """For each array of weights, whether its gradient is missing or zero."""
    with tf.GradientTape() as tape:
        error = tf.reduce_mean(tf.square(model([tf.constant(x_t), tf.constant(t)]) - noise))
    gradients = tape.gradient(error, model.trainable_variables)
    return [gradient is None or not np.any(gradient) for gradient in gradients]


def loss(model, x_t, t, noise):
    return np.square(model.predict_on_batch([x_t, t]) - noise).mean()


at_first, first_loss = without_gradient(network), loss(network, x_t, t, noise)
print(f"loss {first_loss:.3f}; {sum(at_first)} of {len(at_first)} arrays without a gradient")
assert abs(first_loss - 1) < 4 * np.sqrt(2 / noise.size)  # four standard errors
assert at_first == [True] * (len(at_first) - 2) + [False] * 2  # the last kernel and bias

# %% [markdown]
# **Can it overfit one batch?** We show it the same images, times and noise in every step. A network that is wired
# correctly learns them by heart, since each $x_t$ in the batch is different, and drives the loss far down. If it
# cannot, we have found a mistake before hours of training. The figure also shows what two answers without a network
# cost: 0, and $\sqrt{1-\bar\alpha_t}\, x_t$.


# %%
def by_heart(model, steps):
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    model.optimizer.build(model.trainable_variables)
    losses = []
    for _ in plots.progress(range(steps), steps, "by heart", lambda: f"loss {losses[-1]:.5f}"):
        losses.append(float(model.train_on_batch([x_t, t], noise)))
    return losses


losses = by_heart(network, STEPS)
easy = np.square(np.sqrt(1 - linear.at(t, like=x_t)) * x_t - noise).mean()
last_loss = np.median(losses[-choose(smoke=5, cpu=20, gpu=20) :])
limit = 7e-4 if data.digits() == "mnist" else 2e-3
assert last_loss < choose(smoke=0.35, cpu=limit, gpu=limit)
np.testing.assert_allclose(easy, 0.27, atol=0.05)
plots.plot_loss(
    losses,
    "The loss on one batch, which falls from 1 to about 0.0001, and two horizontal lines: the "
    "answer 0 costs 1, and the noise rate times x_t costs 0.27.",
    baselines={"answer 0": 1.0, "answer noise rate times x_t": easy},
)

# %%
fresh = normal(*x_0.shape)
with_fresh = np.asarray(diffusion.add_noise(x_0, fresh, linear.at(t, like=x_0)))
fresh_loss = loss(network, with_fresh, t, fresh)
print(f"with fresh noise on the same images at the same times, the loss is {fresh_loss:.2f}")
assert fresh_loss > choose(smoke=0.8, cpu=50, gpu=50) * last_loss
if data.digits() == "mnist":
    assert fresh_loss > choose(smoke=0.8, cpu=200, gpu=200) * last_loss
    np.testing.assert_allclose(fresh_loss, choose(smoke=0.22, cpu=0.15, gpu=0.15), atol=0.04)
worth = 0.01 * linear.noise_rate[[900, T]] / linear.signal_rate[[900, T]]
np.testing.assert_allclose(worth, (0.6, 1.6), rtol=0.05)

in_order = np.argsort(t)[4::8]  # eight of the batch, from early to late times
recovered, from_fresh = (
    np.asarray(diffusion.to_x_0(x, network.predict_on_batch([x, t]), linear.at(t, like=x)))
    for x in (x_t, with_fresh)
)
off = np.square(recovered - x_0).mean(axis=(1, 2, 3))
assert off[t < 700].max() < choose(smoke=np.inf, cpu=0.1, gpu=0.1)
assert off[t > 900].mean() > 10 * off[t < 700].mean()  # the grain
plots.show_filmstrip(
    [x_0[in_order], x_t[in_order], recovered[in_order], from_fresh[in_order]],
    "Eight digits of the batch, from little noise to nearly nothing else; what is left when the "
    "network's noise is taken away: digits that match the originals, except for strong grain "
    "at the highest noise; and the same from fresh noise: the later, the less of the digit.",
    row_labels=["x_0", "x_t", "x_0, recovered", "from fresh noise"],
    column_labels=[f"t={t[i]}" for i in in_order],
)

# %% [markdown]
# It recovers digits from what looks like pure noise because it knows this noise by heart. With fresh noise, in the
# last row, the loss is about 0.15, hundreds of times as large. That is still well below 1, since part of any noise is
# easy to see: $\sqrt{1-\bar\alpha_t}\, x_t$ alone reaches 0.27.
#
# A loss of 0.0001 is an RMS error of 0.01 in the noise. Late, even this is not enough: it becomes 0.6 in the picture
# at $t = 900$, and 1.6 at $t = 1000$ (lesson 03).
#
# **Does it listen to the time?** Learning by heart does not require it. To see this, we plant a mistake in a second
# network, which replaces every time by 500, and let it learn for half as many steps. Then we tell both networks wrong
# times. If a network listens, its loss must rise. We also ask again whether every weight takes part, since the last
# layer is no longer zero.

# %%
twin = unet.unet(28, 1, widths=(48, 96), blocks=1, patch=2)
deaf = keras.Model([x_in, t_in], twin([x_in, 0 * t_in + 500]))  # the planted mistake
assert by_heart(deaf, STEPS // 2)[-1] < choose(smoke=0.9, cpu=0.05, gpu=0.05)
for name, model in {"ours": network, "deaf": deaf}.items():
    right, wrong = loss(model, x_t, t, noise), loss(model, x_t, T + 1 - t, noise)
    print(f"{name}: loss {right:.5f} at the right times, {wrong:.5f} at wrong times")
    assert wrong > 1.1 * right if model is network else wrong == right
    assert not any(without_gradient(model))

# %% [markdown]
# The deaf network learns the batch, and all its weights take part. Only the last question finds the mistake.
#
# ## Recap
#
# - You **turned** the time into a row of clocks.
# - You **assembled** a U-Net: a normalisation that the time steers, residual blocks, attention, patches, skips.
# - You **tested** it before the real training: it answers 0 at the start, it can overfit one batch, every weight
#   takes part, and it listens to the time.
#
# Next: lesson 05 trains such a network on all digits.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything. Build each network in a new cell.
#
# **1. One level more.** How do `unet.unet(32, 1, (32, 64, 128), 2)` and `unet.unet(32, 1, (32, 64, 128, 256), 2)`
# compare? By what factors do the parameters (`count_params()`) and the operations grow? (`unet.flops(model)` counts
# the multiplications and additions of convolutions and dense layers.)
#
# <details><summary>Answer</summary>
#
# Parameters grow by a factor of 3.8, operations by 1.3. The new level has twice the channels, so its convolutions
# have four times as many weights, but it has a quarter of the positions. It costs about as much as the level above
# it, and holds most of the weights. (Less than 4, because the dense layers of the time only double or stay the same.)
#
# </details>
#
# **2. No patches.** Build our network with `patch=1`. By what factors do operations and parameters grow? What happens
# with `patch=4`?
#
# <details><summary>Answer</summary>
#
# Operations grow by almost a factor of four, because there are four times as many positions. The parameters stay the
# same, except in the first and the last convolution. `patch=4` is refused: it leaves $7 \times 7$ positions, which
# cannot be halved for a second level.
#
# </details>
#
# **3. Attention everywhere.** Our network compares the $7 \times 7$ positions of its coarsest level. Without patches
# and with `attention=(0, 1)` it would compare $28 \times 28$ and $14 \times 14$ positions. How many entries does the
# matrix $W$ of one image have for each of the three sizes?
#
# <details><summary>Answer</summary>
#
# $49^2=2{,}401$, $196^2=38{,}416$ and $784^2=614{,}656$. Twice the side means sixteen times as many entries, and
# sixteen times the work for each channel. (You do not see it in `unet.flops`.)
#
# </details>
#
# **4. In code.** Write `unpatch(patches, side)` with `reshape` and `transpose` only: the way back from folded
# squares, (B, h, w, side · side · C), to images. The last axis runs over rows, columns and channels of a square, as
# in `FOLD`.


# %% tags=["solution"]
def unpatch(patches, side):
    images, rows, columns, channels = patches.shape
    squares = patches.reshape(images, rows, columns, side, side, channels // side**2)
    squares = squares.transpose(0, 1, 3, 2, 4, 5)  # each row beside the row within its square
    return squares.reshape(images, rows * side, columns * side, -1)


# %%
checks.unpatch(unpatch)

# %% [markdown]
# **5. In code.** Most networks let attention look in several ways at once (Vaswani et al. 2017, section 3.2.2). Write
# `multi_head(queries, keys, values, heads)` for arrays of shape (B, positions, channels). Each head takes an equal
# share of neighbouring channels and attends with it alone; the results are put side by side. `attend` may help.


# %% tags=["solution"]
def multi_head(queries, keys, values, heads):
    shares = zip(*(np.split(x, heads, axis=-1) for x in (queries, keys, values)), strict=True)
    return np.concatenate([attend(*share) for share in shares], axis=-1)


# %%
checks.multi_head(multi_head)

# %% [markdown]
# ## In practice
#
# - *The shape*: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015). *DDPM*
#   (appendix B) adds the time to the features of every residual block, uses group normalisation, attends at
#   $16 \times 16$, and has 35.7 million parameters for 32x32 colour pictures. Dhariwal and Nichol, "Diffusion Models
#   Beat GANs on Image Synthesis" (2021, section 3.1) compare this addition with scale and shift, which they call
#   adaptive group normalisation.
# - *Is the time needed?* Sun et al., "Is Noise Conditioning Necessary for Denoising Generative Models?" (2025) train
#   without it, and find that most models degrade gracefully.
# - *Other shapes*: transformers on patches take the place of the U-Net in Peebles and Xie, "Scalable Diffusion Models
#   with Transformers" (2023). Their time enters almost as here, through scale and shift (and a gate).
