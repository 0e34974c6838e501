"""The engine: a row gets what it would get alone, whatever runs beside it and whenever it joined."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest
import torch
from decoder_sizes import llama_like
from torch import nn
from torch.nn import functional

from amalia_mm.errors import InputError
from amalia_mm.lora import LoraConfig, add_lora, gate_lora
from amalia_mm.text.checkpoint import load_hf, save_hf
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.engine import Engine, Request
from amalia_mm.text.fused import FusedDecoder, Piece
from amalia_mm.text.sampling import Sampling
from amalia_mm.text.slots import Slots

GREEDY = Sampling(12)
DRAWN = Sampling(12, temperature=1.3, top_k=30, top_p=0.9, seed=5)
PLAIN = Sampling(12, temperature=0.9, min_p=0.01, seed=6)
PENALISED = Sampling(12, repetition_penalty=1.4)


def prompts(num: int, vocab_size: int = 61, longest: int = 20) -> list[list[int]]:
    dice = random.Random(3)
    return [[dice.randrange(vocab_size) for _ in range(dice.randint(1, longest))] for _ in range(num)]


def run(engine: Engine, tokens: dict[int, list[int]], num_steps: int = 1000) -> None:
    """Step until nothing runs, or so many times; tokens go to the lists of their handles."""
    for _ in range(num_steps):
        events = engine.step()
        if not events:
            return
        for event in events:
            if event.token is not None:
                tokens.setdefault(event.handle, []).append(event.token)


def alone(decoder: Decoder, request: Request) -> list[int]:
    engine, tokens = Engine(decoder, max_length=64), {}
    handle = engine.add(request)
    run(engine, tokens)
    return tokens.get(handle, [])


def test_greedy_tokens_are_those_of_transformers(decoder):
    """Fifty random prompts of many lengths, each generated alone by transformers."""
    llama, found = llama_like(decoder), []
    for num_slots in (1, 16):
        engine, tokens = Engine(decoder, num_slots), {}
        handles = [engine.add(Request(prompt, GREEDY)) for prompt in prompts(50)]
        run(engine, tokens)
        found.append([tokens[handle] for handle in handles])
    for prompt, one_by_one, together in zip(prompts(50), *found, strict=True):
        ids = torch.tensor([prompt])
        theirs = llama.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None
        )
        assert one_by_one == together == theirs[0, len(prompt) :].tolist()


def test_rows_of_all_kinds_that_join_and_leave_get_what_they_get_alone(decoder):
    rules = [GREEDY, DRAWN, PLAIN, PENALISED]
    requests = [
        Request(prompt, rules[i % 4].for_row(i), stop_ids=(7, 8)) for i, prompt in enumerate(prompts(24))
    ]
    engine, tokens = Engine(decoder, num_slots=5, max_length=40), {}
    for i, request in enumerate(requests):
        assert engine.add(request) == i
        run(engine, tokens, num_steps=i % 4)
        assert engine.num_running <= 5
    run(engine, tokens)
    assert engine.num_running == engine.num_waiting == 0
    for i, request in enumerate(requests):
        assert tokens.get(i, []) == alone(decoder, request)
    assert len({len(row) for row in tokens.values()}) > 2, "rows that all end together show little"


@pytest.mark.parametrize("rules", [GREEDY, DRAWN, PLAIN])
@pytest.mark.parametrize("is_int8", [False, True])
def test_in_bfloat16_and_8_bits_too_a_row_gets_what_it_gets_alone(decoder, rules, is_int8):
    """One row went through products of its own, many through others: of eight rows, six were drawn otherwise."""
    if is_int8:
        pytest.importorskip("torchao")
    decoder = Decoder(replace(decoder.config, dtype="bfloat16")).eval().requires_grad_(False)
    requests = [Request(prompt, rules.for_row(i)) for i, prompt in enumerate(prompts(12))]
    together, tokens = Engine(decoder, 8, max_length=40, int8=is_int8), {}
    for request in requests:
        together.add(request)
    run(together, tokens)
    for i, request in enumerate(requests):
        engine, own = Engine(decoder, max_length=40, int8=is_int8), {}
        engine.add(request)
        run(engine, own)
        assert tokens[i] == own[0]


def test_what_is_drawn_depends_on_the_seed_of_the_row_alone(decoder):
    prompt = [5, 6, 7]
    rows = [alone(decoder, Request(prompt, DRAWN.for_row(i))) for i in range(4)]
    assert len({tuple(row) for row in rows}) == 4
    engine, tokens = Engine(decoder, 4), {}
    for i in (2, 0, 3, 1):
        engine.add(Request(prompt, DRAWN.for_row(i)))
    run(engine, tokens)
    assert [tokens[handle] for handle in range(4)] == [rows[i] for i in (2, 0, 3, 1)]


@torch.no_grad()
def test_log_probabilities_are_those_of_reading_everything(decoder):
    """Under the model itself, also where the choice was made after penalties and a temperature."""
    engine = Engine(decoder, 3)
    asked = {}
    for prompt, rules in zip(prompts(3), (GREEDY, DRAWN, PENALISED), strict=True):
        asked[engine.add(Request(prompt, rules, with_log_probs=True))] = list(prompt)
    engine.add(Request([1], GREEDY))
    num_seen = 0
    while events := engine.step():
        for event in events:
            if event.handle not in asked:
                assert event.log_prob is None
                continue
            ids = asked[event.handle]
            expected = decoder(torch.tensor([ids]))[0, -1].log_softmax(-1)[event.token]
            assert event.log_prob == pytest.approx(float(expected), abs=1e-4)
            ids.append(event.token)
            num_seen += 1
    assert num_seen == 36


@pytest.mark.parametrize("rules", [GREEDY, DRAWN, PENALISED])
def test_a_beginning_that_is_read_once_changes_nothing(decoder, rules):
    system, asked = [9, 8, 7, 6, 5], prompts(6, longest=8)
    engine, tokens = Engine(decoder, 4, max_length=40), {}
    prefix = engine.remember(system)
    for prompt in asked:
        engine.add(Request(prompt, rules, prefix=prefix))
    run(engine, tokens)
    for handle, prompt in enumerate(asked):
        assert tokens[handle] == alone(decoder, Request([*system, *prompt], rules))


def test_a_beginning_of_embeddings_such_as_an_audio_is_read_once_too(decoder):
    heard = torch.randn(7, 32)
    engine, tokens = Engine(decoder, 2), {}
    prefix = engine.remember(heard)
    for prompt in ([1, 2], [3]):
        engine.add(Request(prompt, GREEDY, prefix=prefix))
    run(engine, tokens)
    for handle, prompt in enumerate(([1, 2], [3])):
        whole = torch.cat([heard, decoder.embed(torch.tensor(prompt)).detach()])
        assert tokens[handle] == alone(decoder, Request(whole, GREEDY))


def test_what_another_engine_has_read_is_refused_before_it_could_end_the_rows_beside_it(decoder):
    """Keys and values of other weights: of the same shape they were taken without a word."""
    engine, other = Engine(decoder), Engine(copy.deepcopy(decoder))
    with pytest.raises(ValueError, match="a prefix of another engine"):
        engine.add(Request([3], GREEDY, prefix=other.remember([1, 2])))
    assert engine.num_waiting == 0


def test_a_conversation_that_grows_while_it_waits_is_read_as_it_was(decoder):
    engine, tokens, prompt = Engine(decoder, max_length=20), {}, [5, 6]
    engine.add(Request(prompt, GREEDY))
    prompt += [7] * 40
    run(engine, tokens)
    assert tokens[0] == alone(decoder, Request([5, 6], GREEDY))


def test_a_cancelled_row_makes_room_for_one_that_waits(decoder):
    engine, tokens = Engine(decoder, num_slots=2, max_length=40), {}
    asked = prompts(4)
    for prompt in asked:
        engine.add(Request(prompt, GREEDY))
    run(engine, tokens, num_steps=2)
    assert (engine.num_running, engine.num_waiting) == (2, 2)
    engine.cancel(0)
    engine.cancel(3)
    assert (engine.num_running, engine.num_waiting) == (1, 1)
    run(engine, tokens)
    engine.cancel(0)
    assert len(tokens[0]) == 2
    assert 3 not in tokens
    for handle in (1, 2):
        assert tokens[handle] == alone(decoder, Request(asked[handle], GREEDY))


def test_the_last_event_of_a_row_says_why_it_ended(decoder):
    free = alone(decoder, Request([5, 6], GREEDY))
    stop = next(token for token in free[1:] if token != free[0])
    engine = Engine(decoder)
    engine.add(Request([5, 6], GREEDY, stop_ids={stop}))
    events = [event for _ in range(free.index(stop) + 1) for event in engine.step()]
    assert [event.end for event in events] == [None] * free.index(stop) + ["stop"]
    assert events[-1].token is None
    engine.add(Request([5, 6], Sampling(1)))
    assert [(event.token, event.end) for event in engine.step()] == [(free[0], "length")]
    assert engine.step() == []


def test_long_prompts_are_not_all_read_in_one_step(decoder):
    engine = Engine(decoder, num_slots=3, max_length=40, max_read=20)
    for length in (15, 15, 3):
        engine.add(Request([1] * length, GREEDY))
    assert [len(engine.step()) for _ in range(3)] == [1, 3, 3]
    with_long = Engine(decoder, max_length=40, max_read=4)
    with_long.add(Request([1] * 15, GREEDY))
    assert len(with_long.step()) == 1


def test_prompts_that_do_not_fit_are_refused_when_they_are_added(decoder):
    with pytest.raises(
        InputError, match=r"60 tokens and 12 to generate; wanted at most 64 together \(max_pos"
    ):
        Engine(decoder).add(Request([1] * 60, GREEDY))
    engine = Engine(decoder, max_length=20)
    with pytest.raises(InputError, match=r"9 tokens and 12 .* 20 together \(max_length of the engine\)"):
        engine.add(Request([1] * 9, GREEDY))
    prefix = engine.remember([1] * 5)
    with pytest.raises(InputError, match="10 tokens and 12"):
        engine.add(Request([1] * 5, GREEDY, prefix=prefix))
    with pytest.raises(InputError, match="engine: num_slots: found 0"):
        Engine(decoder, num_slots=0)
    with pytest.raises(InputError, match="engine: max_length: found 0"):
        Engine(decoder, max_length=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), "a prompt of shape"),
        (torch.zeros(3), "a prompt of shape"),
        (torch.zeros(3, 31), r"a prompt of shape \(3, 31\): wanted .* \(t 32\) embeddings"),
        ([], "a prompt of shape"),
        ([5, 61], "ids from 5 to 61 for a decoder with 61 embeddings"),
        ([-1, 5], "ids from -1 to 5"),
    ],
)
def test_a_prompt_that_cannot_be_read_is_refused_before_it_could_end_the_rows_beside_it(decoder, wrong, said):
    engine, tokens = Engine(decoder, 2, max_length=20), {}
    engine.add(Request([5, 6], GREEDY))
    run(engine, tokens, num_steps=2)
    for read in (lambda: engine.add(Request(wrong, GREEDY)), lambda: engine.remember(wrong)):
        with pytest.raises(ValueError, match=said):
            read()
    run(engine, tokens)
    assert tokens[0] == alone(decoder, Request([5, 6], GREEDY))


@pytest.mark.parametrize("rules", [GREEDY, DRAWN, PENALISED])
def test_rows_of_a_padded_vocabulary_are_never_chosen(decoder, rules):
    """A checkpoint of 128,256 rows with a tokenizer of 128,000: an id that is no token ended the whole batch."""
    free = alone(decoder, Request([5, 6], rules))
    assert max(free) >= 40
    engine, tokens = Engine(decoder, max_length=64, num_tokens=40), {}
    engine.add(Request([5, 6], rules))
    run(engine, tokens)
    assert max(tokens[0]) < 40


@pytest.mark.parametrize("num_rows", [1, 3, 6])
@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.no_grad()
def test_the_fused_decoder_computes_what_the_decoder_does(is_tied, dtype, num_rows):
    """In float32 the same; in bfloat16 it is no further from exact than the decoder, which rounds as often or more."""
    torch.manual_seed(2)
    sizes = DecoderConfig(
        61, 32, 48, 3, 4, 2, tie_word_embeddings=is_tied, initializer_range=0.3, dtype=dtype
    )
    decoder = Decoder(sizes).eval()
    exact = copy.deepcopy(decoder).float()
    before = {name: weight.clone() for name, weight in decoder.state_dict().items()}
    rows = [torch.randint(61, (length,)) for length in (9, 1, 5, 7, 3, 2)[:num_rows]]
    longer = [torch.cat([row, torch.tensor([4])]) for row in rows]
    fused = FusedDecoder(decoder)
    slots = Slots(num_rows, 16, sizes, decoder.config.torch_dtype, torch.device("cpu"))
    found = [
        fused.read([Piece(slots.open(None), row) for row in rows], slots),
        fused.step([4] * num_rows, slots),
    ]
    for ours, texts in zip(found, (rows, longer), strict=True):
        right, theirs = (
            torch.stack([model(text[None])[0, -1].float() for text in texts]) for model in (exact, decoder)
        )
        if dtype == "float32":
            torch.testing.assert_close(ours, right, atol=1e-5, rtol=1e-5)
        else:
            assert (ours - right).square().mean() <= 2 * (theirs - right).square().mean()
    assert slots.lengths == [10, 2, 6, 8, 4, 3][:num_rows]
    for name, weight in decoder.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_no_weight_is_held_twice_and_what_changes_in_place_is_seen(decoder):
    """Two copies of a 9B decoder would not fit where one does."""
    num_bytes = sum(weight.nbytes for weight in decoder.parameters())
    first, second = FusedDecoder(decoder), FusedDecoder(decoder)
    storages = {
        weight.untyped_storage().data_ptr(): weight.untyped_storage().nbytes()
        for weight in decoder.parameters()
    }
    assert sum(storages.values()) == num_bytes
    for one, other in zip(first._many._blocks, second._many._blocks, strict=True):
        assert one.gate_up.data_ptr() == other.gate_up.data_ptr()
        assert one.gate_up.untyped_storage().data_ptr() in storages
    prompt = torch.tensor([5, 6, 7])
    slots = Slots(1, 4, decoder.config, torch.float32, torch.device("cpu"))
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(1.1)
        expected = decoder(prompt[None])[0, -1]
    found = first.read([Piece(slots.open(None), prompt)], slots)
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize("generates_at", [0, 2])
def test_training_goes_on_after_generation_as_it_would_have_without(decoder, generates_at):
    """Joined weights lay between others once, where torch's fused AdamW moved those: other losses, and no error.

    What the engine reads afterwards are the weights as they have become.
    """
    losses = []
    for at in (None, generates_at):
        trained, ids = copy.deepcopy(decoder), torch.arange(40).view(2, 20)
        optimizer = torch.optim.AdamW(trained.parameters(), lr=0.01, fused=True)
        losses.append([])
        for step in range(4):
            if step == at:
                engine = Engine(trained, num_slots=2)
                engine.add(Request([1, 2], GREEDY))
                run(engine, {})
            loss = functional.cross_entropy(trained(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
            losses[-1].append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    tokens: dict[int, list[int]] = {}
    handle = engine.add(Request([1, 2], GREEDY))
    run(engine, tokens)
    assert tokens[handle] == alone(copy.deepcopy(trained), Request([1, 2], GREEDY))
    assert tokens[handle] != alone(decoder, Request([1, 2], GREEDY))


def with_lora(decoder: Decoder) -> Decoder:
    add_lora(decoder.model, LoraConfig(["q_proj$"], rank=2))
    return decoder


CHANGES = {
    "moved": lambda decoder: setattr(decoder.lm_head.weight, "data", decoder.lm_head.weight.data.clone()),
    "another parameter": lambda decoder: setattr(
        decoder.lm_head, "weight", nn.Parameter(decoder.lm_head.weight.detach().clone())
    ),
    "assigned": lambda decoder: decoder.load_state_dict(
        {name: weight.clone() for name, weight in decoder.state_dict().items()}, assign=True
    ),
}


def change_in_place(name: str):
    def change(decoder: Decoder) -> None:
        with torch.no_grad():
            dict(decoder.named_parameters())[name].mul_(2)

    return change


@pytest.mark.parametrize("change", CHANGES)
def test_weights_are_not_read_where_they_no_longer_are(decoder, change):
    engine = Engine(decoder)
    engine.add(Request([1, 2], GREEDY))
    engine.step()
    CHANGES[change](decoder)
    engine.add(Request([1, 2], GREEDY))
    run(engine, {}, num_steps=11)
    with pytest.raises(ValueError, match="weights were changed or moved .*: make a new one"):
        engine.step()


@pytest.mark.parametrize(
    ("prepare", "is_int8", "name"),
    [
        (with_lora, False, "model.layers.0.self_attn.q_proj.lora_a"),
        (with_lora, False, "model.layers.1.self_attn.k_proj.weight"),
        (lambda decoder: decoder, True, "model.layers.0.mlp.down_proj.weight"),
    ],
)
def test_copies_of_weights_that_have_been_trained_are_not_read(decoder, prepare, is_int8, name):
    """Merged or of 8 bits, they stayed what they were, and generation went on with old layers below a new head."""
    if is_int8:
        pytest.importorskip("torchao")
    decoder = prepare(decoder)
    engine = Engine(decoder, int8=is_int8)
    change_in_place(name)(decoder)
    engine.add(Request([1, 2], GREEDY))
    with pytest.raises(ValueError, match="weights were changed or moved .*: make a new one"):
        engine.step()


def test_one_engine_with_a_change_and_one_without_do_not_disturb_each_other(decoder):
    decoder = with_lora(decoder).requires_grad_(False)
    with torch.no_grad():
        for layer in decoder.model.layers:
            nn.init.normal_(layer.self_attn.q_proj.lora_b)
    found = {}
    changed = Engine(decoder)
    gate_lora(decoder, False)
    plain = Engine(decoder)
    for name, engine in (("plain", plain), ("changed", changed)):
        tokens: dict[int, list[int]] = {}
        engine.add(Request([1, 2], GREEDY))
        run(engine, tokens)
        found[name] = tokens[0]
    assert found["plain"] == alone(decoder, Request([1, 2], GREEDY))
    gate_lora(decoder, True)
    assert found["changed"] == alone(decoder, Request([1, 2], GREEDY)) != found["plain"]


@torch.no_grad()
def test_a_row_whose_slot_is_full_is_refused_before_anything_is_written(decoder):
    """Compiled loops do not look where memory ends."""
    fused, slots = FusedDecoder(decoder), Slots(2, 4, decoder.config, torch.float32, torch.device("cpu"))
    fused.read([Piece(slots.open(None), torch.tensor([5, 6, 7, 8]))], slots)
    before = slots.stored.clone()
    with pytest.raises(ValueError, match=r"1 tokens for 1 rows, at positions \[4\]: wanted .* below 4"):
        fused.step([1], slots)
    slots.lengths[0] = 3
    with pytest.raises(ValueError, match="2 tokens for 1 rows"):
        fused.step([1, 2], slots)
    assert torch.equal(slots.stored, before)


def test_a_decoder_that_has_generated_is_saved_as_it_was(decoder, tmp_path):
    ids = torch.tensor([[5, 6, 7]])
    expected = decoder(ids)
    alone(decoder, Request([1], GREEDY))
    save_hf(decoder, tmp_path)
    torch.testing.assert_close(load_hf(tmp_path)(ids), expected)


def test_a_map_with_a_change_that_is_not_merged_is_refused_and_not_left_out(decoder):
    decoder.model.layers[0].mlp.up_proj = nn.Sequential(decoder.model.layers[0].mlp.up_proj)
    with pytest.raises(ValueError, match="Sequential where generation needs a plain linear map: merge it"):
        Engine(decoder)
