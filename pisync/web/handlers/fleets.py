"""Fleets, and the controls of the simulator."""

import dataclasses
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from marshmallow import ValidationError

from pisync import keys
from pisync.model.fleet import DEFAULT_FLEET, FleetView, NewTtl
from pisync.model.parsing.errors import InvalidValue, refusals
from pisync.model.parsing.profile import OutcomeSchema
from pisync.model.plans.profile import PhasesClash, Profile, new_profile
from pisync.simulation.device_limit import TooManyDevices
from pisync.simulation.seeds import random_seed
from pisync.stores.errors import PastTheLastYear
from pisync.web.contract import rendering
from pisync.web.contract.fleet_schemas import (
    MAX_OWN_ATTEMPTS,
    AdvanceBody,
    ClockBody,
    FleetBody,
    FleetChangesBody,
    FleetsQuery,
    ForecastQuery,
    ScriptBody,
    listed_devices,
)
from pisync.web.contract.headers import TOTAL_HEADER
from pisync.web.contract.long_list import LongElement, LongList, NotJson
from pisync.web.contract.problems import bad_request, invalid, invalid_value
from pisync.web.contract.request import (
    BODY_LIMIT,
    NOT_JSON,
    decode,
    device_of,
    parse_json,
    read_body,
    read_json,
    read_query,
    too_large,
)

FLEET_LIMIT = 16 * 1024 * 1024
"""The largest body that makes a fleet, in bytes."""

_FLEET, _CHANGES, _CLOCK = FleetBody(), FleetChangesBody(), ClockBody()
_ADVANCE, _SCRIPT, _OUTCOME = AdvanceBody(), ScriptBody(), OutcomeSchema()


def _name(request: web.Request) -> str:
    return request.match_info["fleet"]


async def list_fleets(request: web.Request) -> web.Response:
    """List fleets by name, without their profiles, a page at a time.

    The header `Link` leads to the next page, if there is one.
    """
    query = read_query(request, FleetsQuery)
    limit = query["limit"]
    page = await request.app[keys.SIMULATOR].queries.fleets(after=query["after"] or "", limit=limit)
    headers = {TOTAL_HEADER: str(page.total)}
    if page.more:
        headers[hdrs.LINK] = rendering.next_page(
            "/admin/fleets", {"limit": limit, "after": page.fleets[-1].name}
        )
    summaries = [rendering.fleet_summary(fleet) for fleet in page.fleets]
    return rendering.answer(summaries, headers=headers)


async def get_fleet(request: web.Request) -> web.Response:
    """Return a fleet: its size, its profile with the effective seed, and its clock."""
    fleet = await request.app[keys.SIMULATOR].queries.fleet(_name(request))
    # This request names it.
    return rendering.answer(rendering.fleet(fleet.used(request.app[keys.CLOCKS].wall())))


async def put_fleet(request: web.Request) -> web.Response:
    """Create or replace a fleet.

    `devices` is a count or a list. Counted devices, and listed ones that leave fields out, start as
    synced at the time of the call. The body may have up to 16 MiB. With a `ttl`, the fleet is
    deleted when no request has named it, and no open stream has followed it, for so many seconds.
    """
    body = await read_body(request, _parse_fleet, FLEET_LIMIT)
    name, devices, ttl = _name(request), body["devices"], body["ttl"]
    _check_ttl(name, ttl)
    try:
        async with request.app[keys.DEVICE_LIMIT].reserve(name, devices.size):
            fleet, is_new = await request.app[keys.SIMULATOR].fleets.put(
                name,
                devices,
                new_profile(body["profile"], random_seed()),
                ttl=ttl,
                journal=body.get("journal"),
            )
    except TooManyDevices as exc:
        raise invalid({"devices": [str(exc)]}) from None
    return made_fleet(fleet, is_new=is_new)


def made_fleet(fleet: FleetView, *, is_new: bool) -> web.Response:
    """Return the answer of a call that has made or replaced a fleet."""
    if is_new:
        location = f"/admin/fleets/{fleet.name}"
        return rendering.answer(
            rendering.fleet(fleet), HTTPStatus.CREATED, {hdrs.LOCATION: location}
        )
    return rendering.answer(rendering.fleet(fleet))


def _check_ttl(fleet: str, ttl: int | None) -> None:
    """Refuse to have the default fleet forgotten.

    Raises:
        Problem: 422.
    """
    if fleet == DEFAULT_FLEET and ttl is not None:
        raise invalid({"ttl": ["Must be null: the fleet `default` stays."]})


def _parse_fleet(text: bytes) -> Any:
    """Parse the body of a new fleet; a long list of devices is read in slices.

    Raises:
        Problem: 400 not JSON, 413 too large although it has few devices, 422 refused.
    """
    text = text.rstrip()
    if len(text) <= BODY_LIMIT:
        return parse_json(_FLEET, text)
    try:
        long_list = LongList(text, "devices", decode)
        with refusals("devices"):
            devices = listed_devices(_slices(long_list))
    except LookupError:
        raise too_large(BODY_LIMIT) from None
    except NotJson:
        raise bad_request(NOT_JSON) from None
    except InvalidValue as exc:
        raise invalid_value(exc) from None
    rest = long_list.replaced_by(b"0")
    if len(rest) > BODY_LIMIT:
        raise too_large(BODY_LIMIT)
    body = parse_json(_FLEET, rest)
    return {**body, "devices": devices}


