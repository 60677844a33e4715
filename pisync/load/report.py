"""What a run has to tell: as text for people, as JSON for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pisync.load.plan import (
    LoadPlan,
    Thresholds,
)
from pisync.load.reconcile import Settled
from pisync.load.tally import Tally
from pisync.telemetry.histogram import Histogram

_PERCENTILES: Mapping[str, float] = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}
_NO_ANSWER = "none"


@dataclass(frozen=True, slots=True)
class Report:
    """A run, and whether it is good: within its thresholds, and nothing lost."""

    plan: LoadPlan
    tally: Tally
    settled: Settled
    missed: Sequence[str]
    """The thresholds that were not kept to, in words."""

    @property
    def is_good(self) -> bool:
        """Whether nothing is to be complained of."""
        return not self.missed and not self.settled.problems

    def as_json(self) -> Mapping[str, object]:
        """Return everything; latencies are in milliseconds, the error rate is in percent."""
        tally, settled = self.tally, self.settled
        return {
            "url": self.plan.url,
            "fleet": self.plan.fleet,
            "seconds": round(tally.seconds, 3),
            "requests": tally.requests,
            "rate": round(tally.rate, 1),
            "error_rate": round(tally.error_rate, 3),
            "latency": _milliseconds(tally.latencies()),
            "actions": {
                name: {
                    "requests": answers.requests,
                    "statuses": {_status(status): n for status, n in answers.statuses.items()},
                    "latency": _milliseconds(answers.latencies),
                }
                for name, answers in tally.actions.items()
            },
            "syncs": {
                "accepted": settled.accepted,
                "joined": settled.joined,
                "refused": settled.refused,
                "outcomes": [
                    {"sync_status_code": code, "error_message": message, "count": count}
                    for (code, message), count in settled.outcomes.items()
                ],
            },
            "problems": settled.problems,
            "missed": self.missed,
            "good": self.is_good,
        }

    def as_text(self) -> str:
        """Return tables and a verdict."""
        return "\n".join((*self._requests(), "", *self._syncs(), "", *self._verdict()))

    def _requests(self) -> Iterator[str]:
        tally = self.tally
        rows = [
            (name, answers.requests, answers.errors, answers.latencies)
            for name, answers in sorted(tally.actions.items())
        ]
        rows.append(("all", tally.requests, tally.errors, tally.latencies()))
        headings = ("requests", "number", "per second", "errors", *_PERCENTILES, "longest")
        yield from _table(
            headings,
            [
                (
                    name,
                    f"{number:,}",
                    f"{number / max(tally.seconds, 1e-9):,.0f}",
                    f"{errors:,}",
                    *(f"{latency:.1f} ms" for latency in _milliseconds(latencies).values()),
                )
                for name, number, errors, latencies in rows
            ],
        )

    def _syncs(self) -> Iterator[str]:
        settled = self.settled
        yield (
            f"Syncs: {settled.accepted:,} accepted, {settled.joined:,} joined,"
            f" {settled.refused:,} refused."
        )
        finished = sum(settled.outcomes.values())
        yield from _table(
            ("outcome", "number", "share"),
            [
                (f"{code} {message or 'success'}", f"{count:,}", f"{100 * count / finished:.1f} %")
                for (code, message), count in sorted(
                    settled.outcomes.items(), key=lambda item: -item[1]
                )
            ],
        )

    def _verdict(self) -> Iterator[str]:
        statuses = {
            status: sum(answers.statuses[status] for answers in self.tally.actions.values())
            for answers in self.tally.actions.values()
            for status in answers.statuses
        }
        yield "Answers: " + ", ".join(
            f"{_status(status)}: {count:,}"
            for status, count in sorted(statuses.items(), key=lambda item: -item[1])
        )
        if self.settled.problems:
            yield from (f"LEDGER: {problem}" for problem in self.settled.problems)
        else:
            yield "Ledger: every sync that was promised has finished once; nothing is lost."
        yield from (f"MISSED: {each}" for each in self.missed)


def missed(tally: Tally, thresholds: Thresholds) -> list[str]:
    """Say which thresholds a run did not keep to."""
    p99 = 1000 * tally.latencies().percentile(99)
    complaints = []
    if thresholds.max_p99 is not None and p99 > thresholds.max_p99:
        complaints.append(f"p99 is {p99:.1f} ms, more than {thresholds.max_p99:g}")
    if thresholds.max_error_rate is not None and tally.error_rate > thresholds.max_error_rate:
        complaints.append(
            f"{tally.error_rate:.3f} % are errors, more than {thresholds.max_error_rate:g}"
        )
    if thresholds.min_rate is not None and tally.rate < thresholds.min_rate:
        complaints.append(
            f"{tally.rate:.1f} good answers a second, fewer than {thresholds.min_rate:g}"
        )
    return complaints


def _milliseconds(latencies: Histogram) -> dict[str, float]:
    seconds = {name: latencies.percentile(percent) for name, percent in _PERCENTILES.items()}
    seconds["max"] = latencies.max
    return {name: round(1000 * value, 3) for name, value in seconds.items()}


def _status(status: int | None) -> str:
    return _NO_ANSWER if status is None else str(status)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines; the first column is flush left, the others are flush right."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for first, *others in (headings, *rows):
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((f"{first:<{widths[0]}}", *cells))
