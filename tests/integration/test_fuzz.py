"""``make fuzz`` for half a minute: spoilt messages neither stop the gateway nor get lost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import yaml

from benchmarks.fuzz.account import Account
from benchmarks.fuzz.corpus import Corpus, Message, mapping
from benchmarks.fuzz.mutations import Mutator
from benchmarks.fuzz.run import AGAIN, WHOLE, Stream
from common.runtime.config import parse_config
from gateway.adapters.adapters import Adapters
from gateway.adapters.mapping import MappingFile
from gateway.decode import Decoder, RawMessage, Rejected
from gateway.metrics_catalogue import catalogue
from tests.integration.gateway_rig import register

pytestmark = pytest.mark.services


def test_every_message_of_a_short_run_is_accounted_for(tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.fuzz",
            "--messages",
            "20000",
            "--seed",
            "5",
            "--keep",
            str(tmp_path),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["faults"] == [], ran.stderr[-4000:]
    assert (ran.returncode, found["ok"], found["mutated"]) == (0, True, 20_000)
    assert found["messages"] == found["mutated"] + found["whole"] + found["repeats"]
    assert min(found["whole"] - 1000, found["repeats"], found["through_the_broker"] - 1000) > 0
    assert found["lost"] == found["crashes"] == found["rejects_beyond_quota"] == 0
    assert found["packets_stored"] > 1000
    assert found["foreign_taken_in"] > 500
    assert {"not_json", "wrong_shape", "wrong_sender", "wrong_topic", "too_large"} <= set(found["reasons"])


def test_the_corpus_is_valid_before_it_is_spoilt() -> None:
    corpus = Corpus(random.Random(3), 5)
    file = parse_config(yaml.safe_dump(mapping()), Path("fuzz.yaml"), MappingFile)
    decoder = Decoder(Adapters([file], catalogue()))
    kinds: Counter[str] = Counter()
    for _ in range(2000):
        message, _ = corpus.message()
        found = decoder.decode(RawMessage(message.topic, message.payload, False, 0, len(message.payload)))
        kinds[type(found).__name__] += 1
        assert not isinstance(found, Rejected) or message.topic.endswith("/config"), found
    assert min(kinds[name] for name in ("DecodedPacket", "DecodedStatus", "ForeignReading")) > 100


def test_every_way_of_spoiling_is_used_and_most_messages_are_spoilt_by_it() -> None:
    stream = Stream(4, 20)
    decoder = Decoder()
    refused = sum(
        isinstance(decoder.decode(RawMessage(one.topic, one.payload, False, 0, len(one.payload))), Rejected)
        for one in stream.messages(8000, by_broker=False)
    )
    counts = stream.counts()
    assert counts["mutated"] == 8000, "what is left whole and what comes again is not counted"
    assert 0.6 * 8000 < refused < counts["mutated"] + counts["repeats"]
    assert len(stream.done) >= 20


def test_no_message_counts_as_mutated_that_is_what_it_was() -> None:
    stream = Stream(4, 20)
    sent = list(stream.messages(3000, by_broker=False))
    whole = {(one.topic, one.payload) for one in sent if one.done == WHOLE}
    assert len(whole) == stream.counts()["whole"] > 200
    assert not [one for one in sent if one.done not in {WHOLE, AGAIN} and (one.topic, one.payload) in whole]


def test_a_run_that_an_exception_ends_says_so_in_its_last_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no directory\n")
    for name, more in (("fuzz", ["--messages", "1000"]), ("chaos", ["--kills", "1"])):
        ran = subprocess.run(
            [
                sys.executable,
                "-m",
                f"benchmarks.{name}",
                "--seed",
                "5",
                "--keep",
                str(in_the_way / "run"),
                *more,
            ],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        found = json.loads(ran.stdout.splitlines()[-1])
        assert (ran.returncode, found["name"], found["ok"], found["seed"]) == (1, name, False, 5)
        (fault,) = found["faults"]
        assert fault.startswith("ended by NotADirectoryError")


def test_the_same_seed_spoils_in_the_same_way() -> None:
    root = msgspec.json.encode({"id": "a1-1", "data": {"series": [{"at": [1], "value": [2.5]}]}})
    message = Message("dt/v1/fuzz/box-0001/up/readings", root)
    first, second = Mutator(random.Random(9)), Mutator(random.Random(9))
    assert [first.spoil(message) for _ in range(500)] == [second.spoil(message) for _ in range(500)]


def test_a_message_that_is_nowhere_is_missed(database_url: str) -> None:
    register(database_url, "fuzz", "box-0000")
    corpus = Corpus(random.Random(3), 1)
    account = Account(database_url)
    messages = [corpus.message()[0] for _ in range(50)]
    account.look_up([*messages, Message("dt/v1/fuzz/box-0000/up/events", b"nothing")])
    # What foreign devices send has no number to look up: it is counted.
    assert len(account.missing) + account.foreign_lost() == 51
    assert account.foreign_lost() > 0
