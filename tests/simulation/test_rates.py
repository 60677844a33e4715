"""How many attempts began and finished in each of the last seconds."""

from pisync.model.sync import Steps
from pisync.simulation.rates import MAX_FLEETS, SECONDS, RateHistory, Rates
from tests.conftest import ManualTime

STARTED = Steps(1, 0, 0)


def test_are_those_of_whole_seconds_oldest_first() -> None:
    time = ManualTime()
    rates = Rates(time.wall)
    start = time.wall() // 1_000_000
    rates.count("lab", Steps(2, 1, 0))
    assert rates.history("lab", 2) == RateHistory(start - 2, [0, 0], [0, 0], [0, 0])
    time.pass_seconds(2)
    rates.count("lab", Steps(0, 0, 1))
    time.pass_seconds(1)
    assert rates.history("lab", 4) == RateHistory(
        start - 1, [0, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]
    )


def test_go_back_as_far_as_they_say_and_no_farther() -> None:
    time = ManualTime()
    rates = Rates(time.wall)
    rates.count("lab", STARTED)
    time.pass_seconds(SECONDS)
    assert rates.history("lab", SECONDS).started == [1] + [0] * (SECONDS - 1)
    time.pass_seconds(1)
    assert sum(rates.history("lab", SECONDS).started) == 0
    rates.count("lab", STARTED)
    time.pass_seconds(86_400)
    assert sum(rates.history("lab", SECONDS).started) == 0


def test_are_forgotten_with_their_fleet_and_bounded() -> None:
    time = ManualTime()
    rates = Rates(time.wall)
    rates.count("old", STARTED)
    rates.count("busy", STARTED)
    for number in range(MAX_FLEETS - 1):
        rates.count(f"fleet-{number}", STARTED)
    time.pass_seconds(1)
    assert sum(rates.history("old", 2).started) == 0
    assert sum(rates.history("busy", 2).started) == 1
    rates.forget("busy")
    assert sum(rates.history("busy", 2).started) == 0


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    time = ManualTime()
    rates = Rates(time.wall)
    rates.count("lab", STARTED)
    time.wall_time -= 60_000_000
    rates.count("lab", STARTED)
    time.wall_time += 61_000_000
    assert rates.history("lab", 1).started == [2]
