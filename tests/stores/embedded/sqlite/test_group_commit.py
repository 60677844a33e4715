"""Mutations that share a transaction: one sees what those before it have done."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from pisync.model.account import Account, TokenRevocation
from pisync.model.plans.profile import Profile
from pisync.model.sync import SyncDecision
from pisync.model.timestamp import SECOND
from pisync.stores.embedded.sqlite.group_commit import GroupCommitWriter
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.embedded.transaction import Transaction
from pisync.stores.errors import NoSuchFleet
from tests.conftest import ManualTime
from tests.support.stores.recording_observer import (
    RecordingObserver,
    Replaced,
)
from tests.support.stores.short import FAILING, HOLD, TWENTY, devices, verdicts

_Result = TypeVar("_Result")


class GatedWriter(GroupCommitWriter):
    """A writer that writes only while a gate is open."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = asyncio.Event()
        self.gate.set()
        self.came = 0
        """How many calls have come to the gate."""

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        self.came += 1
        await self.gate.wait()
        return await super()._in_thread(call)

    async def in_one_transaction(
        self, first: Awaitable[object], *calls: Awaitable[object]
    ) -> list[Any]:
        """Make calls, in this order, that all share a transaction; the first has one of its own."""
        self.gate.clear()
        came = self.came
        tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(first)]
        while self.came == came:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
        for waiting, call in enumerate(calls, start=1):
            tasks.append(asyncio.ensure_future(call))
            while len(self._waiting) < waiting:  # noqa: ASYNC110 - fleets are made in threads
                await asyncio.sleep(0.001)
        self.gate.set()
        results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        return results


async def test_nothing_finishes_in_a_fleet_that_its_own_transaction_replaced_or_deleted(
    tmp_path: Path,
) -> None:
    path, time, heard = tmp_path / "pisync.db", ManualTime(), RecordingObserver()
    writer = GatedWriter(path)
    store = EmbeddedStore(TWENTY, FAILING, time, writer=writer)
    await store.open(heard)
    made = [store.fleets.put("lab", TWENTY, FAILING) for _ in range(3)]
    await writer.in_one_transaction(
        store.starter.begin("default", [1]), made[0], store.starter.begin("lab", [1]), made[1]
    )
    await writer.in_one_transaction(
        store.starter.begin("default", [1]),
        made[2],
        store.starter.begin("lab", [2]),
        store.fleets.delete("lab"),
    )
    time.pass_seconds(60)
    assert await store.finisher.finish_due(100) == 1, "the one of the default fleet"
    assert set(heard.events["lab"]) == {Replaced()}
    assert "lab" not in heard.finishes
    await store.close()
    with sqlite3.connect(path) as file:
        owners = {owner for (owner,) in file.execute("SELECT fleet_id FROM devices")}
        assert owners <= {fleet for (fleet,) in file.execute("SELECT fleet_id FROM fleets")}
    file.close()


class _Bug(Exception):
    """What nobody expects."""


def _fails_half_way(profile: Profile) -> Profile:
    raise _Bug(profile.seed)


async def test_a_mutation_that_fails_half_way_undoes_itself_alone(tmp_path: Path) -> None:
    time, heard = ManualTime(), RecordingObserver()
    writer = GatedWriter(tmp_path / "pisync.db")
    store = EmbeddedStore(TWENTY, FAILING, time, writer=writer)
    await store.open(heard)

    def starts_and_fails(transaction: Transaction) -> None:
        changes = transaction.changes_of(transaction.fleet("default"))
        changes.begin([7, 8, 9], changes.clock.now(time.monotonic()))
        changes.scripts[9] = HOLD
        transaction.accounts["bob"] = Account("bob", b"", ())
        raise _Bug

    first, *results = await writer.in_one_transaction(
        store.starter.begin("default", [1]),
        store.starter.begin("default", [2]),
        writer.write(starts_and_fails),
        store.accounts.add(Account("alice", b"hash", ())),
        store.fleets.change_profile("default", _fails_half_way),
        store.starter.begin("default", [9]),
        store.fleets.set_script("nowhere", 1, HOLD),
        store.starter.begin("default", [10]),
    )
    assert verdicts(first) == [SyncDecision.STARTED]
    assert [type(result) for result in results] == [
        *(list, _Bug, bool, _Bug, list, NoSuchFleet, list),
    ]
    assert (await store.queries.stats("default")).pending == 4
    await store.close()

    store = EmbeddedStore(TWENTY, FAILING, time, writer=GroupCommitWriter(tmp_path / "pisync.db"))
    await store.open(heard)
    statuses = [device.sync_status_code for device in (await devices(store))[:10]]
    assert statuses == [202, 202, *[200] * 6, 202, 202]
    assert await store.accounts.find("alice")
    assert await store.accounts.find("bob") is None
    time.pass_seconds(60)
    assert await store.finisher.finish_due(100) == 4, "device 9 is not held"
    ledger = await store.queries.ledger("default")
    assert (ledger.accepted, ledger.balanced) == (4, True)
    await store.close()


async def test_what_no_file_can_hold_fails_alone(tmp_path: Path) -> None:
    writer = GatedWriter(tmp_path / "pisync.db")
    store = EmbeddedStore(TWENTY, FAILING, ManualTime(), writer=writer)
    await store.open(RecordingObserver())

    def enter(transaction: Transaction) -> None:
        transaction.revocations["bob"] = TokenRevocation("bob", tokens_since=2**63)

    _, *results = await writer.in_one_transaction(
        *(store.starter.begin("default", [device_id]) for device_id in range(1, 6)),
        writer.write(enter),
        *(store.starter.begin("default", [device_id]) for device_id in range(6, 11)),
    )
    assert [type(result) for result in results] == [*[list] * 4, OverflowError, *[list] * 5]
    assert await store.queries.pending() == 10
    await store.close()


async def test_what_falls_due_in_a_transaction_that_stops_the_clock_waits(tmp_path: Path) -> None:
    time, heard = ManualTime(), RecordingObserver()
    writer = GatedWriter(tmp_path / "pisync.db")
    store = EmbeddedStore(TWENTY, FAILING, time, writer=writer)
    await store.open(heard)
    await store.starter.begin("default", [1])
    time.pass_seconds(20)
    _, clock, finished = await writer.in_one_transaction(
        store.starter.begin("default", [2]),
        store.finisher.set_clock("default", 0),
        store.finisher.finish_due(100),
    )
    assert (clock.mode, finished) == ("manual", 0)
    assert await store.finisher.settle("default") == (clock.now + 10 * SECOND, 2)
    await store.close()


async def test_settling_waits_for_what_is_being_written(tmp_path: Path) -> None:
    time, heard = ManualTime(), RecordingObserver()
    writer = GatedWriter(tmp_path / "pisync.db")
    store = EmbeddedStore(TWENTY, FAILING, time, writer=writer)
    await store.open(heard)
    await store.starter.begin("default", [1])
    time.pass_seconds(20)
    writer.gate.clear()
    finishing = asyncio.ensure_future(store.finisher.finish_due(100))
    await asyncio.sleep(0.01)
    settling = asyncio.ensure_future(store.finisher.settle("default"))
    await asyncio.sleep(0.01)
    assert not settling.done(), "device 1 is still pending for everyone"
    writer.gate.set()
    await settling
    assert not (await store.queries.device("default", 1)).is_pending
    assert await finishing == 1
    await store.close()
