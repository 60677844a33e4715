"""Two checkouts of PiSync under the same load, in one run: `make bench-compare OLD=CHECKOUT`.

Rounds alternate between the two, so that what else the machine does harms both alike. Each row
shows the medians of the rounds and the median of their ratios: above 1, this checkout is faster.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench import machine
from bench.checks import Wrong
from bench.load import Measured
from bench.rounds import Plan, Result, compare, ratio, thrift
from bench.servers import PISYNC, on_sqlite
from bench.workloads import ON_SQLITE, WORKLOADS, Workload

OLD, NEW = "before", "after"
BY_NAME = {workload.name: workload for workload in WORKLOADS}
IN_MEMORY = [BY_NAME[name] for name in ("ten", "page", "errors", "sync", "mix")]
HEAD = f"{'':46}{'before':>9}{'after':>9}  after ÷ before (range; by processor time)"


def main() -> int:
    """Measure both; return the exit status, 1 if something was answered wrong."""
    options = _options()
    plan = Plan(rounds=options.rounds, seconds=options.seconds, warm_up=0.25, connections=(64,))
    try:
        _need_two(options.old)
        print(HEAD, flush=True)
        for result in _measure(options, plan):
            print(row(result), flush=True)
    except (machine.CannotMeasure, Wrong) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("old", type=Path, help="the other checkout")
    parser.add_argument(
        "--old-python", default=machine.python(), help="an interpreter that has what it needs"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round")
    parser.add_argument("--only", nargs="+", choices=[*BY_NAME, "sqlite"], default=[])
    return parser.parse_args()


def _need_two(checkout: Path) -> None:
    machine.cores()
    if not (checkout / "pisync/__init__.py").is_file():
        raise machine.CannotMeasure(f"{checkout} is no checkout of PiSync")


def _measure(options: argparse.Namespace, plan: Plan) -> Iterator[Result]:
    wanted = set(options.only)

    def chosen(workloads: list[Workload]) -> list[Workload]:
        return [workload for workload in workloads if not wanted or workload.name in wanted]

    old = replace(
        PISYNC,
        name=OLD,
        command=(options.old_python, *PISYNC.command[1:]),
        checkout=options.old.resolve(),
    )
    new = replace(PISYNC, name=NEW)
    yield from compare(chosen(IN_MEMORY), plan, live=(new, old), canned=())
    if not wanted or "sqlite" in wanted:
        with on_sqlite(new) as new_on_file, on_sqlite(old) as old_on_file:
            servers = (new_on_file, old_on_file)
            yield from compare([ON_SQLITE], plan, live=servers, canned=())


def row(result: Result) -> str:
    """Return one line: both rates, their ratio with its range, and the ratio of what they cost."""
    new, old = result.rounds[NEW], result.rounds[OLD]
    ratios = [after.rate / before.rate for after, before in zip(new, old, strict=True)]
    return (
        f"{result.workload.title:46}{_rate(old):>9}{_rate(new):>9}"
        f"  {ratio(new, old):.2f} ({min(ratios):.2f}-{max(ratios):.2f}; {thrift(new, old):.2f})"
    )


def _rate(rounds: list[Measured]) -> str:
    return f"{median(measured.rate for measured in rounds):,.0f}"


if __name__ == "__main__":
    sys.exit(main())
