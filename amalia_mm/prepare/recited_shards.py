"""Recited lines as a folder of shards.

It knows lines, the synthesiser and shards; not how the lines were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.prepare.clips import Prosody, speak_lines
from amalia_mm.prepare.espeak import SpeakerPool
from amalia_mm.prepare.lines import Line

WIDE = Prosody(rate_wpm=(110, 240), pitch=(20, 80), tract_scale=(0.8, 1.2))
"""People who are recorded differ more than those of the built-in corpus need to."""
MAX_UNSPOKEN_SHARE = 0.01


def write_recited(
    lines: Sequence[Line],
    output: Path,
    seed: int,
    prosody: Prosody = WIDE,
    num_children: int = 2,
    progress: bool = True,
) -> tuple[float, list[InputError]]:
    """Return the seconds of speech and what could not be said, after writing the clips of lines as shards.

    Args:
        lines: What is said; each has a voice.
        output: A new or empty folder.
        seed: Decides how a clip sounds.
        prosody: How far ways of speaking lie apart.
        num_children: Synthesiser processes side by side.
        progress: Show a bar on stderr.

    Raises:
        InputError: More than 1 % of the lines could not be said, the synthesiser does not work, or the disk is full.
    """
    seconds = 0.0
    unspoken: list[InputError] = []
    with (
        ShardWriter(output) as writer,
        SpeakerPool(num_children) as pool,
        tqdm(total=len(lines), unit="clip", desc="voz", dynamic_ncols=True, disable=not progress) as bar,
    ):
        for clip in speak_lines(lines, pool, seed, prosody):
            bar.update()
            if isinstance(clip, InputError):
                unspoken.append(clip)
                continue
            writer.write(clip.line.record(round(clip.seconds, 3)), clip.flac, num_samples=clip.num_samples)
            seconds += clip.seconds
        if len(unspoken) > MAX_UNSPOKEN_SHARE * len(lines):
            first = unspoken[0]
            raise InputError(
                first.where,
                field=first.field,
                found=f"{len(unspoken)} of {len(lines)} lines not spoken, this one: {first.found}",
                wanted=f"at most {MAX_UNSPOKEN_SHARE:.0%}",
                remedy="run `amalia doctor`, or leave these lines out of the text",
            )
    return seconds, unspoken
