"""The AMÁLIA text decoder: Llama's architecture with Hugging Face's parameter names.

Pre-RMSNorm, grouped-query attention, rotary positions, SwiGLU, tied or untied embeddings. It reads ids or
embeddings, and document numbers where rows are packed or padded; it knows nothing of audio or tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from amalia_mm.errors import InputError
from amalia_mm.text.attention import Attention, Reading, attend
from amalia_mm.text.cache import KVCache
from amalia_mm.text.norm import RMSNorm
from amalia_mm.text.rope import RopeScaling, Rotary

Used = TypeVar("Used")
"""What a function of the output layer gives."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes of a decoder, under the names of Hugging Face's LlamaConfig.

    A longer context is a larger `rope_theta` and `max_position_embeddings` and more training (Xiong et al.
    2024, arXiv 2309.16039), or a `rope_scaling`. `dropout` acts on the residual branches. Sizes that do not fit
    each other raise `InputError` naming the field.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int | None = None
    max_position_embeddings: int = 4096
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    rms_norm_eps: float = 1e-5
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
    dropout: float = 0.0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        heads, groups = self.num_attention_heads, self.num_key_value_heads
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
        ):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        divides = self.head_dim is not None or self.hidden_size % heads == 0
        self._require(
            "hidden_size", divides, f"a multiple of num_attention_heads = {heads}, or head_dim given"
        )
        self._require(
            "num_key_value_heads", heads % groups == 0, f"a divisor of num_attention_heads = {heads}"
        )
        self._require("head_dim", self.head_width >= 2 and self.head_width % 2 == 0, "an even number")
        self._require("dropout", 0 <= self.dropout < 1, "from 0 to below 1")
        self._require("dtype", self.dtype in _DTYPES, "one of " + ", ".join(_DTYPES))
        self._require_scaling()

    def _require_scaling(self) -> None:
        scaling = self.rope_scaling
        if scaling is None:
            return
        scaling.check()
        fits = scaling.rope_type != "dynamic" or self.head_width > 2
        self._require("head_dim", fits, "at least 4 with dynamic rope_scaling")
        old, new = scaling.original_max_position_embeddings, self.max_position_embeddings
        if scaling.rope_type == "yarn" and old is not None:
            # Versions of transformers take the one or the other: only one meaning is right.
            agrees = new == old or abs(old * scaling.factor - new) < 1
            wanted = f"{old} or {round(old * scaling.factor)}, as rope_scaling says"
            self._require("max_position_embeddings", agrees, wanted)

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            found = getattr(self, name)
            raise InputError(
                "decoder", field=name, found=found, wanted=wanted, remedy="correct the decoder's sizes"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> DecoderConfig:
        """Return the sizes that a mapping of YAML or JSON holds; a name that is no field raises `TypeError`."""
        scaling = values.get("rope_scaling")
        if isinstance(scaling, Mapping):
            values = {**values, "rope_scaling": RopeScaling.of(scaling)}
        return cls(**values)

    @property
    def max_positions(self) -> int:
        """How many positions the decoder can read: max_position_embeddings, as stretched by rope_scaling."""
        first = self.max_position_embeddings
        return first if self.rope_scaling is None else self.rope_scaling.max_positions(first)

    @property
    def head_width(self) -> int:
        """The width of one attention head."""
        return self.head_dim if self.head_dim is not None else self.hidden_size // self.num_attention_heads

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type of the parameters."""
        return _DTYPES[self.dtype]


class SwiGLU(nn.Module):
    """Gated feed-forward (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width, inner, dtype = config.hidden_size, config.intermediate_size, config.torch_dtype
        self.gate_proj = nn.Linear(width, inner, bias=False, dtype=dtype)
        self.up_proj = nn.Linear(width, inner, bias=False, dtype=dtype)
        self.down_proj = nn.Linear(inner, width, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b t d) from (b t d)."""
        gate, up = self.gate_proj(x), self.up_proj(x)
        return self.down_proj(F.silu(gate) * up if torch.compiler.is_compiling() else _Gated.apply(gate, up))


class _Gated(torch.autograd.Function):
    """`silu(gate) * up`, bit for bit; on the way back `silu(gate)` is computed again in place of being kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        """Return what is passed on, (... i)."""
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable  # a gradient of the gradient would be wrong in silence
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] (what the decorator makes of it)
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients of gate and up for that of the output, (... i)."""
        (gradient,) = gradients
        gate, up = ctx.saved_tensors
        of_gate = gradient * up
        torch.ops.aten.silu_backward.grad_input(of_gate, gate, grad_input=of_gate)
        return of_gate, F.silu(gate).mul_(gradient)


def _narrowed(x: Tensor) -> Tensor:
    """Return x in autocast's type where there is one: cast once, and not by each of the maps that read it."""
    device = x.device.type
    is_narrow = device != "meta" and torch.is_autocast_enabled(device)
    return x.to(torch.get_autocast_dtype(device)) if is_narrow else x


class Block(nn.Module):
    """One layer: attention, then feed-forward, each on a residual branch after a norm."""

    def __init__(self, config: DecoderConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_width,
            layer,
            config.torch_dtype,
        )
        self.mlp = SwiGLU(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, config.torch_dtype)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps, config.torch_dtype)
        self.dropout = nn.Dropout(config.dropout)
        self.recomputes = False
        """Whether its activations are computed again on the way back instead of being kept."""

    def forward(self, x: Tensor, reading: Reading) -> Tensor:
        """Return (b t d) from (b t d)."""
        if self.recomputes and reading.cache is None and torch.is_grad_enabled():
            return checkpoint(self.compute, x, reading, use_reentrant=False)
        return self.compute(x, reading)

    def compute(self, x: Tensor, reading: Reading) -> Tensor:
        """Return what `forward` does, keeping every activation."""
        x = x + self.dropout(self.self_attn(_narrowed(self.input_layernorm(x)), reading))
        return x + self.dropout(self.mlp(_narrowed(self.post_attention_layernorm(x))))


