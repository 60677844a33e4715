"""The machine that was measured, its two cores, and the versions of what ran on it."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

NODE_PEERS = Path(__file__).parent / "peers/node"


class CannotMeasure(Exception):
    """Something that the benchmarks need is missing; the text says what, and how to get it."""


def cores() -> tuple[int, int]:
    """Return the core that servers get, and the one for the load.

    Raises CannotMeasure where there are not two to be had.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise CannotMeasure("The benchmarks pin processes to cores, which needs Linux.")
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CannotMeasure("The benchmarks need two cores: one for the server, one for the load.")
    return allowed[0], allowed[1]


def need_tools() -> None:
    """Raise CannotMeasure if a program is missing, or the peers' packages are."""
    hints = {
        "wrk": "apt-get install wrk",
        "taskset": "apt-get install util-linux",
        "node": "apt-get install nodejs npm",
    }
    missing = [f"{name} ({hint})" for name, hint in hints.items() if shutil.which(name) is None]
    if missing:
        raise CannotMeasure(f"Missing: {', '.join(missing)}.")
    if not (NODE_PEERS / "node_modules/express").is_dir():
        raise CannotMeasure(f"The Node peers lack their packages: npm ci --prefix {NODE_PEERS}")


def describe() -> Mapping[str, str]:
    """Return what was measured on: no name of a host."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "Python": f"{platform.python_version()} ({platform.python_compiler()})",
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "Node.js": _output(["node", "--version"]).removeprefix("v"),
        "Node packages": ", ".join(f"{name} {_node_version(name)}" for name in _NODE_PACKAGES),
        "load": _output(["wrk", "--version"]).split(" [")[0],
        "others": others(),
    }


_PACKAGES = ("aiohttp", "uvloop", "orjson", "PyJWT", "fastapi", "uvicorn", "pydantic")
_NODE_PACKAGES = ("express", "jsonwebtoken", "zod", "fastify", "@fastify/jwt")


def processor() -> str:
    """Return which processor it is, and how many cores it has."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or 'unknown processor'}, {os.cpu_count()} cores"


def others() -> str:
    """Return how busy others have kept the machine until now."""
    return f"load average {os.getloadavg()[2]:.1f} before it began"


def _node_version(package: str) -> str:
    script = "console.log(JSON.parse(require('fs').readFileSync(process.argv[1])).version)"
    return _output(
        ["node", "-e", script, str(NODE_PEERS / "node_modules" / package / "package.json")]
    )


def _output(command: Sequence[str]) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ran.stdout or ran.stderr).strip().splitlines()[0]


def python() -> str:
    """Return the interpreter that all servers in Python run on: this one."""
    return sys.executable
