"""`pisync healthcheck`: whether the service here is ready."""
# ruff: noqa: PLC0415 - it starts every few seconds, beside a service under full load

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pisync.cli.options import EXIT_FAILURE, leave_with, set_options, setting_options, settings_from
from pisync.config.settings import Settings
from pisync.web.transport.addresses import reachable_host, url

if TYPE_CHECKING:
    from http.client import HTTPConnection

_TIMEOUT = 3.0
"""Seconds."""
_FIRST_PROCESS = Path("/proc/1/cmdline")


@click.command()
@setting_options("host", "port", "tls_cert")
def healthcheck(**options: str | None) -> None:
    """Exit with 0 if the service here is ready, else with 1.

    It asks /readyz on this machine.
    """
    from http.client import HTTPException

    settings = settings_from(_server_options() | set_options(options))
    connection = _connection(settings)
    base = url(settings.host, settings.port, tls=settings.tls_cert is not None)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as exc:
        leave_with(EXIT_FAILURE, f"No answer from {base}: {exc}")
    finally:
        connection.close()
    if status != HTTPStatus.OK:
        leave_with(EXIT_FAILURE, f"Not ready: {base}/readyz answers {status}")


def _connection(settings: Settings) -> "HTTPConnection":
    from http.client import HTTPConnection, HTTPSConnection

    host = reachable_host(settings.host)
    if settings.tls_cert is None:
        return HTTPConnection(host, settings.port, timeout=_TIMEOUT)
    from ssl import CERT_NONE, PROTOCOL_TLS_CLIENT, SSLContext

    # Nothing secret is sent, and a certificate need not name this machine's own address.
    context = SSLContext(PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, CERT_NONE
    return HTTPSConnection(host, settings.port, timeout=_TIMEOUT, context=context)


def _server_options() -> dict[str, str]:
    """Return the options of the server that is a container's first process, if that is what runs.

    The container's variables are the same for both, but options are the server's alone.
    """
    from pisync.cli.serve_command import serve

    try:
        first, *arguments = _FIRST_PROCESS.read_bytes().decode().rstrip("\0").split("\0")
    except (OSError, ValueError):  # there is no /proc, or the process is not ours to look at
        return {}
    if "serve" not in arguments or not any("pisync" in each for each in (first, *arguments)):
        return {}
    own = arguments[arguments.index("serve") + 1 :]
    with serve.make_context("serve", own, resilient_parsing=True) as context:
        names = {each.name for each in healthcheck.params}
        return {name: text for name, text in context.params.items() if name in names and text}
