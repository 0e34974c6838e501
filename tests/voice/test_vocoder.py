"""A vocoder writes the spectrum that it means, needs no more frames than it says, and streams what it would write."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from amalia_mm.errors import InputError
from amalia_mm.voice.correction import corrected
from amalia_mm.voice.griffin_lim import GriffinLim
from amalia_mm.voice.mel import VoiceMel
from amalia_mm.voice.pitch import pitch_hz
from amalia_mm.voice.source import source
from amalia_mm.voice.vocoder import IstftHead, Vocos
from amalia_mm.voice.vocos_checkpoint import is_vocos, load_vocos, load_vocos_into

SIZES = {"sample_rate_hz": 16_000, "num_mels": 20, "fft_samples": 256, "hop_samples": 64}
SMALL = SIZES | {"width": 24, "inner_width": 40, "num_layers": 2}


@pytest.fixture
def vocoder() -> Vocos:
    """All of its weights drawn, biases too, so that every path can be heard."""
    model = Vocos(**SMALL).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def mel() -> torch.Tensor:
    return torch.randn(2, 20, 50)


def test_what_a_spectrum_says_comes_back(vocoder):
    """Analysis, then the head's own synthesis."""
    waveform = 0.1 * torch.randn(2, 64 * 40)
    spectrum = torch.stft(waveform, 256, 64, window=torch.hann_window(256), return_complex=True)
    assert torch.allclose(vocoder.head.waveform(spectrum), waveform, atol=1e-6)


def test_the_head_is_the_inverse_transform_of_magnitude_and_phase():
    head = IstftHead(12, 256, 64)
    features = torch.randn(1, 30, 12)
    log_magnitude, phase = head.out(features).transpose(1, 2).chunk(2, dim=1)
    spectrum = log_magnitude.exp() * (phase.cos() + 1j * phase.sin())
    expected = torch.istft(spectrum, 256, 64, window=torch.hann_window(256))
    assert torch.allclose(head(features), expected, atol=1e-6)


def test_a_huge_magnitude_is_held():
    head = IstftHead(4, 256, 64)
    nn.init.constant_(head.out.bias, 50.0)
    assert torch.isfinite(head(torch.zeros(1, 10, 4))).all()


def test_the_head_is_that_of_another_implementation():
    """NeuCodec's head is Vocos' with another padding: inside of a clip both overlap and add the same."""
    from transformers.models.neucodec.modeling_neucodec import NeuCodecISTFTHead

    theirs = NeuCodecISTFTHead(SimpleNamespace(hidden_size=12, n_fft=256, hop_length=64))
    ours = IstftHead(12, 256, 64)
    theirs.linear.load_state_dict(ours.out.state_dict())
    features = torch.randn(1, 30, 12)
    expected = theirs(features)[0, 0]
    # Its first sample is 96 before the centre of the first frame plus half a hop: "same" padding.
    shift = (256 - 64) // 2
    inside = slice(256, 29 * 64 - 256)
    assert torch.allclose(ours(features)[0][inside], expected[128 - shift :][: 29 * 64][inside], atol=1e-5)


def test_a_waveform_ends_with_its_last_frame(vocoder):
    waveform = 0.1 * torch.randn(1, 64 * 30 + 13)
    assert vocoder(vocoder.mel(waveform)).shape == (1, 64 * 30)


def test_the_context_is_what_decides_and_no_more(vocoder, mel):
    whole, hop = vocoder(mel), 25
    assert vocoder.context_frames == 3 * 3 + 1
    for side, nearest in ((-1, hop - vocoder.context_frames), (1, hop + 1 + vocoder.context_frames)):
        changed = []
        for frame in (nearest, nearest + side):
            other = mel.clone()
            other[:, :, frame] += 3.0
            piece = slice(hop * 64, (hop + 1) * 64)
            changed.append(float((vocoder(other) - whole)[:, piece].detach().abs().max()))
        assert changed[0] > 0, "the frame that is named decides nothing"
        assert changed[1] == 0, "a frame beyond the context decides"


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [7] * 7 + [1], [30, 1, 19], [5, 45], [13, 37]], ids=str)
def test_chunks_are_the_whole(vocoder, mel, sizes):
    with torch.inference_mode():
        whole = vocoder(mel)
        pieces = list(vocoder.stream(mel.split(sizes, dim=2)))
    assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-4)
    assert torch.cat(pieces, dim=1).shape == whole.shape


