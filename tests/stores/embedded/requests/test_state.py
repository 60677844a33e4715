from pisync.model.requests.fault import CloseFault, FaultRule
from pisync.model.requests.journal import DEFAULT_JOURNAL
from pisync.stores.embedded.requests.state import RequestState


def test_a_fleet_begins_without_settings() -> None:
    assert not RequestState().has_settings
    assert RequestState().journal.size == DEFAULT_JOURNAL == 1_000


def test_takes_over_what_was_kept() -> None:
    state = RequestState()
    state.restore((FaultRule(("sync",), CloseFault()),), 5, {3: 4})
    assert state.has_settings
    assert (state.journal.size, state.counts) == (5, {3: 4})
