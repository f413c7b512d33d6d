"""Comparisons of solvers run at tiny sizes, and what they say of their own errors is true."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.pictures import band, photographs, strokes
from benchmarks.rows import OURS, alternate
from benchmarks.systems import System, direct
from energynets.solvers.stencil import Stencil


@pytest.mark.parametrize("name", ["random_walker", "matting", "dehazing"])
def test_a_quick_comparison_has_a_row_for_each_method(name):
    if name == "matting":
        pytest.importorskip("pymatting", exc_type=ImportError)
    rows = list(importlib.import_module(f"benchmarks.{name}").quick())
    for row in rows:
        assert row["comparison"] and row["case"] and row["method"]
        if row.get("note", "").startswith("not run"):
            continue
        assert row["seconds"] > 0
        if row["method"] in (OURS, "splu", "spsolve", "CHOLMOD"):
            assert row["error"] < 1e-6
        if "error" not in row:
            assert row["note"]
    ours = [row for row in rows if row["method"] == OURS]
    assert ours and all("converged True" in row["note"] for row in ours)
    assert {row["case"] for row in rows} == {row["case"] for row in ours}


def test_a_scribble_more_is_exact_with_a_kept_factor():
    rows = list(importlib.import_module("benchmarks.scribble").quick())
    ours = [row for row in rows if row["method"] == OURS]
    assert len(ours) == 3
    for row in ours:
        assert row["error"] < 1e-6
        assert "converged True" in row["note"]
    assert all(row["seconds"] > 0 for row in rows)


def test_growth_tells_the_exponents_between_two_sizes():
    growth = importlib.import_module("benchmarks.growth")
    exponents = growth._exponents(
        {"pixels": 100, "cpu": 1.0, "memory": 10}, {"pixels": 400, "cpu": 8.0, "memory": 40}
    )
    assert exponents == "CPU time ~ N^1.50, memory ~ N^1.00"
    assert growth.fits("random walker", "direct", 512, 4)
    assert not growth.fits("random walker", "direct", 4096, 4)
    assert growth.fits("matting", "iterative", 4096, 4)


def test_every_direct_peer_solves_the_system():
    rng = np.random.default_rng(0)
    edges = rng.random((4, 5, 6))
    columns, rows = np.arange(6), np.arange(5)[:, None]
    edges[0] *= columns < 5
    edges[1] *= (columns > 0) & (rows < 4)
    edges[2] *= rows < 4
    edges[3] *= (columns < 5) & (rows < 4)
    rhs = rng.random((5, 6, 2))
    with jax.enable_x64(True):
        matrix = Stencil(jnp.full((5, 6), 0.5), jnp.asarray(edges))
        system = System(matrix, rhs)
        for call in (*direct(system).values(), system.refined):
            product = system.matrix @ call().reshape(30, 2)
            np.testing.assert_allclose(product, rhs.reshape(30, 2), rtol=1e-12)


def test_pictures_are_squares_in_the_unit_range_and_trimaps_leave_a_band():
    pictures = photographs(32)
    assert len(pictures) == 4
    for picture in pictures.values():
        assert picture.shape == (32, 32, 3) and 0 <= picture.min() < picture.max() <= 1
        background, foreground = np.moveaxis(band(picture), -1, 0)
        assert background.any() and foreground.any()
        assert not (background * foreground).any()
        assert 0 < 1 - (background + foreground).mean() < 0.6
    assert (strokes(32).sum((0, 1)) == 8).all()


def test_a_slow_contender_is_called_once_a_turn():
    calls = {OURS: 0, "slow": 0}

    def call(name):
        calls[name] += 1
        return sum(range(10000))

    alternate({name: lambda name=name: call(name) for name in calls}, 2, slow=("slow",))
    assert calls["slow"] == 2 and calls[OURS] > 2
