"""Rules as they are written down: every kind, every fault with its line, and the time that covers are promised."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.runtime.config import InvalidConfigError, load_config, parse_config
from gateway.config import GatewaySettings
from gateway.metrics_catalogue import catalogue
from gateway.rule_settings import ALARM_WITHIN_S, WAY_S, LevelSettings, ThresholdSettings, rules_text
from gateway.rulebook.endings import endings
from gateway.rulebook.repo import Standing
from gateway.rulebook.versions import load, parse, rules_of_file
from gateway.rules.kinds import CombinationRule, Rate, SilenceRule, Stuck, ThresholdRule, WindowSum
from gateway.rules.machine import QUIET, Origin, RuleState, step

REPOSITORY = Path(__file__).parents[2]
KINDS = """
rules:
  - {id: old, metric: water_level, category: manhole.water_high, raise_at: 1.5, clear_at: 1.2,
     severity: [{at: 1.5, severity: 3}]}
  - {id: rate, kind: rate, metric: water_level, category: manhole.water_high, span_s: 600, per: minute,
     raise_at: 0.02, clear_at: 0.01, severity: [{at: 0.02, severity: 3}], tells: false}
  - {id: sum, kind: window_sum, of: intensity, metric: rain_intensity, category: rain.intense, window_s: 3600,
     raise_at: 20, clear_at: 10, severity: [{at: 20, severity: 2}]}
  - {id: stuck, kind: stuck, metric: water_level, category: device.sensor_stuck, after_s: 3600, epsilon: 0.001,
     severity: 1}
  - {id: silent, kind: silence, metric: water_level, category: device.sensor_silent, after_s: 900, severity: 2}
  - {id: both, kind: all_of, members: [rate, sum], category: flood.water_level, severity: 4}
  - {id: either, kind: any_of, members: [rate, sum], category: flood.water_level, severity: 3, sites: [gulou]}
"""


def test_every_kind_is_read_and_a_rule_without_one_is_a_threshold() -> None:
    old, rate, window, stuck, silent, both, either = parse(KINDS, Path("x.yaml"), catalogue())
    assert isinstance(old, ThresholdRule)
    assert old.measure is None
    assert isinstance(rate, ThresholdRule)
    assert (rate.measure, rate.unit, rate.tells) == (Rate(600_000, 60_000), "m/min", False)
    assert isinstance(window, ThresholdRule)
    assert (window.measure, window.unit) == (WindowSum("intensity", 3_600_000), "mm")
    assert isinstance(stuck, ThresholdRule)
    assert (stuck.measure, stuck.above, stuck.raise_at) == (Stuck(3_600_000, 900_000), False, 0.001)
    assert stuck.backdate_ms == 3_600_000
    assert isinstance(silent, SilenceRule)
    assert silent.after_ms == 900_000
    assert isinstance(both, CombinationRule)
    assert isinstance(either, CombinationRule)
    assert (both.every, either.every, either.sites) == (True, False, frozenset({"gulou"}))


def test_rules_written_as_text_again_are_the_same_rules() -> None:
    settings = parse_config(KINDS, Path("x.yaml"), GatewaySettings)
    assert parse(rules_text(settings.rules), Path("x.yaml"), catalogue()) == settings.compiled_rules()


def test_the_rules_of_a_configuration_are_cut_out_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "limits: {clock_ahead_h: 1}\n# floods\n" + KINDS.lstrip() + "  # the end\nlease: {ttl_s: 5}\n"
    )
    assert rules_of_file(path) == KINDS.lstrip() + "  # the end\n"
    path.write_text("lease: {ttl_s: 5}\n")
    assert rules_of_file(path) == "rules: []\n"
    shipped = REPOSITORY / "firmware_configs/gateway.yaml"
    settings = load_config(shipped, GatewaySettings)
    assert parse(rules_of_file(shipped), shipped, settings.catalogue()) == settings.compiled_rules()


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("id: rate", "id: old", 5, "'old' already stands on line 3"),
        ("metric: rain_intensity", "metric: rain_intenisty", 7, "did you mean 'rain_intensity'?"),
        ("members: [rate, sum], category: flood.water_level, severity: 4", "members: [rat], category: a.b, severity: 4", 12, "did you mean 'rate'?"),
        ("members: [rate, sum], category: flood.water_level, severity: 3", "members: [both], category: a.b, severity: 3", 13, "combinations hold no others"),
        ("kind: stuck", "kind: stcuk", 9, "did you mean 'stuck'?"),
        ("of: intensity", "of: intensities", 7, "did you mean 'intensity'?"),
        ("clear_at: 0.01", "clear_at: 0.02", 6, "must differ from raise_at"),
        ("after_s: 900", "after: 900", 11, "did you mean 'after_s'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    path = tmp_path / "rules.yaml"
    assert KINDS.count(old) == 1
    path.write_text(KINDS.replace(old, new))
    with pytest.raises(InvalidConfigError) as caught:
        load(path, catalogue())
    assert any(fault.line == line and said in fault.message for fault in caught.value.faults), str(
        caught.value
    )


def test_the_covers_shipped_rule_tells_within_thirty_seconds() -> None:
    settings = load_config(REPOSITORY / "firmware_configs/gateway.yaml", GatewaySettings)
    covers = [rule for rule in settings.rules if rule.category == "manhole.open"]
    assert covers
    for rule in covers:
        assert isinstance(rule, ThresholdSettings)
        assert rule.alarm_s <= ALARM_WITHIN_S["manhole.open"] == 30


COVER = """
rules:
  - {{id: cover, {kind} metric: cover_tilt, category: manhole.open, raise_at: 20, clear_at: 10,
     severity: [{{at: 20, severity: 4}}], {times}}}
