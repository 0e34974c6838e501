"""A small tokenizer and a small decoder that the tests of this room share."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.tokenizer import Tokenizer

SUBJECTS = "A mãe", "O meu irmão", "A enfermeira", "O senhor João", "A vizinha"
VERBS = "chama-se", "está a comprar", "quer", "traz", "pediu"
OBJECTS = "pão", "água fresca", "o comprimido das 8 horas", "café", "três maçãs", "a cadeira"
PLACES = "na cozinha", "em Lisboa", "no centro de saúde", "à porta"


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return [" ".join(words) + "." for words in product(SUBJECTS, VERBS, OBJECTS, PLACES)]


@pytest.fixture(scope="session")
def tokenizer(texts) -> Tokenizer:
    return Tokenizer.train(texts, 420)


@pytest.fixture
def decoder() -> Decoder:
    """Random, with weights large enough that logits are far apart."""
    torch.manual_seed(1)
    return Decoder(
        DecoderConfig(61, 32, 48, 2, 4, 2, max_position_embeddings=64, initializer_range=0.3)
    ).eval()
