"""Whether what is sealed can be opened: the keys of personal data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cloud.db import Transaction
from cloud.photos import repo as photo_repo
from cloud.reports import repo
from cloud.reports.sealing import read_keys
from common.runtime.doctor import Examination, Finding
from common.runtime.errors import ConfigError

_WHAT: Final = "personal data"


def personal_findings(told: Examination, transaction: Transaction, named: str) -> Iterator[Finding]:
    """The file of keys against the keys that sealed something.

    Args:
        told: who examines.
        transaction: on the store.
        named: the file, as the environment names it; empty: none.
    """
    in_use = repo.keys_in_use(transaction)
    texts = sum(in_use.values())
    clear, photos = repo.count_in_clear(transaction), photo_repo.count_in_clear(transaction)
    if not named:
        if clear:
            said = (
                f"of {clear} reports the words stand unsealed, only with numbers struck out: there is no key"
            )
            yield told.warn(_WHAT, said, "drumtower cloud personal new-key, then rotate-keys seals them")
        if photos:
            said = f"of {photos} reports and tickets the photos lie unsealed, with faces and plates: there is no key"
            yield told.warn(
                _WHAT, said, "drumtower cloud personal new-key, then start the ticket centre again"
            )
        if texts:
            said = f"{texts} sealed names, phones and texts, and no file of keys is named here"
            yield told.unknown(_WHAT, said, "where the page runs, set DRUMTOWER_PERSONAL_KEYS_FILE")
        elif not clear and not photos:
            yield told.ok(_WHAT, "none is kept: without a file of keys reports come without names")
        return
    try:
        keys = read_keys(Path(named))
    except ConfigError as error:
        yield told.fail(_WHAT, error.message, error.hint)
        return
    if photos:
        said = f"of {photos} reports and tickets the photos are not sealed yet, or their files are missing"
        yield told.warn(
            _WHAT,
            said,
            "the ticket centre seals them one after the other; at once: drumtower cloud personal rotate-keys",
        )
    missing = sorted(set(in_use) - {key_id for key_id, _ in keys.keys})
    if missing:
        lost = sum(in_use[key_id] for key_id in missing)
        said = (
            f"{lost} of {texts} sealed texts open with no key of {named}: {', '.join(missing)} is not in it"
        )
        yield told.fail(_WHAT, said, "put the key back from the copy that is kept apart")
    elif clear:
        said = f"of {clear} reports the words are not sealed yet"
        yield told.warn(_WHAT, said, "drumtower cloud personal rotate-keys")
    elif behind := texts - in_use.get(keys.newest, 0):
        said = f"{behind} of {texts} sealed texts still have an older key than {keys.newest}"
        yield told.warn(_WHAT, said, "drumtower cloud personal rotate-keys")
    else:
        yield told.ok(_WHAT, f"{texts} sealed texts, all with {keys.newest}")
