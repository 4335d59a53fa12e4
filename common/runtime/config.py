"""Configuration from YAML: every fault at once, each with its file, line, key and nearest name.

The rules are pydantic models (``settings``), read piece by piece (``reading``); the line numbers come from the
YAML nodes themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from yaml.constructor import ConstructorError

from common.runtime.errors import ConfigError
from common.runtime.reading import read
from common.runtime.settings import Location, Settings, Wrong

__all__ = [
    "Fault",
    "InvalidConfigError",
    "Location",
    "Settings",
    "Wrong",
    "load_config",
    "load_each",
    "parse_config",
]

M = TypeVar("M", bound=Settings)
T = TypeVar("T")


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


def load_config(path: Path, model: type[M], also: Callable[[M], Iterator[Wrong]] | None = None) -> M:
    """Read one YAML file into a model.

    Args:
        path: the file.
        model: what it holds.
        also: more that its parts must agree on; it is asked as ``Settings.cross_faults`` is.

    Raises:
        InvalidConfigError: with every fault found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfigError([Fault(path, 1, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise InvalidConfigError([Fault(path, 1, "", f"expected text in UTF-8: {error.reason}")]) from error
    return parse_config(text, path, model, also)


def load_each(paths: Iterable[Path], load: Callable[[Path], T]) -> list[T]:
    """Read several files, in their order.

    Raises:
        InvalidConfigError: with the faults of all of them.
    """
    loaded: list[T] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            loaded.append(load(path))
        except InvalidConfigError as error:
            faults += error.faults
    if faults:
        raise InvalidConfigError(faults)
    return loaded


def parse_config(
    text: str, path: Path, model: type[M], also: Callable[[M], Iterator[Wrong]] | None = None
) -> M:
    """Read YAML text into a model as ``load_config`` does; ``path`` only names it in faults."""
    lines: dict[Location, int] = {(): 1}
    data, twice = _parsed(text, path, lines)
    loaded, wrong = read(model, {} if data is None else data)
    wrong += [*twice, *(also(loaded) if also else ())]
    if wrong:
        raise InvalidConfigError(sorted((_fault(path, one, lines) for one in wrong), key=lambda it: it.line))
    return loaded


class _Loader(yaml.SafeLoader):
    """What looks like a date stays text: no setting is one, and a date that does not exist has no line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise ConstructorError(None, None, str(error), node.start_mark) from error


def _as_written(_: _Loader, node: yaml.Node) -> str:
    return str(node.value)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _as_written)


def _parsed(text: str, path: Path, lines: dict[Location, int]) -> tuple[object, list[Wrong]]:
    """What the text says, and the keys that stand twice; notes the lines."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        twice = list(_index(node, (), lines))
        return None if node is None else loader.construct_document(node), twice
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidConfigError([Fault(path, line, "", f"not YAML: {error.problem}")]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InvalidConfigError([Fault(path, line, "", f"not YAML: {error.reason}")]) from error
    except RecursionError as error:
        raise InvalidConfigError([Fault(path, 1, "", "expected less depth than this")]) from error


def _index(
    node: yaml.Node | None, at: Location, lines: dict[Location, int], above: tuple[yaml.Node, ...] = ()
) -> Iterator[Wrong]:
    """Note the line of every key and item; yield the keys that stand twice."""
    if node is None:
        return
    if node in above:
        raise ConstructorError(None, None, "an alias holds itself", node.start_mark)
    inside = (*above, node)
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in first:
                yield Wrong((*at, name), f"stands twice, first on line {first[name]}; keep one")
            first.setdefault(name, line)
            lines[(*at, name)] = line
            yield from _index(value, (*at, name), lines, inside)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            lines[(*at, number)] = value.start_mark.line + 1
            yield from _index(value, (*at, number), lines, inside)


def _fault(path: Path, wrong: Wrong, lines: dict[Location, int]) -> Fault:
    other = "elsewhere" if wrong.other is None else f"on line {_line(wrong.other, lines)}"
    return Fault(path, _line(wrong.at, lines), ".".join(map(str, wrong.at)), wrong.told(other))


def _line(at: Location, lines: dict[Location, int]) -> int:
    """The line of a place, or of what would hold it where nothing stands."""
    while at not in lines:
        at = at[:-1]
    return lines[at]
