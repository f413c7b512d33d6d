import itertools
import sys

import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.solvers import alpha_expansion

EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0], [1, 3], [5, 0]])


def problem(seed, labels):
    random = np.random.default_rng(seed)
    return random.random((6, labels)), EDGES, random.random(len(EDGES))


def test_the_energy_is_the_sum_over_nodes_and_edges():
    unary, edges, weights = problem(0, 3)
    labels = np.array([0, 2, 1, 1, 0, 2])
    expected = sum(unary[node][label] for node, label in enumerate(labels))
    for (i, j), weight in zip(edges, weights, strict=True):
        expected += weight if labels[i] != labels[j] else 0
    assert np.isclose(alpha_expansion.energy(labels, unary, edges, weights), expected)


@pytest.mark.parametrize("labels", [2, 3])
def test_expansion_finds_what_trying_all_labellings_finds(labels):
    pytest.importorskip("maxflow")
    for seed in range(8):
        of = problem(seed, labels)
        found = alpha_expansion.expand(*of)
        everything = (np.array(one) for one in itertools.product(range(labels), repeat=6))
        least = min(alpha_expansion.energy(one, *of) for one in everything)
        assert found.energy == alpha_expansion.energy(found.labels, *of)
        assert found.converged
        if labels == 2:
            assert found.energy == pytest.approx(least)
        else:
            assert least - 1e-9 <= found.energy <= 2 * least


def test_no_single_expansion_lowers_what_it_ends_with():
    pytest.importorskip("maxflow")
    unary, edges, weights = problem(3, 4)
    found = alpha_expansion.expand(unary, edges, weights)
    for label in range(4):
        for takes in itertools.product([False, True], repeat=6):
            trial = np.where(takes, label, found.labels)
            assert alpha_expansion.energy(trial, unary, edges, weights) >= found.energy - 1e-9


def test_a_graph_without_edges_has_the_labels_of_least_cost():
    pytest.importorskip("maxflow")
    unary, edges, weights = problem(1, 3)
    found = alpha_expansion.expand(unary, edges[:0], weights[:0])
    np.testing.assert_array_equal(found.labels, unary.argmin(-1))


def test_what_is_given_stays_as_it_is():
    pytest.importorskip("maxflow")
    of = problem(2, 3)
    before = [array.copy() for array in of]
    alpha_expansion.expand(*of)
    for one, other in zip(of, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bad_input_is_told_in_one_line(monkeypatch):
    unary, edges, weights = problem(0, 2)
    for bad, told in (
        ((unary * np.nan, edges, weights), "unary must be finite and S×K"),
        ((unary[0], edges, weights), "unary must be finite and S×K"),
        ((unary, edges.T, weights), "edges E×2 and weights E must agree"),
        ((unary, edges, weights[1:]), "edges E×2 and weights E must agree"),
        ((unary, edges + 1, weights), "nodes from 0 to 5, got 1 to 6"),
        ((unary, edges, -weights), "must be finite and not negative"),
        ((unary, edges, weights + np.inf), "weights must be finite and not negative, got inf"),
        ((unary[:, :0], edges, weights), r"one label or more, got \(6, 0\)"),
    ):
        with pytest.raises(BadInputError, match=told):
            alpha_expansion.expand(*bad)
    monkeypatch.setitem(sys.modules, "maxflow", None)
    with pytest.raises(BadInputError, match="pip install PyMaxflow"):
        alpha_expansion.expand(unary, edges, weights)