def test_sound_comes_before_the_last_frame_does(vocoder, mel):
    asked = 0

    def frames():
        nonlocal asked
        for chunk in mel.split(2, dim=2):
            asked += 2
            yield chunk

    first = next(vocoder.stream(frames()))
    assert asked <= vocoder.context_frames + 4
    assert first.shape[1] >= 64


@pytest.fixture
def correcting(vocoder) -> Vocos:
    """The same weights, two rounds of correction after them."""
    model = Vocos(**SMALL, num_corrections=2).eval()
    model.load_state_dict(vocoder.state_dict())
    return model


def test_a_correction_brings_speech_nearer_to_its_frames():
    """Half as loud, and a little noise: rounds find the level again, and are nearer with each."""
    mel, generator = VoiceMel(**SIZES), torch.Generator().manual_seed(0)
    real = 0.1 * torch.randn(2, 64 * 60, generator=generator)
    off = 0.5 * real + 0.02 * torch.randn(real.shape, generator=generator)
    frames = mel(real)
    apart = [float((mel(corrected(off, frames, mel, rounds)) - frames).abs().mean()) for rounds in (0, 1, 4)]
    assert apart[0] > 0.5
    assert apart[1] < 0.4 * apart[0]
    assert apart[2] < 0.5 * apart[1]


def test_what_is_right_stays():
    mel = VoiceMel(**SIZES)
    real = 0.1 * torch.randn(1, 64 * 60)
    assert torch.allclose(corrected(real, mel(real), mel, 3), real, atol=1e-4)


def test_a_waveform_too_short_for_frames_is_not_corrected():
    mel = VoiceMel(**SIZES)
    short = torch.randn(1, 128)
    assert corrected(short, torch.zeros(1, 20, 3), mel, 3) is short


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [30, 1, 19], [13, 37]], ids=str)
def test_corrected_chunks_are_the_whole(correcting, mel, sizes):
    with torch.inference_mode():
        whole = correcting(mel)
        pieces = torch.cat(list(correcting.stream(mel.split(sizes, dim=2))), dim=1)
        assert not torch.allclose(whole, correcting.uncorrected(mel), atol=1e-2)
    torch.testing.assert_close(pieces, whole, atol=1e-3 * float(whole.abs().max()), rtol=0)


def test_the_context_of_corrections_is_enough(correcting, mel):
    """A frame beyond it decides nothing, to the last bit; a few frames inside, something."""
    hop = 25
    piece = slice(hop * 64, (hop + 1) * 64)
    assert correcting.context_frames == 3 * 3 + 1 + 2 * 3
    whole, context = correcting(mel), correcting.context_frames
    for side, nearest in ((-1, hop - context), (1, hop + 1 + context)):
        changed = []
        for frame in (nearest - 5 * side, nearest + side):
            other = mel.clone()
            other[:, :, frame] += 3.0
            changed.append(float((correcting(other) - whole)[:, piece].detach().abs().max()))
        assert changed[0] > 0
        assert changed[1] == 0


FINE = {"sample_rate_hz": 16_000, "num_mels": 80, "fft_samples": 1024, "hop_samples": 256}


@pytest.fixture
def shaping() -> Vocos:
    """Of frames in which a pitch can be read, all weights drawn."""
    model = Vocos(**FINE, width=24, inner_width=40, num_layers=2, has_source=True, num_corrections=1).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def spoken(shaping) -> torch.Tensor:
    """Frames (2 m 50): two pitches, digital silence between them."""
    time_s = torch.arange(256 * 20) / 16_000
    pitches_hz = torch.tensor([[100.0, 180.0], [230.0, 120.0]])
    waves = sum(torch.sin(2 * torch.pi * k * pitches_hz[..., None] * time_s) / k for k in range(1, 30))
    silence = torch.zeros(2, 256 * 9)
    return shaping.mel(0.1 * torch.cat([waves[:, 0], silence, waves[:, 1]], dim=1))


