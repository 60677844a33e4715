"""Typed keys: what the application keeps for its handlers, and what is known of a request."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from pisync.auth.accounts import Accounts
from pisync.auth.tokens import (
    Claims,
    Tokens,
)
from pisync.clocks import MachineClocks
from pisync.concurrency.reception import ReceptionRoom
from pisync.config.settings import Settings
from pisync.model.fleet import FleetDefinition
from pisync.simulation.device_limit import DeviceLimit
from pisync.simulation.events import Broker
from pisync.simulation.idle_fleets import IdleFleets
from pisync.simulation.simulator import Simulator
from pisync.stores.base import Store
from pisync.telemetry.metrics import Metrics

RequestHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

SETTINGS = web.AppKey("SETTINGS", Settings)
CLOCKS: web.AppKey[MachineClocks] = web.AppKey("CLOCKS")
FLEET_DEFINITIONS: web.AppKey[Sequence[FleetDefinition]] = web.AppKey("FLEET_DEFINITIONS")
"""The fleets that PISYNC_FLEETS describes."""
STORE: web.AppKey[Store] = web.AppKey("STORE", Store)
BROKER = web.AppKey("BROKER", Broker)
SIMULATOR = web.AppKey("SIMULATOR", Simulator)
DEVICE_LIMIT = web.AppKey("DEVICE_LIMIT", DeviceLimit)
IDLE_FLEETS = web.AppKey("IDLE_FLEETS", IdleFleets)
ACCOUNTS = web.AppKey("ACCOUNTS", Accounts)
TOKENS = web.AppKey("TOKENS", Tokens)
METRICS = web.AppKey("METRICS", Metrics)
BODIES = web.AppKey("BODIES", ReceptionRoom)
"""Room for the bodies of requests under way."""
DRAINING = web.AppKey("DRAINING", asyncio.Event)
"""Set when the server is about to stop: it still answers, but wants no new callers."""
DRAWN_ADMIN_PASSWORD: web.AppKey[str | None] = web.AppKey("DRAWN_ADMIN_PASSWORD")

CLAIMS = web.RequestKey("CLAIMS", Claims)
FLEET = web.RequestKey("FLEET", str)
"""The name of the fleet that a request acts on."""
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
WAITED = web.RequestKey("WAITED", float)
"""Seconds that a call has waited because its client asked for that."""
NOTE: web.RequestKey[Callable[[int | None, str | None], Awaitable[None]]] = web.RequestKey("NOTE")
"""Notes a request in its fleet's journal, once: its status (None: no answer), and its attempt."""
