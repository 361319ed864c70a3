"""Training that loses nothing: checkpoints that survive a kill, averaged weights, and weights with a card."""

import contextlib
import hashlib
import importlib
import inspect
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from lessons_lib import diffusion, files, guidance, schedule, text, weights

SCHEDULES = {"linear": schedule.linear, "cosine": schedule.cosine}


class CheckpointError(ValueError):
    """A checkpoint that is damaged or is another run's; the message says what to do."""


def fit(model, pairs, steps, folder=None, *, settings=None, average=None, validation=None, every=100, keep=2, callbacks=()):
    """Train for `steps` steps in all, with a checkpoint in `folder` after every `every` of them.

    model: compiled. pairs: an endless `tf.data.Dataset` that starts the same each time, as `data.noisify` makes it.
    settings: what else makes this run this run, a dict for JSON: seed, schedule, target. average: an `EMA`, saved along.
    validation: a finite data set, evaluated at each checkpoint. keep: how many checkpoints; older ones are deleted.
    Gives {"loss": (steps / every,), "val_loss": the same}, the mean over each `every` steps.

    If the folder holds this run, stopped before its end, it goes on there, and ends as if it had never stopped: bit for bit on
    a CPU, with op determinism and a model whose layers have the same names, as those of a new process have. If it holds this
    run, finished, it trains again, with the weights that the model has. What the pairs show, their shapes and what is in the
    first of them, is part of what makes a run. Raises ValueError for bad arguments, CheckpointError if the folder holds another
    run or a damaged checkpoint; it deletes neither. Raises FloatingPointError at the first loss or weight that is NaN or
    infinite; the last checkpoint is the one before.
    """
    if not model.compiled:
        raise ValueError(f"model: expected a compiled one; received {model.name}, which is not")
    if every < 1 or steps < 1 or steps % every:
        raise ValueError(f"steps: expected a positive multiple of every, {every}; received {steps}")
    if (batches := int(pairs.cardinality())) >= 0:
        raise ValueError(f"pairs: expected an endless data set, as `data.noisify` makes it; received one of {batches} batches")
    if average is not None and model.steps_per_execution != 1:
        raise ValueError(f"average: expected a model with steps_per_execution 1; received {model.steps_per_execution}")
    with model.distribute_strategy.scope():
        model.optimizer.build(model.trainable_variables)  # without it, Keras traces the first step twice
    callbacks = list(callbacks)
    if average is not None:
        average.follow(model)
        callbacks.insert(0, average)
    record = tf.Variable(np.full((2, steps // every), np.nan), trainable=False)
    run = _describe(model, pairs, steps, every, average, settings)  # also without a folder: a shuffle may count who reads it
    done, epoch_now = 0, 0

    def begin(epoch, logs):
        nonlocal epoch_now
        epoch_now = epoch

    def look(batch, logs):  # the loss so far in this epoch, so that what is not finite stays so
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(_diverged(f"the loss is {logs['loss']}", epoch_now * every + batch + 1, every, folder))

    def note(epoch, logs):
        if not all(np.isfinite(keras.ops.convert_to_numpy(weight)).all() for weight in model.weights):
            raise FloatingPointError(_diverged("a weight is NaN or infinite", (epoch + 1) * every, every, folder))
        record[:, epoch].assign([logs["loss"], logs.get("val_loss", np.nan)])
        if folder is not None:
            manager.save((epoch + 1) * every)

    if folder is not None:
        folder = Path(folder).expanduser()
        state = _state(model, average, record)
        done = _resume(state, folder, run)
        manager = tf.train.CheckpointManager(state, str(folder), max_to_keep=keep)
        if done is None:  # the first weights too, for a run that is stopped before its first checkpoint
            done = 0
            manager.save(0)
    model.fit(
        pairs.skip(done),
        steps_per_epoch=every,
        initial_epoch=done // every,
        epochs=steps // every,
        validation_data=validation,
        verbose=0,
        shuffle=False,  # the pairs are
        callbacks=[
            *callbacks,
            keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_train_batch_end=look, on_epoch_end=note),
        ],
    )
    return dict(zip(("loss", "val_loss"), record.numpy(), strict=True))


class EMA(keras.callbacks.Callback):
    """The exponential moving average of the weights (DDPM, appendix B), kept while `fit` trains.

    decay: in (0, 1); at the start, where there is little to average, less: (1 + n) / (10 + n) after n steps.
    Raises ValueError for other decays.
    """

    def __init__(self, decay=0.999):
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(f"decay: expected a number in (0, 1); received {decay!r}")
        self.decay = decay
        self.steps = tf.Variable(0.0, trainable=False)
        self.averages = None
        self._swapped = False

    def follow(self, model):
        """Average this model's weights from now on, and nothing from before; `fit` calls it."""
        if self._swapped:
            raise RuntimeError("average: the model has the averaged weights; `fit` it outside of `applied`")
        self.steps.assign(0)
        self.weights = [weight.value for weight in model.trainable_variables]
        self.averages = [tf.Variable(weight, trainable=False) for weight in self.weights]
        self._update = tf.function(self._step)  # anew, as a traced function stays with the variables that it has seen

    def on_train_batch_end(self, batch, logs=None):
        """One step has been taken."""
        self._update()

    def _step(self):
        self.steps.assign_add(1.0)
        keep = tf.minimum(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, weight in zip(self.averages, self.weights):  # noqa: B905 (AutoGraph knows no strict)
            average.assign_add((1 - keep) * (weight - average))

    @contextlib.contextmanager
    def applied(self):
        """Within `with ema.applied():` the model has the averaged weights; then it gets its own back. Not to be nested."""
        if self.averages is None:
            raise RuntimeError("applied: there is no average yet; pass this EMA to `fit` first")
        if self._swapped:
            raise RuntimeError("applied: the model has the averaged weights already")
        own, self._swapped = [weight.numpy() for weight in self.weights], True
        for weight, average in zip(self.weights, self.averages, strict=True):
            weight.assign(average)
        try:
            yield
        finally:
            self._swapped = False
            for weight, value in zip(self.weights, own, strict=True):
                weight.assign(value)


def from_noise(model):
    """A network that was trained to predict the noise, as `predict_noise(x_t, t)`, the callable that samplers take.

    model: a network that is called with [x_t, t], or its answer under conditions, `answer(x_t, t)`, as `guidance.given` makes it.
    """

    def predict_noise(x_t, t):
        answer = model.predict_on_batch([x_t, t]) if hasattr(model, "predict_on_batch") else model(x_t, t)
        return keras.ops.convert_to_numpy(answer).astype(keras.ops.dtype(x_t))

    return predict_noise


def from_velocity(model, schedule):
    """The same for a network that was trained to predict the velocity (Salimans and Ho 2022, appendix D)."""
    velocity = from_noise(model)

    def predict_noise(x_t, t):
        return diffusion.velocity_to_noise(x_t, velocity(x_t, t), schedule.at(t, like=x_t))

    return predict_noise


def from_x_0(model, schedule):
    """The same for a network that was trained to predict x_0 (DDPM, section 3.2, names it; Ramesh et al. 2022, section 2.2)."""
    x_0 = from_noise(model)

    def predict_noise(x_t, t):
        return diffusion.to_noise(x_t, x_0(x_t, t), schedule.at(t, like=x_t))

    return predict_noise


TARGETS = {"noise": lambda model, schedule: from_noise(model), "velocity": from_velocity, "x_0": from_x_0}


def save_weights(model, path, card, *, dtype="float32"):
    """Save a trained network for `load_weights`: NAME.weights.h5, and beside it NAME.json, its card with the SHA-256.

    card: a dict for JSON with at least "build", the function of lessons_lib that builds the network, as "unet.unet"; "network",
    its arguments; "target", "noise", "velocity" or "x_0"; "schedule", "linear" or "cosine"; "T"; and "shift" if the schedule was
    shifted by such a factor. Whatever else tells where the weights are from is welcome. dtype: as for `weights.write`. Raises
    ValueError for a card from which nothing could be loaded.
    """
    missing = {"build", "network", "target", "schedule", "T"} - card.keys()
    if missing:
        raise ValueError(f"card: expected {', '.join(sorted(missing))} in it; received {', '.join(card) or 'nothing'}")
    for key, known in {"target": TARGETS, "schedule": SCHEDULES}.items():
        if card[key] not in known:
            raise ValueError(f"card: expected {' or '.join(known)} as its {key}; received {card[key]!r}")
    chain(card)  # whose errors name T and factor
    try:
        inspect.signature(builder(card["build"])).bind(**card["network"])
    except TypeError as error:
        raise ValueError(f"card: expected arguments of {card['build']} as its network; received {card['network']!r}") from error
    weights.write(model, path, card, dtype=dtype)


def load_weights(name):
    """A trained network as `predict_noise(x_t, t)`, and the schedule it was trained with.

    name: a packaged network's, as "digits", or a path that `save_weights` wrote. From a network that takes conditions comes, in
    place of predict_noise, a function of them that gives it, `conditioned(*conditions, batch_size=None)`, as `guidance.given`
    takes them, but captions as strings: the card has the words that make tokens of them. Raises WeightsError if there is no such
    file, if it is damaged, if its card describes no network, or if its weights do not fit the network that the card describes.
    """
    card = weights.read(name)
    try:
        model = builder(card["build"])(**card["network"])
        noise, wrap = chain(card), TARGETS[card["target"]]
    except (KeyError, TypeError, ValueError) as error:
        raise weights.WeightsError(f"{name}: its card names no network that could be built: {error!r}") from error
    weights.load_into(model, name)
    if len(model.inputs) == 2:
        return wrap(model, noise), noise

    words = card["network"].get("words")

    def conditioned(*conditions, batch_size=None):
        if words and conditions:  # without any, `given` says what is expected
            conditions = (text.tokens(conditions[0], words, model.input_shape[2][1]), *conditions[1:])
        return wrap(guidance.given(model, *conditions, batch_size=batch_size), noise)

    return conditioned, noise


def chain(card):
    """The schedule that a card names by its kind and steps, shifted by its "shift" if it has one."""
    noise = SCHEDULES[card["schedule"]](card["T"])
    return schedule.shifted(noise, card["shift"]) if card.get("shift") is not None else noise


def builder(name):
    """The function of lessons_lib that a card names, as "unet.unet". Raises ValueError if there is none."""
    module, _, function = str(name).partition(".")
    try:
        found = getattr(importlib.import_module(f"lessons_lib.{module}"), function)
        if not callable(found):
            raise TypeError(f"{name} cannot be called")
        return found
    except (ImportError, AttributeError, TypeError) as error:
        raise ValueError(f"build: expected a function of lessons_lib, such as 'unet.unet'; received {name!r}") from error


def _diverged(what, step, every, folder):
    """What is said when numbers are no longer numbers."""
    last = (step - 1) // every * every
    kept = "" if folder is None else f" The checkpoint of step {last} is kept in {folder}."
    return (
        f"fit: {what} at step {step}.{kept} Is there a NaN among the images? Or is the learning rate too large? Then try a tenth "
        "of it."
    )


def _describe(model, pairs, steps, every, average, settings):
    """What makes a run this run, as it comes back from JSON."""
    optimizer, loss = keras.optimizers.serialize(model.optimizer), keras.losses.get(model.loss)
    run = {
        "network": f"{model.count_params():,} numbers in {len(model.weights)} arrays, structure {_structure(model)}",
        "precision": model.dtype_policy.name,
        "pairs": _seen(pairs),
        "optimizer": optimizer["class_name"],
        **{f"optimizer.{key}": value for key, value in _unnumbered(optimizer["config"]).items()},
        "loss": loss.get_config() if isinstance(loss, keras.Loss) else getattr(loss, "__name__", type(loss).__name__),
        "steps": steps,
        "every": every,
        "average": None if average is None else average.decay,
        **{f"settings.{key}": value for key, value in (settings or {}).items()},
    }
    return json.loads(json.dumps(run))


def _seen(pairs):
    """Types and shapes of the pairs, and the mean of each part of the first one: of the images, noise and times of this run.

    To three digits, as another machine may round their sums in another order.
    """
    first = next(iter(pairs.take(1)))
    parts = tf.nest.map_structure(lambda part: f"{part.dtype.name} {part.shape}: {float(np.mean(part)):.3g}", first)
    return ", ".join(tf.nest.flatten(parts))


def _structure(model):
    """A short hash of a network's layers, their arguments and how they are connected."""
    numbers = {layer.name: i for i, layer in enumerate(model.layers)}
    config = json.dumps(_unnumbered(model.get_config(), numbers), default=str)
    return hashlib.sha256(config.encode()).hexdigest()[:8]


def _unnumbered(config, numbers=()):
    """A configuration of Keras without the "_3" in its names, which only tells what else was built before."""
    if isinstance(config, dict):
        values = {key: _unnumbered(value, numbers) for key, value in config.items()}
        return {**values, "name": re.sub(r"_\d+$", "", config["name"])} if isinstance(config.get("name"), str) else values
    if isinstance(config, list | tuple):  # where a name refers to a layer
        return [numbers[x] if isinstance(x, str) and x in numbers else _unnumbered(x, numbers) for x in config]
    return config


def _state(model, average, record):
    """All that a run needs to go on, as a checkpoint."""
    variables = [variable.value for variable in model.weights + model.optimizer.variables]
    averages = [] if average is None else [average.steps, *average.averages]
    return tf.train.Checkpoint(variables=variables, averages=averages, record=record)


def _resume(state, folder, run):
    """Restore the newest checkpoint of this run; gives the steps that are done, None if there is none or all are done."""
    card, listing, indices = folder / "run.json", folder / "checkpoint", set(folder.glob("ckpt-*.index"))
    if indices and (listing.exists() or indices != {folder / "ckpt-0.index"}):  # else killed in the first of them
        there = _read_or_refuse(card)
        differing = sorted(key for key in run.keys() | there.keys() if run.get(key) != there.get(key))
        if differing:
            raise CheckpointError(
                f"folder: {folder} holds another run; delete it or take another folder. They differ in "
                + "; ".join(f"{key}: expected {run.get(key)}, received {there.get(key)}" for key in differing)
            )
        whole = [path for path in _listed(folder) if Path(path + ".index") in indices]
        if not whole:
            raise CheckpointError(
                f"folder: {listing} is missing or damaged and names none of the checkpoints beside it; restore it, or delete "
                f"{folder} to begin again"
            )
        done = int(whole[-1].rpartition("-")[2])
        if done < run["steps"]:
            try:
                state.restore(whole[-1]).assert_consumed()
            except Exception as error:  # of many kinds, IndexError among them
                raise CheckpointError(
                    f"folder: the checkpoint {whole[-1]} is damaged ({type(error).__name__}); delete its files, "
                    f"{Path(whole[-1]).name}.*, to go on from an older one, or {folder}, to begin again"
                ) from error
            print(f"Going on from step {done} of {run['steps']}, as {folder} has it.")
            return done
    last = folder / f"ckpt-{run['steps']}.index"  # goes last: if this is killed, the run is still seen to be finished
    for old in sorted(folder.glob("ckpt-*"), key=lambda old: old == last):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    listing.unlink(missing_ok=True)
    write_json(card, run)
    return None


def _read_or_refuse(card):
    try:
        return dict(json.loads(card.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"folder: {card} is missing or damaged, so that nobody knows whose checkpoints are beside it; restore it, or delete "
            f"{card.parent} to begin again ({type(error).__name__})"
        ) from error


def _listed(folder):
    """The checkpoints that TensorFlow wrote to their end, oldest first, as paths without a suffix."""
    try:
        listed = tf.train.get_checkpoint_state(str(folder))
    except ValueError:
        return []
    return list(listed.all_model_checkpoint_paths) if listed else []


def write_json(path, value):
    """Write JSON so that the file is there as a whole or not at all."""
    with files.replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
