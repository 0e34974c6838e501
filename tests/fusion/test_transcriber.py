"""Decoder and CTC choose a text together: what CTC rules out is not written, however likely."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sound import noise

from amalia_mm.audio.encoder import ConvTransformer
from amalia_mm.fusion.projectors import CtcPosterior, StackMLP
from amalia_mm.fusion.responder import Responder
from amalia_mm.fusion.speech_text import SpeechTextModel
from amalia_mm.fusion.transcriber import _ASKED, Transcriber
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.ctc_vocabulary import make_ctc_vocabulary
from amalia_mm.text.beam import Hypothesis
from amalia_mm.text.decoder import Decoder, DecoderConfig
from amalia_mm.text.sampling import Sampling
from amalia_mm.text.tokenizer import Tokenizer

SIZES = {
    "vocab_size": 340,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.5,
}
NUM_BEAMS = 4
SPARE = 12


@pytest.fixture(scope="module", params=["the decoder's tokens", "classes of its own"])
def transcriber(request):
    return made(request.param)


def made(kind):
    torch.manual_seed(0)
    config = DecoderConfig(**SIZES)
    if kind == "a padded decoder":
        config = replace(config, vocab_size=config.vocab_size + SPARE)
    encoder = ConvTransformer(width=8, num_layers=1, num_heads=2, feed_forward=16)
    tokenizer = Tokenizer.train(["Bom dia, tenho sede.", "Vou ao Porto."], 340)
    projector, decoder = CtcPosterior(8, config), Decoder(config)
    if kind == "classes of its own":
        words = dict.fromkeys(["bom", "dia", "tenho", "sede", "vou", "ao", "porto"], 1)
        projector = CtcPosterior(
            8, config, vocabulary=dict(make_ctc_vocabulary(tokenizer, words, 175).tokens)
        )
    model = SpeechTextModel(encoder, projector, decoder).eval().requires_grad_(False)
    return Transcriber(Responder(model, tokenizer), spoken_form)


def certain(classes, text, others=-30.0):
    """Frames that leave no doubt: each class once, a blank after it."""
    blank = classes.blank
    path = [place for number in classes.encode(text) for place in (number, blank)] or [blank]
    scores = torch.full((len(path), blank + 1), others)
    scores[torch.arange(len(path)), torch.tensor(path)] = 0.0
    return scores.log_softmax(dim=-1)


def beams(transcriber, waveform, limit):
    prompts = transcriber._responder.prompts([_ASKED], [waveform])
    found = transcriber._responder.search(prompts, [limit], NUM_BEAMS)[0]
    return [transcriber._responder.written(one.ids, one.is_cut).text for one in found]


def test_frames_are_written_as_their_classes_say(transcriber):
    for text in ("vou ao porto", "tenho sede à tarde", "ñ"):
        log_probs = certain(transcriber.classes, text)
        assert transcriber.collapse(log_probs.repeat_interleave(2, dim=0)) == text
    clip = noise(0.5, 1)
    (log_probs,) = transcriber.ctc_log_probs([clip])
    assert log_probs.shape == (
        transcriber._responder.geometry.num_audio_tokens(len(clip)),
        transcriber.classes.blank + 1,
    )


def test_rows_that_stand_for_no_token_are_never_written():
    """Of a checkpoint that was padded they could be the likeliest of a frame, and had no text: a traceback."""
    transcriber = made("a padded decoder")
    projector = transcriber._model.projector
    liked = torch.nn.functional.one_hot(torch.arange(7), projector.blank_id + 1) * 3.0
    liked[:, transcriber.classes.blank : projector.blank_id] = 9.0
    with torch.no_grad():
        projector.head.bias[transcriber.classes.blank : projector.blank_id] = 9.0
    (text,) = transcriber.write([noise(0.5, 1)], [12], NUM_BEAMS)
    assert isinstance(text.text, str)
    projector.ctc_logits = lambda _: liked[None]
    (log_probs,) = projector.log_probs(torch.zeros(1, 7, 8), transcriber.classes)
    assert log_probs.shape == (7, transcriber.classes.blank + 1)
    torch.testing.assert_close(log_probs.exp().sum(dim=1), torch.ones(7))
    assert log_probs.argmax(dim=1).tolist() == list(range(7))


def test_one_beam_is_the_decoder_alone(transcriber):
    clips = [noise(0.5, 1), noise(0.8, 2)]
    alone = transcriber._responder.write([_ASKED] * 2, clips, [Sampling(12)] * 2)
    assert transcriber.write(clips, [12, 12], 1) == alone


def test_what_was_heard_decides_among_the_texts_of_the_decoder(transcriber, monkeypatch):
    clip = noise(0.6, 3)
    texts = beams(transcriber, clip, 3)
    last = next(text for text in reversed(texts) if spoken_form(text) != spoken_form(texts[0]))
    heard = certain(transcriber.classes, spoken_form(last))
    monkeypatch.setattr(transcriber, "ctc_log_probs", lambda waveforms: [heard for _ in waveforms])
    monkeypatch.setattr(transcriber, "collapse", lambda log_probs: "xyz")  # CTC has no good text of its own
    assert spoken_form(transcriber.write([clip], [3], NUM_BEAMS)[0].text) == spoken_form(last)


def test_a_text_that_the_decoder_did_not_think_of_can_win(transcriber, monkeypatch):
    clip = noise(0.6, 3)
    assert not {"Vou ao porto.", "Vou ao porto?"} & {*beams(transcriber, clip, 12)}
    heard = certain(transcriber.classes, "vou ao porto", others=-500.0)
    monkeypatch.setattr(transcriber, "ctc_log_probs", lambda waveforms: [heard for _ in waveforms])
    assert transcriber.write([clip], [12], NUM_BEAMS)[0].text in ("Vou ao porto.", "Vou ao porto?")


@pytest.mark.parametrize("mark", [".", "?"])
def test_ctcs_own_text_is_told_or_asked_as_the_decoder_likes_it(transcriber, monkeypatch, mark):
    heard = certain(transcriber.classes, "vou ao porto", others=-500.0)
    monkeypatch.setattr(transcriber, "ctc_log_probs", lambda waveforms: [heard for _ in waveforms])
    monkeypatch.setattr(
        transcriber._responder,
        "log_likelihood_after",
        lambda prompts, texts: [-1.0 if text.endswith(mark) else -2.0 for text in texts],
    )
    assert transcriber.write([noise(0.6, 3)], [12], NUM_BEAMS)[0].text == f"Vou ao porto{mark}"


def test_without_a_ctc_head_the_decoder_writes_alone(transcriber):
    torch.manual_seed(0)
    config = DecoderConfig(**SIZES)
    encoder = ConvTransformer(width=8, num_layers=1, num_heads=2, feed_forward=16)
    model = (
        SpeechTextModel(encoder, StackMLP(8, config, stack=3), Decoder(config)).eval().requires_grad_(False)
    )
    stacked = Transcriber(Responder(model, transcriber.classes.tokenizer), spoken_form)
    assert not stacked.has_ctc
    assert stacked.write([noise(0.5, 1)], [9], NUM_BEAMS) == stacked.write([noise(0.5, 1)], [9], 1)
    with pytest.raises(ValueError, match="StackMLP has no CTC head"):
        stacked.ctc_log_probs([noise(0.5, 1)])


def test_beside_a_long_clip_a_short_one_has_as_much_room_as_alone(transcriber):
    """The padding of a batch takes no positions: only a row's own prompt and text must fit."""
    responder = transcriber._responder
    short, long = noise(0.5, 1), noise(4.0, 2)
    alone, both = responder.prompts([_ASKED], [short]), responder.prompts([_ASKED] * 2, [short, long])
    room = SIZES["max_position_embeddings"] - alone.lengths[0]
    assert both.lengths[0] == alone.lengths[0] < both.lengths[1]
    text = next(
        text for text in ("dia " * num for num in range(1, 200)) if _num_ids(responder, text) > room - 20
    )
    assert _num_ids(responder, text) < room
    wanted = responder.log_likelihood_after(alone, [text])[0]
    assert wanted > float("-inf")
    assert responder.log_likelihood_after(both, [text, ""])[0] == pytest.approx(wanted, abs=1e-2)
    found, _ = responder.search(both, [room, 5], 2)
    assert [one.ids for one in found] == [one.ids for one in responder.search(alone, [room], 2)[0]]


