"""Learning speakers: the margin loss against one that is written out, and a run that goes on as if never stopped."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from amalia_mm import cli
from amalia_mm.audio.io import encode_flac
from amalia_mm.batch import IGNORE
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.speaker_data import SpeakerData
from amalia_mm.errors import InputError
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES
from amalia_mm.train.losses import additive_margin
from amalia_mm.train.optim import OptimConfig
from amalia_mm.train.speaker import Speaker, _each_once, unseen_terms
from amalia_mm.voice.speaker import SpeakerEncoder
from amalia_mm.voice_folder import load_voice_part


def slow_margin(scores, classes, margin, scale):
    """Wang et al. 2018, equation 5, clip by clip."""
    total = 0.0
    for row, right in zip(scores.tolist(), classes.tolist(), strict=True):
        if right == IGNORE:
            continue
        own = math.exp(scale * (row[right] - margin))
        others = sum(math.exp(scale * score) for place, score in enumerate(row) if place != right)
        total -= math.log(own / (own + others))
    return total


@pytest.mark.parametrize(("margin", "scale"), [(0.0, 1.0), (0.2, 10.0), (0.35, 30.0)])
def test_the_margin_loss_is_the_one_written_out(margin, scale):
    scores = 2 * torch.rand(6, 4) - 1
    classes = torch.tensor([0, 3, 1, IGNORE, 2, 2])
    found = additive_margin(scores, classes, margin, scale)
    assert float(found.sum) == pytest.approx(slow_margin(scores, classes, margin, scale), rel=1e-5)
    assert float(found.count) == 5


def test_a_margin_asks_for_more():
    scores, classes = torch.tensor([[0.9, 0.1]]), torch.tensor([0])
    losses = [float(additive_margin(scores, classes, margin, 10.0).sum) for margin in (0.0, 0.2, 0.4)]
    assert losses == sorted(losses)
    assert losses[0] < losses[2]


def slow_unseen(embeddings, speakers, scale):
    """Wan et al. 2018, equations 8 and 9, clip by clip; the middle of one's own without the clip."""
    total, count, mistaken = 0.0, 0, 0
    names = sorted(set(speakers) - {IGNORE})
    for number, speaker in enumerate(speakers):
        if speaker == IGNORE or speakers.count(speaker) < 2:
            continue
        scores = {}
        for name in names:
            own = [i for i, other in enumerate(speakers) if other == name and i != number]
            middle = torch.stack([embeddings[i] for i in own]).mean(0)
            scores[name] = float(torch.dot(embeddings[number], middle / middle.norm()))
        total -= scale * scores[speaker] - math.log(sum(math.exp(scale * s) for s in scores.values()))
        mistaken += max(scores, key=lambda name: scores[name]) != speaker
        count += 1
    return total, count, mistaken


def test_unseen_speakers_are_found_by_their_other_clips():
    embeddings = torch.nn.functional.normalize(torch.randn(9, 5), dim=1)
    speakers = [4, 4, 7, 7, 7, 2, IGNORE, 9, 9]
    found = unseen_terms(embeddings, torch.tensor(speakers), 5.0)
    total, count, mistaken = slow_unseen(embeddings, speakers, 5.0)
    assert float(found["loss"].sum) == pytest.approx(total, rel=1e-5)
    assert float(found["loss"].count) == float(found["mistaken"].count) == count == 7
    assert float(found["mistaken"].sum) == mistaken
    nobody = unseen_terms(embeddings, torch.full((9,), IGNORE), 5.0)
    assert [float(term.count) for term in nobody.values()] == [0.0, 0.0]


@pytest.mark.parametrize("field", ["margin", "scale", "margin_steps"])
def test_values_below_nothing_are_named(field):
    with pytest.raises(InputError, match=field):
        Speaker(SpeakerEncoder, OptimConfig(lr=1e-3), **{field: -1})


