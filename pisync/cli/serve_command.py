"""`pisync serve`: run the service, and tell whoever started it."""
# ruff: noqa: PLC0415 - what only a server needs is imported by it, so that the help starts at once

import asyncio
import errno
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from pisync.cli.banner import Banner
from pisync.cli.held_signals import held_signals
from pisync.cli.options import EXIT_FAILURE, EXIT_USAGE, leave_with, set_options, setting_options
from pisync.cli.ready_file import (
    CannotWriteReadyFile,
    only_while_serving,
    ready_file_path,
    write_ready_file,
)
from pisync.concurrency import garbage
from pisync.concurrency.event_loop import fastest_loop
from pisync.config.certificate import (
    BadCertificate,
    ServerCertificate,
    is_readable_by_others,
)
from pisync.config.settings import (
    InvalidSettings,
    Settings,
    settings_that_close_a_container,
    unknown_variables,
)
from pisync.web.transport.addresses import url

if TYPE_CHECKING:
    from aiohttp import web

MIN_BCRYPT_COST = 10
"""Below it, guessing passwords from their hashes is cheap."""


@click.command()
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
    with held_signals(), garbage.paused():
        from pisync.app import CannotStart, create_app
        from pisync.telemetry import logs
        from pisync.web.transport.serve import UncompiledParser

    _open_standard_streams()
    settings = _settings(options)
    logs.configure(settings.log_level, settings.log_format)
    log = logs.get_logger()
    for name in unknown_variables():
        log.warning("unknown variable", variable=name)
    for name, reason in settings_that_close_a_container(settings).items():
        log.warning("can't be called from outside the container", variable=name, reason=reason)
    if settings.bcrypt_cost < MIN_BCRYPT_COST:
        log.warning("bcrypt cost is low", cost=settings.bcrypt_cost)
    try:
        app = create_app(settings)
        certificate = _certificate(settings)
        with (
            only_while_serving(ready_file),
            held_signals(),
            asyncio.Runner(loop_factory=fastest_loop()) as runner,
        ):
            runner.run(_serve(app, settings, certificate, ready_file))
    except (CannotStart, BadCertificate) as exc:
        _fail(EXIT_USAGE, *str(exc).splitlines())
    except (_CannotListen, CannotWriteReadyFile, UncompiledParser) as exc:
        _fail(EXIT_FAILURE, str(exc))
    log.info("stopped")
    if threading.active_count() > 1:
        _leave()


def _settings(options: "dict[str, str | None]") -> Settings:
    """Return the settings that options and variables ask for; exit if there are mistakes."""
    from pisync.telemetry import logs

    try:
        return Settings.from_env(options=set_options(options), to_serve=True)
    except InvalidSettings as exc:
        logs.configure("info", exc.log_format)
        _fail(EXIT_USAGE, *exc.mistakes)


def _certificate(settings: Settings) -> ServerCertificate | None:
    """Return the certificate to show, if there is to be one.

    Raises:
        BadCertificate: It has become bad since the settings were checked.
    """
    from pisync.telemetry import logs

    if settings.tls_cert is None or settings.tls_key is None:
        return None
    certificate = ServerCertificate(settings.tls_cert, settings.tls_key)
    if os.name == "posix" and is_readable_by_others(settings.tls_key):
        logs.get_logger().warning("key is readable by others", path=settings.tls_key)
    return certificate


def _fail(status: int, *reasons: str) -> NoReturn:
    """End the command with an exit status, and say why in the form of the logs."""
    from pisync.telemetry import logs

    if not logs.are_json():
        leave_with(status, *reasons)
    for reason in reasons:
        logs.get_logger().error("can't start", reason=reason)
    raise SystemExit(status)


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


async def _serve(
    app: "web.Application",
    settings: Settings,
    certificate: ServerCertificate | None,
    ready_file: Path | None,
) -> None:
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
            certificate=certificate,
            owns_process=True,
        )
    )
    await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
    if listening.done():
        await _announce(app, listening.result())
        if ready_file is not None:
            write_ready_file(ready_file, listening.result(), tls=certificate is not None)
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
    from pisync.app import ineffective_settings, start_report
    from pisync.keys import SETTINGS
    from pisync.stores.errors import StoreUnavailable
    from pisync.telemetry import logs

    tls = app[SETTINGS].tls_cert is not None
    log, urls = logs.get_logger(), [url(*address, tls=tls) for address in addresses]
    try:
        report, ineffective = await start_report(app), await ineffective_settings(app)
    except StoreUnavailable:
        # The database went away just now; it is served as soon as that is back.
        log.info("listening", urls=urls)
        return
    log.info(
        "listening",
        urls=urls,
        store=report.store,
        devices=report.devices,
        seed=report.seed,
        loop=type(asyncio.get_running_loop()).__module__,
    )
    for name in ineffective:
        log.warning("setting has no effect", variable=name)
    banner = Banner(addresses, *report, tls=tls)
    try:
        click.echo(banner.as_json() if logs.are_json() else banner.as_text())
    except OSError as exc:  # the disk is full, or nobody reads
        log.warning("can't write to standard output", reason=exc.strerror)
        # Else Python would try to write the rest at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
