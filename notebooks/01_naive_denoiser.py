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
# # 01. Remove noise in one shot
#
# Bury a picture in noise, and train a network to give the picture back. Then hand it noise with no picture in it,
# move the noise a little towards the network's answer, and ask again. After some rounds there is a picture that
# nobody drew. This is the idea behind diffusion models. Here we build it in the most naive way and get strokes that
# are sometimes digits; later lessons rebuild it, part by part.

# %% [markdown]
# **You will**
#
# - **corrupt** digits with a known amount of noise, from none to all;
# - **train** a small U-Net, in a loop written by hand, to undo it;
# - **sample** new digits from pure noise, and measure what is wrong with them.
#
# **You need** Python and NumPy, and some experience with training a network. The lesson runs
# in <!-- measured -->about 5 minutes on two CPU cores and 1.3 GB of memory<!-- /measured -->.

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
from keras import layers
from scipy import ndimage

from lessons_lib import data, diffusion, plots, unet
from lessons_lib.checks import lesson_01 as checks
from lessons_lib.profile import choose

# %% [markdown]
# All knobs are in one cell. `choose` picks the value for this run's profile: `smoke` only shows that everything
# works, `cpu` is for a laptop, `slow` for a slow one (mostly with the same values), and `gpu` for a graphics card.
# The environment variable `LESSONS_PROFILE` forces one.

# %% tags=["parameters"]
SEED = 0
STEPS = choose(smoke=40, slow=500, cpu=800, gpu=4000)  # training steps, one batch each
BATCH = 256
TRAIN = choose(smoke="train[:8000]", cpu="train+test[2000:]", gpu="train+test[2000:]")

keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Look at the data
#
# MNIST consists of 70,000 handwritten digits of 28 by 28 pixels. We join its training and test sets, but hold 2,000
# digits back from training. All errors that we quote after training are measured on those.
#
# Our library, `lessons_lib`, delivers pixels in $[-1, 1]$, the range of all later lessons. This one works in
# $[0, 1]$, the range of the noise to come, and makes every pixel either paper (0) or ink (1) with a threshold at one
# half, so that a clean digit is easy to tell from a grey guess. (`low=0` tells the figures where the range begins.)


# %%
def binarise(images):
    return tf.cast(images > 0, tf.float32)  # 0 is the middle of [-1, 1]


digits = data.load_digits(TRAIN, BATCH, seed=SEED)
held_out, _ = next(iter(data.load_digits("test[:2000]", 2000)))
x_test = binarise(held_out)
assert np.mean(x_test[:, :2] + x_test[:, -2:]) < 0.01  # the margin is paper

low, high = tf.reduce_min(held_out), tf.reduce_max(held_out)
print(f"{data.digits()}: batches {digits.element_spec[0].shape}, values {low} to {high}")
plots.show_filmstrip(
    [(held_out[:8] + 1) / 2, x_test[:8]],
    "Eight held-out digits in dark ink on light paper: above in greys, below with every "
    "pixel either white or black.",
    row_labels=["grey", "binary"],
    low=0,
)

# %% [markdown]
# ## Corrupt it
#
# A corrupted image is a mixture of image and noise:
#
# $$\tilde x = (1 - a)\, x + a\, u$$
#
# - $x$ is the clean image, with values in $[0, 1]$;
# - $u$ is the noise, an array of the same shape, each pixel drawn independently and uniformly from $[0, 1]$;
# - $a$, the *amount*, is one number per image: 0 leaves the image as it is, 1 leaves nothing of it.
#
# Every mixture lies in $[0, 1]$ too. The reshape broadcasts each image's amount over its pixels. (An `assert` stops
# the notebook if a claim does not hold; skip it on a first reading.)


# %% tags=["slide"]
def corrupt(x, amount):
    noise = tf.random.uniform(tf.shape(x))
    amount = tf.reshape(amount, (-1, 1, 1, 1))
    return (1 - amount) * x + amount * noise


