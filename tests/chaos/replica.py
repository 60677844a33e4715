"""Replicas: real `pisync serve` processes, to be hurt."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout

from pisync.auth.tokens import Tokens
from tests.support.paths import ROOT
from tools.ports import free_port

SECRET = "a secret that only the chaos knows, long enough"
DEVICES = 100
LONGEST_DELAY = 0.6
DELAY = {"distribution": "uniform", "min": 0.02, "max": LONGEST_DELAY}
START_SECONDS = 60
"""How long a start may take, on a machine that has other things to do."""


def token() -> str:
    """Return a token that may do everything, for a day."""
    return Tokens(SECRET, 86_400).issue("chaos", ("devices", "admin"))


class Replica:
    """A service with a store of its own, or a part in a shared one. Its address stays the same."""

    def __init__(
        self,
        store: str,
        log: Path,
        *,
        sabotage: str | None = None,
        wrapper: Sequence[str] = (),
        host: str = "127.0.0.1",
        checkout: Path = ROOT,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Let `wrapper` run it, a command whose arguments name the one to run.

        `variables` are settings beside those that all replicas have.

        `sabotage` is the protection that is taken away, as `sabotaged` has it. `checkout` has the
        code that it runs, from the next start on.
        """
        self.checkout = checkout
        self._sabotage = sabotage
        self._wrapper = wrapper
        self._log = log
        port = free_port()
        self.url = f"http://{host}:{port}"
        # Not the one who starts this: what is killed has no coverage to tell of, and starts slower.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PISYNC_", "COVERAGE_", "COV_"))
        }
        self._environ = inherited | {
            "PISYNC_HOST": host,
            "PISYNC_PORT": str(port),
            "PISYNC_STORE": store,
            "PISYNC_JWT_SECRET": SECRET,
            "PISYNC_BCRYPT_COST": "4",
            "PISYNC_DEVICES": str(DEVICES),
            "PISYNC_PROFILE": orjson.dumps({"seed": 7, "delay": DELAY}).decode(),
            "PISYNC_LOG_FORMAT": "json",
            **variables,
        }

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        await self.launch()
        async with asyncio.timeout(START_SECONDS):
            await self.ready()

    async def launch(self) -> None:
        """Start it."""
        module = ["tests.chaos.sabotaged", self._sabotage] if self._sabotage else ["pisync"]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*self._wrapper, sys.executable, "-m", *module, "serve"),
                # A group of its own: a wrapper may stay, as the parent of what it runs.
                start_new_session=True,
                cwd=self.checkout,
                env=self._environ,
                stdout=log,
                stderr=log,
            )

    async def ready(self) -> None:
        """Wait until it can serve."""
        while not await self.is_ready():
            assert self._process.returncode is None, self.log()
            await asyncio.sleep(0.02)

    async def is_ready(self) -> bool:
        """Say whether it can serve now."""
        try:
            async with (
                ClientSession(timeout=ClientTimeout(total=5)) as client,
                client.get(f"{self.url}/readyz") as answer,
            ):
                return answer.status == 200
        except (ClientError, TimeoutError):
            return False

    def freeze(self) -> None:
        """Stop its process where it stands."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had happened."""
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """End it without a chance to do anything more."""
        self._signal(signal.SIGKILL)
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, number)

    def log(self) -> str:
        """Return what it has written."""
        return self._log.read_text(errors="replace")
