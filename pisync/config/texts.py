"""What the text of a setting must be.

A function takes a text and returns its value, or raises ValidationError with what is wrong.
A text that may hold a password is never repeated.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson
from marshmallow import ValidationError

from pisync.model.password_policy import MAX_BYTES, MIN_CHARACTERS, Flaw, flaw_of

Network = IPv4Network | IPv6Network


class LoginFailures(NamedTuple):
    """So many failed logins within so many seconds are too many."""

    limit: int
    seconds: float

    def __str__(self) -> str:
        """Write it as the variable has it."""
        return f"{self.limit}/{self.seconds:g}"


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")


def whole_number(min_value: int, max_value: int) -> Callable[[str], int]:
    """Return the function that takes whole numbers from one to another."""

    def parse(text: str) -> int:
        # int() would take spaces, underscores and the digits of every script.
        if re.fullmatch(r"[0-9]{1,15}", text) and min_value <= int(text) <= max_value:
            return int(text)
        raise ValidationError(
            f"must be a whole number from {min_value} to {max_value}, not {_quoted(text)}"
        )

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """Return the function that takes these texts alone."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValidationError(f"must be one of {', '.join(choices)}, not {_quoted(text)}")
        return text

    return parse


def switch(text: str) -> bool:
    """Take on or off."""
    return one_of("on", "off")(text) == "on"


_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_NOT_UTF8 = "must be UTF-8 text"
_PASSWORD_FLAWS = {
    Flaw.NOT_UTF8: _NOT_UTF8,
    Flaw.HAS_NUL: "must not contain NUL",
    Flaw.TOO_LONG: f"must be {MAX_BYTES} bytes of UTF-8 or fewer",
    Flaw.TOO_SHORT: f"must be {MIN_CHARACTERS} characters or more",
}
_ORIGIN = rf"[a-z][a-z0-9+.-]*://(?:{_NAME}|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?"


_LOCAL_ORIGIN = r"https?://(?:localhost|127\.0\.0\.1|\[::1\]):\*"
"""At any port: development servers take the next one that is free."""


def host(text: str) -> str:
    """Take an address or a name to listen on."""
    if _is_address(text) or (len(text) < 254 and re.fullmatch(_NAME, text)):
        return text
    raise ValidationError(
        f"must be an address (IPv6 without brackets) or a host name, not {_quoted(text)}"
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return text.isascii()  # an IPv6 scope may be anything


def store(text: str) -> str:
    """Take what names a store."""
    if text == "memory" or re.fullmatch(r"sqlite:///.*[^/]", text):
        return text
    if _is_postgresql(text):
        return _with_one_scheme(text)
    raise ValidationError(
        "must be memory, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
    )


def way_past_pooler(text: str) -> str:
    """Take the URL of a PostgreSQL database, or none."""
    if text == "none" or _is_postgresql(text):
        return _with_one_scheme(text)
    raise ValidationError("must be none, or postgresql://USER:PASSWORD@HOST/DATABASE")


def _with_one_scheme(url: str) -> str:
    return re.sub(r"\Apostgres:", "postgresql:", url)


def _is_postgresql(text: str) -> bool:
    match = re.fullmatch(r"postgres(?:ql)?://([^/?#]*)/[^?#]+(?:\?[^#]*)?", text)
    if match is None:
        return False
    hosts = match[1].rpartition("@")[2].split(",")
    try:
        # Reading a port that is not one raises, too.
        return all(urlsplit(f"//{host}").port != 0 for host in hosts) and (
            len(hosts) == 1 or all(hosts)
        )
    except ValueError:
        return False


def jwt_secret(text: str) -> str:
    """Take what is long enough to sign with."""
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise ValidationError(_NOT_UTF8) from None
    if length < 32:
        raise ValidationError(f"must be 32 bytes or more, not {length}")
    return text


def admin_password(text: str) -> str:
    """Take what the rules for passwords allow."""
    flaw = flaw_of(text)
    if flaw:
        raise ValidationError(_PASSWORD_FLAWS[flaw])
    return text


def profile(text: str) -> Mapping[str, object]:
    """Take a JSON object; what is in it, the model checks."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise ValidationError(f"must be JSON: {exc}") from None
    if not isinstance(value, dict):
        raise ValidationError('must be a JSON object, such as {"seed": 7}')
    return value


def login_failures(text: str) -> LoginFailures | None:
    """Take failures per seconds, or off."""
    if text == "off":
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9}(?:\.[0-9]{1,6})?)", text)
    if match and int(match[1]) > 0 and float(match[2]) > 0:
        return LoginFailures(int(match[1]), float(match[2]))
    raise ValidationError(
        f"must be off, or failures per seconds, such as 10/60, both above 0, not {_quoted(text)}"
    )


def path(text: str) -> Path:
    """Take the path of what is there."""
    there = Path(text)
    if not there.exists():
        raise ValidationError(f"there is no file or folder {_quoted(text)}")
    return there


def _listed(text: str) -> list[str]:
    return [item.strip(" ") for item in text.split(",")]


def networks(text: str) -> tuple[Network, ...]:
    """Take addresses and networks, comma-separated."""
    return tuple(map(_network, _listed(text)))


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise ValidationError(
            f"must be addresses or networks, comma-separated; {_quoted(text)} is neither"
        ) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # Where a socket takes both families, clients by IPv4 are looked at as what they are.
        return IPv4Network(
            (int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - _MAPPED.prefixlen)
        )
    return network


_MAPPED = IPv6Network("::ffff:0:0/96")
"""IPv4 addresses as IPv6 writes them."""


def http_url(text: str) -> str:
    """Take a URL without a query."""
    # May hold a password: not repeated.
    if re.fullmatch(r"https?://[^\s?#]+", text) and text.isascii():
        return text
    raise ValidationError("must be a URL, http:// or https://, without a query")


def origins(text: str) -> tuple[str, ...]:
    """Take browsers' origins, comma-separated, or *."""
    return ("*",) if text == "*" else tuple(map(_origin, _listed(text)))


def _origin(text: str) -> str:
    # Lower case and without the scheme's own port, as browsers send it.
    origin = text.lower()
    if not re.fullmatch(_ORIGIN, origin) and not re.fullmatch(_LOCAL_ORIGIN, origin):
        raise ValidationError(
            "must be *, or origins such as https://example.org:8443 or http://localhost:*,"
            " comma-separated, without a"
            f" path or a slash at the end; {_quoted(text)} is none"
        )
    return re.sub(r"\A(http://.*):80\Z|\A(https://.*):443\Z", r"\1\2", origin)


def hosts(text: str) -> tuple[str, ...]:
    """Take names of hosts, comma-separated, or *."""
    return ("*",) if text == "*" else tuple(map(_allowed_host, _listed(text)))


def _allowed_host(text: str) -> str:
    if _is_address(text) or re.fullmatch(rf"\.?{_NAME}", text):
        return text.lower()
    raise ValidationError(
        "must be *, or host names without a port, comma-separated, a leading dot for all below;"
        f" {_quoted(text)} is none"
    )