# %%
amounts = np.linspace(0, 1, 8, dtype=np.float32)
eight_fours = tf.repeat(x_test[2:3], 8, axis=0)  # one digit, for eight amounts
corrupted_fours = corrupt(eight_fours, amounts)

paper = corrupt(tf.zeros((8, 28, 28, 1)), amounts)
ink = corrupt(tf.ones((8, 28, 28, 1)), amounts)
np.testing.assert_allclose(np.max(paper, axis=(1, 2, 3)), amounts, atol=0.02)
np.testing.assert_allclose(np.min(ink, axis=(1, 2, 3)), 1 - amounts, atol=0.02)
for flat in (paper, ink):  # evenly over a width a: standard deviation a / sqrt(12)
    np.testing.assert_allclose(np.std(flat, axis=(1, 2, 3)), amounts / 12**0.5, atol=0.02)
plots.show_filmstrip(
    [corrupted_fours],
    "A four with more and more noise from left to right; the last picture is noise alone.",
    column_labels=[f"{a:.2f}" for a in amounts],
    low=0,
)

# %% [markdown]
# At 0.57 *our* eyes still read the digit; at 0.86 they have to guess. The asserts check where the pixels end up:
# paper becomes $a u$, uniform between 0 and $a$, and ink is uniform between $1 - a$ and 1. Image and noise must have
# comparable ranges; exercise 1 shows why.
#
# ## Build a network that undoes it
#
# The network gets $\tilde x$ and answers with $\hat x$, a guess at $x$. To repair a pixel it has to look far around
# it, yet put the repair in exactly the right place. A **U-Net** does both. On the way down the image is halved twice,
# so that a small convolution covers much of it. On the way up it is doubled twice, and at each size a *skip* adds
# what the way down computed, so that fine detail need not pass through the bottom.
#
# ```
# 28x28  conv 32 ───────────── skip ────────────── + ── conv 1    the guess
#           ↓ max                                  ↑ repeat
# 14x14  conv 64 ──────── skip ──────── + ── conv 32
#           ↓ max                       ↑ repeat
#  7x7   conv 64 ───────────────── conv 64
# ```
#
# `conv 32` is a convolution with 32 filters of 5 by 5 pixels. All except the last are followed by SiLU,
# $z \cdot \sigma(z)$ with the logistic function $\sigma$, a smooth relative of ReLU. The last has no activation, so
# that the answer can be any number (exercise 2 changes that).


# %%
def convolution(filters, activation="silu"):
    return layers.Conv2D(filters, 5, padding="same", activation=activation)


h = noisy = keras.Input((28, 28, 1))
h = full = convolution(32)(h)
h = layers.MaxPooling2D(2)(h)
h = half = convolution(64)(h)
h = layers.MaxPooling2D(2)(h)
h = convolution(64)(h)

h = convolution(64)(h)
h = layers.Add()([layers.UpSampling2D(2)(h), half])
h = convolution(32)(h)
h = layers.Add()([layers.UpSampling2D(2)(h), full])
h = convolution(1, activation=None)(h)
network = keras.Model(noisy, h, name="basic_unet")

# %%
for layer in network.layers:
    if layer.count_params():
        shape, count = layer.output.shape[1:], layer.count_params()
        print(f"{layer.name:10} gives {shape!s:13} with {count:7,} parameters")
assert network.output_shape == network.input_shape
assert network.count_params() == 309_057

# %% [markdown]
# **Earned.** Each lesson checks what it has built against `lessons_lib`, and later lessons import it from there. This
# network is `unet.basic_unet`; the mixture is `diffusion.corrupt`, which takes the noise as an argument. From one
# seed, both mix in the same noise:

# %%
earned = unet.basic_unet()
earned.set_weights(network.get_weights())
np.testing.assert_allclose(earned(corrupted_fours), network(corrupted_fours), atol=1e-6)

tf.random.set_seed(SEED)
ours = corrupt(eight_fours, amounts)
tf.random.set_seed(SEED)
noise = tf.random.uniform(tf.shape(eight_fours))
np.testing.assert_allclose(ours, diffusion.corrupt(eight_fours, noise, amounts), atol=1e-6)

