"""One run: a share through the broker, the rest through the pipe, every message looked up, memory watched."""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Self

import yaml
from paho.mqtt.client import Client

from benchmarks.fuzz import broker as over
from benchmarks.fuzz.account import Account
from benchmarks.fuzz.corpus import SITE, Corpus, Message, mapping
from benchmarks.fuzz.gateway import pack
from benchmarks.fuzz.mutations import Mutator
from benchmarks.gateway_process import gateway_process
from common.runtime.config import load_config
from common.schema.runner import migrate
from gateway.adapters.mapping import load_mappings
from gateway.config import GatewaySettings
from gateway.fleet import repo as fleet
from gateway.fleet.sites import DeviceEntry, Site
from gateway.foreign.cli import folder_of
from gateway.foreign.enrol import enrol_foreign
from local.broker import Broker
from local.demo.stack import CONFIGS
from local.postgres import PostgresServer

#: Beside the mutated messages: of all, so many are left as they are, and so many are sent again.
_WHOLE, _AGAIN = 0.10, 0.02
WHOLE, AGAIN = "nothing", "sent again"
_CHUNK: Final = 25_000
#: Messages that nobody finds yet may still be under way through broker and gateway.
_PATIENCE_S: Final = 60.0
#: How much the gateway may grow from the middle of the run to its end, in MiB and of what it has.
GROWTH_MB, GROWTH_SHARE = 8.0, 0.05
#: What comes first, small and whole: so many packets fill what the gateway remembers of packets, which is bounded.
_FIRST, _FIRST_SHARE = 150_000, 0.15
#: A flipped bit makes a sensor of its own, which the gateway has to remember: so few a box that the run soon has them all.
_SERIES: Final = 60
#: In fewer messages its other caches are still filling.
LONG_ENOUGH: Final = 500_000
#: Of each half of the run, to look for growth in.
WINDOWS: Final = 10


class Stream:
    """Messages, one after the other, and how many were mutated in which way."""

    def __init__(self, seed: int, boxes: int) -> None:
        self.done: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._corpus = Corpus(self._chance, boxes)
        self._mutator = Mutator(self._chance)
        self._recent: list[Message] = []

    def messages(self, count: int, *, by_broker: bool) -> Iterator[Message]:
        """So many mutated ones, with whole ones and repeats between them, so that sound devices are seen to go on.

        Where they go by the broker, only such as reach the gateway.
        """
        while count > 0:
            message = self._next()
            if by_broker and not over.reaches_the_gateway(message.topic):
                continue
            self.done[message.done] += 1
            count -= message.done not in {WHOLE, AGAIN}
            yield message

    def counts(self) -> dict[str, int]:
        """How many messages so far were mutated, were whole, and came again."""
        whole, again = self.done[WHOLE], self.done[AGAIN]
        return {"mutated": self.done.total() - whole - again, "whole": whole, "repeats": again}

    def first(self, count: int) -> Iterator[Message]:
        """So many small packets with nothing wrong."""
        for _ in range(count):
            yield self._corpus.plain()

    def _next(self) -> Message:
        chance = self._chance.random()
        if chance < _AGAIN and self._recent:
            again = self._chance.choice(self._recent)
            return Message(again.topic, again.payload, AGAIN)
        message, box = self._corpus.message()
        if chance > _AGAIN + _WHOLE:
            message = self._mutate(message)
            if box is not None:
                box.spoilt()
        if len(self._recent) < 200:
            self._recent.append(message)
        else:
            self._recent[self._chance.randrange(200)] = message
        return message

    def _mutate(self, message: Message) -> Message:
        """Another message than this one: a value may be replaced by itself, and a bit turned back."""
        while True:
            mutated = self._mutator.spoil(message)
            if (mutated.topic, mutated.payload) != (message.topic, message.payload):
                return mutated


