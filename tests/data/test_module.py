"""The DataModules: the same batches for any number of workers and processes, and after any kill."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import ArgumentParser

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.geometry import AudioGeometry
from amalia_mm.batch import BLANK, IGNORE, SpeechTextBatch, TextBatch
from amalia_mm.data.ctc_paths import CtcPaths
from amalia_mm.data.index import INDEX_NAME, ShardIndex, read_record
from amalia_mm.data.module import SpeechTextData, TextData
from amalia_mm.data.shard_data import ShardData
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.tars import sha256
from amalia_mm.data.tokens import token_counts_path
from amalia_mm.errors import InputError
from amalia_mm.text.chat import render_document
from amalia_mm.text.tokenizer import Tokenizer

Make = Callable[..., Any]


@pytest.fixture
def text(documents: Path, tokenizer_folder: Path) -> Make:
    def make(**changes: Any) -> TextData:
        arguments: dict[str, Any] = {"shards": {str(documents): 1.0}, "tokenizer": str(tokenizer_folder)}
        arguments |= {"row_tokens": 48, "rows_per_batch": 5, "num_workers": 0}
        return ready(TextData(**(arguments | changes)))

    return make


@pytest.fixture
def heard(speech: Path, documents: Path, tokenizer_folder: Path, geometry: AudioGeometry) -> Make:
    def make(**changes: Any) -> SpeechTextData:
        arguments: dict[str, Any] = {"shards": {str(speech): 1.0, str(documents): 0.2}}
        arguments |= {"tokenizer": str(tokenizer_folder)}
        arguments |= {"geometry": geometry, "augment": Augment(), "max_rows": 6, "num_workers": 0}
        return ready(SpeechTextData(**(arguments | changes)))

    return make


def ready(data: ShardData[Any]) -> Any:
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize(
    "wrong",
    [{"shards": {}}, {"shards": {"x": float("nan")}}, {"row_tokens": 1}, {"rows_per_batch": 0}, {"seed": -1}],
)
def test_settings_that_cannot_be_are_told_in_one_line(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(InputError, match=f"data: {name}: found"):
        TextData(**{"shards": {"x": 1.0}, "tokenizer": "t", **wrong})


def test_only_training_goes_from_short_to_long(heard: Make, speech: Path) -> None:
    """A validation that stops early would otherwise be of the shortest clips alone."""
    data = heard(shards={str(speech): 1.0}, val_shards=[str(speech)], shortest_first_epochs=1, max_rows=2)

    def lengths(batches: Iterator[SpeechTextBatch]) -> list[int]:
        return [batch.text.ids.shape[1] for batch in batches]

    num_batches = len(data.val_dataloader())
    trained = lengths(islice(data.train_dataloader(), num_batches))
    validated = lengths(iter(data.val_dataloader()))
    assert all(after >= 0.8 * before for before, after in pairwise(trained))
    assert trained[-1] > 1.5 * trained[0]
    assert not all(after >= 0.8 * before for before, after in pairwise(validated))


def at(data: Any, step: int = 0, rank: int = 0, world_size: int = 1, accumulate: int = 1) -> Any:
    """Give the module what it reads of a trainer."""
    data.trainer = SimpleNamespace(
        global_step=step, accumulate_grad_batches=accumulate, global_rank=rank, world_size=world_size
    )
    return data


def batches(data: Any, count: int) -> list[Any]:
    return list(islice(data.train_dataloader(), count))


def assert_same(found: Any, wanted: Any) -> None:
    """Every tensor of two batches is equal to the bit."""
    for field in dataclasses.fields(wanted):
        one, other = getattr(found, field.name), getattr(wanted, field.name)
        if dataclasses.is_dataclass(other):
            assert_same(one, other)
        elif isinstance(other, torch.Tensor):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        else:
            assert one == other


@pytest.mark.parametrize("kind", ["text", "heard"])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(kind: str, num_workers: int, request: pytest.FixtureRequest) -> None:
    make = request.getfixturevalue(kind)
    alone = batches(make(), 14)
    for found, wanted in zip(batches(make(num_workers=num_workers), 14), alone, strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize("kind", ["text", "heard"])
def test_a_resumed_run_reads_what_it_would_have_read(kind: str, request: pytest.FixtureRequest) -> None:
    make = request.getfixturevalue(kind)
    through = batches(make(), 40)
    for found, wanted in zip(batches(at(make(), step=33), 7), through[33:], strict=True):
        assert_same(found, wanted)
    for found, wanted in zip(batches(at(make(), step=8, accumulate=4), 8), through[32:], strict=True):
        assert_same(found, wanted)


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_processes_share_the_global_batch(heard: Make, world_size: int) -> None:
    """Each record with its very augmentation is on one process; a process without any carries no loss."""

    def rows(batch: SpeechTextBatch) -> dict[str, tuple[float, int]]:
        """Records with the sum of their clips, which differs when the augmentation does, and what hides parts."""
        assert batch.waveforms is not None and batch.num_samples is not None and batch.clip_seeds is not None
        sums = [float(w[:n].double().sum()) for w, n in zip(batch.waveforms, batch.num_samples, strict=True)]
        heard_rows = batch.is_audio.any(dim=1).tolist()
        clips = iter(zip(sums, batch.clip_seeds, strict=True))
        return {
            name: next(clips) if is_heard else (0.0, 0)
            for name, is_heard in zip(batch.text.record_ids, heard_rows, strict=True)
        }

    make = partial(heard, shards=speech_only(heard), max_rows=9)
    whole = batches(make(), 6)
    parts = [batches(at(make(), rank=rank, world_size=world_size), 6) for rank in range(world_size)]
    for step, batch in enumerate(whole):
        own = [part[step] for part in parts]
        learned = [part for part in own if (part.text.labels != IGNORE).any()]
        together: dict[str, tuple[float, int]] = {}
        for part in learned:
            together |= rows(part)
        assert together == rows(batch)
        assert sum(len(part.text.record_ids) for part in learned) == len(batch.text.record_ids)
        assert sum(int((part.text.labels != IGNORE).sum()) for part in own) == int(
            (batch.text.labels != IGNORE).sum()
        )
        for part in own:
            if not (part.text.labels != IGNORE).any():
                assert (part.num_ctc_ids == -1).all()


def test_what_is_hidden_of_a_clip_is_the_same_in_batches_of_any_size(heard: Make) -> None:
    """And another thing in another epoch, and of another clip."""

    def seeds(max_rows: int) -> list[dict[str, int]]:
        steps = heard(shards=speech_only(heard), max_rows=max_rows).train_dataloader().dataset
        size = steps.order.num_batches(0)
        epochs = [[steps[epoch * size + step] for step in range(size)] for epoch in (0, 1)]
        return [
            {name: seed for b in own for name, seed in zip(b.text.record_ids, b.clip_seeds, strict=True)}
            for own in epochs
        ]

    (first, second), other = seeds(9), seeds(2)[0]
    assert first == other and len(first) == 60
    assert not set(first.values()) & set(second.values()) and len(set(first.values())) == 60


def test_fewer_rows_than_processes_are_refused(text: Make) -> None:
    """With one row for eight processes, seven waited at every step and carried no loss, and nobody was told."""
    with pytest.raises(
        InputError, match=r"data: rows_per_batch: found 3; wanted at least 4, one for each process"
    ):
        at(text(rows_per_batch=3), rank=0, world_size=4).train_dataloader()
    assert batches(at(text(rows_per_batch=4), rank=0, world_size=4), 1)


def speech_only(heard: Make) -> dict[str, float]:
    return {next(iter(heard().shards)): 1.0}


def test_text_rows_hold_every_token_of_every_document(text: Make, tokenizer: Tokenizer) -> None:
    data = text()
    steps = data.train_dataloader().dataset
    learned: dict[tuple[int, ...], int] = {}
    for batch in [steps[step] for step in range(steps.order.num_batches(0))]:
        assert isinstance(batch, TextBatch)
        assert batch.ids.shape[1] <= 48 and batch.ids.shape[0] <= 5
        for ids, labels, documents in zip(batch.ids, batch.labels, batch.documents, strict=True):
            for number in range(1, int(documents.max()) + 1):
                inside = documents == number
                known = labels[inside] != IGNORE
                # Inside a piece each label is the next token; only the last position looks beyond it.
                assert (labels[inside][:-1] == ids[inside][1:]).all()
                learned[tuple(ids[inside].tolist())] = int(known.sum())
    index = ShardIndex.load(next(iter(data.shards)))
    texts = [read_record(index, record)[0].text or "" for record in range(len(index))]
    assert sum(learned.values()) == sum(len(render_document(text, tokenizer)) - 1 for text in texts)


def test_paths_stand_in_for_clips(heard: Make) -> None:
    for batch in batches(heard(paths=CtcPaths(), max_audio_tokens=500), 10):
        assert batch.waveforms is None
        if batch.paths is not None:
            assert batch.paths.shape[0] * batch.paths.shape[1] <= 500
            lengths = batch.num_audio_tokens.tolist()
            for path, length in zip(batch.paths.tolist(), lengths, strict=True):
                assert path[length:] == [BLANK] * (len(path) - length)


def test_a_record_is_varied_each_time_it_comes(heard: Make) -> None:
    """The same clip in another epoch has other noise, and again the same when that epoch is read again."""

    def clips(first: int) -> dict[str, torch.Tensor]:
        steps = heard(shards=speech_only(heard)).train_dataloader().dataset
        size = steps.order.num_batches(0)
        found = {}
        for batch in [steps[first * size + step] for step in range(size)]:
            for name, clip, length in zip(
                batch.text.record_ids, batch.waveforms, batch.num_samples, strict=True
            ):
                found[name] = clip[:length]
        return found

    first, second, again = clips(0), clips(1), clips(0)
    common = first.keys() & second.keys()
    assert len(common) > 40
    assert sum(torch.equal(first[name], second[name]) for name in common) < len(common) / 2
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_validation_reads_each_record_once_and_always_the_same(
    heard: Make, speech: Path, documents: Path
) -> None:
    def names(rank: int = 0, world_size: int = 1) -> list[str]:
        data = at(heard(val_shards=[str(speech), str(documents)]), step=70, rank=rank, world_size=world_size)
        loader = data.val_dataloader()
        assert len(loader) == sum(1 for _ in loader)
        learned = [batch for batch in loader if (batch.text.labels != IGNORE).any()]
        return [name for batch in learned for name in batch.text.record_ids]

    whole = names()
    assert len(whole) == len(set(whole)) == 180
    assert whole == names()
    assert sorted(names(0, 2) + names(1, 2)) == sorted(whole)
    assert heard().val_dataloader() == []


def test_the_geometry_may_come_as_a_mapping(heard: Make, geometry: AudioGeometry) -> None:
    assert heard(geometry=dataclasses.asdict(geometry)).geometry == geometry


def test_the_modules_are_built_from_configuration(heard: Make, geometry: AudioGeometry) -> None:
    given = heard()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(SpeechTextData, "data")
    init_args = {
        "shards": given.shards,
        "tokenizer": given.tokenizer,
        "geometry": dataclasses.asdict(geometry),
    }
    init_args |= {"paths": {"max_blanks": 3}, "augment": {"gain_db": [-3.0, 3.0]}}
    config = parser.parse_object(
        {"data": {"class_path": "amalia_mm.data.module.SpeechTextData", "init_args": init_args}}
    )
    data = parser.instantiate(config)["data"]
    assert data.geometry == geometry
    assert data.paths == CtcPaths(max_blanks=3)
    assert data.augment.gain_db == (-3.0, 3.0)


class Count(L.LightningModule):
    """Remembers the records it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[tuple[str, ...]] = []

    def training_step(self, batch: TextBatch, batch_idx: int) -> torch.Tensor:
        self.seen.append(batch.record_ids)
        return self.weight * batch.ids.sum()

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        self.seen.append(("validation", *batch.record_ids))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_lightning_trains_without_end_and_resumes_where_it_was(
    text: Make, documents: Path, tmp_path: Path
) -> None:
    def fit(max_steps: int, checkpoint: str | None = None) -> list[tuple[str, ...]]:
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_steps=max_steps,
            max_epochs=-1,
            accumulate_grad_batches=2,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            val_check_interval=6,
            check_val_every_n_epoch=None,
        )
        model = Count()
        trainer.fit(model, text(num_workers=1, val_shards=[str(documents)]), ckpt_path=checkpoint)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return model.seen

    through = [seen for seen in fit(8) if seen[:1] != ("validation",)]
    first = [seen for seen in fit(5) if seen[:1] != ("validation",)]
    rest = [seen for seen in fit(8, str(tmp_path / "last.ckpt")) if seen[:1] != ("validation",)]
    assert first + rest == through
    assert len(through) == 16


