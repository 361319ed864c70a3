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
# Take a picture, bury it in noise, and ask a network for the picture back. If it can do that for *any* amount of noise,
# then it can also do it for noise with no picture in it at all, and what comes back is a picture that nobody drew. That
# is the whole idea of a diffusion model. In this lesson we build it in the most naive way there is, get something
# surprisingly close to handwritten digits, and find out with numbers why it is not good enough. Every later lesson
# repairs one of the faults that we meet here.

# %% [markdown]
# **You will**
#
# - **corrupt** digits with a known amount of noise, from none to all;
# - **train** a small U-Net, in a loop written by hand, to undo it;
# - **sample** new digits from pure noise, and measure what they lack.
#
# **You need** Python and NumPy, and a first acquaintance with training a network; no lesson before this one. To run,
# it takes <!-- measured -->about 4 minutes on two CPU cores and 1.1 GB of memory<!-- /measured -->.

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

from lessons_lib import data, diffusion, plots, unet
from lessons_lib.checks import lesson_01 as checks
from lessons_lib.profile import choose

# %% [markdown]
# All knobs sit in one cell. `choose` takes the value for the profile of this run: `smoke` only shows that everything
# works, `cpu` is meant for a laptop, `gpu` for a graphics card. Set the environment variable `LESSONS_PROFILE` to force
# one.

# %% tags=["parameters"]
SEED = 0
STEPS = choose(smoke=40, cpu=800, gpu=4000)  # training steps, one batch each
BATCH = 256
TRAIN = choose(smoke="train[:8000]", cpu="train+test[2000:]", gpu="train+test[2000:]")

keras.utils.set_random_seed(SEED)

# %% [markdown]
# ## Look at the data
#
# MNIST is 70,000 handwritten digits, 28 by 28 pixels each. We join its training and test sets to have more of them, and
# hold 2,000 back: every number that we quote below is measured on those, which the network never sees in training.

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
# that is the range of the noise that we are about to mix in, and it makes every pixel either paper (0) or ink (1), cut
# at one half. The task stays the same, and it becomes plain to see whether an answer is a clean digit or a grey guess.


# %%
def binarise(images):
    return tf.cast(images > 0, tf.float32)  # 0 is one half of [-1, 1]


