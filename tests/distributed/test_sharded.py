"""A decoder over two processes: each has read and holds its part alone, and together they are the whole one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch
from forked import Forked, finish
from torch import nn

from amalia_mm.run import save_model
from amalia_mm.text.checkpoint import save_hf
from amalia_mm.text.decoder import Decoder, DecoderConfig

CHILD = Path(__file__).with_name("sharded_decoder.py")


def folder_of(decoder: Decoder, folder: Path) -> Path:
    save_hf(decoder, folder, max_shard_size="10KB")
    (folder / "tokenizer").mkdir()
    model = nn.ModuleDict({"decoder": decoder})
    config = {"decoder": asdict(decoder.config)}
    save_model(folder / "ours", model, config=config, tokenizer=folder / "tokenizer", card="")
    torch.save(torch.randint(61, (2, 9)), folder / "ids.pt")
    return folder


def test_each_rank_loads_its_part_and_logits_and_gradients_are_those_of_the_whole(tmp_path: Path) -> None:
    torch.manual_seed(0)
    # 61 does not divide by two: the parts are of different sizes.
    config = DecoderConfig(61, 32, 48, 2, 4, 2, initializer_range=0.3)
    decoders = [Decoder(replace(config, tie_word_embeddings=is_tied)) for is_tied in (False, True)]
    folders = [folder_of(decoder, tmp_path / str(number)) for number, decoder in enumerate(decoders)]
    finish([Forked(CHILD, rank, tmp_path / "store", *folders) for rank in range(2)])
    for decoder, folder in zip(decoders, folders, strict=True):
        check(decoder, folder)


def check(decoder: Decoder, folder: Path) -> None:
    ranks = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert sum(rank["num_values"] for rank in ranks) == sum(p.numel() for p in decoder.parameters())
    ids = torch.load(folder / "ids.pt", weights_only=True)
    mixed = decoder.embed_expected(ids.unsqueeze(-1), torch.ones(2, 9, 1))
    decoder.logits(decoder.hidden(mixed)).square().mean().backward()
    for name, value in decoder.named_parameters():
        parts = [rank["parts"][name] for rank in ranks]
        assert len(parts[0]) == -(-len(value) // 2), name
        assert torch.equal(torch.cat(parts), value), name
        for rank in ranks:
            torch.testing.assert_close(rank["gradients"][name], value.grad)
    for rank in ranks:
        torch.testing.assert_close(rank["logits"], decoder(ids))
        torch.testing.assert_close(rank["mixed"], mixed)
        assert torch.equal(rank["half"], decoder.model.embed_tokens.weight.to(torch.bfloat16))
        assert torch.equal(rank["started"], decoder.model.embed_tokens.weight)
        assert "rope_theta: found 10000.0; wanted 1000000.0" in rank["refused"]
