"""`pisync check` and `pisync apply`: fleet files without a server, and on a running one."""
# ruff: noqa: PLC0415 - what only a run needs is imported by it, as in pisync/cli/main.py

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pisync.cli.options import (
    EXIT_FAILURE,
    EXIT_USAGE,
    HOW_TO_BE_ADMIN,
    UrlType,
    leave_with,
    secret_of,
    setting_options,
    settings_from,
)
from pisync.model.account import SCOPES
from pisync.web.transport.addresses import url

if TYPE_CHECKING:
    from pisync.config.settings import Settings
    from pisync.fleet_files.reading import FleetEntry

_TOKEN_SECONDS = 3600


@click.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
def check(file: Path) -> None:
    """Check fleet files: FILE, or all .yaml, .json and .toml files in the folder FILE.

    Says all that is wrong, with line and field. Exit status 2: something is.
    """
    entries = _entries(file)
    devices = sum(entry.size for entry in entries)
    click.echo(f"{file}: {_count(len(entries), 'fleet')}, {_count(devices, 'device')}")


@click.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--url",
    "target",
    type=UrlType(),
    help="the server  [default: at PISYNC_HOST and PISYNC_PORT, or http://127.0.0.1:8080]",
)
@setting_options("store", "jwt_secret", "admin_password")
def apply(file: Path, target: str | None, **options: str | None) -> None:
    """Make or replace the fleets that FILE describes on a running server.

    FILE may be a folder, whose fleets are those of all .yaml, .json and .toml files in it. The
    admin's token is signed with the server's secret; without the secret the admin logs in by
    password.

    Exit status 2: something is wrong with the files, and nothing was applied.
    """
    from http.client import HTTPException

    from pisync.client import CallFailed, FleetClient
    from pisync.load.generator import CannotLoad

    entries, settings = _entries(file), settings_from(options)
    base = target or url(settings.host, settings.port, tls=settings.tls_cert is not None)
    try:
        token = _admin_token(base, settings)
        for entry in entries:
            FleetClient(base, entry.name, token=token).define(entry.body)
            click.echo(f"{entry.name}: {_count(entry.size, 'device')}")
    except (CallFailed, CannotLoad, OSError, HTTPException) as exc:
        leave_with(EXIT_FAILURE, f"{base}: {exc}")


def _entries(file: Path) -> "list[FleetEntry]":
    from pisync.fleet_files.reading import InvalidFleetFiles, read_fleet_files

    try:
        return read_fleet_files(file)
    except InvalidFleetFiles as exc:
        leave_with(EXIT_USAGE, *map(str, exc.mistakes))


def _admin_token(base: str, settings: "Settings") -> str:
    from pisync.auth.tokens import Tokens
    from pisync.load.run import log_in

    secret = secret_of(settings)
    if secret is not None:
        return Tokens(secret, _TOKEN_SECONDS).issue("apply", SCOPES)
    if settings.admin_password is None:
        leave_with(EXIT_USAGE, HOW_TO_BE_ADMIN)
    return log_in(base, "admin", settings.admin_password)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
