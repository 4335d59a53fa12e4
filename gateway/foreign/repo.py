"""The statements about foreign devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.wire.topics import Address
from gateway.adapters.mapping import MappingFile
from gateway.fleet.repo import Connection


def hear(connection: Connection, heard: Mapping[int, int]) -> None:
    """Note when devices were last heard: instants in ms since the Unix epoch by ``device_id``."""
    ordered = sorted(heard.items())
    connection.execute(
        "INSERT INTO device_presence AS p (device_id, seen_at)"
        " SELECT d, least(to_timestamp(t / 1000.0), clock_timestamp()) FROM unnest(%s::integer[], %s::bigint[]) AS k (d, t) ORDER BY d"
        " ON CONFLICT (device_id) DO UPDATE SET seen_at = greatest(p.seen_at, excluded.seen_at)",
        [[device for device, _ in ordered], [at for _, at in ordered]],
    )


def boxes_among(connection: Connection, files: Iterable[MappingFile]) -> list[Address]:
    """Devices of some mapping files that are registered as boxes."""
    wanted = {Address(file.site, device.name) for file in files for device in file.devices}
    rows = connection.execute("SELECT site, name FROM device WHERE mapping IS NULL").fetchall()
    return sorted(wanted & {Address(site, name) for site, name in rows}, key=str)


def upsert_devices(connection: Connection, files: Iterable[MappingFile]) -> int:
    """Bring the registry to what mapping files say; how many devices they name."""
    rows = [
        (
            file.site,
            device.name,
            file.partition,
            device.title_zh,
            device.title_en,
            device.lon,
            device.lat,
            device.silent_after_s or file.silent_after_s,
            file.mapping,
        )
        for file in files
        for device in file.devices
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO device (site, name, partition, title_zh, title_en, lon, lat, silent_after_s, mapping)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " ON CONFLICT (site, name) DO UPDATE SET partition = excluded.partition,"
            " title_zh = excluded.title_zh, title_en = excluded.title_en, lon = excluded.lon,"
            " lat = excluded.lat, silent_after_s = excluded.silent_after_s, mapping = excluded.mapping",
            rows,
        )
    return len(rows)
