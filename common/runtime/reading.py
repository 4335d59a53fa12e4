"""Values as they stand in a file, read as settings piece by piece: one wrong piece hides no other."""

from __future__ import annotations

import types
import typing
from collections import abc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import ConfigDict, Discriminator, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from common.runtime.settings import CROSS_FAULT, Location, Settings, TagOf, Wrong, closest, nearest, one_of

S = TypeVar("S", bound=Settings)

_SEQUENCES = {list, set, frozenset, abc.Sequence}
#: What pydantic says of these is not used: it counts only the items that are right, and cannot know a tag's line.
_SAID_BETTER = {CROSS_FAULT, "too_short", "too_long", "union_tag_invalid", "union_tag_not_found"}


def read(model: type[S], raw: object) -> tuple[S, list[Wrong]]:
    """Read a value as a model.

    Returns:
        The model and everything that is wrong: with fields for themselves, then between fields. With faults
        the model is as right as can be, and good only for asking it for more of them.
    """
    reader = _Reader()
    found = cast("S", reader.value(model, raw, ()))
    return found, [*reader.wrong, *_between(found, ())]


def _between(value: object, at: Location) -> Iterator[Wrong]:
    """The cross faults of every part within a value."""
    if isinstance(value, Settings):
        for fault in value.cross_faults():
            yield fault.within(at)
        for name in type(value).model_fields:
            yield from _between(getattr(value, name), (*at, name))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _between(item, (*at, number))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _between(item, (*at, str(key)))


