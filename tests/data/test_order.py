import pytest

from energynets.data import order


@pytest.mark.parametrize(("length", "batch"), [(7, 3), (4, 8), (1, 2)])
def test_each_pass_shows_every_index_once_in_an_order_of_its_own(length, batch):
    index = order.shuffled(length, batch, seed=3)
    shown = [index(step, row) for step in range(4 * length) for row in range(batch)]
    passes = [tuple(shown[start : start + length]) for start in range(0, len(shown), length)]
    whole = [p for p in passes if len(p) == length]
    assert all(sorted(p) == list(range(length)) for p in whole)
    assert length == 1 or len(set(whole)) > 1


def test_it_depends_on_step_row_and_seed_alone():
    first, second, other = (order.shuffled(50, 4, seed=seed) for seed in (0, 0, 1))
    there = [first(step, row) for step in range(40) for row in range(4)]
    back = [second(step, row) for step in range(39, -1, -1) for row in range(3, -1, -1)]
    assert there == back[::-1]
    assert there != [other(step, row) for step in range(40) for row in range(4)]
