"""A shard record to an `Example`, and an example to the token ids that are learned.

The last place where a record is alone; batches are made in `collate.py`. It knows nothing of models.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.io import load_audio
from amalia_mm.audio.speed import at_speed
from amalia_mm.batch import Example, Turn
from amalia_mm.data.collate import Item
from amalia_mm.data.ctc_paths import CtcPaths
from amalia_mm.data.schema import Record
from amalia_mm.errors import InputError
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.text.chat import PROMPTS, Rendered, read_in_place, render, render_document
from amalia_mm.text.ctc_vocabulary import CtcClasses, CtcVocabulary
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.units import SAMPLE_RATE_HZ


def turns_of(record: Record) -> tuple[Turn, ...]:
    """Return the conversation of a record; a transcription becomes one, a document has none."""
    if not record.is_transcription:
        return record.turns
    prompt = Turn("user", PROMPTS[record.task], has_audio=True)
    return prompt, Turn("assistant", record.text or "")


def spoken_of(record: Record) -> str | None:
    """Return what is said in a record's clip, in spoken form; None without a clip, or where it is unknown."""
    if not record.is_heard:
        return None
    if record.spoken is None and record.is_transcription:
        return spoken_form(record.text or "")
    return record.spoken


def written_of(record: Record) -> str | None:
    """Return what is said in a record's clip as it is written, in spoken form where no more is known; else None."""
    if not record.is_heard:
        return None
    if record.is_transcription:
        return record.text
    return record.spoken if record.written is None else record.written


def to_example(
    record: Record,
    audio: bytes | None,
    *,
    where: str,
    tokenizer: Tokenizer,
    geometry: AudioGeometry | None = None,
    paths: CtcPaths | None = None,
    augment: Augment | None = None,
    generator: torch.Generator | None = None,
    vocabulary: CtcVocabulary | None = None,
    speed: float = 1.0,
) -> Example:
    """Return the example of one record: decoded and augmented, or with a simulated path in place of its clip.

    Args:
        record: A checked record.
        audio: Its encoded clip; not looked at where paths are simulated.
        where: The record, as errors name it.
        tokenizer: Gives the ids that a path is simulated of, where the CTC head has no classes of its own.
        geometry: Which clips the model can take; needed for clips.
        paths: How paths are simulated; None hears the clip.
        augment: What is done to a clip; None leaves it as it is.
        generator: The randomness of this record; needed for paths and augmentation.
        vocabulary: The CTC head's own classes, which a path is simulated of.
        speed: How fast the clip is said.

    Raises:
        InputError: The clip is missing, cannot be decoded, or is too short or too long for the geometry; a
            path is wanted and what is said is unknown.
    """
    spoken = spoken_of(record)
    waveform, path = None, None
    if record.is_heard and paths is not None:
        path = _simulated(spoken, where, CtcClasses(tokenizer, vocabulary), paths, generator)
    elif record.is_heard:
        waveform = _heard(audio, where, geometry, speed)
        if augment is not None:
            waveform = augment(waveform, _needed(generator))
    return Example(
        id=record.id,
        task=record.task,
        variety=record.variety,
        speaker=record.speaker,
        source=record.source,
        text=record.text if not record.is_transcription else None,
        turns=turns_of(record),
        spoken=spoken,
        waveform=waveform,
        path=path,
        rejected=record.rejected,
        written=written_of(record),
    )


def _simulated(
    spoken: str | None, where: str, classes: CtcClasses, paths: CtcPaths, generator: torch.Generator | None
) -> torch.Tensor:
    if spoken is None:
        remedy = "add `spoken` to the record, or leave the record out of this stage"
        raise InputError(where, field="spoken", found="nothing", wanted="what is said", remedy=remedy)
    seed = int(torch.randint(2**62, (1,), generator=_needed(generator)))
    path = paths.simulate(
        classes.encode(spoken), num_classes=classes.blank, first_id=classes.first_text, seed=seed
    )
    return torch.tensor(path, dtype=torch.int64)


