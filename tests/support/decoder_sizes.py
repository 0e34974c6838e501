"""The two Llama shapes that every benchmark of the decoder is measured at; their parameters are counted in a test."""

from __future__ import annotations

from dataclasses import asdict

from transformers import LlamaConfig, LlamaForCausalLM

from amalia_mm.text.decoder import Decoder, DecoderConfig

SMALL_3M = DecoderConfig(
    vocab_size=512,
    hidden_size=256,
    intermediate_size=704,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
MEDIUM_100M = DecoderConfig(
    vocab_size=16_000,
    hidden_size=768,
    intermediate_size=2048,
    num_hidden_layers=12,
    num_attention_heads=12,
    num_key_value_heads=4,
)


def llama_like(decoder: Decoder, **options) -> LlamaForCausalLM:
    """transformers' model of the same sizes with the same weights, in memory of its own; options are LlamaConfig's."""
    sizes = asdict(decoder.config)
    theta, dtype = sizes.pop("rope_theta"), sizes.pop("dtype")
    sizes.pop("dropout")
    config = LlamaConfig(
        **sizes, rope_parameters={"rope_type": "default", "rope_theta": theta}, dtype=dtype, **options
    )
    llama = LlamaForCausalLM(config).to(decoder.config.torch_dtype)
    weights = decoder.state_dict()
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    llama.load_state_dict(weights)
    return llama.eval()
