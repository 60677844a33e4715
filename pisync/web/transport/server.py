"""The connections of a server: how many there may be, and how they end."""

import asyncio
from typing import ClassVar

from aiohttp import web

from pisync.keys import DRAINING, METRICS
from pisync.model.bounds import CONNECTIONS
from pisync.web.pipeline.allowed_hosts import ALLOWED_HOSTS
from pisync.web.pipeline.cors import CORS
from pisync.web.pipeline.middleware import REQUEST_OBSERVER
from pisync.web.transport import aiohttp_internals
from pisync.web.transport.admission import AdmissionControl, Limits, connections_possible
from pisync.web.transport.aiohttp_internals import Protocol, Runner
from pisync.web.transport.checks import checking, rooted
from pisync.web.transport.connection import Connection
from pisync.web.transport.fast_path import FAST_PATH
from pisync.web.transport.parse_errors import MAX_HEADER, MAX_REQUEST_LINE
from pisync.web.transport.timeouts import Timeouts


def make_runner(
    app: web.Application, force: asyncio.Event, timeouts: Timeouts, limits: Limits
) -> Runner:
    """Return what runs `app` on a `Server`; once `force` is set, its end waits for nobody."""
    # aiohttp waits for this up to twice, after all waiting of our own.
    return Runner(
        app, lambda made: Server(app, made, force, timeouts, limits), shutdown_timeout=0.25
    )


class Server(aiohttp_internals.Server):
    """Makes connections, and closes them when it stops."""

    connection_class: ClassVar[type[Protocol]] = Connection

    def __init__(
        self,
        app: web.Application,
        other: web.Server,
        force: asyncio.Event,
        timeouts: Timeouts,
        limits: Limits,
    ) -> None:
        ordinary = rooted(other.request_handler)
        self.front = app.get(FAST_PATH)
        usual = self.front.handler(ordinary) if self.front else ordinary
        super().__init__(
            checking(usual, ordinary, app.get(ALLOWED_HOSTS)),
            other,
            max_line_size=MAX_REQUEST_LINE,
            max_field_size=MAX_HEADER,
            keepalive_timeout=timeouts.idle,
            lingering_time=timeouts.unread,
            # aiohttp would unpack what nobody reads for as long as that, and do nothing else.
            auto_decompress=False,
            # Ours costs less and holds no query; aiohttp's takes half of the rate.
            access_log=None,
        )
        self.draining = app[DRAINING]
        self.metrics = app[METRICS]
        self.observer = app[REQUEST_OBSERVER]
        self.cors = app.get(CORS)
        self.max_connections = connections_possible(limits.connections)
        self.metrics.bound(
            CONNECTIONS._replace(size=self.max_connections), lambda: len(self.connections)
        )
        self.admission = AdmissionControl(limits.requests)
        self.timeouts = timeouts
        self._force = force

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's
        """Wait until every request under way has its answer, but not for ever; then close all.

        Those that have none by then are answered 503.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.timeouts.under_way
        # Looking now and then costs nothing until here; an event would cost every request.
        while self._busy() and loop.time() < end and not self._force.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        for connection in self._busy():
            connection.cancel_request()
        self.stop_receiving()
        await super().shutdown(timeout)

    def _busy(self) -> list[Protocol]:
        return [
            connection
            for connection in self.connections
            if isinstance(connection, Protocol) and connection.is_busy
        ]
