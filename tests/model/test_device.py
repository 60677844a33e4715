import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pisync.model.device import (
    HOLD,
    MAX_DEVICE_ID,
    Device,
    ErrorLog,
    Failure,
    InvalidTransition,
    Pending,
    Plan,
    begin,
    finish,
    release,
    synced,
)
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.timestamp import EARLIEST, LATEST, SECOND

NOON = 1_795_348_800_000_000
FULL = Outcome(400, "Storage Full")
DEVICE = synced(7, NOON)

MOMENTS = st.integers(EARLIEST, LATEST)
OUTCOMES = st.just(SUCCEEDED) | st.builds(
    Outcome, st.sampled_from((400, 404, 500)), st.text(min_size=1, max_size=200)
)
PLANS = st.just(HOLD) | st.builds(Plan, OUTCOMES, st.integers(0, 86_400 * SECOND))


@st.composite
def idle_devices(draw: st.DrawFn) -> Device:
    """Devices with nothing under way, in any state that a fleet may be made with or come to."""
    attempted = draw(MOMENTS)
    outcome = draw(OUTCOMES)
    before = draw(st.none() | st.integers(EARLIEST, attempted))
    return Device(
        draw(st.integers(1, MAX_DEVICE_ID)),
        attempted if outcome == SUCCEEDED else before,
        *outcome,
        attempted,
        draw(st.integers(0, 10**9)),
    )


def in_time(device: Device) -> bool:
    return device.last_sync_at is None or device.last_sync_at <= device.last_attempt_at


def test_a_synced_device_succeeded_at_its_first_moment() -> None:
    assert synced(7, NOON) == Device(7, NOON, 200, None, NOON, 0, None)
    assert not synced(7, NOON).is_pending


def finish_when_due(device: Device) -> tuple[Device, Failure | None]:
    due = device.pending.due_at if device.pending else None
    return finish(device, LATEST if due is None else due)


class TestBegin:
    def test_makes_the_device_pending_with_its_plan(self) -> None:
        device = begin(DEVICE, NOON + 5, Plan(FULL, 2 * SECOND))
        due = NOON + 5 + 2 * SECOND
        assert device == Device(7, NOON, 202, None, NOON + 5, 1, Pending(FULL, due))
        assert device.is_pending

    def test_counts_attempts(self) -> None:
        device = DEVICE
        for attempt in range(1, 5):
            device = begin(device, NOON, Plan(FULL, 0))
            assert device.attempt == attempt
            device, _ = finish_when_due(device)

    def test_of_a_hold_waits_for_a_release(self) -> None:
        device = begin(DEVICE, NOON, HOLD)
        assert device.pending == Pending(None, None)
        assert device.pending.is_held

    def test_is_not_held_if_it_has_a_delay(self) -> None:
        pending = begin(DEVICE, NOON, Plan(FULL, 0)).pending
        assert pending == Pending(FULL, NOON)
        assert not pending.is_held

    def test_hides_the_last_failure(self) -> None:
        failed, _ = finish_when_due(begin(DEVICE, NOON, Plan(FULL, 0)))
        assert begin(failed, NOON, Plan(FULL, 0)).error_message is None

    @pytest.mark.parametrize("plan", [HOLD, Plan(FULL, 1)])
    def test_is_refused_while_an_attempt_is_under_way(self, plan: Plan) -> None:
        with pytest.raises(InvalidTransition, match="device 7 is pending"):
            begin(begin(DEVICE, NOON, plan), NOON, plan)

    def test_is_never_before_the_last_attempt_though_the_clock_steps_back(self) -> None:
        device = begin(DEVICE, NOON - 3600 * SECOND, Plan(FULL, SECOND))
        assert device.last_attempt_at == NOON

    def test_takes_no_longer_though_the_clock_steps_back(self) -> None:
        earlier = NOON - 3600 * SECOND
        device = begin(DEVICE, earlier, Plan(FULL, SECOND))
        assert device.pending == Pending(FULL, earlier + SECOND)

    @pytest.mark.parametrize("now", [LATEST - 1, LATEST])
    def test_is_due_in_the_last_year_at_the_latest(self, now: int) -> None:
        device = begin(DEVICE, now, Plan(FULL, 86_400 * SECOND))
        assert device.last_attempt_at == now
        assert device.pending == Pending(FULL, LATEST)


