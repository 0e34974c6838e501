"""The decoder as its own teacher: against plain logits, in value and gradient; nothing to learn where they agree."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import toy_recipe
from ears import EARS
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.batch import IGNORE, Example, SpeechTextBatch, TextBatch, Turn
from amalia_mm.data.collate import Item, collate_speech
from amalia_mm.data.pipeline import reading_of
from amalia_mm.errors import InputError
from amalia_mm.fusion.ctc_head import CtcHeadConfig
from amalia_mm.fusion.projectors import StackMLP
from amalia_mm.fusion.speech_text import SpeechTextOutput
from amalia_mm.lora import LoraConfig, LoraLinear
from amalia_mm.run import load_model, read_weights
from amalia_mm.text.chat import read_in_place, render
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.chunked_kl import ChunkedKl
from amalia_mm.train.cli import main
from amalia_mm.train.distillation import Distillation, check_teacher, divergence, is_distilled, read
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.understanding import Understanding
from amalia_mm.variety import Variety

SIZES = DecoderConfig(320, 16, 24, 2, 2, 1, max_position_embeddings=256, initializer_range=0.3)
IMPORTANCE = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.0, 3.0, 1.0])


def plain_kl(hidden: Tensor, weight: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL of each position by torch, all logits at once."""
    own = F.log_softmax(hidden @ weight.T / temperature, dim=1)
    wanted = F.softmax((teacher @ weight.T).detach() / temperature, dim=1)
    return F.kl_div(own, wanted, reduction="none").sum(1)


