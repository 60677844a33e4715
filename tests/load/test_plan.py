import random
import time
from collections import Counter

import pytest

from pisync.load.generator import Schedule
from pisync.load.plan import DEFAULT_MIX, BadMix, Mix


def test_a_mix_draws_by_weight() -> None:
    mix = Mix.parse("sync=3, device=1,stats=0")
    randomness = random.Random(1)  # noqa: S311 - the same draws every time
    drawn = Counter(mix.choose(randomness) for _ in range(4000))
    assert drawn.keys() == {"sync", "device"}
    assert 2800 < drawn["sync"] < 3200


def test_the_default_is_a_mix() -> None:
    Mix.parse(DEFAULT_MIX)


@pytest.mark.parametrize(
    "text",
    ["", "sync", "sync=", "sync=-1", "sync=1.5", "sync=٣", "sync=0", "fly=1", "sync=1,sync=2"],
)
def test_a_mix_that_can_not_be_had_is_refused(text: str) -> None:
    with pytest.raises(BadMix):
        Mix.parse(text)


async def test_what_could_not_be_sent_in_time_counts_from_when_it_was_due() -> None:
    schedule = Schedule(seconds=0.5, rate=10)
    assert await schedule.next() == schedule.began
    time.sleep(0.35)  # noqa: ASYNC251 - everything stands still
    assert [await schedule.next() for _ in range(3)] == pytest.approx(
        [schedule.began + each / 10 for each in (1, 2, 3)]
    )
    assert await schedule.next() == pytest.approx(schedule.began + 0.4)
    assert await schedule.next() is None


async def test_a_schedule_that_is_stopped_gives_no_more() -> None:
    for rate in (None, 1000.0):
        schedule = Schedule(seconds=60, rate=rate)
        assert await schedule.next() is not None
        schedule.stop()
        assert await schedule.next() is None
