"""Two processes find what one finds."""

from __future__ import annotations

import dataclasses

import pytest

from amalia_mm.assistant import Assistant
from amalia_mm.errors import InputError
from amalia_mm.evaluate import shares
from amalia_mm.evaluate.beside import Beside
from amalia_mm.evaluate.measured import Job, Share, join, measure


@pytest.mark.parametrize("num", [0, 1, 2, 7])
@pytest.mark.parametrize("of", [1, 2, 3])
def test_the_shares_of_some_items_are_all_of_them_in_order(num, of):
    items = list(range(num))
    parts = [Share(number, of).part(items) for number in range(of)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.fixture
def job(run):
    began_with = {
        str(run / "10_hearing/model"): ["encoder", "projector.head"],
        str(run / "13_paths/model"): ["decoder", "projector.blank"],
    }
    return Job(run / "14_joint/model", run, frozen=began_with, before_joint=run / "04_sft/model")


def without_cost(measured):
    return dataclasses.replace(measured, seconds=0.0, peak_rss_gb=0.0)


def test_two_shares_make_the_whole(job):
    assistant = Assistant.load(job.model, "cpu")
    whole = measure(assistant, job)
    halves = join([measure(assistant, job, Share(number, 2)) for number in range(2)], seconds=1.0)
    # In a batch of another width a likelihood may differ in its last digit; what is written may not.
    pairs = [[score.pair for score in each.preference.scores] for each in (halves, whole)]
    assert pairs[0] == pairs[1]
    assert halves.peak_rss_gb > whole.peak_rss_gb > 0.1
    assert dataclasses.replace(without_cost(halves), preference=None) == dataclasses.replace(
        without_cost(whole), preference=None
    )
    assert whole.frozen is not None and whole.text_qa_before_joint is not None
    assert whole.frozen != whole.asr


def test_two_processes_find_what_one_finds(job, monkeypatch):
    begun = []

    class Counted(Beside):
        def __enter__(self):
            begun.append(self)
            return super().__enter__()

    monkeypatch.setattr(shares, "Beside", Counted)
    monkeypatch.setattr(shares, "num_cores", lambda: 2)
    assistant = Assistant.load(job.model, "cpu")
    alone = shares.measure_in_shares(assistant, job)
    assert not begun, "so few are not worth it"
    monkeypatch.setattr(shares, "MIN_ITEMS", 1)
    together = shares.measure_in_shares(assistant, job)
    assert len(begun) == 1
    assert dataclasses.replace(without_cost(together), preference=None) == dataclasses.replace(
        without_cost(alone), preference=None
    )


def test_an_error_of_the_second_process_is_told_here(job, monkeypatch, tmp_path):
    monkeypatch.setattr(shares, "MIN_ITEMS", 1)
    monkeypatch.setattr(shares, "num_cores", lambda: 2)
    broken = dataclasses.replace(job, model=tmp_path)
    with pytest.raises(InputError, match="no model with a decoder"):
        shares.measure_in_shares(Assistant.load(job.model, "cpu"), dataclasses.replace(broken, frozen=None))


def test_a_large_model_is_not_held_twice(job, monkeypatch):
    assistant = Assistant.load(job.model, "cpu")
    monkeypatch.setattr(shares, "MIN_ITEMS", 1)
    monkeypatch.setattr(shares, "num_cores", lambda: 2)
    assert shares._is_worth_it(assistant, job)
    monkeypatch.setattr(shares, "MAX_PARAMETERS", 100)
    assert not shares._is_worth_it(assistant, job)
