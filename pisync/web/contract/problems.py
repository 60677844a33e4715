"""Errors as clients see them: `{"message": …}`, with `errors` where fields are at fault."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from aiohttp import hdrs, web

from pisync.model.parsing.errors import InvalidValue
from pisync.stores.errors import (
    AccountChanged,
    AdminProtected,
    BoundReached,
    ClockNotManual,
    DefaultFleetProtected,
    FleetReplaced,
    NoSuchAccount,
    NoSuchDevice,
    NoSuchFleet,
    NothingHeld,
    PastTheLastYear,
    RequestRemembered,
    StoreError,
    StoreUnavailable,
)

Errors = Mapping[str, Sequence[str]]
"""What is wrong, by field; a field within another is named by its path: `profile.delay.max`."""

JSON_TYPE = "application/json; charset=utf-8"


MAX_BYTES = 8 * 1024
"""The longest body of an error answer."""


def _body(message: str, errors: Errors) -> bytes:
    return orjson.dumps({"message": message, "errors": errors} if errors else {"message": message})


class Problem(Exception):
    """A request that gets an error answer."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Errors | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        """The answer in the one shape, at most `MAX_BYTES` long."""
        errors = dict(self.errors or {})
        while len(body := _body(self.message, errors)) > MAX_BYTES and errors:
            errors.popitem()
        return body

    def response(self) -> web.Response:
        """Return the answer."""
        return web.Response(
            status=self.status,
            body=self.body,
            headers={**self.headers, hdrs.CONTENT_TYPE: JSON_TYPE},
        )


def bad_request(message: str) -> Problem:
    """Return the answer to a request that is not valid JSON or HTTP."""
    return Problem(HTTPStatus.BAD_REQUEST, message)


def unauthorized(message: str, *, token_sent: bool, description: str | None = None) -> Problem:
    """Return the answer to a missing or bad token, with the challenge of RFC 6750.

    `description`, of printable ASCII without quotes, says what is wrong with the token.
    """
    challenge = 'Bearer error="invalid_token"' if token_sent else "Bearer"
    if description is not None:
        challenge += f', error_description="{description}"'
    return Problem(HTTPStatus.UNAUTHORIZED, message, headers={hdrs.WWW_AUTHENTICATE: challenge})


def not_found(message: str = "There is nothing at this path.") -> Problem:
    """Return the answer to a path, a fleet or a device that is not there."""
    return Problem(HTTPStatus.NOT_FOUND, message)


def conflict(message: str) -> Problem:
    """Return the answer to a call that the present state does not allow."""
    return Problem(HTTPStatus.CONFLICT, message)


def invalid(errors: Errors) -> Problem:
    """Return the answer to a body or a query of which these fields are not valid."""
    return invalid_value(InvalidValue(errors, len(errors)))


def invalid_value(value: InvalidValue) -> Problem:
    """Return the answer to a body or a query that its schema refuses."""
    message = "1 field is not valid" if value.count == 1 else f"{value.count} fields are not valid"
    if not value.is_complete:
        message = f"At least {message}"
    if value.count > len(value.errors):
        message += f"; these are the first {len(value.errors)}"
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{message}.", value.errors)


def too_many(message: str, retry_after: float) -> Problem:
    """Return the answer to a caller who must wait `retry_after` seconds."""
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, message, headers=_retry_after(retry_after))


def unavailable(message: str, retry_after: float = 1) -> Problem:
    """Return the answer to a call that may succeed in `retry_after` seconds."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, message, headers=_retry_after(retry_after))


def too_many_streams() -> Problem:
    """Return the answer to a stream, or to a call that would wait, beyond the limit of both."""
    return unavailable("Too many event streams are open, or too many calls wait. Try again.")


def _retry_after(seconds: float) -> dict[str, str]:
    # Whole seconds (RFC 9110), and never 0: that would invite a busy loop.
    return {hdrs.RETRY_AFTER: str(max(1, int(-(-seconds // 1))))}


def of_http_exception(exc: web.HTTPException) -> Problem:
    """Give an error of aiohttp's own the one shape, keeping the headers that matter."""
    headers = {
        name: value
        for name, value in exc.headers.items()
        if name not in (hdrs.CONTENT_TYPE, hdrs.CONTENT_LENGTH)
    }
    return Problem(exc.status, _MESSAGES.get(exc.status, f"{exc.reason}."), headers=headers)


_MESSAGES: Mapping[int, str] = {
    404: "There is nothing at this path.",
    405: "This path does not support this method.",
    413: "The body is too large.",
    417: "This Expect header is not supported.",
}


def of_store_error(error: StoreError) -> Problem:
    """Return the answer to a call that a store refuses."""
    status = STATUSES[type(error)]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return unavailable(str(error))
    return Problem(status, str(error))


STATUSES: Mapping[type[StoreError], HTTPStatus] = {
    NoSuchFleet: HTTPStatus.NOT_FOUND,
    NoSuchDevice: HTTPStatus.NOT_FOUND,
    DefaultFleetProtected: HTTPStatus.CONFLICT,
    ClockNotManual: HTTPStatus.CONFLICT,
    NothingHeld: HTTPStatus.CONFLICT,
    FleetReplaced: HTTPStatus.CONFLICT,
    RequestRemembered: HTTPStatus.CONFLICT,
    NoSuchAccount: HTTPStatus.NOT_FOUND,
    AdminProtected: HTTPStatus.CONFLICT,
    AccountChanged: HTTPStatus.CONFLICT,
    PastTheLastYear: HTTPStatus.UNPROCESSABLE_ENTITY,
    BoundReached: HTTPStatus.UNPROCESSABLE_ENTITY,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each error that a store may raise."""
