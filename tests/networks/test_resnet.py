import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.networks.resnet import Norm, ResNet, from_torch, pooled

# torchvision's totals less the classifier, 513,000 and 2,049,000.
PUBLISHED = {18: 11_689_512 - 513_000, 50: 25_557_032 - 2_049_000, 101: 44_549_160 - 2_049_000}


def shapes(depth: int, size: tuple[int, int] = (64, 64)):
    network, image = ResNet(depth), jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    variables = jax.eval_shape(lambda k, x: network.init(k, x, False), key, image)
    out = jax.eval_shape(lambda v, x: network.apply(v, x, False), variables, image)
    return variables, out


@pytest.mark.parametrize("depth", [18, 50, 101])
def test_it_has_the_published_number_of_parameters_and_stride_8(depth):
    variables, out = shapes(depth)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == PUBLISHED[depth]
    assert out.shape == (1, 8, 8, 512 if depth == 18 else 2048)


def test_sizes_that_are_no_multiple_of_8_are_rounded_up():
    assert shapes(18, (61, 33))[1].shape == (1, 8, 5, 512)


def torch_state(variables, random) -> dict[str, np.ndarray]:
    """Arrays as torchvision would name and lay them out."""
    state = {"fc.weight": np.zeros((1000, 512)), "bn1.num_batches_tracked": np.zeros(())}
    names = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean"}
    for kind in ("params", "batch_stats"):
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(variables[kind])):
            *modules, last = (part.key for part in path)
            modules = [module.replace("_", ".") for module in modules]
            name = ".".join([*modules, names.get(last, "running_var")])
            array = random.random(leaf.shape).astype(np.float32) + 0.5
            state[name] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return state


def test_weights_of_a_state_file_find_their_places():
    variables, _ = shapes(18)
    state = torch_state(variables, np.random.default_rng(0))
    assert "layer2.0.downsample.1.running_var" in state
    loaded = from_torch(state, variables)
    kernel = loaded["params"]["layer3_1"]["conv2"]["kernel"]
    np.testing.assert_array_equal(kernel, state["layer3.1.conv2.weight"].transpose(2, 3, 1, 0))
    var = loaded["batch_stats"]["layer2_0"]["downsample_1"]["var"]
    np.testing.assert_array_equal(var, state["layer2.0.downsample.1.running_var"])
    assert jax.tree.structure(loaded) == jax.tree.structure(
        {kind: dict(variables[kind]) for kind in ("params", "batch_stats")}
    )


def test_a_state_file_that_does_not_fit_is_told_in_one_line():
    variables, _ = shapes(18)
    state = torch_state(variables, np.random.default_rng(0))
    missing = {name: array for name, array in state.items() if name != "bn1.bias"}
    with pytest.raises(BadInputError, match=r"no array bn1\.bias"):
        from_torch(missing, variables)
    with pytest.raises(BadInputError, match="lacks: layer3"):
        from_torch({**state, "layer3.2.conv1.weight": np.zeros(1)}, variables)
    with pytest.raises(BadInputError, match=r"conv1\.weight: wanted"):
        from_torch({**state, "conv1.weight": np.zeros((64, 1, 7, 7))}, variables)


def test_frozen_norm_is_a_constant_and_trained_norm_is_batch_norm():
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 5)).astype(np.float32)
    variables = Norm(False).init(jax.random.key(0), x, True)
    y, updates = Norm(False).apply(variables, x, True, mutable=["batch_stats"])
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.1 * x.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(
        updates["batch_stats"]["var"], 0.9 + 0.1 * x.var((0, 1, 2)), atol=1e-6
    )

    def total(params):
        frozen = Norm(True).apply({**variables, "params": params}, x, True)
        return jnp.square(frozen).sum()

    slope = jax.grad(total)(variables["params"])
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slope))
    np.testing.assert_allclose(Norm(True).apply(variables, x, True), x, atol=1e-4)


def test_a_picture_gives_finite_features():
    image = np.random.default_rng(2).random((1, 32, 32, 3)).astype(np.float32)
    network = ResNet(18)
    variables = jax.jit(network.init, static_argnums=2)(jax.random.key(0), image, False)
    features = jax.jit(network.apply, static_argnums=2)(variables, image, False)
    assert np.isfinite(features).all() and (features > 0).any()


def test_pooling_takes_the_largest_of_nine_and_has_a_derivative():
    x = np.random.default_rng(3).standard_normal((1, 5, 7, 2)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = [
        [padded[:, r : r + 3, c : c + 3].max((1, 2)) for c in range(0, 7, 2)]
        for r in range(0, 5, 2)
    ]
    np.testing.assert_array_equal(pooled(x, 2), np.moveaxis(np.array(expected), 2, 0))
    slope = jax.grad(lambda x: pooled(x, 2).sum())(x)
    assert slope.sum() == 3 * 4 * 2
