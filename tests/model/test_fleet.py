import pytest
from hypothesis import given
from hypothesis import strategies as st

from pisync.model.device import Device, synced
from pisync.model.fleet import DeviceSpec, FleetTimes, Ledger
from pisync.model.timestamp import SECOND, Moment, RelativeMoment

MADE_AT, BEFORE, AFTER = 1000, 900, 1100
MADE = FleetTimes(MADE_AT, MADE_AT)
NOW, HOUR_AGO = RelativeMoment(0), RelativeMoment(3600)
RESET_AT = 5_000_000_000_000_000


class TestDeviceSpec:
    def test_of_an_id_alone_is_a_device_synced_when_its_fleet_was_made(self) -> None:
        assert DeviceSpec(7).made(MADE) == synced(7, MADE_AT)

    @pytest.mark.parametrize(
        "spec",
        [
            DeviceSpec(7, last_sync_at=BEFORE),
            DeviceSpec(7, last_attempt_at=BEFORE),
            DeviceSpec(7, last_sync_at=BEFORE, last_attempt_at=BEFORE),
        ],
        ids=["sync", "attempt", "both"],
    )
    def test_of_a_success_has_one_time_for_both(self, spec: DeviceSpec) -> None:
        assert spec.made(MADE) == Device(7, BEFORE, 200, None, BEFORE)

    @pytest.mark.parametrize(
        ("last_sync_at", "last_attempt_at", "made"),
        [
            (None, None, (None, MADE_AT)),
            (None, AFTER, (None, AFTER)),
            (BEFORE, None, (BEFORE, MADE_AT)),
            (AFTER, None, (AFTER, AFTER)),
            (BEFORE, BEFORE, (BEFORE, BEFORE)),
            (BEFORE, AFTER, (BEFORE, AFTER)),
        ],
    )
    def test_of_a_failure_was_attempted_when_its_fleet_was_made_unless_it_says_otherwise(
        self,
        last_sync_at: int | None,
        last_attempt_at: int | None,
        made: tuple[int | None, int],
    ) -> None:
        spec = DeviceSpec(7, last_sync_at, 500, "Connection Timeout", last_attempt_at)
        synced_at, attempted_at = made
        assert spec.made(MADE) == Device(7, synced_at, 500, "Connection Timeout", attempted_at)

    @given(
        st.sampled_from((200, 404)),
        st.none() | st.integers(0, 2000),
        st.none() | st.integers(0, 2000),
        st.integers(0, 2000),
    )
    def test_never_succeeded_after_its_last_attempt(
        self, code: int, one: int | None, other: int | None, made_at: int
    ) -> None:
        message = None if code == 200 else "Server Not Reachable"
        if one is not None and other is not None:
            one, other = (other, other) if code == 200 else sorted((one, other))
        device = DeviceSpec(7, one, code, message, other).made(FleetTimes(made_at, made_at))
        assert device.last_sync_at is None or device.last_sync_at <= device.last_attempt_at
        assert other is None or device.last_attempt_at == other

    @pytest.mark.parametrize(
        ("code", "last_sync_at", "last_attempt_at", "made"),
        [
            (200, HOUR_AGO, None, (-3600, -3600)),
            (200, None, HOUR_AGO, (-3600, -3600)),
            (200, HOUR_AGO, HOUR_AGO, (-3600, -3600)),
            (500, HOUR_AGO, NOW, (-3600, 0)),
            (500, HOUR_AGO, None, (-3600, 0)),
            (500, None, HOUR_AGO, (None, -3600)),
        ],
    )
    def test_has_relative_times_of_its_fleets_making_and_then_of_its_reset(
        self,
        code: int,
        last_sync_at: Moment | None,
        last_attempt_at: Moment | None,
        made: tuple[int | None, int],
    ) -> None:
        message = None if code == 200 else "Connection Timeout"
        spec = DeviceSpec(7, last_sync_at, code, message, last_attempt_at)
        for now in (MADE_AT, RESET_AT):
            device = spec.made(FleetTimes(MADE_AT, now))
            synced, attempted = (
                None if seconds is None else now + seconds * SECOND for seconds in made
            )
            assert (device.last_sync_at, device.last_attempt_at) == (synced, attempted)

    def test_has_open_times_of_its_fleets_making_after_a_reset_too(self) -> None:
        assert DeviceSpec(7).made(FleetTimes(MADE_AT, RESET_AT)) == synced(7, MADE_AT)

    def test_that_failed_was_not_attempted_before_its_sync_though_the_clock_stepped_back(
        self,
    ) -> None:
        spec = DeviceSpec(7, AFTER, 500, "Connection Timeout", HOUR_AGO)
        assert spec.made(FleetTimes(MADE_AT, MADE_AT)).last_attempt_at == AFTER


class TestLedger:
    BALANCED = Ledger(
        accepted=10,
        joined=3,
        refused=2,
        succeeded=4,
        failed={400: {"Storage Full": 1, "Authentication Failure": 1}, 500: {"Timeout": 2}},
        pending=2,
        held=1,
        error_logs=4,
        faults={"before": {"reset": 3}, "after": {}},
    )

    def test_balances_when_every_sync_and_every_failure_is_accounted_for(self) -> None:
        assert self.BALANCED.balanced
        assert Ledger(0, 0, 0, 0, {}, 0, 0, 0, {}).balanced

    @pytest.mark.parametrize(
        "change",
        [
            {"accepted": 11},
            {"accepted": 9},
            {"succeeded": 3},
            {"succeeded": 5},
            {"pending": 1},
            {"pending": 3},
            {"error_logs": 3},
            {"error_logs": 5},
            {"failed": {400: {"Storage Full": 2}, 500: {"Timeout": 1}}},
            {"failed": {}, "accepted": 6},
            # A sync too many in one place and too few in another.
            {"succeeded": 5, "failed": {400: {"Storage Full": 1}, 500: {"Timeout": 2}}},
        ],
        ids=str,
    )
    def test_shows_whatever_was_lost_or_counted_twice(self, change: dict[str, int]) -> None:
        assert not self.BALANCED._replace(**change).balanced  # type: ignore[arg-type]  # per field

    @pytest.mark.parametrize("field", ["joined", "refused", "held"])
    def test_balances_whatever_began_nothing(self, field: str) -> None:
        assert self.BALANCED._replace(**{field: 99}).balanced  # type: ignore[arg-type]  # per field
