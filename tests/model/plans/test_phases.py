from dataclasses import replace
from time import process_time

import pytest

from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.delay import ConstantDelay
from pisync.model.plans.draw import draw
from pisync.model.plans.phases import Phase
from pisync.model.plans.profile import PhasesClash, Profile
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.timestamp import SECOND

DOWN = (WeightedOutcome(Outcome(404, "Server Not Reachable"), 1),)
UP = (WeightedOutcome(SUCCEEDED, 1),)
HOUR = 3_600
DAY = 86_400
OUTAGE = Phase(HOUR, HOUR + 60, DOWN)
SLOW = Phase(2 * HOUR, 3 * HOUR, None, ConstantDelay(30))
PROFILE = Profile(seed=1, outcomes=UP, delay=ConstantDelay(1), phases=(SLOW, OUTAGE))


def code(profile: Profile, elapsed: int) -> int:
    return draw(profile, 1, 1, elapsed).outcome.sync_status_code


def test_a_phase_begins_with_its_first_microsecond_and_ends_before_its_end() -> None:
    first, end = HOUR * SECOND, (HOUR + 60) * SECOND
    codes = [code(PROFILE, at) for at in (0, first - 1, first, end - 1, end)]
    assert codes == [200, 200, 404, 404, 200]


def test_a_phase_changes_what_it_names_and_nothing_else() -> None:
    during = draw(PROFILE, 1, 1, 2 * HOUR * SECOND)
    assert during == (SUCCEEDED, 30 * SECOND)
    assert draw(PROFILE, 1, 1, HOUR * SECOND).delay == 1 * SECOND


def test_a_cycle_of_a_day_repeats_over_a_year_to_the_microsecond() -> None:
    profile = replace(PROFILE, repeat_every=DAY)
    began = process_time()
    for day in range(366):
        start = day * DAY * SECOND
        first, end = start + HOUR * SECOND, start + (HOUR + 60) * SECOND
        codes = [code(profile, at) for at in (first - 1, first, end - 1, end)]
        assert codes == [200, 404, 404, 200]
    assert process_time() - began < 1
    assert code(PROFILE, (DAY + HOUR) * SECOND) == 200


def test_phases_may_touch_and_fill_the_cycle() -> None:
    profile = replace(PROFILE, phases=(Phase(0, 1, DOWN), Phase(1, 2, UP)), repeat_every=2)
    assert [code(profile, at * SECOND // 2) for at in range(8)] == [404, 404, 200, 200] * 2


def test_before_the_beginning_there_is_no_phase() -> None:
    profile = replace(PROFILE, phases=(Phase(0, 1, DOWN),), repeat_every=1)
    assert [code(profile, at) for at in (-1, 0)] == [200, 404]


def test_a_draw_is_looked_up_in_the_weights_of_its_phase() -> None:
    plain = replace(PROFILE, phases=(), mean_length=8)
    halves = (*UP, *DOWN)
    storm = replace(plain, phases=(Phase(0, 1, halves),))
    for attempt in range(1, 100):
        expected = draw(replace(plain, outcomes=halves), 1, attempt)
        assert draw(storm, 1, attempt, 0) == expected
        assert draw(storm, 1, attempt, SECOND) == draw(plain, 1, attempt)


@pytest.mark.parametrize(
    ("phases", "repeat_every", "errors"),
    [
        ([Phase(5, 5, UP)], None, {0: "until"}),
        ([Phase(0, 1, UP), Phase(6, 5, UP)], None, {1: "until"}),
        ([Phase(0, 10, UP), Phase(9, 11, UP)], None, {1: "from"}),
        ([Phase(9, 11, UP), Phase(0, 10, UP)], None, {0: "from"}),
        ([Phase(0, 10, UP), Phase(1, 2, UP), Phase(5, 6, UP)], None, {1: "from", 2: "from"}),
        ([Phase(0, 10, UP)], 9.5, {0: "until"}),
        ([Phase(1e-7, 2e-7, UP)], None, {0: "until"}),
    ],
)
def test_phases_that_clash_are_refused_by_index_and_field(
    phases: list[Phase], repeat_every: float | None, errors: dict[int, str]
) -> None:
    with pytest.raises(PhasesClash) as caught:
        Profile(1, phases=tuple(phases), repeat_every=repeat_every)
    assert {index: [*fields] for index, fields in caught.value.errors.items()} == {
        index: [field] for index, field in errors.items()
    }
