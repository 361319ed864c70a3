import keras
import numpy as np
import pytest
from keras import Input, Model, ops

from lessons_lib import optimizers, unet

RNG = np.random.default_rng(0)


def orthogonal(matrix):
    """U V^T of a matrix, exactly."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def by_hand(matrix, steps=5):
    """The quintic Newton-Schulz steps of Jordan et al. (2024), in float64: U f(S) V^T, f applied to each singular value."""
    left, values, right = np.linalg.svd(matrix / np.linalg.norm(matrix), full_matrices=False)
    for _ in range(steps):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    return left * values @ right


def steps(shape, gradients, **arguments):
    """What a variable is after each of some gradients, from zero."""
    variable, optimizer = keras.Variable(np.zeros(shape, np.float32)), optimizers.Muon(0.1, **arguments)
    optimizer.build([variable])
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient.astype(np.float32))], [variable])
        yield ops.convert_to_numpy(variable.value)


@pytest.mark.parametrize("shape", [(20, 30), (3, 3, 4, 40), (3, 3, 16, 16), (1, 1, 64, 16)])
def test_a_kernel_is_a_matrix_and_its_update_orthogonal(shape):
    """Momentum 0.95 with Nesterov's look ahead, Newton-Schulz, and the size of Adam's updates (Liu et al. 2025)."""
    gradients, momentum, expected = RNG.normal(size=(4, *shape)), 0, np.zeros((np.prod(shape[:-1]), shape[-1]))
    for gradient, received in zip(gradients, steps(shape, gradients), strict=True):
        matrix = gradient.reshape(expected.shape)
        momentum = 0.95 * momentum + matrix
        update = by_hand(matrix + 0.95 * momentum)
        expected = expected - 0.1 * 0.2 * max(expected.shape) ** 0.5 * update
        np.testing.assert_allclose(received, expected.reshape(shape), atol=2e-4)
        values = np.linalg.svd(update, compute_uv=False)
        assert 0.6 < values.min() <= values.max() < 1.25
        assert np.sum(update * orthogonal(matrix + 0.95 * momentum)) > 0.8 * min(expected.shape)


@pytest.mark.parametrize("shape", [(40,), (1, 64), (3, 3, 32, 4), (10, 64), (2, 64, 8), ()])
def test_what_is_no_matrix_gets_adams_update(shape):
    """(Kingma and Ba 2015, section 2, its end), with beta_2 0.99."""
    first, second, expected = 0, 0, np.zeros(shape)
    gradients = RNG.normal(size=(4, *shape))
    for n, (gradient, received) in enumerate(zip(gradients, steps(shape, gradients), strict=True), 1):
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        rate = 0.1 * np.sqrt(1 - 0.99**n) / (1 - 0.9**n)
        expected = expected - rate * first / (np.sqrt(second) + 1e-7)
        np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments", "adams"),
    [
        ("dense/kernel", {}, False),
        ("dense/kernel", {"exclude_layers": ["^dense", "last"]}, True),
        ("dense_1/kernel", {"exclude_layers": ["dense/", "last"]}, False),
        ("Embedding_2/embeddings", {}, True),
        ("Embedding_2/embeddings", {"exclude_embeddings": False}, False),
    ],
)
def test_excluded_layers_get_adams_update(name, arguments, adams):
    """By a regular expression in their path, as Keras reads it; and embeddings, unless they are to be included."""
    muon, gradient = optimizers.Muon(0.1, **arguments), RNG.normal(size=(20, 30)).astype(np.float32)
    layer, _, weight = name.partition("/")
    with keras.name_scope(layer):
        variable = keras.Variable(np.zeros((20, 30), np.float32), name=weight)
    assert variable.path == name
    muon.build([variable])
    muon.apply([ops.convert_to_tensor(gradient)], [variable])
    moved = np.abs(ops.convert_to_numpy(variable.value))
    assert (np.ptp(moved) < 1e-3) == adams  # Adam's first step is as large for all
    assert (muon.adam_velocities[0] is not None) == adams


def test_it_comes_back_from_its_configuration():
    one = optimizers.Muon(keras.optimizers.schedules.CosineDecay(0.1, 10), momentum=0.9)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(one))
    assert type(again) is optimizers.Muon
    assert again.get_config() == one.get_config()
    assert (again.momentum, again.weight_decay, again.adam_beta_2) == (0.9, None, 0.99)


def test_all_of_a_network_learns():
    """Kernels by orthogonal updates, the rest by Adam's: every weight has moved, and the loss fallen."""
    keras.utils.set_random_seed(0)
    x_t, t = Input((8, 8, 1)), Input((), dtype="int32")
    model = Model([x_t, t], unet.backbone(x_t, unet.time_embedding(t, 32), (16, 16), 1))
    before, x = model.get_weights(), RNG.normal(size=(16, 8, 8, 1)).astype(np.float32)
    model.compile(optimizers.Muon(0.01), "mse", jit_compile=False)
    losses = [model.train_on_batch([x, np.arange(16)], x) for _ in range(12)]
    assert losses[-1] < 0.9 * losses[0]
    moved = [np.sqrt(np.mean((one - other) ** 2)) for one, other in zip(model.get_weights(), before, strict=True)]
    assert min(moved) > 1e-3


def test_without_a_word_its_settings_are_the_documented_ones():
    muon = optimizers.Muon()
    assert float(muon.learning_rate) == pytest.approx(1e-3)
    assert muon.adam_beta_2 == 0.99
    assert muon.weight_decay is None
    assert muon.adam_weight_decay is None
