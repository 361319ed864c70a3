"""The built-in pictures in colour, each with its caption: one or two things on a ground, drawn on the spot. Needs no download."""

from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw, ImageFilter

SIZE = 64
COUNTS = {"train": 20_000, "test": 2_000, "held_out": 2_000}
FINE = 4  # drawn so many times as large, then averaged down: soft edges

COLOURS = {  # at least 34 apart in CIELAB, and as far from every ground
    "red": (214, 40, 48),
    "orange": (247, 140, 20),
    "yellow": (255, 224, 50),
    "green": (20, 150, 60),
    "blue": (38, 84, 210),
    "purple": (142, 44, 170),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring")
SIZES = {"small": 13, "large": 21}  # pixels: the side of the box around a thing
RELATIONS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}  # where the first is, as seen from the second
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
GROUNDS = {  # sky at the top and at the horizon, land there and in front
    "day": ((150, 196, 232), (214, 232, 240), (176, 196, 140), (150, 172, 116)),
    "sunset": ((120, 104, 140), (246, 190, 160), (112, 92, 92), (88, 74, 80)),
    "night": ((16, 20, 44), (44, 50, 84), (34, 40, 52), (22, 26, 36)),
    "snow": ((176, 188, 204), (224, 230, 236), (244, 246, 250), (226, 232, 242)),
    "beach": ((172, 212, 226), (226, 240, 238), (232, 214, 178), (218, 196, 156)),
}
WORDS = {  # that a caption may choose from; what is not here has one word, its name
    "small": ("small", "little", "tiny"),
    "large": ("large", "big"),
    "red": ("red", "scarlet"),
    "purple": ("purple", "violet"),
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "ring": ("ring", "hoop"),
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
    "day": ("by day", "on a meadow"),
    "sunset": ("at sunset", "in the evening"),
    "night": ("at night", "under the stars"),
    "snow": ("in the snow", "in winter"),
    "beach": ("on the beach", "by the sea"),
}
HELD_OUT = frozenset((colour, SHAPES[(i + 2) % 6]) for i, colour in enumerate(COLOURS))  # every colour once, every shape once


class Thing(NamedTuple):
    """One object: its shape, colour and size by name, and its centre in pixels from the left and from the top."""

    shape: str
    colour: str
    size: str
    x: float
    y: float


class Scene(NamedTuple):
    """A ground by name, a tuple of one or two things, and where the first of two is, seen from the second ("" for one)."""

    ground: str
    things: tuple
    relation: str


def scene(rng, *, held_out=False):
    """A `Scene` by lot: ground, one thing or two, size, colour, shape, relation and place, each as often as its alternatives.

    rng: a NumPy Generator. held_out: whether a thing is of one of the six combinations of colour and shape in HELD_OUT, which no
    scene without it has; of two things both are, or (half of the time) one of them.
    """
    two = rng.random() < 0.5
    kinds = [_kind(rng, held_out) for _ in range(1 + two)]
    if held_out and two and rng.random() < 0.5:
        kinds[rng.integers(2)] = _kind(rng, False)
    sizes = [_any(rng, SIZES) for _ in kinds]
    relation = _any(rng, RELATIONS) if two else ""
    places = _apart(rng, relation, sizes) if two else [rng.uniform(*_reach(sizes[0]), size=2)]
    looks = zip(kinds, sizes, places, strict=True)
    things = tuple(Thing(shape, colour, size, *np.round(place, 2).tolist()) for (colour, shape), size, place in looks)
    return Scene(_any(rng, GROUNDS), things, relation)


def caption(scene, rng):
    """One of the captions that are true of a scene, such as "a big violet ring left of a red heart at night".

    rng: a NumPy Generator, which chooses among synonyms, what is mentioned first of two things, and whether sizes are told.
    Raises ValueError for names that are not in this module.
    """
    _check(scene)

    def word(name):
        return _any(rng, WORDS.get(name, (name,)))

    def phrase(thing):
        told = [word(thing.size)] if rng.random() < 0.75 else []
        told += [word(thing.colour), word(thing.shape)]
        return f"{'an' if told[0][0] in 'aeiou' else 'a'} {' '.join(told)}"

    first, *second = scene.things
    relation = scene.relation
    if second and rng.random() < 0.5:
        (first, second), relation = (*second, [first]), OPPOSITE[relation]
    told = " ".join([phrase(first), *(f"{word(relation)} {phrase(one)}" for one in second)])
    return f"{told} {word(scene.ground)}"


