"""Values as text, and back."""

from dataclasses import replace

import orjson
import pytest

from pisync.model.device import ErrorLog
from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import DeviceSpec, FirstData, Generated, Listed
from pisync.model.outcome import SUCCEEDED, Outcome
from pisync.model.plans.delay import ConstantDelay, Delay, LognormalDelay, UniformDelay
from pisync.model.plans.phases import Phase
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.timestamp import RelativeMoment
from pisync.stores.schema import codec


@pytest.mark.parametrize(
    "delay", [ConstantDelay(0.1), UniformDelay(0, 2.5), LognormalDelay(2, 0.5, 10)]
)
def test_a_profile_comes_back_as_it_was(delay: Delay) -> None:
    outcomes = (
        WeightedOutcome(SUCCEEDED, 0.1),
        WeightedOutcome(Outcome(400, "Größe\u2028 überschritten"), 3),
    )
    profile = Profile(2**53 - 1, outcomes, delay, refuse_pending=True, max_pending=7)
    assert codec.read_profile(codec.write_profile(profile)) == profile
    phases = (Phase(0, 1.5, outcomes), Phase(2, 3, None, delay), Phase(4, 5, outcomes, delay))
    fuller = replace(
        profile, mean_length=8.5, phases=phases, repeat_every=86_400, traffic=Traffic(delay, 0.5)
    )
    assert codec.read_profile(codec.write_profile(fuller)) == fuller


def test_a_profile_without_them_says_nothing_of_spells_and_phases() -> None:
    # 0.1.0, a replica beside this one, refuses words that it does not know.
    assert set(orjson.loads(codec.write_profile(Profile(1)))) == {
        *("seed", "outcomes", "delay", "refuse_pending", "max_pending"),
    }


@pytest.mark.parametrize(
    "first",
    [
        Generated(5_000_000),
        first_fleet(),
        Listed([DeviceSpec(1), DeviceSpec(2**53 - 1, None, 500, "x", 5)]),
        Listed(
            [
                DeviceSpec(1, RelativeMoment(7200)),
                DeviceSpec(2),
                DeviceSpec(3, RelativeMoment(60), 500, "x", RelativeMoment(0)),
                DeviceSpec(4, 5, 500, "x", RelativeMoment(0)),
                DeviceSpec(5, None, 500, "x", RelativeMoment(1)),
            ]
        ),
        Listed([DeviceSpec(3)], [ErrorLog(1, 3, 0, 404, "Server Not Reachable", 12)]),
    ],
)
def test_first_data_comes_back_as_it_was(first: FirstData) -> None:
    read = codec.read_first(codec.write_first(first))
    if isinstance(first, Listed):
        assert isinstance(read, Listed)
        assert (list(read.devices), list(read.error_logs)) == (
            list(first.devices),
            list(first.error_logs),
        )
    else:
        assert read == first


@pytest.mark.parametrize("sticky", [True, False])
def test_a_script_comes_back_as_it_was(sticky: bool) -> None:
    steps = (Step(None), Step(SUCCEEDED), Step(Outcome(500, "Connection Timeout"), 1_500_000))
    script = Script(steps, sticky, 2)
    assert codec.read_script(codec.write_steps(steps), sticky, 2) == script


def test_a_replica_that_knows_no_relative_times_takes_them_as_open() -> None:
    # As 0.1.0 reads first data: it resets fleets that replicas beside it have made.
    spec = DeviceSpec(3, RelativeMoment(60), 500, "x", RelativeMoment(0))
    written = orjson.loads(codec.write_first(Listed([DeviceSpec(1), spec])))
    assert written["devices"] == [[1, None, 200, None, None], [3, None, 500, "x", None]]
    assert "relative" not in orjson.loads(codec.write_first(Listed([DeviceSpec(1)])))
