"""Fleets, and the simulator's controls."""

import dataclasses
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from pisync import keys
from pisync.model.profile import MAX_SEED, Profile
from pisync.web import render
from pisync.web.devices import device_of
from pisync.web.fleet_schemas import (
    AdvanceBody,
    ClockBody,
    FleetBody,
    ForecastQuery,
    OutcomeSchema,
    ProfileBody,
    ScriptBody,
)
from pisync.web.parsing import read_json, read_query

FLEET_LIMIT = 16 * 1024 * 1024
"""The largest body that makes a fleet, in bytes."""
SCRIPT_LIMIT = 1024 * 1024
"""The largest script, in bytes: as many steps as one may have, with the longest messages."""

_FLEET, _PROFILE, _CLOCK = FleetBody(), ProfileBody(), ClockBody()
_ADVANCE, _SCRIPT, _OUTCOME = AdvanceBody(), ScriptBody(), OutcomeSchema()


def new_profile(given: Mapping[str, Any]) -> Profile:
    """Return a profile of what is given; a seed that is not is drawn."""
    return Profile(**{"seed": secrets.randbelow(MAX_SEED + 1), **given})


def _name(request: web.Request) -> str:
    return request.match_info["fleet"]


async def list_fleets(request: web.Request) -> web.Response:
    fleets = await request.app[keys.STORE].fleets()
    return render.answer([render.fleet(each) for each in fleets])


async def get_fleet(request: web.Request) -> web.Response:
    return render.answer(render.fleet(await request.app[keys.STORE].fleet(_name(request))))


async def put_fleet(request: web.Request) -> web.Response:
    body = await read_json(request, _FLEET, FLEET_LIMIT)
    fleet, is_new = await request.app[keys.STORE].put_fleet(
        _name(request), body["devices"], new_profile(body["profile"])
    )
    if is_new:
        headers = {hdrs.LOCATION: f"/admin/fleets/{fleet.name}"}
        return render.answer(render.fleet(fleet), HTTPStatus.CREATED, headers)
    return render.answer(render.fleet(fleet))


async def patch_fleet(request: web.Request) -> web.Response:
    given = (await read_json(request, _PROFILE))["profile"]
    fleet = await request.app[keys.STORE].change_profile(
        _name(request), lambda profile: dataclasses.replace(profile, **given)
    )
    return render.answer(render.fleet(fleet))


async def delete_fleet(request: web.Request) -> web.Response:
    await request.app[keys.STORE].delete_fleet(_name(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def reset_fleet(request: web.Request) -> web.Response:
    await request.app[keys.STORE].reset_fleet(_name(request))
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def put_clock(request: web.Request) -> web.Response:
    speed = await read_json(request, _CLOCK)
    return render.answer(
        render.clock(await request.app[keys.STORE].set_clock(_name(request), speed))
    )


async def advance(request: web.Request) -> web.Response:
    microseconds = await read_json(request, _ADVANCE)
    moved = await request.app[keys.SIMULATOR].advance(_name(request), microseconds)
    return render.answer(render.moved(moved))


async def settle(request: web.Request) -> web.Response:
    return render.answer(render.moved(await request.app[keys.SIMULATOR].settle(_name(request))))


async def put_script(request: web.Request) -> web.Response:
    script = await read_json(request, _SCRIPT, SCRIPT_LIMIT)
    await request.app[keys.STORE].set_script(_name(request), device_of(request), script)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def delete_script(request: web.Request) -> web.Response:
    await request.app[keys.STORE].set_script(_name(request), device_of(request), None)
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def release(request: web.Request) -> web.Response:
    outcome = await read_json(request, _OUTCOME)
    device = await request.app[keys.STORE].release(_name(request), device_of(request), outcome)
    return render.answer(render.device(device))


async def forecast(request: web.Request) -> web.Response:
    query = read_query(request, ForecastQuery)
    attempts = await request.app[keys.SIMULATOR].forecast(
        _name(request), query["device_id"], query["attempts"], query["first"]
    )
    return render.answer(render.forecast(attempts))


async def get_ledger(request: web.Request) -> web.Response:
    name = _name(request)
    ledger = await request.app[keys.STORE].ledger(name)
    return render.answer(render.ledger(ledger, request.app[keys.SIMULATOR].lateness(name)))
