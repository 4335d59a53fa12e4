"""A store that is lost and restored: boxes refill what the backup lacked, and every packet is there once."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import psycopg
import pytest

from common.runtime.errors import ConfigError, DrumtowerError, InvalidError, TransientError
from common.runtime.stop import Stop
from common.schema.runner import migrate
from common.wire.topics import Address
from gateway.backup.create import create
from gateway.backup.manifest import DUMP, MANIFEST, Manifest, read_manifest, sha256_of
from gateway.backup.programs import find_program
from gateway.backup.restore import begin_anew, restore
from gateway.evidence import whole_path
from gateway.lease import LeaseKeeper, LeaseLostError
from gateway.metrics_catalogue import catalogue
from gateway.store import Store
from local.broker import Broker
from local.postgres import PostgresServer
from local.processes import installed_binaries
from tests.conftest import Credential
from tests.fixtures.edge_boxes import PASSWORD, Box, run_box
from tests.fixtures.gateway_keeping import packet
from tests.integration.gateway_rig import eventually, gateway_process, readings, register, rows

pytestmark = pytest.mark.services


class Silent:
    """Nobody watches."""

    def step(self, title: str, total: int) -> None:
        """Not shown."""

    def advance(self, parts: int) -> None:
        """Not shown."""


def take(url: str, folder: Path, evidence: Path | None = None) -> Manifest:
    """A backup by the programs of this clone."""
    return create(url, folder, Silent(), programs=installed_binaries().postgres_programs, evidence=evidence)


def bring_back(url: str, folder: Path, evidence: Path | None = None) -> int | None:
    """Restore; how many files of evidence are missing."""
    programs = installed_binaries().postgres_programs
    return restore(url, folder, Silent(), programs=programs, evidence=evidence).evidence_missing


def once(url: str, box: Box, numbered: int) -> bool:
    """Whether the store has each of a box's packets, and nothing twice (each holds its number as its value)."""
    counted = rows(
        url,
        "SELECT count(*)::int, count(DISTINCT value)::int, coalesce(max(value), 0)::int FROM reading"
        " JOIN series USING (series_id) JOIN device USING (device_id) WHERE name = %s",
        box.address.device,
    )
    return counted == [(numbered, numbered, numbered - 1)]


def settled(boxes: list[Box]) -> bool:
    """Whether every packet of all boxes has its receipt."""
    return all(box.outbox.stats().unreceipted == 0 for box in boxes)


def send_until(box: Box, first: int, enough: threading.Event) -> Callable[[], int]:
    """Let a box send packets one by one, numbered from ``first``; ends it and says how many it has sent then."""
    sent = [first]

    def send() -> None:
        while not enough.wait(0.01):
            box.accept(sent[0])
            sent[0] += 1

    thread = threading.Thread(target=send)
    thread.start()

    def end() -> int:
        enough.set()
        thread.join()
        return sent[0]

    return end


