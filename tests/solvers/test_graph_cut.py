import itertools
import sys

import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.solvers import graph_cut

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((3, 4, 3))


def problem(labels: int, shape: tuple[int, int] = (3, 4)):
    random = np.random.default_rng(labels)
    unary = random.random((*shape, labels))
    return unary, graph_cut.contrast(random.random((*shape, 3)))


def least(unary, weights, smoothness) -> float:
    """By trying every labelling."""
    height, width, count = unary.shape
    return min(
        graph_cut.energy(np.reshape(x, (height, width)), unary, weights, smoothness)
        for x in itertools.product(range(count), repeat=height * width)
    )


def test_the_energy_is_the_sum_over_pixels_and_neighbours():
    unary, weights = problem(3)
    labels = np.random.default_rng(1).integers(0, 3, (3, 4))
    expected = sum(unary[p][labels[p]] for p in np.ndindex(3, 4))
    for r, c in np.ndindex(3, 4):
        if r < 2 and labels[r, c] != labels[r + 1, c]:
            expected += 0.7 * weights[0][r, c]
        if c < 3 and labels[r, c] != labels[r, c + 1]:
            expected += 0.7 * weights[1][r, c]
    assert np.isclose(graph_cut.energy(labels, unary, weights, 0.7), expected)


def test_contrast_is_grab_cuts():
    down, right = graph_cut.contrast(IMAGE)
    pairs = [np.square(np.diff(IMAGE, axis=axis)).sum(-1) for axis in (0, 1)]
    beta = 1 / (2 * np.concatenate([pair.ravel() for pair in pairs]).mean())
    np.testing.assert_allclose(down, np.exp(-beta * pairs[0]))
    np.testing.assert_allclose(right, np.exp(-beta * pairs[1]))
    assert all((weight == 1).all() for weight in graph_cut.contrast(0 * IMAGE))


@pytest.mark.parametrize("smoothness", [0.0, 0.3, 1.0])
def test_two_labels_are_cut_exactly(smoothness):
    pytest.importorskip("maxflow")
    unary, weights = problem(2)
    found = graph_cut.expand(unary, weights, smoothness=smoothness)
    assert found.converged
    assert np.isclose(found.energy, least(unary, weights, smoothness))
    assert np.isclose(found.energy, graph_cut.energy(found.labels, unary, weights, smoothness))


def test_three_labels_reach_the_least_energy_here():
    pytest.importorskip("maxflow")
    unary, weights = problem(3, (2, 4))
    found = graph_cut.expand(unary, weights, smoothness=0.4)
    assert np.isclose(found.energy, least(unary, weights, 0.4))


def test_proposals_keep_seeds_and_fill_flat_regions():
    pytest.importorskip("maxflow")
    image = np.zeros((8, 10, 3))
    image[:, 5:] = 1
    seeds = np.zeros((8, 10, 2))
    seeds[4, 1, 0] = seeds[4, 8, 1] = 1
    seeds[0, 9, 0] = 1  # against all appearance
    even = np.full((8, 10, 2), 0.5)
    found = graph_cut.scribble_proposal(image, even, seeds)
    assert found.labels[0, 9] == 0 and found.labels[4, 8] == 1
    expected = (image[..., 0] > 0).astype(int)
    expected[0, 9] = 0
    np.testing.assert_array_equal(found.labels, expected)


def test_grab_cut_separates_two_colours_from_two_seeds():
    pytest.importorskip("cv2")
    image = np.random.default_rng(3).random((24, 24, 3)) * 0.1
    image[6:18, 6:18, 0] += 0.8
    seeds = np.zeros((24, 24, 2))
    seeds[1:3, :, 0] = seeds[11:13, 8:16, 1] = 1
    expected = (image[..., 0] > 0.5).astype(int)
    assert (graph_cut.grab_cut(image, seeds) == expected).mean() > 0.99


