"""The sockets that a server listens on."""

import asyncio
import os
import socket
from contextlib import ExitStack
from typing import Final

SEND_BUFFER: Final = 128 * 1024
"""Bytes that the kernel may keep for a connection, which Linux doubles: what nobody reads takes
memory there, too."""


async def bind(host: str, port: int) -> list[socket.socket]:
    """Take the addresses of a host, without listening on them yet.

    Args:
        host: An address, or a name that may have several; `::` is every address of both families.
        port: 0 for any that is free.

    Raises:
        OSError: An address is in use, not this machine's, or reserved for privileged users.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with ExitStack() as unused:
        sockets = [
            unused.enter_context(_bound(family, address))
            for family, _, _, _, address in dict.fromkeys(found)
        ]
        unused.pop_all()
    return sockets


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have one address
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            takes_both = address[0] == "::"
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not takes_both)
        # The connections that it accepts inherit this.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener
