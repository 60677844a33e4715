"""PiSync with nothing counted, to see what counting costs."""

from pisync.cli.main import main
from pisync.telemetry.metrics import Metrics


def _nothing(*_: object) -> None:
    pass


for name in ("request", "began", "finished", "late"):
    setattr(Metrics, name, _nothing)

if __name__ == "__main__":
    main()
