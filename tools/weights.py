"""Train packaged weights anew: `make weights WEIGHTS="digits classifier"`, one after the other. The cards say how long it took.

Needs MNIST, for `flowers` Oxford Flowers 102. What comes out differs by machine: sums are rounded in another order, and training
magnifies that. Networks that draw go on from their checkpoints, in build/weights, if they were stopped. On a GPU
tools/jax_trainer.py trains them faster.
"""

import functools
import hashlib
import inspect
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lessons_lib import data, diffusion, grammar, guidance, judges, metrics, optimizers, resize, sampling, text, training, weights
from lessons_lib.schedule import Schedule, shifted

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import keras
import tensorflow as tf

import augment

SEED = 0
TARGETS = {"noise": data.the_noise, "velocity": diffusion.to_velocity, "x_0": data.the_image}
OPTIMIZERS = {
    "adam": lambda rates, beta_2: keras.optimizers.Adam(rates, beta_2=beta_2),
    "muon": lambda rates, beta_2: optimizers.Muon(rates, adam_beta_2=beta_2),
}
NETWORK = {"size": 28, "channels": 1, "widths": [32, 64], "blocks": 2, "patch": 2}  # lesson 05's
DIGITS = {"steps": 30_000, "batch": 64, "blocks": 3, "decay": 0.999}  # what the packaged one changes
# With 0.1, as Ho and Salimans have it, digits without a label were 1.87 from MNIST's, and those of `digits` 0.75.
BY_LABEL = {"build": "unet.labelled", "size": 28, **NETWORK, **DIGITS, "classes": 10, "null": (10,), "drop": 0.3}
COLOUR = {
    "size": 64,
    "channels": 3,
    "widths": [48, 96],
    "blocks": 1,
    "patch": 4,
    "target": "x_0",
    "shift": 64 / 28,
    "label": None,
}
SCENES = COLOUR | {"source": "scenes", "steps": 48_000, "batch": 128, "decay": 0.999}
# 400 passes over the flowers that it was trained with here.
FLOWERS = SCENES | {"source": "oxford_flowers102", "split": "train+test", "steps": 14_000, "flip": True}
# Random squares of 64 to 96 pixels, as 4,524 flowers are few.
UPSAMPLER = FLOWERS | {"build": "unet.upsampler", "steps": 10_000, "factor": 4, "cut": 96}
REGRESSION = UPSAMPLER | {"blind": True}
PACKAGED = {"digits": DIGITS, "digits_by_label": BY_LABEL, "scenes": SCENES, "flowers": FLOWERS}
CAPTIONED = SCENES | {"build": "text.captioned", "words": list(grammar.VOCABULARY), "label": "caption", "widths": [56, 80]}
# The null caption is the start alone. bfloat16 is 1.3 times as fast here, on a processor that computes with it.
CAPTIONED |= {
    "steps": 22_000,
    "batch": 64,
    "precision": "mixed_bfloat16",
    "text_width": 64,
    "heads": 4,
    "null": (tuple(text.tokens([""], grammar.VOCABULARY)[0].tolist()),),
}
# The cascade of lesson 14: drawn with 16 pixels, and made four times as large; each about as many operations as the one before.
BASE = CAPTIONED | {"size": 16, "shrunk": 4, "patch": 1, "shift": 16 / 28}
ENLARGER = CAPTIONED | {"factor": 4, "levels": 500}
# 3,000 steps, a few minutes, of what the network before knows already.
FILLER = CAPTIONED | {"known": True, "start": "scenes_by_caption", "steps": 3000, "batch": 64, "rate": 1e-3}
PACKAGED |= {
    "scenes_by_caption": CAPTIONED,
    "scenes_filler": FILLER,
    "scenes_base": BASE,
    "scenes_upsampler": ENLARGER,
    "flowers_upsampler": UPSAMPLER,
    "flowers_regression": REGRESSION,
}
CHECKPOINTS = Path("build/weights")
CAPTIONS = {"seen": "test", "held out": "held_out"}  # which combinations are in captions, and the splits with them
SETS = {"mnist": "MNIST", "scenes": "Scenes", "oxford_flowers102": "Oxford Flowers 102"}  # as people call them


