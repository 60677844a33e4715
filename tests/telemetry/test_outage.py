"""Failures are logged when something changes, with their number: not one line for each."""

import pytest

from pisync.telemetry.outage import Outage
from tests.support.raw_connection import capture_logs


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_ten_thousand_failures_are_two_lines(time: Time) -> None:
    outage = Outage("it fails", "it works again", clock=time)
    with capture_logs() as logged:
        outage.succeeded()
        for _ in range(10_000):
            time.now += 0.001
            outage.failed("no room")
        outage.succeeded()
        outage.succeeded()
    assert [(each.pop("event"), each.pop("log_level")) for each in logged] == [
        ("it fails", "error"),
        ("it works again", "info"),
    ]
    assert logged[0]["reason"] == "no room"
    assert (logged[1]["failures"], logged[1]["seconds"]) == (10_000, 10.0)


def test_what_lasts_is_logged_once_a_minute_and_another_reason_at_once(time: Time) -> None:
    outage = Outage("it fails", "it works again", clock=time)
    with capture_logs() as logged:
        for second in range(150):
            time.now = 100.0 + second
            outage.failed("another" if second == 7 else "no room")
    assert [(each["reason"], each.get("failures")) for each in logged] == [
        ("no room", None),
        ("another", None),
        ("no room", 61),
        ("no room", 121),
    ]


def test_reasons_that_are_all_different_are_not_all_logged(time: Time) -> None:
    outage = Outage("it fails", "it works again", clock=time)
    with capture_logs() as logged:
        for number in range(1000):
            outage.failed(f"number {number}")
    assert len(logged) == 10


def test_a_success_among_failures_is_no_recovery(time: Time) -> None:
    outage = Outage("it fails", "it works again", quiet=10.0, clock=time)
    with capture_logs() as logged:
        for _ in range(5):
            outage.failed("no room")
            time.now += 5.0
            outage.succeeded()
        time.now += 5.0
        outage.succeeded()
        outage.failed("no room")
    assert [each["event"] for each in logged] == ["it fails", "it works again", "it fails"]
