"""The CTC projector: a posterior that is certain is the token itself, and classes of its own are tokens, too."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amalia_mm.batch import BLANK
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import CtcPosterior, check_same_classes
from amalia_mm.text.ctc_vocabulary import CtcVocabulary, write_ctc_vocabulary
from amalia_mm.text.decoder import Decoder, DecoderConfig

CONFIG = DecoderConfig(30, 16, 32, 1, 2, 1, initializer_range=0.5)
WIDTH = 12
OWN = {"▁": 29, "a": 4, "o": 20, "<0xC3>": 25, "▁a": 6}
TOKENS = [25, 4, 6, 20, 29]
"""Of the classes, in their order: the byte first."""


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    torch.manual_seed(1)
    return Decoder(CONFIG).eval()


def certain(paths: torch.Tensor, num_classes: int) -> torch.Tensor:
    return 200.0 * torch.nn.functional.one_hot(paths, num_classes + 1).float()


def simulated(paths: torch.Tensor, num_classes: int) -> torch.Tensor:
    """The paths as they come from the data, which does not know the head's number of the blank."""
    return paths.masked_fill(paths == num_classes, BLANK)


def test_a_certain_posterior_is_the_path(decoder):
    """The decoder learns from paths of ids and later hears posteriors: both must look the same to it."""
    projector = CtcPosterior(WIDTH, CONFIG)
    paths = torch.cat([torch.arange(CONFIG.vocab_size + 1), torch.tensor([30, 5, 5, 30])])[None]
    mixed = projector.mix(certain(paths, 30), decoder.embed_expected)
    torch.testing.assert_close(mixed, projector.embed_path(simulated(paths, 30), decoder.embed))
    torch.testing.assert_close(mixed[0, 4], decoder.embed(torch.tensor(4)))
    torch.testing.assert_close(mixed[0, 30], projector.blank)