def states(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    make = partial(torch.randn, generator=generator, dtype=dtype)
    return make(7, 8).requires_grad_(), make(13, 8).requires_grad_(), make(7, 8)


@pytest.mark.parametrize("chunk_tokens", [1, 3, 7])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_chunks_give_what_whole_logits_give(chunk_tokens: int, temperature: float) -> None:
    hidden, weight, teacher = states()
    each = plain_kl(hidden, weight, teacher, temperature)
    wanted = torch.autograd.grad((each * IMPORTANCE).sum(), (hidden, weight))
    total, found = ChunkedKl.apply(hidden, weight, teacher, IMPORTANCE, temperature, chunk_tokens, True)
    torch.testing.assert_close(found, each.detach())
    torch.testing.assert_close(total, (each * IMPORTANCE).sum())
    torch.testing.assert_close(torch.autograd.grad(total, (hidden, weight)), wanted)


def test_gradients_are_those_of_small_differences() -> None:
    hidden, weight, teacher = states(torch.float64)

    def loss(hidden: Tensor) -> Tensor:
        fixed = weight.detach()
        return 0.7 * ChunkedKl.apply(hidden, fixed, teacher, IMPORTANCE.double(), 2.0, 2, True)[0]

    assert torch.autograd.gradcheck(loss, (hidden,))


def test_no_more_logits_exist_at_once_than_were_allowed() -> None:
    decoder = Decoder(replace(SIZES, vocab_size=1000)).requires_grad_(False)
    labels = torch.ones(1, 300, dtype=torch.int64)
    text = TextBatch(labels, labels, labels, labels)
    nothing = torch.zeros(0, dtype=torch.int64)
    batch = SpeechTextBatch(text, labels.bool(), nothing, nothing, nothing, is_read=labels.bool())
    hidden = torch.randn(1, 300, 16, requires_grad=True)
    with _Largest() as calls:
        teacher = torch.randn(300, 16)
        objective = Distillation()
        divergence(decoder, hidden, teacher, batch, objective, 7, chunk_logits=40_000).sum.backward()
    assert calls.largest == 20_000  # half of them the teacher's


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that an operation gave."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.largest = max(self.largest, out.numel() if isinstance(out, Tensor) else 0)
        return out


class _Live(TorchDispatchMode):
    """Notes the most bytes that tensors made meanwhile have held at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self._held = 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in (value for value in tree_leaves(out) if isinstance(value, Tensor)):
            storage = tensor.untyped_storage()
            self._held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._held = {key: held for key, held in self._held.items() if not held[0].expired()}
        self.peak = max(self.peak, sum(nbytes for _, nbytes in self._held.values()))
        return out


def test_of_a_large_vocabulary_a_few_positions_stand_in_memory_however_many_there_are() -> None:
    """128,000 entries, 8 positions a chunk: 4 MB of logits, and no more of them for 64 positions than for 16."""
    weight, chunk_bytes = torch.randn(128_000, 8), 8 * 128_000 * 4
    peaks = {}
    for num_positions in (16, 64):
        hidden, teacher = torch.randn(num_positions, 8).requires_grad_(), torch.randn(num_positions, 8)
        with _Live() as live:
            total, _ = ChunkedKl.apply(hidden, weight, teacher, torch.ones(num_positions), 2.0, 8, True)
            total.backward()
        peaks[num_positions] = live.peak
        assert hidden.grad is not None
    assert 2 * chunk_bytes < peaks[16] < 7.1 * chunk_bytes
    assert abs(peaks[64] - peaks[16]) < 0.01 * chunk_bytes


@pytest.fixture(scope="module")
def tokenizer(toy_data) -> Tokenizer:
    return Tokenizer.load(toy_data / "tokenizer")


def item(tokenizer: Tokenizer, task: str, written: str | None, answer: str, asked: str = "") -> Item:
    """A clip of as many audio tokens as the words take in writing, and its reading."""
    turns = (Turn("user", asked, has_audio=True), Turn("assistant", answer))
    known = written or "o"
    num_words = len(render(read_in_place(turns, known), tokenizer)) - len(render(turns, tokenizer, (1,))) + 1
    waveform = torch.randn(num_words * 640, generator=torch.Generator().manual_seed(1))
    example = Example("a", task, Variety.PT_PT, "", "s", turns=turns, waveform=waveform, written=written)
    return Item(
        example, render(turns, tokenizer, (num_words,)), reading=reading_of(example, tokenizer, "a.tar")
    )


def collated(*items: Item) -> SpeechTextBatch:
    return collate_speech([(one,) for one in items])


def test_a_reading_has_the_words_where_the_clip_was_and_the_same_labels(tokenizer: Tokenizer) -> None:
    silent = item(tokenizer, "transcribe", "", "")
    heard = item(tokenizer, "continue", "o comboio", "parte cedo", asked="Continua.")
    batch = collated(silent, heard)
    assert batch.reading is not None and batch.is_read is not None
    written = (Turn("user", "o comboio\nContinua."), Turn("assistant", "parte cedo"))
    assert batch.reading.ids.tolist() == [render(written, tokenizer).ids]
    assert not batch.is_read[0].any(), "of no words nothing is said"
    of_words = batch.reading.labels[batch.reading.labels != IGNORE]
    assert torch.equal(batch.text.labels[is_distilled(batch)], of_words)
    assert tokenizer.decode(of_words.tolist()).strip() == "parte cedo"
    assert of_words[-1] == tokenizer.im_end_id
    filler = collate_speech([(heard,)], has_loss=False)
    assert filler.reading is not None and (filler.reading.labels == IGNORE).all()


def test_words_that_nobody_knows_are_told_and_answers_that_differ_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"a\.tar: written: found nothing.*model\.distillation\.unread"):
        item(tokenizer, "answer", None, "sim")
    one, other = (item(tokenizer, "answer", "o dia", answer) for answer in ("frio hoje", "frio"))
    with pytest.raises(ValueError, match=r"a: \d+ labelled positions with the clip and \d+ with its words"):
        collated(replace(one, reading=other.reading))


@pytest.fixture
def module(toy_data) -> Understanding:
    """Ears beside a frozen decoder; its layers may change where something is heard."""
    torch.manual_seed(0)
    made = Understanding(
        SIZES,
        partial(ConvTransformer, **EARS, dropout=0.0),
        partial(StackMLP, stack=1),
        OptimConfig(lr=1e-3),
        str(toy_data / "tokenizer"),
        freeze=[r"^decoder\."],
        distillation=Distillation(end_weight=0.5),
    )
    made.configure_model()
    return made


def losses(module: Understanding, batch: SpeechTextBatch) -> dict[str, float]:
    return {name: float(loss.sum.detach()) for name, loss in module.loss_terms(batch).items()}


def test_what_sounds_as_it_is_written_leaves_nothing_to_learn(
    module: Understanding, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embeddings of the words in place of the audio: student and teacher are one, and the divergence is 0."""
    assert module.model is not None
    decoder = module.model.decoder
    heard = item(tokenizer, "answer", "o comboio parte", "cedo")
    batch = collated(heard)
    assert batch.reading is not None
    assert batch.reading.ids.shape == batch.text.ids.shape
    same = batch.text.ids.masked_fill(batch.is_audio, 0) + batch.reading.ids * batch.is_audio
    assert torch.equal(same, batch.reading.ids), "around the clip both are the same tokens"

    def hear(batch: SpeechTextBatch) -> SpeechTextOutput:
        words = decoder.embed(batch.reading.ids).requires_grad_()
        return SpeechTextOutput(decoder.hidden(words, documents=batch.text.documents))

    monkeypatch.setattr(module.model, "forward", hear)
    found = module.loss_terms(batch)
    # Attention rounds otherwise where gradients are wanted, in the last digit.
    assert [float(found[name].sum) for name in ("kl", "kl_end")] == pytest.approx([0, 0], abs=2e-6)
    torch.testing.assert_close(found["loss"].sum, found["nll"].sum, rtol=0, atol=1e-5)
    assert float(found["kl"].count) == len(tokenizer.encode("cedo")) + 1 and float(found["kl_end"].count) == 1


def test_the_loss_and_its_gradients_are_those_of_whole_logits(
    module: Understanding, tokenizer: Tokenizer
) -> None:
    assert module.model is not None
    items = (
        item(tokenizer, "transcribe", "bom dia a ana", "bom dia a ana", asked="Transcreve."),
        item(tokenizer, "answer", "o comboio parte", "cedo"),
        item(tokenizer, "transcribe", "", ""),
    )
    batch, decoder = collated(*items), module.model.decoder
    terms = module.loss_terms(batch)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(terms["loss"].sum, trained)

    output = module.model(batch)
    nll = F.cross_entropy(
        decoder.logits(output.hidden).flatten(0, 1), batch.text.labels.flatten(), reduction="sum"
    )
    kl, ends = torch.zeros(()), torch.zeros(())
    for row, one in enumerate(items[:2]):
        of_words = decoder(torch.tensor([one.reading.ids]))[0, :-1]
        is_said = torch.tensor(one.reading.has_loss[1:])
        of_clip = decoder.logits(output.hidden[row])[batch.text.labels[row] != IGNORE]
        each = F.kl_div(
            (of_clip / 2).log_softmax(1), (of_words[is_said] / 2).softmax(1), reduction="none"
        ).sum(1)
        kl, ends = kl + each.sum(), ends + each[-1]
    torch.testing.assert_close(terms["kl"].sum, kl.detach())
    torch.testing.assert_close(terms["kl_end"].sum, ends.detach())
    torch.testing.assert_close(terms["loss"].sum, nll + kl + 0.5 * ends)
    torch.testing.assert_close(found, torch.autograd.grad(nll + kl + 0.5 * ends, trained))
    assert terms["loss"].count == (batch.text.labels != IGNORE).sum()
    assert terms["kl_end"].count == 2


def test_cross_entropy_can_be_left_to_what_is_not_distilled(
    module: Understanding, tokenizer: Tokenizer
) -> None:
    """Half transcripts with right answers, half the decoder's own continuations: each taught in its own way."""
    silent, heard = item(tokenizer, "transcribe", "", ""), item(tokenizer, "answer", "o dia", "frio")
    both = losses(module, collated(heard))
    module.distillation = Distillation(end_weight=0.5, with_nll=False)
    alone = losses(module, collated(heard))
    assert alone["nll"] == 0 and alone["kl"] == both["kl"]
    assert alone["loss"] == pytest.approx(both["kl"] + 0.5 * both["kl_end"], rel=1e-5)
    unread = module.loss_terms(collated(silent))
    assert unread["nll"].sum > 0 and unread["kl"].count == 0
    torch.testing.assert_close(unread["loss"].sum, unread["nll"].sum)
    assert module.loss_terms(collated(heard))["loss"].count == both_count(heard)


def both_count(one: Item) -> int:
    return sum(one.rendered.has_loss)


def test_the_teacher_has_no_changes_and_no_dropout_and_the_gate_is_open_afterwards(
    toy_data, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amalia_mm.train.understanding.warm_start", lambda *_: None)
    torch.manual_seed(0)
    module = Understanding(
        replace(SIZES, dropout=0.5),
        partial(ConvTransformer, **EARS, dropout=0.0),
        partial(StackMLP, stack=1),
        OptimConfig(lr=1e-3),
        str(toy_data / "tokenizer"),
        init_from={"elsewhere": ["decoder"]},
        lora=LoraConfig([r"[qv]_proj$"], rank=2, alpha=4.0),
        distillation=Distillation(),
    )
    module.configure_model()
    assert module.model is not None
    decoder, batch = module.model.decoder, collated(item(tokenizer, "answer", "o dia", "frio"))
    assert batch.reading is not None
    before = read(decoder, batch)
    changes = [part for part in decoder.modules() if isinstance(part, LoraLinear)]
    for change in changes:
        torch.nn.init.normal_(change.lora_b, std=0.5)
    assert torch.equal(read(decoder, batch), before) and not before.requires_grad
    assert decoder.training
    total = module.loss_terms(batch)["loss"].sum
    assert all(isinstance(change.gate, Tensor) and change.gate.all() for change in changes)
    total.backward()
    assert all(change.lora_b.grad is not None and change.lora_b.grad.any() for change in changes)


def test_a_teacher_that_would_change_is_refused(module: Understanding) -> None:
    assert module.model is not None
    check_teacher(module.model.decoder)
    module.model.decoder.model.norm.requires_grad_(True)
    with pytest.raises(InputError, match=r"distillation: found a decoder whose own weights are trained"):
        check_teacher(module.model.decoder)


def test_readings_that_fit_no_row_are_refused_with_both_counts(
    module: Understanding, tokenizer: Tokenizer
) -> None:
    batch = collated(item(tokenizer, "answer", "o dia", "frio"))
    other = collated(item(tokenizer, "answer", "o dia", "frio hoje está"))
    one, more = (int(is_distilled(each).sum()) for each in (batch, other))
    with pytest.raises(ValueError, match=f"{one} labelled positions of what is heard, but {more} of its"):
        module.loss_terms(replace(batch, reading=other.reading))


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"weight": 0}, "weight"), ({"temperature": 0}, "temperature"), ({"end_weight": -1}, "end_")],
)
def test_weights_that_mean_nothing_are_refused(changes: dict[str, float], field: str) -> None:
    with pytest.raises(InputError, match=f"distillation: {field}"):
        Distillation(**changes)


