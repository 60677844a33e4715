"""A table of devices as it was at a moment."""

from pisync.model.device import Device, synced
from pisync.model.fleet import FleetTimes, Generated
from pisync.stores.embedded.device_table import DeviceTable
from pisync.stores.embedded.snapshots.frozen_table import BLOCK, FrozenTable

COUNT = 3 * BLOCK + 7


def changed(device_id: int, attempt: int) -> Device:
    return synced(device_id, 0)._replace(attempt=attempt)


def test_it_has_what_was_there_when_it_was_made() -> None:
    table = DeviceTable(Generated(COUNT), FleetTimes(0, 0))
    table.save(0, changed(1, 1))
    table.save(COUNT - 1, changed(COUNT, 1))
    with FrozenTable(table) as frozen:
        table.save(0, changed(1, 2))
        blocks = frozen.blocks()
        assert next(blocks).attempted() == [changed(1, 1)]
        # One that was read already, one that comes twice, and one that was as at first.
        for position, attempt in ((1, 9), (COUNT - 1, 2), (COUNT - 1, 3), (BLOCK, 9)):
            table.save(position, changed(position + 1, attempt))
        rest = list(blocks)
        assert [device for block in rest for device in block.attempted()] == [changed(COUNT, 1)]
        assert [len(block) for block in rest] == [BLOCK, BLOCK, 7]
    assert table.listeners == ()
    assert table.load(COUNT - 1) == changed(COUNT, 3)


def test_it_holds_no_more_than_what_changes_before_it_is_read() -> None:
    table = DeviceTable(Generated(COUNT), FleetTimes(0, 0))
    with FrozenTable(table) as frozen:
        kept = frozen._kept  # noqa: SLF001 - what it costs is what this is about
        table.save(BLOCK, changed(BLOCK + 1, 1))
        table.save(BLOCK + 1, changed(BLOCK + 2, 1))
        assert list(kept) == [1]
        assert len(list(frozen.blocks())) == 4
        assert kept == {}
        table.save(BLOCK, changed(BLOCK + 1, 2))
        assert kept == {}
