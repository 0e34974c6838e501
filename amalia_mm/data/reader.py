"""References of the order to items: reads, decodes or simulates, renders, and checks the index's counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.audio.speed import num_samples_at
from amalia_mm.batch import Example
from amalia_mm.data.collate import Item
from amalia_mm.data.ctc_paths import CtcPaths
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.order import Ref
from amalia_mm.data.parts import split_turns
from amalia_mm.data.pipeline import reading_of, to_example, to_item
from amalia_mm.data.schema import Record
from amalia_mm.data.token_ids import TokenIds
from amalia_mm.data.tokens import TokenCounts
from amalia_mm.errors import InputError
from amalia_mm.text.ctc_vocabulary import CtcVocabulary
from amalia_mm.text.tokenizer import Tokenizer
from amalia_mm.variety import Variety

_HEARD, _HIDDEN = 0, 1
"""What the randomness of a record is for: its clip or path, and what an encoder hides of the clip."""


class StaleCountsError(InputError):
    """The index counts other tokens than the rendered record has: the order was cut from wrong numbers."""


@dataclass(frozen=True)
class Folder:
    """A folder of shards with the token counts of its records, and their token ids where they are kept."""

    index: ShardIndex
    counts: TokenCounts
    ids: TokenIds | None = None


@dataclass(frozen=True)
class Reader:
    """Reads one record of the order; the same record at the same appearance is always the same item.

    Args:
        folders: The sources of the order.
        tokenizer: Renders the text.
        seed: With source, record and appearance it seeds the randomness of one record.
        geometry: Turns samples into placeholders; needed where clips are heard.
        paths: Simulates CTC paths in place of clips; None hears the clips.
        augment: What is done to a clip; None leaves it as it is.
        max_part_tokens: Most tokens of a part of a conversation; needed where references name parts.
        max_side_tokens: Most tokens of one side of a pair of preference; None reads no pairs, a number nothing else.
        unread_tasks: Tasks whose clips the decoder does not read as text beside hearing them; None reads none at all.
        vocabulary: The classes of a CTC head that has its own; None: they are the tokenizer's.
    """

    folders: Sequence[Folder]
    tokenizer: Tokenizer
    seed: int
    geometry: AudioGeometry | None = None
    paths: CtcPaths | None = None
    augment: Augment | None = None
    max_part_tokens: int | None = None
    max_side_tokens: int | None = None
    unread_tasks: Sequence[str] | None = None
    vocabulary: CtcVocabulary | None = None

    def read(self, ref: Ref) -> Item:
        """Return the item of one reference.

        Raises:
            StaleCountsError: The rendered record has another number of tokens than the index says.
            InputError: The record or its clip is bad.
        """
        folder = self.folders[ref.source]
        where = folder.index.where(ref.record)
        if folder.ids is not None and ref.part < 0 and self.max_side_tokens is None:
            return _of_ids(folder, folder.ids, ref, where)
        record, audio = read_record(folder.index, ref.record, with_audio=self.paths is None)
        self._check_kind(record, where)
        if ref.part >= 0:
            record = self._part_of(record, ref, where)
        example = to_example(
            record,
            audio,
            where=where,
            tokenizer=self.tokenizer,
            geometry=self.geometry,
            paths=self.paths,
            augment=self.augment,
            generator=self._generator(ref),
            vocabulary=self.vocabulary,
            speed=ref.speed,
        )
        num_samples = num_samples_at(int(folder.index.num_samples[ref.record]), ref.speed)
        if example.waveform is not None and len(example.waveform) != num_samples:
            remedy = f"run `amalia shards verify {folder.index.folder}`"
            found, wanted = f"{len(example.waveform)} samples", f"{num_samples} samples, as in the index"
            raise InputError(where, field="audio", found=found, wanted=wanted, remedy=remedy)
        item = to_item(example, self.tokenizer, self.geometry, self.vocabulary)
        self._check_sides(item, where)
        num_tokens = item.num_own_tokens
        counted = ref.num_tokens if ref.part >= 0 else folder.counts.num_tokens[ref.record]
        if num_tokens != counted:
            raise self._stale(ref, where, f"{num_tokens} tokens", f"{counted}, as counted in the index")
        if self.unread_tasks is not None and example.task not in self.unread_tasks:
            item = replace(item, reading=reading_of(example, self.tokenizer, where))
        piece = {"start_token": ref.start_token, "num_tokens": ref.num_tokens}
        return replace(item, **piece, source=ref.source, where=where, clip_seed=self._seed_of(ref, _HIDDEN))

    def _part_of(self, record: Record, ref: Ref, where: str) -> Record:
        if self.max_part_tokens is None:
            raise ValueError(f"{where}: part {ref.part} of a conversation, but no length of parts")
        parts, _ = split_turns(record.turns, self.tokenizer, self.max_part_tokens)
        if ref.part >= len(parts):
            wanted = f"part {ref.part}, as in the sidecar"
            raise self._stale(ref, where, f"{len(parts)} parts", wanted)
        return replace(record, turns=parts[ref.part])

    def _stale(self, ref: Ref, where: str, found: str, wanted: str) -> StaleCountsError:
        folder = self.folders[ref.source].index.folder
        remedy = f"delete {folder}/tokens-*.npy and run `amalia shards index` again"
        return StaleCountsError(where, field="num_tokens", found=found, wanted=wanted, remedy=remedy)

    def _check_kind(self, record: Record, where: str) -> None:
        """Raise `InputError` where a pair is to be learned as text, or a text as a pair."""
        if (record.rejected is None) == (self.max_side_tokens is None):
            return
        found, wanted, remedy = (
            "no rejected side",
            "a pair of preference",
            "leave the folder out of these shards",
        )
        if record.rejected is not None:
            found, wanted = "a pair of preference", "text to be learned as it stands"
            remedy = "learn from pairs with recipes/05_dpo, or leave the folder out of these shards"
        raise InputError(where, field="rejected", found=found, wanted=wanted, remedy=remedy)

    def _check_sides(self, item: Item, where: str) -> None:
        if item.rejected is None or self.max_side_tokens is None:
            return
        longest = max(len(item.rendered), len(item.rejected))
        if longest > self.max_side_tokens:
            wanted = f"at most {self.max_side_tokens} tokens (the decoder's max_position_embeddings)"
            remedy = "shorten the prompt or the answer: nothing is cut"
            raise InputError(
                where, field="rejected", found=f"a side of {longest} tokens", wanted=wanted, remedy=remedy
            )

    def _generator(self, ref: Ref) -> torch.Generator | None:
        if self.paths is None and self.augment is None:
            return None
        return torch.Generator().manual_seed(self._seed_of(ref, _HEARD))

    def _seed_of(self, ref: Ref, use: int) -> int:
        """Return a number that follows from the record, its appearance and its use alone."""
        words = np.random.SeedSequence([self.seed, ref.source, ref.record, ref.appearance]).generate_state(4)
        return int(words[2 * use]) << 32 | int(words[2 * use + 1])


def _of_ids(folder: Folder, ids: TokenIds, ref: Ref, where: str) -> Item:
    """Return the piece of a text that is kept as token ids, and the token after it, which is its last label."""
    index, total = folder.index, int(folder.counts.num_tokens[ref.record])
    num_tokens = total - ref.start_token if ref.num_tokens < 0 else ref.num_tokens
    stop = min(ref.start_token + num_tokens + 1, total)
    example = Example(
        id=index.strings["id"][ref.record],
        task=index.coded["task"][ref.record],
        variety=Variety(index.coded["variety"][ref.record]),
        speaker=index.coded["speaker"][ref.record],
        source=index.coded["source"][ref.record],
    )
    rendered = ids.rendered(ref.record, ref.start_token, stop)
    return Item(example, rendered, num_tokens=num_tokens, source=ref.source, where=where)
