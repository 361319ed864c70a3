"""Lesson 12's cells: flowers made four times as large in every way, how their spread is calibrated, and other filters.

Needs Oxford Flowers 102.
"""

from functools import cache, partial

import numpy as np

import weights as recipes
from lessons_lib import data, guidance, metrics, resize, sampling, training
from tables import Cell, flat

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import keras
import tensorflow as tf

FACTOR, SIZE = recipes.UPSAMPLER["factor"], recipes.UPSAMPLER["size"]
HELD_OUT, TRAINED = "validation", recipes.UPSAMPLER["split"]
STEPS = (1, 10, 25, 100)  # of SR3's walks
WALK = 25  # steps where nothing else is said
DRAWINGS = 16  # of one flower
SEED, ETA = 1, 1.0
PART = 250  # pictures at once
PATCHES = 8  # of a picture, as features
TAUGHT = 0.7  # share of the pictures that the judge learns from
FILTERS = {
    "bicubic": partial(tf.image.resize, method="bicubic", antialias=True),
    "bicubic without antialiasing": partial(tf.image.resize, method="bicubic"),
    "every fourth pixel": partial(tf.image.resize, method="nearest"),
}


def cells(images=1000, steps=STEPS, drawings=DRAWINGS, lessons=200):
    """All of them. lessons: steps of the judge's training."""
    settings = {"images": images, "judge_steps": lessons}
    walks = settings | {"seed": SEED, "eta": ETA}
    yield Cell("real", settings, (), partial(judged, other_flowers, images, lessons))
    yield Cell("as it is", settings, (), partial(judged, squares, images, lessons))
    yield Cell("bicubic", settings, (), partial(judged, bicubic, images, lessons))
    yield Cell("regression", settings, ("flowers_regression",), partial(judged, regression, images, lessons))
    way = partial(untrained, steps=WALK)
    yield Cell(f"no training, {WALK} steps", walks | {"steps": WALK}, ("flowers",), partial(judged, way, images, lessons))
    for count in steps:
        way = partial(sr3, steps=count)
        name = f"SR3, {count} step{'s' * (count > 1)}"
        yield Cell(name, walks | {"steps": count}, ("flowers_upsampler",), partial(judged, way, images, lessons))
    for name, change in {"corrected": {"correct": True}, "eta = 0": {"eta": 0.0}}.items():
        way = partial(sr3, steps=WALK, **change)
        settings = walks | {"steps": WALK} | change
        yield Cell(f"SR3, {WALK} steps, {name}", settings, ("flowers_upsampler",), partial(judged, way, images, lessons))
    few = images // 5
    settings = {"images": few, "drawings": drawings, "steps": WALK, "seed": SEED, "eta": ETA}
    yield Cell("calibration", settings, ("flowers_upsampler", "flowers_regression"), partial(calibrated, few, drawings))
    for name, small in FILTERS.items():
        settings = {"images": images, "steps": WALK, "seed": SEED, "eta": ETA}
        yield Cell(f"small by {name}", settings, ("flowers_upsampler",), partial(filtered, small, images))


# ---- ways to enlarge: small pictures to large ones


def squares(small):
    """Each pixel as a square."""
    return np.asarray(resize.enlarge(small, FACTOR))


def bicubic(small):
    """What programs that show pictures do."""
    return tf.image.resize(small, (SIZE, SIZE), method="bicubic").numpy()


def regression(small):
    """The mean of all that are possible, as a network has learned it: one step of the walk from x_T = 0."""
    conditioned, noise = training.load_weights("flowers_regression")
    shape = (len(small), SIZE, SIZE, 3)
    *_, last = sampling.sample(conditioned(small, batch_size=PART), noise, shape, 1, x_T=np.zeros(shape, np.float32))
    return last.x_t


def untrained(small, steps):
    """The network of lesson 09, which knows no small pictures; its guesses are corrected (Wang et al. 2022)."""
    predict_noise, noise = training.load_weights("flowers")
    return walked(consistent(sampling.asking(predict_noise, PART), noise, small), noise, len(small), steps, clip=False)


