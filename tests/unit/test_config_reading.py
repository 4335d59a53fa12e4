"""One wrong piece of a configuration hides no other: keys, items, scenes, dates, and what validators refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError, field_validator

from cloud.config import CloudSettings
from common.runtime.config import InvalidConfigError, Settings, Wrong, parse_config
from common.runtime.settings import texts, twice
from edge.vision.pipeline import VisionSettings


class Lamp(Settings):
    name: Annotated[str, Field(pattern="^[a-z]+$", description="small letters")]
    low: float = 0.0
    high: float = 1.0
    colours: Annotated[tuple[Annotated[str, Field(max_length=5)], ...], Field(min_length=2, max_length=3)] = (
        "red",
        "amber",
    )

    def cross_faults(self) -> Iterator[Wrong]:
        if self.right("low", "high") and self.low >= self.high:
            yield Wrong(("high",), f"expected more than low, {self.low}, got {self.high}")


class Street(Settings):
    lamps: tuple[Lamp, ...] = ()
    spare: Lamp | None = None

    def cross_faults(self) -> Iterator[Wrong]:
        yield from twice(
            (("lamps", number, "name"), name) for number, name in texts(lamp.name for lamp in self.lamps)
        )


def told(text: str, model: type[Settings] = Street) -> list[str]:
    with pytest.raises(InvalidConfigError) as refused:
        parse_config(text, Path("street.yaml"), model)
    return [str(fault).removeprefix("street.yaml:") for fault in refused.value.faults]


def test_faults_of_fields_and_between_fields_come_in_one_report() -> None:
    text = """\
lamps:
  - name: one
    low: 2
    high: 1
    colour: [red, green]
  - name: ONE
    high: much
  - name: one
    low: .inf
spare: {name: x, low: 1, high: 1}
"""
    assert told(text) == [
        "4: lamps.0.high: expected more than low, 2.0, got 1.0",
        "5: lamps.0.colour: unknown key (did you mean 'colours'?); allowed: colours, high, low, name",
        "6: lamps.1.name: String should match pattern '^[a-z]+$' (small letters), got 'ONE'",
        "7: lamps.1.high: Input should be a valid number, unable to parse string as a number, got 'much'",
        "8: lamps.2.name: 'one' already stands on line 2",
        "9: lamps.2.low: Input should be a finite number, got inf",
        "10: spare.high: expected more than low, 1.0, got 1.0",
    ]


def test_a_mistyped_key_is_one_fault_and_its_value_is_judged_as_what_was_meant() -> None:
    assert told("lamps:\n  - nmae: one\n  - nam: TWO\n  - name: one\n") == [
        "2: lamps.0.nmae: unknown key (did you mean 'name'?); allowed: colours, high, low, name",
        "3: lamps.1.nam: unknown key (did you mean 'name'?); allowed: colours, high, low, name",
        "3: lamps.1.nam: String should match pattern '^[a-z]+$' (small letters), got 'TWO'",
        "4: lamps.2.name: 'one' already stands on line 2",
    ]


def test_a_wrong_item_does_not_make_a_list_too_short_nor_hide_that_it_is_too_long() -> None:
    assert told("spare:\n  name: x\n  colours: [red, purple]") == [
        "3: spare.colours.1: String should have at most 5 characters, got 'purple'"
    ]
    assert told("spare:\n  name: x\n  colours: [red, purple, blue, white]") == [
        "3: spare.colours: List should have at most 3 items after validation, not 4",
        "3: spare.colours.1: String should have at most 5 characters, got 'purple'",
    ]


def test_a_key_named_as_its_scene_keeps_its_own_line() -> None:
    scene = "scenes:\n- scene: zone\n  id: a\n  zone: [[0, 0], [1, 0], [1, 1]]\n  limit: 0\n"
    (fault,) = told(scene, VisionSettings)
    assert fault.startswith("5: scenes.0.limit: ")


@pytest.mark.parametrize(
    ("scene", "places"),
    [
        ("{scene: zoen, id: a, limit: 0, zone: [[0, 0], [1, 0], [1, 1]]}", ["scene", "limit"]),
        ("{scen: zone, id: a, limit: 0, zone: [[0, 0], [1, 0], [1, 1]]}", ["scen", "limit"]),
        ("{scene: crowd, id: A B, limit: 0}", ["scene", "id"]),
        ("{id: A B, labels: [dog], limit: 0}", ["scene", "id"]),
        ("{scene: [zone], id: a}", ["scene", "zone"]),
        ("7", [""]),
    ],
)
def test_a_scene_of_unknown_kind_is_judged_as_far_as_can_be(scene: str, places: list[str]) -> None:
    twin = "{scene: zone, id: a, zone: [[0, 0], [1, 0], [1, 1]]}"
    faults = told(f"scenes:\n- {scene}\n- {twin}\n- {twin}\n", VisionSettings)
    keys = [fault.split(": ")[1].removeprefix("scenes.0").lstrip(".") for fault in faults if fault[0] == "2"]
    assert keys == places
    ids = [fault for fault in faults if "'a' already stands" in fault]
    assert len(ids) == (2 if "id: a" in scene else 1)


def test_a_date_is_text_and_hides_nothing() -> None:
    (camera,) = parse_config("lamps: [{name: one}]\nspare:\n  name: lamp", Path("street.yaml"), Street).lamps
    assert camera.name == "one"
    assert told("lamps:\n  - name: 2026-13-45\n    low: x\n") == [
        "2: lamps.0.name: String should match pattern '^[a-z]+$' (small letters), got '2026-13-45'",
        "3: lamps.0.low: Input should be a valid number, unable to parse string as a number, got 'x'",
    ]


def test_a_category_that_is_not_there_is_told_where_the_centre_would_wait_for_it() -> None:
    text = "fusion:\n  - {category: flod.*, radius_m: -1}\n  - {category: rain.*}\n"
    assert [fault.split(": ")[1] for fault in told(text, CloudSettings)] == [
        "fusion.0.radius_m",
        "fusion.0.category",
    ]


def test_what_is_made_in_code_must_agree_too() -> None:
    with pytest.raises(ValidationError, match="expected more than low, 5"):
        Lamp(name="x", low=5, high=4)
    with pytest.raises(ValidationError, match="already stands elsewhere"):
        Street(lamps=(Lamp(name="x"), Lamp(name="x")))


class Sign(Settings):
    text: str
    copies: int = 1

    @field_validator("text")
    @classmethod
    def _said_quietly(cls, text: str) -> str:
        if text.isupper():
            raise ValueError("expected small letters")
        return text

    def cross_faults(self) -> Iterator[Wrong]:
        assert not self.text.isupper() or not self.right("text"), "what a validator refused is not right"
        yield from ()


def test_what_only_a_fields_validator_refuses_is_told_beside_the_other_faults() -> None:
    assert told("text: STOP\ncopies: two\n", Sign) == [
        "1: text: expected small letters, got 'STOP'",
        "2: copies: Input should be a valid integer, unable to parse string as an integer, got 'two'",
    ]
