"""What a training run leaves behind: its resolved configuration, a line of figures a step, and the model folder.

config.yaml       every value, fragments inlined
metrics.jsonl     one JSON object a step, kept exact across resumes
last.ckpt         to go on (Lightning's checkpoint callback writes it)
model/            to use (`amalia_mm.run`), written when training ends
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml
from jsonargparse import Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from amalia_mm import __version__
from amalia_mm.data.shard_data import ShardData
from amalia_mm.errors import InputError
from amalia_mm.fusion.projectors import own_vocabulary
from amalia_mm.run import save_model
from amalia_mm.train.card import card
from amalia_mm.train.strategy import whole_weights
from amalia_mm.train.summed import SummedStep

METRICS = "metrics.jsonl"
MODEL = "model"
_WRITING = ".writing"
_OF_THE_QUICKSTART = {"begun.json", "stage.json"}
"""There before a run begins, where the quickstart starts it."""


class RunFolder(SaveConfigCallback):
    """Writes a run folder from the first rank; LightningCLI hands it the parsed configuration."""

    def __init__(
        self,
        parser: LightningArgumentParser,
        config: Namespace,
        config_filename: str = "config.yaml",
        overwrite: bool = True,
        multifile: bool = False,
    ) -> None:
        super().__init__(parser, config, config_filename, overwrite, multifile, save_to_log_dir=False)
        self.folder = Path(config.run_folder)
        self._written_step = -1
        self._started = self._batch_ended = time.perf_counter()
        self._wait_s = 0.0
        self._previous_s = 0.0

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the resolved configuration before any training; what only looks at a run changes nothing in it."""
        if stage != "fit":
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InputError(
                "--run_folder",
                found=f"{self.folder} is a file",
                wanted="a folder",
                remedy="choose another place",
            ) from None
        names = {path.name for path in self.folder.iterdir() if path.suffix != _WRITING}
        start = Path(self.config.get("ckpt_path") or "")
        strangers = names - _OF_THE_QUICKSTART - ({start.name} if start.parent == self.folder else set())
        if strangers and not (self.folder / self.config_filename).is_file():
            found = f"{self.folder} holds {', '.join(sorted(strangers)[:5])} and no {self.config_filename}"
            wanted, remedy = (
                "a new folder, or that of an earlier run",
                "choose another: a run replaces what it finds",
            )
            raise InputError("--run_folder", found=found, wanted=wanted, remedy=remedy)
        text = self.parser.dump(self.config, skip_none=False)
        _replace(self.folder / self.config_filename, text)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cut the figures of steps that a killed run had made after its last checkpoint: they are made again."""
        self._written_step = trainer.global_step
        if trainer.is_global_zero:
            lines = [
                line for line in _read_lines(self.folder / METRICS) if line["step"] <= trainer.global_step
            ]
            self._previous_s = max((line.get("seconds", 0.0) for line in lines), default=0.0)
            _replace(self.folder / METRICS, "".join(json.dumps(line) + "\n" for line in lines))
        self._started = self._batch_ended = time.perf_counter()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the time spent waiting for the batch."""
        self._wait_s += time.perf_counter() - self._batch_ended

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a line when an optimiser step is complete."""
        step = trainer.global_step
        due = step % max(1, trainer.log_every_n_steps) == 0 or step == trainer.max_steps  # pyright: ignore[reportAttributeAccessIssue]
        if step != self._written_step and due and trainer.is_global_zero:
            assert isinstance(pl_module, SummedStep)
            self._append(
                {
                    "step": step,
                    **{name: float(value) for name, value in pl_module.step_losses.items()},
                    "lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
                    "seconds": round(self._previous_s + time.perf_counter() - self._started, 3),
                    "wait_seconds": round(self._wait_s, 4),
                    "rss_gb": round(psutil.Process().memory_info().rss / 2**30, 3),
                }
            )
            self._wait_s = 0.0
        self._written_step = step
        self._batch_ended = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the validation figures of a training run."""
        figures = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val_")}
        is_fit = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if figures and trainer.is_global_zero and is_fit:
            self._append({"step": trainer.global_step, **figures})
        self._batch_ended = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the model folder when the run came to its end, not when it was interrupted."""
        if trainer.global_step < trainer.max_steps or trainer.max_steps < 1:
            return
        assert isinstance(pl_module, SummedStep) and pl_module.model is not None
        # Of weights that are sharded every rank gives its slices, and the first one writes.
        weights = whole_weights(pl_module.model)
        if trainer.is_global_zero:
            arguments = self._resolved()["model"]["init_args"]
            init_from = arguments.get("init_from") or {}
            noise = noise_in(pl_module.model, init_from)
            config = {
                part: arguments[part] for part in pl_module.parts if _has_more(pl_module.model, part, noise)
            }
            if "projector" in config:
                config["projector"] = _without_files(config["projector"], pl_module.model)
            if pl_module.lora_apart is not None:
                config["lora"] = dataclasses.asdict(pl_module.lora_apart)
            made_by = {"version": __version__, "steps": trainer.global_step, "run": str(self.folder)}
            data = getattr(trainer, "datamodule", None)
            clip_s = data.clip_s if isinstance(data, ShardData) else None
            if "encoder" in config and clip_s is not None:
                config["clip_s"] = round(clip_s, 2)
            # The sizes of the decoder travel with a CTC model too: its head and blank depend on them.
            if "decoder" in arguments:
                config.setdefault("decoder_sizes", arguments["decoder"])
            tokenizer = arguments.get("tokenizer")
            save_model(
                self.folder / MODEL,
                pl_module.model,
                config={**config, **pl_module.notes(), "made_by": made_by, "init_from": init_from},
                tokenizer=None if tokenizer is None else Path(tokenizer),
                card=card(self._resolved(), trainer.global_step),
                leave_out=noise,
                weights=weights,
            )

    def _resolved(self) -> dict[str, Any]:
        return yaml.safe_load(self.parser.dump(self.config, skip_none=False, skip_link_targets=False))

    def _append(self, line: dict[str, float]) -> None:
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def noise_in(model: nn.Module, init_from: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the names of the parameters that were neither trained nor started from anything.

    Kept in a model folder, they would be taken for something learned.
    """
    given = tuple(f"{part}." for parts in init_from.values() for part in parts)
    return {
        name
        for name, parameter in model.named_parameters()
        if not parameter.requires_grad and not f"{name}.".startswith(given)
    }


def _has_more(model: nn.Module, part: str, noise: Collection[str]) -> bool:
    own = getattr(model, part, None)
    if own is None:
        return False
    names = [f"{part}.{name}" for name, _ in own.named_parameters()]
    return not names or any(name not in noise for name in names)


def _without_files(spec: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return what a projector is built of, with its CTC vocabulary in place of the file: a model folder is whole."""
    vocabulary = own_vocabulary(getattr(model, "projector", None))
    if vocabulary is None:
        return dict(spec)
    return {**spec, "init_args": {**spec["init_args"], "vocabulary": dict(vocabulary.tokens)}}


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break  # the process died while writing its last line
    return lines


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + _WRITING)
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
