import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from energynets.data import opening
from energynets.errors import BadInputError
from energynets.training import sources


@pytest.fixture
def root(tmp_path):
    """Pictures a to d with a seed each and a mask each; a and b to train, c and d to look at."""
    for folder in ("images", "scribbles", "masks"):
        (tmp_path / folder).mkdir()
    for name in "abcd":
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
        for folder in ("scribbles", "masks"):
            Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("c\nd\n")
    return tmp_path


def config(root, /, **report):
    data = {**opening.DEFAULTS, "source": "folder", "root": str(root), "validation_count": 0}
    return ConfigDict({"data": data, "report": {**sources.REPORTED, **report}})


def damage(path):
    path.write_bytes(path.read_bytes()[:40])


def names(source):
    return [source.name(index) for index in range(len(source))]


def test_what_is_reported_on_is_the_validation_set_unless_another_is_named(root):
    train, validation, reported, shared = sources.open_all(config(root))
    assert names(train) == ["a", "b"]
    assert names(validation) == names(reported) == ["c", "d"] and shared == 2
    (root / "test.txt").write_text("d\n")
    other = sources.open_all(config(root, split="test"))
    assert names(other.reported) == ["d"] and other.shared == 0


def test_the_first_pictures_can_be_enough_for_validation(root):
    settings = config(root)
    settings.data.validation_count = 1
    _, validation, reported, shared = sources.open_all(settings)
    assert names(validation) == ["c"] and names(reported) == ["c", "d"] and shared == 1
    settings.data.validation_count = 9
    assert sources.open_all(settings).shared == 2


def test_what_is_reported_on_can_lie_elsewhere(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for folder in ("images", "scribbles"):
        (root / folder).rename(other / folder)
        (root / folder).symlink_to(other / folder)
    (other / "val.txt").write_text("a\n")
    found = sources.open_all(config(root, root=str(other)))
    assert names(found.reported) == ["a"] and names(found.validation) == ["c", "d"]


def test_masks_are_looked_at_where_they_are_measured_on_and_not_in_training(root):
    damage(root / "masks" / "a.png")
    sources.open_all(config(root))
    with pytest.raises(BadInputError, match=r"masks/a\.png"):
        sources.open_all(config(root, split="train"))
    with pytest.raises(BadInputError, match=r"masks/a\.png"):
        sources.open_all(config(root), labelled=0.5)  # learnt from


def test_masks_of_training_are_hidden_but_for_the_share_that_is_labelled(root):
    plain, half = (sources.open_all(config(root), labelled=share).train for share in (0.0, 0.5))
    assert plain.mask(0) is None and plain.known() == 0
    assert half.mask(0) is not None and half.mask(1) is None and half.known() == 1


def test_what_is_left_out_is_told(root, capsys):
    damage(root / "images" / "b.png")
    settings = config(root)
    settings.data.skip_broken = True
    assert names(sources.open_all(settings).train) == ["a"]
    told = capsys.readouterr().out
    assert "left out: " in told and "b.png" in told and "1 of 2 pictures left out" in told
