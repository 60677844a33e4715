"""Fixtures for the test suites of PiSync's users: `pisync` and `pisync_server`.

pytest loads this in every project that has PiSync installed, so it imports nothing until a test
asks for a fixture.
"""
# ruff: noqa: PLC0415 - the import below

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pisync.client import FleetClient
    from pisync.in_process import RunningServer


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "pisync(devices=10, profile={}, ttl=3600): what the fixture `pisync`'s fleet is made of",
    )


@pytest.fixture(scope="session")
def pisync_server() -> "Iterator[RunningServer]":
    """A PiSync server in this process, on a free port, for the whole session."""
    from pisync.in_process import running_server

    with running_server() as server, pytest.MonkeyPatch.context() as patch:
        _bypass_proxies(patch)
        yield server


def _bypass_proxies(patch: pytest.MonkeyPatch) -> None:
    """Let what goes to this machine go there, though a proxy is set for everything else."""
    from urllib.request import getproxies_environment

    proxies = getproxies_environment()
    exceptions = proxies.pop("no", "")
    if proxies and exceptions != "*":
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, f"{exceptions},127.0.0.1".lstrip(","))


@pytest.fixture
def pisync(
    request: pytest.FixtureRequest, pisync_server: "RunningServer"
) -> "Iterator[FleetClient]":
    """A fleet of the test's own on `pisync_server`, as the marker `pisync` says, and its client."""
    wanted: dict[str, Any] = {}
    # The closest marker comes first; it wins, argument by argument.
    for marker in request.node.iter_markers("pisync"):
        if marker.args:
            raise pytest.UsageError(f"the marker pisync has no unnamed arguments: {marker.args}")
        wanted = marker.kwargs | wanted
    with pisync_server.own_accounts(), pisync_server.new_fleet(**wanted) as fleet:
        yield fleet
