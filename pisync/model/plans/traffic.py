"""The generator `pisync-traffic-1`: when the devices of a fleet that lives sync by themselves.

A pure function of seed, device and attempt. Its bits are BLAKE2b (RFC 7693), 24 bytes of digest,
personalised with `pisync-traffic-1`, over seed, device id and attempt as three little-endian 64-bit
integers. The digest is three more of them, each turned into a number in (0, 1) as in
`pisync-draw-1`.

- A device takes part if the first number of its attempt 0 is below `share`.
- The pause from the end of an attempt to the device's own next is `every` at the second number of
  that attempt.
- The device's first own attempt comes after a part of the pause of attempt 0: the third number
  says which. So a fleet begins as if it had always been there, and not all at once.

A pause, and that part of one, is at least a millisecond.
"""

from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct

from pisync.model.plans.delay import Delay
from pisync.model.plans.unit import unit
from pisync.model.timestamp import from_seconds

MIN_PAUSE = 1_000
"""The shortest pause, in microseconds: time goes on, however often devices sync."""

_KEY = Struct("<QQQ")
_WORDS = Struct("<QQQ")
_PERSON = b"pisync-traffic-1"


@dataclass(frozen=True, slots=True)
class Traffic:
    """How often devices sync by themselves: `share` of them, with a pause of `every` between."""

    every: Delay
    share: float = 1.0

    def first(self, seed: int, device_id: int) -> int | None:
        """Return the microseconds until a device's first own attempt; None if it has none."""
        part, pause, place = _words(seed, device_id, 0)
        # All of them are below a share of 1.
        if unit(part) >= self.share:
            return None
        return max(from_seconds(self.every.quantile(unit(pause)) * unit(place)), MIN_PAUSE)

    def attempts(self, devices: int, microseconds: int) -> float:
        """Return about how many own attempts so many devices make in a time, or a few more."""
        pause = max(from_seconds(self.every.quantile(0.5)), MIN_PAUSE)
        return devices * self.share * microseconds / pause

    def takes_part(self, seed: int, device_id: int) -> bool:
        """Say whether a device syncs by itself."""
        return self.share >= 1 or unit(_words(seed, device_id, 0)[0]) < self.share

    def pause(self, seed: int, device_id: int, attempt: int) -> int:
        """Return the microseconds from an attempt's end to the device's own next."""
        _, pause, _ = _words(seed, device_id, attempt)
        return max(from_seconds(self.every.quantile(unit(pause))), MIN_PAUSE)


def _words(seed: int, device_id: int, attempt: int) -> tuple[int, int, int]:
    key = _KEY.pack(seed, device_id, attempt)
    part, pause, place = _WORDS.unpack(blake2b(key, digest_size=24, person=_PERSON).digest())
    return part, pause, place