# %% [markdown]
# ## Train it
#
# Each step corrupts a batch of clean images, each by an amount drawn uniformly from $[0, 1]$, and compares the
# guesses with the clean images by the mean squared error over all $N$ pixels of the batch:
#
# $$L = \frac{1}{N} \sum_{j=1}^{N} (\hat x_j - x_j)^2$$
#
# The tape records the computation and differentiates the loss with respect to every weight; Adam takes the step.
# `tf.function` turns the Python code into a graph on its first call.


# %%
def train(network):
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(network.trainable_variables)  # its memory, made before the graph

    @tf.function
    def train_step(x):
        with tf.GradientTape() as tape:
            guess = network(corrupt(x, tf.random.uniform((BATCH,))))
            loss = tf.reduce_mean((guess - x) ** 2)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return loss

    losses = []
    steps = plots.progress(
        digits.take(STEPS), STEPS, "training", lambda: f"loss {losses[-1]:.4f}"
    )
    for images, _ in steps:
        losses.append(float(train_step(binarise(images))))
    return losses


losses = train(network)

# %% [markdown]
# What is a sensible baseline for this loss? Two answers need no network: the corrupted image untouched, and the
# average digit whatever the input. An untouched pixel is wrong by $a\,(u - x)$. Whether $x$ is 0 or 1, $(u - x)^2$ is
# $\int_0^1 u^2\,du = 1/3$ on average, so the squared error is $a^2 / 3$, and averaged over all amounts it is
# $\frac{1}{3} \int_0^1 a^2\,da = 1/9$.

# %%
x_train = binarise(next(iter(data.load_digits(TRAIN, 2000)))[0])
average_digit = tf.reduce_mean(x_train, axis=0, keepdims=True)
average_loss = float(tf.reduce_mean((x_test - average_digit) ** 2))
untouched = corrupt(x_test, tf.linspace(0.0, 1.0, 2000))  # every amount once
untouched_loss = float(tf.reduce_mean((untouched - x_test) ** 2))
answer = network.predict(untouched, batch_size=500, verbose=0)
network_loss = float(tf.reduce_mean((answer - x_test) ** 2))
print(f"held-out: untouched {untouched_loss:.3f}, average digit {average_loss:.3f}", end=", ")
print(f"network {network_loss:.3f} (training, last steps: {np.mean(losses[-50:]):.3f})")
np.testing.assert_allclose(untouched_loss, 1 / 9, atol=0.001)
assert min(losses[:40]) < average_loss < untouched_loss
assert network_loss < choose(smoke=0.9, cpu=0.4, gpu=0.35) * average_loss
plots.plot_loss(
    losses,
    "Training loss by step: below both baselines within 40 steps, then a slow fall.",
    baselines={"untouched": untouched_loss, "average digit": average_loss},
)

# %% [markdown]
# The loss falls below both baselines within 40 steps, then ever more slowly. It may jump at a step and take some
# dozens of steps to recover.
#
# ## Denoise held-out digits
#
# Here is our four, which the network has never seen:

# %%
guessed_fours = network.predict_on_batch(corrupted_fours)
plots.show_filmstrip(
    [corrupted_fours, guessed_fours],
    "The four under growing noise, and guesses: readable to 0.71, smudged, a grey blot.",
    row_labels=["corrupted", "guess"],
    column_labels=[f"{a:.2f}" for a in amounts],
    low=0,
)

# %% [markdown]
# Up to 0.71 the guess is readable, with soft edges. At 1 the input holds no trace of the digit, and the guess is a
# grey blot. Next we compute the mean squared error at each amount and add a third simple answer, a *threshold*: ink
# wherever the corrupted pixel is above 0.5. It learns nothing and does not know the amount.

# %%
errors = {}
for a in amounts:
    corrupted = corrupt(x_test, tf.fill(len(x_test), a))
    answers = {
        "network": network.predict(corrupted, batch_size=500, verbose=0),
        "untouched": corrupted,
        "average digit": average_digit,
        "threshold": tf.cast(corrupted > 0.5, tf.float32),
    }
    for name, answer in answers.items():
        errors.setdefault(name, []).append(float(tf.reduce_mean((answer - x_test) ** 2)))

