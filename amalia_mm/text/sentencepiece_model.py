"""A SentencePiece `tokenizer.model` as a backend of the tokenizers library, with the same ids.

EuroLLM, and models made from it, come as BPE with byte fallback, some with no other file. Everything else in the
project reads one kind of tokenizer, so the model is translated once, when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers

from amalia_mm.errors import InputError

SPACE = "▁"
FirstSpace = Literal["never", "text", "always"]
"""Where a space is put: nowhere, before a whole text, or before what follows a special token, too."""
_BPE = 2
_NORMAL, _USER_DEFINED, _UNUSED, _BYTE = 1, 4, 5, 6
"""Kinds of pieces in sentencepiece_model.proto."""
_IS_SPECIAL = re.compile(r"<\|.+\|>")
"""User-defined pieces of this form are template tokens; typed text must never make one."""


def read_sentencepiece(path: Path, config: Mapping[str, Any]) -> tuple[str, FirstSpace]:
    """Return the text of a `tokenizer.json`, and where spaces are added: together they give SentencePiece's ids.

    Three keys of `tokenizer_config.json` count, as in transformers: `add_prefix_space` false leaves out the space
    before a text; `legacy` true puts one after every special token, too; `added_tokens_decoder` adds tokens. The
    one known difference: where the model has a table of characters, "\\r\\n" is looked up in it as one.

    Args:
        path: The `tokenizer.model`.
        config: The content of `tokenizer_config.json`, or nothing.

    Raises:
        InputError: The file is no SentencePiece model; or it is one of another kind than BPE, or uses what the
            tokenizers library cannot do (spaces as suffixes, unused pieces).
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2
    from transformers.convert_slow_tokenizer import generate_merges

    proto = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise _refused(
            path, str(error) or "other bytes", "a SentencePiece model", "copy the file again"
        ) from error
    _check(path, proto)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    vocabulary = {piece: number for number, (piece, _) in enumerate(pieces)}
    unmergeable = {piece.piece for piece in proto.pieces if piece.type != _NORMAL}
    backend: Any = tokenizers.Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=generate_merges(vocabulary, pieces, skip_tokens=unmergeable),
            unk_token=proto.trainer_spec.unk_piece,
            fuse_unk=True,
            byte_fallback=proto.trainer_spec.byte_fallback,
        )
    )
    spec = proto.normalizer_spec
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    _add_tokens(backend, path, proto, config)
    first_space: FirstSpace = "never"
    if spec.add_dummy_prefix and config.get("add_prefix_space") is not False:
        first_space = "always" if config.get("legacy") else "text"
    readers = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    strip = [] if first_space == "never" else [decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(readers + strip)
    return backend.to_str(), first_space


def _add_tokens(backend: Any, path: Path, proto: Any, config: Mapping[str, Any]) -> None:
    """Register what is matched as a whole: special tokens, user-defined pieces, and those the folder adds."""
    for piece in proto.pieces:
        # SentencePiece finds them before it normalises; here they are found after it.
        if piece.type == _USER_DEFINED and backend.normalizer.normalize_str(piece.piece) != piece.piece:
            wanted = "user-defined pieces that normalising leaves as they are"
            raise _refused(path, repr(piece.piece), wanted, "use a tokenizer.json of the same tokenizer")
    tokens = [
        AddedToken(
            piece.piece,
            special=piece.type != _USER_DEFINED or _IS_SPECIAL.fullmatch(piece.piece) is not None,
            normalized=piece.type == _USER_DEFINED,
        )
        for piece in proto.pieces
        if piece.type not in (_NORMAL, _BYTE)
    ]
    backend.add_tokens(tokens)
    added = config.get("added_tokens_decoder") or {}
    for number, token in sorted((int(number), token) for number, token in added.items()):
        content = str(token.get("content"))
        backend.add_tokens([AddedToken(content, special=bool(token.get("special")), normalized=False)])
        found = backend.token_to_id(content)
        if found != number:
            wanted = f"id {number}, as tokenizer_config.json says"
            raise _refused(path, f"{content} as id {found}", wanted, "use files of the same tokenizer")


def _check(path: Path, proto: Any) -> None:
    kind = proto.trainer_spec.model_type
    remedy = "use a tokenizer.json of the same tokenizer"
    if not proto.pieces:
        raise _refused(path, "a file without a single piece", "a SentencePiece model", "copy the file again")
    if kind != _BPE:
        name = type(proto.trainer_spec).ModelType.Name(kind)
        raise _refused(path, f"model type {name}", "BPE", remedy)
    if proto.trainer_spec.treat_whitespace_as_suffix or not proto.normalizer_spec.escape_whitespaces:
        raise _refused(path, "spaces that are not written before words", f"{SPACE} before words", remedy)
    unused = next((piece.piece for piece in proto.pieces if piece.type == _UNUSED), None)
    if unused is not None:
        raise _refused(path, f"the unused piece {unused!r}", "pieces that are all in use", remedy)


def _refused(path: Path, found: str, wanted: str, remedy: str) -> InputError:
    return InputError(path, found=found, wanted=wanted, remedy=remedy)
