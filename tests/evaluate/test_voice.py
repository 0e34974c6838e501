"""A run that speaks is measured, heard and seen in its report; clips of own voices stand beside it."""

from __future__ import annotations

import base64
import json
import re
import shutil

import pytest
import torch
from voice_run import FRAMES, save_part, save_voice

from amalia_mm.assistant import Assistant
from amalia_mm.audio.io import encode_flac, load_audio, write_audio
from amalia_mm.cli import main
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.evaluate import shares, voice_shown
from amalia_mm.evaluate import voice as voice_measures
from amalia_mm.evaluate.beside import Beside
from amalia_mm.evaluate.harness import evaluate_run
from amalia_mm.evaluate.own_voice_players import own_voice_table, read_own_voice
from amalia_mm.evaluate.targets import counted, written
from amalia_mm.evaluate.voice import MeasuredVoice, measure_voice, speed, turns, voice_scores
from amalia_mm.evaluate.voice_shown import aligned, planned, shown_sentences
from amalia_mm.portuguese.read_aloud import read_aloud
from amalia_mm.speaking import SpeechModel
from amalia_mm.voice.acoustic import AcousticModel
from amalia_mm.voice.watermark import detect

TEXTS = ["Bom dia, quero um café.", "Chama-se Ana.", "O comboio parte às oito e meia.", "Um. Dois."]


def write_sentences(run, *, own=()):
    """A test set of clips of noise: two seen templates, two held out, and others' own."""
    rows = []
    for number, text in enumerate([*TEXTS, *own]):
        (run / "audio").mkdir(exist_ok=True)
        generator = torch.Generator().manual_seed(number)
        write_audio(run / f"audio/s{number}.wav", 0.1 * torch.randn(16_000 + number, generator=generator))
        rows.append(
            {
                "id": f"s{number}",
                "audio": f"audio/s{number}.wav",
                "text": text,
                "task": "transcribe",
                "heldout": "heldout_template" if number in (2, 3) else "seen_template",
                "source": "synthetic" if number < len(TEXTS) else "a minha",
                "voice": "m2",
            }
        )
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (run / "test.jsonl").write_text(content, encoding="utf-8")


@pytest.fixture
def speaking_run(tmp_path):
    write_sentences(tmp_path)
    return save_voice(tmp_path)


class Ears:
    def transcribe(self, clips):
        return [f"ouvido {len(clip)}" for clip in clips]


def sounds(page):
    return [base64.b64decode(found) for found in re.findall(r'<audio[^>]*src="data:[^,]*,([^"]*)"', page)]


def test_sentences_are_heard_by_the_reference_as_a_copy_and_in_two_voices(speaking_run, monkeypatch):
    # One of each group in turn; two sentences in one text are left to others.
    assert [row["text"] for row in voice_shown._chosen(speaking_run)] == [TEXTS[0], TEXTS[2], TEXTS[1]]
    monkeypatch.setattr(voice_shown, "NUM_SENTENCES", 1)
    model = SpeechModel(speaking_run)
    shown = shown_sentences(speaking_run, model, Ears(), ["pt", "ana"])
    (first,) = shown
    assert first.text == TEXTS[0]
    assert [player.label for player in first.players] == [
        *(
            "referência, do corpus",
            "cópia dela pelo vocoder",
            "o modelo, com a voz pt",
            "o modelo, com a voz ana",
        )
    ]
    heard = [load_audio(base64.b64decode(player.sound.partition(",")[2])) for player in first.players]
    assert (heard[0] - load_audio(speaking_run / "audio/s0.wav")).abs().max() < 1e-4
    for clip, name in zip(heard[2:], ("pt", "ana"), strict=True):
        said = model.learned(name).say(TEXTS[0])
        assert (clip - said / max(1.0, float(said.abs().max()))).abs().max() < 1e-4
    assert [player.written for player in first.players] == [f"ouvido {len(clip)}" for clip in heard]
    assert base64.b64decode(first.picture.partition(",")[2]).startswith(b"\x89PNG")


