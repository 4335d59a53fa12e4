"""Configuration from YAML: every fault at once, each with its file, line, key and nearest name.

The rules are pydantic models; the line numbers come from the YAML nodes themselves.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from common.runtime.errors import ConfigError

Location = tuple[str | int, ...]


class Settings(BaseModel):
    """A part of the configuration: unknown keys are faults, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in one place."""

    file: Path
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        """``file:line: key: message``."""
        return (
            f"{self.file}:{self.line}: {self.key}: {self.message}"
            if self.key
            else f"{self.file}:{self.line}: {self.message}"
        )


class InvalidConfigError(ConfigError):
    """All faults of one or several files."""

    def __init__(self, faults: list[Fault]) -> None:
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in the configuration"
        super().__init__(
            "config.invalid",
            count + ":\n" + "\n".join(f"  {fault}" for fault in faults),
            "correct these lines and start again",
        )
        self.faults = faults


class FaultsInside(ValueError):  # noqa: N818 - what a validator raises to name places below its own
    """Faults that a validator found further inside what it looks at: each a location from there, and a sentence."""

    def __init__(self, places: list[tuple[Location, str]]) -> None:
        super().__init__("; ".join(message for _, message in places))
        self.places = places


def load_config(path: Path, model: type[M], context: object = None) -> M:
    """Read one YAML file into a model; ``context`` is what its validators may look at besides (pydantic's).

    Raises:
        InvalidConfigError: with every fault found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfigError([Fault(path, 1, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise InvalidConfigError([Fault(path, 1, "", f"expected text in UTF-8: {error.reason}")]) from error
    return parse_config(text, path, model, context)


def parse_config(text: str, path: Path, model: type[M], context: object = None) -> M:
    """Read YAML text into a model; ``path`` only names it in faults."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidConfigError([Fault(path, line, "", f"not YAML: {error.problem}")]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A date that does not exist or an alias that holds itself is only found when values are made.
        raise InvalidConfigError([Fault(path, 1, "", f"not YAML: {error}")]) from error
    lines: dict[Location, int] = {(): 1}
    faults = [Fault(path, line, key, "stands twice; keep one") for key, line in _index(node, (), lines)]
    try:
        loaded = model.model_validate({} if data is None else data, context=context)
    except ValidationError as error:
        for detail in error.errors():
            inside = detail.get("ctx", {}).get("error")
            if isinstance(inside, FaultsInside):
                faults += [_fault_at(path, (*detail["loc"], *at), lines, told) for at, told in inside.places]
            else:
                faults.append(_fault(path, detail, lines, model))
    else:
        if not faults:
            return loaded
    raise InvalidConfigError(sorted(faults, key=lambda fault: fault.line))


def _index(
    node: yaml.Node | None, at: Location, lines: dict[Location, int], above: tuple[yaml.Node, ...] = ()
) -> Iterator[tuple[str, int]]:
    """Note the line of every key and item; yield the keys that stand twice."""
    if node is None or node in above:  # an alias may hold itself
        return
    inside = (*above, node)
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield ".".join(map(str, (*at, name))), key.start_mark.line + 1
            seen.add(name)
            lines[(*at, name)] = key.start_mark.line + 1
            yield from _index(value, (*at, name), lines, inside)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[(*at, number)] = value.start_mark.line + 1
            yield from _index(value, (*at, number), lines, inside)


def _fault(path: Path, detail: ErrorDetails, lines: dict[Location, int], model: type[BaseModel]) -> Fault:
    return _fault_at(path, detail["loc"], lines, _sentence(detail, model), missing=detail["type"] == "missing")


def _fault_at(
    path: Path, location: Location, lines: dict[Location, int], message: str, *, missing: bool = False
) -> Fault:
    # pydantic puts the chosen member of a union into the location; the file does not know it.
    place: Location = ()
    for part in location:
        if (*place, part) in lines:
            place = (*place, part)
    shown = (*place, location[-1]) if missing and location else place
    return Fault(path, lines[place], ".".join(map(str, shown)), message)


def _sentence(detail: ErrorDetails, model: type[BaseModel]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            allowed = sorted(_fields_at(model, detail["loc"][:-1]))
            return f"unknown key{nearest(str(detail['loc'][-1]), allowed)}; allowed: {', '.join(allowed)}"
        case "missing":
            return "missing"
        case "literal_error" | "enum" | "union_tag_invalid":
            context = detail.get("ctx", {})
            expected = str(context.get("expected", context.get("expected_tags", "")))
            names = [name.strip(" '") for name in expected.replace(" or ", ",").split(",")]
            given = str(context.get("tag", detail["input"]))
            return f"expected one of {', '.join(names)}, got {given!r}{nearest(given, names)}"
        case _:
            given = detail["input"]
            shown = f", got {given!r}" if isinstance(given, str | int | float | bool) or given is None else ""
            return detail["msg"].removeprefix("Value error, ") + shown


def nearest(name: str, allowed: list[str]) -> str:
    """`` (did you mean …?)`` with the nearest of some names, or nothing when none is near."""
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _fields_at(annotation: Any, location: Location) -> set[str]:
    """The keys that a model allows at a place, whichever member of a union it is."""
    fields: set[str] = set()
    for model in _models(annotation):
        if not location:
            fields |= set(model.model_fields)
        elif isinstance(location[0], str) and location[0] in model.model_fields:
            info = model.model_fields[location[0]]
            fields |= _fields_at(info.annotation, location[1:])
        else:  # an index, or the tag of a union
            fields |= _fields_at(_chosen(annotation, location[0]), location[1:])
    return fields


def _chosen(annotation: Any, part: str | int) -> Any:
    """The member of a union that a tag names; anything else stays as it is."""
    tagged = [
        model
        for model in _models(annotation)
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal and part in get_args(field.annotation)
    ]
    return Union[tuple(tagged)] if tagged else annotation  # noqa: UP007 - built from values, not written down


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {list, tuple, dict, Union, types.UnionType, Annotated, typing.Sequence}:
        for argument in get_args(annotation):
            yield from _models(argument)
