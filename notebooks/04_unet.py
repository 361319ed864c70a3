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
# or, equivalently, at the noise, $\hat\epsilon(x_t, t)$. In this lesson we build the network that will learn to
# imitate it: a U-Net similar to the one in DDPM. We write its parts one by one, assemble them, and test the result.

# %% [markdown]
# **You will**
#
# - **turn** the time into a vector that a network can read;
# - **assemble** a U-Net from its parts: normalisation, residual block, attention, patches, skips;
# - **test** it, before the real training, the way practitioners do.
#
# **You need** lesson 03: $x_t$, $\bar\alpha_t$ and the perfect denoiser. To run, it
# takes <!-- measured -->about 4 minutes on two CPU cores and 1.4 GB of memory<!-- /measured -->.

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


digits, _ = next(iter(data.load_digits("test[:2000]", 2000)))
digits = digits.numpy()

# %% [markdown]
# ## One picture, four questions
#
# What happens if we tell the perfect denoiser a wrong time? We take a world in which it can be computed: 200 digits,
# each surrounded by a Gaussian cloud of variance 0.1, all equally likely. We draw 40 pictures $x_0$ from this world,
# which are digits with some grain, and add noise up to $t = 300$. Then we ask for $x_0$ at twenty different times.
# The pictures stay the same; only the time that we tell the denoiser changes.

# %%
world = oracle.mixture(linear, digits[:200], [0.1] * 200, [1 / 200] * 200)
drawn = digits[rng.integers(200, size=40)] + 0.1**0.5 * normal(40, 28, 28, 1)
noised = np.asarray(diffusion.add_noise(drawn, normal(*drawn.shape), linear.alpha_bar[300]))

told = np.append(1, np.arange(50, T, 50))
answers = [np.asarray(world.denoise(noised, np.full(40, at))) for at in told]
errors = np.square(answers - drawn).mean(axis=(2, 3, 4))  # one for each time and picture
worse = errors - errors[told == 300]
increase, standard_error = worse.mean(axis=1), worse.std(axis=1) / np.sqrt(40)
others = told != 300
assert (increase > 3 * standard_error)[others].all()

figure, axes = plt.subplots(figsize=(7, 2.8))
gap = np.where(others, increase, np.nan)
axes.errorbar(told, gap, standard_error, fmt="o-", color=plots.BLUE, markersize=4)
axes.axvline(300, color=plots.GREY, linestyle="--", linewidth=1)
axes.annotate("the true time", (300, 0.4), (6, 0), textcoords="offset points")
axes.set(xlabel="time that we tell the denoiser", ylabel="increase of the error", yscale="log")
axes.yaxis.set_major_formatter("{x:g}")
plots.show(
    figure,
    "By how much a wrong time increases the squared error, on a logarithmic axis, with error bars "
    "that are hardly larger than the dots. The curve falls steeply towards the true time, 300, "
    "and rises again after it, at first slowly.",
)

