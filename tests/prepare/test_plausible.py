"""What a transcript must be to be said in its clip, and how a lie about the sample rate is found out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.prepare.plausible import Limits, clip_fault, text_fault

LIMITS = Limits()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "no_text"),
        ("", "empty_text"),
        (" … — !", "empty_text"),
        ("Добрий день", "another_script"),
        ("早上好", "another_script"),
        ("Olá, мир, bom dia", "another_script"),
        ("Olá, bom dia.", None),
        ("O alfa é a letra α do alfabeto grego e o ómega a última", None),
        ("25", None),
    ],
)
def test_a_transcript_has_words_in_latin_letters(text: str | None, reason: str | None) -> None:
    fault = text_fault(text, LIMITS)
    assert (fault.reason if fault else None) == reason


def test_the_script_is_named() -> None:
    fault = text_fault("Добрий день", LIMITS)
    assert fault is not None and fault.value == "100% of the letters are cyrillic"


@pytest.mark.parametrize(
    ("text", "seconds", "peak", "promised_s", "reason"),
    [
        ("bom dia a todos", 1.5, 0.3, None, None),
        ("bom dia a todos " * 100, 1.5, 0.3, None, "characters_per_second"),  # 100 times too long
        ("sim", 9.0, 0.3, None, "characters_per_second"),
        ("bom dia a todos", 0.05, 0.3, None, "duration"),
        ("bom dia a todos", 31.0, 0.3, None, "duration"),
        ("bom dia a todos", 1.5, 0.0, None, "silent"),
        ("bom dia a todos", 1.5, 0.3, 1.6, None),
        ("bom dia a todos", 3.0, 0.3, 1.5, "sample_rate"),
        ("bom dia a todos", 2.0, 0.3, 1.3, "promised_duration"),
    ],
)
def test_clip_and_transcript_fit_each_other(text, seconds, peak, promised_s, reason) -> None:
    fault = clip_fault(text, seconds, peak, promised_s, LIMITS)
    assert (fault.reason if fault else None) == reason


@given(st.sampled_from([(8000, 16000), (16000, 8000), (44100, 48000), (22050, 16000)]), st.floats(4.0, 14.0))
def test_a_header_that_lies_is_recognised_by_its_ratio(rates: tuple[int, int], promised_s: float) -> None:
    """A clip of 44,100 Hz that is called 48,000 plays in 44,100 / 48,000 of its time."""
    recorded_hz, said_hz = rates
    fault = clip_fault(
        "palavra " * int(promised_s), promised_s * recorded_hz / said_hz, 0.5, promised_s, LIMITS
    )
    assert fault is not None and fault.reason == "sample_rate"
    ratio = [int(word) for word in fault.value.split() if word.isdigit()]
    assert ratio[0] / ratio[1] == pytest.approx(recorded_hz / said_hz, rel=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"min_s": 5.0, "max_s": 1.0}, {"max_foreign_share": 2.0}, {"min_chars_per_s": -1.0}]
)
def test_limits_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Limits(**wrong)
