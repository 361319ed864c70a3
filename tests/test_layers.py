import keras
import numpy as np
import pytest
import references
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from references import gradients, silu

from lessons_lib import layers
from lessons_lib.layers import AdaptiveGroupNorm, Attention, Rearrange, SinusoidalEmbedding

ON_JAX = keras.backend.backend() == "jax"
few = settings(max_examples=3 if ON_JAX else 20, deadline=None)  # JAX compiles each shape
EXACT = 1e-4 if ON_JAX else 1e-8  # on JAX, Keras takes the mean of float64 in float32, and a lone channel is divided by 0.003
POLICIES = ["float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16"]
T = np.arange(1, 1001, dtype=np.int32)
RNG = np.random.default_rng(0)


@pytest.fixture(params=POLICIES)
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def numbers(*shape, seed=0, dtype="float64"):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float64"))


# ---- the time as a vector


@pytest.mark.parametrize("width", [2, 4, 6, 32, 128])
def test_the_embedding_is_the_articles(width):
    expected = [references.sinusoids(t, width) for t in T]
    embedding = SinusoidalEmbedding(width)(T)
    assert embedding.shape == (1000, width)
    np.testing.assert_allclose(embedding, expected, atol=2e-4)  # float32 angles up to 1000


def test_the_sines_come_first():
    np.testing.assert_array_equal(SinusoidalEmbedding(8)(np.int32([0])), [[0] * 4 + [1] * 4])


def test_no_two_times_are_alike_under_any_policy(policy):
    embedding = SinusoidalEmbedding(32)(T)
    assert ops.dtype(embedding) == "float32"
    np.testing.assert_array_equal(SinusoidalEmbedding(32)(T.astype("float32")), embedding)
    embedding = numpy(embedding)
    distances = np.linalg.norm(embedding[:, None] - embedding, axis=-1)
    assert distances[~np.eye(1000, dtype=bool)].min() > 0.9


@pytest.mark.parametrize("width", [0, -2, 7, 8.0, None])
def test_an_embedding_has_as_many_sines_as_cosines(width):
    with pytest.raises(ValueError, match=rf"width: expected a positive even integer; received {width}"):
        SinusoidalEmbedding(width)


# ---- the normalisation


