"""A child process of test_checkpoint_memory.py: writes a checkpoint of 1.7B parameters, or measures loading it.

python checkpoint_memory.py write|load_hf|load_hf_into FOLDER
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import torch

from amalia_mm.text.checkpoint import load_hf, load_hf_into
from amalia_mm.text.decoder import Decoder
from amalia_mm.text.hf_config import read_decoder_config


def write(folder: Path) -> None:
    """Write random weights as transformers writes them."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128000,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    with torch.device("meta"):
        llama = LlamaForCausalLM(config).to(torch.bfloat16)
    llama.to_empty(device="cpu")
    some = torch.randn(2**22).mul(0.02).to(torch.bfloat16)
    for parameter in llama.parameters():
        for part in parameter.data.view(-1).split(len(some)):
            part.copy_(some[: len(part)])
    llama.save_pretrained(folder, max_shard_size="2GB")


def anonymous_bytes() -> int:
    """Return what this process holds in memory of its own; pages mapped from files do not count."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("the kernel tells no RssAnon")


class Peak(threading.Thread):
    """Looks again and again; the largest value seen is `value`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.value = anonymous_bytes()

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            self.value = max(self.value, anonymous_bytes())
            time.sleep(0.002)


def measure(way: str, folder: Path) -> None:
    """Print the bytes of the weights and the most that loading them took."""
    before = anonymous_bytes()
    peak = Peak()
    peak.start()
    if way == "load_hf":
        decoder = load_hf(folder)
    else:
        with torch.device("meta"):
            decoder = Decoder(read_decoder_config(folder))
        decoder.to_empty(device="cpu")
        load_hf_into(decoder, folder)
    num_bytes = sum(parameter.nbytes for parameter in decoder.parameters())
    peak.value = max(peak.value, anonymous_bytes())
    sys.stdout.write(f"{num_bytes} {peak.value - before}\n")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        measure(sys.argv[1], Path(sys.argv[2]))
