import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import skimage.data

from energynets.energies.dehazing import Hazy, coarse_transmission, energy
from energynets.solvers import dehazing
from energynets.solvers.dehazing import solve
from energynets.solvers.stencil import apply

SHAPE = (13, 17)


def example(dtype, height=SHAPE[0], width=SHAPE[1]):
    """A photograph under haze that thickens from left to right, and its coarse transmission."""
    clear = skimage.data.coffee()[100 : 100 + height, 200 : 200 + width] / 255
    t = np.linspace(0.9, 0.4, width)[None, :, None]
    image = jnp.asarray(t * clear + (1 - t) * 0.9, dtype)
    air = jnp.full(3, 0.9, dtype)
    return Hazy(image, coarse_transmission(image, air, radius=2))


def reference(inputs, *, data_weight, epsilon):
    """(L + λ)⁻¹ λ t̃, L from the residual of each window's ridge regression, by SuperLU."""
    image, coarse = (np.asarray(leaf, np.float64) for leaf in inputs)
    data_weight, epsilon = float(data_weight), float(epsilon)
    height, width = coarse.shape
    number = np.arange(coarse.size).reshape(height, width)
    matrix = scipy.sparse.lil_array((coarse.size, coarse.size))
    for i in range(height - 2):
        for j in range(width - 2):
            nodes = number[i : i + 3, j : j + 3].ravel()
            colours = image.reshape(coarse.size, -1)[nodes]
            # min over s, t of |a - C s - t|² + ε|s|² = aᵀ M a, M from the stacked least squares.
            stacked = np.vstack([np.c_[colours, np.ones(9)], np.sqrt(epsilon) * np.eye(3, 4)])
            hat = stacked @ np.linalg.pinv(stacked)
            matrix[np.ix_(nodes, nodes)] += (np.eye(12) - hat)[:9, :9]
    system = (matrix + data_weight * scipy.sparse.eye_array(coarse.size)).tocsc()
    found = scipy.sparse.linalg.splu(system).solve(data_weight * coarse.ravel())
    return found.reshape(coarse.shape)


@pytest.mark.parametrize("method", ["direct", "iterative"])
def test_the_solution_is_that_of_an_independent_sparse_solve(method):
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        for data_weight in (1e-4, 1e-2):
            weights = {"data_weight": jnp.asarray(data_weight), "epsilon": jnp.asarray(1e-6)}
            found = solve(inputs, **weights, method=method)
            assert found.converged and found.residual < 1e-10
            np.testing.assert_allclose(found.value, reference(inputs, **weights), atol=1e-7)


def test_in_float32_the_energy_is_the_least_and_no_small_move_lowers_it():
    inputs = example(jnp.float32)
    found = solve(inputs)
    assert found.value.dtype == jnp.float32 and found.residual < 1e-4
    weights = {"data_weight": 1e-4, "epsilon": 1e-6}
    with jax.enable_x64(True):
        exact = Hazy(*(jnp.asarray(leaf, jnp.float64) for leaf in inputs))
        best = reference(inputs, **weights)
        least = float(energy(exact, jnp.asarray(best)))
        reached = float(energy(exact, jnp.asarray(found.value, jnp.float64)))
        assert least <= reached <= 1.001 * least
        rng = np.random.default_rng(0)
        for _ in range(5):
            moved = best + 1e-3 * rng.normal(size=SHAPE)
            assert energy(exact, jnp.asarray(moved)) > least


def test_the_stencil_is_half_the_second_derivative_of_the_energy():
    with jax.enable_x64(True):
        inputs = example(jnp.float64)
        u = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE))
        gradient = jax.grad(lambda t: energy(inputs, t, data_weight=0.2, epsilon=1e-4))
        product = jax.jvp(gradient, (jnp.zeros(SHAPE),), (u,))[1] / 2
        matrix = dehazing.stencil(inputs, data_weight=0.2, epsilon=1e-4)
        np.testing.assert_allclose(apply(matrix, u), product, atol=1e-11)


def test_derivatives_are_those_of_finite_differences():
    with jax.enable_x64(True):
        weights = {"data_weight": jnp.asarray(1e-2), "epsilon": jnp.asarray(1e-3)}
        leaves = {**example(jnp.float64)._asdict(), **weights}
        rng = np.random.default_rng(2)
        weight = jnp.asarray(rng.normal(size=SHAPE))

        def of(leaves):
            leaves = dict(leaves)
            hazy = Hazy(leaves.pop("image"), leaves.pop("coarse"))
            found = solve(hazy, **leaves, method="direct")
            return (weight * found.value).sum()

        slopes = jax.grad(of)(leaves)
        for name, at in leaves.items():
            along = jnp.asarray(rng.normal(size=at.shape)) * 1e-5
            ends = [of({**leaves, name: at + sign * along}) for sign in (1, -1)]
            by_hand = (ends[0] - ends[1]) / 2
            np.testing.assert_allclose((slopes[name] * along).sum(), by_hand, rtol=1e-3)


def test_a_batch_is_a_vmap_and_tells_of_each_picture_whether_rounding_let_it_settle():
    inputs = example(jnp.float32)
    flat = jnp.full(SHAPE, 0.4, jnp.float32)  # its own minimum
    batch = Hazy(jnp.stack([inputs.image] * 2), jnp.stack([inputs.coarse, flat]))
    both = jax.vmap(lambda of, tol: solve(of, tol=tol))(batch, jnp.asarray([1e-12, 2e-5]))
    assert both.converged.tolist() == [False, True] and np.isfinite(both.value).all()
    np.testing.assert_allclose(both.value[1], 0.4, atol=1e-4)
    with jax.enable_x64(True):
        expected = reference(inputs, data_weight=1e-4, epsilon=1e-6)
    np.testing.assert_allclose(both.value[0], expected, atol=2e-3)


def test_grids_that_differ_are_refused():
    inputs = example(jnp.float32)
    with pytest.raises(ValueError, match="same grid"):
        solve(inputs._replace(coarse=inputs.coarse[:-1]))
