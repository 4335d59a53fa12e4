"""The box's file: a transaction is whole or nothing, whatever breaks into it, and an opening that fails leaves no trace."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import edge.outbox_numbers
from common.runtime.clock import ManualClock
from common.runtime.errors import DrumtowerError
from common.wire.codec import Packet, decode_packet
from common.wire.topics import Address
from edge.database import FILE_NAME, Database
from edge.outbox import SqliteOutbox
from edge.packets import PacketId
from tests.fixtures.edge_messages import ADDRESS, readings, receipt


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path)
    yield opened
    opened.close()


def facts(database: Database) -> dict[str, str]:
    with database.reading() as connection:
        return dict(connection.execute("SELECT name, value FROM fact").fetchall())


def write(database: Database, name: str) -> None:
    with database.transaction() as connection:
        connection.execute("INSERT INTO fact VALUES (?, 'x')", (name,))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(2), ValueError("a bug")])
def test_whatever_breaks_into_a_transaction_nothing_of_it_is_kept_and_the_next_one_works(
    database: Database, error: BaseException
) -> None:
    def broken_into() -> None:
        with database.transaction():
            write(database, "inner")
            raise error

    with pytest.raises(type(error)):
        broken_into()
    assert not database.in_transaction
    assert facts(database) == {}
    write(database, "next")
    assert facts(database) == {"next": "x"}


def test_a_failure_inside_an_inner_transaction_that_is_dealt_with_leaves_the_outer_one_to_decide(
    database: Database,
) -> None:
    with database.transaction():
        write(database, "before")
        with pytest.raises(DrumtowerError) as refused:
            write(database, "before")
        write(database, "after")
    assert refused.value.code == "database.failed"
    assert facts(database) == {"before": "x", "after": "x"}


def test_a_fault_of_the_database_is_told_in_our_words_and_rolled_back(database: Database) -> None:
    def faulty() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO fact VALUES ('kept', 'x')")
            connection.execute("INSERT INTO no_such_table VALUES (1)")

    with pytest.raises(DrumtowerError) as refused:
        faulty()
    assert isinstance(refused.value.__cause__, sqlite3.Error)
    assert facts(database) == {}


def test_a_fork_that_is_broken_into_has_not_begun_and_is_made_up_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = SqliteOutbox(database, ADDRESS, ManualClock())
    epoch = outbox.epoch
    for value in range(3):
        outbox.append(readings(value))
    seen: list[bytes] = []

    def interrupted(payload: bytes, address: Address) -> Packet:
        seen.append(payload)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return decode_packet(payload, address)

    with monkeypatch.context() as patch:
        patch.setattr(edge.outbox_numbers, "decode_packet", interrupted)
        with pytest.raises(KeyboardInterrupt):
            outbox.receipt(receipt(epoch, 9))
    assert outbox.epoch == epoch
    assert [one.id for one in outbox.pending(10)] == [PacketId(epoch, seq) for seq in (1, 2, 3)]
    assert outbox.append(readings()).seq == 4
    assert outbox.receipt(receipt(epoch, 9)).forked
    assert outbox.epoch != epoch
    assert {one.id.epoch for one in outbox.pending(10)} == {outbox.epoch}


def test_an_opening_that_is_refused_lets_go_of_the_directory(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.transaction() as connection:
        connection.execute("PRAGMA user_version = 99")
    database.close()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(2):
        with pytest.raises(DrumtowerError) as refused:
            Database(tmp_path)
        assert refused.value.code == "database.layout", "not that somebody has it open"
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert (tmp_path / FILE_NAME).exists()
