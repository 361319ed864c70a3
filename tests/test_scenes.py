import hashlib
import os
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tensorflow_datasets as tfds

from lessons_lib import data, grammar, resize, scenes
from lessons_lib.grammar import Scene, Thing

MEANS = {  # what a word says, written down once more
    **dict.fromkeys(("small", "little", "tiny"), "small"),
    **dict.fromkeys(("large", "big"), "large"),
    **dict.fromkeys(("red", "scarlet"), "red"),
    **dict.fromkeys(("purple", "violet"), "purple"),
    **{name: name for name in ("orange", "yellow", "green", "blue", "triangle", "star", "heart")},
    **dict.fromkeys(("circle", "disc"), "circle"),
    **dict.fromkeys(("square", "box"), "square"),
    **dict.fromkeys(("ring", "hoop"), "ring"),
    **dict.fromkeys(("left of", "to the left of"), "left"),
    **dict.fromkeys(("right of", "to the right of"), "right"),
    **dict.fromkeys(("above", "over"), "above"),
    **dict.fromkeys(("below", "under"), "below"),
    **dict.fromkeys(("by day", "on a meadow"), "day"),
    **dict.fromkeys(("at sunset", "in the evening"), "sunset"),
    **dict.fromkeys(("at night", "under the stars"), "night"),
    **dict.fromkeys(("in the snow", "in winter"), "snow"),
    **dict.fromkeys(("on the beach", "by the sea"), "beach"),
}
GROUND = "by day|on a meadow|at sunset|in the evening|at night|under the stars|in the snow|in winter|on the beach|by the sea"
PHRASE = r"an? (?:(small|little|tiny|large|big) )?(\w+) (\w+)"
CAPTION = re.compile(rf"{PHRASE}(?: ((?:to the )?(?:left|right) of|above|over|below|under) {PHRASE})? ({GROUND})")
PROBES = {  # in units of half the box: where a shape is, and where it is not
    "circle": ([(0, 0), (0.62, 0.62), (-0.62, 0.62)], [(0.9, 0.9), (-0.9, -0.9)]),
    "square": ([(0, 0), (0.78, 0.78), (-0.78, -0.78)], []),
    "triangle": ([(0, 0), (0.6, 0.68), (-0.6, 0.68), (0, -0.5)], [(0.65, -0.5), (-0.65, -0.5)]),
    "star": ([(0, 0), (0, -0.6), (0.45, -0.12), (-0.45, -0.12)], [(0.65, -0.75), (-0.65, -0.75), (0, 0.85)]),
    "heart": ([(0, 0), (0.5, -0.5), (-0.5, -0.5), (0, 0.7)], [(0, -0.85), (0.8, 0.7), (-0.8, 0.7)]),
    "ring": ([(0.75, 0), (-0.75, 0), (0, 0.75), (0, -0.75)], [(0, 0), (0.85, 0.85), (-0.85, -0.85)]),
}


def some(count, seed=0, **options):
    """Scenes with a caption and a picture."""
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        one = grammar.scene(rng, **options)
        yield one, grammar.caption(one, rng), scenes.draw(one, rng)


def said(caption):
    """What a caption says: (size or None, colour, shape), the relation, the same of the second or None; the ground."""
    *words, ground = CAPTION.fullmatch(caption).groups()
    words = [word and MEANS[word] for word in words]
    second = tuple(words[4:]) if words[3] else None
    return tuple(words[:3]), words[3], second, MEANS[ground]


def matches(told, thing):
    return told[1:] == (thing.colour, thing.shape) and told[0] in (None, thing.size)


# If this changes, so does the version of the data set, and every network that learned from it is trained anew.
DIGEST = "b374c21dbd7d9c644a89a0e76a321fb195291e9aeb315416d563ef9b99241a7c"


def digest():
    return hashlib.sha256(b"".join(picture.tobytes() + caption.encode() for _, caption, picture in some(200))).hexdigest()


def faster():
    """The instructions that NumPy has more code for, and that this processor has."""
    return np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])


