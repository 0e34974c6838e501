"""One record to one example to token ids."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.io import load_audio
from amalia_mm.batch import Turn
from amalia_mm.data.ctc_paths import CtcPaths, collapse
from amalia_mm.data.pipeline import count_text_tokens, spoken_of, to_example, to_item
from amalia_mm.data.schema import Record, validate
from amalia_mm.errors import InputError
from amalia_mm.text.tokenizer import Tokenizer

Fields = Callable[..., dict[str, object]]
Clip = Callable[[int], bytes]
WHERE = "shard-000000.tar: record 00000007"


@pytest.fixture
def heard(fields: Fields) -> Record:
    return validate(fields(text="O Gato come, hoje!", task="transcribe"), WHERE)


def test_a_document_is_rendered_between_bos_and_eos(fields: Fields, tokenizer: Tokenizer) -> None:
    example = to_example(validate(fields(), WHERE), None, where=WHERE, tokenizer=tokenizer)
    item = to_item(example, tokenizer)
    assert item.rendered.ids == [tokenizer.bos_id, *tokenizer.encode("o gato come"), tokenizer.eos_id]
    assert example.text == "o gato come" and example.turns == () and example.spoken is None


def test_a_transcription_becomes_a_conversation(
    heard: Record, tokenizer: Tokenizer, geometry: AudioGeometry, clip: Clip
) -> None:
    example = to_example(heard, clip(6_500), where=WHERE, tokenizer=tokenizer, geometry=geometry)
    assert example.turns == (Turn("user", "Transcreve.", True), Turn("assistant", "O Gato come, hoje!"))
    assert example.text is None
    assert example.spoken == "o gato come hoje"
    item = to_item(example, tokenizer, geometry)
    assert sum(item.rendered.is_audio) == geometry.num_audio_tokens(6_500)
    assert tokenizer.decode(item.ctc_ids or ()) == "o gato come hoje"


def test_what_is_said_may_be_unknown_or_nothing(fields: Fields) -> None:
    turns = [{"role": "user", "text": "", "audio": True}, {"role": "assistant", "text": "Sim."}]
    question = fields(text=None, turns=turns, task="answer")
    assert spoken_of(validate(question, WHERE)) is None
    assert spoken_of(validate(question | {"spoken": "é hoje"}, WHERE)) == "é hoje"
    assert spoken_of(validate(fields(text="", task="transcribe"), WHERE)) == ""
    assert spoken_of(validate(fields(), WHERE)) is None


def test_a_clean_path_says_what_is_said(heard: Record, tokenizer: Tokenizer) -> None:
    example = to_example(
        heard,
        None,
        where=WHERE,
        tokenizer=tokenizer,
        paths=CtcPaths(substitute=0.0, drop=0.0),
        generator=torch.Generator().manual_seed(0),
    )
    assert example.waveform is None and example.path is not None
    assert tokenizer.decode(collapse(example.path.tolist())) == "o gato come hoje"
    assert sum(to_item(example, tokenizer).rendered.is_audio) == len(example.path)


def test_augmentation_follows_the_generator_and_keeps_the_length(
    heard: Record, tokenizer: Tokenizer, geometry: AudioGeometry, clip: Clip
) -> None:
    def waveform(seed: int) -> torch.Tensor:
        example = to_example(
            heard,
            clip(4_000),
            where=WHERE,
            tokenizer=tokenizer,
            geometry=geometry,
            augment=Augment(noise_probability=1.0),
            generator=torch.Generator().manual_seed(seed),
        )
        assert example.waveform is not None
        return example.waveform

    torch.testing.assert_close(waveform(1), waveform(1), rtol=0, atol=0)
    assert not torch.equal(waveform(1), waveform(2))
    assert not torch.equal(waveform(1), load_audio(clip(4_000)))
    assert len(waveform(1)) == 4_000


def test_the_text_tokens_counted_are_those_rendered(
    heard: Record, fields: Fields, tokenizer: Tokenizer, geometry: AudioGeometry, clip: Clip
) -> None:
    for record, audio in ((heard, clip(5_000)), (validate(fields(), WHERE), None)):
        example = to_example(record, audio, where=WHERE, tokenizer=tokenizer, geometry=geometry)
        rendered = to_item(example, tokenizer, geometry).rendered
        assert count_text_tokens(record, tokenizer) == len(rendered.ids) - sum(rendered.is_audio)


def test_clips_that_cannot_be_heard_are_named(
    heard: Record, tokenizer: Tokenizer, geometry: AudioGeometry, clip: Clip
) -> None:
    with pytest.raises(
        InputError, match=f"{WHERE}: audio: found 100 samples are shorter than one audio token"
    ):
        to_example(heard, clip(100), where=WHERE, tokenizer=tokenizer, geometry=geometry)
    with pytest.raises(InputError, match=f"{WHERE}: audio: found no clip"):
        to_example(heard, None, where=WHERE, tokenizer=tokenizer, geometry=geometry)
    with pytest.raises(InputError, match=WHERE):
        to_example(heard, b"not audio", where=WHERE, tokenizer=tokenizer, geometry=geometry)
    with pytest.raises(ValueError, match="no audio geometry"):
        to_example(heard, clip(4_000), where=WHERE, tokenizer=tokenizer)
    slow = AudioGeometry(8_000, None, geometry.stages)
    with pytest.raises(ValueError, match="8000 Hz; audio is decoded at 16000 Hz"):
        to_example(heard, clip(4_000), where=WHERE, tokenizer=tokenizer, geometry=slow)


def test_a_path_of_unknown_words_is_named(fields: Fields, tokenizer: Tokenizer) -> None:
    turns = [{"role": "user", "text": "", "audio": True}, {"role": "assistant", "text": "Sim."}]
    record = validate(fields(text=None, turns=turns, task="answer"), WHERE)
    with pytest.raises(InputError, match=f"{WHERE}: spoken: found nothing"):
        to_example(record, None, where=WHERE, tokenizer=tokenizer, paths=CtcPaths())
