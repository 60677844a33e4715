"""The sockets that a server listens on."""

import socket
from contextlib import closing

import pytest

from pisync.web.transport.sockets import bind


async def reachable(host: str) -> list[str]:
    """Return the loopback addresses at which something is reached that listens on a host."""
    reached = []
    (listener,) = await bind(host, 0)
    with closing(listener):
        listener.listen()
        for address in ("127.0.0.1", "::1"):
            try:
                socket.create_connection((address, listener.getsockname()[1]), 2).close()
            except ConnectionRefusedError:
                continue
            reached.append(address)
    return reached


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),  # noqa: S104 - a test
        ("::1", ["::1"]),
        ("::", ["127.0.0.1", "::1"]),
    ],
)
async def test_a_host_is_reached_by_its_addresses(host: str, addresses: list[str]) -> None:
    assert await reachable(host) == addresses


async def test_an_address_in_use_is_refused_before_anything_listens() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(OSError, match="Address already in use"),
    ):
        await bind("127.0.0.1", taken.getsockname()[1])


async def test_a_name_that_nobody_has_is_refused() -> None:
    with pytest.raises(OSError, match=r"known|resolution"):
        await bind("nobody.invalid", 0)
