"""The one transaction in which a batch counts: fencing, deduplication, rules, rows, rejects, hand-over.

``Store.commit`` takes decoded messages and returns when they are on the disk. A database that is away is waited
for with the same batch in hand; a batch that the database or our own code stumbles over is halved until the one bad
message is found, which becomes a reject while the rest goes in. When nothing at all goes in, the process ends. Parts of
a batch that went in before the database went away are not done again.

Two outboxes with one epoch (a cloned card) use the same numbers for different packets. The first to arrive is
kept. A later one that differs from what came under that number among the last ``_REMEMBERED`` packets becomes a
reject (``reused_sequence``), so its bytes are not lost; older reuse looks like an ordinary repeat here and is found
by the box itself, when a receipt covers a number that it never issued.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import psycopg

from common.runtime.clock import Clock, SystemClock
from common.runtime.errors import TransientError
from common.runtime.log import get_logger
from common.runtime.stop import Stop
from common.schema.outages import PASSING, notices_silence
from gateway import repo
from gateway.batch import BatchResult
from gateway.decode import Decoded, DecodedStatus, ForeignReading, RawMessage, Rejected
from gateway.lease import CHECK_LEASE, LeaseLostError, application_name
from gateway.memory import Memory
from gateway.metrics_catalogue import Metric
from gateway.quarantine import BOUNDS, Bounds
from gateway.rulebook.versions import RuleBook
from gateway.rules import Rule
from gateway.transaction import Transaction, Turn
from gateway.trouble import trouble_of

_CONNECT_SECONDS: Final = 5
_CANCEL_SECONDS: Final = 3.0
#: A process that leaves a batch open for so long hangs; others may wait for its locks.
_HUNG_S: Final = 60
#: What one message can be to blame for, whether the database says it or our own code meets it.
_FAULTS_OF_MESSAGES: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    ValueError,
    ArithmeticError,
    TypeError,
    LookupError,
)
#: So many batches in a row with nothing but faults, of so many devices, and the fault is ours.
_SEVERAL: Final = 3
_SENDERS: Final = 2
#: So many faults in one batch of which nothing went in.
_MANY: Final = 20
_Refusal = tuple[Decoded, Exception]
_log = get_logger("store")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one device may cost, in the units of the code."""

    future_ms: int = 24 * 3_600_000
    past_ms: int = 48 * 3_600_000
    replay_ms: int = 30 * 86_400_000
    reject_bytes_per_day: int = 4 * 2**20
    series_per_device: int = 2000
    bounds: Bounds = BOUNDS


class StoppedError(TransientError):
    """The gateway was asked to stop while it waited for the database: the batch is not committed."""


class _Work:
    """What is left to do of a batch: when the database goes away half-way, nothing that counts is done again.

    Packets know themselves by their numbers; statuses, readings without a number and rejects would be kept twice.
    """

    def __init__(self, batch: list[Decoded], writing: Turn) -> None:
        self.batch = batch
        self.writing = writing
        #: The next one last.
        self.parts = [batch]
        #: What could not be committed and is to be kept as rejects.
        self.refused: list[_Refusal] = []
        self.result = BatchResult()
        self._done: list[list[Decoded]] = []

    def count(self, result: BatchResult, part: list[Decoded]) -> None:
        """A part is committed."""
        if self._done and result.incarnation != self.result.incarnation:
            # A restored store came back: what the one before had committed is not in it, however far that had come.
            self.parts += reversed(self._done)
            self._done = []
        if self._done:
            self.result.add(result)
        else:
            self.result = result
        self._done.append(part)