x_test = binarise(held_out)
print(f"{tf.reduce_mean(x_test):.1%} of all pixels are ink")
plots.show_images(
    x_test[:16], "The same sixteen digits with every pixel either white or black.", low=0
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
# Both ends lie in $[0, 1]$, so every mixture does. The reshape lets one number per image meet all its pixels.


# %%
def corrupt(x, amount):
    noise = tf.random.uniform(tf.shape(x))
    amount = tf.reshape(amount, (-1, 1, 1, 1))
    return (1 - amount) * x + amount * noise


# %%
amounts = np.linspace(0, 1, 8, dtype=np.float32)
corrupted = corrupt(x_test[:8], amounts)
assert np.array_equal(corrupted[0], x_test[0])  # nothing added
left_over = np.corrcoef(np.ravel(corrupted[7]), np.ravel(x_test[7]))[0, 1]
assert abs(left_over) < 4 / 28  # nothing left, within four standard errors
plots.show_filmstrip(
    [x_test[:8], corrupted],
    "Eight digits, and below them the same with more and more noise; the last is noise alone.",
    row_labels=["clean", "corrupted"],
    column_labels=[f"{a:.2f}" for a in amounts],
    low=0,
)

# %% [markdown]
# From left to right the amount goes from 0 to 1. At one half the digit is still plain to *our* eyes; at 0.86 we guess.
# The image and the noise must have the same range for this to work. The article that this lesson grew from drew its
# figures with pixels from 0 to 255 and noise from 0 to 1, and wondered at digits that hardly changed: exercise 1.
#
# ## Build a network that undoes it
#
# The network gets $\tilde x$ and answers with a guess at $x$, an image of the same shape. To repair a pixel it has to
# look far around it, yet put the repair in exactly the right place. A **U-Net** does both. Its way down halves the image
# twice, so that a small convolution sees a large part of it; its way up doubles it again; and at each size a *skip* hands
# what the way down saw over to the way up, so that no detail is lost on the way.
#
# ```
# 28x28  conv 32 ───────────── skip ────────────── + ── conv 1    the guess
#           ↓ max                                  ↑ repeat
# 14x14  conv 64 ──────── skip ──────── + ── conv 32
#           ↓ max                       ↑ repeat
#  7x7   conv 64 ───────────────── conv 64
# ```
#
# Each of the six convolutions looks at 5 by 5 pixels. All but the last are followed by SiLU, $z \cdot \sigma(z)$, a
# smooth step. The last has no such bend, so that the answer can be any number (exercise 2 bends it).


# %%
def convolution(filters, activation="silu"):
    return layers.Conv2D(filters, 5, padding="same", activation=activation)


x = noisy = keras.Input((28, 28, 1))
x = full = convolution(32)(x)
x = layers.MaxPooling2D(2)(x)
x = half = convolution(64)(x)
x = layers.MaxPooling2D(2)(x)
x = convolution(64)(x)

x = convolution(64)(x)
x = layers.Add()([layers.UpSampling2D(2)(x), half])
x = convolution(32)(x)
x = layers.Add()([layers.UpSampling2D(2)(x), full])
x = convolution(1, activation=None)(x)
network = keras.Model(noisy, x, name="basic_unet")

# %%
for layer in network.layers:
    if layer.count_params():
        shape, count = layer.output.shape[1:], layer.count_params()
        print(f"{layer.name:10} gives {shape!s:13} with {count:7,} parameters")
assert network.output_shape == network.input_shape
assert network.count_params() == 309_057

# %% [markdown]
# 309,057 parameters, two thirds of them in the two convolutions at 7 by 7: few pixels, many filters.
#
# **Earned.** The library has this network as `unet.basic_unet`, and `corrupt` as `diffusion.corrupt`, where the noise is
# an argument. With the same weights and the same noise they give the same answers, so from now on we import them.

# %%
earned = unet.basic_unet()
earned.set_weights(network.get_weights())
np.testing.assert_allclose(earned(corrupted), network(corrupted), atol=1e-6)

keras.utils.set_random_seed(SEED)
noise = tf.random.uniform((8, 28, 28, 1))
keras.utils.set_random_seed(SEED)  # so that our own function draws the same
np.testing.assert_allclose(
    diffusion.corrupt(x_test[:8], noise, amounts), corrupt(x_test[:8], amounts), atol=1e-6
)

# %% [markdown]
# ## Train it
#
# Each step takes a batch of clean images, draws an amount for each, corrupts them, and compares the network's guess
# $\hat x$ with the clean image by the mean squared error over all $N$ pixels of the batch:
#
# $$L = \frac{1}{N} \sum_i (\hat x_i - x_i)^2$$
#
# The tape records how the loss came about and gives its gradient for every weight; Adam, with a learning rate of 0.001,
# takes the step downhill. `tf.function` turns the Python code into a graph on its first call, which makes it fast.

# %%
optimizer = keras.optimizers.Adam(1e-3)
optimizer.build(network.trainable_variables)


@tf.function
def train_step(x):
    with tf.GradientTape() as tape:
        amount = tf.random.uniform((BATCH,))
        guess = network(corrupt(x, amount), training=True)
        loss = tf.reduce_mean((guess - x) ** 2)
    gradients = tape.gradient(loss, network.trainable_variables)
    optimizer.apply(gradients, network.trainable_variables)
    return loss


# %%
losses = []
for images, _ in plots.progress(
    digits.take(STEPS), STEPS, "training", lambda: f"loss {losses[-1]:.4f}"
):
    losses.append(float(train_step(binarise(images))))

# %% [markdown]
# Is that loss good? A number says nothing until it stands beside what a simpler answer would cost. We know two that need
# no network at all: hand the corrupted image back untouched, or answer with the average digit whatever the input.

# %%
mean_image = tf.reduce_mean(x_test, axis=0, keepdims=True)
variance = float(tf.reduce_mean((x_test - mean_image) ** 2))
untouched = float(tf.reduce_mean((corrupt(x_test, tf.random.uniform((2000,))) - x_test) ** 2))
final_loss = np.mean(losses[-50:])
print(f"average digit {variance:.3f}, untouched {untouched:.3f}, network {final_loss:.3f}")
assert final_loss < choose(smoke=0.9, cpu=0.4, gpu=0.35) * variance
plots.plot_loss(
    losses,
    "Training loss by step; it falls below both simple answers at once and then flattens.",
    baselines={"untouched": untouched, "average digit": variance},
)

# %% [markdown]
# The loss drops below both simple answers almost at once and then falls ever more slowly. (The article divides the sum
# of an epoch's losses by the batch size, not by the number of steps: a figure in no unit at all. Exercise 4 puts that
# right.)
#
# ## Denoise held-out digits
#
# Eight digits that the network has never seen, each with a different amount of noise:

# %%
guesses = network.predict_on_batch(corrupted)
plots.show_filmstrip(
    [x_test[:8], corrupted, guesses],
    "Eight digits in three rows: clean, corrupted by a growing amount, and the guess, "
    "which is sharp at first, then smudged, and at pure noise a pale blot.",
    row_labels=["clean", "corrupted", "guess"],
    column_labels=[f"{a:.2f}" for a in amounts],
    low=0,
)

# %% [markdown]
# Up to about 0.6 the guesses are close to perfect, at 0.86 they are smudged, and at 1, where the input holds no trace
# of any digit, the answer is a pale blot. Let us put that into numbers: the mean squared error at each amount, over all
# 2,000 held-out digits, beside the two simple answers.

# %%
mean_error, untouched_error = [], []
for a in amounts:
    x = corrupt(x_test, tf.fill((2000,), a))
    guess = network.predict(x, batch_size=500, verbose=0)
    mean_error.append(float(tf.reduce_mean((guess - x_test) ** 2)))
    untouched_error.append(float(tf.reduce_mean((x - x_test) ** 2)))
    print(f"amount {a:.2f}: network {mean_error[-1]:.4f}, untouched {untouched_error[-1]:.4f}")

# %%
figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(amounts, mean_error, "o-", color=plots.BLUE, label="network")
axes.plot(amounts, untouched_error, "s--", color=plots.ORANGE, label="untouched")
axes.axhline(variance, color=plots.GREY, linestyle=":", label="average digit")
axes.set(xlabel="amount of noise", ylabel="mean squared error", ylim=(0, 0.2))
axes.legend()
plots.show(
    figure,
    "Error by amount: the network's lies far below the untouched image's, "
    "but starts above it, and ends above the average digit's.",
)

# %% [markdown]
# In the middle the network is far better than either simple answer. Its two ends tell us more.
#
# **With no noise at all it does harm**: handing the image back would cost nothing, and the network still changes it. It
# is never told how noisy its input is, and has to work that out from the pixels while it repairs them.
#
# **With nothing but noise it cannot beat the average digit**, and no network ever will: the input says nothing about
# the digit, and the one answer with the least squared error, when you know nothing, is the average. Sharp digits at this
# end are not a matter of more training. The *target* is wrong.

# %%
assert mean_error[0] > 0.0005  # it harms a clean image
assert all(np.diff(mean_error[2:]) > 0)  # more noise, more error
assert mean_error[4] < choose(smoke=0.9, cpu=0.3, gpu=0.25) * min(
    untouched_error[4], variance
)  # good in the middle
assert mean_error[-1] > 0.98 * variance  # no better than the average digit at the end

# %% [markdown]
# ## Sample from pure noise
#
# One guess from pure noise is a blot. But the blot is *a little* like a digit, so let us go towards it by a little, and
# ask again: now the input holds a faint shape that the next guess can build on. With $n$ steps, step $i$, counted from
# 0, moves the image by a fraction of the way,
#
# $$x \leftarrow x + \frac{\hat x - x}{n - i},$$
#
# so that the last step, $i = n - 1$, arrives at the last guess. First in five steps, and we watch.


# %%
def sample(n_steps, count):
    """Every state and every guess on the way, each (count, 28, 28, 1)."""
    x = tf.random.uniform((count, 28, 28, 1))
    states, guesses = [x], []
    for i in range(n_steps):
        guesses.append(network.predict_on_batch(x))
        x = tf.clip_by_value(x + (guesses[-1] - x) / (n_steps - i), 0, 1)
        states.append(x)
    return states, guesses


# %%
states, guesses = sample(n_steps=5, count=6)
plots.show_filmstrip(
    [np.concatenate([x, guess]) for x, guess in zip(states, guesses, strict=False)],
    "Five rows. Left, what the network is given: six noise images that clear up. "
    "Right, its guesses: blots that become strokes.",
    row_labels=[f"step {i}" for i in range(5)],
    column_labels=["input"] * 6 + ["guess"] * 6,
    low=0,
)

# %% [markdown]
# Read it row by row: on the left what the network is given, on the right what it makes of that. The first guesses are
# much the same blot; each step commits a little more to one shape. Fifty smaller steps, and 64 images:

# %%
states, guesses = sample(n_steps=50, count=64)
samples = states[-1]
plots.show_images(
    samples,
    "An 8 by 8 grid of generated images: some readable digits, many broken strokes.",
    low=0,
)

# %%
frames = [x[:16] for x in states[::3]] + [samples[:16]]
plots.save_gif("output/naive_sampling.gif", frames[::2], low=0, fps=5, scale=2)
plots.animate(
    frames,
    "Sixteen noise images turn into strokes, some of them digits, over fifty steps.",
    low=0,
)

# %% [markdown]
# A few are digits anybody would read; many are fragments. The animation (also saved as `output/naive_sampling.gif`)
# shows how: shapes appear early, and what is missing then never comes.
#
# How far is this from the real thing? An eye can be talked into much, so let us count something. A digit is, nearly
# always, *one* connected stroke. To count the pieces of an image we give each ink pixel a number of its own, let the
# larger number win among neighbours until nothing changes, and see how many numbers are left.


# %%
def pieces(images):
    ink = tf.cast(images > 0.5, tf.float32)
    numbers = ink * tf.reshape(tf.range(1.0, 785), (1, 28, 28, 1))
    while True:
        spread = ink * tf.nn.max_pool2d(numbers, 3, 1, "SAME")
        if tf.reduce_all(spread == numbers):
            return np.array([len(np.unique(n[n > 0])) for n in numbers.numpy()])
        numbers = spread


# %%
whole_real = np.mean(pieces(x_test) == 1)
whole_sampled = np.mean(pieces(samples) == 1)
grey = np.mean((samples > 0.1) & (samples < 0.9))
print(f"in one piece: {whole_real:.0%} of the real digits, {whole_sampled:.0%} of the samples")
print(
    f"neither paper nor ink: no pixel of the real digits, {grey:.0%} of those of the samples"
)

# %% [markdown]
# Nearly every real digit is in one piece; of our samples many are not. And although the network has seen nothing but
# black and white, part of what it draws is grey. That is the average digit again: where the network is not sure it
# answers with a mean of all that could be there, and a mean of strokes is no stroke. The difference between the two
# shares is far beyond chance, which for 64 samples has a standard error of at most 6 points.

# %%
standard_error = np.sqrt(0.25 / len(samples))
assert whole_real > 0.9
assert (
    whole_real - whole_sampled > choose(smoke=-3, cpu=3, gpu=3) * standard_error
)  # in smoke: whole blots
assert grey > 0.03

# %% [markdown]
# ## What it lacks
#
# We have a denoiser that works and a generator that almost does. Three things stand between them, and each is a lesson.
#
# | what is missing | what we saw | where it comes |
# |---|---|---|
# | **A noise process with a known distribution.** Is an image after 17 of 50 steps like any corrupted image of the training? Nobody can say: we mixed in uniform noise by hand and un-mixed it by a rule of thumb. | fragments that no step repairs | lessons 02 and 03: a Markov chain of small Gaussian steps, which we can compute with exactly |
# | **The noise level, told to the network.** | harm done to clean images | lesson 04: a U-Net that knows the time. (The article's second sampler does compute the amount at each step, and then never hands it to the network.) |
# | **A target that makes sense at high noise.** | the average digit, grey strokes | lesson 05: predict the noise, not the picture; lessons 06 and 07 sample with it |
#
# ## Recap
#
# - You **corrupted** digits with amounts of noise from 0 to 1, and saw that both sides of a mixture need one range.
# - You **trained** a U-Net of 309,057 parameters by hand to undo it, and compared its error with what simpler answers
#   cost: far better in the middle, harmful without noise, no better than the average digit without a picture.
# - You **sampled** new digits from pure noise in 5 and in 50 steps, and measured what they lack: many are in pieces, and
#   partly grey.

# %% [markdown]
# ## Exercises
#
# Say what you expect *before* you run anything; then change the one thing and look.
#
# **1. Two ranges.** Mix noise from $[0, 1]$ with pixels from 0 to 255, as the article's figures do:
# `corrupt(255 * x_test[:8], amounts) / 255`. What does the column at 0.57 look like?
#
# <details><summary>Answer</summary>
#
# Like a clean digit, only paler. The noise is at most $0.57$ and the ink $0.43 \cdot 255 \approx 110$: the noise is two
# hundred times weaker than the picture, and no screen shows it. The last column alone is noise, of less than one grey
# level: black.
#
# </details>
#
# **2. A bend at the end.** Build the network with `unet.basic_unet(output_activation="silu")`, as the article does, and
# train it. What is the lowest value that it can answer? Does that hurt here? Would it hurt if the target were Gaussian
# noise?
#
# <details><summary>Answer</summary>
#
# SiLU never goes below $-0.278$. Our targets lie in $[0, 1]$, so the loss comes out much the same. Gaussian noise is below
# $-0.278$ in 39 % of its values, and such a network could answer none of them: later lessons would fail, without any error.
#
# </details>
#
# **3. One step.** Call `sample(n_steps=1, count=64)`. What do the 64 images look like, compared with each other?
#
# <details><summary>Answer</summary>
#
# All alike: pale blots close to the average digit, since one step goes straight to the first guess, and the first guess
# knows nothing. All variety comes from asking again.
#
# </details>
#
# **4. In code.** Write `epoch_means(losses, steps_per_epoch)`: the mean loss of each *whole* epoch, a list; steps after
# the last whole epoch do not count.


# %% tags=["solution"]
def epoch_means(losses, steps_per_epoch):
    epochs = len(losses) // steps_per_epoch
    return [
        float(np.mean(losses[i * steps_per_epoch : (i + 1) * steps_per_epoch]))
        for i in range(epochs)
    ]


# %%
checks.epoch_means(epoch_means)

# %% [markdown]
# ## In practice
#
# - *The U-Net* is from Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation"
#   (2015), section 2; there the skips are concatenated, here they are added. *SiLU* is also called swish.
# - *The average answers*: for the squared error the best guess given an input $\tilde x$ is the mean of all clean images
#   that could have led to it, $E[x \mid \tilde x]$. At amount 1 that is the mean of all images. Lesson 03 computes this
#   "perfect answer" exactly and finds that it is the right thing to learn after all, only not to draw.
# - *Clipping* to $[0, 1]$ after each step keeps the input in the range that the network was trained on.
# - *Other names*: sampling by repeated partial denoising of this kind is known as cold diffusion when the corruption is
#   deterministic (Bansal et al., "Cold Diffusion", 2022, algorithm 1).
