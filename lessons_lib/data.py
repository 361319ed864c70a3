"""Images in and out of the model's range. All of `tf.data` lives here."""

import functools
import warnings
from numbers import Real
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image, ImageOps

from lessons_lib import diffusion, prepared
from lessons_lib.prepared import DataError
from lessons_lib.schedule import check_images, same_shape, whole

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
IN_MEMORY = 2**30  # bytes of decoded pixels up to which a data set is kept in memory
MEAN_LEFT = 0.9  # of the variance of the mean colour among pictures: with less, drawn ones are too grey


def to_unit(pixels):
    """Pixels to the model's range: uint8 0..255 -> float32 [-1, 1], any shape. Raises TypeError unless uint8."""
    pixels = tf.convert_to_tensor(pixels)
    if pixels.dtype != tf.uint8:
        raise TypeError(f"pixels: expected uint8, 0..255; received {pixels.dtype.name}")
    return tf.cast(pixels, tf.float32) / 127.5 - 1.0


def to_pixels(images):
    """The model's range to pixels, for files and eyes: float [-1, 1] -> uint8 0..255, any shape, a NumPy array.

    Values outside [-1, 1] become the nearest pixel, as a sampler may overshoot a little. Raises TypeError for integers,
    ValueError for NaN or infinity.
    """
    images = np.asarray(images)
    if images.dtype.kind in "iubc":
        raise TypeError(f"images: expected floats in [-1, 1]; received {images.dtype}")
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        raise ValueError(f"images: expected finite values; received {np.sum(~np.isfinite(images))} NaN or infinite ones")
    return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def load(name, split="train", batch_size=128, *, seed=None, size=None, label="label", data_dir=None):
    """Any TFDS image set as a `tf.data.Dataset` of `(images, labels)` batches, images float32 [-1, 1] NHWC.

    name: as TFDS spells it, or "glyphs" or "scenes"; it is downloaded and prepared if it is not there yet.
    split: in TFDS's language: "train", "test[:2000]", "train+test[2000:]".
    seed: with an int the stream is endless, reshuffled at every pass, the same each time it is read, and every batch is
        full. With None it is one pass in the data set's own order; only the last batch may be smaller.
    size: crop to the middle square and resize to (size, size); None keeps the data set's own size.
    label: the feature that serves as label; None gives batches of images alone.
    data_dir: TFDS's folder; None is the environment's TFDS_DATA_DIR, else a `tensorflow_datasets` with this set beside the
        library or the notebooks' folder, which is announced, else TFDS's default. (Built-in sets have one of their own.)

    Sets of up to 1 GiB of pixels are decoded once and kept in memory; larger ones are streamed and, with a seed, shuffled
    within a buffer of that size. Raises ValueError or TypeError for bad arguments, and for images of other than 8 bits or labels
    that differ in shape; DataError for bad data.
    """
    for argument, value in {"name": name, "split": split}.items():
        if not isinstance(value, str):
            raise TypeError(f"{argument}: expected a string; received {value!r}")
    for argument, value in {"batch_size": batch_size, "size": 1 if size is None else size}.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{argument}: expected a positive integer; received {value!r}")
    if not isinstance(seed, int | np.integer | None):
        raise TypeError(f"seed: expected an integer or None; received {seed!r}")
    builder = prepared.builder(name, data_dir)
    features = builder.info.features
    if "image" not in features:
        raise ValueError(f"name: expected a set of images; {name!r} has the features {', '.join(features)}")
    if label is not None and label not in features:
        raise ValueError(f"label: expected one of {', '.join(features)}, or None; received {label!r}")
    shapes = [] if label is None else [info.shape for info in tf.nest.flatten(features[label].get_tensor_info())]
    if any(None in shape for shape in shapes):
        told = ", ".join(map(str, shapes))
        raise ValueError(f"label: expected a feature with one shape for all images, or None; received {label!r}, of shape {told}")
    if (kind := np.dtype(features["image"].np_dtype)) != np.uint8:
        raise TypeError(f"name: expected a set of images of 8 bits, uint8 0..255; those of {name!r} are {kind}")
    shape = (size, size, features["image"].shape[-1]) if size else features["image"].shape
    if None in shape:
        raise ValueError(f"size: expected an integer, as the images of {name!r} differ in shape; received None")
    prepared.make_ready(builder)
    try:
        count = builder.info.splits[split].num_examples
    except (AssertionError, ValueError, KeyError) as error:
        known = ", ".join(f"{one.name}[:{one.num_examples}]" for one in builder.info.splits.values())
        raise ValueError(f"split: expected something within {known}; received {split!r}") from error
    if not count:
        raise ValueError(f"split: expected at least one image; {split!r} of {name!r} has none")

    @tf.autograph.experimental.do_not_convert  # no tensor decides anything here
    def choose(example):
        image = example["image"] if size is None else _square(example["image"], size)
        return image if label is None else (image, example[label])

    fits = count * np.prod(shape) <= IN_MEMORY
    reading = tfds.ReadConfig(try_autocache=False, shuffle_seed=seed, interleave_cycle_length=1 if seed is None else 16)
    reading.shuffle_reshuffle_each_iteration = False
    examples = builder.as_dataset(split=split, read_config=reading, shuffle_files=not fits and seed is not None)
    examples = examples.map(choose, num_parallel_calls=tf.data.AUTOTUNE)
    if fits:
        examples = tf.data.Dataset.from_tensor_slices(prepared.read(examples, count, builder))
    batches = _batches(examples, batch_size, seed, count, count if fits else max(batch_size, int(IN_MEMORY // np.prod(shape))))
    return batches.map(to_unit if label is None else lambda image, label: (to_unit(image), label)).prefetch(2)


def load_folder(folder, batch_size=128, *, seed=None, size=64):
    """A folder of pictures, and the folders in it, as `load` gives a set: batches of images, float32 [-1, 1], (B, size, size, 3).

    folder: of JPEG, PNG, WebP or GIF files (of which the first frame counts), in the order of their names. seed, batch_size: as
    for `load`. size: every picture is cropped to its middle square and resized to this side.

    Grey becomes RGB, 16 bits 8, and what is transparent white; pictures are turned as their cameras say (EXIF). What cannot be
    read or has a side shorter than `size` is left out, which one line tells. Raises ValueError if fewer pictures are left than a
    batch has, or more than 1 GiB.
    """
    for argument, value in {"batch_size": batch_size, "size": size}.items():
        whole(argument, value, 1)
    if not isinstance(seed, int | np.integer | None):
        raise TypeError(f"seed: expected an integer or None; received {seed!r}")
    folder = Path(folder).expanduser()
    images, skipped = [], {}
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES):
        try:
            images.append(_square(_opened(path, size), size).numpy())
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for broken files
            skipped[str(path.relative_to(folder))] = str(error).replace(f" {str(path)!r}", "")
        if len(images) * size**2 * 3 > IN_MEMORY:
            raise ValueError(f"size: expected pictures of at most 1 GiB in all; {folder} has more of {size} x {size}")
    few = [f"{name} ({why})" for name, why in list(skipped.items())[:5]]
    told = f", {len(skipped)} left out: {', '.join(few)}{', ...' if len(skipped) > len(few) else ''}" if skipped else ""
    if len(images) < batch_size:
        raise ValueError(f"folder: expected at least {batch_size} pictures, a batch; received {len(images)} in {folder}{told}")
    print(f"{len(images)} pictures of {folder}{told}.")
    examples = tf.data.Dataset.from_tensor_slices(np.stack(images))
    return _batches(examples, batch_size, seed, len(images), len(images)).map(to_unit).prefetch(2)


@functools.cache
def digits():
    """Which digits this machine has: "mnist" where it is prepared or can be downloaded, else the built-in "glyphs".

    Says in one line when it falls back, after seconds, and when it prepares something. Raises DataError for a damaged
    MNIST: that is not replaced in silence.
    """
    return _or_built_in("mnist", "MNIST", "glyphs", "the built-in glyphs, printed digits, take its place.")


@functools.cache
def flowers():
    """Which photographs this machine has: "oxford_flowers102" in the same sense, else the built-in "scenes"."""
    return _or_built_in("oxford_flowers102", "Oxford Flowers 102", "scenes", "the built-in scenes take their place.")


def load_digits(split="train", batch_size=128, *, seed=None):
    """The course's digits, (28, 28, 1), label 0..9: MNIST, or the built-in glyphs. Arguments as for `load`."""
    return load(digits(), split, batch_size, seed=seed)


def tokenized(batches, tokenize):
    """Batches of images and captions, as `load(label="caption")` gives them, as batches of images and tokens, (B, K) int32.

    tokenize: a function of a list of strings, such as `text.tokens` with its words.
    """
    length = tokenize([""]).shape[1]

    def numbers(captions):
        return tokenize([caption.decode() for caption in captions])

    def replace(images, captions):
        rows = tf.numpy_function(numbers, [captions], tf.int32, stateful=False)
        return images, tf.ensure_shape(rows, (*captions.shape, length))

    return batches.map(replace)


def the_noise(x_0, noise, alpha_bar):
    """The noise as what a network is to predict (DDPM, eq. 14); `diffusion.to_velocity` is another such target."""
    return noise


def the_image(x_0, noise, alpha_bar):
    """The clean image as the target, with the weight that makes its error the velocity's (Salimans and Ho 2022, section 4).

    The weight is SNR + 1 = 1 / (1 - alpha_bar), which grows to thousands where there is hardly any noise, and is limited to 10,
    its value at alpha_bar = 0.9. Gives x_0 and (B, 1, ...), one axis fewer than x_0, as Keras' loss averages over the last one.
    """
    return x_0, tf.minimum(1 / (1 - alpha_bar), 10.0)[..., 0]


def noisify(images, schedule, target=the_noise, *, seed=0, null=None, drop=0.1):
    """Batches of images to endless pairs for `fit`, ((x_t, t), target): the forward process at random times (DDPM, algorithm 1).

    images: a `tf.data.Dataset` of batches x_0, (B, ...) float32, or of tuples that begin with them; it is repeated. Those of four
        axes are taken for images, in [-1, 1], and their first batch is looked at.
    target: a function of (x_0, noise, alpha_bar), which gives the target, or the target and a weight, (B, 1, ...) of one axis
        fewer than x_0; then the pairs are triples, ((x_t, t), target, weight). seed: an integer.
    null: None leaves out whatever else is in a batch. A tuple makes conditions of it, ((x_t, t, *conditions), target), and says
        what stands for no condition: one entry for each, of the shape of one condition, or None if it is never dropped.
    drop: the probability in [0, 1] that an image's conditions are replaced by null (Ho and Salimans 2022, algorithm 1): a number
        drops all of them together, a tuple each of them independently.

    t is (B,) int32, uniform in 1..T; the noise is Gaussian, of x_0's shape, new in every step. Both, and which conditions are
    dropped, depend on (seed, step) alone, and so not on how many threads prepare them. Warns if x_T shows the mean colour of the
    first batch's images, so that drawn ones would be too grey, and if nothing in that batch is negative. Raises TypeError or
    ValueError for other arguments, and for images beyond [-1, 1] or with NaN.
    """
    if not isinstance(images, tf.data.Dataset):
        raise TypeError(f"images: expected a tf.data.Dataset of batches; received {type(images).__name__}")
    spec, *others = images.element_spec if isinstance(images.element_spec, tuple) else (images.element_spec,)
    if getattr(spec, "dtype", None) != tf.float32:
        raise TypeError(f"images: expected batches of float32, or tuples that begin with them; received {images.element_spec}")
    if not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: expected an integer; received {seed!r}")
    nulls = [] if null is None else _nulls(null, others)
    drops = drop if isinstance(drop, tuple) else (drop,)  # one draw for all, or one for each
    fits = not isinstance(drop, tuple) or len(drop) == len(nulls) > 0
    if not fits or not all(isinstance(share, Real) and 0 <= share <= 1 for share in drops):
        several = f", or a tuple of {len(nulls)}" if nulls else ""
        raise ValueError(f"drop: expected a probability in [0, 1]{several}; received {drop!r}")
    if spec.shape.rank == 4:
        for first in images.take(1):
            x_0 = (first[0] if isinstance(first, tuple) else first).numpy()
            check_images(x_0)
            _warn_if_the_mean_shows(schedule, x_0)

    @tf.autograph.experimental.do_not_convert
    def mix(step, batch):
        x_0, *conditions = batch if isinstance(batch, tuple) else (batch,)
        key = tf.stack([tf.cast(seed, tf.int64), step])
        keys = tf.random.split(key, 2)
        t = tf.random.stateless_uniform(tf.shape(x_0)[:1], keys[0], 1, schedule.T + 1, tf.int32)
        noise = tf.random.stateless_normal(tf.shape(x_0), keys[1])
        t, noise = tf.ensure_shape(t, x_0.shape[:1]), tf.ensure_shape(noise, x_0.shape)
        alpha_bar = schedule.at(t, like=x_0)
        wanted = target(x_0, noise, alpha_bar)
        draws = [tf.random.stateless_uniform(tf.shape(t), tf.random.fold_in(key, i)) for i in range(len(drops))]
        dropped = [draw < share for draw, share in zip(draws, drops, strict=True)] * (len(nulls) if len(drops) == 1 else 1)
        conditions = map(_where, dropped, nulls, conditions[: len(nulls)])
        inputs = (diffusion.add_noise(x_0, noise, alpha_bar), t, *conditions)
        return (inputs, *_with_weight(*wanted, x_0)) if isinstance(wanted, tuple) else (inputs, wanted)

    pairs = images.repeat().enumerate().map(mix, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return pairs.prefetch(2)


def _or_built_in(name, known_as, built_in, takes_over):
    """The first, if it can be had, else the second, with a line that says so."""
    builder = prepared.builder(name)
    if not Path(builder.data_dir).exists():
        try:
            prepared.prepare(builder)
        except DataError as error:
            print(f"{known_as} cannot be had here ({error.reason}): {takes_over}")
            return built_in
    return name


def _batches(examples, batch_size, seed, count, buffer):
    """Batches of `count` examples: one pass in order, or with a seed without end, shuffled within a buffer of so many."""
    if seed is not None:
        # Within a function, so that each reader gets a shuffle of its own: a shared one goes on from where the last one stopped.
        fresh = tf.data.Dataset.from_tensors(0).flat_map(lambda _: examples.shuffle(buffer, seed=seed).repeat())
        ordered = fresh.repeat()  # tells that it has no end
    else:
        ordered = examples
    full = seed is not None or count % batch_size == 0
    return ordered.batch(batch_size, drop_remainder=full)  # drops nothing, but makes the shape known


def _opened(path, size):
    """A picture's pixels, (height, width, 3) uint8, upright, on white."""
    with Image.open(path) as image:
        if min(image.size) < size:
            raise ValueError("{} x {}, too small".format(*image.size))
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
            return np.repeat(np.rint(np.asarray(image) / 257).astype(np.uint8)[..., None], 3, axis=2)
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def _nulls(null, specs):
    """What stands for each condition where it is dropped, as tensors of its type, or None."""
    if not isinstance(null, tuple) or len(null) != len(specs):
        raise ValueError(f"null: expected a tuple, an entry for each of the {len(specs)} conditions; received {null!r}")
    tensors = []
    for i, (value, spec) in enumerate(zip(null, specs, strict=True)):
        try:
            tensor = None if value is None else tf.ensure_shape(tf.convert_to_tensor(value, spec.dtype), spec.shape[1:])
            if tensor is not None and spec.dtype.is_integer and np.any(tensor.numpy() != np.asarray(value)):
                raise ValueError("rounded or wrapped around")  # as TensorFlow does without a word
        except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
            expected = f"{spec.dtype.name} of shape {tuple(spec.shape[1:])}, as one of the conditions is"
            raise ValueError(f"null[{i}]: expected {expected}; received {value!r}") from error
        tensors.append(tensor)
    return tensors


def _where(dropped, null, condition):
    """The null condition where it is dropped, (B,), the condition elsewhere."""
    if null is None:
        return condition
    return tf.where(tf.reshape(dropped, [-1] + [1] * (condition.shape.rank - 1)), null, condition)


def _with_weight(target, weight, x_0):
    """Target and weight, if the weight is one for each image and nothing else."""
    expected = (x_0.shape[0],) + (1,) * (x_0.shape.rank - 2)
    if not same_shape(weight.shape, expected):  # Keras would run (B,) along the last axis of the loss
        raise ValueError(f"target: expected a weight of shape {expected}, as x_0 is {x_0.shape}; received {weight.shape}")
    return target, weight


def _warn_if_the_mean_shows(schedule, images):
    """The mean of many pixels is seen through noise that hides each of them: the more pixels, the less signal may be left.

    Of the variance of the mean colour among pictures, along the direction in which it is largest, a walk from pure noise leaves
    the fraction 1 / (alpha_bar_T pixels variance + 1 - alpha_bar_T), if it is Gaussian (lesson 09).
    """
    if len(images) < 2:
        return
    colours, pixels = images.mean(axis=(1, 2), dtype=np.float64), images.shape[1] * images.shape[2]
    variance = np.linalg.eigvalsh(np.atleast_2d(np.cov(colours, rowvar=False)))[-1]
    left = 1 / (schedule.alpha_bar[-1] * (pixels * variance - 1) + 1)
    if left < MEAN_LEFT:
        warnings.warn(
            f"schedule: x_T keeps {schedule.terminal_signal:.1%} of the signal, and so shows the mean colour of "
            f"{images.shape[1]} x {images.shape[2]} pixels. Sampling starts from noise, which does not: about {left:.0%} of the "
            "colour's variance will be left, and drawn images will be too grey. Take a schedule that ends with less signal",
            stacklevel=3,
        )


def _square(image, size):
    """The middle square of an image, (size, size, C) uint8."""
    side = tf.minimum(tf.shape(image)[0], tf.shape(image)[1])
    image = tf.image.resize_with_crop_or_pad(image, side, side)
    return tf.cast(tf.round(tf.image.resize(image, (size, size), antialias=True)), tf.uint8)
