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
# Take a picture, bury it in noise, and ask a network for the picture back. Then hand it noise with no picture in it
# at all, and ask again and again, each time a little closer to its last answer: a picture appears that nobody drew.
# That is the idea behind diffusion models. In this lesson we build it in the most naive way there is, get strokes
# that are digits now and then, and find out with numbers what is missing. The lessons that follow put it in.

# %% [markdown]
# **You will**
#
# - **corrupt** digits with a known amount of noise, from none to all;
# - **train** a small U-Net, in a loop written by hand, to undo it;
# - **sample** new digits from pure noise, and measure what they lack.
#
# **You need** Python and NumPy, and a first acquaintance with training a network; no lesson before this one. To run,
# it takes <!-- measured -->about 4 minutes on two CPU cores and 1.4 GB of memory<!-- /measured -->.

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
# All knobs sit in one cell. `choose` takes the value for the profile of this run: `smoke` only shows that everything
# works, `cpu` is meant for a laptop, `slow` for a slow one (the same values, except where one is named), `gpu` for a
# graphics card. Set the environment variable `LESSONS_PROFILE` to force one.

# %% tags=["parameters"]
SEED = 0
STEPS = choose(smoke=40, slow=500, cpu=800, gpu=4000)  # training steps, one batch each
BATCH = 256
TRAIN = choose(smoke="train[:8000]", cpu="train+test[2000:]", gpu="train+test[2000:]")

keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Look at the data
#
# MNIST is 70,000 handwritten digits, 28 by 28 pixels each. We join its training and test sets to have more of them,
# and hold 2,000 back, which the network never sees in training: the errors that we quote below are measured on those.

# %%
digits = data.load_digits(TRAIN, BATCH, seed=SEED)
held_out, _ = next(iter(data.load_digits("test[:2000]", 2000)))
low, high = tf.reduce_min(held_out), tf.reduce_max(held_out)
print(f"{data.digits()}: batches {digits.element_spec[0].shape}, values {low} to {high}")
plots.show_images(
    held_out[:16], "Sixteen digits of the held-out set, in dark ink on light paper."
)

# %% [markdown]
# The library delivers pixels in $[-1, 1]$, the range of all later lessons. This one alone works in $[0, 1]$, because
# that is the range of the noise that we are about to mix in, and it makes every pixel either paper (0) or ink (1),
# cut at one half. The task stays the same, and it becomes plain to see whether an answer is a clean digit or a grey
# guess. (`low=0` tells the figures where the range begins.)


# %%
def binarise(images):
    return tf.cast(images > 0, tf.float32)  # 0 is one half of [-1, 1]


x_test = binarise(held_out)

plots.show_images(
    x_test[:16], "The same digits with every pixel either white or black.", low=0
)

# %% [markdown]
# ## Corrupt it
#
# A corrupted image is a mixture of the image and of noise:
#
# $$\tilde x = (1 - a)\, x + a\, u$$
#
# - $x$ is the clean image, with values in $[0, 1]$;
# - $u$ is noise of the same shape, each pixel drawn evenly from $[0, 1]$ and on its own;
# - $a$, the *amount*, is one number per image: 0 leaves the image as it is, 1 leaves nothing of it.
#
# Both ends lie in $[0, 1]$, so every mixture does. The reshape lets one number per image meet all its pixels. (An
# `assert` in a lesson stops the notebook if what the text says were not so; when you read, pass it by.)


# %% tags=["slide"]
def corrupt(x, amount):
    noise = tf.random.uniform(tf.shape(x))
    amount = tf.reshape(amount, (-1, 1, 1, 1))
    return (1 - amount) * x + amount * noise


# %%
amounts = np.linspace(0, 1, 8, dtype=np.float32)
eight_times = tf.repeat(x_test[2:3], 8, axis=0)  # one digit at eight amounts
corrupted = corrupt(eight_times, amounts)
assert np.array_equal(corrupted[0], x_test[2])
plots.show_filmstrip(
    [corrupted],
    "A four with more and more noise from left to right; the last picture is noise alone.",
    column_labels=[f"{a:.2f}" for a in amounts],
    low=0,
)

