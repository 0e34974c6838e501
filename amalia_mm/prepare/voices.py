"""The voices of the synthesiser: which ones are learned from, and which only listened to.

It knows names and pitch; not how a voice is made to speak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Voice:
    """A voice of the synthesiser: `pt` as spoken by one of espeak-ng's variants.

    Pitch and range run from 0 to 99 around the variant's own, which is 50.
    """

    name: str
    variant: str
    sex: Literal["female", "male"]
    rate_wpm: int = 160
    pitch: int = 50
    pitch_range: int = 50


def _voice(variant: str, sex: Literal["female", "male"]) -> Voice:
    return Voice(name=variant.lower() or "pt", variant=f"pt+{variant}" if variant else "pt", sex=sex)


# Chosen by measurement among the 104 variants: none that clips, has no steady pitch (whisper, croak, klatt2, rob),
# is monotone (robosoft8), drags its words (AnxiousAndy, Demonic, Marco), squeaks (caleb, zac), is of no clear sex
# (shelby) or says a sentence differently each time (Reed). The long-term spectrum of a test voice is 1.8 dB or
# more (root mean square over 40 mel bands) from each training voice. Both of the synthesiser's methods are in either
# list: formants, and Klatt's (edward2 in the test).
_FEMALE = "f1 f2 f4 f5 linda belinda steph aunty Alicia Andrea anika grandma"
_MALE = (
    "m1 m3 m4 m5 m6 m7 m8 max Denis Diogo michel Alex Mike Hugo Nguyen Michael sandro pedro boris john victor travis "
    "gustave Henrique Gene iven3 marcelo robert Lee Andy pablo paul "
    "klatt3 klatt4 klatt5 david edward mike2 announcer robosoft2"
)
TRAIN_VOICES: tuple[Voice, ...] = (
    _voice("", "male"),
    *(_voice(variant, "male") for variant in _MALE.split()),
    *(_voice(variant, "female") for variant in _FEMALE.split()),
)
TEST_VOICES: tuple[Voice, ...] = (
    _voice("m2", "male"),
    _voice("edward2", "male"),
    _voice("f3", "female"),
    _voice("Annie", "female"),
)
