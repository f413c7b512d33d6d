import numpy as np
import pytest

from energynets.errors import BadInputError
from energynets.solvers import scribble_sup


def squares(height, width, side):
    rows, columns = np.mgrid[:height, :width] // side
    return rows * (-(-width // side)) + columns


def test_segments_that_touch_are_pairs():
    segments = np.array([[0, 0, 1], [2, 0, 1], [2, 3, 3]])
    expected = [[0, 1], [0, 2], [0, 3], [1, 3], [2, 3]]
    assert scribble_sup.neighbours(segments).tolist() == expected


def test_histograms_are_shares_of_each_segments_pixels():
    image = np.random.default_rng(0).random((6, 8, 3))
    segments = squares(6, 8, 3)
    colour, texture = scribble_sup.histograms(image, segments)
    assert colour.shape == (6, 75) and texture.shape == (6, 20)
    np.testing.assert_allclose(colour.reshape(6, 3, 25).sum(-1), 1)
    np.testing.assert_allclose(texture.reshape(6, 2, 10).sum(-1), 1)
    inside = image[segments == 4][:, 1]
    expected = np.histogram(inside, 25, (0, 1))[0] / len(inside)
    np.testing.assert_allclose(colour[4, 25:50], expected)


def test_numbers_that_no_segment_has_change_nothing():
    pytest.importorskip("maxflow")
    image, seeds, truth = picture()
    segments = 2 * squares(24, 24, 4) + 1
    colour, texture = scribble_sup.histograms(image, segments)
    assert (colour[::2] == 0).all() and (texture[::2] == 0).all()
    uniform = np.full((24, 24, 3), 1 / 3)
    found = scribble_sup.propose(image, segments, uniform, seeds)
    np.testing.assert_array_equal(found.labels, truth)
    assert np.isfinite(found.energy)


def test_alike_segments_have_weight_1_and_others_less():
    image = np.zeros((4, 16, 3))
    image[:, 12:] = 0.9
    segments = squares(4, 16, 4)
    edges = scribble_sup.neighbours(segments)
    alike, _, apart = scribble_sup.similarity(image, segments, edges)
    assert alike == 1 and apart < 1e-3


def picture(seed=0):
    """A bright square on dark ground, one stroke on each, a third label that nobody drew."""
    # In the middle of a histogram's bins, so that noise moves no pixel to the next one.
    image = np.full((24, 24, 3), 0.22) + np.random.default_rng(seed).normal(0, 0.003, (24, 24, 3))
    image[8:16, 8:16] += 0.48
    seeds = np.zeros((24, 24, 3))
    seeds[2, 3:9, 0], seeds[11, 10:13, 1] = 1, 1
    truth = np.zeros((24, 24), int)
    truth[8:16, 8:16] = 1
    return image, seeds, truth


def test_strokes_spread_over_superpixels_that_look_alike():
    pytest.importorskip("maxflow")
    image, seeds, truth = picture()
    uniform = np.full((24, 24, 3), 1 / 3)
    found = scribble_sup.propose(image, squares(24, 24, 4), uniform, seeds)
    np.testing.assert_array_equal(found.labels, truth)


def test_the_network_is_heard_but_not_against_a_stroke_and_not_on_labels_that_nobody_drew():
    pytest.importorskip("maxflow")
    image, seeds, truth = picture()
    other = np.full((24, 24, 3), 0.005)
    other[..., 2] = 0.9  # says "2" everywhere, then "1"
    other[..., 1] = 0.095
    found = scribble_sup.propose(image, squares(24, 24, 4), other, seeds, smoothness=0.01)
    assert set(np.unique(found.labels)) == {0, 1}
    assert (found.labels[seeds[..., 0] > 0] == 0).all()
    assert (found.labels == 1).mean() > 0.8 and (truth == 1).mean() < 0.2


def test_what_does_not_fit_is_told():
    image, seeds, _ = picture()
    with pytest.raises(BadInputError, match="must agree, got"):
        scribble_sup.propose(image, squares(24, 20, 4), seeds, seeds)
    with pytest.raises(BadInputError, match="seeds must have some pixel"):
        scribble_sup.propose(image, squares(24, 24, 4), seeds, 0 * seeds)
    with pytest.raises(BadInputError, match="image must be floating point"):
        scribble_sup.propose((255 * image).astype(np.uint8), squares(24, 24, 4), seeds, seeds)
    with pytest.raises(BadInputError, match="segments must be integers from 0 on, got int64 from"):
        scribble_sup.propose(image, squares(24, 24, 4) - 1, seeds, seeds)
    with pytest.raises(BadInputError, match="segments must be integers from 0 on, got float64"):
        scribble_sup.propose(image, squares(24, 24, 4) / 2, seeds, seeds)
    with pytest.raises(BadInputError, match="image must be H×W×3"):
        scribble_sup.superpixels(image[..., 0])
    with pytest.raises(BadInputError, match=r"in \[0, 1\], got it from .* to 1"):
        scribble_sup.superpixels(255 * image)
    with pytest.raises(BadInputError, match="must agree, got"):
        scribble_sup.propose(image, squares(24, 24, 4), seeds[..., 0], seeds[..., 0])
    with pytest.raises(BadInputError, match="smoothness must be finite and not negative, got inf"):
        scribble_sup.propose(image, squares(24, 24, 4), seeds, seeds, smoothness=np.inf)
    for scale in (-1.0, 0.0, np.inf):
        with pytest.raises(BadInputError, match=f"scale must be finite and above 0, got {scale}"):
            scribble_sup.superpixels(image, scale=scale)
    with pytest.raises(BadInputError, match="least must be finite and not negative, got -1"):
        scribble_sup.superpixels(image, least=-1)


def test_superpixels_part_what_looks_different():
    image, _, truth = picture()
    segments = scribble_sup.superpixels(image, scale=1.0, least=5)
    assert segments.shape == truth.shape and segments.min() == 0
    inside, outside = (set(np.unique(segments[truth == part])) for part in (1, 0))
    assert not inside & outside


def test_the_network_of_a_round_is_heard_in_the_next():
    """By a network that says "1" on the left half, whatever it is trained on."""
    pytest.importorskip("maxflow")
    image, seeds, _ = picture()
    left = np.arange(24)[None, :, None] < 12
    said = np.where(left, [0.01, 0.98, 0.01], [0.98, 0.01, 0.01]) * np.ones((24, 1, 1))
    trained = []

    def fit(labels):
        trained.append([of.copy() for of in labels])
        return [said] * len(labels)

    how = {"smoothness": 1e-3, "segment": lambda image: squares(24, 24, 4)}
    rounds = list(scribble_sup.alternate([image] * 2, [seeds] * 2, fit, rounds=3, **how))
    assert len(rounds) == 3 and len(trained) == 2
    for first, given in zip(rounds[0], trained[0], strict=True):
        np.testing.assert_array_equal(first, given)
    heard = np.where(left[..., 0], 1, 0) * np.ones((24, 1), int)
    heard[0:4, 0:12] = 0  # the superpixels of the strokes
    heard[8:12, 8:16] = 1
    for labels in rounds[1:]:
        np.testing.assert_array_equal(labels[1], heard)


@pytest.mark.parametrize("seed", [0, 1])
def test_one_round_asks_for_no_network(seed):
    pytest.importorskip("maxflow")
    image, seeds, truth = picture(seed)
    (labels,) = scribble_sup.alternate(
        [image], [seeds], lambda labels: 1 / 0, rounds=1, segment=lambda _: squares(24, 24, 4)
    )
    np.testing.assert_array_equal(labels[0], truth)


@pytest.mark.parametrize(
    ("fit", "told"),
    [
        (lambda labels: None, "fit must return probabilities of each picture, got NoneType"),
        (lambda labels: [], "fit must return probabilities of each of 1 pictures, got 0"),
        (lambda labels: labels, r"fit must return \(24, 24, 3\) for picture 0, got \(24, 24\)"),
    ],
)
def test_a_fit_that_returns_something_else_is_told_so(fit, told):
    pytest.importorskip("maxflow")
    image, seeds, _ = picture()
    how = {"segment": lambda _: squares(24, 24, 4)}
    with pytest.raises(BadInputError, match=told):
        list(scribble_sup.alternate([image], [seeds], fit, rounds=2, **how))
    with pytest.raises(BadInputError, match="images and seeds must be as many, got 1 and 2"):
        list(scribble_sup.alternate([image], [seeds] * 2, fit, rounds=2, **how))
