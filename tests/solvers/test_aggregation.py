import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energynets.solvers import aggregation

SHAPE = (23, 29)


def conductances(seed=0, span=6):
    """Edges whose weights span many orders of magnitude, and a few grounded pixels."""
    rng = np.random.default_rng(seed)
    height, width = SHAPE
    ground = np.where(rng.random(SHAPE) < 0.02, 1.0, 0.0)
    right = 10 ** -rng.uniform(0, span, (height, width - 1))
    down = 10 ** -rng.uniform(0, span, (height - 1, width))
    return ground, right, down


def matrix(graph):
    """Written out, from the edges one by one."""
    whole = np.diag(np.asarray(graph.ground, np.float64))
    for weight, i, j in zip(*(np.asarray(part) for part in graph[1:]), strict=True):
        whole[[i, j], [i, j]] += weight
        whole[[i, j], [j, i]] -= weight
    return whole


def test_a_coarser_graph_is_the_galerkin_product():
    with jax.enable_x64(True):
        graph = aggregation.grid(*(jnp.asarray(part) for part in conductances()))
        size = graph.ground.size // 4
        parent = np.asarray(aggregation.patches(graph, size))
        coarse = aggregation.contract(graph, jnp.asarray(parent), size)
        share = np.zeros((graph.ground.size, size))
        kept = parent < size
        share[np.flatnonzero(kept), parent[kept]] = 1
        assert 0 < parent[kept].max() < size
        np.testing.assert_allclose(matrix(coarse), share.T @ matrix(graph) @ share, atol=1e-14)
        assert (coarse.edges >= 0).all()


def test_applying_a_graph_is_its_matrix_and_the_grid_is_its_graph():
    with jax.enable_x64(True):
        parts = [jnp.asarray(part) for part in conductances()]
        graph = aggregation.grid(*parts)
        u = np.random.default_rng(1).normal(size=(2, graph.ground.size))
        expected = u @ matrix(graph)
        np.testing.assert_allclose(aggregation.apply(graph, jnp.asarray(u)), expected, atol=1e-13)
        on_grid = aggregation.apply_grid(*parts, jnp.asarray(u))
        np.testing.assert_allclose(on_grid, expected, atol=1e-13)
        np.testing.assert_allclose(aggregation.diagonal(graph), np.diag(matrix(graph)), rtol=1e-14)


def test_strongly_connected_pixels_share_a_patch_and_weak_edges_never_join():
    # Dominoes of weight 1 in a sea of 1e-6: no patch may reach across the sea.
    height, width = SHAPE
    right = np.full((height, width - 1), 1e-6)
    right[:, ::2] = 1
    down = np.full((height - 1, width), 1e-6)
    graph = aggregation.grid(*(jnp.asarray(x, jnp.float32) for x in (np.zeros(SHAPE), right, down)))
    parent = np.asarray(aggregation.patches(graph, graph.ground.size)).reshape(SHAPE)
    pairs = parent[:, : width - 1].reshape(height, -1, 2)
    assert (pairs[..., 0] == pairs[..., 1]).all()
    numbers = np.unique(pairs[..., 0], return_counts=True)[1]
    assert (numbers == 1).all()


def test_pixels_held_by_the_ground_have_no_patch():
    ground, right, down = conductances()
    ground[5] = 100
    graph = aggregation.grid(*(jnp.asarray(x, jnp.float32) for x in (ground, right, down)))
    parent = np.asarray(aggregation.patches(graph, 200)).reshape(SHAPE)
    assert (parent[5] == 200).all()


def test_patches_without_room_are_left_out_and_their_edges_lead_to_the_ground():
    with jax.enable_x64(True):
        graph = aggregation.grid(*(jnp.asarray(part) for part in conductances()))
        size = 20
        parent = np.asarray(aggregation.patches(graph, size))
        coarse = aggregation.contract(graph, jnp.asarray(parent), size)
        share = np.zeros((graph.ground.size, size))
        share[np.flatnonzero(parent < size), parent[parent < size]] = 1
        np.testing.assert_allclose(matrix(coarse), share.T @ matrix(graph) @ share, atol=1e-14)


def test_restriction_is_the_transpose_of_prolongation():
    rng = np.random.default_rng(2)
    parent = jnp.asarray(rng.integers(0, 8, 50), jnp.int32)  # 7 is out of bounds
    fine, coarse = rng.normal(size=(1, 50)), rng.normal(size=(1, 7))
    with jax.enable_x64(True):
        down = np.asarray(aggregation.restrict(parent, jnp.asarray(fine), 7))
        up = np.asarray(aggregation.prolong(parent, jnp.asarray(coarse)))
    np.testing.assert_allclose((down * coarse).sum(), (fine * up).sum(), rtol=1e-13)
    assert (up[0, np.asarray(parent) == 7] == 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_edges_are_coarsened_as_well_and_none_at_all_stay_finite(value):
    height, width = SHAPE
    parts = (
        jnp.zeros(SHAPE),
        jnp.full((height, width - 1), value),
        jnp.full((height - 1, width), value),
    )
    graph = aggregation.grid(*parts)
    parent = np.asarray(aggregation.patches(graph, graph.ground.size // 4))
    count = len(np.unique(parent[parent < graph.ground.size // 4]))
    assert count == 0 if value == 0 else 50 < count < graph.ground.size // 4