# %%
shown = (100, 300, 600, 900)
plots.show_filmstrip(
    [drawn[:8], noised[:8], *(answers[at // 50][:8] for at in shown)],
    "Eight digits with some grain, the same under noise, and four answers. Told t = 100, the "
    "denoiser leaves much of the noise; told 300, a little grain; told 600, the digits are "
    "smooth; told 900, it answers with nearly the same grey blot for all.",
    row_labels=["x_0", "x_t, t=300", *(f"told t={at}" for at in shown)],
)

# %% [markdown]
# The error is smallest at the true time, and at each of the other times it is larger by more than three standard
# errors. This is no accident: told the true $t$, the denoiser answers with the mean of $x_0$ given $x_t$, and no
# other answer has a smaller mean squared error (lesson 03). Told too early a time, it leaves noise in the picture.
# Told 900, it blends many digits. Told 600, it gives cleaner pictures than at the true time, but they are not better:
# $x_0$ has some grain, and less of it is left.
#
# How much do we lose if the denoiser is told nothing at all? We can compute this in a smaller world, a single number
# that is $-1$ or $1$. A denoiser that is not told $t$ has to average the answers for all times, each weighted by how
# probable that time is given $x_t$: the blind guess is $\sum_t p(t \mid x_t)\, \hat\epsilon(x_t, t)$. We check it
# against a simulation that uses no such formula: 100,000 numbers, each noised at a random time.

# %%
coin = oracle.points(linear, [[-1.0], [1.0]])
grid, some_times = np.linspace(-6, 6, 601)[:, None], np.arange(5, T + 1, 5)
at_each_t = np.stack([coin.predict_noise(grid, np.full(601, at))[:, 0] for at in some_times])
density = np.exp([coin.log_likelihood(grid, np.full(601, at)) for at in some_times])
blind = np.average(at_each_t, axis=0, weights=density)  # p(t | x) is proportional to it

coin_t = rng.choice(some_times, 100_000)
coin_x_0, coin_noise = rng.choice([-1.0, 1.0], (100_000, 1)), rng.normal(size=(100_000, 1))
coin_x_t = diffusion.add_noise(coin_x_0, coin_noise, linear.at(coin_t, like=coin_x_0))
numbers, true_noise = np.ravel(coin_x_t), coin_noise.ravel()

# %%
edges = np.linspace(-2.5, 2.5, 26)
counts, _ = np.histogram(numbers, edges)
means = np.histogram(numbers, edges, weights=true_noise)[0] / counts
figure, axes = plt.subplots(figsize=(7, 3))
for at, color in ((100, plots.BLUE), (300, plots.GREEN), (900, plots.GREY)):
    axes.plot(grid, at_each_t[at // 5 - 1], color=color, label=f"told t={at}")
axes.plot(grid, blind, color=plots.ORANGE, linestyle="--", linewidth=2, label="not told")
axes.plot((edges[1:] + edges[:-1]) / 2, means, "k.", label="mean in the simulation")
axes.set(xlabel="x_t", ylabel="best guess at the noise", xlim=(-3, 3), ylim=(-3.5, 3.5))
axes.legend(fontsize=8)
plots.show(
    figure,
    "The best guess at the noise in x_t, as a curve for each of three times and one for an "
    "unknown time, on which the simulated means lie. The curve for t = 100 is a saw tooth that "
    "differs from the others by more than 2, the one for t = 900 is nearly a straight line.",
)

# %% [markdown]
# The same $x_t$ calls for quite different answers at different times. Look at the saw tooth. At $t = 100$ signal and
# noise are multiplied by 0.95 and 0.32. So $x_t = 0.2$ very probably came from 1, with the noise
# $(0.2 - 0.95) / 0.32 = -2.3$, and $-0.2$ came from $-1$, with 2.3. The best guesses are $\mp 2.2$, since a little
# doubt remains.
#
# The next cell shows that not knowing $t$ more than doubles the squared error here. But $x_t$ is only a single
# number. A picture of 784 pixels gives its time away much more easily: how probable is it, given $x_t$, that $t$ lies
# between 250 and 350?

# %%
told_guess = np.ravel(coin.predict_noise(coin_x_t, coin_t))
missed = true_noise - np.interp(numbers, grid[:, 0], blind)
told_error, blind_error = (true_noise - told_guess) ** 2, missed**2
print(f"error when told t: {told_error.mean():.3f}; when not: {blind_error.mean():.3f}")
excess = blind_error - 2 * told_error
assert excess.mean() > 3 * excess.std() / np.sqrt(excess.size)
sums, squares = (np.histogram(numbers, edges, weights=w)[0] for w in (missed, missed**2))
assert (abs(sums) < 4 * np.sqrt(squares)).all()  # four standard errors in each bin
saw_tooth = coin.predict_noise([[0.2], [-0.2]], [100, 100])
np.testing.assert_allclose(saw_tooth, [[-2.2], [2.2]], atol=0.05)

evidence = np.array([world.log_likelihood(noised[:8], np.full(8, at)) for at in told])
odds = np.exp(evidence - evidence.max(axis=0))
picture = odds[abs(told - 300) <= 50].sum(axis=0) / odds.sum(axis=0)
number = density[abs(some_times - 300) <= 50].sum(axis=0) / density.sum(axis=0)
print(f"probability of 250..350: {picture.min():.3f} or more given one of the pictures,")
print(f"{number.max():.3f} or less given a number")
assert picture.min() > 0.99
assert number.max() < 0.3

# %% [markdown]
# So a blind network could learn to read the time off such pictures (*In practice*, below). But we *know* $t$, and a
# network that is told does not have to find out.
#
# ## The time as a vector
#
# How should $t$ enter? As one number between 0 and 1, it would differ by only a thousandth between neighbours. The
# usual solution comes from language models, which must tell where in a sentence a word stands (Vaswani et al. 2017,
# section 3.5): **a row of clocks**, fast ones and slow ones. A clock that turns by $\omega$ per step shows
#
# $$\big(\sin \omega t,\ \cos \omega t\big), \qquad \omega = 1,\ \dots,\ \tfrac{1}{10000},$$
#
# where $\omega$ falls by the same factor from each clock to the next. The fast ones tell neighbours apart, the slow
# ones early from late. All sines come first, then all cosines, as in DDPM's code.


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
    curve.plot(times, from_there, color=color, label=f"from t={at}")
curve.set(title="distance between two", xlabel="t", ylabel="distance", ylim=(0, 9.5))
curve.legend(loc="upper right", ncols=2)
plots.show(
    figure,
    "Left: the vectors of all times as a coloured map, sines above and cosines below; in each"
    " half the first flicker from step to step and the last hardly change. Right: distances "
    "from the vectors of t = 100 and t = 500, with narrow dips to zero at these times.",
)

# %% [markdown]
# Each dip is narrow: neighbouring times are clearly separated, by the same distance at every $t$, because the squared
# distance, $\sum_\omega (2 - 2 \cos \omega)$, does not contain $t$. Farther away the distance still grows, but
# slowly. (The slowest clock turns by only 0.1 radians in 1,000 steps. We keep the paper's constant, 10,000.)
#
# So $t$ enters the network as an integer and becomes a vector in `float32`, even where the rest of the network
# computes in 16 bits to save time. `bfloat16` keeps eight significant bits, which is usually enough for a weight but
# not for a time: 999 becomes 1000.
#
# The clocks do not go into the blocks directly. As in DDPM's code, two small dense layers turn them into what the
# blocks need. Here and below, our functions take and return symbolic tensors, the first of which comes from
# `keras.Input`. Keras records the layers that they pass, and the numbers come later.
#
# **Earned.** `layers.SinusoidalEmbedding` computes the same vectors; `unet.time_embedding` adds the dense layers.


# %%
def time_network(t, width):
    x = layers.SinusoidalEmbedding(width)(t)
    x = keras.layers.Dense(width, activation="silu")(x)
    return keras.layers.Dense(width, activation="silu")(x)


# %%
np.testing.assert_allclose(layers.SinusoidalEmbedding(64)(times), vectors, atol=1e-4)
lags = {lag: np.linalg.norm(vectors[lag:] - vectors[:-lag], axis=1) for lag in (1, 10, 100)}
rounded = tf.cast(times, tf.bfloat16).numpy().astype(np.float32)
print(f"neighbours are {lags[1][0]:.2f} apart; bfloat16 keeps {len(set(rounded))} times")
np.testing.assert_allclose(lags[1], lags[1][0])
assert lags[1].mean() < lags[10].mean() < lags[100].mean()
assert rounded[times == 999] == 1000
np.testing.assert_allclose(vectors[-1, 31], np.sin(0.1))  # the slowest sine

# %% [markdown]
# ## A normalisation that listens to the clock
#
# Inside a network, an image has many numbers at each position, its **channels**, one for each filter of the last
# convolution. **Group normalisation** takes a few channels together, a *group*, and gives all their numbers in one
# image mean 0 and variance 1. Then two numbers per channel, **scale** and **shift**, let the network choose another
# mean and variance. Usually they are learned weights. If a dense layer computes them from the time's vector instead,
# every block can behave differently at each $t$:
#
# $$h = \mathrm{SiLU}\Big((1 + \text{scale}_t)\,\frac{x - \text{mean}}{\text{std}} + \text{shift}_t\Big), \qquad \mathrm{SiLU}(y) = \frac{y}{1 + e^{-y}} \qquad \text{(Wu and He 2018, eqs. 1, 2 and 6)}$$
#
# - $x$: the image inside the network; mean and std: the mean and the standard deviation of one group in one image,
#   over all positions (with $10^{-5}$ added to the variance, so that we never divide by 0);
# - $1 + \text{scale}_t$: Wu and He learn this factor and the shift. Nichol and Dhariwal (2021, appendix A) compute
#   both from the time, and write the factor with $1 +$, so that a dense layer that answers 0 changes nothing;
# - SiLU: an activation function, which is not part of Wu and He's formula.
#
# `rearrange` from einops names the axes: `"b h w (g c) -> b g (h w c)"` splits the channels into $g$ groups and puts
# all numbers of a group into one row. **Earned.** `layers.AdaptiveGroupNorm` does the same as a layer. Without a
# second argument it has a scale and a shift of its own, learned as usual.


# %% tags=["slide"]
def normalise(x, scale, shift, groups=8):
    grouped = rearrange(x, "b h w (g c) -> b g (h w c)", g=groups)
    centred = grouped - grouped.mean(axis=-1, keepdims=True)
    norm = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-5)
    norm = rearrange(norm, "b g (h w c) -> b h w (g c)", h=x.shape[1], w=x.shape[2])
    y = (1 + scale[:, None, None]) * norm + shift[:, None, None]
    return y / (1 + np.exp(-y))


# %%
images, scale, shift = 3 + 2 * normal(2, 14, 14, 32), normal(2, 32), normal(2, 32)
fast = layers.AdaptiveGroupNorm()(images, np.concatenate([scale, shift], axis=1))
np.testing.assert_allclose(fast, normalise(images, scale, shift), atol=1e-4)

# %% [markdown]
# ## A residual block
#
# The main part of the network is the residual block (He et al. 2015): two convolutions, each after a normalisation,
# and a **shortcut** past both, so that the block computes only what to *change*. The time enters through the second
# normalisation. Where the number of channels changes, a $1 \times 1$ convolution adapts the shortcut.
#
# **Earned.** `unet.residual_block` is the same function. With the same weights, drawn at random, both must give the
# same answers.


# %%
def residual_block(x, embedding, width):
    h = layers.AdaptiveGroupNorm()(x)
    h = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(h)
    h = layers.AdaptiveGroupNorm()(h, keras.layers.Dense(2 * width)(embedding))
    h = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(h)
    if x.shape[-1] != width:
        x = keras.layers.Conv2D(width, 1, use_bias=False)(x)
    return x + h


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
# and learns 64 numbers, a scale and a shift for each of its 32 channels. The second has no weights of its own: the
# dense layer computes them. (Our convolutions have no bias, unlike those in DDPM's code. We did not test what a bias
# would change.)
#
# ## Attention: look where it is alike
#
# In a convolution, a position sees only its neighbours. To close a loop on one side of a zero, it may help to see the
# other side. **Attention** lets every position look at every other. From the channels of each position, dense layers
# make three vectors: a *query*, a *key* and a *value*. They are the rows of three matrices $Q$, $K$ and $V$. A
# position's result is the average of all values, weighted by how well its query fits their keys:
#
# $$W = \operatorname{softmax}\Big(\frac{Q K^\top}{\sqrt{c}}\Big), \qquad \text{Attention}(Q, K, V) = W V \qquad \text{(Vaswani et al. 2017, eq. 1)}$$
#
# - $W_{ij}$: how much position $i$ takes from position $j$. Softmax takes $e$ to the power of each entry and divides
#   by the sum of its row, so that each row adds up to 1;
# - $c$: the number of channels. The product of two vectors of $c$ independent numbers with mean 0 and variance 1 has
#   standard deviation $\sqrt{c}$.
#
# What is that good for? We can try it without any training. Let queries and keys be the raw pixels of a noisy digit,
# in squares of $5 \times 5$, and each value the pixel in the middle of its square. (These vectors differ in length,
# so we measure the fit by their squared distance. For vectors of length 1 it is 2 minus twice their product, so both
# measures agree.)

# %%
digit = digits[1914]
noisy = np.asarray(diffusion.add_noise(digit, normal(*digit.shape), linear.alpha_bar[100]))
digit, noisy = digit[..., 0], noisy[..., 0]
windows = np.lib.stride_tricks.sliding_window_view(np.pad(noisy, 2, mode="edge"), (5, 5))
squares_5 = windows.reshape(784, 25)
distances = np.square(squares_5[:, None] - squares_5).mean(axis=-1)
weights = np.asarray(keras.ops.softmax(-6 * distances, axis=-1))  # 6: how choosy
attended = (weights @ noisy.ravel()).reshape(28, 28)

# %%
ink = tuple(np.argwhere(digit > 0.8)[-1])
looks = {place: weights[28 * place[0] + place[1]].reshape(28, 28) for place in (ink, (1, 1))}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.4), layout="constrained")
axes[0].imshow(noisy, cmap="gray_r")
for axis, (place, look) in zip(axes[1:3], looks.items(), strict=True):
    axis.imshow(np.sqrt(look), cmap="Oranges")  # the root shows small ones too
    axis.plot(*place[::-1], "o", color=plots.BLUE)
axes[3].imshow(attended, cmap="gray_r")
titles = ["input", "weights of a query on ink", "of one on paper", "output"]
for axis, title in zip(axes, titles, strict=True):
    axis.set_title(title, fontsize=9)
    axis.axis("off")
plots.show(
    figure,
    "A noisy digit; where a query on a stroke looks: along this stroke; where a query on the "
    "paper looks: all over the paper, away from the ink; and the output, the same digit with "
    "much less noise and paler ink.",
)

# %% [markdown]
# The query on ink looks along its own stroke, the one on paper looks all over the paper. Averaging over similar
# squares removes noise and makes the ink paler. This denoiser is known as *non-local means* (Buades, Coll and Morel
# 2005). In a network, queries and keys are learned, and with them what counts as similar.
#
# Here is attention, and the block that the network uses: dense layers around it and a shortcut beside it. Attention
# does not know *where* a position is: if we shuffle the positions, the results are shuffled in the same way. And it
# has a price: every position is compared with every other. We therefore use it only where there are few positions, on
# the coarsest level.
#
# **Earned.** `layers.Attention` is `attend` for images whose channels hold query, key and value;
# `unet.self_attention` is the block.


# %%
def attend(queries, keys, values):
    scores = keras.ops.matmul(queries, keras.ops.swapaxes(keys, 1, 2))
    scores = scores / np.sqrt(queries.shape[-1])
    return keras.ops.matmul(keras.ops.softmax(scores, axis=-1), values)


def self_attention(x):
    height, width, channels = x.shape[1:]
    h = layers.AdaptiveGroupNorm(silu=False)(x)
    h = keras.layers.Dense(3 * channels, use_bias=False)(h)
    h = keras.layers.Reshape((height * width, 3 * channels))(h)
    h = attend(*keras.ops.split(h, 3, axis=-1))
    h = keras.layers.Reshape((height, width, channels))(h)
    return x + keras.layers.Dense(channels)(h)


# %%
on_ink, on_paper = (look[digit > -0.5].sum() for look in looks.values())
print(f"share of the weights on ink: {on_ink:.0%} from ink, {on_paper:.0%} from paper")
assert on_ink > 0.5
assert on_paper < 0.05
before, after = np.square(noisy - digit).mean(), np.square(attended - digit).mean()
print(f"squared error before attention {before:.3f}, after {after:.3f}")
assert after < before / 1.5
assert attended[digit > 0.8].mean() < digit[digit > 0.8].mean() - 0.1  # paler

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
# Now we have all the parts. Before we assemble them, here is the plan: the network that `unet.unet` builds for two
# levels with 48 and 96 channels, one residual block per level each way, and patches of $2 \times 2$ pixels.

# %%
network = unet.unet(28, 1, widths=(48, 96), blocks=1, patch=2)
plots.plot_unet(
    network,
    "The network as a letter U. From left to right: 28 by 28 pixels, folded to 14 by 14, then 7 "
    "by 7 at the bottom, and up again. Arrows lead down, along the bottom and up; two more lead "
    "across, from the way down to bars on the way up, which become wider by what they receive.",
)

# %% [markdown]
# A bar is as high as its image and as wide as its channels; both numbers stand below it. Follow the two green arrows,
# the **skips**: each ends in a bar that is wider because of it, with $96 + 96$ and $96 + 48$ channels.
#
# **The patches.** At $28 \times 28$ positions every layer is expensive. Folding each square of $2 \times 2$ pixels
# into four channels leaves a quarter of the positions and loses nothing: $28 \times 28 \times 1$ becomes
# $14 \times 14 \times 4$.
#
# **The way down** looks for features at each level. A convolution that takes only every second position halves the
# image, while the number of channels doubles. On the coarsest level attention follows the residual block. We keep the
# result of each level for later. At the bottom come two more residual blocks with attention between them.

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
# **The way up** mirrors the way down. Each position is repeated $2 \times 2$ times to double the image. Every level
# also receives what we kept on the way down, so that the fine detail does not have to pass through the bottom. Lesson
# 01 added the skips; here they are concatenated as further channels, and the next block decides what to make of them.


# %%
def up(x, fine, coarse, embedding):
    x = keras.layers.Concatenate()([x, coarse])  # 96 + 96 channels
    x = self_attention(residual_block(x, embedding, 96))
    x = keras.layers.UpSampling2D(2)(x)  # 14 x 14
    x = keras.layers.Concatenate()([x, fine])  # 96 + 48 channels
    return residual_block(x, embedding, 48)


# %% [markdown]
# **The whole**: fold, a first convolution, down, up, a normalisation, a last convolution, unfold. The last
# convolution starts with zero weights. (`layers.Rearrange` does to symbolic tensors what `rearrange` does to arrays.)
#
# **Earned.** `unet.unet` builds the same network, for any `widths` and `blocks`. It also checks its arguments and can
# compute in 16 bits. With our weights, again drawn at random because the zeros would make every answer 0, it must
# give our answers.

# %%
x_in, t_in = keras.Input((28, 28, 1)), keras.Input((), dtype="int32")
time_vector = time_network(t_in, 4 * 48)
h = layers.Rearrange(FOLD, p=2, q=2)(x_in)
h = keras.layers.Conv2D(48, 3, padding="same")(h)
h = layers.AdaptiveGroupNorm()(up(*down(h, time_vector), time_vector))
h = keras.layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros")(h)
assembled = keras.Model([x_in, t_in], layers.Rearrange(UNFOLD, p=2, q=2)(h))

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
# convolutions as the three levels. They are untrained, with random numbers in the last layer instead of zeros, and we
# average over three networks of each kind. Below each map stands the typical distance, weighted by squared influence.


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


designs = {"one level": (1, 1), "one, 3 blocks": (1, 3), "two levels": (2, 1), "three": (3, 1)}
maps = []
for levels, blocks in designs.values():
    models = [unet.unet(28, 1, (32,) * levels, blocks, attention=()) for _ in range(3)]
    maps.append(np.mean([influence(model) for model in models], axis=0))
across = np.arange(28) - 14
from_middle = across[:, None] ** 2 + across**2  # squared distance
reach = [np.sqrt(np.average(from_middle, weights=seen**2)) for seen in maps]

# %%
figure, axes = plt.subplots(1, 4, figsize=(9, 2.7), layout="constrained")
for axis, seen, title, pixels in zip(axes, maps, designs, reach, strict=True):
    inked = axis.imshow(seen / seen.max(), norm="log", vmin=3e-3, vmax=1, cmap="Oranges")
    axis.set(xticks=[], yticks=[], xlabel=f"{pixels:.1f} pixels")
    axis.set_title(title, fontsize=10)
figure.colorbar(inked, ax=axes, label="influence", ticks=[0.01, 0.1, 1], format="%g")

np.testing.assert_array_less(reach, np.multiply((1.15, 1.25, 1.7, 2.4), reach[0]))
np.testing.assert_array_less(np.multiply((0.85, 0.9, 1.25, 1.8), reach[0]), reach)
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
# Levels widen the view: from one level to three, the typical distance doubles. One step on a coarser level is two
# steps on the level above, so the same small convolution reaches twice as far. The additional convolutions on a
# single level hardly help. Hence the shape of the U: the lower levels see far, and the skips keep the detail. (The
# ten $3 \times 3$ convolutions of the first network reach only ten pixels. The faint colour farther out can only come
# through group normalisation, whose means and deviations take in the whole image.)
#
# ## Is it sound?
#
# A network with a mistake in it often learns all the same. So practitioners first ask it a few simple questions, such
# as those in Karpathy's "A Recipe for Training Neural Networks" (2019).
#
# **What does it say before training?** The last convolution starts at zero, so the answer must be 0 for any input,
# and with fresh noise as the target the squared error is the variance of the noise, 1. A first loss that is clearly
# different points to a mistake. **Does every weight take part?** An array of weights whose gradient is zero does not
# learn. Before the first step this is true of all except the last layer, whose zeros stop the gradient, so we shall
# have to ask again.

# %%
x_0 = digits[:BATCH]
t = rng.integers(1, T + 1, BATCH, dtype=np.int32)
noise = normal(*x_0.shape)
x_t = np.asarray(diffusion.add_noise(x_0, noise, linear.at(t, like=x_0)))


def silent(model):
    """For each array of weights, whether its gradient is missing or zero."""
    with tf.GradientTape() as tape:
        error = tf.reduce_mean(tf.square(model([tf.constant(x_t), tf.constant(t)]) - noise))
    gradients = tape.gradient(error, model.trainable_variables)
    return [gradient is None or not np.any(gradient) for gradient in gradients]


def loss(model, x_t, t, noise):
    return np.square(model.predict_on_batch([x_t, t]) - noise).mean()


at_first, first_loss = silent(network), loss(network, x_t, t, noise)
print(f"loss {first_loss:.3f}; {sum(at_first)} of {len(at_first)} arrays without a gradient")
assert abs(first_loss - 1) < 4 * np.sqrt(2 / noise.size)  # four standard errors
assert at_first == [True] * (len(at_first) - 2) + [False] * 2  # the last kernel and bias

# %% [markdown]
# **Can it learn one batch by heart?** We show it the same images, times and noise in every step. A network that is
# wired correctly drives the loss far down. If it cannot even do this, we have found a mistake before we train for
# hours.


# %%
def by_heart(model, steps):
    model.compile(keras.optimizers.Adam(2e-3), "mse")
    model.optimizer.build(model.trainable_variables)
    losses = []
    for _ in plots.progress(range(steps), steps, "by heart", lambda: f"loss {losses[-1]:.5f}"):
        losses.append(float(model.train_on_batch([x_t, t], noise)))
    return losses


losses, fresh = by_heart(network, STEPS), normal(*x_0.shape)
with_fresh = np.asarray(diffusion.add_noise(x_0, fresh, linear.at(t, like=x_0)))
fresh_loss = loss(network, with_fresh, t, fresh)
print(f"with fresh noise on the same images at the same times, the loss is {fresh_loss:.2f}")
assert losses[-1] < choose(smoke=0.35, cpu=0.001, gpu=0.001)
assert fresh_loss > choose(smoke=1, cpu=100, gpu=100) * losses[-1]
worth = 0.01 * linear.noise_rate[[900, T]] / linear.signal_rate[[900, T]]
np.testing.assert_allclose(worth, (0.6, 1.6), rtol=0.05)

# %%
in_order = np.argsort(t)[4::8]  # eight of the batch, from early to late times
guess = network.predict_on_batch([x_t, t])
recovered = np.asarray(diffusion.to_x_0(x_t, guess, linear.at(t, like=x_t)))
off = np.square(recovered - x_0).mean(axis=(1, 2, 3))
assert off[t < 700].max() < choose(smoke=np.inf, cpu=0.1, gpu=0.1)
assert off[t > 900].mean() > 10 * off[t < 700].mean()  # the grain
plots.show_filmstrip(
    [x_0[in_order], x_t[in_order], recovered[in_order]],
    "Eight digits of the batch, from little noise to nearly nothing else; below, what is left"
    " when the network's noise is taken away: digits that match the originals, with some "
    "grain at the highest noise.",
    row_labels=["x_0", "x_t", "from the noise"],
    column_labels=[f"t={t[i]}" for i in in_order],
)

# %% [markdown]
# It recovers digits from what looks like pure noise because it knows this noise by heart: with fresh noise the loss
# is more than a hundred times larger. Near $t = 1000$ even that is not quite enough: an error of 0.01 in the noise
# becomes one of 0.6 in the picture at $t = 900$, and one of 1.6 at $t = 1000$ (lesson 03).
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
    assert not any(silent(model))

# %% [markdown]
# The deaf network learns the batch, and all its weights take part. Only the last question finds the mistake. Our
# network passes every test.
#
# ## Recap
#
# - You **turned** the time into a row of clocks, in which no two times are the same.
# - You **assembled** a U-Net: a normalisation that the time steers, residual blocks, attention, patches, skips.
# - You **tested** it before the real training: it is silent at the start, it can learn by heart, every weight takes
#   part, and it listens to the time.
#
# Next: lesson 05 trains such a network on all digits.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything. Build each network in a new cell, and leave those above as they are.
#
# **1. One level more.** How do `unet.unet(32, 1, (32, 64, 128), 2)` and `unet.unet(32, 1, (32, 64, 128, 256), 2)`
# compare? By what factors do the parameters (`count_params()`) and the operations grow? (`unet.flops(model)` counts
# the multiplications and additions of convolutions and dense layers.)
#
# <details><summary>Answer</summary>
#
# Parameters grow by a factor of 3.8, operations by 1.3. The new level has twice the channels, so its convolutions
# have four times as many weights, but it has a quarter of the positions. It costs about as much as the level above
# it, and holds most of the weights.
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
# $49^2 = 2{,}401$, $196^2 = 38{,}416$ and $784^2 = 614{,}656$. Twice the side means sixteen times as many entries,
# and sixteen times the work for each channel. (You do not see it in `unet.flops`.)
#
# </details>
#
# **4. In code.** Write `unpatch(patches, side)`: the way back from folded squares, (B, h, w, side · side · C), to
# images. The last axis runs over rows, columns and channels of a square, as in `FOLD`.


# %% tags=["solution"]
def unpatch(patches, side):
    return rearrange(patches, "b h w (p q c) -> b (h p) (w q) c", p=side, q=side)


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
# - *The shape*: Ronneberger, Fischer and Brox, "U-Net" (2015), for cells under the microscope. *DDPM* (appendix B)
#   adds the time to the features of every residual block, uses group normalisation, attends at $16 \times 16$, and
#   has 35.7 million parameters for 32x32 colour pictures. Dhariwal and Nichol, "Diffusion Models Beat GANs" (2021,
#   section 3.1) compare this addition with scale and shift, which they call adaptive group normalisation.
# - *Must it be told?* Sun, Jiang, Zhao and He, "Is Noise Conditioning Necessary for Denoising Generative Models?"
#   (2025) train without the time, and find that most models degrade gracefully.
# - *Other shapes*: transformers on patches take the place of the U-Net in Peebles and Xie, "Scalable Diffusion Models
#   with Transformers" (2023). Their time enters as here, through scale and shift.
# - *Speed*: `layers.AdaptiveGroupNorm` multiplies out:
#   $(1 + \text{scale})\, \frac{x - \text{mean}}{\text{std}} + \text{shift}$ is one slope times $x$ plus one offset, for
#   each image and channel. So it needs only the means of $x$ and $x^2$, and passes over the image less often than our
#   `normalise`.
