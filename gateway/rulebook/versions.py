"""Versions of the rules: read by gateways between batches, applied by people, never edited.

The rules of ``gateway.yaml`` are the first version. As long as nobody applies others, a gateway that starts with a
changed file makes the file's rules the next version; from then on the store is what counts, and the file only warned
about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from common.runtime.clock import Clock
from common.runtime.config import InvalidConfigError, load_config, parse_config
from common.runtime.errors import InvalidError
from common.runtime.log import get_logger
from common.wire.messages import Observation
from gateway.batch import Told
from gateway.fleet import audit
from gateway.fleet.repo import connect, transaction
from gateway.metrics_catalogue import Metric
from gateway.repo import insert_observations
from gateway.rule_settings import RuleFile, compile_rules, right_with
from gateway.rulebook import repo
from gateway.rulebook.endings import endings
from gateway.rules import Rule

#: The author of versions that a gateway makes of its file.
FILE: Final = "gateway.yaml"
#: How many versions back a gateway looks for one that it understands.
_LOOK_BACK: Final = 20
_DAY_MS: Final = 86_400_000
_log = get_logger("rules")


def parse(content: str, path: Path, metrics: Mapping[str, Metric]) -> tuple[Rule, ...]:
    """The rules in a text; ``path`` names it in faults.

    Raises:
        InvalidConfigError: with every fault found.
    """
    return compile_rules(parse_config(content, path, RuleFile, right_with(metrics)).rules, metrics)


def rules_of_file(path: Path) -> str:
    """The ``rules:`` of a configuration as they are written there, comments and all."""
    text = path.read_text(encoding="utf-8")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    for place, key in enumerate(keys):
        if key.value == "rules":
            lines = text.splitlines(keepends=True)
            end = keys[place + 1].start_mark.line if place + 1 < len(keys) else len(lines)
            return "".join(lines[key.start_mark.line : end])
    return "rules: []\n"


def load(path: Path, metrics: Mapping[str, Metric]) -> tuple[Rule, ...]:
    """The rules in a file.

    Raises:
        InvalidConfigError: with every fault found.
    """
    return compile_rules(load_config(path, RuleFile, right_with(metrics)).rules, metrics)


class RuleBook:
    """Where a gateway reads the rules in force."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self._metrics = dict(metrics)

    def read(self, connection: repo.Connection) -> tuple[int, tuple[Rule, ...]]:
        """The newest version's number and rules.

        Rules that this gateway does not understand (they name a metric that its configuration lacks, or are of a
        newer release) are told, and the newest version that it does understand is used instead.
        """
        known = repo.versions(connection, _LOOK_BACK)
        for one in known:
            try:
                rules = parse(one.content, Path(f"rules version {one.version}"), self._metrics)
            except InvalidConfigError as error:
                _log.critical("rules not understood", version=one.version, error=error.message)
                continue
            _log.info("rules in force", version=one.version, rules=len(rules), author=one.author)
            return known[0].version, rules
        return (known[0].version if known else 0), ()


@dataclass(frozen=True, slots=True)
class Applied:
    """A version that took effect, and how many conditions it ended."""

    version: int
    ended: int


