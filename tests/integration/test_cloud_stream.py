"""The stream: every event once, in order, whoever writes and whoever comes back."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from cloud.db import Database, Transaction
from cloud.stream import repo
from cloud.stream import service as stream_service
from cloud.stream.service import StreamHub

pytestmark = pytest.mark.services


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=14) as opened:
        yield opened


def say(database: Database, text: str, hold_s: float = 0.0) -> None:
    with database.transaction() as tx:
        tx.announce("test", {"text": text})
        tx.run("SELECT pg_sleep(%(s)s)", s=hold_s)


def with_hub(database: Database, body: Callable[[StreamHub], Awaitable[None]], **options: float) -> None:
    """Run a hub and something that follows it, and stop both."""

    async def main() -> None:
        hub = StreamHub(database, CollectorRegistry(), **options)
        running = asyncio.create_task(hub.run())
        try:
            async with asyncio.timeout(200):
                await body(hub)
        finally:
            await hub.close()
            await running

    asyncio.run(main())


async def read(hub: StreamHub, after: int | None, wanted: int, cut: int = 10**9) -> list[int]:
    """The ids of so many events, read by one browser; cut off after so many."""
    ids: list[int] = []
    async for chunk in hub.follow(after):
        ids += [int(line[4:]) for line in chunk.decode().splitlines() if line.startswith("id: ")]
        if len(ids) >= min(wanted, cut):
            break
    return ids


def test_browsers_that_come_and_go_see_every_event_once_while_many_write(database: Database) -> None:
    total, writers = 400, 8
    seeded = random.Random(3)
    pauses = [[seeded.random() * 0.004 for _ in range(total // writers)] for _ in range(writers)]

    def write(number: int) -> None:
        for count, pause in enumerate(pauses[number]):
            say(database, f"{number}-{count}", pause)

    async def restless(hub: StreamHub) -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            after = seen[-1] if seen else 0
            seen += await read(hub, after, total - len(seen), cut=seeded.randint(1, 30))
        return seen

    async def body(hub: StreamHub) -> None:
        steady = asyncio.create_task(read(hub, 0, total))
        browsers = [asyncio.create_task(restless(hub)) for _ in range(3)]
        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        seen = [await steady, *[await browser for browser in browsers]]
        for thread in threads:
            await asyncio.to_thread(thread.join)
        expected = list(range(1, total + 1))
        assert all(ids == expected for ids in seen)

    with_hub(database, body)


def test_ids_become_visible_in_their_order(database: Database, database_url: str) -> None:
    """A reader that polls the table never sees an id appear below one that it has seen."""
    stop, faults = threading.Event(), list[str]()

    def poll() -> None:
        with psycopg.connect(database_url, autocommit=True) as reader:
            seen = 0
            known: set[int] = set()
            while not stop.is_set():
                for (event_id,) in reader.execute("SELECT event_id FROM stream_event").fetchall():
                    if event_id not in known and event_id <= seen:
                        faults.append(f"{event_id} came after {seen}")
                    known.add(event_id)
                seen = max(known, default=0)

    readers = [threading.Thread(target=poll) for _ in range(2)]

    def write() -> None:
        for _ in range(60):
            say(database, "x", random.random() * 0.002)

    writers = [threading.Thread(target=write) for _ in range(8)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert faults == []


def test_what_is_no_longer_in_memory_comes_from_the_table(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_service, "_KEPT", 10)
    monkeypatch.setattr(stream_service, "_PAGE", 7)
    for number in range(50):
        say(database, str(number))

    async def body(hub: StreamHub) -> None:
        assert await read(hub, 0, 50) == list(range(1, 51))
        for number in range(30):
            await asyncio.to_thread(say, database, str(number))
        assert await read(hub, 44, 36) == list(range(45, 81))

    with_hub(database, body)


def test_a_first_browser_gets_what_comes_next_and_nothing_old(database: Database) -> None:
    say(database, "old")

    async def body(hub: StreamHub) -> None:
        assert await read(hub, 0, 1) == [1], "the hub has begun"
        following = asyncio.create_task(read(hub, None, 1))
        await asyncio.to_thread(say, database, "new")
        assert await following == [2]

    with_hub(database, body)


@pytest.mark.parametrize("after", [3, 5000])
def test_a_browser_that_missed_too_much_is_told_to_load_anew(database: Database, after: int) -> None:
    for number in range(20):
        say(database, str(number))
    with database.transaction() as tx:
        tx.run("DELETE FROM stream_event WHERE event_id <= 10")

    async def body(hub: StreamHub) -> None:
        chunks = hub.follow(after)
        await anext(chunks)
        assert b"event: reset\n" in await anext(chunks)
        await asyncio.to_thread(say, database, "next")
        assert b"id: 21\n" in await anext(chunks)

    with_hub(database, body)


def test_a_silent_stream_says_that_it_lives_and_ends_after_its_lifetime(database: Database) -> None:
    say(database, "old")

    async def body(hub: StreamHub) -> None:
        assert await read(hub, 0, 1) == [1], "the hub has begun"
        chunks = [chunk async for chunk in hub.follow(None)]
        assert chunks[0].startswith(b"retry:")
        assert len(chunks) > 2
        assert all(chunk.startswith(b":") for chunk in chunks[1:])

    with_hub(database, body, heartbeat_s=0.05, lifetime_s=2.0)


@pytest.mark.parametrize("busy", [False, True])
def test_a_browser_that_may_not_listen_any_more_is_let_go_at_the_next_heartbeat(
    database: Database, busy: bool
) -> None:
    chunks: list[bytes] = []
    asked = 0

    def may_listen() -> bool:
        nonlocal asked
        asked += 1
        return asked < 3 or (busy and not heard())

    def heard() -> bool:
        return any(b"event: test" in chunk for chunk in chunks)

    async def talk() -> None:
        while busy:
            await asyncio.to_thread(say, database, "news")

    async def body(hub: StreamHub) -> None:
        talking = asyncio.create_task(talk())
        async for chunk in hub.follow(None, may_listen):
            chunks.append(chunk)  # noqa: PERF401 - may_listen looks at them meanwhile
        talking.cancel()
        assert asked >= 3
        assert heard() is busy

    with_hub(database, body, heartbeat_s=0.2)


def test_closing_the_hub_lets_every_browser_go(database: Database) -> None:
    async def body(hub: StreamHub) -> None:
        browsers = [asyncio.create_task(read(hub, None, 1)) for _ in range(5)]
        await asyncio.sleep(0.2)
        await hub.close()
        assert [await browser for browser in browsers] == [[]] * 5

    with_hub(database, body)


def test_a_hub_whose_connection_is_cut_connects_again_and_misses_nothing(
    database: Database, database_url: str
) -> None:
    async def body(hub: StreamHub) -> None:
        following = asyncio.create_task(read(hub, 0, 3))
        for number in range(3):
            await asyncio.to_thread(say, database, str(number))
            await asyncio.to_thread(cut)
        assert await following == [1, 2, 3]

    def cut() -> None:
        time.sleep(0.2)
        with psycopg.connect(database_url, autocommit=True) as somebody:
            somebody.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drumtower-stream'"
                " AND datname = current_database()"
            )

    with_hub(database, body)


def test_pruning_keeps_the_newest_event_so_that_the_stream_knows_where_it_stands(database: Database) -> None:
    for number in range(5):
        say(database, str(number))
    with database.transaction() as tx:
        at = tx.one("SELECT now() + interval '1 hour' AS at")["at"]
        assert repo.prune(tx, at) == 4
        assert repo.bounds(tx) == (5, 5)


def test_what_is_rolled_back_is_not_announced(database: Database) -> None:
    def change_my_mind() -> None:
        with database.transaction() as tx:
            tx.announce("test", {"kept": False})
            raise RuntimeError("changed my mind")

    def fail_in_part(tx: Transaction) -> None:
        with tx.savepoint():
            tx.announce("test", {"kept": False})
            raise ValueError("this part fails")

    with pytest.raises(RuntimeError, match="changed my mind"):
        change_my_mind()
    with database.transaction() as tx:
        tx.announce("test", {"kept": True})
        with pytest.raises(ValueError, match="this part"):
            fail_in_part(tx)
    with database.transaction() as tx:
        rows = tx.rows("SELECT payload FROM stream_event")
    assert [row["payload"] for row in rows] == [{"kept": True}]
