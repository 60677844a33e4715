"""Spells: known answers of `pisync-spell-1`, and that runs are as long and outcomes as frequent.

Seeds are fixed, so a test passes always or never.
"""

import hashlib
import math
from collections import Counter
from dataclasses import replace
from itertools import groupby, pairwise
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pisync.model.device import MAX_DEVICE_ID
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import MAX_SEED, Profile
from pisync.model.plans.spells import MAX_MEAN_LENGTH, last_draw
from pisync.model.plans.weights import WeightedOutcome

CHI_SQUARE = {1: 10.828, 5: 20.515}
"""Upper critical values at 0.001 by degrees of freedom: NIST/SEMATECH e-Handbook, 1.3.6.7.4."""


def by_the_book(seed: int, device_id: int, attempt: int, mean_length: float) -> int:
    """Find the last draw as the module's docstring says, from the first attempt on."""
    size = math.ceil(mean_length)
    draws = {1}
    for block in range((attempt - 1) // size + 1):
        place, words = 0, list[int]()
        while place < size:
            part = len(words) // 8
            key = b"".join(each.to_bytes(8, "little") for each in (seed, device_id, block, part))
            digest = hashlib.blake2b(key, digest_size=64, person=b"pisync-spell-1").digest()
            for start in range(0, 64, 8):
                word = int.from_bytes(digest[start : start + 8], "little")
                words.append(word)
                u = (2 * (word // 2**12) + 1) / 2**53
                place += math.floor(math.log(u) / math.log1p(-1 / mean_length))
                if place < size:
                    draws.add(block * size + place + 1)
                place += 1
    return max(each for each in draws if each <= attempt)


KNOWN = [
    (1, 1, 1, 8, 1),
    (1, 1, 10, 8, 8),
    (1, 1, 100, 8, 100),
    (1, 2, 100, 8, 93),
    (0, 1, 1000, 2, 1000),
    (9007199254740991, 9007199254740991, 9007199254740991, 10000, 9007199254720925),
    (7, 3, 50, 1.5, 47),
    (7, 3, 5000, 1000, 4993),
    (7, 3, 2, 10000, 1),
]


@pytest.mark.parametrize(("seed", "device_id", "attempt", "mean_length", "last"), KNOWN)
def test_a_seed_written_down_today_has_the_same_spells_for_ever(
    seed: int, device_id: int, attempt: int, mean_length: float, last: int
) -> None:
    assert last_draw(seed, device_id, attempt, mean_length) == last


@pytest.mark.parametrize("mean_length", [1.5, 2, 8, 8.5, 100])
def test_the_docstring_is_enough_to_compute_it_elsewhere(mean_length: float) -> None:
    for attempt in range(1, 200):
        expected = by_the_book(7, 3, attempt, mean_length)
        assert last_draw(7, 3, attempt, mean_length) == expected


@given(
    st.integers(0, MAX_SEED),
    st.integers(1, MAX_DEVICE_ID),
    st.integers(1, 2**53),
    st.floats(1, MAX_MEAN_LENGTH),
)
def test_whoever_repeats_repeats_the_attempt_before(
    seed: int, device_id: int, attempt: int, mean_length: float
) -> None:
    last = last_draw(seed, device_id, attempt, mean_length)
    assert 1 <= last <= attempt
    assert last_draw(seed, device_id, last, mean_length) == last
    if last < attempt:
        assert last_draw(seed, device_id, attempt - 1, mean_length) == last
    assert last_draw(seed, device_id, 1, mean_length) == 1


@pytest.mark.parametrize("mean_length", [1.25, 2, 8, 100])
def test_runs_are_as_long_as_they_say_on_average(mean_length: float) -> None:
    attempts = 100_000
    draws = {last_draw(5, 1, attempt, mean_length) for attempt in range(1, attempts + 1)}
    assert attempts / len(draws) == pytest.approx(mean_length, rel=0.03)
    # Without memory: a run of any length goes on with the same probability.
    lengths = [end - start for start, end in pairwise(sorted(draws))]
    for length in (1, 2, 3):
        longer = [each for each in lengths if each > length]
        as_long = [each for each in lengths if each >= length]
        share = 1 - 1 / mean_length
        deviation = math.sqrt(share * (1 - share) / len(as_long))
        assert len(longer) / len(as_long) == pytest.approx(share, abs=3.3 * deviation)


SPELLS = Profile(seed=1, mean_length=8)


def test_the_longest_runs_are_as_long_as_they_say() -> None:
    # Of the runs that cover one attempt far from the first, the share that ends with it.
    devices = 20_000
    ends = sum(last_draw(3, each, 10**6, 10_000) == 10**6 for each in range(1, devices + 1))
    assert abs(ends - devices / 10_000) < 3.3 * math.sqrt(devices / 10_000) + 1
    back = sum(10**6 - last_draw(3, each, 10**6, 10_000) for each in range(1, devices + 1))
    assert back / devices == pytest.approx(10_000, rel=0.03)


def test_outcomes_come_as_often_as_they_weigh_with_spells_and_without() -> None:
    for profile in (SPELLS, replace(SPELLS, mean_length=1)):
        counts = Counter(draw(profile, device, 50).outcome for device in range(1, 100_001))
        statistic = sum(
            (counts[each.outcome] - 1000 * each.weight) ** 2 / (1000 * each.weight)
            for each in profile.outcomes
        )
        assert statistic < CHI_SQUARE[5]


def test_a_run_has_one_outcome_and_delays_of_its_own() -> None:
    outcomes = tuple(WeightedOutcome(Outcome(500, str(each)), 1) for each in range(1000))
    profile = replace(SPELLS, outcomes=outcomes)
    drawn = [draw(profile, 1, attempt) for attempt in range(1, 20_001)]
    runs = [len([*run]) for _, run in groupby(drawn, lambda each: each.outcome)]
    # Two runs of the same outcome are one: one in a thousand.
    assert sum(runs) / len(runs) == pytest.approx(8, rel=0.05)
    plain = replace(profile, mean_length=1)
    for attempt, each in enumerate(drawn, 1):
        assert each.delay == draw(plain, 1, attempt).delay
        last = last_draw(1, 1, attempt, 8)
        assert each.outcome == draw(plain, 1, last).outcome


def test_no_spells_are_spells_of_one() -> None:
    for attempt in range(1, 100):
        assert draw(replace(SPELLS, mean_length=1), 1, attempt) == draw(Profile(1), 1, attempt)


@settings(max_examples=20)
@given(st.integers(1, MAX_DEVICE_ID), st.integers(1, 2**53))
def test_looking_back_costs_little_however_long_spells_are(device_id: int, attempt: int) -> None:
    began = process_time()
    for _ in range(100):
        last_draw(1, device_id, attempt, MAX_MEAN_LENGTH)
    # Some 5 µs each; one hash for each attempt looked back on would take 10 ms.
    assert process_time() - began < 0.1


def test_a_success_is_a_run_like_any_other() -> None:
    drawn = [draw(SPELLS, 2, attempt).outcome == SUCCEEDED for attempt in range(1, 100_001)]
    assert sum(drawn) / len(drawn) == pytest.approx(0.7, abs=0.02)