def draw(scene, rng):
    """A scene as a picture: (64, 64, 3) uint8.

    rng: a NumPy Generator, which chooses what no caption tells: horizon, hills, stars, snowflakes, the sun. Raises ValueError for
    names that are not in this module.
    """
    _check(scene)
    large = _ground(scene.ground, rng)
    for thing in scene.things:
        _shade(large, thing)
        paint(large, thing)
    return np.asarray(large.resize((SIZE, SIZE), Image.Resampling.BOX))


def paint(large, thing):
    """Draw a thing, without its shadow, on an Image that is FINE times as large as the picture."""
    centre, half = FINE * np.array([thing.x, thing.y]), FINE * SIZES[thing.size] / 2
    corner = np.floor(centre - 1.1 * half).astype(int)
    mask = Image.new("L", (int(2.2 * half) + 2,) * 2)
    pen, outline = ImageDraw.Draw(mask), half * _outline(thing.shape)
    pen.polygon([*(centre - corner + outline).ravel().tolist()], fill=255)
    if thing.shape == "ring":
        pen.polygon([*(centre - corner + 0.5 * outline).ravel().tolist()], fill=0)
    large.paste(COLOURS[thing.colour], tuple(corner.tolist()), mask)


class Scenes(tfds.core.GeneratorBasedBuilder):
    """Pictures with captions: `image` (64, 64, 3) uint8, `caption`, and the scene that both show. The same on every machine.

    `ground` and `relation` are labels with names; `things` are two, with the labels `shape`, `colour` and `size`, and with `x`
    and `y` in pixels. Where there is one thing, the relation and the second one's labels are "none". Splits: `train` and `test`
    without, `held_out` with a combination of colour and shape that is in HELD_OUT.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel
        thing = {name: label(names=(*names, "none")) for name, names in LABELS.items()} | {"x": np.float32, "y": np.float32}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Scenes of one or two things in colour, drawn by an algorithm, with captions that are true of them.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(SIZE, SIZE, 3)),
                    "caption": tfds.features.Text(),
                    "ground": label(names=tuple(GROUNDS)),
                    "relation": label(names=(*RELATIONS, "none")),
                    "things": tfds.features.Sequence(thing, length=2),
                }
            ),
            supervised_keys=("image", "caption"),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in COUNTS}

    def _generate_examples(self, split):
        for index in range(COUNTS[split]):
            rng = np.random.default_rng([list(COUNTS).index(split), index])
            one = scene(rng, held_out=split == "held_out")
            things = [thing._asdict() for thing in (*one.things, Thing("none", "none", "none", 0, 0))[:2]]
            told = {"caption": caption(one, rng), "ground": one.ground, "relation": one.relation or "none", "things": things}
            yield index, {"image": draw(one, rng)} | told


LABELS = {"shape": SHAPES, "colour": tuple(COLOURS), "size": tuple(SIZES)}


def _any(rng, names):
    return list(names)[rng.integers(len(names))]


def _kind(rng, held_out):
    """A colour and a shape."""
    while True:
        found = _any(rng, COLOURS), _any(rng, SHAPES)
        if (found in HELD_OUT) == held_out:
            return found


def _reach(size):
    """Between which coordinates a thing's centre keeps it within the picture."""
    margin = SIZES[size] / 2 + 2
    return margin, SIZE - margin


def _apart(rng, relation, sizes):
    """Two places, the first in this direction from the second, within 30 degrees, so that nobody doubts it, and clear of it."""
    along = np.array(RELATIONS[relation])
    gap = sum(SIZES[size] for size in sizes) / 2 + 2
    while True:
        places = np.array([rng.uniform(*_reach(size), size=2) for size in sizes])
        way = places[0] - places[1]
        ahead, aside = way @ along, abs(way @ along[::-1])
        if ahead > gap and aside < ahead * np.tan(np.radians(30)):
            return places