@dataclass(frozen=True, slots=True)
class _Kind:
    """A type as an annotation says it, with what it is made of; at most one of the last four is there."""

    annotation: Any
    notes: tuple[Any, ...]
    model: type[Settings] | None = None
    members: tuple[type[Settings], ...] = ()
    item: Any = None
    entry: tuple[Any, Any] | None = None

    @property
    def discriminator(self) -> str:
        """The key that tells which of the members is meant; empty when it is not one key."""
        named = [note.discriminator for note in self.notes if isinstance(note, FieldInfo | Discriminator)]
        keys = [name.key if isinstance(name, TagOf) else name for name in named]
        return next((key for key in keys if isinstance(key, str)), "")

    @property
    def usual_tag(self) -> str | None:
        """The tag of a part that does not say any."""
        named = [note.discriminator for note in self.notes if isinstance(note, Discriminator)]
        return next((name.otherwise for name in named if isinstance(name, TagOf)), None)

    @property
    def description(self) -> str:
        """What the code says about values."""
        said = [note.description for note in self.notes if isinstance(note, FieldInfo) and note.description]
        return said[0] if said else ""

    @property
    def empty(self) -> Any:
        """What stands for a list or a mapping that is none."""
        return {} if self.entry else () if get_origin(_bare(self.annotation)[0]) is tuple else []

    def errors(self, raw: object) -> tuple[Any, list[ErrorDetails]]:
        """The value, or what pydantic says is wrong with it."""
        config = None if self.model else ConfigDict(allow_inf_nan=False)
        try:
            return TypeAdapter(self.annotation, config=config).validate_python(raw), []
        except ValidationError as error:
            return None, error.errors(include_url=False)

    def length_errors(self, raw: object) -> list[ErrorDetails]:
        """What is wrong with how much there is of it, whatever it is."""
        limits = [
            limit
            for note in self.notes
            for limit in (note.metadata if isinstance(note, FieldInfo) else [note])
            if hasattr(limit, "min_length") or hasattr(limit, "max_length")
        ]
        if not limits or not isinstance(raw, list | dict):
            return []
        anything: Any = dict[Any, Any] if isinstance(raw, dict) else list[Any]
        limited: Any = Annotated[(anything, *limits)]
        try:
            TypeAdapter(limited).validate_python(raw)
        except ValidationError as error:
            return error.errors(include_url=False)
        return []


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its notes and without "or nothing"; and the notes."""
    notes: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            notes = (*annotation.__metadata__, *notes)
            annotation = annotation.__origin__
            continue
        some = [one for one in get_args(annotation) if one is not types.NoneType]
        if get_origin(annotation) in {Union, types.UnionType} and len(some) == 1:
            annotation = some[0]
            continue
        return annotation, notes


def _kind(annotation: Any) -> _Kind:
    bare, notes = _bare(annotation)
    arguments = get_args(bare)
    if _is_settings(bare):
        return _Kind(annotation, notes, model=bare)
    if get_origin(bare) in {Union, types.UnionType} and all(_is_settings(_bare(one)[0]) for one in arguments):
        kind = _Kind(annotation, notes, members=tuple(_bare(one)[0] for one in arguments))
        return kind if kind.discriminator else _Kind(annotation, notes)
    if get_origin(bare) in _SEQUENCES or (get_origin(bare) is tuple and arguments[1:] == (...,)):
        return _Kind(annotation, notes, item=arguments[0])
    if get_origin(bare) in {dict, abc.Mapping}:
        return _Kind(annotation, notes, entry=(arguments[0], arguments[1]))
    return _Kind(annotation, notes)


def _is_settings(annotation: Any) -> typing.TypeGuard[type[Settings]]:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


class _Reader:
    """Gathers what is wrong while it reads."""

    def __init__(self) -> None:
        self.wrong: list[Wrong] = []

    def value(self, annotation: Any, raw: object, at: Location) -> Any:
        """A value of a type, or what comes nearest to it."""
        kind = _kind(annotation)
        found, errors = kind.errors(raw)
        if not errors:
            return found
        before = len(self.wrong)
        own = [detail for detail in errors if not detail["loc"] and detail["type"] not in _SAID_BETTER]
        self._tell(at, raw, kind, own)
        if kind.model:
            found = self._settings(kind.model, raw, at, errors)
        elif kind.members:
            found = self._member(kind, raw, at)
        elif kind.item or kind.entry:
            self._tell(at, raw, kind, kind.length_errors(raw))
            found = self._items(kind, raw, at)
        else:
            found = raw
        if len(self.wrong) == before:  # a single value, or something that only pydantic sees
            self._tell(at, raw, kind, [detail for detail in errors if detail["type"] != CROSS_FAULT])
        return found

    def _settings(self, model: type[S], raw: object, at: Location, errors: Sequence[ErrorDetails]) -> S:
        part = model.model_construct()
        given = {str(key): value for key, value in raw.items()} if isinstance(raw, dict) else {}
        keys = self._keys(model, given, at)
        wrong = set() if isinstance(raw, dict) else set(model.model_fields)
        for name, info in model.model_fields.items():
            before = len(self.wrong)
            annotation: Any = Annotated[(info.annotation, info)]
            if name in keys:
                part.__dict__[name] = self.value(annotation, given[keys[name]], (*at, keys[name]))
                if len(self.wrong) == before:  # what only the model's own validator of the field sees
                    own = [one for one in errors if one["loc"] == (name,) and one["type"] == "value_error"]
                    self._tell(at, raw, _kind(annotation), own)
            elif info.is_required():
                part.__dict__[name] = _Reader().value(annotation, None, ())
                wrong.add(name)
                if isinstance(raw, dict):
                    self.wrong.append(Wrong((*at, name), "missing"))
            if len(self.wrong) > before:
                wrong.add(name)
        part._wrong = frozenset(wrong)  # noqa: SLF001 - a part with faults is made here alone
        return part

    def _keys(self, model: type[Settings], given: dict[str, Any], at: Location) -> dict[str, str]:
        """The key that says each field: its own, or a mistyped one, whose value is then judged all the same."""
        keys = {key: key for key in given if key in model.model_fields}
        allowed = sorted(model.model_fields)
        for key in given:
            if key not in model.model_fields:
                said = f"unknown key{nearest(key, allowed)}; allowed: {', '.join(allowed)}"
                self.wrong.append(Wrong((*at, key), said))
                if meant := closest(key, allowed):
                    keys.setdefault(meant, key)
        return keys

    def _member(self, kind: _Kind, raw: object, at: Location) -> Settings:
        key = kind.discriminator
        by_tag = {tag: member for member in kind.members for tag in _tags(member, key)}
        given = {str(one): value for one, value in raw.items()} if isinstance(raw, dict) else {}
        mistyped = None if key in given else closest(key, given)
        if mistyped and given[mistyped] in list(by_tag):
            self.wrong.append(Wrong((*at, mistyped), f"unknown key (did you mean {key!r}?)"))
            given[key] = given.pop(mistyped)
        tag = given.get(key, kind.usual_tag)
        if isinstance(tag, str) and tag in by_tag:
            return cast("Settings", self.value(by_tag[tag], given, at))
        if key in given:
            self.wrong.append(Wrong((*at, key), one_of(tag, by_tag)))
        elif isinstance(raw, dict):
            self.wrong.append(Wrong((*at, key), f"missing; expected one of {', '.join(by_tag)}"))
        if key in given and (meant := closest(str(tag), by_tag)):
            return cast("Settings", self.value(by_tag[meant], {**given, key: meant}, at))
        # Which keys may stand here is known only once the tag is: told is what is wrong whichever it will be.
        readers = [_Reader() for _ in by_tag]
        found = [
            reader.value(member, {**given, key: tag}, at)
            for reader, (tag, member) in zip(readers, by_tag.items(), strict=True)
        ]
        if isinstance(raw, dict):
            self.wrong += [one for one in readers[0].wrong if all(one in reader.wrong for reader in readers)]
        return cast("Settings", found[0])

    def _items(self, kind: _Kind, raw: object, at: Location) -> Any:
        if kind.entry and isinstance(raw, dict):
            key, value = kind.entry
            for one in raw:
                self.value(key, one, (*at, str(one)))
            return {one: self.value(value, inside, (*at, str(one))) for one, inside in raw.items()}
        if kind.item and isinstance(raw, list):
            items = [self.value(kind.item, one, (*at, number)) for number, one in enumerate(raw)]
            return type(kind.empty)(items)
        return kind.empty

    def _tell(self, at: Location, raw: object, kind: _Kind, errors: Iterable[ErrorDetails]) -> None:
        for detail in errors:
            self.wrong.append(Wrong((*at, *_within(raw, detail["loc"])), _sentence(detail, kind)))


def _tags(member: type[Settings], key: str) -> tuple[str, ...]:
    annotation = _bare(member.model_fields[key].annotation)[0]
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _within(raw: object, location: Location) -> Location:
    """The part of a location that the file knows: pydantic also names the member of a union it tried."""
    known: Location = ()
    for part in location:
        inside = raw if isinstance(raw, dict) else dict(enumerate(raw)) if isinstance(raw, list) else {}
        if part not in inside:
            break
        raw, known = inside[part], (*known, part)
    return known


def _sentence(detail: ErrorDetails, kind: _Kind) -> str:
    given = detail["input"]
    if detail["type"] in {"literal_error", "enum"}:
        expected = str(detail.get("ctx", {}).get("expected", "")).replace(" or ", ",")
        return one_of(given, [name.strip(" '") for name in expected.split(",")])
    said = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "model_type":
        said = "Input should be a valid dictionary"
    if detail["type"] == "string_pattern_mismatch" and kind.description:
        said += f" ({kind.description})"
    if ", got " in said or not (given is None or isinstance(given, str | int | float | bool)):
        return said
    return f"{said}, got {given!r}"
