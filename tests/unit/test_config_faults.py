"""Every fault of a configuration at once: of fields, and between fields, whichever of them come together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from cloud.config import CloudSettings
from cloud.district.checks import disagreements
from cloud.district.schemas import DistrictFile
from common.runtime.config import InvalidConfigError, Settings, Wrong, load_each, parse_config
from edge.cli import app as edge
from edge.config import DeviceConfig, load_device, outside_pictures
from gateway.cli import app as gateway
from gateway.config import GatewaySettings
from gateway.fleet.sites import Site, load_all
from models.manifest import Manifest

REPOSITORY = Path(__file__).parents[2]
CONFIGS = REPOSITORY / "firmware_configs"

Place = tuple[int, str]

DEVICE = """\
site: gulou
device: lamp-01
cameras:
  - name: cam-1
    footage: vtest
    severity:
      square: 3
    scenes:
      - scene: zone
        id: square
        zone: [[0, 0], [1, 0], [1, 1]]
        labels: [person, car]
        limit: 2
      - scene: wrong_way
        id: lane
        lane: [[0, 0], [1, 0], [1, 1]]
        direction: [1, 0]
  - name: cam-2
    path: a.mp4
sensors:
  - {name: flood-1, kind: flood, exposure: 1}
  - {name: rain-1, kind: rain, every_s: 2}
outbox: {max_mb: 5}
"""
DEVICE_FAULTS: list[tuple[str, str, list[Place]]] = [
    ("site: gulou", "site: Gu Lou", [(1, "site")]),
    ("    footage: vtest", "    footage: vtset", [(5, "cameras.0.footage")]),
    ("square: 3", "sqare: 9", [(7, "cameras.0.severity.sqare"), (7, "cameras.0.severity.sqare")]),
    ("scene: zone", "scene: zoen", [(9, "cameras.0.scenes.0.scene")]),
    ("[[0, 0], [1, 0], [1, 1]]\n        labels", "[[0, 0], [2, 0]]\n        labels", [(11, "cameras.0.scenes.0.zone"), (11, "cameras.0.scenes.0.zone.1.0")]),
    ("labels: [person, car]", "labels: [persn, car]", [(12, "cameras.0.scenes.0.labels.0")]),
    ("limit: 2", "limit: 0", [(13, "cameras.0.scenes.0.limit")]),
    ("id: lane", "id: square", [(15, "cameras.0.scenes.1.id")]),
    ("        direction: [1, 0]", "        directon: [1, 0, 3]", [(17, "cameras.0.scenes.1.directon"), (17, "cameras.0.scenes.1.directon")]),
    ("name: cam-2", "name: cam-1", [(18, "cameras.1.name")]),
    ("    path: a.mp4", "    pace: true", [(19, "cameras.1.pace"), (18, "cameras.1")]),
    ("{name: flood-1", "{name: cam-1", [(21, "sensors.0.name")]),
    ("kind: flood, exposure: 1", "kind: flod, exposure: .nan", [(21, "sensors.0.kind"), (21, "sensors.0.exposure")]),
    ("kind: rain, ", "", [(22, "sensors.1.kind")]),
    ("{max_mb: 5}", "7", [(23, "outbox")]),
]  # fmt: skip

GATEWAY = """\
limits: {replay_days: 3}
metrics:
  - {name: noise, unit: dB, low: 0, high: 150}
  - {name: dust, unit: g, low: 0, high: 9}
rules:
  - id: loud
    metric: noise
    category: smoke.alarm
    raise_at: 90
    clear_at: 80
    severity:
      - {at: 90, severity: 2}
      - {at: 99, severity: 3}
  - id: cold
    metric: temperature
    category: flood.water_level
    raise_at: -5
    clear_at: 0
    hold_s: 1
    severity: [{at: -5, severity: 1}]
