import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.networks.deeplab import VGG16, DeepLabResNet, LargeFOV, from_torch


def shapes(network, *train: bool, size: tuple[int, int] = (65, 49)):
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda k, x: network.init(k, x, *train), key, image)
    out = jax.eval_shape(lambda v, x: network.apply(v, x, *train), variables, image)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), out


def test_vgg16_has_the_published_convolutions_and_stride_8():
    count, (features, pooled) = shapes(VGG16())
    assert count == 14_714_688  # of torchvision's features
    assert features.shape == (1, 9, 7, 512)
    assert [pool.shape[1] for pool in pooled] == [33, 17, 9, 9, 9]


@pytest.mark.parametrize("multi_scale", [False, True])
def test_large_fov_has_the_published_layers_and_gives_scores_of_full_size(multi_scale):
    count, out = shapes(LargeFOV(21, multi_scale), False)
    assert out.shape == (1, 65, 49, 21) and out.dtype == jnp.float32
    fc6, fc7 = 9 * 512 * 1024 + 1024, 1024 * 1024 + 1024
    joined = 1024
    expected = 14_714_688 + fc6 + fc7
    if multi_scale:
        inputs = (3, 64, 128, 256, 512)
        expected += sum(9 * width * 128 + 128 + 128 * 128 + 128 for width in inputs)
        joined += 5 * 128
    assert count == expected + joined * 21 + 21


@pytest.mark.parametrize(
    ("depth", "trunk", "width"), [(18, 11_176_512, 512), (101, 42_500_160, 2048)]
)
def test_resnets_give_scores_of_full_size(depth, trunk, width):
    count, out = shapes(DeepLabResNet(21, depth), False)
    assert out.shape == (1, 65, 49, 21)
    assert count == trunk + 4 * (9 * width * 21 + 21)


def vgg_state(random):
    """What a torchvision state file of VGG-16 holds, with random numbers."""
    places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    state, before = {"classifier.6.bias": np.zeros(1000)}, 3
    for place, width in zip(places, widths, strict=True):
        shape = (width, before, 3, 3)
        state[f"features.{place}.weight"] = random.standard_normal(shape, np.float32)
        state[f"features.{place}.bias"] = random.standard_normal(width, np.float32)
        before = width
    return state


def test_weights_of_a_vgg16_are_taken_from_a_torch_state_file():
    state = vgg_state(np.random.default_rng(0))
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(VGG16().init, jax.eval_shape(lambda: jax.random.key(0)), image)
    loaded = from_torch(state, variables)
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, dict(variables))
    kernel = loaded["params"]["conv4_3"]["kernel"]
    np.testing.assert_array_equal(kernel, state["features.21.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(loaded["params"]["conv5_3"]["bias"], state["features.28.bias"])
    missing = {name: array for name, array in state.items() if name != "features.5.bias"}
    with pytest.raises(BadInputError, match=r"no array features\.5\.bias"):
        from_torch(missing, variables)
    with pytest.raises(BadInputError, match=r"lacks: features\.3\.running_mean"):
        from_torch({**state, "features.3.running_mean": np.zeros(64)}, variables)
    with pytest.raises(BadInputError, match=r"features\.0\.weight: wanted"):
        from_torch({**state, "features.0.weight": np.zeros((64, 1, 3, 3))}, variables)
