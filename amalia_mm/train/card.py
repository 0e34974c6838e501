"""The card of a model folder: what it was trained on, with the licence that the records of each source carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from amalia_mm import __version__
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.errors import InputError

MAX_SOURCES = 20


def card(config: Mapping[str, Any], num_steps: int) -> str:
    """Return the card's text, from the resolved configuration of the run and the shards it names."""
    shards: Mapping[str, float] | list[str] = config["data"]["init_args"]["shards"]
    shards = dict.fromkeys(shards, 1.0) if isinstance(shards, list) else shards
    lines = [line for folder, weight in shards.items() for line in _folder_lines(folder, weight)]
    return (
        f"# {config['model']['class_path'].rsplit('.', 1)[-1]} model\n\n"
        f"Trained for {num_steps} steps by amalia_mm {__version__} on\n\n" + "\n".join(lines) + "\n\n"
        "The licence of the weights follows from the licences of these sources, kept in every record.\n"
    )


def _folder_lines(folder: str, weight: float) -> Iterator[str]:
    """Yield a line for the folder and one for each of its largest sources.

    A record stands for its source: all that a source gave came under one licence.
    """
    yield f"- `{folder}` (weight {weight})"
    try:
        index = ShardIndex.load(folder)
        sources = index.coded["source"]
        counts = sorted(sources.counts().items(), key=lambda each: -each[1])
        for source, num_records in counts[:MAX_SOURCES]:
            first = int(np.flatnonzero(sources.codes == sources.values.index(source))[0])
            licence = read_record(index, first, with_audio=False)[0].licence or "not given"
            yield f"    - {source or 'no source given'}: {num_records} records, licence {licence}"
    except InputError as error:
        # What was learned is not lost because its shards have been moved since.
        yield f"    - its sources can no longer be read: {error}"
        return
    if len(counts) > MAX_SOURCES:
        rest = sum(num_records for _, num_records in counts[MAX_SOURCES:])
        yield f"    - {len(counts) - MAX_SOURCES} smaller sources: {rest} records"
