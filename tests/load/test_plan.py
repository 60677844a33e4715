import random
from collections import Counter

import pytest

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
