import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from energynets.energies.random_walker import edge_weights, energy
from energynets.ops.colour import grayscale
from energynets.seeded import Seeded

WEIGHTS = {"beta": 100.0, "seed_weight": 2.0, "floor": 1e-6}


def laplacian(image, *, beta, floor):
    """L as a sparse float64 matrix, from a loop over pairs."""
    height, width, _ = image.shape
    index = np.arange(height * width).reshape(height, width)
    colour = np.asarray(image, np.float64).reshape(height * width, -1)
    first = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
    second = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
    weight = np.exp(-beta * ((colour[first] - colour[second]) ** 2).sum(-1)) + floor
    pairs = scipy.sparse.coo_array(
        (np.r_[weight, weight], (np.r_[first, second], np.r_[second, first])),
        shape=(height * width,) * 2,
    ).tocsr()
    return scipy.sparse.diags_array(np.asarray(pairs.sum(1)).ravel()) - pairs


def stated(inputs, probabilities, *, beta, seed_weight, floor):
    """The sum of the docstring, in SciPy and float64."""
    labels = probabilities.shape[-1]
    y = np.asarray(probabilities, np.float64).reshape(-1, labels)
    x = np.asarray(inputs.seeds, np.float64).reshape(-1, labels)
    known = scipy.sparse.diags_array(x.any(-1).astype(float))
    smooth = y * (laplacian(inputs.image, beta=beta, floor=floor) @ y)
    return smooth.sum() + seed_weight * ((y - x) * (known @ (y - x))).sum()


def scattered(rng, height, width, labels):
    """One-hot planes at about a fifth of the pixels."""
    planes = np.eye(labels)[rng.integers(0, labels, (height, width))]
    return planes * (rng.random((height, width, 1)) < 0.2)


def example(image, labels=3, seed=0):
    rng = np.random.default_rng(seed)
    height, width, _ = image.shape
    inputs = Seeded(image, scattered(rng, height, width, labels))
    return inputs, rng.random((height, width, labels))


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), tree)


def picture(kind):
    if kind == "photograph":
        return skimage.data.astronaut()[100:112, 200:217] / 255
    if kind == "noise":
        return np.random.default_rng(1).random((12, 17, 3))
    return np.full((12, 17, 3), {"black": 0.0, "flat": 0.3, "white": 1.0}[kind])


KINDS = ["flat", "black", "white", "noise", "photograph"]


@pytest.mark.parametrize("kind", KINDS)
def test_energy_is_the_sparse_sum(kind):
    inputs, y = example(picture(kind))
    expected = stated(inputs, y, **WEIGHTS)
    # float32: rounding of the picture times beta; float64: of the sum of some hundred terms.
    single = energy(*cast((inputs, y), jnp.float32), **WEIGHTS)
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5)
    with jax.enable_x64(True):
        double = energy(*cast((inputs, y), jnp.float64), **WEIGHTS)
        np.testing.assert_allclose(double, expected, rtol=1e-10)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_energy_is_the_sparse_sum_at_any_shape(height, width, channels, labels):
    image = np.random.default_rng(2).random((height, width, channels))
    inputs, y = example(image, labels)
    single = energy(*cast((inputs, y), jnp.float32), **WEIGHTS)
    np.testing.assert_allclose(single, stated(inputs, y, **WEIGHTS), rtol=1e-5, atol=1e-7)


