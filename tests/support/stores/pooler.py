"""A pooler as PgBouncer is one: it refuses settings at the start, and may share sessions."""

import asyncio
import struct
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

_SSL_REQUEST = 80877103
_KNOWN = {"user", "database", "client_encoding", "application_name", "datestyle", "timezone"}
_READY, _END = b"Z", b"X"


class Message(NamedTuple):
    kind: bytes
    body: bytes

    def packed(self) -> bytes:
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body


class Peer:
    """A connection, of either side, that carries messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def receive(self) -> Message:
        kind = await self.reader.readexactly(1)
        (length,) = struct.unpack("!i", await self.reader.readexactly(4))
        return Message(kind, await self.reader.readexactly(length - 4))

    def send(self, message: Message) -> None:
        self.writer.write(message.packed())


class Pooler:
    """Stands in front of a server; with `shared`, each transaction gets another session."""

    def __init__(self, url: str, *, shared: bool) -> None:
        parts = urlsplit(url)
        (directory,) = parse_qs(parts.query)["host"]
        self._socket = f"{directory}/.s.PGSQL.5432"
        self._database = parts.path[1:]
        self._is_shared = shared
        self._idle: list[Peer] = []
        self._clients: set[asyncio.Task[None]] = set()
        self.refused: list[str] = []
        """The settings that clients came with, and that they were turned away for."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for client in self._clients:
            client.cancel()
        if self._clients:
            await asyncio.wait(self._clients)
        for session in self._idle:
            session.writer.close()

    @property
    def url(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://postgres:geheim@127.0.0.1:{port}/{self._database}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # it has left, or the test is over
        finally:
            writer.close()
            self._clients.discard(task)

    async def _serve(self, client: Peer) -> None:
        settings = await _startup(client)
        unknown = sorted(set(settings) - _KNOWN)
        if unknown:
            self.refused += unknown
            text = f"unsupported startup parameter: {unknown[0]}"
            fields = f"SFATAL\0VFATAL\0C08P01\0M{text}\0\0"
            client.send(Message(b"E", fields.encode()))
            return
        session, greetings = await self._open()
        self._idle.append(session)
        client.send(Message(b"R", struct.pack("!i", 0)))
        for greeting in greetings:
            client.send(greeting)
        client.send(Message(b"K", struct.pack("!ii", 1, 1)))
        client.send(Message(_READY, b"I"))
        await self._carry(client)

    async def _carry(self, client: Peer) -> None:
        """Carry messages both ways: a transaction at a time, or all on one session."""
        while (message := await client.receive()).kind != _END:
            session = self._idle.pop(0) if self._idle else (await self._open())[0]
            asking = asyncio.create_task(_ask(session, client, message))
            answering = asyncio.create_task(_answer(session, client, for_one=self._is_shared))
            both = (asking, answering)
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                is_free = answering.done() and not answering.exception()
                for task in both:
                    task.cancel()
                # Not after a wait, in which this may be cancelled.
                if is_free:
                    self._idle.append(session)
                else:
                    session.writer.close()
                await asyncio.gather(*both, return_exceptions=True)
            if not is_free:
                return

    async def _open(self) -> tuple[Peer, list[Message]]:
        session = Peer(*await asyncio.open_unix_connection(self._socket))
        body = struct.pack("!i", 196608)
        body += f"user\0postgres\0database\0{self._database}\0\0".encode()
        session.writer.write(struct.pack("!i", len(body) + 4) + body)
        greetings = []
        try:
            while (message := await session.receive()).kind != _READY:
                # PgBouncer knows nothing of the newer ones.
                if message.kind == b"S" and b"hot_standby" not in message.body:
                    greetings.append(message)
        except BaseException:
            session.writer.close()
            raise
        return session, greetings


async def _startup(client: Peer) -> dict[str, str]:
    while True:
        (length,) = struct.unpack("!i", await client.reader.readexactly(4))
        body = await client.reader.readexactly(length - 4)
        if struct.unpack("!i", body[:4])[0] != _SSL_REQUEST:
            words = body[4:].decode().split("\0")
            return dict(zip(words[:-2:2], words[1:-1:2], strict=False))
        client.writer.write(b"N")


async def _ask(session: Peer, client: Peer, message: Message) -> None:
    """Carry what a client asks until it leaves."""
    while message.kind != _END:
        session.send(message)
        message = await client.receive()


async def _answer(session: Peer, client: Peer, *, for_one: bool) -> None:
    """Carry answers, either until a transaction is over or for ever."""
    while True:
        message = await session.receive()
        client.send(message)
        if for_one and message == Message(_READY, b"I"):
            return
