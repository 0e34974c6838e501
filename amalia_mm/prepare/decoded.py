"""The clips of a corpus, decoded chunk by chunk by several processes and kept on disk until all are there.

A chunk that is finished is never decoded again: a run that was killed goes on where it stopped. What a chunk holds
follows from its rows, the limits and the files alone, so that the number of processes changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from amalia_mm.audio.channels import CHOOSE, Side, load_scene
from amalia_mm.audio.io import encode_flac, load_audio
from amalia_mm.errors import InputError, writing
from amalia_mm.prepare.kept_rate import recorded_enough
from amalia_mm.prepare.odd_rates import bands_of
from amalia_mm.prepare.plausible import Limits, clip_fault
from amalia_mm.prepare.readers.row import CorpusRow, Embedded, Fault
from amalia_mm.units import SAMPLE_RATE_HZ, samples_to_seconds

CHUNK_ROWS = 128
"""Rows that one process decodes before it writes them down: what a killed run loses at most, per process."""
_VERSION = 3


@dataclass(frozen=True)
class Chunk:
    """A run of rows and where what they become is kept."""

    rows: Sequence[CorpusRow]
    folder: Path
    name: str
    side: Side | None = None
    """What is heard of two channels; None: their mean, and two speakers are a fault."""

    @property
    def index(self) -> Path:
        """One line a row; written last, so where it is the chunk is whole."""
        return self.folder / f"{self.name}.jsonl"

    @property
    def clips(self) -> Path:
        """The clips, one behind the other."""
        return self.folder / f"{self.name}.flac"


@dataclass(frozen=True)
class Decoded:
    """A clip that can be learned from, as mono flac of the rate that is wanted in the file of its chunk."""

    row: CorpusRow
    file: Path
    offset: int
    num_bytes: int
    num_samples: int
    """As it is heard: at 16 kHz."""
    sha256: str
    """Of its samples in 16 bits: the same sound has the same, in whatever container it came."""
    bands: Sequence[int]
    """Its spectrum, as `odd_rates.py` compares it."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return samples_to_seconds(self.num_samples)

    def flac(self) -> bytes:
        """Return the clip."""
        with self.file.open("rb") as file:
            return os.pread(file.fileno(), self.num_bytes, self.offset)


def chunks_of(
    rows: Sequence[CorpusRow], limits: Limits, folder: Path, side: Side | None = None
) -> list[Chunk]:
    """Return the rows in chunks, each named by a hash of what it is made from."""
    chunks = []
    for start in range(0, len(rows), CHUNK_ROWS):
        part = rows[start : start + CHUNK_ROWS]
        made_from = [_VERSION, asdict(limits), side, [_trace(row) for row in part]]
        key = hashlib.sha256(json.dumps(made_from).encode())
        chunks.append(Chunk(part, folder, f"{start // CHUNK_ROWS:06d}-{key.hexdigest()[:16]}", side))
    return chunks


def decode_chunks(chunks: Sequence[Chunk], limits: Limits, num_processes: int, progress: bool = True) -> None:
    """Decode the chunks that are not there yet.

    Raises:
        InputError: The disk is full, or a process was killed; what is finished stays.
    """
    todo = [chunk for chunk in chunks if not chunk.index.is_file()]
    done = sum(len(chunk.rows) for chunk in chunks) - sum(len(chunk.rows) for chunk in todo)
    total = done + sum(len(chunk.rows) for chunk in todo)
    bar = tqdm(
        total=total, initial=done, unit="clip", desc="corpus", dynamic_ncols=True, disable=not progress
    )
    with bar:
        for chunk in _decoded(todo, limits, min(num_processes, len(todo))):
            bar.update(len(chunk.rows))


