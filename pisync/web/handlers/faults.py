"""Faults of HTTP: rules for which answers to the requests of a fleet are late, lost or broken."""

from http import HTTPStatus

from aiohttp import web

from pisync import keys
from pisync.model.parsing.faults import FaultsBody
from pisync.web.contract import rendering
from pisync.web.contract.request import read_json

_FAULTS = FaultsBody()


async def put_faults(request: web.Request) -> web.Response:
    """Set the rules for a fleet's faults, in the place of those before.

    Of several rules, the first that hits a request decides. Requests are counted anew from here.
    A reset keeps the rules, and begins anew, too.
    """
    rules = await read_json(request, _FAULTS)
    requests, name = request.app[keys.SIMULATOR].requests, request.match_info["fleet"]
    await requests.set_faults(name, rules)
    return rendering.answer(rendering.faults(await requests.faults(name)))


async def get_faults(request: web.Request) -> web.Response:
    """Return the rules for a fleet's faults, and how many requests each has hit."""
    name = request.match_info["fleet"]
    return rendering.answer(
        rendering.faults(await request.app[keys.SIMULATOR].requests.faults(name))
    )


async def delete_faults(request: web.Request) -> web.Response:
    """End a fleet's faults."""
    await request.app[keys.SIMULATOR].requests.set_faults(request.match_info["fleet"], ())
    return web.Response(status=HTTPStatus.NO_CONTENT)
