import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pisync.model.plans.delay import MAX_DELAY, ConstantDelay, LognormalDelay, UniformDelay

SMALLEST_U, LARGEST_U = 2.0**-53, 1 - 2.0**-53
"""The generator's extremes."""
SHARES = st.floats(SMALLEST_U, LARGEST_U)
SECONDS = st.floats(0, MAX_DELAY)


class TestConstantDelay:
    @given(SECONDS, SHARES)
    def test_is_always_the_same(self, seconds: float, u: float) -> None:
        assert ConstantDelay(seconds).quantile(u) == seconds


class TestUniformDelay:
    def test_spreads_evenly(self) -> None:
        delay = UniformDelay(1, 3)
        assert [delay.quantile(u) for u in (0.25, 0.5, 0.75)] == [1.5, 2, 2.5]

    @given(SECONDS, SECONDS, SHARES)
    @example(0, MAX_DELAY, LARGEST_U)
    def test_stays_within_its_bounds(self, one: float, other: float, u: float) -> None:
        low, high = sorted((one, other))
        assert low <= UniformDelay(low, high).quantile(u) <= high


class TestLognormalDelay:
    def test_has_the_median_and_the_spread_that_it_says(self) -> None:
        delay = LognormalDelay(median=2, sigma=0.5, max=1000)
        assert delay.quantile(0.5) == pytest.approx(2, rel=1e-15)
        # 84.134474606854 % of a normal distribution lies below one standard deviation above its
        # mean: a digit of every table of it.
        assert delay.quantile(0.84134474606854) == pytest.approx(2 * math.exp(0.5), rel=1e-12)
        assert delay.quantile(1 - 0.84134474606854) == pytest.approx(2 / math.exp(0.5), rel=1e-12)

    def test_is_cut_off_at_its_maximum(self) -> None:
        delay = LognormalDelay(median=2, sigma=0.5, max=3)
        assert delay.quantile(0.9) == delay.quantile(LARGEST_U) == 3

    @pytest.mark.parametrize("u", [SMALLEST_U, 0.5, LARGEST_U])
    @pytest.mark.parametrize(("median", "most"), [(0, 10), (2, 0), (0, 0)])
    def test_takes_no_time_where_median_or_maximum_is_zero(
        self, median: float, most: float, u: float
    ) -> None:
        assert LognormalDelay(median, 0.5, most).quantile(u) == 0

    @pytest.mark.parametrize("u", [SMALLEST_U, 0.5, LARGEST_U])
    def test_is_its_median_without_spread(self, u: float) -> None:
        assert LognormalDelay(2, 0, 10).quantile(u) == pytest.approx(2, rel=1e-15)
        assert LognormalDelay(20, 0, 10).quantile(u) == 10

    @pytest.mark.parametrize("sigma", [1e3, 1e300, 1.7e308])
    def test_a_huge_spread_gives_nothing_or_the_maximum(self, sigma: float) -> None:
        delay = LognormalDelay(2, sigma, 10)
        assert [delay.quantile(u) for u in (SMALLEST_U, LARGEST_U)] == [0, 10]

    @given(SECONDS, st.floats(0, 1.7e308), SECONDS, st.lists(SHARES, min_size=2, max_size=5))
    @example(5e-324, 1.7e308, 5e-324, [SMALLEST_U, LARGEST_U])
    def test_stays_within_its_bounds_and_rises(
        self, median: float, sigma: float, most: float, shares: list[float]
    ) -> None:
        delay = LognormalDelay(median, sigma, most)
        seconds = [delay.quantile(u) for u in sorted(shares)]
        assert all(0 <= each <= most for each in seconds)
        assert all(low <= high for low, high in pairwise(seconds))
