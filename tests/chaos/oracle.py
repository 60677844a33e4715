"""The oracle: journals what every request for a sync came to, and finds what a service got wrong.

It knows nothing of stores. All that it holds against the journal, clients can read: devices, error
logs, the forecast, counts and the ledger.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from aiohttp import ClientResponse, ClientSession

MOST_ATTEMPTS = 1000
"""Of one device: what a forecast shows at once."""


class Attempt(NamedTuple):
    """An attempt of a device, by its number."""

    device_id: int
    number: int


@dataclass
class Journal:
    """What requests for syncs came to, as far as their clients could see."""

    accepted: dict[Attempt, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The attempts that a 202 was answered for, each with the times at which it is said to have
    been made: one, if all is well."""
    unknown: Counter[int] = field(default_factory=Counter)
    """By device, how many requests had no answer: each may have begun an attempt, or not."""
    answers: Counter[str] = field(default_factory=Counter)
    """How many requests had which answer."""

    def accept(self, attempt: Attempt, made_at: str) -> None:
        """Enter a 202."""
        self.accepted[attempt].add(made_at)
        self.answers["202"] += 1

    def lose(self, device_id: int, why: str) -> None:
        """Enter a request that may have arrived, and whose answer did not."""
        self.unknown[device_id] += 1
        self.answers[why] += 1

    def refuse(self, answer: str) -> None:
        """Enter a request that certainly began nothing."""
        self.answers[answer] += 1


class Story(NamedTuple):
    """What a service shows of a device: as it is, its error logs, and all attempts it counts."""

    device: Mapping[str, Any]
    error_logs: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]


class Unreadable(Exception):
    """A page can't be read; the text says which, and what came instead."""


async def flaws(client: ClientSession, journal: Journal) -> list[str]:
    """Return what is wrong with the fleet that `client` talks to, now that nothing is pending.

    `client` has both scopes. Nobody but those who kept the journal may have synced.
    """
    try:
        return await _flaws(client, journal)
    except Unreadable as exc:
        return [str(exc)]


async def _flaws(client: ClientSession, journal: Journal) -> list[str]:
    by_device = defaultdict(list)
    error_logs = await _all_pages(client, "/errors?limit=1000")
    for log in error_logs:
        by_device[log["device_id"]].append(log)
    stories = [
        Story(device, by_device[device["device_id"]], await _attempts(client, device["device_id"]))
        for device in await _all_pages(client, "/devices?limit=1000")
    ]
    stats = await _read(client, "/stats")
    ledger = await _read(client, "/admin/fleets/default/ledger")
    return [
        *flaws_in_ids(error_logs),
        *(flaw for story in stories for flaw in flaws_of_device(story, journal)),
        *flaws_in_counts(stories, stats, ledger),
    ]


def flaws_of_device(story: Story, journal: Journal) -> Iterator[str]:
    """Yield what is wrong with a device, given what its clients were answered."""
    device, attempts = story.device, story.attempts
    device_id = device["device_id"]
    name = f"device {device_id}"
    seen = {each.number: made for each, made in journal.accepted.items() if each[0] == device_id}

    for number, made_at in seen.items():
        if number > len(attempts):
            yield f"{name}: attempt {number} was accepted, and is lost"
        if len(made_at) > 1:
            yield f"{name}: attempt {number} was begun {len(made_at)} times: {sorted(made_at)}"
    unseen = len(attempts) - sum(number <= len(attempts) for number in seen)
    if unseen > (unknown := journal.unknown[device_id]):
        yield f"{name}: {unseen} attempts for {unknown} requests without an answer"

    if device["sync_status_code"] == 202:
        yield f"{name}: is pending for ever"
    elif attempts and _outcome(device) != _outcome(attempts[-1]):
        yield f"{name}: ended as {_outcome(device)}, not {_outcome(attempts[-1])}"
    times = {number: next(iter(made_at)) for number, made_at in seen.items()}
    successes = [each["attempt"] for each in attempts if each["sync_status_code"] == 200]
    for what, number in (
        ("last_attempt_at", len(attempts)),
        ("last_sync_at", max([0, *successes])),
    ):
        if device[what] != times.get(number, device[what]):
            yield f"{name}: {what} is {device[what]}, not {times[number]}"
    yield from _flaws_in_logs(name, story, times)


