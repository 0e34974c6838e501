"""What the assistant does with a tiny model of random weights: order, limits and gates show all the same."""

from __future__ import annotations

import logging

import pytest
import torch
from ears import EARS
from sound import noise

from amalia_mm.assistant import CHUNK_S, Assistant
from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.audio.io import write_audio
from amalia_mm.audio.recording import Recording
from amalia_mm.audio.vad import Segment
from amalia_mm.batch import Turn
from amalia_mm.errors import InputError
from amalia_mm.fusion import pieces as pieces_module
from amalia_mm.fusion.projectors import CtcPosterior, StackMLP, projector_between
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.resolve import resolve_model
from amalia_mm.run import save_model
from amalia_mm.text.chat import instruction
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.sampling import Sampling
from amalia_mm.text.tokenizer import Tokenizer

SIZES = {
    "vocab_size": 360,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    # Large enough that random weights write different things for different inputs.
    "initializer_range": 0.5,
}
PROJECTORS = {"CtcPosterior": CtcPosterior, "StackMLP": StackMLP}
TEXTS = [
    "Bom dia, quero um café e um pastel de nata.",
    "O comboio para o Porto parte às oito e meia.",
    "Tenho sede.",
]


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train(TEXTS, 360).save(folder)
    return folder


def make_model(folder, tokenizer_folder, projector="CtcPosterior", spare_rows=0):
    torch.manual_seed(0)
    sizes = SIZES | {"vocab_size": SIZES["vocab_size"] + spare_rows}
    config = DecoderConfig(**sizes)
    ears = {}
    if projector:
        ears = {
            "encoder": {"class_path": "amalia_mm.audio.encoder.ConvTransformer", "init_args": EARS},
            "projector": {"class_path": f"amalia_mm.fusion.projectors.{projector}"},
        }
        encoder = ConvTransformer(**EARS)
        built = projector_between(encoder, PROJECTORS[projector], config)
        model = SpeechTextModel(encoder, built, Decoder(config))
        if projector == "CtcPosterior":
            torch.nn.init.normal_(model.projector.head.weight, std=2.0)
    else:
        model = SpeechTextModel(None, None, Decoder(config))
    # No single bytes: a stream cannot take back half a character, a whole text shows it as U+FFFD.
    torch.nn.init.zeros_(model.decoder.lm_head.weight[6:262])
    save_model(folder, model, config={"decoder": sizes, **ears}, tokenizer=tokenizer_folder, card="")
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory, tokenizer_folder):
    return make_model(tmp_path_factory.mktemp("run") / "model", tokenizer_folder)


@pytest.fixture(scope="module")
def assistant(model_folder):
    return Assistant.load(model_folder, device="cpu")


@pytest.fixture(scope="module")
def reader(tmp_path_factory, tokenizer_folder):
    folder = make_model(tmp_path_factory.mktemp("reader") / "model", tokenizer_folder, projector=None)
    return Assistant.load(folder, device="cpu")


@pytest.fixture
def everything_is_speech(monkeypatch):
    monkeypatch.setattr(pieces_module.speech_detection, "find_speech", everything)


def everything(recording, **_):
    return [Segment(0, recording.num_samples)]


def test_a_run_is_known_by_its_joint_stage_else_by_its_last_one_that_can_write(
    tmp_path, tokenizer_folder, model_folder
):
    make_model(tmp_path / "04_sft" / "model", tokenizer_folder, projector=None)
    deaf = make_model(tmp_path / "10_hearing" / "model", tokenizer_folder)
    config = deaf / "config.yaml"
    config.write_text(config.read_text().replace("decoder:", "decoder_sizes:"))
    assert resolve_model(tmp_path) == tmp_path / "04_sft" / "model"
    for asked in (tmp_path / "10_hearing", deaf):
        with pytest.raises(
            InputError, match=r"10_hearing/model, an encoder without a decoder.*evaluate --spoken"
        ):
            resolve_model(asked)
    make_model(tmp_path / "14_joint" / "model", tokenizer_folder)
    make_model(tmp_path / "20_speaker" / "model", tokenizer_folder)
    assert resolve_model(tmp_path) == tmp_path / "14_joint" / "model"
    assert resolve_model(tmp_path / "04_sft") == tmp_path / "04_sft" / "model"
    assert resolve_model(model_folder) == model_folder


def test_without_a_path_the_environment_and_then_the_quickstart_is_meant(monkeypatch, tmp_path, model_folder):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMALIA_MODEL", str(model_folder))
    assert resolve_model() == model_folder
    monkeypatch.delenv("AMALIA_MODEL")
    with pytest.raises(
        InputError, match=r"runs/quickstart: found no such folder.*run `make quickstart` or give --model"
    ):
        Assistant.load()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no model with a decoder"):
        Assistant.load(tmp_path / "empty")


