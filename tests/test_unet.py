from functools import cache, partial

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import Input, Model, layers, ops
from references import Reference, gradients, shake

from lessons_lib import unet
from lessons_lib.layers import AdaptiveGroupNorm, Attention, Rearrange

ON_JAX = keras.backend.backend() == "jax"
few = settings(max_examples=2 if ON_JAX else 4, deadline=None)
POLICIES = ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]
each_policy = pytest.mark.parametrize("policy", POLICIES[:2] if ON_JAX else POLICIES)  # JAX compiles each


@pytest.fixture(autouse=True)
def same_weights_and_policy_as_before():
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@cache
def smallest():
    return unet.unet(4, 1, (8,), 1)


@cache
def network_and_first_answer(policy):
    """Size 8, 2 channels, two levels, attention; what it says untrained, and then the same weights under each policy."""
    keras.config.set_dtype_policy(policy)
    network = unet.unet(8, 2, (8, 16), 1)
    first = network.predict_on_batch([100 * numbers(6, 8, 8, 2), times(1, 2, 3, 500, 999, 1000)])
    if policy == "float32":
        return shake(network), first
    for weight, exact in zip(network.weights, trained().weights, strict=True):
        weight.assign(ops.convert_to_numpy(exact))
    return network, first


def trained(policy="float32"):
    return network_and_first_answer(policy)[0]