# %% [markdown]
# From left to right the amount goes from 0 to 1. At 0.57 the digit is still plain to *our* eyes; at 0.86 we guess.
# For this to work, image and noise must be of a like size; exercise 1 shows what happens if they are not.
#
# ## Build a network that undoes it
#
# The network gets $\tilde x$ and answers with a guess at $x$, an image of the same shape. To repair a pixel it has to
# look far around it, yet put the repair in exactly the right place. A **U-Net** does both. Its way down halves the
# image twice, so that a small convolution sees a large part of it; its way up doubles it again; and at each size a
# *skip* adds what the way down saw to what comes up, so that the fine detail need not pass through the bottom.
#
# ```
# 28x28  conv 32 ───────────── skip ────────────── + ── conv 1    the guess
#           ↓ max                                  ↑ repeat
# 14x14  conv 64 ──────── skip ──────── + ── conv 32
#           ↓ max                       ↑ repeat
#  7x7   conv 64 ───────────────── conv 64
# ```
#
# `conv 32` is a convolution with 32 filters of 5 by 5 pixels. All but the last are followed by SiLU,
# $z \cdot \sigma(z)$ with the logistic function $\sigma$: like ReLU, it keeps what is positive and drops what is
# negative, but smoothly. The last one has nothing after it, so that the answer can be any number (exercise 2 changes
# that).


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
# 309,057 parameters, two thirds of them in the two convolutions that make 64 numbers of 64: each has
# $5 \cdot 5 \cdot 64 \cdot 64$ weights.
#
# **Earned.** What a lesson has built, it checks against the library, and later lessons import it from there. This
# network is `unet.basic_unet`, and `corrupt` is `diffusion.corrupt`, which takes the noise as an argument:

# %%
earned = unet.basic_unet()
earned.set_weights(network.get_weights())
np.testing.assert_allclose(earned(corrupted), network(corrupted), atol=1e-6)

noise = corrupt(tf.zeros((8, 28, 28, 1)), tf.ones(8))  # an amount of 1 is the noise itself
half_and_half = diffusion.corrupt(eight_times, noise, tf.fill(8, 0.5))
np.testing.assert_allclose(half_and_half, (eight_times + noise) / 2, atol=1e-6)

# %% [markdown]
# ## Train it
#
# Each step takes a batch of clean images, draws an amount for each, corrupts them, and compares the network's guess
# $\hat x$ with the clean image by the mean squared error over all $N$ pixels of the batch:
#
# $$L = \frac{1}{N} \sum_i (\hat x_i - x_i)^2$$
#
# The tape records how the loss came about and gives its gradient for every weight; Adam, with a learning rate of
# 0.001, takes the step downhill. `tf.function` turns the Python code into a graph on its first call, which makes it
# fast.


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
# Is that loss good? Compare it with what a simpler answer would cost. Two need no network at all: hand the corrupted
# image back untouched, or answer with the average digit whatever the input. Like the loss, both numbers are averages
# over all amounts.

# %%
x_train = binarise(next(iter(data.load_digits(TRAIN, 2000)))[0])
average_digit = tf.reduce_mean(x_train, axis=0, keepdims=True)
average_error = float(tf.reduce_mean((x_test - average_digit) ** 2))
untouched = corrupt(x_test, tf.random.uniform((2000,)))
untouched_error = float(tf.reduce_mean((untouched - x_test) ** 2))
print(f"untouched {untouched_error:.3f}, average digit {average_error:.3f}", end=", ")
print(f"network {np.mean(losses[-50:]):.3f} in the last steps of training")
assert (
    np.mean(losses[-50:])
    < choose(smoke=0.9, cpu=0.4, gpu=0.35) * average_error
    < untouched_error
)
plots.plot_loss(
    losses,
    "Training loss by step; it falls below both simple answers at once, then slowly.",
    baselines={"untouched": untouched_error, "average digit": average_error},
)

# %% [markdown]
# The loss drops below both simple answers almost at once and then falls ever more slowly. (Now and then a step makes
# things worse for a while, as the spike shows.)
#
# ## Denoise held-out digits
#
# Our four, which the network has never seen, at the eight amounts:

