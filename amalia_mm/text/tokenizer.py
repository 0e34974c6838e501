"""Text to token ids and back: a byte-fallback BPE trained here, or any Hugging Face tokenizer folder.

Special tokens never come out of `encode`: what a user types stays plain text, and only `chat.py` places them
by id. It knows nothing of turns, templates or audio lengths; it only reserves the id that stands for audio.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from amalia_mm.errors import InputError
from amalia_mm.text.chat_format import ChatFormat
from amalia_mm.text.tokenizer_files import CONFIG_NAME, FILE_NAME, TokenizerFiles, read_tokenizer_files

UNK, BOS, EOS, IM_START, IM_END = "<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"
AUDIO = "<|audio|>"
SPECIALS = (UNK, BOS, EOS, IM_START, IM_END, AUDIO)
"""Special tokens of a tokenizer trained here, in the order of their ids (EuroLLM's, plus audio)."""

SPACE = "▁"
"""How entries of the vocabulary write a space; a word begins with it."""
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_ALPHABET = (SPACE, *"\n0123456789abcdefghijklmnopqrstuvwxyzàáâãçéêíóôõú.,?!-")
_ROLES = "system user assistant"
_MOST_RECURRING = 1024
_OWN_BESIDE = (ChatFormat(), "never", BOS)
"""Chat format, first space and beginning of a tokenizer that is made here."""


class Tokenizer:
    """A tokenizer with EuroLLM's special ids and a reserved id for audio.

    `decode(encode(text))` is `text` in NFC (with U+2581, the space mark, as an underscore) for a tokenizer
    trained here. A word has the same tokens at the start of a text, of a line and inside a sentence.
    Instances can be pickled.
    """

    def __init__(self, files: TokenizerFiles) -> None:
        """Take what the files of a folder say; any flaw is an `InputError` naming their path."""
        self._files = files
        self._backend = _parse(files.serialised, str(files.path))
        self._inside = _without_first_space(files, self._backend)
        self._normalizer: Any = self._backend.normalizer
        if files.first_space != "never":
            # A space that is put before a text is there after it was normalised, and stays.
            bare = json.dumps({**json.loads(files.serialised), "normalizer": None})
            self._backend = self._inside = _parse(bare, str(files.path))
        self.vocab_size: int = 1 + max(self._backend.get_vocab(with_added_tokens=True).values())
        """Rows that an embedding table needs."""
        self.unk_id: int = self._backend.token_to_id(UNK) or 0
        self.bos_id: int = self._special(files.bos)
        self.eos_id: int = self._special(EOS)
        self.im_start_id: int = self._special(IM_START)
        self.im_end_id: int = self._special(IM_END)
        audio_id = self._backend.token_to_id(AUDIO)
        self.audio_id: int = self.vocab_size if audio_id is None else audio_id
        """The placeholder of an audio token; outside the table where the tokenizer was not trained here."""
        last_byte_id = self._backend.token_to_id(_BYTES[-1])
        self.first_text_id: int = 0 if last_byte_id is None else last_byte_id + 1
        """Special tokens and single bytes lie below this id, tokens of text from here on."""
        self.chat_format: ChatFormat = files.chat_format
        """What the checkpoint's chat template adds to plain ChatML."""
        self._recurring: dict[str, tuple[int, ...]] = {}
        self.newline_ids: tuple[int, ...] = tuple(self.encode_inside("\n"))
        """The tokens of the line break between two turns."""
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys((self.im_end_id, self.eos_id, *files.stop_ids)))
        """Ids at which an answer ends: that of a turn, of a document, and what generation_config.json says."""
        whole = hashlib.sha256(files.serialised.encode())
        self._beside = (self.chat_format, files.first_space, files.bos)
        if self._beside != _OWN_BESIDE:
            whole.update(repr(self._beside).encode())
        self.fingerprint: str = whole.hexdigest()
        """sha256, in hexadecimal, of all that ids follow from: the `tokenizer.json`, and what other files change."""

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Return a byte-fallback BPE of exactly `vocab_size` entries, the same for the same texts.

        Digits, punctuation and line breaks are tokens of their own. Raises `InputError` where the size has no
        room for specials, bytes and letters, or where the texts do not hold that many different pieces.
        """
        smallest = len(SPECIALS) + len(_BYTES) + len(_ALPHABET)
        if vocab_size < smallest:
            raise InputError(
                "tokenizer",
                field="vocab_size",
                found=vocab_size,
                wanted=f"at least {smallest}",
                remedy="raise it",
            )
        backend = _untrained()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            show_progress=False,
            special_tokens=[
                AddedToken(token, special=True, normalized=False) for token in (*SPECIALS, *_BYTES)
            ],
            initial_alphabet=list(_ALPHABET),
            limit_alphabet=max(len(_ALPHABET), (vocab_size - len(SPECIALS) - len(_BYTES)) // 4),
        )
        backend.train_from_iterator(_with_roles(texts), trainer)
        if backend.get_vocab_size() != vocab_size:
            raise InputError(
                "tokenizer",
                field="vocab_size",
                found=f"text for only {backend.get_vocab_size()} entries",
                wanted=f"{vocab_size} entries",
                remedy="lower vocab_size or give more text",
            )
        content = json.loads(backend.to_str())
        # Bytes got their ids as special tokens; as such they would be skipped when decoding.
        content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] in SPECIALS]
        serialised = json.dumps(content, ensure_ascii=False, indent=1)
        return cls(TokenizerFiles(Path("tokenizer"), serialised))

    @classmethod
    def load(cls, folder: Path | str) -> Tokenizer:
        """Return the tokenizer of a folder, made here or of a Hugging Face checkpoint.

        Read are `tokenizer.json`, or else a SentencePiece `tokenizer.model`; the chat template, of a file of its
        own or of `tokenizer_config.json`; and where generation ends, of `generation_config.json`.

        Raises:
            InputError: A file is missing or cannot be read; there are no ChatML tokens; or the chat template
                writes something else than ChatML.
        """
        return cls(read_tokenizer_files(Path(folder)))

    def save(self, folder: Path | str) -> None:
        """Write `tokenizer.json` and the `tokenizer_config.json` with which transformers loads the same.

        Raises:
            ValueError: It is a checkpoint's, of which these two files do not say everything.
        """
        if self._beside != _OWN_BESIDE:
            raise ValueError(
                f"a tokenizer with a chat template or spaces of its own: copy {self._files.path.parent}"
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).write_text(self._files.serialised, encoding="utf-8")
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": BOS,
            "eos_token": EOS,
            "unk_token": UNK,
            "pad_token": EOS,
            "clean_up_tokenization_spaces": False,
        }
        (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, none of them special, whatever the text says."""
        return self._backend.encode(self._begun(text), add_special_tokens=False).ids

    def encode_inside(self, text: str) -> list[int]:
        """Return the ids of a text that follows a special token, none of them special.

        They differ from those of `encode` where a tokenizer puts a space before a whole text and nowhere else.
        """
        return self._inside.encode(self._begun(text, is_inside=True), add_special_tokens=False).ids

    def encode_recurring(self, text: str) -> list[int]:
        """Return what `encode_inside` gives; of texts that come again and again, such as roles and instructions."""
        ids = self._recurring.get(text)
        if ids is None:
            if len(self._recurring) >= _MOST_RECURRING:
                self._recurring.clear()
            ids = self._recurring[text] = tuple(self.encode_inside(text))
        return list(ids)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of many texts at once, each as `encode` gives them."""
        encodings = self._backend.encode_batch_fast([*map(self._begun, texts)], add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids: specials left out, no space before the first word.

        Bytes that are not UTF-8 become U+FFFD. Ids outside the vocabulary, other than `audio_id`, raise
        `ValueError`.
        """
        ids = [token for token in ids if token != self.audio_id]
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            raise ValueError(f"ids from {min(ids)} to {max(ids)} for a vocabulary of {self.vocab_size}")
        return self._backend.decode(ids, skip_special_tokens=True)

    def token(self, token_id: int) -> str:
        """Return one entry of the vocabulary as written there (`▁` is a space), for plots and reports."""
        return self._backend.id_to_token(token_id) or f"<{token_id}>"

    def _begun(self, text: str, *, is_inside: bool = False) -> str:
        """Return a text with the space before its first word, where SentencePiece puts one."""
        if self._files.first_space == "never":
            return text
        normalised = self._normalizer.normalize_str(text)
        has_space = normalised and not (is_inside and self._files.first_space == "text")
        return SPACE + normalised if has_space else normalised

    def _special(self, token: str) -> int:
        token_id = self._backend.token_to_id(token)
        if token_id is None:
            raise InputError(
                self._files.path,
                field="added_tokens",
                found=f"no {token}",
                wanted=f"the special tokens {', '.join(SPECIALS[1:5])}",
                remedy="use a tokenizer with EuroLLM's special tokens (ChatML)",
            )
        return token_id

    def __reduce__(self) -> tuple[type[Tokenizer], tuple[TokenizerFiles]]:
        # The backend pickles without the switch that keeps special tokens out of typed text.
        return Tokenizer, (self._files,)