def _num_ids(responder, text):
    return len(responder.tokenizer.encode(text))


def test_where_nothing_was_heard_nothing_is_written(transcriber, monkeypatch):
    heard = certain(transcriber.classes, "", others=-500.0).expand(9, -1)
    monkeypatch.setattr(transcriber, "ctc_log_probs", lambda waveforms: [heard for _ in waveforms])
    assert [one.text for one in transcriber.write([noise(0.6, 3)], [12], NUM_BEAMS)] == [""]


@pytest.mark.parametrize(("is_cut", "wanted"), [(False, "Bom dia."), (True, "Xyz.")])
def test_what_the_search_found_is_written_if_it_is_likelier_and_whole(
    transcriber, monkeypatch, is_cut, wanted
):
    heard = certain(transcriber.classes, "bom dia", others=-60.0)
    ids = tuple(transcriber.classes.tokenizer.encode("Bom dia."))
    judges = []

    def search(prompts, limits, num_beams, num_wanted, judge):
        judges.append(judge)
        return [[Hypothesis(ids, -5.0, is_cut)]]

    monkeypatch.setattr(transcriber, "ctc_log_probs", lambda waveforms: [heard for _ in waveforms])
    monkeypatch.setattr(transcriber, "collapse", lambda log_probs: "xyz")
    monkeypatch.setattr(transcriber._responder, "search", search)
    monkeypatch.setattr(
        transcriber._responder, "log_likelihood_after", lambda prompts, texts: [-1.0 - ("?" in texts[0])]
    )
    assert transcriber.write([noise(0.6, 3)], [12], NUM_BEAMS)[0].text == wanted
    assert judges[0].judge(0, [], [ids])[1][0] == pytest.approx(0.0, abs=1e-3)  # it judges what was heard


