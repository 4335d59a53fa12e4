"""A photo's file and its seal."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.photos.files import JPEG, file_at, keep_file, remove_file, require_place
from cloud.photos.sealing import PhotoOf, open_photo, reseal_key, seal_photo
from cloud.reports.sealing import KeyRing, add_key, read_keys
from common.runtime.errors import DrumtowerError, InvalidError, TransientError
from common.schema.evidence import SEALED_MEDIA_TYPE

OLD, NEW = ("old", b"o" * 32), ("new", b"n" * 32)
RING = KeyRing([OLD])
OF = PhotoOf(uuid.UUID(int=7), "ab" * 32)


@given(st.binary(min_size=1, max_size=2000))
def test_a_sealed_photo_opens_as_it_was_and_its_file_is_named_by_its_content(jpeg: bytes) -> None:
    sealed = seal_photo(RING, OF, jpeg)
    assert open_photo(RING, OF, sealed.key, sealed.content) == jpeg
    assert sealed.file == hashlib.sha256(sealed.content).hexdigest()
    assert len(jpeg) < 8 or jpeg not in sealed.content


@given(st.data())
def test_a_sealed_photo_that_was_changed_or_moved_does_not_open(data: st.DataObject) -> None:
    sealed = seal_photo(RING, OF, b"a photo of somebody at the crossing")
    at = data.draw(st.integers(0, len(sealed.content) - 1))
    changed = bytearray(sealed.content)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DrumtowerError, match="does not open"):
        open_photo(RING, OF, sealed.key, bytes(changed))
    for other in (
        replace(OF, owner_id=uuid.UUID(int=8)),
        replace(OF, sha256="cd" * 32),
        replace(OF, whose="ticket"),
    ):
        with pytest.raises(DrumtowerError, match="does not open"):
            open_photo(RING, other, sealed.key, sealed.content)
    with pytest.raises(DrumtowerError, match="does not open"):
        open_photo(RING, OF, sealed.key, sealed.content[:5])


def test_a_new_key_of_the_ring_seals_a_photos_key_anew_and_leaves_the_file() -> None:
    sealed = seal_photo(RING, OF, b"photo")
    anew = reseal_key(KeyRing([OLD, NEW]), OF, sealed.key)
    assert anew.key_id == "new"
    assert open_photo(KeyRing([NEW]), OF, anew, sealed.content) == b"photo"
    with pytest.raises(DrumtowerError, match="expected the key 'old'"):
        open_photo(KeyRing([NEW]), OF, sealed.key, sealed.content)


def test_the_same_photo_sealed_twice_is_two_files(tmp_path: Path) -> None:
    add_key(tmp_path / "keys", datetime.now(UTC))
    ring = read_keys(tmp_path / "keys")
    first, second = (seal_photo(ring, OF, b"photo") for _ in range(2))
    assert first.file != second.file


@pytest.mark.parametrize(("media_type", "suffix"), [(JPEG, "jpg"), (SEALED_MEDIA_TYPE, "sealed")])
def test_a_file_stands_among_the_evidence_under_its_hash_until_it_is_removed(
    tmp_path: Path, media_type: str, suffix: str
) -> None:
    name = hashlib.sha256(b"it").hexdigest()
    for _ in range(2):
        keep_file(tmp_path, name, media_type, b"it")
    (kept,) = (tmp_path / name[:2]).iterdir()
    assert kept == file_at(tmp_path, name, media_type)
    assert (kept.name, kept.stat().st_mode & 0o777) == (f"{name}.{suffix}", 0o440)
    for _ in range(2):
        remove_file(tmp_path, name, media_type)
    assert not kept.exists()
    remove_file(tmp_path, "00" * 32, media_type)


def test_a_disk_that_takes_no_photo_and_a_centre_without_one_say_so(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_bytes(b"")
    with pytest.raises(TransientError, match="does not take a photo"):
        keep_file(taken, "ab" * 32, JPEG, b"it")
    with pytest.raises(InvalidError) as caught:
        require_place(None)
    assert caught.value.code == "report.no_place_for_photos"
