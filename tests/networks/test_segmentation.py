import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.networks import segmentation
from tests.networks.test_deeplab import vgg_state
from tests.networks.test_resnet import torch_state


def shapes(**settings):
    network = segmentation.of({**segmentation.DEFAULTS, **settings}, 5)
    image = jax.ShapeDtypeStruct((1, 24, 17, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda k, x: network.init(k, x, False), key, image)
    return variables, jax.eval_shape(lambda v, x: network.apply(v, x, False), variables, image)


@pytest.mark.parametrize("kind", segmentation.KINDS)
def test_every_kind_gives_scores_of_the_pictures_size(kind):
    scores = shapes(kind=kind)[1]
    scores = scores[0] if kind == "hierarchy" else scores
    assert scores.shape == (1, 24, 17, 5) and scores.dtype == jnp.float32


def test_colours_are_brought_to_the_spread_of_imagenet():
    network = segmentation.of({**segmentation.DEFAULTS, "widths": (8,)}, 2)
    image = np.random.default_rng(0).random((1, 8, 8, 3)).astype(np.float32)
    variables = network.init(jax.random.key(0), image, False)
    scaled = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    bare = network.network.apply({"params": variables["params"]["network"]}, scaled, False)
    np.testing.assert_allclose(network.apply(variables, image, False), bare, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": "unet"}, r"config\.network\.kind: wanted one of pyramid.* got 'unet'"),
        ({"widths": (12,)}, r"config\.network\.widths: wanted multiples of 8"),
        ({"kind": "patches", "hidden": 0}, r"config\.network\.width and hidden"),
        ({"kind": "resnet", "depth": 34}, r"config\.network\.depth: wanted 18, 50 or 101, got 34"),
    ],
)
def test_a_network_that_there_is_not_is_told_in_one_line(changed, told):
    with pytest.raises(BadInputError, match=told):
        segmentation.of({**segmentation.DEFAULTS, **changed}, 2)


def zeros(tree):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), tree)


@pytest.mark.parametrize("kind", ["resnet", "large_fov"])
def test_weights_of_imagenet_go_into_the_trunk_and_nowhere_else(kind):
    settings = {**segmentation.DEFAULTS, "kind": kind}
    variables = zeros(shapes(kind=kind)[0])
    random = np.random.default_rng(0)
    if kind == "resnet":
        trunk = {of: dict(tree["network"]["resnet"]) for of, tree in variables.items()}
        state = torch_state(trunk, random)
        name, first = "resnet", "conv1.weight"
    else:
        state, name, first = vgg_state(random), "vgg", "features.0.weight"
    made = segmentation.with_trunk(settings, variables, state)
    assert jax.tree.map(np.shape, made) == jax.tree.map(np.shape, variables)
    inner = made["params"]["network"]
    convolution = inner[name]["conv1" if kind == "resnet" else "conv1_1"]["kernel"]
    np.testing.assert_array_equal(convolution, state[first].transpose(2, 3, 1, 0))
    rest = {part: tree for part, tree in inner.items() if part != name}
    assert rest and all((leaf == 0).all() for leaf in jax.tree.leaves(rest))


def test_a_network_without_a_published_trunk_refuses_weights():
    with pytest.raises(BadInputError, match="wanted resnet, large_fov or large_fov_msc"):
        segmentation.with_trunk(segmentation.DEFAULTS, {}, {})
