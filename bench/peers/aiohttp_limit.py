"""L, the limit of aiohttp: one handler on uvloop that returns PiSync's bytes and does no more."""

import os

import uvloop
from aiohttp import web

from bench.peers.canned import JSON_TYPE, answers

GET, POST = answers()


async def answer(request: web.Request) -> web.Response:
    """Return the recorded answer: no token, no validation, nothing to look up but that."""
    status, body = GET.get(request.path_qs, POST)
    return web.Response(status=status, body=body, headers={"Content-Type": JSON_TYPE})


def main() -> None:
    """Serve."""
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", answer)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
