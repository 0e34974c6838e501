"""A text that is being written is compared with what was heard, though its tokens are others."""

from __future__ import annotations

import pytest
import torch

from amalia_mm.errors import InputError
from amalia_mm.fusion.ctc_judge import ClassIndex, CtcJudge
from amalia_mm.fusion.ctc_prefix import CtcPrefixes
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.ctc_vocabulary import make_ctc_vocabulary
from amalia_mm.text.ctc_vocabulary import CtcClasses, CtcVocabulary, pieces
from amalia_mm.text.tokenizer import Tokenizer

TEXTS = ["podes ir ao porto, bom dia", "chama-se ana, poder é bom", "pode ir à praia"]
SURE, IMPOSSIBLE = -0.01, -12.0


@pytest.fixture(scope="module", params=["the decoder's tokens", "letters and a few pieces", "few of 128,000"])
def classes(request):
    """What CTC writes: all of the decoder's tokens, or fewer of them, among which words are cut otherwise."""
    tokenizer = Tokenizer.train(TEXTS * 3, 352)
    if request.param == "the decoder's tokens":
        return CtcClasses(tokenizer)
    words = {word: 1 for text in TEXTS for word in spoken_form(text).split()}
    known = pieces(tokenizer)
    if request.param == "few of 128,000":
        made = make_ctc_vocabulary(tokenizer, words, 190)
        return CtcClasses(tokenizer, made)
    entries = [entry for entry in known if len(entry) == 1 or entry.startswith("<0x")] + ["▁po", "de", "▁c"]
    return CtcClasses(tokenizer, CtcVocabulary({entry: known[entry] for entry in entries if entry in known}))


def heard(classes, text):
    """Frames in which a text is said, each token with a blank after it, and hardly anything else."""
    blank = classes.blank
    path = [place for number in classes.encode(text) for place in (number, blank)]
    scores = torch.full((len(path), blank + 1), -20.0)
    scores[torch.arange(len(path)), torch.tensor(path)] = 0.0
    return scores.log_softmax(dim=-1)


def judged(classes, said, beginning):
    judge = CtcJudge([heard(classes, said)], ClassIndex(classes), spoken_form)
    return judge.judge(0, [classes.tokenizer.encode(beginning)], [])[0][0]


SAID = "podes ir ao porto chama-se ana"


@pytest.mark.parametrize(
    "beginning", ["P", "Po", "Pod", "Pode", "Podes", "Podes,", "Podes ir", "Podes ir ao Por", "podes ir ao p"]
)
def test_what_was_heard_may_begin_so_however_it_is_written(classes, beginning):
    assert judged(classes, SAID, beginning) > SURE


@pytest.mark.parametrize("beginning", ["Q", "Pof", "Podem", "Podes o", "Podes, irr", "Ir", "Podes ir porto"])
def test_what_was_not_heard_is_ruled_out_within_its_word(classes, beginning):
    assert judged(classes, SAID, beginning) < IMPOSSIBLE


def test_a_word_that_is_closed_cannot_go_on(classes):
    assert judged(classes, "podes ir", "Pode") > SURE
    assert judged(classes, "podes ir", "Pode,") < IMPOSSIBLE


@pytest.mark.parametrize("beginning", ["Chama", "Chama-", "Chama-s", "Chama-se"])
def test_a_clitic_belongs_to_its_word(classes, beginning):
    assert judged(classes, "chama-se ana", beginning) > SURE
    assert judged(classes, "chama ana", "Chama-s") < IMPOSSIBLE


def test_half_a_character_is_no_character_yet(classes):
    judge = CtcJudge([heard(classes, "é bom")], ClassIndex(classes), spoken_form)
    first_byte = classes.tokenizer.encode("É")[:-1]
    assert classes.tokenizer.decode(first_byte).endswith("\ufffd")
    assert judge.judge(0, [first_byte], [])[0][0] > SURE


@pytest.mark.parametrize("write", [str.lower, str.capitalize, str.upper])
def test_no_beginning_of_what_was_heard_is_less_likely_than_the_whole(classes, write):
    """However CTC's tokens and those of the letters so far are cut, in lower case and in capitals."""
    for word in {word for text in TEXTS for word in spoken_form(text).split()}:
        judge = CtcJudge([heard(classes, f"bom {word}")], ClassIndex(classes), spoken_form)
        tokens = classes.tokenizer.encode(f"bom {write(word)}")
        begun, whole = judge.judge(0, [tokens[:num] for num in range(1, len(tokens) + 1)], [tokens])
        assert min(begun) >= whole[0] - 1e-3 > IMPOSSIBLE, word