"""
GATEWAY_FAULTS: list[tuple[str, str, list[Place]]] = [
    ("{replay_days: 3}", "{replay_day: 999}", [(1, "limits.replay_day"), (1, "limits.replay_day")]),
    ("low: 0, high: 150", "low: 200, high: 150", [(3, "metrics.0.high")]),
    ("name: dust", "name: noise", [(4, "metrics.1.name")]),
    ("high: 9}", "high: nine}", [(4, "metrics.1.high")]),
    ("metric: noise", "metric: nois", [(7, "rules.0.metric")]),
    ("smoke.alarm", "smoke.alrm", [(8, "rules.0.category")]),
    ("clear_at: 80", "clear_at: 90", [(10, "rules.0.clear_at")]),
    ("  - id: cold", "  - id: loud", [(14, "rules.1.id")]),
    ("metric: temperature", "metric: 7", [(15, "rules.1.metric")]),
    ("hold_s: 1", "hold_s: -1", [(19, "rules.1.hold_s")]),
    ("[{at: -5, severity: 1}]", "[{at: -5, severity: 4}, {at: -9, severity: 3}]", [(20, "rules.1.severity.1.severity")]),
]  # fmt: skip

SITE = """\
site: gulou
devices:
  - {name: lamp-01, lon: 11, lat: 2}
  - {name: lamp-02, lon: 1, lat: 2}
  - {name: lamp-03, lon: 1, lat: 2, silent_after_s: 5}
"""
SITE_FAULTS: list[tuple[str, str, list[Place]]] = [
    ("site: gulou", "site: GULOU", [(1, "site")]),
    ("lon: 11", "lon: 200", [(3, "devices.0.lon")]),
    ("lamp-02, lon: 1", "lamp-01, lon: 1", [(4, "devices.1.name")]),
    ("lamp-03, lon: 1, lat: 2", "lamp-01", [(5, "devices.2.name"), (5, "devices.2.lon"), (5, "devices.2.lat")]),
    ("silent_after_s: 5", "silent_after_s: 0", [(5, "devices.2.silent_after_s")]),
]  # fmt: skip

DISTRICT = """\
units:
  - {code: centre, kind: centre, name_zh: 中心, name_en: Centre}
  - {code: east, kind: street, parent: centre, name_zh: 东街, name_en: East}
  - {code: mill, kind: community, parent: east, name_zh: 磨坊, name_en: Mill}
  - {code: one, kind: grid, parent: mill, name_zh: 一, name_en: One, area: [[0, 0], [1, 0], [1, 1], [0, 1]]}
  - {code: two, kind: grid, parent: mill, name_zh: 二, name_en: Two, area: [[1, 0], [2, 0], [2, 1], [1, 1]]}
  - {code: water, kind: department, parent: centre, name_zh: 水务, name_en: Water}
routing:
  - {category: flood.*, target: "department:water"}
  - {category: rain.*, target: "level:grid", call: [water]}
  - {category: "*", target: "level:grid"}
policies:
  - {name: storm, category: flood.*, acknowledge: 1m, arrive: 5m, resolve: 1h}
  - {name: all, category: "*", acknowledge: 5m, arrive: 15m, resolve: 1d}
"""
DISTRICT_FAULTS: list[tuple[str, str, list[Place]]] = [
    ("name_en: Centre", "name_en: 7", [(2, "units.0.name_en")]),
    ("street, parent: centre", "street, parent: center", [(3, "units.1.parent")]),
    ("name_en: Mill", "nameen: Mill", [(4, "units.2.nameen")]),
    ("[[0, 0], [1, 0], [1, 1], [0, 1]]", "[[0, 0], [1, 0], [1, 100], [0, 1]]", [(5, "units.3.area.2.1")]),
    ("code: two", "code: one", [(6, "units.4.code")]),
    (", area: [[1, 0], [2, 0], [2, 1], [1, 1]]", "", [(6, "units.4.area")]),
    ("{category: flood.*, target: \"department:water\"", "{category: flod.*, target: \"department:water\"", [(9, "routing.0.category")]),
    ("[water]", "[water, Fire, watre]", [(10, "routing.1.call.1"), (10, "routing.1.call.1"), (10, "routing.1.call.2")]),
    ("1m, arrive", "9m, arrive", [(13, "policies.0.arrive")]),
    ("name: all", "name: storm", [(14, "policies.1.name")]),
    ("acknowledge: 5m", "acknowledge: soon", [(14, "policies.1.acknowledge")]),
    ("resolve: 1d", "resolve: 1m", [(14, "policies.1.resolve")]),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A right file, and single edits with the places that each makes wrong: once for each thing wrong there."""

    model: type[Settings]
    text: str
    faults: list[tuple[str, str, list[Place]]]
    also: Callable[[Any], Iterator[Wrong]] | None = None

    def told(self, text: str) -> list[Place]:
        try:
            parse_config(text, Path("file.yaml"), self.model, self.also)
        except InvalidConfigError as error:
            return sorted((fault.line, fault.key) for fault in error.faults)
        return []


