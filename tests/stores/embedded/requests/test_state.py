from pisync.model.requests.fault import CloseFault, FaultRule
from pisync.model.requests.journal import DEFAULT_JOURNAL
from pisync.stores.embedded.bounds.budgets import FleetBudgets, FleetShares
from pisync.stores.embedded.requests.state import RequestState


def make_state() -> RequestState:
    return RequestState(FleetShares(FleetBudgets(1)), 1)


def test_a_fleet_begins_without_settings() -> None:
    assert not make_state().has_settings
    assert make_state().journal.size == DEFAULT_JOURNAL == 1_000


def test_takes_over_what_was_kept() -> None:
    state = make_state()
    state.restore((FaultRule(("sync",), CloseFault()),), 5, {3: 4})
    assert state.has_settings
    assert (state.journal.size, state.counts) == (5, {3: 4})
