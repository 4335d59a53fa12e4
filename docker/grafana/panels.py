"""What the dashboard shows: rows of panels, each with its expressions and how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

#: Grafana's names of units.
Unit = Literal["none", "s", "ms", "bytes", "decmbytes", "reqps", "percentunit", "bool_yes_no", "short"]


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: what it shows.
        text: how to read it, and what is wrong when it looks wrong.
        unit: of the values.
        lines: expressions with what each line is called; ``{{label}}`` in it.
        alarm_at: from there on it is red; None never. ``alarm_below`` the other way round.
        number: one large number instead of lines over time.
        width: of 24 columns.
    """

    title: str
    text: str
    unit: Unit
    lines: Sequence[tuple[str, str]]
    alarm_at: float | None = None
    alarm_below: float | None = None
    number: bool = False
    width: int = 8


ROWS: Final[dict[str, Sequence[Panel]]] = {
    "Does it work?": (
        Panel(
            "Gateways that take in",
            "One for each partition. 0: nothing of the boxes is taken in; they keep it.",
            "none",
            [("sum(drumtower_gateway_lease_held)", "")],
            alarm_below=1,
            number=True,
            width=4,
        ),
        Panel(
            "Nothing taken in for",
            "Since a gateway last heard the broker and committed, by partition. More than a minute is a ticket.",
            "s",
            [("max by (partition) (drumtower_cloud_gateway_silent_seconds)", "{{partition}}")],
            alarm_at=60,
            number=True,
            width=4,
        ),
        Panel(
            "No tickets made for",
            "Since a worker of the ticket centre last worked, or the oldest observation came that none has taken.",
            "s",
            [("max(drumtower_gateway_cloud_silent_seconds)", "")],
            alarm_at=60,
            number=True,
            width=4,
        ),
        Panel(
            "Oldest packet without a receipt",
            "As boxes say it that were heard within five minutes.",
            "s",
            [("max(drumtower_gateway_oldest_unreceipted_seconds)", "")],
            alarm_at=300,
            number=True,
            width=4,
        ),
        Panel(
            "Observations put aside",
            "They could not be applied: drumtower cloud retry-failed, after a fix.",
            "none",
            [("max(drumtower_cloud_inbox_failed)", "")],
            alarm_at=1,
            number=True,
            width=4,
        ),
        Panel(
            "Boxes silent",
            "Heard once, and not for longer than each may be silent.",
            "none",
            [('max(drumtower_gateway_devices{state="silent"})', "")],
            alarm_at=1,
            number=True,
            width=4,
        ),
    ),
    "Taking in": (
        Panel(
            "Readings and packets",
            "What is committed each second.",
            "reqps",
            [
                ("sum(rate(drumtower_gateway_rows_total[1m]))", "readings"),
                ("sum(rate(drumtower_gateway_packets_total[1m]))", "packets"),
                ("sum(rate(drumtower_gateway_receipts_total[1m]))", "receipts"),
            ],
        ),
        Panel(
            "From hand-over to commit",
            "Of a batch. Seconds mean that the database is slow; batches then grow, and nothing is lost.",
            "s",
            [
                (
                    f"histogram_quantile({share}, sum by (le) (rate(drumtower_gateway_batch_seconds_bucket[5m])))",
                    name,
                )
                for share, name in ((0.5, "half are faster"), (0.99, "99 of 100 are faster"))
            ],
            alarm_at=5,
        ),
        Panel(
            "Waiting",
            "Messages with the gateway that are not decoded yet, and those left with the broker for want of room.",
            "short",
            [
                ("drumtower_gateway_queue_messages", "to be decoded, {{instance}}"),
                ("drumtower_gateway_shed_messages", "left with the broker, {{instance}}"),
            ],
        ),
        Panel(
            "What could not be taken in",
            "Rejects by reason: drumtower gateway rejects list.",
            "reqps",
            [("sum by (reason) (rate(drumtower_gateway_rejects_total[5m]))", "{{reason}}")],
        ),
        Panel(
            "Sent again, given up",
            "Packets that came twice were dropped, as they should be; those that boxes gave up are lost for want of room.",
            "reqps",
            [
                ("sum(rate(drumtower_gateway_duplicates_total[5m]))", "came again"),
                ("sum(rate(drumtower_gateway_abandoned_total[5m]))", "given up"),
            ],
        ),
        Panel(
            "Processor time of the rules",
            "Share of one core.",
            "percentunit",
            [("sum(rate(drumtower_gateway_rules_seconds_total[5m]))", "rules")],
        ),
    ),
    "Database, broker, disks": (
        Panel(
            "What is the matter with the database",
            "A line at 1 says what keeps it from taking batches.",
            "bool_yes_no",
            [("max by (kind) (drumtower_gateway_database_trouble)", "{{kind}}")],
            alarm_at=1,
        ),
        Panel(
            "Broker: last saved",
            "It saves what it holds every ten seconds. When its disk is full that gets old; it goes on from memory.",
            "s",
            [("max(drumtower_gateway_broker_saved_age_seconds)", "ago")],
            alarm_at=120,
        ),
        Panel(
            "Free space",
            "Of the disks of pictures and broker, where the gateway sees them.",
            "bytes",
            [("min by (directory) (drumtower_gateway_disk_free_bytes)", "{{directory}}")],
            alarm_below=1024**3,
        ),
        Panel(
            "Rollups late",
            "How long readings by the minute have been due.",
            "s",
            [("max(drumtower_gateway_rollup_lag_seconds)", "late")],
            alarm_at=600,
        ),
        Panel(
            "Connected to the broker",
            "Of the gateway that holds the lease; one that stands by is not connected.",
            "bool_yes_no",
            [("drumtower_gateway_broker_connected", "{{instance}}")],
        ),
        Panel(
            "Heartbeats to the watcher outside",
            "Sent only while the work is done; the watcher calls when they stop.",
            "reqps",
            [
                ("sum(rate(drumtower_gateway_heartbeats_total[5m]))", "gateway"),
                ("sum(rate(drumtower_cloud_heartbeats_total[5m]))", "ticket centre"),
                (
                    "sum(rate(drumtower_gateway_heartbeats_failed_total[5m]))"
                    " + sum(rate(drumtower_cloud_heartbeats_failed_total[5m]))",
                    "not answered",
                ),
            ],
        ),
    ),
    "Ticket centre": (
        Panel(
            "Tickets",
            "Open ones; of them those that nobody owns, and those of which a clock was missed.",
            "short",
            [
                ("max(drumtower_cloud_tickets_open)", "open"),
                ("max(drumtower_cloud_tickets_unassigned)", "without an owner"),
                ("max(drumtower_cloud_tickets_overdue)", "overdue"),
            ],
        ),
        Panel(
            "Observations",
            "Applied each second, put off after a fault, and given up.",
            "reqps",
            [
                ("sum(rate(drumtower_observations_applied_total[1m]))", "applied"),
                ("sum(rate(drumtower_observations_retried_total[1m]))", "put off"),
                ("sum(rate(drumtower_observations_failed_total[1m]))", "given up"),
            ],
        ),
        Panel(
            "From receipt to ticket",
            "From the gateway's receipt of an observation to the commit that applies it.",
            "s",
            [
                (
                    f"histogram_quantile({share}, sum by (le)"
                    " (rate(drumtower_observation_latency_seconds_bucket[5m])))",
                    name,
                )
                for share, name in ((0.5, "half are faster"), (0.99, "99 of 100 are faster"))
            ],
            alarm_at=15,
        ),
        Panel(
            "Inbox",
            "Observations that no worker has taken yet.",
            "short",
            [("max(drumtower_cloud_inbox_waiting)", "waiting")],
        ),
        Panel(
            "Oldest of each kind",
            "How long the oldest observation waits, a ticket is without an owner, a due clock is not fired.",
            "s",
            [
                ("max(drumtower_cloud_inbox_oldest_seconds)", "observation"),
                ("max(drumtower_cloud_tickets_unassigned_oldest_seconds)", "ticket without an owner"),
                ("max(drumtower_cloud_clock_unfired_seconds)", "clock not fired"),
            ],
        ),
        Panel(
            "Browsers that follow",
            "Open pages with a live stream.",
            "short",
            [("sum(drumtower_stream_clients)", "browsers")],
        ),
    ),
    "Boxes": (
        Panel(
            "Boxes by how they are",
            "As the gateway sees them.",
            "short",
            [("max by (state) (drumtower_gateway_devices)", "{{state}}")],
        ),
        Panel(
            "Without a receipt",
            "Of boxes that Prometheus can reach: the age of the oldest packet without a receipt, the ten worst.",
            "s",
            [("topk(10, drumtower_edge_oldest_unreceipted_s)", "{{instance}}")],
            alarm_at=300,
        ),
        Panel(
            "Clocks",
            "What would have to be added to a box's clock, the ten worst.",
            "ms",
            [("topk(10, abs(drumtower_edge_clock_offset_ms))", "{{instance}}")],
            alarm_at=2000,
        ),
        Panel(
            "Blind, silent, stuck",
            "Cameras that cannot see, sensors that do not answer, pictures that wait.",
            "short",
            [
                ("sum(drumtower_edge_cameras_blind)", "cameras blind"),
                ("sum(drumtower_edge_sensors_silent)", "sensors silent"),
                ("sum(drumtower_edge_evidence_waiting)", "pictures waiting"),
            ],
        ),
        Panel(
            "Frames looked at",
            "Each second, by camera.",
            "reqps",
            [("rate(drumtower_edge_camera_analysed[1m])", "{{instance}} {{camera}}")],
        ),
        Panel(
            "Disk and memory",
            "The least free disk, and the most memory of an agent.",
            "decmbytes",
            [("min(drumtower_edge_disk_free_mb)", "disk free"), ("max(drumtower_edge_rss_mb)", "memory")],
        ),
    ),
}