def by_ops(x, scale_shift, silu):
    """Group normalisation as one would write it, for autodiff."""
    batch, height, width, channels = x.shape
    groups = ops.reshape(x, (batch, height, width, 8, channels // 8))
    mean = ops.mean(groups, axis=(1, 2, 4), keepdims=True)
    variance = ops.mean(ops.square(groups - mean), axis=(1, 2, 4), keepdims=True)
    normed = ops.reshape((groups - mean) / ops.sqrt(variance + 1e-5), x.shape)
    scale, shift = ops.split(scale_shift[:, None, None], 2, axis=-1)
    y = (1 + scale) * normed + shift
    return y * ops.sigmoid(y) if silu else y


def by_numpy(x, scale_shift, with_silu):
    activation = silu if with_silu else None
    return np.stack([references.group_norm(*image, activation) for image in zip(x, scale_shift, strict=True)])


every_shape = pytest.mark.parametrize("shape", [(2, 3, 5, 16), (2, 1, 1, 8), (3, 1, 1, 24), (1, 4, 1, 8), (2, 4, 4, 8)])
with_and_without_silu = pytest.mark.parametrize("with_silu", [True, False])


@with_and_without_silu
@few
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.sampled_from([8, 16, 40]))
def test_norm_equals_the_articles(with_silu, batch, height, width, channels):
    """(Wu and He 2018, eqs. 1, 2 and 6), one group at a time."""
    x, scale_shift = 3 * numbers(batch, height, width, channels) + 1, numbers(batch, 2 * channels)
    y = AdaptiveGroupNorm(with_silu)(x, scale_shift)
    assert ops.dtype(y) == "float64"
    alone = height * width * channels == 8  # a group of one number: on JAX the mean is a float32, and sqrt(1e-5) divides the rest
    np.testing.assert_allclose(y, by_numpy(x, scale_shift, with_silu), atol=1e-3 if alone else EXACT)


@with_and_without_silu
@every_shape
def test_the_gradient_by_hand_is_autodiffs(shape, with_silu):
    x, scale_shift = 2 * numbers(*shape) + 0.5, numbers(shape[0], 2 * shape[-1], seed=1)
    upstream, layer = numbers(*shape, seed=2), AdaptiveGroupNorm(with_silu)
    layer(x, scale_shift)  # built
    by_hand = gradients(lambda *arguments: ops.sum(layer(*arguments) * upstream), x, scale_shift)
    by_autodiff = gradients(lambda *arguments: ops.sum(by_ops(*arguments, with_silu) * upstream), x, scale_shift)
    for one, other in zip(by_hand, by_autodiff, strict=True):
        np.testing.assert_allclose(one, other, atol=EXACT)


@with_and_without_silu
def test_the_gradient_by_hand_is_the_finite_differences(with_silu):
    point, step = [2 * numbers(2, 2, 3, 8) + 0.5, numbers(2, 16, seed=1)], 1e-5
    upstream, layer = numbers(2, 2, 3, 8, seed=2), AdaptiveGroupNorm(with_silu)
    layer(*point)
    by_hand = gradients(lambda *arguments: ops.sum(layer(*arguments) * upstream), *point)
    for argument, gradient in enumerate(by_hand):
        differences = np.empty_like(gradient)
        for place in np.ndindex(gradient.shape):
            moved = [[one.copy() for one in point] for _ in range(2)]
            moved[0][argument][place] += step
            moved[1][argument][place] -= step
            up, down = (np.sum(by_numpy(*arguments, with_silu) * upstream) for arguments in moved)
            differences[place] = (up - down) / (2 * step)
        np.testing.assert_allclose(gradient, differences, atol=max(EXACT, 1e-7))


@with_and_without_silu
def test_a_norm_of_its_own_learns_one_scale_and_shift(with_silu):
    x, upstream, layer = numbers(3, 2, 3, 16), numbers(3, 2, 3, 16, seed=2), AdaptiveGroupNorm(with_silu)
    layer.build(x.shape)
    np.testing.assert_array_equal(layer.scale_shift, np.zeros((1, 32)))
    own = numbers(1, 32, seed=1, dtype="float32")
    layer.scale_shift.assign(own)
    np.testing.assert_allclose(layer(x), by_numpy(x, own.astype("float64").repeat(3, axis=0), with_silu), atol=EXACT)

    by_hand = gradients(lambda own, x: ops.sum(layer.stateless_call([own], [], x)[0] * upstream), own, x)
    _, of_x = by_autodiff = gradients(
        lambda own, x: ops.sum(by_ops(x, ops.repeat(ops.cast(own, "float64"), 3, axis=0), with_silu) * upstream), own, x
    )
    np.testing.assert_allclose(by_hand[0], by_autodiff[0], atol=1e-4)
    np.testing.assert_allclose(by_hand[1], of_x, atol=EXACT)


def test_without_a_word_the_norm_is_a_norm():
    y = numpy(AdaptiveGroupNorm(silu=False)(5 * numbers(2, 6, 6, 16) + 3)).reshape(2, 36, 8, 2)
    np.testing.assert_allclose(y.mean(axis=(1, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(axis=(1, 3)), 1, atol=1e-5)


def test_images_and_groups_are_normalised_by_themselves():
    x, scale_shift, layer = numbers(3, 4, 4, 16), numbers(3, 32), AdaptiveGroupNorm()
    before = numpy(layer(x, scale_shift))
    changed = x.copy()
    changed[1, 0, 0, 4] += 10  # channels 4 and 5 are the third group
    after = numpy(layer(changed, scale_shift))
    moved = np.zeros(x.shape, dtype=bool)
    moved[1, :, :, 4:6] = True
    np.testing.assert_allclose(after[~moved], before[~moved], atol=1e-12)
    assert (abs(after - before)[moved] > 1e-6).all()


@pytest.mark.parametrize(("mean", "tolerance"), [(0, 1e-5), (10, 1e-4), (100, 2e-2)])
def test_in_float32_a_large_mean_costs_digits_not_the_answer(mean, tolerance):
    """The variance as mean of squares less square of mean: relative error about eps * mean^2."""
    x, scale_shift = (mean + numbers(2, 8, 8, 16)).astype("float32"), numbers(2, 32, dtype="float32")
    expected = by_numpy(x.astype("float64"), scale_shift.astype("float64"), True)
    np.testing.assert_allclose(AdaptiveGroupNorm()(x, scale_shift), expected, atol=tolerance)


@pytest.mark.parametrize("value", [0, 0.1, -3, 1e3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_constant_image_stays_finite(value, dtype):
    x, scale_shift, layer = ops.full((2, 3, 3, 8), value, dtype), numbers(2, 16, dtype="float32"), AdaptiveGroupNorm()
    y = layer(x, scale_shift)
    assert ops.dtype(y) == dtype
    found = gradients(lambda *arguments: ops.sum(ops.cast(layer(*arguments), "float32")), x, scale_shift)
    for one in (numpy(y), *found):
        assert np.isfinite(one).all()


def test_a_variance_below_zero_by_rounding_is_zero():
    constants = 100 + 900 * np.random.default_rng(0).uniform(size=(64, 1, 1, 8))
    y = AdaptiveGroupNorm()(constants.astype("float32").repeat(3, axis=1).repeat(5, axis=2))
    assert np.isfinite(numpy(y)).all()


@pytest.mark.parametrize(("dtype", "eps"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_a_norm_in_half_precision_has_statistics_in_float32(dtype, eps):
    """In bfloat16 the variance 1 would be the difference of 65 and 64, which lie two roundings apart."""
    x = ops.cast(8 + numbers(2, 32, 32, 16, dtype="float32"), dtype)
    y = AdaptiveGroupNorm(silu=False)(x)
    assert ops.dtype(y) == dtype
    np.testing.assert_allclose(numpy(y), by_numpy(numpy(x), np.zeros((2, 32)), False), atol=32 * eps)
    np.testing.assert_allclose(numpy(y).reshape(2, -1, 8, 2).std(axis=(1, 3)), 1, rtol=3 * eps)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@with_and_without_silu
def test_a_norm_in_half_precision_is_the_exact_one(dtype, with_silu):
    x, upstream, scale_shift = numbers(2, 16, 16, 16), numbers(2, 16, 16, 16, seed=2), numbers(2, 32, dtype="float32")
    x, upstream, layer = ops.cast(x, dtype), ops.cast(upstream, dtype), AdaptiveGroupNorm(with_silu)
    exact = [numpy(x), numpy(scale_shift), numpy(upstream)]
    y = layer(x, scale_shift)
    assert ops.dtype(y) == dtype
    found = gradients(lambda *arguments: ops.sum(ops.cast(layer(*arguments) * upstream, "float32")), x, scale_shift)
    expected = gradients(lambda *arguments: ops.sum(by_ops(*arguments, with_silu) * exact[2]), *exact[:2])
    for one, other in zip([numpy(y), *found], [by_numpy(*exact[:2], with_silu), *expected], strict=True):
        assert np.linalg.norm(one - other) < 0.02 * np.linalg.norm(other)


@pytest.mark.parametrize("channels", [1, 4, 12])
def test_channels_come_in_eight_groups(channels):
    with pytest.raises(ValueError, match=rf"x: expected a multiple of 8 channels; received shape \(2, 4, 4, {channels}\)"):
        AdaptiveGroupNorm()(numbers(2, 4, 4, channels))


@pytest.mark.parametrize("size", [8, 15, 32])
def test_scale_and_shift_are_for_each_channel(size):
    with pytest.raises(ValueError, match=rf"scale_shift: expected shape \(B, 16\); received \(2, {size}\)"):
        AdaptiveGroupNorm()(numbers(2, 4, 4, 8), numbers(2, size))


# ---- attention


def test_each_query_shares_out_all_of_its_attention():
    queries, keys = numbers(2, 5, 4), numbers(2, 7, 4, seed=1)
    weights = numpy(layers.attention_weights(queries, keys))
    assert weights.shape == (2, 5, 7)
    assert (weights > 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-12)


def test_the_weights_are_the_articles():
    queries, keys = numbers(2, 5, 4), numbers(2, 7, 4, seed=1)
    weights = layers.attention_weights(queries, keys)
    for image in range(2):
        for i in range(5):
            of_one = np.exp([queries[image, i] @ keys[image, j] / 2 for j in range(7)])
            np.testing.assert_allclose(weights[image, i], of_one / of_one.sum(), atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 5, 12), (1, 1, 2, 3), (2, 4, 2, 24)])
def test_attention_equals_the_articles(shape):
    """(Vaswani et al. 2017, eq. 1), one image at a time."""
    x = 2 * numbers(*shape)
    for heads in (1, shape[-1] // 3):
        y = Attention(heads, dtype="float64")(x)
        np.testing.assert_allclose(y, [references.attention(image, heads) for image in x], atol=1e-12)


@pytest.mark.parametrize("heads", [0, 2.0, True])
def test_heads_are_counted(heads):
    with pytest.raises(ValueError, match=f"heads: expected a positive integer; received {heads}"):
        Attention(heads)


def test_attention_copies_what_is_looked_for():
    """Keys far apart: each query takes the value of its own key alone."""
    keys = 100 * np.eye(4).reshape(1, 2, 2, 4)
    queries, values = keys[:, ::-1], numbers(1, 2, 2, 4)
    y = Attention(dtype="float64")(np.concatenate([queries, keys, values], axis=-1))
    np.testing.assert_allclose(y, values[:, ::-1], atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 2, 12), (2, 5, 24)])
def test_a_context_is_looked_at_too(shape):
    """As more rows of keys and values, of an image's positions or of a text's; what is not seen, as if it were not there."""
    x, context = 2 * numbers(*shape), 2 * numbers(2, 4, shape[-1] // 3 * 2)
    seen = np.array([[True, True, False, True], [True, False, False, False]])
    for heads in (1, 4):
        layer = Attention(heads, dtype="float64")
        some = [one[which] for one, which in zip(context, seen, strict=True)]
        for found, beside in ((layer(x, context), context), (layer(x, context, seen), some)):
            expected = [references.attention(one, heads, more) for one, more in zip(x, beside, strict=True)]
            np.testing.assert_allclose(found, expected, atol=1e-12)


def test_of_a_texts_positions_only_those_that_are_seen_are_looked_at():
    x, seen = 2 * numbers(2, 5, 12), np.array([[True] * 3 + [False] * 2, [True] + [False] * 4])
    found = Attention(2, dtype="float64")(x, seen=seen)
    for one, which, y in zip(x, seen, found, strict=True):
        np.testing.assert_allclose(numpy(y)[which], references.attention(one[which], 2), atol=1e-12)


def test_what_is_not_seen_has_no_weight_and_the_rest_all_of_it():
    queries, keys, seen = numbers(2, 5, 4), numbers(2, 7, 4, seed=1), np.arange(7) % 3 != 1
    weights = numpy(layers.attention_weights(queries, keys, seen))
    np.testing.assert_array_equal(weights[..., ~seen], 0)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-12)
    np.testing.assert_allclose(weights[..., seen], layers.attention_weights(queries, keys[:, seen]), atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_where_nothing_is_seen_nothing_is_taken(dtype):
    """And not the mean of what was hidden, or NaN."""
    seen = np.array([[False] * 7, [True] * 7])[:, None]
    weights = numpy(layers.attention_weights(numbers(2, 5, 4, dtype=dtype), numbers(2, 7, 4, dtype=dtype), seen))
    np.testing.assert_array_equal(weights[0], 0)
    np.testing.assert_allclose(weights[1].sum(axis=-1), 1, atol=1e-2)


def test_a_context_has_keys_and_values_of_the_channels():
    with pytest.raises(ValueError, match=r"context: expected shape \(B, K, 8\); received \(2, 4, 12\)"):
        Attention()(numbers(2, 5, 12), numbers(2, 4, 12))


# ---- patches


def test_the_pixels_of_a_patch_lie_row_by_row():
    x = np.arange(2 * 4 * 6 * 3, dtype="float32").reshape(2, 4, 6, 3)
    patches = numpy(Rearrange("b (h p) (w q) c -> b h w (p q c)", p=2, q=2)(x))
    assert patches.shape == (2, 2, 3, 12)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_array_equal(patches[:, i, j], x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].reshape(2, 12))
    back = Rearrange("b h w (p q c) -> b (h p) (w q) c", p=2, q=2)(patches)
    np.testing.assert_array_equal(back, x)


# ---- all of them


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (SinusoidalEmbedding(6), [()]),
        (AdaptiveGroupNorm(silu=False), [(4, 6, 8)]),
        (AdaptiveGroupNorm(), [(4, 6, 8), (16,)]),
        (Attention(), [(4, 6, 12)]),
        (Attention(2), [(4, 6, 12)]),
        (Attention(2), [(4, 6, 12), (5, 8)]),
        (Rearrange("b (h p) w c -> b h w (p c)", p=2), [(4, 6, 3)]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_layer_is_known_by_its_configuration(layer, shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    arrays = [numbers(2, *shape, dtype="float32") for shape in shapes]
    model = keras.Model(inputs, layer(*inputs))
    again = keras.Model.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert type(again.layers[-1]) is type(layer)
    assert again.layers[-1].get_config() == layer.get_config()
    np.testing.assert_array_equal(again(arrays), model(arrays))
    assert model.output_shape[1:] == model(arrays).shape[1:]
