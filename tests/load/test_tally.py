from pisync.load.tally import Tally


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
    assert tally.latencies().max == 0.3
