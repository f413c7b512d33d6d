import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import skimage.data
import skimage.transform

from energynets.energies.matting import energy
from energynets.seeded import Seeded
from energynets.solvers import matting
from energynets.solvers.matting import solve
from energynets.solvers.stencil import apply

SHAPE = (13, 17)


def texture(height, width):
    photograph = skimage.data.astronaut() / 255
    return skimage.transform.resize(photograph[:256], (height, width), anti_aliasing=True)


def example(dtype, height=SHAPE[0], width=SHAPE[1]):
    """A photograph with a stroke of background and one of foreground."""
    seeds = np.zeros((height, width, 2))
    seeds[height // 4, : width // 2, 0] = 1
    seeds[3 * height // 4, width // 2 :, 1] = 1
    leaves = texture(height, width), seeds
    return Seeded(*(jnp.asarray(leaf, dtype) for leaf in leaves))


@pytest.mark.parametrize(
    ("radius", "channels", "shape"),
    [(1, 3, SHAPE), (1, 1, (5, 3)), (2, 3, (7, 6)), (1, 4, (2, 9)), (1, 0, (4, 5))],
)
def test_the_stencil_is_half_the_second_derivative_of_the_energy(radius, channels, shape):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        inputs = example(jnp.float64, *shape)
        image = jnp.asarray(rng.random((*shape, channels))) if channels != 3 else inputs.image
        inputs = Seeded(image, inputs.seeds)
        weights = {"epsilon": 1e-4, "seed_weight": 3.0, "radius": radius}
        stencil = matting.stencil(inputs, **weights)
        assert stencil.radius == 2 * radius
        u = jnp.asarray(rng.normal(size=shape))
        gradient = jax.grad(lambda a: energy(inputs, a, **weights))
        product = jax.jvp(gradient, (jnp.zeros(shape),), (u,))[1] / 2
        np.testing.assert_allclose(apply(stencil, u), product, atol=1e-11)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.bfloat16])
def test_the_stencil_of_any_type_of_picture_is_that_of_those_numbers(dtype):
    inputs = example(jnp.float32)
    image = (inputs.image * 7).astype(dtype)
    found = matting.stencil(Seeded(image, inputs.seeds.astype(dtype)), epsilon=0.1)
    expected = matting.stencil(Seeded(image.astype(jnp.float32), inputs.seeds), epsilon=0.1)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def reference(inputs, *, epsilon, seed_weight=1.0):
    """(L + λQ)⁻¹ λx, L by Levin's sum over windows, by SuperLU with refinement."""
    image, seeds = (np.asarray(leaf, np.float64) for leaf in inputs)
    height, width = image.shape[:2]
    number = np.arange(height * width).reshape(height, width)
    matrix = scipy.sparse.lil_array((number.size, number.size))
    for i in range(height - 2):
        for j in range(width - 2):
            nodes = number[i : i + 3, j : j + 3].ravel()
            colours = image.reshape(number.size, -1)[nodes]
            d = colours - colours.mean(0)
            # d (dᵀd + ε)⁻¹ dᵀ from singular values: an inverse loses 1e-9 to a single hot pixel.
            left, size, _ = np.linalg.svd(d, full_matrices=False)
            block = np.eye(9) - 1 / 9 - left * (size**2 / (size**2 + epsilon)) @ left.T
            matrix[nodes[:, None], nodes] += block
    known = seed_weight * seeds.sum(-1).ravel()
    matrix = (matrix + scipy.sparse.diags_array(known)).tocsc()
    rhs = known * seeds[..., 1].ravel()
    lu = scipy.sparse.linalg.splu(matrix)
    alpha = lu.solve(rhs)
    alpha += lu.solve(rhs - matrix @ alpha)
    return alpha.reshape(height, width)


@pytest.mark.parametrize("epsilon", [1e-5 / 9, 1e-7])
@pytest.mark.parametrize("seed_weight", [1.0, 1e6])
def test_the_solution_is_that_of_superlu(epsilon, seed_weight):
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        solution = solve(inputs, epsilon=epsilon, seed_weight=seed_weight)
        expected = reference(inputs, epsilon=epsilon, seed_weight=seed_weight)
    assert solution.converged
    assert solution.value.dtype == jnp.float64
    np.testing.assert_allclose(solution.value, expected.clip(0, 1), atol=1e-7)


def test_a_picture_of_prime_sides_is_cut_and_solved_at_the_smallest_epsilon():
    # 17·19 pixels are more than one block: tiles, merges and separators take part.
    with jax.enable_x64(True):
        inputs = example(jnp.float64, 17, 19)
        solution = solve(inputs, epsilon=1e-7, seed_weight=100.0)
        expected = reference(inputs, epsilon=1e-7, seed_weight=100.0)
    assert solution.converged
    np.testing.assert_allclose(solution.value, expected.clip(0, 1), atol=1e-7)


def test_large_weights_make_seeds_hold():
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        value = solve(inputs, seed_weight=1e6).value
    np.testing.assert_allclose(value[inputs.seeds[..., 0] == 1], 0, atol=1e-5)
    np.testing.assert_allclose(value[inputs.seeds[..., 1] == 1], 1, atol=1e-5)


