"""Which of a closed vocabulary was said: every word is ranked by its likelihood under CTC.

A word that is hard to spell is still told from the others; no lexicon or language model takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Ranked:
    """One clip: what was said, what was ranked first, and the place of what was said, from 1."""

    said: str
    first: str
    place: int


@dataclass(frozen=True)
class WordsResult:
    """The places of what was said, one a clip."""

    rows: tuple[Ranked, ...]


def rank(
    log_probs: Sequence[Tensor],
    said: Sequence[str],
    encode: Callable[[str], Sequence[int]],
    token_bonus: float = 0.0,
) -> WordsResult:
    """Return the place of what each clip says among all that the clips say.

    Words are compared by log p(word | clip), the sum over all CTC paths, and a bonus for each token: a model that is
    unsure of every letter of a voice it does not know finds the shortest words likeliest. What a clip is too short
    for has the last place.

    Args:
        log_probs: (f v+1) of each clip, blank last.
        said: What each clip says, in spoken form.
        encode: A text to its tokens.
        token_bonus: In nats; chosen on other clips.
    """
    vocabulary = sorted(set(said))
    ids = [list(encode(word)) for word in vocabulary]
    bonus = token_bonus * torch.tensor([len(word) for word in ids])
    rows: list[Ranked] = []
    for each, word in zip(log_probs, said, strict=True):
        scores = log_likelihoods(each, ids) + bonus
        order = scores.argsort(descending=True, stable=True).tolist()
        own = vocabulary.index(word)
        # Not likelier than anything else is not found: ties count against it.
        place = int((scores >= scores[own]).sum())
        rows.append(Ranked(word, vocabulary[order[0]], place))
    return WordsResult(tuple(rows))


def log_likelihoods(log_probs: Tensor, texts: Sequence[Sequence[int]]) -> Tensor:
    """Return log p of each text given one clip, in nats, (texts); -inf where the clip is too short for it.

    Args:
        log_probs: (f v+1), blank last.
        texts: The tokens of each.
    """
    lengths = torch.tensor([len(text) for text in texts])
    flat = torch.tensor([token for text in texts for token in text])
    num_frames = torch.full_like(lengths, len(log_probs))
    same = log_probs[:, None].expand(-1, len(texts), -1).contiguous()
    nats = F.ctc_loss(same, flat, num_frames, lengths, blank=log_probs.shape[-1] - 1, reduction="none")
    return -nats
