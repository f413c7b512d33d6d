import jax.numpy as jnp
import numpy as np
import pytest

from energynets.solvers.star_mesh import BLOCKS, LANES

# Below, at and above the size of the blocks in which larger matrices are inverted.
SIZES = pytest.mark.parametrize("size", [1, 5, 32, 33, 70])


def network(size, ground, seed=0):
    """Random symmetric conductances in float32, with anything on the diagonal; and the ground."""
    rng = np.random.default_rng(seed)
    edges = rng.uniform(0, 1, (size, size)).astype(np.float32)
    edges = np.triu(edges, 1) + np.triu(edges, 1).T
    np.fill_diagonal(edges, 7)
    return edges, np.full(size, ground, np.float32)


def inverse(edges, ground, layout):
    if layout is LANES:
        return np.asarray(
            LANES.inverse(jnp.asarray(edges)[..., None], jnp.asarray(ground)[:, None])
        )[..., 0]
    return np.asarray(BLOCKS.inverse(jnp.asarray(edges)[None], jnp.asarray(ground)[None]))[0]


def matrix(edges, ground):
    """In float64, where the sums of conductances are exact enough."""
    edges = edges.astype(float) * (1 - np.eye(len(edges)))
    return np.diag(edges.sum(1) + ground) - edges


@SIZES
@pytest.mark.parametrize("layout", [BLOCKS, LANES], ids=["blocks", "lanes"])
@pytest.mark.parametrize("ground", [1.0, 1e-6])
def test_every_entry_of_an_inverse_is_right_to_some_roundings(size, layout, ground):
    """Even where the matrix is nearly singular: with a ground of 1e-6 it is 1e8 times worse."""
    edges, leak = network(size, ground)
    expected = np.linalg.inv(matrix(edges, leak))
    np.testing.assert_allclose(inverse(edges, leak, layout), expected, rtol=2e-5)


@pytest.mark.parametrize("layout", [BLOCKS, LANES], ids=["blocks", "lanes"])
def test_of_nodes_that_nothing_joins_to_the_ground_one_counts_as_grounded(layout):
    edges, ground = network(5, 0)
    grounded = inverse(edges, ground, layout)
    kept = np.flatnonzero(np.diag(grounded))
    assert kept.size == 4
    expected = np.linalg.inv(matrix(edges, ground)[np.ix_(kept, kept)])
    np.testing.assert_allclose(grounded[np.ix_(kept, kept)], expected, rtol=2e-5)
