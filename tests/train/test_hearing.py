"""Hearing learns tokens, and letters beside them where the encoder reads letters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.batch import SpeechTextBatch, TextBatch
from amalia_mm.data.collate import collate_speech
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.letters import NUM_LETTERS
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.hearing import Hearing
from amalia_mm.train.optim import OptimConfig

TEXTS = ["bom dia", "está frio", "chama-se ana"]
DECODER = DecoderConfig(
    vocab_size=350,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
)
SIZES = {"width": 16, "num_layers": 2, "num_heads": 2, "feed_forward": 24, "dropout": 0.0}
WITH_LETTERS = SIZES | {"letters_after": 1, "num_letters": NUM_LETTERS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train(TEXTS * 3, DECODER.vocab_size).save(folder)
    return str(folder)


def hearing(folder, sizes=WITH_LETTERS, weight=0.5):
    torch.manual_seed(0)
    module = Hearing(
        DECODER,
        partial(ConvTransformer, **sizes),
        partial(CtcPosterior),
        OptimConfig(lr=1e-3),
        folder,
        letters_weight=weight,
    )
    module.configure_model()
    return module


def batch(folder, rows=(0, 1, 2), seconds=1.5):
    tokenizer = Tokenizer.load(folder)
    ids = [torch.tensor(tokenizer.encode(TEXTS[row])) for row in rows]
    nothing = torch.zeros(len(rows), 1, dtype=torch.int64)
    num_samples = torch.full((len(rows),), int(16_000 * seconds))
    clips = [
        0.1 * torch.randn(int(num_samples[0]), generator=torch.Generator().manual_seed(row)) for row in rows
    ]
    return SpeechTextBatch(
        text=TextBatch(nothing, nothing, nothing + 1, nothing),
        is_audio=nothing.bool(),
        num_audio_tokens=nothing[:, 0],
        ctc_ids=torch.nn.utils.rnn.pad_sequence(ids, batch_first=True),
        num_ctc_ids=torch.tensor([len(each) for each in ids]),
        waveforms=torch.stack(clips),
        num_samples=num_samples,
    )


def test_letters_are_learned_beside_tokens_by_their_weight(folder):
    given = batch(folder)
    alone = hearing(folder, weight=0.0).loss_terms(given)
    both = hearing(folder, weight=0.5).loss_terms(given)
    assert "letters" not in alone
    assert both["tokens"].sum == pytest.approx(float(alone["loss"].sum.detach()))
    assert both["letters"].count == sum(map(len, TEXTS))
    wanted = both["tokens"].sum + 0.5 * both["letters"].sum
    torch.testing.assert_close(both["loss"].sum.detach(), wanted)
    assert both["loss"].count == both["tokens"].count == alone["loss"].count


def test_the_letters_teach_their_head_and_the_layers_before_it(folder):
    module = hearing(folder)
    terms = module.loss_terms(batch(folder))
    terms["loss"].sum.backward()
    assert module.model.encoder.letters.head.weight.grad.abs().sum() > 0
    with_letters = module.model.encoder.layers[0].expand.weight.grad.clone()
    other = hearing(folder, weight=0.0)
    other.loss_terms(batch(folder))["loss"].sum.backward()
    assert not torch.allclose(with_letters, other.model.encoder.layers[0].expand.weight.grad)


def test_the_losses_of_parts_add_up_to_that_of_the_whole(folder):
    """So that a global batch may be cut among processes."""
    module = hearing(folder).eval()
    whole = module.loss_terms(batch(folder))
    parts = [module.loss_terms(batch(folder, rows)) for rows in ((0,), (1, 2))]
    for name in ("loss", "tokens", "letters"):
        torch.testing.assert_close(sum(part[name].sum for part in parts), whole[name].sum)
        assert sum(part[name].count for part in parts) == whole[name].count


def test_clips_too_short_for_their_letters_are_counted(folder):
    module = hearing(folder, WITH_LETTERS | {"letters_per_frame": 1})
    short = batch(folder, seconds=0.36)
    terms = module.loss_terms(short)
    assert terms["letters_too_short"].sum > 0
    assert terms["letters_too_short"].count == 3
    assert hearing(folder).loss_terms(batch(folder))["letters_too_short"].sum == 0


@pytest.mark.parametrize("sizes", [SIZES, WITH_LETTERS | {"num_letters": 5}])
def test_an_encoder_without_these_letters_cannot_be_taught_them(folder, sizes):
    with pytest.raises(InputError, match=f"num_letters: {NUM_LETTERS}"):
        hearing(folder, sizes)


def test_a_batch_of_which_nothing_could_be_read_teaches_nothing_and_touches_everything(folder):
    module = hearing(folder)
    nothing = collate_speech([])
    terms, others = module.loss_terms(nothing), module.loss_terms(batch(folder))
    assert list(terms) == list(others), "ranks add up their terms one by one"
    assert all(float(loss.sum.detach()) == float(loss.count) == 0.0 for loss in terms.values())
    terms["loss"].sum.backward()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name


def test_one_record_without_a_clip_among_others_is_an_error_too(folder):
    """It would be left out in silence, or not, by the chance of who is in the batch with it."""
    given = batch(folder)
    mixed = replace(given, text=replace(given.text, record_ids=("a", "b", "c", "no-clip")))
    with pytest.raises(InputError, match="found records without a clip, among a, b, c"):
        hearing(folder).loss_terms(mixed)


def test_records_without_a_clip_are_an_error(folder):
    given = batch(folder)
    text = replace(given.text, record_ids=("a-document",))
    with pytest.raises(InputError, match="without a clip, among a-document"):
        hearing(folder).loss_terms(replace(given, text=text, waveforms=None, num_samples=None))
