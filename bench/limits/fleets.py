"""What a fleet's base URL costs, and a token that is bound to one, beside the header."""

from bench.figures import Figures, at_least
from bench.load import Measured, measure
from bench.rounds import thrift
from bench.servers import PISYNC, running, token

REQUESTS = (
    *(("GET", "/devices?limit=100"), ("GET", "/devices/3"), ("POST", "/devices/7/sync")),
    ("GET", "/stats"),
)
DEVICES = 1_000


def measure_fleets(*, quick: bool) -> Figures:
    """Load one server in turn with requests that name the fleet in each of the three ways."""
    with running(PISYNC, DEVICES) as started:
        bound = f"Bearer {token('devices', fleet='default')}"
        ways = (
            (started.with_headers({**started.headers, "Pisync-Fleet": "default"}), ""),
            (started, "/fleets/default"),
            (started.with_headers({"Authorization": bound}), ""),
        )
        rounds: list[list[Measured]] = [[] for _ in ways]
        for _ in range(5 if quick else 15):
            for (server, base), measured in zip(ways, rounds, strict=True):
                requests = [f"{method} {base}{target}" for method, target in REQUESTS]
                measured.append(measure(server, requests, connections=64, warm_up=0.1, seconds=0.5))
    header, base_url, claim = rounds
    return Figures(
        "Fleets",
        [
            at_least("a fleet by base URL, beside the header", thrift(base_url, header), 0.95),
            at_least("a fleet by token, beside the header", thrift(claim, header), 0.95),
        ],
    )
