import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bcrypt
import pytest

from pisync.auth.passwords import MAX_THREADS, Passwords
from pisync.concurrency.keyed_queue import Busy
from pisync.model.password_policy import is_hashable

CHEAP = 4
LONG = "é" * 36  # 72 bytes


class Hashes:
    """Counts what is hashed."""

    def __init__(self) -> None:
        self.queued = [0]
        self.seconds: list[float] = []

    def hashing(self, queued: int) -> None:
        self.queued.append(queued)

    def hashed(self, seconds: float) -> None:
        self.seconds.append(seconds)


@contextmanager
def hashing(
    cost: int = CHEAP, hashes: Hashes | None = None, *, threads: int = 2, max_waiting: int = 500
) -> Iterator[Passwords]:
    passwords = Passwords(cost, hashes, threads=threads, max_waiting=max_waiting)
    yield passwords
    passwords.close()


def niceness_of_threads() -> list[int]:
    threads = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
    return [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]


async def test_a_hash_is_bcrypts_of_the_cost_asked_for_and_salted() -> None:
    with hashing(5) as passwords:
        first, second = [await passwords.hash("correct horse") for _ in range(2)]
    assert first != second
    assert first.startswith(b"$2b$05$")
    assert bcrypt.checkpw(b"correct horse", first)


@pytest.mark.parametrize("password", ["correct horse", LONG, "x" * 72, "🔑" * 18, "pass word ", ""])
async def test_a_password_matches_its_hash_and_no_other_does(password: str) -> None:
    with hashing() as passwords:
        hashed = await passwords.hash(password)
        assert await passwords.matches(password, hashed)
        for other in (password[:-1] + "?", password.upper() + " "):
            assert not await passwords.matches(other, hashed)


@pytest.mark.parametrize("password", ["x" * 73, LONG + "x", "pass\0word", "\0", "pass\ud800word"])
async def test_what_bcrypt_cannot_take_is_no_password_of_anybody_and_costs_as_much_to_refuse(
    password: str,
) -> None:
    hashes = Hashes()
    with hashing(CHEAP, hashes) as passwords:
        assert not is_hashable(password)
        with pytest.raises(ValueError, match="can't take"):
            await passwords.hash(password)
        assert hashes.seconds == []
        assert not await passwords.matches(password, bcrypt.hashpw(b"", bcrypt.gensalt(4)))
        assert not await passwords.matches(password, None)
        assert len(hashes.seconds) == 2


@pytest.mark.slow
@pytest.mark.parametrize("cost", [4, 6, 11], ids="cost {}".format)
async def test_whatever_a_hashs_own_cost_the_time_does_not_tell_that_it_is_there(cost: int) -> None:
    there = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(cost))
    hashes = Hashes()
    with hashing(9, hashes, threads=1) as passwords:
        assert await passwords.matches("correct horse", there)
        del hashes.seconds[:]
        for _ in range(5):
            assert not await passwords.matches("wrong", there)
            assert not await passwords.matches("wrong", None)
    # The quickest of each: others use this machine too. Alone, it would be a factor of 4 or more.
    assert 1 / 3 < min(hashes.seconds[::2]) / min(hashes.seconds[1::2]) < 3


async def test_no_hash_matches_nothing_at_the_cost_of_one_that_is_there() -> None:
    nobodys, somebodys = [], []
    with hashing(9, threads=1) as passwords:
        hashed = await passwords.hash("correct horse")
        for _ in range(3):
            # Processor time: others use this machine, too.
            began = time.process_time()
            assert not await passwords.matches("correct horse", None)
            between = time.process_time()
            assert not await passwords.matches("another horse", hashed)
            nobodys.append(between - began)
            somebodys.append(time.process_time() - between)
    # bcrypt's usual cost, 12, would take eight times as long.
    assert 1 / 4 < min(nobodys) / min(somebodys) < 4


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    with hashing(11) as passwords:
        counter = asyncio.create_task(count_turns())
        await asyncio.gather(*(passwords.hash("correct horse") for _ in range(2)))
        counter.cancel()
    assert turns >= 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
async def test_hashing_steps_back_behind_everything_else() -> None:
    with hashing(threads=1) as passwords:
        await passwords.hash("correct horse")
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert min(19, ours + 10) in niceness_of_threads()


async def test_beyond_the_queue_it_is_busy_and_everything_queued_is_hashed() -> None:
    hashes = Hashes()
    with hashing(CHEAP, hashes, threads=1, max_waiting=3) as passwords:
        results = await asyncio.gather(
            *(passwords.hash(f"password {n}") for n in range(10)), return_exceptions=True
        )
        assert [isinstance(result, Busy) for result in results] == [False] * 4 + [True] * 6
        assert await passwords.hash("another password")
    assert len(hashes.seconds) == 5
    assert max(hashes.queued) == 4
    assert hashes.queued[-1] == 0


async def test_who_hangs_up_leaves_the_queue() -> None:
    hashes = Hashes()
    with hashing(10, hashes, threads=1, max_waiting=3) as passwords:
        waiting = [asyncio.create_task(passwords.hash("password")) for _ in range(4)]
        await asyncio.sleep(0)
        for task in waiting[1:]:
            task.cancel()
        await asyncio.wait(waiting)
        assert hashes.queued[-1] == 0
        await passwords.hash("password")
    assert len(hashes.seconds) == 2


async def test_closing_gives_up_what_waits() -> None:
    started = time.process_time()
    with hashing(10, threads=1) as passwords:
        waiting = [asyncio.create_task(passwords.hash("password")) for _ in range(100)]
        await asyncio.sleep(0)
    await asyncio.wait(waiting, timeout=30)
    assert sum(task.cancelled() for task in waiting) >= 90
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("typed", "typed_elsewhere"),
    [
        ("passwörter", "passwo\u0308rter"),
        ("\u212bngström", "A\u030angstro\u0308m"),
        ("각" * 9, "각" * 9),
    ],
)
async def test_a_password_is_the_same_from_every_keyboard(typed: str, typed_elsewhere: str) -> None:
    with hashing() as passwords:
        for first, second in ((typed, typed_elsewhere), (typed_elsewhere, typed)):
            assert await passwords.matches(second, await passwords.hash(first))


def test_the_length_of_a_password_is_that_of_its_normal_form() -> None:
    assert is_hashable("e\u0301" * 36)
    assert not is_hashable("e\u0301" * 37)


def test_a_password_that_is_far_too_long_costs_nothing() -> None:
    began = time.process_time()
    assert not is_hashable("\u0301\u0316" * 30_000)
    assert time.process_time() - began < 0.05


async def test_where_no_thread_can_be_made_it_is_busy_and_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    hashes = Hashes()
    with hashing(CHEAP, hashes, threads=4) as passwords:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(3):
                with pytest.raises(Busy):
                    await passwords.hash("correct horse")
        password_hash = await passwords.hash("correct horse")
        assert await passwords.matches("correct horse", password_hash)
        assert len(hashes.seconds) == 2
        await asyncio.sleep(0.1)  # for the thread to be idle again
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            results = await asyncio.gather(
                *(passwords.hash("correct horse") for _ in range(4)), return_exceptions=True
            )
        assert Busy in {type(result) for result in results}
        assert bytes in {type(result) for result in results}


def test_threads_are_few_however_many_processors_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pisync.auth.passwords.cpu_limit", lambda: 96)
    passwords = Passwords(CHEAP)
    assert passwords._pool._max_workers == MAX_THREADS  # noqa: SLF001 - nothing else tells
    passwords.close()
