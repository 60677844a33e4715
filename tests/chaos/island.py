"""A network of its own for one process, whose link to the database can be cut, as a cable can."""

import asyncio
import os
import shutil
import subprocess
from typing import Self

_RANGE = f"10.214.{os.getpid() % 256}"


class IsolatedNetwork:
    """A network namespace with a link for clients, and one to a port of this machine's loopback.

    Needs root and iproute2. `ip netns exec` in `wrapper` lets a command run on it.
    """

    def __init__(self, port: int) -> None:
        self.name = f"pisync-{os.getpid()}"
        self.wrapper = ("ip", "netns", "exec", self.name)
        self.address = f"{_RANGE}.2"
        """Where clients reach what listens on the island."""
        self.mainland = f"{_RANGE}.5"
        """Where the island finds that port."""
        self._port = port
        self._under_way: set[asyncio.Task[None]] = set()
        self._links = {f"pc{os.getpid()}": 0, f"pd{os.getpid()}": 4}

    @staticmethod
    def lacking() -> str | None:
        """Return what there is not that islands are made with, if anything."""
        if os.geteuid() != 0:
            return "root, to make a network namespace"
        return None if shutil.which("ip") else "the command ip: apt-get install iproute2"

    async def __aenter__(self) -> Self:
        _ip("netns", "add", self.name)
        for link, first in self._links.items():
            here, there = f"{_RANGE}.{first + 1}/30", f"{_RANGE}.{first + 2}/30"
            _ip("link", "add", link, "type", "veth", "peer", "name", "there", "netns", self.name)
            _ip("-n", self.name, "link", "set", "there", "name", f"eth{first}")
            _ip("address", "add", here, "dev", link)
            _ip("-n", self.name, "address", "add", there, "dev", f"eth{first}")
            _ip("-n", self.name, "link", "set", f"eth{first}", "up")
            _ip("link", "set", link, "up")
        self._ferry = await asyncio.start_server(self._carry, self.mainland, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ferry.close()
        journeys = [*self._under_way]
        for each in journeys:
            each.cancel()
        await asyncio.gather(*journeys, return_exceptions=True)
        for link in self._links:
            _ip("link", "delete", link)
        _ip("netns", "delete", self.name)

    def cut(self) -> None:
        """Let nothing pass between the island and that port; nobody is told."""
        _ip("link", "set", f"pd{os.getpid()}", "down")

    def mend(self) -> None:
        """Let it pass again."""
        _ip("link", "set", f"pd{os.getpid()}", "up")

    def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        journey = asyncio.create_task(self._journey(reader, writer))
        self._under_way.add(journey)
        journey.add_done_callback(self._under_way.discard)

    async def _journey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what is sent to the port, and back, until either end hangs up."""
        ends = [writer]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            ends.append(back)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pipe(reader, back))
                ways.create_task(_pipe(there, writer))
        except (OSError, ExceptionGroup):
            pass  # one end is gone, and the other is told by being hung up on
        finally:
            for end in ends:
                end.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(65_536):
        writer.write(some)
        await writer.drain()
    raise ConnectionResetError


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