@pytest.mark.timeout(240)
def test_boxes_refill_what_the_backup_lacked_and_every_packet_is_there_once(
    postgres_server: PostgresServer, broker: Broker, gateway_credential: Credential, tmp_path: Path
) -> None:
    name = f"lost_{secrets.token_hex(6)}"
    url = postgres_server.create_database(name)
    migrate(url)
    names = [f"{kind}-{secrets.token_hex(3)}" for kind in ("busy", "quiet", "early")]
    register(url, "kiln", *names)
    with ExitStack() as stack:
        for one in names:
            broker.add_device("kiln", one, PASSWORD)
            stack.callback(broker.remove_client, f"kiln/{one}")
        broker.reload()
        stack.callback(postgres_server.drop_database, name)
        gateway = stack.enter_context(
            gateway_process(
                tmp_path / "gateway", url, broker, gateway_credential.username, gateway_credential.password
            )
        ).await_connected()
        boxes = [
            stack.enter_context(run_box(broker, tmp_path / one, Address("kiln", one), status_every_s=1.0))
            for one in names
        ]
        busy, quiet, early = boxes
        for box in boxes:
            box.accept(*range(40))
        eventually(lambda: settled(boxes))

        end = send_until(busy, 40, threading.Event())  # the backup is taken while packets are committed
        made = take(url, tmp_path / "backup")
        in_backup = rows(url, "SELECT count(*)::int FROM reading")
        quiet.accept(*range(40, 47))
        eventually(lambda: once(url, quiet, 47))
        numbered = end()
        eventually(lambda: settled(boxes))
        assert rows(url, "SELECT count(*)::int FROM reading") == [(numbered + 47 + 40,)] != in_backup

        gateway.kill()
        busy.accept(*range(numbered, numbered + 20))  # these wait at the broker
        numbered += 20
        postgres_server.drop_database(name)
        assert postgres_server.create_database(name) == url
        assert bring_back(url, tmp_path / "backup") is None
        ((left,),) = rows(url, "SELECT count(*)::int FROM reading")
        assert left < numbered + 47 + 40
        assert rows(
            url, "SELECT incarnation::text <> %s, restored_at IS NOT NULL FROM store", made.incarnation
        ) == [(True, True)]
        gateway.start()
        # The quiet box numbers nothing any more, and still learns that it has to send again.
        eventually(lambda: once(url, quiet, 47), 60)
        eventually(lambda: once(url, busy, numbered), 60)
        eventually(lambda: once(url, early, 40), 60)
        eventually(lambda: settled(boxes), 60)
        assert rows(url, "SELECT sum(committed)::int, sum(missing)::int FROM device_packets") == [
            (numbered + 47 + 40, 0)
        ]
        assert rows(url, "SELECT count(*)::int FROM reject") == [(0,)]
        assert gateway.stop() == 0


def some_store(url: str) -> Store:
    """A store with a little in it, under the lease with fencing number 1, which is not given back."""
    register(url, "kiln", "box-0", "box-1")
    lease = LeaseKeeper(url, "default", "before the loss", ttl_s=300).try_acquire()
    assert lease is not None
    lease._ended.set()  # as if its process were hung: it neither renews nor releases
    store = Store(url, "default", lease.fencing, metrics=catalogue(), stop=Stop())
    store.commit([packet(1, readings(1.0, 2.0))])
    return store


