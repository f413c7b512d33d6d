import numpy as np
import pytest
from PIL import Image

from energynets.data import haze
from energynets.data.embedded import Embedded
from energynets.errors import BadInputError


def test_made_haze_is_the_model_with_one_smooth_transmission_for_all_channels():
    random = np.random.default_rng(0)
    clear = random.random((30, 40, 3)).astype(np.float32)
    hazy = haze.add_haze(clear, np.random.default_rng(1))
    assert hazy.dtype == np.float32 and hazy.min() >= 0 and hazy.max() <= 1
    # Two pictures under the same haze differ by t times their difference.
    black = haze.add_haze(np.zeros_like(clear), np.random.default_rng(1))
    t = (hazy - black) / clear
    np.testing.assert_allclose(t, np.broadcast_to(t[..., :1], t.shape), rtol=1e-3)
    assert 0.1 < t.min() < t.max() <= 1.001
    assert np.abs(np.diff(t[..., 0], axis=0)).max() < 0.2
    air = black / (1 - t + 1e-9)
    middle = air[t[..., 0] < 0.9]
    assert middle.min() > 0.6 and np.ptp(middle, axis=0).max() < 0.05


def test_made_pictures_are_the_same_at_an_index_and_differ_between_them():
    made = haze.Made(Embedded("val", size=24))
    first, again, other = made[0], made[0], made[1]
    assert len(made) == 40 and first.name == "embedded-val-000"
    np.testing.assert_array_equal(first.hazy, again.hazy)
    assert not np.allclose(first.hazy, other.hazy) and first.clear is not None
    np.testing.assert_array_equal(first.clear, Embedded("val", size=24)[0].image)


@pytest.fixture
def pairs(tmp_path):
    random = np.random.default_rng(2)
    for folder in ("hazy", "clear"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            bytes_ = random.integers(0, 256, (20, 50, 3)).astype(np.uint8)
            Image.fromarray(bytes_).save(tmp_path / folder / f"{name}.png")
    return tmp_path


def test_pairs_are_matched_by_name_and_reduced_alike(pairs):
    (pairs / "clear" / "b.png").unlink()
    source = haze.Photographs(pairs, longest=30)
    assert len(source) == 2
    first, second = source[0], source[1]
    assert first.name == "a" and first.clear is not None and second.clear is None
    assert first.hazy.shape == first.clear.shape == (12, 30, 3)
    with Image.open(pairs / "hazy" / "a.png") as picture:
        expected = np.asarray(picture.resize((30, 12), Image.Resampling.LANCZOS)) / 255
    np.testing.assert_allclose(first.hazy, expected, atol=1e-6)
    assert haze.Photographs(pairs, longest=0)[0].hazy.shape == (20, 50, 3)


def test_a_folder_of_photographs_has_no_clear_ones(pairs):
    source = haze.Photographs(pairs / "hazy")
    assert len(source) == 2 and source[0].clear is None


def test_folders_and_pairs_that_do_not_do_are_refused(pairs, tmp_path):
    with pytest.raises(BadInputError, match="no such folder"):
        haze.Photographs(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="at least one picture, got none"):
        haze.Photographs(tmp_path / "empty")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(pairs / "clear" / "a.png")
    with pytest.raises(BadInputError, match="size of its hazy picture, 50×20, got 9×9"):
        haze.Photographs(pairs)[0]
