import numpy as np
import pytest

from energynets.data.embedded import Embedded
from energynets.data.grouped import Grouped
from energynets.errors import BadInputError


def test_labels_of_a_group_become_one_and_all_others_the_background():
    source = Embedded("val", size=32)
    grouped = Grouped(source, ((2,), (1, 3)))
    assert grouped.classes == 3 and len(grouped) == len(source)
    table = np.array([0, 2, 1, 2] + [0] * 251 + [255])
    for index in range(4):
        np.testing.assert_array_equal(grouped.mask(index), table[source.mask(index)])
        np.testing.assert_array_equal(grouped[index].seeds, table[source[index].seeds])
        assert grouped.name(index) == source.name(index)
        np.testing.assert_array_equal(grouped[index].image, source[index].image)


@pytest.mark.parametrize("groups", [(), ((1,), (1, 2)), ((4,),), ((255,),)])
def test_groups_that_say_nothing_or_two_things_are_refused(groups):
    with pytest.raises(BadInputError, match="groups: wanted"):
        Grouped(Embedded("val", size=32), groups)
