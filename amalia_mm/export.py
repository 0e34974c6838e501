"""`amalia export`: a model for other programs, or a folder that depends on nothing else.

`hf` is what transformers loads with the same logits and the same conversations; `folder` is our own model folder, made
from a run or from a Hugging Face checkpoint. A folder that is exported and read again holds the same numbers.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers.processors import TemplateProcessing

from amalia_mm import __version__
from amalia_mm.errors import InputError, writing
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.hub import checkpoint_folder, is_checkpoint
from amalia_mm.model_config import CONFIG, PARTS, read_config
from amalia_mm.resolve import resolve_model
from amalia_mm.run import CARD, TOKENIZER, check_entries, load_model, save_model
from amalia_mm.text.chat_format import TEMPLATE
from amalia_mm.text.checkpoint import load_hf, save_hf
from amalia_mm.text.decoder import Decoder
from amalia_mm.text.hf_config import SpecialIds
from amalia_mm.text.tokenizer import BOS, EOS, UNK, Tokenizer
from amalia_mm.text.tokenizer_files import (
    CONFIG_NAME,
    FILE_NAME,
    GENERATION_NAME,
    SENTENCEPIECE_NAME,
    TEMPLATE_NAME,
    copy_tokenizer,
    read_stop_ids,
)

FORMATS = ("hf", "folder", "gguf")
_WRITING = ".writing"
_FRONT_MATTER = "---\n"
_PLAIN = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}
"""The settings of a tokenizer folder that has none."""


@dataclass(frozen=True)
class Exported:
    """What was written, and what of the model it leaves out."""

    folder: Path
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Source:
    """A model, wherever it came from."""

    model: SpeechTextModel
    tokenizer: Tokenizer
    tokenizer_folder: Path
    config: dict[str, Any]
    card: str
    folder: Path


def export(run: Path | str | None, to: str, output: Path | None = None) -> Exported:
    """Write a model in another format and return where, and which of its parts have no place there.

    Args:
        run: A model, stage or run folder, or a Hugging Face folder or Hub id; None as `resolve_model`.
        to: One of `FORMATS`.
        output: A new or empty folder; by default one beside the model, with the format in its name; of a Hub id, here.

    Raises:
        InputError: There is no model, the output holds something already, or no well-kept program writes the format.
    """
    if to == "gguf":
        raise InputError(
            "--to",
            found="gguf",
            wanted="a format that a maintained package can write",
            remedy="export --to hf and give that folder to convert_hf_to_gguf.py of llama.cpp: no package has "
            "that converter (gguf has the container alone)",
        )
    if to not in FORMATS:
        raise InputError("--to", found=to, wanted=" or ".join(FORMATS), remedy="change it")
    source = _load(run)
    folder = output or source.folder.with_name(f"{source.folder.name}_{to}")
    left_out = tuple(p for p in PARTS if p != "decoder" and getattr(source.model, p) is not None)
    if source.config.get("lora"):
        left_out += ("lora",)
    if to == "hf":
        _write(folder, lambda fresh: _write_hf(source, fresh, left_out))
        return Exported(folder, left_out)
    _write(folder, lambda fresh: _write_folder(source, fresh))
    return Exported(folder)


def _load(run: Path | str | None) -> _Source:
    """Return the model of a run, or of a Hugging Face folder or Hub id."""
    if run is not None and is_checkpoint(run) and not (Path(run) / CONFIG).is_file():
        folder = checkpoint_folder(run)
        tokenizer, decoder = Tokenizer.load(folder), load_hf(folder)
        check_entries(tokenizer, decoder.config, folder)
        # What is fetched lies in a cache; what is made of it goes into the current folder.
        home = Path(run) if Path(run).exists() else Path(Path(run).name)
        card = (
            (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else f"# {home.name}\n"
        )
        config = {"decoder": asdict(decoder.config), "made_by": {"version": __version__, "from": str(run)}}
        model = SpeechTextModel(encoder=None, projector=None, decoder=decoder)
        return _Source(model, tokenizer, folder, config, card, home)
    folder = resolve_model(run)
    loaded = load_model(folder)
    config = {name: value for name, value in loaded.config.items() if name != "format"}
    return _Source(loaded.model, loaded.tokenizer, folder / TOKENIZER, config, _history(folder), folder)


def _write(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder that is seen whole or not at all."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        found = f"{folder}, which is {'not empty' if folder.is_dir() else 'a file'}"
        wanted, remedy = "a new or an empty folder", "give another, or remove what is there"
        raise InputError("--output", found=found, wanted=wanted, remedy=remedy)
    fresh = folder.with_name(folder.name + _WRITING)
    with writing(folder):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        write(fresh)
        if folder.exists():
            folder.rmdir()
        fresh.replace(folder)


def _write_hf(source: _Source, folder: Path, left_out: tuple[str, ...]) -> None:
    tokenizer = source.tokenizer
    is_converted = "from" in (source.config.get("made_by") or {})
    given = read_stop_ids(source.tokenizer_folder) if is_converted else ()
    ends = given or tokenizer.stop_ids
    save_hf(_for_text(source.model.decoder), folder, SpecialIds(tokenizer.bos_id, ends, tokenizer.eos_id))
    copy_tokenizer(source.tokenizer_folder, folder)
    if not is_converted:
        # A base model's own file ends documents alone; what it learned here ends turns, too.
        generation = json.loads((folder / GENERATION_NAME).read_text(encoding="utf-8"))
        _write_json(folder / GENERATION_NAME, generation | {"eos_token_id": list(ends)})
    if not (folder / CONFIG_NAME).is_file():
        _write_json(folder / CONFIG_NAME, _PLAIN)
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    if not config.get("chat_template") and not (folder / TEMPLATE_NAME).is_file():
        (folder / TEMPLATE_NAME).write_text(TEMPLATE, encoding="utf-8")
        _begin_with_bos(folder / FILE_NAME, tokenizer)
    (folder / CARD).write_text(_hf_card(source, left_out), encoding="utf-8")


def _for_text(decoder: Decoder) -> Decoder:
    """Return the decoder without low-rank changes, sharing its weights: those left act on what is heard alone."""
    with torch.device("meta"):
        plain = Decoder(decoder.config)
    weights = decoder.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()}, assign=True)
    return plain


def _begin_with_bos(path: Path, tokenizer: Tokenizer) -> None:
    """Have transformers begin a text as ours began when they were learned, unless the file says how it does."""
    if not path.is_file():
        return
    backend: Any = tokenizers.Tokenizer.from_file(str(path))
    if backend.post_processor is None:
        bos = tokenizer.token(tokenizer.bos_id)
        both = f"{bos}:0 $A:0 {bos}:1 $B:1"
        backend.post_processor = TemplateProcessing(
            single=f"{bos}:0 $A:0", pair=both, special_tokens=[(bos, tokenizer.bos_id)]
        )
        backend.save(str(path))


def _write_folder(source: _Source, folder: Path) -> None:
    """Write a model folder; parts that a later stage left aside are not in it."""
    present = {name for name, part in source.model.named_children() if part is not None}
    config = {name: value for name, value in source.config.items() if name not in PARTS or name in present}
    save_model(folder, source.model, config=config, tokenizer=source.tokenizer_folder, card=source.card)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _history(folder: Path) -> str:
    """Return the card of a model folder, and those of the folders it was started from, each once."""
    card = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else f"# {folder.name}\n"
    seen, waiting, told = {folder.resolve()}, [folder], []
    while waiting:
        for name, parts in (read_config(waiting.pop()).get("init_from") or {}).items():
            before = Path(name)
            if before.resolve() in seen:
                continue
            seen.add(before.resolve())
            if not (before / CARD).is_file():
                told.append(f"## Before that: {', '.join(parts)} of `{name}`\n\nNo card was found there.\n")
                continue
            text = (before / CARD).read_text(encoding="utf-8")
            if text.startswith(_FRONT_MATTER):
                # Cards of the Hub tell the licence there and often nowhere else.
                front, _, text = text.removeprefix(_FRONT_MATTER).partition(_FRONT_MATTER)
                licence = re.search(r"^license(?:_name)?:.*", front, re.MULTILINE)
                text = f"{licence.group() if licence else ''}\n{text or front}"
            text = text.replace("\n#", "\n##").removeprefix("# ")
            told.append(f"## Before that: {', '.join(parts)} of `{name}`\n\n{text.strip()}\n")
            if (before / CONFIG).is_file():
                waiting.append(before)
    return "\n".join([card, *told])


def _hf_card(source: _Source, left_out: tuple[str, ...]) -> str:
    """Return the card: what it is, how to load it, its sources and licences; an older front matter stays first."""
    if source.card.startswith(_FRONT_MATTER):
        return source.card
    kept = ""
    if left_out:
        parts = " and ".join(left_out)
        kept = (
            f"\nThis is the text decoder alone: {parts} of `{source.folder}` have no place in this format.\n"
        )
    front = "language:\n- pt\nlibrary_name: transformers\npipeline_tag: text-generation\nlicense: other\n"
    has_words = (source.tokenizer_folder / FILE_NAME).is_file()
    vocabulary = FILE_NAME if has_words else SENTENCEPIECE_NAME
    usage = (
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModelForCausalLM.from_pretrained(".")\n'
        'messages = [{"role": "user", "content": "Olá!"}]\n'
        "ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, "
        'return_tensors="pt", return_dict=True)\n'
        "print(tokenizer.decode(model.generate(**ids, max_new_tokens=64)[0]))\n"
        "```\n"
    )
    about = f"Written by amalia_mm {__version__}; `{vocabulary}` is the tokenizer it was trained with.\n"
    return (
        f"{_FRONT_MATTER}{front}{_FRONT_MATTER}\n{source.card.rstrip()}\n{kept}\n## Use\n\n{about}\n{usage}"
    )
