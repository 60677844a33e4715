"""Clients over HTTPS, each told by its own means to believe the server's certificate."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pisync import keys
from pisync.app import create_app
from tests.conftest import SETTINGS
from tests.support import node
from tests.support.certificates import shared_certificate
from tests.support.raw_connection import Serving, serving

BY_FLEET_CLIENT = """
import os
from pisync.client import FleetClient

fleet = FleetClient(os.environ["PISYNC"], token=os.environ["TOKEN"])
print(fleet.sync(7).attempt, fleet.stats().attempts)
"""
BY_NODE = """
import { PisyncClient } from "pisync";

const { PISYNC: url, TOKEN: token } = process.env;
console.log((await fetch(`${url}/livez`)).status);
const client = new PisyncClient({ url, token });
for await (const event of client.events({ onOpen: () => client.sync(7) })) {
  console.log(event.type);
  break;
}
"""


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with serving(create_app(SETTINGS), tls=True) as running:
        yield running


def url(server: Serving) -> str:
    return f"https://localhost:{server.port}"


async def output_of(server: Serving, *command: str | Path, **variables: str) -> str:
    """Run a command that knows the server and a token; return what it printed."""
    environment = node.environment() | variables
    environment["PISYNC"] = url(server)
    environment["TOKEN"] = server.app[keys.TOKENS].issue("tester", ("devices",))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=environment
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_curl(server: Serving) -> None:
    believe = ("--cacert", shared_certificate().certificate)
    answer = await output_of(server, "curl", "-sS", "--http2", *believe, f"{url(server)}/livez")
    assert answer.startswith("{")


async def test_python(server: Serving) -> None:
    believed = {"SSL_CERT_FILE": str(shared_certificate().certificate)}
    program = (sys.executable, "-c", BY_FLEET_CLIENT)
    assert await output_of(server, *program, **believed) == "1 1\n"


async def test_the_load_tool(server: Serving) -> None:
    believed = {"SSL_CERT_FILE": str(shared_certificate().certificate)}
    program = (sys.executable, "-m", "pisync", "load", "--url", url(server))
    options = ("--connections=4", "--duration=0.5")
    assert SETTINGS.jwt_secret
    variables = believed | {"PISYNC_JWT_SECRET": SETTINGS.jwt_secret}
    shown = await output_of(server, *program, *options, **variables)
    assert "nothing is lost" in shown


@pytest.mark.timeout(300)  # it may have to install packages
async def test_node(server: Serving, tmp_path: Path) -> None:
    packages = tmp_path / "node_modules"
    packages.mkdir()
    (packages / "pisync").symlink_to(node.FOLDER)
    program = tmp_path / "program.mjs"
    program.write_text(BY_NODE)
    client = node.built_client()
    await asyncio.to_thread(client.__enter__)
    try:
        believed = {"NODE_EXTRA_CA_CERTS": str(shared_certificate().certificate)}
        assert await output_of(server, "node", program, **believed) == "200\nsync\n"
    finally:
        client.__exit__(None, None, None)
