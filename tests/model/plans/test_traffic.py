"""Traffic: known answers of `pisync-traffic-1`, and that its devices are as many as they should be.

Seeds are fixed, so a test passes always or never.
"""

import hashlib
import math

import pytest

from pisync.model.plans.delay import ConstantDelay, LognormalDelay, UniformDelay
from pisync.model.plans.traffic import MIN_PAUSE, Traffic

HOURLY = Traffic(ConstantDelay(3600))
UNEVEN = Traffic(LognormalDelay(600, 1, 7200), 0.25)
KNOWN_FIRST = [3537563133, 537962644, 396473884]
KNOWN_PAUSES = [291474170, 464577346, 588062195]
KNOWN_SHARE = [3, 9, 11, 12, 13, 15, 22, 26]
KNOWN_LAST = 168910189


def by_the_book(seed: int, device_id: int, attempt: int) -> list[float]:
    """Return the three numbers as the module's docstring says."""
    key = b"".join(each.to_bytes(8, "little") for each in (seed, device_id, attempt))
    digest = hashlib.blake2b(key, digest_size=24, person=b"pisync-traffic-1").digest()
    words = [int.from_bytes(digest[start : start + 8], "little") for start in (0, 8, 16)]
    return [(2 * (word // 2**12) + 1) / 2**53 for word in words]


def test_a_seed_written_down_today_has_the_same_traffic_for_ever() -> None:
    assert [HOURLY.first(7, device_id) for device_id in (1, 2, 3)] == KNOWN_FIRST
    assert [UNEVEN.pause(7, 3, attempt) for attempt in (1, 2, 3)] == KNOWN_PAUSES
    assert [each for each in range(1, 30) if UNEVEN.takes_part(7, each)] == KNOWN_SHARE
    assert UNEVEN.pause(2**53 - 1, 2**53 - 1, 2**53) == KNOWN_LAST


def test_the_docstring_is_enough_to_compute_it_elsewhere() -> None:
    for device_id in range(1, 200):
        part, pause, place = by_the_book(5, device_id, 0)
        first = UNEVEN.first(5, device_id)
        if part < 0.25:
            expected = UNEVEN.every.quantile(pause) * place
            assert first == max(round(expected * 1e6), MIN_PAUSE)
        else:
            assert first is None
        _, pause, _ = by_the_book(5, device_id, 9)
        assert UNEVEN.pause(5, device_id, 9) == round(UNEVEN.every.quantile(pause) * 1e6)


def test_a_share_of_the_devices_takes_part_and_a_larger_share_has_all_of_a_smaller() -> None:
    devices = range(1, 20_001)
    some, more = Traffic(HOURLY.every, 0.1), Traffic(HOURLY.every, 0.3)
    for traffic in (some, more):
        taking_part = sum(traffic.takes_part(3, each) for each in devices)
        deviation = math.sqrt(len(devices) * traffic.share * (1 - traffic.share))
        assert abs(taking_part - len(devices) * traffic.share) < 3.3 * deviation
    assert all(more.takes_part(3, each) for each in devices if some.takes_part(3, each))
    assert all(HOURLY.takes_part(3, each) for each in devices)
    nobody = Traffic(HOURLY.every, 0)
    assert not any(nobody.takes_part(3, each) for each in devices)
    assert all((nobody.first(3, each) is None) for each in devices)
    assert all((some.first(3, each) is not None) == some.takes_part(3, each) for each in devices)


def test_first_attempts_are_spread_evenly_so_that_no_second_has_a_herd() -> None:
    firsts = [HOURLY.first(11, device_id) for device_id in range(1, 36_001)]
    minutes = [0] * 60
    for first in firsts:
        assert first is not None
        minutes[first // 60_000_000] += 1
    statistic = sum((count - 600) ** 2 / 600 for count in minutes)
    # The upper critical value at 0.001 with 59 degrees of freedom.
    assert statistic < 98.3


def test_pauses_go_by_the_distribution_and_none_is_shorter_than_a_millisecond() -> None:
    every = Traffic(UniformDelay(100, 200))
    pauses = [every.pause(1, 1, attempt) / 1e6 for attempt in range(1, 10_001)]
    assert min(pauses) >= 100
    assert max(pauses) <= 200
    assert sum(pauses) / len(pauses) == pytest.approx(150, abs=1)
    at_once = Traffic(ConstantDelay(0))
    assert at_once.pause(1, 1, 1) == MIN_PAUSE
    assert at_once.first(1, 1) == MIN_PAUSE
