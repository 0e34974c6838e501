"""Written skills before and after: a fall beyond the tolerance ends with 3, and other questions are refused."""

from __future__ import annotations

import json

import pytest

from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.evaluate.regression import Change, text_changes


def report(folder, total=100, **figures):
    folder.mkdir(exist_ok=True)
    counts = {key: {"hits": value * total, "total": total} for key, value in figures.items()}
    (folder / "report.json").write_text(json.dumps({**figures, "counts": counts}), encoding="utf-8")
    return folder


def test_a_fall_beyond_the_tolerance_is_told_by_the_exit_status(tmp_path, capsys):
    before = report(tmp_path / "before", text_qa_exact=0.95, ptpt_preference=0.9, wer=0.05)
    same = report(tmp_path / "same", text_qa_exact=0.94, ptpt_preference=0.97, wer=0.5)
    worse = report(tmp_path / "worse", text_qa_exact=0.90, ptpt_preference=0.97, wer=0.05)
    command = ["evaluate", "--show", "--quiet", "--against", str(before)]
    assert main([*command, str(same)]) == 0
    assert "pior" not in capsys.readouterr().out
    assert main([*command, str(worse)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 3 and lines[1].endswith("pior") and "95\u202f%" in lines[1] and "90\u202f%" in lines[1]
    )
    assert not lines[2].endswith("pior")
    assert main([*command, str(worse), "--tolerance", "0.05"]) == 0
    assert main([*command, str(worse), "--tolerance", "5"]) == 2


def test_a_fall_of_just_the_tolerance_is_none():
    assert not Change("text_qa_exact", 0.9, 0.89).is_worse(0.01)
    assert Change("text_qa_exact", 0.9, 0.8899).is_worse(0.01)
    assert not Change("text_qa_exact", 0.9, 0.95).is_worse(0.0)
    assert not Change("text_qa_exact", 0.9815, 159 / 162).is_worse(0.0), "an earlier report has four digits"


def test_other_questions_and_no_questions_are_refused(tmp_path):
    figures = {"text_qa_exact": 0.9, "counts": {"text_qa_exact": {"total": 100}}}
    fewer = {"text_qa_exact": 0.9, "counts": {"text_qa_exact": {"total": 50}}}
    with pytest.raises(InputError, match="text_qa_exact: found 50 questions; wanted the same 100"):
        text_changes(fewer, figures, tmp_path, tmp_path)
    with pytest.raises(InputError, match="no text figure in common"):
        text_changes({"wer": 0.1}, figures, tmp_path, tmp_path)


def test_a_figure_that_was_not_measured_again_does_not_pass(tmp_path, capsys):
    """Data without pairs let a model through that may have forgotten the variety."""
    before = report(tmp_path / "before", text_qa_exact=0.95, ptpt_preference=0.9)
    after = report(tmp_path / "after", text_qa_exact=0.95)
    command = ["evaluate", "--show", "--quiet", "--against"]
    assert main([*command, str(before), str(after)]) == 2
    told = capsys.readouterr().err
    assert f"{after}: ptpt_preference: found none; wanted the figure, as {before} has it" in told
    assert main([*command, str(after), str(before)]) == 0, "a new figure is no fall"
