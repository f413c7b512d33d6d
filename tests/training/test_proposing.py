import numpy as np
import pytest

from energynets.data.source import Picture
from energynets.training.proposing import scribble_sup_masks

HOW = {"size": 8, "classes": 3, "smoothness": 1e-3}


def picture():
    """A bright square on dark ground, a stroke on each, and grey where nobody drew."""
    image = np.full((24, 48, 3), 0.2, np.float32)
    image[6:18, 6:18] = 0.9
    image[:, 32:] = 0.5
    strokes = np.full((24, 48), 255, np.uint8)
    strokes[2, 3:29], strokes[11, 10:14] = 0, 2
    return Picture("a", image, strokes)


# Felzenszwalb's segments are those of a smoothed picture: pixels at borders may lie in others.
SQUARE, GROUND, GREY = np.s_[8:16, 8:16], np.s_[20:, :30], np.s_[:, 34:]


@pytest.mark.parametrize("length", [0.0, 1.0])
def test_from_scribbles_or_clicks_alone_segments_have_the_labels_of_their_strokes(length):
    pytest.importorskip("maxflow")
    found = scribble_sup_masks(None, length=length, **HOW)(picture())
    assert found.dtype == np.uint8 and found.shape == (24, 48)
    assert (found[SQUARE] == 2).all() and (found[GROUND] == 0).all()
    assert set(np.unique(found)) == {0, 2}


@pytest.mark.parametrize("said", [0, 2])
def test_a_network_is_asked_at_its_size_and_heard_where_nobody_drew(said):
    pytest.importorskip("maxflow")
    seen = []

    def answer(image):
        seen.append(image.shape)
        return np.where(np.arange(3) == said, 0.98, 0.01) * np.ones((8, 8, 1))

    mask = scribble_sup_masks(answer, length=0.0, **HOW)
    found = mask(picture())
    assert seen == [(8, 8, 3)]
    assert (found[SQUARE] == 2).all() and (found[GROUND] == 0).all()
    assert (found[GREY] == said).all()
    np.testing.assert_array_equal(found, mask(picture()))