def classifier(folder=weights.FOLDER, epochs=8, train="train", test="test"):
    """The classifier whose features the metrics compare, and what it sees in MNIST's test digits."""
    keras.utils.set_random_seed(SEED)
    batch, images = 128, len(arrays(train)[0])
    steps = images // batch
    model = judges.classifier()
    rate = keras.optimizers.schedules.CosineDecay(0.0, epochs * steps, warmup_target=3e-3, warmup_steps=max(1, steps // 4))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss, metrics=["accuracy"], jit_compile=False)
    model.optimizer.build(model.trainable_variables)

    card, start = described(split=train), time.monotonic()
    batches = moved(data.load("mnist", train, batch, seed=SEED))
    history = model.fit(batches, steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=2)
    minutes = (time.monotonic() - start) / 60
    digits, labels = arrays(test)
    right = np.argmax(model.predict(digits, batch_size=500, verbose=0), axis=1) == labels

    look = keras.Model(model.input, model.get_layer("features").output)
    seen, of_training = (look.predict(images, batch_size=500, verbose=0) for images in (digits, arrays(train)[0][:2000]))
    known, path = metrics.statistics(seen), Path(folder) / "mnist_features.npz"
    np.savez_compressed(path, features=seen[:2000], **known._asdict())

    card |= {
        "minutes": round(minutes, 1),
        "network": "judges.classifier()",
        "settings": f"AdamW, weight decay 0.01, learning rate 3e-3 with a cosine's decay, batches of {batch}, {epochs} epochs; "
        "images turned by up to 11 degrees, moved by up to 8 % and scaled by up to 10 %",
        "loss": round(history.history["loss"][-1], 4),
        "test_accuracy": round(float(right.mean()), 4),
        "features": f"of {known.count} digits, split {test}, the first {len(seen[:2000])} one by one",
        "features_sha256": weights.sha256(path),
        "floor": f"{metrics.frechet_distance(of_training, known)}, of {len(of_training)} training digits",
    }
    weights.write(model, Path(folder) / "classifier.weights.h5", card)
    return card


def digits(folder=weights.FOLDER, checkpoints=CHECKPOINTS, images=2000, **changes):
    """The network that draws digits: lesson 05's recipe, deeper, for longer, and with a longer average."""

    def measured(run):
        ddpm, ddim = (distance(run, 50, images, eta=eta) for eta in (1.0, 0.0))
        return f"{ddpm} in 50 steps of DDPM, {ddim} of DDIM; {images} digits each, against MNIST's test digits"

    return packaged("digits", measured, folder, checkpoints, **DIGITS | changes)


def digits_by_label(folder=weights.FOLDER, checkpoints=CHECKPOINTS, images=2000, **changes):
    """The network that draws the digit that it is asked for, or any: that of `digits`, told a label for seven images of ten."""

    def measured(run):
        asked = np.arange(images) % 10
        pictures = drawn(run, 50, images, labels=asked)
        share = np.mean(judges.labels(pictures) == asked)
        right = f"{share:.1%} ± {np.sqrt(share * (1 - share) / images):.1%} are read as the digit that was asked for"
        known = metrics.frechet_distance(judges.features(pictures), judges.reference()[0])
        ddpm, ddim = (distance(run, 50, images, eta=eta, labels=np.full(images, 10)) for eta in (1.0, 0.0))
        told = f"without a label {ddpm} in 50 steps of DDPM, {ddim} of DDIM; {images} digits each, against MNIST's test digits"
        return f"{right}; {known} in 50 steps of DDIM, {told}"

    return packaged("digits_by_label", measured, folder, checkpoints, **BY_LABEL | changes)


def scenes(folder=weights.FOLDER, checkpoints=CHECKPOINTS, images=1000, **changes):
    """The network that draws scenes: lesson 09's recipe, for longer, and with a longer average."""

    def measured(run):
        told = []
        for eta, name in ((1.0, "DDPM"), (0.0, "DDIM")):
            share = np.mean([one is not None for one in judges.read(drawn(run, 25, images, eta=eta))])
            told.append(f"{share:.1%} ± {np.sqrt(share * (1 - share) / images):.1%} of {name}")
        return f"whole scenes, as judges.read sees them: {' and '.join(told)}, in 25 steps; {images} each"

    return packaged("scenes", measured, folder, checkpoints, **SCENES | changes)


def scenes_by_caption(folder=weights.FOLDER, checkpoints=CHECKPOINTS, images=500, guided=3.0, **changes):
    """The network that draws what a caption says, lesson 13's: that of `scenes`, told the words."""
    options = CAPTIONED | changes

    def measured(run):
        return all_right(run, options["source"], images, guided)

    return packaged("scenes_by_caption", measured, folder, checkpoints, **options)


def scenes_filler(folder=weights.FOLDER, checkpoints=CHECKPOINTS, images=500, **changes):
    """The network before, which is also told a part of the picture: fine-tuned for a few minutes, as GLIDE is."""

    def measured(run):
        return f"loss {run.card['losses'][-1]:.4f} of what is erased and what is not; lesson 13's results tell more"

    return packaged("scenes_filler", measured, folder, checkpoints, **FILLER | changes)


def scenes_base(folder=weights.FOLDER, checkpoints=CHECKPOINTS, images=500, **changes):
    """The network that draws scenes 16 pixels wide for captions, the first of lesson 14's cascade."""

    def measured(run):
        return f"loss {run.card['losses'][-1]:.4f}; nothing reads pictures as small as these: see scenes_upsampler's card"

    return packaged("scenes_base", measured, folder, checkpoints, **BASE | changes)


def scenes_upsampler(folder=weights.FOLDER, checkpoints=CHECKPOINTS, images=500, guided=1.0, **changes):
    """The network that makes such scenes 64 pixels wide, told the caption and how much noise was added to the small picture."""
    options = ENLARGER | changes

    def measured(run):
        return f"of real scenes, shrunk: {all_right(run, options['source'], images, guided)}"

    return packaged("scenes_upsampler", measured, folder, checkpoints, **options)


def flowers(folder=weights.FOLDER, checkpoints=CHECKPOINTS, held_out="validation", images=1000, **changes):
    """The network that draws flowers: lesson 09's recipe, for longer, and with a longer average."""
    options = FLOWERS | changes

    def thumbnails(pictures):
        """8 x 8 pixels each, which have 192 numbers."""
        parts = pictures.reshape(len(pictures), 8, pictures.shape[1] // 8, 8, pictures.shape[2] // 8, 3)
        return parts.mean(axis=(2, 4)).reshape(len(pictures), -1)

    def real(split):
        load = functools.partial(data.load, options["source"], split, size=options["size"], label=None)
        return thumbnails(np.concatenate(list(load(batch_size=1000)))[:images])

    def measured(run):
        unseen = real(held_out)
        ddpm, ddim = (metrics.frechet_distance(thumbnails(drawn(run, 25, images, eta=eta)), unseen) for eta in (1.0, 0.0))
        floor = metrics.frechet_distance(real(options["split"]), unseen)
        return (
            f"of thumbnails from those of {held_out}: {ddpm} of DDPM, {ddim} of DDIM, in 25 steps, {images} each; floor {floor}"
        )

    return packaged("flowers", measured, folder, checkpoints, **options)


def flowers_upsampler(folder=weights.FOLDER, checkpoints=CHECKPOINTS, held_out="validation", images=500, **changes):
    """The network that draws a flower 64 pixels wide for one of 16, lesson 12's."""
    options = UPSAMPLER | changes

    def measured(run):
        ddpm, ddim = (likeness(run, options["source"], held_out, images, 25, eta=eta) for eta in (1.0, 0.0))
        return f"PSNR {ddpm} dB in 25 steps of DDPM, {ddim} of DDIM, for {images} of {held_out}"

    return packaged("flowers_upsampler", measured, folder, checkpoints, **options)


def flowers_regression(folder=weights.FOLDER, checkpoints=CHECKPOINTS, held_out="validation", images=500, **changes):
    """Its rival, which answers with the mean of all flowers that are possible."""
    options = REGRESSION | changes

    def measured(run):
        return f"PSNR {likeness(run, options['source'], held_out, images, 1, blind=True)} dB for {images} of {held_out}"

    return packaged("flowers_regression", measured, folder, checkpoints, **options)


def packaged(name, measured, folder, checkpoints, **options):
    """Train a network by the recipe, measure it as it will be loaded, in 16 bits, and package it with its card.

    One that was packaged from its checkpoints is not trained again: several names in a row may be stopped too.
    """
    checkpoints, path = Path(checkpoints) / name, Path(folder) / f"{name}.weights.h5"
    begin(checkpoints, options)
    if (done := checkpoints / "packaged").exists():
        print(f"{name}: packaged already; delete {checkpoints} to train it again", flush=True)
        return weights.read(path)
    run = trained(checkpoints, **options)
    card = run.card | {"distance_in_32_bits": measured(run)}
    training.save_weights(run.model, path, card, dtype="float16")
    weights.load_into(run.model, path)
    card["distance"] = measured(run)
    training.save_weights(run.model, path, card, dtype="float16")
    done.touch()
    return card


def trained(checkpoints, **options):
    """A network as the recipe makes it, its own weights the averaged ones; goes on from its checkpoints, which also keep it.

    Raises ValueError if they were begun with other options.
    """
    begin(checkpoints, options)
    last = checkpoints / "trained.weights.h5"
    if not last.with_name("trained.json").exists():  # its card, which is written last
        of = {name: options[name] for name in ("source", "split", "size") if name in options}
        card, start, here = described(**of), time.monotonic(), []
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: here.append(tell(epoch, logs)))
        run = recipe(checkpoints, callbacks=[told], **options)
        minutes = (time.monotonic() - start) / 60 * len(run.card["losses"]) / len(here)  # of all parts, if it was stopped before
        with run.average.applied():
            training.save_weights(run.model, last, card | {"minutes": round(minutes, 1)} | run.card)
    return kept(last)


def begin(checkpoints, options):
    """Note with which options a training is begun, or refuse others."""
    begun, received = checkpoints / "options.json", asked(options)
    there = json.loads(begun.read_text("utf-8")) if begun.exists() else received
    if received != there:
        raise ValueError(
            f"options: expected {there}, with which {checkpoints} was begun; received {received}. Delete it to train anew"
        )
    training.write_json(begun, received)


def asked(options):
    """Options as they come back from JSON."""
    return json.loads(json.dumps(options, default=lambda function: function.__qualname__))


def kept(path):
    """A trained network from its file, as a `Run` whose own weights are the averaged ones."""
    card = weights.read(path)
    del card["stored"], card["sha256"]  # of this file
    model = built(card["build"], card["network"], card["precision"])
    weights.load_into(model, path)
    return Run(model, None, training.chain(card), card)


class Run(NamedTuple):
    """A trained network with its own weights, the average of them, its schedule, and what is to be told about it."""

    model: keras.Model
    average: training.EMA
    noise: Schedule
    card: dict


def recipe(
    checkpoints=None,
    *,
    steps=3600,
    batch=32,
    build="unet.unet",
    target="velocity",
    schedule="cosine",
    shift=None,
    optimizer="muon",
    rate=4e-3,
    beta_2=0.99,
    decay=0.99,
    precision="float32",
    seed=SEED,
    source="mnist",
    split="train",
    size=None,
    label="label",
    null=None,
    drop=0.1,
    flip=False,
    cut=None,
    shrunk=None,
    factor=None,
    levels=None,
    blind=False,
    start=None,
    pairs=None,
    callbacks=(),
    **network,
):
    """Train a network to draw; without a word, digits as lesson 05 does. Gives a `Run`.

    build, network: the function of lessons_lib that builds it, and its arguments (of lesson 05's, those that differ). source,
    split, size, label: of `data.load`, and size of the network too; shift: of `schedule.shifted`. null, drop: of `data.noisify`.
    flip: whether half of the images, by lot, are turned left to right. cut: load images with this side, and cut squares of at
    least `size` pixels out of them (`augment.cut_out`). shrunk: load images with sides so many times as large, and shrink them.
    factor: of `unet.upsampler`, which sees each image shrunk by it, or of `text.captioned`, which is also told the level up to
    which, at most `levels`, noise was added to the small one, in the chain of pictures of its size. blind: whether it sees
    nothing else, x_t being 0 and t the last, which makes of it a regression. start: a packaged network with whose weights it
    begins, `text.widen`ed: one that is told a part of the picture. pairs: a function of (batches, schedule, seed) that makes the
    pairs, in place of `data.noisify` with the target.
    """
    if steps > 20 and steps % 20:
        raise ValueError(f"steps: expected a multiple of 20, for twenty checkpoints; received {steps}")
    keras.utils.clear_session()  # the same names of layers in every run, for its checkpoints
    keras.utils.set_random_seed(seed)
    network = arguments(build, size, factor, network)
    noise = training.chain({"schedule": schedule, "T": 1000, "shift": shift})
    model = built(build, network, precision)
    if start:
        narrow = built(build, network | {"known": False}, precision)
        weights.load_into(narrow, start)
        text.widen(model, narrow)
    warm_up = steps // 24
    rates = keras.optimizers.schedules.CosineDecay(0.0, steps - warm_up, warmup_target=rate, warmup_steps=warm_up)
    model.compile(OPTIMIZERS[optimizer](rates, beta_2), "mse")
    average = training.EMA(decay)
    images = loaded(source, split, batch, (cut or size) and (cut or size) * (shrunk or 1), label, network, seed)
    images = images.map(lambda large, *rest: (resize.shrink(large, shrunk), *rest)) if shrunk else images
    images = framed(images, seed, size) if cut else images
    images = flipped(images, seed) if flip else images
    if levels:
        images, null = noised(images, noise, factor, levels, seed), (*null, None, None)
    elif factor:
        images, null = images.map(lambda large: (large, resize.shrink(large, factor))), (None,)
    if network.get("known"):
        images, null = erased(images, seed), (*null, None)
    pairs = pairs(images, noise, seed) if pairs else data.noisify(images, noise, TARGETS[target], seed=seed, null=null, drop=drop)
    pairs = blinded(pairs, noise.T) if blind else pairs
    settings = {"seed": seed, "batch": batch, "schedule": schedule, "target": target, "source": source, "split": split}
    settings |= {"shift": shift, "null": null, "drop": drop if null else None, "flip": flip}
    more = {"cut": cut, "shrunk": shrunk, "factor": factor, "levels": levels, "blind": blind, "start": start}
    settings |= {name: value for name, value in more.items() if value}
    every = max(1, steps // 20)
    losses = training.fit(model, pairs, steps, checkpoints, settings=settings, average=average, every=every, callbacks=callbacks)
    card = told_of(
        build=build,
        network=network,
        target=target,
        schedule=schedule,
        shift=shift,
        precision=precision,
        seed=seed,
        steps=steps,
        optimizer=optimizer,
        beta_2=beta_2,
        rate=rate,
        batch=batch,
        decay=decay,
        flip=flip,
        null=null,
        drop=drop,
        cut=cut,
        shrunk=shrunk,
        levels=levels,
        blind=blind,
        start=start,
    )
    card |= {"losses": [round(float(loss), 4) for loss in losses["loss"]]}
    return Run(model, average, noise, card)


def loaded(source, split, batch, size, label, network, seed=None):
    """`data.load`, with captions as the tokens of a network's words."""
    images = data.load(source, split, batch, seed=seed, size=size, label=label)
    return data.tokenized(images, functools.partial(text.tokens, words=network["words"])) if label == "caption" else images


def complete(options):
    """All settings of a recipe by name, with those that are not among its options, and what its card tells."""
    settings = {name: one.default for name, one in inspect.signature(recipe).parameters.items() if one.kind is one.KEYWORD_ONLY}
    network = {name: value for name, value in options.items() if name not in settings}
    full = settings | {name: value for name, value in options.items() if name in settings}
    full |= {"network": arguments(full["build"], full["size"], full["factor"], network)}
    wanted = inspect.signature(told_of).parameters
    return asked(full | {"card": told_of(**{name: full[name] for name in wanted})})


def arguments(build, size, factor, network):
    """Of the function that builds a network: those that differ from lesson 05's, size and factor."""
    told = {name: value for name, value in {"size": size, "factor": factor}.items() if value is not None}
    return (NETWORK if build == "unet.unet" else {}) | told | network


def told_of(
    *,
    build,
    network,
    target,
    schedule,
    shift,
    precision,
    seed,
    steps,
    optimizer,
    beta_2,
    rate,
    batch,
    decay,
    flip,
    null,
    drop,
    cut,
    shrunk,
    levels,
    blind,
    start,
):
    """What a card tells of a recipe's settings."""
    hidden = any(one is not None for one in null or ())  # None: never, in `data.noisify`
    kind = "captions" if "words" in network else "labels"
    changes = [f", {drop:.0%} of the {kind} hidden"] if hidden else []
    changes += [f", squares cut out of {cut} pixels at random"] if cut else []
    changes += [f", images shrunk by {shrunk}"] if shrunk else []
    changes += [", half of the images flipped"] if flip else []
    changes += [f", noise up to a random level of at most {levels} added to the small picture"] if levels else []
    changes += [", x_t = 0 at the last t, so that only the small picture tells of the large one"] if blind else []
    changes += [f", a rectangle erased, begun with {start}"] if start else []
    return {
        "build": build,
        "network": network,
        "target": target,
        "schedule": schedule,
        "T": 1000,
        "shift": shift,
        "precision": precision,
        "seed": seed,
        "steps": steps,
        "settings": f"{optimizer.capitalize()}, beta_2 {beta_2:g}, learning rate {rate:g} with a warm-up of {steps // 24} steps "
        f"and a cosine's decay, batches of {batch}{''.join(changes)}, weights averaged with decay "
        f"{decay}",
    }


def flipped(images, seed):
    """Batches of images alone, each image with a probability of a half turned left to right."""

    def turn(step, batch):
        lot = tf.random.stateless_uniform((tf.shape(batch)[0], 1, 1, 1), [seed, step])
        return tf.where(lot < 0.5, batch[:, :, ::-1], batch)

    return images.enumerate().map(turn)


def framed(images, seed, size):
    """Batches of images alone, a square of each, by lot, with sides of `size`."""

    def cut(step, batch):
        return augment.cut_out(batch, tf.random.stateless_uniform((tf.shape(batch)[0], 3), [seed + 1, step]), size)

    return images.enumerate().map(cut)


def noised(images, noise, factor, levels, seed):
    """Batches with two further conditions: each image shrunk and with noise, and its level (Saharia et al. 2022, section 2.4).

    Levels are 0 to `levels`, by lot. noise: the schedule of large pictures; shrunk, these have as little noise as the small ones.
    """
    chain = shifted(noise, 1 / factor)

    def add(step, batch):
        small = resize.shrink(batch[0], factor)
        level = tf.random.stateless_uniform((tf.shape(small)[0],), [seed + 3, step], 0, levels + 1, tf.int32)
        more = tf.random.stateless_normal(tf.shape(small), [seed + 4, step])
        return *batch, diffusion.add_noise(small, more, chain.at(level, like=small)), level

    return images.enumerate().map(add)


def erased(images, seed):
    """Batches with a further condition: of each image what is left beside a rectangle, 0 in it, and whether it is left, 0 or 1.

    The rectangle's sides are a quarter to three quarters of the image's, its place by lot.
    """

    def erase(step, batch):
        x_0, lot = batch[0], tf.random.stateless_uniform((tf.shape(batch[0])[0], 2, 2), [seed + 2, step])
        size, pixel = x_0.shape[1], tf.range(x_0.shape[1], dtype=tf.float32) + 0.5
        sides = size * (0.25 + 0.5 * lot[:, 0])
        start = (size - sides) * lot[:, 1]  # of rows and of columns
        rows, columns = (
            tf.logical_and(pixel >= start[:, i, None], pixel < start[:, i, None] + sides[:, i, None]) for i in range(2)
        )
        left = 1 - tf.cast(rows[:, :, None, None] & columns[:, None, :, None], tf.float32)
        return *batch, tf.concat([x_0 * left, left], axis=-1)

    return images.enumerate().map(erase)


def blinded(pairs, last):
    """Pairs of a network that is told a small picture, without x_t: it is 0, t the last, and no weight is left."""

    def blind(inputs, target, *_):
        x_t, t, small = inputs
        return (tf.zeros_like(x_t), tf.fill(tf.shape(t), last), small), target

    return pairs.map(blind)


def built(build, network, precision):
    """A new network, by its function's name, its arguments and a precision policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return training.builder(build)(**network)
    finally:
        keras.config.set_dtype_policy(before)


def usual():
    """The recipe's settings without a word, as a table's cells name them."""
    settings = {name: one.default for name, one in inspect.signature(recipe).parameters.items()}
    apart = (
        "checkpoints",
        "steps",
        "seed",
        "shift",
        "label",
        "null",
        "drop",
        "flip",
        "cut",
        "shrunk",
        "factor",
        "levels",
        "blind",
    )
    apart += ("start", "pairs", "callbacks", "network")
    return {name: value for name, value in settings.items() if name not in apart} | NETWORK


def distance(run, steps, images=2000, seed=1, eta=0.0, labels=None):
    """How far digits drawn in so many steps, of DDIM without a word, are from MNIST's test digits."""
    return metrics.frechet_distance(judges.features(drawn(run, steps, images, seed, eta, labels)), judges.reference()[0])


def drawn(run, steps, images, seed=1, eta=0.0, labels=None):
    """What a network draws in so many steps; labels: (images,), if it takes some."""
    answer = run.model if labels is None else guidance.given(run.model, labels, batch_size=250)
    predict_noise, size = training.TARGETS[run.card["target"]](answer, run.noise), 250 if labels is None else None
    shape = (images, *run.model.input_shape[0][1:])
    *_, last = sampling.sample(predict_noise, run.noise, shape, steps, eta=eta, seed=seed, clip=True, batch_size=size)
    return last.x_t


def likeness(run, source, held_out, images, steps, seed=1, eta=0.0, blind=False):
    """PSNR in dB, mean and standard error, of what a network draws for held-out pictures that were shrunk."""
    size, factor = run.card["network"]["size"], run.card["network"]["factor"]
    large = next(iter(data.load(source, held_out, images, size=size, label=None))).numpy()
    answer = guidance.given(run.model, resize.shrink(large, factor), batch_size=250)
    predict_noise, x_T = training.TARGETS[run.card["target"]](answer, run.noise), np.zeros_like(large) if blind else None
    *_, last = sampling.sample(predict_noise, run.noise, large.shape, steps, eta=eta, seed=seed, x_T=x_T, clip=True)
    decibels = 10 * np.log10(4 / np.mean(np.square(last.x_t - large), axis=(1, 2, 3)))
    return metrics.Estimate(float(decibels.mean()), float(decibels.std(ddof=1) / len(decibels) ** 0.5))


def all_right(run, source, images, guided):
    """How well pictures obey captions of combinations that were trained, and of others, as text."""
    told = [f"{name} {obeyed(run, source, split, images, guided)}" for name, split in CAPTIONS.items()]
    return f"all as captions say, as judges.read sees it, {images} each: {'; '.join(told)}; 25 steps, guidance {guided:g}"


def obeyed(run, source, split, images, guided, seed=1):
    """The share of pictures in which all is as the caption says, of one thing and of two, as text.

    An up-sampler gets the real pictures, shrunk and without noise.
    """
    real, captions = zip(*data.load(source, split, 500, label="caption"), strict=True)
    captions = [one.decode() for one in np.concatenate(captions)[:images]]
    more = ()
    if factor := run.card["network"].get("factor"):
        more = resize.shrink(np.concatenate(real)[:images], factor), np.zeros(images, np.int32)
    answers = [guidance.given(run.model, tokens_of(run, told), *more, batch_size=125) for told in (captions, [""] * images)]
    conditional, unconditional = (training.TARGETS[run.card["target"]](answer, run.noise) for answer in answers)
    predict_noise = guidance.guide(conditional, unconditional, guided)
    *_, last = sampling.sample(predict_noise, run.noise, (images, *run.model.input_shape[0][1:]), 25, seed=seed, clip=True)
    said = [grammar.told(caption) for caption in captions]
    right = [grammar.compare(*both)["all"] for both in zip(said, judges.read(np.asarray(last.x_t)), strict=True)]
    shares = []
    for count, name in ((1, "one thing"), (2, "two things")):
        some = [one for one, scene in zip(right, said, strict=True) if len(scene.things) == count]
        share = np.mean(some)
        shares.append(f"{share:.1%} ± {np.sqrt(share * (1 - share) / len(some)):.1%} of {name}")
    return " and ".join(shares)


def tokens_of(run, captions):
    """Captions in the words of a network."""
    return text.tokens(captions, run.card["network"]["words"])


def tell(epoch, logs):
    """One line for every checkpoint."""
    print(f"{time.strftime('%H:%M')} checkpoint {epoch + 1} of 20: loss {logs['loss']:.4f}", flush=True)


def moved(batches):
    """Training images, each a little turned, moved and scaled."""
    layers = [
        keras.layers.RandomRotation(0.03, fill_mode="constant", fill_value=-1.0, seed=SEED),
        keras.layers.RandomTranslation(0.08, 0.08, fill_mode="constant", fill_value=-1.0, seed=SEED + 1),
        keras.layers.RandomZoom(0.1, fill_mode="constant", fill_value=-1.0, seed=SEED + 2),
    ]
    change = keras.Sequential(layers)
    return batches.map(lambda images, labels: (change(images, training=True), labels)).prefetch(2)


def arrays(split):
    """All images and labels of an MNIST split."""
    images, labels = zip(*data.load("mnist", split, 1000), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def described(source="mnist", split="train", size=None):
    """What every card says of how a training starts: data, code, versions, machine and seed."""
    describe = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, encoding="utf-8", check=False)
    pixels = hashlib.sha256()  # in the data set's order
    for images in data.load(source, split, 1000, size=size, label=None):
        pixels.update(data.to_pixels(images).tobytes())
    return {
        "data": f"{SETS[source]}, split {split}, as TensorFlow Datasets has it",
        "data_sha256": pixels.hexdigest(),
        "code": describe.stdout.strip() or "unknown",
        "versions": f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
        "machine": f"{platform.machine()}, CPU",
        "precision": keras.config.dtype_policy().name,
        "seed": SEED,
    }


if __name__ == "__main__":
    every = (
        digits,
        classifier,
        digits_by_label,
        scenes,
        flowers,
        flowers_upsampler,
        flowers_regression,
        scenes_by_caption,
        scenes_filler,
        scenes_base,
        scenes_upsampler,
    )
    names = {one.__name__: one for one in every}
    chosen = " ".join(sys.argv[1:]).replace(",", " ").split()
    if not chosen or not set(chosen) <= names.keys():
        sys.exit(f"WEIGHTS: expected some of {', '.join(names)}; received {' '.join(sys.argv[1:]) or 'nothing'}")
    for name in chosen:
        print(names[name](), flush=True)