def apply(
    connection: repo.Connection,
    content: str,
    metrics: Mapping[str, Metric],
    *,
    author: str,
    note: str,
    only_after: int | None = None,
    actor: audit.Actor | None = None,
    clock: Clock | None = None,
) -> Applied:
    """Make rules the newest version and end what they leave behind, all in one transaction between batches.

    Args:
        connection: one of its own.
        content: YAML.
        metrics: those that are declared.
        author: who applies them.
        note: why.
        only_after: the version that must still be the newest.
        actor: a person, for the audit.
        clock: whose time the ends are of; the database's when None.

    Raises:
        InvalidConfigError: when the rules are faulty; nothing changes.
        InvalidError: when another version came in between.
        TransientError: when the database went away or a batch takes too long.
    """
    rules = {rule.rule_id: rule for rule in parse(content, Path("rules"), metrics)}
    with transaction(connection):
        repo.hold_batches(connection)
        now = repo.now_ms(connection) if clock is None else clock.now_ms()
        newest = repo.newest(connection)
        version = 1 if newest is None else newest.version + 1
        if only_after is not None and version != only_after + 1:
            raise InvalidError(
                "rules.changed_meanwhile",
                f"expected version {only_after} to be the newest, found {version - 1}",
                "look at it (drumtower rules show), then apply yours again",
            )
        repo.add(connection, version, author, note, content)
        before = rules if newest is None else {one.rule_id: one for one in understood(newest, metrics)}
        ended = _end(connection, before, rules, version, now)
        repo.forget_records(connection, list(rules))
        if actor is not None:
            audit.write(connection, actor, "rules.apply", version=version, why=note, ended=ended)
    return Applied(version, ended)


def follow_file(url: str, content: str, metrics: Mapping[str, Metric], clock: Clock | None = None) -> None:
    """Make the file's rules the first version, or the next one where no person applied others since.

    ``clock`` is as in ``apply``.

    Raises:
        InvalidConfigError: when they are faulty.
        TransientError: when the database is away.
    """
    rules = parse(content, Path(FILE), metrics)
    with connect(url, "rules") as connection:
        with transaction(connection):
            newest = repo.newest(connection)
        if newest is not None:
            if understood(newest, metrics) == rules:
                return
            if newest.author != FILE:
                _log.warning(
                    "gateway.yaml has other rules than those in force, which count",
                    version=newest.version,
                    author=newest.author,
                    see="drumtower rules show",
                )
                return
        after = 0 if newest is None else newest.version
        note = "the first" if newest is None else "the file was changed"
        try:
            applied = apply(
                connection, content, metrics, author=FILE, note=note, only_after=after, clock=clock
            )
        except InvalidError as error:
            if error.code != "rules.changed_meanwhile":
                raise
            return  # another gateway was as quick
        _log.info("rules of gateway.yaml took effect", version=applied.version, ended=applied.ended)


def understood(one: repo.RuleSet, metrics: Mapping[str, Metric]) -> tuple[Rule, ...]:
    """A version's rules; none of one that cannot be understood here, so nothing goes on under it."""
    try:
        return parse(one.content, Path(f"rules version {one.version}"), metrics)
    except InvalidConfigError:
        return ()


def _end(
    connection: repo.Connection, old: Mapping[str, Rule], new: Mapping[str, Rule], version: int, now: int
) -> int:
    """Put an end to what the new rules do not go on with; how many conditions that were told."""
    standing = repo.standings(connection)
    over = endings(old, new, standing)
    told = []
    for place, why in over:
        one = standing[place]
        seen = repo.last_told(connection, one.state.observation_id) if one.state.holds else None
        if seen is None:
            continue  # it was only rising, or only a part of combinations
        told.append(
            Told(one.device_id, _ended(one, seen, now, f"{why} (version {version})"), now, None, None)
        )
    insert_observations(connection, told, future_ms=_DAY_MS, past_ms=_DAY_MS, known=set())
    repo.forget(connection, [standing[place] for place, _ in over])
    return len(told)


def _ended(one: repo.Standing, seen: Mapping[str, object], now: int, why: str) -> Observation:
    value = seen["value"]
    detail = seen["detail"]
    return Observation(
        observation_id=one.state.observation_id,
        phase="end",
        revision=one.state.revision + 1,
        category=str(seen["category"]),
        source=str(seen["source"]),
        sensor=str(seen["sensor"]),
        started_at=one.state.started_at,
        at=max(now, one.state.started_at),
        severity=one.state.severity,
        ended_at=max(now, one.state.started_at),
        value=float(value) if isinstance(value, int | float) else None,
        unit=str(seen["unit"]),
        detail={**(detail if isinstance(detail, dict) else {}), "reason": why},
    )
