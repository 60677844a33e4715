"""Devices: list and sync them."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from aiohttp import hdrs, web

from pisync import keys
from pisync.concurrency.keyed_queue import Busy
from pisync.model.device import HOLD, Device, DevicePage, begin
from pisync.model.fleet import Stats
from pisync.model.requests.idempotency import KeyedRequest, RememberedAnswer, read_device
from pisync.model.sync import SyncDecision, SyncResult
from pisync.simulation.bulk import BulkResult, read_result
from pisync.simulation.simulator import Simulator
from pisync.stores.errors import NoSuchDevice, RequestRemembered
from pisync.web.contract import rendering
from pisync.web.contract.headers import ATTEMPT_HEADER, TOTAL_HEADER
from pisync.web.contract.problems import (
    Problem,
    conflict,
    unavailable,
)
from pisync.web.contract.rendering import Rendered
from pisync.web.contract.request import (
    device_of,
    fleet_of,
    parse_json,
    parse_query,
    read_body,
)
from pisync.web.contract.schemas import (
    DeviceQuery,
    DevicesQuery,
    StatsQuery,
    SyncBody,
)
from pisync.web.handlers.page_cache import PAGES
from pisync.web.pipeline.idempotency import expected_answer, first_answer, keyed_request
from pisync.web.pipeline.requests import before_effect
from pisync.web.pipeline.waiting import seconds_to_wait, waiting

BULK_LIMIT = 256 * 1024
"""The largest body of a bulk sync, in bytes."""

# By itself: to look it up in the enumeration costs every sync 0.2 µs.
ACCEPTED: Final = HTTPStatus.ACCEPTED.value

_REFUSED: Final = (SyncDecision.PENDING, SyncDecision.FULL)

_parse_bulk = partial(parse_json, SyncBody())


async def list_devices(request: web.Request) -> web.Response:
    """List devices by id, of all statuses or of some, a page at a time.

    The header `Link` leads to the next page, if there is one.
    """
    app, fleet, raw_query = request.app, fleet_of(request), request.rel_url.raw_query_string
    plain = partial(page_of, app, fleet, raw_query)
    if not _acts(request, fleet):
        return (await plain()).answer(request)
    await before_effect(request, plain)
    query = parse_query(raw_query, DevicesQuery)
    page = await app[keys.SIMULATOR].acting_reads.devices(
        fleet, after=query["after"], limit=query["limit"], statuses=query["status"]
    )
    return _page(page, query).answer(request)


def _acts(request: web.Request, fleet: str) -> bool:
    """Return whether a request does something by reading; HEAD shows the state, no more."""
    acts = request.app[keys.SIMULATOR].acting_reads.acts
    return request.method != hdrs.METH_HEAD and acts(fleet)


async def page_of(app: web.Application, fleet: str, raw_query: str) -> Rendered:
    """Return the page of a fleet's devices that a query asks for."""
    cache, key = app[PAGES], (fleet, "/devices", raw_query)
    current = cache.current(key)
    if current is not None:
        return current
    query = parse_query(raw_query, DevicesQuery)
    page = await app[keys.SIMULATOR].queries.devices(
        fleet,
        after=query["after"],
        limit=query["limit"],
        statuses=query["status"],
        known=cache.version(key),
    )
    rendered = cache.get(key, page.version)
    if rendered is None:
        rendered = _page(page, query)
        cache.put(key, page.version, rendered)
    return rendered


def _page(page: DevicePage, query: Mapping[str, Any]) -> Rendered:
    return Rendered.tagged(rendering.devices(page.devices), _page_headers(page, query))


def _page_headers(page: DevicePage, query: Mapping[str, Any]) -> dict[str, str]:
    headers = {TOTAL_HEADER: str(page.total)}
    if page.more:
        limit, statuses = query["limit"], query["status"]
        chosen = statuses and ",".join(map(str, sorted(statuses)))
        last = page.devices[-1].device_id
        headers[hdrs.LINK] = rendering.next_page(
            "/devices", {"limit": limit, "after": last, "status": chosen}
        )
    return headers


