from pisync.model.requests.expectation import NO_ANSWER, Expectation
from pisync.web.contract.requests.schemas import ExpectationSchema


def test_an_expectation_without_bounds_means_once_at_least() -> None:
    load = ExpectationSchema().load
    assert load({"call": "sync"}) == Expectation("sync", at_least=1)
    assert load({"at_most": 2}) == Expectation(at_least=0, at_most=2)
    assert load({"status": None, "at_least": 3}) == Expectation(status=NO_ANSWER, at_least=3)
