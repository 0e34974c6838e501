"""The voices of a run and those of a bank, by one way: what `Assistant.say` and `amalia say` speak with.

What a person recorded is theirs and comes as it is; all else is made by the run's model and carries the watermark.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from amalia_mm.audio.io import load_audio
from amalia_mm.speaking import SpeechModel, has_voice, run_folder
from amalia_mm.voice.acoustic import Manner
from amalia_mm.voice.consent import Use
from amalia_mm.voice.synthesis import Synthesiser

if TYPE_CHECKING:
    from amalia_mm.voice.bank import Opened  # the bank's packages are no part of the base install

AS_IT_IS = Manner()


class Voices:
    """Says texts with the voices of a run and with banked ones; the run's voice is loaded when it is first needed.

    Args:
        run: As `SpeechModel`.
        vocoder: As `SpeechModel`.
        acoustic: As `SpeechModel`.
    """

    def __init__(
        self,
        run: Path | str | None = None,
        vocoder: Path | str | None = None,
        acoustic: Path | str | None = None,
    ) -> None:
        self._run = run_folder(run)
        self._vocoder = vocoder
        self._acoustic = acoustic

    @cached_property
    def speech_model(self) -> SpeechModel:
        """What it speaks with; errors as `SpeechModel`."""
        return SpeechModel(self._run, self._vocoder, self._acoustic)

    @property
    def has_voice(self) -> bool:
        """Whether the run has a voice."""
        return has_voice(self._run)

    @property
    def voice_rate_hz(self) -> int:
        """The sample rate of what `say` returns; errors as `SpeechModel`."""
        return self.speech_model.acoustic.mel.sample_rate_hz

    def say(
        self,
        text: str,
        voice: str | Opened | None = None,
        *,
        manner: Manner = AS_IT_IS,
        seed: int = 0,
        progress: bool = False,
    ) -> Iterator[Tensor]:
        """Return a text as speech at `voice_rate_hz`, in pieces (n) float32, each as soon as it is made.

        It carries the watermark, unless it is the person's own: a banked voice answers with the recording of exactly
        this text where there is one.

        Args:
            text: What to say, as it is written.
            voice: Who says it: a speaker by the name the model learned, or a voice that `Bank.open` opened. None is
                the run's own voice (`DEFAULT_SPEAKER`).
            manner: How fast and how high; a recording stays as it is.
            seed: Another one says it a little otherwise.
            progress: As `Synthesiser.stream`.

        Raises:
            InputError: Before the first piece is asked for: the run has no voice, or nobody of that name; a banked
                voice is of another encoder, was revoked since it was opened, or its consent has expired; nothing in
                the text can be said, or it has markup.
        """
        if voice is not None and not isinstance(voice, str):
            voice.check(Use.SPEECH)
            clip = voice.replay(text)
            if clip is not None:
                return iter(
                    [load_audio(clip.audio, where=f"«{clip.text}»", sample_rate_hz=self.voice_rate_hz)]
                )
        return self.voice(voice, manner).stream(text, seed, progress)

    def voice(self, voice: str | Opened | None = None, manner: Manner = AS_IT_IS) -> Synthesiser:
        """Return a voice as `say` takes it; it knows of no recording."""
        model = self.speech_model
        if voice is None or isinstance(voice, str):
            return model.learned(voice, manner)
        return model.own(voice.voice.speaker, manner)


def run_around(folder: Path) -> Path:
    """Return the run that a model, stage or run folder is in: the nearest one with a voice, else the folder itself."""
    near = (folder, folder.parent, folder.parent.parent)
    return next((run for run in near if has_voice(run)), folder)
