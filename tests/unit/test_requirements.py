"""The pinned lists: what the tests prove on one Python must hold on the others."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TRAINING = ("torch", "training")
"""Lists of an environment that adds to what is tested."""
LISTS = sorted((REPOSITORY / "requirements").glob("*.txt"))


def pins(path: Path, python: str) -> dict[str, str]:
    """What a list installs on Linux with this Python: name and version."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line[:1].isalnum():
            continue
        pin = Requirement(line.removesuffix("\\"))
        if pin.marker is None or pin.marker.evaluate(environment):
            found[pin.name] = str(pin.specifier)
    return found


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_a_package_has_one_version_whatever_the_python(path: Path) -> None:
    versions = defaultdict(set)
    for python in PYTHONS:
        for name, version in pins(path, python).items():
            versions[name].add(version)
    assert versions
    assert {name: sorted(found) for name, found in versions.items() if len(found) > 1} == {}


def test_every_tier_installs_the_versions_that_are_tested() -> None:
    tested = pins(REPOSITORY / "requirements" / "dev.txt", "3.13")
    for path in LISTS:
        if path.stem not in TRAINING:
            found = pins(path, "3.13")
            assert {name: found[name] for name in found if tested.get(name) != found[name]} == {}, path.name


def test_what_trains_stands_on_the_packages_that_are_tested_and_exchanges_none() -> None:
    tested = pins(REPOSITORY / "requirements" / "dev.txt", "3.11")
    for name in TRAINING:
        found = pins(REPOSITORY / "requirements" / f"{name}.txt", "3.11")
        assert {one: found[one] for one in found if tested.get(one, found[one]) != found[one]} == {}, name
