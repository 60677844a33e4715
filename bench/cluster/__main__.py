"""How three replicas on one PostgreSQL compare with one.

    make bench-cluster
    make bench-cluster ARGS="--quick --only disk finishing"

Processor time a sync says most where load, replicas and database share two cores; rates stand
beside it. With a slow disk (each commit waits for 2 ms) rates say more: waiting counts then.

The whole takes ten minutes, and prints a table. `--write` puts it into docs/operations.md, too.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import machine
from bench.checks import Wrong
from bench.cluster import disk, finishing, reads, syncs, takeover
from bench.figures import Figure, Figures, as_table

MEASURES: Mapping[str, Callable[..., Figures]] = {
    "syncs": syncs.measure,
    "disk": disk.measure,
    "finishing": finishing.measure,
    "reads": reads.measure,
    "takeover": takeover.measure,
}
_DOCUMENT = Path("docs/operations.md")
_REPORT = re.compile(
    r"(?<=<!-- bench-cluster -->\n).*?(?=<!-- end of bench-cluster -->)", re.DOTALL
)


def main() -> int:
    """Measure, and print a table; return the exit status, 1 if something was answered wrong."""
    options = _options()
    measured_on = f"On {machine.processor()}; {machine.others()}.\n"
    figures: list[Figure] = []
    is_complete = True
    for name in options.only or MEASURES:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            measured = MEASURES[name](quick=options.quick).figures
        except (machine.CannotMeasure, Wrong) as exc:
            # What the others measure is not lost with it.
            measured = [Figure(name, f"not measured: {exc}", met=False)]
            is_complete = False
        for figure in measured:
            print(f"  {figure.what}: {figure.value}", file=sys.stderr, flush=True)
        figures += measured
    report = f"{measured_on}\n{as_table(figures)}"
    print(report)
    if options.write and is_complete:
        _write(report)
    return 0 if is_complete else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="two minutes in place of ten")
    parser.add_argument("--only", nargs="+", choices=MEASURES, help="just these")
    parser.add_argument("--write", action="store_true", help=f"put the table into {_DOCUMENT}, too")
    options = parser.parse_args()
    if options.write and (options.only or options.quick):
        parser.error("--write takes the whole, measured in full")
    return options


def _write(report: str) -> None:
    text, replaced = _REPORT.subn(lambda _: f"\n{report}\n\n", _DOCUMENT.read_text())
    assert replaced == 1, f"{_DOCUMENT} lacks the marks that the table stands between"
    _DOCUMENT.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
