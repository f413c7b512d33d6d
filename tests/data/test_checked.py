import threading
import time

import numpy as np
import pytest

from energynets.data.checked import Subset, checked, faults
from energynets.data.source import Picture, Source
from energynets.errors import BadInputError


class Made:
    """Pictures that cannot be read ("broken"), without seeds ("bare"), of bad mask ("masked")."""

    classes = 3

    def __init__(self, *kinds):
        self.kinds = kinds
        self.read = []
        self._lock = threading.Lock()

    def __len__(self):
        return len(self.kinds)

    def name(self, index):
        return f"picture-{index}"

    def mask(self, index):
        if self.kinds[index] == "masked":
            raise BadInputError(f"masks/{self.name(index)}: wanted a mask, got half of one")
        return np.full((2, 2), index, np.uint8)

    def __getitem__(self, index):
        with self._lock:
            self.read.append(index)
        if self.kinds[index] == "slow":
            time.sleep(0.05)
        if self.kinds[index] == "broken":
            raise BadInputError(f"{self.name(index)}.png: wanted a readable image, got half of one")
        seeds = np.full((2, 2), 255, np.uint8)
        if self.kinds[index] != "bare":
            seeds[0, 0] = 1
        return Picture(self.name(index), np.full((2, 2, 3), index / 10, np.float32), seeds)


def test_a_source_without_faults_comes_back_itself():
    source = Made("good", "good")
    found, broken = checked(source, skip_broken=False)
    assert found is source and broken == []
    assert sorted(source.read) == [0, 1]


def test_faults_come_in_order_with_what_is_wrong():
    source = Made("slow", "broken", "good", "bare")
    assert list(faults(source, workers=3)) == [
        (0, None),
        (1, "picture-1.png: wanted a readable image, got half of one"),
        (2, None),
        (3, "picture-3: wanted at least one seed, got a picture without seeds"),
    ]


def test_a_picture_without_seeds_is_a_fault_only_where_they_are_needed():
    assert list(faults(Made("bare"), needs_seeds=False)) == [(0, None)]
    [(_, told)] = faults(Made("bare"), place=lambda name: f"scribbles/{name}.png")
    assert told is not None and told.startswith("scribbles/picture-0.png: wanted at least one seed")


def test_masks_are_looked_at_only_where_that_is_asked_for():
    source = Made("masked", "good")
    assert checked(source, skip_broken=False)[0] is source
    with pytest.raises(BadInputError, match=r"^masks/picture-0: wanted a mask"):
        checked(source, skip_broken=False, masks=True)
    found, broken = checked(source, skip_broken=True, masks=True)
    assert len(found) == 1 and broken == ["masks/picture-0: wanted a mask, got half of one"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("broken", r"^picture-1\.png: wanted a readable image, got half .*skip_broken=True"),
        ("bare", r"^picture-1: wanted at least one seed, .*config\.data\.skip_broken=True"),
    ],
)
def test_the_first_fault_stops_and_tells_of_the_way_out(kind, told):
    with pytest.raises(BadInputError, match=told):
        checked(Made("good", kind, "broken"), skip_broken=False)


def test_broken_pictures_can_be_left_out():
    source = Made("broken", "good", "bare", "good")
    found, broken = checked(source, skip_broken=True)
    assert len(found) == 2 and found.classes == 3 and isinstance(found, Source)
    assert [found.name(i) for i in range(2)] == ["picture-1", "picture-3"]
    assert [found[i].name for i in range(2)] == ["picture-1", "picture-3"]
    assert [found.mask(i)[0, 0] for i in range(2)] == [1, 3]
    assert [line.split(":")[0] for line in broken] == ["picture-0.png", "picture-2"]


def test_no_usable_picture_is_refused():
    with pytest.raises(BadInputError, match=r"at least one usable .* the first: picture-0\.png"):
        checked(Made("broken", "bare"), skip_broken=True)


def test_each_picture_that_was_looked_at_is_counted():
    counted = []
    checked(Made("good", "broken", "good"), skip_broken=True, advance=lambda: counted.append(1))
    assert len(counted) == 3


def test_a_defect_is_not_taken_for_a_broken_picture():
    class Defect(Made):
        def __getitem__(self, index):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        checked(Defect("good"), skip_broken=True)


def test_a_subset_keeps_the_order_of_its_indices():
    subset = Subset(Made("good", "good", "good"), [2, 0])
    assert [subset[i].name for i in range(2)] == ["picture-2", "picture-0"]
