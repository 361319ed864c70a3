"""Lesson 13's cells: do pictures show what captions say, by how text enters, by guidance, and for combinations never seen."""

from functools import cache, partial
from typing import NamedTuple

import numpy as np
from scipy import ndimage

import weights as recipes
from lessons_lib import data, editing, grammar, guidance, judges, metrics, optimizers, resize, sampling, scenes, text, training
from lessons_lib.schedule import cosine, shifted
from tables import Cell, flat

# isort: split
# After lessons_lib, which keeps TensorFlow from greeting.
import keras
import tensorflow as tf

NETWORK, FILLER = "scenes_by_caption", "scenes_filler"
ARMS = {  # how text enters: whether the encoder is told the words' order, whether the picture's attention looks at all of them
    "bag of words": {"order": False, "all_words": False},
    "one vector": {"order": True, "all_words": False},
    "all words": {"order": True, "all_words": True},
}
SPLITS = {"seen": "test", "held out": "held_out"}
STRENGTHS = (0, 1, 2, 3, 5)
GUIDED = 3  # where nothing else is said
STEPS = 25  # of a walk
LENGTH, SEEDS, BATCH = 800, (0, 1, 2), 32  # of the arms' trainings, in a small world
SMALL = {"size": 32, "channels": 3, "widths": [48], "blocks": 1, "heads": 4, "patch": 4, "text_width": 48}
BLUR, NOISE = 0.7, 0.1  # pixels; of a range of 2
WAYS = {  # how known pixels are kept: in which network's states, in how many rounds (RePaint's U), or in its guesses of x_0
    "states": {"told": False, "guesses": False, "rounds": 1},
    "states, 5 rounds": {"told": False, "guesses": False, "rounds": 5},
    "guesses": {"told": False, "guesses": True, "rounds": 1},
    "told, states": {"told": True, "guesses": False, "rounds": 1},
    "told, guesses": {"told": True, "guesses": True, "rounds": 1},
}
DRAWINGS = 16  # of one caption
SEED = 1  # of what is drawn
PART = 125  # pictures at once


