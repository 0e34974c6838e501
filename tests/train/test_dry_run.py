"""The largest batches are tried before the first step, leave no trace, and tell a budget where they do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_recipe

from amalia_mm.audio.io import encode_flac
from amalia_mm.data.order import BudgetOrder, PackedOrder
from amalia_mm.data.shards import ShardWriter
from amalia_mm.data.visits import Source
from amalia_mm.errors import InputError
from amalia_mm.train import cli
from amalia_mm.train.dry_run import scaled
from amalia_mm.train.hearing import Hearing
from amalia_mm.train.speaker import Speaker as SpeakerModule
from amalia_mm.voice.discriminators import Discriminators

TIMES = ("seconds", "wait_seconds", "rss_gb", "tokens_per_s", "mfu")


def figures(recipe: dict[str, Any], path: Path, **changes: Any) -> list[dict[str, float]]:
    run = Path(path.parent / path.stem)
    cli.main(["fit", "-c", str(toy_recipe.write({**recipe, "run_folder": str(run), **changes}, path))])
    return [{k: v for k, v in line.items() if k not in TIMES} for line in toy_recipe.figures(run)]


@pytest.mark.parametrize("kind", ["hearing", "understanding", "language", "preference", "acoustic"])
def test_a_run_gives_the_same_figures_with_and_without_it(kind: str, toy_data: Path, tmp_path: Path) -> None:
    """Dropout, masks and the optimiser must not notice: else a resumed run, which tries again, would differ."""
    recipe = getattr(toy_recipe, kind)(toy_data, tmp_path / "run", 4)
    without = figures(recipe, tmp_path / "without.yaml", dry_run={"enabled": False})
    tried: list[int] = []
    module = cli_module(kind)
    loss_terms = module.loss_terms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "loss_terms", lambda self, batch: (tried.append(1), loss_terms(self, batch))[1])
        found = figures(recipe, tmp_path / "with.yaml", dry_run={"enabled": True})
    assert found == without
    assert len(tried) > sum("loss" in line for line in found)


def cli_module(kind: str) -> type:
    from amalia_mm.train.acoustic import Acoustic
    from amalia_mm.train.language import Language
    from amalia_mm.train.preference import Preference
    from amalia_mm.train.understanding import Understanding

    return {
        "acoustic": Acoustic,
        "hearing": Hearing,
        "understanding": Understanding,
        "language": Language,
        "preference": Preference,
    }[kind]


VOCODER = {"sample_rate_hz": 16_000, "num_mels": 20, "fft_samples": 256, "hop_samples": 64}
VOCODER |= {"width": 16, "inner_width": 32, "num_layers": 1}
JUDGES = {"periods": [2, 3], "fft_samples": [256, 128], "period_channels": [4, 6], "resolution_channels": 4}


def contest(data: Path, run: Path, max_steps: int) -> dict[str, Any]:
    """Return the recipe of a vocoder against discriminators, which begin at the third step."""
    recipe: dict[str, Any] = toy_recipe.acoustic(data, run, max_steps)
    recipe["model"] = {
        "class_path": "amalia_mm.train.vocoder.AdversarialVocoding",
        "init_args": {
            "vocoder": {"class_path": "amalia_mm.voice.vocoder.Vocos", "init_args": VOCODER},
            "discriminators": {
                "class_path": "amalia_mm.voice.discriminators.Discriminators",
                "init_args": JUDGES,
            },
            "optim": toy_recipe.OPTIM,
            "adversary_from_step": 2,
        },
    }
    options = {"shards": {str(data / "shards/speech"): 1.0}, "window_samples": 2048, "windows_per_batch": 3}
    recipe["data"] = {
        "class_path": "amalia_mm.data.waveforms.WaveformData",
        "init_args": {**options, "num_workers": 0},
    }
    recipe["trainer"] |= {"gradient_clip_val": None}
    return recipe


def test_a_contest_is_tried_with_its_discriminators(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vocoder alone was tried: the discriminators, which take most of the memory, were met at their first step."""
    recipe = contest(toy_data, tmp_path / "run", 2)
    without = figures(recipe, tmp_path / "without.yaml", dry_run={"enabled": False})
    judged: list[tuple[int, bool]] = []
    forward = Discriminators.forward

    def counted(self: Discriminators, waveform: torch.Tensor) -> Any:
        judged.append((len(waveform), next(self.parameters()).requires_grad))
        return forward(self, waveform)

    monkeypatch.setattr(Discriminators, "forward", counted)
    assert figures(recipe, tmp_path / "with.yaml", dry_run={"enabled": True}) == without
    # Both before the discriminators' own step, both again before the vocoder's; the two steps of the run have none.
    assert judged == [(3, True), (3, True), (3, False), (3, False)]


