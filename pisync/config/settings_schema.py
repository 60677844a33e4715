"""Every PISYNC_* variable: what it is called, what it means, and what its text must be."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from unicodedata import category

from marshmallow import ValidationError

from pisync.config import texts
from pisync.model.fleet import MAX_DEVICES

PREFIX = "PISYNC_"
FILE_SUFFIX = "_FILE"
MAX_TOKEN_TTL = 2**31 - 1
"""Seconds: 68 years."""


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


_SWITCH = ("on", "off")
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_LOG_FORMATS = ("auto", "text", "json")
_MAX_COUNT = 1_000_000_000

VARIABLES = (
    Variable("host", texts.host, "address or host name to listen on; :: takes IPv4, too"),
    Variable("port", texts.whole_number(0, 65_535), "port to listen on; 0 picks a free port"),
    Variable(
        "store",
        texts.store,
        "memory, sqlite:///relative.db, sqlite:////absolute.db"
        " or postgresql://user:password@host/database (several hosts: host1:5432,host2:5432)",
        or_file=True,
    ),
    Variable(
        "store_direct",
        texts.way_past_pooler,
        "the same database past a pooler that gives each transaction another session;"
        " none if no way leads past it",
        "PISYNC_STORE gives each connection a session of its own",
        or_file=True,
    ),
    Variable(
        "jwt_secret",
        texts.jwt_secret,
        "secret that signs tokens, 32 bytes or more",
        "memory: drawn at every start; SQLite: drawn at the first start and kept;"
        " PostgreSQL: required",
        or_file=True,
    ),
    Variable(
        "jwt_secret_previous",
        texts.jwt_secret,
        "previous secret: tokens signed with it stay valid",
        "none",
        or_file=True,
    ),
    Variable("token_ttl", texts.whole_number(1, MAX_TOKEN_TTL), "seconds that a token is valid"),
    Variable(
        "admin_password",
        texts.admin_password,
        "password of the account admin, from this start on",
        "memory, SQLite: drawn and printed once, if there is no admin yet; PostgreSQL: no admin",
        or_file=True,
    ),
    Variable(
        "bcrypt_cost",
        texts.whole_number(4, 15),
        "cost of a password's hash, 4 to 15; a warning below 10",
    ),
    Variable(
        "devices",
        texts.whole_number(0, MAX_DEVICES),
        f"number of devices to create when the store is first filled, at most {MAX_DEVICES:,}",
        "ten hard-coded ones",
    ),
    Variable(
        "profile",
        texts.profile,
        "the default fleet's profile, as JSON, when it is first made",
        is_json=True,
    ),
    Variable(
        "fleets",
        texts.path,
        "file, or folder of files, that describes fleets (.yaml, .json, .toml); those that are not"
        " there yet are made at start",
        "none",
        is_path=True,
    ),
    Variable(
        "max_devices",
        texts.whole_number(1, _MAX_COUNT),
        "devices of all fleets together; a fleet beyond it is refused",
    ),
    Variable(
        "error_logs",
        texts.whole_number(0, _MAX_COUNT),
        "error logs kept per fleet; the oldest go first",
    ),
    Variable(
        "max_streams",
        texts.whole_number(0, _MAX_COUNT),
        "open event streams, and calls that wait; beyond it 503",
    ),
    Variable(
        "max_connections", texts.whole_number(1, _MAX_COUNT), "open connections; beyond it 503"
    ),
    Variable(
        "max_requests",
        texts.whole_number(1, _MAX_COUNT),
        "at overload, most requests accepted per turn of the event loop; beyond it 503",
    ),
    Variable(
        "login_failures", texts.login_failures, "failed logins per seconds before 429, or off"
    ),
    Variable(
        "trusted_proxies",
        texts.networks,
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
        texts.origins,
        "origins, comma-separated, that browsers may call from, or *;"
        " http://localhost:* stands for any port",
        "none",
    ),
    Variable(
        "allowed_hosts",
        texts.hosts,
        "names of the Host header that are served, comma-separated, a leading dot for all below,"
        " or *; addresses, names without a dot and localhost always are; others: 421",
        "where it listens on a loopback address, no others; else any",
    ),
    Variable(
        "keepalive",
        texts.whole_number(1, 86_400),
        "seconds for which an idle connection is kept; some load balancers need more than 600",
    ),
    Variable(
        "drain_delay",
        texts.whole_number(0, 60),
        'seconds between "not ready" and the end of new connections when it stops',
    ),
    Variable(
        "otlp_endpoint",
        texts.http_url,
        "where traces go (OTLP over HTTP), such as http://collector:4318",
        "none",
    ),
    Variable(
        "log_level",
        texts.one_of(*_LOG_LEVELS),
        "what to log at least: debug, info, warning, error or critical",
        choices=_LOG_LEVELS,
    ),
    Variable(
        "log_format",
        texts.one_of(*_LOG_FORMATS),
        "text, json (one line an event), or auto: text on a terminal, else json",
        choices=_LOG_FORMATS,
    ),
    Variable("access_log", texts.switch, "a line for each request: on or off", choices=_SWITCH),
)
"""Every setting there is."""
