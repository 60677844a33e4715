"""How long a server waits, for each thing that it waits for."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the server waits for what, in seconds.

    Stopping takes `grace` and `cleanup` at the most: below the 8 s that are promised, and the 10 s
    after which Docker kills.
    """

    idle: float = 75.0
    """Between requests. Longer than a load balancer's usual 60, so that it is the one to close, and
    no request crosses a close."""
    head: float = 75.0
    """For a request's head to arrive."""
    unread: float = 5.0
    """For a client to stop sending a body that nobody reads, so that it gets to see the answer."""
    untaken: float = 30.0
    """For a client to take a part of an answer."""
    grace: float = 1.0
    """For load balancers to see that readiness is gone, while it still accepts connections."""
    under_way: float = 4.0
    """For requests under way, after that."""
    cleanup: float = 6.0
    """For all that follows the grace: requests under way, streams, store."""


DEFAULT_TIMEOUTS = Timeouts()
