"""The whole model: text alone is the decoder alone, padding does not matter, and mismatches are told."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.batch import BLANK, IGNORE, SpeechTextBatch, TextBatch
from amalia_mm.fusion.projectors import CtcPosterior, StackMLP, projector_between
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.text.decoder import Decoder, DecoderConfig

CONFIG = DecoderConfig(30, 16, 32, 2, 2, 1, initializer_range=0.3)
AUDIO_ID = 30  # outside the embedding table, as with a tokenizer that has no audio placeholder


def model(projector_class=CtcPosterior) -> SpeechTextModel:
    torch.manual_seed(2)
    encoder = ConvTransformer(num_mels=16, width=12, num_layers=1, num_heads=2, feed_forward=16)
    projector = projector_between(encoder, projector_class, CONFIG)
    return SpeechTextModel(encoder, projector, Decoder(CONFIG)).eval()


def text_batch(ids: torch.Tensor, documents: torch.Tensor | None = None) -> TextBatch:
    documents = torch.ones_like(ids) if documents is None else documents
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    return TextBatch(ids, torch.full_like(ids, IGNORE), documents, positions)


def speech_batch(speech_text: SpeechTextModel, lengths: list[int]) -> SpeechTextBatch:
    """One clip a row: two text tokens, its run, three text tokens, padding to the right."""
    counts = [speech_text.geometry.num_audio_tokens(length) for length in lengths]
    width = max(counts) + 5
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    is_audio, documents = torch.zeros_like(ids, dtype=torch.bool), torch.zeros_like(ids)
    waveforms = torch.zeros(len(lengths), max(lengths))
    for row, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        ids[row, : count + 5] = torch.tensor([1, 3, *[AUDIO_ID] * count, 7, 8, 9])
        is_audio[row, 2 : 2 + count] = True
        documents[row, : count + 5] = 1
        waveforms[row, :length] = 0.1 * torch.randn(length, generator=torch.Generator().manual_seed(length))
    return SpeechTextBatch(
        text=text_batch(ids, documents),
        is_audio=is_audio,
        num_audio_tokens=torch.tensor(counts),
        ctc_ids=torch.zeros(len(lengths), 1, dtype=torch.long),
        num_ctc_ids=torch.full((len(lengths),), -1),
        waveforms=waveforms,
        num_samples=torch.tensor(lengths),
    )


def without_audio(batch: SpeechTextBatch) -> SpeechTextBatch:
    return replace(batch, waveforms=None, num_samples=None)


@pytest.mark.parametrize("projector_class", [CtcPosterior, StackMLP])
def test_a_clip_in_a_batch_gives_what_it_gives_alone(projector_class):
    speech_text = model(projector_class)
    lengths = [4000, 900, 6543]
    with torch.no_grad():
        together = speech_text(speech_batch(speech_text, lengths))
        for row, length in enumerate(lengths):
            alone = speech_text(speech_batch(speech_text, [length]))
            width = alone.hidden.shape[1]
            torch.testing.assert_close(together.hidden[row, :width], alone.hidden[0], atol=1e-4, rtol=1e-4)
            assert together.num_frames[row] == alone.num_frames[0]


def test_text_alone_is_the_decoder_alone():
    speech_text = model()
    ids = torch.randint(0, 30, (2, 7))
    batch = SpeechTextBatch(
        text_batch(ids), torch.zeros_like(ids, dtype=torch.bool), *[torch.zeros(0, dtype=torch.long)] * 3
    )
    output = speech_text(batch)
    torch.testing.assert_close(output.hidden, speech_text.decoder.hidden(ids))
    assert output.ctc_logits is None and output.num_frames is None
    # Without ears it is the same decoder.
    bare = SpeechTextModel(None, None, speech_text.decoder)
    torch.testing.assert_close(bare(batch).hidden, output.hidden)
    assert bare.geometry is None


def test_a_certain_posterior_reads_as_the_path_it_stands_for():
    speech_text = model()
    batch = speech_batch(speech_text, [4000])
    count = int(batch.num_audio_tokens)
    path = torch.randint(0, 31, (1, count))
    torch.nn.init.zeros_(speech_text.projector.head.weight)
    read = speech_text(replace(without_audio(batch), paths=path.masked_fill(path == 30, BLANK))).hidden
    speech_text.projector.ctc_logits = lambda features: 200.0 * torch.nn.functional.one_hot(path, 31).float()
    torch.testing.assert_close(speech_text(batch).hidden, read, atol=1e-5, rtol=1e-5)


def test_prompts_embed_as_the_batch_does():
    speech_text = model()
    batch = speech_batch(speech_text, [4000, 900])
    embeddings = speech_text.embed_prompt(
        batch.text.ids,
        batch.is_audio,
        batch.num_audio_tokens,
        waveforms=batch.waveforms,
        num_samples=batch.num_samples,
    )
    hidden = speech_text.decoder.hidden(embeddings, documents=batch.text.documents)
    valid = batch.text.documents > 0
    torch.testing.assert_close(hidden[valid], speech_text(batch).hidden[valid])


def test_logits_of_the_ctc_head_are_those_of_the_features():
    speech_text = model()
    batch = speech_batch(speech_text, [4000])
    heard = speech_text.hear(batch.waveforms, batch.num_samples)
    output = speech_text(batch)
    torch.testing.assert_close(output.ctc_logits, speech_text.projector.ctc_logits(heard.features))
    assert model(StackMLP)(speech_batch(model(StackMLP), [4000])).ctc_logits is None


def test_every_parameter_learns_from_speech():
    speech_text = model().train()
    output = speech_text(speech_batch(speech_text, [4000, 900]))
    (output.hidden.square().sum() + output.ctc_logits.square().sum()).backward()
    without = [n for n, p in speech_text.named_parameters() if p.grad is None]
    assert without == ["decoder.lm_head.weight"]


def test_it_runs_in_bf16_autocast_and_with_a_bf16_decoder():
    speech_text = model()
    batch = speech_batch(speech_text, [4000, 900])
    expected = speech_text(batch).hidden
    with torch.autocast("cpu", torch.bfloat16):
        assert (speech_text(batch).hidden.float() - expected).abs().mean() < 0.1
    speech_text.decoder.bfloat16()
    assert (speech_text(batch).hidden.float() - expected).abs().mean() < 0.1


def test_a_geometry_that_disagrees_with_the_data_tells_both_counts():
    """Data made for a token a frame, heard by a projector that stacks three: nothing is cut or stretched."""
    batch = speech_batch(model(), [4000])
    count = int(batch.num_audio_tokens)
    with pytest.raises(ValueError, match=rf"StackMLP gives \[{-(-count // 2)}\] .* \[{count}\]: .*geometry"):
        model(StackMLP)(batch)


def test_parts_that_are_missing_are_named():
    speech_text = model()
    batch = speech_batch(speech_text, [4000])
    with pytest.raises(ValueError, match="1 waveforms .* without an audio encoder"):
        SpeechTextModel(None, speech_text.projector, speech_text.decoder)(batch)
    with pytest.raises(ValueError, match="without a projector"):
        SpeechTextModel(speech_text.encoder, None, speech_text.decoder)(batch)
    paths = torch.zeros(1, int(batch.num_audio_tokens), dtype=torch.long)
    with pytest.raises(ValueError, match="CtcPosterior, not through StackMLP"):
        model(StackMLP)(replace(without_audio(batch), paths=paths))
    with pytest.raises(ValueError, match="not a mixture"):
        speech_text(replace(batch, paths=paths))
    with pytest.raises(ValueError, match=f"{int(batch.num_audio_tokens)} audio placeholders .* 0 waveforms"):
        speech_text(without_audio(batch))


def test_the_geometry_adds_up_features_encoder_and_projector():
    assert model().geometry.num_audio_tokens(16_000) == 25
    assert model(StackMLP).geometry.num_audio_tokens(16_000) == 13
    assert model().geometry.min_samples == 160