def test_a_class_of_its_own_is_its_token(decoder):
    projector = CtcPosterior(WIDTH, CONFIG, top_k=2, vocabulary=OWN)
    assert projector.head.out_features == len(OWN) + 1
    paths = torch.tensor([[0, 1, 2, 3, 4, 5, 5, 2]])
    mixed = projector.mix(certain(paths, 5), decoder.embed_expected)
    torch.testing.assert_close(mixed, projector.embed_path(simulated(paths, 5), decoder.embed))
    torch.testing.assert_close(mixed[0, :5], decoder.embed(torch.tensor(TOKENS)))
    torch.testing.assert_close(mixed[0, 5], projector.blank)


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(0, 99), st.booleans())
def test_a_posterior_is_mixed_as_by_hand(top_k, seed, has_own):
    torch.manual_seed(seed)
    tokens = torch.tensor(TOKENS) if has_own else torch.arange(30)
    top_k = min(top_k, len(tokens))
    decoder = Decoder(CONFIG)
    projector = CtcPosterior(WIDTH, CONFIG, top_k=top_k, vocabulary=OWN if has_own else None)
    logits = torch.randn(2, 3, len(tokens) + 1)
    posterior = logits.softmax(-1)
    expected = torch.zeros(2, 3, 16)
    table = decoder.embed(tokens)
    for k, f in [(k, f) for k in range(2) for f in range(3)]:
        order = posterior[k, f, :-1].argsort(descending=True)
        kept, dropped = order[:top_k], order[top_k:]
        rest = posterior[k, f, -1] + posterior[k, f, dropped].sum()
        expected[k, f] = posterior[k, f, kept] @ table[kept] + rest * projector.blank
    torch.testing.assert_close(projector.mix(logits, decoder.embed_expected), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("vocabulary", [None, OWN])
def test_the_loss_reaches_head_blank_features_and_embeddings(decoder, vocabulary):
    projector = CtcPosterior(WIDTH, CONFIG, top_k=4, vocabulary=vocabulary)
    features = torch.randn(1, 5, WIDTH, requires_grad=True)
    projector(features, torch.tensor([5]), decoder.embed_expected).square().sum().backward()
    for tensor in (features, projector.head.weight, projector.blank, decoder.model.embed_tokens.weight):
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0
    decoder.zero_grad()


def test_a_projector_built_on_meta_can_be_drawn(decoder):
    with torch.device("meta"):
        projector = CtcPosterior(WIDTH, CONFIG, top_k=2, vocabulary=OWN)
    projector.to_empty(device="cpu")
    with torch.no_grad():
        projector.blank.fill_(float("nan"))
        projector.get_buffer("token_ids").fill_(-1)
    projector.reset_parameters()
    assert projector.blank.isfinite().all() and projector.blank.std() > 0
    paths = torch.arange(5)[None]
    torch.testing.assert_close(
        projector.embed_path(paths, decoder.embed)[0], decoder.embed(torch.tensor(TOKENS))
    )


def test_the_map_is_no_weight():
    """It follows from the configuration, and is no number that a check of weights would refuse."""
    names = set(CtcPosterior(WIDTH, CONFIG, top_k=2, vocabulary=OWN).state_dict())
    assert names == set(CtcPosterior(WIDTH, CONFIG).state_dict()) == {"head.weight", "head.bias", "blank"}


@pytest.mark.parametrize("top_k", [0, 31])
def test_more_tokens_than_there_are_cannot_be_mixed(top_k):
    with pytest.raises(ValueError, match=rf"{top_k} .* 30 tokens of the decoder"):
        CtcPosterior(WIDTH, CONFIG, top_k=top_k)
    with pytest.raises(ValueError, match="6 .* 5 tokens of the CTC vocabulary"):
        CtcPosterior(WIDTH, CONFIG, top_k=6, vocabulary=OWN)


def test_a_vocabulary_comes_from_a_file_or_a_configuration(tmp_path):
    path = tmp_path / "made/ctc_vocabulary.json"
    write_ctc_vocabulary(path, CtcVocabulary(OWN), {})
    found = CtcPosterior(WIDTH, CONFIG, top_k=2, vocabulary=str(path)).vocabulary
    assert found is not None and found.tokens == OWN


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file; wanted a CTC vocabulary; make it: amalia ctc-vocabulary"),
        ("{", "JSONDecodeError"),
        ("[]", "wanted a CTC vocabulary"),
        ('{"tokens": {"▁": "3"}}', "tokens: found {'▁': '3'}"),
        ('{"tokens": {"▁": 3, "a": 30}}', "found token 30; wanted tokens below 30"),
        ('{"tokens": {"a": 3}}', "found no entry ▁"),
        ('{"tokens": {"▁": 3, "a▁o": 4}}', "found the entry 'a▁o'"),
        ('{"tokens": {"▁": 3, "a": 3}}', "found 2 entries for 1 tokens"),
        ('{"tokens": {}}', "found no entry ▁"),
    ],
)
def test_a_vocabulary_that_cannot_be_is_told(tmp_path, content, says):
    path = tmp_path / "v.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as told:
        CtcPosterior(WIDTH, CONFIG, top_k=1, vocabulary=str(path))
    assert says in str(told.value)


def test_a_head_over_other_classes_is_not_taken_for_this_one():
    """As many classes fit: only their tokens tell."""
    own = CtcPosterior(WIDTH, CONFIG, top_k=2, vocabulary=OWN)
    saved = {"projector": {"init_args": {"vocabulary": dict(reversed(OWN.items()))}}}
    check_same_classes(own, saved, "run/model")
    saved["projector"]["init_args"]["vocabulary"] = OWN | {"o": 21}
    with pytest.raises(InputError, match=r"run/model.*found a CTC vocabulary of 5 tokens"):
        check_same_classes(own, saved, "run/model")
    with pytest.raises(InputError, match="found the decoder's own tokens; wanted a CTC vocabulary of 5"):
        check_same_classes(own, {"projector": {"class_path": "x"}}, "run/model")
    with pytest.raises(InputError, match="found a CTC vocabulary of 5 tokens; wanted the decoder's own"):
        check_same_classes(CtcPosterior(WIDTH, CONFIG), saved, "run/model")
    check_same_classes(CtcPosterior(WIDTH, CONFIG), {"projector": {"init_args": {"top_k": 4}}}, "run/model")