def test_pictures_are_the_same_byte_for_byte_on_lesser_processors():
    """There NumPy's sine, for one, differs in its last digit."""
    assert digest() == DIGEST
    code = "from tests.test_scenes import digest, faster; print(digest(), faster())"
    without = {"NPY_DISABLE_CPU_FEATURES": " ".join(faster()), "PYTHONHASHSEED": "7"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | without, capture_output=True, encoding="utf-8", check=True
    )
    assert answer.stdout.strip() == f"{DIGEST} []"


@pytest.mark.parametrize("held_out", [False, True])
def test_a_caption_is_true_of_its_scene(held_out):
    for scene, caption, _ in some(2000, held_out=held_out):
        first, relation, second, ground = said(caption)
        assert ground == scene.ground
        if second is None:
            assert len(scene.things) == 1
            assert matches(first, scene.things[0])
            continue
        (one, other), named = scene.things, False
        for a, b in ((one, other), (other, one)):  # who is mentioned first is found by where it is
            ahead = {"left": b.x - a.x, "right": a.x - b.x, "above": b.y - a.y, "below": a.y - b.y}
            named |= matches(first, a) and matches(second, b) and max(ahead, key=ahead.get) == relation
        assert named, (scene, caption)


def at(picture, thing, place):
    """The pixel at a place in units of half the box."""
    half = {"small": 6.5, "large": 10.5}[thing.size]
    x, y = thing.x + half * place[0], thing.y + half * place[1]
    return picture[int(y), int(x)].astype(int)


def test_a_picture_shows_its_scene():
    for scene, _, picture in some(600):
        assert picture.shape == (64, 64, 3)
        assert picture.dtype == np.uint8
        for thing in scene.things:
            inside, outside = PROBES[thing.shape]
            for place in inside:
                assert abs(at(picture, thing, place) - grammar.COLOURS[thing.colour]).max() < 45, (thing, place)
            others = [one for one in scene.things if one is not thing]
            for place in outside if not others else []:
                assert abs(at(picture, thing, place) - grammar.COLOURS[thing.colour]).max() > 45, (thing, place)


def test_a_large_thing_is_larger_and_all_of_it_is_there():
    for shape in grammar.SHAPES:
        widths = {}
        for size in grammar.SIZES:
            picture = scenes.draw(Scene("day", (Thing(shape, "red", size, 32, 32),), ""), np.random.default_rng(0)).astype(int)
            rows, columns = np.nonzero(abs(picture - grammar.COLOURS["red"]).max(axis=2) < 30)
            widths[size] = np.ptp(columns) + 1
            assert abs(np.ptp(rows) + 1 - widths[size]) <= 3
            assert abs(columns.mean() - 31.5) < 0.6
        assert 10 <= widths["small"] <= 13
        assert 17 <= widths["large"] <= 21


def test_a_thing_stays_clear_of_the_edge():
    for held_out in (False, True):
        for scene, _, _ in some(300, held_out=held_out):
            for thing in scene.things:
                margin = grammar.SIZES[thing.size] / 2 + 1.99
                assert margin <= min(thing.x, thing.y) <= max(thing.x, thing.y) <= 64 - margin


