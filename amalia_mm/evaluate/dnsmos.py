"""How good speech sounds, as a network foretells listeners' opinions: DNSMOS, P.835 and P.808.

Reddy, Gopal and Cutler 2021 (arXiv 2010.15258) and 2022 (arXiv 2110.01763); the weights are in a folder the user gives.
It foretells opinions of noise suppression, in English: figures compare two versions of the same speech, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from amalia_mm.errors import InputError
from amalia_mm.units import SAMPLE_RATE_HZ

P835, P808 = "sig_bak_ovr.onnx", "model_v8.onnx"
SEGMENT_SAMPLES = 144_160
"""9.01 s, what the networks hear at a time."""
_HOP_SAMPLES = SAMPLE_RATE_HZ
_MEL_HOP_SAMPLES = 160
_SIG = np.polynomial.Polynomial((0.0052439, 1.22083953, -0.08397278))
_BAK = np.polynomial.Polynomial((-0.39604546, 1.60915514, -0.13166888))
_OVR = np.polynomial.Polynomial((0.04602535, 1.11546468, -0.06766283))
"""From what the network says to the scale of listeners, as its authors fitted them."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Opinion:
    """Foretold opinions from 1 (bad) to 5 (excellent)."""

    sig: float
    """Of the speech itself (P.835)."""
    bak: float
    """Of how little the background disturbs (P.835)."""
    ovr: float
    """Of all together (P.835)."""
    p808: float
    """Of all together, by another network (P.808)."""


class Dnsmos:
    """Both networks.

    Args:
        folder: Holds `sig_bak_ovr.onnx` and `model_v8.onnx`, as in the folder `DNSMOS` of Microsoft's DNS-Challenge.

    Raises:
        InputError: One of them is missing, or is no network.
    """

    def __init__(self, folder: Path | str) -> None:
        self._p835 = _session(Path(folder) / P835)
        self._p808 = _session(Path(folder) / P808)

    def __call__(self, waveform: Tensor) -> Opinion:
        """Return the mean opinion of the stretches of 9.01 s of a waveform (n) at 16 kHz, one every second.

        A shorter clip is heard several times over, as its authors do.

        Raises:
            ValueError: The waveform is not (n), or empty.
        """
        if waveform.ndim != 1 or not len(waveform):
            raise ValueError(f"a waveform of shape {tuple(waveform.shape)}; wanted (n) with n of at least 1")
        each = [self._segment(segment) for segment in segments(waveform.numpy().astype(np.float32))]
        return Opinion(*(float(value) for value in np.mean(each, axis=0)))

    def _segment(self, segment: Floats) -> tuple[float, float, float, float]:
        sig, bak, ovr = _run(self._p835, segment[None])[0]
        p808 = _run(self._p808, _log_mel(segment)[None])[0][0]
        return float(_SIG(sig)), float(_BAK(bak)), float(_OVR(ovr)), float(p808)


def mean_opinion(opinions: Sequence[Opinion]) -> Opinion:
    """Return the mean of several clips' opinions, each clip counting once."""
    rows = [(one.sig, one.bak, one.ovr, one.p808) for one in opinions]
    return Opinion(*(float(value) for value in np.mean(rows, axis=0)))


def segments(samples: Floats) -> list[Floats]:
    """Return the stretches (n) that are heard of samples (n)."""
    while len(samples) < SEGMENT_SAMPLES:
        samples = np.concatenate([samples, samples])
    count = max(1, len(samples) // _HOP_SAMPLES - SEGMENT_SAMPLES // _HOP_SAMPLES)
    return [samples[i * _HOP_SAMPLES : i * _HOP_SAMPLES + SEGMENT_SAMPLES] for i in range(count)]


def _log_mel(segment: Floats) -> Floats:
    """Return (f m) what the P.808 network reads: 900 frames of 120 bins, relative to the loudest."""
    import librosa  # takes a second to load

    power = librosa.feature.melspectrogram(
        y=segment[:-_MEL_HOP_SAMPLES],
        sr=SAMPLE_RATE_HZ,
        n_fft=2 * _MEL_HOP_SAMPLES + 1,
        hop_length=_MEL_HOP_SAMPLES,
        n_mels=120,
    )
    return ((librosa.power_to_db(power, ref=np.max) + 40) / 40).T.astype(np.float32)


def _session(path: Path) -> Any:
    import onnxruntime  # heavy, and needed here alone

    remedy = "give the folder DNSMOS of Microsoft's DNS-Challenge"
    if not path.is_file():
        raise InputError(path, found="no such file", wanted="a network of DNSMOS", remedy=remedy)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own for each of its codes
        reason = str(error).splitlines()[0]
        raise InputError(path, found=reason, wanted="a network of DNSMOS", remedy=remedy) from error


def _run(session: Any, features: Floats) -> npt.NDArray[np.float32]:
    return np.asarray(session.run(None, {session.get_inputs()[0].name: features})[0])
