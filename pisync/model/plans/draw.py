"""The generator `pisync-draw-1`: the outcome and the delay of every attempt, from a seed.

A pure function of profile, device and attempt: arrival order, concurrency, replica, store and
restart have no part in it. Its bits are BLAKE2b (RFC 7693), 16 bytes of digest, personalised with
`pisync-draw-1`, over seed, device id and attempt as three little-endian 64-bit integers. The digest
is two more of them: the top 52 bits of the first choose the outcome, those of the second the delay,
each as a number in the open interval (0, 1), half a step of 2^-52 above the number that they write.

A change that gives another history for the same profile needs a new name; the known-answer tests
hold this one.
"""

from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from pisync.model.outcome import Outcome
from pisync.model.plans.profile import Profile
from pisync.model.timestamp import from_seconds

GENERATOR = "pisync-draw-1"

_KEY = Struct("<QQQ")
_HALVES = Struct("<QQ")
_PERSON = GENERATOR.encode()


class Draw(NamedTuple):
    """What an attempt will come to: its outcome, after a delay in microseconds."""

    outcome: Outcome
    delay: int


def draw(profile: Profile, device_id: int, attempt: int) -> Draw:
    """Decide attempt `attempt` (from 1) of a device, for ever."""
    key = _KEY.pack(profile.seed, device_id, attempt)
    digest = blake2b(key, digest_size=16, person=_PERSON).digest()
    first, second = _HALVES.unpack(digest)
    return Draw(profile.choose(_unit(first)), from_seconds(profile.delay.quantile(_unit(second))))


def _unit(word: int) -> float:
    """Map 64 bits to the middle of one of 2^52 equal cells of (0, 1): never 0, never 1."""
    return ((word >> 12) + 0.5) * 2.0**-52
