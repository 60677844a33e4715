"""A profile as JSON, and what belongs to one: outcomes and delays."""

from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from pisync.model.outcome import OUTCOME_CODES, Outcome, why_not_an_outcome
from pisync.model.parsing.errors import load
from pisync.model.parsing.fields import Int, ListOf, Number, OneOf, Text
from pisync.model.plans.delay import MAX_DELAY, ConstantDelay, LognormalDelay, UniformDelay
from pisync.model.plans.phases import (
    MAX_PHASE_TIME,
    MAX_PHASES,
    MIN_CYCLE,
    Phase,
    phase_errors,
)
from pisync.model.plans.profile import MAX_PENDING, MAX_SEED, ProfileChanges
from pisync.model.plans.spells import MAX_MEAN_LENGTH
from pisync.model.plans.traffic import Traffic
from pisync.model.plans.weights import MAX_OUTCOMES, WeightedOutcome


class OutcomeSchema(Schema):
    """What an attempt comes to: a status code, and for a failure a message."""

    sync_status_code = Int(required=True, validate=validate.OneOf(OUTCOME_CODES))
    error_message = Text(
        load_default=None,
        allow_none=True,
        metadata={"description": "Required for a failure, null for a success."},
    )

    @validates_schema
    def _is_an_outcome(self, data: Mapping[str, Any], **_: object) -> None:
        if wrong := why_not_an_outcome(data["sync_status_code"], data["error_message"]):
            raise ValidationError({field: [text] for field, text in wrong.items()})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Any:
        return Outcome(**data)


class WeightedOutcomeSchema(OutcomeSchema):
    """An outcome in a profile, and its weight."""

    weight = Number(
        required=True,
        validate=validate.Range(min=0),
        metadata={"description": "How often it comes, relative to the others. Not all may be 0."},
    )

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Any:
        weight = data.pop("weight")
        return WeightedOutcome(Outcome(**data), weight)


def seconds(description: str = "In seconds.", **kwargs: Any) -> Number:
    """Return a field for a number of seconds that a delay may take."""
    return Number(
        validate=validate.Range(0, MAX_DELAY), metadata={"description": description}, **kwargs
    )


class ConstantDelaySchema(Schema):
    """Every attempt takes `seconds`."""

    distribution = Text(required=True, validate=validate.Equal("constant"))
    seconds = seconds(required=True)

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> ConstantDelay:
        return ConstantDelay(data["seconds"])