def cells(images=500, length=LENGTH, seeds=SEEDS, drawings=DRAWINGS):
    """All of them."""
    changes = {"as it is": np.asarray, "blurred": blurred, "noised": noised}
    for name, change in changes.items():
        settings = {"images": images, "blur": BLUR, "noise": NOISE}
        yield Cell(f"reader, {name}", settings, (), partial(reader, change, images))
    for name, arm in ARMS.items():
        for seed in seeds:
            settings = (
                SMALL | arm | {"training": length, "training_seed": seed, "batch": BATCH, "images": images // 2, "steps": STEPS}
            )
            yield Cell(f"{name}, seed {seed}", settings, (), partial(by_arm, name, length, seed, images // 2))
    drawn = {"images": images, "steps": STEPS, "seed": SEED, "clip": True}
    for of, split in SPLITS.items():
        for g in STRENGTHS:
            yield Cell(f"{of}, guidance {g}", drawn | {"guidance": g}, (NETWORK,), partial(by_caption, split, images, g))
    yield Cell("where it fails", drawn | {"guidance": GUIDED}, (NETWORK,), partial(fails, images))
    for g in STRENGTHS[1:]:
        settings = drawn | {"images": drawings, "captions": images // drawings, "guidance": g}
        yield Cell(f"what is left open, guidance {g}", settings, (NETWORK,), partial(open_to, images // drawings, drawings, g))
    few = images // 2
    for name, way in WAYS.items():
        settings = drawn | {"images": few, "guidance": GUIDED, "eta": 1.0} | way
        network = FILLER if way["told"] else NETWORK
        yield Cell(f"change, {name}", settings, (network,), partial(changed_by, partial(filled, **way), few))
    yield Cell("nearest of those trained with", drawn | {"guidance": GUIDED}, (NETWORK,), partial(nearest, images))


# ---- captions and pictures


@cache
def captioned(split, images):
    """The first real pictures of a split and their captions."""
    ((pictures, captions),) = data.load("scenes", f"{split}[:{images}]", images, label="caption")
    return pictures.numpy(), [caption.decode() for caption in captions.numpy()]


def walked(conditioned, noise, captions, g, seed=SEED, eta=0.0):
    """Pictures for captions, with so much guidance."""
    c, u = (conditioned(told, batch_size=PART) for told in (captions, [""] * len(captions)))
    predict_noise = {0: u, 1: c}.get(g) or guidance.guide(c, u, g)
    shape = (len(captions), grammar.SIZE, grammar.SIZE, 3)
    for state in sampling.sample(predict_noise, noise, shape, STEPS, eta=eta, seed=seed, clip=True):
        x_t = state.x_t
    return np.asarray(x_t)


@cache
def drawn_for(split, images, g):
    """What the packaged network draws for a split's captions."""
    conditioned, noise = training.load_weights(NETWORK)
    return walked(conditioned, noise, captioned(split, images)[1], g)


def by_caption(split, images, g):
    """How well the packaged network obeys."""
    return obeyed(captioned(split, images)[1], drawn_for(split, images, g))


# ---- the small world, where all is known


class World(NamedTuple):
    """Pictures, (N, 32, 32, 3), their captions, and these captions' words in alphabetical order."""

    pictures: np.ndarray
    captions: np.ndarray
    bags: np.ndarray
    distinct: np.ndarray  # whether the two things' colours and shapes differ


@cache
def small_world():
    """The library's, and what captions leave when their order is lost."""
    pictures, world, captions = scenes.small_world()
    bags = [" ".join(sorted(caption.split())) for caption in captions]
    distinct = [all(len({getattr(thing, label) for thing in one.things}) == 2 for label in ("colour", "shape")) for one in world]
    return World(pictures, captions, np.array(bags), np.array(distinct))


def by_arm(name, length, seed, images):
    """How often a network in which text enters in this way draws what it was asked for, and how often at least the right words.

    It is trained with four bags of words of five and all their captions, "seen"; the others are new. As trained, and guided.
    """
    world, chain, rng = small_world(), shifted(cosine(), SMALL["size"] / 28), np.random.default_rng(seed)
    every = np.unique(world.bags)
    new = np.isin(world.bags, rng.choice(every, len(every) // 5, replace=False))
    tokens = text.tokens(list(world.captions), grammar.VOCABULARY)
    rows = tf.data.Dataset.from_tensor_slices(rng.choice(np.flatnonzero(~new), (length, BATCH)))
    examples = rows.map(lambda some: (tf.gather(world.pictures, some), tf.gather(tokens, some)))
    null = recipes.CAPTIONED["null"]
    pairs = data.noisify(examples, chain, data.the_image, seed=seed, null=null, drop=0.1)
    keras.utils.set_random_seed(seed)
    network, average = text.captioned(**SMALL, words=grammar.VOCABULARY, **ARMS[name]), training.EMA(0.99)
    warm_up = length // 24
    rates = keras.optimizers.schedules.CosineDecay(0.0, length - warm_up, warmup_target=4e-3, warmup_steps=warm_up)
    network.compile(optimizers.Muon(rates, adam_beta_2=0.99), "mse")
    training.fit(network, pairs, length, average=average, every=length)
    numbers = {}
    for kind, some in {"seen": ~new, "new": new}.items():
        rows = rng.choice(np.flatnonzero(some & world.distinct), images)
        answers = [
            training.from_x_0(guidance.given(network, told, batch_size=PART), chain)
            for told in (tokens[rows], np.repeat(null, images, axis=0))
        ]
        for g in (1, GUIDED):
            with average.applied():
                *_, last = sampling.sample(
                    guidance.guide(*answers, g), chain, (images, *world.pictures.shape[1:]), STEPS, seed=SEED, clip=True
                )
            found, _ = metrics.nearest(last.x_t, world.pictures)
            right, words = world.captions[found] == world.captions[rows], world.bags[found] == world.bags[rows]
            numbers |= {f"{kind}_{g}_right": mean(right.astype(float)), f"{kind}_{g}_words": mean(words.astype(float))}
    return flat(numbers)


# ---- what is counted


def obeyed(captions, pictures):
    """In what pictures show what captions say, for captions of one thing and of two, and of two by what is new in them.

    read: the share that is a whole scene. all: of which moreover all is right; almost: the same with captions of which one word
    is changed. The other aspects are of any scene whose things can be told apart, whole or not. bound: pairs, of captions of two
    colours and two shapes, where these are right.
    """
    said, whole, parts = [grammar.told(one) for one in captions], judges.read(pictures), judges.read(pictures, fit=0.0)
    right = [grammar.compare(*both) for both in zip(said, parts, strict=True)]
    each = {aspect: np.array([one[aspect] for one in right], float) for aspect in grammar.ASPECTS}
    each["read"] = np.array([scene is not None for scene in whole], float)
    each["all"] = np.array([grammar.compare(*both)["all"] for both in zip(said, whole, strict=True)], float)
    rng = np.random.default_rng(SEED)
    each["almost"] = np.array(
        [grammar.compare(almost(one, rng), scene)["all"] for one, scene in zip(said, whole, strict=True)], float
    )
    things, new = np.array([len(scene.things) for scene in said]), np.array([unseen(scene) for scene in said])
    groups = {"one": things == 1, "two": things == 2}
    if new.any():
        groups |= {"two_one_new": (things == 2) & (new == 1), "two_both_new": (things == 2) & (new == 2)}
    numbers = {}
    for name, group in groups.items():
        numbers[f"{name}_count"] = int(group.sum())
        numbers |= flat({f"{name}_{aspect}": mean(values[group]) for aspect, values in each.items()})
    apart = np.array(
        [len({thing.colour for thing in one.things}) == len({thing.shape for thing in one.things}) == 2 for one in said]
    )
    known = apart & (each["colours"] * each["shapes"] > 0)
    return numbers | {"bound_count": int(known.sum())} | flat({"bound": mean(each["pairs"][known])})


def almost(said, rng):
    """A caption's scene with another ground, relation, or colour, shape or told size of a thing, by lot."""

    def another(names, now):
        left = [name for name in names if name != now]
        return left[rng.integers(len(left))]

    places = [(i, label) for i, thing in enumerate(said.things) for label in grammar.LABELS if getattr(thing, label)]
    places.append((None, "ground"))
    if len({thing[:2] for thing in said.things}) == 2:  # of two alike, every relation may be true
        places.append((None, "relation"))
    i, label = places[rng.integers(len(places))]
    if label == "ground":
        return said._replace(ground=another(grammar.GROUNDS, said.ground))
    if label == "relation":
        return said._replace(relation=another(grammar.RELATIONS, said.relation))
    things = list(said.things)
    things[i] = things[i]._replace(**{label: another(grammar.LABELS[label], getattr(things[i], label))})
    return said._replace(things=tuple(things))


def fails(images):
    """Of captions of one thing, all that is right by what they name; and of two, by whether their colours and shapes differ."""
    captions, pictures = captioned("test", images)[1], drawn_for("test", images, GUIDED)
    said = [grammar.told(one) for one in captions]
    right = np.array([grammar.compare(*both)["all"] for both in zip(said, judges.read(pictures), strict=True)], float)
    alone = np.array([len(scene.things) == 1 for scene in said])
    groups = {}
    for label, names in (grammar.LABELS | {"ground": grammar.GROUNDS}).items():
        of = np.array([scene.ground if label == "ground" else getattr(scene.things[0], label) for scene in said])
        told = {f"{label}_{name}": alone & (of == name) for name in names} | {f"{label}_not_given": alone & (of == "")}
        groups |= {name: group for name, group in told.items() if group.any()}
    for label in ("colour", "shape"):
        same = np.array([len({getattr(thing, label) for thing in scene.things}) == 1 for scene in said])
        groups |= {f"two_same_{label}": ~alone & same, f"two_different_{label}s": ~alone & ~same}
    return flat({name: mean(right[group]) for name, group in groups.items()})


def unseen(scene):
    """How many of its things have a combination of colour and shape that was held out."""
    return sum((thing.colour, thing.shape) in grammar.HELD_OUT for thing in scene.things)


def reader(change, images):
    """How well real pictures, changed in some way, are read: the reader's own errors."""
    pictures, captions = captioned("test", images)
    return obeyed(captions, change(pictures))


def blurred(pictures):
    """As by a lens."""
    return ndimage.gaussian_filter(pictures, (0, BLUR, BLUR, 0))


def noised(pictures):
    """As by a sampler that stops early."""
    return pictures + np.random.default_rng(SEED).normal(0, NOISE, pictures.shape).astype(np.float32)


def open_to(captions, drawings, g):
    """How much pictures for one caption differ, over how much real ones do: of one thing its position, and where the horizon is.

    position: the variance of a thing's centre; pixels: of a pixel; both within a caption, over those of as many scenes by lot
    that the caption is true of. large: the share of large things where no size is told.
    """
    told = [one for one in captioned("test", 500)[1] if len(grammar.told(one).things) == 1][:captions]
    conditioned, noise = training.load_weights(NETWORK)
    pictures = walked(conditioned, noise, [one for one in told for _ in range(drawings)], g)
    real = np.stack([by_lot(grammar.told(one), i) for i, one in enumerate(one for one in told for _ in range(drawings))])
    numbers = {}
    for name, of in {"position": places, "pixels": lambda images: images.reshape(len(images), -1)}.items():
        spread = np.array([[variance(of(part)) for part in np.split(images, captions)] for images in (pictures, real)])
        numbers[name] = ratio(*spread[:, np.isfinite(spread).all(axis=0)])
    free = np.repeat([grammar.told(one).things[0].size == "" for one in told], drawings)
    sizes = [scene.things[0].size == "large" for scene, ok in zip(judges.read(pictures), free, strict=True) if ok and scene]
    return flat(numbers | {"large": mean(np.array(sizes, float))})


# ---- a part of a picture


def changed_by(way, images):
    """How well a thing is replaced by another one: pictures of one thing, which is erased, and captions that name another.

    all: the share that shows what the new caption says; seam: how much neighbours differ across the hole's border, over how much
    the real picture's do there.
    """
    pictures, known, captions = holes(images)
    answers = way(pictures, known, captions)
    np.testing.assert_array_equal(np.where(known, answers, 0), np.where(known, pictures, 0))
    said, seen = [grammar.told(one) for one in captions], judges.read(answers)
    right = np.array([grammar.compare(*both)["all"] for both in zip(said, seen, strict=True)], float)
    whole = np.array([scene is not None for scene in seen], float)
    return flat({"all": mean(right), "read": mean(whole), "seam": ratio(across(answers, known), across(pictures, known))})


@cache
def holes(images):
    """Pictures of one thing, where they are known, (N, 64, 64, 1), and captions with another thing of its size."""
    real, _ = captioned("test", 4 * images)
    rng, some = np.random.default_rng(SEED), []
    for picture, scene in zip(real, judges.read(real), strict=True):
        if scene and len(scene.things) == 1 and len(some) < images:
            (thing,) = scene.things
            others = [
                (colour, shape)
                for colour in grammar.COLOURS
                for shape in grammar.SHAPES
                if colour != thing.colour and shape != thing.shape and (colour, shape) not in grammar.HELD_OUT
            ]
            colour, shape = others[rng.integers(len(others))]
            place = grammar.spoken(scene.ground)[0]
            some.append((picture, ~scenes.hole(thing), f"a {thing.size} {colour} {shape} {place}"))
    pictures, known, captions = zip(*some, strict=True)
    return np.stack(pictures), np.stack(known), list(captions)


def filled(pictures, known, captions, *, told, guesses, rounds):
    """By the network for captions or the one that is told what is known, with known pixels put into states or guesses."""
    conditioned, noise = training.load_weights(FILLER if told else NETWORK)
    more = (np.concatenate([pictures * known, known], axis=-1).astype(np.float32),) if told else ()
    answers = (conditioned(of, *more, batch_size=PART) for of in (captions, [""] * len(captions)))
    predict_noise = guidance.guide(*answers, GUIDED)
    if guesses:
        mend = guidance.consistent(predict_noise, noise, lambda x_0: np.where(known, pictures, np.clip(x_0, -1, 1)))
        walk = sampling.sample(mend, noise, pictures.shape, STEPS, eta=1.0, seed=SEED)
    else:
        walk = editing.fill(predict_noise, noise, pictures, known, STEPS, repeats=rounds, seed=SEED, clip=True)
    for state in walk:
        x_t = state.x_t
    return np.where(known, pictures, x_t) if guesses else np.asarray(x_t)


def across(pictures, known):
    """For each picture, the mean difference of neighbours of which one is known and the other is not."""
    total, count = 0, 0
    for axis in (1, 2):
        border = np.diff(known.astype(int), axis=axis) != 0
        total = total + np.sum(np.abs(np.diff(pictures, axis=axis)) * border, axis=(1, 2, 3)) / pictures.shape[-1]
        count = count + np.sum(border, axis=(1, 2, 3))
    return total / count


def places(images):
    """Centres of the things where there is one, (N, 2), N at most as many as there are images."""
    alone = [scene for scene in judges.read(images) if scene and len(scene.things) == 1]
    return np.array([scene.things[0][3:] for scene in alone], float).reshape(-1, 2)


def variance(values):
    """Of (N, D), the mean over D; NaN of less than two."""
    return values.var(axis=0, ddof=1).mean() if len(values) > 1 else np.nan


def by_lot(said, number):
    """A real picture of which a caption of one thing is true."""
    rng = np.random.default_rng([SEED, number])
    (thing,) = said.things
    size = thing.size or ("small", "large")[rng.integers(2)]
    margin = grammar.SIZES[size] / 2 + 2
    x, y = rng.uniform(margin, grammar.SIZE - margin, 2)
    picture = scenes.draw(grammar.Scene(said.ground, (thing._replace(size=size, x=x, y=y),), ""), rng)
    return data.to_unit(picture).numpy()


def nearest(images):
    """How far drawn pictures, and real ones that were held out, are from the nearest one of the training set, root mean square.

    At 16 x 16 pixels, in 0..255.
    """
    known = np.concatenate([small(batch.numpy()) for batch in data.load("scenes", "train", 1000, label=None)])
    of = {"drawn": drawn_for("test", images, GUIDED), "real": captioned("test", images)[0]}
    away = {name: 127.5 * metrics.nearest(small(pictures), known)[1] / known.shape[1] ** 0.5 for name, pictures in of.items()}
    return flat({name: mean(values) for name, values in away.items()})


def small(pictures):
    """16 x 16 pixels, (N, 768)."""
    return np.asarray(resize.shrink(pictures, 4)).reshape(len(pictures), -1)


def mean(values):
    """Mean and standard error; NaN where there are too few to say."""
    if len(values) < 2:
        return metrics.Estimate(np.nan, np.nan)
    return metrics.Estimate(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))))


def ratio(one, other):
    """Of the means of two arrays, (N,), and its standard error, that of the second one included."""
    if len(one) < 2:
        return metrics.Estimate(np.nan, np.nan)
    value = np.mean(one) / np.mean(other)
    return metrics.Estimate(float(value), float(np.std(one - value * other, ddof=1) / np.mean(other) / np.sqrt(len(one))))
