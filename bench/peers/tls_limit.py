"""A bare aiohttp handler over TLS, on uvloop: nothing to look up, nothing to check."""

import os
import ssl

import uvloop
from aiohttp import web

DEVICE = (
    b'{"device_id":3,"last_sync_at":"2026-11-22T07:40:12.000000Z","sync_status_code":200,'
    b'"error_message":null,"last_attempt_at":"2026-11-22T07:40:12.000000Z"}'
)


async def answer(_: web.Request) -> web.Response:
    """Return a device."""
    return web.Response(body=DEVICE, content_type="application/json")


def main() -> None:
    """Serve."""
    app = web.Application()
    app.router.add_get("/devices/3", answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["PISYNC_TLS_CERT"], os.environ["PISYNC_TLS_KEY"])
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["PISYNC_PORT"]),
        ssl_context=context,
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
