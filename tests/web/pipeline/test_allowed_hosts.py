"""Which hosts are served."""

import pytest

from pisync.web.contract.problems import Problem
from pisync.web.pipeline.allowed_hosts import AllowedHosts, allowed_hosts


def serves(hosts: AllowedHosts, host: str) -> bool:
    try:
        hosts.check(host)
    except Problem as problem:
        return problem.status != 421
    return True


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            "localhost",
            "localhost:8080",
            "app.localhost",
            "a.b.LOCALHOST:80",
            "pisync",
            "pisync:1",
        ),
        *("127.0.0.1", "127.0.0.1:8080", "192.0.2.7:80", "[::1]", "[::1]:8080", "[2001:db8::7]:80"),
    ],
)
def test_what_no_stranger_can_let_point_anywhere_is_always_served(host: str) -> None:
    assert serves(AllowedHosts(()), host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil.example."),
        *("evil.example:80", "1.2.3", "xlocalhost.com", "[::1].evil.example", "a.b:c:d"),
    ],
)
def test_other_names_are_not(host: str) -> None:
    hosts = AllowedHosts(("api.dev.example", ".test.example"))
    assert not any(serves(hosts, host) for _ in range(2))


@pytest.mark.parametrize(
    "host", ["api.dev.example", "API.dev.example:8080", "a.test.example", "a.b.test.example."]
)
def test_those_of_the_setting_are(host: str) -> None:
    assert serves(AllowedHosts(("api.dev.example", ".Test.example")), host)


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_without_the_setting_a_loopback_address_serves_no_strangers_name(listens_on: str) -> None:
    hosts = allowed_hosts(None, listens_on)
    assert hosts is not None
    assert not serves(hosts, "evil.example")


@pytest.mark.parametrize("listens_on", ["0.0.0.0", "::", "192.0.2.7", "pisync.example"])  # noqa: S104 - nothing is bound
def test_without_the_setting_any_other_address_serves_all(listens_on: str) -> None:
    assert allowed_hosts(None, listens_on) is None


def test_a_star_serves_all() -> None:
    assert allowed_hosts(("*",), "127.0.0.1") is None
