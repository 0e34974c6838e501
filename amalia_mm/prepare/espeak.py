"""Synthetic European Portuguese speech: sentences go to child processes, waveforms come back.

The synthesiser (espeak-ng, GPL-3) runs in `espeak_child.py`, started by its path as a process of its own and
never imported. This file knows the pipe and the time limit; not what is said or why.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import soxr
import torch
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.prepare.voices import Voice
from amalia_mm.units import SAMPLE_RATE_HZ

CHILD = Path(__file__).with_name("espeak_child.py")
LANGUAGE = "Portuguese (Portugal)"
"""What espeak-ng calls its `pt`; a build that calls it anything else is refused."""

_HEADER = "<4sII"
_START_LIMIT_S = 60.0
_ATTEMPTS = 2
_SILENCE = 0.003  # the peak of what is no speech: about -50 dB
_WAITING_PER_CHILD = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Utterance:
    """What is said, by which voice and how; a rate or pitch of None is the voice's own.

    With a `tract_scale` it is said by a speaker whose formants, pitch and pace are that many times as high: the
    synthesiser has few voices, and this makes of each a family (vocal tract length perturbation by resampling:
    Jaitly and Hinton 2013).
    """

    text: str
    voice: Voice
    rate_wpm: int | None = None
    pitch: int | None = None
    tract_scale: float = 1.0
    rate_hz: int = SAMPLE_RATE_HZ
    """Of the waveform that is wanted."""


class _ChildLostError(Exception):
    """The child died or was killed at the time limit; the message says which."""


class _Child:
    """One running child process and its pipe."""

    def __init__(self) -> None:
        # -P keeps the child's folder off its module path, where files could pass for libraries.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        kind, _, body = self._receive(_START_LIMIT_S)
        if kind != b"INFO":
            self.close()
            raise InputError(
                "espeak-ng",
                found=body.decode(errors="replace"),
                wanted="the speech synthesiser",
                remedy="install the package espeakng-loader (part of the extra `train`)",
            )
        self.info: dict[str, str] = json.loads(body)
        if self.info["language"] != LANGUAGE:
            self.close()
            raise InputError(
                "espeak-ng",
                field="language",
                found=self.info["language"],
                wanted=LANGUAGE,
                remedy="install the espeakng-loader named in constraints.txt",
            )

    def ask(self, request: dict[str, str | int], limit_s: float) -> tuple[bytes, int, bytes]:
        """Return kind, sample rate and body of the answer; raise `_ChildLostError` where none comes."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise _ChildLostError("the synthesiser had ended") from error
        return self._receive(limit_s)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):  # what was left to write has no reader any more
                    stream.close()

    def _receive(self, limit_s: float) -> tuple[bytes, int, bytes]:
        assert self.process.stdout is not None
        # A blocking read has no time limit: at the limit the process is killed, which ends the read.
        is_late = threading.Event()
        timer = threading.Timer(limit_s, lambda: (is_late.set(), self.process.kill()))
        timer.start()
        try:
            header = self.process.stdout.read(struct.calcsize(_HEADER))
            if len(header) == struct.calcsize(_HEADER):
                kind, sample_rate_hz, num_bytes = struct.unpack(_HEADER, header)
                body = self.process.stdout.read(num_bytes)
                if len(body) == num_bytes:
                    return kind, sample_rate_hz, body
        finally:
            timer.cancel()
        raise _ChildLostError(
            f"no answer within {limit_s:g} s" if is_late.is_set() else "the synthesiser crashed"
        )


