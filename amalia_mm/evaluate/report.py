"""The report of an evaluation as one HTML file that needs no other file and no network; it is in Portuguese.

It lays out what the suites found and computes no figure of its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import StrictUndefined

from amalia_mm.assistant import Assistant
from amalia_mm.audio.io import encode_flac, load_audio
from amalia_mm.evaluate import figures
from amalia_mm.evaluate.clips import show_clips
from amalia_mm.evaluate.environment import Environment
from amalia_mm.evaluate.items import SYNTHETIC
from amalia_mm.evaluate.measured import Measured
from amalia_mm.evaluate.metrics import WordPair, align, confusions
from amalia_mm.evaluate.stages import Stage
from amalia_mm.evaluate.suites.asr import AsrResult, Transcript
from amalia_mm.evaluate.suites.preference import PairScore, PreferenceResult
from amalia_mm.evaluate.suites.questions import Answer, QuestionResult
from amalia_mm.evaluate.targets import counted, shown, written

NUM_SAMPLES = 12
NUM_WORST = 6
NUM_ANSWERS = 12
NUM_CONFUSIONS = 20
NUM_DRIFTS = 12
KINDS = {
    "known": "conhecida",
    "reformulated": "reformulada",
    "context": "com contexto",
    "arithmetic": "conta",
    "silence": "silêncio",
    "white": "ruído branco",
    "pink": "ruído rosa",
    "brown": "ruído castanho",
    "hum": "zumbido da rede",
    "clicks": "pancadas",
    "music": "música",
}
TASKS = {
    "answer": "responder",
    "continue": "continuar",
    "summarise": "resumir",
    "translate_en": "traduzir para inglês",
    "translate_pt": "traduzir para português",
}
STAGES = {
    "00_corpus": "corpus escrito",
    "01_tokenizer": "léxico de unidades",
    "02_pretrain": "pré-treino do descodificador",
    "04_sft": "afinação com perguntas e respostas",
    "09_speech": "voz sintética",
    "10_hearing": "treino do codificador (CTC)",
    "13_paths": "o descodificador aprende a ler caminhos CTC",
    "14_joint": "o descodificador aprende a ler o codificador",
    "19_voice_clips": "frases sem ruído, para a voz",
    "20_speaker": "treino de quem distingue vozes",
    "21_acoustic": "treino do modelo acústico",
    "22_vocoder": "treino do vocoder",
    "30_evaluate": "avaliação",
}


@dataclass(frozen=True)
class _Sample:
    """A transcript with the words it got wrong."""

    transcript: Transcript
    errors: tuple[WordPair, ...]


def draw(assistant: Assistant, measured: Measured, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return the pictures, clips and samples of a report, under the names of the template; this takes a while.

    Args:
        assistant: The model, for the pictures of three clips.
        measured: What the suites found.
        stages: The stages that were trained.
    """
    asr = measured.asr or AsrResult(())
    return {
        "curves": [
            (_stage_label(stage), figures.loss_curve(stage.losses, stage.val_losses))
            for stage in stages
            if len(stage.losses) > 1
        ],
        "confusions": _confusions(asr),
        "clips": show_clips(assistant, asr.transcripts),
        "samples": [_sample(row) for row in _spread(asr.transcripts, NUM_SAMPLES)],
        "worst": _worst(asr),
        "spoken_answers": _spoken_answers(measured.spoken_qa),
        "written_answers": _answers(measured.text_qa),
        "drifts": _drifts(measured.preference),
        "invented": [row for row in measured.no_speech.rows if row[1] or row[2]]
        if measured.no_speech
        else [],
    }


