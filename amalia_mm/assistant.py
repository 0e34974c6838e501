"""A model, loaded once, that transcribes, answers, chats and speaks: what the command line, demos, servers import.

Audio of any length goes in: what is longer than a chunk is cut at pauses and heard piece by piece, what has
no speech comes back empty. It knows nothing of training, and of evaluation only that it asks for likelihoods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from amalia_mm.audio.channels import Channels, Side, open_recording, sides_of
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.recording import Recording
from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.fusion.pieces import Clip, Writer, cut, joined, timed_transcript, transcript_limit, write_each
from amalia_mm.fusion.responder import Responder, Written, report_cuts
from amalia_mm.fusion.transcriber import Transcriber
from amalia_mm.fusion.word_times import TimedWritten, WordTimes
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.portuguese.numbers import read_out
from amalia_mm.resolve import resolve_model
from amalia_mm.run import LoadedModel, load_model
from amalia_mm.text.chat import read_in_place
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.sampling import Sampling
from amalia_mm.transcript import Transcript, WordSource
from amalia_mm.units import samples_to_seconds, seconds_to_samples
from amalia_mm.voices import Voices, run_around

AudioSource = Path | str | bytes | Tensor
"""A file, the bytes of one, or a waveform (n) float32, mono, at the model's sample rate."""

CHUNK_S = 12.0
"""The longest piece heard at once by a model that does not say how long the clips were that it learned from."""
NUM_BEAMS = 12
"""Texts kept in mind while decoder and CTC write together."""


