"""Writing snapshots as documents."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple

import orjson

from pisync.model import timestamp
from pisync.model.device import Device
from pisync.model.fleet import DeviceSpec, Generated, Ledger
from pisync.model.plans.polls import Polls
from pisync.model.plans.script import Step
from pisync.model.snapshot import DeviceScript, Snapshot, SnapshotHead, SnapshotPart
from pisync.model.timestamp import SECOND, Moment
from pisync.web.contract import rendering
from pisync.web.contract.rendering import Json

VERSION: Final = 1
"""Of the format. Another is a format that this one's readers must refuse."""
_PIECE = 64 * 1024
"""Bytes that are handed on at once."""
_FIRST_AT_ONCE = 1_000


class _OfLivingFleet(NamedTuple):
    device: Device
    moment: int


class _WithPolls(NamedTuple):
    device: Device
    polls: Polls


_Line = tuple[str, object]
"""What a line is, and its value."""


async def document(snapshot: Snapshot) -> AsyncIterator[bytes]:
    """Yield the document of a snapshot, in pieces of whole lines."""
    piece = bytearray(_dumps(_head(snapshot.head)))
    digest, lines = sha256(piece), 1
    async for some in _lines(snapshot):
        # In a thread: some thousand lines take some milliseconds.
        written = await asyncio.to_thread(_written, some)
        digest.update(written)
        lines += len(some)
        piece += written
        if len(piece) >= _PIECE:
            yield bytes(piece)
            piece.clear()
    piece += _written([("end", {"lines": lines, "sha256": digest.hexdigest()})])
    yield bytes(piece)


def _written(lines: Iterable[_Line]) -> bytes:
    return b"".join(_dumps({kind: value}) for kind, value in lines)


def _dumps(line: object) -> bytes:
    return orjson.dumps(line, default=_of_model, option=_OPTIONS)


_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS


async def _lines(snapshot: Snapshot) -> AsyncIterator[list[_Line]]:
    head = snapshot.head
    if not isinstance(head.first, Generated):
        devices = head.first.devices
        for start in range(0, len(devices), _FIRST_AT_ONCE):
            yield [("first_device", spec) for spec in devices[start : start + _FIRST_AT_ONCE]]
        yield [("first_error_log", rendering.error_log(log)) for log in head.first.error_logs]
    yield [("fault", rule.as_json()) for rule in head.faults]
    async for part in snapshot.parts:
        yield list(_of_part(part))


def _of_part(part: SnapshotPart) -> Iterator[_Line]:
    moments, polls = part.moments, part.polls
    for device in part.devices:
        device_id = device.device_id
        if device_id in moments:
            yield "device", _OfLivingFleet(device, moments[device_id])
        elif device_id in polls:
            yield "device", _WithPolls(device, polls[device_id])
        else:
            yield "device", device
    yield from (("script", script) for script in part.scripts)
    yield from (("error_log", rendering.error_log(log)) for log in part.error_logs)
    yield from (("request_count", count._asdict()) for count in part.request_counts)


def _of_model(value: object) -> Json:
    """Render what is rendered in the thread: there may be many."""
    if isinstance(value, Device):
        return _device(value)
    if isinstance(value, _OfLivingFleet):
        return {**_device(value.device), "own_sync_at": timestamp.render(value.moment)}
    if isinstance(value, _WithPolls):
        _, remaining, outcome = value.polls
        return {**_device(value.device), "pending": {"polls": remaining, **outcome._asdict()}}
    if isinstance(value, DeviceScript):
        return _script(value)
    assert isinstance(value, DeviceSpec)  # noqa: S101 - nothing else is left to `orjson`
    return _first_device(value)


def _head(head: SnapshotHead) -> Json:
    ledger = Ledger.of(head.counts, 0, 0)
    counts = ("accepted", "joined", "refused", "succeeded", "failed", "error_logs", "faults")
    is_generated = isinstance(head.first, Generated)
    return {
        "version": VERSION,
        "fleet": head.fleet,
        "devices": head.first.size,
        "listed": not is_generated,
        "made_at": timestamp.render(head.made_at),
        "started_at": timestamp.render(head.started_at),
        "clock": rendering.clock(head.clock),
        "profile": rendering.profile(head.profile),
        "journal": head.journal,
        "ttl": head.ttl,
        "live_since": None if head.live_since is None else timestamp.render(head.live_since),
        "counts": {name: getattr(ledger, name) for name in counts},
        "error_logs": head.error_logs,
    }


def _first_device(spec: DeviceSpec) -> Json:
    """Return what a `PUT` of a fleet takes for the device."""
    value: dict[str, object] = {"device_id": spec.device_id}
    if spec.last_sync_at is not None:
        value["last_sync_at"] = _moment(spec.last_sync_at)
    if spec.error_message is not None:
        value["sync_status_code"] = spec.sync_status_code
        value["error_message"] = spec.error_message
    if spec.last_attempt_at is not None:
        value["last_attempt_at"] = _moment(spec.last_attempt_at)
    return value


def _moment(moment: Moment) -> str:
    return timestamp.render(moment) if isinstance(moment, int) else str(moment)


def _device(device: Device) -> Json:
    value = {**rendering.device(device), "attempt": device.attempt}
    if device.pending is not None:
        outcome, due_at = device.pending
        if outcome is None or due_at is None:
            value["pending"] = {"hold": True}
        else:
            value["pending"] = {"due_at": timestamp.render(due_at), **outcome._asdict()}
    return value


def _script(script: DeviceScript) -> Json:
    steps, sticky, position = script.script
    written = [_step(step) for step in steps]
    if sticky:
        written[-1]["sticky"] = True
    return {"device_id": script.device_id, "position": position, "steps": written}


def _step(step: Step) -> dict[str, object]:
    if step.outcome is None:
        return {"hold": True}
    written: dict[str, object] = step.outcome._asdict()
    if step.delay is not None:
        written["delay"] = step.delay / SECOND
    if step.polls is not None:
        written["polls"] = step.polls
    return written
