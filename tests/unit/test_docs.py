"""The documents say what the code does, or these tests fail."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer

from cloud.config import read_settings
from cloud.district.checks import read_district
from common.runtime.cli import GROUP
from common.runtime.config import load_config
from edge.config import load_device
from gateway.adapters.mapping import load_mapping
from gateway.config import GatewaySettings
from gateway.fleet.sites import load_site
from local.docs import REFERENCE, documents

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").rglob("*.md")]
)
READERS: dict[str, Callable[[Path], object]] = {
    "sites": load_site,
    "devices": load_device,
    "examples": load_device,
    "districts": read_district,
    "gateway.yaml": lambda path: load_config(path, GatewaySettings),
    "foreign": load_mapping,
    "cloud.yaml": read_settings,
}
EXAMPLE = re.compile(r"<!-- file: (?P<name>\S+) -->\n```yaml\n(?P<text>.*?)```", re.DOTALL)


#: Made once: that takes as long as the rest of these tests together.
generated = cache(documents)


@pytest.mark.parametrize("name", sorted(path.name for path in REFERENCE.iterdir()))
def test_a_generated_document_is_as_the_code_makes_it(name: str) -> None:
    assert (REFERENCE / name).read_text(encoding="utf-8") == generated()[name], "run `make docs`"


def test_every_generated_document_is_there_and_no_other() -> None:
    assert sorted(path.name for path in REFERENCE.iterdir()) == sorted(generated()), "run `make docs`"


def test_every_example_file_is_accepted_as_it_stands(tmp_path: Path) -> None:
    examples = EXAMPLE.findall((REPOSITORY / "docs" / "how-to.md").read_text(encoding="utf-8"))
    assert len(examples) == 13
    (tmp_path / "footage").symlink_to(REPOSITORY / "firmware_configs" / "footage")
    for name, text in examples:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        READERS[name.split("/", maxsplit=1)[0]](path)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "firmware_configs").rglob("*.yaml")), ids=lambda path: path.name
)
def test_every_configuration_that_ships_is_accepted(path: Path) -> None:
    place = path.relative_to(REPOSITORY / "firmware_configs").parts[0]
    READERS[place](path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} points at {target}, which is not there"


@cache
def named_commands() -> dict[str, object]:
    """What follows ``drumtower``, by its name."""
    return {point.name: typer.main.get_command(point.load()) for point in entry_points(group=GROUP)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    commands = named_commands()
    for line in re.findall(r"drumtower ([a-z][a-z ._/A-Z-]*)", page.read_text(encoding="utf-8")):
        words = shlex.split(line)
        here: object = commands.get(words[0])
        if here is None:
            continue  # prose: "drumtower" and then something else
        for word in words[1:]:
            below = getattr(here, "commands", None)
            if not below:
                break
            assert word in below or not word.islower() or "/" in word, f"{page.name}: drumtower {line}"
            here = below.get(word)


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(
        re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for page in PAGES:
        for target in re.findall(r"(?:^ {4}|`)make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert target in targets, f"{page.name} names make {target}"
    assert shutil.which("make")


def test_every_variable_that_the_code_reads_is_documented() -> None:
    told = set(
        re.findall(r"DRUMTOWER_[A-Z_]+", (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8"))
    )
    read: set[str] = set()
    for tier in ("common", "edge", "gateway", "cloud", "models", "local"):
        for path in (REPOSITORY / tier).rglob("*.py"):
            read |= set(re.findall(r"[\"'](DRUMTOWER_[A-Z_]+)[\"']", path.read_text(encoding="utf-8")))
    assert read == told
