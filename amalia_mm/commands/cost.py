"""`amalia cost`: what a recipe takes on GPUs, before one is asked for.

It imports its room only when it is called.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from amalia_mm.errors import InputError
from amalia_mm.terminal import result

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]


def add_cost(commands: Commands) -> None:
    """Add `cost` to the sub-commands."""
    cost = commands.add_parser("cost", help="memory and time that a recipe takes, worked out from its sizes")
    cost.add_argument("-c", "--config", type=Path, required=True, help="a recipe that hears")
    cost.add_argument("--hours", type=float, default=100.0, help="of audio in an epoch")
    cost.add_argument("--clip-s", type=float, default=30.0, help="how long a clip is")
    cost.add_argument("--gpus", type=int, default=1)
    cost.add_argument("--gigabytes", type=float, default=80.0, help="memory of each GPU")
    cost.add_argument("--mfu", type=float, default=0.4, help="the part of an H100's speed that is reached")
    cost.set_defaults(run=_cost)


def _cost(options: argparse.Namespace) -> int:
    from amalia_mm.recipe_paths import read_recipe
    from amalia_mm.train.cost import Machine, cost_of, model_of

    for name, value in (("--hours", options.hours), ("--clip-s", options.clip_s)):
        if not 0 < value < math.inf:
            raise InputError(name, found=value, wanted="a number above 0", remedy="correct it")
    recipe = read_recipe(options.config)
    machine = Machine(options.gpus, options.gigabytes, options.mfu)
    model = model_of(recipe, str(options.config))
    is_distilled = recipe["model"]["init_args"].get("distillation") is not None
    for line in cost_of(model, machine, is_distilled=is_distilled, clip_s=options.clip_s).lines(
        options.hours
    ):
        result(line)
    return 0
