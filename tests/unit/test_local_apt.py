"""apt's sources as machines really have them, and what its failures are turned into."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.apt import Source, debian_sources, explain, in_suite, machine_sources, parse_deb822, parse_one_line
from local.errors import SetupError

ONE_LINE = """\
# the installer's own line
deb http://mirror.example/debian bookworm main contrib  # trailing words
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/keys/vendor.gpg] https://vendor.example/debian bookworm stable
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
"""
DEB822 = """\
Types: deb deb-src
# a comment between the fields
URIs: http://mirror.example/debian
Suites: trixie
 trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: trixie-security
Components: main
Enabled: no

Types: deb-src
URIs: http://mirror.example/debian
Suites: trixie
Components: main
"""
INNER_KEY = """\
Types: deb
URIs: http://vendor.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_one_line_sources_give_address_suite_components_and_key() -> None:
    found = parse_one_line(ONE_LINE)
    assert found[0] == Source(("http://mirror.example/debian",), ("bookworm",), ("main", "contrib"))
    assert found[1].options == {"signed-by": "/etc/keys/vendor.gpg"}


def test_deb822_sources_keep_enabled_binary_stanzas_with_continuation_lines() -> None:
    found = parse_deb822(DEB822)
    assert len(found) == 1
    assert found[0].suites == ("trixie", "trixie-updates")
    assert found[0].options == {"signed-by": "/usr/share/keyrings/debian-archive-keyring.gpg"}


def test_a_key_inside_a_deb822_stanza_survives_being_written_again() -> None:
    source = parse_deb822(INNER_KEY)[0]
    assert "mQINBF" in source.options["signed-by"]
    assert parse_deb822(source.as_deb822()) == [source]


def test_both_formats_of_one_machine_are_read_and_discs_left_out(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "debian.sources").write_text(DEB822)
    (parts / "old.list.disabled").write_text("deb http://gone.example/debian bookworm main\n")
    addresses = [source.uris[0] for source in machine_sources(tmp_path)]
    assert addresses == [
        "http://mirror.example/debian",
        "https://vendor.example/debian",
        "http://mirror.example/debian",
    ]


def test_another_suite_is_taken_from_debians_archive_and_not_from_a_vendors() -> None:
    sources = [
        Source(("https://vendor.example/repository",), ("bookworm",), ("main",)),
        Source(("http://security.example/debian-security",), ("bookworm-security",), ("main",)),
        Source(("http://mirror.example/debian/",), ("bookworm", "bookworm-updates"), ("main", "contrib")),
    ]
    assert in_suite(sources, "trixie") == Source(("http://mirror.example/debian/",), ("trixie",), ("main",))


def test_a_vendor_with_a_key_of_its_own_is_not_debian() -> None:
    vendor = Source(
        ("https://vendor.example/debian",), ("bookworm",), ("main",), {"signed-by": "/etc/keys/v.gpg"}
    )
    with pytest.raises(SetupError, match="names Debian's archive") as refused:
        debian_sources([vendor])
    assert "sources.list" in refused.value.hint


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            "Err:1 http://m.example x InRelease\nE: Failed to fetch  Temporary failure resolving 'm.example'",
            "reached",
        ),
        ("E: Write error - write (28: No space left on device)", "disk is full"),
        ("W: GPG error: NO_PUBKEY 0E98404D386FA1D9\nE: The repository is not signed.", "not signed"),
        ("E: Unable to locate package postgresql-17-timescaledb", "does not have a needed package"),
        ("E: something else entirely", "something else entirely"),
        ("", "no reason"),
    ],
)
def test_each_failure_of_apt_becomes_one_line_with_a_hint(output: str, message: str) -> None:
    error = explain(output, Path("apt.log"))
    assert message in error.message
    assert "\n" not in error.message
    assert "apt.log" in error.hint