def test_a_clip_of_a_batch_is_written_as_alone(transcriber):
    clips = [noise(0.5, 1), noise(1.1, 2), noise(0.8, 3)]
    together = transcriber.write(clips, [12] * 3, NUM_BEAMS)
    assert together == [transcriber.write([clip], [12], NUM_BEAMS)[0] for clip in clips]


def test_texts_after_prompts_of_several_lengths_score_as_alone(transcriber):
    responder = transcriber._responder
    clips, texts = (
        [noise(0.5, 1), noise(1.1, 2), noise(0.8, 3)],
        ["Tenho sede.", "", "Bom dia, vou ao Porto."],
    )
    together = responder.log_likelihood_after(responder.prompts([_ASKED] * 3, clips), texts)
    for clip, text, score in zip(clips, texts, together, strict=True):
        prompts = responder.prompts([_ASKED], [clip])
        assert responder.log_likelihood_after(prompts, [text])[0] == pytest.approx(score, abs=1e-3)
        ids = transcriber.classes.tokenizer.encode(text)
        stops = [transcriber.classes.tokenizer.im_end_id, transcriber.classes.tokenizer.eos_id]
        own = responder.model.decoder.embed(torch.tensor([ids], dtype=torch.int64))
        embeddings = torch.cat([prompts.embeddings, own], dim=1)
        hidden = responder.model.decoder.hidden(embeddings)
        log_probs = responder.model.decoder.logits(hidden).log_softmax(dim=-1)[0]
        start = prompts.embeddings.shape[1] - 1
        wanted = sum(float(log_probs[start + i, token]) for i, token in enumerate(ids))
        wanted += float(log_probs[start + len(ids), stops].logsumexp(0))
        assert score == pytest.approx(wanted, abs=1e-3)


def test_a_text_longer_than_the_context_has_no_likelihood(transcriber):
    responder = transcriber._responder
    prompts = responder.prompts([_ASKED], [noise(0.5, 1)])
    assert responder.log_likelihood_after(prompts, ["Vou ao Porto. " * 100]) == [float("-inf")]
