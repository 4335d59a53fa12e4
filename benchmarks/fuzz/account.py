"""What became of each message, looked up in the store itself: no gateway is asked for its opinion.

A message is accounted for when the store keeps its bytes as a reject with a reason, or has its packet's number, or has
its status. What a quarantined device says of its own state is no news and is dropped by design. Of foreign devices,
which number nothing for us, there must be as many readings and repeats as messages that are no rejects.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

import msgspec
import psycopg

from benchmarks.fuzz.corpus import FOREIGN, Message
from benchmarks.fuzz.gateway import kept_of
from common.runtime.clock import to_datetime
from common.wire import ids
from common.wire.topics import Address
from gateway.fleet import repo as fleet
from gateway.fleet.release import release
from gateway.rejects.repo import storable

_FOREIGN_TOPIC: Final = re.compile(
    "|".join(re.escape(topic).replace(r"\{device\}", "[^/]+") + r"\Z" for topic in FOREIGN.values())
)
#: Rejects are numbered before they are committed: so many are looked at again.
_LOOK_BACK: Final = 50_000
_REJECTS: Final = b"""
SELECT reject_id, decode(md5(convert_to(topic, 'UTF8') || payload), 'hex'), reason = '' OR message = ''
  FROM reject WHERE reject_id > %s
"""
_PACKETS: Final = b"""
SELECT k.n FROM unnest(%s::integer[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])
       AS k (n, site, name, epoch, seq)
 WHERE NOT EXISTS (SELECT FROM device d JOIN device_stream s USING (device_id)
                    WHERE d.site = k.site AND d.name = k.name AND s.epoch = k.epoch AND s.received @> k.seq)
"""
_STATUSES: Final = b"""
SELECT k.n FROM unnest(%s::integer[], %s::text[], %s::text[], %s::timestamptz[]) AS k (n, site, name, at)
 WHERE NOT EXISTS (SELECT FROM device d JOIN device_status s USING (device_id)
                    WHERE d.site = k.site AND d.name = k.name AND s.said_at = k.at)
"""
_FOREIGN: Final = b"""
SELECT (SELECT count(*) FROM reading r JOIN series USING (series_id) JOIN device d USING (device_id)
         WHERE d.mapping IS NOT NULL),
       (SELECT coalesce(sum(duplicates), 0)::bigint FROM device_stream WHERE epoch < 0)
"""
_TOTALS: Final = b"""
SELECT (SELECT coalesce(sum(committed - rejected), 0)::bigint FROM device_packets),
       (SELECT coalesce(sum(duplicates), 0)::bigint FROM device_stream WHERE epoch > 0),
       (SELECT count(*) FROM device_status), (SELECT count(*) FROM reading), (SELECT count(*) FROM observation),
       (SELECT coalesce(sum(dropped), 0)::bigint FROM reject_day)
"""


class Account:
    """Looks messages up, a chunk at a time.

    Args:
        url: the store.
    """

    def __init__(self, url: str) -> None:
        self.looked_up = self.status_of_quarantined = self.quarantined = 0
        self.missing: list[Message] = []
        self.without_reason = 0
        #: Foreign messages that are no rejects, and of these the uplinks that carry nothing.
        self.foreign = self.foreign_empty = 0
        self._url = url
        self._rejected: set[bytes] = set()
        self._newest = 0
        self._chunk = 0
        #: When a device was last seen to be quarantined, by chunk; gateways notice its release only later.
        self._held: dict[str, int] = {}

    def look_up(self, messages: list[Message]) -> None:
        """Find each of them; those that cannot be found are added to ``missing``."""
        self._chunk += 1
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET timezone = 'UTC'")
            self._note_rejects(connection)
            for one in fleet.quarantined(connection):
                self._held[str(one.address)] = self._chunk
                self.quarantined += 1
                release(connection, one.address)
            self._find(connection, messages)
        self.looked_up += len(messages)

    def totals(self) -> dict[str, Any]:
        """What the store has, all in all."""
        with psycopg.connect(self._url) as connection:
            row = connection.execute(_TOTALS).fetchone()
            assert row is not None, "an aggregate always gives one row"
            reasons = connection.execute(
                "SELECT reason, count(*) FROM reject GROUP BY 1 ORDER BY 2 DESC"
            ).fetchall()
        stored, repeated, statuses, readings, observations, dropped = row
        return {
            "packets_stored": stored,
            "packets_repeated": repeated,
            "statuses_stored": statuses,
            "foreign_taken_in": self.foreign,
            "readings": readings,
            "observations": observations,
            "rejects_kept": sum(count for _, count in reasons),
            "rejects_beyond_quota": dropped,
            "reasons": dict(reasons),
        }

    def foreign_lost(self) -> int:
        """How many foreign messages are neither rejects nor readings nor repeats."""
        with psycopg.connect(self._url) as connection:
            row = connection.execute(_FOREIGN).fetchone()
        assert row is not None, "an aggregate always gives one row"
        return max(self.foreign - self.foreign_empty - int(row[0] + row[1]), 0)

    def _note_rejects(self, connection: psycopg.Connection) -> None:
        rows = connection.execute(_REJECTS, [self._newest - _LOOK_BACK], binary=True).fetchall()
        for reject_id, digest, unsaid in rows:
            self._newest = max(self._newest, reject_id)
            self._rejected.add(digest)
            self.without_reason += unsaid

    def _find(self, connection: psycopg.Connection, messages: list[Message]) -> None:
        packets: list[tuple[Any, ...]] = []
        statuses: list[tuple[Any, ...]] = []
        for n, message in enumerate(messages):
            if _digest(message) in self._rejected:
                continue
            if _FOREIGN_TOPIC.match(message.topic):
                self.foreign += 1
                self.foreign_empty += message.topic.startswith("application/") and _carries_nothing(message)
                continue
            key = _key(message)
            if key is None:
                self.missing.append(message)
            else:
                (statuses if len(key) == 3 else packets).append((n, *key))
        for query, keys in ((_PACKETS, packets), (_STATUSES, statuses)):
            if keys:
                columns = [list(column) for column in zip(*keys, strict=True)]
                for (n,) in connection.execute(query, columns).fetchall():
                    self._not_found(messages[n], is_status=keys is statuses)

    def _not_found(self, message: Message, *, is_status: bool) -> None:
        sender = "/".join(message.topic.split("/")[2:4])
        if is_status and self._held.get(sender, -9) >= self._chunk - 1:
            self.status_of_quarantined += 1
        else:
            self.missing.append(message)


def _digest(message: Message) -> bytes:
    topic = storable(message.topic)[:300].encode()
    return hashlib.md5(topic + kept_of(message.payload), usedforsecurity=False).digest()


def _key(message: Message) -> tuple[Any, ...] | None:
    """Where the store should have it if it is not a reject: site, device, and epoch and number or when it was said."""
    try:
        parts = message.topic.split("/")
        address = Address(parts[2], parts[3])
        root = _parsed(message.payload)
        if parts[5] == "status":
            return address.site, address.device, to_datetime(int(root["data"]["at"]))
        return address.site, address.device, *ids.parse_packet_id(str(root["id"]))
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _carries_nothing(message: Message) -> bool:
    """Whether an uplink only says that its device is there."""
    root = _parsed(message.payload)
    return not root.get("data") and not root.get("object")


def _parsed(payload: bytes) -> Any:
    """Read as leniently as can be: what the gateway skips it need not look at."""
    try:
        return msgspec.json.decode(payload)
    except ValueError:
        return json.loads(payload.decode("utf-8", "replace"), strict=False)
