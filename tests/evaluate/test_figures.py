"""What a report writes and draws: Portuguese numbers, tokens in the frames they come from."""

from __future__ import annotations

import base64

import pytest
import torch

from amalia_mm.evaluate.clips import read_spans
from amalia_mm.evaluate.figures import TokenSpan, alignment, bars, loss_curve
from amalia_mm.evaluate.targets import TARGETS, Target, counted, written
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0294, "share", "2,9\u202f%"),
        (0.0, "share", "0\u202f%"),
        (0.0496, "share", "5,0\u202f%"),
        (1.0, "share", "100\u202f%"),
        (None, "share", "–"),
        (59.6, "seconds", "1\u202fmin 00\u202fs"),
        (59.4, "seconds", "59\u202fs"),
        (899, "seconds", "14\u202fmin 59\u202fs"),
        (5.256, "gigabytes", "5,26\u202fGB"),
        (3.0, "count", "3"),
    ],
)
def test_numbers_are_written_the_portuguese_way(value, unit, text):
    assert written(value, unit) == text


def test_counts_say_what_the_errors_were():
    errors = {"errors": 6, "substitutions": 3, "deletions": 2, "insertions": 1, "total": 100}
    assert counted(errors) == "6 em 100 (3 trocas, 2 omissões, 1 acrescentos)"
    assert counted({"hits": 94.5, "total": 100}) == "94,5 de 100"
    assert counted(None) == ""


def test_a_bound_is_kept_at_its_edge_and_not_beyond():
    wer = next(target for target in TARGETS if target.key == "wer")
    assert wer.bound == "≤ 6\u202f%"
    assert [wer.is_met(value) for value in (0.06, 0.0601, None)] == [True, False, None]
    wait = next(target for target in TARGETS if target.key == "data_wait_fraction")
    assert wait.is_met(0.05) is False
    spoken = next(target for target in TARGETS if target.key == "spoken_qa_exact")
    assert [spoken.is_met(value) for value in (0.8, 0.79)] == [True, False]
    assert Target("x", "x").is_met(0.5) is None


def test_tokens_are_shown_where_ctc_read_them():
    tokenizer = Tokenizer.train(["bom dia, bom dia"] * 3, 341)
    (bom,) = tokenizer.encode("bom")[:1]
    blank = tokenizer.vocab_size
    path = [blank, bom, bom, blank, bom, 7, blank]
    log_probs = torch.full((len(path), blank + 1), -9.0)
    log_probs[torch.arange(len(path)), torch.tensor(path)] = 0.0
    spans = read_spans(log_probs, CtcClasses(tokenizer))
    assert [(span.start, span.end) for span in spans] == [(1, 3), (4, 5), (5, 6)]
    assert spans[0].label.startswith("·b")


def test_pictures_are_pictures():
    def content(uri, media_type):
        head, _, body = uri.partition(",")
        assert head == f"data:{media_type};base64"
        return base64.b64decode(body)

    curve = loss_curve([(step, 5.0 / step) for step in range(1, 60)], [(59, 0.2)])
    assert b"<svg" in content(curve, "image/svg+xml")
    assert b"<svg" in content(loss_curve([(1, 3.0), (2, 2.0)], []), "image/svg+xml")
    assert b"<svg" in content(bars({"voz1": 0.1, "voz2": 0.0}, "WER, %"), "image/svg+xml")
    log_probs = torch.randn(20, 5).log_softmax(dim=1)
    picture = alignment(torch.randn(80, 80), log_probs, [TokenSpan("·bom", 2, 4)], 0.8)
    assert content(picture, "image/png").startswith(b"\x89PNG")
    assert content(alignment(torch.randn(80, 80), log_probs, [], 0.8), "image/png").startswith(b"\x89PNG")
