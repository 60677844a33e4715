"""The generator `pisync-fault-1`: which fault a request meets, from a seed.

A pure function of seed, rule, call, device, user and `earlier`, the number of this user's earlier
requests of this call on this device: what other clients do has no part in it. Its bits are BLAKE2b
(RFC 7693), 16 bytes of digest, personalised with `pisync-fault-1`, over the seed, the place of the
rule in its list (from 0), the device's id (0 where the call is about none) and `earlier` as four
little-endian 64-bit integers, then the name of the call, a byte 0 and the user's name, in UTF-8.
The digest is two more such integers: the top 52 bits of the first, as in `pisync-draw-1`, are below
the rule's share for those requests that meet its fault; those of the second choose its delay.

A change that lets other requests meet a fault needs a new name; the known-answer tests hold this
one.
"""

from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from pisync.model.requests.fault import DelayFault, Fault, FaultRule

GENERATOR = "pisync-fault-1"

_KEY = Struct("<QQQQ")
_HALVES = Struct("<QQ")
_PERSON = GENERATOR.encode()
_COUNTER_PERSON = b"pisync-counter-1"
_SIGNED = Struct("<q")


class CallOfUser(NamedTuple):
    """Whose call, on which device (0: on none)."""

    call: str
    device_id: int
    user: str

    @property
    def counter(self) -> int:
        """The key under which its requests are counted: 64 bits of a digest, whatever the name."""
        text = f"{self.call}\0{self.device_id}\0{self.user}".encode()
        digest = blake2b(text, digest_size=8, person=_COUNTER_PERSON).digest()
        counter: int = _SIGNED.unpack(digest)[0]
        return counter


class MetFault(NamedTuple):
    """A fault that a request meets: by which rule, and for a delay how long, in seconds."""

    rule: int
    fault: Fault
    is_after: bool
    delay: float = 0.0


def draw_fault(
    seed: int, rules: Sequence[FaultRule], call: CallOfUser, earlier: int
) -> MetFault | None:
    """Return the fault of the first rule that hits a request, if one does."""
    for place, rule in enumerate(rules):
        if not rule.is_about(call.call, call.device_id):
            continue
        if rule.first is not None and earlier >= rule.first:
            continue
        key = _KEY.pack(seed, place, call.device_id, earlier)
        text = f"{call.call}\0{call.user}".encode()
        digest = blake2b(key + text, digest_size=16, person=_PERSON).digest()
        for_share, for_delay = map(_unit, _HALVES.unpack(digest))
        if rule.first is None and for_share >= rule.share:
            continue
        fault = rule.fault
        delay = fault.delay.quantile(for_delay) if isinstance(fault, DelayFault) else 0.0
        return MetFault(place, fault, rule.is_after, delay)
    return None


def _unit(word: int) -> float:
    """Map 64 bits to the middle of one of 2^52 equal cells of (0, 1): never 0, never 1."""
    return ((word >> 12) + 0.5) * 2.0**-52
