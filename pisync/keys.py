"""Where the application keeps what handlers need, and a request what was found out about it."""

import asyncio

from aiohttp import web

from pisync.accounts import Accounts
from pisync.events import Broker
from pisync.metrics import Metrics
from pisync.settings import Settings
from pisync.simulator import Simulator
from pisync.stores.base import Store
from pisync.tokens import Claims, Tokens

SETTINGS = web.AppKey("SETTINGS", Settings)
STORE: web.AppKey[Store] = web.AppKey("STORE", Store)
BROKER = web.AppKey("BROKER", Broker)
SIMULATOR = web.AppKey("SIMULATOR", Simulator)
ACCOUNTS = web.AppKey("ACCOUNTS", Accounts)
TOKENS = web.AppKey("TOKENS", Tokens)
METRICS = web.AppKey("METRICS", Metrics)
DRAINING = web.AppKey("DRAINING", asyncio.Event)
"""Set when the server is about to stop: it still answers, but wants no new callers."""
DRAWN_ADMIN_PASSWORD: web.AppKey[str | None] = web.AppKey("DRAWN_ADMIN_PASSWORD")

CLAIMS = web.RequestKey("CLAIMS", Claims)
REQUEST_ID = web.RequestKey("REQUEST_ID", str)