def marked_entries(tokenizer: Tokenizer, remedy: str) -> list[str]:
    """Return all entries of a vocabulary in which words begin with `SPACE`.

    Raises:
        InputError: No entry begins so; it ends with the remedy.
    """
    entries = [tokenizer.token(token) for token in range(tokenizer.vocab_size)]
    if not any(entry.startswith(SPACE) for entry in entries):
        raise InputError(
            "tokenizer",
            field="vocab",
            found="no entry that begins with a space mark",
            wanted=f"words that begin with {SPACE}, as SentencePiece and the tokenizers made here write them",
            remedy=f"use such a tokenizer, or {remedy}",
        )
    return entries


class TextStream:
    """Text out of tokens that arrive one by one; what comes out, joined, is `decode` of all of them.

    A character of several tokens is held back until it is complete. Bytes that never become UTF-8 come out as
    U+FFFD; there `decode` of all may have more of those, in place of the characters of single bytes before them.
    """

    _KEPT_IDS = 8

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._emitted = ""

    def push(self, ids: Iterable[int]) -> str:
        """Take more ids and return the text that is now certain, often one word, sometimes nothing."""
        self._ids.extend(ids)
        text = self._tokenizer.decode(self._ids)
        if text.endswith("\ufffd"):
            return ""
        new = text[len(self._emitted) :]
        self._emitted = text
        if len(self._ids) > 4 * self._KEPT_IDS:
            self._forget()
        return new

    def flush(self) -> str:
        """Return what was held back, as it stands, and start over."""
        new = self._tokenizer.decode(self._ids)[len(self._emitted) :]
        self._ids, self._emitted = [], ""
        return new

    def _forget(self) -> None:
        # A few ids stay as context, so that the next word keeps the space before it; they must decode to the
        # end of what was said, which a cut inside a character would not.
        kept = self._ids[-self._KEPT_IDS :]
        text = self._tokenizer.decode(kept)
        if text and "\ufffd" not in text and self._emitted.endswith(text):
            self._ids, self._emitted = kept, text