print("amount       ", *(f"{a:.2f}  " for a in amounts))
for name, row in errors.items():
    print(f"{name:13}", *(f"{error:.4f}" for error in row))

# %%
exact = amounts < 0.5  # where the threshold makes no error
network_error, *others, threshold_error = map(np.array, errors.values())
assert not any(threshold_error[exact])
assert min(network_error[exact]) > 0.0005 > others[0][0]  # others[0]: the untouched images
np.testing.assert_allclose(threshold_error[~exact], 1 - 0.5 / amounts[~exact], atol=0.002)
best_other = np.min([*others, threshold_error], axis=0)
assert all(network_error[4:7] < best_other[4:7])  # from 0.57 to 0.86
assert network_error[-1] > average_loss  # at the end it loses to the average digit

figure, axes = plt.subplots(figsize=(7, 3.2))
styles = (plots.BLUE, "o-"), (plots.ORANGE, "s"), (plots.GREY, ":"), (plots.GREEN, "^")
for (name, row), (color, style) in zip(errors.items(), styles, strict=True):
    axes.plot(amounts, row, style, color=color, label=name)
fine = np.linspace(0, 1, 200)
axes.plot(fine, fine**2 / 3, "--", color=plots.ORANGE)
axes.plot(fine, np.maximum(0, 1 - 0.5 / np.maximum(fine, 0.5)), "-.", color=plots.GREEN)
axes.set_yscale("symlog", linthresh=0.001)  # linear below 0.001, so that it can show zero
axes.set_yticks([0, 0.001, 0.01, 0.1, 1], ["0", "0.001", "0.01", "0.1", "1"])
axes.set(xlabel="amount of noise", ylabel="mean squared error", ylim=(-0.0002, 1))
figure.legend(loc="upper center", ncols=4, frameon=False)
plots.show(
    figure,
    "Error by amount, on a logarithmic axis that goes down to zero: the threshold's is zero "
    "below one half; the network's starts above it, is the lowest from 0.57 to 0.86, and ends "
    "above the average digit's.",
)

# %% [markdown]
# Below one half the threshold restores every image exactly, as paper stays below $a$ and ink above $1 - a$. Above one
# half these ranges overlap: paper is taken for ink where $u > 1 / (2a)$, with probability $1 - 1 / (2a)$; ink is
# taken for paper equally often, so this is the error. There the network is the best of the four, until the noise is
# nearly pure.
#
# **With little noise the network is worse than the threshold**, and it makes a clean image worse. It is tempting to
# blame the amount, which the network is not told. But a picture shows its own amount: below one half no pixel lies
# between $a$ and $1 - a$, a gap easy to see among 784 pixels. So even a function that is not told can use the
# threshold below one half and something else above: the unknown amount need not do this harm, and we have not tested
# what does.
#
# **With nothing but noise it loses to the average digit**, and on average no network can win. The input says nothing
# about the digit, so all images $x^{(1)}, \dots, x^{(K)}$ are as likely as before, and the answer $c$ with the least
# squared error is their mean: $\sum_k (x^{(k)} - c)^2$ is a parabola in each pixel of $c$ that opens upwards, and its
# derivative $-2 \sum_k (x^{(k)} - c)$ is zero at $c = \frac{1}{K} \sum_k x^{(k)}$. Here is this mean, estimated from
# 2,000 training digits, beside the network's answers to four noises:

# %%
pure_noise = tf.random.uniform((64, 28, 28, 1))
first_guesses = network.predict_on_batch(pure_noise)
variance = np.var(first_guesses, axis=0).mean()
excess = network_error[-1] - average_loss
print(f"the guesses' variance: {variance:.4f} of the {excess:.4f} lost to the average digit")
assert 0.5 * excess < variance < 1.5 * excess
plots.show_filmstrip(
    [np.concatenate([average_digit, first_guesses[:4]])],
    "The average digit, a smooth blot, and four guesses: rougher blots with faint shapes.",
    column_labels=["average", *["guess"] * 4],
    low=0,
)

