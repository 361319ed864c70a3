"""What scenes are made of, and the captions that are true of them: a small grammar that can be written and read."""

from typing import NamedTuple

import numpy as np

SIZE = 64  # pixels: the side of a picture

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
LABELS = {"shape": SHAPES, "colour": tuple(COLOURS), "size": tuple(SIZES)}
ASPECTS = ("ground", "number", "colours", "shapes", "pairs", "sizes", "relation", "all")  # in which `compare` compares
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
    check(scene)

    def word(name):
        return _any(rng, spoken(name))

    def phrase(thing):
        told = [word(thing.size)] if rng.random() < 0.75 else []
        told += [word(thing.colour), word(thing.shape)]
        return f"{article(told[0])} {' '.join(told)}"

    first, *second = scene.things
    relation = scene.relation
    if second and rng.random() < 0.5:
        (first, second), relation = (*second, [first]), OPPOSITE[relation]
    told = " ".join([phrase(first), *(f"{word(relation)} {phrase(one)}" for one in second)])
    return f"{told} {word(scene.ground)}"


def told(caption):
    """What a caption says: a `Scene` in which names that it leaves open are "", and places None.

    Things come in the order in which it mentions them, and the relation is the first one's. Any caption of `caption` can be read.
    Raises ValueError for a word that no caption has, and for words in another order, with what was expected in its place.
    """
    left = caption.lower().split()
    if unknown := [word for word in left if word not in VOCABULARY]:
        raise ValueError(f"caption: expected words of the grammar; received {', '.join(map(repr, unknown))} in {caption!r}")

    def take(names):
        """The first of these names that is told next, or "" if none is."""
        for name in names:
            for words in map(str.split, spoken(name)):
                if left[: len(words)] == words:
                    del left[: len(words)]
                    return name
        return ""

    def need(names, what):
        found = take(names)
        if not found:
            some = ", ".join(words for name in names for words in spoken(name))
            after = " ".join(left) or "nothing"
            raise ValueError(f"caption: expected {what} ({some}) before {after!r}; received {caption!r}")
        return found

    def thing():
        take(("a", "an"))
        size, colour, shape = take(SIZES), need(COLOURS, "a colour"), need(SHAPES, "a shape")
        return Thing(shape, colour, size, None, None)

    things, relation, ground = [thing()], "", take(GROUNDS)
    if left and not ground:  # "under the stars" is a place, "under a star" is none
        relation = need(RELATIONS, "a relation or a place")
        things.append(thing())
        ground = need(GROUNDS, "a place") if left else ""
    if left:
        raise ValueError(f"caption: expected its end before {' '.join(left)!r}; received {caption!r}")
    return Scene(ground, tuple(things), relation)


def compare(said, seen):
    """In what a scene that is seen is the one that was said, {aspect: bool}, the aspects being ASPECTS.

    said: a `Scene` as `told` gives it; what it leaves open is right in any case. seen: a `Scene`, or None, right in nothing.

    ground; number, of things; colours and shapes, whichever thing has which; pairs: each shape with its colour; sizes and
    relation, of the things as their colours tell which is which; all: everything, for one and the same order of the things.
    """
    right = dict.fromkeys(ASPECTS, False)
    if seen is None:
        return right
    right |= {"ground": said.ground in ("", seen.ground), "number": len(said.things) == len(seen.things)}
    if not right["number"]:
        return right
    ways = [(seen.things, seen.relation)]
    if len(seen.things) == 2:
        ways.append((seen.things[::-1], OPPOSITE[seen.relation]))
    for things, relation in ways:
        both = list(zip(said.things, things, strict=True))
        colours, shapes, sizes = (
            all(getattr(one, name) in ("", getattr(other, name)) for one, other in both) for name in ("colour", "shape", "size")
        )
        place = relation == said.relation
        now = {"colours": colours, "shapes": shapes, "pairs": colours and shapes, "sizes": colours and sizes}
        now |= {"relation": colours and place, "all": right["ground"] and colours and shapes and sizes and place}
        right |= {name: right[name] or one for name, one in now.items()}
    return right


def spoken(name):
    """How captions say a name, ("small", "little", "tiny") for small."""
    return WORDS.get(name, (name,))


def article(word):
    """The one that stands before it."""
    return "an" if word[0] in "aeiou" else "a"


def check(scene):
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


NAMES = (*SIZES, *COLOURS, *SHAPES, *RELATIONS, *GROUNDS)
VOCABULARY = tuple(sorted({"a", "an"}.union(*(words.split() for name in NAMES for words in spoken(name)))))  # of all captions