def test_a_run_learns_beside_rows_of_text_and_its_data_is_told_to_read(toy_data, tmp_path) -> None:
    """Through the command line: what is read is linked from the model, and the divergence is logged and falls."""
    text = toy_recipe.language(toy_data, tmp_path / "text", 2)
    text["data"]["init_args"]["num_workers"] = 0
    decoder = {**toy_recipe.DECODER, "initializer_range": 0.2}
    text["model"]["init_args"]["decoder"] = decoder
    main(["fit", "-c", str(toy_recipe.write(text, tmp_path / "text.yaml"))])
    recipe = toy_recipe.understanding(toy_data, tmp_path / "heard", 24, val_check_interval=3)
    recipe["model"]["init_args"] |= {
        "init_from": {str(tmp_path / "text/model"): ["decoder"]},
        "decoder": decoder,
        "freeze": [r"^decoder\."],
        "optim": {"lr": 1e-2, "warmup_steps": 1},
        "projector": {"class_path": "amalia_mm.fusion.projectors.StackMLP", "init_args": {"stack": 2}},
        "ctc_head": {"units": "tokens", "per_frame": 2},
        # So heavy that what falls is what is asked for, whatever cross-entropy and CTC pull at.
        "distillation": {"temperature": 2.0, "end_weight": 0.5, "weight": 30.0, "with_nll": False},
    }
    recipe["data"]["init_args"] |= {"num_workers": 0, "val_shards": [str(toy_data / "shards/speech")]}
    main(["fit", "-c", str(toy_recipe.write(recipe, tmp_path / "heard.yaml"))])
    lines = toy_recipe.figures(tmp_path / "heard")
    validated = [line for line in lines if "val_kl" in line]
    assert len(validated) == 8
    falling = [line["val_kl"] for line in validated]
    assert sum(falling[-3:]) < sum(falling[:3])
    assert {"val_nll", "val_kl_end", "val_ctc"} <= set(validated[0])
    weights = read_weights(tmp_path / "heard/model")
    kept = load_model(tmp_path / "heard/model").model
    assert kept.ctc_head is not None, "the head tells later when words are said"
    assert kept.ctc_head.config == CtcHeadConfig("projector", "tokens", per_frame=2)
    assert torch.equal(kept.ctc_head.map.weight, weights["ctc_head.map.weight"])
    before = read_weights(tmp_path / "text/model")
    assert all(torch.equal(value, weights[name]) for name, value in before.items())
