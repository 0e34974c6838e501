"""Which figure is of which writer: the joint transcript, the decoder alone, CTC alone; by a transcript or directly."""

import json
from pathlib import Path

import pytest

from amalia_mm.errors import InputError
from amalia_mm.evaluate.items import SpokenItem, read_spoken
from amalia_mm.evaluate.measured import Measured
from amalia_mm.evaluate.metrics import similarity
from amalia_mm.evaluate.report import _tasks
from amalia_mm.evaluate.scores import scores
from amalia_mm.evaluate.suites import asr, spoken_qa
from amalia_mm.evaluate.targets import written

SENTENCE = SpokenItem("s", Path("s.flac"), "um dois três quatro", "f3", "synthetic", "transcribe", False)
QUESTION = SpokenItem(
    "q", Path("q.flac"), "qual é", "f3", "synthetic", "answer", False, answer="Lisboa.", kind="reformulated"
)


class Told:
    """An assistant that writes what it is told: no error, one, two, and three words wrong."""

    has_ctc = True

    def __init__(self):
        self.batch_sizes = []

    def transcribe_three_ways(self, audios, batch_size):
        return ["um dois três quatro"], ["um dois três x"], ["um dois x x"]

    def transcribe(self, audios, batch_size, num_beams):
        assert num_beams == 1
        return ["um x x x"]

    def answer(self, audios, batch_size, direct, sampling, instruction):
        self.batch_sizes.append(batch_size)
        if instruction == "Traduz para inglês.":
            return ["Good day."] * len(audios) if direct else ["Good morning."] * len(audios)
        assert instruction == ""
        return ["Porto."] if direct else ["Lisboa."]


def test_a_rate_is_rounded_once(monkeypatch):
    """45 of 1,580 words are 2.848 %: rounded to four digits first, the page said 2.9."""
    told = Told()
    words = ["um"] * 1580
    heard = " ".join(["x"] * 45 + words[45:])
    monkeypatch.setattr(told, "transcribe_three_ways", lambda audios, batch_size: ([heard],) * 3)
    long = SpokenItem("l", Path("l.flac"), " ".join(words), "f3", "synthetic", "transcribe", False)
    report = scores(Measured(asr=asr.measure(told, [long])))
    assert written(report["wer"], "share") == "2,8\u202f%"


def test_each_figure_is_of_its_own_writer(monkeypatch):
    monkeypatch.setattr(spoken_qa, "enough", lambda assistant, answers: None)
    told = Told()
    report = scores(
        Measured(
            asr=asr.measure(told, [SENTENCE, QUESTION]),
            frozen=asr.measure(told, [SENTENCE], is_alone=True),
            spoken_qa=spoken_qa.measure(told, [SENTENCE, QUESTION], batch_size=3),
            spoken_qa_direct=spoken_qa.measure(told, [QUESTION], batch_size=3, direct=True),
        )
    )
    rates = {name: report[name] for name in ("wer", "wer_alone", "wer_ctc", "wer_frozen")}
    assert rates == {"wer": 0.0, "wer_alone": 0.25, "wer_ctc": 0.5, "wer_frozen": 0.75}
    assert (report["spoken_qa_exact"], report["spoken_qa_direct"]) == (1.0, 0.0)
    assert told.batch_sizes == [3, 3]


def test_every_task_is_done_as_a_cascade_and_directly(tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_qa, "enough", lambda assistant, answers: None)
    (tmp_path / "a.flac").write_bytes(b"")
    row = {"audio": "a.flac", "text": "bom dia", "answer": "Good morning", "task": "translate_en"}
    own = row | {"task": "tempo", "instruction": "Diz as horas.", "answer": "São três."}
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, [row, own])), encoding="utf-8")
    first, second = read_spoken(tmp_path / "test.jsonl")
    assert (first.instruction, second.instruction) == ("Traduz para inglês.", "Diz as horas.")
    told, items = Told(), [QUESTION, first]
    found = Measured(
        spoken_qa=spoken_qa.measure(told, items), spoken_qa_direct=spoken_qa.measure(told, items, direct=True)
    )
    report = scores(found)
    assert report["spoken_tasks"]["answer"]["cascade"]["exact"] == 1.0
    assert report["spoken_tasks"]["answer"]["direct"]["exact"] == 0.0
    by_text, at_once = (report["spoken_tasks"]["translate_en"][way] for way in ("cascade", "direct"))
    assert (by_text["hits"], by_text["total"], by_text["exact"]) == (1, 1, 1.0)
    assert at_once["exact"] == 0.0 and 0 < at_once["chrf"] < by_text["chrf"]
    assert set(report["spoken_qa_by_kind"]) == {"reformulated"}, "figures of questions are of questions alone"
    table = _tasks(report["spoken_tasks"])
    assert [(row["name"], row["clips"]) for row in table] == [("responder", 1), ("traduzir para inglês", 1)]


@pytest.mark.parametrize(("changes", "field"), [({"task": "sing"}, "task"), ({"answer": None}, "answer")])
def test_a_clip_that_asks_for_nothing_known_is_refused(tmp_path, changes, field):
    (tmp_path / "a.flac").write_bytes(b"")
    row = {"audio": "a.flac", "text": "bom dia", "answer": "Good morning", "task": "translate_en"} | changes
    (tmp_path / "test.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(InputError, match=f"test.jsonl:1: {field}: found"):
        read_spoken(tmp_path / "test.jsonl")


def test_likeness_is_that_of_letters():
    """By hand: of "ab" and "abc" the letters and pairs are shared in part, and order of rows does not matter."""
    assert similarity(["Está a chover."], ["Está a chover."]) == 1.0
    assert similarity(["xyz"], ["abc"]) == 0.0
    assert similarity([], []) is None
    # chrF2 over n-grams up to 6, of which "ab" has two lengths: precision 1 and 1, recall 2/3 and 1/2.
    precision, recall = 1.0, (2 / 3 + 1 / 2) / 2
    wanted = 5 * precision * recall / (4 * precision + recall)
    assert similarity(["ab"], ["abc"]) == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(ValueError, match="1 answers and 2 expected"):
        similarity(["a"], ["a", "b"])


def test_without_a_ctc_head_the_decoder_is_alone():
    told = Told()
    told.has_ctc = False
    (row,) = asr.measure(told, [SENTENCE]).transcripts
    assert row.text == row.alone == "um x x x"
    assert row.ctc is None
