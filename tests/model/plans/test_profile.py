import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pisync.model.outcome import SUCCEEDED, Outcome, why_not_an_outcome
from pisync.model.plans.delay import LognormalDelay
from pisync.model.plans.profile import DEFAULT_OUTCOMES, Profile
from pisync.model.plans.weights import WeightedOutcome

SMALLEST_U, LARGEST_U = 2.0**-53, 1 - 2.0**-53
"""The generator's extremes."""
SHARES = st.floats(SMALLEST_U, LARGEST_U)


def weighing(*weights: float) -> Profile:
    """Return a profile whose outcomes, told apart by their messages, have these weights."""
    return Profile(
        seed=1,
        outcomes=tuple(
            WeightedOutcome(Outcome(500, str(place)), weight)
            for place, weight in enumerate(weights)
        ),
    )


def chosen(profile: Profile, u: float) -> int:
    return int(profile.rules_at(0).choice.at(u).error_message or "")


def test_the_defaults_are_the_contracts() -> None:
    profile = Profile(seed=1)
    assert [(*each.outcome, each.weight) for each in profile.outcomes] == [
        (200, None, 70),
        (400, "Authentication Failure", 6),
        (400, "Storage Full", 6),
        (404, "Server Not Reachable", 6),
        (500, "Connection Timeout", 6),
        (500, "Unknown Sync Error", 6),
    ]
    assert profile.delay == LognormalDelay(median=2.0, sigma=0.5, max=10.0)
    assert not profile.refuse_pending


def test_the_default_outcomes_are_outcomes() -> None:
    assert [why_not_an_outcome(*each.outcome) for each in DEFAULT_OUTCOMES] == [{}] * 6


class TestChoose:
    @pytest.mark.parametrize(
        ("u", "place"),
        [
            (SMALLEST_U, 0),
            (0.2499, 0),
            (0.25, 1),
            (0.4999, 1),
            (0.5, 2),
            (LARGEST_U, 2),
        ],
    )
    def test_divides_the_unit_in_proportion_to_the_weights(self, u: float, place: int) -> None:
        assert chosen(weighing(1, 1, 2), u) == place
        assert chosen(weighing(0.001, 0.001, 0.002), u) == place

    @given(SHARES)
    @example(SMALLEST_U)
    @example(LARGEST_U)
    def test_never_takes_an_outcome_without_a_weight(self, u: float) -> None:
        assert chosen(weighing(0, 0, 1, 0, 2, 0, 0), u) in {2, 4}

    @pytest.mark.parametrize("u", [SMALLEST_U, 0.5, LARGEST_U])
    def test_takes_the_only_outcome(self, u: float) -> None:
        assert chosen(weighing(5e-324), u) == 0
        assert (
            Profile(1, (WeightedOutcome(SUCCEEDED, 1e308),)).rules_at(0).choice.at(u) == SUCCEEDED
        )

    @pytest.mark.parametrize("u", [SMALLEST_U, 0.5, LARGEST_U])
    def test_the_smallest_weight_beside_the_largest_is_as_good_as_none(self, u: float) -> None:
        assert chosen(weighing(5e-324, 1e308), u) == 1
        assert chosen(weighing(1e308, 5e-324), u) == 0

    def test_the_largest_weights_do_not_overflow(self) -> None:
        profile = weighing(1e308, 1e308, 1.7e308)
        assert [chosen(profile, u) for u in (SMALLEST_U, 0.4, LARGEST_U)] == [0, 1, 2]

    def test_the_smallest_weights_do_not_vanish(self) -> None:
        profile = weighing(5e-324, 5e-324)
        assert [chosen(profile, u) for u in (0.49, 0.51)] == [0, 1]

    @given(
        st.lists(st.floats(0, 1e308), min_size=1, max_size=9).filter(any),
        st.lists(SHARES, min_size=2, max_size=9),
    )
    def test_takes_outcomes_in_their_order_and_only_those_with_a_weight(
        self, weights: list[float], shares: list[float]
    ) -> None:
        profile = weighing(*weights)
        places = [chosen(profile, u) for u in sorted(shares)]
        assert places == sorted(places)
        assert all(weights[place] > 0 for place in places)
