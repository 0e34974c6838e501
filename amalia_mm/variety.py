"""Which Portuguese: a type, so that no part of the project can say just `pt` and drift to Brazilian."""

from __future__ import annotations

from enum import StrEnum

from amalia_mm.errors import InputError


class Variety(StrEnum):
    """The variety of a document, example, prompt, voice or score."""

    PT_PT = "pt-PT"
    PT_BR = "pt-BR"
    OTHER = "other"
    UNKNOWN = "unknown"

    @classmethod
    def parse(cls, code: str, where: str = "variety") -> Variety:
        """Return the variety of a locale code, whatever its case and separator (`pt_pt`, `PT-BR`).

        A bare `pt` says nothing about the variety and becomes `UNKNOWN`. Any other code raises `InputError`
        naming `where`.
        """
        wanted = code.strip().replace("_", "-").lower()
        if wanted in ("pt", ""):
            return cls.UNKNOWN
        for variety in cls:
            if variety.value.lower() == wanted:
                return variety
        raise InputError(
            where,
            field="variety",
            found=repr(code),
            wanted="one of " + ", ".join(v.value for v in cls),
            remedy="correct the code; use `other` for another language",
        )