# %% [markdown]
# The guesses are blots too, but each has a faint shape of its own: the network takes chance patterns in the noise for
# ink. In squared error this can only cost: noise and digit are independent, so the expected error of an answer that
# varies with the noise is the error of its mean plus its variance, which is most of what the network loses to the
# average.
#
# The average is the *right* answer to our question, but not a drawing.
#
# ## Sample from pure noise
#
# Let us move from the noise a little towards the guess and ask again: now the input holds the faint shape, on which
# the next guess can build. With $n$ steps, step $i$, counted from 0, moves the state $\tilde x$ a fraction of the
# way:
#
# $$\tilde x \leftarrow \tilde x + \frac{\hat x - \tilde x}{n - i}$$
#
# If the guess never changed, step $i$ would remove one part in $n - i$ of the remaining noise. After $i$ steps this
# would leave $\frac{n-1}{n} \cdot \frac{n-2}{n-1} \cdots \frac{n-i}{n-i+1} = 1 - \frac{i}{n}$: the amount falls
# linearly to 0, and the last step arrives at the guess. (The network's answer may leave $[0, 1]$, so we clip the
# state.)


# %% tags=["slide"]
def sample(state, n_steps):
    """Start from noise, (count, 28, 28, 1); return the lists of states and of guesses."""
    states, guesses = [state], []
    for i in range(n_steps):
        guesses.append(network.predict_on_batch(state))
        state = tf.clip_by_value(state + (guesses[-1] - state) / (n_steps - i), 0, 1)
        states.append(state)
    return states, guesses


# %%
states, guesses = sample(pure_noise, n_steps=5)
np.testing.assert_allclose(states[-1], guesses[-1].clip(0, 1), atol=1e-6)
plots.show_filmstrip(
    [np.concatenate([states[i][:4], guesses[i][:4]]) for i in range(5)],
    "Left, in five rows, four noise images that clear up; right, guesses: blots, then strokes.",
    row_labels=[f"step {i}" for i in range(5)],
    column_labels=["input"] * 4 + ["guess"] * 4,
    low=0,
)

# %% [markdown]
# The guesses are in the order of the inputs. Do more steps help? Here is the same noise in 1, 5 and 50 steps; one
# step gives the first guess.

# %%
runs = {n: sample(pure_noise, n)[0] for n in (1, 5, 50)}
plots.show_filmstrip(
    [states[-1][:8] for states in runs.values()],
    "The same noises in 1, 5 and 50 steps: blots, then strokes, then darker, sharper strokes.",
    row_labels=["1 step", "5 steps", "50 steps"],
    low=0,
)

# %%
last = {n: np.reshape(states[-1], (64, 784)) for n, states in runs.items()}
grey = [np.mean((final > 0.1) & (final < 0.9)) for final in last.values()]
print("grey pixels after 1, 5 and 50 steps:", ", ".join(f"{share:.0%}" for share in grey))
assert grey[0] > grey[1] > grey[2]
for n in (1, 5):
    table = np.corrcoef(last[n] - last[n].mean(0), last[50] - last[50].mean(0))[:64, 64:]
    print(f"same noise, {n} against 50 steps: correlation {np.diag(table).mean():.2f}")
    assert np.mean(table.argmax(axis=1) == np.arange(64)) > 0.9

# %% [markdown]
# With more steps the ink gets darker and the edges sharper, so fewer pixels are grey. Five steps already give nearly
# the shapes of fifty. Even the first guess hints at them: its correlation with its own final image is only a half,
# but nearly always higher than with any of the other 63. Here are all 64 final images, and sixteen as an animation,
# also saved as `output/naive_sampling.gif`:

# %%
samples = runs[50][-1].numpy()
assert STEPS < 500 or np.diag(table).mean() > 0.85  # 5 steps against 50
plots.show_images(
    samples, "64 generated images: some readable digits, many broken strokes.", low=0
)

