"""The decoder: sizes of the real models, rows that do not see each other, padding that changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from decoder_sizes import MEDIUM_100M, SMALL_3M, llama_like
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.norm import OnCpu, RMSNorm

EUROLLM = {
    "1.7B": (DecoderConfig(128000, 2048, 5632, 24, 16, 8), 1_656_850_432),
    "9B": (DecoderConfig(128000, 4096, 12288, 42, 32, 8), 9_152_319_488),
}
FRAGMENTS = {
    "eurollm_1b7": 1_656_850_432,
    "eurollm_9b": 9_152_319_488,
    "amalia_9b": 9_152_319_488,
    "eurollm_22b": 22_637_328_384,
}
CONFIGS = Path(__file__).parents[2] / "configs/decoder"


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("name", "total"), FRAGMENTS.items())
def test_real_sizes_have_the_published_number_of_parameters(name, total):
    config = DecoderConfig.of(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))
    with torch.device("meta"):
        decoder = Decoder(config)
    assert num_parameters(decoder) == total
    long = (1e6, 32768) if name in ("amalia_9b", "eurollm_22b") else (1e4, 4096)
    assert (config.rope_theta, config.max_positions) == long


@pytest.mark.parametrize(("config", "total"), [(SMALL_3M, 3_082_496), (MEDIUM_100M, 100_092_672)])
def test_the_sizes_of_the_benchmarks_are_what_their_names_say(config, total):
    with torch.device("meta"):
        assert num_parameters(Decoder(config)) == total
    # One layer and few words of the same shapes: drawing 100 million numbers takes seconds.
    decoder = Decoder(replace(config, num_hidden_layers=1, vocab_size=512)).eval()
    llama, ids = llama_like(decoder), torch.randint(512, (1, 9))
    assert num_parameters(llama) == num_parameters(decoder)
    torch.testing.assert_close(llama(ids).logits, decoder(ids))


def test_a_block_of_9b_has_the_derived_number_of_parameters():
    with torch.device("meta"):
        decoder = Decoder(replace(EUROLLM["9B"][0], num_hidden_layers=1))
    assert num_parameters(decoder.model.layers[0]) == 192_946_176
    assert tuple(decoder.model.layers[0].self_attn.k_proj.weight.shape) == (1024, 4096)


def test_shapes_follow_on_the_meta_device():
    with torch.device("meta"):
        decoder = Decoder(EUROLLM["1.7B"][0])
        assert decoder(torch.zeros(2, 7, dtype=torch.int64)).shape == (2, 7, 128000)
        documents = torch.ones(2, 7, dtype=torch.int64)
        assert decoder.hidden(torch.zeros(2, 7, 2048), documents=documents).shape == (2, 7, 2048)


def test_a_decoder_made_on_meta_becomes_real(decoder):
    with torch.device("meta"):
        copy = Decoder(decoder.config)
        copy(torch.zeros(1, 3, dtype=torch.int64))
    copy = copy.to_empty(device="cpu")
    copy.load_state_dict(decoder.state_dict())
    ids = torch.randint(61, (2, 9))
    assert torch.equal(copy.eval()(ids), decoder(ids))


def test_parameters_have_hugging_faces_names(decoder):
    names = set(decoder.state_dict())
    assert {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} <= names
    assert {
        f"model.layers.1.{part}.weight"
        for part in (
            *(f"self_attn.{letter}_proj" for letter in "qkvo"),
            *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
            *("input_layernorm", "post_attention_layernorm"),
        )
    } <= names
    assert len(names) == 3 + 2 * 9


def test_a_tied_head_is_not_stored(decoder):
    tied = Decoder(replace(decoder.config, tie_word_embeddings=True))
    assert "lm_head.weight" not in tied.state_dict()
    hidden = torch.randn(2, 32)
    assert torch.equal(tied.logits(hidden), hidden @ tied.model.embed_tokens.weight.T)


def test_packed_documents_equal_separate_ones(decoder):
    @given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 99))
    @torch.no_grad()
    def same(lengths, num_padding, seed):
        generator = torch.Generator().manual_seed(seed)
        parts = [torch.randint(61, (length,), generator=generator) for length in lengths]
        numbers = [torch.full_like(part, number) for number, part in enumerate(parts, start=1)]
        padding = torch.zeros(num_padding, dtype=torch.int64)
        packed = decoder(torch.cat([*parts, padding])[None], documents=torch.cat([*numbers, padding])[None])[
            0
        ]
        separate = torch.cat([decoder(part[None])[0] for part in parts])
        torch.testing.assert_close(packed[: len(separate)], separate, rtol=1e-4, atol=1e-4)

    same()


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_padding_changes_nothing_on_either_side(decoder, side):
    ids = torch.randint(61, (9,))
    padded, documents = torch.randint(61, (2, 14)), torch.ones(2, 14, dtype=torch.int64)
    real = slice(5, 14) if side == "left" else slice(0, 9)
    padded[0, real] = ids
    documents[0] = 0
    documents[0, real] = 1
    logits = decoder(padded, documents=documents)
    torch.testing.assert_close(logits[0, real], decoder(ids[None])[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[1], decoder(padded[1:])[0], rtol=1e-4, atol=1e-4)


def test_a_row_of_nothing_but_padding_is_finite_and_so_are_its_gradients(decoder):
    documents = torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]])
    logits = decoder(torch.zeros(2, 4, dtype=torch.int64), documents=documents)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in decoder.parameters())


@torch.no_grad()
def test_what_comes_later_changes_nothing_before(decoder):
    ids = torch.randint(61, (1, 20))
    changed = ids.clone()
    changed[0, 12:] = (changed[0, 12:] + 1) % 61
    before, after = decoder(ids), decoder(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12], rtol=0, atol=1e-5)
    assert (before[:, 12:] - after[:, 12:]).abs().max() > 0.1


@torch.no_grad()
def test_positions_restart_in_each_document(decoder):
    ids = torch.randint(61, (1, 8))
    documents = torch.tensor([[1, 1, 1, 2, 2, 0, 0, 0]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 0, 1, 2]])
    given_positions = decoder(ids, documents=documents, positions=positions)
    assert torch.equal(decoder(ids, documents=documents), given_positions)
    # Rotations are relative: a shift of a whole document moves nothing but rounding.
    shifted = decoder(ids, documents=documents, positions=positions + 5)
    torch.testing.assert_close(shifted, given_positions, rtol=1e-3, atol=1e-3)
    stretched = decoder(ids, documents=documents, positions=positions * 2)
    assert (stretched - given_positions)[:, 1:5].abs().max() > 0.1


@torch.no_grad()
def test_the_cache_changes_nothing(decoder):
    @given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 3))
    @torch.no_grad()
    def same(steps, num_padding):
        ids = torch.randint(61, (2, sum(steps) + num_padding))
        documents = torch.ones_like(ids)
        documents[0, :num_padding] = 0
        whole = decoder(ids, documents=documents)
        cache = decoder.new_cache(2, ids.shape[1])
        first = num_padding + steps[0]
        parts = [
            decoder(ids[:, :first], documents=documents[:, :first] if num_padding else None, cache=cache)
        ]
        for step in steps[1:]:
            start = cache.length
            parts.append(decoder(ids[:, start : start + step], cache=cache))
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-4)

    same()


def test_a_full_cache_and_another_batch_are_refused_with_both_numbers(decoder):
    cache = decoder.new_cache(2, 4)
    decoder(torch.zeros(2, 3, dtype=torch.int64), cache=cache)
    with pytest.raises(ValueError, match="position 5 in a cache of 4"):
        decoder(torch.zeros(2, 2, dtype=torch.int64), cache=cache)
    with pytest.raises(ValueError, match="1 rows for a cache of 2"):
        decoder(torch.zeros(1, 1, dtype=torch.int64), cache=cache)


def test_a_position_beyond_the_context_is_refused_with_both_numbers(decoder):
    with pytest.raises(ValueError, match="position 64, but max_position_embeddings is 64"):
        decoder(torch.zeros(1, 65, dtype=torch.int64))
    with pytest.raises(ValueError, match="position 70, but max_position_embeddings is 64"):
        decoder(torch.zeros(1, 2, dtype=torch.int64), positions=torch.tensor([[3, 70]]))
    decoder(torch.zeros(1, 64, dtype=torch.int64))
    packed = torch.arange(130)[None] // 65 + 1
    with pytest.raises(ValueError, match="position 64"):
        decoder(torch.zeros(1, 130, dtype=torch.int64), documents=packed)
    decoder(torch.zeros(1, 128, dtype=torch.int64), documents=torch.arange(128)[None] // 64 + 1)


@torch.no_grad()
def test_expected_embeddings_mix_the_table(decoder):
    ids, weights = torch.randint(61, (2, 5, 3)), torch.rand(2, 5, 3)
    expected = (decoder.embed(ids) * weights[..., None]).sum(dim=-2)
    torch.testing.assert_close(decoder.embed_expected(ids, weights), expected)
    certain = torch.tensor([1.0, 0.0, 0.0]).expand(2, 5, 3)
    assert torch.equal(decoder.embed_expected(ids, certain), decoder.embed(ids[..., 0]))


def test_gradients_reach_the_posterior_and_the_table(decoder):
    weights = torch.rand(2, 3, requires_grad=True)
    decoder.embed_expected(torch.tensor([[1, 2, 3], [4, 5, 6]]), weights).sum().backward()
    sums = decoder.model.embed_tokens.weight.detach().sum(dim=1)
    torch.testing.assert_close(weights.grad, torch.stack([sums[1:4], sums[4:7]]))
    assert decoder.model.embed_tokens.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_embeddings_are_read_like_their_ids(decoder):
    ids = torch.randint(61, (2, 9))
    assert torch.equal(decoder.hidden(decoder.embed(ids)), decoder.hidden(ids))


def test_bfloat16_autocast_stays_close_and_trains():
    decoder = Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, initializer_range=0.1))
    ids, documents = torch.randint(61, (2, 16)), torch.arange(16).expand(2, 16) // 8 + 1
    exact = decoder(ids, documents=documents)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = decoder(ids, documents=documents)
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()
    rounded.float().square().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in decoder.parameters())


@torch.no_grad()
def test_bfloat16_weights_run_without_autocast(decoder):
    half = Decoder(replace(decoder.config, dtype="bfloat16")).eval()
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    ids = torch.randint(61, (2, 6))
    cache = half.new_cache(2, 8)
    assert half(ids, documents=torch.ones_like(ids), cache=cache).isfinite().all()
    assert half(ids[:, :1], cache=cache).dtype == torch.bfloat16


def test_training_works_after_generation_in_inference_mode(decoder):
    ids = torch.randint(61, (2, 6))
    with torch.inference_mode():
        decoder(ids)
    decoder.train()(ids).sum().backward()
    assert decoder.lm_head.weight.grad is not None


def test_dropout_acts_in_training_only():
    decoder = Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, dropout=0.5))
    ids = torch.randint(61, (1, 6))
    assert not torch.equal(decoder(ids), decoder(ids))
    decoder.eval()
    assert torch.equal(decoder(ids), decoder(ids))


BAD = {
    "hidden_size": {"hidden_size": 30},
    "num_key_value_heads": {"num_key_value_heads": 3},
    "head_dim": {"head_dim": 7},
    "num_hidden_layers": {"num_hidden_layers": 0},
    "dropout": {"dropout": 1.0},
    "dtype": {"dtype": "int8"},
}


@pytest.mark.parametrize(("field", "change"), BAD.items(), ids=BAD.keys())
def test_sizes_that_do_not_fit_are_refused_by_name(decoder, field, change):
    with pytest.raises(InputError, match=rf"decoder: {field}: found "):
        replace(decoder.config, **change)


def test_gradients_of_rotation_and_gate_are_those_that_torch_finds_by_itself(monkeypatch):
    """Bit for bit: both have gradients of their own, which go through memory less often."""
    torch.manual_seed(5)
    decoder, ids = (
        Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, initializer_range=0.3)),
        torch.arange(40).view(2, 20),
    )
    found = torch.autograd.grad(decoder(ids).square().sum(), list(decoder.parameters()))
    # What is compiled takes torch's own.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(RMSNorm, "forward", _norm_with_its_own_gradient)
    wanted = torch.autograd.grad(decoder(ids).square().sum(), list(decoder.parameters()))
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def _norm_with_its_own_gradient(self: RMSNorm, x: torch.Tensor) -> torch.Tensor:
    return OnCpu.apply(x, self.weight, self.eps)