def _check(scene):
    """Refuse names that nothing is known of."""
    if scene.ground not in GROUNDS:
        raise ValueError(f"ground: expected one of {', '.join(GROUNDS)}; received {scene.ground!r}")
    if not 1 <= len(scene.things) <= 2:
        raise ValueError(f"things: expected one or two; received {len(scene.things)}")
    if (scene.relation in RELATIONS) != (len(scene.things) == 2):
        expected = f"one of {', '.join(RELATIONS)}" if len(scene.things) == 2 else "'' for one thing"
        raise ValueError(f"relation: expected {expected}; received {scene.relation!r}")
    for thing in scene.things:
        for name, known in LABELS.items():
            if getattr(thing, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}; received {getattr(thing, name)!r}")


def _outline(shape):
    """A shape's outline within a box of side 2 around the origin, (corners, 2): x to the right, y down."""
    turn = np.linspace(0, 2 * np.pi, 73)[:-1]
    match shape:
        case "square":
            x, y = 0.9 * np.array([-1, 1, 1, -1]), 0.9 * np.array([-1, -1, 1, 1])
        case "triangle":
            x, y = np.array([0, 1, -1]), np.array([-0.92, 0.82, 0.82])
        case "star":
            turn, radius = np.arange(10) * np.pi / 5, np.tile([1.08, 0.45], 5)
            x, y = radius * np.sin(turn), 0.08 - radius * np.cos(turn)
        case "heart":
            x = np.sin(turn) ** 3
            y = (-13 * np.cos(turn) + 5 * np.cos(2 * turn) + 2 * np.cos(3 * turn) + np.cos(4 * turn)) / 16 - 0.08
        case _:  # circle and ring
            x, y = np.sin(turn), -np.cos(turn)
    return np.stack([x, y], axis=1)


def _shade(large, thing):
    """A soft shadow below it."""
    half = FINE * SIZES[thing.size] / 2
    mask = Image.new("L", (int(1.6 * half) + 24, int(0.36 * half) + 24))
    ImageDraw.Draw(mask).ellipse([12, 12, 12 + 1.6 * half, 12 + 0.36 * half], fill=70)
    corner = int(FINE * thing.x - 0.8 * half) - 12, int(FINE * thing.y + 0.87 * half) - 12
    large.paste((10, 10, 20), corner, mask.filter(ImageFilter.BoxBlur(4)))


def _ground(name, rng):
    """Sky and land, FINE times as large as the picture."""
    side = FINE * SIZE
    horizon = int(side * rng.uniform(0.52, 0.68))
    top, low, far, near = map(np.array, GROUNDS[name])
    sky, land = (np.linspace(*ends, rows)[:, None] for ends, rows in (((top, low), horizon), ((far, near), side - horizon)))
    column = Image.fromarray(np.concatenate([sky, land]).astype(np.uint8))
    large = column.resize((side, side), Image.Resampling.NEAREST)
    pen, x = ImageDraw.Draw(large), np.arange(0, side + 8, 8)
    waves = [rng.uniform(0.3, 1) * np.sin(x / side * k + rng.uniform(0, 2 * np.pi)) for k in (4, 9, 15)]
    hills = [(0, side), *zip(x.tolist(), (horizon + 0.03 * side * sum(waves)).tolist(), strict=True), (side + 8, side)]
    match name:
        case "beach":
            pen.rectangle([0, horizon - side // 7, side, horizon], fill=(116, 168, 186))
        case "night":
            _dots(pen, rng.uniform((0, 0), (side, 0.9 * horizon), (rng.integers(12, 24), 2)), 2, (206, 210, 226))
        case "sunset":
            sun = rng.uniform(0.2, 0.8) * side
            pen.ellipse([sun - 26, horizon - 40, sun + 26, horizon + 12], fill=(255, 222, 190))
    pen.polygon(hills, fill=GROUNDS[name][2])
    if name == "snow":
        _dots(pen, rng.uniform(0, side, (rng.integers(15, 35), 2)), 3, (250, 251, 253))
    return large


def _dots(pen, places, radius, colour):
    for x, y in places.tolist():
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)
