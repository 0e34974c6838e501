"""What a training step of a model that hears refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import toy_recipe

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.batch import SpeechTextBatch, TextBatch
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.understanding import Understanding


def test_a_blank_that_is_a_spare_row_is_refused(toy_data):
    """Data counts the blank behind the tokenizer's entries, a padded decoder behind its rows: blanks were embedded as a
    token that is never used, the blank's vector learned nothing, and nothing raised."""
    sizes = DecoderConfig.of(toy_recipe.DECODER)
    padded = replace(sizes, vocab_size=sizes.vocab_size + 12)
    encoder = partial(ConvTransformer, **toy_recipe.ENCODER["init_args"])
    module = Understanding(
        padded,
        encoder,
        CtcPosterior,
        OptimConfig(lr=1e-3),
        str(toy_data / "tokenizer"),
        spare_rows=12,
    )
    module.configure_model()
    ids = torch.zeros(1, 3, dtype=torch.int64)
    paths = torch.full((1, 3), sizes.vocab_size)
    text = TextBatch(ids, ids, torch.ones_like(ids), torch.arange(3)[None])
    counts = torch.tensor([3])
    batch = SpeechTextBatch(text, torch.ones(1, 3, dtype=torch.bool), counts, ids, counts, paths=paths)
    with pytest.raises(InputError, match=r"spare_rows: found 12 with simulated paths"):
        module.loss_terms(batch)
