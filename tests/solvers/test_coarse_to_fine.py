import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg as sla
import skimage.data

from energynets.seeded import Seeded
from energynets.solvers import coarse_to_fine, matting, random_walker, stencil
from energynets.solvers.coarse_to_fine import Problem

SHAPE = (12, 15)


def problem(seed=0, shape=SHAPE):
    """Matting with a strong hold, so that rounding does not matter."""
    random = np.random.default_rng(seed)
    image = random.random((*shape, 3)).astype(np.float32)
    planes = np.zeros((*shape, 2), np.float32)
    planes[0, :4, 0] = planes[-1, 2:, 1] = 1
    seeded = Seeded(jnp.asarray(image), jnp.asarray(planes))
    return Problem(matting.stencil(seeded, epsilon=1e-2), seeded.seeds), seeded


def scipys(problem, start, steps):
    """Preconditioned conjugate gradients of SciPy, each plane by itself."""
    shape = start.shape[:2]

    def matvec(u):
        return np.asarray(stencil.apply(problem.matrix, jnp.asarray(u.reshape(shape)))).ravel()

    diagonal = np.asarray(stencil.diagonal(problem.matrix), float).ravel()
    operator: dict = {"shape": (diagonal.size,) * 2, "dtype": float}
    matrix = sla.LinearOperator(matvec=matvec, **operator)
    inverse = sla.LinearOperator(matvec=lambda r: r / diagonal, **operator)
    planes = []
    for k in range(start.shape[-1]):
        rhs, begin = (np.asarray(a[..., k], float).ravel() for a in (problem.rhs, start))
        found, _ = sla.cg(matrix, rhs, begin, rtol=0, atol=0, maxiter=steps, M=inverse)
        planes.append(found.reshape(shape))
    return np.stack(planes, -1)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_steps_are_those_of_scipys_conjugate_gradients(steps):
    at, _ = problem()
    start = jnp.asarray(np.random.default_rng(1).random((*SHAPE, 2)), jnp.float32)
    found = coarse_to_fine.improve(at, start, jnp.int32(steps), jnp.float32(0))
    np.testing.assert_allclose(found.value, scipys(at, start, steps), atol=2e-5)
    assert found.steps == steps
    error = np.asarray(at.rhs - stencil.apply(at.matrix, found.value))
    expected = np.abs(error / np.asarray(stencil.diagonal(at.matrix))[..., None]).max()
    np.testing.assert_allclose(found.residual, expected, rtol=1e-4)


def energy(at, u):
    return float((u * stencil.apply(at.matrix, u) - 2 * at.rhs * u).sum())


def test_every_step_lowers_the_energy_and_enough_of_them_find_the_minimum():
    at, seeded = problem()
    nothing = jnp.zeros((*SHAPE, 2))

    def after(steps, tol=0.0):
        return coarse_to_fine.improve(at, nothing, jnp.int32(steps), jnp.float32(tol))

    assert (np.diff([energy(at, after(n).value) for n in range(8)]) < 0).all()
    found = after(900, 2e-5)
    assert found.steps < 900 and found.residual <= 2e-5 and found.converged
    exact = matting.solve(seeded, epsilon=1e-2)
    np.testing.assert_allclose(np.clip(found.value[..., 1], 0, 1), exact.value, atol=1e-3)


def test_steps_beyond_the_minimum_do_not_leave_it_again():
    at, _ = problem()
    nothing = jnp.zeros((*SHAPE, 2))
    some, many = (
        coarse_to_fine.improve(at, nothing, jnp.int32(n), jnp.float32(0)) for n in (900, 5000)
    )
    np.testing.assert_allclose(some.value, many.value, atol=1e-4)
    assert many.steps < 5000


def test_a_random_walker_is_solved_in_few_steps_whatever_its_edges():
    shape = 40, 48
    image = jnp.asarray(skimage.data.astronaut()[40:120:2, 160:256:2] / np.float32(255))
    planes = np.zeros((*shape, 2), np.float32)
    planes[0, :4, 0] = planes[-1, 2:, 1] = 1
    seeded = Seeded(image, jnp.asarray(planes))
    at = Problem(random_walker.stencil(seeded, beta=1000.0), seeded.seeds)
    found = coarse_to_fine.improve(at, at.rhs * 0, jnp.int32(100), jnp.float32(2e-5))
    assert found.converged and found.steps < 35
    exact = random_walker.solve(seeded, beta=1000.0)
    np.testing.assert_allclose(found.value, exact.value, atol=1e-3)


def test_nothing_to_solve_stays_as_it_is():
    at, _ = problem()
    empty = Problem(stencil.Stencil(jnp.zeros(SHAPE), jnp.zeros((12, *SHAPE))), at.rhs * 0)
    found = coarse_to_fine.improve(empty, jnp.ones((*SHAPE, 2)), jnp.int32(5), jnp.float32(0))
    assert (np.asarray(found.value) == 1).all() and found.residual == 0


def test_sizes_are_squares_of_at_most_half_the_pixels():
    assert coarse_to_fine.sizes_up_to((51, 60)) == [(26, 30), (51, 60)]
    assert coarse_to_fine.sizes_up_to((1, 1)) == [(1, 1), (1, 1)]
    assert coarse_to_fine.sizes_up_to((64, 128)) == [(64, 64), (64, 128)]
    assert coarse_to_fine.sizes_up_to((300, 400)) == [(64, 64), (128, 128), (300, 400)]
    large = coarse_to_fine.sizes_up_to((3000, 4000))
    assert large == [(64 * 2**k, 64 * 2**k) for k in range(6)] + [(3000, 4000)]


def test_from_coarse_sizes_the_same_steps_come_far_closer_than_from_nothing():
    shape = (150, 180)
    photograph = skimage.data.astronaut()[:150, :180] / np.float32(255)
    planes = np.zeros((*shape, 2), np.float32)
    planes[60:90, 100:120, 1] = planes[:9, :40, 0] = planes[130:, :20, 0] = 1
    visited = []

    def at(size):
        visited.append(size)
        area = np.float32(shape[0] * shape[1] / (size[0] * size[1]))
        small = Seeded(
            jax.image.resize(photograph, (*size, 3), "linear"),
            area * jax.image.resize(planes, (*size, 2), "linear"),
        )
        return Problem(matting.stencil(small), small.seeds[..., 1:])

    def enlarge(value, size):
        return jax.image.resize(value, (*size, 1), "linear")

    found = coarse_to_fine.cascade(at, shape, enlarge=enlarge, steps=10, between=5)
    assert visited == [(64, 64), shape]
    full = at(shape)
    cold = coarse_to_fine.improve(full, full.rhs * 0, jnp.int32(10), jnp.float32(0))
    exact = coarse_to_fine.improve(full, found.value, jnp.int32(1500), jnp.float32(1e-6))
    above = [energy(full, u) - energy(full, exact.value) for u in (found.value, cold.value)]
    assert 0 <= above[0] < 0.2 * above[1], above
    # A start of one's own skips the sizes that it already has.
    visited.clear()
    start = np.asarray(found.value)
    again = coarse_to_fine.cascade(at, shape, enlarge=enlarge, steps=10, between=5, start=start)
    assert visited == [shape] and energy(full, again.value) < energy(full, found.value)