def test_texts_come_in_the_order_of_the_audios_whatever_the_batch(assistant, tmp_path):
    clips = [noise(0.5 + 0.3 * (number % 3), seed=number) for number in range(5)]
    alone = [assistant.transcribe([clip], vad=False)[0] for clip in clips]
    assert len(set(alone)) > 1
    assert assistant.transcribe(clips, batch_size=2, vad=False) == alone
    assert assistant.transcribe(clips, batch_size=16, vad=False) == alone
    assert assistant.transcribe([], vad=False) == []
    assert assistant.transcribe_three_ways(clips, vad=False) == (
        alone,
        assistant.transcribe(clips, vad=False, num_beams=1),
        assistant.transcribe_ctc(clips, vad=False),
    )
    write_audio(tmp_path / "clip.wav", clips[0])
    path = tmp_path / "clip.wav"
    from_file, from_bytes = assistant.transcribe([path, path.read_bytes()], vad=False)
    assert from_file == from_bytes


def test_ctc_merges_repeats_and_removes_blanks(assistant, monkeypatch):
    tokenizer = assistant.tokenizer
    bom, dia = tokenizer.encode("bom"), tokenizer.encode("dia")
    blank = SIZES["vocab_size"]
    path = [blank, *[token for token in bom for _ in range(2)], blank, *dia, blank, blank, *dia]
    log_probs = torch.full((len(path), blank + 1), -9.0)
    log_probs[torch.arange(len(path)), torch.tensor(path)] = 0.0
    monkeypatch.setattr(assistant, "ctc_log_probs", lambda waveforms: [log_probs for _ in waveforms])
    assert assistant.transcribe_ctc([noise(1), noise(2)], vad=False) == ["bom dia dia"] * 2


def test_ctc_of_a_clip_in_a_batch_is_that_of_the_clip_alone(assistant):
    clips = [noise(0.7, seed=1), noise(1.3, seed=2)]
    together = assistant.ctc_log_probs(clips)
    for clip, log_probs in zip(clips, together, strict=True):
        torch.testing.assert_close(log_probs, assistant.ctc_log_probs([clip])[0], rtol=0, atol=1e-4)
        assert log_probs.shape == (
            assistant.model.geometry.num_audio_tokens(len(clip)),
            SIZES["vocab_size"] + 1,
        )
        torch.testing.assert_close(log_probs.exp().sum(dim=1), torch.ones(len(log_probs)))


def test_a_clip_without_speech_is_empty_and_never_reaches_the_model(assistant, monkeypatch):
    monkeypatch.setattr(assistant.model, "hear", pytest.fail)
    silence = torch.zeros(16_000)
    assert assistant.transcribe([silence]) == [""]
    assert assistant.transcribe_ctc([silence]) == [""]
    assert assistant.transcribe_three_ways([silence]) == ([""], [""], [""])
    assert assistant.answer([silence]) == [""]
    assert list(assistant.listen(silence)) == []


def test_long_audio_is_heard_piece_by_piece_at_its_pauses(assistant, monkeypatch):
    long = noise(30, seed=3)
    cuts = [Segment(1_000, 40_000), Segment(60_000, 90_000), Segment(200_000, 207_000)]
    monkeypatch.setattr(pieces_module.speech_detection, "chunks", lambda *_, **__: iter(cuts))
    pieces = [long[cut.start_samples : cut.end_samples] for cut in cuts]
    texts = [text for text in assistant.transcribe(pieces, vad=False) if text]
    assert texts
    assert assistant.transcribe([long]) == [" ".join(texts)]


def test_pieces_are_as_long_as_what_the_model_learned_from(assistant, model_folder, monkeypatch):
    """Sentences without a pause between them, heard twelve seconds at a time, came out as nonsense."""
    long = noise(20)
    monkeypatch.setattr(pieces_module.speech_detection, "find_speech", everything)
    for clip_s in (4.7, 0.2):
        monkeypatch.setitem(assistant.config, "clip_s", clip_s)
        for vad in (False, True):
            pieces = [
                clip.waveform for clip in pieces_module.cut(Recording(long), assistant.chunk_samples, vad=vad)
            ]
            assert torch.equal(torch.cat(pieces), long)
            assert max(map(len, pieces)) <= 16_000 * max(clip_s, 1)


