"""Fixtures for the test suites of PiSync's users: `pisync` and `pisync_server`.

pytest loads this in every project that has PiSync installed, so it imports nothing until a test
asks for a fixture.
"""
# ruff: noqa: PLC0415 - the import below

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pisync.client import FleetClient
    from pisync.in_process import RunningServer


_SHOWN_REQUESTS = 20


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "pisync(devices=10, profile={}, ttl=3600): what the fixture `pisync`'s fleet is made of",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its fleet's seed was, and what its clients did last."""
    report = yield
    fleet = getattr(item, "funcargs", {}).get("pisync")
    if call.when == "call" and report.failed and fleet is not None:
        report.sections.append((f"PiSync fleet {fleet.fleet}", _last_requests(fleet)))
    return report


def _last_requests(fleet: "FleetClient") -> str:
    from http.client import HTTPException

    from pisync.client import CallFailed

    try:
        lines = [f"seed {fleet.view().seed}; the last requests, newest first:"]
        lines += map(str, fleet.requests(limit=_SHOWN_REQUESTS))
    except (CallFailed, OSError, HTTPException) as exc:  # the test may have deleted it
        return f"The fleet can't be read: {exc!r}"
    return "\n".join(lines)


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
