"""Header lines that are remembered: what is left out of them, and how many there are."""

import pytest

from pisync.web.transport.recognition import heads
from pisync.web.transport.recognition.heads import Remembered, SeenOnce, without_own_values

HEAD = b"\r\nHost: a\r\nX-Request-ID: %b\r\ntraceparent: %b\r\n\r\n"


def test_values_of_their_own_are_left_out_and_the_id_is_found() -> None:
    lines, request_id = without_own_values(HEAD % (b"one", b"00-1-01"))
    assert request_id == "one"
    assert without_own_values(HEAD % (b"another", b"00-2-01")) == (lines, "another")


def test_of_several_ids_the_last_is_taken() -> None:
    # The first request is compared with what aiohttp has read: two ids are never remembered.
    _, request_id = without_own_values(b"\r\nX-Request-ID: a\r\nx-request-id: b\r\n\r\n")
    assert request_id == "b"


@pytest.mark.parametrize(
    "lines",
    [
        b"\r\nHost: a\r\n\r\n",
        HEAD % (b"a b", b""),
        HEAD % (b"a" * 129, b"\xff"),
        b"\r\nX-Request-ID:a\r\n\r\n",
        b"\r\nX-Request-ID: a\n\r\n\r\n",
        b"\r\nX-Request-IDs: a\r\n\r\n",
    ],
)
def test_lines_with_nothing_to_leave_out_stay_as_they_are(lines: bytes) -> None:
    assert without_own_values(lines) == (lines, None)


def test_what_is_left_of_different_lines_differs() -> None:
    places = [
        b"\r\nX-Request-ID: a\r\nB: \r\n\r\n",
        b"\r\nB: \r\nX-Request-ID: a\r\n\r\n",
        b"\r\nB: X\r\nX-Request-ID: a\r\n\r\n",
        b"\r\nX-Request-ID: a\r\nB: X\r\n\r\n",
        b"\r\nX-Request-ID: a\r\nX-Request-ID: a\r\n\r\n",
        b"\r\nX-Request-ID: a\r\ntraceparent: a\r\n\r\n",
    ]
    assert len({without_own_values(lines)[0] for lines in places}) == len(places)


def test_what_is_remembered_is_bounded_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heads, "MAX_BYTES", 10_000)
    remembered = Remembered[int]()
    for number in range(100):
        remembered.keep(b"%03d" % number * 10, number)
        remembered.keep(b"%03d" % number * 10, number)
        assert remembered.size <= 10_000
    assert [*remembered.values()] == [*range(100 - len(remembered), 100)]
    assert len(remembered) > 10


def test_what_came_once_is_forgotten_when_there_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heads, "_MAX_SEEN", 3)
    seen = SeenOnce()
    assert [seen.is_new(lines) for lines in (b"a", b"a", b"b", b"c", b"d", b"a", b"d")] == [
        *(True, False, True, True, True),
        *(True, False),
    ]
    assert len(seen) == 2
