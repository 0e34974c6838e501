"""The way of a batch, each of its eight boxes fed by hand; what comes out is what the data module and the step make.

Every hop is called alone with what the one before gave, so that this file shows what travels between them.
"""

from __future__ import annotations

from functools import partial

import torch
import toy_recipe

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.io import load_audio
from amalia_mm.batch import IGNORE
from amalia_mm.data.collate import Item, collate_speech
from amalia_mm.data.eligible import eligible_speech
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.module import SpeechTextData
from amalia_mm.data.order import BudgetOrder
from amalia_mm.data.pipeline import to_example
from amalia_mm.data.reader import Folder
from amalia_mm.data.tokens import index_tokens
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.text.chat import render
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.losses import token_nll
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.understanding import Understanding

BUDGET = {"max_audio_tokens": 200, "max_text_tokens": 200, "max_rows": 4}
STEP = 3


def understanding(toy_data):
    """The step of a tiny model that draws nothing by chance."""
    ears = {**toy_recipe.ENCODER["init_args"], "num_time_masks": 0, "dropout": 0.0}
    module = Understanding(
        DecoderConfig(**{**toy_recipe.DECODER, "dropout": 0.0}),
        partial(ConvTransformer, **ears),
        partial(CtcPosterior, top_k=4),
        OptimConfig(lr=1e-3),
        str(toy_data / "tokenizer"),
    )
    module.configure_model()
    return module


def test_a_batch_goes_its_eight_hops(toy_data):
    tokenizer, module = Tokenizer.load(toy_data / "tokenizer"), understanding(toy_data)

    # 1. (seed, step) -> the global batch as references, cut by a budget from the index.
    index = ShardIndex.load(toy_data / "shards/speech")
    folder = Folder(index, index_tokens(index.folder, tokenizer))
    limits = {name: BUDGET[name] for name in ("max_audio_tokens", "max_text_tokens")}
    usable = eligible_speech(folder, 1.0, geometry=module.geometry, paths=None, **limits)
    rows = BudgetOrder([usable.source], seed=7, **BUDGET).batch(STEP)
    assert 1 < len(rows) <= BUDGET["max_rows"]

    items = []
    for (ref,) in rows:
        # 2. The record and the bytes of its clip, by (shard, offset).
        record, audio = read_record(index, ref.record)
        assert audio is not None and record.id == f"train-{ref.record}"
        # 3. The example: a waveform, and the turns that are said about it.
        example = to_example(record, audio, where=record.id, tokenizer=tokenizer, geometry=module.geometry)
        assert example.waveform is not None
        torch.testing.assert_close(example.waveform, load_audio(audio), rtol=0, atol=0)
        assert [turn.role for turn in example.turns] == ["user", "assistant"]
        # 4. Token ids with a run of placeholders as long as the clip, and where there is loss.
        num_audio_tokens = module.geometry.num_audio_tokens(len(example.waveform))
        rendered = render(example.turns, tokenizer, (num_audio_tokens,))
        assert sum(rendered.is_audio) == num_audio_tokens
        answer = [token for token, loss in zip(rendered.ids, rendered.has_loss, strict=True) if loss]
        assert tokenizer.decode(answer).strip() == record.text
        items.append(Item(example, rendered, tuple(tokenizer.encode(record.spoken or ""))))

    # 5. The batch, its labels shifted already.
    batch = collate_speech([(item,) for item in items])
    first = items[0].rendered
    assert batch.text.ids[0, : len(first.ids)].tolist() == list(first.ids)
    learned = batch.text.labels[0] != IGNORE
    assert batch.text.labels[0][learned].tolist() == [
        token for token, loss in zip(first.ids, first.has_loss, strict=True) if loss
    ]

    _goes_through_the_model(module, batch)
    _is_what_the_data_module_makes(module, batch, toy_data)


def _goes_through_the_model(module, batch):
    # 6. The step: model, then loss.
    model = module.eval().model
    loss = module.loss_terms(batch)["loss"]
    # 7. Encoder, projector, splice and decoder: a state for every position.
    output = model(batch)
    assert output.hidden.shape == (*batch.text.ids.shape, toy_recipe.DECODER["hidden_size"])
    # 8. The sum over labels and their count.
    labels = batch.text.labels
    nll = model.decoder.at_output(output.hidden, lambda h, weight: token_nll(h, weight, labels))
    torch.testing.assert_close(loss.sum, nll.sum)
    assert nll.count == (batch.text.labels != IGNORE).sum()
    torch.testing.assert_close(
        nll.sum,
        torch.nn.functional.cross_entropy(
            model.decoder.logits(output.hidden).flatten(0, 1),
            batch.text.labels.flatten(),
            ignore_index=IGNORE,
            reduction="sum",
        ),
    )


def _is_what_the_data_module_makes(module, batch, toy_data):
    data = SpeechTextData(
        {str(toy_data / "shards/speech"): 1.0},
        str(toy_data / "tokenizer"),
        geometry=module.geometry,
        seed=7,
        **BUDGET,
    )
    data.prepare_data()
    data.setup("fit")
    whole = [found for found, _ in zip(data.train_dataloader(), range(STEP + 1), strict=False)][STEP]
    assert whole.text.record_ids == batch.text.record_ids
    for found, wanted in ((whole.text.ids, batch.text.ids), (whole.text.labels, batch.text.labels)):
        assert torch.equal(found, wanted)
    assert torch.equal(whole.ctc_ids, batch.ctc_ids)
    assert whole.waveforms is not None and batch.waveforms is not None
    assert torch.equal(whole.waveforms, batch.waveforms)
