"""Calls on a fleet that is fuzzed, named in any of the ways that there are."""

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import ClassVar
from urllib.parse import urljoin

from hypothesis.stateful import RuleBasedStateMachine

from pisync.in_process import RunningServer
from tests.fuzz.caller import Caller, Reply
from tests.fuzz.requests_twin import RequestsTwin
from tests.support.stores.reference_model import ReferenceModel


class FleetCalls(RuleBasedStateMachine):
    """Makes calls on one fleet, and knows what of them the fleet should remember.

    Attributes:
        name: The fleet's name.
        other_name: The name for another one like it.
    """

    server: ClassVar[RunningServer]
    http: ClassVar[Caller]
    names: ClassVar[Iterator[int]] = count(1)
    twin: ReferenceModel

    def __init__(self) -> None:
        super().__init__()
        self.token = self.server.token("devices", "admin")
        number = next(self.names)
        self.name, self.other_name = f"fuzz-{number}", f"fuzz-{number}-copy"
        self.bound_tokens = {
            name: self.server.token("devices", "admin", fleet=name)
            for name in (self.name, self.other_name)
        }
        # The same for each run of an example, so that it can be shrunk.
        self.random = Random(0)  # noqa: S311 - nothing secret
        self.requests = RequestsTwin()

    @property
    def path(self) -> str:
        return f"/admin/fleets/{self.name}"

    def call(self, method: str, path: str, body: object = None, **query: object) -> Reply:
        """Make a call on the fleet, and again for each fault that it meets."""
        if path.startswith("/admin/"):
            return self.call_once(method, path, body, **query)
        while True:
            reply = self.call_once(method, path, body, **query)
            target, base = reply.target, f"/fleets/{self.name}"
            if self.requests.note(method, target, base, reply, self.twin.profile.seed) is None:
                return reply

    def call_once(self, method: str, path: str, body: object = None, **query: object) -> Reply:
        """Make a call on the fleet, named in one of the three ways or in several."""
        by_header, by_base_url, by_token = (self.random.random() < 0.5 for _ in range(3))
        if path.startswith("/admin/"):
            by_base_url = False
        elif by_base_url:
            path = f"/fleets/{self.name}{path}"
        return self.http(
            method,
            path,
            body,
            token=self.bound_tokens[self.name] if by_token else self.token,
            fleet=self.name if by_header or not (by_base_url or by_token) else None,
            **query,
        )

    def referred(self, reply: Reply, header: str) -> str:
        """Return the path that an answer refers to, without the base URL that it has to keep."""
        reference: str = reply.headers[header].removeprefix("<").partition(">")[0]
        referred = urljoin(reply.target, reference)
        base = f"/fleets/{self.name}/"
        assert referred.startswith(base) == reply.target.startswith(base)
        return referred.removeprefix(base.rstrip("/"))
