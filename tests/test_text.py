from functools import cache

import keras
import numpy as np
import pytest
from keras import Input, Model, ops
from references import Reference, gradients, shake

from lessons_lib import text

WORDS = ["a", "blue", "circle", "left", "of", "red", "square"]
SIZES = {"widths": (8, 16), "blocks": 1, "patch": 2, "text_width": 8, "length": 10}
SEEN = ["a red circle left of a blue square", "a blue square left of a red circle", "a red circle", ""]


@pytest.fixture(autouse=True)
def same_weights():
    keras.utils.set_random_seed(0)


def rows(captions, length=10):
    return text.tokens(captions, WORDS, length)


@cache
def encoder(**options):
    tokens = Input((None,), dtype="int32")
    return shake(Model(tokens, text.encoder(tokens, len(WORDS), 8, 2, 2, length=10, **options)), 0.5)


@cache
def network(**options):
    return shake(text.captioned(8, 2, words=WORDS, **SIZES, **options), 0.3)


def noise(count):
    return np.random.default_rng(count).normal(size=(count, 8, 8, 2)).astype("float32"), np.int32([1, 500, 999, 1000][:count])


# ---- tokens


def test_tokens_are_the_start_the_words_and_padding():
    found = rows(["a red circle", "", "A  Blue square"], 5)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [[1, 2, 7, 4, 0], [1, 0, 0, 0, 0], [1, 2, 3, 8, 0]])


def test_all_words_come_back():
    known = dict(enumerate(["", "", *WORDS]))
    for caption in SEEN:
        assert " ".join(known[number] for number in rows([caption])[0] if number > 1) == caption


def test_another_order_of_the_words_gives_other_numbers():
    """So that the words belong to a network, whose card holds them."""
    assert not np.array_equal(text.tokens(SEEN[:1], WORDS[::-1]), text.tokens(SEEN[:1], WORDS))


@pytest.mark.parametrize(
    ("captions", "error", "message"),
    [
        (
            ["a red circle", "a pink dot"],
            ValueError,
            r"expected words that are known \(a, blue, .*\); received pink, dot in 'a pink dot'",
        ),
        (["a a a a a a a a a a"], ValueError, "expected at most 9 words; received 10: 'a a a"),
        ("a red circle", TypeError, "expected a list of strings; received 'a red circle'"),
        ([b"a red circle"], TypeError, r"expected a list of strings; received \[b'a red circle'\]"),
    ],
)
def test_what_cannot_be_numbers_is_refused(captions, error, message):
    with pytest.raises(error, match=f"captions: {message}"):
        rows(captions)


# ---- the encoder


@pytest.mark.parametrize("order", [True, False])
def test_the_encoder_equals_a_second_implementation(order):
    model = encoder(order=order)
    found = model.predict_on_batch(rows(SEEN))
    for row, vectors in zip(rows(SEEN), found, strict=True):
        numbers = row[row > 0]
        expected = Reference(model).encoder(numbers, 2, 2, order)
        np.testing.assert_allclose(vectors[: len(numbers)], expected, atol=1e-4)


@pytest.mark.parametrize("order", [True, False])
def test_more_padding_changes_nothing(order):
    """Not even for the null caption, whose start alone is no padding."""
    model = encoder(order=order)
    for caption in SEEN:
        count = len(caption.split()) + 1
        short, long = (model.predict_on_batch(rows([caption], length))[:, :count] for length in (count, 10))
        np.testing.assert_allclose(long, short, atol=1e-5)


def test_without_their_order_captions_of_the_same_words_are_one():
    """At the start, for whose vector the others are a bag; with it they are two."""
    for order in (True, False):
        one, other = encoder(order=order).predict_on_batch(rows(SEEN))[:2, 0]
        assert (abs(one - other).max() < 1e-5) == (not order)
        assert order or abs(one).max() > 0.1


def test_each_word_that_is_used_gets_a_gradient():
    model = encoder(order=True)
    tokens = rows(SEEN[2:])
    weights = [ops.convert_to_tensor(one) for one in model.trainable_variables]
    start = gradients(lambda *values: ops.sum(model.stateless_call(values, [], tokens)[0][:, 0] ** 3), *weights)[0]
    used = np.unique(tokens[tokens > 0])
    moved = np.abs(ops.convert_to_numpy(start)).max(axis=1)
    assert (moved[used] > 1e-6).all()
    np.testing.assert_array_equal(np.delete(moved, used), 0)


# ---- the network


