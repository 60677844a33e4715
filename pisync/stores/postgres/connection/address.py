"""Where the database is: the URL, taken apart."""

import re
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]+))?")
"""A host and its port; an IPv6 address is in brackets."""


class Host(NamedTuple):
    """One server that may have the database; None: as the URL's options or libpq's defaults say."""

    name: str | None
    port: int | None

    def __str__(self) -> str:
        """Return what to show of it."""
        name = self.name or "the server"
        return name if self.port is None else f"{name}:{self.port}"


class Address(NamedTuple):
    """A database and the hosts that may have it, in the order in which they are tried.

    A password may contain `@` and `:`, which is why nobody else gets to see the whole URL: a parser
    that splits elsewhere would show a part of it.
    """

    hosts: tuple[Host, ...]
    user: str | None
    password: str | None
    dsn: str
    """The rest as a URL: the database's name and the options."""
    shares_sessions: bool = False
    """Whether a pooler is there that may give each transaction another session."""

    @classmethod
    def parse(cls, url: str, *, shares_sessions: bool = False) -> Self:
        """Take `postgresql://user:password@host1:5432,host2:5432/database?options` apart."""
        # The standard library's parser knows nothing of several hosts, some of them in brackets.
        authority, slash, rest = url.partition("://")[2].partition("/")
        login, _, places = authority.rpartition("@")
        user, _, password = login.partition(":")
        return cls(
            tuple(map(_host, places.split(","))),
            unquote(user) or None,
            unquote(password) or None,
            f"postgresql://{slash}{rest}",
            shares_sessions,
        )

    @property
    def options(self) -> dict[str, str]:
        """What stands behind the question mark."""
        return dict(parse_qsl(urlsplit(self.dsn).query, keep_blank_values=True))


def _host(place: str) -> Host:
    match = _HOST.fullmatch(place)
    if match is None:
        raise ValueError("a host of the database's URL can't be read")
    name, port = match.groups()
    return Host(unquote(name.strip("[]")) or None, int(port) if port else None)
