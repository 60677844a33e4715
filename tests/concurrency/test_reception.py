"""Room for what is being received: it is bounded, and who stalls for longest gives way."""

from contextlib import ExitStack

from pisync.concurrency.reception import Reception, ReceptionRoom


def test_who_stalls_for_longest_gives_way() -> None:
    room = ReceptionRoom(10)
    gone: list[str] = []
    with ExitStack() as stack:

        def receive(name: str) -> Reception:
            return stack.enter_context(room.receive(lambda: gone.append(name)))

        stalled, going, silent = receive("stalled"), receive("going"), receive("silent")
        going.add(4)
        stalled.add(4)
        going.add(2)
        assert (room.used, gone) == (10, [])
        late = receive("late")
        late.add(3)
        assert (room.used, gone) == (9, ["stalled"])
        assert stalled.gave_way
        stalled.add(5)
        assert room.used == 9
        assert not silent.gave_way
    assert room.used == 0


def test_what_is_complete_stays_until_it_is_used() -> None:
    room = ReceptionRoom(10)
    with room.receive(lambda: None) as complete:
        complete.add(8)
        complete.complete()
        with room.receive(lambda: None) as late:
            late.add(3)
            assert late.gave_way
            assert not complete.gave_way
            assert room.used == 8
    assert room.used == 0