def test_without_speech_detection_nothing_of_a_long_audio_is_left_out(assistant):
    long = noise(2.5 * CHUNK_S)
    pieces = [
        clip.waveform for clip in pieces_module.cut(Recording(long), assistant.chunk_samples, vad=False)
    ]
    assert [len(piece) for piece in pieces] == [len(part) for part in long.tensor_split(3)]
    assert torch.equal(torch.cat(pieces), long)
    assert max(map(len, pieces)) <= 16_000 * CHUNK_S


def test_clips_are_read_as_they_are_needed():
    read = []

    def clips():
        for number in range(1_000):
            read.append(number)
            yield pieces_module.Clip(number, 0, torch.zeros(1 + number % 7), 0, Segment(0, 1))

    batches = pieces_module.by_length(clips(), 4)
    first = next(batches)
    assert len(read) == pieces_module.POOL_BATCHES * 4
    assert [len(clip.waveform) for clip in first] == [7] * 4
    rest = [clip.item for batch in batches for clip in batch]
    assert sorted(rest + [clip.item for clip in first]) == list(range(1_000))


def test_audio_shorter_than_a_token_says_both_numbers(assistant):
    shortest = assistant.model.geometry.min_samples
    with pytest.raises(
        InputError, match=rf"found {shortest - 1} samples; wanted at least {shortest} samples"
    ):
        assistant.transcribe([torch.zeros(shortest - 1)])
    with pytest.raises(ValueError, match="one axis"):
        assistant.transcribe([torch.zeros(2, 16_000)])


def test_a_model_of_written_text_says_that_it_cannot_hear(reader):
    assert not reader.has_ears
    for listen in (reader.transcribe, reader.transcribe_ctc, reader.answer):
        with pytest.raises(InputError, match="found a model of written text alone"):
            listen([noise(1)])


def test_a_model_without_a_ctc_head_transcribes_but_not_by_ctc(tmp_path, tokenizer_folder):
    stacked = Assistant.load(
        make_model(tmp_path / "model", tokenizer_folder, projector="StackMLP"), device="cpu"
    )
    clips = [noise(0.6, seed=1), noise(1.1, seed=2)]
    assert stacked.transcribe(clips, vad=False) == [
        stacked.transcribe([clip], vad=False)[0] for clip in clips
    ]
    assert not stacked.has_ctc
    with pytest.raises(InputError, match="projector: found StackMLP; wanted CtcPosterior"):
        stacked.transcribe_ctc(clips, vad=False)


def test_a_reply_ends_before_a_stop_string(reader):
    """A client of a server asks for it; half of the string must not have been streamed by then."""
    turns, sampling = [Turn("user", "Bom dia.")], Sampling(max_new_tokens=12)
    free = "".join(reader.reply(turns, sampling=sampling))
    stop = free[4:7]
    pieces = list(reader.reply(turns, sampling=sampling, stop_strings=["never said", stop]))
    assert "".join(pieces) == free[: free.find(stop)]
    [written] = reader._responder.write([turns], [], [sampling], [stop])
    assert written.text == free[: free.find(stop)].strip()
    assert not written.is_cut


def test_a_streamed_reply_is_the_batched_one(reader):
    conversations = [
        [Turn("user", "Bom dia.")],
        [Turn("user", "Tenho sede."), Turn("assistant", "Quero um café."), Turn("user", "E um pastel?")],
        [Turn("system", "Sê breve."), Turn("user", "O comboio parte?")],
    ]
    sampling = Sampling(max_new_tokens=12)
    streamed = ["".join(reader.reply(turns, sampling=sampling)).strip() for turns in conversations]
    assert reader.reply_batch(conversations, sampling=sampling) == streamed
    assert reader.reply_batch(conversations, batch_size=1, sampling=sampling) == streamed
    assert reader.reply_batch([]) == []


