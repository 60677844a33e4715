"""Values as text, for columns that a database only stores."""

from collections.abc import Iterable
from typing import Any

import orjson

from pisync.model.device import ErrorLog
from pisync.model.fleet import DeviceSpec, FirstData, Generated, Listed
from pisync.model.outcome import Outcome
from pisync.model.plans.delay import ConstantDelay, Delay, LognormalDelay, UniformDelay
from pisync.model.plans.phases import Phase
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.timestamp import Moment, RelativeMoment

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
    written = {
        "seed": profile.seed,
        "outcomes": _outcomes(profile.outcomes),
        "delay": _delay(profile.delay),
        "refuse_pending": profile.refuse_pending,
        "max_pending": profile.max_pending,
    }
    # Only where it is used: 0.1.0 reads a profile that has no more than the above.
    if profile.mean_length != 1:
        written["mean_length"] = profile.mean_length
    if profile.phases:
        written["phases"] = [
            (
                phase.start,
                phase.end,
                None if phase.outcomes is None else _outcomes(phase.outcomes),
                None if phase.delay is None else _delay(phase.delay),
            )
            for phase in profile.phases
        ]
    if profile.repeat_every is not None:
        written["repeat_every"] = profile.repeat_every
    if profile.traffic is not None:
        written["traffic"] = _delay(profile.traffic.every), profile.traffic.share
    return _write(written)


def _outcomes(outcomes: Iterable[WeightedOutcome]) -> list[object]:
    return [(*each.outcome, each.weight) for each in outcomes]


def _delay(delay: Delay) -> list[object]:
    return [_DELAY_NAMES[type(delay)], *(getattr(delay, name) for name in delay.__slots__)]


def read_profile(text: str) -> Profile:
    """Return the profile that `write_profile` wrote."""
    written: dict[str, Any] = orjson.loads(text)
    phases = written.pop("phases", ())
    traffic = written.pop("traffic", None)
    return Profile(
        **{
            **written,
            "outcomes": _read_outcomes(written["outcomes"]),
            "delay": _read_delay(written["delay"]),
        },
        phases=tuple(
            Phase(
                start,
                end,
                None if outcomes is None else _read_outcomes(outcomes),
                None if delay is None else _read_delay(delay),
            )
            for start, end, outcomes, delay in phases
        ),
        traffic=None if traffic is None else Traffic(_read_delay(traffic[0]), traffic[1]),
    )


def _read_outcomes(written: Iterable[tuple[int, str | None, float]]) -> tuple[WeightedOutcome, ...]:
    return tuple(
        WeightedOutcome(Outcome(code, message), weight) for code, message, weight in written
    )


def _read_delay(written: Iterable[Any]) -> Delay:
    distribution, *parameters = written
    return _DELAYS[distribution](*parameters)


def write_first(first: FirstData) -> str:
    """Return a fleet's first data as text."""
    if isinstance(first, Generated):
        return _write({"count": first.count})
    written: dict[str, object] = {
        "devices": [_without_relative(each) for each in first.devices],
        "error_logs": list(first.error_logs),
    }
    relative = [
        (place, _age(each.last_sync_at), _age(each.last_attempt_at))
        for place, each in enumerate(first.devices)
        if _is_relative(each)
    ]
    # Only where there are any, and beside the devices: 0.1.0 reads these as left open.
    if relative:
        written["relative"] = relative
    return _write(written)


def _is_relative(spec: DeviceSpec) -> bool:
    return RelativeMoment in (type(spec.last_sync_at), type(spec.last_attempt_at))


def _without_relative(spec: DeviceSpec) -> DeviceSpec:
    if not _is_relative(spec):
        return spec
    synced, attempted = (
        None if isinstance(moment, RelativeMoment) else moment
        for moment in (spec.last_sync_at, spec.last_attempt_at)
    )
    return spec._replace(last_sync_at=synced, last_attempt_at=attempted)


def _age(moment: Moment | None) -> int | None:
    return moment.age if isinstance(moment, RelativeMoment) else None


def read_first(text: str) -> FirstData:
    """Return the first data that `write_first` wrote."""
    written = orjson.loads(text)
    if "count" in written:
        return Generated(written["count"])
    devices = [DeviceSpec(*each) for each in written["devices"]]
    for place, synced, attempted in written.get("relative", ()):
        if synced is not None:
            devices[place] = devices[place]._replace(last_sync_at=RelativeMoment(synced))
        if attempted is not None:
            devices[place] = devices[place]._replace(last_attempt_at=RelativeMoment(attempted))
    return Listed(devices, [ErrorLog(*each) for each in written["error_logs"]])


def write_steps(steps: tuple[Step, ...]) -> str:
    """Return a script's steps as text."""
    # Polls only where there are some: 0.1.0 reads steps that have no more than the other two.
    return _write([step if step.polls is not None else step[:2] for step in steps])


def read_script(steps: str, sticky: bool, position: int) -> Script:
    """Return a script with the steps that `write_steps` wrote."""
    return Script(
        tuple(
            Step(None if outcome is None else Outcome(*outcome), *timing)
            for outcome, *timing in orjson.loads(steps)
        ),
        sticky,
        position,
    )
