"""The answer to a sync that was accepted, as bytes: all but a few of them are always the same."""

from typing import Final

from aiohttp import hdrs

from pisync.model.device import Device
from pisync.web.contract import rendering
from pisync.web.contract.headers import ATTEMPT_HEADER
from pisync.web.contract.rendering import Rendered
from pisync.web.handlers.devices import ACCEPTED
from pisync.web.transport.raw_response import date_lines, last_lines

ROUTE: Final = "/devices/{device_id}/sync"


def _head_of(rendered: Rendered) -> bytes:
    """Return a head, with places for the device, its attempt and the length, and for the rest."""
    head = rendered.head.replace(b"Content-Length: 0\r\n", b"Content-Length: %d\r\n")
    return head + b"%b%b%b%b\r\n%b"


_RENDERED: Final = Rendered(
    b"", headers={hdrs.LOCATION: "/devices/%d", ATTEMPT_HEADER: "%d"}, status=ACCEPTED
)
_HEAD: Final = _head_of(_RENDERED)
_HEAD_BELOW_BASE_URL: Final = _head_of(_RENDERED.below_base_url(ROUTE))


class AcceptedAnswers:
    """Writes answers to syncs at one moment, as `start_sync` and `raw_response` would have them.

    `close` says that connections are closed behind them.
    """

    __slots__ = ("_date", "_last")

    def __init__(self, *, close: bool) -> None:
        self._date = date_lines()
        self._last = last_lines(tagged=False, private=True, close=close)

    def answer(self, device: Device, request_id: str, more: bytes, below_base_url: bool) -> bytes:
        """Return the answer with a device; `more` are more lines of its head."""
        body = rendering.pending_device(device)
        return (_HEAD_BELOW_BASE_URL if below_base_url else _HEAD) % (
            device.device_id,
            device.attempt,
            len(body),
            self._date,
            request_id.encode(),
            self._last,
            more,
            body,
        )
