import keras
import numpy as np
import pytest
from keras import Input, Model, layers, ops

from lessons_lib import guidance, sampling, schedule

RNG = np.random.default_rng(0)
X_T, T = RNG.normal(size=(8, 4, 4, 1)).astype(np.float32), np.arange(1, 9).astype(np.int32)
LABELS, WORDS = np.arange(8) % 5, RNG.normal(size=(8, 3)).astype(np.float32)


def network():
    """An answer that depends on everything: the label, the words, the time and the picture, and on no other row."""
    keras.utils.set_random_seed(0)
    x_t, t, label, words = Input((4, 4, 1)), Input((), dtype="int32"), Input((), dtype="int32"), Input((3,))
    told = layers.Concatenate()([layers.Embedding(5, 4)(label), words, layers.Reshape((1,))(layers.Rescaling(0.1)(t))])
    return Model([x_t, t, label, words], layers.Multiply()([x_t, layers.Reshape((4, 4, 1))(layers.Dense(16)(told))]))


@pytest.fixture(scope="module")
def model():
    return network()


def test_conditions_are_filled_in(model):
    answer = guidance.given(model, LABELS, WORDS)
    np.testing.assert_array_equal(answer(X_T, T), model.predict_on_batch([X_T, T, LABELS, WORDS]))
    np.testing.assert_allclose(answer(ops.convert_to_tensor(X_T), T), answer(X_T, T))


def test_each_image_has_its_own(model):
    """Another order of images and conditions gives the same answers in that order; two labels exchanged change two answers."""
    order = RNG.permutation(8)
    answers = guidance.given(model, LABELS, WORDS)(X_T, T)
    np.testing.assert_allclose(
        guidance.given(model, LABELS[order], WORDS[order])(X_T[order], T[order]), answers[order], atol=1e-6
    )
    exchanged = LABELS[[0, 2, 1, 3, 4, 5, 6, 7]]
    changed = np.abs(guidance.given(model, exchanged, WORDS)(X_T, T) - answers).max(axis=(1, 2, 3)) > 1e-4
    np.testing.assert_array_equal(changed, [False, True, True, False, False, False, False, False])


@pytest.mark.parametrize("size", [1, 3, 8, 100])
def test_pictures_do_not_depend_on_the_batch_size(model, size):
    whole, parts = (guidance.given(model, LABELS, WORDS, batch_size=n) for n in (None, size))
    np.testing.assert_allclose(parts(X_T, T), whole(X_T, T), atol=1e-6)
    chain = schedule.linear(10)
    drawn = [list(sampling.sample(one, chain, X_T.shape, 4, eta=1))[-1].x_t for one in (whole, parts)]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=1e-5 * np.abs(drawn[0]).max())  # untrained: the walk grows


def test_a_sampler_that_splits_is_told_who_should(model):
    answer = guidance.given(model, LABELS, WORDS)
    message = (
        "x_t: expected 8 images, one for each row of the conditions; received 3.*pass batch_size to `given`, not to `sample`"
    )
    with pytest.raises(ValueError, match=message):
        list(sampling.sample(answer, schedule.linear(10), X_T.shape, 4, batch_size=3))
    list(sampling.sample(answer, schedule.linear(10), X_T.shape, 4, batch_size=8))  # that is all of them


def test_later_changes_of_the_callers_array_do_no_harm(model):
    labels = LABELS.copy()
    answer = guidance.given(model, labels, WORDS)
    before = answer(X_T, T)
    labels[:] = 0
    np.testing.assert_array_equal(answer(X_T, T), before)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ((LABELS[:1], WORDS), r"conditions: expected a row for every image, \(B, ...\) each; received shapes \(1,\), \(8, 3\)"),
        ((3, WORDS), r"conditions: expected a row for every image, \(B, ...\) each; received shapes \(\), \(8, 3\)"),
        ((LABELS,), "conditions: expected 2, as the network takes; received 1"),
        ((), "conditions: expected 2, as the network takes; received 0"),
        ((LABELS, WORDS, WORDS), "conditions: expected 2, as the network takes; received 3"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(model, conditions, message):
    with pytest.raises(ValueError, match=message):
        guidance.given(model, *conditions)


def test_one_row_does_not_serve_many_images(model):
    with pytest.raises(ValueError, match="x_t: expected 1 images, one for each row of the conditions; received 8"):
        guidance.given(model, LABELS[:1], WORDS[:1])(X_T, T)


def test_a_batch_size_is_positive(model):
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1; received 0"):
        guidance.given(model, LABELS, WORDS, batch_size=0)


def test_a_network_without_conditions_is_refused():
    x_t, t = Input((4, 4, 1)), Input((), dtype="int32")
    with pytest.raises(ValueError, match=r"model: expected a network that takes conditions; received one of \[x_t, t\]"):
        guidance.given(Model([x_t, t], layers.Identity()(x_t)))
