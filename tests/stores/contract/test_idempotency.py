"""Answers that are remembered for idempotency keys, the same on all stores."""

import asyncio
from collections.abc import Sequence

import pytest

from pisync.model.plans.profile import Profile
from pisync.model.requests.idempotency import (
    KeyedRequest,
    KeyedStep,
    accepted_device,
    read_device,
)
from pisync.model.sync import SyncDecision, SyncResult
from pisync.stores.base import Store
from pisync.stores.errors import FleetReplaced, NoSuchFleet, RequestRemembered
from tests.stores.conftest import MakeStore, Reopen
from tests.support.stores.harness import DURABLE, StoreHarness
from tests.support.stores.short import PROFILE, TWENTY, F, hold

DAY = 24 * 3600


def request(key: str, path: str = "/devices/7/sync", body: bytes = b"") -> KeyedRequest:
    return KeyedRequest.of("alice", key, path, body)


async def sync(store: Store, key: str, device_id: int = 7) -> SyncResult:
    step = KeyedStep(request(key, f"/devices/{device_id}/sync"), 1, accepted_device)
    (result,) = await store.starter.begin(F, [device_id], step=step)
    return result


async def is_known(store: Store, key: str) -> bool:
    return await store.starter.remembered(F, request(key)) is not None


def part(key: str, number: int, *, is_last: bool = False) -> KeyedStep:
    def answer(results: Sequence[SyncResult]) -> tuple[bytes, bool]:
        return f"{number}:{len(results)}".encode(), is_last

    return KeyedStep(request(key, "/devices/sync"), number, answer)


def test_no_two_requests_have_the_same_digests() -> None:
    requests = {
        KeyedRequest.of("alice", "k", "/a"),
        KeyedRequest.of("alic", "ek", "/a"),
        KeyedRequest.of("bob", "k", "/a"),
        KeyedRequest.of("alice", "k", "/ab"),
        KeyedRequest.of("alice", "k", "/a", b"b"),
    }
    assert len({each.key for each in requests}) == 3
    assert len({(each.key, each.content) for each in requests}) == len(requests)


class TestASync:
    async def test_begins_once_for_a_key(self, store: Store) -> None:
        decision, device = await sync(store, "k")
        assert decision is SyncDecision.STARTED
        with pytest.raises(RequestRemembered) as known:
            await sync(store, "k")
        assert known.value.remembered.is_complete
        remembered = read_device(known.value.remembered)
        assert device is not None
        assert remembered[:6] == device[:6]
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.joined) == (1, 0)
        assert ledger.balanced
        # Whoever asks sees the same.
        assert await store.starter.remembered(F, request("k")) == known.value.remembered

    async def test_stays_answered_when_it_has_finished(self, store: Store) -> None:
        await sync(store, "k")
        await store.finisher.settle(F)
        with pytest.raises(RequestRemembered):
            await sync(store, "k")
        assert (await sync(store, "other")).decision is SyncDecision.STARTED
        assert (await store.queries.ledger(F)).accepted == 2

    async def test_that_joined_is_remembered_too(self, store: Store) -> None:
        await sync(store, "k")
        assert (await sync(store, "l")).decision is SyncDecision.JOINED
        with pytest.raises(RequestRemembered):
            await sync(store, "l")
        assert (await store.queries.ledger(F)).joined == 1

    async def test_that_is_refused_is_not_remembered(self, make_store: MakeStore) -> None:
        store = await make_store(profile=Profile(seed=1, max_pending=1))
        await sync(store, "k", 1)
        assert (await sync(store, "l", 2)).decision is SyncDecision.FULL
        assert (await sync(store, "m", 99)).decision is SyncDecision.UNKNOWN
        await store.finisher.settle(F)
        assert (await sync(store, "l", 2)).decision is SyncDecision.STARTED
        assert not await is_known(store, "m")

    async def test_of_another_path_is_told_what_the_key_is_known_for(self, store: Store) -> None:
        await sync(store, "k")
        with pytest.raises(RequestRemembered) as known:
            await sync(store, "k", 8)
        assert known.value.remembered.content == request("k").content
        assert (await store.queries.ledger(F)).accepted == 1

    async def test_begins_once_for_many_at_the_same_time(self, store: Store) -> None:
        results = await asyncio.gather(
            *(sync(store, f"k{n % 5}", n % 5 + 1) for n in range(50)), return_exceptions=True
        )
        started = [each for each in results if isinstance(each, SyncResult)]
        assert len(started) == 5
        assert {type(each) for each in results} == {SyncResult, RequestRemembered}
        ledger = await store.queries.ledger(F)
        assert (ledger.accepted, ledger.joined) == (5, 0)

    async def test_in_another_fleet_is_another(self, store: Store) -> None:
        await sync(store, "k")
        await store.fleets.put("other", TWENTY, PROFILE)
        assert await store.starter.remembered("other", request("k")) is None
        with pytest.raises(NoSuchFleet):
            await store.starter.remembered("nowhere", request("k"))


