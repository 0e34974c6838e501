"""A training step of a model that hears, where its parts count otherwise than the data."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
import toy_recipe

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.batch import BLANK
from amalia_mm.data.ctc_paths import CtcPaths
from amalia_mm.data.module import SpeechTextData
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.understanding import Understanding

SPARE = 12


def understanding(toy_data, spare_rows):
    torch.manual_seed(0)
    sizes = DecoderConfig.of(toy_recipe.DECODER | {"dropout": 0.0})
    module = Understanding(
        replace(sizes, vocab_size=sizes.vocab_size + spare_rows),
        partial(ConvTransformer, **toy_recipe.ENCODER["init_args"]),
        CtcPosterior,
        OptimConfig(lr=1e-3),
        str(toy_data / "tokenizer"),
        spare_rows=spare_rows,
    )
    module.configure_model()
    return module


def test_a_decoder_with_spare_rows_reads_the_paths_that_one_without_reads(toy_data):
    """Data counted the blank behind the tokenizer's entries, a padded decoder behind its rows: blanks were embedded as
    a token that is never used, the blank's vector learned nothing, and nothing raised."""
    data = SpeechTextData(
        {str(toy_data / "shards/speech"): 1.0}, str(toy_data / "tokenizer"), paths=CtcPaths(), num_workers=0
    )
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert (batch.paths == BLANK).any()
    plain, padded = understanding(toy_data, 0).model, understanding(toy_data, SPARE).model
    own = padded.state_dict()
    for name, value in plain.state_dict().items():
        if own[name].shape == value.shape:
            own[name].copy_(value)
        elif name == "decoder.model.embed_tokens.weight":
            own[name][:-SPARE].copy_(value)
            own[name][-SPARE:].fill_(torch.nan)  # whatever reads them is seen
    hidden = padded(batch).hidden
    torch.testing.assert_close(hidden, plain(batch).hidden)
    hidden.square().sum().backward()
    assert padded.projector.blank.grad.abs().sum() > 0
    assert not padded.decoder.model.embed_tokens.weight.grad[-SPARE:].any()
