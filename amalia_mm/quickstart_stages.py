"""The stages of the quickstart, as data: what is called, and what `--smoke` makes smaller.

It knows nothing of how a stage is run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Option = Literal["seed", "words", "text", "speech"]
RUN = "{run}"
"""Stands for the run folder in a command."""

_SMALL_DECODER = (
    *("--model.init_args.decoder.hidden_size", "64", "--model.init_args.decoder.intermediate_size", "128"),
    *("--model.init_args.decoder.num_hidden_layers", "2", "--model.init_args.decoder.vocab_size", "512"),
)
_SMALL_ENCODER = (
    *(
        "--model.init_args.encoder.init_args.width",
        "64",
        "--model.init_args.encoder.init_args.feed_forward",
        "128",
    ),
    *("--model.init_args.encoder.init_args.num_layers", "2"),
)
# So few clips are not of every voice that the recipe keeps apart.
_SMALL_SPEAKER = (
    *(
        "--model.init_args.speaker.init_args.width",
        "32",
        "--model.init_args.speaker.init_args.num_blocks",
        "1",
    ),
    *("--data.init_args.val_speakers", "null", "--data.init_args.leave_out", "null"),
)
_SMALL_ACOUSTIC = (
    *("--model.init_args.acoustic.init_args.width", "32", "--data.init_args.max_frames", "1000"),
    *("--data.init_args.max_rows", "4"),
)
_SMALL_VOCODER = (
    *(
        "--model.init_args.vocoder.init_args.width",
        "64",
        "--model.init_args.vocoder.init_args.num_layers",
        "2",
    ),
    *("--model.init_args.vocoder.init_args.inner_width", "128", "--data.init_args.windows_per_batch", "4"),
)


@dataclass(frozen=True)
class Stage:
    """One stage: a sub-command, the stages it builds on, what `--smoke` adds, and what it writes beside its folder.

    `takes` names the options of the quickstart that it is given as they are.
    """

    name: str
    says: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    smoke: tuple[str, ...] = ()
    takes: tuple[Option, ...] = ()
    owns: tuple[str, ...] = ()
    has_recipe: bool = True

    @property
    def trains(self) -> bool:
        """Whether it is a training run, with steps and checkpoints."""
        return self.command[0] == "fit"

    @property
    def leaves(self) -> tuple[str, ...]:
        """What must be there, relative to the run folder, for the stage to be finished."""
        if self.trains:
            return (f"{self.name}/model/weights.safetensors", f"{self.name}/model/config.yaml")
        return tuple(name for name in self.owns if not name.startswith("."))


STAGES = (
    Stage(
        "00_corpus",
        "frases e perguntas do corpus incluído",
        ("corpus", "--part", "text", "--output", RUN),
        smoke=("--smoke",),
        takes=("seed", "words", "text", "speech"),
        owns=(
            *(f"shards/{name}-train" for name in ("documents", "chat", "sums", "facts", "paths", "copies")),
            *(f"shards/{name}-val" for name in ("documents", "chat", "sums", "facts", "paths")),
            *("text_test.jsonl", "pairs.jsonl", "lines.jsonl", "corpus.json", ".corpus"),
        ),
        has_recipe=False,
    ),
    Stage(
        "01_tokenizer",
        "as peças em que o texto se escreve",
        ("tokenizer",),
        after=("00_corpus",),
        smoke=("--vocab-size", "512"),
        owns=("tokenizer",),
    ),
    Stage(
        "02_pretrain",
        "o descodificador aprende a língua",
        ("fit",),
        after=("01_tokenizer",),
        smoke=("--trainer.max_steps", "10", *_SMALL_DECODER),
    ),
    Stage(
        "09_speech",
        "as vozes dizem o que está escrito",
        ("corpus", "--part", "speech", "--output", RUN),
        after=("00_corpus",),
        takes=("seed", "speech"),
        owns=(
            *("shards/speech-train", "shards/speech-val", "audio", "examples"),
            *("train.jsonl", "test.jsonl", "speech.json", ".speech"),
        ),
        has_recipe=False,
    ),
    Stage(
        "19_voice_clips",
        "as vozes dizem frases sem ruído, para se aprender a falar",
        ("prepare", "voice", "--output", RUN),
        after=("00_corpus",),
        smoke=("--clips", "64", "--val-clips", "6"),
        takes=("seed",),
        owns=("shards/voice-train", "shards/voice-val", "voice.json", ".voice"),
        has_recipe=False,
    ),
    Stage(
        "20_speaker",
        "aprende-se a distinguir quem fala",
        ("fit",),
        after=("09_speech",),
        smoke=("--trainer.max_steps", "4", *_SMALL_SPEAKER),
    ),
    Stage(
        "21_acoustic",
        "o modelo acústico aprende a falar",
        ("fit",),
        after=("19_voice_clips", "20_speaker"),
        smoke=("--trainer.max_steps", "4", *_SMALL_ACOUSTIC),
    ),
    Stage(
        "04_sft",
        "o descodificador aprende a responder",
        ("fit",),
        after=("02_pretrain",),
        smoke=("--trainer.max_steps", "10", *_SMALL_DECODER),
    ),
    Stage(
        "10_hearing",
        "o codificador aprende a ouvir (CTC)",
        ("fit",),
        after=("01_tokenizer", "09_speech"),
        smoke=("--trainer.max_steps", "10", *_SMALL_DECODER, *_SMALL_ENCODER),
    ),
    Stage(
        "13_paths",
        "o descodificador aprende a ler o que se ouve, só com texto",
        ("fit",),
        after=("04_sft",),
        smoke=("--trainer.max_steps", "6", *_SMALL_DECODER, *_SMALL_ENCODER),
    ),
    Stage(
        "14_joint",
        "o descodificador aprende a ler o que o codificador escreve",
        ("fit",),
        after=("10_hearing", "13_paths"),
        smoke=("--trainer.max_steps", "6", *_SMALL_DECODER, *_SMALL_ENCODER),
    ),
    Stage(
        "22_vocoder",
        "o vocoder aprende a fazer som de espectrogramas",
        ("fit",),
        after=("19_voice_clips",),
        smoke=("--trainer.max_steps", "4", *_SMALL_VOCODER),
    ),
    Stage(
        "30_evaluate",
        "mede-se o que se aprendeu",
        ("evaluate", RUN, "--quiet"),
        after=("14_joint", "21_acoustic", "22_vocoder"),
        smoke=("--sentences", "2"),
        owns=("report.json", "report.html"),
        has_recipe=False,
    ),
)
"""In the order in which they begin where several could.

It is one in which two at a time leave no core idle for long, since 04_sft, 10_hearing and 21_acoustic take most of the
time, and each has others before or after it: the voice first, and the vocoder, on which nothing builds, last.
"""


def has_company(stage: Stage) -> bool:
    """Return whether another stage needs nothing of this one and gives it nothing: they can run side by side."""
    related = {stage.name} | needed(stage) | {other.name for other in STAGES if stage.name in needed(other)}
    return any(other.name not in related for other in STAGES)


def needed(stage: Stage) -> set[str]:
    """Return the names of all the stages that a stage builds on."""
    direct = [other for other in STAGES if other.name in stage.after]
    return {other.name for other in direct}.union(*(needed(other) for other in direct))
