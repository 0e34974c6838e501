"""CTC beside a projector without a head: its own targets and frames, and gradients that reach what is heard."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from ears import EARS
from torch.nn import functional as F

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.batch import SpeechTextBatch, TextBatch
from amalia_mm.errors import InputError
from amalia_mm.fusion.ctc_head import CtcHeadConfig
from amalia_mm.fusion.projectors import CtcPosterior, StackMLP
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.letters import ALPHABET, NUM_LETTERS
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.understanding import Understanding

SIZES = DecoderConfig(320, 16, 24, 1, 2, 1)
STACKED = partial(StackMLP, stack=2)


def module(toy_data, head: CtcHeadConfig | None, weight: float = 0.5, projector=STACKED) -> Understanding:
    torch.manual_seed(0)
    made = Understanding(
        SIZES,
        partial(ConvTransformer, **EARS, dropout=0.0),
        projector,
        OptimConfig(lr=1e-3),
        str(toy_data / "tokenizer"),
        ctc_weight=weight,
        ctc_head=head,
    )
    made.configure_model()
    return made


@pytest.fixture(scope="module")
def batch(toy_data) -> SpeechTextBatch:
    """Two clips, one of which nobody knows what is said in."""
    tokenizer = Tokenizer.load(toy_data / "tokenizer")
    said = tokenizer.encode("bom dia")
    num_audio = 25  # 2 s at 25 frames a second, two of them a token
    ids = torch.arange(num_audio + 3).expand(2, -1)
    text = TextBatch(ids, ids, torch.ones_like(ids), ids)
    return SpeechTextBatch(
        text,
        is_audio=(ids > 0) & (ids <= num_audio),
        num_audio_tokens=torch.tensor([num_audio, num_audio]),
        ctc_ids=torch.tensor([said, [0] * len(said)]),
        num_ctc_ids=torch.tensor([len(said), -1]),
        waveforms=0.1 * torch.randn(2, 32_000, generator=torch.Generator().manual_seed(0)),
        num_samples=torch.tensor([32_000, 32_000]),
    )


@pytest.mark.parametrize("reads", ["projector", "encoder"])
@pytest.mark.parametrize("units", ["letters", "tokens"])
def test_the_loss_is_that_of_torch_on_what_the_head_hears(toy_data, batch, reads, units) -> None:
    made = module(toy_data, CtcHeadConfig(reads, units, per_frame=3))
    assert made.model is not None and made.model.ctc_head is not None
    head = made.model.ctc_head
    output = made.model(batch)
    frames = output.audio if reads == "projector" else output.features
    assert frames.shape[:2] == ((2, 25) if reads == "projector" else (2, 50))
    if units == "letters":
        targets = torch.tensor([ALPHABET.index(letter) for letter in "bom dia"])
        num_units = NUM_LETTERS
    else:
        targets, num_units = batch.ctc_ids[0], 320
    each = head.map(head.norm(frames[0])).view(-1, num_units + 1).log_softmax(1)
    wanted = F.ctc_loss(
        each[:, None],
        targets[None],
        torch.tensor([len(each)]),
        torch.tensor([len(targets)]),
        blank=num_units,
        reduction="sum",
    )
    terms = made.loss_terms(batch)
    torch.testing.assert_close(terms["ctc"].sum, wanted)
    assert terms["ctc"].count == len(targets)
    torch.testing.assert_close(terms["loss"].sum, terms["nll"].sum + 0.5 * wanted)
    assert terms["loss"].count == terms["nll"].count


def test_it_teaches_the_frames_and_is_a_part_of_the_model(toy_data, batch) -> None:
    made = module(toy_data, CtcHeadConfig("projector", "letters"))
    terms = made.loss_terms(batch)
    terms["ctc"].sum.backward()
    assert made.model is not None and made.model.projector is not None
    for part in (made.model.encoder, made.model.projector, made.model.ctc_head):
        assert all(p.grad is not None for p in part.parameters())
    names = [name for name in made.model.state_dict() if name.startswith("ctc_head.")]
    assert len(names) == 4, "a folder keeps it"
    assert {f"model.{name}" for name in names} <= made.state_dict().keys(), "a checkpoint goes on with it"


def test_a_batch_without_a_clip_touches_every_weight(toy_data, batch) -> None:
    """One process without audio would otherwise wait for the others for ever."""
    made = module(toy_data, CtcHeadConfig("encoder", "letters"))
    nothing = torch.zeros(0, dtype=torch.int64)
    silent = replace(
        batch,
        is_audio=torch.zeros_like(batch.is_audio),
        num_audio_tokens=nothing,
        ctc_ids=nothing[:, None],
        num_ctc_ids=nothing,
        waveforms=None,
        num_samples=None,
    )
    terms = made.loss_terms(silent)
    terms["loss"].sum.backward()
    assert (terms["ctc"].sum, terms["ctc"].count) == (0, 0)
    assert all(p.grad is not None for p in made.parameters())


def test_a_weight_needs_a_head_and_a_head_a_weight(toy_data) -> None:
    with pytest.raises(InputError, match=r"ctc_weight: found 0\.5 with StackMLP; wanted 0, or a CTC head"):
        module(toy_data, None)
    with pytest.raises(InputError, match="ctc_weight: found 0 with ctc_head"):
        module(toy_data, CtcHeadConfig(), weight=0.0)
    with pytest.raises(InputError, match="per_frame: found 0"):
        CtcHeadConfig(per_frame=0)
    with pytest.raises(InputError, match="units: found words; wanted tokens or letters"):
        CtcHeadConfig(units="words")  # pyright: ignore[reportArgumentType]
    made = module(toy_data, None, projector=CtcPosterior)
    assert made.model is not None and made.model.ctc_head is None
