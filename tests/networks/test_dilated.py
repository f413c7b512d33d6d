from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.networks.dilated import Dilated


def made(network, shape=(1, 9, 7, 3), seed=0):
    return jax.jit(partial(network.init, train=False))(jax.random.key(seed), jnp.zeros(shape))


def apply(network, variables, *inputs, **how):
    return jax.jit(partial(network.apply, **how))(variables, *inputs)


def noise(*shape, seed=1):
    return jax.random.uniform(jax.random.key(seed), shape)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 9, 7, 5)])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_scores_have_the_size_of_the_image(shape, norm):
    network = Dilated(4, blocks=2, width=8, norm=norm)
    scores = apply(network, made(network, shape), noise(*shape), train=False)
    assert scores.shape == (*shape[:3], 4) and scores.dtype == jnp.float32
    assert np.isfinite(scores).all()


def test_seven_blocks_of_width_32_are_the_network_of_the_paper():
    network = Dilated(21)
    shapes = jax.eval_shape(lambda: made(network, (1, 8, 8, 24)))
    kernels = [k for k in jax.tree.leaves(shapes["params"]) if len(k.shape) == 4]
    # One convolution to the width, 7 × 3 inside, one of 1×1 to the scores.
    assert sorted(k.shape for k in kernels) == sorted(
        [(3, 3, 24, 32), *[(3, 3, 32, 32)] * 21, (1, 1, 32, 21)]
    )
    assert count(shapes["batch_stats"]) == 22 * 2 * 32


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_the_view_is_as_wide_as_the_kernels_add_up_to(blocks, padding):
    # First convolution, two plain ones a block, and the dilated ones: 285 pixels for 7 blocks.
    reach = 1 + 2 * blocks + 2**blocks - 1
    assert 1 + 2 * (1 + 2 * 7 + 2**7 - 1) == 285
    size = 2 * reach + 5
    network = Dilated(1, blocks=blocks, width=4, norm="none", padding=padding)
    # Positive kernels, so that nothing cancels and no unit is dead.
    variables = jax.tree.map(jnp.abs, made(network, (1, size, size, 1)))
    middle = size // 2

    def score(image):
        return apply(network, variables, image, train=False)[0, middle, middle, 0]

    slope = jax.jit(jax.grad(score))(jnp.ones((1, size, size, 1)))[0, ..., 0]
    rows, columns = np.nonzero(slope)
    assert (rows.min(), rows.max()) == (middle - reach, middle + reach)
    assert (columns.min(), columns.max()) == (middle - reach, middle + reach)


def test_padding_changes_the_border_alone():
    networks = [Dilated(1, blocks=2, width=4, norm="none", padding=p) for p in ("zero", "reflect")]
    image = noise(1, 31, 31, 3)
    variables = made(networks[0])
    zero, reflect = (apply(n, variables, image, train=False)[0, ..., 0] for n in networks)
    reach = 8
    inner = slice(reach, -reach)
    np.testing.assert_allclose(zero[inner, inner], reflect[inner, inner], atol=1e-5)
    assert abs(zero[0] - reflect[0]).max() > 1e-3


def test_reflection_leaves_a_flat_image_flat_and_zeros_do_not():
    image = jnp.full((1, 12, 12, 3), 0.7)
    for padding, flat in (("reflect", True), ("zero", False)):
        network = Dilated(1, blocks=3, width=4, norm="none", padding=padding)
        scores = apply(network, made(network), image, train=False)
        assert (np.ptp(scores) < 1e-5) == flat


@pytest.mark.parametrize("blocks", [1, 3])
def test_reflection_needs_an_image_larger_than_the_last_dilation(blocks):
    network = Dilated(1, blocks=blocks, width=4, norm="none", padding="reflect")
    least = network.least_size
    assert least == 2 ** (blocks - 1) + 1
    assert Dilated(1, blocks=blocks).least_size == 1
    variables = made(network, (1, least, least, 3))
    apply(network, variables, jnp.zeros((1, least, least, 3)), train=False)
    with pytest.raises(ValueError, match=rf"at least {least} pixels .* got {least}×{least - 1}"):
        apply(network, variables, jnp.zeros((1, least, least - 1, 3)), train=False)


def test_the_relu_after_the_dilated_convolution_can_be_left_out():
    image = noise(1, 9, 9, 3)
    with_it, without = (
        Dilated(1, blocks=2, width=4, norm="none", relu_after_dilated=on) for on in (True, False)
    )
    variables = made(with_it)
    assert jax.tree.structure(variables) == jax.tree.structure(made(without))
    difference = apply(with_it, variables, image, train=False) - apply(
        without, variables, image, train=False
    )
    assert abs(difference).max() > 1e-3


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("on_output", [True, False])
def test_no_bias_stands_before_a_norm_that_takes_it_away(norm, on_output):
    params = made(Dilated(2, blocks=1, width=8, norm=norm, norm_on_output=on_output))["params"]
    convolutions = {name: "bias" in of for name, of in params.items() if name.startswith("Conv")}
    biased = [f"Conv_{n}" for n in range(5)] if norm == "none" else []
    assert len(convolutions) == 5
    if not on_output and norm != "none":
        biased = ["Conv_4"]
    assert [name for name, has_bias in sorted(convolutions.items()) if has_bias] == biased


def test_the_scores_are_normalised_where_the_authors_code_does():
    image = noise(4, 8, 8, 3)
    network = Dilated(2, blocks=1, width=4, norm_on_output=True)
    scores, _ = apply(network, made(network), image, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(scores.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(scores.std((0, 1, 2)), 1, atol=0.05)
    plain = Dilated(2, blocks=1, width=4)
    assert count(made(network)["batch_stats"]) == count(made(plain)["batch_stats"]) + 4


def test_batch_norm_keeps_statistics_and_uses_them_only_at_rest():
    network = Dilated(1, blocks=1, width=4)
    variables = made(network)
    image = noise(4, 8, 8, 3)
    _, updates = apply(network, variables, image, train=True, mutable=["batch_stats"])
    first = jax.tree.leaves(updates["batch_stats"]["BatchNorm_0"]["mean"])[0]
    assert abs(first).max() > 0  # moved by one hundredth of the way
    # At rest each image is on its own; in training the batch matters.
    rest = apply(network, variables, image, train=False)
    alone = apply(network, variables, image[:1], train=False)
    np.testing.assert_allclose(rest[:1], alone, atol=1e-5)
    trained, _ = apply(network, variables, image, train=True, mutable=["batch_stats"])
    alone, _ = apply(network, variables, image[:1], train=True, mutable=["batch_stats"])
    assert abs(trained[:1] - alone).max() > 1e-3


@pytest.mark.parametrize("norm", ["group", "none"])
def test_other_norms_treat_each_image_on_its_own(norm):
    network = Dilated(1, blocks=1, width=8, norm=norm)
    variables = made(network)
    assert variables.keys() == {"params"}
    image = noise(3, 6, 6, 3)
    together = apply(network, variables, image, train=True)
    alone = apply(network, variables, image[1:2], train=True)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


def test_parameters_stay_float32_where_the_computation_is_not():
    network = Dilated(1, blocks=1, width=8, dtype=jnp.bfloat16)
    variables = made(network)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    image = noise(1, 8, 8, 3)
    half = apply(network, variables, image, train=False)
    full = Dilated(1, blocks=1, width=8).apply(variables, image, train=False)
    # bfloat16 keeps 8 bits.
    np.testing.assert_allclose(np.float32(half), full, atol=0.05 * abs(full).max())