async def get_device(request: web.Request) -> web.Response:
    """Return a device.

    With `wait`, once it is no longer pending, or as it is after so many seconds; with
    `If-None-Match`, too, once its `ETag` is another. A reset ends the wait, and so do a deletion
    (404) and a server that stops. It does not wait for an attempt that is pending for so many
    reads.
    """
    app, fleet, device_id = request.app, fleet_of(request), device_of(request)
    seconds = seconds_to_wait(request, DeviceQuery)
    plain = partial(device_at, app, fleet, device_id)
    if not seconds and not _acts(request, fleet):
        return (await plain()).answer(request)
    await before_effect(request, plain)
    simulator = app[keys.SIMULATOR]
    if seconds:
        is_awaited = partial(_is_awaited, request)
        device = await waiting(
            request, simulator.waits.device(fleet, device_id, seconds, is_awaited)
        )
    else:
        device = await simulator.acting_reads.device(fleet, device_id)
    return _tagged(device).answer(request)


def _is_awaited(request: web.Request, device: Device) -> bool:
    """Return whether a device is as a client waits for it to be."""
    if hdrs.IF_NONE_MATCH in request.headers:
        return not _tagged(device).is_known(request)
    return not device.is_pending


async def device_at(app: web.Application, fleet: str, device_id: int) -> Rendered:
    """Return a device."""
    return _tagged(await app[keys.SIMULATOR].queries.device(fleet, device_id))


def _tagged(device: Device) -> Rendered:
    return Rendered.tagged(rendering.device(device))


async def sync_device(request: web.Request) -> web.Response:
    """Start a sync of a device, or join the attempt under way.

    The answer shows the device as pending (202). After its delay, the attempt finishes exactly
    once, and the device shows 200, 400, 404 or 500.
    """
    app, fleet, device_id = request.app, fleet_of(request), device_of(request)
    keyed = keyed_request(request, f"/devices/{device_id}/sync")
    would_start = partial(_would_start, app, fleet, device_id)
    if keyed is None:
        await before_effect(request, would_start)
        return (await start_sync(app, fleet, device_id)).answer(request)
    simulator = app[keys.SIMULATOR]
    await before_effect(
        request, partial(expected_answer, simulator, fleet, keyed, _replayed, would_start)
    )
    try:
        result = await simulator.start_once(fleet, device_id, keyed)
    except RequestRemembered as known:
        return first_answer(known, keyed, _replayed).answer(request)
    return _started(result).answer(request)


async def start_sync(app: web.Application, fleet: str, device_id: int) -> Rendered:
    """Start a sync of a device, or join the one under way; return the device, pending."""
    return _started(await app[keys.SIMULATOR].start(fleet, device_id))


def _started(result: SyncResult) -> Rendered:
    if result.device is None or result.decision in _REFUSED:
        raise refusal(result)
    return _accepted(result.device)


def refusal(result: SyncResult) -> Problem | NoSuchDevice:
    """Return why a sync has neither begun nor joined another."""
    if result.decision is SyncDecision.PENDING:
        return conflict("A sync of this device is already pending.")
    if result.decision is SyncDecision.FULL:
        return unavailable("The fleet has reached its limit of pending syncs. Try again.")
    return NoSuchDevice()


async def _would_start(app: web.Application, fleet: str, device_id: int) -> Rendered | None:
    """Return what `start_sync` would, and start nothing; None if it would be refused."""
    queries = app[keys.SIMULATOR].queries
    device, view = await queries.device(fleet, device_id), await queries.fleet(fleet)
    if device.is_pending:
        return None if view.profile.refuse_pending else _accepted(device)
    if (await queries.stats(fleet)).pending >= view.profile.max_pending:
        return None
    return _accepted(begin(device, view.clock.now, HOLD))


