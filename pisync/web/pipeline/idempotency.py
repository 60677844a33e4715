"""The header `Idempotency-Key`: a request that comes again gets its first answer again."""

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from pisync import keys
from pisync.model.requests.idempotency import KeyedRequest, RememberedAnswer
from pisync.simulation.simulator import Simulator
from pisync.stores.errors import RequestRemembered
from pisync.web.contract.headers import IDEMPOTENCY_KEY, REPLAYED_HEADER
from pisync.web.contract.problems import invalid
from pisync.web.contract.rendering import Rendered

Render = Callable[[RememberedAnswer], Rendered]
"""Returns the answer that was remembered, as it was sent."""

_is_key = re.compile(r"[!-~]{1,128}").fullmatch


def keyed_request(request: web.Request, path: str, body: bytes = b"") -> KeyedRequest | None:
    """Return what a request is remembered by; None if it has no key.

    Args:
        request: The request.
        path: The path of the call, without a fleet's base URL: the fleet is told apart already.
        body: The body, if it means anything.

    Raises:
        Problem: 422 the key is not a good one, or there are several.
    """
    sent = request.headers.getall(IDEMPOTENCY_KEY, ())
    if not sent:
        return None
    if len(sent) > 1:
        raise invalid({IDEMPOTENCY_KEY: ["Must be given only once."]})
    if not _is_key(sent[0]):
        raise invalid({IDEMPOTENCY_KEY: ["Must have 1 to 128 visible ASCII characters."]})
    return KeyedRequest.of(request[keys.CLAIMS].subject, sent[0], path, body)


async def expected_answer(
    simulator: Simulator,
    fleet: str,
    keyed: KeyedRequest,
    render: Render,
    would_answer: Callable[[], Awaitable[Rendered | None]],
) -> Rendered | None:
    """Return what a request would be answered, and do nothing; None if it would be refused.

    Args:
        simulator: Knows the answers that are remembered.
        fleet: The request's fleet.
        keyed: The request.
        render: Returns an answer that is remembered.
        would_answer: Returns what a request whose key is new would be answered.
    """
    known = await simulator.remembered(fleet, keyed)
    if known is None:
        return await would_answer()
    if known.content != keyed.content or not known.is_complete:
        return None
    return _replayed(render(known))


def first_answer(known: RequestRemembered, keyed: KeyedRequest, render: Render) -> Rendered:
    """Return the first answer to a request whose key is known.

    Raises:
        Problem: 422 the key was used for another request.
        RequestRemembered: That request is still under way.
    """
    remembered = known.remembered
    if remembered.content != keyed.content:
        raise invalid({IDEMPOTENCY_KEY: ["Was used for another path or body."]})
    if not remembered.is_complete:
        raise known
    return _replayed(render(remembered))


def _replayed(first: Rendered) -> Rendered:
    headers = {**(first.headers or {}), REPLAYED_HEADER: "true"}
    return Rendered(first.body, headers=headers, status=first.status)