def decoded(chunk: Chunk) -> Iterator[Decoded | Fault]:
    """Yield what became of each row of a finished chunk: the clip, or what is wrong with it."""
    offset = 0
    lines = chunk.index.read_text("utf-8").splitlines()
    for row, line in zip(chunk.rows, lines, strict=True):
        found = json.loads(line)
        if "reason" in found:
            yield Fault(found["reason"], found["value"], found["limit"])
            continue
        sizes = found["bytes"], found["num_samples"]
        yield Decoded(row, chunk.clips, offset, *sizes, found["sha256"], found["bands"])
        offset += found["bytes"]


def decode_chunk(chunk: Chunk, limits: Limits) -> None:
    """Decode the rows of one chunk and write them down; the same rows give the same bytes."""
    lines, clips = [], []
    for row in chunk.rows:
        found = _decode(row, limits, chunk.side)
        if isinstance(found, Fault):
            lines.append(asdict(found))
        else:
            flac, about = found
            clips.append(flac)
            lines.append({"bytes": len(flac), **about})
    with writing(chunk.folder):
        _put(chunk.clips, b"".join(clips))
        _put(chunk.index, "".join(json.dumps(line) + "\n" for line in lines).encode())


def _decode(row: CorpusRow, limits: Limits, side: Side | None) -> tuple[bytes, dict[str, object]] | Fault:
    assert row.audio is not None and row.text is not None
    where = f"{row.where}: {row.audio}" if isinstance(row.audio, Path) else row.where
    source = row.audio
    if isinstance(source, Embedded):
        from amalia_mm.prepare.readers.hf_dataset import embedded_audio

        content = embedded_audio(source)
        if content is None:
            return Fault("no_audio", "no bytes", "a clip")
        source = content
    try:
        recorded_enough(source, limits.rate_hz, where)
        waveform = load_scene(
            source,
            side,
            where=where,
            max_seconds=limits.max_s,
            remedy=CHOOSE,
            sample_rate_hz=limits.rate_hz,
        )
    except InputError as error:
        if error.field == "channels":
            return Fault("channels", str(error.found), f"{error.wanted}; {error.remedy}")
        reason = {"duration": "duration", "rate_hz": "recorded_rate"}.get(error.field, "audio")
        return Fault(reason, str(error.found), error.wanted)
    peak = float(waveform.abs().max())
    fault = clip_fault(
        row.text, samples_to_seconds(len(waveform), limits.rate_hz), peak, row.promised_s, limits
    )
    if fault is not None:
        return fault
    samples = (waveform.numpy() / max(peak, 1.0) * 32767).round().astype(np.int16)
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    flac = encode_flac(waveform, limits.rate_hz)
    heard = waveform if limits.rate_hz == SAMPLE_RATE_HZ else load_audio(flac, where=where)
    return flac, {"num_samples": len(heard), "sha256": digest, "bands": bands_of(heard)}


def _trace(row: CorpusRow) -> list[object]:
    """Return what a row's clip follows from; of files, size and time stand for the content."""
    path = row.audio.file if isinstance(row.audio, Embedded) else row.audio
    assert path is not None
    try:
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns]
    except OSError:
        state = []
    return [row.where, row.id, row.text, row.promised_s, str(row.audio), state]


def _decoded(chunks: Sequence[Chunk], limits: Limits, num_processes: int) -> Iterator[Chunk]:
    if num_processes < 2:
        for chunk in chunks:
            decode_chunk(chunk, limits)
            yield chunk
        return
    # Fresh processes: torch's threads do not survive a fork.
    pool = ProcessPoolExecutor(
        num_processes, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    todo, running = iter(chunks), dict[Future[None], Chunk]()
    try:
        while True:
            for chunk in todo:
                running[pool.submit(decode_chunk, chunk, limits)] = chunk
                if len(running) >= 2 * num_processes:
                    break
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                chunk = running.pop(future)
                future.result()
                yield chunk
    except BrokenProcessPool as error:
        found, wanted = "a process that decodes was killed", "all of them to their end"
        remedy = "run the same command again to go on, with fewer --processes if memory is short"
        raise InputError("--processes", found=found, wanted=wanted, remedy=remedy) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, take one core, and end when the main process does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _put(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
