"""`pisync token`: mint a token with the server's secret."""

import re

import click

from pisync.cli.options import EXIT_USAGE, leave_with, secret_of, setting_options, settings_from
from pisync.config.settings_schema import MAX_TOKEN_TTL
from pisync.model.account import DEVICES, SCOPES
from pisync.model.fleet import FLEET_NAME


@click.command()
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
@click.option(
    "--fleet",
    help="the only fleet that the token is good for; with scope admin, it may make it, too",
)
@setting_options("store", "jwt_secret")
def token(
    name: str,
    scopes: tuple[str, ...],
    ttl: int | None,
    fleet: str | None,
    **options: str | None,
) -> None:
    """Print a token signed with the server's secret.

    The secret is PISYNC_JWT_SECRET (or _FILE) or, on SQLite, the one kept beside the database of
    PISYNC_STORE.
    """
    from pisync.auth.tokens import Tokens  # noqa: PLC0415 - the help starts at once

    if not (name.isprintable() and 1 <= len(name) <= 64):
        raise click.BadParameter("must be 1 to 64 printable characters", param_hint="--name")
    if fleet is not None and not re.fullmatch(FLEET_NAME, fleet):
        raise click.BadParameter(
            "must be 1 to 63 lower-case letters, digits and dashes, not starting with a dash",
            param_hint="--fleet",
        )
    settings = settings_from(options)
    secret = secret_of(settings)
    if secret is None:
        leave_with(
            EXIT_USAGE,
            "Set PISYNC_JWT_SECRET or PISYNC_JWT_SECRET_FILE to the same secret here and for the"
            " server.",
        )
    click.echo(Tokens(secret, settings.token_ttl).issue(name, scopes, ttl, fleet=fleet))
