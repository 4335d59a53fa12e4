"""What is the matter with the database: the gateway's name for what ticket centre and doctor know as well."""

from __future__ import annotations

from common.schema.trouble import AWAY, TROUBLES, Trouble, trouble_of

__all__ = ["AWAY", "TROUBLES", "Trouble", "trouble_of"]