CASES = {
    "device": Case(DeviceConfig, DEVICE, DEVICE_FAULTS, outside_pictures),
    "gateway": Case(GatewaySettings, GATEWAY, GATEWAY_FAULTS),
    "site": Case(Site, SITE, SITE_FAULTS),
    "district": Case(DistrictFile, DISTRICT, DISTRICT_FAULTS, disagreements),
}


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whichever_faults_come_together_each_is_told_with_its_line(name: str, data: st.DataObject) -> None:
    case = CASES[name]
    chosen = data.draw(st.lists(st.sampled_from(range(len(case.faults))), unique=True))
    text, expected = case.text, list[Place]()
    for number in chosen:
        old, new, places = case.faults[number]
        assert case.text.count(old) == 1
        text = text.replace(old, new)
        expected += places
    assert case.told(text) == sorted(expected)


MANIFEST = (REPOSITORY / "models" / "manifests" / "cocossd.yaml").read_text(encoding="utf-8")
CLOUD = (
    "workers: 2\nverify: {looks: 5}\nfusion:\n  - {category: flood.*, radius_m: 80}\n  - {category: '*'}\n"
)
PARTS = {"box": Case(DeviceConfig, DEVICE, [])}
WHOLE = CASES | PARTS | {"manifest": Case(Manifest, MANIFEST, []), "cloud": Case(CloudSettings, CLOUD, [])}
JUNK: list[Any] = [
    None,
    True,
    7,
    -1.5,
    float("nan"),
    "",
    "x y",
    [],
    [7, None],
    [[]],
    {},
    {"x": 1},
    {7: {}},
    [{}],
]


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every key and index in a tree, with what holds it."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield value, key
        yield from _places(child)


def _is_valid(model: type[Settings], tree: object) -> bool:
    try:
        model.model_validate(tree)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", WHOLE)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_whatever_stands_in_a_file_is_told_and_never_a_crash(name: str, data: st.DataObject) -> None:
    case = WHOLE[name]
    tree = yaml.safe_load(case.text)
    for _ in range(data.draw(st.integers(1, 4))):
        places = list(_places(tree))
        if places:
            holder, key = places[data.draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
    text = yaml.safe_dump(tree, allow_unicode=True)
    faults = case.told(text)
    assert all(1 <= line <= text.count("\n") for line, _ in faults)
    if case.also is None:
        assert bool(faults) is not _is_valid(case.model, tree)


def test_several_files_are_told_in_one_go(tmp_path: Path) -> None:
    one, two, good = (tmp_path / f"{name}.yaml" for name in ("one", "two", "good"))
    one.write_text("site: gulou\n")
    two.write_text("site: 7\ndevice: a\nsensors: [{name: s, kind: rain}, {name: s, kind: rian}]\n")
    good.write_text("site: gulou\ndevice: a\n")
    with pytest.raises(InvalidConfigError) as refused:
        load_each([one, good, two], load_device)
    assert [(fault.file.stem, fault.line, fault.key) for fault in refused.value.faults] == [
        ("one", 1, "device"),
        ("two", 1, "site"),
        ("two", 3, "sensors.1.kind"),
        ("two", 3, "sensors.1.name"),
    ]
    ran = CliRunner().invoke(edge, ["check", str(one), str(two)])
    assert isinstance(ran.exception, InvalidConfigError)
    assert len(ran.exception.faults) == 4


def test_the_gateways_files_are_checked_against_each_other(tmp_path: Path) -> None:
    config, sites = tmp_path / "gateway.yaml", tmp_path / "sites"
    sites.mkdir()
    config.write_text(GATEWAY.replace("    hold_s: 1\n", "    sites: [kiln, kilm]\n    hold: 1\n"))
    (sites / "kiln.yaml").write_text("site: oven\ndevices: [{name: x, lon: 1, lat: 200}]\n")
    with pytest.raises(InvalidConfigError) as refused:
        load_all(config, sites)
    assert [(fault.file.stem, fault.line, fault.key) for fault in refused.value.faults] == [
        ("gateway", 19, "rules.1.sites.1"),
        ("gateway", 20, "rules.1.hold"),
        ("kiln", 1, "site"),
        ("kiln", 2, "devices.0.lat"),
    ]
    assert "did you mean 'kiln'?" in str(refused.value)


def test_the_gateway_check_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    ran = CliRunner().invoke(gateway, ["check"])
    assert ran.exit_code == 0, ran.output
    assert "8 rules for 36 metrics" in ran.output
    assert "gulou.yaml: ok, 3 boxes" in ran.output
