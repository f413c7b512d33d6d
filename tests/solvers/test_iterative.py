import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.energies.random_walker import energy
from energynets.seeded import Seeded
from energynets.solvers import random_walker
from energynets.solvers.iterative import conjugate_gradients, minimise

SIZE = (3, 4)


def system(smallest=1e-3):
    """A dense symmetric positive definite matrix on 3×4 pixels, and three right-hand sides."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    matrix = (turn * np.geomspace(smallest, 1, 12)) @ turn.T
    return matrix, rng.normal(size=(*SIZE, 3))


def solve(matrix, rhs, *, dtype="float64", precondition=None, tol=1e-10, max_steps=100, start=None):
    given = jnp.asarray(matrix, dtype)

    def matvec(u):
        return (given @ u.reshape(12, -1)).reshape(u.shape)

    diagonal = jnp.diag(given).reshape(SIZE)

    def scaled(u):
        return u / diagonal.reshape(*SIZE, *[1] * (u.ndim - 2))

    return jax.jit(conjugate_gradients, static_argnums=0, static_argnames="precondition")(
        matvec,
        jnp.asarray(rhs, dtype),
        precondition=precondition or scaled,
        diagonal=diagonal,
        start=start,
        tol=tol,
        max_steps=max_steps,
    )


def exact(matrix, rhs):
    return np.linalg.solve(matrix, rhs.reshape(12, -1)).reshape(rhs.shape)


def test_each_column_is_solved():
    with jax.enable_x64(True):
        matrix, rhs = system()
        result = solve(matrix, rhs)
        assert result.converged.all()
        assert (result.movement <= 1e-10).all()
        np.testing.assert_allclose(result.value, exact(matrix, rhs), atol=1e-9)


def test_one_plane_without_columns_is_solved():
    with jax.enable_x64(True):
        matrix, rhs = system()
        result = solve(matrix, rhs[..., 0])
        assert result.converged.shape == ()
        np.testing.assert_allclose(result.value, exact(matrix, rhs[..., 0]), atol=1e-9)


def test_float32_comes_as_near_as_its_condition_allows():
    matrix, rhs = system(smallest=1e-2)
    result = solve(matrix, rhs, dtype="float32", tol=1e-3)
    assert result.value.dtype == jnp.float32
    assert result.converged.all()
    np.testing.assert_allclose(result.value, exact(matrix, rhs), atol=1e-3)


def test_running_out_of_steps_is_told_and_still_lowers_the_energy():
    with jax.enable_x64(True):
        matrix, rhs = system()
        result = solve(matrix, rhs, max_steps=3)
        assert not result.converged.any()
        assert (result.steps == 3).all()
        u = np.asarray(result.value).reshape(12, 3)
        energies = np.diag(u.T @ matrix @ u) - 2 * (u * rhs.reshape(12, 3)).sum(0)
        assert (energies < 0).all()


def test_no_steps_return_the_start():
    matrix, rhs = system()
    result = solve(matrix, rhs, dtype="float32", max_steps=0, start=jnp.ones((*SIZE, 3)))
    np.testing.assert_array_equal(result.value, 1)
    assert not result.converged.any()


def test_a_tolerance_that_rounding_forbids_ends_before_the_steps_do():
    matrix, rhs = system()
    result = solve(matrix, rhs, dtype="float32", tol=0.0, max_steps=10_000)
    assert not result.converged.any()
    assert result.steps.max() < 1000
    assert jnp.isfinite(result.value).all()


def test_a_good_start_is_nearer_after_as_many_steps_and_the_solution_takes_none():
    with jax.enable_x64(True):
        matrix, rhs = system()
        answer = exact(matrix, rhs)
        near = jnp.asarray(answer * (1 + 1e-4))
        cold, warm = (solve(matrix, rhs, max_steps=4, start=s) for s in (None, near))
        assert jnp.abs(warm.value - answer).max() < 0.1 * jnp.abs(cold.value - answer).max()
        done = solve(matrix, rhs, start=jnp.asarray(answer))
        assert done.converged.all()
        assert (done.steps == 0).all()


def test_finished_columns_wait_unchanged_for_the_others():
    with jax.enable_x64(True):
        matrix, rhs = system()
        rhs[..., 1] = 0
        together = solve(matrix, rhs)
        assert together.converged.all()
        assert together.steps[1] == 0
        assert (together.value[..., 1] == 0).all()
        alone = solve(matrix, rhs[..., :1])
        # One program for three columns and one for one round differently.
        assert abs(together.steps[0] - alone.steps[0]) <= 1
        np.testing.assert_allclose(together.value[..., 0], alone.value[..., 0], atol=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_reported_and_the_other_columns_are_solved(bad):
    with jax.enable_x64(True):
        matrix, rhs = system()
        spoilt = rhs.copy()
        spoilt[0, 0, 2] = bad
        result = solve(matrix, spoilt)
        assert jnp.isfinite(result.value).all()
        assert result.residual[2] == jnp.inf
        assert result.converged.tolist() == [True, True, False]
        np.testing.assert_allclose(result.value[..., :2], exact(matrix, rhs)[..., :2], atol=1e-9)


def test_a_preconditioner_that_breaks_down_gives_finite_values_that_are_not_converged():
    matrix, rhs = system()
    for broken in (lambda u: u * jnp.nan, lambda u: -u, lambda u: u * 0):
        result = solve(matrix, rhs, dtype="float32", precondition=broken)
        assert jnp.isfinite(result.value).all()
        assert not result.converged.any()


def test_a_matrix_that_is_not_definite_is_not_called_solved():
    matrix, rhs = system()
    result = solve(-matrix, rhs, dtype="float32", precondition=lambda u: u)
    assert jnp.isfinite(result.value).all()
    assert not result.converged.any()


def test_a_batch_by_vmap_is_the_loop():
    with jax.enable_x64(True):
        matrix, rhs = system()
        given = jnp.asarray(matrix)

        def one(rhs):
            return conjugate_gradients(
                lambda u: (given @ u.ravel()).reshape(SIZE),
                rhs,
                precondition=lambda u: u,
                diagonal=jnp.diag(given).reshape(SIZE),
                tol=1e-10,
                max_steps=100,
            )

        batch = jnp.moveaxis(jnp.asarray(rhs), -1, 0)
        together = jax.jit(jax.vmap(one))(batch)
        assert together.converged.all()
        for i in range(3):
            np.testing.assert_allclose(together.value[i], one(batch[i]).value, atol=1e-9)


def walk(image, beta, start=None, max_steps=500):
    seeds = jnp.zeros((*image.shape[:2], 2)).at[2, 3, 0].set(1).at[-3, -4, 1].set(1)
    inputs = Seeded(image, seeds)
    return minimise(
        lambda y: energy(inputs, y, beta=beta),
        seeds,
        matrix=random_walker.stencil(inputs, beta=beta),
        start=start,
        max_steps=max_steps,
    )


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).random((19, 17, 3))


def test_an_energy_is_minimised_as_exactly_as_by_elimination(noise):
    with jax.enable_x64(True):
        image = jnp.asarray(noise)
        solution = jax.jit(walk)(image, 20.0)
        seeds = jnp.zeros((19, 17, 2)).at[2, 3, 0].set(1).at[-3, -4, 1].set(1)
        expected = random_walker.solve(Seeded(image, seeds), beta=20.0)
        assert solution.converged
        assert solution.residual < 4e-11
        np.testing.assert_allclose(solution.value, expected.value, atol=1e-9)
        poor = jax.jit(walk)(image, 20.0, max_steps=1)
        assert not poor.converged
        assert poor.steps == 1
        warm = jax.jit(walk)(image, 20.0, start=expected.value)
        assert warm.converged
        assert warm.steps < solution.steps
        np.testing.assert_allclose(warm.value, expected.value, atol=1e-9)


def test_the_derivative_of_a_minimum_agrees_with_finite_differences(noise):
    with jax.enable_x64(True):
        image = jnp.asarray(noise)
        score = jax.jit(lambda beta: (walk(image, beta).value[..., 0] * image[..., 0]).sum())
        expected = (score(20.001) - score(19.999)) / 0.002
        np.testing.assert_allclose(jax.grad(score)(20.0), expected, rtol=1e-5)
