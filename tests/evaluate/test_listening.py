"""The page of augmentation: every player plays, every part has one, and nothing is fetched."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from sound import in_turns, said

from amalia_mm.audio.augment import Augment
from amalia_mm.audio.clipping import Clipping
from amalia_mm.audio.codecs import Codecs
from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.audio.noise import RecordedNoise
from amalia_mm.audio.rooms import Rooms
from amalia_mm.audio.standardised import standardised
from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.evaluate.listening import augment_of, variants, write_listening_page
from amalia_mm.evaluate.masked import masked, mel_of, sound_of, spec_augment_of
from amalia_mm.recipe_paths import read_recipe


class Page(HTMLParser):
    """The players, pictures and headings of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sounds: list[bytes] = []
        self.pictures: list[bytes] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("src") or dict(attrs).get("href")
        if address is None:
            return
        self.addresses.append(address)
        content = base64.b64decode(address.partition(",")[2])
        if tag == "audio":
            self.sounds.append(content)
        elif tag == "img":
            self.pictures.append(content)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_audio(tmp_path / "clip.wav", 0.3 * torch.sin(torch.arange(8000) * 0.2))
    return tmp_path / "clip.wav"


def test_a_fragment_can_be_heard(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rooms").mkdir()
    write_audio(tmp_path / "rooms" / "hall.wav", torch.eye(200)[5] + 0.2 * torch.eye(200)[90])
    fragment = tmp_path / "data.yaml"
    fragment.write_text(
        "class_path: amalia_mm.data.module.SpeechTextData\n"
        "init_args:\n  augment:\n    speeds: [0.5, 1.0]\n    noise_probability: 0.0\n    gain_probability: 0.0\n"
        f"    rooms: {{paths: [{tmp_path / 'rooms'}]}}\n    codecs: {{kinds: [gsm]}}\n"
    )
    page = tmp_path / "page.html"
    assert main(["prepare", "listen", str(clip), "--augment", str(fragment), "--output", str(page)]) == 0
    # as it is, slower, in the hall, through GSM, and four as training hears them
    assert capsys.readouterr().out == f"{page}\t8 clips\n"
    found = Page(page.read_text("utf-8"))
    assert all(address.startswith("data:") for address in found.addresses)
    lengths = [len(load_audio(sound)) for sound in found.sounds]
    assert lengths == [8000, 16_000, 8000, 8000, 16_000, 8000, 16_000, 8000]
    assert len(found.pictures) == 8 and all(picture.startswith(b"\x89PNG") for picture in found.pictures)
    headings = re.findall(r"<h2>(.*?)</h2>", page.read_text("utf-8"))
    assert headings == ["Original", "Velocidade", "Sala", "Codificação", "Como no treino"]


def test_every_part_has_a_player_of_its_own(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", 0.1 * torch.randn(500))
    parts = {
        "rooms": Rooms([str(tmp_path)]),
        "recorded_noise": RecordedNoise([str(tmp_path)]),
        "clipping": Clipping(),
        "codecs": Codecs(),
    }
    augment = Augment(telephone_probability=0.1, speeds=(0.9, 1.0), **parts)
    heard = list(variants(torch.randn(3000), augment))
    counts = {one.group: sum(other.group == one.group for other in heard) for one in heard}
    assert counts == {
        "Original": 1,
        "Velocidade": 1,
        "Sala": 1,
        "Ruído gravado": 2,
        "Ruído sintético": 6,
        "Saturação": 2,
        "Telefone": 1,
        "Codificação": 6,
        "Volume": 2,
        "Como no treino": 4,
    }
    assert len({one.waveform.numpy().tobytes() for one in heard}) == len(heard)


def test_the_fields_alone_are_read_too() -> None:
    augment = augment_of({"clipping": {"probability": 0.5}, "speeds": [0.9, 1.1]}, "a.yaml")
    assert augment.clipping == Clipping(0.5) and tuple(augment.speeds) == (0.9, 1.1)


@pytest.mark.parametrize(
    "content",
    [
        {"class_path": "x", "init_args": {}},
        {"nose_probability": 1.0},
        {"speeds": [9.0]},
        {"codecs": {"kinds": ["g729"]}},
    ],
)
def test_what_augments_nothing_or_wrongly_is_told(content: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"a.yaml: augment"):
        augment_of(content, "a.yaml")


def test_a_clip_of_two_speakers_has_no_page(tmp_path: Path) -> None:
    both = in_turns(tmp_path / "both.wav", *said("Bom dia a todos.", "O comboio parte cedo."))
    with pytest.raises(InputError, match="two speakers.*keep one of them"):
        write_listening_page(both, Augment(), tmp_path / "page.html")


def test_masks_of_a_recipes_encoder_have_players_and_pictures(
    clip: Path, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, encoder = tmp_path / "page.html", root / "configs/encoder/conv_transformer_letters.yaml"
    recipe = root / "recipes/15_real_voices/recipe.yaml"
    assert main(["prepare", "listen", str(clip), "--augment", str(recipe), "--output", str(page)]) == 0
    found = Page(page.read_text("utf-8"))
    headings = re.findall(r"<h2>(.*?)</h2>", page.read_text("utf-8"))
    assert headings[-1] == "Máscaras de tempo e frequência (SpecAugment)"
    assert [len(load_audio(sound)) for sound in found.sounds[-5:]] == [8000] * 5
    assert len(set(found.pictures[-5:])) == 5, "each draw hides something else"
    assert all(picture.startswith(b"\x89PNG") for picture in found.pictures)
    (tmp_path / "data.yaml").write_text("gain_probability: 0.0\nnoise_probability: 0.0\n")
    words = ["prepare", "listen", str(clip), "--augment", str(tmp_path / "data.yaml"), "--output", str(page)]
    capsys.readouterr()
    for more, number in (([], 5), (["--encoder", str(encoder)], 10)):
        assert main([*words, *more]) == 0
        assert capsys.readouterr().out == f"{page}\t{number} clips\n"


def test_a_mask_hides_what_the_encoder_does_not_hear(root: Path) -> None:
    """Of an encoder in training: where its normal mel frames are 0, the picture is the mean of the band."""
    path = root / "configs/encoder/conv_transformer_letters.yaml"
    masks = spec_augment_of(read_recipe(path), str(path))
    assert masks is not None
    mel = mel_of(0.1 * torch.randn(32_000))
    normal = standardised(mel[None], torch.tensor([200]), dim=2, eps=1e-5)
    for seed, hidden in zip(range(4), masked(mel, masks, range(4)), strict=True):
        heard = masks(normal, torch.tensor([200]), (seed,))[0]
        back = heard * (mel.var(dim=1, keepdim=True, correction=0) + 1e-5).sqrt() + mel.mean(1, keepdim=True)
        torch.testing.assert_close(hidden, back, atol=1e-5, rtol=1e-5)
        assert 0 < (hidden != mel).float().mean() < 0.5


def test_a_sound_of_mel_frames_has_these_frames() -> None:
    """Speech-like: a glide with its overtones. A tenth of the range that mel frames have, in the mean, is near."""
    time_s = torch.arange(16_000) / 16_000
    phase = 2 * torch.pi * (150 * time_s + 60 * time_s**2)
    waveform = sum(torch.sin(number * phase) / number for number in range(1, 12)) * 0.1
    mel = mel_of(waveform)
    sound = sound_of(mel)
    assert sound.shape == (16_000,)
    assert (mel_of(sound) - mel).abs().mean() < 0.1 * (mel.max() - mel.min())
    assert torch.equal(sound, sound_of(mel)), "the same frames give the same sound"
    gap = mel.clone()
    gap[:, 40:60] = mel.min()
    quiet = sound_of(gap)
    assert quiet[41 * 160 : 59 * 160].square().mean() < 0.01 * sound[41 * 160 : 59 * 160].square().mean()


def test_an_encoder_without_masks_has_none(root: Path) -> None:
    for name in ("conv_transformer_tiny", "whisper_small"):
        path = root / f"configs/encoder/{name}.yaml"
        assert spec_augment_of(read_recipe(path), str(path)) is None
    wrong = {
        "class_path": "amalia_mm.audio.encoder.ConvTransformer",
        "init_args": {"num_time_masks": 1, "a": 2},
    }
    with pytest.raises(InputError, match=r"a\.yaml: encoder: found TypeError"):
        spec_augment_of(wrong, "a.yaml")
