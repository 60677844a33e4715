from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from pisync.web.pipeline.client_address import client_address

PROXY = "10.0.0.1"
TRUSTED = tuple(map(ip_network, ("10.0.0.0/8", "2001:db8::/32")))


def seen(remote: str | None, *forwarded: str, trusted: bool = True) -> str:
    headers = CIMultiDict([("X-Forwarded-For", each) for each in forwarded])
    request = make_mocked_request("POST", "/login", headers).clone(remote=remote or "")
    return client_address(request, TRUSTED if trusted else ())


@pytest.mark.parametrize("remote", ["192.0.2.7", "2001:db9::7"])
def test_without_a_proxy_it_is_who_connects_whatever_is_claimed(remote: str) -> None:
    assert seen(remote) == remote
    assert seen(remote, "198.51.100.1") == remote
    assert seen(PROXY, "198.51.100.1", trusted=False) == PROXY


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.1.1.1"], "192.0.2.7"),
        (["192.0.2.7,10.1.1.1 , 2001:db8::1"], "192.0.2.7"),
        (["192.0.2.7", "10.1.1.1"], "192.0.2.7"),
        (["2001:db9::7"], "2001:db9::7"),
        (["198.51.100.9, 192.0.2.7"], "192.0.2.7"),
        (["198.51.100.9", "192.0.2.7"], "192.0.2.7"),
        (["made up, 192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7:51234"], "192.0.2.7"),
        (["192.0.2.7:51234, 10.1.1.1:4711"], "192.0.2.7"),
        (["[2001:db9::7]:51234"], "2001:db9::7"),
        (["[2001:db9::7]"], "2001:db9::7"),
        (['"[2001:db9::7]:51234"'], "2001:db9::7"),
        (["[::ffff:192.0.2.7]:51234"], "192.0.2.7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
    ],
)
def test_behind_trusted_proxies_it_is_the_last_address_that_is_not_theirs(
    forwarded: list[str], client: str
) -> None:
    assert seen(PROXY, *forwarded) == client
    assert seen("2001:db8::99", *forwarded) == client


@pytest.mark.parametrize(
    "forwarded",
    [
        [],
        [""],
        [","],
        ["unknown"],
        ["192.0.2.7, unknown"],
        ["192.0.2.7:port"],
        ["192.0.2.7:"],
        ["192.0.2.7]:4711"],
        ["192.0.2.300"],
        ["192.0.2.7, ,"],
        ["10.1.1.1, 10.2.2.2"],
    ],
)
def test_what_proxies_say_that_names_no_client_leaves_the_proxy(forwarded: list[str]) -> None:
    assert seen(PROXY, *forwarded) == PROXY


def test_an_ipv4_address_is_the_same_written_as_ipv6() -> None:
    assert seen("::ffff:192.0.2.7") == "192.0.2.7"
    assert seen(f"::ffff:{PROXY}", "::ffff:192.0.2.7, ::ffff:10.1.1.1") == "192.0.2.7"


def test_an_ipv6_address_is_the_same_however_it_is_written() -> None:
    assert seen(PROXY, "2001:DB9:0:0::7") == seen("2001:db9::7")


@pytest.mark.parametrize("remote", ["", "a socket's path"])
def test_who_connects_without_an_address_is_taken_as_it_is(remote: str) -> None:
    assert seen(remote, "192.0.2.7") == remote
