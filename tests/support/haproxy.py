"""HAProxy as the cluster runs it, before a server of a test."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

from tests.support.engine import docker
from tests.support.paths import ROOT
from tests.support.raw_connection import raw_connection
from tools.ports import free_port

_GOOD = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def haproxy(replica: int, folder: Path) -> AsyncIterator[int]:
    """Run HAProxy with the cluster's own configuration; yield its port.

    Args:
        replica: The port of the server behind it.
        folder: Where its configuration is written to.
    """
    port = free_port()
    file = _written(folder, _configuration(port, replica))
    name = f"pisync-test-{uuid4().hex[:8]}"
    run = ("run", "--detach", "--rm", "--network=host", f"--name={name}")
    mount = f"--volume={file}:/usr/local/etc/haproxy/haproxy.cfg:ro"
    await asyncio.to_thread(docker, *run, mount, "haproxy:3.0")
    try:
        await _ready(port)
        yield port
    finally:
        await asyncio.to_thread(docker, "kill", name)


def _configuration(port: int, replica: int) -> str:
    """Return the cluster's configuration, for these ports and without Docker's DNS."""
    given = (ROOT / "docker/haproxy.cfg").read_text()
    replaced = given.replace("bind :8080", f"bind 127.0.0.1:{port}")
    replaced = replaced.replace("bind :8404", f"bind 127.0.0.1:{free_port()}")
    replaced = replaced.replace('"${PISYNC_ANSWER_TIMEOUT}"', "5s")
    replaced = re.sub(r"(?m)^resolvers docker\n(?:    .*\n)+", "", replaced)
    replaced = replaced.replace(" resolvers docker init-addr libc,none", "")
    replaced = re.sub(r"server-template .*", f"server replica 127.0.0.1:{replica}", replaced)
    assert replaced.count("127.0.0.1") == 3
    # For as long as these tests may take.
    return replaced.replace("timeout http-request 30s", "timeout http-request 1s")


def _written(folder: Path, text: str) -> Path:
    """Write a file that the container's user may read."""
    file = folder / "haproxy.cfg"
    file.write_text(text)
    folder.chmod(0o755)
    return file


async def _ready(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                async with raw_connection(port) as connection:
                    await connection.send(_GOOD)
                    if (await connection.answer()).status == 200:
                        return
            except (OSError, asyncio.IncompleteReadError):
                pass
            await asyncio.sleep(0.1)