class TestFinish:
    def test_of_a_success_sets_the_last_sync_to_the_attempts_time(self) -> None:
        device, failure = finish_when_due(begin(DEVICE, NOON + 5, Plan(SUCCEEDED, 2 * SECOND)))
        assert device == Device(7, NOON + 5, 200, None, NOON + 5, 1, None)
        assert failure is None

    def test_of_a_failure_keeps_the_last_sync_and_leaves_an_error(self) -> None:
        device, failure = finish_when_due(begin(DEVICE, NOON + 5, Plan(FULL, 2 * SECOND)))
        assert device == Device(7, NOON, 400, "Storage Full", NOON + 5, 1, None)
        assert failure == Failure(7, 1, 400, "Storage Full", NOON + 5 + 2 * SECOND)

    def test_leaves_no_error_from_before_the_attempt_though_the_clock_steps_back(self) -> None:
        _, failure = finish_when_due(begin(DEVICE, NOON - 3600 * SECOND, Plan(FULL, SECOND)))
        assert failure == Failure(7, 1, 400, "Storage Full", NOON)

    def test_before_it_is_due_leaves_no_error_in_the_future(self) -> None:
        _, failure = finish(begin(DEVICE, NOON + 5, Plan(FULL, 2 * SECOND)), NOON + SECOND)
        assert failure == Failure(7, 1, 400, "Storage Full", NOON + SECOND)

    def test_after_it_was_due_leaves_an_error_of_when_it_was(self) -> None:
        _, failure = finish(begin(DEVICE, NOON, Plan(FULL, SECOND)), NOON + 60 * SECOND)
        assert failure == Failure(7, 1, 400, "Storage Full", NOON + SECOND)

    def test_of_a_device_that_never_succeeded(self) -> None:
        never = Device(7, None, *FULL, NOON)
        failed, _ = finish_when_due(begin(never, NOON, Plan(FULL, 0)))
        assert failed.last_sync_at is None
        succeeded, _ = finish_when_due(begin(failed, NOON + 1, Plan(SUCCEEDED, 0)))
        assert succeeded.last_sync_at == NOON + 1

    def test_is_refused_where_nothing_is_pending(self) -> None:
        with pytest.raises(InvalidTransition, match="device 7 has nothing to finish"):
            finish_when_due(DEVICE)
        finished, _ = finish_when_due(begin(DEVICE, NOON, Plan(FULL, 0)))
        with pytest.raises(InvalidTransition, match="device 7 has nothing to finish"):
            finish_when_due(finished)

    def test_is_refused_while_the_attempt_is_held(self) -> None:
        with pytest.raises(InvalidTransition, match="device 7 has nothing to finish"):
            finish_when_due(begin(DEVICE, NOON, HOLD))


class TestRelease:
    def test_gives_a_held_attempt_its_outcome_at_once(self) -> None:
        device = release(begin(DEVICE, NOON, HOLD), FULL, NOON + 5)
        assert device.pending == Pending(FULL, NOON + 5)
        finished, failure = finish_when_due(device)
        assert (finished.sync_status_code, finished.last_attempt_at) == (400, NOON)
        assert failure is not None
        assert failure.occurred_at == NOON + 5

    def test_leaves_no_error_from_before_the_attempt_though_the_clock_steps_back(self) -> None:
        _, failure = finish_when_due(release(begin(DEVICE, NOON, HOLD), FULL, NOON - 5))
        assert failure == Failure(7, 1, 400, "Storage Full", NOON)

    @pytest.mark.parametrize(
        "device",
        [
            DEVICE,
            begin(DEVICE, NOON, Plan(FULL, 1)),
            release(begin(DEVICE, NOON, HOLD), FULL, NOON),
        ],
        ids=["idle", "pending", "released"],
    )
    def test_is_refused_where_none_is_held(self, device: Device) -> None:
        with pytest.raises(InvalidTransition, match="device 7 holds no attempt"):
            release(device, SUCCEEDED, NOON)


def test_a_failure_becomes_an_error_log_with_its_number() -> None:
    failure = Failure(7, 3, 400, "Storage Full", NOON)
    assert failure.logged_as(12) == ErrorLog(12, 7, 3, 400, "Storage Full", NOON)


@given(idle_devices(), MOMENTS, PLANS, OUTCOMES, MOMENTS)
def test_an_attempt_keeps_every_rule_from_any_state(
    device: Device, now: int, plan: Plan, outcome: Outcome, released_at: int
) -> None:
    assume(in_time(device))
    pending = begin(device, now, plan)
    assert in_time(pending)
    assert device.last_attempt_at <= pending.last_attempt_at
    assert (pending.sync_status_code, pending.error_message) == (202, None)
    assert (pending.last_sync_at, pending.attempt) == (device.last_sync_at, device.attempt + 1)

    if plan == HOLD:
        pending = release(pending, outcome, released_at)
    assert pending.pending is not None
    assert pending.pending.due_at is not None
    assert (released_at if plan == HOLD else now) <= pending.pending.due_at <= LATEST

    finished, failure = finish_when_due(pending)
    assert in_time(finished)
    assert not finished.is_pending
    assert (finished.sync_status_code, finished.error_message) == pending.pending.outcome
    assert (finished.last_attempt_at, finished.attempt) == (
        pending.last_attempt_at,
        pending.attempt,
    )
    assert (failure is None) == (finished.sync_status_code == 200)
    if failure is None:
        assert finished.last_sync_at == finished.last_attempt_at
    else:
        assert finished.last_sync_at == device.last_sync_at
        assert failure[:4] == (device.device_id, finished.attempt, *pending.pending.outcome)
        assert failure.occurred_at == max(pending.pending.due_at, pending.last_attempt_at)
