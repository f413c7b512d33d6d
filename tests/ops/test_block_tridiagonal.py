import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from energynets.ops import block_tridiagonal


def grid(height, width, labels=2, seed=0):
    """Conductances over twelve powers of ten, few pixels grounded."""
    random = np.random.default_rng(seed)
    ground = np.where(random.random((height, width)) < 0.1, random.random((height, width)), 1e-6)
    right = 10 ** random.uniform(-6, 6, (height, width - 1))
    down = 10 ** random.uniform(-6, 6, (height - 1, width))
    return ground, right, down, random.random((height, width, labels))


def matrix(ground, right, down):
    height, width = ground.shape
    result = np.diag(ground.ravel())
    for i in range(height):
        for j in range(width):
            for at, conductance in (
                ((i, j + 1), right[i, j] if j + 1 < width else 0),
                ((i + 1, j), down[i, j] if i + 1 < height else 0),
            ):
                if conductance:
                    a, b = i * width + j, at[0] * width + at[1]
                    result[[a, b], [a, b]] += conductance
                    result[[a, b], [b, a]] -= conductance
    return result


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (4, 9), (9, 4)])
def test_the_solution_is_that_of_the_dense_matrix(height, width):
    system = grid(height, width)
    with jax.enable_x64(True):
        value = block_tridiagonal.solve(*map(jnp.asarray, system))
        expected = np.linalg.solve(matrix(*system[:3]), system[3].reshape(-1, 2))
    # The dense solution itself is right to the condition number, about 1e12, of 2e-16.
    np.testing.assert_allclose(np.reshape(value, (-1, 2)), expected, rtol=1e-3)


def test_float32_is_right_to_a_few_hundred_roundings_whatever_the_conductances():
    system = grid(20, 12)
    single = [np.asarray(part, np.float32) for part in system]
    with jax.enable_x64(True):
        exact = block_tridiagonal.solve(*(jnp.asarray(part, jnp.float64) for part in single))
    value = block_tridiagonal.solve(*map(jnp.asarray, single))
    np.testing.assert_allclose(value, exact, rtol=300 * 2.0**-23)


def test_what_is_the_same_everywhere_stays():
    ground, right, down, _ = (jnp.asarray(part, jnp.float32) for part in grid(9, 9))
    value = block_tridiagonal.solve(ground, right, down, 3 * ground[..., None])
    np.testing.assert_allclose(value, 3, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3)])
def test_the_derivatives_are_those_of_finite_differences(height, width):
    random = np.random.default_rng(1)
    shapes = (height, width), (height, width - 1), (height - 1, width), (height, width, 2)
    with jax.enable_x64(True):
        parts = [jnp.asarray(random.uniform(0.5, 2, shape)) for shape in shapes]
        check_grads(block_tridiagonal.solve, parts, order=2, eps=1e-5)


def test_a_batch_is_solved_like_each_of_its_grids():
    systems = [grid(4, 6, seed=seed) for seed in range(3)]
    together = [jnp.asarray(np.stack(parts), jnp.float32) for parts in zip(*systems, strict=True)]
    values = jax.vmap(block_tridiagonal.solve)(*together)
    for parts, value in zip(zip(*together, strict=True), values, strict=True):
        np.testing.assert_allclose(value, block_tridiagonal.solve(*parts), rtol=1e-5)
