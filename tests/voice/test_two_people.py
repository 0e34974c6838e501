"""Two people among recordings, made of vectors around two middles that are known."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from amalia_mm.commands.enrol import _check_one_person
from amalia_mm.errors import InputError
from amalia_mm.voice.phrases import Clip
from amalia_mm.voice.two_people import two_groups


def people(counts, apart, seed=0):
    """Vectors (b 16) around one middle for each count; `apart` is how far the middles are, the noise is 0.3."""
    draws = torch.Generator().manual_seed(seed)
    rows = []
    for number, count in enumerate(counts):
        middle = torch.zeros(16)
        middle[0] = 1.0
        middle[1 + number] = apart
        rows.append(normalize(middle, dim=0) + 0.3 / 4 * torch.randn(count, 16, generator=draws))
    return normalize(torch.cat(rows), dim=1)


@pytest.mark.parametrize("counts", [(7, 7), (10, 4), (12, 2), (13, 1)])
def test_two_people_are_found_whoever_said_more(counts):
    found = two_groups(people(counts, apart=1.0))
    wanted = range(counts[0], sum(counts)) if counts[1] <= counts[0] else range(counts[0])
    assert set(found.fewer) in (set(wanted), set(range(counts[0])))
    assert len(found.fewer) == min(counts)
    assert found.similarity < 0.7


def test_each_half_is_as_like_to_the_middle_as_the_other():
    """What one recording beside the others cannot see."""
    vectors = people((7, 7), apart=0.65)
    each = [
        float(normalize(vectors[[o for o in range(14) if o != n]].mean(0), dim=0) @ vectors[n])
        for n in range(14)
    ]
    assert min(each) > 0.7, "the limit of the gate"
    assert two_groups(vectors).similarity < 0.8


@pytest.mark.parametrize("count", [2, 3, 14])
def test_one_person_is_one(count):
    found = two_groups(people((count,), apart=0.0))
    assert found.similarity > 0.8
    assert 1 <= len(found.fewer) <= count // 2


def test_the_same_clip_again_and_again_is_one_person():
    found = two_groups(people((1,), apart=0.0).repeat(5, 1))
    assert found.similarity == pytest.approx(1.0, abs=1e-5)


def test_an_enrolment_tells_two_that_are_alike_and_refuses_two_that_are_not(capsys):
    clips = [Clip(f"frase {number}", b"") for number in range(14)]
    _check_one_person(clips, people((14,), apart=0.0), 0.7)
    assert capsys.readouterr().err == ""
    _check_one_person(clips, people((8, 6), apart=0.6), 0.7)
    told = capsys.readouterr().err
    assert "parecem duas pessoas, ou dois lugares" in told
    assert "estas 6 gravações ao lado das outras 8: «frase 8», «frase 9»" in told
    with pytest.raises(InputError, match="the 7 recordings of .*one person's recordings"):
        _check_one_person(clips, people((7, 7), apart=0.8), 0.7)
