"""`amalia evaluate --own-voice`, and how a voice is adapted. Its rooms are imported only when it is called."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.commands.round_trip import SENTENCES, check_sentences
from amalia_mm.errors import InputError
from amalia_mm.terminal import note, result

if TYPE_CHECKING:
    from torch import Tensor

    from amalia_mm.voice.own_voice import SpeakerData
    from amalia_mm.voice.phrases import Clip
    from amalia_mm.voice.speaker import SpeakerEmbedder

WAYS = {"lora": "recipe.yaml", "embedding": "embedding.yaml", "full": "full.yaml"}
"""How a voice is adapted, and the recipe of 23_own_voice that says so."""
WAYS_HELP = (
    "low-rank changes of the acoustic model (lora), all of it (full), or the vector alone (embedding); "
    "or a recipe like those of recipes/23_own_voice"
)
NOT_AT_ALL = "none"
_CLIPS_OF_OTHERS = 16


def add_own_voice(evaluate: argparse.ArgumentParser) -> None:
    """Add what measures people's own voices; the run is what speaks, `--model` the ears."""
    group = evaluate.add_argument_group("people's own voices, by a speaker encoder that judges")
    group.add_argument(
        "--own-voice", type=Path, metavar="FOLDER", help="shards of their clips, in train and in test"
    )
    group.add_argument(
        "--judge", type=Path, metavar="FOLDER", help="the encoder (default: RUN/20_speaker_judge)"
    )
    group.add_argument(
        "--others",
        type=Path,
        metavar="CLIPS",
        help="shards or .jsonl of others, who are compared with as well",
    )
    group.add_argument("--people", default="", help="whose voices, by name (default: everybody's)")
    group.add_argument(
        "--seconds", type=float, nargs="+", default=[10.0, 60.0, 300.0], help="how much is learned from"
    )
    group.add_argument("--adapt", default="lora", help=f"{WAYS_HELP}; or none")


def voice_recipe(way: str) -> Path:
    """Return the recipe of a way; `InputError` where it is none."""
    from amalia_mm.recipe_paths import recipes_folder  # it reads YAML, which is slow to import

    path = recipes_folder() / "23_own_voice" / WAYS[way] if way in WAYS else Path(way)
    if path.suffix != ".yaml":
        wanted = f"{', '.join(WAYS)}, or a recipe"
        raise InputError("--adapt", found=way, wanted=wanted, remedy="choose one of these")
    return path


def adapter(way: str, run: Path) -> Callable[[Sequence[Clip]], SpeakerData]:
    """Return what adapts a run's acoustic model to somebody's recordings."""
    from amalia_mm.recipe_paths import read_recipe
    from amalia_mm.speaking import acoustic_folder, encoder_folder
    from amalia_mm.train.adapt import Recipe, adapt

    path = voice_recipe(way)
    recipe = Recipe.of(read_recipe(path), str(path))
    base, encoder = acoustic_folder(run), encoder_folder(run)
    return lambda clips: adapt(recipe, base, encoder, clips)


def evaluate_people(options: argparse.Namespace) -> int:
    """Measure it, and print a line a kind."""
    from amalia_mm.assistant import Assistant
    from amalia_mm.evaluate.own_voice import REPORT, evaluate_own_voice, lines
    from amalia_mm.evaluate.people import people
    from amalia_mm.evaluate.speaker_trials import load_embedder
    from amalia_mm.speaking import SpeechModel, encoder_folder, run_folder

    check_sentences(options.sentences)
    if min(options.seconds) <= 0:
        raise InputError("--seconds", found=min(options.seconds), wanted="above 0", remedy="correct it")
    run = run_folder(options.run_folder)
    judge = load_embedder(options.judge or run / "20_speaker_judge")
    names = [name for name in options.people.split(",") if name]
    num_sentences = options.sentences or SENTENCES
    known = people(options.own_voice, names, num_sentences, max(options.seconds))
    figures = evaluate_own_voice(
        SpeechModel(run),
        judge,
        known,
        _others(judge, options.others),
        options.output,
        seconds=options.seconds,
        learn=_learner(options.adapt, run, load_embedder(encoder_folder(run))),
        ears=Assistant.load(options.model).transcribe if options.model else None,
        dnsmos=options.dnsmos,
    )
    if not options.quiet:
        result("\n".join([*lines(figures), str(options.output / REPORT)]))
    return 0


def _learner(way: str, run: Path, encoder: SpeakerEmbedder) -> Callable[[Sequence[Clip], float], SpeakerData]:
    """Return what learns a voice: by its vector alone where that much was asked for, else as `way` says."""
    from amalia_mm.evaluate.people import seconds_of
    from amalia_mm.train.adapt import LEAST_S

    adapted = None if way == NOT_AT_ALL else adapter(way, run)

    def learn(clips: Sequence[Clip], wanted_s: float) -> SpeakerData:
        found_s = seconds_of(clips)
        if found_s < wanted_s:
            note(
                f"{found_s:.0f} s de voz em {len(clips)} gravações, e não {wanted_s:g} s: aprende-se com todas"
            )
        return zero_shot(run, encoder, clips) if adapted is None or wanted_s < LEAST_S else adapted(clips)

    return learn


def zero_shot(run: Path, encoder: SpeakerEmbedder, clips: Sequence[Clip]) -> SpeakerData:
    """Return what is known of a voice without any training: the middle of what the run's encoder tells of clips."""
    from amalia_mm.audio.io import load_audio
    from amalia_mm.voice.speaker import embed_clips, enrolled

    return told(enrolled(embed_clips(encoder, [load_audio(clip.audio) for clip in clips])), run)


def told(vector: Tensor, run: Path) -> SpeakerData:
    """Return a voice that is a vector (e) of the run's speaker encoder, and nothing else."""
    import numpy as np

    from amalia_mm.speaking import encoder_hash
    from amalia_mm.voice.own_voice import SpeakerData

    return SpeakerData(vector.numpy().astype(np.float32), None, {"speaker_encoder": encoder_hash(run)})


def _others(judge: SpeakerEmbedder, path: Path | None) -> dict[str, Tensor]:
    """Return the judge's vector of everybody who speaks in some clips."""
    if path is None:
        return {}
    from amalia_mm.evaluate.speaker_clips import speaker_clips
    from amalia_mm.voice.speaker import embed_clips, enrolled

    found: dict[str, list[Tensor]] = {}
    for clip in speaker_clips(path, most=_CLIPS_OF_OTHERS):
        found.setdefault(clip.speaker, []).append(clip.waveform)
    return {name: enrolled(embed_clips(judge, clips)) for name, clips in found.items()}
