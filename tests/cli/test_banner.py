import click
import orjson
import pytest

from pisync import __version__
from pisync.cli.banner import Banner
from pisync.web.transport.addresses import (
    reachable_host,
    url,
)

EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - nothing listens here


def shown(
    *addresses: tuple[str, int],
    store: str = "memory",
    devices: int = 10,
    drawn: str | None = None,
) -> str:
    banner = Banner(addresses or [("127.0.0.1", 8080)], store, devices, 42, drawn)
    return click.unstyle(banner.as_text())


def test_says_where_it_listens_what_it_serves_and_where_the_docs_are() -> None:
    text = shown(("127.0.0.1", 1234), devices=5_000)
    assert text.startswith(f"PiSync {__version__} listens on http://127.0.0.1:1234\n")
    for row in (
        "page   http://127.0.0.1:1234/ (the dashboard)",
        "docs   http://127.0.0.1:1234/docs",
        "store  memory",
        "fleet  default: 5,000 devices, seed 42",
    ):
        assert f"  {row}\n" in text


def test_names_every_address_and_uses_the_first() -> None:
    text = shown(("::1", 80), ("127.0.0.1", 80))
    assert "listens on http://[::1]:80 and http://127.0.0.1:80\n" in text
    assert "curl http://[::1]:80/register" in text


def test_shows_the_admins_password_only_if_it_was_drawn() -> None:
    assert "admin" not in shown()
    assert "admin  password 5O5z4l (drawn now, shown only once)\n" in shown(drawn="5O5z4l")


def test_is_told_as_json_line_by_line() -> None:
    banner = Banner([("::1", 80)], "memory", 10, 42, "5O5z4l")
    password, ready = map(orjson.loads, banner.as_json().splitlines())
    assert password["event"] == "admin password 5O5z4l (drawn now, shown only once)"
    assert ready["event"] == f"PiSync {__version__} listens on http://[::1]:80 and is ready"
    assert ready["fleet"] == "default: 10 devices, seed 42"
    assert [step.startswith("curl ") for step in ready["next"]] == [True] * 3
    assert len(Banner([("::1", 80)], "memory", 10, 42, None).as_json().splitlines()) == 1


def test_counts_one_device() -> None:
    assert "default: 1 device, " in shown(devices=1)
    assert "default: 0 devices, " in shown(devices=0)


def test_is_ascii_that_fits_a_terminal() -> None:
    text = shown(("127.0.0.1", 65_535), drawn="x" * 16)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        (EVERY_IPV4, "127.0.0.1"),
        ("::", "::1"),
        ("0:0::0", "::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("example.org", "example.org"),
    ],
)
def test_what_listens_everywhere_is_reached_by_the_loopback(host: str, reached: str) -> None:
    assert reachable_host(host) == reached
    assert url(host, 80) == (f"http://[{reached}]:80" if ":" in reached else f"http://{reached}:80")
