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
# The network of lesson 01 had to find out from the pixels how much noise there was. We know it. The perfect denoiser
# of [lesson 03](03_reparameterization.ipynb) is told the time, and answers with a guess at the picture or, which is
# as good, at the noise, $\hat\epsilon(x_t, t)$. This lesson builds the network that will learn to answer like it: a
# U-Net, much the same shape that DDPM used, made of parts that you will have held in your hand one by one.

# %% [markdown]
# **You will**
#
# - **turn** the time into a vector that a network can read;
# - **assemble** a U-Net from its blocks: normalisation, residual block, attention, patches;
# - **test** it, before the real training, the way practitioners do.
#
# **You need** lesson 03: $x_t$, $\bar\alpha_t$ and the perfect denoiser. To run, it
# takes <!-- measured -->about 1 minute on two CPU cores and 1.7 GB of memory<!-- /measured -->.

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


digits, labels = next(iter(data.load_digits("test[:2000]", 2000)))
digits = digits.numpy()

# %% [markdown]
# ## One picture, four questions
#
# Take forty noisy digits, and ask the perfect denoiser what is behind them, four times. The pictures stay the same;
# only the $t$ that we tell it changes. (Its world: a Gaussian cloud of variance 0.1 around each of 1,000 other
# digits, all of the same share, so that it can answer with something in between. A point of such a cloud looks a
# little noisy itself, so even the right answer keeps about half of the noise.)

# %%
asked = np.array([1, 100, 400, 900])
world = oracle.mixture(linear, digits[:1000], [0.1] * 1000, [0.001] * 1000)
x_0 = digits[1900:1940]
x_t = np.asarray(diffusion.add_noise(x_0, normal(*x_0.shape), linear.alpha_bar[100]))
answers = [np.asarray(world.denoise(x_t, np.full(len(x_t), t))) for t in asked]

errors = [np.square(answer - x_0).mean() for answer in answers]
for t, error in zip(asked, errors, strict=True):
    print(f"told t={t}: squared error {error:.3f}")
assert np.argmin(errors) == 1  # the truth serves best
plots.show_filmstrip(
    [x[8:16] for x in (x_t, *answers)],
    "Eight noisy digits, and the perfect denoiser's answers: told t = 1 it leaves the noise, "
    "told 100 it halves it and at times blends in another digit, told 400 it gives clean "
    "pictures, often of other digits of a like shape, told 900 much the same blot for all.",
    row_labels=["x_t, t=100", *(f"told t={t}" for t in asked)],
)

# %% [markdown]
# Told too little, it leaves the noise in the picture. Told 400, it answers with sharp pictures, but of other digits
# of its world: compare the 6 and the last 9 with the top row. Told 900, with what is common to many. Only the truth
# gives the digits that are there, and the smallest error.
#
# How much is lost by not knowing $t$? Make the world so small that we can compute it: a single number, $-1$ or $1$.
# Whoever is not told $t$ has to average the answers for all times, each by how likely $x$ makes it:
# $\sum_t p(t \mid x)\, \hat\epsilon(x, t)$.

# %%
coin = oracle.points(linear, [[-1.0], [1.0]])
x, times = np.linspace(-5, 5, 401, dtype=np.float32)[:, None], np.arange(5, T + 1, 5)
at_each_t = np.stack([coin.predict_noise(x, np.full(len(x), t))[:, 0] for t in times])
density = np.exp([coin.log_likelihood(x, np.full(len(x), t)) for t in times])
blind = np.average(at_each_t, axis=0, weights=density)  # each t as likely as x makes it

