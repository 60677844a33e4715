"""The generator `pisync-spell-1`: which attempts draw anew, where the outcomes come in runs.

With a mean length *m*, an attempt draws anew with probability *1/m*, whatever those before it did;
else it repeats the draw of the attempt before it. The first always draws. What is repeated is the
draw itself, the number that chooses among outcomes, so that every attempt takes its outcome from
the weights that hold when it begins.

A device's attempts are divided into blocks of *ceil(m)*. A block has a stream of numbers in (0, 1):
the 64-bit words, little-endian, of BLAKE2b (RFC 7693) digests of 64 bytes, personalised with
`pisync-spell-1`, over seed, device id, the block's number (from 0) and the number of the digest
(from 0) as four little-endian 64-bit integers; each word is turned into a number as in
`pisync-draw-1`. Each number *u* says how many attempts, *floor(ln u / ln(1 - 1/m))*, repeat before
the next one draws. So whoever looks back to the last draw reads a block or two, however long spells
are and however many attempts there were.
"""

import math
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count
from struct import Struct

from pisync.model.plans.unit import unit

MAX_MEAN_LENGTH = 10_000

_KEY = Struct("<QQQQ")
_WORDS = Struct("<8Q")
_PERSON = b"pisync-spell-1"


def last_draw(seed: int, device_id: int, attempt: int, mean_length: float) -> int:
    """Return the attempt, at most `attempt`, whose draw is that of `attempt`."""
    size = math.ceil(mean_length)
    if size == 1:
        return attempt
    block, within = divmod(attempt - 1, size)
    while block >= 0:
        last = None
        for place in _draws(seed, device_id, block, mean_length):
            if place > within:
                break
            last = place
        if last is not None:
            return block * size + last + 1
        block, within = block - 1, size - 1
    return 1


def _draws(seed: int, device_id: int, block: int, mean_length: float) -> Iterator[int]:
    """Yield the places in a block, from 0, whose attempts draw anew; and others beyond its end."""
    scale = math.log1p(-1 / mean_length)
    place = 0
    for part in count():
        key = _KEY.pack(seed, device_id, block, part)
        for word in _WORDS.unpack(blake2b(key, digest_size=64, person=_PERSON).digest()):
            place += int(math.log(unit(word)) / scale)
            yield place
            place += 1