# %%
guesses = network.predict_on_batch(corrupted)
plots.show_filmstrip(
    [corrupted, guesses],
    "The four under growing noise, and below it the guesses: readable, with soft edges, "
    "up to 0.71, then smudged, and at pure noise a grey blot.",
    row_labels=["corrupted", "guess"],
    column_labels=[f"{a:.2f}" for a in amounts],
    low=0,
)

# %% [markdown]
# Up to 0.71 the guess is readable, if soft at the edges, even where our own eyes begin to fail. At 1 the input holds
# no trace of any digit, and the guess is a blot. Let us put that into numbers: the mean squared error at each amount,
# over all 2,000 held-out digits.

# %%
network_error, untouched_error = [], []
for a in amounts:
    corrupted = corrupt(x_test, tf.fill((2000,), a))
    guess = network.predict(corrupted, batch_size=500, verbose=0)
    network_error.append(float(tf.reduce_mean((guess - x_test) ** 2)))
    untouched_error.append(float(tf.reduce_mean((corrupted - x_test) ** 2)))
rows = zip(amounts, network_error, untouched_error, strict=True)
print("\n".join(f"at {a:.2f}: network {n:.4f}, untouched {u:.4f}" for a, n, u in rows))

# %%
assert network_error[0] > 0.0005  # it harms a clean image
assert all(np.diff(network_error[2:]) > 0)  # more noise, more error
middle = choose(smoke=0.9, cpu=0.3, gpu=0.25) * min(untouched_error[4], average_error)
assert network_error[4] < middle  # there it is good
assert network_error[-1] > average_error  # at the end it loses to the average digit

figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(amounts, network_error, "o-", color=plots.BLUE, label="network")
axes.plot(amounts, untouched_error, "s--", color=plots.ORANGE, label="untouched")
axes.axhline(average_error, color=plots.GREY, linestyle=":", label="average digit")
axes.set(xlabel="amount of noise", ylabel="mean squared error")
axes.legend()
plots.show(
    figure,
    "Error by amount: the network's lies far below the untouched image's, "
    "but starts above it, and ends above the average digit's.",
)

# %% [markdown]
# In the middle the network is far better than either simple answer. Its two ends tell us more.
#
# **With little noise it does harm.** Handing the clean image back would cost nothing, and the network changes it all
# the same; at 0.14 it still gains nothing. It is not told how noisy its input is, and must spend some of what it can
# do on finding out. (How much of the harm that explains, we have not tested; the training was short, too.)
#
# **With nothing but noise it loses to the average digit**, and no network can win. The input says nothing about the
# digit any more, and when all images $x^{(1)}, \dots, x^{(n)}$ are as likely as before, the answer $c$ with the least
# squared error is their mean: $\sum_i (x^{(i)} - c)^2$ has the slope $-2 \sum_i (x^{(i)} - c)$, which is zero at
# $c = \frac{1}{n} \sum_i x^{(i)}$ and nowhere else. Here it is beside what the network says to four different noises:

# %%
pure_noise = tf.random.uniform((64, 28, 28, 1))
first_guess = network.predict_on_batch(pure_noise)
assert np.std(first_guess, axis=0).mean() > 0.01  # they differ from each other
plots.show_filmstrip(
    [np.concatenate([average_digit, first_guess[:4]])],
    "The average digit, an even blot, and four guesses from pure noise: "
    "blots with faint shapes of their own.",
    column_labels=["average", *["guess"] * 4],
    low=0,
)

# %% [markdown]
# The guesses are that blot, each with a faint shape of its own: the network takes chance patterns in the noise for
# ink. That makes it a little worse than the plain average, and it will be of great use in a moment. The average is
# the *right* answer to the question that we asked. The mistake would be to take it for a drawing.
#
# ## Sample from pure noise
#
# One guess from pure noise is a blot with a faint shape. So let us go towards it by a little and ask again: now the
# input holds that shape, faintly, and the next guess can build on it. With $n$ steps, step $i$, counted from 0, moves
# the state $\tilde x$ by a fraction of the way to the guess:
#
# $$\tilde x \leftarrow \tilde x + \frac{\hat x - \tilde x}{n - i}$$
#
# Why this fraction? If the guess never changed, step $i$ would remove one part in $n - i$ of the noise that is left,
# so after $i$ steps there would be left
# $\frac{n-1}{n} \cdot \frac{n-2}{n-1} \cdots \frac{n-i}{n-i+1} = 1 - \frac{i}{n}$: the amount falls evenly to 0, and
# the last step arrives at the guess.