def _slices(long_list: LongList) -> Iterator[list[Any]]:
    try:
        yield from long_list.slices()
    except LongElement as exc:
        raise ValidationError({exc.index: [str(exc)]}) from None


async def patch_fleet(request: web.Request) -> web.Response:
    """Change a fleet: its profile, for attempts that start from now on, its journal, its ttl."""
    body, name = await read_json(request, _CHANGES), _name(request)
    ttl = NewTtl(body["ttl"]) if "ttl" in body else None
    _check_ttl(name, ttl and ttl.seconds)
    changes = body.get("profile", {})

    def change(profile: Profile) -> Profile:
        return dataclasses.replace(profile, **changes) if changes else profile

    try:
        fleet = await request.app[keys.SIMULATOR].fleets.change_profile(
            name, change, ttl, body.get("journal")
        )
    except PhasesClash as exc:
        # With what the fleet's profile has beside them: the schema does not know that.
        raise invalid(
            {
                f"profile.phases.{index}.{field}": [text]
                for index, errors in exc.errors.items()
                for field, text in errors.items()
            }
        ) from None
    return rendering.answer(rendering.fleet(fleet))


async def delete_fleet(request: web.Request) -> web.Response:
    """Delete a fleet and its pending syncs. The fleet `default` can't be deleted."""
    await request.app[keys.SIMULATOR].fleets.delete(_name(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def reset_fleet(request: web.Request) -> web.Response:
    """Take a fleet back to its first state: data, attempt numbers, error log and clock.

    Scripts and the ledger are cleared, too; the profile stays as it is now. After the answer, no
    earlier sync finishes.
    """
    await request.app[keys.SIMULATOR].fleets.reset(_name(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def put_clock(request: web.Request) -> web.Response:
    """Set how a fleet's time runs, from its present time on.

    With `auto`, time stands still, as with `manual`, until somebody looks: a read in which
    something is pending that would finish by itself is answered, and then time moves to when the
    next is due.
    """
    setting = await read_json(request, _CLOCK)
    return rendering.answer(
        rendering.clock(await request.app[keys.SIMULATOR].set_clock(_name(request), setting))
    )


async def advance(request: web.Request) -> web.Response:
    """Advance a manual or auto clock, and finish every sync that falls due, in order.

    Where devices sync by themselves, they may do so about 100,000,000 times on the way.
    """
    name, microseconds = _name(request), await read_json(request, _ADVANCE)
    simulator = request.app[keys.SIMULATOR]
    fleet = await simulator.queries.fleet(name)
    traffic = fleet.profile.traffic
    may_move = fleet.clock.speed == 0
    if traffic and may_move and traffic.attempts(fleet.devices, microseconds) > MAX_OWN_ATTEMPTS:
        problem = f"The devices would sync more than {MAX_OWN_ATTEMPTS} times by themselves."
        raise invalid({"seconds": [problem]})
    try:
        moved = await simulator.advance(name, microseconds)
    except PastTheLastYear as refused:
        raise invalid({"seconds": [str(refused)]}) from None
    return rendering.answer(rendering.moved(moved))


async def settle(request: web.Request) -> web.Response:
    """Finish all pending syncs that are not held.

    A manual or auto clock moves to the last one's due time; a real clock does not change.
    """
    return rendering.answer(
        rendering.moved(await request.app[keys.SIMULATOR].settle(_name(request)))
    )


async def put_script(request: web.Request) -> web.Response:
    """Set the outcomes of a device's next attempts.

    Each attempt takes one step of the script; after the last, the profile applies again. A step
    without `delay` takes the profile's. A step with `hold` leaves the attempt pending until it is
    released. `sticky`, in the last step only, repeats that step for ever.
    """
    script = await read_json(request, _SCRIPT)
    await request.app[keys.SIMULATOR].fleets.set_script(_name(request), device_of(request), script)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def delete_script(request: web.Request) -> web.Response:
    """End a device's script, so that its next attempts follow the profile."""
    await request.app[keys.SIMULATOR].fleets.set_script(_name(request), device_of(request), None)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def release(request: web.Request) -> web.Response:
    """Finish a held sync with the given outcome."""
    outcome = await read_json(request, _OUTCOME)
    device = await request.app[keys.SIMULATOR].release(_name(request), device_of(request), outcome)
    return rendering.answer(rendering.device(device))


async def get_forecast(request: web.Request) -> web.Response:
    """Return the outcomes of a device's attempts by seed and profile, ignoring scripts."""
    query = read_query(request, ForecastQuery)
    attempts = await request.app[keys.SIMULATOR].forecast(
        _name(request), query["device_id"], query["attempts"], query["first"], query["at"]
    )
    return rendering.answer(rendering.forecast(attempts))


async def get_ledger(request: web.Request) -> web.Response:
    """Return a fleet's ledger: the counts of what became of its syncs, and whether they balance."""
    name, simulator = _name(request), request.app[keys.SIMULATOR]
    fleet, ledger = await simulator.queries.fleet(name), await simulator.queries.ledger(name)
    lateness = simulator.lateness(name, fleet.generation)
    return rendering.answer(rendering.ledger(ledger, lateness))
