"""Whether a sound file ends where it should; libsndfile takes the half of a WAV or Ogg file for the whole.

Reads headers only. FLAC and MP3 need no help: their headers tell the samples, and `io.py` counts them.
"""

from __future__ import annotations

import io
import os
import struct

from amalia_mm.errors import InputError

FETCH_AGAIN = "copy or record the file again: its end is missing"
_STREAMED_WAV_BYTES = 0x7FFFF000  # programs that write WAV to a pipe put this or more as the length
_PLAIN_TAGS = (1, 3, 6, 7, 0xFFFE)  # integers, floats, A-law, mu-law, extensible: a block is one sample
_OGG_HEADER_BYTES = 27
_LONGEST_OGG_PAGE_BYTES = _OGG_HEADER_BYTES + 255 + 255 * 255


def check_whole(file: io.BytesIO | io.FileIO, where: str) -> bool:
    """Return whether the header tells how long the file is; a WAV file written to a pipe does not.

    Raises:
        InputError: A WAV file that ends before its header says, or an Ogg file that ends inside a page.
    """
    file.seek(0)
    start = file.read(12)
    if start[:4] in (b"RIFF", b"RF64") and start[8:] == b"WAVE":
        return _check_wav(file, where)
    if start[:4] == b"OggS":
        _check_ogg(file, where)
    return True


def _check_wav(file: io.BytesIO | io.FileIO, where: str) -> bool:
    """Walk the chunks (RIFF; RF64 as in EBU Tech 3306) to the samples and compare with the file's end."""
    end = file.seek(0, os.SEEK_END)
    file.seek(12)
    tag, block_align, long_data_bytes = 1, 1, 0
    while len(header := file.read(8)) == 8:
        name, num_bytes = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"data":
            num_bytes = long_data_bytes or num_bytes
            if not long_data_bytes and num_bytes >= _STREAMED_WAV_BYTES:
                return False
            _compare_samples(num_bytes, end - file.tell(), tag, block_align, where)
            return True
        next_chunk = file.tell() + num_bytes + num_bytes % 2
        if name == b"fmt " and num_bytes >= 14:
            tag, rate_hz, bytes_a_second, block_align = struct.unpack(
                "<H2xIIH", file.read(14).ljust(14, b"\0")
            )
            if tag in _PLAIN_TAGS:
                _check_rate(rate_hz, bytes_a_second, block_align, where)
        if name == b"ds64" and num_bytes >= 16:
            long_data_bytes = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        file.seek(next_chunk)
    found = f"a WAV header and no samples in {end} bytes"
    raise InputError(where, found=found, wanted="a WAV file with a data chunk", remedy=FETCH_AGAIN)


def _check_rate(rate_hz: int, bytes_a_second: int, block_align: int, where: str) -> None:
    """Raise `InputError` where the two places that tell the rate disagree; some programs leave the second empty."""
    if bytes_a_second and block_align and bytes_a_second != rate_hz * block_align:
        found = f"{rate_hz} Hz, and {bytes_a_second} bytes a second, which are {bytes_a_second / block_align:g} Hz"
        remedy = "find out which is true, and write the file again with it"
        raise InputError(where, field="sample rate", found=found, wanted="one sample rate", remedy=remedy)


def _compare_samples(promised_bytes: int, held_bytes: int, tag: int, block_align: int, where: str) -> None:
    promised, held = promised_bytes // max(block_align, 1), held_bytes // max(block_align, 1)
    if held < promised:
        unit = "samples" if tag in _PLAIN_TAGS else "blocks"
        wanted = f"the {promised} {unit} its header promises"
        raise InputError(where, found=f"{held} {unit}", wanted=wanted, remedy=FETCH_AGAIN)


def _check_ogg(file: io.BytesIO | io.FileIO, where: str) -> None:
    """Look whether the last page is complete (RFC 3533, section 6).

    That it carries the mark of the last page is not asked for: recordings of live streams often lack it.
    """
    end = file.seek(0, os.SEEK_END)
    tail_at = file.seek(max(end - _LONGEST_OGG_PAGE_BYTES, 0))
    tail = file.read(_LONGEST_OGG_PAGE_BYTES)
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    page_at = tail_at + len(tail) - len(page)
    num_pieces = page[26] if len(page) >= _OGG_HEADER_BYTES else 256
    lengths = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + num_pieces]
    wanted_bytes = _OGG_HEADER_BYTES + num_pieces + sum(lengths)
    begins_another = any(len(page) > wanted_bytes and page.endswith(b"OggS"[:n]) for n in (1, 2, 3))
    if len(lengths) < num_pieces or len(page) < wanted_bytes or begins_another:
        found = f"{len(page)} bytes of the last page, from byte {page_at} on"
        raise InputError(
            where, found=found, wanted=f"a whole page of {wanted_bytes} bytes or more", remedy=FETCH_AGAIN
        )
