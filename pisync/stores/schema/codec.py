"""Values as text, for columns that a database only stores."""

from typing import Any

import orjson

from pisync.model.device import ErrorLog
from pisync.model.fleet import DeviceSpec, FirstData, Generated, Listed
from pisync.model.outcome import Outcome
from pisync.model.plans.delay import ConstantDelay, Delay, LognormalDelay, UniformDelay
from pisync.model.plans.profile import Profile, WeightedOutcome
from pisync.model.plans.script import Script, Step

_DELAYS: dict[str, type[Delay]] = {
    "constant": ConstantDelay,
    "uniform": UniformDelay,
    "lognormal": LognormalDelay,
}
_DELAY_NAMES = {delay: name for name, delay in _DELAYS.items()}


def _write(value: object) -> str:
    # orjson takes no named tuples; what it does not know is a tuple here.
    return orjson.dumps(value, default=tuple).decode()


def write_profile(profile: Profile) -> str:
    """Return a profile as text."""
    delay = profile.delay
    return _write(
        {
            "seed": profile.seed,
            "outcomes": [(*each.outcome, each.weight) for each in profile.outcomes],
            "delay": [
                _DELAY_NAMES[type(delay)],
                *(getattr(delay, name) for name in delay.__slots__),
            ],
            "refuse_pending": profile.refuse_pending,
            "max_pending": profile.max_pending,
        }
    )


def read_profile(text: str) -> Profile:
    """Return the profile that `write_profile` wrote."""
    written: dict[str, Any] = orjson.loads(text)
    distribution, *parameters = written.pop("delay")
    outcomes = written.pop("outcomes")
    return Profile(
        **written,
        outcomes=tuple(
            WeightedOutcome(Outcome(code, message), weight) for code, message, weight in outcomes
        ),
        delay=_DELAYS[distribution](*parameters),
    )


def write_first(first: FirstData) -> str:
    """Return a fleet's first data as text."""
    if isinstance(first, Generated):
        return _write({"count": first.count})
    return _write({"devices": list(first.devices), "error_logs": list(first.error_logs)})


def read_first(text: str) -> FirstData:
    """Return the first data that `write_first` wrote."""
    written = orjson.loads(text)
    if "count" in written:
        return Generated(written["count"])
    return Listed(
        [DeviceSpec(*each) for each in written["devices"]],
        [ErrorLog(*each) for each in written["error_logs"]],
    )


def write_steps(steps: tuple[Step, ...]) -> str:
    """Return a script's steps as text."""
    return _write(steps)


def read_script(steps: str, sticky: bool, position: int) -> Script:
    """Return a script with the steps that `write_steps` wrote."""
    return Script(
        tuple(
            Step(None if outcome is None else Outcome(*outcome), delay)
            for outcome, delay in orjson.loads(steps)
        ),
        sticky,
        position,
    )
