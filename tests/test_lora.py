"""Low-rank changes: nothing changes at the start, off is bit for bit what was, merged is what was on."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig, LoraLinear, add_lora, gate_lora, lora_off, merge_lora, merged_weights
from amalia_mm.text.checkpoint import save_hf
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.generate import Sampling, generate

ALL_MAPS = LoraConfig(modules=["_proj$"], rank=4, alpha=8.0)


@pytest.fixture
def decoder() -> Decoder:
    """Random, with weights large enough that logits are far apart."""
    return Decoder(DecoderConfig(61, 32, 48, 2, 4, 2, max_position_embeddings=64, initializer_range=0.3))


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 61, (3, 12))


def trained(decoder: Decoder, config: LoraConfig = ALL_MAPS) -> Decoder:
    """The decoder with changes that are not zero any more."""
    add_lora(decoder.model, config)
    for name, parameter in decoder.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.05)
    return decoder


def test_it_starts_as_the_model_it_was(decoder, ids):
    before = decoder(ids)
    names = set(decoder.state_dict())
    num_trained = add_lora(decoder.model, ALL_MAPS)
    assert torch.equal(decoder(ids), before)
    assert names < set(decoder.state_dict()), "folders and checkpoints are read by the names the weights had"
    trainable = {name: p for name, p in decoder.model.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in trainable} == {"lora_a", "lora_b"}
    assert num_trained == sum(p.numel() for p in trainable.values())
    # 2 layers of q, o (32-32), k, v (32-16), gate, up, down (32-48), rank 4
    assert num_trained == 2 * 4 * (2 * 64 + 2 * 48 + 3 * 80)


def test_the_change_is_the_formula_of_the_paper():
    linear = nn.Linear(5, 3)
    weight, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    lora = LoraLinear(linear, LoraConfig(["."], rank=2, alpha=6.0))
    lora.lora_b.data.normal_()
    x = torch.randn(7, 5)
    by_hand = x @ weight.T + bias + 6.0 / 2 * (x @ lora.lora_a.T @ lora.lora_b.T)
    torch.testing.assert_close(lora(x), by_hand)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_off_gives_the_logits_of_the_base_bit_for_bit(decoder, ids, dtype):
    decoder = decoder.to(dtype)
    with torch.no_grad():  # attention takes another kernel where gradients are wanted
        before = decoder(ids)
    trained(decoder)
    assert not torch.equal(decoder(ids), before)
    with lora_off(decoder):
        reference = decoder(ids)
    assert torch.equal(reference, before)
    assert not reference.requires_grad
    assert not torch.equal(decoder(ids), before), "on again"


def test_rows_with_the_gate_closed_are_those_of_the_base_beside_others_that_are_not(decoder, ids):
    before = decoder(ids)
    on = trained(decoder)(ids)
    gate_lora(decoder, torch.tensor([True, False, True]))
    mixed = decoder(ids)
    assert torch.equal(mixed[1], before[1])
    assert torch.equal(mixed[[0, 2]], on[[0, 2]])


def test_a_document_with_the_gate_closed_does_not_see_its_packed_neighbour(decoder, ids):
    documents = torch.tensor([1] * 5 + [2] * 7).expand(3, -1)
    before = decoder(ids, documents=documents)
    on = trained(decoder)(ids, documents=documents)
    gate_lora(decoder, documents == 2)
    mixed = decoder(ids, documents=documents)
    assert torch.equal(mixed[:, :5], before[:, :5])
    assert torch.equal(mixed[:, 5:], on[:, 5:])


def test_a_closed_gate_gives_no_gradient_and_an_open_one_does(decoder, ids):
    trained(decoder)
    for gate, moves in ((torch.zeros(3, dtype=torch.bool), False), (torch.ones(3, dtype=torch.bool), True)):
        gate_lora(decoder, gate)
        decoder.zero_grad()
        decoder(ids).square().sum().backward()
        gradients = [p.grad for p in decoder.model.parameters() if p.requires_grad]
        assert all(g is not None and bool(g.any()) == moves for g in gradients)


def test_a_gate_that_does_not_fit_the_batch_is_refused_with_both_shapes(decoder, ids):
    gate_lora(trained(decoder), torch.ones(3, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\(3, 5\).*\(3, 12, 32\)"):
        decoder(ids)


def test_activation_checkpointing_computes_again_what_was_computed(decoder, ids):
    """A gate that was open for the forward pass alone gave other activations in the backward pass."""
    trained(decoder)
    gradients = []
    for use in (lambda f, x: f(x), lambda f, x: checkpoint(f, x, use_reentrant=False)):
        decoder.zero_grad()
        with lora_off(decoder):
            decoder(ids)
        gate_lora(decoder, torch.tensor([True, False, True]))
        use(lambda x: decoder.logits(decoder.hidden(x)), decoder.embed(ids)).square().sum().backward()
        gradients.append([p.grad.clone() for p in decoder.parameters() if p.requires_grad])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_merged_it_gives_the_same_logits(decoder, ids):
    names = set(decoder.state_dict())
    before = trained(decoder)(ids)
    weights = merged_weights(decoder, decoder.state_dict())
    merge_lora(decoder)
    assert (decoder(ids) - before).abs().max() <= 1e-5
    assert not any(isinstance(module, LoraLinear) for module in decoder.modules())
    assert set(decoder.state_dict()) == names == set(weights)
    for name, value in decoder.state_dict().items():
        assert torch.equal(value, weights[name])


def test_a_bias_and_the_type_of_the_weights_are_kept_by_merging():
    model = nn.ModuleDict({"map": nn.Linear(4, 3, dtype=torch.bfloat16)})
    add_lora(model, LoraConfig(["map"], rank=1))
    assert model["map"].lora_a.dtype == torch.float32, "small steps vanish in bfloat16"
    bias = model["map"].bias
    merge_lora(model)
    assert model["map"].weight.dtype == torch.bfloat16
    assert model["map"].bias is bias


def test_dropout_acts_on_the_change_alone_and_in_training_alone():
    linear = nn.Linear(64, 8)
    lora = LoraLinear(linear, LoraConfig(["."], rank=2, dropout=0.5))
    x = torch.randn(5, 64)
    assert torch.equal(lora.train()(x), linear(x)), "B is zero: dropout of the change changes nothing"
    lora.lora_b.data.normal_()
    assert not torch.equal(lora(x), lora(x))
    assert torch.equal(lora.eval()(x), lora(x))


@pytest.mark.parametrize("patterns", [["q_proj$", "qkv_proj$"], ["embed_tokens"], ["("], []])
def test_a_pattern_that_matches_no_linear_map_is_an_error(decoder, patterns):
    with pytest.raises(InputError, match="lora: modules") as error:
        add_lora(decoder.model, LoraConfig(patterns))
    assert patterns == [] or repr(patterns[-1]) in str(error.value)
    assert all(p.requires_grad for p in decoder.parameters()), "nothing is half done"


def test_changes_that_would_be_lost_are_refused(decoder, tmp_path):
    """A second change took the place of the first, and transformers ignores what it does not know."""
    trained(decoder)
    with pytest.raises(InputError, match=r"lora: layers\.0\.self_attn\.q_proj: found a low-rank change"):
        add_lora(decoder.model, LoraConfig(["up_proj$"]))
    with pytest.raises(InputError, match=r"q_proj\.lora_a: found a low-rank change; wanted plain weights"):
        save_hf(decoder, tmp_path)
    assert not any(tmp_path.iterdir())
    merge_lora(decoder)
    save_hf(decoder, tmp_path)


@pytest.mark.parametrize(
    ("field", "value"), [("rank", 0), ("alpha", 0.0), ("dropout", 1.0), ("dropout", -0.1)]
)
def test_a_number_that_makes_no_sense_is_an_error(field, value):
    with pytest.raises(InputError, match=f"lora: {field}: found {value}"):
        LoraConfig(["."], **{field: value})


@pytest.mark.parametrize("gate", [True, False])
def test_generation_writes_what_the_model_with_its_changes_would(decoder, gate):
    trained(decoder.eval())
    gate_lora(decoder, gate)
    ids = torch.randint(0, 61, (1, 6))
    sampling = Sampling(max_new_tokens=8)
    written = [
        int(step)
        for step in generate(decoder, ids, documents=torch.ones_like(ids), stop_ids=(), sampling=sampling)
    ]
    by_hand = ids
    for _ in range(8):
        with torch.no_grad():
            by_hand = torch.cat([by_hand, decoder(by_hand)[:, -1:].argmax(-1)], dim=1)
    assert written == by_hand[0, 6:].tolist()
