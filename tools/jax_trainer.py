"""Train by a recipe of tools/weights.py in one compiled loop on JAX: on a GPU minutes for what takes two CPU cores hours.

    .venv/bin/python tools/jax_trainer.py pack scenes                        # here: data and options into build/weights/scenes
    KERAS_BACKEND=jax python tools/jax_trainer.py train build/weights/scenes # there: trains; JAX, Keras, SciPy, no TensorFlow
    make weights WEIGHTS=scenes                                              # here: measures what was trained, and packages it

The same network, loss, optimizer and average as `recipe`; other random numbers, so not the same weights. Matrix products are
TF32 where a GPU has it.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

from lessons_lib import diffusion, files, optimizers, resize, schedule, text, unet, weights

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import keras

import augment

NETWORKS = {"unet.unet": unet.unet, "unet.labelled": unet.labelled, "unet.upsampler": unet.upsampler}
NETWORKS |= {"text.captioned": text.captioned}
SCHEDULES = {"linear": schedule.linear, "cosine": schedule.cosine}
STEPS = 1000  # of the chain
PARTS = 20  # of a training, as `recipe` has checkpoints
HELD_OUT = {"mnist": "test", "scenes": "test", "oxford_flowers102": "validation"}  # splits that no training sees


def pack(folder, **options):
    """Data, options and the first lines of the card into `folder`, for `train`. options: of tools/weights.py's `recipe`."""
    full = describe(folder, **options)
    with files.replacing(Path(folder) / "packed.npz") as unfinished:
        np.savez(unfinished, **pixels(full["source"], full["split"], full["cut"] or full["size"], full["label"], full["network"]))


def describe(folder, **options):
    """The same without the data; gives all settings of the recipe. Raises ValueError for those that `train` does not know."""
    import weights as recipes  # here, as it needs TensorFlow
    from lessons_lib import training

    full = recipes.complete(options)
    for name, known in {
        "optimizer": "muon",
        "precision": "float32",
        "shrunk": None,
        "levels": None,
        "start": None,
        "pairs": None,
    }.items():
        if full[name] != known:
            raise ValueError(f"{name}: expected {known!r}, as on JAX nothing else is trained; received {full[name]!r}")
    if full["steps"] % PARTS:
        raise ValueError(f"steps: expected a multiple of {PARTS}; received {full['steps']}")
    training.write_json(Path(folder) / "options.json", recipes.asked(options))
    card = recipes.described(**{name: full[name] for name in ("source", "split", "size")})
    training.write_json(Path(folder) / "packed.json", {"options": full, "card": card})
    return full


def pixels(source, split, size, label, network):
    """Images as `data.load` has them, uint8, and labels or tokens, for training and held out, by name."""
    import weights as recipes
    from lessons_lib import data

    arrays = {}
    for name, of in {"train": split, "held_out": HELD_OUT[source]}.items():
        parts = [part if label else (part,) for part in recipes.loaded(source, of, 1000, size, label, network)]
        images, *labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        arrays[name] = data.to_pixels(images)
        arrays |= {f"{name}_labels": one.astype(np.int32) for one in labels}
    return arrays


