from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from pisync.model.requests.expectation import MAX_EXPECTATIONS, NO_ANSWER, Expectation, verify
from pisync.model.requests.journal import MAX_JOURNAL, Journal, JournalEntry, RequestFilter

SYNC = JournalEntry("", 0, "sync", "POST", "/devices/7/sync", 7, "alice", None, 202, None, 1, 0.1)
REQUESTS = (
    SYNC._replace(device_id=8),
    SYNC._replace(call="device", method="GET", status=200, attempt=None),
    SYNC,
    SYNC._replace(status=None, fault="reset"),
    SYNC._replace(user="bob"),
)


def journal(*entries: JournalEntry, size: int = 100) -> Journal:
    made = Journal(size)
    for entry in entries:
        made.append(entry)
    return made


def problems(*expectations: Expectation, in_order: bool = False) -> list[tuple[object, ...]]:
    requests = journal(*REQUESTS).requests()
    return [
        (problem.place, problem.found, problem.message, [each.number for each in problem.nearest])
        for problem in verify(expectations, requests, in_order=in_order)
    ]


class TestVerify:
    def test_what_is_as_expected_has_no_problems(self) -> None:
        assert problems() == []
        assert (
            problems(
                Expectation("sync", 7, at_least=3, at_most=3),
                Expectation("sync", 7, "alice", 202, at_least=1),
                Expectation(status=NO_ANSWER, at_least=1, at_most=1),
                Expectation(fault="reset", at_most=1),
                Expectation("stats", at_most=0),
                Expectation(at_least=5, at_most=5),
            )
            == []
        )

    def test_too_few_show_what_came_closest(self) -> None:
        expected = Expectation("sync", 9, "alice", at_least=1)
        message = "Found 0 of these requests, expected at least 1."
        # Those that sync for alice; then what differs in more: another call, another user.
        assert problems(expected) == [(0, 0, message, [4, 3, 1, 5, 2])]

    def test_too_many_show_themselves(self) -> None:
        message = "Found 3 of these requests, expected exactly 1."
        assert problems(Expectation("sync", 7, at_least=1, at_most=1)) == [
            (0, 3, message, [5, 4, 3])
        ]
        message = "Found 1 of these requests, expected none."
        assert problems(Expectation("device", at_most=0)) == [(0, 1, message, [2])]

    def test_each_problem_has_the_place_of_its_expectation(self) -> None:
        found = problems(
            Expectation(), Expectation("stats", at_least=1), Expectation("bulk", at_least=2)
        )
        assert [place for place, *_ in found] == [1, 2]

    def test_in_order_compares_first_requests(self) -> None:
        on_8, read, on_7 = Expectation("sync", 8), Expectation("device"), Expectation("sync", 7)
        assert problems(on_8, read, on_7, in_order=True) == []
        assert problems(read, on_8) == []
        assert problems(read, on_8, on_7, in_order=True) == [
            (1, 1, "The first is number 1, before number 2.", [1])
        ]

    def test_expectations_say_what_they_want(self) -> None:
        expected = Expectation("sync", 7, status=NO_ANSWER, at_least=1, at_most=2)
        assert expected.wanted() == {
            "call": "sync",
            "device_id": 7,
            "status": None,
            "at_least": 1,
            "at_most": 2,
        }


entries = st.builds(
    SYNC._replace,
    call=st.sampled_from(["sync", "device"]),
    device_id=st.sampled_from([7, 8, None]),
    status=st.sampled_from([200, 202, None]),
    fault=st.sampled_from(["reset", None]),
)
expected = st.builds(
    Expectation,
    call=st.sampled_from(["sync", "device", None]),
    device_id=st.sampled_from([7, 8, None]),
    status=st.sampled_from([200, NO_ANSWER, None]),
    fault=st.sampled_from(["reset", None]),
    at_least=st.just(MAX_JOURNAL),
)


@given(st.lists(entries, max_size=30), st.lists(expected, max_size=4))
def test_what_is_found_is_what_a_look_at_each_request_finds(
    sent: list[JournalEntry], expectations: list[Expectation]
) -> None:
    requests = journal(*sent).requests()
    found = verify(expectations, requests, in_order=False)
    for expectation, problem in zip(expectations, found, strict=True):
        wanted = expectation.wanted()
        del wanted["at_least"]
        differing = [
            [getattr(request.entry, name) != value for name, value in wanted.items()]
            for request in requests
        ]
        assert problem.found == sum(not any(each) for each in differing)
        ranks = [(sum(each), each, place) for place, each in enumerate(differing)]
        assert [*problem.nearest] == [requests[place] for *_, place in sorted(ranks)[:5]]


def test_many_expectations_of_a_long_journal_cost_little_more_than_one() -> None:
    requests = journal(*[SYNC] * 20_000, size=MAX_JOURNAL).requests()
    many = [
        Expectation("sync", device, "bob", at_least=1) for device in range(1, MAX_EXPECTATIONS + 1)
    ]
    began = process_time()
    verify(many[:1], requests, in_order=True)
    one = process_time() - began
    assert len(verify(many, requests, in_order=True)) == MAX_EXPECTATIONS
    assert process_time() - began - one < 10 * one


class TestJournal:
    def test_numbers_go_on_when_the_oldest_have_gone(self) -> None:
        kept = journal(*REQUESTS, size=2)
        assert [number for number, _ in kept.requests()] == [5, 4]
        kept.clear()
        kept.append(SYNC)
        assert [tuple(each) for each in kept.requests()] == [(6, SYNC)]

    def test_a_copy_stays_as_it_is(self) -> None:
        kept = journal(*REQUESTS, size=3)
        copied = kept.copy()
        kept.append(SYNC)
        assert len(copied) == 3
        assert [number for number, _ in copied.requests()] == [5, 4, 3]

    def test_pages_end_before_a_number(self) -> None:
        page = journal(*REQUESTS).page(RequestFilter(before=5, calls=frozenset(("sync",))), 2)
        assert [each.number for each in page.requests] == [4, 3]
        assert page.more