class _Trunk(nn.Module):
    """Everything below the head; its name in the decoder, `model`, is Hugging Face's."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, dtype=config.torch_dtype)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, config.torch_dtype)


class Decoder(nn.Module):
    """A causal language model over ids or embeddings.

    Rows may be padded on either side and may pack several documents: see `hidden`. Positions beyond
    `max_positions` raise `ValueError` naming both numbers.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = _Trunk(config)
        self.lm_head: nn.Linear | None = None
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(
                config.hidden_size, config.vocab_size, bias=False, dtype=config.torch_dtype
            )
        self.rotary = Rotary(
            config.head_width, config.rope_theta, config.max_position_embeddings, config.rope_scaling
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw matrices from a normal distribution of `initializer_range` and set norms to one."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            elif isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)

    def recompute_layers(self) -> None:
        """Keep one activation a layer, and compute the rest of it again on the way back (Chen et al. 2016).

        A training step takes about a third more time, and memory for the activations of one layer at a time.
        """
        for block in self.model.layers:
            assert isinstance(block, Block)
            block.recomputes = True

    def compile_layers(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile what a layer computes, once for all layers of the same shapes; attention stays as it is.

        Packed documents have other lengths in every row, so attention is left to its own kernels: compiled, it would
        be compiled again at every step.
        """
        uncompiled: Any = torch.compiler.disable(attend)
        for block in self.model.layers:
            assert isinstance(block, Block)
            block.self_attn.attend = uncompiled
            block.compute = torch.compile(block.compute, backend=backend)

    def forward(
        self,
        ids: Tensor,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the logits of what follows each of ids (b t): (b t v). Arguments are those of `hidden`."""
        return self.logits(self.hidden(ids, documents=documents, positions=positions, cache=cache))

    def hidden(
        self,
        inputs: Tensor,
        *,
        documents: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the states after the final norm, (b t d).

        Args:
            inputs: (b t) int64 ids or (b t d) embeddings.
            documents: (b t) int64, 0 on padding, 1, 2, ... in runs; a position attends to earlier ones of its
                own document only. None: one document a row (with a cache: the one that was being read).
            positions: (b t) int64; None: from 0 in each document, going on where the cache stopped.
            cache: What was read before; it is extended in place.

        Raises:
            ValueError: A position at or beyond `max_positions`, or beyond the cache.
        """
        x = inputs if inputs.is_floating_point() else self.embed(inputs)
        if cache is not None:
            cache.admit(x.shape[0], x.shape[1], documents)
        reading = Reading.of(self.rotary, x.shape[1], documents, positions, cache, x.device)
        for block in self.model.layers:
            x = block(x, reading)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.model.norm(x)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings (... d) of ids (...)."""
        return self.model.embed_tokens(ids)

    def embed_expected(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted sum (... d) of the embeddings of ids (... k), weights (... k)."""
        table = self.model.embed_tokens.weight
        flat_ids = ids.reshape(-1, ids.shape[-1])
        flat_weights = weights.reshape(-1, weights.shape[-1]).to(table.dtype)
        summed = F.embedding_bag(flat_ids, table, per_sample_weights=flat_weights, mode="sum")
        return summed.view(*ids.shape[:-1], -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits (... v) of states (... d)."""
        return F.linear(hidden, (self.lm_head or self.model.embed_tokens).weight)

    def at_output(self, hidden: Tensor, use: Callable[[Tensor, Tensor], Used]) -> Used:
        """Return use(hidden, weight), with the output layer's weight (v d), tied or not.

        A loss that makes logits in chunks needs the matrix itself; where it is sharded it is whole in here only.
        """
        return use(hidden, (self.lm_head or self.model.embed_tokens).weight)

    def new_cache(self, batch_size: int, max_length: int) -> KVCache:
        """Return an empty cache for this decoder."""
        return KVCache(batch_size, max_length, self.config.num_hidden_layers)
