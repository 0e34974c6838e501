"""From results to the figures of `report.json`: every rate beside the counts it comes from."""

from __future__ import annotations

from amalia_mm.evaluate.measured import Measured, is_main_test
from amalia_mm.evaluate.metrics import ErrorCount, HitCount
from amalia_mm.evaluate.suites.asr import AsrResult
from amalia_mm.evaluate.suites.questions import ANSWER, REFORMULATED, QuestionResult

Scores = dict[str, object]


def scores(measured: Measured) -> Scores:
    """Return all figures and, under `counts`, the sums behind them; None where nothing was measured.

    `wer` is as `amalia transcribe` writes, `wer_alone` and `wer_frozen` of a decoder without CTC's say, `wer_ctc`
    of CTC without a decoder: over built-in sentences in templates seen in training, as `cer` and
    `wer_by_voice`; `wer_templates`, `wer_alone_templates` and `wer_ctc_templates` are over held-out templates;
    `text_qa_exact` and `spoken_qa_exact` (as `amalia ask` answers, by way of a transcript; `spoken_qa_direct` without
    one) over reformulated questions. Rows of other sources count only in
    `wer_by_source` and `cer_by_source`. `spoken_tasks` has every task of clips but transcription, as a cascade and end
    to end.
    """
    values: Scores = {}
    counts: dict[str, object] = {}
    for name, found in _all_counts(measured).items():
        values[name] = None if found is None else _rounded(found.rate)
        counts[name] = None if found is None else _as_dict(found)
    return {**values, **_by_part(measured), "counts": counts}


def _all_counts(measured: Measured) -> dict[str, ErrorCount | HitCount | None]:
    seen = None if measured.asr is None else measured.asr.select(is_main_test)
    new = (
        None
        if measured.asr is None
        else measured.asr.select(lambda item: item.is_synthetic and item.is_new_template)
    )
    silence = measured.no_speech
    return {
        "wer": None if seen is None else seen.words,
        "wer_templates": None if new is None else new.words,
        "wer_alone": None if seen is None else seen.alone_words,
        "wer_alone_templates": None if new is None else new.alone_words,
        "wer_ctc": None if seen is None else seen.ctc_words,
        "wer_ctc_templates": None if new is None else new.ctc_words,
        "wer_frozen": None if measured.frozen is None else measured.frozen.alone_words,
        "cer": None if seen is None else seen.characters,
        "spoken_qa_exact": _of_kind(_questions(measured.spoken_qa), REFORMULATED),
        "spoken_qa_direct": _of_kind(_questions(measured.spoken_qa_direct), REFORMULATED),
        "text_qa_exact": _of_kind(measured.text_qa, REFORMULATED),
        "text_qa_exact_before_joint": _of_kind(measured.text_qa_before_joint, REFORMULATED),
        "text_qa_context": _of_kind(measured.text_qa, "context"),
        "text_qa_arithmetic": _of_kind(measured.text_qa, "arithmetic"),
        "ptpt_preference": None if measured.preference is None else measured.preference.share,
        "ptpt_preference_in_vocabulary": None
        if measured.preference is None
        else measured.preference.in_vocabulary,
        "no_speech": None if silence is None else silence.noise.with_words,
        "no_speech_without_vad": None if silence is None else silence.noise.with_words_without_vad,
        "music": None if silence is None else silence.music.with_words,
        "music_without_vad": None if silence is None else silence.music.with_words_without_vad,
    }


def _by_part(measured: Measured) -> Scores:
    """Return the figures that are tables: by voice, source, kind of question and contrast."""
    asr = measured.asr or AsrResult(())
    by_source = asr.by(lambda item: item.source)
    by_voice = asr.select(is_main_test).by(lambda item: item.voice)
    silence = measured.no_speech
    preference = measured.preference
    return {
        # Whole clips, not rates: the target is 0 of 20.
        "no_speech_words": None if silence is None else silence.noise.with_words.hits,
        "no_speech_words_without_vad": None if silence is None else silence.noise.with_words_without_vad.hits,
        "music_words": None if silence is None else silence.music.with_words.hits,
        "music_words_without_vad": None if silence is None else silence.music.with_words_without_vad.hits,
        "wer_by_voice": {name: _rounded(part.words.rate) for name, part in by_voice.items()},
        "wer_by_source": {name: _rounded(part.words.rate) for name, part in by_source.items()},
        "cer_by_source": {name: _rounded(part.characters.rate) for name, part in by_source.items()},
        "wer_ctc_by_source": {
            name: None if part.ctc_words is None else _rounded(part.ctc_words.rate)
            for name, part in by_source.items()
        },
        "counts_by_source": {
            name: {"clips": len(part.transcripts), **_as_dict(part.words)} for name, part in by_source.items()
        },
        "spoken_qa_by_kind": _kinds(_questions(measured.spoken_qa)),
        "spoken_tasks": _tasks(measured),
        "text_qa_by_kind": _kinds(measured.text_qa),
        "preference_by_contrast": {}
        if preference is None
        else {name: _as_dict(share) for name, share in preference.by_contrast().items()},
        "num_clips": len(asr.transcripts),
        "skipped": list(measured.skipped),
        "evaluation_seconds": measured.seconds,
    }


def _questions(result: QuestionResult | None) -> QuestionResult | None:
    return None if result is None else result.of_task(ANSWER)


def _tasks(measured: Measured) -> Scores:
    """Return for each task what comes of a cascade (a transcript, then the decoder) and of hearing alone."""
    ways = {"cascade": measured.spoken_qa, "direct": measured.spoken_qa_direct}
    tasks = sorted({task for way in ways.values() if way is not None for task in way.tasks})
    return {
        task: {name: _way(way.of_task(task)) for name, way in ways.items() if way is not None}
        for task in tasks
    }


def _way(result: QuestionResult) -> Scores:
    return {**_as_dict(result.exact), "exact": _rounded(result.exact.rate), "chrf": _rounded(result.chrf)}


def _of_kind(result: QuestionResult | None, kind: str) -> HitCount | None:
    return None if result is None else result.of_kind(kind)


def _kinds(result: QuestionResult | None) -> Scores:
    return {} if result is None else {kind: _as_dict(share) for kind, share in result.by_kind().items()}


def _as_dict(found: ErrorCount | HitCount) -> dict[str, float]:
    if isinstance(found, HitCount):
        return {"hits": found.hits, "total": found.total}
    return {
        "errors": found.num_errors,
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
        "total": found.num_reference,
    }


def _rounded(rate: float | None) -> float | None:
    # Six digits: of four, 2.848 % would be 2.85, and 2.9 on the page.
    return None if rate is None else round(rate, 6)
