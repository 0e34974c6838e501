"""`amalia fit | validate | test | predict`: the LightningCLI, its links and its one-line errors.

A training module has losses, on training and validation shards. What a model writes is measured and used through its
folder, so `test` and `predict` say which command does that.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from amalia_mm.errors import InputError
from amalia_mm.train.callbacks import GracefulStop, SeedEveryStep, StepProgress
from amalia_mm.train.dry_run import DryRun
from amalia_mm.train.padding import Padding
from amalia_mm.train.precision import ALLOWED, native_precision
from amalia_mm.train.run_folder import RunFolder
from amalia_mm.train.strategy import Sharded
from amalia_mm.train.throughput import Throughput
from amalia_mm.train.voice_samples import VoiceSamples

TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
    "devices": 1,
    "gradient_clip_val": 1.0,
    "max_epochs": -1,
    "check_val_every_n_epoch": None,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,
}
"""Training is counted in steps, never in epochs, and the order of the data is ours (`data/order.py`)."""


class AmaliaCLI(LightningCLI):
    """LightningCLI with a run folder, and what must be equal in two places linked."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `--run_folder` and the links."""
        parser.add_argument(
            "--run_folder", type=str, required=True, help="where config, figures, checkpoint and model go"
        )
        # First of all: what comes after starts its clock when training does.
        parser.add_lightning_class_args(DryRun, "dry_run")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "last",
                "checkpoint.every_n_train_steps": 200,
                "checkpoint.enable_version_counter": False,
                "checkpoint.save_on_train_epoch_end": False,
            }
        )
        parser.add_lightning_class_args(SeedEveryStep, "randomness")
        parser.add_lightning_class_args(Throughput, "throughput")
        parser.add_lightning_class_args(Padding, "padding")
        parser.add_lightning_class_args(VoiceSamples, "voice_samples")
        parser.link_arguments("run_folder", "voice_samples.folder")
        parser.link_arguments("run_folder", "checkpoint.dirpath")
        parser.link_arguments("data.init_args.seed", "randomness.seed")
        parser.link_arguments("data.init_args.tokenizer", "model.init_args.tokenizer")
        parser.link_arguments("model.unread_tasks", "data.init_args.unread_tasks", apply_on="instantiate")
        parser.link_arguments("model.max_positions", "data.init_args.max_positions", apply_on="instantiate")
        parser.link_arguments(
            "model.geometry", "data.init_args.geometry", compute_fn=dataclasses.asdict, apply_on="instantiate"
        )
        parser.link_arguments("model.sample_rate_hz", "data.init_args.sample_rate_hz", apply_on="instantiate")
        parser.link_arguments("model.ctc_tokens", "data.init_args.ctc_tokens", apply_on="instantiate")
        parser.link_arguments("model.voice_frames", "data.init_args.voice_frames", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read the command line, and refuse a checkpoint that is none: what comes next looks into it."""
        super().parse_arguments(parser, args)
        if "subcommand" in self.config:
            _check_checkpoint(self.config[self.config.subcommand].get("ckpt_path"))

    def before_fit(self) -> None:
        """Refuse what would fail late: a precision that makes waveforms bf16, a run without an end, a strange start."""
        trainer: Trainer = self.trainer
        start = self.config[self.config.subcommand].get("ckpt_path")
        if start is not None and Path(start).is_dir() and not isinstance(trainer.strategy, Sharded):
            found, wanted = f"{start}, the checkpoint of sharded weights", "that of a run with whole ones"
            remedy = "go on with the trainer it was begun with, or give its model folder as init_from"
            raise InputError("--ckpt_path", found=found, wanted=wanted, remedy=remedy)
        if str(trainer.precision) not in ALLOWED:
            raise InputError(
                "trainer",
                field="precision",
                found=trainer.precision,
                wanted=" or ".join(ALLOWED),
                remedy="choose bf16-mixed; for bf16 weights set decoder.dtype",
            )
        if trainer.max_steps < 1:
            raise InputError(
                "trainer",
                field="max_steps",
                found=trainer.max_steps,
                wanted="at least 1",
                remedy="train by steps",
            )

    def before_validate(self) -> None:
        """Refuse to measure nothing."""
        if not getattr(self.datamodule, "val_shards", True):
            remedy = "give folders to validate on, or run `amalia evaluate RUN` for the figures of a model"
            raise InputError("data", field="val_shards", found="none", wanted="one or more", remedy=remedy)

    def before_test(self) -> None:
        """Say what measures a model: a training module knows losses only."""
        remedy = "run `amalia evaluate RUN` for its figures, `amalia validate` for its losses"
        raise InputError("amalia test", found="a training module", wanted="a model folder", remedy=remedy)

    def before_predict(self) -> None:
        """Say what uses a model."""
        remedy = "run `amalia transcribe`, `amalia ask` or `amalia chat` with --model"
        raise InputError("amalia predict", found="a training module", wanted="a model folder", remedy=remedy)


_TRAINING_STATE = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "pytorch-lightning_version")


_SHARDED = (".metadata", "meta.pt")
"""One of them is in the folder that a run with sharded weights writes."""


def _check_checkpoint(path: str | Path | None) -> None:
    """Raise `InputError` where a checkpoint cannot be read, or holds no state of a training run."""
    if path is None:
        return
    remedy = (
        "give the last.ckpt of a run folder, whole (a damaged one can be removed: the stage then starts over)"
    )
    wanted = "a file that `amalia fit` wrote"
    if Path(path).is_dir() and any((Path(path) / name).exists() for name in _SHARDED):
        return
    if not Path(path).is_file():
        raise InputError("--ckpt_path", found=f"{path}: no such checkpoint", wanted=wanted, remedy=remedy)
    try:
        found = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (
        Exception
    ) as error:  # torch, zipfile and pickle raise a dozen kinds for a file that is cut or strange
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError("--ckpt_path", found=f"{path}: {reason}", wanted=wanted, remedy=remedy) from error
    missing = [name for name in _TRAINING_STATE if not isinstance(found, dict) or name not in found]
    if missing:
        reason = f"{path}: no {', '.join(missing)}"
        raise InputError("--ckpt_path", found=reason, wanted=wanted, remedy=remedy)


def main(argv: Sequence[str]) -> None:
    """Run one sub-command of the LightningCLI.

    Raises:
        InputError: An option is unknown or has a value that does not fit; one line, before any work.
        KeyboardInterrupt: The run was stopped by a signal; its checkpoint is written.
    """
    quieten()
    kwargs: dict[str, Any] = {"exit_on_error": False}
    stop = GracefulStop()
    try:
        AmaliaCLI(
            save_config_callback=RunFolder,
            trainer_defaults={
                "callbacks": [stop, StepProgress()],
                "precision": native_precision(),
                **TRAINER_DEFAULTS,
            },
            parser_kwargs={**kwargs, **{name: dict(kwargs) for name in LightningCLI.subcommands()}},
            seed_everything_default=0,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=list(argv),
        )
    except ArgumentError as error:
        raise _one_line(argv, error) from error
    finally:
        stop.give_back()
    if stop.received is not None:
        raise KeyboardInterrupt


def _one_line(argv: Sequence[str], error: ArgumentError) -> InputError:
    """Return jsonargparse's message as one line that names the key; it prints its whole usage otherwise."""
    message = " ".join(str(error).split())
    key = re.search(r"""(?:key|[Kk]eys?|argument|option)s?:? ?["'`]?(?:-{0,2})([\w.]+)["'`]?""", message)
    return InputError(
        "amalia " + " ".join(argv[:3]),
        field=key.group(1) if key else "",
        found=message[-160:] if len(message) > 160 else message,
        wanted="options and keys that exist, with values that fit",
        remedy="correct the key; `--print_config` shows every one",
    )


def quieten() -> None:
    """Silence the notes of Lightning that are wrong here: warnings of our own making still come through."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*`IterableDataset` has `__len__` defined.*",
        ".*The number of training batches.*",
        ".*LightningCLI's args parameter is intended.*",
        ".*Total length of `list` across ranks is zero.*",
        ".*Using ModelCheckpoint with manual optimization.*",  # the state after a step is what is wanted
        ".*sync_dist=True.* when logging on epoch level.*",  # our means are of all processes already
    ):
        warnings.filterwarnings("ignore", message=message)
