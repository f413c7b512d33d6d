import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg as sla
import skimage.data

from energynets.interface import descent
from energynets.interface.descent import Problem
from energynets.seeded import Seeded
from energynets.solvers import random_walker, stencil

SHAPE = (12, 15)


def problem(seed=0, shape=SHAPE, beta=30.0):
    random = np.random.default_rng(seed)
    image = random.random((*shape, 3)).astype(np.float32)
    planes = np.zeros((*shape, 2), np.float32)
    planes[0, :4, 0] = planes[-1, 2:, 1] = 1
    seeded = Seeded(jnp.asarray(image), jnp.asarray(planes))
    return Problem(random_walker.stencil(seeded, beta=beta), seeded.seeds), seeded


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
    found = descent.improve(at, start, jnp.int32(steps), jnp.float32(0))
    np.testing.assert_allclose(found.value, scipys(at, start, steps), atol=2e-5)
    assert found.steps == steps
    error = np.asarray(at.rhs - stencil.apply(at.matrix, found.value))
    expected = np.abs(error / np.asarray(stencil.diagonal(at.matrix))[..., None]).max()
    np.testing.assert_allclose(found.residual, expected, rtol=1e-4)


def energy(at, u):
    return float((u * stencil.apply(at.matrix, u) - 2 * at.rhs * u).sum())


def test_every_step_lowers_the_energy_and_enough_of_them_find_the_minimum():
    at, seeded = problem(beta=3.0)
    nothing = jnp.zeros((*SHAPE, 2))
    values = [descent.improve(at, nothing, jnp.int32(n), jnp.float32(0)).value for n in range(8)]
    assert (np.diff([energy(at, value) for value in values]) < 0).all()
    found = descent.improve(at, nothing, jnp.int32(500), jnp.float32(2e-5))
    assert found.steps < 500 and found.residual <= 2e-5 and found.settled
    exact = random_walker.solve(seeded, beta=3.0)
    np.testing.assert_allclose(found.value, exact.value, atol=1e-3)


def test_steps_beyond_the_minimum_do_not_leave_it_again():
    at, _ = problem(beta=3.0)
    nothing = jnp.zeros((*SHAPE, 2))
    some, many = (
        descent.improve(at, nothing, jnp.int32(n), jnp.float32(0)).value for n in (200, 5000)
    )
    np.testing.assert_allclose(some, many, atol=1e-6)


def test_nothing_to_solve_stays_as_it_is():
    at, _ = problem()
    empty = Problem(stencil.Stencil(jnp.zeros(SHAPE), jnp.zeros((4, *SHAPE))), at.rhs * 0)
    found = descent.improve(empty, jnp.ones((*SHAPE, 2)), jnp.int32(5), jnp.float32(0))
    assert (np.asarray(found.value) == 1).all() and found.residual == 0


def test_sizes_are_squares_of_at_most_half_the_pixels():
    assert descent.sizes_up_to((51, 60)) == [(26, 30), (51, 60)]
    assert descent.sizes_up_to((1, 1)) == [(1, 1), (1, 1)]
    assert descent.sizes_up_to((64, 128)) == [(64, 64), (64, 128)]
    assert descent.sizes_up_to((300, 400)) == [(64, 64), (128, 128), (300, 400)]
    large = descent.sizes_up_to((3000, 4000))
    assert large == [(64 * 2**k, 64 * 2**k) for k in range(6)] + [(3000, 4000)]


def test_resizing_keeps_means_and_leaves_equal_sizes_alone():
    planes = np.random.default_rng(2).random((8, 12, 2)).astype(np.float32)
    assert descent.shrunk(planes, (8, 12)) is planes and descent.enlarged(planes, (8, 12)) is planes
    blocks = planes.reshape(4, 2, 6, 2, 2).mean((1, 3))
    np.testing.assert_allclose(descent.shrunk(planes, (4, 6)), blocks, atol=1e-6)
    assert descent.enlarged(planes, (16, 23)).shape == (16, 23, 2)


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
            jnp.asarray(descent.shrunk(photograph, size)),
            jnp.asarray(area * descent.shrunk(planes, size)),
        )
        return Problem(random_walker.stencil(small, beta=100.0), small.seeds)

    found = descent.cascade(at, shape, steps=10)
    assert visited == [(64, 64), shape]
    full = at(shape)
    cold = descent.improve(full, jnp.zeros_like(full.rhs), jnp.int32(10), jnp.float32(0))
    exact = random_walker.solve(Seeded(jnp.asarray(photograph), jnp.asarray(planes)), beta=100.0)
    above = [energy(full, u) - energy(full, exact.value) for u in (found.value, cold.value)]
    assert 0 <= above[0] < 0.2 * above[1], above
    # A start of one's own skips the sizes that it already has.
    visited.clear()
    again = descent.cascade(at, shape, steps=10, start=np.asarray(found.value))
    assert visited == [shape] and energy(full, again.value) < energy(full, found.value)
