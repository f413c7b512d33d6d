import os
import stat

import numpy as np
import pytest
from PIL import Image

from energynets.data import writing
from energynets.errors import BadInputError

needs_rights = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.mark.parametrize("ending", writing.ENDINGS)
def test_a_picture_comes_back_from_every_format(tmp_path, ending):
    picture = np.linspace(0, 1, 16 * 16, dtype=np.float32).reshape(16, 16)
    path = tmp_path / f"a{ending}"
    writing.refuse_unwritable(path)
    writing.write_picture(path, picture)
    if ending == ".npy":
        np.testing.assert_array_equal(np.load(path), picture)
    else:
        found = np.asarray(Image.open(path).convert("L"), float) / 255
        lossy = ending not in writing.LOSSLESS
        np.testing.assert_allclose(found, picture, atol=0.05 if lossy else 0.5 / 255 + 1e-6)
    assert list(tmp_path.iterdir()) == [path]


def test_labels_stay_as_they_are_and_colours_are_rounded(tmp_path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    writing.write_picture(tmp_path / "l.png", labels)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "l.png")), labels)
    assert writing.eight_bits(np.array([-1.0, 0.5 / 255 + 1e-6, 2.0])).tolist() == [0, 1, 255]


def test_the_trial_leaves_nothing_and_does_not_touch_what_is_there(tmp_path):
    path = tmp_path / "a.png"
    writing.refuse_unwritable(path)
    assert list(tmp_path.iterdir()) == []
    path.write_text("mine")
    writing.refuse_unwritable(path)
    assert path.read_text() == "mine"


def test_places_that_cannot_be_written_are_told_beforehand(tmp_path):
    for path, told in (
        (tmp_path / "absent" / "a.png", "wanted a folder to write in, got: No such file"),
        (tmp_path / "a.gif", r"wanted a name ending in .*got \.gif"),
        (tmp_path / "a", "got no ending"),
    ):
        with pytest.raises(BadInputError, match=told):
            writing.refuse_unwritable(path)
    (tmp_path / "b.png").mkdir()
    with pytest.raises(BadInputError, match="wanted a file to write, got a folder"):
        writing.refuse_unwritable(tmp_path / "b.png")
    with pytest.raises(BadInputError, match=r"got \.jpg"):
        writing.refuse_unwritable(tmp_path / "a.jpg", exact=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="Not a directory"):
        writing.refuse_unwritable(tmp_path / "file" / "a.png")


@needs_rights
def test_a_folder_or_file_without_rights_is_told_beforehand(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.png").write_text("mine")
    (closed / "a.png").chmod(stat.S_IRUSR)
    with pytest.raises(BadInputError, match="may not"):
        writing.refuse_unwritable(closed / "a.png")
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(BadInputError, match="Permission denied"):
            writing.refuse_unwritable(closed / "b.png")
    finally:
        closed.chmod(stat.S_IRWXU)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_text("mine")

    def full(*rest, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(BadInputError, match=r"a\.png: .*No space left on device"):
        writing.write_picture(path, np.zeros((3, 3), np.uint8))
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


def test_files_have_the_rights_that_others_have(tmp_path):
    writing.write_picture(tmp_path / "a.png", np.zeros((3, 3), np.uint8))
    (tmp_path / "b").write_text("")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.png", "b")}
    assert len(modes) == 1
