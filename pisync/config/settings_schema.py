"""Every PISYNC_* variable: what it is called, what it means, and what its text must be."""

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import NamedTuple
from unicodedata import category
from urllib.parse import urlsplit

import orjson
from marshmallow import ValidationError

from pisync.model.fleet import MAX_DEVICES
from pisync.model.password_policy import (
    MAX_BYTES,
    MIN_CHARACTERS,
    Flaw,
    flaw_of,
)

PREFIX = "PISYNC_"
FILE_SUFFIX = "_FILE"
MAX_TOKEN_TTL = 2**31 - 1
"""Seconds: 68 years."""

Network = IPv4Network | IPv6Network


class LoginFailures(NamedTuple):
    """So many failed logins within so many seconds are too many."""

    limit: int
    seconds: float

    def __str__(self) -> str:
        """Write it as the variable has it."""
        return f"{self.limit}/{self.seconds:g}"


class Variable(NamedTuple):
    """A setting as its users meet it: help texts and the table of settings are made from these.

    Attributes:
        field: The field of `Settings` that it sets.
        parse: Takes its text and returns the value, or raises ValidationError.
        meaning: What it says, for help texts.
        unset: What goes where it is not set, if the default's value does not say that.
        or_file: Whether `names` has a second one, for the path of a file that holds the text.
        is_json: Whether the text may have line breaks and tabs.
        is_path: Whether the text is the path of a file.
        choices: All texts that it may have, where these are few.
    """

    field: str
    parse: Callable[[str], object]
    meaning: str
    unset: str | None = None
    or_file: bool = False
    is_json: bool = False
    is_path: bool = False
    choices: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What it is called in the environment."""
        name = PREFIX + self.field.upper()
        return (name, name + FILE_SUFFIX) if self.or_file else (name,)

    def names_in(self, environ: Mapping[str, str]) -> list[str]:
        """Return those of its names that are set."""
        return [name for name in self.names if name in environ]

    def read_text(self, text: str) -> object:
        """Return the value of a text.

        Raises:
            ValidationError: The text is not valid.
        """
        if not text:
            raise ValidationError("is set, but empty")
        return self._parse(text)

    def read_file(self, path: str) -> object:
        """Return the value of the text in a file.

        Raises:
            ValidationError: The file can't be read, or its text is not valid.
        """
        if not path:
            raise ValidationError("is set, but empty")
        _refuse_control_characters(path)
        try:
            # Windows' editors begin a file with a byte order mark, and all editors and `echo` end
            # it with a newline: nobody means those.
            text = Path(path).read_bytes().decode("utf-8-sig").rstrip("\r\n")
        # The path is not repeated: it may be the secret itself, put into the wrong variable.
        except UnicodeDecodeError:
            raise ValidationError("the file must be UTF-8 text") from None
        except OSError as exc:
            raise ValidationError(f"can't read the file: {exc.strerror}") from None
        if not text:
            raise ValidationError("the file is empty")
        return self._parse(text)

    def _parse(self, text: str) -> object:
        _refuse_control_characters(text, allowed="\t\r\n" if self.is_json else "")
        return self.parse(text)


def _refuse_control_characters(text: str, allowed: str = "") -> None:
    """Refuse what nobody sees, and nobody means.

    Raises:
        ValidationError: There is such a character.
    """
    if text.endswith("\r") and "\r" not in allowed:
        raise ValidationError("ends in a carriage return: was it written on Windows?")
    if any(category(character) == "Cc" and character not in allowed for character in text):
        raise ValidationError("must not contain control characters")


def option_of(name: str) -> str:
    """Return the command line's option for a variable: `--bcrypt-cost` for PISYNC_BCRYPT_COST."""
    return "--" + name.removeprefix(PREFIX).lower().replace("_", "-")


# What a text must be. A text that may hold a password is never repeated.


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 60 else f"{text[:57]}...")


def _whole_number(min_value: int, max_value: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        # int() would take spaces, underscores and the digits of every script.
        if re.fullmatch(r"[0-9]{1,15}", text) and min_value <= int(text) <= max_value:
            return int(text)
        raise ValidationError(
            f"must be a whole number from {min_value} to {max_value}, not {_quoted(text)}"
        )

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValidationError(f"must be one of {', '.join(choices)}, not {_quoted(text)}")
        return text

    return parse


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


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


def _host(text: str) -> str:
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


def _store(text: str) -> str:
    if text == "memory" or re.fullmatch(r"sqlite:///.*[^/]", text):
        return text
    if _is_postgresql(text):
        return re.sub(r"\Apostgres:", "postgresql:", text)
    raise ValidationError(
        "must be memory, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
    )


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


def _jwt_secret(text: str) -> str:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise ValidationError(_NOT_UTF8) from None
    if length < 32:
        raise ValidationError(f"must be 32 bytes or more, not {length}")
    return text


def _admin_password(text: str) -> str:
    flaw = flaw_of(text)
    if flaw:
        raise ValidationError(_PASSWORD_FLAWS[flaw])
    return text


def _profile(text: str) -> Mapping[str, object]:
    try:
        profile = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise ValidationError(f"must be JSON: {exc}") from None
    if not isinstance(profile, dict):
        raise ValidationError('must be a JSON object, such as {"seed": 7}')
    return profile


def _login_failures(text: str) -> LoginFailures | None:
    if text == "off":
        return None
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9}(?:\.[0-9]{1,6})?)", text)
    if match and int(match[1]) > 0 and float(match[2]) > 0:
        return LoginFailures(int(match[1]), float(match[2]))
    raise ValidationError(
        f"must be off, or failures per seconds, such as 10/60, both above 0, not {_quoted(text)}"
    )


