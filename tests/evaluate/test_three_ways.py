"""Which figure is of which writer: the joint transcript, the decoder alone, CTC alone; by a transcript or directly."""

from pathlib import Path

from amalia_mm.evaluate.items import SpokenItem
from amalia_mm.evaluate.measured import Measured
from amalia_mm.evaluate.scores import scores
from amalia_mm.evaluate.suites import asr, spoken_qa

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

    def answer(self, audios, batch_size, direct, sampling):
        self.batch_sizes.append(batch_size)
        return ["Porto."] if direct else ["Lisboa."]


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


def test_without_a_ctc_head_the_decoder_is_alone():
    told = Told()
    told.has_ctc = False
    (row,) = asr.measure(told, [SENTENCE]).transcripts
    assert row.text == row.alone == "um x x x"
    assert row.ctc is None
