"""Development servers of npm's that pass `/api` on to PiSync, each with its own defaults."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.node import INTEROP, alone_in, environment

PROXIES = ("express", "next", "vite", "webpack")


@contextmanager
def development_server(name: str, target: str) -> Iterator[str]:
    """Start one of `PROXIES`, and yield its URL.

    Args:
        name: Which one.
        target: The URL of the server behind `/api`.
    """
    command = ["node", str(INTEROP / f"proxies/{name}.js"), target]
    with (
        alone_in(INTEROP),  # Next has one folder for what it builds
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process,
    ):
        assert process.stdout
        try:
            lines = (line.strip() for line in process.stdout)
            port = next((line for line in lines if line.isdigit()), None)
            assert port, f"{name} ended with {process.wait()}"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
