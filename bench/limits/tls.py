"""HTTPS: handshakes a second, requests beside a bare aiohttp handler over TLS, idle streams."""

import re
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench import machine
from bench.figures import Figure, Figures, at_least, at_most
from bench.limits import streams
from bench.servers import Running, Server, pisync, running, token

_MEGABYTE = 1_000_000


def measure(*, quick: bool) -> Figures:
    """Ask both in turn: with a handshake for each connection, and with requests on few."""
    seconds, rounds = (1, 3) if quick else (3, 7)
    count = streams.COUNT // 10 if quick else streams.COUNT
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ours, bare = _servers(_certificate(Path(folder)))
        started = [stack.enter_context(running(server, 10)) for server in (ours, bare)]
        handshakes = []
        pairs = []
        for _ in range(rounds):
            handshakes.append(_handshakes(started[0], seconds))
            pairs.append([_requests(each, seconds) for each in started])
        for each in started:
            each.process.kill()
        memory, arrived = streams.idle_streams(ours, count)
    return Figures(
        "HTTPS",
        [
            Figure("handshakes in a second of processor time", f"{median(handshakes):,.0f}"),
            Figure(
                "GET /devices/{id} in a second of processor time",
                f"{median(pair[0] for pair in pairs):,.0f}",
            ),
            at_least(
                "GET /devices/{id}, beside a bare aiohttp handler over TLS",
                median(pair[0] / pair[1] for pair in pairs),
                0.7,
            ),
            at_most(f"memory of {count:,} idle streams", memory / _MEGABYTE, 0.1 * count, "MB", 0),
            at_most("memory of a stream", memory / count / 1000, 100, "kB"),
            at_most(f"an event, until all {count:,} have it", arrived, count / 1000, "s", 2),
        ],
    )


def _certificate(folder: Path) -> dict[str, str]:
    certificate, key = folder / "server.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-out", certificate, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    return {"PISYNC_TLS_CERT": str(certificate), "PISYNC_TLS_KEY": str(key)}


def _servers(files: Mapping[str, str]) -> tuple[Server, Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    bare = Server(
        "bare aiohttp over TLS",
        (machine.python(), "-m", "bench.peers.tls_limit"),
        files,
        is_canned=True,
        context=context,
    )
    return Server("PiSync over TLS", pisync().command, files, context=context), bare


def _handshakes(server: Running, seconds: int) -> float:
    arguments = f"-connect 127.0.0.1:{server.port} -new -time {seconds}"
    return _rate(server, r"(\d+) connections in \d+ real", "openssl", "s_time", *arguments.split())


def _requests(server: Running, seconds: int) -> float:
    arguments = f"-t1 -c64 -d{seconds} https://127.0.0.1:{server.port}/devices/3"
    header = f"Authorization: Bearer {token('devices')}"
    return _rate(server, r"(\d+) requests in", "wrk", *arguments.split(), "-H", header)


def _rate(server: Running, count: str, *command: str) -> float:
    """Return how often a second of the server's processor time is enough for what was counted."""
    with server.alone():
        began = server.processor_seconds()
        shown = _output_of(*command)
        took = server.processor_seconds() - began
    return int(re.findall(count, shown)[0]) / took


def _output_of(*command: str) -> str:
    core = machine.cores()[-1]
    return subprocess.run(
        ["taskset", "-c", str(core), *command], check=True, capture_output=True, text=True
    ).stdout