def test_nobody_doubts_a_relation():
    """The dead zone: two things are apart along it, and at most 30 degrees off it."""
    for scene, _, _ in some(600):
        if scene.relation:
            (a, b), across = scene.things, {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
            way, along = np.array([a.x - b.x, a.y - b.y]), np.array(across[scene.relation])
            assert way @ along > (grammar.SIZES[a.size] + grammar.SIZES[b.size]) / 2
            assert way @ along / np.linalg.norm(way) > np.cos(np.radians(30)) - 1e-3  # places are rounded


def test_held_out_combinations_are_a_latin_square():
    assert len(grammar.HELD_OUT) == 6
    assert {colour for colour, _ in grammar.HELD_OUT} == set(grammar.COLOURS)
    assert {shape for _, shape in grammar.HELD_OUT} == set(grammar.SHAPES)


def test_no_held_out_combination_is_ever_seen_under_whatever_word():
    for scene, caption, _ in some(3000):
        first, _, second, _ = said(caption)
        told = {first[1:], second[1:]} if second else {first[1:]}
        assert not told & grammar.HELD_OUT
        assert not {(thing.colour, thing.shape) for thing in scene.things} & grammar.HELD_OUT
    held = [[(thing.colour, thing.shape) in grammar.HELD_OUT for thing in one.things] for one, *_ in some(1000, held_out=True)]
    assert all(map(any, held))
    assert {tuple(one) for one in held} == {(True,), (True, True), (True, False), (False, True)}


def test_all_is_drawn_equally_often():
    """Shares of 4,000 scenes; the bound is five standard deviations, and a half more for numbers that hang together."""
    rng = np.random.default_rng(0)
    drawn = [grammar.scene(rng) for _ in range(4000)]
    things = [thing for one in drawn for thing in one.things]
    two = [one for one in drawn if one.relation]
    firsts = [one.things[0] for one in two]
    shares = {
        "ground": [one.ground for one in drawn],
        "number": [len(one.things) for one in drawn],
        "relation": [one.relation for one in two],
        "colour": [thing.colour for thing in things],
        "shape": [thing.shape for thing in things],
        "combination": [(thing.colour, thing.shape) for thing in things],
        "size": [thing.size for thing in things],
        "size of the first of two": [thing.size for thing in firsts],
        "colour of the first of two": [thing.colour for thing in firsts],
    }
    for name, values in shares.items():
        counts = np.array(list(Counter(values).values()))
        expected = len(values) / (30 if name == "combination" else len(counts))
        assert abs(counts - expected).max() < 6 * np.sqrt(expected), (name, Counter(values))
    for single in (False, True):  # in a set of either kind the places are balanced
        xs = np.array([(thing.x, thing.y) for one in drawn for thing in one.things if (len(one.things) == 1) == single])
        assert abs(xs.mean(axis=0) - 32).max() < 1.2


def test_the_first_that_is_mentioned_tells_nothing():
    """Who is mentioned first is the left one in half of the captions about left and right, as often of either size."""
    first_is_left, first_is_large = [], []
    for scene, caption, _ in some(4000):
        first, relation, second, _ = said(caption)
        if relation in ("left", "right"):
            first_is_left.append(relation == "left")
        if second and {one.size for one in scene.things} == {"small", "large"} and None not in (first[0], second[0]):
            first_is_large.append(first[0] == "large")
    for share in map(np.array, (first_is_left, first_is_large)):
        assert len(share) > 400
        assert abs(share.mean() - 0.5) < 2.5 / np.sqrt(len(share))


def test_every_word_is_used():
    heard = " ".join(caption for _, caption, _ in some(1500))
    for word in (word for words in grammar.WORDS.values() for word in words):
        assert re.search(rf"\b{word}\b", heard), word
    assert set(MEANS) >= {word for words in grammar.WORDS.values() for word in words}
    assert " a orange" not in f" {heard}"
    assert " an orange" in f" {heard}"


def lab(colours):
    """CIELAB, D65, of sRGB 0..255."""
    values = np.asarray(colours, float) / 255
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / np.array([0.95047, 1, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def test_colours_are_far_apart_and_far_from_every_ground():
    palette = lab(list(grammar.COLOURS.values()))
    apart = np.linalg.norm(palette[:, None] - palette, axis=-1)
    assert apart[~np.eye(6, dtype=bool)].min() > 34
    for ground in grammar.GROUNDS:
        empty = np.asarray(scenes._ground(ground, np.random.default_rng(0)).resize((64, 64)))
        assert np.linalg.norm(palette[:, None] - lab(empty.reshape(-1, 3)), axis=-1).min() > 34, ground


def told(example, builder):
    """The scene that an example's labels tell."""

    def name(of, number):
        found = of.int2str(int(number))
        return "" if found == "none" else found

    features = builder.info.features
    labels = features["things"].feature
    things = []
    for i in range(2):
        names = [name(labels[key], example["things"][key][i]) for key in ("shape", "colour", "size")]
        if any(names):
            things.append(Thing(*names, *(round(float(example["things"][axis][i]), 2) for axis in "xy")))
    ground, relation = (name(features[key], example[key]) for key in ("ground", "relation"))
    return Scene(ground, tuple(things), relation)


def test_the_data_set_holds_pictures_captions_and_scenes_that_fit(monkeypatch, tmp_path):
    monkeypatch.setattr(scenes, "COUNTS", {"train": 60, "test": 10, "held_out": 20})
    builder = scenes.Scenes(data_dir=tmp_path)
    builder.download_and_prepare()
    for number, (split, count) in enumerate(scenes.COUNTS.items()):
        found = set()
        for example in tfds.as_numpy(builder.as_dataset(split=split)):
            found.add((told(example, builder), example["caption"].decode(), example["image"].tobytes()))
        known = set()
        for i in range(count):
            rng = np.random.default_rng([number, i])
            scene = grammar.scene(rng, held_out=split == "held_out")
            known.add((scene, grammar.caption(scene, rng), scenes.draw(scene, rng).tobytes()))
        assert found == known
        assert len(known) == count
    images, captions = next(iter(data.load("scenes", "train", 10, label="caption", data_dir=tmp_path)))
    assert images.shape == (10, 64, 64, 3)
    assert captions.numpy()[0].decode().startswith("a")


ONE = Thing("star", "red", "small", 30, 30)


@pytest.mark.parametrize(
    ("scene", "message"),
    [
        (Scene("moon", (ONE,), ""), "ground: expected one of day, .*; received 'moon'"),
        (Scene("day", (), ""), "things: expected one or two; received 0"),
        (Scene("day", (ONE,) * 3, "left"), "things: expected one or two; received 3"),
        (Scene("day", (ONE,), "left"), "relation: expected '' for one thing; received 'left'"),
        (Scene("day", (ONE, ONE), ""), "relation: expected one of left, right, above, below; received ''"),
        (Scene("day", (ONE._replace(shape="cube"),), ""), "shape: expected one of circle, .*; received 'cube'"),
        (Scene("day", (ONE._replace(colour="scarlet"),), ""), "colour: expected one of red, .*; received 'scarlet'"),
        (Scene("day", (ONE, ONE._replace(size="big")), "left"), "size: expected one of small, large; received 'big'"),
    ],
)
@pytest.mark.parametrize("function", [grammar.caption, scenes.draw])
def test_what_cannot_be_drawn_is_named(function, scene, message):
    with pytest.raises(ValueError, match=message):
        function(scene, np.random.default_rng(0))


# ---- the small world, and holes


def test_the_small_world_is_all_that_two_things_can_be_and_its_captions_are_true():
    pictures, world, captions = scenes.small_world()
    assert pictures.shape == (1296, 32, 32, 3)
    assert pictures.dtype == np.float32
    assert len(set(world)) == len(np.unique(pictures.reshape(1296, -1), axis=0)) == 1296 == (3 * 6 * 2) ** 2
    assert set(Counter(captions.tolist()).values()) == {4}
    for caption, one in zip(captions, world, strict=True):
        assert grammar.compare(grammar.told(caption), one)["all"]
    right = [[grammar.compare(grammar.told(captions[i]), one)["all"] for one in world] for i in (0, 500)]
    assert np.sum(right, axis=1).tolist() == [4, 4]
    large = data.to_unit(scenes.draw(world[77], np.random.default_rng(5)))[None]
    np.testing.assert_allclose(pictures[77], resize.shrink(large, 2)[0], atol=1e-6)


@pytest.mark.parametrize(("size", "shape"), [("small", "circle"), ("large", "star")])
def test_a_hole_holds_a_thing_and_its_shadow(size, shape):
    thing = Thing(shape, "red", size, 30.2, 41.7)
    large = scenes._ground("snow", np.random.default_rng(3))
    ground = np.asarray(large.resize((64, 64), scenes.Image.Resampling.BOX)).astype(int)
    changed = np.abs(scenes.draw(Scene("snow", (thing,), ""), np.random.default_rng(3)) - ground).max(axis=-1, keepdims=True) > 2
    hole = scenes.hole(thing)
    assert hole.shape == (64, 64, 1)
    assert changed.sum() > 60
    assert not (changed & ~hole).any()
    assert hole.sum() < 6 * changed.sum()
