from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import FleetTimes
from pisync.model.outcome import SUCCESS, why_not_an_outcome
from pisync.model.plans.profile import DEFAULT_OUTCOMES
from pisync.model.timestamp import parse

MADE_AT = parse("2026-11-22T07:40:12.000000Z")
FLEET = first_fleet()
DEVICES = [each.made(FleetTimes(MADE_AT, MADE_AT)) for each in FLEET.devices]


def test_there_are_ten_devices_with_the_ids_1_to_10() -> None:
    assert [each.device_id for each in DEVICES] == list(range(1, 11))


def test_each_code_but_pending_is_among_them() -> None:
    assert {each.sync_status_code for each in DEVICES} == {200, 400, 404, 500}


def test_exactly_one_never_succeeded() -> None:
    assert [each.last_sync_at for each in DEVICES].count(None) == 1


def test_each_has_an_outcome_that_attempts_come_to() -> None:
    possible = [each.outcome for each in DEFAULT_OUTCOMES]
    for each in DEVICES:
        assert why_not_an_outcome(each.sync_status_code, each.error_message) == {}
        assert (each.sync_status_code, each.error_message) in possible


def test_no_success_is_later_than_the_last_attempt() -> None:
    for each in DEVICES:
        assert each.last_sync_at is None or each.last_sync_at <= each.last_attempt_at
        if each.sync_status_code == SUCCESS:
            assert each.last_sync_at == each.last_attempt_at


def test_all_times_are_hard_coded_and_in_the_past() -> None:
    assert [each.made(FleetTimes(MADE_AT + 1, MADE_AT + 2)) for each in FLEET.devices] == DEVICES
    assert all(each.last_attempt_at < MADE_AT for each in DEVICES)


def test_no_attempt_was_made_by_the_simulator() -> None:
    assert all(each.attempt == 0 and not each.is_pending for each in DEVICES)


def test_each_failure_has_the_error_log_that_belongs_to_it() -> None:
    failed = {each.device_id: each for each in DEVICES if each.sync_status_code != SUCCESS}
    assert sorted(log.device_id for log in FLEET.error_logs) == sorted(failed)
    for log in FLEET.error_logs:
        device = failed[log.device_id]
        assert log.attempt == 0
        assert (log.sync_status_code, log.error_message, log.occurred_at) == (
            device.sync_status_code,
            device.error_message,
            device.last_attempt_at,
        )


def test_error_ids_count_from_1_in_the_order_of_what_happened() -> None:
    assert [log.error_id for log in FLEET.error_logs] == list(range(1, len(FLEET.error_logs) + 1))
    times = [log.occurred_at for log in FLEET.error_logs]
    assert times == sorted(times)


def test_it_is_the_same_each_time() -> None:
    assert first_fleet() == FLEET