def sr3(small, steps, seed=SEED, eta=ETA, correct=False):
    """The network that is told the small picture; correct: whether its guesses are corrected too."""
    conditioned, noise = training.load_weights("flowers_upsampler")
    predict_noise = conditioned(small, batch_size=PART)
    predict_noise = consistent(predict_noise, noise, small) if correct else predict_noise
    return walked(predict_noise, noise, len(small), steps, clip=not correct, seed=seed, eta=eta)


def consistent(predict_noise, noise, small):
    """With every guess at x_0 put in range first, and then such that it shrinks to the small picture."""

    def correct(x_0):
        x_0 = keras.ops.clip(x_0, -1, 1)
        return x_0 + resize.enlarge(small - resize.shrink(x_0, FACTOR), FACTOR)

    return guidance.consistent(predict_noise, noise, correct)


def walked(predict_noise, noise, images, steps, clip, seed=SEED, eta=ETA):
    """The last x_t, without keeping the others."""
    for state in sampling.sample(predict_noise, noise, (images, SIZE, SIZE, 3), steps, eta=eta, seed=seed, clip=clip):
        x_t = state.x_t
    return x_t


def other_flowers(small):
    """Real ones that have nothing to do with the small ones: what a judge can tell if there is nothing to tell."""
    return flowers(TRAINED, 2 * len(small))[len(small) :]


# ---- what they are like


@cache
def flowers(split, images):
    """The first real ones of a split."""
    return next(iter(data.load(recipes.UPSAMPLER["source"], split, images, size=SIZE, label=None))).numpy()


def judged(way, images, lessons):
    """Numbers of what a way makes of held-out flowers that were shrunk.

    mse, psnr (dB), ssim: against the flowers as they were. consistency: how far the answer, shrunk, is from the small picture,
    root mean square in 0..255; shown: the same of what can be shown, 0..255. varied: the variance of its details, over that of
    the flowers'. detail: the Fréchet distance of details from those of other real flowers. found: of the test pictures, the share
    that `told_apart` is right about.
    """
    large = flowers(HELD_OUT, images)
    small = np.asarray(resize.shrink(large, FACTOR))
    answer = way(small)
    shown = data.to_unit(data.to_pixels(answer)).numpy()
    each = {
        "mse": np.mean(np.square(shown - large), axis=(1, 2, 3)),
        "psnr": tf.image.psnr(shown, large, 2.0).numpy(),
        "ssim": tf.image.ssim(tf.constant(shown), tf.constant(large), 2.0).numpy(),
        "consistency": inconsistency(answer, small),
        "shown": inconsistency(shown, small),
        "found": told_apart(large, shown, lessons),
    }
    of_real, of_answer = (np.mean(np.square(detail(one)), axis=(1, 2, 3)) for one in (large, shown))
    return flat({name: mean(values) for name, values in each.items()} | {"varied": ratio(of_answer, of_real)} | apart(shown))


