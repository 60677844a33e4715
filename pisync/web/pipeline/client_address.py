"""Which address a request comes from, when proxies that are trusted may stand in between."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import hdrs, web

_Address = IPv4Address | IPv6Address
_WITH_PORT = re.compile(r'"?(?:([0-9.]+)(?::[0-9]{1,5})?|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?)"?')
"""Some gateways add the client's port."""


def client_address(request: web.Request, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
    """Return the address of the client, as good as it can be known; "" if it has none.

    That is who made the connection; but if that is a trusted proxy, whoever the proxies say: the
    right-most address in X-Forwarded-For that is none of theirs. What stands to the left of it, the
    client may have made up.
    """
    peer = _parse(request.remote or "")
    if peer is None:
        return request.remote or ""
    if not _is_in(peer, trusted):
        return str(peer)
    forwarded = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ()))
    for text in reversed(forwarded.split(",")):
        address = _parse_forwarded(text.strip())
        if address is None:
            break
        if not _is_in(address, trusted):
            return str(address)
    return str(peer)


def _parse_forwarded(text: str) -> _Address | None:
    match = _WITH_PORT.fullmatch(text)
    return _parse(match[1] or match[2] if match else text)


def _parse(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _is_in(address: _Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)