def test_a_contest_that_does_not_fit_is_told_before_it_begins(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Discriminators.forward

    def small(self: Discriminators, waveform: torch.Tensor) -> Any:
        if len(waveform) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return forward(self, waveform)

    monkeypatch.setattr(Discriminators, "forward", small)
    with pytest.raises(InputError, match="set windows_per_batch: 1"):
        figures(contest(toy_data, tmp_path / "run", 2), tmp_path / "r.yaml", dry_run={"enabled": True})


def speakers(folder: Path) -> Path:
    """Write shards of three voices with six clips each, of 0.5 to 1.5 s."""
    fixed = {"version": 1, "variety": "pt-PT", "source": "toy", "licence": "CC0-1.0", "split": "train"}
    with ShardWriter(folder) as writer:
        for name, pitch_hz in {"ana": 110.0, "bruno": 150.0, "carla": 210.0}.items():
            for number in range(6):
                time = torch.arange(8_000 + 3_200 * number) / 16_000
                record = {"id": f"{name}-{number}", "speaker": name, "task": "transcribe", "text": "a"}
                clip = encode_flac(0.3 * torch.sin(2 * torch.pi * pitch_hz * time))
                writer.write({**fixed, **record, "spoken": "a"}, clip)
    return folder


def test_the_longest_stretches_of_speakers_are_tried(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of speakers were not tried at all; their stretches differ in length from step to step."""
    recipe: dict[str, Any] = toy_recipe.acoustic(toy_data, tmp_path / "run", 3)
    sizes = {"num_mels": 20, "width": 16, "num_blocks": 1, "embed_size": 8, "bottleneck": 8}
    encoder = {"class_path": "amalia_mm.voice.speaker.SpeakerEncoder", "init_args": sizes}
    recipe["model"] = {
        "class_path": "amalia_mm.train.speaker.Speaker",
        "init_args": {"speaker": encoder, "optim": toy_recipe.OPTIM},
    }
    options = {"shards": [str(speakers(tmp_path / "shards"))], "speakers_per_batch": 3, "crop_s": [0.3, 1.2]}
    recipe["data"] = {
        "class_path": "amalia_mm.data.speaker_data.SpeakerData",
        "init_args": {**options, "speeds": [1.0, 0.8], "num_workers": 0},
    }
    without = figures(recipe, tmp_path / "without.yaml", dry_run={"enabled": False})
    shapes: list[tuple[int, ...]] = []
    loss_terms = SpeakerModule.loss_terms

    def seen(self: SpeakerModule, batch: Any) -> Any:
        shapes.append(tuple(batch.waveforms.shape))
        return loss_terms(self, batch)

    monkeypatch.setattr(SpeakerModule, "loss_terms", seen)
    assert figures(recipe, tmp_path / "with.yaml", dry_run={"enabled": True}) == without
    tried, *steps = shapes
    assert tried[0] == 6 and all(step[0] == 6 for step in steps)
    assert 0.999 * 1.2 * 16_000 <= tried[1] <= 1.2 * 16_000
    assert max(step[1] for step in steps) < tried[1]

    def small(self: SpeakerModule, batch: Any) -> Any:
        if len(batch.waveforms) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return loss_terms(self, batch)

    monkeypatch.setattr(SpeakerModule, "loss_terms", small)
    with pytest.raises(InputError, match="set speakers_per_batch: 2"):
        figures(recipe, tmp_path / "large.yaml", dry_run={"enabled": True})


def test_a_budget_that_does_not_fit_is_told_with_one_that_does(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device with room for two rows: the message names the options, and the suggestion runs."""
    loss_terms = Hearing.loss_terms

    def small(self: Hearing, batch: Any) -> Any:
        if len(batch.num_samples) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return loss_terms(self, batch)

    monkeypatch.setattr(Hearing, "loss_terms", small)
    recipe = toy_recipe.hearing(toy_data, tmp_path / "run", 2)
    options: Any = recipe["data"]
    options["init_args"] |= {"max_audio_tokens": 4000, "max_text_tokens": 800, "max_rows": 8}
    with pytest.raises(
        InputError, match="max_audio_tokens, max_text_tokens, max_rows: found a batch of 8 rows"
    ) as told:
        figures(recipe, tmp_path / "large.yaml", dry_run={"enabled": True})
    assert "max_audio_tokens: 1000, max_text_tokens: 200, max_rows: 2" in str(told.value)
    options["init_args"] |= {"max_audio_tokens": 1000, "max_text_tokens": 200, "max_rows": 2}
    assert figures(recipe, tmp_path / "small.yaml", dry_run={"enabled": True})


def test_another_error_is_not_taken_for_memory(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Hearing, batch: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Hearing, "loss_terms", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        figures(
            toy_recipe.hearing(toy_data, tmp_path / "run", 2), tmp_path / "r.yaml", dry_run={"enabled": True}
        )


@pytest.mark.parametrize("seed", range(4))
def test_no_batch_of_any_epoch_computes_more_than_the_largest(seed: int) -> None:
    """A scan of one epoch misses the worst batch of another (icefall, issue 910)."""
    rng = np.random.default_rng(seed)
    size = 300
    audio = np.where(rng.random(size) < 0.2, 0, rng.lognormal(3, 1, size).astype(np.int64).clip(1, 300))
    text = rng.integers(2, 120, size)
    slower = np.stack([audio, np.ceil(audio * 1.11).astype(np.int64)])
    clips = Source(1.0, np.arange(size), text, slower.max(axis=0), speeds=(1.0, 0.9), tokens_at_speed=slower)
    texts = Source(0.5, np.arange(50), rng.integers(2, 200, 50), np.zeros(50, np.int64))
    order = BudgetOrder([clips, texts], max_audio_tokens=700, max_text_tokens=900, max_rows=16, seed=seed)

    def sizes(rows: Any) -> tuple[int, int]:
        refs = [ref for row in rows for ref in row]
        heard = [int(slower[clips.speeds.index(r.speed), r.record]) if r.source == 0 else 0 for r in refs]
        said = [int((text if r.source == 0 else texts.num_tokens)[r.record]) for r in refs]
        num_clips = sum(length > 0 for length in heard)
        assert num_clips * max(heard) <= 700 and len(refs) * max(said) <= 900 and len(refs) <= 16
        return num_clips * max(heard), len(refs) * max(h + s for h, s in zip(heard, said, strict=True))

    largest = [sizes(rows) for rows in order.largest().values()]
    most_audio, most_positions = (max(size[n] for size in largest) for n in (0, 1))
    given = [sizes(order.batch(step)) for step in range(sum(order.num_batches(epoch) for epoch in range(6)))]
    assert max(audio for audio, _ in given) <= most_audio
    assert max(positions for _, positions in given) <= most_positions * 1.1


def test_windows_without_text_fill_the_largest_batch() -> None:
    """Windows of speech have no text: as if each had some, one of them was tried in place of a batch."""
    windows = Source(1.0, np.arange(9), np.zeros(9, np.int64), np.ones(9, np.int64))
    order = BudgetOrder([windows], max_audio_tokens=4, max_text_tokens=1, max_rows=4, seed=0)
    assert [len(rows) for rows in order.largest().values()] == [4]
    assert max(len(order.batch(step)) for step in range(order.num_batches(0))) == 4


def test_packed_rows_are_full_in_the_largest_batch() -> None:
    documents = Source(1.0, np.arange(90), np.full(90, 7), np.zeros(90, np.int64))
    order = PackedOrder([documents], row_tokens=32, rows_per_batch=5, seed=0)
    (rows,) = order.largest().values()
    assert len(rows) == 5 and max(len(row) for row in rows) == 4


def test_a_scaled_budget_stays_above_nothing() -> None:
    assert scaled({"max_rows": 3, "max_audio_tokens": 1000}, 0.25) == {"max_rows": 1, "max_audio_tokens": 250}
