"""What captions say, and whether a scene is what was said. How scenes are drawn by lot: test_scenes.py."""

import numpy as np
import pytest

from lessons_lib import grammar
from lessons_lib.grammar import Scene, Thing

RED, BLUE = Thing("circle", "red", "small", 20, 32), Thing("square", "blue", "large", 44, 32)
BOTH = Scene("day", (RED, BLUE), "left")


def some(count):
    for i in range(count):
        rng = np.random.default_rng([7, i])
        one = grammar.scene(rng, held_out=i % 2 == 0)
        yield one, grammar.caption(one, rng)


def test_every_caption_can_be_read_and_says_what_is_true():
    words = set()
    for scene, caption in some(2000):
        said = grammar.told(caption)
        assert grammar.compare(said, scene) == dict.fromkeys(grammar.ASPECTS, True), caption
        words.update(caption.split())
    assert words == set(grammar.VOCABULARY)
    assert list(grammar.VOCABULARY) == sorted(grammar.VOCABULARY)


def test_what_is_said_is_found_in_no_other_scene():
    """One name exchanged for another, and nothing else."""
    for scene, caption in some(400):
        said = grammar.told(caption)
        first, *others = scene.things
        elsewhere = next(name for name in grammar.GROUNDS if name != scene.ground)
        cases = {"ground": scene._replace(ground=elsewhere)}
        for aspect, label, names in (("colours", "colour", grammar.COLOURS), ("shapes", "shape", grammar.SHAPES)):
            taken = {getattr(thing, label) for thing in scene.things}
            other = next(name for name in names if name not in taken)
            cases[aspect] = scene._replace(things=(first._replace(**{label: other}), *others))
        if others and len({thing.colour for thing in scene.things}) == 2:
            cases["relation"] = scene._replace(relation=grammar.OPPOSITE[scene.relation])
        for aspect, changed in cases.items():
            right = grammar.compare(said, changed)
            assert not right[aspect], (aspect, caption, changed)
            assert not right["all"], (aspect, caption, changed)


@pytest.mark.parametrize(
    ("caption", "wrong"),
    [
        ("a red circle left of a blue square by day", set()),
        ("a blue square right of a red circle by day", set()),
        ("a small red disc to the left of a big blue box", set()),
        ("a blue circle left of a red square by day", {"pairs", "relation", "all"}),
        ("a red circle right of a blue square by day", {"relation", "all"}),
        ("a large red circle left of a blue square by day", {"sizes", "all"}),
        ("a red circle left of a blue square at night", {"ground", "all"}),
        ("a red circle left of a green square by day", {"colours", "pairs", "sizes", "relation", "all"}),
        ("a red star left of a blue square by day", {"shapes", "pairs", "all"}),
        ("a red circle by day", {"number", "colours", "shapes", "pairs", "sizes", "relation", "all"}),
    ],
)
def test_what_is_compared(caption, wrong):
    right = grammar.compare(grammar.told(caption), BOTH)
    assert {aspect for aspect, ok in right.items() if not ok} == wrong


def test_everything_must_be_right_in_one_order():
    """Colours tell which thing is which for the sizes, and shapes are right; but not all at once."""
    twins = Scene("day", (RED, RED._replace(size="large", shape="star")), "left")
    said = grammar.told("a small red star left of a large red circle by day")
    right = grammar.compare(said, twins)
    assert right["sizes"]
    assert right["pairs"]
    assert not right["all"]


def test_nothing_is_right_of_what_cannot_be_read():
    assert grammar.compare(grammar.told("a red circle"), None) == dict.fromkeys(grammar.ASPECTS, False)


def test_stars_are_a_place_and_a_shape():
    assert grammar.told("a red ring under the stars") == Scene("night", (Thing("ring", "red", "", None, None),), "")
    under = grammar.told("a red ring under a green star under the stars")
    assert (under.ground, under.relation, under.things[1].shape) == ("night", "below", "star")


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a pink star by day", "expected words of the grammar; received 'pink' in 'a pink star by day'"),
        ("a red", "expected a shape .circle, disc, square, .* before 'nothing'; received 'a red'"),
        ("a star red", "expected a colour .red, scarlet, .* before 'star red'; received 'a star red'"),
        ("a red star a blue ring", "expected a relation or a place .* before 'a blue ring'"),
        ("a red star by day at night", "expected its end before 'at night'; received 'a red star by day at night'"),
        ("", "expected a colour .* before 'nothing'; received ''"),
    ],
)
def test_what_is_no_caption_is_refused(caption, message):
    with pytest.raises(ValueError, match=f"caption: {message}"):
        grammar.told(caption)
