import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from energynets.data.bsds500 import BSDS500, agreed, borders
from energynets.errors import BadInputError

SHAPE = (9, 12)


def save(path, planes, name="groundTruth", field="Boundaries"):
    """A .mat file as the data set has it: a 1×people cell of structs."""
    people = np.empty((1, len(planes)), object)
    for person, plane in enumerate(planes):
        people[0, person] = {"Segmentation": np.ones(SHAPE, np.uint16), field: plane}
    savemat(path, {name: people}, do_compression=True)


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("images", "groundTruth"):
        (tmp_path / folder).mkdir()
    for name in ("12003", "22090"):
        colours = random.integers(0, 256, (*SHAPE, 3), np.uint8)
        Image.fromarray(colours).save(tmp_path / "images" / f"{name}.jpg")
        drawn = (random.random((5, *SHAPE)) < 0.03).astype(np.uint8)
        save(tmp_path / "groundTruth" / f"{name}.mat", drawn)
    (tmp_path / "train.txt").write_text("12003\n22090\n")
    return tmp_path


def test_what_each_person_drew_is_read(root):
    drawn = np.random.default_rng(1).integers(0, 2, (3, *SHAPE), np.uint8)
    save(root / "some.mat", drawn)
    found = borders(root / "some.mat")
    assert found.dtype == bool
    np.testing.assert_array_equal(found, drawn == 1)


@pytest.mark.parametrize("people", [1, 4, 5])
def test_label_1_is_where_half_of_the_people_drew_within_two_rows_and_columns(people):
    drawn = np.random.default_rng(people).random((people, *SHAPE)) < 0.04
    found = agreed(drawn)
    assert found.dtype == np.uint8 and set(np.unique(found)) == {0, 1}
    for row, column in np.ndindex(SHAPE):
        near = drawn[:, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        assert found[row, column] == (near.any((1, 2)).sum() >= people / 2)


def test_masks_have_two_labels_and_nothing_is_seeded(root):
    source = BSDS500(root, "train")
    assert source.classes == 2 and len(source) == 2 and source.name(1) == "22090"
    expected = agreed(borders(root / "groundTruth" / "22090.mat"))
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(source.mask(1), expected)
    np.testing.assert_array_equal(source[1].seeds, np.full(SHAPE, 255))


def test_a_missing_file_is_named(root):
    (root / "groundTruth" / "22090.mat").unlink()
    with pytest.raises(BadInputError, match=r"groundTruth/22090\.mat: wanted .* no such file"):
        BSDS500(root, "train").mask(1)


@pytest.mark.parametrize("kept", [0, 60, 130, 140, 200, 260])
def test_damaged_files_are_told_in_one_line(root, kept):
    path = root / "groundTruth" / "22090.mat"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInputError, match=r"22090\.mat: wanted ") as told:
        BSDS500(root, "train").mask(1)
    assert "\n" not in str(told.value)


def test_any_wrong_byte_of_a_variable_is_found_by_its_checksum(root):
    path = root / "groundTruth" / "22090.mat"
    whole = bytearray(path.read_bytes())
    for place in np.random.default_rng(0).integers(136, len(whole), 50):
        damaged = whole.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(BadInputError, match=r"22090\.mat: wanted a readable .*decompressing"):
            BSDS500(root, "train").mask(1)


def test_variables_without_a_checksum_are_refused(root):
    savemat(root / "groundTruth" / "22090.mat", {"groundTruth": np.zeros(SHAPE)})
    with pytest.raises(BadInputError, match=r"22090\.mat: wanted .* not compressed"):
        BSDS500(root, "train").mask(1)


@pytest.mark.parametrize(
    "made",
    [
        {"name": "truth"},
        {"field": "borders"},
        {"planes": []},
        {"planes": [np.zeros(SHAPE), np.zeros((4, 4))]},
        {"planes": ["text"]},
        {"planes": [np.zeros((0, 0))]},
    ],
)
def test_files_of_other_things_are_told_so(root, made):
    save(root / "groundTruth" / "22090.mat", **{"planes": [np.zeros(SHAPE)], **made})
    wanted = r"22090\.mat: wanted groundTruth\{person\}\.Boundaries"
    with pytest.raises(BadInputError, match=wanted):
        BSDS500(root, "train").mask(1)


def test_a_map_of_another_size_than_its_image_is_refused(root):
    save(root / "groundTruth" / "22090.mat", [np.zeros(SHAPE[::-1], np.uint8)])
    with pytest.raises(BadInputError, match=r"22090\.mat: wanted the size of its image, 12×9"):
        BSDS500(root, "train").mask(1)