def test_grab_cut_cuts_each_of_three_labels_from_the_others():
    pytest.importorskip("cv2")
    image = np.random.default_rng(3).random((24, 36, 3)) * 0.1
    image[6:18, 4:14, 0] += 0.8
    image[6:18, 22:32, 1] += 0.8
    expected = np.where(image[..., 0] > 0.5, 3, np.where(image[..., 1] > 0.5, 1, 0))
    seeds = np.zeros((24, 36, 4))  # of label 2 there is none
    seeds[1:3, :, 0] = seeds[11:13, 6:12, 3] = seeds[11:13, 24:30, 1] = 1
    found = graph_cut.grab_cut(image, seeds)
    assert (found == expected).mean() > 0.97
    assert (found[seeds.any(-1)] == seeds.argmax(-1)[seeds.any(-1)]).all()


@pytest.mark.parametrize(("module", "package"), [("maxflow", "PyMaxflow"), ("cv2", "opencv")])
def test_a_missing_package_is_told_in_one_line(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BadInputError, match=f"pip install {package}") as caught:
        if module == "maxflow":
            graph_cut.expand(*problem(2), smoothness=1.0)
        else:
            graph_cut.grab_cut(IMAGE, np.eye(2)[np.arange(12).reshape(3, 4) % 2])
    assert "\n" not in str(caught.value)


def test_bad_input_is_told_in_one_line():
    unary, weights = problem(2)
    for bad, expected in (
        ((unary * np.nan, weights), "finite"),
        ((unary, weights[::-1]), "2×4 and 3×3"),
    ):
        with pytest.raises(BadInputError, match=expected):
            graph_cut.expand(*bad, smoothness=1.0)
    for smoothness in (-1.0, np.inf, np.nan):
        told = f"smoothness must be finite and not negative, got {smoothness:g}"
        with pytest.raises(BadInputError, match=told):
            graph_cut.expand(unary, weights, smoothness=smoothness)
        with pytest.raises(BadInputError, match=told):
            graph_cut.scribble_proposal(IMAGE, unary, np.round(unary), smoothness=smoothness)
    with pytest.raises(BadInputError, match="weights must be finite"):
        graph_cut.expand(unary, (weights[0], weights[1] * np.nan), smoothness=1.0)
    with pytest.raises(BadInputError, match="one label or more"):
        graph_cut.expand(unary[..., :0], weights, smoothness=1.0)
    with pytest.raises(BadInputError, match="must agree"):
        graph_cut.scribble_proposal(IMAGE, unary[..., :0], unary[..., :0])
    with pytest.raises(BadInputError, match="seeds H×W×K"):
        graph_cut.grab_cut(IMAGE, unary[..., 0])
    with pytest.raises(BadInputError, match="some pixels of two labels, got 0"):
        graph_cut.grab_cut(IMAGE, unary[..., :0])
    with pytest.raises(BadInputError, match="of one label at each pixel"):
        graph_cut.grab_cut(IMAGE, np.ones((3, 4, 2)))
    with pytest.raises(BadInputError, match="image must be H×W×C"):
        graph_cut.contrast(IMAGE[..., 0])
    with pytest.raises(BadInputError, match="must agree"):
        graph_cut.scribble_proposal(IMAGE, unary, unary[:2])
    with pytest.raises(BadInputError, match="seeds H×W×K"):
        graph_cut.grab_cut(IMAGE, unary[:2])
    with pytest.raises(BadInputError, match="some pixels of two labels, got 0"):
        graph_cut.grab_cut(IMAGE, np.zeros((3, 4, 2)))
    seeds = np.eye(2)[np.arange(12).reshape(3, 4) % 2]
    for levels, told in (
        ((255 * IMAGE).astype(np.uint8), "uint8"),
        (255 * IMAGE, "it from .* to 2"),
    ):
        for refused in (
            lambda levels: graph_cut.grab_cut(levels, seeds),
            lambda levels: graph_cut.scribble_proposal(levels, unary, seeds),
            graph_cut.contrast,
        ):
            with pytest.raises(BadInputError, match=rf"floating point in \[0, 1\], got {told}"):
                refused(levels)


def test_grab_cut_of_seeds_at_every_pixel_is_those_seeds():
    pytest.importorskip("cv2")
    for count in (2, 3):
        labels = np.arange(12).reshape(3, 4) % count
        np.testing.assert_array_equal(graph_cut.grab_cut(IMAGE, np.eye(count)[labels]), labels)
