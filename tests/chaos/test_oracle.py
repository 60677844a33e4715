"""The oracle itself: it says nothing of what is right, and names each thing that is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.oracle import (
    Attempt,
    Journal,
    Story,
    flaws_in_counts,
    flaws_in_ids,
    flaws_of_device,
)

FULL = {"sync_status_code": 400, "error_message": "Storage Full"}
GOOD = {"sync_status_code": 200, "error_message": None}
FIRST, SECOND = "2026-11-22T07:40:12.000000Z", "2026-11-22T07:41:12.000000Z"


class World:
    """Device 7 as it is to be after a success and a failure, and one who was told of both."""

    def __init__(self) -> None:
        self.device: dict[str, Any] = {
            "device_id": 7,
            "last_sync_at": FIRST,
            "last_attempt_at": SECOND,
            **FULL,
        }
        self.error_logs: list[dict[str, Any]] = [
            {"error_id": 1, "attempt": 0, "occurred_at": FIRST, **FULL},
            {"error_id": 2, "attempt": 2, "occurred_at": "2026-11-22T07:41:12.500000Z", **FULL},
        ]
        self.attempts: list[dict[str, Any]] = [
            {"attempt": 1, "delay": 0.25, **GOOD},
            {"attempt": 2, "delay": 0.5, **FULL},
        ]
        self.stats = {"attempts": 2, "succeeded": 1, "failed": 1, "pending": 0}
        self.ledger = {
            "accepted": 2,
            "succeeded": 1,
            "failed": {"400": {"Storage Full": 1}},
            "pending": 0,
            "error_logs": 1,
            "balanced": True,
        }
        self.journal = Journal()
        self.journal.accept(Attempt(7, 1), FIRST)
        self.journal.accept(Attempt(7, 2), SECOND)
        self.journal.accept(Attempt(7, 2), SECOND)  # joined

    def flaws(self) -> list[str]:
        story = Story(self.device, self.error_logs, self.attempts)
        return [
            *flaws_in_ids(self.error_logs),
            *flaws_of_device(story, self.journal),
            *flaws_in_counts([story], self.stats, self.ledger),
        ]


def test_it_finds_nothing_wrong_with_what_is_right() -> None:
    assert World().flaws() == []


def test_a_request_without_an_answer_may_have_begun_an_attempt_or_not() -> None:
    world = World()
    world.journal.lose(7, "TimeoutError")
    assert world.flaws() == []
    del world.journal.accepted[Attempt(7, 1)]
    assert world.flaws() == []


def an_attempt_nobody_asked_for(world: World) -> None:
    del world.journal.accepted[Attempt(7, 1)]


def an_attempt_that_is_lost(world: World) -> None:
    world.journal.accept(Attempt(7, 3), SECOND)


def an_attempt_begun_twice(world: World) -> None:
    world.journal.accept(Attempt(7, 1), SECOND)


def a_sync_that_never_ends(world: World) -> None:
    world.device |= {"sync_status_code": 202, "error_message": None}


def another_outcome_than_planned(world: World) -> None:
    world.device |= GOOD


def a_success_at_another_time(world: World) -> None:
    world.device["last_sync_at"] = SECOND


def an_attempt_at_another_time(world: World) -> None:
    world.device["last_attempt_at"] = FIRST


def a_failure_without_an_error_log(world: World) -> None:
    del world.error_logs[1]


def a_failure_that_is_logged_twice(world: World) -> None:
    world.error_logs.append(world.error_logs[1] | {"error_id": 3})


def a_success_that_is_logged(world: World) -> None:
    world.error_logs.append(world.error_logs[1] | {"error_id": 3, "attempt": 1})


def an_error_log_of_no_attempt(world: World) -> None:
    world.error_logs.append(world.error_logs[1] | {"error_id": 3, "attempt": 9})


def an_error_log_of_another_failure(world: World) -> None:
    world.error_logs[1]["error_message"] = "Authentication Failure"


def an_attempt_that_fell_due_at_another_time(world: World) -> None:
    world.error_logs[1]["occurred_at"] = "2026-11-22T07:41:13.500000Z"


def an_error_id_given_twice(world: World) -> None:
    world.error_logs[0]["error_id"] = 2


def a_ledger_that_counts_wrong(world: World) -> None:
    world.ledger["succeeded"] = 2


def stats_that_count_wrong(world: World) -> None:
    world.stats["failed"] = 0


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (an_attempt_nobody_asked_for, "1 attempts for 0 requests without an answer"),
        (an_attempt_that_is_lost, "attempt 3 was accepted, and is lost"),
        (an_attempt_begun_twice, "attempt 1 was begun 2 times"),
        (a_sync_that_never_ends, "is pending for ever"),
        (another_outcome_than_planned, "ended as (200, None)"),
        (a_success_at_another_time, "last_sync_at is"),
        (an_attempt_at_another_time, "last_attempt_at is"),
        (a_failure_without_an_error_log, "has 0 error logs"),
        (a_failure_that_is_logged_twice, "has 2 error logs"),
        (a_success_that_is_logged, "has 1 error logs"),
        (an_error_log_of_no_attempt, "attempts that never were: [9]"),
        (an_error_log_of_another_failure, "logged (400, 'Authentication Failure')"),
        (an_attempt_that_fell_due_at_another_time, "fell due after 0:00:01.500000"),
        (an_error_id_given_twice, "error log 2 is there 2 times"),
        (a_ledger_that_counts_wrong, "the ledger's succeeded: 2"),
        (stats_that_count_wrong, "the stats' failed: 0"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_it_names_what_is_wrong(spoil: Callable[[World], None], named: str) -> None:
    world = World()
    spoil(world)
    assert any(named in flaw for flaw in world.flaws()), world.flaws()