def _parse(serialised: str, where: str) -> tokenizers.Tokenizer:
    try:
        backend: Any = tokenizers.Tokenizer.from_str(serialised)
    except Exception as error:  # the library raises bare Exception for everything wrong in the file
        raise InputError(
            where,
            found=error,
            wanted="a tokenizer.json of the tokenizers library",
            remedy="copy the file again",
        ) from error
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return backend


def _without_first_space(files: TokenizerFiles, backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return the backend for what stands behind a special token: no space is put before its first word.

    The library takes the beginning of any text it is given for the beginning of the whole.
    """
    content = json.loads(files.serialised)
    steps = [content.get("pre_tokenizer") or {}]
    steps += steps[0].get("pretokenizers", [])
    first = [step for step in steps if step.get("prepend_scheme") == "first"]
    for step in first:
        step["prepend_scheme"] = "never"
    return _parse(json.dumps(content), str(files.path)) if first else backend


def _untrained() -> tokenizers.Tokenizer:
    backend: Any = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token=UNK))
    # Every line that is not empty begins with a space mark, so that its first word is a word like any other.
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(SPACE, "_"),
            normalizers.Replace(" ", SPACE),
            normalizers.Replace(Regex(r"(?<![^\n])(?=[^\n])"), SPACE),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(SPACE, "merged_with_next"),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Replace("\n ", "\n"),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return backend


def _with_roles(texts: Iterable[str]) -> Iterator[str]:
    # Every conversation pays for the names of its roles, so each text counts them once and they become short.
    for text in texts:
        yield text
        yield _ROLES
