"""Writes ``dashboards/drumtower.json``: ``python -m docker.grafana.dashboard``.

What is said once here stands a hundred times in Grafana's form. A test holds the file to this module, and every
expression to the metrics that there are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from docker.grafana.panels import ROWS, Panel

FILE: Final = Path(__file__).parent / "dashboards" / "drumtower.json"
UID: Final = "drumtower"
#: As provisioning/datasources/prometheus.yaml names it.
DATASOURCE: Final = {"type": "prometheus", "uid": "drumtower-prometheus"}
_COLUMNS: Final = 24


def dashboard() -> dict[str, Any]:
    """The whole dashboard in Grafana's form (schema version 39)."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, members in ROWS.items():
        place = {"h": 1, "w": _COLUMNS, "x": 0, "y": top}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": place,
                "panels": [],
            }
        )
        top += 1
        left = 0
        height = 4 if all(panel.number for panel in members) else 8
        for panel in members:
            if left + panel.width > _COLUMNS:
                left, top = 0, top + height
            place = {"h": height, "w": panel.width, "x": left, "y": top}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_drawn(panel)})
            left += panel.width
        top += height
    return {
        "uid": UID,
        "title": "Drumtower 鼓楼",
        "description": "Whether everything is taken in, and whether everything becomes work.",
        "tags": ["drumtower"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "links": [],
        "panels": panels,
    }


def _drawn(panel: Panel) -> dict[str, Any]:
    kind = "stat" if panel.number else "timeseries"
    options: dict[str, Any] = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "area"}
        if panel.number
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    )
    return {
        "type": kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": expr,
                "legendFormat": name or panel.title,
            }
            for number, (expr, name) in enumerate(panel.lines)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "color": {"mode": "thresholds" if panel.number else "palette-classic"},
                "thresholds": {"mode": "absolute", "steps": _steps(panel)},
                "custom": {}
                if panel.number
                else {"thresholdsStyle": {"mode": _style(panel)}, "fillOpacity": 10},
            },
            "overrides": [],
        },
        "options": options,
    }


def _steps(panel: Panel) -> list[dict[str, Any]]:
    if panel.alarm_below is not None:
        return [{"color": "red", "value": None}, {"color": "green", "value": panel.alarm_below}]
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    return steps if panel.alarm_at is None else [*steps, {"color": "red", "value": panel.alarm_at}]


def _style(panel: Panel) -> str:
    return "off" if panel.alarm_at is None and panel.alarm_below is None else "line"


def written() -> str:
    """The file's text."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(written(), encoding="utf-8")
    print(FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
