import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energynets.solvers.stencil import Stencil, apply, coefficients, diagonal, offsets, probe


def random(height, width, radius, seed=0):
    """A stencil of edges of both signs, 0 where they would leave the grid; and its dense matrix."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(size=(height, width))
    edges = np.zeros((len(offsets(radius)), height, width))
    matrix = np.diag(ground.ravel())
    for m, (down, right) in enumerate(offsets(radius)):
        for i in range(height - down):
            for j in range(max(0, -right), width - max(0, right)):
                edge = edges[m, i, j] = rng.normal()
                a, b = i * width + j, (i + down) * width + j + right
                matrix[[a, b], [a, b]] += edge
                matrix[[a, b], [b, a]] -= edge
    return Stencil(jnp.asarray(ground), jnp.asarray(edges)), matrix


def test_offsets_are_one_of_each_two_opposite_neighbours():
    assert offsets(1) == ((0, 1), (1, -1), (1, 0), (1, 1))
    for radius in (1, 2, 3):
        half = offsets(radius)
        both = {(0, 0), *half, *((-i, -j) for i, j in half)}
        assert len(both) == 2 * len(half) + 1 == (2 * radius + 1) ** 2


def test_a_radius_below_one_is_refused():
    with pytest.raises(ValueError, match="radius must be 1 or more, got 0"):
        offsets(0)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([(1, 1, 1), (1, 7, 1), (1, 3, 2), (2, 2, 2), (5, 4, 2), (6, 1, 3)]))
def test_apply_diagonal_and_coefficients_are_those_of_the_dense_matrix(case):
    with jax.enable_x64(True):
        stencil, matrix = random(*case)
        height, width, radius = case
        assert stencil.radius == radius
        u = jnp.asarray(np.random.default_rng(1).normal(size=(height, width, 3)))
        expected = (matrix @ np.asarray(u).reshape(-1, 3)).reshape(u.shape)
        np.testing.assert_allclose(apply(stencil, u), expected, atol=1e-12)
        np.testing.assert_allclose(apply(stencil, u[..., 0]), expected[..., 0], atol=1e-12)
        np.testing.assert_allclose(diagonal(stencil).ravel(), np.diag(matrix), atol=1e-12)
        planes = coefficients(stencil)
        for m, (down, right) in enumerate(((0, 0), *offsets(radius))):
            for i in range(height - down):
                for j in range(max(0, -right), width - max(0, right)):
                    entry = matrix[i * width + j, (i + down) * width + j + right]
                    np.testing.assert_allclose(planes[m, i, j], entry, atol=1e-12)


@pytest.mark.parametrize("case", [(1, 1, 1), (2, 2, 2), (5, 7, 1), (7, 6, 2)])
def test_probing_finds_the_stencil_of_a_function(case):
    with jax.enable_x64(True):
        stencil, _ = random(*case)
        found = probe(lambda u: apply(stencil, u), stencil.ground, radius=case[2])
        np.testing.assert_allclose(found.ground, stencil.ground, atol=1e-12)
        np.testing.assert_allclose(found.edges, stencil.edges, atol=1e-12)


def test_differences_of_what_is_nearly_constant_do_not_cancel_in_float32():
    stencil, _ = random(6, 6, 2)
    stencil = Stencil(jnp.zeros((6, 6)), stencil.edges.astype(jnp.float32))
    assert jnp.all(apply(stencil, jnp.full((6, 6), 0.1)) == 0)