"""


@pytest.mark.parametrize(
    ("kind", "times", "said"),
    [
        ("", "hold_s: 20", "may take 45 s"),
        ("", "report_s: 26", "may take 31 s"),
        ("", "hold_s: 1, report_s: 13", "may take 32 s"),
        ("kind: rate, span_s: 5,", "hold_s: 0", "another kind"),
    ],
)
def test_a_rule_that_cannot_tell_of_a_cover_in_time_is_a_fault(kind: str, times: str, said: str) -> None:
    with pytest.raises(InvalidConfigError, match=said) as caught:
        parse(COVER.format(kind=kind, times=times), Path("x.yaml"), catalogue())
    assert caught.value.faults[0].line in {3, 4}


def test_a_combination_tells_of_a_cover_no_sooner_than_its_members() -> None:
    slow = """
rules:
  - {id: tilt, metric: cover_tilt, category: building.tilt, raise_at: 20, clear_at: 10, hold_s: 60,
     severity: [{at: 20, severity: 4}], tells: false}
  - {id: cover, kind: any_of, members: [tilt], category: manhole.open, severity: 4}
"""
    with pytest.raises(InvalidConfigError, match="'tilt' may take 85 s"):
        parse(slow, Path("x.yaml"), catalogue())
    assert len(parse(slow.replace("hold_s: 60", "hold_s: 2"), Path("x.yaml"), catalogue())) == 2


@given(
    st.integers(0, 30_000),
    st.integers(500, 30_000),
    st.lists(st.integers(1, 1000), min_size=400, max_size=400),
    st.integers(0, 30_000),
)
def test_a_rule_that_is_accepted_tells_in_its_time_however_the_sensor_reports(
    hold_ms: int, report_ms: int, parts: list[int], opened_ms: int
) -> None:
    """Whenever the cover opens between two reports, with reports as far apart as the rule allows or nearer."""
    settings = ThresholdSettings(
        id="cover",
        category="manhole.open",
        metric="cover_tilt",
        raise_at=20,
        clear_at=10,
        severity=[LevelSettings(at=20, severity=4)],
        hold_s=hold_ms / 1000,
        report_s=report_ms / 1000,
    )
    rule = settings.compiled(catalogue()["cover_tilt"])
    assert isinstance(rule, ThresholdRule)
    at, state = 0, QUIET
    for seq, part in enumerate(parts):
        at += max(report_ms * part // 1000, 1)
        value = 45.0 if at >= opened_ms else 1.0
        state, told = step(rule, state, Origin("a/b", "s", 1, seq), [at], [value])
        if told:
            assert told[0].phase == "start"
            assert at - opened_ms <= (settings.alarm_s - WAY_S) * 1000
            return
    assert at - opened_ms <= hold_ms + 2 * report_ms, "it was watched for long enough"


def standing(rule_id: str, device: int = 1, series: int | None = 5, site: str = "gulou") -> Standing:
    """A raised condition of a sensor, or (without a series) of a combination."""
    state = RuleState(position="raised", observation_id="x", started_at=1)
    sensor, metric = ("s1", "water_level") if series is not None else ("", "")
    return Standing(rule_id, device, series, site, sensor, metric, state)


def test_only_what_the_new_rules_go_on_with_goes_on() -> None:
    old = {rule.rule_id: rule for rule in parse(KINDS, Path("x.yaml"), catalogue())}
    places = [
        standing("old"),
        standing("rate"),
        standing("both", series=None),
        standing("either", series=None),
    ]
    assert endings(old, old, places) == [(2, "the rules it combines changed")], (
        "its other member does not hold"
    )
    other = dict(old)
    del other["rate"], other["both"], other["either"]
    found = endings(old, other, places)
    assert [place for place, _ in found] == [1, 2, 3]
    assert {why for _, why in found} == {"the rule was removed"}
    elsewhere = parse(KINDS.replace("sites: [gulou]", "sites: [kiln]"), Path("x.yaml"), catalogue())
    found = endings(old, {rule.rule_id: rule for rule in elsewhere}, places)
    assert (3, "the rule no longer watches it") in found