def test_float32_is_right_where_it_says_so_and_says_where_it_is_not():
    for epsilon in (1e-2, 1e-7):
        inputs = example(jnp.float32)
        solution = solve(inputs, epsilon=epsilon)
        assert jnp.isfinite(solution.value).all()
        error = np.abs(solution.value - reference(inputs, epsilon=epsilon).clip(0, 1)).max()
        if epsilon == 1e-2:
            assert solution.converged
            assert error < 1e-3
        else:
            assert error < 1e-3 or not solution.converged


@pytest.mark.parametrize("picture", ["flat", "noise", "saturated", "one hot pixel"])
def test_difficult_pictures_are_solved(picture):
    rng = np.random.default_rng(0)
    noise = rng.random((*SHAPE, 3))
    hot = np.full((*SHAPE, 3), 0.5)
    hot[6, 8] = 1
    image = {
        "flat": np.full((*SHAPE, 3), 0.5),
        "noise": noise,
        "saturated": np.round(noise),
        "one hot pixel": hot,
    }[picture]
    with jax.enable_x64(True):
        inputs = example(jnp.float64)._replace(image=jnp.asarray(image))
        solution = solve(inputs, epsilon=1e-7)
        expected = reference(inputs, epsilon=1e-7)
    assert solution.converged
    np.testing.assert_allclose(solution.value, expected.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (3, 3), (5, 3)])
def test_small_and_narrow_pictures_are_solved(shape):
    with jax.enable_x64(True):
        image = jnp.asarray(np.random.default_rng(4).random((*shape, 3)))
        seeds = jnp.zeros((*shape, 2)).at[0, 0, 0].set(1).at[-1, -1].set(jnp.asarray([0.0, 1.0]))
        solution = solve(Seeded(image, seeds))
    assert jnp.isfinite(solution.value).all()
    assert solution.residual < 1e-10
    # Each seed is held by its λ of 1 alone, against a smoothness that is some 1e-5.
    assert solution.value[-1, -1] == pytest.approx(1, abs=1e-3)


def test_without_seeds_alpha_is_zero():
    inputs = example(jnp.float32)
    solution = solve(inputs._replace(seeds=jnp.zeros_like(inputs.seeds)))
    assert solution.converged
    assert jnp.all(solution.value == 0)


def test_derivatives_agree_with_finite_differences_both_ways():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        inputs = example(jnp.float64, 6, 7)
        weights = jnp.asarray(rng.normal(size=(6, 7)))
        # Soft seeds everywhere, so that nothing is clipped and a step leaves a problem.
        seeds = 0.1 + 0.3 * jnp.asarray(rng.random((6, 7, 2)))
        point = (inputs.image, seeds, jnp.asarray(1e-2), jnp.asarray(0.5))

        @jax.jit
        def score(image, seeds, epsilon, seed_weight):
            given = Seeded(image, seeds)
            return (weights * solve(given, epsilon=epsilon, seed_weight=seed_weight).value).sum()

        assert solve(Seeded(*point[:2]), epsilon=1e-2, seed_weight=0.5).value.min() > 0
        cotangents = jax.jit(jax.grad(score, argnums=(0, 1, 2, 3)))(*point)
        tangent = jax.jit(lambda t: jax.jvp(score, point, t)[1])
        for which in range(4):
            direction = jnp.asarray(rng.normal(size=point[which].shape))
            step = 1e-6

            def at(t, which=which, direction=direction):
                moved = (p + t * direction if i == which else p for i, p in enumerate(point))
                return score(*moved)

            expected = (at(step) - at(-step)) / (2 * step)
            backward = (cotangents[which] * direction).sum()
            np.testing.assert_allclose(backward, expected, rtol=1e-5, atol=1e-9)
            only = tuple(
                direction if i == which else jnp.zeros_like(p) for i, p in enumerate(point)
            )
            np.testing.assert_allclose(tangent(only), backward, rtol=1e-8)


def test_a_gradient_in_float32_is_finite():
    gradient = jax.jit(jax.grad(lambda i: jnp.square(solve(i).value).sum()))(example(jnp.float32))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_picture_that_is_not_finite_gives_an_alpha_that_is_not_converged():
    inputs = example(jnp.float32)
    solution = solve(inputs._replace(image=inputs.image.at[0, 0, 0].set(jnp.nan)))
    assert not solution.converged
    assert jnp.isfinite(solution.value).all()


def test_seeds_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="seeds must be H×W×2"):
        solve(Seeded(jnp.ones((4, 5, 3)), jnp.ones((4, 5, 3))))


def test_conductances_in_float32_are_those_of_float64_where_colours_lie_in_a_line():
    # Grey and bright edges, whose windows have covariances that are singular but for epsilon.
    random = np.random.default_rng(0)
    grey = random.random((24, 24, 1)) * (random.random((24, 24, 1)) < 0.5)
    image = (np.clip(grey + 2e-3 * random.standard_normal((24, 24, 3)), 0, 1)).astype(np.float32)
    single = matting.laplacian_edges(jnp.asarray(image), 1e-7, 1)
    with jax.enable_x64(True):
        double = matting.laplacian_edges(jnp.asarray(image, jnp.float64), 1e-7, 1)
    assert single.dtype == jnp.float32 and double.dtype == jnp.float64
    np.testing.assert_allclose(single, double, atol=3e-4)
