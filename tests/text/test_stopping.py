"""Stop strings and streaming: nothing of a stop string comes out, and never half a character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.text.stopping import StoppedStream

PIECES = "A mãe quer pão", "Fim.", "ab", "aab", "água 🙂 fresca", " ", "\n", "日本", "\n\nUtilizador:"


def streamed(tokenizer, text: str, stops: list[str]) -> tuple[list[str], bool]:
    stream = StoppedStream(tokenizer, stops)
    parts = [stream.push([token]) for token in tokenizer.encode(text)]
    return [*parts, stream.flush()], stream.is_stopped


def test_text_ends_before_the_first_stop_string_wherever_tokens_begin(tokenizer):
    @settings(max_examples=200)
    @given(
        st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
        st.lists(st.sampled_from(["aab", "Fim", "\n\nUtil", "🙂", "ã", "o p", "quer pão!"]), max_size=3),
    )
    def holds(text, stops):
        whole = tokenizer.decode(tokenizer.encode(text))
        starts = [whole.find(stop) for stop in stops if stop in whole]
        parts, is_stopped = streamed(tokenizer, text, stops)
        assert "".join(parts) == whole[: min(starts, default=len(whole))]
        assert is_stopped == bool(starts)
        assert not any("\ufffd" in part for part in parts), "half a character came out"

    holds()


def test_a_stop_string_of_several_tokens_is_held_back_and_one_that_fails_comes_out(tokenizer):
    stop = "A enfermeira quer água"
    assert len(tokenizer.encode(stop)) > 3
    parts, is_stopped = streamed(tokenizer, "A enfermeira quer pão.", [stop])
    assert not is_stopped
    assert not any(parts[:3]), "what could still be the stop string must wait"
    assert "".join(parts) == "A enfermeira quer pão."


def test_a_character_of_several_tokens_comes_out_whole(tokenizer):
    ids = tokenizer.encode("🙂")
    assert len(ids) > 3, "an emoji of a small tokenizer is bytes"
    parts, _ = streamed(tokenizer, "🙂", [])
    assert [part for part in parts if part] == ["🙂"]


def test_an_empty_stop_string_would_end_everything_and_is_refused(tokenizer):
    with pytest.raises(InputError, match="stop_strings: found an empty string"):
        StoppedStream(tokenizer, ["", "Fim"])
