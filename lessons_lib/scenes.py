"""The built-in pictures in colour, each with its caption: one or two things on a ground, drawn on the spot. Needs no download."""

from itertools import product

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, ImageDraw, ImageFilter

from lessons_lib.grammar import COLOURS, GROUNDS, LABELS, RELATIONS, SIZE, SIZES, Scene, Thing, article, caption, check, scene

COUNTS = {"train": 20_000, "test": 2_000, "held_out": 2_000}
FINE = 4  # drawn so many times as large, then averaged down: soft edges


def draw(scene, rng):
    """A scene as a picture: (64, 64, 3) uint8.

    rng: a NumPy Generator, which chooses what no caption tells: horizon, hills, stars, snowflakes, the sun. Raises ValueError for
    names that are not in the grammar.
    """
    check(scene)
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


def hole(thing):
    """Where a thing and its shadow are, with 3 pixels around them: a box, (64, 64, 1) booleans."""
    rows, columns = np.indices((SIZE, SIZE))[..., None] + 0.5
    reach = SIZES[thing.size] / 2 + 3
    return (abs(columns - thing.x) < reach) & (rows > thing.y - reach) & (rows < thing.y + reach + 3)


def small_world():
    """A world in which everything is known: two things side by side by day, always in the same places.

    They are of three shapes, six colours and two sizes. Gives all its pictures, (1296, 32, 32, 3) float32 in [-1, 1], their
    scenes, a list, and an array with a caption for each, which leaves the sizes open, so that it is true of four.
    """
    kinds = product(("circle", "square", "star"), COLOURS, SIZES)
    world = [
        Scene("day", (Thing(*left, 17.0, 40.0), Thing(*right, 47.0, 40.0)), "left") for left, right in product(kinds, repeat=2)
    ]
    pictures = np.stack([draw(one, np.random.default_rng(5)) for one in world]).astype(np.float32) / 127.5 - 1
    small = pictures.reshape(len(world), SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(2, 4))
    captions = []
    for one in world:
        left, right = (f"{article(thing.colour)} {thing.colour} {thing.shape}" for thing in one.things)
        captions.append(f"{left} left of {right} by day")
    return small, world, np.array(captions)


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
