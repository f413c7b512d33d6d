import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from energynets.networks.patches import PatchConvNet, local_response_norm


def of_patch(params, x):
    """The network as it stands in the paper, on one patch of 46×46: scores of its middle."""
    for layer in range(4):
        conv = params[f"Conv_{layer}"]
        order = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, conv["kernel"], (1, 1), "VALID", dimension_numbers=order
        )
        x = local_response_norm(nn.max_pool(nn.relu(x + conv["bias"]), (2, 2), (2, 2)))
    assert x.shape[1:3] == (1, 1)
    hidden, last = (params[f"Dense_{layer}"] for layer in range(2))
    hidden = nn.relu(x @ hidden["kernel"] + hidden["bias"])
    return (hidden @ last["kernel"] + last["bias"])[:, 0, 0]


def test_every_pixel_gets_what_its_own_patch_gets():
    network = PatchConvNet(3, width=8, hidden=16)
    image = np.random.default_rng(0).random((1, 9, 7, 3)).astype(np.float32)
    variables = network.init(jax.random.key(0), image, False)
    params = jax.tree.map(lambda leaf: leaf * 3, variables["params"])  # so that scores differ
    scores = network.apply({"params": params}, image, False)
    assert scores.shape == (1, 9, 7, 3)
    padded = np.pad(image, ((0, 0), (22, 23), (22, 23), (0, 0)), "edge")
    for row, column in ((0, 0), (4, 3), (8, 6)):
        patch = padded[:, row : row + 46, column : column + 46]
        alone = of_patch(params, patch)
        np.testing.assert_allclose(scores[:, row, column], alone, rtol=1e-4, atol=1e-6)
    assert np.ptp(scores, axis=(1, 2)).min() > 1e-5


def test_the_response_norm_is_that_of_the_formula():
    x = np.random.default_rng(1).standard_normal((2, 7)) * 30
    expected = np.empty_like(x)
    for c in range(7):
        near = x[:, max(0, c - 2) : c + 3]
        expected[:, c] = x[:, c] / (2 + 1e-4 * (near**2).sum(1)) ** 0.75
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x)), expected, rtol=1e-5)


def test_the_published_layers_have_the_published_sizes():
    shapes = jax.eval_shape(
        lambda key: PatchConvNet(8).init(key, jnp.zeros((1, 8, 8, 3)), False), jax.random.key(0)
    )
    convs = 3 * 9 * 64 + 64 + 3 * (9 * 64 * 64 + 64)
    dense = 64 * 512 + 512 + 512 * 8 + 8
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == convs + dense
