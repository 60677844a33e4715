"""The generator `pisync-draw-1`: known answers, and that its draws are spread as a profile says.

Critical values are for a significance of 0.001. The seeds are fixed, so a test passes always or
never.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from itertools import accumulate, product, starmap
from random import Random
from statistics import NormalDist, correlation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pisync.model.device import MAX_DEVICE_ID
from pisync.model.outcome import Outcome
from pisync.model.plans.delay import ConstantDelay, LognormalDelay, UniformDelay
from pisync.model.plans.draw import GENERATOR, Draw, draw
from pisync.model.plans.profile import DEFAULT_DELAY, MAX_SEED, Profile
from pisync.model.plans.weights import WeightedOutcome

# Known answers


def by_the_book(profile: Profile, device_id: int, attempt: int) -> Draw:
    """Draw as the module's docstring says, in the plainest way and with none of its code."""
    key = b"".join(each.to_bytes(8, "little") for each in (profile.seed, device_id, attempt))
    digest = hashlib.blake2b(key, digest_size=16, person=b"pisync-draw-1").digest()
    halves = (int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little"))
    # The top 52 bits, and half a step so that neither 0 nor 1 can come.
    for_outcome, for_delay = (Fraction(2 * (half // 2**12) + 1, 2**53) for half in halves)

    bounds = accumulate(Fraction(each.weight) for each in profile.outcomes)
    share = for_outcome * sum(Fraction(each.weight) for each in profile.outcomes)
    chosen = next(
        each.outcome for each, bound in zip(profile.outcomes, bounds, strict=True) if share < bound
    )
    match profile.delay:
        case ConstantDelay(seconds):
            delay = seconds
        case UniformDelay(low, high):
            delay = float(Fraction(low) + (Fraction(high) - Fraction(low)) * for_delay)
        case LognormalDelay(median, sigma, most):
            normal = NormalDist(math.log(median), sigma)
            delay = min(math.exp(normal.inv_cdf(float(for_delay))), most)
    return Draw(chosen, round(delay * 1_000_000))


DEFAULT = Profile(seed=1)
LAST = Profile(seed=MAX_SEED)
UNIFORM = Profile(
    seed=20_261_122,
    outcomes=(
        WeightedOutcome(Outcome(200, None), 1),
        WeightedOutcome(Outcome(404, "Server Not Reachable"), 0),
        WeightedOutcome(Outcome(500, "Connection Timeout"), 2.5),
    ),
    delay=UniformDelay(0.25, 30),
)
CONSTANT = Profile(
    seed=0,
    outcomes=(
        WeightedOutcome(Outcome(200, None), 0.1),
        WeightedOutcome(Outcome(400, "Storage Full"), 0.2),
    ),
    delay=ConstantDelay(1.5),
)

KNOWN: list[tuple[Profile, int, int, int, str | None, int]] = [
    (DEFAULT, 1, 1, 200, None, 2_985_991),
    (DEFAULT, 1, 2, 200, None, 1_903_272),
    (DEFAULT, 1, 3, 200, None, 1_949_399),
    (DEFAULT, 2, 1, 404, "Server Not Reachable", 1_516_356),
    (DEFAULT, 2, 2, 200, None, 4_230_607),
    (DEFAULT, 1, 7, 404, "Server Not Reachable", 1_011_811),
    (DEFAULT, 1, 8, 400, "Authentication Failure", 2_192_665),
    (DEFAULT, 1, 11, 400, "Storage Full", 1_307_465),
    (DEFAULT, 1, 14, 500, "Connection Timeout", 2_084_133),
    (DEFAULT, 1, 17, 500, "Unknown Sync Error", 1_246_730),
    (DEFAULT, 6, 67, 200, None, 10_000_000),
    (DEFAULT, 5_000_000, 99, 200, None, 2_321_744),
    (LAST, 1, 1, 200, None, 1_407_026),
    (LAST, 9_007_199_254_740_991, 1, 400, "Authentication Failure", 4_825_301),
    (LAST, 9_007_199_254_740_991, 9_007_199_254_740_991, 200, None, 2_468_633),
    (UNIFORM, 1, 1, 500, "Connection Timeout", 2_465_333),
    (UNIFORM, 1, 2, 500, "Connection Timeout", 23_111_560),
    (UNIFORM, 2, 1, 200, None, 17_235_005),
    (UNIFORM, 3, 1, 500, "Connection Timeout", 28_868_804),
    (CONSTANT, 1, 1, 400, "Storage Full", 1_500_000),
    (CONSTANT, 1, 2, 200, None, 1_500_000),
    (CONSTANT, 2, 1, 200, None, 1_500_000),
]


@pytest.mark.parametrize(("profile", "device_id", "attempt", "code", "message", "delay"), KNOWN)
def test_a_seed_written_down_today_gives_the_same_history_for_ever(
    profile: Profile, device_id: int, attempt: int, code: int, message: str | None, delay: int
) -> None:
    assert GENERATOR == "pisync-draw-1"
    assert draw(profile, device_id, attempt) == ((code, message), delay)


@pytest.mark.parametrize("profile", [DEFAULT, LAST, UNIFORM, CONSTANT])
def test_the_docstring_is_enough_to_compute_it_elsewhere(profile: Profile) -> None:
    for device_id, attempt in product((1, 2, 255, 256, MAX_DEVICE_ID), range(1, 101)):
        assert draw(profile, device_id, attempt) == by_the_book(profile, device_id, attempt)


@given(st.integers(0, MAX_SEED), st.integers(1, MAX_DEVICE_ID), st.integers(1, 2**53), st.randoms())
def test_an_attempt_comes_to_the_same_whatever_was_drawn_before(
    seed: int, device_id: int, attempt: int, random: Random
) -> None:
    expected = draw(Profile(seed), device_id, attempt)
    for _ in range(3):
        draw(Profile(seed), random.randint(1, 1000), random.randint(1, 1000))
    assert draw(Profile(seed), device_id, attempt) == expected


def test_the_delay_does_not_hang_on_the_outcomes_nor_they_on_it() -> None:
    other = replace(DEFAULT, outcomes=UNIFORM.outcomes)
    slower = replace(DEFAULT, delay=UNIFORM.delay)
    for attempt in range(1, 101):
        drawn = draw(DEFAULT, 1, attempt)
        assert draw(other, 1, attempt).delay == drawn.delay
        assert draw(slower, 1, attempt).outcome == drawn.outcome


def test_what_does_not_decide_attempts_does_not_change_them() -> None:
    refusing = replace(DEFAULT, refuse_pending=True, max_pending=1)
    for attempt in range(1, 101):
        assert draw(refusing, 1, attempt) == draw(DEFAULT, 1, attempt)


# Spread

CHI_SQUARE = {1: 10.828, 5: 20.515, 9: 27.877, 99: 148.230}
"""Upper critical values at 0.001 by degrees of freedom: NIST/SEMATECH e-Handbook, 1.3.6.7.4."""
KOLMOGOROV_SMIRNOV = 1.9495
"""The distance times the root of the sample's size: sqrt(-ln(0.001 / 2) / 2), Smirnov 1948."""
NORMAL = 3.2905
"""Two-sided, at 0.001: NIST/SEMATECH e-Handbook, 1.3.6.7.1."""


def chi_square(counts: Sequence[int], shares: Sequence[float]) -> float:
    total = sum(counts)
    return sum(
        (count - total * share) ** 2 / (total * share)
        for count, share in zip(counts, shares, strict=True)
    )


def kolmogorov_smirnov(
    values: Sequence[float], distribution: Callable[[float], float], below: float = math.inf
) -> float:
    """Return the greatest distance from the distribution, times the root of the sample's size."""
    total = len(values)
    distance = 0.0
    for rank, value in enumerate(sorted(value for value in values if value < below)):
        share = distribution(value)
        distance = max(distance, share - rank / total, (rank + 1) / total - share)
    return distance * math.sqrt(total)


def weighing(*weights: float) -> tuple[WeightedOutcome, ...]:
    return tuple(
        WeightedOutcome(Outcome(500, str(place)), weight) for place, weight in enumerate(weights)
    )


@cache
def sample(profile: Profile, devices: int) -> list[Draw]:
    """Draw the first hundred attempts of so many devices."""
    return list(starmap(partial(draw, profile), product(range(1, devices + 1), range(1, 101))))


def seconds(drawn: Iterable[Draw]) -> list[float]:
    return [each.delay / 1e6 for each in drawn]


@pytest.mark.parametrize(
    ("profile", "devices"),
    [(DEFAULT, 1000), (UNIFORM, 1000), (Profile(MAX_SEED, weighing(*[1] * 10)), 200)],
    ids=["default", "unequal", "equal"],
)
def test_outcomes_come_as_often_as_they_weigh(profile: Profile, devices: int) -> None:
    counts = Counter(each.outcome for each in sample(profile, devices))
    weights = {each.outcome: each.weight for each in profile.outcomes if each.weight}
    assert counts.keys() == weights.keys()
    total = sum(weights.values())
    statistic = chi_square(
        [counts[each] for each in weights], [weight / total for weight in weights.values()]
    )
    assert statistic < CHI_SQUARE[len(weights) - 1]


def test_a_constant_delay_is_always_the_same() -> None:
    assert {each.delay for each in sample(CONSTANT, 10)} == {1_500_000}


def test_uniform_delays_are_spread_evenly() -> None:
    drawn = seconds(sample(UNIFORM, 1000))
    assert 0.25 <= min(drawn) <= max(drawn) <= 30
    statistic = kolmogorov_smirnov(drawn, lambda delay: (delay - 0.25) / 29.75)
    assert statistic < KOLMOGOROV_SMIRNOV


@pytest.mark.parametrize(
    ("delay", "devices"),
    [
        (DEFAULT_DELAY, 1000),
        (LognormalDelay(2, 0.5, 2.5), 100),
        (LognormalDelay(60, 2, 3_600), 100),
    ],
    ids=["default", "cut short", "wide"],
)
def test_lognormal_delays_are_spread_as_they_say_below_their_cut(
    delay: LognormalDelay, devices: int
) -> None:
    logarithm = NormalDist(math.log(delay.median), delay.sigma)
    drawn = seconds(sample(replace(DEFAULT, delay=delay), devices))
    statistic = kolmogorov_smirnov(
        drawn, lambda each: logarithm.cdf(math.log(each)), below=delay.max
    )
    assert statistic < KOLMOGOROV_SMIRNOV

    # What lies beyond the cut takes exactly the maximum: a binomial count.
    assert max(drawn) == delay.max
    share = 1 - logarithm.cdf(math.log(delay.max))
    deviation = math.sqrt(len(drawn) * share * (1 - share))
    assert abs(drawn.count(delay.max) - len(drawn) * share) < NORMAL * deviation


# Independence

Attempt = tuple[int, int, int]
"""Seed, device, attempt."""

ATTEMPTS = tuple(product((7,), range(201, 601, 2), range(1, 201, 2)))
"""20,000 of them, so far apart that none is another one's neighbour."""

NEIGHBOURS: dict[str, Callable[[int, int, int], Attempt]] = {
    "next attempt": lambda seed, device_id, attempt: (seed, device_id, attempt + 1),
    "next device": lambda seed, device_id, attempt: (seed, device_id + 1, attempt),
    "next seed": lambda seed, device_id, attempt: (seed + 1, device_id, attempt),
    "the two exchanged": lambda seed, device_id, attempt: (seed, attempt, device_id),
}


def tenths(attempts: Iterable[Attempt]) -> tuple[list[int], list[int]]:
    """Return the attempts' outcomes and their delays, as which of ten equal parts they lie in."""
    outcomes, delays = [], []
    for seed, device_id, attempt in attempts:
        profile = TENTHS[seed]
        drawn = draw(profile, device_id, attempt)
        outcomes.append(int(drawn.outcome.error_message or ""))
        delays.append(min(drawn.delay // 8_640_000_000, 9))
    return outcomes, delays


TENTHS = {seed: Profile(seed, weighing(*[1] * 10), UniformDelay(0, 86_400)) for seed in (7, 8)}


def assert_independent(one: Sequence[int], other: Sequence[int]) -> None:
    assert abs(correlation(one, other)) < NORMAL / math.sqrt(len(one))
    # Not only in a line: each of the hundred pairs comes as often as any other.
    pairs = Counter(zip(one, other, strict=True))
    counts = [pairs[pair] for pair in product(range(10), range(10))]
    assert chi_square(counts, [0.01] * 100) < CHI_SQUARE[99]


@pytest.fixture(scope="module")
def of_attempts() -> tuple[list[int], list[int]]:
    return tenths(ATTEMPTS)


def test_an_attempts_delay_tells_nothing_of_its_outcome(
    of_attempts: tuple[list[int], list[int]],
) -> None:
    assert_independent(*of_attempts)


@pytest.mark.parametrize("neighbour", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_an_attempt_tells_nothing_of_its_neighbour(
    of_attempts: tuple[list[int], list[int]], neighbour: Callable[[int, int, int], Attempt]
) -> None:
    other = tenths(neighbour(*attempt) for attempt in ATTEMPTS)
    for drawn, neighbours in product(of_attempts, other):
        assert_independent(drawn, neighbours)


def test_these_tests_see_a_generator_that_is_none(
    of_attempts: tuple[list[int], list[int]],
) -> None:
    outcomes, delays = of_attempts
    with pytest.raises(AssertionError):
        assert_independent(outcomes, outcomes)
    # A neighbour that follows in one case of twenty.
    leaning = [
        outcome if place % 20 == 0 else delay
        for place, (outcome, delay) in enumerate(zip(outcomes, delays, strict=True))
    ]
    with pytest.raises(AssertionError):
        assert_independent(outcomes, leaning)
    even = [(rank + 0.5) / 20_000 for rank in range(20_000)]
    assert kolmogorov_smirnov(even, lambda u: u) < KOLMOGOROV_SMIRNOV
    assert kolmogorov_smirnov(even, lambda u: u**1.1) > KOLMOGOROV_SMIRNOV
