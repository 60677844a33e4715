"""PgBouncer, the real one, in front of a server."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tools.ports import free_port
from tools.postgres import Postgres

_START_SECONDS = 20


class PgBouncer:
    """Stands in front of a server while it is entered; `mode` is session or transaction.

    Each database may have `sessions` with the server, whatever the number of clients.
    """

    def __init__(self, folder: Path, server: Postgres, mode: str, sessions: int = 50) -> None:
        self.port = free_port()
        self._folder = folder
        self._server = server
        self._settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": folder / "users",
            "pool_mode": mode,
            "default_pool_size": sessions,
            "logfile": folder / "log",
        }

    @staticmethod
    def lacking() -> str | None:
        """Say what is wanting to run it, if anything is."""
        return None if shutil.which("pgbouncer") else "PgBouncer: apt-get install pgbouncer"

    def __enter__(self) -> Self:
        lines = [f"{name} = {value}" for name, value in self._settings.items()]
        server = f"* = host=127.0.0.1 port={self._server.port}"
        (self._folder / "users").write_text('"postgres" ""\n')
        (self._folder / "ini").write_text(
            "\n".join(["[databases]", server, "[pgbouncer]", *lines, ""])
        )
        if self._server.user is not None:
            shutil.chown(self._folder, self._server.user)
        self._process = subprocess.Popen(
            ["pgbouncer", "--quiet", self._folder / "ini"],
            user=self._server.user,
            cwd=self._folder,
        )
        give_up_at = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < give_up_at, self.log()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _is_ready(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, database: str) -> str:
        """Return how to reach a database through it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        """Return what it has written."""
        return (self._folder / "log").read_text(errors="replace")
