"""Single figures beside the comparison: each with its goal, and whether that was met."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

TIMES = "\N{MULTIPLICATION SIGN}"


class Figure(NamedTuple):
    """Something that was measured; `met` is None where there is no goal."""

    what: str
    value: str
    goal: str = ""
    met: bool | None = None


class Figures(NamedTuple):
    """Figures that belong together."""

    title: str
    figures: Sequence[Figure]

    def as_json(self) -> dict[str, object]:
        """Return them as JSON has them."""
        return {"title": self.title, "figures": [list(each) for each in self.figures]}


def at_most(what: str, value: float, most: float, unit: str, digits: int = 1) -> Figure:
    """Return a figure that is to be small."""
    return Figure(
        what, f"{value:,.{digits}f} {unit}".strip(), f"≤ {most:g} {unit}".strip(), value <= most
    )


def at_least(what: str, value: float, least: float, unit: str = TIMES, digits: int = 2) -> Figure:
    """Return a figure that is to be large."""
    return Figure(
        what, f"{value:,.{digits}f} {unit}".strip(), f"≥ {least:g} {unit}".strip(), value >= least
    )


def as_table(figures: Iterable[Figure]) -> str:
    """Return figures as a table in Markdown."""
    return "\n".join(_table(figures))


def _table(figures: Iterable[Figure]) -> Iterator[str]:
    yield "|  | measured | goal | met |"
    yield "| --- | --- | --- | --- |"
    for what, value, goal, met in figures:
        yield f"| {what} | {value} | {goal} | {_MARKS[met]} |"


_MARKS = {None: "", True: "yes", False: "**no**"}