# %% tags=["slide"]
def sample(x, n_steps):
    """From noise x, (count, 28, 28, 1): all states and all guesses on the way."""
    states, guesses = [x], []
    for i in range(n_steps):
        guesses.append(network.predict_on_batch(x))
        x = tf.clip_by_value(x + (guesses[-1] - x) / (n_steps - i), 0, 1)
        states.append(x)
    return states, guesses


# %%
states, guesses = sample(pure_noise[:4], n_steps=5)
plots.show_filmstrip(
    [np.concatenate([states[i], guesses[i]]) for i in range(5)],
    "Five rows. Left, what the network is given: four noise images that clear up. "
    "Right, its guesses: blots that become strokes.",
    row_labels=[f"step {i}" for i in range(5)],
    column_labels=["input"] * 4 + ["guess"] * 4,
    low=0,
)

# %% [markdown]
# Read it row by row: on the left what the network is given, on the right what it makes of that. The faint shape of
# the first guess is the seed of the last; each step commits a little more to it. Do more steps help? The same noise
# in 1, 5 and 50 steps:

# %%
by_steps = {n: sample(pure_noise[:8], n)[0][-1] for n in (1, 5, 50)}
plots.show_filmstrip(
    list(by_steps.values()),
    "The same noises in 1, 5 and 50 steps: blots, smudged strokes, sharper but broken ones.",
    row_labels=[f"{n} steps" for n in by_steps],
    low=0,
)

# %% [markdown]
# In part. The ink gets darker and the edges sharper, while the shape stays what the noise made it; but here and there
# a faint joint fades away, and a stroke breaks. Here are 64 images in 50 steps.

# %%
states, _ = sample(pure_noise, n_steps=50)
samples = states[-1].numpy()
plots.show_images(
    samples, "64 generated images: some readable digits, many broken strokes.", low=0
)

# %%
frames = [x[:16] for x in states[::5]]
plots.save_gif("output/naive_sampling.gif", frames, low=0, fps=5, scale=2)
plots.animate(
    frames, "Sixteen noise images turn into strokes, some of them digits.", low=0, fps=5
)

# %% [markdown]
# A few are digits anybody would read; many are fragments. In the animation (also saved as
# `output/naive_sampling.gif`) shapes appear early, and what is missing then never comes.
#
# Let us count a fault. A digit is nearly always *one* connected stroke; `ndimage.label` counts the connected pieces
# of ink in an image. (It finds a fault; it is no score. A single round blot is in one piece too, and a network that
# has hardly been trained draws just those.)

# %%
around = np.ones((3, 3))  # pixels that touch at a corner are connected


def whole(images):
    """The share of images whose ink is in one piece."""
    return np.mean(
        [ndimage.label(x > 0.5, around)[1] == 1 for x in np.asarray(images)[..., 0]]
    )


five_steps = sample(pure_noise, n_steps=5)[0][-1]
print(f"in one piece: {whole(x_test):.0%} of the real digits")
print(f"of the samples: {whole(five_steps):.0%} in 5 steps, {whole(samples):.0%} in 50")
# A share p of n images has the standard deviation sqrt(p (1 - p) / n), at most:
standard_error = np.sqrt(0.25 / len(samples))  # 6 points for 64 samples
assert whole(x_test) > 0.9
assert whole(x_test) - whole(samples) > choose(smoke=-3, cpu=3, gpu=3) * standard_error

