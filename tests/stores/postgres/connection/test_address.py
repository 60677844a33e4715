"""The URL of a database, taken apart: passwords may contain what separates the rest."""

import pytest

from pisync.stores.postgres.connection.address import Address, Host


@pytest.mark.parametrize(
    ("url", "hosts", "login", "dsn"),
    [
        (
            "postgresql://me:word@host/db",
            [("host", None)],
            ("me", "word"),
            "postgresql:///db",
        ),
        (
            "postgresql://pi:a@b:c%2Fd%25e@host:5433/db?sslmode=require",
            [("host", 5433)],
            ("pi", "a@b:c/d%e"),
            "postgresql:///db?sslmode=require",
        ),
        (
            "postgresql://me@host1:5432,host2,[::1]:5434,[::2]/db",
            [("host1", 5432), ("host2", None), ("::1", 5434), ("::2", None)],
            ("me", None),
            "postgresql:///db",
        ),
        (
            "postgresql://me:@/db?host=/a/folder",
            [(None, None)],
            ("me", None),
            "postgresql:///db?host=/a/folder",
        ),
    ],
)
def test_is_taken_apart(
    url: str, hosts: list[tuple[str, int]], login: tuple[str, str], dsn: str
) -> None:
    address = Address.parse(url)
    assert list(address.hosts) == [Host(*host) for host in hosts]
    assert (address.user, address.password) == login
    assert address.dsn == dsn
