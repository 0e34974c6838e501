"""Generation beside transformers' `generate`, in turn, with the same weights, type and threads.

Each peer is measured at its best: dynamic cache, static cache, batches of 1, 4, 8 and 16. Set AMALIA_BENCH_COMPILE=1 to
let torch compile it as well (a static cache); ours needs no compiler on the machine, numba brings its own.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
import transformers
from decoder_sizes import MEDIUM_100M, SMALL_3M, llama_like
from paired import best_of, paired, seconds_of
from transformers import CompileConfig, StoppingCriteria, StoppingCriteriaList

from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.engine import Engine, Request
from amalia_mm.text.fused import FusedDecoder
from amalia_mm.text.generate import complete, pad_prompts
from amalia_mm.text.sampling import Sampling

pytestmark = pytest.mark.benchmark

BIG_READ_BYTES = 256 * 2**20


@pytest.fixture(autouse=True)
def quiet() -> None:
    transformers.logging.set_verbosity_error()


def models(config: DecoderConfig) -> tuple[Decoder, transformers.LlamaForCausalLM]:
    decoder = Decoder(config).eval().requires_grad_(False)
    return decoder, llama_like(decoder)


def llama_ways(llama, prompt: torch.Tensor, num_new: int) -> dict[str, Callable[[], torch.Tensor]]:
    """transformers' ways to continue one prompt."""
    given = {
        "attention_mask": torch.ones_like(prompt),
        "max_new_tokens": num_new,
        "do_sample": False,
        "eos_token_id": None,
    }
    ways = {
        "dynamic cache": lambda: llama.generate(prompt, **given),
        "static cache": lambda: llama.generate(
            prompt, cache_implementation="static", disable_compile=True, **given
        ),
    }
    if os.environ.get("AMALIA_BENCH_COMPILE") == "1":
        compiled = CompileConfig(fullgraph=False, mode="default")
        compiled._compile_all_devices = True
        ways["static cache, compiled"] = lambda: llama.generate(
            prompt, cache_implementation="static", compile_config=compiled, **given
        )
    return ways


def decode_one(bench, row: str, config: DecoderConfig, num_new: int, must: float) -> None:
    """Tokens a second of one row after a prompt of 16 tokens."""
    decoder, llama = models(config)
    prompt = torch.randint(config.vocab_size, (1, 16))
    ways = llama_ways(llama, prompt, num_new)
    best = best_of(ways, num_rounds=1)
    assert (
        ways[best]()[0, 16:].tolist()
        == complete(decoder, prompt, stop_ids=(), sampling=Sampling(num_new)).pop()
    )
    times = paired(
        lambda: complete(decoder, prompt, stop_ids=(), sampling=Sampling(num_new)), ways[best], num_pairs=9
    )
    bench.row(
        row,
        f"decode, batch 1, {config.dtype}, {num_new} tokens after 16; transformers generate, {best}",
        ours=num_new / times.ours_median_s,
        peer=num_new / times.peer_median_s,
        unit="tokens/s",
        ratio=times.ratio,
        op=">=",
        must=must,
    )


def test_decode_3m(bench):
    decode_one(bench, "decode_3m", SMALL_3M, 128, 3.0)


def test_decode_100m(bench):
    decode_one(bench, "decode_100m", MEDIUM_100M, 32, 1.3)


class UpTo(StoppingCriteria):
    """Each row of a batch ends at a number of tokens of its own, as at an end token."""

    def __init__(self, num_prompt: int, limits: Sequence[int]) -> None:
        self.num_prompt, self.limits = num_prompt, torch.tensor(limits)

    def __call__(self, input_ids, scores, **rest) -> torch.Tensor:
        return input_ids.shape[1] - self.num_prompt >= self.limits


def llama_answers(llama, jobs: list[tuple[list[int], int]], batch_size: int) -> int:
    """transformers over batches of jobs sorted by length of prompt; returns how many tokens were wanted."""
    jobs = sorted(jobs, key=lambda job: len(job[0]))
    for start in range(0, len(jobs), batch_size):
        prompts, limits = zip(*jobs[start : start + batch_size], strict=True)
        ids, documents = pad_prompts(prompts)
        llama.generate(
            ids,
            attention_mask=documents,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
            max_new_tokens=max(limits),
            stopping_criteria=StoppingCriteriaList([UpTo(ids.shape[1], limits)]),
        )
    return sum(limit for _, limit in jobs)