def test_a_character_is_worth_nothing_until_it_is_whole(classes):
    judge = CtcJudge([heard(classes, "podes")], ClassIndex(classes), spoken_form)
    half = [*classes.tokenizer.encode("Podes"), classes.tokenizer.encode("É")[-2]]
    assert judge.judge(0, [half], [half])[1] == [float("-inf")]
    japanese = classes.tokenizer.encode("日本")
    judge = CtcJudge([heard(classes, "日本")], ClassIndex(classes), spoken_form)
    assert min(judge.judge(0, [japanese[:num] for num in range(1, len(japanese) + 1)], [])[0]) > SURE


def test_a_point_may_belong_to_an_ordinal(classes):
    for beginning in ("O n.", "O n.º"):
        assert judged(classes, "o n.º 5", beginning) > SURE


def test_a_vocabulary_without_marks_of_words_is_refused():
    class Unmarked:
        vocab_size = 3

        def token(self, token):
            return "abc"[token]

    with pytest.raises(InputError, match="space mark"):
        ClassIndex(CtcClasses(Unmarked()))


def test_bytes_that_become_no_character_are_ruled_out(classes):
    judge = CtcJudge([heard(classes, SAID)], ClassIndex(classes), spoken_form)
    half = classes.tokenizer.encode("É")[-1]
    assert judge.judge(0, [[half] * 5], [])[0] == [float("-inf")]


@pytest.mark.parametrize("beginning", ["Podes,,", "Podes, ,", "Podes,?", "Podes........"])
def test_a_text_cannot_put_off_being_judged(classes, beginning):
    assert judged(classes, SAID, beginning) == float("-inf")


@pytest.mark.parametrize(
    "beginning",
    [
        "Podes...",
        "Podes?!",
        '"Podes", ir',
        "(Podes) ir",
        "«Podes?»",
        "Podes... — ir",
        "Podes (...) ir",
        "Podes\nir",
    ],
)
def test_signs_that_follow_each_other_are_written(classes, beginning):
    assert judged(classes, SAID, beginning) > SURE


def test_nothing_may_become_anything(classes):
    assert judged(classes, SAID, "") == pytest.approx(0.0, abs=1e-5)


def test_a_comma_after_a_digit_ends_a_number_or_goes_on(classes):
    for said in ("12 bom", "12,5"):
        assert judged(classes, said, "12,") > SURE
    assert judged(classes, "125", "12,") < IMPOSSIBLE


def test_wholes_are_the_likelihood_of_the_spoken_form(classes):
    log_probs = heard(classes, SAID) * 0.2
    judge = CtcJudge([log_probs, heard(classes, "bom dia")], ClassIndex(classes), spoken_form)
    texts = ["Podes ir ao Porto. Chama-se Ana?", "Bom dia!", ""]
    found = judge.judge(0, [], [classes.tokenizer.encode(text) for text in texts])[1]
    prefixes = CtcPrefixes(log_probs)
    assert found == [prefixes.whole(tuple(classes.encode(spoken_form(text)))) for text in texts]
    assert found == [judge.whole(0, text) for text in texts]
    assert judge.whole(1, "Bom dia!") > SURE > IMPOSSIBLE > judge.whole(1, "Podes ir?")


def test_a_word_may_be_cut_otherwise_once_it_is_longer(classes):
    """Of a beginning, every token that goes on with it counts, not only those that its own tokens lead to."""
    judge = CtcJudge([heard(classes, "podes")], ClassIndex(classes), spoken_form)
    whole = classes.tokenizer.encode("podes")
    for end in range(1, len("podes") + 1):
        beginning = classes.tokenizer.encode("podes"[:end])
        assert judge.judge(0, [beginning], [])[0][0] > SURE, (end, beginning, whole)


def test_a_likelihood_falls_as_a_text_grows(classes):
    log_probs = torch.randn(12, classes.blank + 1, generator=torch.Generator().manual_seed(0))
    judge = CtcJudge([log_probs.log_softmax(dim=-1)], ClassIndex(classes), spoken_form)
    tokens = classes.tokenizer.encode("bom dia ana")
    found = judge.judge(0, [tokens[:num] for num in range(len(tokens) + 1)], [tokens])
    assert found[0] == sorted(found[0], reverse=True)
    assert found[1][0] <= found[0][-1] + 1e-9
