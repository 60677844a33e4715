"""Fleets over HTTP, whatever is done to them and in whatever order, beside a twin of each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from pisync.model import timestamp
from pisync.model.outcome import STATUS_CODES, SUCCEEDED, Outcome
from pisync.model.plans.draw import draw
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Step
from pisync.model.plans.traffic import Traffic
from pisync.model.requests.fault import FaultRule, ResetFault
from pisync.model.sync import SyncDecision
from pisync.model.timestamp import LATEST, SECOND
from pisync.web.contract import rendering
from tests.fuzz.caller import LIMIT, MINUTES, Reply, drive, service
from tests.fuzz.fleet_calls import FleetCalls
from tests.fuzz.fleet_examples import FULL, HOUR, LISTED, PROFILES, RULES, TIMEOUT, TRAFFIC, UNUSED
from tests.fuzz.requests_twin import USER, Noted, RequestsTwin
from tests.fuzz.wire_forms import error_log, first_device, script_step
from tests.support.stores.broken import (
    Finish,
    break_finish,
    finishes_twice,
    forgets_the_sync,
    loses_error_logs,
)
from tests.support.stores.reference_model import ReferenceModel, due_at

CALLS = ("sync", "device", "devices", "errors", "stats", "bulk")
OUTCOMES = st.sampled_from((SUCCEEDED, FULL, TIMEOUT))
STEPS = st.builds(Step, OUTCOMES, st.none() | st.integers(0, 20 * SECOND)) | st.just(Step(None))
DEVICE_IDS = st.integers(1, 9)
STATUSES = st.sets(st.sampled_from(STATUS_CODES), min_size=1)
VERDICTS = {
    SyncDecision.STARTED: 202,
    SyncDecision.JOINED: 202,
    SyncDecision.PENDING: 409,
    SyncDecision.FULL: 503,
    SyncDecision.UNKNOWN: 404,
}


class Twin(NamedTuple):
    """All that is known of a fleet at one moment."""

    model: ReferenceModel
    requests: RequestsTwin
    ttl: int | None


class FleetMachine(FleetCalls):
    """A fleet on a manual clock, and all that users and admins can do to it."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Twin | None = None
        """What the other fleet is, once it was made by a copy or of a snapshot."""
        self.kept: tuple[bytes, Twin] | None = None
        """The last snapshot that was taken, and what the fleet was then."""
        self.ttl: int | None = None
        assert self.put(6, PROFILES[0]).status == 201

    def teardown(self) -> None:
        assert self.call("DELETE", self.path).status == 204
        assert self.call("GET", "/stats").status == 404
        status = self.http("DELETE", f"/admin/fleets/{self.other_name}", token=self.token).status
        assert status == (404 if self.other is None else 204)

    def put(self, devices: object, profile: Profile) -> Reply:
        body = {"devices": devices, "profile": rendering.profile(profile)}
        reply = self.call("PUT", self.path, body)
        self.requests = RequestsTwin()
        self.ttl = None
        self.meet(profile)
        return reply

    def meet(self, profile: Profile) -> None:
        """Take a fleet in its first state for what it is, and stop its clock."""
        clock = self.call("PUT", f"{self.path}/clock", {"mode": "manual"}).json
        now = timestamp.parse(clock["now"])
        self.twin = ReferenceModel(profile, now, 0, (), (), 0)  # for what is read to be counted
        self.twin = ReferenceModel(
            profile=profile,
            now=now,
            generation=0,
            started_at=now,  # or some milliseconds before: no phase ends that soon
            first=[first_device(each) for each in self.call("GET", "/devices").json],
            first_errors=[error_log(each) for each in self.call("GET", "/errors").json],
        )

    # What users do

    @rule(device_id=DEVICE_IDS)
    def sync(self, device_id: int) -> None:
        reply = self.call("POST", f"/devices/{device_id}/sync")
        ((verdict, device),) = self.twin.begin([device_id])
        assert reply.status == VERDICTS[verdict]
        if reply.status == 202:
            assert device is not None
            assert reply.json == rendering.device(device)
            assert reply.headers["Pisync-Attempt"] == str(device.attempt)
            assert self.referred(reply, "Location") == f"/devices/{device_id}"

    @rule(device_ids=st.lists(DEVICE_IDS, max_size=12))
    def sync_listed(self, device_ids: list[int]) -> None:
        self.sync_many({"device_ids": device_ids}, [*dict.fromkeys(device_ids)])

    @rule(statuses=STATUSES)
    def sync_those_with(self, statuses: set[int]) -> None:
        having = [
            each.device_id
            for each in self.twin.devices.values()
            if each.sync_status_code in statuses
        ]
        self.sync_many({"status": [*statuses]}, having)

    @rule()
    def sync_all(self) -> None:
        self.sync_many({"all": True}, [*self.twin.devices])

    def sync_many(self, body: object, device_ids: Sequence[int]) -> None:
        reply = self.call("POST", "/devices/sync", body)
        begun = Counter(verdict for verdict, _ in self.twin.begin(device_ids))
        assert (reply.status, reply.json) == (
            202,
            {
                "started": begun[SyncDecision.STARTED],
                "joined": begun[SyncDecision.JOINED],
                "refused": begun[SyncDecision.PENDING] + begun[SyncDecision.FULL],
                "not_found": [each for each in device_ids if each not in self.twin.devices],
            },
        )

    # What testers do

    @rule(seconds=st.integers(0, 30) | st.floats(0, 5))
    def advance(self, seconds: float) -> None:
        reply = self.call("POST", f"{self.path}/advance", {"seconds": seconds})
        target = self.twin.now + round(seconds * SECOND)
        self.check_moved(reply, self.twin.move(target))

    @rule()
    def settle(self) -> None:
        due = self.twin.due_until(LATEST)
        reply = self.call("POST", f"{self.path}/settle")
        self.check_moved(reply, self.twin.move(max([self.twin.now, *map(due_at, due)])))

    def check_moved(self, reply: Reply, finished: int) -> None:
        moved = {"now": timestamp.render(self.twin.now), "finished": finished}
        assert (reply.status, reply.json) == (200, moved)

    @rule(
        device_id=DEVICE_IDS,
        steps=st.lists(STEPS, min_size=1, max_size=3),
        sticky=st.booleans(),
    )
    def script(self, device_id: int, steps: list[Step], *, sticky: bool) -> None:
        body = [script_step(step) for step in steps]
        if sticky:
            body[-1]["sticky"] = True
        reply = self.call("PUT", f"{self.path}/devices/{device_id}/script", body)
        is_there = device_id in self.twin.devices
        assert reply.status == (204 if is_there else 404)
        if is_there:
            self.twin.scripts[device_id] = [*steps], sticky

    @rule(device_id=DEVICE_IDS)
    def end_script(self, device_id: int) -> None:
        reply = self.call("DELETE", f"{self.path}/devices/{device_id}/script")
        assert reply.status == (204 if device_id in self.twin.devices else 404)
        self.twin.scripts.pop(device_id, None)

    @rule(device_id=DEVICE_IDS, outcome=OUTCOMES)
    def release(self, device_id: int, outcome: Outcome) -> None:
        reply = self.call("POST", f"{self.path}/devices/{device_id}/release", outcome._asdict())
        device = self.twin.devices.get(device_id)
        if device is None:
            assert reply.status == 404
        elif device not in self.twin.held:
            assert reply.status == 409
        else:
            self.twin.finish(device, outcome)
            expected = rendering.device(self.twin.devices[device_id])
            assert (reply.status, reply.json) == (200, expected)

    @rule(profile=st.sampled_from(PROFILES))
    def change_profile(self, profile: Profile) -> None:
        # What a profile does not show would stay as it was.
        changes = {**UNUSED, **rendering.profile(profile)}
        self.patch_profile(changes, replace(profile, traffic=self.twin.profile.traffic))

    @initialize(traffic=st.sampled_from(TRAFFIC))
    def live_from_the_start(self, traffic: Traffic | None) -> None:
        self.live(traffic)

    @rule(traffic=st.sampled_from(TRAFFIC))
    def live(self, traffic: Traffic | None) -> None:
        """Let devices sync by themselves from now on, or no longer."""
        profile = replace(self.twin.profile, traffic=traffic)
        self.patch_profile({"traffic": rendering.profile(profile).get("traffic")}, profile)

    def patch_profile(self, changes: object, profile: Profile) -> None:
        reply = self.call("PATCH", self.path, {"profile": changes})
        assert reply.json["profile"] == rendering.profile(profile)
        self.twin.change_profile(profile)

    @rule()
    def reset(self) -> None:
        # Else it would live from its beginning on, before the clock is manual.
        self.live(None)
        assert self.call("POST", f"{self.path}/reset").status == 204
        before = self.twin
        self.requests.forget()
        self.meet(before.profile)
        assert (self.twin.first, self.twin.first_errors) == (before.first, before.first_errors)

    @rule(devices=st.sampled_from((0, 6, LISTED)), profile=st.sampled_from(PROFILES))
    def make_anew(self, devices: object, profile: Profile) -> None:
        assert self.put(devices, profile).status == 200

    @rule(
        device_id=DEVICE_IDS,
        first=st.integers(1, 50),
        attempts=st.integers(1, 20),
        hours=st.integers(0, 9),
    )
    def forecast(self, device_id: int, first: int, attempts: int, hours: int) -> None:
        at = self.twin.now + hours * HOUR * SECOND
        query: dict[str, object] = {"device_id": device_id, "from": first, "attempts": attempts}
        query |= {"at": timestamp.render(at)} if hours else {}
        reply = self.call("GET", f"{self.path}/forecast", **query)
        if device_id not in self.twin.devices:
            assert reply.status == 404
            return
        since = at - self.twin.started_at
        drawn = [
            (n, draw(self.twin.profile, device_id, n, since))
            for n in range(first, first + attempts)
        ]
        assert reply.json == rendering.forecast(drawn)

    @rule(rules=st.sampled_from(RULES))
    def set_faults(self, rules: Sequence[FaultRule]) -> None:
        written = [rule.as_json() for rule in rules]
        if written:
            assert self.call("PUT", f"{self.path}/faults", written).status == 200
        else:
            assert self.call("DELETE", f"{self.path}/faults").status == 204
        self.requests.set_rules(rules)

    @rule(device_id=DEVICE_IDS)
    def lose_the_answer_to_a_sync(self, device_id: int) -> None:
        self.set_faults((FaultRule(("sync",), ResetFault(), first=1, is_after=True),))
        path = f"/devices/{device_id}/sync"
        reply = self.call_once("POST", path)
        met = self.requests.note(
            "POST", reply.target, f"/fleets/{self.name}", reply, self.twin.profile.seed
        )
        ((verdict, device),) = self.twin.begin([device_id])
        if met is None:
            assert reply.status == VERDICTS[verdict] != 202
        else:
            assert VERDICTS[verdict] == 202
            assert device is not None
            # No header says so, but the journal does.
            self.requests.journal[-1:] = [
                each._replace(attempt=device.attempt) for each in self.requests.journal[-1:]
            ]
        self.set_faults(())

    @rule(size=st.sampled_from((0, 3, 1000)))
    def resize_the_journal(self, size: int) -> None:
        assert self.call("PATCH", self.path, {"journal": size}).json["journal"] == size
        self.requests.resize(size)

    @rule()
    def empty_the_journal(self) -> None:
        assert self.call("DELETE", f"{self.path}/requests").status == 204
        self.requests.journal.clear()

    @rule(call=st.sampled_from(CALLS), at_least=st.integers(0, 3), at_most=st.integers(3, 40))
    def verify(self, call: str, at_least: int, at_most: int) -> None:
        expected = {"call": call, "at_least": at_least, "at_most": at_most}
        body = self.call("POST", f"{self.path}/verify", {"requests": [expected]}).json
        found = sum(noted.call == call for noted in self.requests.kept)
        if at_least <= found <= at_most:
            assert body == {"verified": True}
        else:
            (problem,) = body["problems"]
            assert (problem["found"], problem["wanted"]) == (found, expected)

    @rule(seconds=st.sampled_from((None, 60, 2_592_000)))
    def limit_the_lifetime(self, seconds: int | None) -> None:
        self.ttl = seconds
        assert self.call("PATCH", self.path, {"ttl": seconds}).status == 200

    # What is taken, and gone on with

    def known(self) -> Twin:
        return Twin(deepcopy(self.twin), self.requests.without_journal(), self.ttl)

    @rule()
    def take_a_snapshot(self) -> None:
        reply = self.call("GET", f"{self.path}/snapshot")
        assert reply.status == 200
        self.kept = reply.json, self.known()

    @precondition(lambda self: self.kept is not None)
    @rule()
    def restore(self) -> None:
        assert self.kept is not None
        document, twin = self.kept
        assert self.call("PUT", f"{self.path}/snapshot", document).status == 200
        self.twin, self.requests, self.ttl = deepcopy(twin)

    @rule(is_copied=st.booleans())
    def go_on_in_the_other(self, *, is_copied: bool) -> None:
        other = f"/admin/fleets/{self.other_name}"
        if is_copied:
            body = {"to": self.other_name}
            reply = self.http("POST", f"{self.path}/copy", body, token=self.token)
        else:
            document = self.call("GET", f"{self.path}/snapshot").json
            reply = self.http("PUT", f"{other}/snapshot", document, token=self.token)
        assert reply.status == (201 if self.other is None else 200)
        self.other = self.known()
        self.go_over()

    @precondition(lambda self: self.other is not None)
    @rule()
    def go_over(self) -> None:
        assert self.other is not None
        here = Twin(self.twin, self.requests, self.ttl)
        (self.twin, self.requests, self.ttl), self.other = self.other, here
        self.name, self.other_name = self.other_name, self.name

    # What must always be so

    @invariant()
    def requests_are_remembered(self) -> None:
        found = self.call("GET", f"{self.path}/requests", limit=1000).json
        shown = [Noted(*(each[field] for field in Noted._fields)) for each in found]
        assert shown == self.requests.kept
        numbers = [each["number"] for each in found]
        assert all(newer == older + 1 for newer, older in pairwise(numbers))
        assert {each["user"] for each in found} <= {USER}
        hits = [each["hits"] for each in self.call("GET", f"{self.path}/faults").json]
        assert hits == [self.requests.hits[place] for place in range(len(self.requests.rules))]

    @invariant()
    def the_lifetime_is_shown(self) -> None:
        fleet = self.call("GET", self.path).json
        assert fleet["ttl"] == self.ttl
        assert (fleet["expires_at"] is None) == (self.ttl is None)

    @rule(limit=st.integers(1, 4), statuses=st.none() | STATUSES)
    def devices_come_in_pages(self, limit: int, statuses: set[int] | None) -> None:
        chosen = {} if statuses is None else {"status": ",".join(map(str, statuses))}
        expected = [
            rendering.device(each)
            for each in self.twin.devices.values()
            if statuses is None or each.sync_status_code in statuses
        ]
        reply = self.call("GET", "/devices", limit=limit, **chosen)
        found = [*reply.json]
        while "Link" in reply.headers:
            assert len(reply.json) == limit
            reply = self.call("GET", self.referred(reply, "Link"))
            found += reply.json
        assert found == expected
        assert reply.headers["X-Total-Count"] == str(len(expected))

    @rule(device_id=DEVICE_IDS, status=st.sampled_from((400, 404, 500)))
    def errors_can_be_filtered(self, device_id: int, status: int) -> None:
        reply = self.call("GET", "/errors", device_id=device_id, status=status, limit=1000)
        expected = [log for log in self.twin.errors if (log[0], log[2]) == (device_id, status)]
        assert Counter(map(error_log, reply.json)) == Counter(expected)

    @invariant()
    def is_the_twin(self) -> None:
        devices = self.call("GET", "/devices").json
        assert devices == [rendering.device(each) for each in self.twin.devices.values()]
        for shown in devices:
            assert (shown["last_sync_at"] or "") <= shown["last_attempt_at"]
        errors = self.call("GET", "/errors", limit=1000).json
        assert Counter(map(error_log, errors)) == Counter(self.twin.errors)
        ids = [each["error_id"] for each in errors]
        assert ids == sorted(set(ids), reverse=True)

    @invariant()
    def counts_agree(self) -> None:
        twin, failed = self.twin, sum(self.twin.failed.values())
        codes = Counter(each.sync_status_code for each in twin.devices.values())
        assert self.call("GET", "/stats").json == {
            "devices": len(twin.devices),
            "pending": len(twin.pending),
            "by_status": {str(code): codes[code] for code in STATUS_CODES},
            "attempts": twin.accepted,
            "succeeded": twin.succeeded,
            "failed": failed,
            "error_logs": len(twin.errors),
        }
        ledger = self.call("GET", f"{self.path}/ledger").json
        assert ledger["balanced"]
        assert (ledger["accepted"], ledger["joined"], ledger["refused"], ledger["succeeded"]) == (
            twin.accepted,
            twin.joined,
            twin.refused,
            twin.succeeded,
        )
        assert (ledger["pending"], ledger["held"]) == (len(twin.pending), len(twin.held))
        assert ledger["error_logs"] == failed
        assert ledger["faults"] == {
            when: {kind: n for (at, kind), n in self.requests.ledger.items() if at == when}
            for when in ("before", "after")
        }


@pytest.fixture(scope="module")
def machine() -> Iterator[type[FleetMachine]]:
    with service() as (server, caller):
        yield type("Machine", (FleetMachine,), {"server": server, "http": caller})


@pytest.mark.timeout(LIMIT)
def test_a_fleet_is_what_its_twin_is(machine: type[FleetMachine]) -> None:
    drive(machine, 20)


@pytest.mark.skipif(MINUTES > 0, reason="it takes no longer fuzzing to see it")
@pytest.mark.parametrize("broken", [loses_error_logs, finishes_twice, forgets_the_sync])
def test_the_twin_sees_a_broken_transition(
    machine: type[FleetMachine], monkeypatch: pytest.MonkeyPatch, broken: Finish
) -> None:
    break_finish(monkeypatch, broken)
    with pytest.raises(AssertionError):
        drive(machine, 20, [Phase.generate])
