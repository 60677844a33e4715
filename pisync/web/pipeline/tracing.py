"""Traces: a span for each request, sent to a collector by OTLP over HTTP.

Imported only where traces are wanted: the libraries are the extra `otel`.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pisync import __version__
from pisync.keys import REQUEST_ID
from pisync.web.pipeline.middleware import route_of

_SECONDS_TO_SEND = 2
"""A collector that does not answer must not keep the process: it has 8 s to stop."""
_SERVER_ERRORS: Final = 500


class Traces:
    """Makes the spans of one application, and sends them to the collector at `endpoint`."""

    def __init__(self, endpoint: str) -> None:
        self._provider = TracerProvider(
            # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes before our own.
            resource=Resource.create(
                {"service.name": "pisync", "service.version": __version__}
            ).merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_SECONDS_TO_SEND)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pisync", __version__)
        self._callers = TraceContextTextMapPropagator()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Put a span around a request, within its caller's trace if there is one."""
        route = route_of(request)
        with self._tracer.start_as_current_span(
            f"{request.method} {route}",
            context=self._callers.extract(request.headers),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": request.method,
                "http.route": route,
                "url.path": request.rel_url.raw_path,
                "url.scheme": request.scheme,
            },
        ) as span:
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("pisync.request_id", request[REQUEST_ID])
            if response.status >= _SERVER_ERRORS:
                span.set_status(StatusCode.ERROR)
        return response

    async def run(self, _: web.Application) -> AsyncIterator[None]:
        """Send what is left when the application ends (`cleanup_ctx`)."""
        yield
        await asyncio.to_thread(self._provider.shutdown)
