"""Health and metrics, for orchestrators and Prometheus."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress

import orjson
from aiohttp import hdrs, web

from pisync.concurrency.shared import Shared
from pisync.keys import DRAINING, METRICS, SETTINGS, SIMULATOR, STORE
from pisync.model.bounds import DEVICES, Budget
from pisync.stores.errors import StoreUnavailable
from pisync.telemetry.metrics import (
    Format,
    preferred_format,
    sample_lag,
)
from pisync.web.contract.compression import accepts_gzip
from pisync.web.contract.problems import (
    JSON_TYPE,
    unavailable,
)

READINESS: web.AppKey[Shared[None]] = web.AppKey("READINESS")
RENDERED_METRICS: web.AppKey[Mapping[tuple[Format, bool], Shared[bytes]]] = web.AppKey(
    "RENDERED_METRICS"
)
"""All metrics, by their form and whether they are compressed."""

_OK = orjson.dumps({"status": "ok"})
_READY = orjson.dumps({"status": "ready"})


async def livez(_: web.Request) -> web.Response:
    """Answer 200 if the process runs."""
    return _json(_OK)


async def readyz(request: web.Request) -> web.Response:
    """Answer 200 if the service can serve: the store is reachable, and it is not stopping."""
    if request.app[DRAINING].is_set():
        raise unavailable("The server is shutting down.")
    await request.app[READINESS].get()
    return _json(_READY)


async def metrics(request: web.Request) -> web.Response:
    """Return what is counted, as text or as OpenMetrics, compressed if the caller takes gzip.

    While the store can't be reached, its gauge stays as it was.
    """
    accepted, encodings = (
        ",".join(request.headers.getall(name, ())) for name in (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING)
    )
    form, compressed = preferred_format(accepted), accepts_gzip(encodings)
    body = await request.app[RENDERED_METRICS][form, compressed].get()
    headers = {hdrs.CONTENT_TYPE: form.value, hdrs.VARY: "Accept, Accept-Encoding"}
    if compressed:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=body, headers=headers)


def add_probes(app: web.Application) -> None:
    """Share between all who ask what these calls ask of the store."""
    devices = Budget(DEVICES._replace(size=app[SETTINGS].max_devices))
    app[METRICS].bound(devices.bound, devices.in_use)

    async def ping() -> None:
        await app[STORE].ping()

    def rendering(form: Format) -> Callable[[], Awaitable[bytes]]:
        async def render() -> bytes:
            counted = app[METRICS]
            with suppress(StoreUnavailable):
                counted.pending(await app[SIMULATOR].queries.pending())
                devices.used = await app[SIMULATOR].queries.device_count(without="")
            return counted.render(form)

        return render

    def compressing(plain: Shared[bytes]) -> Callable[[], Awaitable[bytes]]:
        async def compress() -> bytes:
            return gzip.compress(await plain.get(), mtime=0)

        return compress

    plain = {form: Shared(rendering(form)) for form in Format}
    app[READINESS] = Shared(ping)
    app[RENDERED_METRICS] = {
        **{(form, False): shared for form, shared in plain.items()},
        **{(form, True): Shared(compressing(shared)) for form, shared in plain.items()},
    }


async def event_loop_lag(app: web.Application) -> AsyncIterator[None]:
    """Sample the event loop's lag while the application runs (for `cleanup_ctx`)."""
    sampler = asyncio.create_task(sample_lag(app[METRICS]))
    yield
    sampler.cancel()
    with suppress(asyncio.CancelledError):
        await sampler


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: JSON_TYPE})