def our_answers(decoder: Decoder, jobs: list[tuple[list[int], int]]) -> int:
    engine = Engine(decoder, 16, max(len(prompt) + limit for prompt, limit in jobs))
    for prompt, limit in jobs:
        engine.add(Request(prompt, Sampling(limit)))
    num_tokens = 0
    while events := engine.step():
        num_tokens += len(events)
    return num_tokens


def test_decode_b16(bench):
    """Sixty-four prompts of 4 to 64 tokens whose answers have 4 to 128, short ones more often, through 16 rows."""
    decoder, llama = models(SMALL_3M)
    dice = random.Random(0)
    lengths = [(dice.randint(4, 64), round(4 * 32 ** dice.random())) for _ in range(64)]
    jobs = [([dice.randrange(512) for _ in range(prompt)], limit) for prompt, limit in lengths]
    ways = {f"batch {size}": (lambda size=size: llama_answers(llama, jobs, size)) for size in (1, 4, 8, 16)}
    best = best_of(ways, num_rounds=1)
    num_tokens = our_answers(decoder, jobs)
    assert num_tokens == sum(limit for _, limit in jobs)
    times = paired(lambda: our_answers(decoder, jobs), ways[best], num_pairs=5)
    bench.row(
        "decode_b16",
        f"3M decoder, float32, 64 requests of mixed lengths through 16 rows; transformers generate, {best}",
        ours=num_tokens / times.ours_median_s,
        peer=num_tokens / times.peer_median_s,
        unit="tokens/s",
        ratio=times.ratio,
        op=">=",
        must=2.0,
    )


def test_bandwidth_100m(bench):
    """Every weight that a token needs is read once: what is read a second, beside the fastest read of much memory."""
    decoder, _ = models(replace(MEDIUM_100M, dtype="bfloat16"))
    num_new = 32
    fused = FusedDecoder(decoder)
    # Of the table of embeddings one row is read.
    num_bytes = (
        sum(weight.nbytes for weight in decoder.parameters()) - decoder.model.embed_tokens.weight.nbytes
    )
    engine = Engine(decoder, 1, 64)
    assert fused.dtype == torch.bfloat16

    def decode() -> None:
        while engine.step():
            pass

    def ours() -> float:
        engine.add(Request([1] * 4, Sampling(num_new + 1)))
        engine.step()
        return num_new * num_bytes / seconds_of(decode)

    memory = torch.ones(BIG_READ_BYTES // 8, dtype=torch.int64)

    def read() -> float:
        return max(BIG_READ_BYTES / seconds_of(memory.sum) for _ in range(4))

    ours(), read()
    pairs = [(ours(), read()) for _ in range(9)]
    bench.row(
        "bandwidth_100m",
        f"decode 100M, bfloat16, batch 1, against a read of {BIG_READ_BYTES // 2**20} MiB",
        ours=sorted(one for one, _ in pairs)[4] / 1e9,
        peer=sorted(other for _, other in pairs)[4] / 1e9,
        unit="GB/s",
        ratio=sorted(one / other for one, other in pairs)[4],
        op=">=",
        must=0.6,
    )


def test_prefill_2k(bench):
    decoder, llama = models(MEDIUM_100M)
    prompt = torch.randint(16_000, (1, 2048))
    ways = llama_ways(llama, prompt, 1)
    best = best_of(ways, num_rounds=1)
    times = paired(
        lambda: complete(decoder, prompt, stop_ids=(), sampling=Sampling(1)), ways[best], num_pairs=5
    )
    bench.row(
        "prefill_2k",
        f"100M decoder, float32, 2,048 tokens to the first new one; transformers generate, {best}",
        ours=2048 / times.ours_median_s,
        peer=2048 / times.peer_median_s,
        unit="tokens/s",
        ratio=times.ratio,
        op=">=",
        must=1.0,
    )
