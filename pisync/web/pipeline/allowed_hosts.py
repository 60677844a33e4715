"""Which names the service is served under, so that a page cannot let its own name point to it.

A page whose name was made to point to 127.0.0.1 (DNS rebinding) is of the same origin as whatever
listens there, for a browser; only the `Host` header tells that the name is a stranger's.
"""

import re
from collections.abc import Collection, Sequence
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from pisync.config.settings import is_loopback
from pisync.web.contract.problems import Problem

ANY: Final = "*"
_MAX_KNOWN: Final = 1000
_host_of = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?").fullmatch


class AllowedHosts:
    """Knows the hosts that are served: `names`, where a leading dot stands for all names below it.

    Addresses, names without a dot, `localhost` and what ends in `.localhost` always are: none of
    these is a name that a stranger can let point anywhere.
    """

    def __init__(self, names: Collection[str]) -> None:
        lower = [name.lower() for name in names]
        self._names = frozenset(lower)
        self._suffixes = (".localhost", *(name for name in lower if name.startswith(".")))
        self.known: set[str] = set()
        """Headers that were checked before, and are good."""

    def check(self, host: str) -> None:
        """Check a `Host` header.

        Raises:
            Problem: 421.
        """
        if not self._serves(host):
            raise Problem(
                HTTPStatus.MISDIRECTED_REQUEST,
                "This host is not served here; PISYNC_ALLOWED_HOSTS names those that are.",
            )
        if len(self.known) < _MAX_KNOWN:
            self.known.add(host)

    def _serves(self, header: str) -> bool:
        parts = _host_of(header)
        name = (parts[1] if parts else header).lower().removesuffix(".")
        return (
            "." not in name
            or name in self._names
            or name.endswith(self._suffixes)
            or _is_address(name.strip("[]"))
        )


def allowed_hosts(names: Sequence[str] | None, listens_on: str) -> AllowedHosts | None:
    """Return the hosts that are allowed by the setting; None if any is.

    Without the setting (None), only who listens on a loopback address minds.
    """
    if names is None:
        return AllowedHosts(()) if is_loopback(listens_on) else None
    return None if ANY in names else AllowedHosts(names)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


ALLOWED_HOSTS = web.AppKey("ALLOWED_HOSTS", AllowedHosts)
"""The hosts that are served, if not all are."""