def test_a_gateway_of_the_lost_store_cannot_commit_to_the_restored_one(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    name = f"lost_{secrets.token_hex(6)}"
    url = postgres_server.create_database(name)
    migrate(url)
    zombie = some_store(url)
    take(url, tmp_path / "backup")
    try:
        postgres_server.drop_database(name)
        postgres_server.create_database(name)
        bring_back(url, tmp_path / "backup")
        with pytest.raises(LeaseLostError):
            zombie.commit([packet(2, readings(3.0))])
        successor = LeaseKeeper(url, "default", "after the restore").try_acquire()
        assert successor is not None, "nobody waits for a lease of the lost store"
        assert successor.fencing > 1_000_000
        made_later = LeaseKeeper(url, "made after the backup", "of the first restore").try_acquire()
        assert made_later is not None
        postgres_server.drop_database(name)
        postgres_server.create_database(name)
        bring_back(url, tmp_path / "backup")
        for partition, before in (("default", successor), ("made after the backup", made_later)):
            again = LeaseKeeper(url, partition, "of the second restore").try_acquire()
            assert again is not None
            assert again.fencing > before.fencing, "the same backup gives no number twice"
            again.release()
        successor.release()
        made_later.release()
        assert rows(url, "SELECT count(*)::int FROM reading") == [(2,)]
    finally:
        zombie.close()
        postgres_server.drop_database(name)


def test_a_restored_store_is_whole_and_goes_on(database_url: str, empty_url: str, tmp_path: Path) -> None:
    some_store(database_url).close()
    rows(
        database_url,
        "INSERT INTO audit (at, actor, action) VALUES (now(), 'somebody', 'reject.dropped') RETURNING 1",
    )
    made = take(database_url, tmp_path / "backup")
    assert (made.timescaledb, made.evidence_files, made.evidence_included) == (made.timescaledb, 0, False)
    assert {path.stat().st_mode & 0o077 for path in [tmp_path / "backup"]} == {0}, (
        "it holds hashes of credentials"
    )
    bring_back(empty_url, tmp_path / "backup")
    everything = (
        "SELECT captured_at, received_at, value, series_id, flags, committed_at FROM reading ORDER BY 1"
    )
    assert rows(empty_url, everything) == rows(database_url, everything)
    shape = (
        "SELECT table_name, column_name, data_type, column_default FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name <> 'fencing' ORDER BY 1, ordinal_position"
    )
    assert rows(empty_url, shape) == rows(database_url, shape)  # but where fencing numbers begin
    indexes = "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
    assert rows(empty_url, indexes) == rows(database_url, indexes)
    assert migrate(empty_url) == []
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
        rows(empty_url, "DELETE FROM audit RETURNING 1")
    lease = LeaseKeeper(empty_url, "default", "after").try_acquire()
    assert lease is not None
    store = Store(empty_url, "default", lease.fencing, metrics=catalogue(), stop=Stop())
    assert (store.commit([packet(1, readings(1.0)), packet(2, readings(3.0, at=86_400_000))]).packets) == 1
    store.close()
    lease.release()


def test_what_cannot_be_restored_is_refused_before_anything_is_touched(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    def refused(code: str, url: str = empty_url) -> None:
        with pytest.raises(DrumtowerError) as error:
            bring_back(url, tmp_path / "backup")
        assert error.value.code == code
        assert error.value.hint
        if url == empty_url:
            assert rows(empty_url, "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'") == [
                (0,)
            ]

    refused("backup.no_backup")
    some_store(database_url).close()
    take(database_url, tmp_path / "backup")
    with pytest.raises(ConfigError, match="empty folder"):
        take(database_url, tmp_path / "backup")
    with pytest.raises(InvalidError, match="a database without one"):
        take(empty_url, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    refused("backup.not_empty", database_url)
    with psycopg.connect(empty_url, application_name="drumtower/default/7"):
        refused("backup.in_use")
    manifest = tmp_path / "backup" / MANIFEST
    kept = manifest.read_bytes()
    said = msgspec.json.decode(kept)
    for change, code in (
        ({"format": 2}, "backup.newer"),
        ({"migrations": [{"version": 9999, "name": "9999_later.sql", "checksum": ""}]}, "backup.newer"),
        ({"dump_sha256": "0" * 64}, "backup.damaged"),
        ({"timescaledb": "1.0.0"}, "backup.timescaledb"),
        ({"pg_dump": 99}, "backup.no_program"),
    ):
        manifest.write_bytes(msgspec.json.encode({**said, **change}))
        refused(code)
    manifest.unlink()
    refused("backup.no_backup")


def test_a_restore_that_breaks_off_leaves_the_database_empty_and_may_be_tried_again(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    some_store(database_url).close()
    take(database_url, tmp_path / "backup")
    dump, manifest = tmp_path / "backup" / DUMP, tmp_path / "backup" / MANIFEST
    whole, said = dump.read_bytes(), manifest.read_bytes()
    dump.write_bytes(whole[:-2000])
    manifest.write_bytes(msgspec.json.encode({**msgspec.json.decode(said), "dump_sha256": sha256_of(dump)}))
    with pytest.raises(TransientError, match="pg_restore ended with 1"):
        bring_back(empty_url, tmp_path / "backup")
    assert rows(empty_url, "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    dump.write_bytes(whole)
    manifest.write_bytes(said)
    bring_back(empty_url, tmp_path / "backup")
    assert rows(empty_url, "SELECT count(*)::int FROM reading") == [(2,)]


def test_evidence_is_named_or_copied_and_comes_back_where_it_is_missing(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    register(database_url, "kiln", "box-0")
    here, elsewhere = tmp_path / "evidence", tmp_path / "restored"
    digests = []
    for number in range(3):
        content = b"\xff\xd8\xff" + bytes([number]) * 5000
        digests.append(hashlib.sha256(content).hexdigest())
        path = whole_path(here, digests[-1], "image/jpeg")
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        rows(
            database_url,
            "INSERT INTO evidence SELECT %s, 'image/jpeg', %s, device_id FROM device RETURNING 1",
            digests[-1],
            len(content),
        )
    whole_path(here, digests[0], "image/jpeg").unlink()
    whole_path(here, digests[1], "image/jpeg").write_bytes(b"\xff\xd8\xff rotten")
    made = take(database_url, tmp_path / "backup", here)
    assert (made.evidence_files, made.evidence_included, made.evidence_missing) == (3, True, 2)
    listed = (tmp_path / "backup" / "evidence.txt").read_text().splitlines()
    assert [line.split()[0] for line in listed] == sorted(digests)
    assert bring_back(empty_url, tmp_path / "backup", elsewhere) == 2
    back = whole_path(elsewhere, digests[2], "image/jpeg")
    assert hashlib.sha256(back.read_bytes()).hexdigest() == digests[2]
    assert back.stat().st_mode & 0o777 == 0o440
    assert [path for path in elsewhere.rglob("*") if path.is_file()] == [back]


def test_a_store_restored_by_other_means_is_made_another_one(database_url: str) -> None:
    store = some_store(database_url)
    before = rows(database_url, "SELECT incarnation::text FROM store")
    assert (
        [(begin_anew(database_url),)] == rows(database_url, "SELECT incarnation::text FROM store") != before
    )
    with pytest.raises(LeaseLostError):
        store.commit([packet(2, readings(3.0))])
    store.close()


def test_a_program_that_is_too_old_or_missing_is_said(tmp_path: Path) -> None:
    folder = installed_binaries().postgres_programs
    assert find_program("pg_dump", 15, folder)[0] == folder / "pg_dump"
    with pytest.raises(ConfigError, match=r"PostgreSQL 99 or later, found .*pg_dump \(\d+\)"):
        find_program("pg_dump", 99, folder)
    with pytest.raises(ConfigError, match="found none"):
        find_program("pg_dump", 15, tmp_path)


def test_the_commands_say_what_they_do_and_never_the_password(
    database_url: str, empty_url: str, tmp_path: Path
) -> None:
    some_store(database_url).close()

    def drumtower(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER_")}
        environment["DRUMTOWER_DATABASE_URL"] = url
        command = [sys.executable, "-m", "common.runtime.cli", "backup", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=100
        )

    programs = ("--programs", str(installed_binaries().postgres_programs))
    folder = str(tmp_path / "backup")
    created = drumtower("create", folder, *programs, url=database_url)
    assert (created.returncode, "next:" in created.stdout) == (0, True), created.stderr
    restored = drumtower("restore", folder, *programs, url=empty_url)
    assert (restored.returncode, "restored as incarnation" in restored.stdout) == (0, True), restored.stderr
    again = drumtower("restore", folder, *programs, url=empty_url)
    assert (again.returncode, "backup.not_empty" in again.stderr) == (1, True)
    renewed = drumtower("renew", url=empty_url)
    assert (renewed.returncode, "next:" in renewed.stdout) == (0, True)
    password = database_url.split(":")[2].split("@", maxsplit=1)[0]
    said = "".join(ran.stdout + ran.stderr for ran in (created, restored, again, renewed))
    assert password not in said + (tmp_path / "backup" / MANIFEST).read_text()
    assert read_manifest(tmp_path / "backup").postgresql >= 15