VOICES = {"ana": 150.0, "bruno": 260.0, "carla": 420.0, "duarte": 700.0}
"""Who is known by a tone."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones") / "shards"
    generator = torch.Generator().manual_seed(0)
    fixed = {"version": 1, "variety": "pt-PT", "source": "toy", "licence": "CC0-1.0", "split": "train"}
    with ShardWriter(folder) as writer:
        for name, pitch_hz in VOICES.items():
            for number in range(6):
                time = torch.arange(12_000 + 800 * number) / 16_000
                noise = 0.02 * torch.randn(len(time), generator=generator)
                tone = 0.3 * torch.sin(2 * torch.pi * pitch_hz * time) + noise
                record = {"id": f"{name}-{number}", "speaker": name, "task": "transcribe", "text": "a"}
                writer.write({**fixed, **record, "spoken": "a"}, encode_flac(tone))
    return folder


def fit(shards, run, *options):
    recipe = Path(__file__).parents[2] / "recipes" / "20_speaker" / "recipe.yaml"
    sizes = {"num_mels": 20, "width": 16, "num_blocks": 1, "embed_size": 8, "bottleneck": 8}
    small = [f"--model.init_args.speaker.init_args.{name}={value}" for name, value in sizes.items()]
    data = {
        "shards": f"[{shards}]",
        "val_speakers": "[carla, duarte]",
        "leave_out": "null",
        "speeds": "[1.0, 1.2]",
        "speakers_per_batch": 4,
        "crop_s": "[0.3, 0.5]",
        "num_workers": 0,
    }
    given = [f"--data.init_args.{name}={value}" for name, value in data.items()]
    more = [f"--run_folder={run}", "--trainer.max_steps=12", "--trainer.val_check_interval=6"]
    code = cli.main(["fit", "-c", str(recipe), *small, *given, *more, "--trainer.accelerator=cpu", *options])
    return code


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_every_process_validates_on_all_clips_and_no_clip_is_found_by_itself(shards):
    """Half a batch has one clip of each speaker, and nothing to find it by: on two processes the loss was 0."""
    data = SpeakerData([str(shards)], ["carla", "duarte"], speakers_per_batch=2, num_workers=0)
    data.setup()
    data.trainer = SimpleNamespace(world_size=2, global_rank=1, global_step=0, accumulate_grad_batches=1)
    (batch,) = list(data.val_dataloader())[:1]
    assert sorted(batch.speakers.tolist()) == [0, 0, 1, 1]
    twice = replace(
        batch,
        **{name: torch.cat([getattr(batch, name)] * 2) for name in ("waveforms", "num_samples", "speakers")},
        places=batch.places * 2,
    )
    assert _each_once(twice).tolist() == [*batch.speakers.tolist(), *[IGNORE] * 4]
    with pytest.raises(InputError, match="found by another one"):
        SpeakerData([str(shards)], ["carla"], clips_per_speaker=1)


def test_a_run_leaves_a_folder_to_use_and_a_stopped_one_goes_on_as_if_never_stopped(shards, tmp_path):
    assert fit(shards, tmp_path / "whole") == 0
    whole = losses(tmp_path / "whole")
    assert len(whole) == 12
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert "val_mistaken" in lines
    loaded, config = load_voice_part(tmp_path / "whole" / "model", "speaker", SpeakerEncoder)
    assert loaded.embed_size == 8
    assert not loaded.training
    assert config["made_by"]["steps"] == 12
    assert not (tmp_path / "whole" / "model" / "tokenizer").exists()
    assert str(shards) in (tmp_path / "whole" / "model" / "README.md").read_text()

    half, stop = tmp_path / "half", "--checkpoint.every_n_train_steps=7"
    assert fit(shards, half, "--trainer.limit_val_batches=0", stop) == 0
    (half / "model").rename(tmp_path / "first")
    again = ("--ckpt_path", str(half / "last.ckpt"), "--trainer.limit_val_batches=0")
    assert fit(shards, half, *again) == 0
    assert losses(half) == pytest.approx(whole, rel=1e-5)
    first, _ = load_voice_part(tmp_path / "first", "speaker", SpeakerEncoder)
    second, _ = load_voice_part(half / "model", "speaker", SpeakerEncoder)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name])

    strangers = (*again, "--data.init_args.val_speakers=null")
    assert fit(shards, half, *strangers) == 2


def test_the_two_encoders_of_the_quickstart_know_other_voices_and_neither_those_of_the_test():
    folder = Path(__file__).parents[2] / "configs" / "data"
    first, judge = (
        yaml.safe_load((folder / f"quickstart_{name}.yaml").read_text())["init_args"]
        for name in ("speakers", "judge")
    )
    names = {voice.name for voice in TRAIN_VOICES}
    assert set(judge["only"]) == set(first["leave_out"])
    assert {*judge["only"], *first["val_speakers"]} <= names
    assert not set(judge["only"]) & set(first["val_speakers"])
    assert not names & {voice.name for voice in TEST_VOICES}
    assert first["shards"] == judge["shards"]
