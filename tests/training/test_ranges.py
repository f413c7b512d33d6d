from math import inf, nan
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from energynets.errors import BadInputError
from energynets.training import ranges

LIMITS = {(0, 1): ("a.share",), (1, inf): ("a.size", "a.many")}


def config(**changed):
    return ConfigDict({"a": {"share": 0.5, "size": 4, "many": (1.0, 2.0), **changed}})


@pytest.mark.parametrize("changed", [{}, {"share": 0.0}, {"share": 1.0}, {"size": 1}])
def test_numbers_inside_their_limits_and_on_them_pass(changed):
    ranges.refuse_outside(config(**changed), LIMITS)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"share": 1.1}, "config.a.share: wanted a finite number from 0 to 1, got 1.1"),
        ({"share": nan}, "config.a.share: wanted a finite number from 0 to 1, got nan"),
        ({"size": 0}, "config.a.size: wanted a finite number of at least 1, got 0"),
        ({"size": inf}, "config.a.size: wanted a finite number of at least 1, got inf"),
        ({"many": ()}, "config.a.many: wanted one finite number or more, of at least 1, got ()"),
        (
            {"many": (2.0, 0.5)},
            "config.a.many: wanted one finite number or more, of at least 1, got (2.0, 0.5)",
        ),
        (
            {"many": ("x",)},
            "config.a.many: wanted one finite number or more, of at least 1, got ('x',)",
        ),
    ],
)
def test_others_are_refused_by_their_key(changed, told):
    with pytest.raises(BadInputError) as refused:
        ranges.refuse_outside(config(**changed), LIMITS)
    assert str(refused.value) == told


def test_a_size_below_what_the_network_needs_is_refused_by_its_key():
    network = SimpleNamespace(least_size=9)
    ranges.refuse_too_small("data.size", 9, network)
    with pytest.raises(BadInputError, match=r"^config\.data\.size: wanted at least 9 .* got 8$"):
        ranges.refuse_too_small("data.size", 8, network)


def test_an_energy_that_would_never_act_is_refused():
    config = ConfigDict({"loss": {"tv": 1.0, "from_step": 4}, "train": {"steps": 4}})
    with pytest.raises(BadInputError, match=r"wanted less than train\.steps, 4"):
        ranges.refuse_late(config, ("tv",))
    config.train.steps = 0  # nothing but a report
    ranges.refuse_late(config, ("tv",))
    config.update({"loss": {"tv": 0.0}, "train": {"steps": 4}})
    ranges.refuse_late(config, ("tv",))