def _heard(audio: bytes | None, where: str, geometry: AudioGeometry | None, speed: float) -> torch.Tensor:
    if geometry is None:
        raise ValueError(f"{where}: a clip to hear, but no audio geometry")
    if geometry.sample_rate_hz != SAMPLE_RATE_HZ:
        raise ValueError(
            f"a geometry of {geometry.sample_rate_hz} Hz; audio is decoded at {SAMPLE_RATE_HZ} Hz"
        )
    if audio is None:
        remedy = "give shards with audio, or simulate paths in this stage"
        raise InputError(
            where, field="audio", found="no clip", wanted="the clip that is heard", remedy=remedy
        )
    waveform = at_speed(load_audio(audio, where=where), speed)
    try:
        geometry.num_audio_tokens(len(waveform))
    except ValueError as error:
        remedy = "leave the clip out, or cut it at pauses"
        raise InputError(
            where, field="audio", found=error, wanted="a clip that fits", remedy=remedy
        ) from error
    return waveform


def _needed(generator: torch.Generator | None) -> torch.Generator:
    if generator is None:
        raise ValueError("simulated paths and augmentation need a generator of their own, found None")
    return generator


def to_item(
    example: Example,
    tokenizer: Tokenizer,
    geometry: AudioGeometry | None = None,
    vocabulary: CtcVocabulary | None = None,
) -> Item:
    """Return an example with its token ids: placeholders for its clip, and CTC targets for what is said.

    The targets are the decoder's tokens, or classes of the CTC head's own vocabulary.

    A pair of preference gets both sides, with loss on the last turn alone (of plain documents on all of it).
    """
    if example.rejected is not None:
        chosen, rejected = _sides(example, example.rejected, tokenizer)
        return Item(example, chosen, rejected=rejected)
    classes = CtcClasses(tokenizer, vocabulary)
    ctc_ids = None if example.spoken is None else classes.encode(example.spoken)
    return Item(example, _rendered(example, tokenizer, geometry), None if ctc_ids is None else tuple(ctc_ids))


def _sides(example: Example, rejected: str, tokenizer: Tokenizer) -> tuple[Rendered, Rendered]:
    if example.text is not None:
        return render_document(example.text, tokenizer), render_document(rejected, tokenizer)
    before, last = example.turns[:-1], example.turns[-1]
    num_before = len(render(before, tokenizer)) if before else 0
    chosen, other = (render((*before, turn), tokenizer) for turn in (last, replace(last, text=rejected)))
    return _last_only(chosen, num_before), _last_only(other, num_before)


def _last_only(rendered: Rendered, num_before: int) -> Rendered:
    """Return the ids with no loss on the first ones: earlier answers are the same on both sides."""
    return replace(rendered, has_loss=[False] * num_before + rendered.has_loss[num_before:])


def _rendered(example: Example, tokenizer: Tokenizer, geometry: AudioGeometry | None) -> Rendered:
    if example.text is not None:
        return render_document(example.text, tokenizer)
    if example.path is not None:
        return render(example.turns, tokenizer, (len(example.path),))
    if example.waveform is not None:
        assert geometry is not None
        return render(example.turns, tokenizer, (geometry.num_audio_tokens(len(example.waveform)),))
    return render(example.turns, tokenizer)


def reading_of(example: Example, tokenizer: Tokenizer, where: str) -> Rendered | None:
    """Return the conversation of a clip with the words written in place of it; None where there are none to read.

    Without a word in it a clip has no reading: what a decoder says of an empty text teaches nothing.

    Raises:
        InputError: Nobody knows what is said.
    """
    if not any(turn.has_audio for turn in example.turns):
        return None
    if example.written is None:
        remedy = "add `written` or `spoken` to the record, or name its task in model.distillation.unread"
        raise InputError(where, field="written", found="nothing", wanted="what is said", remedy=remedy)
    if not example.written.strip():
        return None
    return render(read_in_place(example.turns, example.written), tokenizer)


def count_text_tokens(record: Record, tokenizer: Tokenizer) -> int:
    """Return the tokens of a rendered record without its audio placeholders; of both sides of a pair."""
    if record.rejected is not None:
        return to_item(
            to_example(record, None, where=record.id, tokenizer=tokenizer), tokenizer
        ).num_own_tokens
    rendered = rendered_text(record, tokenizer)
    return len(rendered) - sum(rendered.is_audio)


def rendered_text(record: Record, tokenizer: Tokenizer) -> Rendered:
    """Return the tokens of a document or conversation, one placeholder standing for what is heard in it."""
    if record.text is not None and not record.is_transcription:
        return render_document(record.text, tokenizer)
    return render(turns_of(record), tokenizer, (1,) if record.is_heard else ())
