"""The floor of asyncio: a Protocol on uvloop that reads no more than the request's target."""

import asyncio
import os
from typing import cast

import uvloop

from bench.peers.canned import JSON_TYPE, Canned, answers


def whole(answer: Canned) -> bytes:
    """Return an answer with its head."""
    head = (
        f"HTTP/1.1 {answer.status} OK\r\nContent-Type: {JSON_TYPE}\r\n"
        f"Content-Length: {len(answer.body)}\r\n\r\n"
    )
    return head.encode() + answer.body


_get, _post = answers()
GET = {target.encode(): whole(answer) for target, answer in _get.items()}
POST = whole(_post)


class Floor(asyncio.Protocol):
    """Takes each piece of data for one request, as it is when a client waits for its answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where the answers go."""
        # uvloop's transports are not of asyncio's classes.
        self._write = cast("asyncio.Transport", transport).write

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._write(GET.get(data.split(b" ", 2)[1], POST))


async def main() -> None:
    """Serve."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Floor, "127.0.0.1", int(os.environ["PORT"]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