# %%
frames = [state[:16] for state in runs[50][::5]]
plots.save_gif("output/naive_sampling.gif", frames, low=0, fps=5, scale=2)
plots.animate(
    frames, "Sixteen noise images turn into strokes, some of them digits.", low=0, fps=5
)

# %% [markdown]
# A few are digits that anybody would read; many are fragments. A digit is nearly always *one* connected stroke, so we
# count the connected pieces of ink, with `ndimage.label`. (A round blot is one piece too, so this is no measure of
# quality.)

# %%
around = np.ones((3, 3))  # pixels that touch at a corner are connected


def whole(images):
    """The share of images whose ink is in one piece."""
    images = np.asarray(images)[..., 0]
    return np.mean([ndimage.label(image > 0.5, around)[1] == 1 for image in images])


broken = np.diag(np.where(np.arange(28) == 14, 0.3, 1.0))  # a stroke with a grey gap
assert whole(np.stack([np.eye(28), broken])[..., None]) == 0.5
print(f"in one piece: {whole(x_test):.0%} of the real digits, {whole(samples):.0%} of ours")
# The standard error of a share p of n images is sqrt(p (1 - p) / n), largest at p = 1/2:
standard_error = np.sqrt(0.25 / len(samples))  # 6 points for 64 samples
assert whole(x_test) > 0.9
if STEPS >= 500 and data.digits() == "mnist":  # printed digits break less
    assert whole(x_test) - whole(samples) > 3 * standard_error

# %% [markdown]
# Nearly every real digit is in one piece. Many of ours are not, and the difference is far beyond chance.
#
# Does the sampler show the network images like those it was trained on? An amount $a$ below one half leaves no pixel
# between $a$ and $1 - a$. After 40 of 50 steps the amount should be 0.2. We measure it in the two top and two bottom
# rows, which are nearly always paper, $a u$, with mean $a / 2$:

# %%
state = runs[50][40].numpy()
shown = 2 * np.mean(np.concatenate([state[:, :2], state[:, -2:]], axis=1))
between = np.mean((state > 0.3) & (state < 0.7), axis=(1, 2, 3))
print(f"the margin shows an amount of {shown:.2f};", end=" ")
print(f"between 0.3 and 0.7: {between.min():.0%} to {between.max():.0%} of a state's pixels")
corrupted = corrupt(x_test, np.full(len(x_test), 0.3, np.float32))
assert not np.any((corrupted > 0.301) & (corrupted < 0.699))
assert STEPS < 500 or (0.15 < shown < 0.25 and between.min() > 0.04)

