"""Encoder and CTC head alone, as `10_hearing` leaves them: what they write, and what each frame may be.

It knows model folders and waveforms; it does not know what is measured. Whatever decoder there is stays unread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import (
    CtcPosterior,
    Projector,
    check_ctc_tokens,
    geometry_between,
    projector_between,
)
from amalia_mm.model_config import CONFIG, build_part, read_config
from amalia_mm.run import TOKENIZER, read_weights
from amalia_mm.text.ctc_vocabulary import CtcClasses
from amalia_mm.text.decoder import DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Ears:
    """An encoder with its CTC head, in evaluation mode, and the tokenizer they write in."""

    folder: Path
    encoder: AudioEncoder
    projector: CtcPosterior
    tokenizer: Tokenizer

    @classmethod
    def load(cls, path: Path | str) -> Ears:
        """Return the ears of a model folder, or of the `model` in a stage.

        Raises:
            InputError: There is no encoder with a CTC head, or its weights are not all there.
        """
        folder = Path(path)
        folder = folder / "model" if (folder / "model" / CONFIG).is_file() else folder
        config = read_config(folder)
        where = str(folder / CONFIG)
        sizes = config.get("decoder") or config.get("decoder_sizes")
        if not (config.get("encoder") and config.get("projector") and sizes):
            found = ", ".join(part for part in ("decoder", "encoder", "projector") if config.get(part))
            remedy = "give a folder that recipes/10_hearing or a later stage wrote"
            raise InputError(where, found=found or "nothing", wanted="encoder and projector", remedy=remedy)
        encoder = build_part(config["encoder"], AudioEncoder, where)()
        build = build_part(config["projector"], Projector, where)
        projector = projector_between(encoder, build, DecoderConfig.of(sizes))
        if not isinstance(projector, CtcPosterior):
            found, remedy = type(projector).__name__, "use a model with a CTC head"
            raise InputError(where, field="projector", found=found, wanted="CtcPosterior", remedy=remedy)
        ears = torch.nn.ModuleDict({"encoder": encoder, "projector": projector})
        weights = read_weights(folder)
        # The blank's embedding is for a decoder to read; CTC training leaves it out.
        wanted = {name for name, _ in ears.named_parameters()} - {"projector.blank"}
        missing = sorted(wanted - weights.keys())
        if missing:
            remedy = "copy the folder again"
            raise InputError(
                folder, field=missing[0], found="no such weight", wanted="all of them", remedy=remedy
            )
        ears.load_state_dict({name: weights[name] for name in wanted}, strict=False)
        ears.eval().requires_grad_(False)
        tokenizer = Tokenizer.load(folder / TOKENIZER)
        check_ctc_tokens(projector, tokenizer, where)
        return cls(folder, encoder, projector, tokenizer)

    @property
    def classes(self) -> CtcClasses:
        """What the classes of the head write."""
        return CtcClasses(self.tokenizer, self.projector.vocabulary)

    @property
    def geometry(self) -> AudioGeometry:
        """How many frames a clip has."""
        return geometry_between(self.encoder, self.projector)

    @torch.no_grad()
    def log_probs(self, waveforms: Sequence[Tensor], batch_size: int = 16) -> list[Tensor]:
        """Return log p of every class in every frame of each waveform (n), (f v+1), blank last."""
        order = sorted(range(len(waveforms)), key=lambda number: len(waveforms[number]))
        found: dict[int, Tensor] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            padded = pad_sequence([waveforms[number] for number in batch], batch_first=True)
            lengths = torch.tensor([len(waveforms[number]) for number in batch])
            features, num_frames = self.encoder(padded, lengths)
            scores = self.projector.log_probs(features, self.classes)
            for number, row, length in zip(batch, scores, num_frames.tolist(), strict=True):
                found[number] = row[:length]
        return [found[number] for number in range(len(waveforms))]

    def text(self, log_probs: Tensor) -> str:
        """Return the text of frames (f v+1): the best of each frame, repeats merged, blanks removed."""
        best = log_probs.argmax(dim=-1).unique_consecutive().tolist()
        return self.classes.decode([each for each in best if each != self.classes.blank])
