"""`amalia voice script | trials`: what to read out for one's own voice; how well voices are told apart.

Each action imports its room only when it is called. What a person who records reads is Portuguese.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from amalia_mm.errors import InputError
from amalia_mm.terminal import note, result

if TYPE_CHECKING:
    from torch import Tensor

    from amalia_mm.assistant import Assistant
    from amalia_mm.portuguese.banking_script import Prompt
    from amalia_mm.voice.quality import Examined, QualityGate

_REFERENCE_SENTENCES = 4000

Actions = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]


def add_script(actions: Actions) -> None:
    """Add `script` and `trials` to the actions of `amalia voice`."""
    script = actions.add_parser("script", help="sentences to read out for one's own voice, in short sessions")
    script.add_argument("--session", type=int, help="one session; the default is all of them")
    script.add_argument(
        "--folder",
        type=Path,
        help="recordings named as the sentences (007.wav): only what is left of the next session is shown",
    )
    script.add_argument(
        "--check",
        action="store_true",
        help="listen to the recordings of --folder; bad ones are asked for again",
    )
    script.add_argument("--speaker", type=Path, metavar="MODEL", help="with it --check finds a second person")
    script.add_argument("--ears", type=Path, metavar="MODEL", help="with it --check compares the words")
    script.add_argument("--coverage", action="store_true", help="which sounds and pairs of sounds occur")
    script.add_argument(
        "--text",
        type=Path,
        action="append",
        default=[],
        help="text whose frequent pairs of sounds should occur; the default is the built-in corpus",
    )
    script.set_defaults(run=_script)

    trials = actions.add_parser("trials", help="how well a speaker encoder tells voices apart: error rates")
    trials.add_argument("model", type=Path, help="a model folder, or an x-vector checkpoint")
    trials.add_argument(
        "clips", type=Path, nargs="+", help="folders of shards, or .jsonl with audio and speaker"
    )
    trials.add_argument("--by", metavar="FIELD", help="what rows of a .jsonl call the speaker")
    trials.add_argument("--most", type=int, help="clips of each speaker, the first ones; the default is all")
    trials.add_argument(
        "--false-accepts", type=float, default=0.01, help="most strangers that the threshold may let through"
    )
    trials.add_argument("--threshold", type=float, help="measure this one; the default is found in the clips")
    trials.add_argument("--write", action="store_true", help="keep the threshold in the model folder")
    trials.set_defaults(run=_trials)


def _script(options: argparse.Namespace) -> int:
    from amalia_mm.portuguese.banking_script import load_script, next_session, recorded, sessions

    script = load_script()
    if options.coverage:
        return _coverage(script, options.text)
    if options.session is not None and options.session not in sessions(script):
        wanted = f"1 to {max(sessions(script))}"
        raise InputError("--session", found=options.session, wanted=wanted, remedy="choose another")
    prompts = script if options.session is None else sessions(script)[options.session]
    if options.folder is None:
        if options.check:
            remedy = "say with --folder where the recordings are"
            raise InputError("--check", found="no folder", wanted="recordings", remedy=remedy)
        _show(prompts)
        return 0
    if not options.folder.is_dir():
        note(f"{options.folder}: esta pasta ainda não existe")
    files = recorded(options.folder, prompts)
    good = _checked(files, prompts, gate_of(options.speaker, options.ears)) if options.check else set(files)
    left = next_session(prompts, good)
    note(f"{len(good)} de {len(prompts)} frases gravadas" + ("" if left else ": está tudo, obrigado"))
    _show(left)
    return 0


def _show(prompts: Sequence[Prompt]) -> None:
    for prompt in prompts:
        result(f"{prompt.number}\t{prompt.session}\t{prompt.text}")


def gate_of(speaker: Path | None, ears: Path | None) -> QualityGate:
    """Return the gate that listens with a speaker encoder and ears, where they are given."""
    from amalia_mm.voice.quality import QualityGate

    embedder, transcribe = None, None
    if speaker is not None:
        from amalia_mm.evaluate.speaker_trials import load_embedder

        embedder = load_embedder(speaker)
    if ears is not None:
        from amalia_mm.assistant import Assistant

        transcribe = _writer(Assistant.load(ears))
    return QualityGate(embedder=embedder, transcribe=transcribe)


def _writer(assistant: Assistant) -> Callable[[Tensor], str]:
    return lambda clip: assistant.transcribe([clip])[0]


def _checked(files: Mapping[str, Path], prompts: Sequence[Prompt], gate: QualityGate) -> set[str]:
    """Return the numbers of the recordings that are good, and tell what to do about the others."""
    good: set[str] = set()
    for prompt in prompts:
        if prompt.number not in files:
            continue
        found: Examined = gate.examine(files[prompt.number], prompt.text)
        if found.is_good:
            good.add(prompt.number)
        for advice in found.advice:
            note(f"{files[prompt.number].name}: {advice}")
    return good


def _coverage(script: Sequence[Prompt], paths: Sequence[Path]) -> int:
    from amalia_mm.portuguese.banking_script import coverage, sessions
    from amalia_mm.portuguese.g2p import utterance
    from amalia_mm.portuguese.phonology.phonemes import BREAKS, SYMBOLS

    found = coverage(
        [prompt.text for prompt in script],
        _reference(paths),
        lambda text: [phone.symbol for phone in utterance(text)],
        SYMBOLS[1:],
        BREAKS,
    )
    for sound, count in found.sounds.items():
        result(f"{sound}\t{count}")
    result(f"sentences\t{len(script)}")
    result(f"sessions\t{len(sessions(script))}")
    result(f"sounds\t{len(found.sounds) - len(found.missing_sounds)} of {len(found.sounds)}")
    result(f"pairs\t{found.num_pairs}")
    covered = len(found.frequent) - len(found.missing_pairs)
    result(f"frequent pairs\t{covered} of {len(found.frequent)}")
    result(f"share of all pairs\t{100 * found.share:.1f} %")
    if found.missing_pairs:
        result(f"missing\t{' '.join(''.join(pair) for pair in found.missing_pairs)}")
    return 0


def _reference(paths: Sequence[Path]) -> list[str]:
    """Return the sentences whose pairs of sounds count: lines of files, or the built-in corpus."""
    if not paths:
        from amalia_mm.prepare.corpus import build_corpus

        return [sentence.text for sentence in build_corpus(num_sentences=_REFERENCE_SENTENCES).train]
    lines: list[str] = []
    for path in paths:
        try:
            lines += [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            remedy = "give a text file, a sentence a line"
            raise InputError(path, found=error, wanted="text in UTF-8", remedy=remedy) from error
    return lines


def _trials(options: argparse.Namespace) -> int:
    from amalia_mm.evaluate.speaker_clips import speaker_clips
    from amalia_mm.evaluate.speaker_trials import (
        as_lines,
        load_embedder,
        measure,
        model_folder,
        write_threshold,
    )

    if not 0 <= options.false_accepts < 1:
        found = options.false_accepts
        raise InputError("--false-accepts", found=found, wanted="from 0 to below 1", remedy="change it")
    folder = model_folder(options.model) if options.write else None
    embedder = load_embedder(options.model)
    clips = [clip for path in options.clips for clip in speaker_clips(path, options.by, options.most)]
    figures = measure(embedder, clips, options.false_accepts, options.threshold)
    for line in as_lines(figures):
        result(line)
    if folder is not None:
        write_threshold(folder, figures.threshold)
    return 0
