"""The centre's settings: defaults that suit, faults all at once with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.config import CloudSettings, read_environment, read_settings
from cloud.incidents.domain import rule_for
from common.runtime.config import InvalidConfigError
from common.runtime.errors import ConfigError


def test_without_a_file_everything_has_a_default() -> None:
    settings = CloudSettings()
    assert rule_for(settings.fusion, "anything.at_all").radius_m == 50
    assert settings.verify.looks >= 1


def test_a_file_changes_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text(
        "verify: {looks: 5}\nfusion:\n  - {category: 'flood.*', radius_m: 80}\n", encoding="utf-8"
    )
    monkeypatch.setenv("DRUMTOWER_CLOUD_CONFIG", str(file))
    settings = read_settings(None)
    assert settings.verify.looks == 5
    assert settings.verify.settle_s == CloudSettings().verify.settle_s
    assert rule_for(settings.fusion, "flood.water_level").radius_m == 80
    assert rule_for(settings.fusion, "smoke.alarm").radius_m == 50


def test_every_fault_of_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "cloud.yaml"
    file.write_text(
        "workers: 0\nverify:\n  lookz: 3\nfusion:\n  - {category: '*', scope: street}\n  - {radius_m: -1}\n",
        encoding="utf-8",
    )
    with pytest.raises(InvalidConfigError) as caught:
        read_settings(file)
    told = [str(fault) for fault in caught.value.faults]
    assert [fault.line for fault in caught.value.faults] == [1, 3, 5, 6, 6]
    assert any("did you mean 'looks'" in line for line in told)


def test_an_environment_without_a_database_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRUMTOWER_DATABASE_URL", raising=False)
    with pytest.raises(ConfigError, match="DRUMTOWER_DATABASE_URL"):
        read_environment({})
    found = read_environment({"DRUMTOWER_DATABASE_URL": "postgresql://x", "DRUMTOWER_EVIDENCE_DIR": "/e"})
    assert found.evidence_directory == Path("/e")