def train(folder):
    """Train what `pack` left in `folder`, and write trained.weights.h5, the average, with its card beside them."""
    import jax
    from jax import numpy as jnp

    folder = Path(folder)
    packed = json.loads((folder / "packed.json").read_text("utf-8"))
    options, card, arrays = packed["options"], packed["card"], dict(np.load(folder / "packed.npz"))
    start, steps, batch = time.monotonic(), options["steps"], options["batch"]
    keras.utils.set_random_seed(options["seed"])
    model = NETWORKS[options["build"]](**options["network"])
    noise = SCHEDULES[options["schedule"]](STEPS)
    noise = noise if options["shift"] is None else schedule.shifted(noise, options["shift"])
    warm_up = steps // 24
    rates = keras.optimizers.schedules.CosineDecay(0.0, steps - warm_up, warmup_target=options["rate"], warmup_steps=warm_up)
    optimizer = optimizers.Muon(rates, adam_beta_2=options["beta_2"])
    optimizer.build(model.trainable_variables)
    fixed = [one.value for one in model.non_trainable_variables]
    alpha_bar = jnp.asarray(noise.alpha_bar, jnp.float32)
    null = options["null"]

    def loss(values, x_0, t, gaussian, conditions):
        at = alpha_bar[t][:, None, None, None]
        target, weight = wanted(options["target"], x_0, gaussian, at)
        x_t = diffusion.add_noise(x_0, gaussian, at)
        if options["blind"]:
            x_t, t, weight = jnp.zeros_like(x_t), jnp.full_like(t, STEPS), 1.0
        (answer, _) = model.stateless_call(values, fixed, [x_t, t, *conditions])
        return jnp.mean(weight * jnp.mean(jnp.square(answer - target), axis=-1))

    def step(state, seen):
        values, numbers, average, n = state
        rows, key = seen
        images, labels = arrays["train"][rows], arrays["train_labels"][rows] if null else None
        lost, gradients = jax.value_and_grad(loss)(values, *drawn(key, images, labels, options))
        values, numbers = optimizer.stateless_apply(numbers, gradients, values)
        return (values, numbers, averaged(average, values, n + 1, options["decay"]), n + 1), lost

    @jax.jit
    def several(state, rows, key):
        state, losses = jax.lax.scan(step, state, (rows, jax.random.split(key, len(rows))))
        return state, losses.mean()

    @jax.jit
    def held_out(average):
        size = min(250, len(arrays["held_out"]))
        count = len(arrays["held_out"]) // size * size
        images = arrays["held_out"][:count].reshape(-1, size, *arrays["held_out"].shape[1:])
        labels = arrays["held_out_labels"][:count].reshape(-1, size, *arrays["held_out_labels"].shape[1:]) if null else None

        def one(_, seen):
            return None, loss(average, *drawn(seen[1], seen[0], seen[2] if null else None, options, whole=True))

        keys = jax.random.split(jax.random.key(0), len(images))
        _, losses = jax.lax.scan(one, None, (images, keys, labels if null else keys))
        return losses.mean()

    values = [one.value for one in model.trainable_variables]
    state = (values, [one.value for one in optimizer.variables], values, jnp.float32(0))
    arrays = {name: jnp.asarray(one) for name, one in arrays.items()}
    order = shuffled(len(arrays["train"]), steps * batch, options["seed"]).reshape(PARTS, steps // PARTS, batch)
    losses, unseen = [], []
    for part, rows in enumerate(order, 1):
        state, lost = several(state, rows, jax.random.key(options["seed"] * PARTS + part))
        losses.append(round(float(lost), 4))
        unseen.append(round(float(held_out(state[2])), 4))
        took = time.monotonic() - start
        print(f"{folder.name}: {part} of {PARTS} after {took:.0f} s: loss {losses[-1]}, held out {unseen[-1]}", flush=True)
    for variable, value in zip(model.trainable_variables, state[2], strict=True):
        variable.assign(value)
    device = jax.devices()[0]
    card |= {
        "versions": f"JAX {jax.__version__}, Keras {keras.__version__}",
        "machine": f"{platform.machine()}, {'CPU' if device.platform == 'cpu' else device.device_kind}",
        "minutes": round((time.monotonic() - start) / 60, 1),
    }
    card |= options["card"] | {"losses": losses, "held_out": f"{HELD_OUT[options['source']]}, {len(arrays['held_out'])} images"}
    weights.write(model, folder / "trained.weights.h5", card | {"held_out_losses": unseen})


def drawn(key, images, labels, options, whole=False):
    """What a step shows, by lot, as `data.noisify` does: x_0 of images, uint8, t, noise, and conditions, of labels or None.

    whole: whether no squares are cut out of the images, which is how those are seen that were held out.
    """
    import jax
    from jax import numpy as jnp

    x_0 = images.astype(jnp.float32) / 127.5 - 1
    keys = jax.random.split(key, 5)
    if options["cut"]:
        lot = jax.random.uniform(keys[4], (len(x_0), 3))
        x_0 = augment.cut_out(x_0, jnp.ones_like(lot) if whole else lot, options["size"])
    t = jax.random.randint(keys[0], x_0.shape[:1], 1, STEPS + 1)
    noise = jax.random.normal(keys[1], x_0.shape)
    if options["flip"]:
        turned = jax.random.bernoulli(keys[2], 0.5, (len(x_0), 1, 1, 1))
        x_0 = jnp.where(turned, x_0[:, :, ::-1], x_0)
    if labels is None:
        return x_0, t, noise, [resize.shrink(x_0, options["factor"])] if options["factor"] else []
    dropped = jax.random.bernoulli(keys[3], options["drop"], labels.shape[:1]).reshape(-1, *(1,) * (labels.ndim - 1))
    return x_0, t, noise, [jnp.where(dropped, jnp.asarray(options["null"][0]), labels)]


def wanted(target, x_0, noise, alpha_bar):
    """The target and the loss' weight, as `data.the_noise`, `diffusion.to_velocity` and `data.the_image` have them."""
    if target == "x_0":
        return x_0, keras.ops.minimum(1 / (1 - alpha_bar), 10.0)[..., 0]
    return (noise if target == "noise" else diffusion.to_velocity(x_0, noise, alpha_bar)), 1.0


def averaged(average, values, n, decay):
    """The average after n steps, as `training.EMA` has it."""
    keep = keras.ops.minimum(decay, (1 + n) / (10 + n))
    return [one + (1 - keep) * (value - one) for one, value in zip(average, values, strict=True)]


def shuffled(count, length, seed):
    """So many indices of `count` images, each as often as the others, in a new order at every pass."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(count) for _ in range(-(-length // count))])[:length].astype(np.int32)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pack", *names] if names:
            import weights as recipes

            for name in names:
                pack(recipes.CHECKPOINTS / name, **recipes.PACKAGED[name])
        case ["train", *folders] if folders and os.environ.get("KERAS_BACKEND") == "jax":
            for folder in folders:
                train(folder)
        case received:
            sys.exit(
                f"expected: pack NAME..., or with KERAS_BACKEND=jax: train FOLDER...; received {' '.join(received) or 'nothing'}"
            )
