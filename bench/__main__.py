"""The benchmarks: `python -m bench [--quick] [--only NAME …]`; writes docs/benchmarks.md."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import machine, report
from bench.checks import Wrong
from bench.figures import Figures
from bench.limits import (
    browser,
    driver,
    fleets,
    heads,
    logins,
    million,
    pending,
    start,
    stores,
    streams,
    switches,
    tls,
)
from bench.released import need_history
from bench.rounds import FULL, QUICK, Result, compare
from bench.servers import LIVE, PISYNC, on_sqlite
from bench.workloads import ON_SQLITE, WORKLOADS

LIMITS: Mapping[str, Callable[..., Figures]] = {
    "start": start.measure,
    "switches": switches.measure,
    "browser": browser.measure,
    "heads": heads.measure,
    "fleets": fleets.measure_fleets,
    "million": million.measure,
    "pending": pending.measure,
    "streams": streams.measure,
    "logins": logins.measure,
    "stores": stores.measure,
    "driver": driver.measure,
    "tls": tls.measure,
}
SHORT = ("start", "fleets")
"""What `--quick` measures of these: the others take longer than it may."""
BESIDE_RELEASED = {"heads", "streams"}
"""What measures the released version, too."""
RESULTS = Path("bench/results.json")


def main() -> int:
    """Measure; return the exit status, 1 if something was answered wrong."""
    options = _options()
    try:
        machine.need_tools()
        results = _measure(options.only, quick=options.quick)
    except (machine.CannotMeasure, Wrong) as exc:
        print(exc, file=sys.stderr)
        return 1
    if options.quick or options.only:
        print(report.as_text(results))
    else:
        report.write(results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in less than three minutes; prints")
    parser.add_argument(
        "--only", nargs="+", default=[], choices=("compare", *LIMITS), help="just these; prints"
    )
    return parser.parse_args()


def _measure(only: list[str], *, quick: bool) -> dict[str, Any]:
    began = time.monotonic()
    chosen = only or ["compare", *(SHORT if quick else LIMITS)]
    if BESIDE_RELEASED.intersection(chosen):
        need_history()
    results: dict[str, Any] = {"machine": dict(machine.describe()), "compare": [], "figures": []}
    if "compare" in chosen:
        results["compare"] = [each.as_json() for each in _compared(quick=quick)]
    for name, measure in LIMITS.items():
        if name in chosen:
            _say(f"{name} …")
            figures = measure(quick=quick)
            results["figures"].append(figures.as_json())
    results["minutes"] = (time.monotonic() - began) / 60
    RESULTS.write_text(json.dumps(results, indent=1))
    return results


def _compared(*, quick: bool) -> list[Result]:
    if quick:
        return compare(WORKLOADS, QUICK, _say)
    in_memory = compare(WORKLOADS, FULL, _say)
    with on_sqlite(PISYNC) as on_file:
        plan = replace(FULL, connections=(64, 1, 8))
        return in_memory + compare([ON_SQLITE], plan, _say, live=(on_file, *LIVE[1:]))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