figure, axes = plt.subplots(figsize=(7, 3))
for t, color in ((100, plots.BLUE), (300, plots.GREEN), (900, plots.GREY)):
    axes.plot(x, at_each_t[t // 5 - 1], color=color, label=f"told t={t}")
axes.plot(x, blind, color=plots.ORANGE, linestyle="--", linewidth=2, label="not told")
axes.set(xlabel="x_t", ylabel="best guess at the noise", xlim=(-3, 3), ylim=(-3.5, 3.5))
axes.legend()
plots.show(
    figure,
    "The best guess at the noise in x_t, as a curve for each of three times and one for an "
    "unknown time. They differ by more than 2 in places: at t = 100 the curve is a saw tooth,"
    " at t = 900 nearly a straight line.",
)

# %% [markdown]
# One $x_t$, and quite different answers, depending on $t$. (The saw tooth: at $t = 100$ the rates are 0.95 and 0.32,
# and 0.2 almost surely came from 0.95, with the noise $(0.2 - 0.95) / 0.32 = -2.3$; but $-0.2$ from $-0.95$, with
# 2.3. The best guesses are $\mp 2.2$, not being quite sure.) What is lost, as the average squared error over all
# times, comes from the same arrays. The informed answer has an error of its own, as the noise cannot be known
# exactly; the blind one has this error and, on top, the squared distance between the two answers.

# %%
weight = density / density.sum(axis=1, keepdims=True)  # of each x, at each t
excess = (weight * (blind - at_each_t) ** 2).sum(axis=1).mean()
# E(noise - guess)^2 = E noise^2 - E guess^2, as the best guess leaves an error that is unrelated to it.
informed = 1 - (weight * at_each_t**2).sum(axis=1).mean()
print(f"error when told t: {informed:.3f}; when not: {informed + excess:.3f}")
assert excess > 0.05
np.testing.assert_allclose(
    coin.predict_noise([[0.2], [-0.2]], [100, 100]), [[-2.2], [2.2]], atol=0.1
)

# %% [markdown]
# A picture with hundreds of pixels gives its noise level away far better than a single number does, and a blind
# network can learn to look for it (In practice, below). But we *know* $t$. A network that is told need not spend
# layers on measuring it.
#
# ## The time as a vector
#
# How should $t$ enter? As one number between 0 and 1, two neighbours would differ by a thousandth, and the first
# layers would have to blow that up. The trick comes from language models, which must say where in a sentence a word
# stands: **a row of clocks**, fast ones and slow ones. A clock that turns by $\omega$ per step shows
#
# $$\big(\sin \omega t,\ \cos \omega t\big), \qquad \omega = 1,\ \dots,\ \tfrac{1}{10000},$$
#
# with $\omega$ falling by the same factor from each clock to the next. The fast ones tell neighbours apart, the slow
# ones early from late.


# %%
def sinusoids(t, width):
    frequencies = np.exp(-np.log(10_000) * np.arange(width // 2) / (width // 2 - 1))
    angles = t[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


times = np.arange(1, T + 1)
vectors = sinusoids(times, 64)

figure, (picture, curve) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
picture.imshow(vectors.T, aspect="auto", cmap="coolwarm", extent=(1, T, 64, 0))
picture.set(xlabel="t", ylabel="component: sines, cosines")
for t, color in ((100, plots.BLUE), (500, plots.ORANGE)):
    distances = np.linalg.norm(vectors - vectors[t - 1], axis=1)
    curve.plot(times, distances, color=color, label=f"from t={t}")
curve.set(xlabel="t", ylabel="distance")
curve.legend()
plots.show(
    figure,
    "Left: the vectors of all times as a coloured map, sines above and cosines below; in each"
    " half the first flicker from step to step and the last hardly change. Right: distances "
    "from the vectors of t = 100 and t = 500, sharp dips to zero at these times.",
)

# %% [markdown]
# The dip is a needle: already the next time is at a distance, and the same everywhere, since
# $|v(t + 1) - v(t)|^2 = \sum_\omega (2 - 2 \cos \omega)$ has no $t$ in it. The slow clocks make the gentle slope
# around it, which says early or late. (The slowest hardly move in 1,000 steps: the 10,000 was chosen for text.)
#
# So time enters as an integer and becomes a vector in `float32`, also where the rest computes in 16 bits, as networks
# often do to be faster: `bfloat16` keeps eight significant bits, fine for a weight, ruin for a $t$ of 999, which
# becomes 1000.
#
# **Earned.** `layers.SinusoidalEmbedding` does this; `unet.time_embedding` adds two small dense layers, which make of
# the clocks what the blocks need.

# %%
np.testing.assert_allclose(layers.SinusoidalEmbedding(64)(times), vectors, atol=1e-4)

steps = np.linalg.norm(np.diff(vectors, axis=0), axis=1)
distinct = len(np.unique(tf.cast(times, tf.bfloat16).numpy().astype(np.float32)))
print(
    f"neighbours are {steps[0]:.2f} apart; as bfloat16 only {distinct} of {T} times are left"
)
np.testing.assert_allclose(steps, steps[0])
assert distinct < 0.6 * T

# %% [markdown]
# ## A normalisation that listens to the clock
#
# Deep networks train well when the numbers inside keep a size near 1. Inside a network, an image has many numbers at
# each position, its **channels**: one for each filter of the convolution before. **Group normalisation** takes a few
# channels together, a *group*, and makes the mean of all their numbers 0 and the variance 1, for each image on its
# own. Then two numbers per channel, **scale** and **shift**, give the network back the freedom to choose. Here is the
# door for the time: let a dense layer *compute* them from the time's vector, and every block can behave differently
# at each $t$.
#
# $$y = \mathrm{SiLU}\big((1 + \text{scale}_t)\,\tfrac{x - m}{d} + \text{shift}_t\big), \qquad \mathrm{SiLU}(h) = \frac{h}{1 + e^{-h}} \qquad \text{(Wu and He 2018, eq. 7)}$$
#
# - $m$, $d$: mean and standard deviation of one group in one image, over all its positions (the code adds 1e-5 under
#   the root, against division by 0);
# - $1 + \text{scale}_t$: so that a dense layer that answers 0 changes nothing. (Theirs has a learned factor there;
#   the time, and SiLU, are ours to add.)
#
# (`rearrange` of einops says by name what goes where: `"b h w (g c) -> b g (h w c)"` splits the channels into g
# groups and puts all numbers of a group in one row.)


# %% tags=["slide"]
def normalise(x, scale, shift, groups=8):
    grouped = rearrange(x, "b h w (g c) -> b g (h w c)", g=groups)
    centred = grouped - grouped.mean(axis=-1, keepdims=True)
    norm = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-5)
    norm = rearrange(norm, "b g (h w c) -> b h w (g c)", h=x.shape[1], w=x.shape[2])
    h = (1 + scale[:, None, None]) * norm + shift[:, None, None]
    return h / (1 + np.exp(-h))


# %% [markdown]
# **Earned.** It is `layers.AdaptiveGroupNorm`, which multiplies out first, so that the large image is read only twice
# (In practice, below).

# %%
inputs, scale, shift = 3 + 2 * normal(2, 14, 14, 32), normal(2, 32), normal(2, 32)
fast = layers.AdaptiveGroupNorm()(inputs, np.concatenate([scale, shift], axis=1))
np.testing.assert_allclose(fast, normalise(inputs, scale, shift), atol=1e-4)

# %% [markdown]
# ## A residual block
#
# The workhorse: two convolutions, each with a normalisation before it, and a **shortcut** past both. The block has to
# learn only what to *change*, and the gradient has a straight way back. The time enters through the second
# normalisation. Here it is in loose parts, for inputs of 14x14 positions and 32 channels and a time vector of 64
# numbers (`keras.Input` stands for data that come later):

# %%
features = keras.Input((14, 14, 32))
embedding = keras.Input((64,))

h = layers.AdaptiveGroupNorm()(features)
h = keras.layers.Conv2D(64, 3, padding="same", use_bias=False)(h)
scale_shift = keras.layers.Dense(2 * 64)(embedding)
h = layers.AdaptiveGroupNorm()(h, scale_shift)
h = keras.layers.Conv2D(64, 3, padding="same", use_bias=False)(h)
shortcut = keras.layers.Conv2D(64, 1, use_bias=False)(features)  # 32 channels become 64
loose = keras.Model([features, embedding], shortcut + h)

for layer in loose.layers:
    kind, shape = type(layer).__name__, str(layer.output.shape)
    print(f"{kind:20}{shape:22}{layer.count_params():7,} parameters")

# %% [markdown]
# Five sixths of the parameters sit in the $3 \times 3$ convolutions: $9 \cdot 64 \cdot 64$ in the second one. The
# first normalisation is told no time, and learns one scale and one shift per channel (64 numbers); the second has
# none of its own: the dense layer computes them. The convolutions have no bias, since the shift does its work.
#
# **Earned.** The same, as a function:

# %%
block = keras.Model([features, embedding], unet.residual_block(features, embedding, 64))
assert block.count_params() == loose.count_params()

block.set_weights(loose.get_weights())
inputs = [normal(4, 14, 14, 32), normal(4, 64)]
np.testing.assert_allclose(block(inputs), loose(inputs), atol=1e-4)

# %% [markdown]
# ## Attention: look where it is alike
#
# In a convolution, a position sees its neighbours only. To close a loop on one side of a zero, it helps to see the
# other side. **Attention** lets every position look at every other. Each sends out a *query* $q$, and holds a *key*
# $k$ and a *value* $v$ (three vectors that dense layers make from its channels), and takes the average of all values,
# weighted by how well its query fits their keys:
#
# $$w_{ij} = \operatorname*{softmax}_j \frac{q_i \cdot k_j}{\sqrt{c}}, \qquad y_i = \sum_j w_{ij}\, v_j \qquad \text{(Vaswani et al. 2017, eq. 1)}$$
#
# (Softmax takes $e$ to the power of each, and divides by the sum, so that the weights of one query add up to 1. The
# products are sums over the $c$ channels, which grow like $\sqrt c$. No kin: lesson 03's density $q$, and velocities
# $v$ to come.)
#
# What is that good for? Try it without any training: let queries and keys be the raw pixels of a noisy digit, in
# squares of $5 \times 5$, and each value the pixel in the middle of its square. (The vectors of 25 pixels differ in
# length, so their squared distance is the better measure of fit. For vectors of one length it says the same as the
# product: $|q - k|^2 = |q|^2 + |k|^2 - 2\, q \cdot k$.)


# %%
def softmax(scores):
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


noisy, clean = x_t[14, ..., 0], x_0[14, ..., 0]
ink = np.argwhere(clean > 0.8)[-1]
windows = np.lib.stride_tricks.sliding_window_view(np.pad(noisy, 2, mode="edge"), (5, 5))
squares = windows.reshape(784, 25)
distances = np.square(squares[:, None] - squares).mean(axis=-1)
weights = softmax(-6 * distances)  # 6: how choosy
attended = (weights @ noisy.ravel()).reshape(28, 28)

figure, axes = plt.subplots(1, 4, figsize=(9, 2.4), layout="constrained")
axes[0].imshow(noisy, cmap="gray_r")
for axis, (row, column) in zip(axes[1:3], [ink, (1, 1)], strict=True):
    looks = weights[28 * row + column].reshape(28, 28)
    axis.imshow(np.sqrt(looks), cmap="Oranges")  # the root shows small ones too
    axis.plot(column, row, "o", color=plots.BLUE)
axes[3].imshow(attended, cmap="gray_r")
titles = ["input", "weights of one query", "of another", "output"]
for axis, title in zip(axes, titles, strict=True):
    axis.set_title(title, fontsize=9)
    axis.axis("off")
plots.show(
    figure,
    "A noisy digit; where a query on a stroke looks: along this stroke; where a query on the "
    "paper looks: all over the paper, away from the ink; and the output, the same digit with "
    "much less noise, its loop paler.",
)

# %% [markdown]
# A query on the ink looks along its own stroke; one on the paper looks all over the paper. Averaging over what is
# alike removes noise and keeps most edges (rare strokes turn paler). Under the name of *non-local means*, this was
# for a while among the best denoisers there were. In a network, queries and keys are learned, and so is what counts
# as alike. (Where a position *is*, attention itself does not know. What the convolutions before it, and the image's
# border, have put into the channels has to tell.) The price: every position is compared with every other, so
# attention comes where there are few, in the coarsest level.
#
# **Earned.** `layers.attention_weights` is the left formula above, and `unet.self_attention` the whole block: a
# normalisation, the dense layers, the attention, a shortcut.

# %%
before, after = np.square(noisy - clean).mean(), np.square(attended - clean).mean()
print(f"squared error before attention {before:.3f}, after {after:.3f}")
assert after < before / 1.5

q, k = normal(2, 49, 16), normal(2, 49, 16)
expected = softmax(np.einsum("bic,bjc->bij", q, k) / np.sqrt(16))
np.testing.assert_allclose(layers.attention_weights(q, k), expected, atol=1e-5)

# %% [markdown]
# ## The whole network
#
# One more trick. At $28 \times 28$ positions every layer is dear, and neighbouring pixels say much the same. Folding
# each square of $2 \times 2$ pixels into four channels leaves a quarter of the positions, and loses nothing:
#
# $$28 \times 28 \times 1 \;\to\; 14 \times 14 \times 4$$
#
# Now all parts are on the table. On the way down, residual blocks look for features at each level, and a convolution
# that takes every second position halves the image. On the coarsest level attention follows each block and compares
# everything with everything; at the very bottom there are two blocks more, with attention between them. On the way
# up, the image is doubled again (each position repeated), and each block is given the features of its mirror image
# from the way down, put beside its own as further channels (lesson 01 added them): the **skips**, through which the
# fine detail travels. The time's vector goes into every residual block (not drawn).
#
# `widths` are the channels of each level, `blocks` the residual blocks of a level, each way. In the picture a bar is
# as high as its image and as wide as its channels, whose number stands below.

# %%
folded = rearrange(digits[:8], "b (h p) (w q) c -> b h w (p q c)", p=2, q=2)
unfolded = rearrange(folded, "b h w (p q c) -> b (h p) (w q) c", p=2, q=2)
np.testing.assert_array_equal(unfolded, digits[:8])

network = unet.unet(28, 1, widths=(48, 96), blocks=1, patch=2)
plots.plot_unet(
    network,
    "The network as a letter U: 28 by 28 pixels, folded to 14 by 14, 7 by 7, and up again.",
)

# %% [markdown]
# Sizes add up quickly. Here are three networks: ours for digits; one for 32x32 pixels, without patches; one for
# colour pictures. An operation is a multiplication or an addition in a convolution or dense layer.

# %%
sizes = {
    "digits, patches": network,
    "32x32": unet.unet(32, 1, (32, 64, 128), 2),
    "colour, 64x64": unet.unet(64, 3, (64, 128, 256), 2, patch=2),
}
for name, model in sizes.items():
    operations = unet.flops(model) / 1e9
    print(
        f"{name:16}{model.count_params():12,} parameters {operations:6.2f} billion operations"
    )
assert unet.flops(network) < 0.15e9

# %% [markdown]
# **How far does it see?** Ask which input pixels move one output pixel: that is a gradient, of one output by the
# whole input. The networks are untrained, with random numbers in the last layer, which would otherwise be zero.


# %%
def influence(model):
    """How strongly each input pixel moves the output pixel in the middle: (28, 28)."""
    last = next(layer for layer in model.layers[::-1] if layer.weights)
    last.set_weights([0.1 * normal(*weight.shape) for weight in last.get_weights()])
    x = tf.constant(normal(8, 28, 28, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        middle = model([x, tf.fill(8, 500)])[:, 14, 14]
    return np.abs(tape.gradient(middle, x)).mean(axis=(0, 3))


levels = {"one level": (32,), "two levels": (32, 64), "three levels": (32, 64, 128)}
networks = [unet.unet(28, 1, widths, blocks=1, attention=()) for widths in levels.values()]
maps = [influence(model) for model in networks]
reach = [(seen > 0.1 * seen.max()).mean() for seen in maps]
for title, share in zip(levels, reach, strict=True):
    print(f"{title}: {share:.0%} of the image has a tenth of the largest influence, or more")
assert reach[0] < reach[1] < reach[2]

figure, axes = plt.subplots(1, 3, figsize=(8, 2.8), layout="constrained")
for axis, seen, title in zip(axes, maps, levels, strict=True):
    shown = axis.imshow(seen / seen.max(), norm="log", vmin=3e-3, vmax=1, cmap="Oranges")
    axis.set(title=title, xticks=[], yticks=[])
figure.colorbar(shown, ax=axes, label="influence")
plots.show(
    figure,
    "Three maps of influence on the pixel in the middle: a small dark spot for one level, a "
    "larger one for two, most of the image for three.",
)

# %% [markdown]
# A step on one level is two steps on the level above, so the same small convolution reaches twice as far, and a few
# levels take in the whole digit: the reason for the shape of the U. (More levels also mean more convolutions, which
# helps a little. These three have no patches and no attention, which would see everything at once. The rest of the
# first picture is not white, as the group normalisation's means and variances look at all of the image, though only
# in bulk.)
#
# ## Is it sound?
#
# Training takes minutes to days, and a network with a mistake in it often learns all the same, only worse. So
# practitioners ask a new network a few questions first. **What does it say before training?** The last convolution
# starts at zero, so the answer is 0 for any input. With fresh noise as the target, the squared error is then the
# variance of the noise, 1. A first loss of 1.3 or 40 would point to a mistake.

# %%
x_0 = digits[:BATCH]
t = rng.integers(1, T + 1, BATCH, dtype=np.int32)
noise = normal(*x_0.shape)
x_t = np.asarray(diffusion.add_noise(x_0, noise, linear.at(t, like=x_0)))

answer = network.predict_on_batch([x_t, t])
assert not answer.any()
print(f"loss before training: {np.square(noise - answer).mean():.3f}")
assert abs(np.square(noise).mean() - 1) < 4 * np.sqrt(2 / noise.size)  # four standard errors

# %% [markdown]
# **Can it learn one batch by heart?** The same images, times and noise in every step: a network that is wired
# correctly drives the loss far down. If even this fails there is a mistake, found in a minute; if it succeeds, finer
# faults may remain, such as a time that is ignored. (The first step takes seconds, as Keras translates the network
# into a graph.)

# %%
network.compile(keras.optimizers.Adam(2e-3), "mse")
network.optimizer.build(network.trainable_variables)
losses = []
for _ in plots.progress(range(STEPS), STEPS, "by heart", lambda: f"loss {losses[-1]:.5f}"):
    losses.append(float(network.train_on_batch([x_t, t], noise)))
assert losses[-1] < choose(smoke=0.9, cpu=0.1, gpu=0.1) * losses[0]

# %%
x_0_pred = diffusion.to_x_0(x_t, network.predict_on_batch([x_t, t]), linear.at(t, like=x_t))
worth = 0.01 * linear.noise_rate[[900, T]] / linear.signal_rate[[900, T]]
np.testing.assert_allclose(worth, (0.6, 1.6), rtol=0.05)
shown = np.argsort(t)[4::8]  # eight of the batch, from early to late times
plots.show_filmstrip(
    [x_0[shown], x_t[shown], np.asarray(x_0_pred)[shown]],
    "Eight digits of the batch, from little noise to nearly nothing else; below, what is left"
    " when the network's noise is taken away: digits that match the originals, with some "
    "grain at the highest noise.",
    row_labels=["x_0", "x_t", "from the noise"],
    column_labels=[f"t={t[i]}" for i in shown],
)

# %% [markdown]
# It finds digits in what looks like pure noise because it knows this noise by heart. Near $t = 1000$ even that is not
# quite enough: an error of 0.01 in the noise is one of 0.6 in the picture at $t = 900$, and of 1.6 at 1000 (lesson
# 03).
#
# **Does every weight take part?** A weight without a gradient is not connected to anything. (We ask after the steps
# above. Before the first one nearly all would be silent: a last layer of zeros lets no gradient through.) And **does
# it listen to the time?** The same picture at a wrong time must get another answer.

# %%
with tf.GradientTape() as tape:
    error = tf.reduce_mean(tf.square(network([tf.constant(x_t), tf.constant(t)]) - noise))
gradients = tape.gradient(error, network.trainable_variables)
silent = [g for g in gradients if g is None or not np.any(g)]
print(f"{len(gradients)} arrays of weights, {len(silent)} without a gradient")
assert not silent

late = network.predict_on_batch([x_t, np.full(BATCH, 900, np.int32)])
early = network.predict_on_batch([x_t, np.full(BATCH, 100, np.int32)])
difference = np.abs(late - early).mean()
print(f"told t = 900 or t = 100, it gives answers that differ by {difference:.2f} on average")
assert difference > 0.05

# %% [markdown]
# It passes. What it has learned is one batch, and little about digits.
#
# ## Recap
#
# - You **turned** the time into a row of clocks, in which no two times are the same.
# - You **assembled** a U-Net: a normalisation that the time steers, residual blocks, attention, patches, skips.
# - You **tested** it before the real training: silent at the start, able to learn by heart, every weight alive, awake
#   to the time.
#
# Next: lesson 05 trains such a network on all digits.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. One level more.** Build `unet.unet(32, 1, (32, 64, 128, 256), 2)`. By what factors do parameters and operations
# grow, against three levels?
#
# <details><summary>Answer</summary>
#
# Parameters 3.8 times, operations 1.3 times: the new level has twice the channels, so four times the weights in each
# convolution, but a quarter of the positions. It costs about as much as the level above it, and holds most of the
# weights.
#
# </details>
#
# **2. No patches.** Build our network with `patch=1`. By what factors do operations and parameters grow? What happens
# with `patch=4`?
#
# <details><summary>Answer</summary>
#
# Four times the operations, as there are four times the positions; the parameters stay the same but for the first and
# the last convolution. `patch=4` is refused: it leaves $7 \times 7$ positions, which cannot be halved for a second
# level.
#
# </details>
#
# **3. Attention everywhere.** Our network compares the $7 \times 7$ positions of its coarsest level. Without patches
# and with `attention=(0, 1)` it would do so at $28 \times 28$ and $14 \times 14$. How many numbers has one image's
# table of weights $w_{ij}$ at each of the three sizes?
#
# <details><summary>Answer</summary>
#
# $49^2 = 2{,}401$, $196^2 = 38{,}416$ and $784^2 = 614{,}656$: twice the side, sixteen times the table, and sixteen
# times the work for each channel. That is why attention waits for the coarsest level. (`unet.flops` counts only
# convolutions and dense layers, so you do not see it there.)
#
# </details>
#
# **4. In code.** Write `unpatch(patches, p)`: the way back from folded squares, (B, h, w, p·p·C), to images.


# %% tags=["solution"]
def unpatch(patches, p):
    return rearrange(patches, "b h w (p q c) -> b (h p) (w q) c", p=p, q=p)


# %%
checks.unpatch(unpatch)

# %% [markdown]
# **5. In code.** Most networks let attention look in several ways at once. Write `multi_head(q, k, v, heads)` for
# arrays of shape (B, positions, channels): each head takes its own share of the channels, attends with it alone, and
# the results are put side by side. `layers.attention_weights` may help.


# %% tags=["solution"]
def multi_head(q, k, v, heads):
    shares = zip(*(np.split(x, heads, axis=-1) for x in (q, k, v)), strict=True)
    return np.concatenate([layers.attention_weights(q, k) @ v for q, k, v in shares], axis=-1)


# %%
checks.multi_head(multi_head)

# %% [markdown]
# ## In practice
#
# - *The shape*: Ronneberger, Fischer and Brox, "U-Net" (2015), for cells under the microscope. *DDPM* (appendix B)
#   added the time, attention and group normalisation, and 36 million parameters for 32x32 colour pictures. It adds
#   the time's vector to the features, and attends at $16 \times 16$. Scale and shift in its place, "adaptive group
#   normalization", are compared with it by Dhariwal and Nichol, "Diffusion Models Beat GANs" (2021, section 3).
#   *Group normalisation*: Wu and He, "Group Normalization" (2018). *Residual blocks*: He et al. (2015).
# - *Sinusoids and attention*: Vaswani et al., "Attention Is All You Need" (2017, sections 3.2 and 3.5). *Non-local
#   means*: Buades, Coll and Morel (2005).
# - *Must it be told?* Sun, Jiang, Zhao and He, "Is Noise Conditioning Necessary for Denoising Generative Models?"
#   (2025) leave the time out, and most models get only a little worse: a large picture tells how noisy it is.
# - *Other shapes*: transformers on patches (Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023)
#   have replaced the U-Net in the largest models. Their time enters as here, through scale and shift.
# - *Speed*: scale, mean and deviation make one slope and one offset for each image and channel,
#   $(1 + \text{scale}) / d$ and $\text{shift} - \text{slope} \cdot m$, and the mean and deviation need only the
#   averages of $x$ and $x^2$. Written as in this lesson, the image is read and written some ten times, which on a CPU
#   can take as long as a convolution. How fast the network trains on your machine, `make bench` tells.
