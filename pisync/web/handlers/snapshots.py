"""Snapshots and copies: all that a fleet is at one moment, to go on from there in another."""

from contextlib import aclosing

from aiohttp import HttpVersion11, hdrs, web

from pisync import keys
from pisync.model.parsing.errors import InvalidValue
from pisync.simulation.device_limit import TooManyDevices
from pisync.snapshots.reading import SnapshotReader
from pisync.snapshots.writing import document
from pisync.stores.errors import StoreError
from pisync.telemetry.logs import get_logger
from pisync.web.contract.answers import NDJSON
from pisync.web.contract.fleet_schemas import CopyBody
from pisync.web.contract.problems import invalid, invalid_value
from pisync.web.contract.request import body_pieces, read_json
from pisync.web.handlers.fleets import made_fleet
from pisync.web.pipeline.addressed_fleet import bound_elsewhere

SNAPSHOT_LIMIT = 1024 * 1024 * 1024
"""The largest document, in bytes."""

_COPY = CopyBody()
_log = get_logger()


def _name(request: web.Request) -> str:
    return request.match_info["fleet"]


async def get_snapshot(request: web.Request) -> web.StreamResponse:
    """Return a snapshot of a fleet: all that it is at one moment, as a document.

    One line is one JSON object. The first says what the fleet is; devices that differ from its
    first data, scripts, error logs and faults follow; the last has a digest, so that a document
    that was cut off or edited is refused. The format is described in docs/snapshots.md.
    """
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: NDJSON})
    try:
        async with request.app[keys.SIMULATOR].snapshots.take(_name(request)) as snapshot:
            if request.method == hdrs.METH_HEAD:
                return web.Response(headers=response.headers)
            if request.version < HttpVersion11:
                # Without chunks, the end of the connection is the end of the document.
                response.force_close()
            await response.prepare(request)
            async for piece in document(snapshot):
                await response.write(piece)
    except ConnectionError:
        return response
    except StoreError as exc:
        if not response.prepared:
            raise
        _log.warning("a snapshot was cut off", reason=str(exc))
        # The head has gone: only a broken connection tells that there is no more.
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


async def put_snapshot(request: web.Request) -> web.Response:
    """Make or replace a fleet by a snapshot, so that it goes on as the first would have.

    Pending syncs have the time left that they had, and attempt numbers, seed, scripts, faults and
    the ledger are the snapshot's. Its `ttl` counts from now; the fleet `default` has none. The body
    may have up to 1 GiB. If anything is wrong with it, `errors` names the line, and nothing has
    changed.
    """
    name = _name(request)
    snapshots = request.app[keys.SIMULATOR].snapshots
    try:
        async with aclosing(body_pieces(request, NDJSON, SNAPSHOT_LIMIT)) as pieces:
            reader = SnapshotReader(pieces)
            async with request.app[keys.DEVICE_LIMIT].reserve(name, await reader.size()):
                fleet, is_new = await snapshots.restore(name, await reader.snapshot())
    except TooManyDevices as exc:
        raise invalid({"line 1": [f"devices: {exc}"]}) from None
    except InvalidValue as exc:
        raise invalid_value(exc) from None
    return made_fleet(fleet, is_new=is_new)


async def copy_fleet(request: web.Request) -> web.Response:
    """Make or replace another fleet by what this one is now.

    As by a snapshot of this one.
    """
    source, target = _name(request), (await read_json(request, _COPY))["to"]
    bound = request[keys.CLAIMS].fleet
    if bound is not None and bound != target:
        raise bound_elsewhere(bound)
    if target == source:
        raise invalid({"to": ["Must be another fleet."]})
    snapshots = request.app[keys.SIMULATOR].snapshots
    try:
        async with (
            snapshots.take(source) as snapshot,
            request.app[keys.DEVICE_LIMIT].reserve(target, snapshot.head.first.size),
        ):
            fleet, is_new = await snapshots.restore(target, snapshot)
    except TooManyDevices as exc:
        raise invalid({"to": [str(exc)]}) from None
    return made_fleet(fleet, is_new=is_new)
