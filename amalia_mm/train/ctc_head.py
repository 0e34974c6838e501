"""What the CTC head beside a projector is taught: the words of the clips, in its own units, at its own frames."""

from __future__ import annotations

from functools import cached_property

from amalia_mm.batch import SpeechTextBatch
from amalia_mm.fusion.ctc_head import CtcHead
from amalia_mm.fusion.speech_text import SpeechTextOutput
from amalia_mm.text.ctc_vocabulary import CtcClasses, CtcVocabulary
from amalia_mm.text.letters import Spelling
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.train.losses import CtcLoss, ctc


class HeadLoss:
    """The CTC loss of a head (fusion/ctc_head.py) on a batch.

    Args:
        tokenizer: The tokenizer's folder; loaded when letters are first asked for.
        vocabulary: What the batch's CTC targets are classes of, where the projector has a vocabulary of its own.
    """

    def __init__(self, tokenizer: str, vocabulary: CtcVocabulary | None = None) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    def __call__(self, head: CtcHead, batch: SpeechTextBatch, output: SpeechTextOutput) -> CtcLoss | None:
        """Return the CTC loss of a batch's clips; None where it has no clip."""
        if output.features is None or output.audio is None or output.num_frames is None:
            return None
        of_projector = head.config.reads == "projector"
        frames = output.audio if of_projector else output.features
        num_frames = batch.num_audio_tokens if of_projector else output.num_frames
        targets = batch.ctc_ids, batch.num_ctc_ids
        if head.config.units == "letters":
            targets = self._spelling.letters(*targets)
        return ctc(head(frames), num_frames * head.config.per_frame, *targets)

    @cached_property
    def _spelling(self) -> Spelling:
        return Spelling(CtcClasses(Tokenizer.load(self._tokenizer), self._vocabulary))
