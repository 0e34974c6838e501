"""A run's own voice, measured: whether the run's ears understand it, how soon and how fast it speaks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from amalia_mm.assistant import Assistant
from amalia_mm.data.index import INDEX_NAME
from amalia_mm.evaluate.beside import Beside
from amalia_mm.evaluate.environment import own_peak_rss_gb
from amalia_mm.evaluate.round_trip import OWN_SPEECH, REFERENCE, SAID, evaluate_round_trip, sentences
from amalia_mm.evaluate.shares import MIN_ITEMS, half_the_threads, has_room_beside
from amalia_mm.evaluate.speaker_clips import speaker_clips
from amalia_mm.speaking import SpeechModel
from amalia_mm.units import samples_to_seconds
from amalia_mm.voice.synthesis import Synthesiser

NUM_SENTENCES = 20
"""Of each group of the test set."""
TAKE_TURNS = ("pt", "f1", "m3", "f5")
"""Voices of the built-in corpus, a man's and a woman's in turn."""
_LEARNED_FROM = Path("shards/voice-train")
_TURNS = "turns"
_JUDGED_CLIPS = 20
"""Of the voice, as it was learned from, for DNSMOS."""
TEN_WORDS = "Hoje de manhã fui ao mercado comprar pão e peixe."
_TIMES = 5
_GROUPS = {
    "_all": ("seen_template", "heldout_template"),
    "": ("seen_template",),
    "_templates": ("heldout_template",),
}
"""What is put behind the name of a figure, by groups of sentences; no sentence of either was trained on."""


@dataclass(frozen=True)
class MeasuredVoice:
    """What was found out about a voice."""

    model: SpeechModel
    speakers: tuple[str, ...]
    """Those of the model that took turns; the first is the one that speaks where none is named."""
    round_trip: Mapping[str, Any]
    """As `evaluate_round_trip` returns it, of the first."""
    in_turns: Mapping[str, Any]
    """The same without the reference, of all of them in turns; empty where there is one alone."""
    first_audio_s: float
    """From a text of ten words to its first sound, when the voice has spoken before."""
    real_time: float
    """Seconds that a second of that text took."""
    peak_rss_gb: float = 0.0
    """At most; of both processes together, where there were two."""


def measure_voice(
    run: Path,
    ears: Assistant,
    output: Path,
    *,
    num_sentences: int = NUM_SENTENCES,
    dnsmos: Path | None = None,
    num_processes: Literal[1, 2] = 1,
) -> MeasuredVoice:
    """Return the figures of a run's voice; write what it said to `output`, and `round_trip.json` beside it.

    Args:
        run: The run, with sentences in its `test.jsonl`.
        ears: Who writes down what is said.
        output: A folder.
        num_sentences: Of each group, at most.
        dnsmos: The folder of its weights; None leaves opinions out.
        num_processes: With 2, those who take turns do so in a second one where that is faster. The seconds in both
            `round_trip.json` are then those of two side by side; the figures of speed are taken afterwards, alone.

    Raises:
        InputError: A part of the voice is damaged, there is no sentence, or `dnsmos` has no weights.
    """
    model = SpeechModel(run)
    speakers = turns(model)
    own = speakers[0]
    rows = sentences(run, num_sentences, is_built_in=True)
    own_speech = () if dnsmos is None else _own_speech(run, own)
    by_itself = partial(
        evaluate_round_trip, model, ears, rows, output, speakers=[own], dnsmos=dnsmos, own_speech=own_speech
    )
    in_turns: Mapping[str, Any] = {}
    beside_gb = 0.0
    with tqdm(total=2, unit="teste", desc="a voz, ouvida", dynamic_ncols=True) as bar:
        if len(speakers) == 1:
            round_trip = by_itself()
        elif num_processes == 2 and len(rows) >= MIN_ITEMS and has_room_beside(ears):
            others = (run, ears.folder, rows, output / _TURNS, speakers)
            with half_the_threads() as each, Beside(_take_turns, *others, each) as other:
                round_trip = by_itself()
                in_turns, beside_gb = other.wait()
        else:
            round_trip = by_itself()
            in_turns = _in_turns(model, ears, rows, output / _TURNS, speakers)
        bar.update()
        bar.set_description("a voz, cronometrada")
        first_audio_s, real_time = speed(model.learned(own))
        bar.update()
    peak_rss_gb = own_peak_rss_gb() + beside_gb
    return MeasuredVoice(model, speakers, round_trip, in_turns, first_audio_s, real_time, peak_rss_gb)


def _in_turns(
    model: SpeechModel, ears: Assistant, rows: Sequence[dict[str, str]], output: Path, speakers: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of several voices; the reference was written down before."""
    return evaluate_round_trip(model, ears, rows, output, speakers=speakers, with_reference=False)