def test_a_grey_picture_gives_half_of_the_preprints_sum_over_four_shifts():
    inputs, y = example(picture("photograph"), labels=2)
    grey = np.asarray(grayscale(jnp.asarray(inputs.image, jnp.float32)), np.float64)
    total = 0.0
    for r, c in np.ndindex(*grey.shape[:2]):
        for s, d in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if 0 <= s < grey.shape[0] and 0 <= d < grey.shape[1]:
                weight = np.exp(-1000 * (grey[r, c, 0] - grey[s, d, 0]) ** 2)
                total += weight * ((y[r, c] - y[s, d]) ** 2).sum()
    ours = energy(
        cast(Seeded(grey, inputs.seeds), jnp.float32),
        jnp.asarray(y, jnp.float32),
        beta=1000.0,
        seed_weight=0.0,
        floor=0.0,
    )
    np.testing.assert_allclose(ours, total / 2, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_borders_do_not_wrap(axis):
    # Two halves, each of one label: only the middle costs. Wrapping would charge the border too.
    y = jnp.zeros((6, 6, 1)).at[3:].set(1)
    y = y if axis == 0 else y.swapaxes(0, 1)
    inputs = Seeded(jnp.ones((6, 6, 3)), jnp.zeros((6, 6, 1)))
    np.testing.assert_allclose(energy(inputs, y, floor=0.0), 6)


def test_derivatives_agree_with_finite_differences_to_second_order():
    with jax.enable_x64(True):
        inputs, y = cast(example(picture("photograph")[:4, :5], labels=2), jnp.float64)

        def of_everything(image, y, beta, seed_weight, floor):
            weights = {"beta": beta, "seed_weight": seed_weight, "floor": floor}
            return energy(Seeded(image, inputs.seeds), y, **weights)

        arguments = (inputs.image, y, jnp.asarray(30.0), jnp.asarray(2.0), jnp.asarray(0.01))
        check_grads(of_everything, arguments, 2, rtol=1e-4, atol=1e-4, eps=1e-6)


def test_the_gradient_in_float32_is_that_of_the_matrix():
    inputs, y = example(picture("photograph"))
    expected = 2 * (laplacian(inputs.image, beta=1000.0, floor=1e-6) @ y.reshape(-1, 3))
    known = inputs.seeds.any(-1).reshape(-1, 1)
    expected += 2 * known * (y - inputs.seeds).reshape(-1, 3)
    gradient = jax.grad(energy, argnums=1)(*cast((inputs, y), jnp.float32))
    # exp(-beta d²) carries the rounding of d² times beta d², some 1e-5 where the weight counts.
    np.testing.assert_allclose(gradient.reshape(-1, 3), expected, atol=2e-5)


@pytest.mark.parametrize("kind", ["noise", "photograph"])
def test_turning_or_mirroring_everything_changes_nothing(kind):
    inputs, y = cast(example(picture(kind)), jnp.float32)
    plain = energy(inputs, y, **WEIGHTS)
    for move in (lambda a: a.swapaxes(0, 1), lambda a: a[::-1], lambda a: a[:, ::-1]):
        moved = energy(jax.tree.map(move, inputs), move(y), **WEIGHTS)
        np.testing.assert_allclose(moved, plain, rtol=1e-6)


def test_adding_a_constant_to_the_labels_costs_nothing_without_seeds():
    inputs, y = cast(example(picture("photograph")), jnp.float32)
    unseeded = inputs._replace(seeds=jnp.zeros_like(inputs.seeds))
    np.testing.assert_allclose(energy(unseeded, y + 0.5), energy(unseeded, y), rtol=1e-5)


def test_seeds_of_several_labels_are_weights_of_distances_to_each():
    rng = np.random.default_rng(5)
    image, seeds, y = rng.random((4, 5, 3)), rng.random((4, 5, 3)), rng.random((4, 5, 3))
    apart = (seeds[..., None] * (y[..., None, :] - np.eye(3)) ** 2).sum()
    with jax.enable_x64(True):
        none = energy(Seeded(jnp.asarray(image), jnp.zeros((4, 5, 3))), jnp.asarray(y))
        full = energy(Seeded(*map(jnp.asarray, (image, seeds))), jnp.asarray(y), seed_weight=2.0)
    np.testing.assert_allclose(full - none, 2 * apart, rtol=1e-12)


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_seeds_and_pictures_of_any_type_are_those_numbers(dtype):
    rng = np.random.default_rng(6)
    image, seeds = rng.integers(0, 2, (5, 6, 3)), rng.integers(0, 2, (5, 6, 2))
    probabilities = jnp.asarray(rng.random((5, 6, 2)), jnp.float32)
    single = Seeded(jnp.asarray(image, jnp.float32), jnp.asarray(seeds, jnp.float32))
    found = energy(Seeded(image.astype(dtype), seeds.astype(dtype)), probabilities, beta=1.0)
    assert found == energy(single, probabilities, beta=1.0)


def test_a_constant_that_agrees_with_every_seed_costs_nothing():
    image = jnp.asarray(picture("noise"), jnp.float32)
    y = jnp.zeros((12, 17, 2)).at[..., 1].set(1)
    assert energy(Seeded(image, y.at[3:].set(0)), y) == 0


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 6, 3), (6, 1, 3)])
def test_energy_and_gradient_are_finite_on_pictures_one_pixel_wide(shape):
    inputs, y = cast(example(np.random.default_rng(3).random(shape)), jnp.float32)
    value, gradients = jax.value_and_grad(energy, argnums=(0, 1))(inputs, y)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_an_isolated_pixel_stays_attached_in_float32():
    image = jnp.zeros((5, 5, 3)).at[2, 2].set(1)
    for axis in (0, 1):
        weights = edge_weights(image, axis, beta=1000.0, floor=1e-6)
        assert weights.dtype == jnp.float32
        assert weights.min() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_at_beta_1000_in_float32(kind):
    inputs, y = cast(example(picture(kind)), jnp.float32)
    gradients = jax.grad(energy, argnums=(0, 1))(inputs, y)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("seeds", "probabilities"),
    [
        ((4, 5, 2), (4, 5, 3)),
        ((4, 4, 2), (4, 4, 2)),
        ((1, 1, 2), (4, 5, 2)),
        ((4, 5, 2), (5, 4, 2)),
    ],
)
def test_shapes_that_do_not_agree_are_refused(seeds, probabilities):
    with pytest.raises(ValueError, match="must agree, got"):
        energy(Seeded(jnp.ones((4, 5, 3)), jnp.ones(seeds)), jnp.ones(probabilities))