class Store:
    """Commits batches of one partition under one lease.

    Args:
        url: the database.
        partition: whose devices these are.
        fencing: the lease's number, checked in every transaction.
        rules: what to step, unless there is a rule book.
        rule_book: where the rules in force are read, whenever they change.
        metrics: the declared metrics by name.
        stop: gives up waiting for the database.
        lease_lost: asked while the database is away.
        limits: see there.
        on_retry: told of every attempt that the database cut short.
        on_trouble: told what the matter is each time (``trouble.Trouble.kind``), and "" when it is over.
    """

    def __init__(
        self,
        url: str,
        partition: str,
        fencing: int,
        *,
        rules: Sequence[Rule] = (),
        rule_book: RuleBook | None = None,
        metrics: dict[str, Metric],
        stop: Stop,
        lease_lost: Callable[[], bool] = lambda: False,
        limits: Limits = Limits(),
        clock: Clock | None = None,
        on_retry: Callable[[], None] = lambda: None,
        on_trouble: Callable[[str], None] = lambda _kind: None,
    ) -> None:
        self._url = url
        self._partition = partition
        self._fencing = fencing
        self._rules = tuple(rules)
        self._rule_book = rule_book
        self._metrics = metrics
        self._stop = stop
        self._lease_lost = lease_lost
        self._limits = limits
        self._clock = clock or SystemClock()
        self._on_retry = on_retry
        self._on_trouble = on_trouble
        self._connection: repo.Connection | None = None
        self._memory: Memory | None = None
        self._sites: frozenset[str] = frozenset()
        self._faulty_batches = 0
        self._faulty_senders: set[str] = set()

    def commit(self, batch: Sequence[Decoded], writing: Turn = nullcontext) -> BatchResult:
        """Commit a batch, however long the database takes.

        Args:
            batch: what was decoded.
            writing: entered while its rows are written: whoever else writes may be waited for.

        Raises:
            LeaseLostError: another gateway has the partition; of the batch nothing is committed by us, unless it was
                halved and some of its parts are.
            StoppedError: asked to stop meanwhile; the same holds.
        """
        work = _Work(list(batch), writing)
        failures = 0
        while True:
            if self._lease_lost():
                raise LeaseLostError(self._partition, self._fencing)
            try:
                result = self._go_on(work)
                if failures:
                    _log.info("the database takes batches again", failures=failures)
                    self._on_trouble("")
                return result
            except psycopg.errors.ProgramLimitExceeded:
                raise  # refused even alone and as a reject: a bug, not an outage
            except PASSING as error:
                self.close()
                self._on_retry()
                failures += 1
                trouble = trouble_of(error.sqlstate)
                self._on_trouble(trouble.kind)
                _log.warning(
                    "batch not committed, trying again",
                    failures=failures,
                    why=trouble.said,
                    error=str(error).strip(),
                    hint=trouble.hint,
                )
                delay = min(5.0, 0.1 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0)
                if self._stop.wait(delay):
                    raise StoppedError(
                        "gateway.stopped", "asked to stop while the database was away", "boxes send it again"
                    ) from error

    def sites(self) -> frozenset[str]:
        """The sites of this partition's devices, as of the last commit."""
        return self._sites

    def close(self) -> None:
        """Forget the connection and all that was learned through it: the database may come back as another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._memory = None

    def interrupt(self) -> None:
        """End the statement that runs now, as an outage would: for other threads, when the gateway stops."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        try:
            connection.cancel_safe(timeout=_CANCEL_SECONDS)
        except PASSING as error:
            _log.warning("a statement could not be cancelled", error=str(error).strip())

    def _go_on(self, work: _Work) -> BatchResult:
        """Commit what is left of a batch, and what cannot be as rejects, unless it looks as if the fault were ours."""
        while work.parts or work.refused:
            if work.parts:
                self._commit_next(work)
                if not work.parts:
                    self._blame(work.batch, work.refused, work.result)
            else:
                item, error = work.refused[0]
                work.count(self._keep_refused(item, error), [item])
                del work.refused[0]
        return work.result

    def _commit_next(self, work: _Work) -> None:
        """Commit the next part, or halve it; a message that cannot be committed is set aside."""
        part = work.parts[-1]
        try:
            result = self._transact(part, work.writing)
        except _FAULTS_OF_MESSAGES as error:
            if not part:
                raise
            work.parts.pop()
            if len(part) > 1:
                middle = len(part) // 2
                work.parts += [part[middle:], part[:middle]]
            else:
                work.refused.append((part[0], error))
        else:
            work.parts.pop()
            work.count(result, part)

    def _blame(self, batch: list[Decoded], refused: list[_Refusal], result: BatchResult) -> None:
        """Tell messages that cannot be stored from a gateway that can store nothing, which must not go on.

        One device's messages may all be bad. When nothing but faults comes from several devices, or from the only
        one, batch after batch, the fault is here: to reject a whole district would hide it.
        """
        faults = [(item, error) for item, error in refused if not isinstance(error, psycopg.Error)]
        undecodable = [item for item in batch if isinstance(item, Rejected) and item.reason == "undecodable"]
        if result.packets:
            self._faulty_batches, self._faulty_senders = 0, set()
            return
        if not faults and not undecodable:
            return
        self._faulty_batches += 1
        self._faulty_senders |= {_sender(item) for item, _ in faults} | {
            _sender(item) for item in undecodable
        }
        registered = 0 if self._memory is None else len(self._memory.devices)
        if len(self._faulty_senders) < min(_SENDERS, max(registered, 1)):
            return
        if self._faulty_batches >= _SEVERAL or len(faults) + len(undecodable) >= _MANY:
            _log.critical("nothing can be stored, so the fault is not in the messages", refused=len(refused))
            if faults:
                raise faults[-1][1]
            raise RuntimeError(undecodable[-1].message)

    def _keep_refused(self, item: Decoded, error: Exception) -> BatchResult:
        """Keep a message that cannot be stored; with nothing but its size, should its bytes be what is wrong."""
        reject = _refused(item, error)
        try:
            return self._transact([reject])
        except _FAULTS_OF_MESSAGES as again:
            _log.error("a reject could not be kept", reason=reject.reason, error=str(again))
            raw = RawMessage("(not storable)", b"", False, item.raw.received_at, item.raw.size)
            return self._transact([Rejected(reject.reason, "not even its bytes could be kept", raw)])

    def _transact(self, batch: list[Decoded], writing: Turn = nullcontext) -> BatchResult:
        connection, memory = self._ready(batch)
        with connection.transaction():
            row = connection.execute(CHECK_LEASE, [self._partition, self._fencing]).fetchone()
            if row is None:
                raise LeaseLostError(self._partition, self._fencing)
            memory.follow_moves(connection, row[2])
            if self._rule_book is not None and row[1] != memory.rules.version:
                version, rules = self._rule_book.read(connection)
                memory.change_rules(connection, rules, version)
            transaction = Transaction(
                connection,
                memory,
                future_ms=self._limits.future_ms,
                past_ms=self._limits.past_ms,
                replay_ms=self._limits.replay_ms,
                writing=writing,
            )
            transaction.run(batch)
        transaction.remember()
        self._sites = memory.sites
        transaction.result.incarnation = str(row[0])
        return transaction.result

    def _ready(self, batch: Sequence[Decoded]) -> tuple[repo.Connection, Memory]:
        if self._connection is None or self._memory is None:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                application_name=application_name(self._partition, self._fencing),
                **notices_silence(self._url, _HUNG_S),
            )
            version, rules = (
                (0, self._rules) if self._rule_book is None else self._rule_book.read(self._connection)
            )
            self._memory = Memory(
                self._partition,
                rules,
                self._metrics,
                series_per_device=self._limits.series_per_device,
                reject_quota=self._limits.reject_bytes_per_day,
                clock=self._clock,
                bounds=self._limits.bounds,
                rules_version=version,
            )
        elif self._memory.lacks(batch):
            self._memory.load_devices(self._connection)
        return self._connection, self._memory


def _sender(item: Decoded) -> str:
    return item.raw.topic.partition("/up/")[0]


def _refused(item: Decoded, error: Exception) -> Rejected:
    """The reject of a message that could not be stored; one that was a reject already loses its sender."""
    if isinstance(error, psycopg.Error):
        reason = "database_refused"
        message = f"the database refused it: {error.sqlstate} {error.diag.message_primary or error}"
    else:
        reason = "store_refused"
        message = f"it could not be stored: {type(error).__name__}: {error}"
    if isinstance(item, Rejected):
        return Rejected(reason, f"{item.reason}: {item.message}; {message}", item.raw)
    if isinstance(item, DecodedStatus | ForeignReading):
        return Rejected(reason, message, item.raw, item.address)
    return Rejected(reason, message, item.raw, item.address, item.epoch, item.seq)