@pytest.mark.parametrize(("order", "all_words"), [(True, True), (True, False), (False, False)])
def test_the_network_equals_a_second_implementation(order, all_words):
    model = network(order=order, all_words=all_words)
    x_t, t = noise(4)
    found = model.predict_on_batch([x_t, t, rows(SEEN)])
    for i, row in enumerate(rows(SEEN)):
        numbers = row[row > 0]
        expected = Reference(model).captioned(x_t[i], t[i], numbers, (8, 16), 1, 2, 2, order=order, all_words=all_words)
        np.testing.assert_allclose(found[i], expected, atol=2e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widths": ()}, r"widths: expected the channels of each level, as a tuple; received \(\)"),
        ({"text_width": 0}, "text_width: expected a positive integer; received 0"),
        ({"text_width": 10}, "heads: expected a divisor of the 10 channels; received 4"),
        ({"size": 9}, "size: expected a multiple of 2"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        text.captioned(**{"size": 8, "channels": 2, "widths": (8, 16), "blocks": 1, "words": WORDS, "text_width": 8} | change)


def test_captions_change_the_picture_and_belong_to_their_rows():
    model = network(order=True, all_words=True)
    x_t, t = noise(4)
    same = [np.repeat(x_t[:1], 4, axis=0), np.repeat(t[1:2], 4), rows(SEEN)]
    answers = model.predict_on_batch(same)
    for i in range(4):
        for j in range(i):
            assert abs(answers[i] - answers[j]).max() > 1e-3, (SEEN[i], SEEN[j])
    turned = model.predict_on_batch([part[::-1] for part in same])
    np.testing.assert_allclose(turned, answers[::-1], atol=1e-5)


def test_a_bag_of_words_cannot_tell_who_is_where():
    """Two captions of the same words get one and the same answer, whatever the weights are."""
    x_t, t = noise(1)
    for order in (True, False):
        model = network(order=order, all_words=False)
        one, other = (model.predict_on_batch([x_t, t, rows([caption])]) for caption in SEEN[:2])
        assert (abs(one - other).max() < 1e-5) == (not order)


def test_every_arm_has_as_many_numbers():
    """Where words enter changes what may be looked at, not the size; without their order there are no vectors for places."""
    assert network(order=True, all_words=True).count_params() == network(order=True, all_words=False).count_params()
    assert network(order=True, all_words=False).count_params() - network(order=False, all_words=False).count_params() == 80


def test_a_widened_network_begins_with_the_same_answers():
    """Whatever is known; and it can learn from what is known, which has weights of its own."""
    narrow = network(order=True, all_words=True)
    wide = text.captioned(8, 2, words=WORDS, known=True, **SIZES)
    text.widen(wide, narrow)
    (x_t, t), part = noise(4), np.random.default_rng(1).normal(size=(4, 8, 8, 3)).astype("float32")
    answers = wide.predict_on_batch([x_t, t, rows(SEEN), part])
    np.testing.assert_allclose(answers, narrow.predict_on_batch([x_t, t, rows(SEEN)]), atol=1e-5)
    assert wide.count_params() - narrow.count_params() == 3 * 3 * 4 * 3 * 8
    shake(wide, 0.1)
    inputs = [x_t, t, rows(SEEN)]
    assert abs(wide.predict_on_batch([*inputs, part]) - wide.predict_on_batch([*inputs, 0 * part])).max() > 1e-3


def enlarger():
    return shake(text.captioned(8, 2, words=WORDS, factor=4, **SIZES), 0.3)


def test_an_up_sampler_equals_a_second_implementation():
    """(Saharia et al. 2022, section 2.4): the small picture beside x_t, and the level of its noise as a second time."""
    model, (x_t, t), levels = enlarger(), noise(4), np.int32([0, 3, 500, 1000])
    small = np.random.default_rng(1).normal(size=(4, 2, 2, 2)).astype("float32")
    found = model.predict_on_batch([x_t, t, rows(SEEN), small, levels])
    for i, row in enumerate(rows(SEEN)):
        told = {"small": small[i], "level": levels[i]}
        expected = Reference(model).captioned(x_t[i], t[i], row[row > 0], (8, 16), 1, 2, 2, **told)
        np.testing.assert_allclose(found[i], expected, atol=2e-4)


def test_an_up_sampler_uses_the_level():
    """The same in everything but the level of noise: another answer, also for neighbours and for clean pictures."""
    model, (x_t, t) = enlarger(), noise(1)
    small = np.random.default_rng(1).normal(size=(1, 2, 2, 2)).astype("float32")
    answers = [model.predict_on_batch([x_t, t, rows(SEEN[:1]), small, np.int32([level])]) for level in (0, 1, 250)]
    for one, other in ((0, 1), (1, 2)):
        assert abs(answers[one] - answers[other]).max() > 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": 3}, "size: expected a multiple of 3, the factor; received 8"),
        ({"factor": -1}, "factor: expected a positive integer; received -1"),
        ({"factor": 4, "known": True}, "factor: expected None with known=True; received 4"),
    ],
)
def test_an_up_sampler_that_cannot_be_built_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        text.captioned(8, 2, words=WORDS, **SIZES | change)


def test_another_network_is_not_widened():
    narrow = text.captioned(8, 2, (8, 16), 1, words=WORDS, patch=2, text_width=8)
    for changes in ({"text_width": 16}, {"known": False}, {"text_blocks": 1}):
        options = {"patch": 2, "text_width": 8, "known": True} | changes
        with pytest.raises(ValueError, match="network: expected the arguments of narrow except for known=True"):
            text.widen(text.captioned(8, 2, (8, 16), 1, words=WORDS, **options), narrow)
