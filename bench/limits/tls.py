"""HTTPS: handshakes a second, and requests beside a bare aiohttp handler over TLS."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median

from bench.figures import Figure, Figures, at_least
from bench.servers import SECRET, token

PISYNC = ("-m", "pisync", "serve")
BARE = ("-m", "bench.peers.tls_limit")


def measure(*, quick: bool) -> Figures:
    """Ask both in turn: with a handshake for each connection, and with requests on few."""
    seconds, rounds = (1, 3) if quick else (3, 7)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        variables = _certificate(Path(folder))
        ports = [stack.enter_context(_running(command, variables)) for command in (PISYNC, BARE)]
        handshakes = [_handshakes(ports[0], seconds) for _ in range(rounds)]
        pairs = [[_requests(port, seconds) for port in ports] for _ in range(rounds)]
    return Figures(
        "HTTPS",
        [
            Figure("handshakes a second, client on the same machine", f"{median(handshakes):,.0f}"),
            Figure("GET /devices/{id} a second", f"{median(ours for ours, _ in pairs):,.0f}"),
            at_least(
                "GET /devices/{id}, beside a bare aiohttp handler over TLS",
                median(ours / bare for ours, bare in pairs),
                0.7,
            ),
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


@contextmanager
def _running(command: tuple[str, ...], variables: dict[str, str]) -> Iterator[int]:
    """Run a server; return its port once it accepts connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with subprocess.Popen(
        [sys.executable, *command],
        env=os.environ | variables | {"PISYNC_PORT": str(port), "PISYNC_JWT_SECRET": SECRET},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield port
        finally:
            process.kill()


def _handshakes(port: int, seconds: int) -> float:
    said = subprocess.run(
        ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-time", str(seconds)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (count, real) = re.findall(r"(\d+) connections in (\d+) real seconds", said)[0]
    return int(count) / max(int(real), 1)


def _requests(port: int, seconds: int) -> float:
    said = subprocess.run(
        [
            *(
                "wrk",
                "-t1",
                "-c64",
                f"-d{seconds}",
                "-H",
                f"Authorization: Bearer {token('devices')}",
            ),
            f"https://127.0.0.1:{port}/devices/3",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return float(re.findall(r"Requests/sec: +([\d.]+)", said)[0])