# %% [markdown]
# Nearly every real digit is in one piece; of our samples many are not, and the difference is far beyond chance. (That
# between 5 and 50 steps is not.)
#
# ## What it lacks
#
# We have a denoiser that works and a generator that almost does. Three things stand between them, and each is a
# lesson.
#
# | what is missing | what we saw | where it comes |
# |---|---|---|
# | **Noise that can be computed with.** Is our state after 17 of 50 steps like a corrupted image of the training? With evenly distributed noise there is no formula to tell us, nor for the best next step. | strokes that break, in some step that we can compare with nothing | lessons 02 and 03: Gaussian noise, in small steps, of which every distribution can be written down |
# | **The noise level, told to the network.** We know the amount that is left, $1 - i / n$; the network is not told. | harm done to clean images | lesson 04: a U-Net that knows the time |
# | **Steps with a reason.** The first guess *must* be a blot. How far should one follow a guess that one knows to be wrong, and what should be put in place of what was taken away? | digits that are decided by chance patterns in the first noise | lesson 05: what to train on, so that there is a best step; lessons 06 and 07: the steps |
#
# ## Recap
#
# - You **corrupted** digits with amounts of noise from 0 to 1.
# - You **trained** a U-Net of 309,057 parameters by hand: far better than simple answers in the middle, worse at both
#   ends.
# - You **sampled** new digits from pure noise, and measured what they lack: many are in pieces.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Two ranges.** Mix noise from $[0, 1]$ with pixels from 0 to 255:
# `plots.show_images(corrupt(255 * eight_times, amounts) / 255, "two ranges", low=0)`. What does the image at 0.57
# look like?
#
# <details><summary>Answer</summary>
#
# Like a clean digit, only paler. The noise is at most $0.57$ and the ink $0.43 \cdot 255 \approx 110$: the noise is
# two hundred times weaker than the picture, and no screen shows it. Even the last image, which is noise alone, is
# plain white: all its values are below a 255th.
#
# </details>
#
# **2. A bend at the end.** Run `train(unet.basic_unet(output_activation="silu"))`, which takes as long as the first
# time. What is the lowest value that this network can answer? Does that hurt here? Would it hurt if the target were
# Gaussian noise?
#
# <details><summary>Answer</summary>
#
# SiLU never goes below $-0.278$. Our targets lie in $[0, 1]$, so the loss comes out much the same. Gaussian noise is
# below $-0.278$ in 39 % of its values, and such a network could answer none of them: later lessons would fail,
# without any error.
#
# </details>
#
# **3. No noise.** Show the last state of `sample(tf.fill((8, 28, 28, 1), 0.5), n_steps=50)`: it starts from plain
# grey, the average of all noises. How many different pictures are there?
#
# <details><summary>Answer</summary>
#
# One, eight times. `sample` draws no random number, so equal starts have equal ends: whatever differs between our 64
# samples was in their noise.
#
# </details>
#
# **4. In code.** Write `amounts_left(n_steps)`: the amount of noise that is left *before* each step of `sample`, if
# the guess never changed; `n_steps` numbers, from 1 downwards. (This is what one would tell a network that knows the
# noise level.)


# %% tags=["solution"]
def amounts_left(n_steps):
    return [1 - i / n_steps for i in range(n_steps)]


# %%
checks.amounts_left(amounts_left)

# %% [markdown]
# ## In practice
#
# - *The U-Net* is from Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image
#   Segmentation" (2015), section 2; there the skips are concatenated, here they are added. *SiLU* is also called
#   swish.
# - *The best answer* to an input $\tilde x$, in squared error, is the mean of all clean images that could have led to
#   it. Lesson 03 computes this mean exactly for a small world of images, and it blurs in just the same way.
# - *Where this lesson comes from*: a tutorial on a naive diffusion model with `corrupt` and `BasicUNet`. If you know
#   it: its figures mix noise up to 1 with pixels up to 255 (exercise 1), its network ends in SiLU (exercise 2), and
#   its loss for an epoch is divided by the batch size in place of the number of steps.
# - *Clipping* to $[0, 1]$ after each step keeps the input in the range that the network was trained on.
# - *Other corruptions*: sampling by repeated partial denoising also works for blur or missing pixels (Cold Diffusion;
#   Bansal et al. 2022, algorithm 1).
# - *Does our rule lead anywhere?* With the best guess for each amount, and many small steps, yes: then the state has
#   the distribution of corrupted images all the way down, for evenly distributed noise too. It is a case of what is
#   now called flow matching (Liu, Gong and Liu, "Flow Straight and Fast", 2022). A network that is not told the
#   amount cannot give that guess.
