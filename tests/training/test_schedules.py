import math
import re
from itertools import pairwise

import pytest

from energynets.errors import BadInputError
from energynets.training import schedules


def followed(schedule, losses, state=None):
    """The rate after each of the losses, and the state at the end."""
    state = schedule.init() if state is None else state
    rates = []
    for loss in losses:
        state = schedule.update(state, loss)
        rates.append(schedule.rate(state, 0))
    return rates, state


def cuts(losses, **settings):
    """After how many losses the rate was divided, and by what."""
    schedule = schedules.sign_changes(1.0, **settings)
    rates = [1.0, *followed(schedule, losses)[0]]
    return [i for i in range(1, len(rates)) if rates[i] != rates[i - 1]], rates[-1]


def test_a_falling_loss_never_cuts_the_rate():
    assert cuts([10 - i for i in range(10)], changes=1) == ([], 1.0)


def test_the_rate_is_cut_at_the_second_turn():
    # down, up (turn 1), down (turn 2).
    where, rate = cuts([5, 4, 4.5, 4.2, 4.1], changes=2)
    assert where == [4]
    assert rate == pytest.approx(1 / math.sqrt(2))


def test_four_turns_are_waited_for_where_four_are_wanted():
    zigzag = [5, 4, 5, 4, 5, 4, 5]
    assert cuts(zigzag, changes=4)[0] == [6]
    assert cuts(zigzag, changes=2, cool_off=0)[0] == [4, 6]


def test_a_loss_that_rises_from_the_start_has_turned_once():
    assert cuts([1, 2, 3], changes=1, cool_off=0)[0] == [2]


def test_turns_during_the_cool_off_are_not_counted():
    # Turns at losses 3, 4, 5, 6, 7, 8, …; cut at 4, those at 5 and 6 ignored, 7 and 8 count.
    zigzag = [5, 4] * 6
    assert cuts(zigzag, changes=2)[0] == [4, 8, 12]
    assert cuts(zigzag, changes=2, cool_off=0)[0] == [4, 6, 8, 10, 12]
    assert cuts(zigzag, changes=2, cool_off=3)[0] == [4, 9]


def test_a_turn_that_the_cool_off_hid_is_not_counted_afterwards():
    # The loss turns upwards at loss 5 and goes on rising: no new turn when the cool-off ends.
    assert cuts([5, 4, 5, 4, 5, 6, 7, 8, 9], changes=2)[0] == [4]


def test_an_equal_loss_is_no_turn():
    assert cuts([5, 4, 4, 4, 3, 3, 2], changes=1) == ([], 1.0)
    assert cuts([5, 4, 4, 5, 5, 6], changes=1, cool_off=0)[0] == [4]


def test_each_cut_divides_by_the_divisor():
    zigzag = [5, 4] * 6
    assert cuts(zigzag, changes=2, divisor=10)[1] == pytest.approx(1e-3)


def test_a_state_that_was_kept_as_text_goes_on_the_same():
    schedule = schedules.sign_changes(1e-2, changes=2)
    curve = [5, 4, 4.5, 4.2, 4.4, 4.1, 4.3, 4.0, 4.2, 3.9, 4.0, 3.8]
    whole, _ = followed(schedule, curve)
    for cut in range(len(curve)):
        first, state = followed(schedule, curve[:cut])
        state = {k: float.fromhex(float(v).hex()) for k, v in state.items()}
        second, _ = followed(schedule, curve[cut:], state)
        assert first + second == whole


def test_an_update_leaves_the_state_before_it_as_it_was():
    schedule = schedules.sign_changes(1.0, changes=1)
    state = schedule.update(schedule.init(), 1.0)
    before = dict(state)
    schedule.update(state, 2.0)
    assert state == before


def test_exponential_decay_is_multiplied_after_every_so_many_steps():
    schedule = schedules.exponential(3e-4, factor=0.96, every=30)
    rates = [schedule.rate(schedule.init(), step) for step in range(90)]
    assert rates[:30] == [3e-4] * 30
    assert rates[30:60] == pytest.approx([3e-4 * 0.96] * 30)
    assert rates[60:] == pytest.approx([3e-4 * 0.96**2] * 30)


def test_cosine_rises_then_falls_to_nothing():
    schedule = schedules.named("cosine", 2.0, steps=1000, epoch=100)
    rates = [schedule.rate({}, step) for step in range(1001)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(2.0) and rates.index(max(rates)) == 20
    assert all(a < b for a, b in pairwise(rates[:21]))
    assert all(a >= b for a, b in pairwise(rates[20:]))
    assert rates[510] == pytest.approx(1.0, rel=1e-5)
    assert rates[1000] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_cosine_takes_very_short_runs(steps):
    schedule = schedules.named("cosine", 1.0, steps=steps, epoch=1)
    assert all(0 <= schedule.rate({}, step) <= 1 for step in range(steps))


def test_names_stand_for_the_schedules_of_the_papers():
    assert schedules.named("constant", 0.1, steps=9, epoch=3).rate({}, 8) == 0.1
    exponential = schedules.named("exponential", 1.0, steps=9, epoch=2)
    assert [exponential.rate({}, s) for s in (5, 6, 11, 12)] == [1, 0.96, 0.96, 0.96**2]
    preprint = schedules.named("exponential_10", 1.0, steps=99, epoch=2)
    assert [preprint.rate({}, s) for s in (19, 20, 39, 40)] == [1, 0.96, 0.96, 0.96**2]
    zigzag = [5, 4] * 2 + [5]
    for name, rate in (("sign_changes", 1 / math.sqrt(2)), ("sign_changes_4", 1.0)):
        assert followed(schedules.named(name, 1.0, steps=9, epoch=3), zigzag)[0][-1] == rate


def test_a_schedule_of_the_step_alone_has_no_state():
    schedule = schedules.from_steps(lambda step: step / 2)
    assert schedule.update(schedule.init(), 3.0) == {}
    assert schedule.rate({}, 3) == 1.5


def test_an_unknown_schedule_is_refused():
    known = (
        "config.train.schedule: wanted sign_changes, sign_changes_4, exponential, exponential_10"
    )
    with pytest.raises(BadInputError, match=re.escape(known) + r".* got 'linear'"):
        schedules.named("linear", 0.1, steps=1, epoch=1)


def test_poly_falls_from_the_rate_to_0_by_the_power_of_nine_tenths():
    schedule = schedules.named("poly", 2.0, steps=10, epoch=5)
    assert schedule.rate({}, 0) == 2.0 and schedule.rate({}, 10) == 0
    assert schedule.rate({}, 5) == pytest.approx(2 * 0.5**0.9)
