"""The `pisync` command.

What only one of its commands needs is imported inside it, so that the others, and the help, start
at once.
"""

import click

from pisync import __version__
from pisync.cli.fleet_file_commands import apply, check
from pisync.cli.healthcheck_command import healthcheck
from pisync.cli.load_command import load
from pisync.cli.serve_command import serve
from pisync.cli.token_command import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pisync")
def main() -> None:
    """PiSync: a device-sync backend to test against."""


@main.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    import orjson  # noqa: PLC0415 - as above

    from pisync.web.openapi.document import document  # noqa: PLC0415 - as above

    click.echo(orjson.dumps(document(), option=orjson.OPT_INDENT_2))


for command in (apply, check, healthcheck, load, serve, token):
    main.add_command(command)
