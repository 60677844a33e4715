from itertools import pairwise
from math import inf

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pisync.model.clock import AUTO, MANUAL, MAX_SPEED, REAL, Clock, ClockSetting
from pisync.model.timestamp import LATEST, SECOND, parse

NOON = parse("2026-11-22T12:00:00.000000Z")
DAY = 86_400 * SECOND

FLEET_TIMES = st.integers(NOON, LATEST)
REAL_TIMES = st.integers(0, 10**15)
"""Thirty years of an uptime."""
SPEEDS = st.just(0.0) | st.just(1.0) | st.floats(1e-9, MAX_SPEED)


class TestReal:
    def test_runs_with_real_time(self) -> None:
        clock = Clock(NOON, 1000)
        assert clock.mode == "real"
        assert not clock.stands_still
        assert [clock.now(1000 + passed) for passed in (0, 1, DAY)] == [NOON, NOON + 1, NOON + DAY]

    @given(FLEET_TIMES, REAL_TIMES)
    def test_is_exact_to_the_microsecond(self, fleet_time: int, passed: int) -> None:
        assert Clock(fleet_time, 0).now(passed) == min(fleet_time + passed, LATEST)

    @pytest.mark.parametrize(
        ("speed", "passed", "run"),
        [(10, SECOND, 10 * SECOND), (0.5, SECOND, SECOND // 2), (MAX_SPEED, 1, 100_000)],
    )
    def test_runs_at_its_speed(self, speed: float, passed: int, run: int) -> None:
        clock = Clock(NOON, 1000, speed)
        assert clock.mode == "real"
        assert clock.now(1000 + passed) == NOON + run


class TestManual:
    def test_stands_still(self) -> None:
        clock = Clock(NOON, 1000, 0)
        assert clock.mode == "manual"
        assert clock.stands_still
        assert clock.now(1000 + DAY) == NOON

    def test_moves_when_it_is_moved(self) -> None:
        clock = Clock(NOON, 1000, 0).moved_to(NOON + DAY, 2000)
        assert clock.stands_still
        assert clock.now(3000) == NOON + DAY


class TestAuto:
    def test_stands_still(self) -> None:
        clock = Clock(NOON, 1000, *AUTO)
        assert (clock.mode, clock.stands_still) == ("auto", True)
        assert clock.now(1000 + DAY) == NOON
        assert clock.real_wait(NOON, 1000) is None

    def test_stays_one_when_it_is_moved(self) -> None:
        assert Clock(NOON, 1000, *AUTO).moved_to(NOON + DAY, 2000).mode == "auto"

    @pytest.mark.parametrize(("setting", "mode"), [(REAL, "real"), (MANUAL, "manual")])
    def test_becomes_another_at_the_present(self, setting: ClockSetting, mode: str) -> None:
        clock = Clock(NOON, 1000, *AUTO).set_to(setting, 2000)
        assert (clock.mode, clock.now(2000)) == (mode, NOON)


class TestChange:
    def test_of_speed_goes_on_from_the_present(self) -> None:
        clock = Clock(NOON, 0).set_to(ClockSetting(10), DAY)
        assert clock.now(DAY) == NOON + DAY
        assert clock.now(DAY + 1) == NOON + DAY + 10

    def test_back_to_real_runs_at_full_speed_ahead_of_the_wall_clock(self) -> None:
        manual = Clock(NOON, 0, 0).moved_to(NOON + 7 * DAY, 1000)
        clock = manual.set_to(REAL, 5000)
        assert clock.now(5000) == NOON + 7 * DAY
        assert clock.now(5000 + SECOND) == NOON + 7 * DAY + SECOND

    def test_of_time_keeps_the_speed(self) -> None:
        clock = Clock(NOON, 0, 10).moved_to(NOON + DAY, 1000)
        assert clock.now(1001) == NOON + DAY + 10

    @pytest.mark.parametrize("speed", [0, 1, 10])
    def test_never_moves_back(self, speed: float) -> None:
        clock = Clock(NOON, 1000, speed).moved_to(NOON - DAY, 1000)
        assert clock.now(1000) == NOON

    def test_starts_from_its_fleet_time_however_early_it_is_read(self) -> None:
        assert Clock(NOON, 1000).now(0) == NOON
        assert Clock(NOON, 1000, 10).now(999) == NOON


class TestEndOfTime:
    @pytest.mark.parametrize("speed", [1, 10, MAX_SPEED])
    def test_stops_the_clock(self, speed: float) -> None:
        clock = Clock(LATEST - SECOND, 0, speed)
        assert clock.now(SECOND) == clock.now(DAY) == clock.now(10**18) == LATEST

    def test_can_be_waited_for(self) -> None:
        assert Clock(LATEST - SECOND, 0, 0.5).real_wait(LATEST, 0) == 2 * SECOND
        assert Clock(LATEST - SECOND, 0).real_wait(LATEST, DAY) == 0


class TestRealWait:
    @pytest.mark.parametrize(
        ("speed", "wait"), [(1, 10 * SECOND), (10, SECOND), (0.5, 20 * SECOND), (0, None)]
    )
    def test_is_by_the_speed(self, speed: float, wait: float | None) -> None:
        assert Clock(NOON, 0, speed).real_wait(NOON + 10 * SECOND, 0) == wait

    @pytest.mark.parametrize("speed", [1, 10])
    @pytest.mark.parametrize("due", [NOON, NOON - 1, NOON - DAY])
    def test_is_over_when_the_time_has_come(self, speed: float, due: int) -> None:
        assert Clock(NOON, 0, speed).real_wait(due, 0) == 0

    def test_that_no_float_holds_never_ends(self) -> None:
        assert Clock(NOON, 0, 5e-324).real_wait(NOON + SECOND, 0) is None
        assert Clock(NOON, 0, 5e-324).real_wait(NOON, 0) == 0

    @pytest.mark.parametrize("due", [NOON + 1, NOON, NOON - 1])
    def test_by_a_manual_clock_never_ends(self, due: int) -> None:
        assert Clock(NOON, 0, 0).real_wait(due, 0) is None

    @given(FLEET_TIMES, SPEEDS.filter(bool), st.integers(1, 1000 * DAY), st.integers(0, 10**6))
    @example(NOON, 3.0, 10, 0)
    def test_is_long_enough_and_no_longer(
        self, fleet_time: int, speed: float, left: int, real_time: int
    ) -> None:
        clock = Clock(fleet_time, real_time, speed)
        due = min(fleet_time + left, LATEST)
        wait = clock.real_wait(due, real_time)
        assert wait is not None
        # A microsecond of rounding, in fleet time or in real time.
        assert clock.now(real_time + int(wait) + 1) >= due - 1
        assert clock.now(real_time + int(wait)) - due <= speed


class TestRealTimeOf:
    @pytest.mark.parametrize(
        ("speed", "real_time"), [(1, 1000 + 10), (10, 1000 + 1), (0.5, 1000 + 20), (0, inf)]
    )
    def test_a_fleet_time_is_by_the_speed(self, speed: float, real_time: float) -> None:
        assert Clock(NOON, 1000, speed).real_time_of(NOON + 10) == real_time

    def test_that_has_passed_is_in_the_past(self) -> None:
        assert Clock(NOON, 1000, 10).real_time_of(NOON - 50) == 995


class TestNeverBackwards:
    @given(FLEET_TIMES, SPEEDS, st.lists(REAL_TIMES, min_size=2, max_size=6))
    def test_while_it_runs(self, fleet_time: int, speed: float, moments: list[int]) -> None:
        clock = Clock(fleet_time, min(moments), speed)
        times = [clock.now(moment) for moment in sorted(moments)]
        assert times[0] == fleet_time
        assert all(one <= other <= LATEST for one, other in pairwise(times))

    @given(
        FLEET_TIMES,
        st.lists(st.tuples(st.integers(0, DAY), SPEEDS | FLEET_TIMES), min_size=1, max_size=9),
    )
    def test_whatever_changes(
        self, fleet_time: int, changes: list[tuple[int, float | int]]
    ) -> None:
        clock, real_time, seen = Clock(fleet_time, 0), 0, fleet_time
        for passed, change in changes:
            real_time += passed
            now = clock.now(real_time)
            assert seen <= now
            if isinstance(change, int):
                clock = clock.moved_to(change, real_time)
                assert clock.now(real_time) == max(change, now)
            else:
                clock = clock.set_to(ClockSetting(change), real_time)
                assert clock.now(real_time) == now
            seen = clock.now(real_time)
