"""The benchmarks: `python -m bench [--quick] [--only NAME …]`; writes docs/benchmarks.md."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench import machine, report
from bench.checks import Wrong
from bench.figures import Figures
from bench.limits import (
    driver,
    fleets,
    logins,
    million,
    pending,
    start,
    stores,
    streams,
    switches,
    tls,
)
from bench.rounds import FULL, QUICK, compare
from bench.workloads import WORKLOADS

LIMITS: Mapping[str, Callable[..., Figures]] = {
    "start": start.measure,
    "switches": switches.measure,
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
    results: dict[str, Any] = {"machine": dict(machine.describe()), "compare": [], "figures": []}
    if "compare" in chosen:
        results["compare"] = [
            each.as_json() for each in compare(WORKLOADS, QUICK if quick else FULL, _say)
        ]
    for name, measure in LIMITS.items():
        if name in chosen:
            _say(f"{name} …")
            figures = measure(quick=quick)
            results["figures"].append(figures.as_json())
    results["minutes"] = (time.monotonic() - began) / 60
    RESULTS.write_text(json.dumps(results, indent=1))
    return results


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
