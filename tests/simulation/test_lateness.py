import pytest

from pisync.simulation.lateness import (
    REMEMBERED,
    Lateness,
)


def noted(*seconds: float) -> Lateness:
    lateness = Lateness()
    for each in seconds:
        lateness.add([each])
    return lateness


def test_is_nothing_where_nothing_has_finished() -> None:
    assert noted().view() == (0, 0, 0)


def test_of_one_attempt_is_its_own() -> None:
    assert noted(0.25).view() == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("order", [1, -1])
def test_is_by_rank_whatever_the_order(order: int) -> None:
    assert noted(*list(range(1, 102))[::order]).view() == (51, 100, 101)


def test_percentiles_are_of_the_newest_and_the_maximum_of_all() -> None:
    lateness = noted(*[9.0] * REMEMBERED, *[1.0] * REMEMBERED)
    assert lateness.view() == (1, 1, 9)
    lateness.add([2.0, 0.5])
    assert lateness.view() == (1, 1, 9)
