"""Documents: written by one store, read by another, and refused when anything about them is off."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pisync.model.fleet import Generated
from pisync.model.parsing.errors import InvalidValue
from pisync.model.snapshot import SnapshotPart
from pisync.snapshots import reading
from pisync.snapshots.parsing import DocumentParser
from pisync.snapshots.reading import MAX_LINE, SnapshotReader
from pisync.snapshots.writing import document
from pisync.stores.base import Store
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.errors import NoSuchFleet
from tests.conftest import ManualTime
from tests.stores.contract.test_snapshots import fill, go_on, state
from tests.support.stores.harness import HARNESSES
from tests.support.stores.recording_observer import RecordingObserver
from tests.support.stores.short import PROFILE, TWENTY, F

COPY = "copy"


@asynccontextmanager
async def opened(kind: str, directory: Path) -> AsyncIterator[Store]:
    """Open an empty store of a kind."""
    await asyncio.to_thread(directory.mkdir)
    home = HARNESSES[kind](directory)
    await home.open()
    store = home.store(TWENTY, PROFILE, 1000)
    await store.open(RecordingObserver())
    try:
        yield store
    finally:
        await store.close()
        await home.close()


async def written(store: Store, fleet: str = F) -> bytes:
    async with store.snapshots.take(fleet) as snapshot:
        return b"".join([piece async for piece in document(snapshot)])


async def read(store: Store, text: bytes, name: str = COPY, step: int = 1 << 16) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), step):
            yield text[start : start + step]

    reader = SnapshotReader(pieces())
    await reader.size()
    await store.snapshots.restore(name, await reader.snapshot())


@pytest.mark.parametrize("source", HARNESSES)
@pytest.mark.parametrize("target", HARNESSES)
async def test_a_fleet_goes_on_in_any_store(source: str, target: str, tmp_path: Path) -> None:
    async with (
        opened(source, tmp_path / "source") as first,
        opened(target, tmp_path / "target") as second,
    ):
        await fill(first)
        text = await written(first)
        await read(second, text)
        assert await state(second, COPY) == await state(first, F)
        # But for the name, it is the same document.
        assert (await written(second, COPY)).splitlines()[1:-1] == text.splitlines()[1:-1]
        assert await go_on(second, COPY) == await go_on(first, F)
        assert await state(second, COPY) == await state(first, F)


@pytest.fixture(scope="module")
def filled() -> bytes:
    """The document of a fleet in all states that there are."""

    async def write() -> bytes:
        store = await memory_store()
        await fill(store)
        return await written(store)

    return asyncio.run(write())


async def memory_store() -> Store:
    store = EmbeddedStore(TWENTY, PROFILE, ManualTime())
    await store.open(RecordingObserver())
    return store


def signed(lines: list[bytes]) -> bytes:
    """Return a document of these lines with an end that fits."""
    text = b"".join(line + b"\n" for line in lines)
    end = {"lines": len(lines), "sha256": sha256(text).hexdigest()}
    return text + orjson.dumps({"end": end}) + b"\n"


def accepted(text: bytes, step: int = 1 << 16) -> bool:
    """Return whether a document is taken; if it is not, nothing may have changed."""

    async def attempt() -> bool:
        store = await memory_store()
        await fill(store)
        before = await state(store, F)
        try:
            await read(store, text, F, step)
        except InvalidValue as refused:
            (line,) = refused.errors
            assert line.startswith("line ")
            assert 1 <= int(line.removeprefix("line ")) <= text.count(b"\n") + 2
            assert await state(store, F) == before
            return False
        assert (await store.queries.ledger(F)).balanced
        return True

    return asyncio.run(attempt())


class TestMutations:
    def test_the_document_itself_is_good(self, filled: bytes) -> None:
        assert accepted(filled)
        assert accepted(signed(filled.splitlines()[:-1]))
        assert accepted(filled, step=1)
        assert accepted(filled.removesuffix(b"\n"))

    @given(data=st.data())
    def test_bytes_that_differ(self, filled: bytes, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(filled) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != filled[place]))
        changed = filled[:place] + bytes([byte]) + filled[place + 1 :]
        if place == len(filled) - 1 and byte in b" \t\r":
            return  # white space in the place of the last line's end
        assert not accepted(changed)

    @given(data=st.data())
    def test_a_document_that_is_cut_off(self, filled: bytes, data: st.DataObject) -> None:
        assert not accepted(filled[: data.draw(st.integers(0, len(filled) - 2))])

    @given(data=st.data())
    def test_lines_that_are_missing_or_come_twice_or_elsewhere(
        self, filled: bytes, data: st.DataObject
    ) -> None:
        lines = filled.splitlines()[:-1]
        place = data.draw(st.integers(0, len(lines) - 1))
        line = lines.pop(place)
        for count in data.draw(st.sampled_from([(), (place, place)])):
            lines.insert(count, line)
        kind = next(iter(orjson.loads(line)))
        # A script, a rule or a count more or less is another fleet, which is as good.
        optional = kind in ("script", "fault", "request_count", "device")
        assert not accepted(signed(lines)) or optional

    @given(data=st.data())
    def test_values_that_somebody_made_up(self, filled: bytes, data: st.DataObject) -> None:
        """However a value is changed, and the end made to fit: it is refused, or a sound fleet."""
        lines = filled.splitlines()[:-1]
        place = data.draw(st.integers(0, len(lines) - 1))
        value = orjson.loads(lines[place])
        path = data.draw(st.sampled_from(list(paths(value))))
        replace(value, path, data.draw(VALUES))
        lines[place] = orjson.dumps(value)
        accepted(signed(lines))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(
        [
            *(0, 1, 2, 7, 20, 21, 200, 202, 400, 500, 2**53, "", "\0", "x" * 201, [], {}, [1]),
            *("2026-11-22T07:40:12Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"),
        ]
    ),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where in a value there is something, the whole aside."""
    entries = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, nested in entries:
        yield (*path, key)
        yield from paths(nested, (*path, key))