def _take_turns(
    run: Path,
    ears: Path,
    rows: Sequence[dict[str, str]],
    output: Path,
    speakers: Sequence[str],
    num_threads: int,
) -> tuple[dict[str, Any], float]:
    """Do so in a process of its own, and say how much memory it took."""
    torch.set_num_threads(num_threads)
    figures = _in_turns(SpeechModel(run), Assistant.load(ears, "cpu"), rows, output, speakers)
    return figures, own_peak_rss_gb()


def _own_speech(run: Path, speaker: str) -> list[Tensor]:
    """Return clips that a voice was learned from; none where the run no longer has them."""
    if not (run / _LEARNED_FROM / INDEX_NAME).is_file():
        return []
    clips = speaker_clips(run / _LEARNED_FROM, most=_JUDGED_CLIPS, speaker=speaker)
    return [clip.waveform for clip in clips]


def turns(model: SpeechModel) -> tuple[str, ...]:
    """Return who takes turns: the voice that speaks where none is named, and those of `TAKE_TURNS` that are learned."""
    own = model.default_speaker
    return (own, *(name for name in TAKE_TURNS if name in model.speakers and name != own))


def speed(voice: Synthesiser, text: str = TEN_WORDS) -> tuple[float, float]:
    """Return the seconds to the first sound of a text and those that a second of it takes, medians when warm."""
    voice.say(text)
    firsts, shares = [], []
    for _ in range(_TIMES):
        begun = time.perf_counter()
        first_s, num_samples = 0.0, 0
        for piece in voice.stream(text):
            first_s = first_s or time.perf_counter() - begun
            num_samples += len(piece)
        taken_s = time.perf_counter() - begun
        firsts.append(first_s)
        shares.append(taken_s / samples_to_seconds(num_samples, voice.sample_rate_hz))
    return sorted(firsts)[_TIMES // 2], sorted(shares)[_TIMES // 2]


def voice_scores(voice: MeasuredVoice | None) -> tuple[dict[str, object], dict[str, object]]:
    """Return the figures of `report.json` about a voice, and the sums behind them; None where nothing was measured.

    `voice_wer` is of what the voice says, written down by the run's own ears, `voice_wer_turns` the same of several
    voices in turns; `voice_wer_reference` of the corpus' clips of the same sentences; of sentences in templates of the
    training, with `_templates` of those in held-out templates, with `_all` of both. `voice_dnsmos_difference` is how
    much better the opinion that DNSMOS foretells of the voice (OVRL) is than that of the clips it was learned from,
    `voice_dnsmos_difference_corpus` than that of the corpus'.
    """
    values: dict[str, object] = {}
    counts: dict[str, object] = {}
    own, in_turns = ({}, {}) if voice is None else (voice.round_trip, voice.in_turns)
    for trip, kind, name in (
        (own, SAID, "voice_wer"),
        (in_turns, SAID, "voice_wer_turns"),
        (own, REFERENCE, "voice_wer_reference"),
    ):
        for ending, groups in _GROUPS.items():
            rows = [row for group in groups if (row := trip.get(kind, {}).get(group)) is not None]
            errors, total = sum(row["word_errors"] for row in rows), sum(row["words"] for row in rows)
            counts[name + ending] = {"errors": errors, "total": total} if rows else None
            values[name + ending] = round(errors / total, 6) if total else None
    values["voice_first_audio_s"] = None if voice is None else round(voice.first_audio_s, 4)
    values["voice_real_time"] = None if voice is None else round(voice.real_time, 4)
    values["voice_vocoder"] = None if voice is None else voice.round_trip["vocoder"]
    kinds = {"": SAID, "_own_speech": OWN_SPEECH, "_reference": REFERENCE}
    opinions = {name: own.get(kind, {}).get("dnsmos") for name, kind in kinds.items()}
    rounded = {name: None if each is None else round(each["ovr"], 3) for name, each in opinions.items()}
    values |= {f"voice_dnsmos{name}": opinion for name, opinion in rounded.items()}
    for name, beside in (("", "_own_speech"), ("_corpus", "_reference")):
        said, other = rounded[""], rounded[beside]
        difference = None if said is None or other is None else round(said - other, 3)
        values[f"voice_dnsmos_difference{name}"] = difference
    return values, counts