# %% [markdown]
# By the margin, the amount is about right. Up to an amount of 0.3 no corrupted image has any pixel between 0.3 and
# 0.7, but about a tenth of each state's pixels are there. So no single amount gives such an image: the sampler shows
# the network what training never did.
#
# ## What it lacks
#
# We have a denoiser that works and a generator that does not yet. Three questions are open; we have not tested how
# much each matters.
#
# | open question | what we saw | where we take it up |
# |---|---|---|
# | **What is the right step back?** We derived ours from a guess that never changes. | states unlike corrupted images; strokes that break | lessons 02 and 03: Gaussian noise in small steps, for which the step back can be computed |
# | **Is a network better when it is told the amount?** We know it, $1 - i / n$; the network does not. | nothing yet: the errors at small amounts need not come from this | lesson 04: what it is worth to a perfect denoiser, and a U-Net that knows the time; lesson 08: with and without it |
# | **How should a step use a guess?** The first guess *must* be a blot. How far should we follow it? | more steps sharpen the strokes but keep their shapes | lesson 05: what to train on; lessons 06 and 07: the steps |
#
# ## Recap
#
# - You **corrupted** digits with amounts of noise from 0 to 1.
# - You **trained** a U-Net of 309,057 parameters by hand: better than three simple answers from 0.57 to 0.86, worse
#   than the best of them at both ends.
# - You **sampled** new digits from pure noise: many are in pieces, and the states on the way are unlike corrupted
#   images.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run the code in a new cell.
#
# **1. Two ranges.** Mix noise from $[0, 1]$ with pixels from 0 to 255:
# `plots.show_images(corrupt(255 * eight_fours, amounts) / 255, "two ranges", low=0)`. What does the fifth image, at
# amount 0.57, look like?
#
# <details><summary>Answer</summary>
#
# Like a clean digit, only paler. The noise is at most 0.57 and the ink at least $0.43 \cdot 255 \approx 109$, almost
# two hundred times as much. Even the last image, noise alone, looks white: no pixel exceeds 1 of 255.
#
# </details>
#
# **2. An activation at the end.** Train a network that ends in SiLU, which takes as long as the first time:
#
# ```python
# bounded = unet.basic_unet(output_activation="silu")
# bounded_losses = train(bounded)
# print(np.mean(losses[-50:]), np.mean(bounded_losses[-50:]))
# ```
#
# What is the lowest value that this network can answer? Does that hurt here? Would it hurt if the target were
# Gaussian noise?
#
# <details><summary>Answer</summary>
#
# SiLU never goes below about $-0.28$. Our targets lie in $[0, 1]$, so the bound excludes none of them: compare the
# two losses. Gaussian noise is below $-0.28$ in 39 % of its values, and such a network could answer none of them.
#
# </details>
#
# **3. No noise.** Start from plain grey, the average of all noises:
# `plots.show_images(sample(tf.fill((8, 28, 28, 1), 0.5), n_steps=50)[0][-1], "no noise", low=0)`. How many different
# pictures are there?
#
# <details><summary>Answer</summary>
#
# One, eight times. `sample` draws no random number, so equal starts have equal ends: whatever differs between our 64
# samples was in their noise.
#
# </details>
#
# **4. In code.** Write `amounts_left(n_steps)`: the amount of noise left *before* each step of `sample`, if the guess
# never changed, as `n_steps` numbers.


# %% tags=["solution"]
def amounts_left(n_steps):
    return [1 - i / n_steps for i in range(n_steps)]


# %%
checks.amounts_left(amounts_left)

# %% [markdown]
# ## In practice
#
# - *Where this lesson comes from*: `corrupt`, the network (`BasicUNet`), the loss and the sampling rule are those of
#   [Diffusion Models from Scratch](https://huggingface.co/learn/diffusion-course/unit1/3), unit 1 of the Hugging Face
#   diffusion course. An
#   [article](https://dzlab.github.io/notebooks/tensorflow/vision/diffusion/2022/12/30/Simple_diffusion_TF.html) of
#   2022 has them in TensorFlow, with binary images and clipped states; this lesson grew from it. In both, the network
#   ends in SiLU (exercise 2), and the sampler computes the amount $1 - i / n$ but never uses it. The article's
#   figures mix noise up to 1 with pixels up to 255 (exercise 1).
# - *The U-Net* is from Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
#   Segmentation" (2015), section 2; there the skips are concatenated, here added.
# - *The best answer* to an input $\tilde x$, in squared error, is the mean of all clean images that could have led to
#   it, each weighted by its probability. Lesson 03 computes it exactly for a small world; it blurs as well.
# - *Other corruptions*: Cold Diffusion (Bansal et al. 2023) samples from blurred or masked images. For noise it has
#   our rule. Write $\hat u = (\tilde x - (1 - a)\, \hat x) / a$ for the noise that state and guess imply, and
#   $D_a = (1 - a)\, \hat x + a\, \hat u$ for the guess corrupted with it. The paper's algorithm 1 goes to $D_{a'}$,
#   with $a'$ the next amount, its algorithm 2 to $\tilde x - D_a + D_{a'}$. Since $D_a = \tilde x$, these are the
#   same point; for a blur they are not, and there algorithm 2 is better.
# - *Does our rule lead anywhere?* Yes, with the best answer for each amount and many small steps: then the states are
#   distributed like corrupted images all the way down, for uniform noise too. This is the rectified flow of Liu, Gong
#   and Liu ("Flow Straight and Fast", 2023, section 3.1).
