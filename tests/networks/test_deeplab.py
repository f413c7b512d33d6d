import jax
import jax.numpy as jnp
import pytest

from energynets.networks.deeplab import VGG16, DeepLabResNet, LargeFOV


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
