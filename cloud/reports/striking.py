"""Taking out of a text what can be recognised as a number or address of a person. Pure.

Names cannot be recognised reliably, so this is no substitute for sealing: it is for texts that anybody may read, and for
a ticket centre that has no key.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

STRUCK: Final = "▇▇▇"
#: Seven digits or more, however they are set apart: telephones, bank cards, identity cards (GB 11643: the last sign may
#: be an X), plates of numbers alone. Dates, prices and house numbers are shorter.
_DATE: Final = r"(?!(?:19|20)\d\d([-./])\d{1,2}\1\d{1,2}(?!\d))"
_NUMBER: Final = re.compile(rf"(?<!\d)\+?{_DATE}\d(?:[ .\-()/_·]{{0,2}}\d){{6,}}(?:[ \-]?[xX](?![A-Za-z]))?")
_EMAIL: Final = re.compile(r"[\w.+\-]{1,64}@[\w\-]{1,63}(?:\.[\w\-]{1,63})+")
#: 闽A12345 and 闽AD12345: a province, a letter, five or six signs (GA 36).
_PLATE: Final = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Z][ ·]?[A-Z0-9]{4,5}[A-Z0-9挂学警港澳]",
    re.IGNORECASE,
)
_SPELLED: Final = re.compile(r"[零〇一二三四五六七八九幺]{7,}")


def struck(text: str) -> str:
    """The text with numbers of seven digits and more, e-mail addresses and number plates struck out."""
    # Full-width digits and letters are the same to a reader, and one sign each.
    plain = "".join(
        unicodedata.normalize("NFKC", sign) if len(unicodedata.normalize("NFKC", sign)) == 1 else sign
        for sign in text
    )
    for pattern in (_EMAIL, _PLATE, _NUMBER, _SPELLED):
        plain = pattern.sub(STRUCK, plain)
    return plain
