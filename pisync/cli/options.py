"""What the commands share: options for settings, the secret, and how to exit with a message."""

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

import click

from pisync.config.settings import (
    InvalidSettings,
    Settings,
    default_of,
)
from pisync.config.settings_schema import (
    VARIABLES,
    option_of,
)

EXIT_FAILURE = 1
EXIT_USAGE = 2
"""The exit status for mistakes in options, settings, and how it is called."""

_Command = TypeVar("_Command", bound=Callable[..., None])


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
                    metavar="PATH" if is_file else "VALUE",
                    help=meaning + note,
                )(command)
        return command

    return add


def settings_from(
    options: Mapping[str, str | None],
    *,
    to_serve: bool = False,
) -> Settings:
    """Return the settings that options and variables ask for; exit if there are mistakes."""
    given = {name: text for name, text in options.items() if text is not None}
    try:
        return Settings.from_env(options=given, to_serve=to_serve)
    except InvalidSettings as exc:
        leave_with(EXIT_USAGE, *exc.mistakes)


def secret_of(settings: Settings) -> str | None:
    """Return the secret that signs tokens, None if there is none; exit if it can't be read."""
    from pisync.config.jwt_secret import (  # noqa: PLC0415 - few commands need it
        NoSecret,
        kept_secret,
    )

    try:
        return kept_secret(settings)
    except NoSecret as exc:
        leave_with(EXIT_USAGE, str(exc))


def leave_with(status: int, *lines: str) -> NoReturn:
    """End the command with an exit status, and say why on standard error."""
    for line in lines:
        click.echo(line, err=True)
    raise SystemExit(status)
