"""Signals that come at the worst moments of a start: none is lost, and none ends in a traceback."""

import signal
import subprocess
import sys
import textwrap

import pytest

from tests.cli.test_main import environment
from tests.support.paths import ROOT

WORST_MOMENTS = {
    "an import": """
        import importlib.abc
        class Finder(importlib.abc.MetaPathFinder):
            def find_spec(self, name, *_):
                if name == "pisync.app":
                    try:
                        come()
                    except SystemExit:
                        pass  # as where an import lets go of a lock
        sys.meta_path.insert(0, Finder())
    """,
    "before there are handlers": """
        from pisync.web.transport import serve
        before(serve, "make_runner")
    """,
    "between two handlers": """
        import uvloop
        before(uvloop.Loop, "add_signal_handler")
    """,
}
SCRIPT = """
import os
import sys

def come():
    os.kill(os.getpid(), NUMBER)

def before(owner, name):
    original = getattr(owner, name)
    def first_come(*arguments, **options):
        setattr(owner, name, original)
        come()
        return original(*arguments, **options)
    setattr(owner, name, first_come)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", WORST_MOMENTS.values(), ids=WORST_MOMENTS)
def test_a_signal_at_the_worst_moment_of_a_start_ends_it_well(
    moment: str, number: signal.Signals
) -> None:
    script = "\n".join(
        [
            SCRIPT.replace("NUMBER", str(int(number))),
            textwrap.dedent(moment),
            "from pisync.__main__ import main",
            "main()",
        ]
    )
    process = subprocess.run(
        [sys.executable, "-c", script, "serve", "--port=0", "--bcrypt-cost=4"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    assert "Traceback" not in process.stdout
