"""What of a next-token loss came from each source, and how many of its tokens were of each variety."""

from __future__ import annotations

import torch
from torch import Tensor

from amalia_mm.batch import IGNORE, TextBatch
from amalia_mm.train.losses import Loss, TokenLoss
from amalia_mm.variety import Variety


def by_source(batch: TextBatch, loss: TokenLoss) -> dict[str, Loss]:
    """Return `nll_<source>`, the sum and count of each source of the run, whether it is in this batch or not.

    The same names come out on every process, so that sums can be added up over them.
    """
    if batch.sources is None:
        return {}
    has_label = batch.labels != IGNORE
    terms = {}
    for number, name in enumerate(batch.source_names):
        own = has_label & (batch.sources == number)
        terms[f"nll_{name}"] = Loss(loss.each[own].sum(), own.sum().float())
    return terms


def shares(batch: TextBatch) -> dict[str, Loss]:
    """Return `share_<variety>`, the tokens of each variety of all that are no padding, and `share_padding` of all."""
    if batch.varieties is None:
        return {}
    is_read = batch.varieties >= 0
    num_read = is_read.sum().float()
    terms = {
        f"share_{variety}": Loss((batch.varieties == number).sum().float(), num_read)
        for number, variety in enumerate(Variety)
    }
    num_all: Tensor = torch.full_like(num_read, batch.ids.numel())
    return {**terms, "share_padding": Loss(num_all - num_read, num_all)}
