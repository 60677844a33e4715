"""`python -m pisync` is `pisync`."""

import signal
import sys
from typing import NoReturn

from pisync.cli.held_signals import STOP_SIGNALS, held_signals
from pisync.concurrency import garbage


def main() -> None:
    """Run the command.

    SIGTERM and SIGINT end `serve` with status 0 at any moment of its start, the imports included:
    they take a second on a slow machine, and nothing has begun before they are over.
    """
    if "serve" in sys.argv:
        for number in STOP_SIGNALS:
            signal.signal(number, _leave)
    with held_signals(), garbage.paused():
        from pisync.cli.main import main as run  # noqa: PLC0415 - as above

    run(prog_name="pisync")


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