def _path(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise ValidationError(f"there is no file or folder {_quoted(text)}")
    return path


def _listed(text: str) -> list[str]:
    return [item.strip(" ") for item in text.split(",")]


def _networks(text: str) -> tuple[Network, ...]:
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


def _http_url(text: str) -> str:
    # May hold a password: not repeated.
    if re.fullmatch(r"https?://[^\s?#]+", text) and text.isascii():
        return text
    raise ValidationError("must be a URL, http:// or https://, without a query")


def _origins(text: str) -> tuple[str, ...]:
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


def _hosts(text: str) -> tuple[str, ...]:
    return ("*",) if text == "*" else tuple(map(_allowed_host, _listed(text)))


def _allowed_host(text: str) -> str:
    if _is_address(text) or re.fullmatch(rf"\.?{_NAME}", text):
        return text.lower()
    raise ValidationError(
        "must be *, or host names without a port, comma-separated, a leading dot for all below;"
        f" {_quoted(text)} is none"
    )


_SWITCH = ("on", "off")
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_LOG_FORMATS = ("auto", "text", "json")
_MAX_COUNT = 1_000_000_000

VARIABLES = (
    Variable("host", _host, "address or host name to listen on; :: takes IPv4, too"),
    Variable("port", _whole_number(0, 65_535), "port to listen on; 0 picks a free port"),
    Variable(
        "store",
        _store,
        "memory, sqlite:///relative.db, sqlite:////absolute.db"
        " or postgresql://user:password@host/database (several hosts: host1:5432,host2:5432)",
        or_file=True,
    ),
    Variable(
        "jwt_secret",
        _jwt_secret,
        "secret that signs tokens, 32 bytes or more",
        "memory: drawn at every start; SQLite: drawn at the first start and kept;"
        " PostgreSQL: required",
        or_file=True,
    ),
    Variable(
        "jwt_secret_previous",
        _jwt_secret,
        "previous secret: tokens signed with it stay valid",
        "none",
        or_file=True,
    ),
    Variable("token_ttl", _whole_number(1, MAX_TOKEN_TTL), "seconds that a token is valid"),
    Variable(
        "admin_password",
        _admin_password,
        "password of the account admin, from this start on",
        "memory, SQLite: drawn and printed once, if there is no admin yet; PostgreSQL: no admin",
        or_file=True,
    ),
    Variable(
        "bcrypt_cost",
        _whole_number(4, 15),
        "cost of a password's hash, 4 to 15; a warning below 10",
    ),
    Variable(
        "devices",
        _whole_number(0, MAX_DEVICES),
        f"number of devices to create when the store is first filled, at most {MAX_DEVICES:,}",
        "ten hard-coded ones",
    ),
    Variable(
        "profile",
        _profile,
        "the default fleet's profile, as JSON, when it is first made",
        is_json=True,
    ),
    Variable(
        "fleets",
        _path,
        "file, or folder of files, that describes fleets (.yaml, .json, .toml); those that are not"
        " there yet are made at start",
        "none",
        is_path=True,
    ),
    Variable(
        "max_devices",
        _whole_number(1, _MAX_COUNT),
        "devices of all fleets together; a fleet beyond it is refused",
    ),
    Variable(
        "error_logs", _whole_number(0, _MAX_COUNT), "error logs kept per fleet; the oldest go first"
    ),
    Variable("max_streams", _whole_number(0, _MAX_COUNT), "open event streams; beyond it 503"),
    Variable("max_connections", _whole_number(1, _MAX_COUNT), "open connections; beyond it 503"),
    Variable(
        "max_requests",
        _whole_number(1, _MAX_COUNT),
        "at overload, most requests accepted per turn of the event loop; beyond it 503",
    ),
    Variable("login_failures", _login_failures, "failed logins per seconds before 429, or off"),
    Variable(
        "trusted_proxies",
        _networks,
        "addresses or networks, comma-separated, whose X-Forwarded-For is believed",
        "none",
    ),
    Variable(
        "tls_cert",
        str,
        "PEM file of a certificate and those that lead to its authority: HTTPS in place of HTTP;"
        " renewed files are taken within 60 s",
        "none",
        is_path=True,
    ),
    Variable("tls_key", str, "PEM file of the certificate's key", "none", is_path=True),
    Variable(
        "cors_origins",
        _origins,
        "origins, comma-separated, that browsers may call from, or *;"
        " http://localhost:* stands for any port",
        "none",
    ),
    Variable(
        "allowed_hosts",
        _hosts,
        "names of the Host header that are served, comma-separated, a leading dot for all below,"
        " or *; addresses, names without a dot and localhost always are; others: 421",
        "where it listens on a loopback address, no others; else any",
    ),
    Variable(
        "keepalive",
        _whole_number(1, 86_400),
        "seconds for which an idle connection is kept; some load balancers need more than 600",
    ),
    Variable(
        "drain_delay",
        _whole_number(0, 60),
        'seconds between "not ready" and the end of new connections when it stops',
    ),
    Variable(
        "otlp_endpoint",
        _http_url,
        "where traces go (OTLP over HTTP), such as http://collector:4318",
        "none",
    ),
    Variable(
        "log_level",
        _one_of(*_LOG_LEVELS),
        "what to log at least: debug, info, warning, error or critical",
        choices=_LOG_LEVELS,
    ),
    Variable(
        "log_format",
        _one_of(*_LOG_FORMATS),
        "text, json (one line an event), or auto: text on a terminal, else json",
        choices=_LOG_FORMATS,
    ),
    Variable("access_log", _switch, "a line for each request: on or off", choices=_SWITCH),
)
"""Every setting there is."""
