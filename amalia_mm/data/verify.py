"""What a folder of shards holds, and whether it is still what was written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from amalia_mm.audio.io import load_audio, own_rate_hz
from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.tars import sha256
from amalia_mm.errors import InputError
from amalia_mm.units import samples_to_seconds


@dataclass(frozen=True)
class Verified:
    """What `verify` found: `bad` has one error for each record that cannot be used."""

    num_shards: int
    num_records: int
    rates_hz: dict[str, int]
    """As `Stats.rates_hz`, of the clips that are good."""
    bad: tuple[InputError, ...]


def verify(folder: Path | str) -> Verified:
    """Return the count of records that were read, checked and decoded, and the errors of those that are bad.

    Raises:
        InputError: The index is missing or a tar is missing, cut, or changed since it was indexed.
    """
    index = ShardIndex.load(folder)
    for shard in index.shards:
        path = index.folder / shard.name
        found = sha256(path)
        if found != shard.sha256:
            remedy = f"copy the shard again; if the change is meant, run `amalia shards index {folder}`"
            raise InputError(path, field="sha256", found=found, wanted=shard.sha256, remedy=remedy)
    bad, rates_hz = [], Counter[int]()
    for number in range(len(index)):
        try:
            rates_hz[_verify_record(index, number)] += 1
        except InputError as error:
            bad.append(error)
    del rates_hz[0]
    rates = {str(rate_hz): count for rate_hz, count in sorted(rates_hz.items())}
    return Verified(len(index.shards), len(index), rates, tuple(bad))


def _verify_record(index: ShardIndex, number: int) -> int:
    """Return the rate that the clip of a record is kept at, 0 where there is none."""
    record, audio = read_record(index, number)
    where = index.where(number)
    if record.id != index.strings["id"][number]:
        remedy = f"run `amalia shards index {index.folder}`"
        raise InputError(
            where, field="id", found=record.id, wanted=index.strings["id"][number], remedy=remedy
        )
    num_samples = 0 if audio is None else len(load_audio(audio, where=where))
    if num_samples != index.num_samples[number]:
        remedy = f"run `amalia shards index {index.folder}`"
        wanted = f"{index.num_samples[number]} samples"
        raise InputError(where, field="audio", found=f"{num_samples} samples", wanted=wanted, remedy=remedy)
    rate_hz, counted_hz = 0 if audio is None else own_rate_hz(audio, where=where), int(index.rate_hz[number])
    if counted_hz and rate_hz != counted_hz:
        remedy = f"run `amalia shards index {index.folder}`"
        wanted = f"{counted_hz} Hz"
        raise InputError(where, field="rate_hz", found=f"{rate_hz} Hz", wanted=wanted, remedy=remedy)
    return rate_hz


@dataclass(frozen=True)
class Stats:
    """What a folder of shards holds; the dictionaries count records, `source_seconds` seconds of audio."""

    num_shards: int
    num_bytes: int
    num_records: int
    num_speakers: int
    audio_s: float
    sources: dict[str, int]
    source_seconds: dict[str, float]
    rates_hz: dict[str, int]
    """Clips by the rate that they are kept at; "unknown" where the index was made before it was noted."""
    tasks: dict[str, int]
    varieties: dict[str, int]


def stats(folder: Path | str) -> Stats:
    """Return the counts and hours of a folder, from its index alone."""
    index = ShardIndex.load(folder)
    samples = index.coded["source"].counts(index.num_samples)
    return Stats(
        num_shards=len(index.shards),
        num_bytes=sum(shard.num_bytes for shard in index.shards),
        num_records=len(index),
        num_speakers=sum(name != "" for name in index.coded["speaker"].values),
        audio_s=samples_to_seconds(int(index.num_samples.sum())),
        sources=index.coded["source"].counts(),
        source_seconds={source: samples_to_seconds(count) for source, count in samples.items()},
        rates_hz=_rates_hz(index),
        tasks=index.coded["task"].counts(),
        varieties=index.coded["variety"].counts(),
    )


def _rates_hz(index: ShardIndex) -> dict[str, int]:
    counts = Counter(index.rate_hz[index.num_samples > 0].tolist())
    return {str(rate_hz) if rate_hz else "unknown": count for rate_hz, count in sorted(counts.items())}
