"""A tiny run with random models, clips of noise and every file that an evaluation reads."""

from __future__ import annotations

import json

import pytest
import torch
from ears import EARS

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.io import write_audio
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.run import save_model
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer

SIZES = {
    "vocab_size": 360,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.5,
}
SAID = ["Bom dia, quero um café.", "O comboio parte às oito e meia.", "Tenho <sede> & fome.", "Chama-se Ana."]


SPECS = {
    "decoder": SIZES,
    "encoder": {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": EARS},
    "projector": {"class_path": "amalia_mm.fusion.projectors.CtcPosterior"},
}
STAGES = {
    "04_sft": ["decoder"],
    "10_hearing": ["encoder", "projector"],
    "13_paths": ["decoder", "projector"],
    "14_joint": ["encoder", "projector", "decoder"],
}
BEGAN_WITH = {
    "/elsewhere/then/10_hearing/model": ["encoder", "projector.head"],
    "/elsewhere/then/13_paths/model": ["decoder", "projector.blank"],
}


def _save(folder, tokenizer, parts, seed):
    torch.manual_seed(seed)
    config = DecoderConfig(**SIZES)
    model = SpeechTextModel(ConvTransformer(**EARS), CtcPosterior(8, config), Decoder(config))
    specs = {part: SPECS[part] for part in parts}
    began = {"init_from": BEGAN_WITH, "made_by": {"run": "/elsewhere/then/14_joint"}}
    others = {name for name in model.state_dict() if name.partition(".")[0] not in parts}
    config = specs | (began if len(parts) == len(SPECS) else {})
    save_model(folder, model, config=config, tokenizer=tokenizer, card="", leave_out=others)


def _write_rows(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _write_stage(folder, name, *, with_losses=True):
    folder.mkdir(exist_ok=True)
    (folder / "stage.json").write_text(
        json.dumps({"name": name, "seconds": 12.5, "peak_rss_gb": 1.25, "commit": "older"})
    )
    if with_losses:
        rows = [
            {"step": step, "loss": 4.0 / step, "lr": 1e-3, "seconds": float(step), "wait_seconds": 0.02}
            for step in range(1, 31)
        ]
        _write_rows(folder / "metrics.jsonl", [*rows, {"step": 30, "val_loss": 0.5}])
        (folder / "config.yaml").write_text("model:\n  note: <não é uma etiqueta>\n")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run: models of four stages, five stages in all, and the test files."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    tokenizer = run / "tokenizer"
    tokenizer.mkdir(parents=True)
    Tokenizer.train([*SAID, "A capital de Portugal é Lisboa."], 360).save(tokenizer)
    for seed, (name, parts) in enumerate(STAGES.items()):
        _save(run / name / "model", tokenizer, parts, seed)
    for name in ("00_data", "04_sft", "10_hearing", "13_paths", "14_joint"):
        _write_stage(run / name, name, with_losses=name != "00_data")
    rows = []
    for number in range(8):
        generator = torch.Generator().manual_seed(number)
        write_audio(run / f"{number}.wav", 0.1 * torch.randn(12_000 + 900 * number, generator=generator))
        rows.append(
            {
                "id": f"clip-{number}",
                "audio": f"{number}.wav",
                "text": SAID[number % 4],
                "voice": f"voz{number % 2}",
                "template": f"t{number}",
                "task": "answer" if number >= 6 else "transcribe",
                "answer": "Lisboa" if number >= 6 else None,
                "kind": "reformulated" if number >= 6 else None,
                "heldout": "heldout_template" if number in (2, 3) else "seen_template",
                "source": "minha gravação" if number == 5 else "synthetic",
            }
        )
    _write_rows(run / "test.jsonl", [*rows, {"id": "text", "audio": None, "text": "Olá."}])
    _write_rows(run / "train.jsonl", [{"id": "a", "audio": None, "text": "Bom dia, Ana. Bom dia!"}])
    kinds = ("known", "reformulated", "context", "arithmetic")
    _write_rows(
        run / "text_test.jsonl", [{"question": f"Qual é? {k}", "answer": "Lisboa", "kind": k} for k in kinds]
    )
    _write_rows(
        run / "pairs.jsonl",
        [
            {
                "european": "Apanho o autocarro.",
                "brazilian": "Pego o ônibus.",
                "contrast": "autocarro",
                "in_vocabulary": True,
            },
            {"european": "Igual.", "brazilian": "Igual.", "contrast": "empate"},
        ],
    )
    return run
