"""What a replica has begun, and finishes itself."""

import pytest

from pisync.stores.changes import Due
from pisync.stores.postgres.finishing import own_syncs
from pisync.stores.postgres.finishing.own_syncs import OwnSyncs


def test_are_taken_in_the_order_in_which_they_are_due() -> None:
    own = OwnSyncs(0)
    own.add(1, [Due(30, 5), Due(10, 9)])
    own.add(1, [Due(10, 2), Due(20, 1)])
    own.add(2, [Due(5, 1)])
    assert own.first(1) == 10
    assert own.take(1, 20, 2) == [Due(10, 2), Due(10, 9)]
    assert own.take(1, 20, 2) == [Due(20, 1)]
    assert own.take(1, 20, 2) == []
    assert own.first(1) == 30
    assert own.first(3) is None


def test_of_fleets_that_have_nothing_to_do_are_forgotten_unless_they_are_newer() -> None:
    own = OwnSyncs(0)
    own.add(1, [Due(10, 1)])
    own.add(2, [Due(10, 1)])
    tick = own.tick()
    own.add(3, [Due(10, 1)])
    own.keep({1}, tick)
    assert [own.first(fleet_id) for fleet_id in (1, 2, 3)] == [10, None, 10]
    own.keep(set(), own.tick())
    assert [own.first(fleet_id) for fleet_id in (1, 2, 3)] == [None] * 3


def test_are_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_syncs, "MAX_SYNCS", 2)
    own = OwnSyncs(0)
    own.add(1, [Due(1, 1), Due(2, 2), Due(3, 3)])
    assert len(own.take(1, 9, 9)) == 2
    own.add(1, [Due(4, 4)])
    own.keep(set(), own.tick())
    own.add(2, [Due(5, 5), Due(6, 6)])
    assert own.take(2, 9, 9) == [Due(5, 5), Due(6, 6)]
