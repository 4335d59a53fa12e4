"""Receipts go out after so many packets, so many seconds, at once after an alarm, and tell of old gaps."""

from __future__ import annotations

import pytest

from common.wire.messages import Receipt
from common.wire.topics import Address
from gateway.batch import Progress
from gateway.receipts import ReceiptBook

BOX = Address("gulou", "lamp-01")


def progress(
    upto: int, packets: int = 1, *, urgent: bool = False, gaps: tuple[tuple[int, int], ...] = ()
) -> Progress:
    """Where the box's stream stands."""
    highest = max(upto, *(last + 1 for _, last in gaps)) if gaps else upto
    return Progress(BOX, 255, upto, highest, gaps, packets, urgent)


def due(book: ReceiptBook, now: float) -> list[Receipt]:
    """What is due, taken as sent."""
    found = book.due(now, 0)
    for address, receipt in found:
        book.sent(address, receipt, now)
    return [receipt for _, receipt in found]


def book_after_first(now: float = 0.0) -> ReceiptBook:
    """A book that has told of the stream once."""
    book = ReceiptBook(every_packets=100, every_s=10, gap_s=10)
    book.note([progress(1)], "inc", now)
    assert len(due(book, now)) == 1, "a stream not told of yet is told of at once"
    return book


def test_a_receipt_comes_after_a_hundred_packets_or_ten_seconds() -> None:
    book = book_after_first()
    book.note([progress(60, 59)], "inc", 1.0)
    assert due(book, 1.0) == []
    book.note([progress(101, 41)], "inc", 2.0)
    (receipt,) = due(book, 2.0)
    assert (receipt.epoch, receipt.upto, receipt.highest, receipt.gaps, receipt.incarnation) == (
        "ff",
        101,
        101,
        [],
        "inc",
    )
    book.note([progress(102)], "inc", 3.0)
    assert due(book, 11.9) == []
    assert [r.upto for r in due(book, 12.0)] == [102]
    assert due(book, 60.0) == [], "nothing new, nothing to say"


def test_an_alarm_is_receipted_at_once() -> None:
    book = book_after_first()
    book.note([progress(2, urgent=True)], "inc", 0.5)
    assert [r.upto for r in due(book, 0.5)] == [2]


def test_repeats_are_receipted_too() -> None:
    book = book_after_first()
    book.note([progress(1, packets=3)], "inc", 20.0)
    assert [r.upto for r in due(book, 20.0)] == [1]


def test_a_receipt_that_did_not_go_out_stays_due() -> None:
    book = book_after_first()
    book.note([progress(2, urgent=True)], "inc", 1.0)
    assert len(book.due(1.0, 0)) == 1
    assert len(book.due(1.1, 0)) == 1


def test_gaps_are_told_once_they_are_old_and_keep_their_age_while_they_shrink() -> None:
    book = book_after_first()
    book.note([progress(1, urgent=True, gaps=((2, 9),))], "inc", 1.0)
    assert [r.gaps for r in due(book, 1.0)] == [[]], "out-of-order packets may still fill it"
    book.note([progress(1, gaps=((2, 4), (6, 9)))], "inc", 6.0)
    assert due(book, 10.9) == []
    assert [r.gaps for r in due(book, 11.0)] == [[(2, 4), (6, 9)]]
    book.note([progress(1, gaps=((2, 4), (6, 9), (20, 30)))], "inc", 12.0)
    assert [r.gaps for r in due(book, 21.0)] == [[(2, 4), (6, 9)]]
    assert [r.gaps for r in due(book, 22.0)] == [[(2, 4), (6, 9), (20, 30)]], (
        "a gap turning old is told by itself"
    )


def test_streams_of_one_box_are_told_apart() -> None:
    book = book_after_first()
    book.note([Progress(BOX, 256, 5, 5, (), 5, True)], "inc", 1.0)
    assert [r.epoch for r in due(book, 1.0)] == ["100"]


def test_a_stream_that_is_quiet_for_a_minute_is_forgotten_and_told_of_at_once_when_it_goes_on() -> None:
    book = book_after_first()
    assert (due(book, 60.0), len(book)) == ([], 1)
    assert (due(book, 60.1), len(book)) == ([], 0)
    book.note([progress(2)], "inc", 61.0)
    assert [r.upto for r in due(book, 61.0)] == [2]


def test_a_stream_is_not_forgotten_before_what_is_missing_of_it_was_told() -> None:
    book = book_after_first()
    book.note([progress(1, gaps=((2, 9),))], "inc", 1.0)
    assert len(book.due(62.0, 0)) == 1, "nobody says that it went out"
    assert [r.gaps for r in due(book, 63.0)] == [[(2, 9)]]
    assert (due(book, 64.0), len(book)) == ([], 0)
    book.note([progress(1, gaps=((2, 9),))], "inc", 65.0)
    assert [r.gaps for r in due(book, 65.0)] == [[]], "for all that is known it is on its way"
    assert [r.gaps for r in due(book, 75.0)] == [[(2, 9)]]


@pytest.mark.parametrize("slow", [{"every_s": 100.0}, {"gap_s": 100.0}])
def test_where_receipts_are_rarer_streams_are_remembered_for_longer(slow: dict[str, float]) -> None:
    times = {"every_s": 10.0, "gap_s": 10.0} | slow
    book = ReceiptBook(every_s=times["every_s"], gap_s=times["gap_s"])
    book.note([progress(1)], "inc", 0.0)
    assert len(due(book, 0.0)) == 1
    assert (due(book, 200.0), len(book)) == ([], 1)
    assert (due(book, 200.1), len(book)) == ([], 0)


def test_a_box_that_begins_one_stream_after_the_other_is_remembered_for_a_minute_of_them() -> None:
    book = ReceiptBook()
    for second in range(600):
        missing = tuple((2 * n, 2 * n) for n in range(1, 50))
        book.note([Progress(BOX, second, 1, 100, missing, 1, False)], "inc", float(second))
        due(book, float(second))
        assert len(book) <= 62


def test_what_a_lost_store_had_is_not_receipted_in_the_name_of_the_restored_one() -> None:
    book = book_after_first()
    other = Address("gulou", "lamp-02")
    book.note([progress(500, 5)], "inc", 1.0)
    book.note([Progress(other, 7, 3, 3, (), 1, False)], "restored", 2.0)
    assert [(receipt.epoch, receipt.upto) for receipt in due(book, 20.0)] == [("7", 3)]