def render_report(
    drawn: Mapping[str, Any],
    report: Mapping[str, Any],
    stages: Sequence[Stage],
    environment: Environment,
    configurations: Mapping[str, str],
    voice_section: str = "",
) -> str:
    """Return the HTML of a report.

    Args:
        drawn: What `draw` made.
        report: The figures, as in `report.json`.
        stages: The stages of the run.
        environment: Where it was measured.
        configurations: The resolved YAML of each stage.
        voice_section: What is told of its voice, as HTML; "" where it has none.
    """
    templates = Templates(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    templates.filters.update(share=lambda value: written(value, "share"), counted=counted, kind=_kind)
    template = templates.from_string(
        files("amalia_mm.evaluate").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(
        **drawn,
        report=report,
        date=time.strftime("%d/%m/%Y %H:%M"),
        environment=environment,
        results=[_result(target, report) for target in shown(report)],
        voices=_voices(report["wer_by_voice"]),
        sources=_sources(report),
        tasks=_tasks(report["spoken_tasks"]),
        spoken_kinds=report["spoken_qa_by_kind"],
        written_kinds=report["text_qa_by_kind"],
        stages=[(_stage_label(stage), stage, _stage_cells(stage)) for stage in stages],
        configurations=configurations,
        voice_section=voice_section,
    )


def _result(target: Any, report: Mapping[str, Any]) -> dict[str, Any]:
    value = report[target.key]
    key = target.key.replace("_words", "")
    return {
        "label": target.label,
        "key": target.key,
        "value": written(value, target.unit),
        "bound": target.bound,
        "is_met": target.is_met(value),
        "counts": counted(report["counts"].get(key)),
    }


def _kind(name: str) -> str:
    return KINDS.get(name, name)


def _stage_label(stage: Stage) -> str:
    return f"{stage.name}: {STAGES[stage.name]}" if stage.name in STAGES else stage.name


def _stage_cells(stage: Stage) -> tuple[str, ...]:
    """Return the seconds, steps, loss, memory and waiting of a stage, as its row of the table shows them."""
    return (
        written(stage.seconds, "seconds"),
        "–" if stage.steps is None else str(stage.steps),
        "–" if stage.final_loss is None else f"{stage.final_loss:.3f}".replace(".", ","),
        written(stage.peak_rss_gb, "gigabytes"),
        written(stage.wait_fraction, "share"),
    )


def _voices(rates: Mapping[str, float | None]) -> str:
    known = {name: rate for name, rate in rates.items() if rate is not None}
    return figures.bars(known, "palavras erradas (WER), %") if known else ""


def _sources(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each source, where there is any beside the built-in sentences."""
    rows = [
        {
            "name": name,
            "clips": counts["clips"],
            "words": counts["total"],
            "wer": report["wer_by_source"][name],
            "wer_ctc": report["wer_ctc_by_source"][name],
            "cer": report["cer_by_source"][name],
        }
        for name, counts in report["counts_by_source"].items()
    ]
    return rows if any(not row["name"].startswith(SYNTHETIC) for row in rows) else []


def _tasks(tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each task, its figures by the way it was done."""
    return [
        {
            "name": TASKS.get(name, name),
            "clips": next(iter(ways.values()))["total"],
            **{
                figure: {way: ways.get(way, {}).get(figure) for way in ("cascade", "direct")}
                for figure in ("exact", "chrf")
            },
        }
        for name, ways in tasks.items()
    ]


def _confusions(asr: AsrResult) -> list[tuple[WordPair, int]]:
    said = [row.item.text for row in asr.transcripts]
    return confusions(said, [row.text for row in asr.transcripts]).most_common(NUM_CONFUSIONS)


def _sample(transcript: Transcript) -> _Sample:
    pairs = align(transcript.item.text, transcript.text)
    return _Sample(transcript, tuple(pair for pair in pairs if pair.is_error))


def _worst(asr: AsrResult) -> list[_Sample]:
    """Return the clips with most wrong words: what a report would rather not show."""
    samples = sorted((_sample(row) for row in asr.transcripts), key=lambda sample: -len(sample.errors))
    return [sample for sample in samples[:NUM_WORST] if sample.errors]


def _spread(rows: Sequence[Any], count: int) -> list[Any]:
    """Return `count` rows evenly spread over all, so that nobody picks the good ones."""
    if len(rows) <= count:
        return list(rows)
    return [rows[number * len(rows) // count] for number in range(count)]


def _answers(result: QuestionResult | None) -> list[Answer]:
    """Return answers spread over every kind of question."""
    if result is None:
        return []
    kinds = sorted({answer.kind for answer in result.answers})
    each = max(1, NUM_ANSWERS // max(1, len(kinds)))
    return [
        answer
        for kind in kinds
        for answer in _spread([row for row in result.answers if row.kind == kind], each)
    ]


def _spoken_answers(result: QuestionResult | None) -> list[tuple[Answer, str]]:
    """Return spoken questions with the data URI of their sound."""
    return [(answer, _player(answer)) for answer in _answers(result)[: NUM_ANSWERS // 2]]


def _drifts(result: PreferenceResult | None) -> list[PairScore]:
    """Return the pairs where the Brazilian member is the likelier one, the clearest first."""
    scores = [] if result is None else [score for score in result.scores if not score.is_european]
    return sorted(scores, key=lambda score: score.european - score.brazilian)[:NUM_DRIFTS]


def _player(answer: Answer) -> str:
    if answer.audio is None:
        return ""
    return figures.data_uri(encode_flac(load_audio(answer.audio)), "audio/flac")
