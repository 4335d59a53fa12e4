"""The district in the real database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud.db import Database
from cloud.district import geometry, repo
from cloud.district.checks import read_district
from cloud.district.cli import app
from cloud.district.service import areas, load_district

DEMO = Path(__file__).parents[2] / "firmware_configs" / "districts" / "demo.yaml"

pytestmark = pytest.mark.services


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url, size=2) as opened:
        yield opened


def everything(database: Database) -> list[tuple[object, ...]]:
    """All that a load writes."""
    with database.transaction() as tx:
        return [
            tuple(row.values())
            for table in ("unit", "routing_rule", "policy", "map_feature")
            for row in tx.rows(f"SELECT t::text FROM {table} t ORDER BY 1")
        ]


def test_loading_twice_changes_nothing(database: Database) -> None:
    first = load_district(database, DEMO)
    before = everything(database)
    second = load_district(database, DEMO)
    assert everything(database) == before
    assert first == second
    assert first.units == {"centre": 1, "street": 3, "community": 9, "grid": 27, "department": 8}
    assert first.gone == []


def test_what_was_loaded_is_read_back(database: Database) -> None:
    load_district(database, DEMO)
    district = read_district(DEMO)
    outlines = areas(district)
    with database.transaction() as tx:
        units = {unit.unit_code: unit for unit in repo.all_units(tx)}
        features = repo.map_features(tx)
        parents = repo.parents(tx)
    assert next(iter(units)) == "centre"
    assert {code: unit.area for code, unit in units.items() if unit.area} == outlines
    assert [feature.name_en for feature in features] == [feature.name_en for feature in district.features]
    assert parents["songjing-1"] == "songjing"
    assert units["songjing-1"].name("zh-CN") == "松径第一网格"
    assert units["songjing-1"].name("en") == "Songjing Grid 1"


def test_every_place_of_the_district_has_one_owner_and_a_place_outside_none(database: Database) -> None:
    load_district(database, DEMO)
    grids = {unit.code: unit.ring for unit in read_district(DEMO).units if unit.kind == "grid" and unit.ring}
    chance = random.Random(20260101)
    with database.transaction() as tx:
        for _ in range(1000):
            lon, lat = chance.uniform(119.29, 119.33), chance.uniform(26.07, 26.10)
            owner = repo.grid_at(tx, lon, lat)
            assert owner is not None
            assert geometry.contains(grids[owner], (lon, lat))
        corner = grids["songjing-1"][0]  # on a border: two or three grids hold it, one owns it
        assert repo.grid_at(tx, *corner) == repo.grid_at(tx, *corner) is not None
        assert repo.grid_at(tx, 120.0, 26.08) is None


def test_a_unit_that_left_the_file_stays_for_history_but_owns_no_place(
    database: Database, tmp_path: Path
) -> None:
    load_district(database, DEMO)
    lines = DEMO.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if "code: nanpu-3" in line)
    end = next(number for number in range(start, len(lines)) if lines[number].endswith("}"))
    smaller = tmp_path / "district.yaml"
    smaller.write_text("\n".join(lines[:start] + lines[end + 1 :]), encoding="utf-8")
    with database.transaction() as tx:
        ring = next(unit.area for unit in repo.all_units(tx) if unit.unit_code == "nanpu-3")
        assert ring is not None
        place = geometry.centroid(ring)
        assert repo.grid_at(tx, *place) == "nanpu-3"
    assert load_district(database, smaller).gone == ["nanpu-3"]
    with database.transaction() as tx:
        assert repo.grid_at(tx, *place) is None
        assert "nanpu-3" in repo.parents(tx)


def test_the_command_loads_and_says_what_comes_next(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRUMTOWER_DATABASE_URL", database_url)
    result = CliRunner().invoke(app, ["load-district", str(DEMO)])
    assert result.exit_code == 0, result.output
    assert "27 grid" in result.output
    assert "next: drumtower cloud" in result.output
