"""`pisync load`: its options, and its exit status."""
# ruff: noqa: PLC0415 - what only a run needs is imported by it, as in pisync/cli/main.py

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
from pisync.config.settings import Settings
from pisync.load.plan import (
    DEFAULT_MIX,
    BadMix,
    LoadPlan,
    Mix,
    Thresholds,
)
from pisync.model.account import (
    DEVICES,
    SCOPES,
)
from pisync.model.fleet import DEFAULT_FLEET, FLEET_NAME
from pisync.web.transport.addresses import url

if TYPE_CHECKING:
    from pisync.load.run import LoadTokens

_MAX_USERS = 1000
_SPARE_SECONDS = 600
"""How much longer than a run its tokens are good."""


class _MixType(click.ParamType[Mix]):
    name = "mix"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Mix:
        try:
            return Mix.parse(value)
        except BadMix as exc:
            self.fail(str(exc), param, ctx)


@click.command()
@click.option(
    "--url",
    type=UrlType(),
    help="the server, or a fleet's base URL  [default: at PISYNC_HOST and PISYNC_PORT, or"
    " http://127.0.0.1:8080]",
)
@click.option("--fleet", help="the fleet to load  [default: that of the URL, or default]")
@click.option(
    "--connections",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="how many requests at a time",
)
@click.option(
    "--duration",
    "seconds",
    type=click.FloatRange(0, 86_400, min_open=True),
    default=10,
    show_default=True,
    help="seconds",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1_000_000, min_open=True),
    help="requests a second  [default: as many as are answered]",
)
@click.option(
    "--mix",
    type=_MixType(),
    default=DEFAULT_MIX,
    show_default=True,
    help="kinds of request, with weights",
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 86_400),
    default=60,
    show_default=True,
    help="seconds that syncs may be pending afterwards",
)
@click.option("--max-p99", type=float, help="milliseconds: a longer p99 is a failure")
@click.option("--max-error-rate", type=float, help="percent: more errors are a failure")
@click.option("--min-rate", type=float, help="good answers a second: fewer are a failure")
@click.option("--json", "as_json", is_flag=True, help="print the report as JSON")
@setting_options("store", "jwt_secret", "admin_password")
def load(*, as_json: bool, **options: Any) -> None:
    """Load a server, and check afterwards that no sync was lost.

    Its users carry tokens signed with the server's secret; without the secret they are all the
    admin, logged in by password. Ctrl-C ends the load early.

    Exit status 1: a threshold is missed, or the ledger is not what the clients were promised.
    """
    from http import HTTPStatus
    from http.client import HTTPException

    import orjson

    from pisync.client import CallFailed
    from pisync.load.generator import CannotLoad
    from pisync.load.run import run

    target, base_fleet = _split(options.pop("url"))
    fleet = options.pop("fleet") or base_fleet or DEFAULT_FLEET
    if base_fleet not in (None, fleet):
        raise click.BadParameter("must be the fleet of the URL", param_hint="--fleet")
    run_options = _taken(options, "connections", "seconds", "rate", "mix", "wait")
    thresholds = Thresholds(**_taken(options, "max_p99", "max_error_rate", "min_rate"))
    settings = settings_from(options)
    plan = LoadPlan(
        target or url(settings.host, settings.port, tls=settings.tls_cert is not None),
        fleet,
        below_base_url=base_fleet is not None,
        **run_options,
    )
    try:
        report = run(plan, _tokens(plan, settings), thresholds)
    except (CannotLoad, CallFailed, OSError, HTTPException) as exc:
        refused = isinstance(exc, CallFailed) and exc.status == HTTPStatus.UNAUTHORIZED
        hint = " Is the secret here the one that the server has?" if refused else ""
        leave_with(EXIT_FAILURE, f"{plan.url}: {exc}{hint}")
    click.echo(orjson.dumps(report.as_json()) if as_json else report.as_text())
    if not report.is_good:
        raise SystemExit(EXIT_FAILURE)


def _split(target: str | None) -> tuple[str | None, str | None]:
    """Return the URL of a server, and the fleet if it was a fleet's base URL."""
    found = re.fullmatch(rf"(.*)/fleets/({FLEET_NAME})", target or "")
    return (found[1], found[2]) if found else (target, None)


def _taken(options: dict[str, Any], *names: str) -> Mapping[str, Any]:
    return {name: options.pop(name) for name in names}


def _tokens(plan: LoadPlan, settings: Settings) -> "LoadTokens":
    """Return tokens for users and admin, made with the secret or had for the password."""
    from pisync.auth.tokens import Tokens
    from pisync.load.run import LoadTokens, log_in

    secret = secret_of(settings)
    if secret is None:
        if settings.admin_password is None:
            leave_with(EXIT_USAGE, HOW_TO_BE_ADMIN)
        admin = log_in(plan.url, "admin", settings.admin_password)
        return LoadTokens(admin, [admin])
    tokens = Tokens(secret, int(plan.seconds + plan.wait) + _SPARE_SECONDS)
    users = range(min(plan.connections, _MAX_USERS))
    return LoadTokens(
        admin=tokens.issue("load", SCOPES),
        users=[tokens.issue(f"load-{user}", (DEVICES,)) for user in users],
    )