def test_what_is_drawn_depends_on_the_place_in_the_list_and_not_on_the_batches(reader):
    """Rows of a batch had the seeds of their places in it: another batch_size wrote another text."""
    conversations = [[Turn("user", "Bom dia." * length)] for length in (3, 1, 2, 1)]
    sampling = Sampling(max_new_tokens=8, temperature=0.7, seed=3)
    drawn = [reader.reply_batch(conversations, batch_size=size, sampling=sampling) for size in (1, 3, 16)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert drawn[0][1] != drawn[0][3], "the same question in two places"
    assert drawn[0][0] == "".join(reader.reply(conversations[0], sampling=sampling)).strip()


def test_a_checkpoint_padded_to_a_round_number_writes_tokens_alone(tmp_path, tokenizer_folder):
    """Of 400 rows 40 stand for nothing; drawn, one of them ended the conversation with a traceback."""
    folder = make_model(tmp_path / "model", tokenizer_folder, projector=None, spare_rows=40)
    padded, turns = Assistant.load(folder, device="cpu"), [Turn("user", "Bom dia.")]
    assert padded.reply_batch([turns], sampling=Sampling(max_new_tokens=40, temperature=3.0))
    prompts = padded._responder.prompts([turns], [])
    found = padded._responder.search(prompts, [8], num_beams=40)
    assert max(max(one.ids) for one in found[0]) < 360


@pytest.mark.parametrize("direct", [False, True])
def test_a_streamed_answer_is_the_batched_one(assistant, everything_is_speech, direct):
    clips = [noise(0.6, seed=4), noise(0.9, seed=5)]
    answers = ["".join(assistant.listen(clip, direct=direct)).strip() for clip in clips]
    assert assistant.answer(clips, direct=direct) == answers


def test_a_question_is_written_down_and_then_answered_unless_directly(assistant, everything_is_speech):
    clips = [noise(0.6, seed=4), noise(0.9, seed=5)]
    by_text = assistant.reply_batch([[Turn("user", text)] for text in assistant.transcribe(clips)])
    assert assistant.answer(clips) == by_text
    assert assistant.answer(clips, direct=True) != by_text


@pytest.mark.parametrize("task", ["translate_en", "continue"])
def test_a_task_is_done_end_to_end_or_by_way_of_a_transcript(assistant, everything_is_speech, task):
    """A task that no clip was ever trained on works as far as the text decoder follows its instruction."""
    clips, asked = [noise(0.6, seed=4), noise(0.9, seed=5)], instruction(task)
    heard = assistant.transcribe(clips)
    read = assistant.reply_batch([[Turn("user", f"{text}\n{asked}")] for text in heard])
    assert assistant.answer(clips, instruction=asked) == read
    at_once = assistant.answer(clips, instruction=asked, direct=True)
    question = [Turn("user", asked, has_audio=True)]
    written = assistant._responder.write([question] * 2, clips, [Sampling().for_row(row) for row in range(2)])
    assert at_once == [each.text for each in written] != read
    assert "".join(assistant.listen(clips[0], instruction=asked)).strip() == read[0]
    assert "".join(assistant.listen(clips[0], instruction=asked, direct=True)).strip() == at_once[0]


@pytest.mark.parametrize("direct", [False, True])
def test_a_long_question_is_transcribed_and_then_answered(assistant, monkeypatch, direct):
    monkeypatch.setattr(assistant, "transcribe", lambda audios, **_: ["Tenho sede."] * len(audios))
    wanted = assistant.reply_batch([[Turn("user", "Tenho sede.")]])
    assert assistant.answer([noise(CHUNK_S + 1)], direct=direct) == wanted
    monkeypatch.setattr(assistant, "transcribe", lambda audios, **_: [""] * len(audios))
    assert assistant.answer([noise(CHUNK_S + 1)], direct=direct) == [""]


def test_a_transcript_needs_a_beam(assistant):
    with pytest.raises(InputError, match="num_beams: found 0|num_beams.*found 0"):
        assistant.transcribe([noise(1)], num_beams=0)


def test_a_text_cut_at_its_limit_is_told(reader, caplog):
    with caplog.at_level(logging.WARNING):
        text = "".join(reader.reply([Turn("user", "Bom dia.")], sampling=Sampling(max_new_tokens=2)))
        reader.reply_batch([[Turn("user", "Bom dia.")]] * 3, sampling=Sampling(max_new_tokens=2))
    assert len(reader.tokenizer.encode(text)) <= 3
    assert "1 of 1 texts met the limit" in caplog.text
    assert "3 of 3 texts met the limit" in caplog.text


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(reader):
    with pytest.raises(
        InputError, match=r"found \d{4,} tokens; wanted fewer than the 1024 of max_position_embeddings"
    ):
        list(reader.reply([Turn("user", "comboio " * 2_000)]))
    with pytest.raises(InputError, match="max_position_embeddings"):
        reader.log_likelihood(["comboio " * 2_000])


def test_likelihood_is_the_sum_over_the_words_and_the_end(reader):
    tokenizer, decoder = reader.tokenizer, reader.model.decoder
    wanted = []
    for text in TEXTS:
        ids = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]])
        log_probs = decoder(ids).log_softmax(dim=-1)[0]
        wanted.append(sum(log_probs[i, ids[0, i + 1]].item() for i in range(ids.shape[1] - 1)))
    assert reader.log_likelihood(TEXTS) == pytest.approx(wanted, rel=1e-4)
    assert reader.log_likelihood(TEXTS[:1]) == pytest.approx(wanted[:1], rel=1e-4)
    assert reader.log_likelihood([]) == []