class TestIsForgotten:
    async def test_by_a_reset(self, store: Store) -> None:
        await sync(store, "k")
        await store.fleets.reset(F)
        assert not await is_known(store, "k")
        assert (await sync(store, "k")).decision is SyncDecision.STARTED

    async def test_by_a_replacement(self, store: Store) -> None:
        await sync(store, "k")
        await store.fleets.put(F, TWENTY, PROFILE)
        assert (await sync(store, "k")).decision is SyncDecision.STARTED

    async def test_after_24_hours(self, store: Store, home: StoreHarness) -> None:
        await sync(store, "k")
        await sync(store, "l")
        await home.step_wall_clock(DAY - 60)
        assert await is_known(store, "k")
        with pytest.raises(RequestRemembered):
            await sync(store, "k")
        await home.step_wall_clock(DAY + 60)
        assert not await is_known(store, "k")
        assert (await sync(store, "k")).decision in (SyncDecision.STARTED, SyncDecision.JOINED)
        assert await is_known(store, "k")
        with pytest.raises(RequestRemembered):
            await sync(store, "k")

    async def test_when_there_are_too_many(self, make_store: MakeStore) -> None:
        store = await make_store(max_keys=3)
        await hold(store, 7)
        for n in range(5):
            await sync(store, f"k{n}")
        assert [await is_known(store, f"k{n}") for n in range(5)] == [False] * 2 + [True] * 3
        await sync(store, "k0")
        assert [await is_known(store, f"k{n}") for n in range(5)] == [True] + [False] * 2 + [
            True
        ] * 2


@pytest.mark.parametrize("home", DURABLE, indirect=True)
class TestIsThereForTheNextProcess:
    async def test_a_sync(self, make_store: MakeStore, reopen: Reopen) -> None:
        store = await make_store(max_keys=3)
        before = [await sync(store, f"k{n}", n + 1) for n in range(4)]
        store = await reopen()
        for n in range(1, 4):
            with pytest.raises(RequestRemembered) as known:
                await sync(store, f"k{n}", n + 1)
            device = before[n].device
            assert device is not None
            assert read_device(known.value.remembered)[:6] == device[:6]
        assert (await sync(store, "k0", 1)).decision is SyncDecision.JOINED

    async def test_a_call_of_many_steps(self, store: Store, reopen: Reopen) -> None:
        await store.starter.begin(F, [1, 2], step=part("k", 1))
        store = await reopen()
        known = await store.starter.remembered(F, request("k"))
        assert known is not None
        assert (known.answer, known.steps, known.is_complete) == (b"1:2", 1, False)
        await store.starter.begin(F, [3], step=part("k", 2, is_last=True))
        known = await (await reopen()).starter.remembered(F, request("k"))
        assert known is not None
        assert (known.answer, known.steps, known.is_complete) == (b"2:1", 2, True)


class TestACallOfManySteps:
    async def test_goes_on_step_by_step(self, store: Store) -> None:
        await store.starter.begin(F, [1, 2], step=part("k", 1))
        for number in (1, 3):
            with pytest.raises(RequestRemembered) as known:
                await store.starter.begin(F, [9], step=part("k", number))
            assert not known.value.remembered.is_complete
        await store.starter.begin(F, [3], step=part("k", 2, is_last=True))
        for number in (1, 2, 3):
            with pytest.raises(RequestRemembered) as known:
                await store.starter.begin(F, [9], step=part("k", number))
            assert known.value.remembered.answer == b"2:1"
        assert (await store.queries.ledger(F)).accepted == 3

    async def test_may_be_about_no_device(self, store: Store) -> None:
        await store.starter.begin(F, [], step=part("k", 1, is_last=True))
        with pytest.raises(RequestRemembered):
            await store.starter.begin(F, [], step=part("k", 1, is_last=True))

    async def test_counts_as_one_key(self, make_store: MakeStore) -> None:
        store = await make_store(max_keys=2)
        await sync(store, "first")
        for number in range(1, 6):
            await store.starter.begin(F, [], step=part("k", number))
        assert await is_known(store, "first")
        await sync(store, "k2")
        assert [await is_known(store, each) for each in ("first", "k", "k2")] == [False, True, True]

    async def test_ends_with_its_fleet(self, store: Store) -> None:
        generation = (await store.queries.fleet(F)).generation
        await store.starter.begin(F, [1], generation=generation, step=part("k", 1))
        await store.fleets.reset(F)
        with pytest.raises(FleetReplaced):
            await store.starter.begin(F, [2], generation=generation, step=part("k", 2))
        assert not await is_known(store, "k")
