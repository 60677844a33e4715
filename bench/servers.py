"""The servers: how each is started, pinned to its core, stopped for a while, and ended."""

import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import IO

import jwt

from bench import machine

ROOT = Path(__file__).parent.parent
SECRET = "a secret for measuring, known to all servers"
START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A server to measure. `is_canned`: it gives recorded answers, whoever asks.

    `checkout` is the folder whose code it runs. `context` is how clients speak TLS with it.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_canned: bool = False
    checkout: Path = ROOT
    context: ssl.SSLContext | None = None


def pisync(name: str = "PiSync", **variables: str) -> Server:
    """Return PiSync as it is shipped, with these variables in its environment."""
    return Server(name, (machine.python(), "-m", "pisync", "serve"), variables)


_NODE = {"NODE_ENV": "production"}
_EXPRESS = ("node", "bench/peers/node/express.js")
PISYNC = pisync()
EXPRESS = Server("Express", _EXPRESS, _NODE)
TUNED_EXPRESS = Server("Express, tuned", _EXPRESS, {**_NODE, "KEY_OBJECT": "1"})
FASTIFY = Server("Fastify", ("node", "bench/peers/node/fastify.js"), _NODE)
FASTAPI = Server(
    "FastAPI",
    (
        machine.python(),
        *("-m", "uvicorn", "bench.peers.fastapi_peer:app"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    ),
)
LIMIT = Server(
    "L (bare aiohttp)", (machine.python(), "-m", "bench.peers.aiohttp_limit"), is_canned=True
)
FLOOR = Server("floor (Protocol)", (machine.python(), "-m", "bench.peers.floor"), is_canned=True)

LIVE = (PISYNC, EXPRESS, TUNED_EXPRESS, FASTIFY, FASTAPI)
CANNED = (LIMIT, FLOOR)


def token(*scopes: str, **more: str) -> str:
    """Return a token that every server takes, with more claims."""
    now = int(time.time())
    claims = {"iss": "pisync", "sub": "bench", "scopes": scopes, "iat": now, "exp": now + 86_400}
    claims |= more
    return jwt.encode(claims, SECRET, "HS256")


class Running:
    """A server that runs, on a port of its own."""

    def __init__(self, server: Server, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.server = server
        self.port = port
        self.process = process
        self.headers = {"Authorization": f"Bearer {token('devices', 'admin')}"}

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def with_headers(self, headers: Mapping[str, str]) -> "Running":
        """Return the same server, called with other headers."""
        other = copy(self)
        other.headers = dict(headers)
        return other

    def connect(self) -> HTTPConnection:
        """Return a connection to it."""
        if self.server.context:
            return HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.server.context)
        return HTTPConnection("127.0.0.1", self.port, timeout=10)

    def socket(self) -> socket.socket:
        """Return a connection to it, as a socket."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        return self.server.context.wrap_socket(plain) if self.server.context else plain

    def call(self, method: str, target: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Make one call; return status and body."""
        connection = self.connect()
        try:
            headers = {**self.headers, **({"Content-Type": "application/json"} if body else {})}
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let it run; it stands still before and after, so that its timers disturb no other."""
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGSTOP)

    def processor_seconds(self) -> float:
        """Return the processor time that it has had, of all its threads."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9

    def resident(self) -> int:
        """Return its resident memory in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise machine.CannotMeasure("no VmRSS in /proc")


@contextmanager
def on_sqlite(server: Server) -> Iterator[Server]:
    """Give a server a file to keep its data in."""
    with tempfile.TemporaryDirectory(prefix="pisync-bench-") as folder:
        store = {"PISYNC_STORE": f"sqlite:///{folder}/pisync.db"}
        yield replace(server, environment={**server.environment, **store})


@contextmanager
def running(
    server: Server,
    devices: int,
    answers: Mapping[str, str] | None = None,
    *,
    core: int | None = None,
    on_all_cores: bool = False,
) -> Iterator[Running]:
    """Start a server with so many devices, wait until it answers, and end it afterwards.

    `answers` are those that a canned one gives. It runs on the servers' core unless told
    another, or to run on all.
    """
    cores = machine.cores() if on_all_cores else [machine.cores()[0] if core is None else core]
    port = _free_port()
    with ExitStack() as stack:
        environment = {
            **os.environ,
            **_PISYNC_SETTINGS,
            "PISYNC_PORT": str(port),
            "PISYNC_DEVICES": str(devices),
            "PORT": str(port),
            "UVICORN_PORT": str(port),
            "JWT_SECRET": SECRET,
            "DEVICES": str(devices),
            **server.environment,
        }
        if answers is not None:
            file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".json"))
            file.write(_as_json(answers))
            file.flush()
            environment["ANSWERS"] = file.name
        # As it is where PiSync is installed: modules are compiled once, not at each start.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        log = stack.enter_context(tempfile.TemporaryFile())
        process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cores)), *server.command],
            cwd=server.checkout,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        stack.callback(_end, process)
        started = Running(server, port, process)
        _wait_until_it_answers(started, log)
        yield started


_PISYNC_SETTINGS = {
    "PISYNC_JWT_SECRET": SECRET,
    "PISYNC_ADMIN_PASSWORD": "only for measuring",
    "PISYNC_BCRYPT_COST": "4",
    "PISYNC_LOG_FORMAT": "json",
}


def _as_json(answers: Mapping[str, str]) -> str:
    return json.dumps(dict(answers))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(started: Running, log: IO[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            started.call("GET", "/stats")
        except (OSError, HTTPException):
            if started.process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
                continue
            log.seek(0)
            said = log.read().decode(errors="replace")[-2000:]
            name = started.server.name
            raise machine.CannotMeasure(f"{name} did not start. It said:\n{said}") from None
        else:
            return


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