class Assistant(Voices):
    """Listens, reads and answers in European Portuguese with one model, and speaks with the voice of its run.

    Args:
        loaded: What `run.load_model` returned, already on its device. Its parameters are frozen here.
        voice_run: The run whose voice speaks; None is the one that the model's folder is in.
    """

    def __init__(self, loaded: LoadedModel, voice_run: Path | str | None = None) -> None:
        super().__init__(run_around(loaded.folder) if voice_run is None else voice_run)
        self.model = loaded.model.eval().requires_grad_(False)
        self.tokenizer = loaded.tokenizer
        self.config = loaded.config
        self.folder = loaded.folder
        self._responder = Responder(self.model, self.tokenizer)
        self._transcriber = Transcriber(self._responder, spoken_form)
        self._word_times = WordTimes(self._responder, spoken_form, read_out)

    @classmethod
    def load(
        cls,
        path: Path | str | None = None,
        device: str | None = None,
        init_from: Mapping[str, Sequence[str]] | None = None,
        voice_run: Path | str | None = None,
    ) -> Assistant:
        """Return the assistant of what `resolve_model` finds at `path`, on a GPU where there is one.

        With `init_from`, parts of other folders are in place of its own, as `run.warm_start` takes them.
        It speaks with the voice of `voice_run`, or of the run that the model is in.

        Raises:
            InputError: There is no model there, or its files are damaged.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        return cls(load_model(resolve_model(path), device, init_from), voice_run)

    @property
    def has_ears(self) -> bool:
        """Whether the model hears; a model of written text alone does not."""
        return self._responder.geometry is not None

    @property
    def has_ctc(self) -> bool:
        """Whether the model also writes frame by frame, without its decoder."""
        return self._transcriber.has_ctc

    def transcribe(
        self,
        audios: Sequence[AudioSource],
        *,
        batch_size: int = 16,
        vad: bool = True,
        progress: bool = False,
        num_beams: int = NUM_BEAMS,
        channels: Side | None = None,
    ) -> list[str]:
        """Return what is said in each audio, "" where nobody speaks.

        A model with a CTC head writes the text that is likeliest under decoder and CTC together.

        Args:
            audios: Files or waveforms, of any length.
            batch_size: Pieces heard at once; the texts do not depend on it.
            num_beams: Texts kept in mind while decoder and CTC write, as many rows in the decoder's cache for each
                piece; with 1, or without a CTC head, the decoder writes alone, faster.
            vad: Whether to look for speech first. Without it everything goes to the model, in equal windows.
            progress: Whether to show a bar on stderr.
            channels: What is heard of a file with two channels; None: their mean, but two speakers are refused.

        Raises:
            InputError: An audio cannot be read or is shorter than one audio token, or the model has no ears.
        """
        writers = [self._transcripts(num_beams)]
        return self._by_pieces(audios, writers, batch_size, vad, progress, channels)[0]

    @property
    def word_source(self) -> WordSource | None:
        """What the times of words are from: a CTC head over letters or over tokens; None where there is neither."""
        return self._word_times.source

    def transcribe_timed(
        self,
        audios: Sequence[AudioSource],
        *,
        batch_size: int = 16,
        vad: bool = True,
        progress: bool = False,
        num_beams: int | None = NUM_BEAMS,
        channels: Channels | None = None,
    ) -> list[Transcript]:
        """Return what `transcribe` does, with the times of pieces and, where a CTC head tells them, of words.

        With `num_beams` None it is written by greedy CTC, as `transcribe_ctc` does; with `channels` "split" a file of
        two channels has two transcripts, left and right.

        Raises:
            InputError: As `transcribe`, or as `transcribe_ctc`.
        """
        write = self._write_ctc if num_beams is None else self._transcripts(num_beams)

        def write_timed(clips: Sequence[Clip]) -> list[Written]:
            written = write(clips)
            waveforms, speech = [clip.waveform for clip in clips], [clip.speech for clip in clips]
            words = self._word_times.place(waveforms, [each.text for each in written], speech)
            return [
                TimedWritten(each.text, each.is_cut, own) for each, own in zip(written, words, strict=True)
            ]

        sides: list[tuple[AudioSource, Side | None]] = [
            (audio, side) for audio in audios for side in sides_of(audio, channels)
        ]
        durations_s: list[float] = []
        clips = self._clips(sides, vad, durations_s)
        pieces = write_each(clips, len(sides), [write_timed], batch_size, progress)
        return [
            timed_transcript(own, duration_s, self.word_source, side if channels == "split" else None)
            for own, duration_s, (_, side) in zip(pieces, durations_s, sides, strict=True)
        ]

    def transcribe_ctc(
        self,
        audios: Sequence[AudioSource],
        *,
        batch_size: int = 16,
        vad: bool = True,
        progress: bool = False,
        channels: Side | None = None,
    ) -> list[str]:
        """Return the spoken form of each audio by greedy CTC, without the decoder; else as `transcribe`.

        Raises:
            InputError: As `transcribe`; also when the model has no CTC head.
        """
        return self._by_pieces(audios, [self._write_ctc], batch_size, vad, progress, channels)[0]

    def transcribe_three_ways(
        self, audios: Sequence[AudioSource], *, batch_size: int = 16, vad: bool = True, progress: bool = False
    ) -> tuple[list[str], list[str], list[str]]:
        """Return what decoder and CTC write together, the decoder alone, and CTC alone, cutting each audio once.

        Raises:
            InputError: As `transcribe_ctc`.
        """
        writers = [self._transcripts(NUM_BEAMS), self._transcripts(1), self._write_ctc]
        joint, decoder, ctc = self._by_pieces(audios, writers, batch_size, vad, progress)
        return joint, decoder, ctc

    @property
    def ctc_classes(self) -> CtcClasses:
        """What the classes of the CTC head write, where there is one."""
        return self._transcriber.classes

    def ctc_log_probs(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Return log p of every class in every frame of each waveform, (f v+1) on the CPU, blank last.

        Raises:
            InputError: The model has no CTC head.
        """
        self._need_ears()
        if not self.has_ctc:
            found, remedy = type(self.model.projector).__name__, "use a model with a CTC head"
            raise InputError(
                self.folder, field="projector", found=found, wanted="CtcPosterior", remedy=remedy
            )
        return self._transcriber.ctc_log_probs(waveforms)

    def listen(
        self,
        audio: AudioSource,
        *,
        sampling: Sampling | None = None,
        direct: bool = False,
        instruction: str = "",
    ) -> Iterator[str]:
        """Yield the written answer to a spoken question as it is made; nothing where nobody speaks.

        The question is transcribed and answered as text: what a small model heard, CTC can correct only there.

        Args:
            audio: The question, or what is to be done with, of any length.
            sampling: How tokens are chosen; greedy unless told otherwise.
            direct: Answer what is heard without writing it down first, as larger models and those without a CTC
                head may better; a question longer than one piece cannot be.
            instruction: What to do with what is said, as of `text.chat.instruction`; "" answers it.

        Raises:
            InputError: The audio cannot be read, or the model has no ears.
        """
        waveform, asked = self._waveform(audio), [Turn("user", instruction, has_audio=True)]
        if not direct or len(waveform) > self.chunk_samples:
            heard = self.transcribe([waveform])[0]
            if heard:
                yield from self.reply(read_in_place(asked, heard), sampling=sampling)
        elif any(True for _ in cut(Recording(waveform), self.chunk_samples, vad=True)):
            yield from self._responder.stream(asked, [waveform], sampling or Sampling())

    def answer(
        self,
        audios: Sequence[AudioSource],
        *,
        batch_size: int = 16,
        vad: bool = True,
        progress: bool = False,
        sampling: Sampling | None = None,
        direct: bool = False,
        instruction: str = "",
    ) -> list[str]:
        """Return the written answer to each spoken question; the batched form of `listen`.

        Raises:
            InputError: As `transcribe`.
        """
        sampling, question = sampling or Sampling(), [Turn("user", instruction, has_audio=True)]

        def write(clips: Sequence[Clip]) -> list[Written]:
            rules = [sampling.for_row(clip.item) for clip in clips]
            waveforms = [clip.waveform for clip in clips]
            return self._responder.write([question] * len(clips), waveforms, rules)

        waveforms = [self._waveform(audio) for audio in audios]
        is_direct = [direct and len(waveform) <= self.chunk_samples for waveform in waveforms]
        at_once = [waveform for waveform, alone in zip(waveforms, is_direct, strict=True) if alone]
        answers = iter(self._by_pieces(at_once, [write], batch_size, vad, progress)[0])
        first = [waveform for waveform, alone in zip(waveforms, is_direct, strict=True) if not alone]
        heard = self.transcribe(first, batch_size=batch_size, vad=vad, progress=progress)
        asked = [read_in_place(question, text) for text in heard if text]
        replies = iter(self.reply_batch(asked, batch_size=batch_size, sampling=sampling))
        written = iter([next(replies) if text else "" for text in heard])
        return [next(answers) if alone else next(written) for alone in is_direct]

    def reply(
        self,
        turns: Sequence[Turn],
        *,
        sampling: Sampling | None = None,
        stop_strings: Sequence[str] = (),
    ) -> Iterator[str]:
        """Yield the next turn of a written conversation as it is made; greedy unless told otherwise.

        It ends before the first of `stop_strings`, however they fall into tokens.

        Raises:
            InputError: The conversation does not fit the decoder's context, or a stop string is empty.
        """
        return self._responder.stream(turns, [], sampling or Sampling(), stop_strings)

    def reply_batch(
        self,
        conversations: Sequence[Sequence[Turn]],
        *,
        batch_size: int = 16,
        sampling: Sampling | None = None,
    ) -> list[str]:
        """Return the next turn of each written conversation; draws depend on its place, not on `batch_size`.

        Raises:
            InputError: A conversation does not fit the decoder's context.
        """
        replies = self.write_batch(conversations, batch_size, sampling or Sampling())
        report_cuts(sum(reply.is_cut for reply in replies), len(replies))
        return [reply.text for reply in replies]

    def write_batch(self, talks: Sequence[Sequence[Turn]], size: int, sampling: Sampling) -> list[Written]:
        """Return what `reply_batch` does, and of each whether it was cut; nobody is told of that."""
        lengths = [sum(len(turn.text) for turn in turns) for turns in talks]
        order = sorted(range(len(talks)), key=lengths.__getitem__)
        replies = [Written("")] * len(talks)
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            rules = [sampling.for_row(item) for item in batch]
            texts = self._responder.write([talks[item] for item in batch], [], rules)
            for item, text in zip(batch, texts, strict=True):
                replies[item] = text
        return replies

    def log_likelihood(self, texts: Sequence[str]) -> list[float]:
        """Return log p of each text as a whole document, its end included, in nats.

        Raises:
            InputError: A text does not fit the decoder's context.
        """
        return self._responder.log_likelihood(texts)

    def ctc_text(self, log_probs: Tensor) -> str:
        """Return what greedy CTC reads in frames (f v+1), the blank last."""
        return self._transcriber.collapse(log_probs)

    @property
    def min_samples(self) -> int:
        """The shortest audio that is heard; `InputError` where the model has no ears."""
        return self._need_ears().min_samples

    @property
    def chunk_samples(self) -> int:
        """The longest piece that is heard at once."""
        # Longer than what it learned from is a guess: sentences without a pause between them, heard in pieces of
        # 12 s by a model of sentences of 2.5 s, came out with 25 to 37 % of their words wrong, and cut as here 8 to 21.
        longest = seconds_to_samples(max(1.0, float(self.config.get("clip_s") or CHUNK_S)))
        window = self._need_ears().longest_samples
        return longest if window is None else min(longest, window)

    def _need_ears(self) -> AudioGeometry:
        if self._responder.geometry is None:
            raise InputError(
                self.folder,
                field="encoder",
                found="a model of written text alone",
                wanted="a model that hears",
                remedy="use the model of a later stage, such as 14_joint",
            )
        return self._responder.geometry

    def _waveform(self, audio: AudioSource) -> Tensor:
        return open_recording(audio, None, self.min_samples).whole()

    def _clips(
        self, sides: Sequence[tuple[AudioSource, Side | None]], vad: bool, durations_s: list[float]
    ) -> Iterator[Clip]:
        """Yield the pieces of each audio as they are needed, and append how long it is before its first one."""
        for item, (audio, side) in enumerate(sides):
            recording = open_recording(audio, side, self.min_samples)
            durations_s.append(samples_to_seconds(recording.num_samples))
            yield from cut(recording, self.chunk_samples, vad=vad, item=item)

    def _by_pieces(
        self,
        audios: Sequence[AudioSource],
        writers: Sequence[Writer],
        batch_size: int,
        vad: bool,
        progress: bool,
        channels: Side | None = None,
    ) -> list[list[str]]:
        """Return every writer's text of each audio."""
        sides: list[tuple[AudioSource, Side | None]] = [(audio, channels) for audio in audios]
        clips = self._clips(sides, vad, [])
        pieces = write_each(clips, len(audios), writers, batch_size, progress)
        return [[joined(own, writer) for own in pieces] for writer in range(len(writers))]

    def _transcripts(self, num_beams: int) -> Writer:
        if num_beams < 1:
            raise InputError("num_beams", found=num_beams, wanted="1 or more", remedy="change it")

        def write(clips: Sequence[Clip]) -> list[Written]:
            limits = [transcript_limit(len(clip.waveform)) for clip in clips]
            return self._transcriber.write([clip.waveform for clip in clips], limits, num_beams)

        return write

    def _write_ctc(self, clips: Sequence[Clip]) -> list[Written]:
        heard = self.ctc_log_probs([clip.waveform for clip in clips])
        return [Written(self._transcriber.collapse(log_probs)) for log_probs in heard]
