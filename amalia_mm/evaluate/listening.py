"""A page on which each augmentation of a data fragment can be heard and seen, before it is trained with.

One player and one picture for the clip as it is, for each thing that may happen to it alone, at both ends of its range,
and for a few clips as training hears them. Masks are an encoder's: their picture is of what it hears (masked.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment as Templates
from jinja2 import StrictUndefined
from torch import Tensor

from amalia_mm.audio.augment import Augment, band
from amalia_mm.audio.channels import load_scene
from amalia_mm.audio.codecs import through
from amalia_mm.audio.io import encode_flac
from amalia_mm.audio.noise import add_noise
from amalia_mm.audio.rooms import reverberate
from amalia_mm.audio.spec_augment import SpecAugment
from amalia_mm.audio.speed import at_speed
from amalia_mm.errors import InputError, writing
from amalia_mm.evaluate import figures
from amalia_mm.evaluate.masked import masked, mel_of, sound_of
from amalia_mm.units import samples_to_seconds

MAX_CLIP_S = 30.0
_MOST_RECORDINGS = 8
_NUM_DRAWS = 4
_MASKS = "Máscaras de tempo e frequência (SpecAugment)"
_COLOURS = {"white": "branco", "pink": "rosa", "brown": "castanho"}


@dataclass(frozen=True)
class Heard:
    """One player of the page."""

    group: str
    name: str
    waveform: Tensor
    mel: Tensor | None = None
    """(m f), where the picture is of something else than the waveform."""


def write_listening_page(
    clip: Path, augment: Augment, output: Path, seed: int = 0, masks: SpecAugment | None = None
) -> int:
    """Write the page of a clip and return how many players it has; it needs no other file and no network.

    Args:
        clip: A recording of at most 30 s.
        augment: What training does to clips.
        output: The HTML file.
        seed: Of the clips as training hears them.
        masks: What the encoder hides of its mel frames in training; None hides nothing.

    Raises:
        InputError: The clip, or a recording to mix in, cannot be read, or the page not be written.
    """
    waveform = load_scene(clip, max_seconds=MAX_CLIP_S)
    augment.check_sounds()
    players = [*variants(waveform, augment, seed), *(of_masks(waveform, masks, seed) if masks else ())]
    groups: dict[str, list[dict[str, str]]] = {}
    for one in players:
        groups.setdefault(one.group, []).append(
            {
                "name": one.name,
                "sound": figures.data_uri(encode_flac(one.waveform), "audio/flac"),
                "picture": _picture(one),
            }
        )
    templates = Templates(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("amalia_mm.evaluate").joinpath("listening.html.jinja").read_text(encoding="utf-8")
    with writing(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        page = templates.from_string(source).render(clip=str(clip), groups=groups, seed=seed)
        output.write_text(page, encoding="utf-8")
    return len(players)


def augment_of(content: Mapping[str, Any], where: str) -> Augment:
    """Return the augmentation of a YAML: a recipe, a data fragment, or the fields of `Augment` themselves.

    Raises:
        InputError: There is none in it, or a field is wrong.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    data = content.get("data", content)
    inside = data.get("init_args") if isinstance(data, Mapping) else None
    fields = inside.get("augment") if isinstance(inside, Mapping) else content
    if not isinstance(fields, Mapping) or (inside is None and "class_path" in content):
        remedy = "give a data fragment that augments, or the fields of Augment themselves"
        raise InputError(where, field="augment", found="none", wanted="what is done to clips", remedy=remedy)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Augment, "augment")
    try:
        return parser.instantiate_classes(parser.parse_object({"augment": dict(fields)}))["augment"]
    except (ArgumentError, ValueError, TypeError, KeyError) as error:
        remedy = "correct the field"
        raise InputError(
            where, field="augment", found=error, wanted="fields of Augment", remedy=remedy
        ) from error


def variants(waveform: Tensor, augment: Augment, seed: int = 0) -> Iterator[Heard]:
    """Yield the clip (n) as it is, as each part of the augmentation alone makes it, and as training hears it."""
    yield Heard("Original", "sem alterações", waveform)
    for speed in augment.speeds:
        if speed != 1.0:
            yield Heard("Velocidade", f"{speed:g} ×".replace(".", ","), at_speed(waveform, speed))
    yield from _of_recordings(waveform, augment)
    yield from _of_signals(waveform, augment, seed)
    for number in range(_NUM_DRAWS):
        speed = augment.speeds[number % len(augment.speeds)]
        drawn = augment(at_speed(waveform, speed), _seeded(seed + number))
        yield Heard("Como no treino", f"sorteio {seed + number}", drawn)


def of_masks(waveform: Tensor, masks: SpecAugment, seed: int = 0) -> Iterator[Heard]:
    """Yield the clip (n) as sound made of its mel frames, and of those with masks; pictures are of the frames."""
    mel = mel_of(waveform)
    yield Heard(_MASKS, "sem máscaras, reconstruído", sound_of(mel), mel)
    seeds = range(seed, seed + _NUM_DRAWS)
    for drawn, hidden in zip(seeds, masked(mel, masks, seeds), strict=True):
        yield Heard(_MASKS, f"sorteio {drawn}, reconstruído", sound_of(hidden), hidden)


def _of_recordings(waveform: Tensor, augment: Augment) -> Iterator[Heard]:
    """Yield the clip in the first rooms, and over the first noises at both ends of their range."""
    if augment.rooms is not None:
        sounds = augment.rooms.sounds
        for number in range(min(len(sounds), _MOST_RECORDINGS)):
            heard = reverberate(waveform, sounds.load_first_channel(number))
            yield Heard("Sala", Path(sounds.names[number]).name, heard)
    if augment.recorded_noise is not None:
        sounds = augment.recorded_noise.sounds
        for number in range(min(len(sounds), _MOST_RECORDINGS)):
            for snr_db in augment.recorded_noise.snr_db:
                name = f"{Path(sounds.names[number]).name}, {snr_db:g} dB acima do ruído"
                yield Heard("Ruído gravado", name, augment.recorded_noise.over(waveform, number, 0, snr_db))


def _of_signals(waveform: Tensor, augment: Augment, seed: int) -> Iterator[Heard]:
    """Yield the clip as noise that is made, microphone, line, codecs and level make it."""
    if augment.noise_probability:
        for colour, name in _COLOURS.items():
            for snr_db in augment.noise_snr_db:
                noisy = add_noise(waveform, colour, snr_db, _seeded(seed))  # pyright: ignore[reportArgumentType]
                yield Heard("Ruído sintético", f"{name}, {snr_db:g} dB acima do ruído", noisy)
    if augment.clipping is not None:
        for over_db in augment.clipping.over_db:
            cut = replace(augment.clipping, probability=1.0, over_db=(over_db, over_db))
            yield Heard("Saturação", f"{over_db:g} dB abaixo do pico", cut(waveform, _seeded(seed)))
    if augment.telephone_probability:
        low, high = augment.telephone_hz
        yield Heard("Telefone", f"{low:g} a {high:g} Hz", band(waveform, low, high))
    for codec in augment.codecs.kinds if augment.codecs is not None else ():
        yield Heard("Codificação", codec, through(waveform, codec))
    if augment.gain_probability:
        for gain_db in augment.gain_db:
            yield Heard("Volume", f"{gain_db:+g} dB", waveform * 10.0 ** (gain_db / 20.0))


def _picture(one: Heard) -> str:
    mel = mel_of(one.waveform) if one.mel is None else one.mel
    return figures.spectrogram(mel, samples_to_seconds(len(one.waveform)))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