def _accepted(device: Device) -> Rendered:
    headers = {
        hdrs.LOCATION: f"/devices/{device.device_id}",
        ATTEMPT_HEADER: str(device.attempt),
    }
    return Rendered(rendering.pending_device(device), headers=headers, status=ACCEPTED)


def _replayed(remembered: RememberedAnswer) -> Rendered:
    return _accepted(read_device(remembered))


async def sync_devices(request: web.Request) -> web.Response:
    """Start syncs of many devices: of those listed, of those with some status, or of all.

    A repeated id counts once. The body may have up to 256 KiB. Calls for many devices take turns;
    if too many wait, 503.
    """
    selection, keyed = await read_body(request, partial(_read_bulk, request), BULK_LIMIT)
    simulator, fleet = request.app[keys.SIMULATOR], fleet_of(request)
    would_start = partial(_would_start_none, simulator, fleet)
    if keyed is None:
        await before_effect(request, would_start)
    else:
        await before_effect(
            request, partial(expected_answer, simulator, fleet, keyed, _bulk_replayed, would_start)
        )
    try:
        if "device_ids" in selection:
            result = await simulator.start_listed(fleet, selection["device_ids"], keyed)
        else:
            result = await simulator.start_all(fleet, selection.get("status"), keyed)
    except Busy:
        raise unavailable("Too many bulk syncs are waiting. Try again.") from None
    except RequestRemembered as known:
        assert keyed is not None  # noqa: S101 - nothing else is remembered
        return first_answer(known, keyed, _bulk_replayed).answer(request)
    return _bulk_accepted(result).answer(request)


def _read_bulk(request: web.Request, body: bytes) -> tuple[Any, KeyedRequest | None]:
    return _parse_bulk(body), keyed_request(request, "/devices/sync", body)


def _bulk_accepted(result: BulkResult) -> Rendered:
    return Rendered.of(rendering.bulk_result(result), status=ACCEPTED)


def _bulk_replayed(remembered: RememberedAnswer) -> Rendered:
    return _bulk_accepted(read_result(remembered))


async def _would_start_none(simulator: Simulator, fleet: str) -> Rendered:
    await simulator.queries.fleet(fleet)
    return _bulk_accepted(BulkResult(0, 0, 0, []))


async def get_stats(request: web.Request) -> web.Response:
    """Return the counts of a fleet's devices, syncs and error logs.

    With `history`, those of the last seconds, too, as far as this server has heard of them since it
    started, or since the fleet was made or reset. The newest thousand fleets have a history. With
    `wait`, once nothing is pending that would finish by itself, or after so many seconds.
    """
    app, fleet, raw_query = request.app, fleet_of(request), request.rel_url.raw_query_string
    seconds = seconds_to_wait(request, StatsQuery)
    plain = partial(stats_of, app, fleet, raw_query)
    if not seconds and not _acts(request, fleet):
        return (await plain()).answer(request)
    await before_effect(request, plain)
    simulator = app[keys.SIMULATOR]
    if seconds:
        stats = await waiting(request, simulator.waits.stats(fleet, seconds))
    else:
        stats = await simulator.acting_reads.stats(fleet)
    return _with_history(app, fleet, stats, raw_query).answer(request)


async def stats_of(app: web.Application, fleet: str, raw_query: str) -> Rendered:
    """Return a fleet's counts, at once."""
    if raw_query:
        parse_query(raw_query, StatsQuery)
    return _with_history(app, fleet, await app[keys.SIMULATOR].queries.stats(fleet), raw_query)


def _with_history(app: web.Application, fleet: str, stats: Stats, raw_query: str) -> Rendered:
    """Return counts, with so many of the last seconds as a query asks for."""
    seconds = parse_query(raw_query, StatsQuery)["history"] if raw_query else None
    if seconds is None:
        return Rendered.of(rendering.stats(stats))
    history = rendering.history(app[keys.SIMULATOR].rates(fleet, seconds))
    return Rendered.of({**rendering.stats(stats), "history": history})
