"""Tokens a second and MFU: the work counted against torch's own counter of operations."""

from __future__ import annotations

import pytest
import torch
import toy_recipe
from torch.utils.flop_counter import FlopCounterMode

from amalia_mm.batch import TextBatch
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.train import cli
from amalia_mm.train.throughput import measured_tflops, operations_a_token, work_of


def _batch(num_rows: int, num_positions: int) -> TextBatch:
    ids = torch.randint(61, (num_rows, num_positions))
    positions = torch.arange(num_positions).expand(num_rows, -1)
    return TextBatch(ids, ids, torch.ones_like(ids), positions)


@pytest.mark.parametrize(("is_tied", "is_frozen"), [(True, False), (False, False), (False, True)])
def test_the_operations_are_those_that_torch_counts(is_tied: bool, is_frozen: bool) -> None:
    torch.manual_seed(0)
    decoder = Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, tie_word_embeddings=is_tied))
    if is_frozen:
        decoder.requires_grad_(False)
        decoder.model.embed_tokens.requires_grad_(True)  # what is learned lies below all that is frozen
    batch = _batch(3, 16)
    with FlopCounterMode(display=False) as counter:
        decoder(batch.ids).square().sum().backward()
    tokens, operations = work_of(batch, decoder)
    products = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "mm" in str(op))
    assert tokens == 48
    assert products == operations_a_token(decoder) * 48
    assert operations - products == 12 * 2 * 32 * 3 * (16 * 17 / 2)


def test_padding_is_no_token_and_documents_do_not_see_each_other() -> None:
    decoder = Decoder(DecoderConfig(61, 32, 48, 2, 4, 2))
    ids = torch.zeros(1, 6, dtype=torch.int64)
    documents, positions = torch.tensor([[1, 1, 1, 2, 2, 0]]), torch.tensor([[0, 1, 2, 0, 1, 0]])
    tokens, operations = work_of(TextBatch(ids, ids, documents, positions), decoder)
    assert tokens == 5
    assert operations == operations_a_token(decoder) * 5 + 12 * 2 * 32 * (1 + 2 + 3 + 1 + 2)


def test_the_run_folder_has_both(toy_data, tmp_path) -> None:
    recipe = toy_recipe.language(toy_data, tmp_path / "run", 3)
    path = toy_recipe.write({**recipe, "throughput": {"peak_tflops": 1e-3}}, tmp_path / "r.yaml")
    cli.main(["fit", "-c", str(path)])
    for line in toy_recipe.figures(tmp_path / "run"):
        assert line["tokens_per_s"] > 0 and line["mfu"] > 0
    assert measured_tflops(torch.device("cpu"), torch.float32) > 0
