"""Which fleet a request acts on: by its path, by its header, by its token."""

from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import hdrs
from multidict import CIMultiDictProxy

from pisync.model.account import ADMIN
from pisync.model.fleet import DEFAULT_FLEET
from pisync.web.contract.headers import FLEET_HEADER
from pisync.web.contract.problems import Problem, invalid


def addressed_fleet(
    headers: CIMultiDictProxy[str], path_fleet: str | None, bound: str | None, scope: str | None
) -> str:
    """Return the name of the fleet that a request acts on; there may be no such fleet.

    Args:
        headers: The request's headers.
        path_fleet: The fleet in its path: that of a base URL, or below `/admin/fleets`.
        bound: The fleet that its token is bound to, if it is to one.
        scope: The scope that the call takes.

    Raises:
        Problem: 403 the token is bound to another fleet; 422 header and base URL differ.
    """
    sent: Sequence[str] = headers.getall(FLEET_HEADER, ())
    # Of several, one that is not there.
    named = ", ".join(sent) if sent else None
    if bound is not None:
        is_elsewhere = named not in (None, bound) or path_fleet not in (None, bound)
        if is_elsewhere or (scope == ADMIN and path_fleet is None):
            raise bound_elsewhere(bound)
        return bound
    if path_fleet is None:
        return DEFAULT_FLEET if named is None else named
    # Below /admin, the header has no meaning.
    if named not in (None, path_fleet) and scope != ADMIN:
        raise invalid({FLEET_HEADER: ["Must be the fleet of the path, or be left out."]})
    return path_fleet


def bound_elsewhere(fleet: str) -> Problem:
    """Return the answer to a token that is bound to another fleet than a call is about."""
    message = f"The token is for the fleet {fleet} alone."
    challenge = f'Bearer error="insufficient_scope", error_description="{message}"'
    return Problem(HTTPStatus.FORBIDDEN, message, headers={hdrs.WWW_AUTHENTICATE: challenge})