class PipedProcess:
    """The gateway with the pipe, and what it says of itself. A context manager: it does not outlive its block."""

    def __init__(self, url: str, settings: Path, log: Path) -> None:
        self.acknowledged = self.fed = 0
        self.memory: list[tuple[int, float]] = []
        environment = {
            **os.environ,
            "DRUMTOWER_DATABASE_URL": url,
            "DRUMTOWER_BROKER_URL": "mqtt://127.0.0.1:1",
        }
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fuzz.gateway", str(settings)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipe: IO[bytes] = self._process.stdin
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left running, whatever went wrong."""
        self._process.kill()
        self._process.wait(15)

    def feed(self, messages: list[Message]) -> None:
        """Hand messages over; raises BrokenPipeError when the process is gone."""
        for message in messages:
            self._pipe.write(pack(message.topic, message.payload))
        self._pipe.flush()
        self.fed += len(messages)

    def await_acknowledged(self, count: int, seconds: float = 300.0) -> bool:
        """Whether so many messages were acknowledged within that time."""
        deadline = time.monotonic() + seconds
        while self.acknowledged < count:
            if self._process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def finish(self) -> int:
        """No more messages; its exit code."""
        with suppress(BrokenPipeError):  # its exit code says more
            self._pipe.close()
        code = self._process.wait(120)
        self._listener.join(10)
        return code

    def _listen(self, lines: IO[bytes]) -> None:
        for line in lines:
            said = json.loads(line)
            self.acknowledged = said["acknowledged"]
            self.memory.append((said["acknowledged"], said["rss_mb"]))


def run(data: Path, count: int, broker_share: float, boxes: int, seed: int) -> dict[str, Any]:
    """Everything from the services to the summary; ``count`` is of mutated messages, what else is sent comes on top."""
    began = time.monotonic()
    settings = _settings(data)
    by_broker, first = round(count * broker_share), min(_FIRST, round(count * _FIRST_SHARE))
    with PostgresServer(data / "postgres") as postgres, Broker(data / "broker") as broker:
        url = postgres.create_database("fuzz")
        migrate(url)
        devices = tuple(DeviceEntry(name=f"box-{n:04d}", lon=119.3, lat=26.1) for n in range(boxes))
        with fleet.connect(url, "fuzz") as connection:
            fleet.upsert_devices(connection, [Site(site=SITE, devices=devices)])
        catalogue = load_config(settings, GatewaySettings).catalogue()
        enrol_foreign(url, load_mappings(folder_of(settings), catalogue), data / "credentials")
        stream, account = Stream(seed, boxes), Account(url)
        say = _Teller(began, first + round(count / (1 - _WHOLE - _AGAIN)), account)
        faults = []
        if by_broker:
            with (
                gateway_process(data, url, broker, settings) as gateway,
                over.publisher(broker) as client,
            ):
                faults = _through_broker(gateway, client, stream, account=account, count=by_broker, say=say)
        through_broker = account.looked_up
        with PipedProcess(url, settings, data / "piped.log") as piped:
            faults += _through_pipe(piped, stream, account, [first, count - by_broker], say)
            code = piped.finish()
        if code:
            faults.append(f"the gateway ended with {code}: {(data / 'piped.log').read_text()[-2000:]}")
        totals, foreign_lost = account.totals(), account.foreign_lost()
    memory = growth(piped.memory, first, piped.fed - first)
    faults += too_much(memory, count)
    lost = max(len(account.missing) + foreign_lost - totals["rejects_beyond_quota"], 0)
    if lost:
        faults.append(f"{lost} messages are nowhere: {_samples(account.missing)}")
    if beyond := totals["rejects_beyond_quota"]:
        faults.append(f"{beyond} rejects were counted, not kept: a box's quota was full")
    if account.without_reason:
        faults.append(f"{account.without_reason} rejects have no reason")
    seconds = time.monotonic() - began
    return {
        "name": "fuzz",
        "ok": not faults,
        "seed": seed,
        "messages": account.looked_up - first,
        **stream.counts(),
        "whole_packets_first": first,
        "through_the_broker": through_broker,
        "seconds": round(seconds, 1),
        "messages_per_s": round(account.looked_up / seconds),
        "lost": lost,
        "crashes": int(code != 0),
        **totals,
        "statuses_of_quarantined": account.status_of_quarantined,
        "quarantines": account.quarantined,
        "memory": memory,
        "mutations": dict(stream.done.most_common()),
        "faults": faults,
    }


def _through_broker(
    gateway: subprocess.Popen[bytes],
    client: Client,
    stream: Stream,
    *,
    account: Account,
    count: int,
    say: _Teller,
) -> list[str]:
    for size in _chunks(count):
        messages = list(stream.messages(size, by_broker=True))
        over.publish(client, messages)
        deadline = time.monotonic() + _PATIENCE_S
        account.look_up(messages)
        while (left := account.missing[:]) and time.monotonic() < deadline:
            account.missing.clear()
            account.looked_up -= len(left)
            time.sleep(1)
            account.look_up(left)
        say("by the broker")
        if gateway.poll() is not None:
            return [f"the gateway ended with {gateway.returncode} on the broker"]
    return []


def _through_pipe(
    piped: PipedProcess, stream: Stream, account: Account, counts: list[int], say: _Teller
) -> list[str]:
    """So many whole packets and then so many mutated messages, with what comes between them."""
    first, count = counts
    before: list[Message] = []
    sources = [stream.first(size) for size in _chunks(first)]
    sources += [stream.messages(size, by_broker=False) for size in _chunks(count)]
    for source in (*sources, iter(())):
        messages = list(source)
        fed = piped.fed
        try:
            piped.feed(messages)
        except BrokenPipeError:
            return ["the gateway does not read any more"]
        # While it works on these, the ones before are looked up.
        if before and not piped.await_acknowledged(fed):
            return [f"only {piped.acknowledged} of {fed} messages were acknowledged"]
        account.look_up(before)
        before = messages
        say(f"by the pipe, {piped.memory[-1][1] if piped.memory else 0} MB")
    return []


def _chunks(count: int) -> list[int]:
    whole, rest = divmod(count, _CHUNK)
    return [_CHUNK] * whole + ([rest] if rest else [])


def _settings(data: Path) -> Path:
    """The rules that ship, room for all rejects, few series, and a mapping file of foreign devices beside them."""
    settings = yaml.safe_load((CONFIGS / "gateway.yaml").read_text(encoding="utf-8"))
    settings["limits"] |= {"reject_mb_per_device_day": 1024, "series_per_device": _SERIES}
    path = data / "gateway.yaml"
    path.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    folder_of(path).mkdir(exist_ok=True)
    (folder_of(path) / f"{SITE}.yaml").write_text(yaml.safe_dump(mapping()), encoding="utf-8")
    return path


def growth(samples: list[tuple[int, float]], first: int, count: int) -> dict[str, Any]:
    """Growth over the second half of ``count``: a line through the least of each of its windows, times its length.

    Messages of half a megabyte that are under way make memory rise and fall; what stays shows when it is least.

    Args:
        samples: how many messages were acknowledged, and the resident memory then in MiB.
        first: so many messages came before those that count.
        count: of these; none where the gateway ended before.
    """
    least = [math.inf] * (2 * WINDOWS)
    for done, mb in samples:
        place = (done - first) * len(least) // max(count, 1)
        if 0 <= place < len(least):
            least[place] = min(least[place], mb)
    half = [(n, mb) for n, mb in enumerate(least[WINDOWS:]) if mb < math.inf]
    mean_mb = statistics.fmean(mb for _, mb in half) if half else 0.0
    slope = statistics.linear_regression(*zip(*half, strict=True)).slope if len(half) > 1 else 0.0
    return {
        "growth_mb": round(slope * WINDOWS, 1),
        "limit_mb": round(max(GROWTH_MB, GROWTH_SHARE * mean_mb), 1),
        "windows": len(half),
        "peak_mb": max((mb for _, mb in samples), default=0.0),
        "least_by_twentieths_mb": [round(mb, 1) for mb in least if mb < math.inf],
    }


def too_much(memory: dict[str, Any], count: int) -> list[str]:
    """What is wrong with the :func:`growth` of a run of so many mutated messages; a short run is not judged.

    Only of the gateway with the pipe: the one on the broker has its caches at their full size, and in the run's share of
    messages that goes there they do not fill up.
    """
    if count < LONG_ENOUGH:
        return []
    if memory["windows"] < WINDOWS:
        return [
            f"the gateway told of its memory in {memory['windows']} of the last {WINDOWS} twentieths of the run"
        ]
    if memory["growth_mb"] > memory["limit_mb"]:
        return [
            f"the gateway grew by {memory['growth_mb']} MB in the second half, at most {memory['limit_mb']} are allowed"
        ]
    return []


def _samples(messages: list[Message]) -> str:
    return "; ".join(f"{one.done} on {one.topic[:80]}: {one.payload[:300]!r}" for one in messages[:5])


class _Teller:
    """Says how far it is."""

    def __init__(self, began: float, count: int, account: Account) -> None:
        self._began = began
        self._count = count
        self._account = account

    def __call__(self, how: str) -> None:
        account = self._account
        print(
            f"{time.monotonic() - self._began:6.1f} s  {account.looked_up:,} of {self._count:,} messages looked up,"
            f" {len(account.missing)} missing ({how})",
            file=sys.stderr,
            flush=True,
        )
