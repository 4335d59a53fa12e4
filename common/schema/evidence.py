"""What gateway, ticket centre and backup agree on about the folder of evidence, beside the files of the boxes."""

from __future__ import annotations

from typing import Final

#: A photo of a reporter, sealed: AES-256-GCM under a key of its own, which the store keeps sealed. Boxes send none.
SEALED_MEDIA_TYPE: Final = "application/octet-stream"
SEALED_SUFFIX: Final = ".sealed"
#: The advisory lock of removing files: a backup at work holds it shared, so that what its snapshot names is there to be
#: copied; whoever removes tries for it alone, and waits for the next turn.
REMOVAL_LOCK: Final = 7_119_417_151
