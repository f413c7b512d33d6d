import jax.numpy as jnp
import numpy as np
import pytest

from energynets.solvers import merging
from energynets.solvers.dissection import plan
from energynets.solvers.star_mesh import BLOCKS, LANES

LAYOUTS = pytest.mark.parametrize("layout", [BLOCKS, LANES], ids=["blocks", "lanes"])
# Along both axes; inside, at an edge, and where the first cut folds; with empty slots and without.
MERGES = [*plan((23, 18), 1, 3).merges, *plan((16, 11), 2, 3).merges]


class Pair:
    """Two regions with random conductances and right-hand sides, and the same as one dense system.

    Parent's ring first in `edges` and `given`, the separator after it.
    """

    def __init__(self, merge, seed=0, columns=2):
        rng = np.random.default_rng(seed)
        size, length = merge.ring.size, merge.cut[0][1]
        self.places, self.children, self.given_to = [], [], []
        self.edges = np.zeros((size + length,) * 2)
        self.given = np.zeros((size + length, columns))
        for keep, (begin, _) in zip(merge.keep, merge.cut, strict=True):
            place = np.full(merge.child.size, -1)
            place[begin : begin + length] = size + np.arange(length)
            for start, count, to in keep:
                place[start : start + count] = to + np.arange(count)
            there = place >= 0
            child = rng.uniform(0, 1, (place.size,) * 2) * there * there[:, None]
            child = np.triu(child, 1) + np.triu(child, 1).T
            given = rng.standard_normal((place.size, columns)) * there[:, None]
            self.edges[np.ix_(place[there], place[there])] += child[np.ix_(there, there)]
            self.given[place[there]] += given[there]
            self.places.append(place)
            self.children.append(child)
            self.given_to.append(given)
        self.ring, self.separator = slice(size), slice(size, None)
        across = self.edges[self.separator]
        pivot = np.diag(across.sum(1)) - across[:, self.separator]
        self.inverse, self.across = np.linalg.inv(pivot), across[:, self.ring]


def laid(array, layout):
    """As a batch of one, in float32."""
    return jnp.asarray(array[..., None] if layout is LANES else array[None], jnp.float32)


def plain(array, layout):
    return np.asarray(array[..., 0] if layout is LANES else array[0])


@LAYOUTS
@pytest.mark.parametrize("merge", MERGES)
def test_the_separator_is_eliminated_from_the_two_regions_together(merge, layout):
    pair = Pair(merge)
    _, left = merging.eliminate(*(laid(child, layout) for child in pair.children), merge, layout)
    expected = pair.edges[pair.ring, pair.ring] + pair.across.T @ pair.inverse @ pair.across
    difference = plain(left, layout) - expected
    np.fill_diagonal(difference, 0)
    assert np.abs(difference).max() < 1e-5 * np.abs(expected).max()


@LAYOUTS
@pytest.mark.parametrize("merge", MERGES)
def test_forward_and_backward_solve_for_the_separator(merge, layout):
    pair = Pair(merge)
    level, _ = merging.eliminate(*(laid(child, layout) for child in pair.children), merge, layout)
    given = (laid(of, layout) for of in pair.given_to)
    total, ring = merging.forward(level, *given, merge, layout)
    reach = pair.across.T @ pair.inverse
    sent = pair.given[pair.ring] + reach @ pair.given[pair.separator]
    np.testing.assert_allclose(plain(ring, layout), sent, atol=1e-5)

    known = np.random.default_rng(1).standard_normal(sent.shape)
    solution = np.r_[known, pair.inverse @ pair.given[pair.separator] + reach.T @ known]
    parts = merging.backward(level, total, laid(known, layout), merge, layout)
    for part, place in zip(parts, pair.places, strict=True):
        there = place >= 0
        assert np.all(plain(part, layout)[~there] == 0)
        np.testing.assert_allclose(plain(part, layout)[there], solution[place[there]], atol=1e-5)