def numbers(*shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def times(*t):
    return np.int32(t)


def weight_gradients(model, loss, inputs):
    """Of a loss of the network's answer, with respect to its weights."""
    weights = [ops.convert_to_tensor(weight) for weight in model.trainable_variables]
    return gradients(lambda *weights: loss(model.stateless_call(weights, [], inputs)[0]), *weights)


# ---- the basic one


def reference(weights, x):
    """The network again, from its description, in plain NumPy: x (H, W, C) -> (H, W, C)."""

    def convolve(x, kernel, bias):
        height, width, _ = x.shape
        padded = np.pad(x, ((2, 2), (2, 2), (0, 0)))
        windows = np.stack([padded[i : i + height, j : j + width] for i in range(5) for j in range(5)], axis=2)
        return np.einsum("hwkc,kcd->hwd", windows, kernel.reshape(25, *kernel.shape[2:])) + bias

    def silu(x):
        return x / (1 + np.exp(-x))

    def halve(x):
        height, width, channels = x.shape
        return x.reshape(height // 2, 2, width // 2, 2, channels).max(axis=(1, 3))

    def double(x):
        return x.repeat(2, axis=0).repeat(2, axis=1)

    layers = list(zip(weights[::2], weights[1::2], strict=True))
    full = silu(convolve(x, *layers[0]))
    half = silu(convolve(halve(full), *layers[1]))
    low = silu(convolve(halve(half), *layers[2]))
    x = silu(convolve(low, *layers[3]))
    x = silu(convolve(double(x) + half, *layers[4]))
    return convolve(double(x) + full, *layers[5])


def test_without_a_word_it_is_for_digits_and_has_three_levels():
    plain, said = unet.unet(), unet.unet(28, 1, (32, 64, 128), 2, attention=(2,), patch=1)
    assert [weight.shape for weight in plain.weights] == [weight.shape for weight in said.weights]


def test_basic_unet_equals_a_second_implementation():
    network = unet.basic_unet(size=8, channels=3)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    weights = [weight.astype(np.float64) for weight in network.get_weights()]
    expected = [reference(weights, image) for image in x.astype(np.float64)]
    np.testing.assert_allclose(network.predict_on_batch(x), expected, atol=1e-5)


def test_basic_unet_has_the_articles_size():
    network = unet.basic_unet()
    assert network.count_params() == 309_057
    assert network.input_shape == network.output_shape == (None, 28, 28, 1)


def test_an_activation_bounds_the_answer():
    x = np.random.default_rng(0).normal(scale=10, size=(8, 28, 28, 1)).astype(np.float32)
    assert unet.basic_unet(output_activation="silu").predict_on_batch(x).min() >= -0.2785
    assert unet.basic_unet().predict_on_batch(x).min() < -0.2785


@pytest.mark.parametrize("size", [0, -4, 30, 28.0])
def test_a_size_that_cannot_be_halved_twice_is_refused(size):
    with pytest.raises(ValueError, match=rf"size: expected a positive multiple of 4; received {size}"):
        unet.basic_unet(size)


def test_channels_are_positive():
    with pytest.raises(ValueError, match="channels: expected a positive integer; received 0"):
        unet.basic_unet(channels=0)


# ---- against a second implementation


@pytest.mark.parametrize(
    ("size", "channels", "widths", "blocks", "attention", "patch", "heads"),
    [
        (8, 1, (8, 16), 1, None, 1, 1),
        (8, 3, (16, 8, 8), 2, (), 1, 1),
        (12, 2, (8, 16), 1, (0,), 3, 4),
    ],
)
def test_unet_equals_a_second_implementation(size, channels, widths, blocks, attention, patch, heads):
    network = shake(unet.unet(size, channels, widths, blocks, attention=attention, patch=patch, heads=heads))
    x_t, t = numbers(2, size, size, channels), times(3, 700)
    expected = [Reference(network).unet(*image, widths, blocks, attention, patch, heads) for image in zip(x_t, t, strict=True)]
    np.testing.assert_allclose(network.predict_on_batch([x_t, t]), expected, atol=2e-4 * np.std(expected))


@pytest.mark.parametrize(("before", "width"), [(16, 16), (8, 16)])
def test_a_residual_block_equals_a_second_implementation(before, width):
    inputs = Input((3, 5, before)), Input((12,))
    block = shake(Model(inputs, unet.residual_block(*inputs, width)), 0.3)
    x, embedding = numbers(2, 3, 5, before), numbers(2, 12)
    expected = [Reference(block).residual_block(*image, width) for image in zip(x, embedding, strict=True)]
    np.testing.assert_allclose(block.predict_on_batch([x, embedding]), expected, atol=2e-5 * np.std(expected))


def test_self_attention_equals_a_second_implementation():
    x = Input((3, 5, 16))
    block = shake(Model(x, unet.self_attention(x)), 0.3)
    x = numbers(2, 3, 5, 16)
    expected = [Reference(block).self_attention(image) for image in x]
    np.testing.assert_allclose(block.predict_on_batch(x), expected, atol=2e-5 * np.std(expected))


def test_time_embedding_equals_a_second_implementation():
    t = Input((), dtype="int32")
    network = shake(Model(t, unet.time_embedding(t, 16)), 0.3)
    expected = [Reference(network).time_embedding(t, 16) for t in (0, 1, 500, 1000)]
    np.testing.assert_allclose(network.predict_on_batch(times(0, 1, 500, 1000)), expected, atol=2e-4)


# ---- precision


@each_policy
def test_at_first_the_answer_is_zero_and_float32(policy):
    network, first = network_and_first_answer(policy)
    assert first.dtype == network.output.dtype == "float32"
    np.testing.assert_array_equal(first, np.zeros((6, 8, 8, 2)))


@each_policy
def test_scale_and_shift_are_float32(policy):
    norms = [layer for layer in trained(policy).layers if isinstance(layer, AdaptiveGroupNorm)]
    for norm in norms:
        scale_shift = norm.weights[0] if norm.weights else norm.input[1]
        assert scale_shift.dtype == "float32"


def test_an_unfolded_answer_is_float32_too():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert unet.unet(4, 1, (8,), 1, patch=2).output.dtype == "float32"


@each_policy
def test_no_two_times_are_alike_under_any_policy(policy):
    """bfloat16 holds no odd number above 256, float16 none above 2048."""
    keras.config.set_dtype_policy(policy)
    t = Input((), dtype="int32")
    embedding = Model(t, unet.time_embedding(t, 32)).predict_on_batch(np.arange(1, 1001, dtype=np.int32))
    assert embedding.dtype == np.float32
    distances = np.linalg.norm(embedding[:, None] - embedding, axis=-1)
    assert distances[~np.eye(1000, dtype=bool)].min() > 0.02


@each_policy
def test_the_answer_tells_neighbouring_times_apart(policy):
    t = times(1, 2, 256, 257, 998, 999)
    x_t = numbers(1, 8, 8, 2).repeat(len(t), axis=0)
    answer = trained(policy).predict_on_batch([x_t, t])
    assert np.isfinite(answer).all()
    assert (abs(answer[::2] - answer[1::2]).max(axis=(1, 2, 3)) > 0.1 * answer.std()).all()


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_bfloat16", 0.05), ("mixed_float16", 0.01)][: 1 if ON_JAX else 2])
def test_half_precision_is_close_in_answer_and_gradients(policy, tolerance):
    inputs, target = [numbers(4, 8, 8, 2), times(1, 100, 500, 1000)], numbers(4, 8, 8, 2, seed=1)

    def loss(answer):
        return ops.mean(ops.square(answer - target))

    exact, rounded = trained(), trained(policy)
    answers = [network.predict_on_batch(inputs) for network in (exact, rounded)]
    found = [
        np.concatenate([gradient.ravel() for gradient in weight_gradients(network, loss, inputs)]) for network in (exact, rounded)
    ]
    for one, other in (answers, found):
        assert np.linalg.norm(one - other) < tolerance * np.linalg.norm(one)


# ---- what depends on what


def test_every_weight_receives_a_gradient():
    inputs = [numbers(2, 8, 8, 2), times(3, 700)]
    network = trained()
    found = weight_gradients(network, lambda answer: ops.mean(ops.square(answer)), inputs)
    assert len(network.trainable_variables) == len(network.weights) == len(found)
    silent = [weight.path for weight, gradient in zip(network.weights, found, strict=True) if not (gradient != 0).any()]
    assert silent == []


def test_at_first_only_the_last_convolution_learns():
    inputs = [numbers(2, 4, 4, 1), times(3, 700)]
    found = weight_gradients(smallest(), lambda answer: ops.mean(ops.square(answer - 1)), inputs)
    learning = [weight for weight, gradient in zip(smallest().weights, found, strict=True) if (gradient != 0).any()]
    assert {tuple(weight.shape) for weight in learning} == {(3, 3, 8, 1), (1,)}


def test_an_answer_depends_on_its_own_image_and_time_alone():
    x_t, t = numbers(3, 8, 8, 2), times(3, 500, 999)
    together = trained().predict_on_batch([x_t, t])
    for i in range(3):
        np.testing.assert_allclose(trained().predict_on_batch([x_t[i : i + 1], t[i : i + 1]]), together[i : i + 1], atol=1e-4)
    np.testing.assert_allclose(trained().predict_on_batch([x_t[::-1], t[::-1]]), together[::-1], atol=1e-4)


def test_called_twice_the_network_says_the_same():
    inputs = [numbers(2, 8, 8, 2), times(3, 700)]
    np.testing.assert_array_equal(trained().predict_on_batch(inputs), trained().predict_on_batch(inputs))


@pytest.mark.parametrize("block", [lambda x: unet.residual_block(x, x[:, 0, 0], 8), unet.self_attention])
def test_a_block_that_adds_nothing_is_the_shortcut(block):
    x = Input((4, 6, 8))
    model = shake(Model(x, block(x)))
    last = model.layers[-2]
    last.set_weights([0 * weight for weight in last.get_weights()])
    images = numbers(2, 4, 6, 8)
    np.testing.assert_array_equal(model.predict_on_batch(images), images)


def test_the_time_reaches_the_answer_only_through_the_embedding():
    """Whoever adds the class to the embedding is heard everywhere."""
    x_t, embedding = Input((8, 8, 1)), Input((32,))
    network = shake(Model([x_t, embedding], unet.backbone(x_t, embedding, (8,), 1)))
    steered = [layer for layer in network.layers if isinstance(layer, AdaptiveGroupNorm) and not layer.weights]
    assert len(steered) == 4  # down, twice in the middle, up
    x_t, embedding = numbers(1, 8, 8, 1), numbers(1, 32)
    answers = [network.predict_on_batch([x_t, factor * embedding]) for factor in (0, 1)]
    assert abs(answers[1] - answers[0]).max() > 0.01


def test_a_class_is_added_to_the_time():
    """Each class, and none, has a vector, and what the network makes of it is `backbone`'s answer for the sum of both."""
    network = shake(unet.labelled(8, 1, (8, 16), 1, classes=3))
    told = [numbers(1, 8, 8, 1).repeat(5, axis=0), times(5, 5, 5, 5, 6), np.int32([0, 1, 2, 3, 0])]
    answer = network.predict_on_batch(told)
    assert all(abs(answer[one] - answer[other]).max() > 0.01 for one in range(5) for other in range(one))
    x_t, t, vector = Input((8, 8, 1)), Input((), dtype="int32"), Input((32,))
    by_hand = Model([x_t, t, vector], unet.backbone(x_t, layers.Add()([unet.time_embedding(t, 32), vector]), (8, 16), 1))
    vectors = network.get_layer("classes").get_weights()[0]
    assert vectors.shape == (4, 32)
    by_hand.set_weights([weight for weight in network.get_weights() if weight.shape != (4, 32)])
    np.testing.assert_allclose(by_hand.predict_on_batch([*told[:2], vectors[told[2]]]), answer, atol=1e-5)


def test_the_class_alone_tells_the_answers_apart():
    """Until it is trained nothing depends on the class; without the class it is `unet`."""
    network, plain = unet.labelled(8, 1, (8, 16), 1), unet.unet(8, 1, (8, 16), 1)
    assert unet.flops(network) == unet.flops(plain)
    assert network.count_params() == plain.count_params() + 11 * 32
    assert not network.predict_on_batch([numbers(2, 8, 8, 1), times(5, 5), np.int32([0, 10])]).any()


# ---- a small picture beside it


@pytest.mark.parametrize(("size", "channels", "factor", "patch"), [(8, 1, 2, 1), (8, 3, 4, 2), (12, 2, 3, 1)])
def test_an_upsampler_is_the_unet_of_both_pictures(size, channels, factor, patch):
    """The small one's pixels as squares, after the channels of x_t (Saharia et al. 2021, section 2)."""
    network = shake(unet.upsampler(size, channels, (8, 16), 1, factor=factor, patch=patch))
    x_t, t, small = numbers(2, size, size, channels), times(3, 700), numbers(2, size // factor, size // factor, channels)
    large = small.repeat(factor, axis=1).repeat(factor, axis=2)
    both = np.concatenate([x_t, large], axis=-1)
    expected = [Reference(network).unet(*one, (8, 16), 1, None, patch, answers=channels) for one in zip(both, t, strict=True)]
    answer = network.predict_on_batch([x_t, t, small])
    np.testing.assert_allclose(answer, expected, atol=2e-4 * np.std(expected))
    other = network.predict_on_batch([x_t, t, small[::-1]])
    assert np.abs(other - answer).max() > 0.01 * np.std(expected)


# ---- shapes


@few
@given(st.data())
def test_whatever_fits_together_gives_the_images_back(data):
    widths = tuple(data.draw(st.lists(st.sampled_from([8, 16]), min_size=1, max_size=3)))
    patch, channels, blocks = (data.draw(st.integers(1, most)) for most in (3, 3, 2))
    size = patch * 2 ** (len(widths) - 1) * data.draw(st.integers(1, 3))
    levels = data.draw(st.none() | st.sets(st.integers(0, len(widths) - 1)))
    network = unet.unet(size, channels, widths, blocks, attention=levels, patch=patch)
    assert network.output_shape == (None, size, size, channels)
    attentive = {len(widths) - 1} if levels is None else levels
    sides = sorted(layer.output.shape[1] for layer in network.layers if isinstance(layer, Attention))
    expected = [size // patch // 2**level for level in attentive for _ in range(2 * blocks + (level == len(widths) - 1))]
    assert sides == sorted(expected)
    assert sum(isinstance(layer, Rearrange) for layer in network.layers) == (2 if patch > 1 else 0)


@pytest.mark.parametrize(("size", "channels", "patch"), [(28, 1, 1), (32, 3, 1), (64, 3, 2)])
def test_the_lessons_images_fit(size, channels, patch):
    network = unet.unet(size, channels, (8, 8, 8), 1, patch=patch)
    x_t = numbers(1, size, size, channels)
    assert network.predict_on_batch([x_t, times(7)]).shape == x_t.shape


def test_patches_are_unfolded_as_they_were_folded():
    """Between the two layers the pixels of a patch are channels, the same ones in the same order."""
    network = unet.unet(12, 2, (8,), 1, patch=3)
    fold, unfold = (layer for layer in network.layers if isinstance(layer, Rearrange))
    x = numbers(2, 12, 12, 2)
    patches = ops.convert_to_numpy(fold(x))
    np.testing.assert_array_equal(patches[:, 1, 3], x[:, 3:6, 9:12].reshape(2, 18))
    np.testing.assert_array_equal(unfold(patches), x)


# ---- to a file and back


def again_and_before(again):
    inputs = [numbers(2, 8, 8, 2), times(3, 700)]
    return again.predict_on_batch(inputs), trained().predict_on_batch(inputs)


def test_a_saved_network_is_the_same(tmp_path):
    trained().save(tmp_path / "unet.keras")
    again = keras.models.load_model(tmp_path / "unet.keras")
    np.testing.assert_allclose(*again_and_before(again), atol=1e-5)


def test_saved_weights_are_the_same(tmp_path):
    trained().save_weights(tmp_path / "unet.weights.h5")
    again = unet.unet(8, 2, (8, 16), 1)
    again.load_weights(tmp_path / "unet.weights.h5")
    np.testing.assert_allclose(*again_and_before(again), atol=1e-5)


@pytest.mark.parametrize("copy", [keras.models.clone_model, lambda network: Model.from_config(network.get_config())])
def test_a_copy_with_the_same_weights_is_the_same(copy):
    again = copy(trained())
    again.set_weights(trained().get_weights())
    np.testing.assert_allclose(*again_and_before(again), atol=1e-5)


@pytest.mark.skipif(ON_JAX, reason="a SavedModel is TensorFlow's")
def test_an_exported_network_is_the_same(tmp_path):
    import tensorflow as tf

    trained().export(tmp_path / "unet", verbose=False)
    again = tf.saved_model.load(tmp_path / "unet")
    inputs = [numbers(2, 8, 8, 2), times(3, 700)]
    np.testing.assert_allclose(again.serve(inputs), trained().predict_on_batch(inputs), atol=1e-5)


# ---- training


@pytest.mark.parametrize(("policy", "compiled"), [("mixed_bfloat16", True), ("bfloat16", ON_JAX)])
def test_steps_reduce_the_loss(policy, compiled):
    """And XLA takes the network, the gradient by hand included."""
    keras.config.set_dtype_policy(policy)
    network = shake(unet.unet(4, 1, (8,), 1), 0.05)
    network.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=compiled)
    inputs, target = [numbers(4, 4, 4, 1), times(1, 10, 100, 1000)], numbers(4, 4, 4, 1, seed=1)
    losses = [float(network.train_on_batch(inputs, target)) for _ in range(5)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


# ---- what it costs


def test_the_operations_are_counted_by_hand():
    """The smallest network: 16 positions, 8 channels, one level; two for each product of a weight."""
    time = 2 * 32 * 32
    block = 16 * (9 * 8 * 8 + 9 * 8 * 8) + 32 * 16  # two convolutions; the scale and the shift
    attention = 16 * (8 * 24 + 8 * 8)
    joint = 16 * (9 * 16 * 8 + 9 * 8 * 8 + 16 * 8) + 32 * 16  # after the skip: twice the channels, and a shortcut
    ends = 16 * (9 * 1 * 8 + 9 * 8 * 1)
    # down, middle, middle without attention, up
    expected = 2 * (time + 3 * block + joint + 3 * attention + ends)
    assert unet.flops(smallest()) == expected


def test_the_basic_networks_operations_are_counted_by_hand():
    expected = 2 * 25 * (28**2 * (1 * 32 + 32 * 1) + 14**2 * (32 * 64 + 64 * 32) + 7**2 * (64 * 64 + 64 * 64))
    assert unet.flops(unet.basic_unet()) == expected


def test_operations_grow_with_the_positions():
    time = 2 * (2 * 32**2 + 4 * 32 * 16)  # once for an image, however large
    small, large, folded = (
        unet.flops(unet.unet(size, 1, (8,), 1, patch=patch)) - time for size, patch in ((4, 1), (8, 1), (8, 2))
    )
    assert large == 4 * small
    assert folded == small + 3 * 2 * 16 * 9 * 8 * 2  # three channels more at both ends


# ---- bad input


def backbone(size, channels, widths, **rest):
    return unet.backbone(Input((size, size, channels)), Input((32,)), widths, **rest)


@pytest.mark.parametrize("make", [unet.unet, unet.labelled, partial(unet.upsampler, factor=1), backbone])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 0}, "blocks: expected a positive integer; received 0"),
        ({"blocks": 1.0}, "blocks: expected a positive integer; received 1.0"),
        ({"patch": 0}, "patch: expected a positive integer; received 0"),
        ({"patch": True}, "patch: expected a positive integer; received True"),
        ({"patch": 3}, r"size: expected a multiple of 6 \(patches of 3, halved 1 times\); received 8 x 8"),
        ({"size": 9}, r"size: expected a multiple of 2 \(patches of 1, halved 1 times\); received 9 x 9"),
        ({"widths": (8, 12)}, r"widths: expected multiples of 8, the groups of a normalisation; received \(8, 12\)"),
        ({"attention": (2,)}, r"attention: expected a tuple of levels in 0..1; received \(2,\)"),
        ({"attention": (0, -1, 5)}, r"attention: expected a tuple of levels in 0..1; received \(0, -1, 5\)"),
        ({"attention": 1}, "attention: expected a tuple of levels in 0..1; received 1"),
        ({"widths": 8}, "widths: expected the channels of each level, as a tuple; received 8"),
    ],
)
def test_bad_input_is_named(make, change, message):
    with pytest.raises(ValueError, match=message):
        make(**{"size": 8, "channels": 1, "widths": (8, 16)} | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size: expected a positive integer; received 0"),
        ({"size": 28.0}, "size: expected a positive integer; received 28.0"),
        ({"channels": -1}, "channels: expected a positive integer; received -1"),
        ({"channels": True}, "channels: expected a positive integer; received True"),
        ({"widths": ()}, r"widths: expected the channels of each level, as a tuple; received \(\)"),
        ({"widths": (8, 0)}, r"widths\[1\]: expected a positive integer; received 0"),
        ({"widths": (8.0,)}, r"widths\[0\]: expected a positive integer; received 8.0"),
    ],
)
def test_bad_input_of_unet_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        unet.unet(**{"size": 8, "channels": 1, "widths": (8, 16)} | change)
    with pytest.raises(ValueError, match=message):
        unet.labelled(**{"size": 8, "channels": 1, "widths": (8, 16)} | change)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (0, "factor: expected a positive integer; received 0"),
        (2.0, "factor: expected a positive integer; received 2.0"),
        (3, "size: expected a multiple of 3, the factor; received 28"),
    ],
)
def test_a_small_picture_is_so_many_times_smaller(factor, message):
    with pytest.raises(ValueError, match=message):
        unet.upsampler(factor=factor)


def test_there_is_a_class():
    with pytest.raises(ValueError, match="classes: expected a positive integer; received 0"):
        unet.labelled(classes=0)


@pytest.mark.parametrize("width", [0, 7, 8.0])
def test_the_width_of_an_embedding_is_even(width):
    with pytest.raises(ValueError, match=f"width: expected a positive even integer; received {width}"):
        unet.time_embedding(Input((), dtype="int32"), width)


def test_a_block_has_a_width_of_whole_groups():
    with pytest.raises(ValueError, match=r"x: expected a multiple of 8 channels; received shape \(None, 4, 4, 12\)"):
        unet.residual_block(Input((4, 4, 8)), Input((32,)), 12)
    with pytest.raises(ValueError, match=r"x: expected a multiple of 8 channels; received shape \(None, 4, 4, 4\)"):
        unet.self_attention(Input((4, 4, 4)))
    with pytest.raises(ValueError, match="heads: expected a divisor of the 8 channels; received 3"):
        unet.self_attention(Input((4, 4, 8)), 3)
