"""Whether a person is recognised in what is said with their voice: trials counted by hand, sounds in their place."""

from __future__ import annotations

import json

import own_voice
import pytest
import torch
from torch.nn.functional import normalize

from amalia_mm.audio.io import encode_flac, load_audio
from amalia_mm.cli import main
from amalia_mm.commands.own_voice import zero_shot
from amalia_mm.data.shards import ShardWriter
from amalia_mm.errors import InputError
from amalia_mm.evaluate.own_voice import evaluate_own_voice, lines
from amalia_mm.evaluate.people import first, people, seconds_of
from amalia_mm.evaluate.speaker_trials import load_embedder
from amalia_mm.speaking import SpeechModel, encoder_folder
from amalia_mm.voice.speaker import SpeakerEmbedder

PEOPLE = ("ana", "rui", "zé")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return own_voice.save_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three people with twenty clips each of two seconds to learn from, and three others to compare with."""
    folder = tmp_path_factory.mktemp("people")
    for split, num in (("train", 20), ("test", 3)):
        with ShardWriter(folder / split) as writer:
            for number in range(num * len(PEOPLE)):
                fixed = {
                    "version": 1,
                    "variety": "pt-PT",
                    "source": "t",
                    "licence": "CC0",
                    "task": "transcribe",
                }
                text = own_voice.TEXTS[number // len(PEOPLE) % len(own_voice.TEXTS)]
                named = {"id": f"{split}-{number}", "split": split, "speaker": PEOPLE[number % len(PEOPLE)]}
                writer.write(
                    {**fixed, **named, "text": text}, encode_flac(own_voice.sound(number + len(split) * 100))
                )
    return folder


class Told(SpeakerEmbedder):
    """A judge that says what it is told to, clip by clip."""

    embed_size = 3

    def __init__(self, vectors):
        super().__init__()
        self.vectors = iter(vectors)
        self.device_of = torch.nn.Parameter(torch.zeros(1))

    def embed(self, waveforms, num_samples):
        return torch.stack([normalize(torch.tensor(next(self.vectors)), dim=0) for _ in num_samples])


def test_a_trial_is_right_where_nobody_else_is_nearer(run, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("amalia_mm.evaluate.own_voice.mark", lambda sound, rate_hz: 0 * sound)
    known = people(folder, ["ana", "rui"], 2, 4.0)
    ana, rui, eva = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    near_eva, near_rui = (1.0, 0.5, 1.1), (0.9, 1.0, 0.0)
    profiles = [ana, ana, rui, rui]
    heard = [ana, ana, rui, rui, *(near_eva, near_rui), *(rui, rui)]
    # In the order of `said`: of ana the reference, the copy and ten seconds, and then the same of rui.
    order = [*heard[:2], *heard[:2], *heard[4:6], *heard[2:4], *heard[2:4], *heard[6:]]
    figures = evaluate_own_voice(
        SpeechModel(run, "griffin-lim"),
        Told([*profiles, *order]),
        known,
        {"eva": torch.tensor(eva)},
        tmp_path,
        seconds=[3.0],
        learn=lambda clips, wanted_s: zero_shot(run, load_embedder(encoder_folder(run)), clips),
        ears=lambda clips: ["bom dia ana"] * len(clips),
    )
    silent = {clip["kind"]: not load_audio(tmp_path / clip["path"]).any() for clip in figures["clips"]}
    assert silent == {"reference": False, "copy": True, "3s": False}, "copies lay about without the watermark"
    kind = figures["kinds"]["3s"]
    assert kind["trials"] == 4 and kind["right"] == 0.75 and kind["right_of_all"] == 0.5
    assert figures["kinds"]["reference"]["right_of_all"] == 1.0
    worst = next(t for t in figures["trials"] if t["kind"] == "3s" and not t["is_right"])
    assert (
        worst["speaker"] == "ana"
        and worst["rival"] == "rui"
        and worst["rival_similarity"] > worst["similarity"]
    )
    assert kind["similarity"] == pytest.approx((1 / 2.46**0.5 + 0.9 / 1.81**0.5 + 2) / 4, abs=1e-4)
    assert figures["kinds"]["reference"]["pitch_semitones"] == 0.0
    assert kind["words"] > 0 and kind["word_errors"] > 0
    assert any(line.startswith("3s\t75,0 %") for line in lines(figures))
    assert json.loads((tmp_path / "own_voice.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(figures)
    )
    wanted = {f"audio/{name}-{kind}.wav" for name in ("ana", "rui") for kind in ("reference", "copy", "3s")}
    assert {clip["path"] for clip in figures["clips"]} == wanted
    for clip in figures["clips"]:
        assert len(load_audio(tmp_path / clip["path"])) > 1000 and clip["text"] in own_voice.TEXTS


def test_what_is_learned_from_is_as_much_as_was_asked_for_and_never_what_is_compared(run, folder):
    known = people(folder, [], 9, 9.0)
    assert [person.name for person in known] == list(PEOPLE)
    for person in known:
        assert seconds_of(person.learn) == 10.0 and len(person.test) == 3
        assert not {clip.audio for clip in person.learn} & {clip.audio for clip in person.test}
        assert first(person.learn, 3.0) == person.learn[:2]
    again = people(folder, ["rui"], 9, 9.0)
    assert again[0].learn == known[1].learn
    with pytest.raises(InputError, match="eva.*ana, rui, zé"):
        people(folder, ["eva"], 9, 9.0)


def test_the_command_adapts_where_there_is_enough_and_tells_where_there_is_less(
    run, folder, tmp_path, capsys
):
    judge = tmp_path / "judge"
    own_voice.save_part(judge, "speaker", own_voice.SpeakerEncoder, {**own_voice.ENCODER, "width": 24})
    steps = tmp_path / "two_steps.yaml"
    steps.write_text(
        json.dumps(
            {
                "model": {"init_args": {"own_voice": True, "lora": own_voice.LORA, "optim": own_voice.OPTIM}},
                "data": {"init_args": own_voice.BUDGET},
                "trainer": {"max_steps": 2, "precision": "32-true"},
            }
        )
    )
    options = ["--own-voice", folder, "--judge", judge, "--adapt", steps, "--people", "ana,rui"]
    options += ["--seconds", "10", "60", "--sentences", "1", "--output", tmp_path / "out"]
    assert main(["evaluate", str(run), *map(str, options)]) == 0
    told = capsys.readouterr()
    assert "40 s de voz em 20 gravações, e não 60 s" in told.err
    assert [line.split("\t")[0] for line in told.out.splitlines()] == [
        *("reference", "copy", "10s", "60s"),
        str(tmp_path / "out/own_voice.json"),
    ]
    figures = json.loads((tmp_path / "out/own_voice.json").read_text(encoding="utf-8"))
    sizes = {(row["speaker"], row["kind"]): row["adapters_bytes"] for row in figures["learned"]}
    assert sizes["ana", "10s"] == 0 and sizes["ana", "60s"] > 1000
    assert main(["evaluate", str(run), *map(str, options), "--adapt", "nada"]) == 2
    assert "lora, embedding, full" in capsys.readouterr().err
