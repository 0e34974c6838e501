"""Sounds of words and texts against the table of Lisbon pronunciations, and against phonology by hand."""

from __future__ import annotations

import csv
import re
import time
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amalia_mm.errors import InputError
from amalia_mm.portuguese.g2p import utterance, word_ipa, word_sampa
from amalia_mm.portuguese.phonology.foreign import respelt
from amalia_mm.portuguese.phonology.phonemes import BREAKS, SYMBOLS, VOWELS, ipa
from amalia_mm.portuguese.phonology.pronunciation import pronounced
from amalia_mm.portuguese.tables import words_of

DISAGREEMENTS = {
    # "Mais" is an adverb with a stress of its own (Mateus & d'Andrade 2000, ch. 6: only articles, weak pronouns,
    # prepositions and conjunctions lean on the next word), as the table marks one-syllable words elsewhere: dois, bem.
    ("mais uma", "SANDHI"): ("majz ˈumɐ", "ˈmajz ˈumɐ"),
    # Two nouns are spelled so and a word alone does not tell which; ours is the more frequent. Beside other words
    # `homographs.py` tells them apart, below.
    ("sede", "N"): ("ˈsedɨ", "ˈsɛdɨ"),
}
"""Where we leave the table: what it has, what we say, and why."""


def table() -> list[dict[str, str]]:
    text = files("amalia_mm.portuguese").joinpath("data/g2p_lisbon.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_table_of_lisbon_pronunciations():
    rows = table()
    wrong = []
    for row in rows:
        ours = word_ipa(row["word"], None if row["pos"] == "SANDHI" else row["pos"])
        if ours != row["ipa"]:
            wrong.append(((row["word"], row["pos"]), (row["ipa"], ours)))
    assert dict(wrong) == DISAGREEMENTS
    assert 1 - len(wrong) / len(rows) >= 0.98


@pytest.mark.parametrize(
    ("text", "sounds"),
    [
        # the four x's, and ex-
        ("xarope caixa México", "ʃɐˈɾɔpɨ ˈkajʃɐ ˈmɛʃiku"),
        ("exemplo existir inexato", "iˈzẽplu iziʃˈtiɾ inɨˈzatu"),
        ("máximo auxílio trouxe", "ˈmasimu awˈsilju ˈtɾosɨ"),
        ("tóxico sexo reflexo boxe", "ˈtɔksiku ˈsɛksu ʁɨˈflɛksu ˈbɔksɨ"),
        ("texto explicar", "ˈtɐjʃtu ɨʃpliˈkaɾ"),
        # u after g and q
        ("seguir quente guitarra", "sɨˈɡiɾ ˈkẽtɨ ɡiˈtaʁɐ"),
        ("aguentar tranquilo frequente linguística", "ɐɡwẽˈtaɾ tɾɐ̃ˈkwilu fɾɨˈkwẽtɨ lĩˈɡwiʃtikɐ"),
        ("guarda qualidade", "ˈɡwaɾdɐ kwɐliˈdadɨ"),
        # nasal diphthongs
        ("mãos limões cães também vêm ontem", "ˈmɐ̃w̃ʃ liˈmõj̃ʃ ˈkɐ̃j̃ʃ tɐ̃ˈbɐ̃j̃ ˈvɐ̃j̃ ˈõtɐ̃j̃"),
        ("falaram bênção muitas", "fɐˈlaɾɐ̃w̃ ˈbẽsɐ̃w̃ ˈmũj̃tɐʃ"),
        # reduction, and where it is blocked
        ("telefonar começar", "tɨlɨfuˈnaɾ kumɨˈsaɾ"),
        ("maldade soldado caixote saudade", "maɫˈdadɨ soɫˈdadu kajˈʃɔtɨ sawˈdadɨ"),
        ("ator ativo adotar projetar", "aˈtoɾ aˈtivu ɐdɔˈtaɾ pɾuʒɛˈtaɾ"),
        ("rapidamente somente felizmente facilmente", "ʁapidɐˈmẽtɨ sɔˈmẽtɨ fɨliʒˈmẽtɨ fasiɫˈmẽtɨ"),
        ("semente aumente", "sɨˈmẽtɨ awˈmẽtɨ"),
        ("cafezinho sozinho pobrezito vizinho cozinha", "kɐfɛˈziɲu sɔˈziɲu pɔbɾɨˈzitu vɨˈziɲu kuˈziɲɐ"),
        ("líder açúcar móvel", "ˈlidɛɾ ɐˈsukaɾ ˈmɔvɛɫ"),
        # the old spelling, of before 1990
        ("acção óptimo director projecto facto", "aˈsɐ̃w̃ ˈɔtimu diɾɛˈtoɾ pɾuˈʒɛtu ˈfaktu"),
        ("baptismo Egipto nocturno secção", "baˈtiʒmu iˈʒitu nɔˈtuɾnu sɛkˈsɐ̃w̃"),
        # e and o: nouns, metaphony, verbs
        ("cabelo amarelo medo cego", "kɐˈbelu ɐmɐˈɾɛlu ˈmedu ˈsɛɡu"),
        ("porco porcos famoso famosa", "ˈpoɾku ˈpɔɾkuʃ fɐˈmozu fɐˈmɔzɐ"),
        ("devo deve deva corro corre", "ˈdevu ˈdɛvɨ ˈdevɐ ˈkoʁu ˈkɔʁɨ"),
        ("comesse fizesse bebera tivera", "kuˈmesɨ fiˈzɛsɨ bɨˈbeɾɐ tiˈvɛɾɐ"),
        ("mulher dever melhor amor", "muˈʎɛɾ dɨˈveɾ mɨˈʎɔɾ ɐˈmoɾ"),
        ("professora editora adora aurora", "pɾufɨˈsoɾɐ idiˈtoɾɐ ɐˈdɔɾɐ awˈɾɔɾɐ"),
        ("joia heroico apoia coisa", "ˈʒɔjɐ iˈɾɔjku ɐˈpɔjɐ ˈkojzɐ"),
        # hiatus and glides
        ("ainda raiz saindo ruim proibir", "ɐˈĩdɐ ʁɐˈiʃ sɐˈĩdu ʁuˈĩ pɾuiˈbiɾ"),
        ("maior praia teatro área mágoa", "mɐˈjɔɾ ˈpɾajɐ tiˈatɾu ˈaɾjɐ ˈmaɡwɐ"),
        ("viu fui azuis museu", "ˈviw ˈfuj ɐˈzujʃ muˈzew"),
        # r and s
        ("Israel honra melro bilro", "iʒʁɐˈɛɫ ˈõʁɐ ˈmɛɫʁu ˈbiɫʁu"),
        ("trânsito pensar transporte Ásia", "ˈtɾɐ̃zitu pẽˈsaɾ tɾɐ̃ʃˈpɔɾtɨ ˈazjɐ"),
        ("piscina descer", "piʃˈsinɐ dɨʃˈseɾ"),
        # clitics lean on the verb
        ("chama-se fazê-lo dir-te-ei", "ˈʃɐmɐsɨ fɐˈzelu diɾtɨˈɐj"),
        ("guarda-chuva segunda-feira", "ˈɡwaɾdɐ ˈʃuvɐ sɨˈɡũdɐ ˈfɐjɾɐ"),
        # forms of trazer, whose x is s; the diphthong of cãibra; põem has two nasal diphthongs
        ("trouxeram trouxesse trouxer trouxéssemos", "tɾoˈsɛɾɐ̃w̃ tɾoˈsɛsɨ tɾoˈsɛɾ tɾoˈsɛsɨmuʃ"),
        ("cãibra cãibras põem compõem", "ˈkɐ̃j̃bɾɐ ˈkɐ̃j̃bɾɐʃ ˈpõj̃ɐ̃j̃ kõˈpõj̃ɐ̃j̃"),
        ("látex tórax sílex", "ˈlatɛks ˈtɔɾaks ˈsilɛks"),
        # open without stress: a mute c of long ago, first parts of words
        ("inflação recta rectificar teclado", "ĩflaˈsɐ̃w̃ ˈʁɛtɐ ʁɛtifiˈkaɾ tɛˈkladu"),
        ("aeroporto telemóvel telejornal supermercado", "ɐɛɾɔˈpoɾtu tɛlɛˈmɔvɛɫ tɛlɛʒuɾˈnaɫ supɛɾmɨɾˈkadu"),
        ("microfone eletrodoméstico audiovisual", "mikɾɔˈfɔnɨ ilɛtɾɔduˈmɛʃtiku awdiɔvizuˈaɫ"),
        ("europeu euros telefone automóvel superior", "ewɾuˈpew ˈewɾuʃ tɨlɨˈfɔnɨ awtuˈmɔvɛɫ supɨɾiˈoɾ"),
        # closed and open, one by one
        ("chego chega catorze pormenor caracteres", "ˈʃeɡu ˈʃeɡɐ kɐˈtoɾzɨ puɾmɨˈnɔɾ kɐɾakˈtɛɾɨʃ"),
        (
            "modelo sueco sinceramente cassete major disporem",
            "muˈdelu suˈɛku sĩsɛɾɐˈmẽtɨ kɐˈsɛtɨ mɐˈʒɔɾ diʃˈpoɾɐ̃j̃",
        ),
        ("detiveram maioritário detetive", "dɨtiˈvɛɾɐ̃w̃ mɐjɔɾiˈtaɾju dɨtɛˈtivɨ"),
        ("voo animais papéis móveis faróis fósseis", "ˈvou ɐniˈmajʃ pɐˈpɛjʃ ˈmɔvɐjʃ fɐˈɾɔjʃ ˈfɔsɐjʃ"),
        # letters and acronyms
        ("PSD EUA", "ˈpe ˈɛsɨ ˈde ˈɛ ˈu ˈa"),
        ("NATO SIDA", "ˈnatu ˈsidɐ"),
        # foreign names and letters
        ("software show Washington", "ˈsɔftuɛɾ ˈʃo uˈɔʃĩton"),
        ("tracking parking browser green Queen", "ˈtɾɛkĩɡɨ ˈpaɾkĩɡ ˈbɾawzɛɾ ˈɡɾĩ kuˈinɨ"),
        ("e-mail wi-fi check-in T-shirt", "iˈmɐjɫ uajˈfaj tʃɛˈkinɨ ˈtiʃɐɾtɨ"),
        ("Celsius Fahrenheit campus status item", "ˈsɛɫsiuʃ ˈfaɾɨnajtɨ ˈkɐ̃puʃ ˈʃtatuʃ ˈitɛmɨ"),
    ],
)
def test_words(text, sounds):
    found = " ".join(word_ipa(word) for word in text.split())
    assert found == sounds


@pytest.mark.parametrize(
    ("text", "sounds"),
    [
        ("os olhos azuis", "uz ˈɔʎuz ɐˈzujʃ."),
        ("as mãos dele", "ɐʒ ˈmɐ̃w̃ʒ ˈdelɨ."),
        ("dez amigos, três casas", "ˈdɛz ɐˈmiɡuʃ, ˈtɾeʃ ˈkazɐʃ."),
        ("três, amigos", "ˈtɾeʃ, ɐˈmiɡuʃ."),
        ("vê-las-emos", "velɐˈzemuʃ."),
        ("Está bem? Está!", "ɨʃˈta ˈbɐ̃j̃? ɨʃˈta!"),
        ("O jogo. Eu jogo.", "u ˈʒoɡu. ˈew ˈʒɔɡu."),
        ("Gosto do gosto.", "ˈɡɔʃtu du ˈɡoʃtu."),
        ("na sede, com sede", "nɐ ˈsɛdɨ, kõ ˈsedɨ."),
        ("O governo não governo", "u ɡuˈveɾnu ˈnɐ̃w̃ ɡuˈvɛɾnu."),
        ("O autocarro não para aqui; é para ti.", "u awtɔˈkaʁu ˈnɐ̃w̃ ˈpaɾɐ ɐˈki, ˈɛ ˈpɐɾɐ ˈti."),
        ("Ele para o carro, com ele para casa.", "ˈelɨ ˈpaɾɐ u ˈkaʁu, kõ ˈelɨ ˈpɐɾɐ ˈkazɐ."),
        ("A letra S, esse dia.", "ɐ ˈletɾɐ ˈɛsɨ, ˈesɨ ˈdiɐ."),
        ("Ele força a porta. Eu forço. A força.", "ˈelɨ ˈfɔɾsɐ ɐ ˈpɔɾtɐ. ˈew ˈfɔɾsu. ɐ ˈfoɾsɐ."),
        ("Dá-lho, fá-lo-ei, dir-lhes-emos.", "ˈdaʎu, faluˈɐj, diɾʎɨˈzemuʃ."),
        ("um copo d'água", "ˈũ ˈkɔpu ˈdaɡwɐ."),
        ("ele e ela, eles e elas", "ˈelɨ i ˈɛlɐ, ˈelɨz i ˈɛlɐʃ."),
        # a letter beside a figure sounds as in an acronym, and its namesake stays a pronoun
        ("A sala N2, a F1, a linha M.", "ɐ ˈsalɐ ˈɛnɨ ˈdojʃ, ɐ ˈɛfɨ ˈũ, ɐ ˈliɲɐ ˈɛmɨ."),
        (
            "o L3, o plano S, o S24, o R2",
            "u ˈɛlɨ ˈtɾeʃ, u ˈplɐnu ˈɛsɨ, u ˈɛsɨ ˈvĩtɨ i ˈkwatɾu, u ˈɛʁɨ ˈdojʃ.",
        ),
        ("O plano S falhou. Na sala L.", "u ˈplɐnu ˈɛsɨ fɐˈʎo. nɐ ˈsalɐ ˈɛlɨ."),
        ("Na sala ele fica. Nota esse dia.", "nɐ ˈsalɐ ˈelɨ ˈfikɐ. ˈnɔtɐ ˈesɨ ˈdiɐ."),
        ("Dei a ele três. É esse um dia.", "ˈdɐj ɐ ˈelɨ ˈtɾeʃ. ˈɛ ˈesɨ ˈũ ˈdiɐ."),
        # the first word of a phrase, before an article, is a verb; "que" before its end is no conjunction
        ("Olho para ti. Molho o pão. Começo já.", "ˈɔʎu ˈpɐɾɐ ˈti. ˈmɔʎu u ˈpɐ̃w̃. kuˈmɛsu ˈʒa."),
        ("Eu seco a roupa. Está seco.", "ˈew ˈsɛku ɐ ˈʁopɐ. ɨʃˈta ˈseku."),
        ("Eu interesso-me. Que interesse!", "ˈew ĩtɨˈɾɛsumɨ. kɨ ĩtɨˈɾesɨ!"),
        ("Espero que interesse.", "ɨʃˈpɛɾu kɨ ĩtɨˈɾɛsɨ."),
        ("o pelo do gato, casaco de pelo", "u ˈpelu du ˈɡatu, kɐˈzaku dɨ ˈpelu."),
        ("pelo gato, de pelo menos, um pelo outro", "pɨlu ˈɡatu, dɨ pɨlu ˈmenuʃ, ˈũ pɨlu ˈotɾu."),
        ("uma forma de bolo, forma de ser", "ˈumɐ ˈfoɾmɐ dɨ ˈbolu, ˈfɔɾmɐ dɨ ˈseɾ."),
        ("Unte a forma. De outra forma.", "ˈũtɨ ɐ ˈfoɾmɐ. dɨ ˈotɾɐ ˈfɔɾmɐ."),
        ("Beja e a inveja.", "ˈbɛʒɐ i ɐ ĩˈvɛʒɐ."),
        ("Escolha o dia.", "ɨʃˈkoʎɐ u ˈdiɐ."),  # "escolher" has no open o before a
        ("o P.º 1 … e depois?!", None),
    ],
)
def test_words_beside_each_other(text, sounds):
    if sounds is None:
        assert utterance(text)[-1].symbol == "?"
    else:
        assert ipa(utterance(text)) == sounds


DRIFT_WORDS = (
    "tio tia dia dica tipo ditado partida medicina bonde vinte gente cidade leite noite onde parede tigre"
)


def test_no_t_or_d_is_affricated():
    """Brazilian drift 1: "dia" is not ˈdʒiɐ."""
    for word in DRIFT_WORDS.split():
        symbols = [phone.symbol for phone in utterance(word)]
        for stop, hiss in pairwise(symbols):
            assert (stop, hiss) not in {("t", "ʃ"), ("d", "ʒ")}, word


def test_a_coda_l_is_dark_and_no_glide():
    """Brazilian drift 2: "mal" is not maw."""
    for word in words_of(
        "Brasil mal mel mil sol sul alto falta calma Portugal futebol papel voltar último álbum soltar"
    ):
        symbols = [phone.symbol for phone in utterance(word)]
        assert "ɫ" in symbols, word
        assert "w" not in symbols, word


def test_a_coda_r_is_kept():
    """Brazilian drift 3: "falar" does not end in a vowel, nor in a fricative."""
    for word in words_of(
        "falar comer partir pôr mar amor porta carta forte verde norte quarto mulher trabalhador melhor"
    ):
        assert [phone.symbol for phone in utterance(word)].count("ɾ") == word.count("r"), word


def test_a_final_e_is_no_i():
    """Brazilian drift 4: "leite" does not end in i."""
    for word in f"{DRIFT_WORDS} pode doze hoje fome nome sete nove quente telefone ele este".split():
        if word.endswith("e"):
            assert utterance(word)[-2].symbol == "ɨ", word


def test_drift_over_real_text(shared_data):
    """The four, over every word of a newspaper that has the spelling."""
    lines = (shared_data / "text/bosque/bosque_pt-PT.tsv").read_text(encoding="utf-8").splitlines()[1:]
    words = {word for line in lines for word in re.findall("[a-zãáâàéêíóôõúç]{3,}", line.split("\t")[2])}
    native = [word for word in words if respelt(word) is None]
    assert len(native) > 10_000
    for word in native:
        sounds = pronounced(word)
        if re.search("[td][ie]", word) and not re.search("d[jg]|tch", word):
            assert not re.search("tʃ|dʒ", sounds), word
        if re.search("l(?![aeiouáéíóúâêôãõàlh])", word):
            assert "ɫ" in sounds, word
        if re.search("[aeiouáâéêíóôú][bcdfgjlmnpqrstvxz]+e$", word):
            assert sounds[-1] == "ɨ", word
        if re.search("[^r]r$", word):
            assert sounds[-1] == "ɾ", word


def test_every_symbol_of_real_text_is_known(shared_data):
    lines = (shared_data / "text/bosque/bosque_pt-PT.tsv").read_text(encoding="utf-8").splitlines()[1:]
    seen = set()
    for line in lines[::3]:
        phones = utterance(line.split("\t")[2])
        assert phones[0].word_start
        assert phones[-1].symbol in BREAKS
        assert not any(a.symbol in BREAKS and b.symbol in BREAKS for a, b in pairwise(phones))
        assert all(phone.symbol in VOWELS for phone in phones if phone.stressed)
        seen.update(phone.symbol for phone in phones)
    assert seen == set(SYMBOLS[1:])  # all but the pad


def test_one_stress_a_word_at_most():
    for text in ("Rapidamente, o Zé comprou um guarda-chuva.", "Encontrá-lo-emos amanhã às 16h30."):
        count = 0
        for phone in utterance(text):
            count = 0 if phone.word_start or phone.symbol in BREAKS else count
            count += phone.stressed
            assert count <= 1


@given(st.text(alphabet="aãáâàbcçdeéêfghiíjklmnoóôõpqrstuúvwxyz-' ,.?!", max_size=40))
def test_any_latin_text_gives_known_sounds_or_says_why_not(text):
    try:
        phones = utterance(text)
    except InputError:
        return
    assert {phone.symbol for phone in phones} <= set(SYMBOLS)
    assert phones[0].word_start
    assert phones[-1].symbol in BREAKS
    assert utterance(text) == phones


@pytest.mark.parametrize("text", ["", "   ", "😊😊", "?!", "<speak>Olá</speak>"])
def test_what_cannot_be_said_is_refused(text):
    with pytest.raises(InputError):
        utterance(text)


def test_an_emoji_is_left_out_and_told():
    with pytest.warns(UserWarning, match="😊"):
        assert ipa(utterance("Bom dia 😊!")) == "ˈbõ ˈdiɐ!"


def test_letters_of_other_latin_alphabets_are_read():
    assert word_ipa("Müller") == word_ipa("Muller")
    assert word_ipa("España") == "ɨʃˈpɐɲɐ"


def test_sampa_says_what_ipa_says():
    assert word_sampa("exame") == 'i"z6m@'
    assert word_sampa("relógio") == 'R@"lOZju'
    assert word_sampa("jogo", "V") == '"ZOgu'
    assert word_sampa("põe") == '"po~j~'
    assert word_sampa("sol") == '"sOl~'


def test_words_never_seen_are_read_at_speed():
    """20,000 words a second are promised; half of it is allowed here, for a busy machine."""
    stems = ["cas", "fal", "comb", "part", "vend", "rel", "tran", "mest", "corr", "pal"]
    endings = ["aremos", "idade", "ação", "eza", "oso", "iver", "ando", "ismo", "ável", "orinho"]
    middles = ["et", "ar", "ul", "in", "os", "ec", "am", "ig", "on", "ur", "il", "at", "es", "ob", "ip"]
    words = [f"{a}{b}{c}{d}" for a in stems for b in middles for c in middles[:4] for d in endings]
    pronounced.cache_clear()
    start_s = time.process_time()
    for word in words:
        pronounced(word)
    assert len(words) / (time.process_time() - start_s) >= 10_000