def test_what_a_model_made_is_marked_and_the_copy_too(speaking_run, shared_data, monkeypatch):
    # Noise of random weights cannot be told from a mark: a copy of real speech can.
    clip = next(iter(sorted((shared_data / "speech").rglob("*.flac"))))
    shutil.copy(clip, speaking_run / "audio/s0.flac")
    rows = (speaking_run / "test.jsonl").read_text(encoding="utf-8").splitlines()
    row = {**json.loads(rows[0]), "audio": "audio/s0.flac"}
    (speaking_run / "test.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    frames = {"sample_rate_hz": 16_000, "num_mels": 80, "fft_samples": 1024, "hop_samples": 256}
    sizes = {"width": 16, "encoder_blocks": 1, "mean_blocks": 1, "flow_blocks": 1, "speaker_size": 6}
    own = {**frames, **sizes, "num_speakers": 1}
    save_part(speaking_run / "21_acoustic", "acoustic", AcousticModel, own, speakers=["pt"])
    shutil.rmtree(speaking_run / "22_vocoder")  # Griffin-Lim
    (sentence,) = shown_sentences(speaking_run, SpeechModel(speaking_run), Ears(), ["pt"])
    reference, copy, _ = (
        load_audio(base64.b64decode(player.sound.partition(",")[2])) for player in sentence.players
    )
    assert not detect(reference).is_marked
    assert detect(copy).is_marked


def test_an_alignment_gives_every_phone_its_frames(speaking_run):
    model = SpeechModel(speaking_run)
    voice, read = model.learned("pt"), read_aloud(TEXTS[0])
    waveform = voice.say(TEXTS[0])
    frames = len(waveform) // FRAMES["hop_samples"] + 1
    for durations in (aligned(model, read, waveform), planned(voice, TEXTS[0])):
        assert len(durations) == len(read) and min(durations) >= 1
        assert sum(durations) == frames


def test_an_alignment_finds_where_each_phone_was_put(speaking_run):
    # Frames that are exactly the mean of their phone have an alignment that anybody can tell.
    model = SpeechModel(speaking_run)
    read = read_aloud("Olá.")
    acoustic = model.acoustic
    torch.nn.init.normal_(acoustic.phone_mean.weight, std=2.0)
    put = [3, 5, 2, 9, 4, 6][: len(read)]
    mean = acoustic.encode(voice_shown._phones(read), torch.zeros(1, acoustic.speaker_size)).mean[0]
    frames = mean.repeat_interleave(torch.tensor(put), 0).T[None]
    acoustic.mel.forward = lambda waveform: acoustic.log_mel(frames)
    acoustic.scaled = lambda mel: frames
    assert aligned(model, read, torch.zeros(1000)) == put


def test_speed_counts_from_the_text_to_its_first_and_last_sound(monkeypatch):
    clock = iter(float(number) for number in range(100))
    monkeypatch.setattr("amalia_mm.evaluate.voice.time.perf_counter", lambda: next(clock))

    class Voice:
        sample_rate_hz = 100

        def say(self, text):
            return torch.zeros(200)

        def stream(self, text):
            yield torch.zeros(50)
            yield torch.zeros(150)

    # The clock goes on by a second whenever it is asked: at the beginning, the first sound and the end.
    assert speed(Voice()) == (1.0, 1.0)


def test_who_takes_turns_are_those_the_model_knows(speaking_run):
    model = SpeechModel(speaking_run)
    assert turns(model) == ("pt",)
    model.config = {**model.config, "speakers": ["ana", "rui", "eva"]}
    assert turns(model) == ("ana",)
    model.config = {**model.config, "speakers": ["m2", "f1", "m3"]}
    assert turns(model) == ("m2", "f1", "m3"), "the voice that speaks where none is named is the first"


def test_the_speech_that_a_voice_was_learned_from_is_its_own(speaking_run):
    """Clips of the voice alone, the first of them; none where the run no longer has its shards."""
    assert voice_measures._own_speech(speaking_run, "pt") == []
    with ShardWriter(speaking_run / "shards/voice-train") as writer:
        for number in range(44):
            named = {
                "id": f"v{number}",
                "split": "train",
                "speaker": ("pt", "ana")[number % 2],
                "text": "Olá.",
            }
            fixed = {"version": 1, "variety": "pt-PT", "source": "t", "licence": "CC0", "task": "transcribe"}
            writer.write({**fixed, **named}, encode_flac(torch.full((800 + number,), 0.1)))
    lengths = [len(clip) for clip in voice_measures._own_speech(speaking_run, "pt")]
    assert lengths == [800 + 2 * number for number in range(20)]


def test_figures_are_rates_with_their_sums_and_none_without_a_voice(speaking_run):
    row = {"sentences": 2, "word_errors": 3, "words": 12, "character_errors": 4, "characters": 50}
    none = {**row, "word_errors": 0}
    opinion = {"sig": 1.0, "bak": 1.0, "ovr": 2.5, "p808": 1.0}
    said = {"seen_template": row, "heldout_template": {**row, "words": 6}, "dnsmos": opinion}
    reference = {"seen_template": none, "heldout_template": none, "dnsmos": {**opinion, "ovr": 2.9}}
    own = {"clips": 20, "dnsmos": {**opinion, "ovr": 2.6}}
    trip = {"said": said, "reference": reference, "own_speech": own, "vocoder": "Vocos"}
    turns = {**trip, "said": {"seen_template": {**row, "word_errors": 6}}}
    values, counts = voice_scores(MeasuredVoice(SpeechModel(speaking_run), ("pt",), trip, turns, 0.2, 0.1))
    assert values["voice_wer"] == 0.25 and values["voice_wer_templates"] == 0.5
    assert values["voice_wer_all"] == round(6 / 18, 6), "of all words, and no mean of the two"
    assert values["voice_wer_turns"] == 0.5 and values["voice_wer_turns_templates"] is None
    assert values["voice_wer_turns_all"] == 0.5
    assert values["voice_wer_reference"] == values["voice_wer_reference_all"] == 0.0
    assert values["voice_dnsmos_difference"] == pytest.approx(-0.1)
    assert values["voice_dnsmos_difference_corpus"] == pytest.approx(-0.4)
    trip["said"] = {"seen_template": {**row, "word_errors": 5, "words": 130}}
    rounded, _ = voice_scores(MeasuredVoice(SpeechModel(speaking_run), ("pt",), trip, turns, 0.2, 0.1))
    assert written(rounded["voice_wer"], "share") == "3,8\u202f%", "3.846 is not rounded twice"
    trip["said"] = said
    del trip["own_speech"]
    unknown, _ = voice_scores(MeasuredVoice(SpeechModel(speaking_run), ("pt",), trip, {}, 0.2, 0.1))
    assert unknown["voice_dnsmos_difference"] is None and unknown["voice_wer_turns"] is None
    assert counted(counts["voice_wer"]) == "3 em 12"
    without, none_counted = voice_scores(None)
    assert set(without) == set(values) and set(without.values()) == {None}
    assert set(none_counted.values()) == {None}


def test_figures_of_a_voice_are_written_as_a_portuguese_reader_writes_them():
    assert written(0.187, "milliseconds") == "187\u202fms"
    assert written(0.123, "ratio") == "0,12\u202fs"
    assert written(0.05, "difference") == "+0,05" and written(-0.2, "difference") == "-0,20"


@pytest.fixture(scope="module")
def told(run, tmp_path_factory):
    """The report of a tiny run that speaks, with clips of own voices in it."""
    copy = tmp_path_factory.mktemp("speaks") / "run"
    shutil.copytree(run, copy)
    write_sentences(copy, own=["Tenho <sede> & fome."])
    save_voice(copy)
    write_own_voice(copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voice_shown, "NUM_SENTENCES", 2)
        patch.setattr(voice_measures, "TAKE_TURNS", ("pt", "ana"))
        return evaluate_run(copy, num_sentences=1), copy


def write_own_voice(run):
    (run / "own_voice/audio").mkdir(parents=True)
    clips = []
    for speaker in ("Ana <A>", "Rui"):
        for kind in ("300s", "reference", "10s", "lora"):
            path = f"audio/{speaker[:3]}-{kind}.wav"
            write_audio(run / "own_voice" / path, torch.full((800,), 0.1))
            clips.append({"speaker": speaker, "kind": kind, "path": path, "text": f"Olá de {kind}."})
    (run / "own_voice/own_voice.json").write_text(json.dumps({"clips": clips[:-1]}), encoding="utf-8")


def test_a_run_that_speaks_is_measured_with_the_rest(told):
    report, run = told
    assert json.loads((run / "report.json").read_text(encoding="utf-8")) == report
    assert report["counts"]["voice_wer"]["total"] == report["counts"]["voice_wer_reference"]["total"] == 5
    assert report["counts"]["voice_wer_templates"]["total"] == 7
    assert report["counts"]["voice_wer_all"]["total"] == 12
    assert report["voice_wer"] is not None and report["voice_dnsmos"] is None
    assert report["counts"]["voice_wer_turns"]["total"] == 5
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "com as vozes pt, ana" in page and "do modelo, várias vozes" in page
    assert 0 < report["voice_first_audio_s"] < 10 and report["voice_real_time"] > 0
    assert (run / "30_evaluate/voice/round_trip.json").is_file()
    assert (run / "30_evaluate/voice/s0.flac").is_file()
    assert not (run / "30_evaluate/voice/s4.flac").exists(), "the user's own sentences are not the corpus'"


def test_those_who_take_turns_do_so_in_a_second_process_and_find_the_same(told, tmp_path, monkeypatch):
    _, run = told
    begun, peaks = [], []

    class Counted(Beside):
        def __enter__(self):
            begun.append(self)
            return super().__enter__()

    monkeypatch.setattr(voice_measures, "Beside", Counted)
    monkeypatch.setattr(voice_measures, "TAKE_TURNS", ("pt", "ana"))
    monkeypatch.setattr(shares, "num_cores", lambda: 2)
    ears, threads = Assistant.load(run / "14_joint/model", "cpu"), torch.get_num_threads()

    def found(output):
        measured = measure_voice(run, ears, output, num_sentences=1, num_processes=2)
        timed = ("real_time", "first_audio_s")
        peaks.append(measured.peak_rss_gb)
        assert measured.in_turns["speakers"] == ["pt", "ana"] and "reference" not in measured.in_turns
        return [
            {key: value for key, value in trip.items() if key not in timed}
            for trip in (measured.round_trip, measured.in_turns)
        ]

    alone = found(tmp_path / "alone")
    assert not begun, "so few are not worth it"
    monkeypatch.setattr(voice_measures, "MIN_ITEMS", 1)
    assert found(tmp_path / "beside") == alone
    assert len(begun) == 1 and torch.get_num_threads() == threads
    assert peaks[1] > peaks[0] + 0.1
    names = [{path.name for path in (tmp_path / each / "turns").iterdir()} for each in ("alone", "beside")]
    assert names[0] == names[1] == {"round_trip.json", "s0.flac", "s2.flac"}


def test_the_page_has_players_and_pictures_of_the_voice_and_needs_nothing_else(told):
    _, run = told
    page = (run / "report.html").read_text(encoding="utf-8")
    section = page[page.index('<h2 id="voz">') : page.index('<h2 id="amostras">')]
    assert '<a href="#voz">A voz</a>' in page
    assert section.count("<audio") == 2 * 4 + 7, (
        "two sentences of reference, copy, pt and ana; seven own clips"
    )
    for sound in sounds(section):
        assert len(load_audio(sound)) > 0
    assert section.count("data:image/png;base64,") == 2
    assert not re.search(r"https?://", page)
    assert "Ana &lt;A&gt;" in section and "Ana <A>" not in section
    assert "Rui" in section and "voz de 5 min" in section and "lora" in section
    assert section.index("gravação da pessoa") < section.index("voz de 10 s") < section.index("voz de 5 min")


def test_own_clips_are_a_table_of_speakers_and_kinds(tmp_path):
    assert read_own_voice(tmp_path) == []
    write_own_voice(tmp_path)
    table = own_voice_table(*read_own_voice(tmp_path))
    assert table.kinds == ("reference", "10s", "300s", "lora")
    assert list(table.labels.values()) == ["gravação da pessoa", "voz de 10 s", "voz de 5 min", "lora"]
    cells = {speaker: [len(clips) for clips in row] for speaker, row in table.rows}
    assert cells == {"Ana <A>": [1, 1, 1, 1], "Rui": [1, 1, 1, 0]}


def test_every_list_of_own_clips_is_a_table(tmp_path):
    """Another set of people, as a real speaker beside the synthetic ones, is measured into a folder of its own."""
    write_own_voice(tmp_path)
    other = tmp_path / "own_voice_real"
    other.mkdir()
    write_audio(other / "one.wav", torch.full((800,), 0.1))
    clips = [
        {"speaker": "Rui", "kind": kind, "path": "one.wav", "text": ""} for kind in ("600s", "copy", "90s")
    ]
    (other / "own_voice.json").write_text(json.dumps({"clips": clips}), encoding="utf-8")
    (tmp_path / "own_voice_none").mkdir()
    (tmp_path / "own_voice_none/own_voice.json").write_text('{"clips": []}')
    (tmp_path / "own_voice.bak").mkdir()
    (tmp_path / "own_voice.bak/own_voice.json").write_text("{")
    first, second = map(own_voice_table, read_own_voice(tmp_path))
    assert (first.name, second.name) == ("own_voice", "own_voice_real")
    assert [speaker for speaker, _ in first.rows] == ["Ana <A>", "Rui"]
    assert [speaker for speaker, _ in second.rows] == ["Rui"]
    assert list(second.labels.values()) == ["cópia pelo vocoder", "voz de 90 s", "voz de 10 min"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "wanted clips: a list"),
        ('{"clips": [1]}', "wanted clips: a list"),
        ('{"clips": [{"speaker": "a", "kind": "10s", "text": ""}]}', "wanted clips: a list"),
        ('{"clips": [{"speaker": "a", "kind": "10s", "path": "gone.wav"}]}', "no such file"),
        ('{"clips": [{"speaker": "a", "kind": "10s", "path": "own_voice.json"}]}', r"wanted \.wav or"),
        ('{"clips": [{"speaker": "a", "kind": "10s", "path": "no.wav"}]}', r"no\.wav"),
    ],
)
def test_a_broken_list_of_own_clips_is_named_before_any_work(run, tmp_path, content, message):
    copy = tmp_path / "run"
    (copy / "own_voice").mkdir(parents=True)
    (copy / "own_voice/own_voice.json").write_text(content)
    (copy / "own_voice/no.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=message):
        evaluate_run(copy)


def test_opinions_that_nobody_can_give_are_told_before_any_work(run, speaking_run, tmp_path, capsys):
    with pytest.raises(InputError, match="--dnsmos: found .* which does not speak"):
        evaluate_run(run, dnsmos=tmp_path)
    with pytest.raises(InputError, match="wanted a network of DNSMOS"):
        evaluate_run(speaking_run, dnsmos=tmp_path)
    assert main(["evaluate", str(run), "--sentences", "0"]) == 2
    assert main(["evaluate", "--data", str(run), "--dnsmos", str(tmp_path)]) == 2
    assert "--dnsmos or --sentences with --data" in capsys.readouterr().err