def test_changing_the_weights_does_not_recompile():
    inputs, y = cast(example(picture("noise")), jnp.float32)
    energy(inputs, y, **WEIGHTS)
    compiled = energy._cache_size()
    energy(inputs, y, beta=7.0, seed_weight=0.5, floor=1e-3)
    assert energy._cache_size() == compiled


def intermediates(jaxpr):
    """Every array that a jaxpr makes, those of its inner jaxprs included."""
    for equation in jaxpr.eqns:
        yield from (variable.aval for variable in equation.outvars)
        for parameter in jax.tree.leaves(
            equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns") or hasattr(leaf, "jaxpr")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                yield from intermediates(inner)


@pytest.mark.parametrize(("channels", "labels"), [(3, 2), (3, 21), (1, 1)])
def test_no_copies_of_the_neighbours_are_stacked(channels, labels):
    inputs, y = cast(example(np.ones((9, 11, channels)), labels), jnp.float32)
    arrays = list(intermediates(jax.make_jaxpr(energy)(inputs, y).jaxpr))
    assert len(arrays) > 10
    assert max(array.size for array in arrays) <= 9 * 11 * max(channels, labels)


@pytest.mark.parametrize("labels", [1, 21])
def test_value_and_gradient_of_a_batch_need_one_array_like_the_prediction(labels):
    inputs, y = cast(example(np.random.default_rng(6).random((32, 40, 3)), labels), jnp.float32)
    inputs, y = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), (inputs, y))
    program = jax.jit(jax.vmap(jax.value_and_grad(energy, argnums=1))).lower(inputs, y).compile()
    # Beside it only the planes of weights and seeds, and what leaves room for the compiler's own.
    planes = 8 * inputs.image[..., 0].nbytes
    assert program.memory_analysis().temp_size_in_bytes <= y.nbytes + planes


@pytest.mark.parametrize("kind", KINDS)
def test_every_derivative_in_float32_is_that_in_float64(kind):
    inputs, y = cast(example(picture(kind)), jnp.float32)  # the same picture in either precision
    direction = np.random.default_rng(7).normal(size=y.shape)

    def everything(image, seeds, y, direction):
        def total(image, seeds, y):
            return energy(Seeded(image, seeds), y, beta=100.0)

        slope = jax.grad(total, argnums=2)
        value, forwards = jax.jvp(lambda y: total(image, seeds, y), (y,), (direction,))
        bent, product = jax.jvp(lambda y: slope(image, seeds, y), (y,), (direction,))
        transposed = jax.vjp(lambda y: slope(image, seeds, y), y)[1](direction)[0]
        gradients = jax.grad(total, (0, 1, 2))(image, seeds, y)
        return value, forwards, gradients, bent, product, transposed

    arguments = (*inputs, y, direction)
    single = jax.jit(everything)(*cast(arguments, jnp.float32))
    with jax.enable_x64(True):
        double = jax.jit(everything)(*cast(arguments, jnp.float64))
    for ours, wide in zip(jax.tree.leaves(single), jax.tree.leaves(double), strict=True):
        assert ours.dtype == jnp.float32
        # Weights carry the rounding of beta d²; entries may cancel, so relative to the largest.
        np.testing.assert_allclose(ours, wide, rtol=0, atol=2e-5 * np.abs(wide).max() + 1e-12)


def test_forwards_over_backwards_and_backwards_twice_are_the_same_matrix():
    with jax.enable_x64(True):
        inputs, y = cast(example(picture("noise")[:4, :5], labels=2), jnp.float64)
        slope = jax.grad(lambda y: energy(inputs, y, **WEIGHTS))
        forwards = jax.jacfwd(slope)(y).reshape(40, 40)
        np.testing.assert_allclose(jax.jacrev(slope)(y).reshape(40, 40), forwards, rtol=1e-12)
        matrix = laplacian(inputs.image, beta=100.0, floor=1e-6).toarray()
        matrix += np.diag(2.0 * np.asarray(inputs.seeds).any(-1).ravel())
        np.testing.assert_allclose(forwards, 2 * np.kron(matrix, np.eye(2)), atol=1e-12)


def test_a_batch_by_vmap_is_the_loop():
    inputs, y = cast(example(picture("photograph")), jnp.float32)
    batch = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf[::-1], leaf[:, ::-1]]), (inputs, y))
    slope = jax.jit(jax.value_and_grad(energy, argnums=(0, 1)))
    together = jax.vmap(slope)(*batch)
    for i in range(3):
        alone = slope(*jax.tree.map(lambda leaf, i=i: leaf[i], batch))
        for whole, one in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(whole[i], one, rtol=1e-5, atol=1e-5)
