"""`pisync check` and `pisync apply` as people run them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from pisync.app import CannotStart, create_app, ineffective_settings
from pisync.cli.main import main
from pisync.client import CallFailed
from pisync.config.settings import Settings
from pisync.in_process import SETTINGS, RunningServer, running_server

SECRET = "a secret that only these tests know"
PASSWORD = "the admin's password"
FILE = """\
shop:
  devices: 20
  profile: {seed: 7, delay: {distribution: constant, seconds: 5}}
  clock: {mode: manual}
  scripts: {7: [{sync_status_code: 500, error_message: Storage Full}]}
warehouse: {devices: [{device_id: 3}]}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    settings = replace(SETTINGS, jwt_secret=SECRET, admin_password=PASSWORD)
    with running_server(settings) as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fleets.yaml"
    path.write_text(FILE)
    return path


def pisync(*arguments: object, **variables: str | None) -> Result:
    nothing = {f"PISYNC_{name}": None for name in ("JWT_SECRET", "ADMIN_PASSWORD", "HOST", "PORT")}
    named = {f"PISYNC_{name.upper()}": text for name, text in variables.items()}
    return CliRunner().invoke(main, [str(each) for each in arguments], env=nothing | named)


def test_a_good_file_is_counted(file: Path) -> None:
    done = pisync("check", file)
    assert (done.exit_code, done.stdout) == (0, f"{file}: 2 fleets, 21 devices\n")


def test_mistakes_are_told_with_line_and_field(file: Path) -> None:
    file.write_text(FILE.replace("seed: 7", "seed: -7").replace("device_id: 3", "device_id: 0"))
    done = pisync("check", file)
    assert (done.exit_code, done.stdout) == (2, "")
    assert [line.partition(": Must")[0] for line in done.stderr.splitlines()] == [
        f"{file}:3: shop.profile.seed",
        f"{file}:6: warehouse.devices.0.device_id",
    ]


@pytest.mark.parametrize(
    "credentials",
    [{"jwt_secret": SECRET}, {"admin_password": PASSWORD}],
    ids=["secret", "password"],
)
def test_fleets_are_made_or_replaced(
    server: RunningServer, file: Path, credentials: dict[str, str]
) -> None:
    server.client("shop").replace(3)
    done = pisync("apply", file, "--url", server.url, **credentials)
    assert (done.exit_code, done.output) == (0, "shop: 20 devices\nwarehouse: 1 device\n")
    shop = server.client("shop")
    view = shop.view()
    assert (view.devices, view.profile["seed"], view.clock.mode) == (20, 7, "manual")
    shop.sync(7)
    shop.advance(5)
    assert shop.device(7).error_message == "Storage Full"
    assert [device.device_id for device in server.client("warehouse").devices()] == [3]


def test_nothing_is_applied_of_files_with_a_mistake(server: RunningServer, file: Path) -> None:
    file.write_text("new: {devices: 1}\nother: {devices: -1}\n")
    done = pisync("apply", file, "--url", server.url, jwt_secret=SECRET)
    assert done.exit_code == 2
    assert "other.devices" in done.stderr
    with pytest.raises(CallFailed, match="404"):
        server.client("new").view()


def test_who_may_not_is_told_what_is_missing(server: RunningServer, file: Path) -> None:
    done = pisync("apply", file, "--url", server.url)
    assert done.exit_code == 2
    assert "PISYNC_JWT_SECRET" in done.stderr
    done = pisync("apply", file, "--url", server.url, jwt_secret="another secret, also long enough")
    assert done.exit_code == 1
    assert "401" in done.stderr


def test_a_server_that_is_not_there_is_named(file: Path) -> None:
    done = pisync("apply", file, "--url", "http://127.0.0.1:1", jwt_secret=SECRET)
    assert done.exit_code == 1
    assert done.stderr.startswith("http://127.0.0.1:1: ")


def test_where_the_server_has_a_certificate_it_is_called_by_https(file: Path) -> None:
    files = {"tls_cert": str(file), "tls_key": str(file)}
    done = pisync("apply", file, jwt_secret=SECRET, port="1", **files)
    assert done.exit_code == 1
    assert done.stderr.startswith("https://127.0.0.1:1: ")


# At the start of a server


def test_a_server_makes_them_at_its_start(file: Path) -> None:
    file.write_text(FILE + "default: {devices: 4}\n")
    with running_server(replace(SETTINGS, fleets=file)) as running:
        assert running.client("shop").view().clock.mode == "manual"
        assert running.client("warehouse").view().devices == 1
        assert running.client().view().devices == 4


@pytest.mark.parametrize(
    ("text", "settings", "why"),
    [
        ("shop: {devices: -1}", {}, r"fleets\.yaml:1: shop\.devices: Must be from 0"),
        ("a: {devices: 60}\nb: {devices: 60}", {"max_devices": 100}, "PISYNC_MAX_DEVICES"),
        ("default: {devices: 1}", {"devices": 5}, "PISYNC_DEVICES"),
        ("default: {devices: 1}", {"profile": {"seed": 1}}, "PISYNC_PROFILE"),
    ],
)
def test_a_server_does_not_start_on_a_mistake(
    file: Path, text: str, settings: dict[str, Any], why: str
) -> None:
    file.write_text(text)
    with pytest.raises(CannotStart, match=why):
        create_app(replace(SETTINGS, fleets=file, **settings))


def test_a_fleet_that_differs_from_its_file_is_told(file: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, fleets=file, store=f"sqlite:///{tmp_path}/pisync.db")
    file.write_text("shop: {devices: 5}\nwarehouse: {devices: 1}\n")
    assert asyncio.run(ineffective(settings)) == []
    assert asyncio.run(ineffective(settings)) == []
    file.write_text(
        "shop: {devices: 6}\nwarehouse: {devices: 1, profile: {when_pending: refuse}}\n"
    )
    assert asyncio.run(ineffective(settings)) == [
        "PISYNC_FLEETS (shop)",
        "PISYNC_FLEETS (warehouse)",
    ]


async def ineffective(settings: Settings) -> list[str]:
    runner = web.AppRunner(create_app(settings))
    await runner.setup()
    found = await ineffective_settings(runner.app)
    await runner.cleanup()
    return found