def flaws_in_ids(error_logs: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield ids that several error logs share."""
    ids = Counter(log["error_id"] for log in error_logs)
    yield from (f"error log {each} is there {n} times" for each, n in ids.items() if n > 1)


def _flaws_in_logs(name: str, story: Story, times: Mapping[int, str]) -> Iterator[str]:
    logs = defaultdict(list)
    for log in story.error_logs:
        if log["attempt"] > 0:  # those with 0 are the fleet's first data
            logs[log["attempt"]].append(log)
    for attempt in story.attempts:
        number, its = attempt["attempt"], logs.pop(attempt["attempt"], [])
        if len(its) != (attempt["sync_status_code"] != 200):
            yield f"{name}: attempt {number}, a {_outcome(attempt)}, has {len(its)} error logs"
        for log in its:
            if _outcome(log) != _outcome(attempt):
                yield f"{name}: attempt {number} logged {_outcome(log)}, not {_outcome(attempt)}"
            if number in times:
                took = _moment(log["occurred_at"]) - _moment(times[number])
                if abs(took - timedelta(seconds=attempt["delay"])) > timedelta(microseconds=1):
                    yield f"{name}: attempt {number} fell due after {took}, not {attempt['delay']}"
    if logs:
        yield f"{name}: error logs of attempts that never were: {sorted(logs)}"


def flaws_in_counts(
    stories: Iterable[Story], stats: Mapping[str, Any], ledger: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what is wrong with counts and ledger, given all devices."""
    outcomes = Counter(_outcome(each) for story in stories for each in story.attempts)
    succeeded = outcomes.pop((200, None), 0)
    failed: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for (code, message), n in outcomes.items():
        failed[str(code)][str(message)] = n
    wanted = {
        "accepted": succeeded + outcomes.total(),
        "succeeded": succeeded,
        "failed": failed,
        "pending": 0,
        "error_logs": outcomes.total(),
        "balanced": True,
    }
    for what, value in wanted.items():
        if ledger[what] != value:
            yield f"the ledger's {what}: {ledger[what]}, not {value}"
    for what, value in (
        ("attempts", wanted["accepted"]),
        ("succeeded", succeeded),
        ("failed", outcomes.total()),
        ("pending", 0),
    ):
        if stats[what] != value:
            yield f"the stats' {what}: {stats[what]}, not {value}"


def _outcome(shown: Mapping[str, Any]) -> tuple[int, str | None]:
    return shown["sync_status_code"], shown["error_message"]


def _moment(timestamp: str) -> datetime:
    return datetime.fromisoformat(timestamp)


async def _attempts(client: ClientSession, device_id: int) -> list[Any]:
    """Return what all attempts of a device so far were to come to."""
    path = f"/admin/fleets/default/forecast?device_id={device_id}"
    (following,) = await _read(client, f"{path}&attempts=1")
    last: int = following["attempt"] - 1
    assert last <= MOST_ATTEMPTS, "more attempts than this oracle can look at"
    shown = await _read(client, f"{path}&from=1&attempts={max(last, 1)}")
    return list(shown[:last])


async def _all_pages(client: ClientSession, path: str) -> list[Any]:
    """Return the rows of all pages."""
    rows: list[Any] = []
    following: str | None = path
    while following is not None:
        async with client.get(following) as answer:
            rows += await _json(answer)
            following = str(answer.links["next"]["url"]) if "next" in answer.links else None
    return rows


async def _read(client: ClientSession, path: str) -> Any:
    async with client.get(path) as answer:
        return await _json(answer)


async def _json(answer: ClientResponse) -> Any:
    if answer.status != 200:
        raise Unreadable(f"{answer.url}: {answer.status} {await answer.text()}")
    return await answer.json()
