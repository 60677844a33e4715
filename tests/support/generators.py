"""Generators of code for the OpenAPI document, and servers for what they make."""

import sys
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from pisync.in_process import SETTINGS, running_server
from tests.support.node import need, run


def python_tool(name: str, module: str) -> str:
    """Return the path of a tool of the development environment."""
    need(find_spec(module), f"needs {name}: pip install -r requirements-dev.txt")
    return str(Path(sys.executable).with_name(name))


def openapi_generator() -> str:
    return python_tool("openapi-generator-cli", "openapi_generator_cli")


def generate(document: Path, language: str, folder: Path, options: Collection[str] = ()) -> None:
    """Let openapi-generator make a client.

    Args:
        document: The OpenAPI document.
        language: The generator's name of the language, such as `typescript-fetch`.
        folder: Where the client goes.
        options: What else its command line has.
    """
    command = (openapi_generator(), "generate", "-i", str(document), "-g", language)
    run(*command, "-o", str(folder), *options, cwd=document.parent)


def use(*command: str, cwd: Path, **variables: str) -> None:
    """Run a program against a server: its last arguments are the URL and an admin's token."""
    with running_server(SETTINGS) as server:
        token = server.token("devices", "admin", name="admin")
        run(*command, server.url, token, cwd=cwd, **variables)
