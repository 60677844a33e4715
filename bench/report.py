"""The report: tables for docs/benchmarks.md, between its two marks, and the plots beside them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench import plots
from bench.figures import Figure, as_table
from bench.servers import EXPRESS, FASTAPI, FASTIFY, LIMIT, PISYNC, TUNED_EXPRESS

PAGE = Path("docs/benchmarks.md")
IMAGES = Path("docs/images/bench")
BEGIN = "<!-- measured: written by `make bench` -->\n"
END = "<!-- end of what was measured -->\n"

# PiSync ÷ other in requests a second, at 64 connections and at others.
OTHERS = (TUNED_EXPRESS.name, FASTAPI.name, FASTIFY.name, LIMIT.name)
GOALS: Mapping[str, Sequence[float]] = {
    "ten": (12, 15, 4, 2.1),
    "thousand": (15, 12, 12, 1.2),
    "page": (14, 15, 6, 2.1),
    "sync": (6, 8, 2.2, 1.2),
    "sync-sqlite": (5.5, 7, 2, 1.0),
    "errors": (14, 15, 6, 2.1),
    "mix": (9, 12, 3.5, 1.7),
}
ELSEWHERE: Mapping[int, Sequence[float]] = {
    1: (1.5, 2, 1.2, 1.0),
    8: (1.5, 2, 2, 1.5),
    256: (1.5, 2, 1.0, 0.9),
}
MOST_USED = 64

Result = Mapping[str, Any]

_WHAT_IS_COMPARED = """\
In requests a second: of the rounds side by side, the median of the ratios, and their range."""
_WHAT_COSTS = """\
The server's own, of all its threads, the least of the rounds: other programs disturb it least."""


def write(results: Mapping[str, Any]) -> None:
    """Write the plots, and what was measured into the page."""
    page = PAGE.read_text()
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    images = "\n".join(_plotted(results["compare"]))
    PAGE.write_text(f"{before}{BEGIN}\n{as_text(results)}\n### As plots\n\n{images}\n{END}{after}")


def _plotted(compared: Iterable[Result]) -> Iterator[str]:
    """Write the plots; yield what shows them."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    for result in compared:
        if result["connections"] == MOST_USED:
            rates = {name: _rates(result, name) for name in result["rounds"]}
            title = f"{result['title']}: requests a second"
            image = IMAGES / f"{result['workload']}.svg"
            image.write_text(plots.bars(title, rates))
            yield f"![{title}]({image.relative_to(PAGE.parent)})\n"


def as_text(results: Mapping[str, Any]) -> str:
    """Return what was measured, as Markdown."""
    return "\n".join(_lines(results))


def _lines(results: Mapping[str, Any]) -> Iterator[str]:
    yield "### On what\n"
    yield from _table(("", ""), results["machine"].items())
    yield f"\nIt took {results['minutes']:.0f} minutes.\n"
    compared = results["compare"]
    if compared:
        yield f"### PiSync ÷ others, at {MOST_USED} connections\n"
        yield f"{_WHAT_IS_COMPARED}\n"
        yield from _ratios([each for each in compared if each["connections"] == MOST_USED])
        elsewhere = [each for each in compared if each["connections"] != MOST_USED]
        if elsewhere:
            yield "\n### PiSync ÷ others, at other numbers of connections\n"
            yield from _ratios(elsewhere)
        yield f"\n### Requests a second, at {MOST_USED} connections\n"
        yield "Median of the rounds, with their range.\n"
        yield from _rate_table([each for each in compared if each["connections"] == MOST_USED])
        yield "\n### Processor time of a request, in µs\n"
        yield f"{_WHAT_COSTS}\n"
        yield from _cost_table([each for each in compared if each["connections"] == MOST_USED])
    for group in results["figures"]:
        yield f"\n### {group['title']}\n"
        yield as_table(Figure(*each) for each in group["figures"])


def _ratios(results: Iterable[Result]) -> Iterator[str]:
    head = ("workload", "connections", f"÷ {EXPRESS.name}", *(f"÷ {name}" for name in OTHERS))
    rows = []
    for result in results:
        connections = result["connections"]
        goals = GOALS[result["workload"]] if connections == MOST_USED else ELSEWHERE[connections]
        ratios = (_against(result, name, goal) for name, goal in zip(OTHERS, goals, strict=True))
        plain = f"{median(_paired(result, EXPRESS.name)):.2f}"
        rows.append((result["title"], connections, plain, *ratios))
    yield from _table(head, rows)
    yield "\nIn brackets the range, and the goal; **bold** where the goal was missed."


def _against(result: Result, name: str, goal: float) -> str:
    paired = _paired(result, name)
    ratio = median(paired)
    text = f"{ratio:.2f} ({min(paired):.2f} to {max(paired):.2f}; {goal:g})"
    return text if round(ratio, 2) >= goal else f"**{text}**"


def _paired(result: Result, name: str) -> list[float]:
    pairs = zip(_rates(result, PISYNC.name), _rates(result, name), strict=True)
    return [mine / its for mine, its in pairs]


def _cost(result: Result, name: str) -> float:
    return min(float(each["cost"]) for each in result["rounds"][name])


def _rates(result: Result, name: str) -> list[float]:
    return [each["rate"] for each in result["rounds"][name]]


def _rate_table(results: Sequence[Result]) -> Iterator[str]:
    names = list(results[0]["rounds"])
    rows = []
    for result in results:
        cells = []
        for name in names:
            rates = _rates(result, name)
            cells.append(f"{median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})")
        rows.append((result["title"], *cells))
    yield from _table(("workload", *names), rows)


def _cost_table(results: Sequence[Result]) -> Iterator[str]:
    names = list(results[0]["rounds"])
    rows = []
    for result in results:
        costs = (_cost(result, name) * 1e6 for name in names)
        rows.append((result["title"], *(f"{cost:.1f}" for cost in costs)))
    yield from _table(("workload", *names), rows)


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    titles = [str(each) for each in head]
    yield f"| {' | '.join(titles)} |"
    yield f"|{' --- |' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
