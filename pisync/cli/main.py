"""The `pisync` command.

What only one of its commands needs is imported inside it, so that the others, and the help, start
at once.
"""
# ruff: noqa: PLC0415 - the imports above

import asyncio
import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from pisync import __version__
from pisync.cli.banner import banner
from pisync.cli.load_command import load
from pisync.cli.options import (
    EXIT_FAILURE,
    EXIT_USAGE,
    leave_with,
    secret_of,
    setting_options,
    settings_from,
)
from pisync.cli.ready_file import (
    CannotWriteReadyFile,
    only_while_serving,
    ready_file_path,
    write_ready_file,
)
from pisync.config.settings import (
    Settings,
    unknown_variables,
)
from pisync.config.settings_schema import MAX_TOKEN_TTL
from pisync.model.account import (
    DEVICES,
    SCOPES,
)
from pisync.web.transport.addresses import (
    reachable_host,
    url,
)

if TYPE_CHECKING:
    from aiohttp import web

LOW_BCRYPT_COST = 10
"""Below it, guessing passwords from their hashes is cheap."""

_HEALTHCHECK_SECONDS = 3.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pisync")
def main() -> None:
    """PiSync: a device-sync backend to test against."""


@main.command()
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    callback=ready_file_path,
    help="file to write the server's URL and pid to, as JSON, once it accepts connections",
)
@setting_options()
def serve(ready_file: Path | None, **options: str | None) -> None:
    """Run the service.

    Every option with a name in brackets is an environment variable, too; the option wins.
    """
    from pisync.app import CannotStart, create_app
    from pisync.telemetry import logs
    from pisync.web.transport.serve import UncompiledParser

    _open_standard_streams()
    settings = settings_from(options, to_serve=True)
    logs.configure(settings.log_level, settings.log_format)
    log = logs.get_logger()
    for name in unknown_variables():
        log.warning("unknown variable", variable=name)
    if settings.bcrypt_cost < LOW_BCRYPT_COST:
        log.warning("bcrypt cost is low", cost=settings.bcrypt_cost)
    try:
        app = create_app(settings)
        with (
            only_while_serving(ready_file),
            asyncio.Runner(loop_factory=_fastest_loop()) as runner,
        ):
            runner.run(_serve(app, settings, ready_file))
    except CannotStart as exc:
        leave_with(EXIT_USAGE, str(exc))
    except (_CannotListen, CannotWriteReadyFile, UncompiledParser) as exc:
        leave_with(EXIT_FAILURE, str(exc))
    log.info("stopped")
    if threading.active_count() > 1:
        _leave()


def _open_standard_streams() -> None:
    """Open the null device for each that is closed: else the first socket would take its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has None for one that was closed.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _leave() -> NoReturn:
    """Exit without waiting for threads: hashing a password at cost 15 goes on for seconds."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


class _CannotListen(Exception):
    """The address is in use, not this machine's, or reserved for privileged users."""


async def _serve(app: "web.Application", settings: Settings, ready_file: Path | None) -> None:
    from pisync.web.transport.admission import Limits
    from pisync.web.transport.serve import serve
    from pisync.web.transport.timeouts import Timeouts

    listening: asyncio.Future[Sequence[tuple[str, int]]] = asyncio.Future()
    serving = asyncio.create_task(
        serve(
            app,
            host=settings.host,
            port=settings.port,
            started=listening.set_result,
            timeouts=Timeouts(idle=settings.keepalive, grace=settings.drain_delay),
            limits=Limits(settings.max_connections, settings.max_requests),
            owns_process=True,
        )
    )
    await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
    if listening.done():
        await _announce(app, listening.result())
        if ready_file is not None:
            write_ready_file(ready_file, listening.result())
    try:
        await serving
    except OSError as exc:
        if listening.done():
            raise
        place = f"{settings.host} port {settings.port}"
        raise _CannotListen(f"Can't listen on {place}: {_reason(exc)}") from exc


def _reason(exc: OSError) -> str:
    """Say why it can't listen: in the system's words, without those that asyncio adds."""
    number = exc.errno or 0
    if number == errno.EADDRINUSE:
        return f"{os.strerror(number)}. Choose another port with --port or PISYNC_PORT."
    return os.strerror(number) if number > 0 else exc.strerror or str(exc)


async def _announce(app: "web.Application", addresses: Sequence[tuple[str, int]]) -> None:
    from pisync.app import start_report
    from pisync.telemetry import logs

    report = await start_report(app)
    logs.get_logger().info(
        "listening",
        urls=[url(*each) for each in addresses],
        store=report.store,
        devices=report.devices,
        seed=report.seed,
        loop=type(asyncio.get_running_loop()).__module__,
    )
    try:
        click.echo(banner(addresses, *report))
    except OSError as exc:  # the disk is full, or nobody reads
        logs.get_logger().warning("can't write to standard output", reason=exc.strerror)
        # Else Python would try to write the rest at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop


@main.command()
@click.option("--name", required=True, help="name that the token is for")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=(DEVICES,),
    show_default=True,
    type=click.Choice(SCOPES),
    help="scope of the token; repeatable",
)
@click.option(
    "--ttl",
    type=click.IntRange(1, MAX_TOKEN_TTL),
    help="seconds that the token is valid  [default: PISYNC_TOKEN_TTL, or 3600]",
)
@setting_options("store", "jwt_secret")
def token(name: str, scopes: tuple[str, ...], ttl: int | None, **options: str | None) -> None:
    """Print a token signed with the server's secret.

    The secret is PISYNC_JWT_SECRET (or _FILE) or, on SQLite, the one kept beside the database of
    PISYNC_STORE.
    """
    from pisync.auth.tokens import Tokens

    if not (name.isprintable() and 1 <= len(name) <= 64):
        raise click.BadParameter("must be 1 to 64 printable characters", param_hint="--name")
    settings = settings_from(options)
    secret = secret_of(settings)
    if secret is None:
        leave_with(
            EXIT_USAGE,
            "Set PISYNC_JWT_SECRET or PISYNC_JWT_SECRET_FILE to the same secret here and for the"
            " server.",
        )
    click.echo(Tokens(secret, settings.token_ttl).issue(name, scopes, ttl))


@main.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    import orjson

    from pisync.web.openapi.document import document

    click.echo(orjson.dumps(document(), option=orjson.OPT_INDENT_2))


@main.command()
@setting_options("host", "port")
def healthcheck(**options: str | None) -> None:
    """Exit with 0 if the service here is ready, else with 1.

    It asks /readyz on this machine.
    """
    from http.client import HTTPConnection, HTTPException

    settings = settings_from(options)
    connection = HTTPConnection(
        reachable_host(settings.host), settings.port, timeout=_HEALTHCHECK_SECONDS
    )
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as exc:
        leave_with(EXIT_FAILURE, f"No answer from {url(settings.host, settings.port)}: {exc}")
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        leave_with(
            EXIT_FAILURE, f"Not ready: {url(settings.host, settings.port)}/readyz answers {status}"
        )


main.add_command(load)
