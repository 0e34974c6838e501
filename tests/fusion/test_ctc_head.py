"""A head beside the projector is kept in the model folder, and the times of words by it are those of torchaudio."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ears import EARS
from torch import Tensor
from torchaudio.functional import forced_align, merge_tokens

from amalia_mm.assistant import Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.vad import Segment
from amalia_mm.errors import InputError
from amalia_mm.export import export
from amalia_mm.fusion.conv_downsampler import ConvDownsampler
from amalia_mm.fusion.ctc_head import CtcHead, CtcHeadConfig
from amalia_mm.fusion.projectors import CtcPosterior, Projector, StackMLP
from amalia_mm.fusion.q_former import WindowQFormer
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.run import load_model, read_weights, save_model, warm_start
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.letters import ALPHABET, NUM_LETTERS
from amalia_mm.text.tokenizer import Tokenizer

SPARE_ROWS = 5
WAVEFORM = 0.1 * torch.randn(3 * 16_000, generator=torch.Generator().manual_seed(7))
BORDER = 79.5 - 320
"""Where the first of frames 40 ms apart begins, in samples: half a step before the middle of its mel frame."""
PROJECTORS: dict[type[Projector], dict[str, Any]] = {
    StackMLP: {"stack": 3},
    WindowQFormer: {"window": 6, "queries": 2, "width": 8, "num_heads": 2, "num_layers": 1},
    ConvDownsampler: {},
    CtcPosterior: {},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train(["bom dia, quero um café e um pastel de nata", "vinte e cinco minutos"], 340).save(folder)
    return folder


def parts(
    tokenizer: Path, head: CtcHeadConfig | None, projector: type[Projector] = StackMLP, ears: Any = EARS
) -> tuple[SpeechTextModel, dict[str, Any]]:
    """Return a model that hears, with the configuration of its folder."""
    torch.manual_seed(0)
    rows = Tokenizer.load(tokenizer).vocab_size + SPARE_ROWS
    sizes = DecoderConfig(rows, 16, 24, 1, 2, 1)
    arguments = PROJECTORS[projector]
    encoder = ConvTransformer(**ears)
    built = projector(8, sizes, 25, **arguments)  # pyright: ignore[reportCallIssue]
    beside = None if head is None else CtcHead(head, encoder, built, sizes)
    if beside is not None:
        # Sure of what it hears, so that a frame's neighbours are told apart.
        torch.nn.init.normal_(beside.map.weight, std=2.0)
    config = {
        "decoder": asdict(sizes),
        "encoder": {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": ears},
        "projector": {"class_path": f"{projector.__module__}.{projector.__name__}", "init_args": arguments},
        **({} if head is None else {"ctc_head": asdict(head)}),
    }
    return SpeechTextModel(encoder, built, Decoder(sizes), beside).eval(), config


def saved(folder: Path, tokenizer: Path, head: CtcHeadConfig | None, **options: Any) -> Path:
    model, config = parts(tokenizer, head, **options)
    save_model(folder, model, config=config, tokenizer=tokenizer, card="")
    return folder


def by_torchaudio(log_probs: Tensor, targets: list[int]) -> list[tuple[int, int, float]]:
    """The first slot of each target, the one after its last, and its mean posterior."""
    blank = log_probs.shape[1] - 1
    path, scores = forced_align(log_probs[None], torch.tensor([targets], dtype=torch.int32), blank=blank)
    return [
        (span.start, span.end, span.score) for span in merge_tokens(path[0], scores[0].exp(), blank=blank)
    ]


@pytest.mark.parametrize("units", ["letters", "tokens"])
@pytest.mark.parametrize(
    ("projector", "reads", "step"),
    [(StackMLP, "projector", 1_920), (StackMLP, "encoder", 640), (WindowQFormer, "projector", 1_920)],
)
@torch.no_grad()
def test_words_have_the_times_that_torchaudio_finds_in_what_the_head_hears(
    tmp_path, tokenizer, units, projector, reads, step
) -> None:
    """3 frames of 40 ms in a stack; 2 queries for a window of 6: 120 ms for each, 1,920 samples."""
    head = CtcHeadConfig(reads, units, per_frame=3)
    made = Assistant.load(saved(tmp_path / "model", tokenizer, head, projector=projector), device="cpu")
    assert made.word_source == units and made.model.ctc_head is not None and made.model.projector is not None
    frames = made.model.hear(WAVEFORM[None], torch.tensor([len(WAVEFORM)])).features
    if reads == "projector":
        frames = made.model.projector(frames, torch.tensor([75]), made.model.decoder.embed_expected)
    assert frames.shape[1] == {1_920: 25 + (projector is WindowQFormer), 640: 75}[step]
    beside = made.model.ctc_head
    logits = beside.map(beside.norm(frames[0])).reshape(3 * frames.shape[1], -1)
    if units == "letters":
        bom, dia = [ALPHABET.index(letter) for letter in "bom"], [ALPHABET.index(letter) for letter in "dia"]
        targets, second, lead = [*bom, ALPHABET.index(" "), *dia], 4, 1.0
    else:
        known = Tokenizer.load(tokenizer)
        logits = torch.cat([logits[:, : known.vocab_size], logits[:, -1:]], dim=1)
        targets, second, lead = known.encode("bom dia"), len(known.encode("bom")), 0.5
    spans = by_torchaudio(logits.log_softmax(1), targets)
    # A word begins up to a frame before its first letter is written, but not before what stands between.
    earliest = spans[3][0] if units == "letters" else spans[second - 1][1]
    starts = [max(spans[0][0] - 3 * lead, 0.0), max(spans[second][0] - 3 * lead, earliest)]
    ends = [spans[2 if units == "letters" else second - 1][1], spans[-1][1]]
    [words] = made._word_times.place([WAVEFORM], ["Bom dia!"], [Segment(0, len(WAVEFORM))])
    assert [word.text for word in words] == ["Bom", "dia!"]
    seconds = [[max(slot / 3 * step + BORDER, 0.0) / 16_000 for slot in each] for each in (starts, ends)]
    assert [word.start_s for word in words] == pytest.approx(seconds[0])
    assert [word.end_s for word in words] == pytest.approx(seconds[1])
    own = [
        [score for _, _, score in some] for some in (spans[: second - (units == "letters")], spans[second:])
    ]
    assert [word.confidence for word in words] == pytest.approx(
        [sum(some) / len(some) for some in own], rel=1e-4
    )


@torch.no_grad()
def test_the_times_of_a_clip_do_not_depend_on_the_others(tmp_path, tokenizer) -> None:
    head = CtcHeadConfig("projector", "letters", per_frame=3)
    times = Assistant.load(saved(tmp_path / "model", tokenizer, head), device="cpu")._word_times
    clips = [WAVEFORM, WAVEFORM[:20_000]]
    together = times.place(clips, ["Bom dia!", "Um café."], [Segment(0, len(clip)) for clip in clips])
    for clip, text, found in zip(clips, ["Bom dia!", "Um café."], together, strict=True):
        [alone] = times.place([clip], [text], [Segment(0, len(clip))])
        for mine, theirs in zip(found, alone, strict=True):
            assert (mine.text, mine.start_s, mine.end_s) == (theirs.text, theirs.start_s, theirs.end_s)
            assert mine.confidence == pytest.approx(theirs.confidence, rel=1e-4)


@pytest.mark.parametrize("projector", PROJECTORS)
@pytest.mark.parametrize("reads", ["projector", "encoder"])
def test_a_folder_keeps_the_head_and_every_key_is_accounted_for(
    tmp_path, tokenizer, projector, reads
) -> None:
    head = CtcHeadConfig(reads, "letters", per_frame=2)
    folder = saved(tmp_path / "model", tokenizer, head, projector=projector)
    model, _ = parts(tokenizer, head, projector)
    weights, found = read_weights(folder), load_model(folder).model
    assert weights.keys() == model.state_dict().keys() == found.state_dict().keys()
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in weights.items())
    assert found.ctc_head is not None and found.ctc_head.config == head
    config = yaml.safe_load((folder / "config.yaml").read_text())
    del config["ctc_head"]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"ctc_head\.map\.bias: found \(\d+,\); wanted no such parameter"):
        load_model(folder)


def test_a_head_that_cannot_be_is_refused(tmp_path, tokenizer) -> None:
    folder = saved(tmp_path / "model", tokenizer, CtcHeadConfig())
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("units: letters", "units: tokens"))
    with pytest.raises(InputError, match=r"ctc_head\.map\.bias: found \(\d+,\); wanted \(\d+,\)"):
        load_model(folder)
    (folder / "config.yaml").write_text(text.replace("units: letters", "unit: letters"))
    with pytest.raises(InputError, match="ctc_head: found TypeError"):
        load_model(folder)


def test_a_later_stage_goes_on_with_it_and_with_no_other(tmp_path, tokenizer) -> None:
    head = CtcHeadConfig("projector", "letters", per_frame=2)
    source = saved(tmp_path / "model", tokenizer, head)
    model, _ = parts(tokenizer, head)
    torch.nn.init.zeros_(model.get_parameter("ctc_head.map.weight"))
    warm_start(model, {str(source): ["ctc_head"]})
    assert torch.equal(model.state_dict()["ctc_head.map.weight"], read_weights(source)["ctc_head.map.weight"])
    other, _ = parts(tokenizer, CtcHeadConfig("encoder", "letters", per_frame=2))
    with pytest.raises(InputError, match=r"config\.yaml: ctc_head: found \{'reads': 'projector'"):
        warm_start(other, {str(source): ["ctc_head"]})
    none, _ = parts(tokenizer, None)
    with pytest.raises(InputError, match="found ctc_head; wanted a part of this model"):
        warm_start(none, {str(source): ["ctc_head"]})


def test_a_head_is_left_where_its_encoder_is(tmp_path, tokenizer) -> None:
    model, config = parts(tokenizer, CtcHeadConfig())
    ears = {name for name in model.state_dict() if name.startswith("encoder.")}
    del config["encoder"]
    save_model(tmp_path / "model", model, config=config, tokenizer=tokenizer, card="", leave_out=ears)
    loaded = load_model(tmp_path / "model").model
    assert loaded.encoder is None and loaded.ctc_head is None


def test_export_takes_it_along_or_says_that_it_stays(tmp_path, tokenizer) -> None:
    source = saved(tmp_path / "model", tokenizer, CtcHeadConfig())
    assert export(source, "hf", tmp_path / "hf").left_out == ("encoder", "projector", "ctc_head")
    folder = export(source, "folder", tmp_path / "folder").folder
    weights, exported = read_weights(source), read_weights(folder)
    assert weights.keys() == exported.keys()
    assert all(torch.equal(value, exported[name]) for name, value in weights.items())
    assert load_model(folder).model.ctc_head is not None


@pytest.mark.parametrize(
    ("ears", "projector", "units", "source", "finer"),
    [
        (EARS, CtcPosterior, None, "tokens", "posterior"),
        (EARS, CtcPosterior, "tokens", "tokens", "posterior"),
        (EARS, CtcPosterior, "letters", "letters", "head"),
        (EARS, StackMLP, "tokens", "tokens", "head"),
        (EARS, StackMLP, None, None, "none"),
        ({**EARS, "letters_after": 1, "num_letters": NUM_LETTERS}, StackMLP, "letters", "letters", "encoder"),
    ],
)
def test_the_finest_head_tells_the_times(
    tmp_path, tokenizer, monkeypatch, ears, projector, units, source, finer
) -> None:
    head = None if units is None else CtcHeadConfig("encoder", units)
    folder = saved(tmp_path / "model", tokenizer, head, projector=projector, ears=ears)
    made = Assistant.load(folder, device="cpu")
    asked: list[str] = []
    for name, owner in (("head", CtcHead), ("posterior", CtcPosterior)):
        heard = owner.log_probs
        monkeypatch.setattr(owner, "log_probs", lambda *a, n=name, f=heard: asked.append(n) or f(*a))
    assert made.word_source == source
    [words] = made._word_times.place([WAVEFORM], ["Bom dia"], [Segment(0, len(WAVEFORM))])
    assert len(words) == (0 if source is None else 2)
    assert asked == ([finer] if finer in ("head", "posterior") else [])


@pytest.mark.parametrize("has_head", [True, False])
def test_what_is_missing_is_said_where_there_are_times(tmp_path, tokenizer, amalia, speech, has_head) -> None:
    """Plain text has no times, so there is nothing to say of them."""
    folder = saved(tmp_path / "model", tokenizer, CtcHeadConfig() if has_head else None)
    for kind in ("txt", "json", "srt", "vtt"):
        code, out, err = amalia("transcribe", "--model", folder, "--format", kind, speech / "0.wav")
        assert code == 0
        assert ("não das palavras" in err) == (not has_head and kind != "txt")
        if kind == "json":
            found = json.loads(out)
            assert ("note" in found, found["word_times"]) == (
                (False, "letters") if has_head else (True, None)
            )
            assert bool(found["words"]) == (has_head and bool(found["text"].strip()))
