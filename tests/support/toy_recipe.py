"""The command lines of tiny runs, on the toy data of conftest.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from amalia_mm.text.letters import NUM_LETTERS

DECODER = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "dropout": 0.1,
    "tie_word_embeddings": True,
}
ENCODER: dict[str, Any] = {
    "class_path": "amalia_mm.audio.encoder.ConvTransformer",
    "init_args": {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 32, "num_time_masks": 1},
}
PROJECTOR = {"class_path": "amalia_mm.fusion.projectors.CtcPosterior", "init_args": {"top_k": 4}}
OPTIM = {"lr": 1e-3, "warmup_steps": 5, "schedule": "cosine"}


def language(data: Path, run: Path, max_steps: int, **trainer: object) -> dict[str, object]:
    """Return the recipe of a next-token run."""
    return {
        "model": {
            "class_path": "amalia_mm.train.language.Language",
            "init_args": {"decoder": DECODER, "optim": OPTIM},
        },
        "data": {
            "class_path": "amalia_mm.data.module.TextData",
            "init_args": {
                "shards": {str(data / "shards/text"): 1.0},
                "tokenizer": str(data / "tokenizer"),
                "row_tokens": 48,
                "rows_per_batch": 4,
                "num_workers": 1,
            },
        },
        **_around(run, max_steps, trainer),
    }


def preference(data: Path, run: Path, max_steps: int, **trainer: object) -> dict[str, object]:
    """Return the recipe of a run over pairs of preference, which validates on pairs and on answers."""
    pairs, chat = str(data / "shards/pairs"), str(data / "shards/chat")
    return {
        "model": {
            "class_path": "amalia_mm.train.preference.Preference",
            "init_args": {"decoder": DECODER, "optim": OPTIM, "beta": 0.5, "sft_weight": 0.1},
        },
        "data": {
            "class_path": "amalia_mm.data.preference.PairData",
            "init_args": {
                "shards": {pairs: 1.0},
                "val_shards": [pairs],
                "task_shards": [chat],
                "tokenizer": str(data / "tokenizer"),
                "row_tokens": 200,
                "rows_per_batch": 2,
                "num_workers": 0,
            },
        },
        **_around(run, max_steps, {"val_check_interval": 7, **trainer}),
    }


def understanding(data: Path, run: Path, max_steps: int, **trainer: object) -> dict[str, object]:
    """Return the recipe of a joint run over speech and written conversations."""
    shards = {str(data / "shards/speech"): 1.0, str(data / "shards/chat"): 1.0}
    arguments = {
        "decoder": DECODER,
        "encoder": ENCODER,
        "projector": PROJECTOR,
        "optim": OPTIM,
        "ctc_weight": 0.5,
    }
    return {
        "model": {"class_path": "amalia_mm.train.understanding.Understanding", "init_args": arguments},
        "data": {
            "class_path": "amalia_mm.data.module.SpeechTextData",
            "init_args": {
                "shards": shards,
                "tokenizer": str(data / "tokenizer"),
                "max_audio_tokens": 200,
                "max_text_tokens": 200,
                "max_rows": 4,
                "num_workers": 1,
                "augment": {"noise_probability": 0.5},
            },
        },
        **_around(run, max_steps, trainer),
    }


def hearing(data: Path, run: Path, max_steps: int, **trainer: object) -> dict[str, object]:
    """Return the recipe of a CTC run with letters, Muon, a first epoch in order of length, and validation."""
    letters = {"letters_after": 1, "num_letters": NUM_LETTERS, "layer_kernel": 3}
    speech = str(data / "shards/speech")
    return {
        "model": {
            "class_path": "amalia_mm.train.hearing.Hearing",
            "init_args": {
                "decoder": DECODER,
                "encoder": {**ENCODER, "init_args": {**ENCODER["init_args"], **letters}},
                "projector": PROJECTOR,
                "optim": {**OPTIM, "muon": [r"encoder\.layers\."]},
                "letters_weight": 0.2,
            },
        },
        "data": {
            "class_path": "amalia_mm.data.module.SpeechTextData",
            "init_args": {
                "shards": {speech: 1.0},
                "val_shards": [speech],
                "tokenizer": str(data / "tokenizer"),
                "max_audio_tokens": 200,
                "max_rows": 4,
                "shortest_first_epochs": 1,
                "num_workers": 1,
            },
        },
        **_around(run, max_steps, {"val_check_interval": 7, **trainer}),
    }


def acoustic(data: Path, run: Path, max_steps: int, **trainer: object) -> dict[str, object]:
    """Return the recipe of an acoustic model, with validation and what it sounds like."""
    speech = str(data / "shards/speech")
    sizes = {"sample_rate_hz": 16_000, "num_mels": 20, "width": 16, "encoder_blocks": 1, "mean_blocks": 1}
    sizes |= {"flow_blocks": 1, "speaker_size": 4, "num_speakers": 2}
    return {
        "model": {
            "class_path": "amalia_mm.train.acoustic.Acoustic",
            "init_args": {
                "acoustic": {"class_path": "amalia_mm.voice.acoustic.AcousticModel", "init_args": sizes},
                "optim": OPTIM,
            },
        },
        "data": {
            "class_path": "amalia_mm.data.voice.VoiceData",
            "init_args": {"shards": {speech: 1.0}, "val_shards": [speech], "max_rows": 4, "num_workers": 1},
        },
        **_around(run, max_steps, {"val_check_interval": 7, **trainer}),
    }


def _around(run: Path, max_steps: int, trainer: dict[str, object]) -> dict[str, object]:
    return {
        "run_folder": str(run),
        "trainer": {"accelerator": "cpu", "precision": "32-true", "max_steps": max_steps, **trainer},
        "checkpoint": {"every_n_train_steps": 5},
    }


def write(recipe: dict[str, object], path: Path) -> Path:
    """Write a recipe as YAML and return its path."""
    path.write_text(yaml.safe_dump(recipe))
    return path


def figures(run: Path) -> list[dict[str, float]]:
    """Return the lines of a run's metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
