"""A process of its own that speaks: espeak-ng behind a pipe.

espeak-ng is GPL-3, so it is never loaded into our process: `prepare/espeak.py` starts this file by its path
and nothing imports it. It knows nothing of the rest of the project.

Every answer on stdout is a header of 12 bytes, little endian (4 letters, the sample rate in Hz, the number of
bytes that follow), then a body. `INFO` comes once, at the start: JSON with `version` and `language`. Then
requests come as one JSON object a line on stdin (`text`, `voice` such as "pt+f2", `rate_wpm`, `pitch`,
`range`), each answered by `PCM1` (mono int16 samples) or `ERR1` (a message). With `word_starts` true the answer is
`WRD1`: the number of words and the sample each begins at (4 bytes each), then the samples. A request with `phonemes`
true needs only its text and is answered by `PHO1`: its sounds in IPA, a space between words. The end of stdin ends it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

_HEADER = "<4sII"
_LANGUAGE = "pt"
_FAMILY = "roa/"
"""Where the language's file lies: without it the library reads the files of all languages to find one (3 ms)."""
_VARIANTS = Path("espeak-ng-data/voices/!v")
_SYNCHRONOUS = 2
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_CHARS_UTF8 = 1
_PHONEMES_IPA = 2
_WORD = 1
_HEADROOM = 60  # of 100: at full volume a third of the voice variants clips
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class _VoiceInfo(ctypes.Structure):
    """The first field of espeak-ng's `espeak_VOICE`, the only one read here."""

    _fields_ = (("name", ctypes.c_char_p),)


class _Event(ctypes.Structure):
    """espeak-ng's `espeak_EVENT`; a type of 0 ends a list of them."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


class _Engine:
    """The espeak-ng library, freshly loaded.

    The library keeps its oscillators and its pitch flutter in globals that no call resets, so what it says
    depends on what it said before. Loaded anew for each sentence (2 ms) it says the same thing every time.
    """

    def __init__(self, library: str) -> None:
        self._library = ctypes.CDLL(library)
        self.sample_rate_hz = int(self._library.espeak_Initialize(_SYNCHRONOUS, 0, b".", 0))
        if self.sample_rate_hz <= 0:
            raise OSError(f"espeak_Initialize returned {self.sample_rate_hz}")
        # Breathy voices draw noise, and the library has just seeded it with the time of day.
        self._check(self._library.espeak_ng_SetRandSeed(ctypes.c_long(0)), "seed 0")
        self._pieces: list[bytes] = []
        self.word_starts: list[int] = []
        self._callback = _CALLBACK(self._receive)  # kept here: ctypes does not hold it for the library
        self._library.espeak_SetSynthCallback(self._callback)
        self._set(_VOLUME, _HEADROOM, "volume")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.espeak_Terminate()
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(self._library._handle))

    def describe(self) -> dict[str, str]:
        """Return the version of the library and what it calls the language spoken here."""
        self._library.espeak_Info.restype = ctypes.c_char_p
        self._library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_VoiceInfo)
        self._choose(_LANGUAGE)
        name = self._library.espeak_GetCurrentVoice().contents.name
        return {"version": self._library.espeak_Info(None).decode(), "language": name.decode()}

    def speak(self, request: Mapping[str, Any]) -> bytes:
        """Return the int16 samples of one request; raise `ValueError` for what the library refuses."""
        self._choose(str(request["voice"]))
        # After the voice: a variant's own speed would otherwise win over the rate asked for.
        for parameter, name in ((_RATE, "rate_wpm"), (_PITCH, "pitch"), (_RANGE, "range")):
            self._set(parameter, int(request[name]), name)
        text = str(request["text"]).encode() + b"\0"
        synth = self._library.espeak_Synth
        size, zero = ctypes.c_size_t(len(text)), ctypes.c_uint(0)
        self._check(synth(text, size, zero, 0, zero, _CHARS_UTF8, None, None), "the text")
        self._check(self._library.espeak_Synchronize(), "the text")
        return b"".join(self._pieces)

    def phonemes(self, text: str) -> bytes:
        """Return the sounds of a text in IPA, as the plain voice of the language says them."""
        self._choose(_LANGUAGE)
        convert = self._library.espeak_TextToPhonemes
        convert.restype = ctypes.c_char_p
        rest = ctypes.c_char_p(text.encode())
        clauses: list[bytes] = []
        while rest.value is not None:  # a clause each time; the library sets the pointer to null at the end
            clauses.append(convert(ctypes.byref(rest), _CHARS_UTF8, _PHONEMES_IPA) or b"")
        return b" ".join(clauses)

    def _choose(self, voice: str) -> None:
        _, _, variant = voice.partition("+")
        # The library falls back to its plain voice for a variant it does not know, and says nothing.
        if variant and not (_VARIANTS / variant).is_file():
            raise ValueError(f"espeak-ng has no variant {variant!r}")
        self._check(self._library.espeak_SetVoiceByName((_FAMILY + voice).encode()), f"voice {voice!r}")

    def _set(self, parameter: int, value: int, name: str) -> None:
        self._check(self._library.espeak_SetParameter(parameter, value, 0), f"{name} {value}")

    def _receive(self, samples: int | None, num_samples: int, events: int | None) -> int:
        while events:
            event = _Event.from_address(events)
            if event.type == 0:
                break
            if event.type == _WORD:
                self.word_starts.append(event.sample)
            events += ctypes.sizeof(_Event)
        if samples and num_samples > 0:
            self._pieces.append(ctypes.string_at(samples, 2 * num_samples))
        return 0

    @staticmethod
    def _check(code: int, what: str) -> None:
        if code != 0:
            raise ValueError(f"espeak-ng refused {what} (code {code})")


def _answer(stream: BinaryIO, kind: bytes, sample_rate_hz: int, body: bytes) -> None:
    stream.write(struct.pack(_HEADER, kind, sample_rate_hz, len(body)) + body)
    stream.flush()


def _main() -> None:
    # Ctrl-C belongs to the parent, which ends this process by closing its stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever the library prints goes to stderr: stdout carries nothing but answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        import espeakng_loader

        # espeak-ng cuts the path of its data at 160 characters, so it is given one that is always short.
        os.chdir(Path(espeakng_loader.get_data_path()).parent)
        library = espeakng_loader.get_library_path()
        with _Engine(library) as engine:
            _answer(answers, b"INFO", engine.sample_rate_hz, json.dumps(engine.describe()).encode())
    except (ImportError, OSError, ValueError) as error:
        _answer(answers, b"ERR1", 0, str(error).encode())
        return
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
            with _Engine(library) as engine:
                if request.get("phonemes"):
                    _answer(answers, b"PHO1", 0, engine.phonemes(str(request["text"])))
                    continue
                sample_rate_hz, samples = engine.sample_rate_hz, engine.speak(request)
                starts = engine.word_starts
        except (ValueError, KeyError, TypeError, OSError) as error:
            _answer(answers, b"ERR1", 0, str(error).encode())
        else:
            if request.get("word_starts"):
                head = struct.pack(f"<{1 + len(starts)}I", len(starts), *starts)
                _answer(answers, b"WRD1", sample_rate_hz, head + samples)
            else:
                _answer(answers, b"PCM1", sample_rate_hz, samples)


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the parent is gone, and nobody waits for the answer
        _main()
