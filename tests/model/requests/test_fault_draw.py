"""The generator `pisync-fault-1`: known answers, and that its draws are spread as rules say."""

import hashlib
from fractions import Fraction

import pytest

from pisync.model.plans.delay import ConstantDelay, UniformDelay
from pisync.model.plans.profile import MAX_SEED
from pisync.model.requests.fault import (
    CloseFault,
    DelayFault,
    FaultRule,
    ResetFault,
    StatusFault,
)
from pisync.model.requests.fault_draw import GENERATOR, CallOfUser, draw_fault

RULES = (
    FaultRule(("sync",), ResetFault(), share=0.25),
    FaultRule(("sync", "device"), DelayFault(UniformDelay(1, 3)), share=0.5, is_after=True),
    FaultRule(("stats",), CloseFault(), first=2),
)
ALICE = CallOfUser("sync", 7, "alice")


def by_the_book(seed: int, call: CallOfUser, earlier: int) -> tuple[int, float] | None:
    """Draw as the docstring of fault_draw says, in the plainest way and with none of its code."""
    for place, rule in enumerate(RULES):
        if call.call not in rule.calls:
            continue
        numbers = (seed, place, call.device_id, earlier)
        key = b"".join(number.to_bytes(8, "little") for number in numbers)
        key += call.call.encode() + b"\0" + call.user.encode()
        digest = hashlib.blake2b(key, digest_size=16, person=b"pisync-fault-1").digest()
        halves = (int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little"))
        for_share, for_delay = (Fraction(2 * (half // 2**12) + 1, 2**53) for half in halves)
        if earlier < rule.first if rule.first else for_share < Fraction(rule.share):
            is_delay = isinstance(rule.fault, DelayFault)
            return place, round(float(1 + 2 * for_delay), 6) if is_delay else 0.0
    return None


def drawn(seed: int, call: CallOfUser, earlier: int) -> tuple[int, float] | None:
    met = draw_fault(seed, RULES, call, earlier)
    return met and (met.rule, round(met.delay, 6))


@pytest.mark.parametrize(
    ("seed", "call", "expected"),
    [
        (7, ALICE, [(1, 2.364643), (0, 0.0), (1, 2.241168), (0, 0.0), (1, 1.361188), None]),
        (0, CallOfUser("device", 1, "bob"), [None, None, (1, 1.304403), None, None, (1, 2.787411)]),
        (
            MAX_SEED,
            CallOfUser("sync", 2**53 - 1, "Łucja"),
            [None, None, (1, 2.283665), (1, 2.538706), (1, 2.123852), (1, 1.872706)],
        ),
        (7, CallOfUser("stats", 0, "alice"), [(2, 0.0), (2, 0.0), None, None, None, None]),
    ],
)
def test_known_answers(
    seed: int, call: CallOfUser, expected: list[tuple[int, float] | None]
) -> None:
    assert [drawn(seed, call, earlier) for earlier in range(6)] == expected
    assert GENERATOR == "pisync-fault-1"


def test_draws_are_those_of_the_book() -> None:
    calls = (ALICE, CallOfUser("device", 2**53 - 1, "Łucja"), CallOfUser("stats", 0, ""))
    for call in calls:
        for earlier in range(300):
            assert drawn(11, call, earlier) == by_the_book(11, call, earlier)


def test_the_counter_of_a_call_is_its_own() -> None:
    assert ALICE.counter == -3705889907339206592
    others = (
        ALICE._replace(call="device"),
        ALICE._replace(device_id=8),
        ALICE._replace(user="bob"),
        ALICE,
    )
    assert len({other.counter for other in others}) == 4


def test_shares_are_those_of_the_rules() -> None:
    draws = [draw_fault(3, RULES, ALICE, earlier) for earlier in range(40_000)]
    shares = [sum(met is not None and met.rule == place for met in draws) for place in (0, 1)]
    # 4.5 standard deviations.
    assert abs(shares[0] - 10_000) < 390
    assert abs(shares[1] - 15_000) < 436


def test_what_hits_always_and_never() -> None:
    never = FaultRule(("sync",), ResetFault(), share=0)
    always = FaultRule(("sync",), DelayFault(ConstantDelay(2)), share=1, is_after=True)
    elsewhere = FaultRule(("sync",), StatusFault(503), frozenset((8,)))
    for earlier in range(1000):
        met = draw_fault(1, (never, elsewhere, always), ALICE, earlier)
        assert met is not None
        assert (met.rule, met.delay, met.is_after) == (2, 2, True)
    assert draw_fault(1, (), ALICE, 0) is None