def replace(value: Any, path: tuple[Any, ...], by: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = by


def edit(filled: bytes, kind: str, change: Callable[[Any], object]) -> bytes:
    """Return the document with the first line of a kind changed, and an end that fits."""
    lines = filled.splitlines()[:-1]
    is_head = kind == "head"
    place = 0 if is_head else next(n for n, line in enumerate(lines) if kind in orjson.loads(line))
    value = orjson.loads(lines[place])
    change(value if is_head else value[kind])
    lines[place] = orjson.dumps(value)
    return signed(lines)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("head", "version", 2),
        ("head", "more", 1),
        ("head", "devices", 5_000_001),
        ("head", "devices", 6),
        ("head", "listed", True),
        ("head", "profile.seed", None),
        ("head", "clock.speed", 3),
        ("head", "counts.accepted", 999),
        ("head", "counts.error_logs", 1),
        ("head", "error_logs", 1),
        ("head", "error_logs", 3),
        ("head", "ttl", 1),
        ("device", "device_id", 21),
        ("device", "device_id", 9),
        ("device", "device_id", "1"),
        ("device", "attempt", 0),
        ("device", "last_sync_at", None),
        ("device", "sync_status_code", 202),
        ("device", "pending", {"hold": True}),
        ("device", "error_message", "Storage Full"),
        ("device", "last_attempt_at", "yesterday"),
        ("script", "position", 99),
        ("script", "device_id", 21),
        ("script", "steps", []),
        ("error_log", "error_id", 2),
        ("error_log", "device_id", 21),
        ("error_log", "sync_status_code", 200),
        ("request_count", "counter", 2**63),
        ("fault", "calls", ["login"]),
    ],
)
def test_a_document_that_fits_its_end_and_is_wrong(
    filled: bytes, kind: str, field: str, value: object
) -> None:
    def change(line: Any) -> None:
        replace(line, tuple(field.split(".")), value)

    assert not accepted(edit(filled, kind, change))


@pytest.mark.parametrize(
    "wrong",
    [
        {"polls": 0},
        {"polls": 1001},
        {"polls": "2"},
        {"sync_status_code": 202},
        {"error_message": None},
        {"due_at": "2026-11-22T07:40:12.000000Z"},
    ],
)
def test_polls_that_are_wrong(filled: bytes, wrong: dict[str, object]) -> None:
    lines = filled.splitlines()[:-1]
    place = next(n for n, line in enumerate(lines) if b'"pending":{"polls"' in line)
    value = orjson.loads(lines[place])
    pending = value["device"]["pending"]
    assert pending == {"polls": 2, "sync_status_code": 400, "error_message": "Storage Full"}
    pending.update(wrong)
    lines[place] = orjson.dumps(value)
    assert not accepted(signed(lines))


@pytest.mark.parametrize("kind", ["device", "script", "error_log", "request_count"])
def test_nothing_comes_twice(filled: bytes, kind: str) -> None:
    lines = filled.splitlines()[:-1]
    place = next(n for n, line in enumerate(lines) if kind in orjson.loads(line))
    lines.insert(place, lines[place])
    assert not accepted(signed(lines))


def test_a_line_may_be_long_but_not_endless() -> None:
    assert not accepted(b"[" * (MAX_LINE + 1))
    assert not accepted(b"\n" * 100_000)


async def test_a_fleet_that_is_refused_is_not_there(filled: bytes) -> None:
    store = await memory_store()
    with pytest.raises(InvalidValue):
        await read(store, filled[:-9])
    with pytest.raises(NoSuchFleet):
        await store.queries.fleet(COPY)


async def test_the_least_fleet() -> None:
    store = await memory_store()
    await store.fleets.put("empty", Generated(0), PROFILE)
    await read(store, await written(store, "empty"))
    assert (await store.queries.fleet(COPY)).devices == 0


class _Watched(DocumentParser):
    """Knows how many of its kind parse at a time."""

    running = most = 0

    def parse(self, lines: Sequence[bytes]) -> SnapshotPart:
        _Watched.running += 1
        _Watched.most = max(_Watched.most, _Watched.running)
        sleep(0.01)
        try:
            return super().parse(lines)
        finally:
            _Watched.running -= 1


async def test_many_are_parsed_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else all other requests would wait for the interpreter with ever more threads."""
    monkeypatch.setattr(reading, "DocumentParser", _Watched)
    async with opened("memory", tmp_path / "memory") as store:
        await fill(store)
        text = await written(store)
        await asyncio.gather(*(read(store, text, f"copy-{n}") for n in range(5)))
    assert _Watched.most == 1
