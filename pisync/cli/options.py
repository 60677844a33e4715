"""What the commands share: options for settings, the secret, and how to exit with a message."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from pisync.config.settings import (
    InvalidSettings,
    Settings,
    default_of,
)
from pisync.config.settings_schema import (
    VARIABLES,
    Variable,
    option_of,
)

EXIT_FAILURE = 1
EXIT_USAGE = 2
"""The exit status for mistakes in options, settings, and how it is called."""

HOW_TO_BE_ADMIN = (
    "Set the server's PISYNC_JWT_SECRET or PISYNC_JWT_SECRET_FILE here, too, or its"
    " PISYNC_ADMIN_PASSWORD."
)

_Command = TypeVar("_Command", bound=Callable[..., None])


class UrlType(click.ParamType[str]):
    """A server's URL, without a slash at its end."""

    name = "url"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        # It is shown in messages: there must be no password in it.
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
            self.fail("must be http://HOST:PORT, without user, password and query", param, ctx)
        return value.rstrip("/")


def setting_options(*fields: str) -> Callable[[_Command], _Command]:
    """Add the options for settings, all if none are named; they arrive by the variables' names."""

    def add(command: _Command) -> _Command:
        for variable in reversed(VARIABLES):
            if fields and variable.field not in fields:
                continue
            for name in reversed(variable.names):
                is_file = name != variable.names[0]
                meaning = "file to read it from instead" if is_file else variable.meaning
                note = f"  [{name}]" if is_file else f"  [{name}; default: {default_of(variable)}]"
                command = click.option(
                    option_of(name),
                    name,
                    metavar="PATH" if is_file or variable.is_path else "VALUE",
                    help=meaning + note,
                    shell_complete=_complete_file
                    if is_file or variable.is_path
                    else partial(_complete, variable),
                )(command)
        return command

    return add


def _complete(
    variable: Variable, _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return what may follow an option for the shell to offer."""
    return [CompletionItem(choice) for choice in variable.choices if choice.startswith(incomplete)]


def _complete_file(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


def set_options(options: Mapping[str, str | None]) -> dict[str, str]:
    """Return the options that are set."""
    return {name: text for name, text in options.items() if text is not None}


def settings_from(options: Mapping[str, str | None]) -> Settings:
    """Return the settings that options and variables ask for; exit if there are mistakes."""
    try:
        return Settings.from_env(options=set_options(options))
    except InvalidSettings as exc:
        leave_with(EXIT_USAGE, *exc.mistakes)


def secret_of(settings: Settings) -> str | None:
    """Return the secret that signs tokens, None if there is none; exit if it can't be read.

    Nothing is written beside a database of another program.
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret
    from pisync.app import CannotStart, kept_secret_of  # noqa: PLC0415 - it takes half a second

    try:
        return kept_secret_of(settings)
    except CannotStart as exc:
        leave_with(EXIT_USAGE, str(exc))


def leave_with(status: int, *lines: str) -> NoReturn:
    """End the command with an exit status, and say why on standard error."""
    for line in lines:
        click.echo(line, err=True)
    raise SystemExit(status)