def test_a_head_that_changes_nothing_gives_the_source(shaping, spoken):
    nn.init.zeros_(shaping.head.out.weight)
    nn.init.zeros_(shaping.head.out.bias)
    with torch.inference_mode():
        written, made = shaping.uncorrected(spoken), source(shaping.track(spoken), shaping.mel)
    # A spectrum of mean square 1 is a waveform of the energy of one window.
    scale = float(torch.hann_window(1024).square().sum().rsqrt())
    inside = slice(1024, -1024)
    torch.testing.assert_close(written[:, inside], made[:, inside] * scale, atol=1e-4, rtol=0)


@pytest.mark.parametrize("sizes", [[50], [1] * 50, [30, 1, 19], [13, 37]], ids=str)
def test_chunks_of_a_source_are_the_whole(shaping, spoken, sizes):
    """Its pulses go on at the sample where those before it ended."""
    with torch.inference_mode():
        whole = shaping(spoken)
        pieces = torch.cat(list(shaping.stream(spoken.split(sizes, dim=2))), dim=1)
    torch.testing.assert_close(pieces, whole, atol=1e-3 * float(whole.abs().max()), rtol=0)


def test_a_source_makes_two_frames_sound(shaping):
    written = shaping(torch.zeros(1, 80, 2))
    assert written.shape == (1, 256)
    assert written.isfinite().all() and written.abs().max() > 0


def test_a_source_of_frames_without_a_pitch_is_refused():
    with pytest.raises(ValueError, match="no pitch can be read"):
        Vocos(**SMALL, has_source=True)


def test_a_low_voice_keeps_its_pitch():
    """Without a weight that has learned anything, and with corrections alone: the phases are the source's."""
    rate_hz, hz = 16_000, 90.0
    time_s = torch.arange(256 * 60) / rate_hz
    real = 0.02 * sum(torch.sin(2 * torch.pi * hz * k * time_s + k * k) / k for k in range(1, 60))[None]
    shares = {}
    for has_source in (False, True):
        torch.manual_seed(0)
        model = Vocos(
            rate_hz, 80, width=16, inner_width=16, num_layers=1, num_corrections=8, has_source=has_source
        )
        with torch.inference_mode():
            found = pitch_hz(model(model.mel(real)), rate_hz, 256)[0, 6:-6]
        shares[has_source] = float(((found / hz).log2().abs() < 1 / 24).float().mean())
    assert shares[True] > 0.95
    assert shares[False] < 0.8


def test_griffin_lim_finds_the_waveform_again():
    mel = VoiceMel(**SIZES)
    time = torch.arange(64 * 60) / 16_000
    waveform = (0.3 * torch.sin(2 * torch.pi * 440 * time) + 0.1 * torch.sin(2 * torch.pi * 1_300 * time))[
        None
    ]
    frames = mel(waveform)
    vocoder = GriffinLim.of(mel)
    written = vocoder(frames)
    loud = frames > frames.max() - 5
    assert float((mel(written) - frames)[loud].abs().median()) < 0.25
    heard = torch.fft.rfft(written[0] * torch.hann_window(written.shape[1])).abs()
    assert abs(float(heard.argmax()) * 16_000 / written.shape[1] - 440) < 30
    assert written.shape == waveform.shape
    assert torch.equal(vocoder(frames), written), "its phases begin at the same numbers"
    assert torch.equal(torch.cat(list(vocoder.stream(frames.split(7, dim=2))), dim=1), written)


def test_random_numbers_of_others_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    GriffinLim(**SIZES, num_iterations=2)(torch.zeros(1, 20, 5))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", ["learned", "griffin-lim"])
@pytest.mark.parametrize("shape", [(1, 19, 5), (20, 5), (1, 20, 1)], ids=str)
def test_frames_of_another_shape_are_refused(kind, shape, vocoder):
    model = vocoder if kind == "learned" else GriffinLim(**SIZES)
    with pytest.raises(ValueError, match="wanted"):
        model(torch.zeros(shape))


CONFIG = {
    "feature_extractor": {
        "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
        "init_args": {
            "sample_rate": 16_000,
            "n_fft": 256,
            "hop_length": 64,
            "n_mels": 20,
            "padding": "center",
        },
    },
    "backbone": {
        "class_path": "vocos.models.VocosBackbone",
        "init_args": {"input_channels": 20, "dim": 24, "intermediate_dim": 40, "num_layers": 2},
    },
    "head": {
        "class_path": "vocos.heads.ISTFTHead",
        "init_args": {"dim": 24, "n_fft": 256, "hop_length": 64, "padding": "center"},
    },
}


