"""Profiles, devices and rules for faults that a fleet is given while it is fuzzed."""

from collections.abc import Mapping, Sequence

from pisync.model.outcome import Outcome
from pisync.model.plans.delay import ConstantDelay, LognormalDelay, UniformDelay
from pisync.model.plans.phases import Phase
from pisync.model.plans.profile import Profile
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import WeightedOutcome
from pisync.model.requests.fault import CloseFault, FaultRule, ResetFault, StatusFault

FULL, TIMEOUT = Outcome(400, "Storage Full"), Outcome(500, "Connection Timeout")
HOUR = 3600
"""Longer than the clock of any example moves."""
PROFILES = (
    Profile(seed=1, delay=LognormalDelay(5, 1, 60)),
    Profile(seed=2, delay=UniformDelay(0, 20), refuse_pending=True),
    Profile(seed=3, outcomes=(WeightedOutcome(FULL, 1),), delay=ConstantDelay(0)),
    Profile(seed=4, delay=ConstantDelay(10), max_pending=2, mean_length=3),
    Profile(
        seed=5,
        phases=(
            Phase(0, HOUR, (WeightedOutcome(FULL, 1), WeightedOutcome(TIMEOUT, 1))),
            Phase(2 * HOUR, 3 * HOUR, None, ConstantDelay(3)),
        ),
        repeat_every=4 * HOUR,
    ),
)
TRAFFIC = (None, Traffic(UniformDelay(1, 20), 0.7), Traffic(ConstantDelay(3)))
BUSY, BAD_GATEWAY = StatusFault(429, 1), StatusFault(502)
RULES = (
    (),
    (FaultRule(("sync", "bulk"), BUSY, share=0.4),),
    (
        FaultRule(("sync",), ResetFault(), frozenset((1, 2)), first=2),
        FaultRule(("device", "devices", "errors"), CloseFault(), share=0.2, is_after=True),
        FaultRule(("stats", "devices"), BAD_GATEWAY, first=3, is_after=True),
    ),
)
"""Of those that have had their effect, only what may be repeated without another one."""
LISTED: Sequence[Mapping[str, object]] = (
    {"device_id": 1},
    {"device_id": 2, "sync_status_code": 400, "error_message": "Storage Full"},
    {"device_id": 3, "last_attempt_at": "2096-01-02T03:04:05.678901Z"},
    {"device_id": 8},
)
UNUSED: Mapping[str, object] = {"spells": {"mean_length": 1}, "phases": [], "repeat_every": None}
"""What a profile does not show where it is not used."""
