"""`amalia evaluate --spoken --vocabulary` measures an encoder that has no decoder yet."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import toy_recipe
from sound import in_turns, said

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.io import load_audio, write_audio
from amalia_mm.cli import main
from amalia_mm.errors import InputError
from amalia_mm.evaluate.ears import Ears
from amalia_mm.evaluate.hearing import evaluate_hearing
from amalia_mm.evaluate.metrics import character_errors
from amalia_mm.evaluate.suites.words import rank
from amalia_mm.fusion.projectors import CtcPosterior
from amalia_mm.run import save_model
from amalia_mm.text.ctc_vocabulary import CtcVocabulary, pieces
from amalia_mm.text.decoder import DecoderConfig

WORDS = ("bom dia", "está frio", "o comboio")


def write_ears(folder, tokenizer):
    """The folder of an encoder and its head, as CTC training leaves them: no decoder, no blank vector."""
    torch.manual_seed(0)
    sizes = toy_recipe.ENCODER["init_args"]
    encoder = ConvTransformer(**sizes)
    model = torch.nn.ModuleDict(
        {"encoder": encoder, "projector": CtcPosterior(encoder.width, DecoderConfig.of(toy_recipe.DECODER))}
    )
    config = {
        "encoder": {**toy_recipe.ENCODER, "init_args": sizes},
        "projector": {"class_path": toy_recipe.PROJECTOR["class_path"], "init_args": {}},
        "decoder_sizes": toy_recipe.DECODER,
    }
    save_model(
        folder / "model", model, config=config, tokenizer=tokenizer, card="", leave_out={"projector.blank"}
    )
    return folder


@pytest.fixture(scope="module")
def ears(toy_data, tmp_path_factory):
    return write_ears(tmp_path_factory.mktemp("stage"), toy_data / "tokenizer")


@pytest.fixture
def manifest(tmp_path):
    for number in range(len(WORDS)):
        write_audio(tmp_path / f"{number}.wav", 0.1 * torch.randn(16_000 + 800 * number))
    rows = [{"audio": f"{number}.wav", "text": word} for number, word in enumerate(WORDS)]
    rows += [{"audio": "gone.wav", "text": None}, {"audio": "gone.wav", "text": "não", "split": "train"}]
    path = tmp_path / "palavras.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def test_a_clip_is_heard_alone_as_in_a_batch(ears, manifest):
    loaded = Ears.load(ears)
    clips = [load_audio(manifest.parent / f"{number}.wav") for number in range(3)]
    together = loaded.log_probs(clips)
    for clip, each in zip(clips, together, strict=True):
        assert len(each) == loaded.geometry.num_audio_tokens(len(clip))
        torch.testing.assert_close(each, loaded.log_probs([clip])[0], atol=1e-5, rtol=1e-5)


def test_the_report_holds_rates_intervals_and_rows(ears, manifest, tmp_path, capsys):
    output = tmp_path / "out"
    options = ["--spoken", str(manifest), "--vocabulary", str(manifest), "--output", str(output)]
    assert main(["evaluate", "--model", str(ears), *options]) == 0
    figures = json.loads((output / "hearing.json").read_text())
    (spoken,), (words,) = figures["spoken"], figures["vocabularies"]
    assert [row["said"] for row in spoken["rows"]] == list(
        WORDS
    )  # without text, or of another split: not measured
    written = [row["written"] for row in spoken["rows"]]
    assert spoken["cer"]["rate"] == pytest.approx(character_errors(WORDS, written).rate)
    assert spoken["cer"]["interval"][0] <= spoken["cer"]["rate"] <= spoken["cer"]["interval"][1]
    assert words["words"] == words["clips"] == 3
    assert words["top1"]["part"] == sum(row["place"] == 1 for row in words["rows"])
    shown = capsys.readouterr().out
    assert "CER" in shown and "em 1.º" in shown


def test_a_model_of_text_writes_beside_ctc_and_a_bonus_is_told_apart(
    ears, manifest, toy_data, tmp_path, capsys
):
    output = tmp_path / "out"
    options = ["--spoken", str(manifest), "--vocabulary", str(manifest), "--output", str(output)]
    options += ["--text", str(toy_data / "shards/speech"), "--text-weight", "2", "--token-bonus", "100"]
    assert main(["evaluate", "--model", str(ears), *options]) == 0
    figures = json.loads((output / "hearing.json").read_text())
    (spoken,), (words,) = figures["spoken"], figures["vocabularies"]
    assert all({"written", "written_text"} <= row.keys() for row in spoken["rows"])
    written = [row["written_text"] for row in spoken["rows"]]
    assert spoken["cer_text"]["rate"] == pytest.approx(character_errors(WORDS, written).rate)
    # Any bonus so great ranks by length alone.
    assert len({row["first"] for row in words["rows"]}) == 1
    assert words["top1_plain"]["whole"] == 3
    assert "com modelo de texto" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--spoken", "m"], ["--model", "x", "--spoken", "m", "--data", "d"]])
def test_options_that_do_not_go_together_are_told(options, capsys):
    assert main(["evaluate", *options]) == 2
    assert "--spoken or --vocabulary" in capsys.readouterr().err


def test_a_model_without_ears_is_told(toy_data, tmp_path):
    model = torch.nn.ModuleDict({"decoder": torch.nn.Linear(1, 1)})
    config = {"decoder": toy_recipe.DECODER}
    save_model(tmp_path / "deaf", model, config=config, tokenizer=toy_data / "tokenizer", card="")
    with pytest.raises(InputError, match="found decoder; wanted encoder and projector"):
        Ears.load(tmp_path / "deaf")


def test_real_words_are_read_from_their_manifest(ears, shared_data):
    from amalia_mm.evaluate.items import read_recordings

    items = read_recordings(shared_data / "speech/gcompris_ptPT/words.jsonl", "test")
    assert len(items) == len({item.text for item in items}) == 178


def test_what_ears_write_is_in_the_classes_of_their_own_vocabulary(ears):
    """Numbers of classes were read as the decoder's tokens: other words, and no error."""
    loaded = Ears.load(ears)
    letters = {entry: token for entry, token in pieces(loaded.tokenizer).items() if len(entry) == 1}
    head = CtcPosterior(loaded.encoder.width, DecoderConfig.of(toy_recipe.DECODER), vocabulary=letters)
    own = replace(loaded, projector=head)
    said = CtcVocabulary(letters).encode("bom dia")
    path = torch.tensor([each for one in said for each in (one, len(letters))])
    log_probs = torch.nn.functional.one_hot(path, len(letters) + 1).mul(20.0).log_softmax(dim=-1)
    assert own.text(log_probs) == "bom dia"
    ranked = rank([log_probs] * 2, ["bom dia", "boa tarde"], own.classes.encode)
    assert [row.first for row in ranked.rows] == ["bom dia"] * 2


def test_a_clip_longer_than_the_window_is_named(ears, manifest, monkeypatch):
    monkeypatch.setattr(ConvTransformer, "max_samples", 16_000)
    with pytest.raises(InputError, match=r"1\.wav.*16800 samples do not fit .*16000"):
        evaluate_hearing(ears, manifest.parent / "out", spoken=[manifest])


def test_a_recording_of_two_speakers_is_not_measured_as_one(ears, manifest, tmp_path):
    in_turns(manifest.parent / "1.wav", *said("Bom dia a todos.", "O comboio parte cedo."))
    with pytest.raises(
        InputError, match=r"1\.wav: channels: found .*two speakers.*keep one of them in the file"
    ):
        evaluate_hearing(ears, tmp_path / "out", spoken=[manifest])
