"""A service to fuzz, and plain calls to it over HTTP."""

import os
import random
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from email.message import Message
from http.client import HTTPConnection, RemoteDisconnected
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import hypothesis
import orjson
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from pisync.in_process import (
    SETTINGS,
    RunningServer,
    running_server,
)
from pisync.web.contract.answers import NDJSON

MINUTES = float(os.environ.get("FUZZ", "0"))
"""How long a test fuzzes. 0: one short round, and the same one each time."""
LIMIT = 240 + MINUTES * 60
"""Seconds that such a test may take."""


class Reply(NamedTuple):
    status: int
    headers: Message
    json: Any
    """What was read of the body; of NDJSON, the bytes."""
    target: str
    """The path that was asked for, with its query."""

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def fault(self) -> tuple[str, int] | None:
        """The kind of fault that is seen, and the status that it answers with, or 0."""
        kind = self.headers.get("Pisync-Fault")
        return None if kind is None else (kind, self.status)


BROKEN: Mapping[type[Exception], str] = {ConnectionResetError: "reset", RemoteDisconnected: "close"}
"""The faults that leave no answer, by what a client sees."""


class Caller:
    """Calls on one connection, in one token's name."""

    def __init__(self, server: RunningServer) -> None:
        self._connection = HTTPConnection(urlsplit(server.url).netloc, timeout=20)

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        fleet: str | None = None,
        **query: object,
    ) -> Reply:
        content_type = NDJSON if isinstance(body, bytes) else "application/json"
        headers = {"Content-Type": content_type} if body is not None else {}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Pisync-Fleet": fleet} if fleet else {}
        target = f"{path}?{urlencode(query)}" if query else path
        sent = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        try:
            self._connection.request(method, target, sent, headers)
            response = self._connection.getresponse()
        except tuple(BROKEN) as exc:
            self._connection.close()
            seen = Message()
            seen["Pisync-Fault"] = BROKEN[type(exc)]
            return Reply(0, seen, None, target)
        received: Any = response.read()
        if response.headers.get_content_type() != NDJSON:
            received = orjson.loads(received or b"null")
        reply = Reply(response.status, response.headers, received, target)
        # A fleet's limit may be reached, or a fault be met; no other failure is to be expected.
        assert reply.status < 500 or reply.status == 503 or reply.fault, reply
        if reply.status >= 400:
            assert set(reply.json) <= {"message", "errors"}, reply
        return reply

    def close(self) -> None:
        self._connection.close()


@contextmanager
def service() -> Iterator[tuple[RunningServer, Caller]]:
    """Run a service that lets passwords be wrong as often as a fuzzer gets them wrong."""
    with running_server(replace(SETTINGS, login_failures=None)) as server:
        caller = Caller(server)
        yield server, caller
        caller.close()


def drive(
    machine: type[RuleBasedStateMachine],
    examples: int,
    phases: Collection[Phase] = (Phase.generate, Phase.shrink),
) -> None:
    """Run a state machine: a short round, or new ones until the time is over."""
    end = time.monotonic() + MINUTES * 60
    while True:
        run_state_machine_as_test(
            machine,
            settings=hypothesis.settings(
                max_examples=examples,
                stateful_step_count=30,
                derandomize=not MINUTES,
                database=None,
                deadline=None,
                phases=phases,
                suppress_health_check=list(HealthCheck),
            ),
        )
        if time.monotonic() >= end:
            return


def seeds() -> Iterator[int]:
    """Yield a seed for each round: 1 for the short one, else drawn until the time is over."""
    if not MINUTES:
        yield 1
        return
    end = time.monotonic() + MINUTES * 60
    while time.monotonic() < end:
        yield random.SystemRandom().randrange(2**32)
