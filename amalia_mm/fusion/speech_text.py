"""The whole model: encoder, projector and decoder, from a batch to the decoder's hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from amalia_mm.audio.encoder import AudioEncoder
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import SpeechTextBatch
from amalia_mm.fusion.ctc_head import CtcHead
from amalia_mm.fusion.projectors import CtcPosterior, Projector, geometry_between
from amalia_mm.fusion.splice import splice
from amalia_mm.text.decoder import Decoder


@dataclass(frozen=True)
class Heard:
    """What the encoder made of k clips."""

    features: Tensor
    """(k f e), zero beyond a clip's frames."""
    num_frames: Tensor
    """(k) int64."""


@dataclass(frozen=True)
class SpeechTextOutput:
    """What a batch became."""

    hidden: Tensor
    """(b t d), after the decoder's final norm."""
    ctc_logits: Tensor | None = None
    """(k f v+1), the blank last; None without waveforms, or where the projector has no CTC head."""
    num_frames: Tensor | None = None
    """(k) int64, the frames of each item; None without waveforms."""
    features: Tensor | None = None
    """(k f e), the encoder's frames; None without waveforms."""
    audio: Tensor | None = None
    """(k a d), what the projector made of them; None without anything heard."""


class SpeechTextModel(nn.Module):
    """A decoder with ears; without encoder and projector, a decoder.

    A CTC head beside the projector takes no part in `forward`: its loss and the times of words are asked of it.
    """

    def __init__(
        self,
        encoder: AudioEncoder | None,
        projector: Projector | None,
        decoder: Decoder,
        ctc_head: CtcHead | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.decoder = decoder
        self.ctc_head = ctc_head

    @property
    def geometry(self) -> AudioGeometry | None:
        """How many decoder positions a waveform takes; None without encoder or projector."""
        if self.encoder is None or self.projector is None:
            return None
        return geometry_between(self.encoder, self.projector)

    def hear(self, waveforms: Tensor, num_samples: Tensor, clip_seeds: Sequence[int] | None = None) -> Heard:
        """Return the frames of waveforms (k n) float32 with num_samples (k), and seeds as an encoder takes them.

        Raises:
            ValueError: The model has no encoder.
        """
        if self.encoder is None:
            raise ValueError(f"{len(waveforms)} waveforms came to a model without an audio encoder")
        return Heard(*self.encoder(waveforms, num_samples, clip_seeds))

    def forward(self, batch: SpeechTextBatch) -> SpeechTextOutput:
        """Return the hidden states of a batch, and the CTC logits of its waveforms.

        Raises:
            ValueError: The audio tokens of the batch and those of the model disagree (both are named), or the
                model lacks the part that the batch needs.
        """
        heard, audio, ctc_logits = None, None, None
        if batch.waveforms is not None:
            if batch.paths is not None or batch.num_samples is None:
                raise ValueError("a batch has waveforms with num_samples, or paths, not a mixture")
            heard = self.hear(batch.waveforms, batch.num_samples, batch.clip_seeds)
            audio, ctc_logits = self._project(heard, batch.num_audio_tokens)
        elif batch.paths is not None:
            audio = self._embed_paths(batch.paths)
        embeddings = self._embed(batch.text.ids, batch.is_audio, audio, batch.num_audio_tokens)
        hidden = self.decoder.hidden(
            embeddings, documents=batch.text.documents, positions=batch.text.positions
        )
        if heard is None:
            return SpeechTextOutput(hidden, ctc_logits, audio=audio)
        return SpeechTextOutput(hidden, ctc_logits, heard.num_frames, heard.features, audio)

    def embed_prompt(
        self,
        ids: Tensor,
        is_audio: Tensor,
        num_audio_tokens: Tensor,
        *,
        waveforms: Tensor | None = None,
        num_samples: Tensor | None = None,
        paths: Tensor | None = None,
    ) -> Tensor:
        """Return the embeddings (b t d) of prompts with their audio, ready for `generate`.

        Args:
            ids: (b t) int64; ids under `is_audio` are not looked at.
            is_audio: (b t) bool.
            num_audio_tokens: (k) int64.
            waveforms: (k n) float32 with `num_samples` (k), or None.
            num_samples: (k) int64.
            paths: (k a) int64 instead of waveforms, or None; without both the prompt is text alone.

        Raises:
            ValueError: As `forward`.
        """
        audio = None
        if waveforms is not None and num_samples is not None:
            audio, _ = self._project(self.hear(waveforms, num_samples), num_audio_tokens)
        elif paths is not None:
            audio = self._embed_paths(paths)
        return self._embed(ids, is_audio, audio, num_audio_tokens)

    def _project(self, heard: Heard, wanted: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return audio embeddings (k a d) and CTC logits, after checking the number of audio tokens."""
        projector = self.projector
        if projector is None:
            raise ValueError(f"{len(heard.features)} waveforms came to a model without a projector")
        given = projector.num_audio_tokens(heard.num_frames)
        if given.tolist() != wanted.tolist():
            raise ValueError(
                f"{type(projector).__name__} gives {given.tolist()} audio tokens an item where the batch has "
                f"{wanted.tolist()}: the data was made with another geometry"
            )
        if isinstance(projector, CtcPosterior):
            # The loss needs the same logits, and with a large vocabulary they are dear: computed once.
            logits = projector.ctc_logits(heard.features)
            return projector.mix(logits, self.decoder.embed_expected), logits
        return projector(heard.features, heard.num_frames, self.decoder.embed_expected), None

    def _embed_paths(self, paths: Tensor) -> Tensor:
        if not isinstance(self.projector, CtcPosterior):
            raise ValueError(
                f"CTC paths are read through a CtcPosterior, not through {type(self.projector).__name__}"
            )
        return self.projector.embed_path(paths, self.decoder.embed)

    def _embed(self, ids: Tensor, is_audio: Tensor, audio: Tensor | None, num_audio_tokens: Tensor) -> Tensor:
        # Placeholders may lie outside the embedding table: they are covered before it is asked.
        embeddings = self.decoder.embed(ids.masked_fill(is_audio, 0))
        if audio is None:
            num_placeholders = int(is_audio.sum())
            if num_placeholders:
                raise ValueError(
                    f"{num_placeholders} audio placeholders in a batch with 0 waveforms and 0 paths"
                )
            return embeddings
        return splice(embeddings, is_audio, audio, num_audio_tokens)