class Speaker:
    """One synthesiser process, started when first asked and again whenever it is lost.

    Args:
        limit_s: Seconds a sentence may take before its process is killed and started anew.
    """

    def __init__(self, limit_s: float = 10.0) -> None:
        self.limit_s = limit_s
        self.num_restarts = 0
        self._child: _Child | None = None

    def speak(self, utterance: Utterance) -> Tensor:
        """Return the sentence as heard: (n) float32, mono, at the rate wanted, about 5-40 ms of silence around it.

        Raises:
            InputError: The synthesiser is not installed, refuses the request, says nothing, was lost twice over the
                same sentence, or has a lower rate than is wanted (`kept_rate.py`).
        """
        return self._waveform(utterance, *self._ask(_request(utterance)))

    def speak_words(self, utterance: Utterance) -> tuple[Tensor, list[int]]:
        """Return what `speak` does, and the sample at which each word begins, as the synthesiser tells it.

        Raises:
            InputError: As `speak`.
        """
        kind, rate_hz, body = self._ask(_request(utterance) | {"word_starts": True})
        if kind != b"WRD1":
            raise _unspoken(utterance.text, body.decode(errors="replace"))
        num_words = struct.unpack_from("<I", body)[0]
        starts = struct.unpack_from(f"<{num_words}I", body, 4)
        waveform = self._waveform(utterance, b"PCM1", rate_hz, body[4 * (1 + num_words) :])
        own_rate_hz = rate_hz * utterance.tract_scale
        return waveform, [round(start * utterance.rate_hz / own_rate_hz) for start in starts]

    def phonemes(self, text: str) -> str:
        """Return the sounds of a text in IPA as the synthesiser knows them, a space between words.

        Raises:
            InputError: As `speak`.
        """
        kind, _, body = self._ask({"text": " ".join(text.split()), "phonemes": True})
        if kind != b"PHO1":
            raise _unspoken(text, body.decode(errors="replace"))
        return body.decode()

    def _waveform(self, utterance: Utterance, kind: bytes, sample_rate_hz: int, body: bytes) -> Tensor:
        text, voice = utterance.text, utterance.voice
        if kind != b"PCM1":
            raise _unspoken(text, body.decode(errors="replace"))
        if utterance.rate_hz > max(sample_rate_hz, SAMPLE_RATE_HZ):
            raise InputError(
                "espeak-ng",
                field="rate_hz",
                found=f"{sample_rate_hz} Hz, its own rate",
                wanted=f"{utterance.rate_hz} Hz or more, for clips of {utterance.rate_hz} Hz",
                remedy=f"ask for at most {sample_rate_hz} Hz; for more give recordings (`amalia prepare corpus`)",
            )
        samples = np.frombuffer(body, dtype="<i2").astype(np.float32) / 32768
        if not samples.size or np.abs(samples).max() < _SILENCE:
            raise _unspoken(text, f"no sound from voice {voice.variant}")
        return torch.from_numpy(
            soxr.resample(samples, sample_rate_hz * utterance.tract_scale, utterance.rate_hz)
        )

    def info(self) -> dict[str, str]:
        """Return `version` and `language` of the synthesiser."""
        return dict(self._running().info)

    def close(self) -> None:
        """End the process; the speaker can be used again and starts a new one."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> _Child:
        if self._child is None:
            try:
                self._child = _Child()
            except _ChildLostError as lost:
                raise _unspoken("", f"{lost} at its start") from lost
        return self._child

    def _ask(self, request: dict[str, str | int]) -> tuple[bytes, int, bytes]:
        reasons: list[str] = []
        for _ in range(_ATTEMPTS):
            try:
                return self._running().ask(request, self.limit_s)
            except _ChildLostError as lost:
                reasons.append(str(lost))
                self.close()
                self.num_restarts += 1
        raise _unspoken(str(request["text"]), "; ".join(reasons))


class SpeakerPool:
    """Several synthesiser processes that speak side by side, one thread each."""

    def __init__(self, num_children: int = 2, limit_s: float = 10.0) -> None:
        self._num_children = num_children
        self._idle = deque(Speaker(limit_s) for _ in range(num_children))
        self.speakers = tuple(self._idle)

    def speak(
        self, utterances: Iterable[Utterance], finish: Callable[[int, Tensor], T]
    ) -> Iterator[T | InputError]:
        """Yield `finish(i, waveform)` for utterance i, in order, or the error where it cannot be said.

        `finish` (noise, encoding) runs in the thread that heard the waveform. Only a few utterances are taken
        ahead of the one that is yielded, so a corpus of any length passes through.
        """
        waiting: deque[Future[T | InputError]] = deque()
        executor = ThreadPoolExecutor(self._num_children, thread_name_prefix="espeak")
        try:
            for i, utterance in enumerate(utterances):
                waiting.append(executor.submit(self._one, i, utterance, finish))
                if len(waiting) >= _WAITING_PER_CHILD * self._num_children:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _one(self, i: int, utterance: Utterance, finish: Callable[[int, Tensor], T]) -> T | InputError:
        speaker = self._idle.popleft()  # a thread each, so one is always idle here
        try:
            waveform = speaker.speak(utterance)
        except InputError as error:
            return error
        finally:
            self._idle.append(speaker)
        return finish(i, waveform)

    def close(self) -> None:
        """End all processes."""
        for speaker in self.speakers:
            speaker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _request(utterance: Utterance) -> dict[str, str | int]:
    voice = utterance.voice
    return {
        "text": " ".join(utterance.text.split()),
        "voice": voice.variant,
        "rate_wpm": voice.rate_wpm if utterance.rate_wpm is None else utterance.rate_wpm,
        "pitch": voice.pitch if utterance.pitch is None else utterance.pitch,
        "range": voice.pitch_range,
    }


def _unspoken(text: str, found: str) -> InputError:
    return InputError(
        "espeak-ng",
        field=f"text {text[:60]!r}",
        found=found,
        wanted="speech",
        remedy="leave the sentence out, or correct it",
    )
