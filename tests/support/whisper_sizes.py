"""Whisper small's encoder with decoders of 100M parameters: ours, openai-whisper's and transformers'.

A vocabulary of 16,000 and nine layers of Whisper's decoder, which also attend to the frames, are 97.6M parameters;
twelve of ours are 100.1M (`decoder_sizes.MEDIUM_100M`). Everything is random.
"""

from __future__ import annotations

from functools import lru_cache

import tiktoken
import torch
import whisper
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from whisper.model import ModelDimensions
from whisper.tokenizer import Tokenizer as OpenAITokenizer
from whisper.tokenizer import get_encoding

VOCABULARY = 16_000
NUM_MELS, NUM_FRAMES, WIDTH, HEADS, ENCODER_LAYERS = 80, 1500, 768, 12, 12
DECODER_LAYERS, POSITIONS = 9, 448
LANGUAGE, TASK = "pt", "transcribe"


@lru_cache
def small_encoding() -> tiktoken.Encoding:
    """Return Whisper's encoding with as many of its tokens, the likeliest, as leave room for its special ones."""
    whole = get_encoding("multilingual")
    specials = sorted(whole._special_tokens, key=whole._special_tokens.__getitem__)
    num_ranks = VOCABULARY - len(specials)
    ranks = {token: rank for token, rank in whole._mergeable_ranks.items() if rank < num_ranks}
    special_tokens = {name: num_ranks + number for number, name in enumerate(specials)}
    return tiktoken.Encoding(
        "small", pat_str=whole._pat_str, mergeable_ranks=ranks, special_tokens=special_tokens
    )


@lru_cache
def openai_tokenizer() -> OpenAITokenizer:
    return OpenAITokenizer(small_encoding(), num_languages=99, language=LANGUAGE, task=TASK)


def openai_model(dtype: torch.dtype) -> whisper.Whisper:
    sizes = ModelDimensions(
        n_mels=NUM_MELS,
        n_audio_ctx=NUM_FRAMES,
        n_audio_state=WIDTH,
        n_audio_head=HEADS,
        n_audio_layer=ENCODER_LAYERS,
        n_vocab=VOCABULARY,
        n_text_ctx=POSITIONS,
        n_text_state=WIDTH,
        n_text_head=HEADS,
        n_text_layer=DECODER_LAYERS,
    )
    model = whisper.Whisper(sizes).eval().requires_grad_(False)
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.02)
    model = model.to(dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.float()  # it is asked for float32, whatever comes
    return model


ENCODER = {
    "model_type": "whisper",
    "num_mel_bins": NUM_MELS,
    "d_model": WIDTH,
    "encoder_layers": ENCODER_LAYERS,
    "encoder_attention_heads": HEADS,
    "encoder_ffn_dim": 4 * WIDTH,
    "max_source_positions": NUM_FRAMES,
}
"""The config.json of the encoder alone."""


def transformers_config() -> WhisperConfig:
    ids = small_encoding()._special_tokens
    end = ids["<|endoftext|>"]
    return WhisperConfig(
        **{name: value for name, value in ENCODER.items() if name != "model_type"},
        vocab_size=VOCABULARY,
        decoder_layers=DECODER_LAYERS,
        decoder_attention_heads=HEADS,
        decoder_ffn_dim=4 * WIDTH,
        max_target_positions=POSITIONS,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def transformers_model(dtype: torch.dtype) -> WhisperForConditionalGeneration:
    ids = small_encoding()._special_tokens
    model = WhisperForConditionalGeneration(transformers_config()).eval().requires_grad_(False).to(dtype)
    own = model.generation_config
    own.is_multilingual = True
    own.lang_to_id = {f"<|{LANGUAGE}|>": ids[f"<|{LANGUAGE}|>"]}
    own.task_to_id = {TASK: ids[f"<|{TASK}|>"]}
    own.no_timestamps_token_id = ids["<|notimestamps|>"]
    return model


def transformers_tokenizer() -> WhisperTokenizer:
    encoding = small_encoding()
    letters = bytes_to_unicode()
    vocabulary = {
        "".join(letters[byte] for byte in token): rank for token, rank in encoding._mergeable_ranks.items()
    }
    vocabulary |= encoding._special_tokens
    tokenizer = WhisperTokenizer(
        vocab=vocabulary, merges=[], language=LANGUAGE, task=TASK, pad_token="<|endoftext|>"
    )
    specials = sorted(encoding._special_tokens, key=encoding._special_tokens.__getitem__)
    is_time = {name: name.strip("<|>")[:1].isdigit() for name in specials}
    tokenizer.add_tokens([name for name in specials if not is_time[name]], special_tokens=True)
    tokenizer.add_tokens([name for name in specials if is_time[name]])
    assert all(tokenizer.convert_tokens_to_ids(name) == encoding._special_tokens[name] for name in specials)
    return tokenizer
