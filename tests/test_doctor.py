"""`amalia doctor` tells what is there, and for what is not, how to get it."""

import pytest

from amalia_mm import doctor


@pytest.mark.parametrize(
    ("torch", "torchaudio", "cuda", "is_supported"),
    [
        ("2.14.0+cu130", "2.11.0+cu130", "13.0", True),
        ("2.14.0", "2.11.0", None, True),
        ("2.12.1+cu132", "2.11.0+cu130", "13.2", False),
        ("2.13.0+cpu", "2.11.0", None, False),
        ("2.10.0", "2.10.0", None, False),
        ("2.15.0", "2.11.0", "13.0", False),
        ("2.14.0", "2.12.0", "13.0", False),
    ],
)
def test_supported_pairs_of_torch_and_torchaudio(torch, torchaudio, cuda, is_supported):
    assert (doctor.torch_pair_problem(torch, torchaudio, cuda) == "") == is_supported


def test_every_subject_is_there_and_a_missing_model_has_a_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    findings = {finding.subject: finding for finding in doctor.examine()}
    assert {
        "amalia_mm",
        "python",
        "torch",
        "torchaudio",
        "gpu",
        "processor",
        "memory",
        "disk",
    } <= findings.keys()
    assert {"base", "extra train", "espeak-ng", "model"} <= findings.keys()
    assert "make quickstart" in findings["model"].remedy


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setattr(doctor, "_is_installed", lambda name: name != "gradio")
    rows = {finding.subject: finding for finding in doctor._extras()}
    assert "gradio" in rows["extra demo"].found
    assert "[demo]" in rows["extra demo"].remedy
    assert rows["extra train"].remedy == ""


def test_the_table_marks_what_needs_a_hand():
    text = doctor.render([doctor.Finding("a", "fine"), doctor.Finding("b", "gone", "get it")])
    assert text == "  a  fine\n! b  gone\n     -> get it\n"
