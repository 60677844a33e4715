"""What `render` writes is what the schemas of answers say, field by field and value by value."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pisync.model.clock import MAX_SPEED, ClockView
from pisync.model.device import MAX_DEVICE_ID, Device, ErrorLog
from pisync.model.fleet import FLEET_NAME, MAX_DEVICES, MAX_TTL, MIN_TTL, FleetView, Ledger, Stats
from pisync.model.outcome import FAILURES, PENDING, STATUS_CODES, SUCCEEDED, Outcome
from pisync.model.plans.delay import MAX_DELAY, ConstantDelay, LognormalDelay, UniformDelay
from pisync.model.plans.draw import Draw
from pisync.model.plans.phases import MAX_PHASE_TIME, Phase
from pisync.model.plans.profile import MAX_PENDING, MAX_SEED, Profile
from pisync.model.plans.spells import MAX_MEAN_LENGTH
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.requests.fault import KINDS
from pisync.model.requests.journal import MAX_JOURNAL
from pisync.model.sync import ClockAdvance
from pisync.model.timestamp import EARLIEST, LATEST, SECOND
from pisync.simulation.bulk import BulkResult
from pisync.simulation.lateness import LatenessView
from pisync.web.contract import answer_schemas as schemas
from pisync.web.contract import rendering
from tests.support.documented import faults

counts = st.integers(0, 2**53)
ids = st.integers(1, MAX_DEVICE_ID)
moments = st.integers(EARLIEST, LATEST)
seconds = st.floats(0, MAX_DELAY)
messages = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200
)
failures = st.builds(Outcome, st.sampled_from(FAILURES), messages)
outcomes = st.just(SUCCEEDED) | failures

devices = st.builds(
    Device,
    ids,
    st.none() | moments,
    st.sampled_from(STATUS_CODES),
    st.none() | messages,
    moments,
    attempt=counts,
)
error_logs = st.builds(ErrorLog, ids, ids, counts, st.sampled_from(FAILURES), messages, moments)
by_status = st.dictionaries(st.sampled_from(STATUS_CODES), counts)
stats = st.builds(Stats, counts, by_status, counts, counts, counts, counts, counts)
bulk_results = st.builds(BulkResult, counts, counts, counts, st.lists(ids))
moves = st.builds(ClockAdvance, moments, counts)
clocks = st.builds(ClockView, st.sampled_from(["real", "manual"]), st.floats(0, MAX_SPEED), moments)
uniform_delays = st.tuples(seconds, seconds).map(sorted).map(lambda ends: UniformDelay(*ends))
delays = (
    st.builds(ConstantDelay, seconds)
    | uniform_delays
    | st.builds(LognormalDelay, seconds, st.floats(0, allow_infinity=False), seconds)
)
weighted = st.builds(
    WeightedOutcome, outcomes, st.floats(0, exclude_min=True, allow_infinity=False)
)
many_weighted = st.lists(weighted, min_size=1, max_size=5).map(tuple)
phases = st.builds(Phase, st.just(0), st.floats(1, 5), many_weighted, st.none() | delays) | (
    st.builds(Phase, st.just(0), st.floats(1, 5), st.none() | many_weighted, delays)
)
profiles = st.builds(
    Profile,
    st.integers(0, MAX_SEED),
    many_weighted,
    delays,
    st.booleans(),
    st.integers(0, MAX_PENDING),
    st.floats(1, MAX_MEAN_LENGTH),
    st.lists(phases, max_size=1).map(tuple),
    st.none() | st.floats(5, MAX_PHASE_TIME),
)
names = st.from_regex(FLEET_NAME, fullmatch=True)
fleets = st.builds(
    FleetView,
    names,
    counts,
    st.integers(0, MAX_DEVICES),
    profile=profiles,
    clock=clocks,
    ttl=st.none() | st.integers(MIN_TTL, MAX_TTL),
    expires_at=st.none() | moments,
    journal=st.integers(0, MAX_JOURNAL),
    started_at=moments,
)
failed = st.dictionaries(st.sampled_from(FAILURES), st.dictionaries(messages, counts, max_size=3))
met = st.fixed_dictionaries(
    dict.fromkeys(("before", "after"), st.dictionaries(st.sampled_from(KINDS), counts, max_size=3))
)
ledgers = st.builds(Ledger, counts, counts, counts, counts, failed, counts, counts, counts, met)
latenesses = st.builds(LatenessView, seconds, seconds, seconds)
draws = st.builds(Draw, outcomes, st.integers(0, round(MAX_DELAY * SECOND)))


def written(value: object) -> Any:
    """Return a rendered value as a client gets it."""
    body = rendering.answer(value).body
    assert isinstance(body, bytes)
    return orjson.loads(body)


@given(devices)
def test_a_device_is_written_as_its_schema_writes_it(device: Device) -> None:
    shown = written(rendering.device(device))
    assert shown == schemas.DeviceSchema().dump(device)
    assert tuple(schemas.DeviceSchema().load(shown).values()) == device[:5]
    assert faults(shown, "Device") == []


@given(devices)
def test_a_pending_device_is_written_as_any_other(device: Device) -> None:
    pending = device._replace(sync_status_code=PENDING, error_message=None)
    assert rendering.pending_device(pending) == rendering.to_json(rendering.device(pending))


@given(st.lists(devices, max_size=3))
def test_devices_are_written_as_their_schema_writes_them(many: list[Device]) -> None:
    assert written(rendering.devices(many)) == schemas.DeviceSchema(many=True).dump(many)


@given(error_logs)
def test_an_error_log_is_written_as_its_schema_writes_it(error_log: ErrorLog) -> None:
    shown = written(rendering.error_log(error_log))
    assert shown == schemas.ErrorLogSchema().dump(error_log)
    assert ErrorLog(**schemas.ErrorLogSchema().load(shown)) == error_log
    assert faults(shown, "ErrorLog") == []


@given(stats)
def test_stats_are_written_as_their_schema_writes_them(of: Stats) -> None:
    shown = written(rendering.stats(of))
    assert shown == written(schemas.StatsSchema().dump(of))
    assert Stats(**schemas.StatsSchema().load(shown)) == of
    assert faults(shown, "Stats") == []


@given(bulk_results)
def test_a_bulk_result_is_written_as_its_schema_writes_it(result: BulkResult) -> None:
    shown = written(rendering.bulk_result(result))
    assert shown == schemas.BulkResultSchema().dump(result)
    assert BulkResult(**schemas.BulkResultSchema().load(shown)) == result
    assert faults(shown, "BulkResult") == []


@given(moves)
def test_a_move_of_time_is_written_as_its_schema_writes_it(moved: ClockAdvance) -> None:
    shown = written(rendering.moved(moved))
    assert shown == schemas.MovedSchema().dump(moved)
    assert ClockAdvance(**schemas.MovedSchema().load(shown)) == moved
    assert faults(shown, "Moved") == []


@given(clocks)
def test_a_clock_is_written_as_its_schema_writes_it(clock: ClockView) -> None:
    shown = written(rendering.clock(clock))
    assert shown == schemas.ClockSchema().dump(clock)
    assert ClockView(**schemas.ClockSchema().load(shown)) == clock
    assert faults(shown, "Clock") == []


@given(profiles)
def test_a_profile_is_written_so_that_its_schema_reads_the_same(profile: Profile) -> None:
    shown = written(rendering.profile(profile))
    assert Profile(**schemas.ProfileSchema().load(shown)) == profile
    assert faults(shown, "Profile") == []


@given(fleets)
def test_a_fleet_is_written_so_that_its_schema_reads_the_same(fleet: FleetView) -> None:
    shown = written(rendering.fleet(fleet))
    read = schemas.FleetSchema().load(shown)
    assert read == {
        "name": fleet.name,
        "devices": fleet.devices,
        "seed": fleet.profile.seed,
        "profile": schemas.ProfileSchema().load(shown["profile"]),
        "clock": fleet.clock._asdict(),
        "journal": fleet.journal,
        "ttl": fleet.ttl,
        "expires_at": fleet.expires_at,
    }
    assert Profile(**read["profile"]) == fleet.profile
    assert faults(shown, "Fleet") == []


@given(st.integers(1, 2**53), draws)
def test_a_forecast_is_written_so_that_its_schema_reads_the_same(attempt: int, of: Draw) -> None:
    (shown,) = written(rendering.forecast([(attempt, of)]))
    read = schemas.ForecastSchema().load(shown)
    assert read == {"attempt": attempt, **of.outcome._asdict(), "delay": of.delay / SECOND}
    assert faults(shown, "Forecast") == []


@given(ledgers, latenesses)
def test_a_ledger_is_written_so_that_its_schema_reads_the_same(
    ledger: Ledger, lateness: LatenessView
) -> None:
    shown = written(rendering.ledger(ledger, lateness))
    read = schemas.LedgerSchema().load(shown)
    assert LatenessView(**read.pop("lateness")) == lateness
    assert read.pop("balanced") is ledger.balanced
    assert Ledger(**read) == ledger
    assert faults(shown, "Ledger") == []
