"""The histogram: few numbers for many times."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pisync.telemetry.histogram import TO_1_PERCENT, Histogram

BOUNDS = (0.001, 0.01, 0.1)


def histogram_of(*times: float) -> Histogram:
    histogram = Histogram(BOUNDS)
    for seconds in times:
        histogram.add(seconds)
    return histogram


def test_a_time_counts_for_its_bound_and_all_above() -> None:
    histogram = histogram_of(0.0005, 0.001, 0.0011, 0.05, 7.0)
    assert histogram.cumulative() == [(0.001, 2), (0.01, 3), (0.1, 4), (math.inf, 5)]
    assert histogram.count == 5
    assert histogram.total == pytest.approx(7.0526)
    assert histogram.max == 7.0


@given(
    st.lists(st.floats(1e-5, 2000), min_size=1, max_size=200),
    st.sampled_from([1, 50, 90, 99, 99.9, 100]),
)
def test_percentiles_are_right_to_1_percent(times: list[float], percent: float) -> None:
    histogram = Histogram(TO_1_PERCENT)
    for seconds in times:
        histogram.add(seconds)
    exact = sorted(times)[math.ceil(len(times) * percent / 100) - 1]
    found = histogram.percentile(percent)
    if exact <= 1000:
        assert exact * 0.999999 <= found <= exact * 1.0101
    else:
        assert found == histogram.max


def test_there_is_a_percentile_of_nothing_and_of_no_time() -> None:
    assert Histogram(BOUNDS).percentile(99) == 0
    assert histogram_of(0.0).percentile(99) == 0


def test_histograms_are_merged() -> None:
    merged = histogram_of(0.0005).merge([histogram_of(0.05, 2.0), histogram_of()])
    assert merged.cumulative() == histogram_of(0.0005, 0.05, 2.0).cumulative()
    assert merged.total == pytest.approx(2.0505)
    assert merged.max == 2.0
