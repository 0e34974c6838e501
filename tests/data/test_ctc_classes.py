"""Where the CTC head has classes of its own, targets, simulated paths and their lengths are in those."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import BLANK
from amalia_mm.data.ctc_paths import CtcPaths, collapse
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.module import SpeechTextData
from amalia_mm.data.pipeline import spoken_of, to_example, to_item
from amalia_mm.data.schema import validate
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.tokens import index_tokens, load_tokens, token_counts_path
from amalia_mm.errors import InputError
from amalia_mm.text.ctc_vocabulary import CtcVocabulary, pieces
from amalia_mm.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> CtcVocabulary:
    """Letters alone, so that a word has more classes than tokens; and the two bytes of an ñ."""
    known = pieces(tokenizer)
    entries = [each for each in "▁abcdefghijlmnopqrstuvxzáãéóçú" if each in known]
    return CtcVocabulary({entry: known[entry] for entry in (*entries, "<0xC3>", "<0xB1>")})


@pytest.fixture
def folder(speech: Path) -> ShardIndex:
    return ShardIndex.load(speech)


def _make(speech: Path, tokenizer_folder: Path, vocabulary: CtcVocabulary | None, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"shards": {str(speech): 1.0}, "tokenizer": str(tokenizer_folder)}
    arguments |= {"max_rows": 4, "num_workers": 0, "max_audio_tokens": 900}
    arguments["ctc_tokens"] = None if vocabulary is None else dict(vocabulary.tokens)
    data = SpeechTextData(**(arguments | changes))
    data.prepare_data()
    data.setup("fit")
    return data


def test_targets_are_classes(
    folder: ShardIndex, tokenizer: Tokenizer, vocabulary: CtcVocabulary, geometry: AudioGeometry
) -> None:
    record, audio = read_record(folder, 3)
    example = to_example(record, audio, where="x", tokenizer=tokenizer, geometry=geometry)
    item = to_item(example, tokenizer, geometry, vocabulary)
    assert vocabulary.decode(item.ctc_ids or ()) == spoken_of(record)
    assert item.rendered == to_item(example, tokenizer, geometry).rendered, (
        "the decoder's text stays as it is"
    )


def test_a_batch_of_clips_and_one_of_paths_speak_of_the_same_classes(
    speech: Path, tokenizer_folder: Path, vocabulary: CtcVocabulary, geometry: AudioGeometry
) -> None:
    texts = {
        spoken_of(read_record(ShardIndex.load(speech), number, with_audio=False)[0]) for number in range(60)
    }
    clean = CtcPaths(substitute=0.0, drop=0.0)
    for more in ({"geometry": geometry}, {"paths": clean}):
        data = _make(speech, tokenizer_folder, vocabulary, **more)
        for batch in islice(data.train_dataloader(), 6):
            for ids, num in zip(batch.ctc_ids.tolist(), batch.num_ctc_ids.tolist(), strict=True):
                assert vocabulary.decode(ids[:num]) in texts
            assert (batch.paths is not None) == ("paths" in more)
            if batch.paths is not None:
                assert int(batch.paths.min()) >= BLANK and int(batch.paths.max()) < len(vocabulary.tokens)
                for path, ids, num in zip(
                    batch.paths.tolist(), batch.ctc_ids.tolist(), batch.num_ctc_ids.tolist(), strict=True
                ):
                    assert collapse(path) == ids[:num]


def test_what_is_wrong_in_a_path_is_text(
    folder: ShardIndex, tokenizer: Tokenizer, vocabulary: CtcVocabulary
) -> None:
    record, _ = read_record(folder, 0, with_audio=False)
    said: set[int] = set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        paths = CtcPaths(substitute=1.0, drop=0.0)
        found = to_example(
            record,
            None,
            where="x",
            tokenizer=tokenizer,
            paths=paths,
            generator=generator,
            vocabulary=vocabulary,
        )
        assert found.path is not None
        said |= {*found.path.tolist()}
    # No single byte among them.
    assert said == {*range(vocabulary.num_bytes, len(vocabulary.tokens)), BLANK}


def test_a_path_is_as_long_as_its_budget_says(
    speech: Path, tokenizer_folder: Path, tokenizer: Tokenizer, vocabulary: CtcVocabulary
) -> None:
    """Counted in tokens, a path in letters would be several times as long as the batch has room for."""
    index = ShardIndex.load(speech)
    most = CtcPaths(min_repeats=3, max_repeats=3, max_blanks=1, substitute=0.0, drop=0.0)
    data = _make(speech, tokenizer_folder, vocabulary, paths=most, max_audio_tokens=600)
    for batch in islice(data.train_dataloader(), 12):
        assert batch.paths.numel() <= 600
    letters = load_tokens(index, tokenizer, vocabulary)
    tokens = index_tokens(speech, tokenizer)
    assert (letters.num_spoken >= tokens.num_spoken).all()
    assert letters.num_spoken.sum() > 1.8 * tokens.num_spoken.sum()
    np.testing.assert_array_equal(letters.num_tokens, tokens.num_tokens)
    assert token_counts_path(index, tokenizer, vocabulary) != token_counts_path(index, tokenizer)


def test_what_the_classes_cannot_write_is_a_bad_record(
    tmp_path: Path,
    fields: Callable[..., dict[str, object]],
    tokenizer: Tokenizer,
    vocabulary: CtcVocabulary,
) -> None:
    record = validate(fields(text="日", task="transcribe"), "x")
    with pytest.raises(InputError, match="found '日' in '日'"):
        to_item(
            to_example(record, None, where="x", tokenizer=tokenizer, paths=CtcPaths(), generator=_seed()),
            tokenizer,
            None,
            vocabulary,
        )
    turns = [{"role": "user", "text": "", "audio": True}, {"role": "assistant", "text": "Sim."}]
    with ShardWriter(tmp_path / "shards") as writer:
        for number, spoken in enumerate(("sim", "日")):
            writer.write(fields(id=f"{number}", text=None, turns=turns, task="answer", spoken=spoken))
    counts = index_tokens(tmp_path / "shards", tokenizer, vocabulary)
    assert counts.num_spoken.tolist() == [4, -1] and (counts.num_tokens > 0).all()


def _seed() -> torch.Generator:
    return torch.Generator().manual_seed(0)