class UniformDelaySchema(Schema):
    """Delays are spread evenly from `min` to `max` seconds."""

    distribution = Text(required=True, validate=validate.Equal("uniform"))
    min = seconds(required=True)
    max = seconds(required=True)

    @validates_schema
    def _in_order(self, data: Mapping[str, Any], **_: object) -> None:
        if data["min"] > data["max"]:
            raise ValidationError({"max": ["Must not be less than min."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> UniformDelay:
        return UniformDelay(data["min"], data["max"])


class LognormalDelaySchema(Schema):
    """Delays are lognormal: `median` and `max` in seconds; longer delays are cut to `max`."""

    distribution = Text(required=True, validate=validate.Equal("lognormal"))
    median = seconds(required=True)
    sigma = Number(
        required=True,
        validate=validate.Range(min=0),
        metadata={"description": "The standard deviation of the logarithm."},
    )
    max = seconds(required=True)

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> LognormalDelay:
        return LognormalDelay(data["median"], data["sigma"], data["max"])


def delay_field(description: str, **kwargs: Any) -> OneOf:
    """Return a field for a distribution of delays."""
    return OneOf(
        "Delay",
        "distribution",
        {
            "constant": ConstantDelaySchema,
            "uniform": UniformDelaySchema,
            "lognormal": LognormalDelaySchema,
        },
        metadata={"description": description},
        **kwargs,
    )


def _outcomes() -> ListOf:
    return ListOf(fields.Nested(WeightedOutcomeSchema), validate.Length(1, MAX_OUTCOMES))


def _delay() -> OneOf:
    return delay_field("How long attempts take: one of three distributions.")


class _WithOutcomes(Schema):
    """What has outcomes by weight."""

    @validates_schema
    def _some_weight(self, data: Mapping[str, Any], **_: object) -> None:
        outcomes = data.get("outcomes")
        if outcomes and all(outcome.weight == 0 for outcome in outcomes):
            raise ValidationError({"outcomes": ["At least one weight must be above 0."]})


class SpellsSchema(Schema):
    """How long a device's outcomes stay as they are.

    Loads into the mean length of a run.
    """

    mean_length = Number(
        required=True,
        validate=validate.Range(1, MAX_MEAN_LENGTH),
        metadata={"description": "In attempts. 1: each attempt draws for itself."},
    )

    @post_load
    def _length(self, data: Mapping[str, float], **_: object) -> float:
        return data["mean_length"]


class TrafficSchema(Schema):
    """How often devices sync by themselves."""

    every = delay_field(
        "Seconds from the end of a device's attempt to its own next: one of three distributions.",
        required=True,
    )
    share = Number(
        validate=validate.Range(0, 1),
        metadata={"description": "The part of the devices that do so. 1 if left out."},
    )

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Traffic:
        return Traffic(**data)


class PhaseSchema(_WithOutcomes):
    """Outcomes or delays of attempts that begin in a stretch of the fleet's time."""

    start = Number(
        required=True,
        data_key="from",
        validate=validate.Range(0, MAX_PHASE_TIME),
        metadata={"description": "Seconds of fleet time since the fleet was made or reset."},
    )
    end = Number(
        required=True,
        data_key="until",
        validate=validate.Range(0, MAX_PHASE_TIME),
        metadata={"description": "The first moment that does not belong to it, likewise."},
    )
    outcomes = _outcomes()
    delay = _delay()

    @validates_schema
    def _changes_something(self, data: Mapping[str, Any], **_: object) -> None:
        if not {"outcomes", "delay"} & data.keys():
            raise ValidationError({"outcomes": ["Give outcomes, or a delay, or both."]})

    @post_load
    def _make(self, data: dict[str, Any], **_: object) -> Phase:
        if "outcomes" in data:
            data["outcomes"] = tuple(data["outcomes"])
        return Phase(**data)


class ProfileSchema(_WithOutcomes):
    """The rules for a fleet's attempts.

    Loads into the arguments of a `Profile` that it sets, for `new_profile`.
    """

    seed = Int(
        validate=validate.Range(0, MAX_SEED),
        metadata={
            "description": "Fixes all outcomes and delays. A fleet made without one draws one."
        },
    )
    outcomes = _outcomes()
    delay = _delay()
    when_pending = Text(
        validate=validate.OneOf(("join", "refuse")),
        metadata={"description": "Whether a sync of a pending device joins or is refused."},
    )
    max_pending = Int(
        validate=validate.Range(0, MAX_PENDING),
        metadata={"description": "The most syncs that may be pending at once."},
    )

    spells = fields.Nested(
        SpellsSchema, metadata={"description": "Whether a device's outcomes come in runs."}
    )
    phases = ListOf(
        fields.Nested(PhaseSchema),
        validate.Length(max=MAX_PHASES),
        metadata={"description": "Stretches of time with other outcomes or delays; none overlap."},
    )
    repeat_every = Number(
        allow_none=True,
        validate=validate.Range(MIN_CYCLE, MAX_PHASE_TIME),
        metadata={"description": "The seconds after which phases come again; null: never."},
    )

    traffic = fields.Nested(
        TrafficSchema,
        allow_none=True,
        metadata={"description": "Whether devices sync by themselves; null: they do not."},
    )

    @validates_schema
    def _phases_go_together(self, data: Mapping[str, Any], **_: object) -> None:
        if clashes := phase_errors(data.get("phases", ()), data.get("repeat_every")):
            raise ValidationError({"phases": clashes_by_index(clashes)})

    @post_load
    def _arguments(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        for name in ("outcomes", "phases"):
            if name in data:
                data[name] = tuple(data[name])
        if "when_pending" in data:
            data["refuse_pending"] = data.pop("when_pending") == "refuse"
        if "spells" in data:
            data["mean_length"] = data.pop("spells")
        return data


def clashes_by_index(
    clashes: Mapping[int, Mapping[str, str]],
) -> dict[int, dict[str, list[str]]]:
    """Return what is wrong with phases, as marshmallow has it."""
    return {
        index: {field: [text] for field, text in errors.items()}
        for index, errors in clashes.items()
    }


def parse_profile(value: object) -> ProfileChanges:
    """Parse a profile, or a part of one, into the arguments that it sets.

    Raises:
        InvalidValue: The value is not a profile, or a part of one.
    """
    changes: ProfileChanges = load(ProfileSchema(), value)
    return changes
