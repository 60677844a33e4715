"""`python -m pisync` is `pisync`."""

import signal
import sys
from typing import NoReturn


def main() -> None:
    """Run the command.

    SIGTERM and SIGINT end `serve` with status 0 at any moment of its start, the imports included:
    they take a second on a slow machine, and nothing has begun before they are over.
    """
    if "serve" in sys.argv:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _leave)
    from pisync.cli.main import main as run  # noqa: PLC0415 - as above

    run(prog_name="pisync")


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
