import math

from hypothesis import given
from hypothesis import strategies as st

from pisync.load.tally import Latencies, Tally


@given(
    st.lists(st.floats(1e-5, 100), min_size=1, max_size=200),
    st.sampled_from([1, 50, 90, 99, 99.9, 100]),
)
def test_percentiles_are_right_to_1_percent(times: list[float], percent: float) -> None:
    latencies = Latencies()
    for each in times:
        latencies.add(each)
    exact = sorted(times)[math.ceil(len(times) * percent / 100) - 1]
    assert exact * 0.999999 <= latencies.percentile(percent) <= exact * 1.0101
    assert latencies.longest == max(times)


def test_there_is_a_percentile_of_nothing_and_of_no_time() -> None:
    latencies = Latencies()
    assert latencies.percentile(99) == 0
    latencies.add(0)
    assert latencies.percentile(99) == 0


def test_rates_leave_errors_out_and_a_refusal_is_none() -> None:
    tally = Tally()
    for status in (202, 202, 409, 503, None):
        tally.add("sync", status, 0.001)
    tally.seconds = 2
    assert (tally.requests, tally.errors) == (5, 2)
    assert tally.rate == 1.5
    assert tally.error_rate == 40


def test_latencies_of_all_kinds_come_together() -> None:
    tally = Tally()
    tally.add("sync", 202, 0.1)
    tally.add("stats", 200, 0.3)
    assert tally.latencies().count == 2
    assert tally.latencies().longest == 0.3