def damage(folder: Path, copy: Path, records: range, member: str) -> Path:
    """Copy a folder and make members of some records unreadable; the sums are taken after the damage."""
    shutil.copytree(folder, copy)
    index = ShardIndex.load(copy)
    for number in records:
        path = copy / index.shards[index.shard_of[number]].name
        content = bytearray(path.read_bytes())
        offset = int(index.integers[f"{member}_offset"][number])
        content[offset : offset + 40] = bytes(40)
        path.write_bytes(content)
    plan = json.loads((copy / INDEX_NAME).read_text())
    for shard in plan["shards"]:
        shard["sha256"] = sha256(copy / shard["name"])
    (copy / INDEX_NAME).write_text(json.dumps(plan))
    return copy


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_clips_are_counted_and_left_out(
    heard: Make, speech: Path, tmp_path: Path, num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = damage(speech, tmp_path / "damaged", range(5, 7), "audio")
    data = heard(shards={str(folder): 1.0}, num_workers=num_workers)
    loader = data.train_dataloader()
    size = loader.dataset.order.num_batches(0)
    names = [name for batch in islice(loader, size) for name in batch.text.record_ids]
    assert sorted(names) == sorted(f"s{number}" for number in range(60) if number not in (5, 6))
    assert data.bad_records is not None
    bad, read = data.bad_records.counts()[str(folder)]
    assert bad >= 2 and read >= 60
    data.teardown("fit")
    assert f"{folder}: {bad} bad records of {read} read were left out" in caplog.text


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_bad_clips_stop_the_run_in_one_line(
    heard: Make, speech: Path, documents: Path, tmp_path: Path, num_workers: int
) -> None:
    folder = damage(speech, tmp_path / "damaged", range(40), "audio")
    data = heard(shards={str(folder): 1.0, str(documents): 1.0}, num_workers=num_workers)
    with pytest.raises(InputError) as error:
        batches(data, 30)
    message = str(error.value)
    assert "\n" not in message and "Traceback" not in message
    assert message.startswith("data: bad records: found 3 of ")
    assert f" in {folder}" in message and str(documents) not in message
    assert "at most 0.01 of all (max_bad_fraction)" in message and ".tar: record " in message


def test_unreadable_records_are_known_before_anything_is_read(
    text: Make, documents: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = damage(documents, tmp_path / "few", range(2), "json")
    text(shards={str(few): 1.0}).train_dataloader()
    assert "2 of 120 records left out" in caplog.text and "record 00000000" in caplog.text
    many = damage(documents, tmp_path / "many", range(3), "json")
    with pytest.raises(InputError, match=f"found 3 of 120 in {many}; wanted at most 0.01"):
        text(shards={str(many): 1.0}).train_dataloader()
    assert len(batches(text(shards={str(many): 1.0}, max_bad_fraction=0.1), 3)) == 3


def test_clips_that_do_not_fit_are_counted_not_cut(heard: Make, speech: Path) -> None:
    longest = int(ShardIndex.load(speech).num_samples.max())
    limit = heard().geometry.num_audio_tokens(longest) - 1
    with pytest.raises(
        InputError, match="too long a clip.*wanted at most|at most .* max_audio_tokens"
    ) as error:
        heard(max_audio_tokens=limit, max_bad_fraction=0.0).train_dataloader()
    assert ".tar: record " in str(error.value)
    names = {
        name
        for batch in batches(heard(max_audio_tokens=limit, max_bad_fraction=0.5), 60)
        for name in batch.text.record_ids
    }
    assert f"s{int(ShardIndex.load(speech).num_samples.argmax())}" not in names
    with pytest.raises(InputError, match="weight: found 0 usable records of 60"):
        heard(max_audio_tokens=1, max_bad_fraction=1.0).train_dataloader()


def test_clips_without_geometry_and_texts_too_long_are_named(heard: Make) -> None:
    with pytest.raises(InputError, match="geometry: found clips, and no audio geometry"):
        heard(geometry=None).train_dataloader()
    with pytest.raises(InputError, match="too long a text"):
        heard(max_text_tokens=40).train_dataloader()


def test_a_step_whose_records_are_all_bad_carries_no_loss(heard: Make, speech: Path, tmp_path: Path) -> None:
    folder = damage(speech, tmp_path / "damaged", range(60), "audio")
    data = heard(shards={str(folder): 1.0}, max_bad_fraction=1.0)
    batch = batches(data, 1)[0]
    assert batch.waveforms is None
    assert (batch.text.labels == IGNORE).all() and batch.text.ids.numel() == 1


@pytest.mark.parametrize("num_workers", [0, 1])
def test_stale_token_counts_stop_the_run(
    text: Make, documents: Path, tmp_path: Path, tokenizer: Tokenizer, num_workers: int
) -> None:
    folder = Path(shutil.copytree(documents, tmp_path / "stale"))
    data = text(shards={str(folder): 1.0}, num_workers=num_workers)
    index = ShardIndex.load(folder)
    data._folders[str(folder)].counts.num_tokens[:] += 1
    with pytest.raises(InputError, match="num_tokens: found .* as counted in the index; delete") as error:
        batches(data, 1)
    assert "\n" not in str(error.value)
    assert token_counts_path(index, tokenizer).is_file()


def test_what_is_missing_is_named_before_training(text: Make, documents: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shards: found none"):
        text(shards={})
    with pytest.raises(InputError, match="nowhere"):
        text(shards={"nowhere": 1.0})
    with pytest.raises(InputError, match="weight 0.001"):
        text(shards={str(documents): 0.001}).train_dataloader()
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        text(tokenizer=str(tmp_path))


def test_ctrl_c_is_the_main_process_s_alone(text: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """The terminal sends it to the workers too; they go on and print nothing."""
    loader = text(num_workers=2).train_dataloader()
    stream: Iterator[TextBatch] = iter(loader)
    for _ in range(2):
        next(stream)  # each worker has begun: before that, Ctrl-C ends it as any program
    for worker in loader._iterator._workers:
        os.kill(worker.pid, signal.SIGINT)
    for _ in range(40):
        next(stream)
    assert all(worker.is_alive() for worker in loader._iterator._workers)
    assert "Traceback" not in capfd.readouterr().err


def test_a_loader_before_setup_is_a_mistake(documents: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"setup\(\) must run"):
        TextData({str(documents): 1.0}, str(tokenizer_folder)).train_dataloader()


def test_no_speech_is_learned_as_no_words(
    tmp_path: Path, heard: Make, clip: Callable[[int], bytes], fields: Callable[..., dict[str, object]]
) -> None:
    with ShardWriter(tmp_path / "silence") as writer:
        for number in range(3):
            writer.write(fields(id=f"n{number}", text="", task="transcribe"), clip(4_000))
    batch = batches(heard(shards={str(tmp_path / "silence"): 1.0}), 1)[0]
    assert batch.num_ctc_ids.tolist() == [0, 0, 0]
    # What is learned is to end the turn at once.
    assert (batch.text.labels != IGNORE).sum(dim=1).tolist() == [1, 1, 1]
