"""Speech is found where it is, nothing is found in silence and noise, and chunks lose none of it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.audio.io import load_audio
from amalia_mm.audio.no_speech import NO_SPEECH, no_speech_clip
from amalia_mm.audio.noise import add_noise
from amalia_mm.audio.recording import Recording
from amalia_mm.audio.vad import Segment, SpeechDetector, chunk, find_speech, speech_segments
from amalia_mm.prepare.espeak import Speaker, Utterance
from amalia_mm.prepare.voices import TEST_VOICES, TRAIN_VOICES

SENTENCES = ("Preciso de ajuda para me levantar.", "O autocarro parte às oito e meia da manhã.")
WORDS = ("Sim.", "Não.", "Oito.", "Água.")
VOICES = (*TRAIN_VOICES[::4], *TEST_VOICES)


@pytest.fixture(scope="module")
def spoken() -> dict[str, list[torch.Tensor]]:
    with Speaker() as speaker:
        return {
            text: [speaker.speak(Utterance(text, voice)) for voice in VOICES] for text in (*SENTENCES, *WORDS)
        }


def covered(segments: list[Segment], num_samples: int) -> float:
    return sum(segment.num_samples for segment in segments) / num_samples


@pytest.mark.parametrize("kind", NO_SPEECH)
def test_nothing_is_heard_where_nobody_speaks(kind):
    generator = torch.Generator().manual_seed(11)
    for seconds in (0.3, 1.0, 2.5, 6.0):
        assert speech_segments(no_speech_clip(kind, seconds, generator)) == []


def test_an_empty_waveform_has_no_speech():
    assert speech_segments(torch.zeros(0)) == []
    assert speech_segments(torch.zeros(7)) == []


@pytest.mark.parametrize("level", [1.0, 0.03], ids=["as it is", "30 dB lower"])
def test_synthetic_speech_is_heard(spoken, level):
    for text, clips in spoken.items():
        for clip in clips:
            found = covered(speech_segments(level * clip), len(clip))
            assert found > (0.8 if text in SENTENCES else 0.5), text


def test_synthetic_speech_is_heard_in_noise(spoken):
    generator = torch.Generator().manual_seed(12)
    for text in SENTENCES:
        for clip in spoken[text]:
            assert covered(speech_segments(add_noise(clip, "pink", 10.0, generator)), len(clip)) > 0.7


def test_speech_is_found_at_its_place(spoken):
    clip = spoken[SENTENCES[0]][0]
    padded = torch.cat([torch.zeros(24_000), clip, torch.zeros(24_000)])
    segments = speech_segments(padded)
    assert abs(segments[0].start_samples - 24_000) < 4_000
    assert abs(segments[-1].end_samples - (24_000 + len(clip))) < 4_000


def test_real_speech_is_heard(shared_data):
    paths = sorted((shared_data / "speech/minderico_pt/audio").glob("*.mp3"))[::120]
    for path in paths:
        assert speech_segments(load_audio(path)), path


def test_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(1, 100\)"):
        speech_segments(torch.zeros(1, 100))


def test_looking_for_speech_keeps_the_number_of_threads():
    """Importing silero-vad sets torch to one thread, which would slow down whoever trains beside it."""
    script = (
        "import torch; torch.set_num_threads(3); from amalia_mm.audio.vad import speech_segments; "
        "speech_segments(torch.zeros(800)); raise SystemExit(torch.get_num_threads())"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 3


@st.composite
def recordings(draw: st.DrawFn) -> tuple[int, list[Segment], float, float]:
    """A length, stretches of speech in it, the longest piece and the longest pause."""
    bounds = sorted(draw(st.lists(st.integers(0, 400_000), min_size=2, max_size=16, unique=True)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    max_seconds, pause_seconds = draw(st.floats(1.0, 8.0)), draw(st.floats(0.0, 3.0))
    return bounds[-1] + 100, [Segment(*pair) for pair in pairs], max_seconds, pause_seconds


@given(recordings(), st.integers(0, 9))
def test_chunks_hold_all_speech_in_order_and_are_never_too_long(recording, seed):
    num_samples, segments, max_seconds, pause_seconds = recording
    waveform = torch.randn(num_samples, generator=torch.Generator().manual_seed(seed))
    pieces = chunk(waveform, max_seconds, max_pause_seconds=pause_seconds, segments=segments)
    held = torch.zeros(num_samples, dtype=torch.bool)
    for piece in pieces:
        assert 0 < piece.num_samples <= round(max_seconds * 16_000)
        assert not held[piece.start_samples :].any()
        held[piece.start_samples : piece.end_samples] = True
    for segment in segments:
        assert held[segment.start_samples : segment.end_samples].all()
    starts, ends = {s.start_samples for s in segments}, {s.end_samples for s in segments}
    if pieces:
        assert pieces[0].start_samples in starts and pieces[-1].end_samples in ends


def test_a_stretch_too_long_is_cut_at_its_quietest_place():
    waveform = torch.ones(16_000 * 9)
    waveform[16_000 * 4 : 16_000 * 4 + 3200] = 0.0
    pieces = chunk(waveform, 5.0, segments=[Segment(0, len(waveform))])
    assert [piece.num_samples for piece in pieces] == pytest.approx([65_600, 78_400], abs=1600)


def test_neighbours_share_a_piece_and_strangers_do_not():
    waveform = torch.zeros(16_000 * 30)
    speech = [Segment(16_000 * start, 16_000 * end) for start, end in ((0, 2), (3, 5), (9, 11), (12, 20))]
    pieces = chunk(waveform, 10.0, segments=speech)
    assert [(p.start_samples // 16_000, p.end_samples // 16_000) for p in pieces] == [
        (0, 5),
        (9, 11),
        (12, 20),
    ]


def test_a_long_recording_is_cut_at_its_pauses(spoken):
    clips = [clip for text in SENTENCES for clip in spoken[text]]
    parts = [part for clip in clips for part in (clip, torch.zeros(6_400))]
    pieces = chunk(torch.cat(parts), 8.0)
    assert all(piece.num_samples <= 128_000 for piece in pieces)
    joints, at = [], 0
    for part in parts:
        joints.append((at, at + len(part)))
        at += len(part)
    silences = joints[1::2]
    for piece in pieces:
        assert any(start - 3200 <= piece.end_samples <= end + 3200 for start, end in silences)


def test_pieces_too_short_for_words_are_refused():
    with pytest.raises(ValueError, match=r"0\.5 s"):
        chunk(torch.zeros(100), 0.5)


@pytest.fixture(scope="module")
def conversation(spoken) -> torch.Tensor:
    """Half a minute of sentences with pauses of all lengths between them."""
    clips = [clip for text in SENTENCES for clip in spoken[text]]
    pauses = [torch.zeros(1_600 * (1 + number % 9)) for number in range(len(clips))]
    return torch.cat([part for pair in zip(clips, pauses, strict=True) for part in pair])


def test_speech_is_where_silero_vad_itself_finds_it(conversation):
    """Its own function, on the whole at once, is the truth for ours, which is given blocks."""
    from silero_vad import load_silero_vad
    from silero_vad.sequence_vad import get_speech_timestamps_sequence

    loud = conversation * (0.3 / conversation.abs().max()) if conversation.abs().max() < 0.3 else conversation
    wanted = get_speech_timestamps_sequence(
        loud.numpy(),
        load_silero_vad(onnx=True, sequence=True),
        min_speech_duration_ms=60,
        min_silence_duration_ms=100,
        speech_pad_ms=100,
    )
    assert len(wanted) > 5
    found = find_speech(Recording(conversation))
    assert found == [Segment(each["start"], each["end"]) for each in wanted]
    assert found == speech_segments(conversation)


@pytest.mark.parametrize("size", [100, 512, 1_000, 40_000])
def test_the_detector_says_the_same_however_the_sound_comes(conversation, size):
    whole = SpeechDetector()
    wanted = np.concatenate([whole.push(conversation), whole.flush()])
    assert len(wanted) == -(-len(conversation) // 512)
    live = SpeechDetector(windows_at_once=1)
    part = conversation[:160_000]
    found = np.concatenate([*(live.push(each) for each in part.split(size)), live.flush()])
    np.testing.assert_allclose(found[:-1], wanted[: len(found) - 1], atol=1e-4)
