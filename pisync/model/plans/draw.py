"""The generator `pisync-draw-1`: the outcome and the delay of every attempt, from a seed.

A pure function of profile, device and attempt: arrival order, concurrency, replica, store and
restart have no part in it. Its bits are BLAKE2b (RFC 7693), 16 bytes of digest, personalised with
`pisync-draw-1`, over seed, device id and attempt as three little-endian 64-bit integers. The digest
is two more of them: the top 52 bits of the first choose the outcome, those of the second the delay,
each as a number in the open interval (0, 1), half a step of 2^-52 above the number that they write.

Where a profile has spells, an attempt may repeat an earlier one's first integer (see
`spells.py`); its delay is always its own. Where it has phases, both numbers are looked up in what
applies when the attempt begins.

A change that gives another history for the same profile needs a new name; the known-answer tests
hold this one.
"""

from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from pisync.model.outcome import Outcome
from pisync.model.plans.profile import Profile
from pisync.model.plans.spells import last_draw
from pisync.model.plans.unit import unit
from pisync.model.timestamp import from_seconds

GENERATOR = "pisync-draw-1"

_pack = Struct("<QQQ").pack
_unpack = Struct("<QQ").unpack
# A named tuple's own constructor takes twice as long.
_new = tuple.__new__
_HASH = blake2b(digest_size=16, person=GENERATOR.encode())
"""Copied for each attempt: to set one up takes twice as long."""


class Draw(NamedTuple):
    """What an attempt will come to: its outcome, after a delay in microseconds."""

    outcome: Outcome
    delay: int


def draw(profile: Profile, device_id: int, attempt: int, elapsed: int = 0) -> Draw:
    """Decide attempt `attempt` (from 1) of a device, for ever.

    It begins `elapsed` microseconds after the fleet's beginning, which matters where there are
    phases.
    """
    choice, delay = profile.rules_at(elapsed)
    first, second = _words(profile.seed, device_id, attempt)
    if profile.mean_length > 1:
        drawn = last_draw(profile.seed, device_id, attempt, profile.mean_length)
        if drawn != attempt:
            first, _ = _words(profile.seed, device_id, drawn)
    return _new(Draw, (choice.at(unit(first)), from_seconds(delay.quantile(unit(second)))))


def _words(seed: int, device_id: int, attempt: int) -> tuple[int, int]:
    digest = _HASH.copy()
    digest.update(_pack(seed, device_id, attempt))
    first, second = _unpack(digest.digest())
    return first, second
