"""``drumtower rules`` as a person types it; the dry run against what really happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.runtime.clock import to_datetime
from common.wire.codec import encode_status
from common.wire.messages import Status
from gateway.decode import Decoder, RawMessage
from gateway.fleet.repo import connect
from gateway.lease import Lease
from gateway.metrics_catalogue import catalogue
from gateway.rulebook import trial, versions
from tests.fixtures.gateway_rules import (
    BOX,
    MINUTE,
    OTHER,
    SMOKE,
    STORM,
    apply,
    packet,
    phases,
    smoke,
    store_of,
    storm,
)
from tests.fixtures.moved_database import set_ahead
from tests.integration.gateway_rig import now_ms, rows

pytestmark = pytest.mark.services


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A gateway's configuration."""
    path = tmp_path / "gateway.yaml"
    path.write_text("limits: {series_per_device: 100}\n" + SMOKE + "\nsilence: {sweep_s: 5}\n", "utf-8")
    return path


def rules(url: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DRUMTOWER_")}
    environment |= {"DRUMTOWER_DATABASE_URL": url, "COLUMNS": "200", "PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [sys.executable, "-m", "common.runtime.cli", "rules", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=100,
    )


def test_rules_are_applied_shown_rolled_back_and_remembered(
    database_url: str, config: Path, tmp_path: Path
) -> None:
    assert rules(database_url, "show").returncode == 1
    first = rules(database_url, "apply", config, "--config", config)
    assert first.returncode == 0, first.stderr
    assert "added: smoke" in first.stdout
    stricter = tmp_path / "rules.yaml"
    stricter.write_text(
        "# since the fire in May\n" + SMOKE.replace("raise_at: 0.15", "raise_at: 0.12"), "utf-8"
    )
    second = rules(database_url, "apply", stricter, "--config", config, "--note", "after the fire")
    assert "changed: smoke" in second.stdout
    assert "next: drumtower rules history" in second.stdout
    shown = rules(database_url, "show").stdout
    assert shown.startswith("# version 2, ")
    assert ": after the fire" in shown
    assert "# since the fire in May" in shown, "comments are kept"
    assert "nothing to do" in rules(database_url, "apply", stricter, "--config", config).stdout
    back = rules(database_url, "rollback", "1", "--config", config)
    assert back.returncode == 0, back.stderr
    assert "version 3 is in force" in back.stdout
    assert "raise_at: 0.15" in rules(database_url, "show").stdout
    told = rules(database_url, "history").stdout
    assert "after the fire" in told
    assert "back to version 1" in told
    assert rules(database_url, "rollback", "9", "--config", config).returncode == 1
    audited = rows(database_url, "SELECT action, detail->>'version' FROM audit ORDER BY audit_id")
    assert audited == [("rules.apply", "1"), ("rules.apply", "2"), ("rules.apply", "3")]


@pytest.mark.parametrize("command", [("apply",), ("test", "--since", "1h", "--file")])
def test_faulty_rules_are_refused_with_their_lines(
    database_url: str, config: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    faulty = tmp_path / "rules.yaml"
    faulty.write_text(
        "rules:\n"
        "  - {id: a, metric: smoke_densty, category: smoke.alarm, raise_at: 2, clear_at: 1,"
        " severity: [{at: 2, severity: 3}]}\n"
        "  - {id: b, kind: all_of, category: smoke.alarm, members: [a, c], severity: 3}\n",
        "utf-8",
    )
    said = rules(database_url, *command, faulty, "--config", config)
    assert said.returncode == 2
    assert f"{faulty}:2: rules.0.metric" in said.stderr
    assert "did you mean 'smoke_density'?" in said.stderr
    assert f"{faulty}:3: rules.1.members" in said.stderr
    assert rows(database_url, "SELECT count(*) FROM rule_set") == [(0,)]


def test_a_dry_run_tells_what_would_have_been_and_writes_nothing(
    database_url: str, lease: Lease, config: Path, tmp_path: Path
) -> None:
    apply(database_url, SMOKE)
    begin = now_ms() - 120 * MINUTE
    with store_of(database_url, lease) as store:
        for number, value in enumerate([0.0, 0.16, 0.0, 0.3, 0.3, 0.0, 0.13, 0.0], 1):
            store.commit([smoke(number, value, begin + number * 10 * MINUTE)])
        store.commit([smoke(1, 0.2, begin + 100 * MINUTE, OTHER)])
    lower = tmp_path / "lower.yaml"
    lower.write_text(SMOKE.replace("0.15", "0.12"), "utf-8")
    before = rows(database_url, "SELECT relname, n_tup_ins FROM pg_stat_user_tables ORDER BY 1")
    said = rules(database_url, "test", "--file", lower, "--since", "3h", "--config", config)
    assert said.returncode == 0, said.stderr
    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in said.stdout.splitlines() if "│" in line
    ]
    cells = {(line[0] or "smoke", line[1]): line[2:] for line in lines}
    assert cells["smoke", "(all)"][:2] == ["3", "4"]
    assert cells["smoke", "kiln/box-0"] == ["2", "3", "0:30:00", "0:40:00"]
    assert cells["smoke", "kiln/box-1"][:2] == ["1", "1"]
    assert "changed: smoke" in said.stdout
    assert f"next: drumtower rules apply {lower}" in said.stdout
    assert "9 readings of 2 boxes" in said.stdout
    assert rows(database_url, "SELECT relname, n_tup_ins FROM pg_stat_user_tables ORDER BY 1") == before
    assert phases(database_url).count("start") == 3


@pytest.mark.parametrize("ahead_s", [3600, -3600])
def test_a_dry_run_goes_back_from_the_databases_now(
    database_url: str, lease: Lease, config: Path, ahead_s: int
) -> None:
    apply(database_url, SMOKE)
    with store_of(database_url, lease) as store:
        store.commit([smoke(1, 0.3, now_ms()), smoke(2, 0.0, now_ms() + 1000)])
    moved = set_ahead(database_url, ahead_s)
    read = []
    for span in ("30m", "2h"):
        said = rules(moved, "test", "--since", span, "--config", config)
        assert said.returncode == 0, said.stderr
        read.append(said.stdout.partition(" of ")[0])
    of_now = "2 readings" if ahead_s > 0 else "0 readings"
    assert read == ["0 readings", of_now], "the machine's clock would have found them in both spans"


def test_a_dry_run_finds_what_a_gateway_found(database_url: str, lease: Lease) -> None:
    """The same rules over the history of a storm: as many conditions of every rule, of the same length."""
    apply(database_url, STORM)
    begin = now_ms() - 130 * MINUTE
    with store_of(database_url, lease) as store:
        packets = storm(begin, range(40))
        for one in packets:
            store.commit([one])
        for minute in range(40, 115):
            dry = ("rain-1", "rain_intensity", [begin + minute * MINUTE], [0.0])
            store.commit([packet(minute + 1, dry)])
        said = encode_status(BOX, now_ms(), Status("online", begin + 120 * MINUTE))
        store.commit([Decoder().decode(RawMessage(BOX.up("status"), said, False, now_ms(), len(said)))])
    happened = rows(
        database_url,
        "SELECT source, count(*) FILTER (WHERE phase = 'start') FROM observation GROUP BY 1 ORDER BY 1",
    )
    (rules_in_force,) = [versions.parse(STORM, Path("x"), catalogue())]
    with connect(database_url, "test") as connection:
        parts: list[float] = []
        done = trial.run(connection, [rules_in_force], begin - 1, now_ms(), parts.append)
    (tally,) = done.tallies
    found = [
        (f"rule:{name}", tally.total(name).conditions)
        for name in sorted(tally.counts)
        if tally.total(name).conditions
    ]
    assert found == happened
    assert {name for name, _ in found} == {"rule:flash-flood", "rule:rain-hour", "rule:silent", "rule:stuck"}
    assert done.readings == 195
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1.0)
    lasted = rows(
        database_url,
        "SELECT extract(epoch FROM max(ended_at) - min(started_at))::float8 * 1000 FROM observation"
        " WHERE source = 'rule:rain-hour'",
    )
    assert tally.total("rain-hour").lasted_ms == pytest.approx(lasted[0][0])


def test_a_dry_run_begins_early_enough_to_know_what_went_on_at_its_beginning(
    database_url: str, lease: Lease
) -> None:
    apply(database_url, STORM)
    begin = now_ms() - 90 * MINUTE
    with store_of(database_url, lease) as store:
        store.commit(storm(begin, range(40)))
    parsed = versions.parse(STORM, Path("x"), catalogue())
    with connect(database_url, "test") as connection:
        (tally,) = trial.run(connection, [parsed], begin + 30 * MINUTE, now_ms()).tallies
    assert tally.total("rain-hour").conditions == 0, "it began before"
    assert tally.total("rain-hour").lasted_ms > 0, "and went on"


def test_a_version_that_names_an_instant_is_a_span(database_url: str, config: Path) -> None:
    since = to_datetime(now_ms() - 60_000).isoformat()
    assert rules(database_url, "test", "--since", since, "--config", config).returncode == 0
    assert rules(database_url, "test", "--since", "soon", "--config", config).returncode == 2
    future = to_datetime(now_ms() + 600_000).isoformat()
    assert rules(database_url, "test", "--since", future, "--config", config).returncode == 2