def filtered(shrunk, images):
    """The same numbers, as far as they make sense, of what SR3 draws for small pictures that were made by another filter."""
    large = flowers(HELD_OUT, images)
    small = shrunk(large, (SIZE // FACTOR, SIZE // FACTOR)).numpy()
    shown = data.to_unit(data.to_pixels(sr3(small, WALK))).numpy()
    off = mean(inconsistency(np.asarray(resize.enlarge(small, FACTOR)), np.asarray(resize.shrink(large, FACTOR))))
    return flat({"psnr": mean(tf.image.psnr(shown, large, 2.0).numpy()), "small": off} | apart(shown))


def calibrated(images, drawings):
    """Of several drawings of each flower, errors against the real ones: of one drawing, of the mean of all, and their ratio.

    expected: the ratio if drawings are from the same distribution as the truth. between: half the mean squared difference of two
    drawings, which would be the error of the mean of very many. beyond: one - between, what is left of the error of the mean of
    ever more drawings. regression: the error of that network's answer.
    """
    large = flowers(HELD_OUT, images)
    small = np.asarray(resize.shrink(large, FACTOR))
    drawn = np.stack([sr3(small, WALK, seed=SEED + i) for i in range(drawings)])
    one = np.mean(np.square(drawn - large), axis=(0, 2, 3, 4))
    of_mean = np.mean(np.square(drawn.mean(axis=0) - large), axis=(1, 2, 3))
    between = drawn.var(axis=0, ddof=1).mean(axis=(1, 2, 3))
    numbers = {"one": one, "of_mean": of_mean, "between": between, "beyond": one - between}
    numbers["regression"] = np.mean(np.square(regression(small).clip(-1, 1) - large), axis=(1, 2, 3))
    told = flat({name: mean(values) for name, values in numbers.items()} | {"ratio": ratio(one, of_mean)})
    return told | {"expected": float(f"{2 / (1 + 1 / drawings):.4g}")}


def inconsistency(answer, small):
    """For each picture, the root mean square in 0..255 of its shrunk answer minus what it was made from."""
    return 127.5 * np.sqrt(np.mean(np.square(np.asarray(resize.shrink(answer, FACTOR)) - small), axis=(1, 2, 3)))


def detail(images):
    """What shrinking takes away."""
    return images - np.asarray(resize.enlarge(resize.shrink(images, FACTOR), FACTOR))


def apart(images, parts=10):
    """How far details are from those of real flowers that no one was asked about, {"detail": Estimate}.

    Features are patches of 2 x 2 squares, 192 numbers, eight a picture; error: of leaving out a tenth of the pictures.
    """
    known = metrics.statistics(patches(flowers(TRAINED, len(images))))
    sets = np.array_split(patches(images).reshape(len(images), PATCHES, -1), parts)

    def distance(sets):
        features = np.concatenate(sets)
        return metrics.frechet_distance(features.reshape(-1, features.shape[-1]), known, resamples=0).value

    without = [distance(sets[:i] + sets[i + 1 :]) for i in range(parts)]
    error = np.sqrt((parts - 1) / parts * np.sum(np.square(without - np.mean(without))))
    return {"detail": metrics.Estimate(distance(sets), float(error))}


def patches(images):
    """Of each picture's details, eight patches of two squares by two from places by lot, (8 N, 192)."""
    rng, side = np.random.default_rng(SEED), 2 * FACTOR
    places = rng.integers(SIZE // side, size=(len(images), PATCHES, 2)) * side
    details = detail(images)
    cut = [details[i, row : row + side, column : column + side] for i, each in enumerate(places) for row, column in each]
    return np.reshape(cut, (len(cut), -1))


def told_apart(real, made, lessons):
    """What a small network learns to tell from real pictures: for each test picture, real or not, whether it is right.

    It learns from the first pictures of both kinds, and is asked about the others; on them, 50 % is what lots would get.
    """
    keras.utils.set_random_seed(SEED)
    known = int(TAUGHT * len(real))
    x = image = keras.Input(real.shape[1:])
    for filters, strides in ((16, 1), (32, 2), (64, 2), (64, 2)):
        x = keras.layers.Conv2D(filters, 3, strides, padding="same", activation="relu")(x)
    judge = keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(x)))
    rates = keras.optimizers.schedules.CosineDecay(2e-3, lessons)
    judge.compile(keras.optimizers.Adam(rates), keras.losses.BinaryCrossentropy(from_logits=True))
    rng = np.random.default_rng(SEED)
    for _ in range(lessons):
        rows, turned = rng.integers(known, size=32), rng.random((32, 1, 1, 1)) < 0.5
        pictures = [np.where(turned, one[rows][:, :, ::-1], one[rows]) for one in (real, made)]
        judge.train_on_batch(np.concatenate(pictures), np.repeat([1.0, 0.0], 32))
    says = [judge.predict(one[known:], batch_size=PART, verbose=0)[:, 0] > 0 for one in (real, made)]
    return np.concatenate([says[0], ~says[1]])


def ratio(one, other):
    """Of the means of two arrays, (N,), and its standard error."""
    value = np.mean(one) / np.mean(other)
    return metrics.Estimate(float(value), float(np.std(one - value * other, ddof=1) / np.mean(other) / np.sqrt(len(one))))


def mean(values):
    """Mean and standard error."""
    return metrics.Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))