@pytest.fixture
def checkpoint(tmp_path, vocoder):
    """A folder as Vocos' package writes it: its buffers are kept beside the weights."""
    weights = dict(vocoder.state_dict())
    weights["head.istft.window"] = torch.hann_window(256)
    weights["feature_extractor.mel_spec.spectrogram.window"] = torch.hann_window(256)
    weights["feature_extractor.mel_spec.mel_scale.fb"] = vocoder.mel.filters().T
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return tmp_path


def test_a_checkpoint_of_vocos_is_read(checkpoint, vocoder, mel):
    assert is_vocos(checkpoint)
    loaded = load_vocos(checkpoint)
    assert torch.equal(loaded(mel), vocoder(mel))


def test_the_names_are_those_of_the_package(vocoder):
    """As in the state dict of charactr/vocos-mel-24khz."""
    names = {name for name in vocoder.state_dict() if "convnext.1" not in name}
    block = {
        f"backbone.convnext.0.{name}" for name in ("gamma", *_both("dwconv", "norm", "pwconv1", "pwconv2"))
    }
    around = {f"backbone.{name}" for name in _both("embed", "norm", "final_layer_norm")}
    assert names == block | around | set(_both("head.out"))
    with torch.device("meta"):
        released = Vocos()
    assert sum(parameter.numel() for parameter in released.parameters()) == 13_531_650
    assert released.context_frames == 28


def _both(*layers: str) -> list[str]:
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


def test_frames_waveform_and_checkpoint_are_those_of_the_package(checkpoint, vocoder, tmp_path):
    """The package itself, where it is installed (`pip install --no-deps vocos`)."""
    pytest.importorskip("vocos", reason="the package vocos is not installed", exc_type=ImportError)
    theirs = sys.modules["vocos"].Vocos.from_hparams(str(checkpoint / "config.yaml"))
    theirs.load_state_dict(torch.load(checkpoint / "pytorch_model.bin", weights_only=True))
    theirs.eval()
    waveform = 0.1 * torch.randn(2, 64 * 30)
    assert torch.allclose(vocoder.mel(waveform), theirs.feature_extractor(waveform), atol=1e-5)
    frames = vocoder.mel(waveform)
    assert torch.allclose(vocoder(frames), theirs.decode(frames), atol=1e-5)


@pytest.fixture(autouse=True)
def encodec_is_not_needed(monkeypatch):
    """The package imports EnCodec for a kind of frames that nobody asks for here."""
    if "encodec" not in sys.modules:
        stub = ModuleType("encodec")
        stub.EncodecModel = object  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, "encodec", stub)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head": {"padding": "same"}}, "padding"),
        ({"backbone": {"dim": 25}}, "backbone"),
        ({"backbone": {"adanorm_num_embeddings": 4}}, "adanorm"),
        ({"feature_extractor": {"hop_length": 32}}, "head"),
        ({"feature_extractor": {"sample_rate": 24_000}}, "mel_scale.fb"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_vocos_is_refused(checkpoint, change, says):
    config = {
        part: {**spec, "init_args": {**spec["init_args"], **change.get(part, {})}}
        for part, spec in CONFIG.items()
    }
    (checkpoint / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=says):
        load_vocos(checkpoint)


def test_weights_that_write_the_whole_spectrum_do_not_shape_a_source(checkpoint, shaping):
    with pytest.raises(InputError, match="has_source: false"):
        load_vocos_into(shaping, checkpoint)


def test_weights_that_are_cut_or_incomplete_are_told(checkpoint):
    path = checkpoint / "pytorch_model.bin"
    weights = torch.load(path, weights_only=True)
    weights["head.extra"] = weights.pop("head.out.bias")
    torch.save(weights, path)
    with pytest.raises(InputError, match=r"head\.extra"):
        load_vocos(checkpoint)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="weights"):
        load_vocos(checkpoint)
    path.unlink()
    with pytest.raises(InputError, match="no weights"):
        load_vocos(checkpoint)
