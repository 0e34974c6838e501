"""Text in two varieties: rewritten as by hand, one variety a document, and nothing measured that was shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amalia_mm.data.index import ShardIndex, read_record
from amalia_mm.data.schema import Record
from amalia_mm.portuguese.contrast import find_markers, load_contrasts, markers
from amalia_mm.portuguese.normalise import spoken_form
from amalia_mm.prepare.brazilian import ENCLISIS, PROGRESSIVE, to_brazilian
from amalia_mm.prepare.contrasted import MEASURED_GRAMMAR
from amalia_mm.prepare.varieties import write_varieties


@pytest.mark.parametrize(
    ("european", "brazilian"),
    [
        ("A Ana está a ler o jornal.", "A Ana está lendo o jornal."),
        ("O Rui continua a dormir e anda a ver filmes.", "O Rui continua dormindo e anda vendo filmes."),
        ("Chamo-me Ana.", "Me chamo Ana."),
        ("A Rita telefonou-me ontem.", "A Rita me telefonou ontem."),
        ("Dói-lhe a barriga?", "Lhe dói a barriga?"),
        ("Queres um café?", "Você quer um café?"),
        ("Já viste o galo?", "Você já viu o galo?"),
        ("Lembras-te do meu avô?", "Você se lembra de meu avô?"),
        ("Onde é que deixaste a chave?", "Onde você deixou a chave?"),
        ("Já não consigo comer.", "Já não consigo comer."),
        ("A minha avó vive com o meu tio.", "Minha avó vive com meu tio."),
        ("Vou dar-te um livro, quero vê-lo contente.", "Vou te dar um livro, quero ver ele contente."),
        ("Vi-o numa loja.", "Vi ele em uma loja."),
        ("Vou ao cinema às cinco.", "Vou no cinema às cinco."),
        ("Cheguei há dez minutos.", "Cheguei há dez minutos."),
        ("Há leite no copo.", "Tem leite no copo."),
        ("O autocarro e os camiões.", "O ônibus e os caminhões."),
        ("A viagem económica ao Médio Oriente.", "A viagem econômica ao Oriente Médio."),
        ("Dois golos no relvado; o registo criminal.", "Dois gols no gramado; o antecedentes criminais."),
        ("O frigorífico é novo.", "O frigorífico é novo."),
        ("Na segunda-feira o guarda-chuva está aqui.", "Na segunda-feira o guarda-chuva está aqui."),
    ],
)
def test_a_sentence_as_brazil_has_it(european: str, brazilian: str) -> None:
    assert to_brazilian(european)[0] == brazilian


def test_contrasts_that_are_left_out_stay_and_are_not_named() -> None:
    text = "Chamo-me Ana e estou a ler no autocarro."
    assert to_brazilian(text, left_out=(ENCLISIS,)) == (
        "Chamo-me Ana e estou lendo no ônibus.",
        frozenset({PROGRESSIVE, "autocarro"}),
    )


def records(folder: Path) -> list[Record]:
    index = ShardIndex.load(folder)
    return [read_record(index, number)[0] for number in range(len(index))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("varieties")
    write_varieties(folder, smoke=True, progress=False)
    return folder


def test_documents_are_half_and_half_and_each_of_one_variety(run: Path) -> None:
    documents = records(run / "shards/documents-train")
    texts = {
        side: [d.text or "" for d in documents if d.variety.value == side] for side in ("pt-PT", "pt-BR")
    }
    words = [sum(len(text.split()) for text in some) for some in texts.values()]
    assert words[0] == pytest.approx(words[1], rel=0.05)
    contrasts = load_contrasts()
    assert not any(find_markers(text, markers(contrasts, "brazilian")) for text in texts["pt-PT"])
    assert any(find_markers(text, markers(contrasts, "brazilian")) for text in texts["pt-BR"])


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_no_contrast_is_preferred_and_measured(run: Path) -> None:
    """Held out by contrast: what is measured must follow from other contrasts, not from more of the same."""
    measured, watched = rows(run / "pairs.jsonl"), rows(run / "validation/pairs.jsonl")
    names = {pair["contrast"] for pair in measured}
    assert names >= MEASURED_GRAMMAR and names - MEASURED_GRAMMAR
    others = {pair["contrast"] for pair in watched}
    assert others and not others & names
    pairs = [*records(run / "shards/preferences-train"), *records(run / "shards/preferences-val")]
    assert pairs
    for pair in pairs:
        shown = to_brazilian(pair.text or "")[1]
        assert shown and not shown & (names | others | MEASURED_GRAMMAR), pair.text


def test_a_pair_differs_in_the_one_contrast_that_it_names(run: Path) -> None:
    for pair in rows(run / "pairs.jsonl"):
        assert to_brazilian(pair["european"]) == (pair["brazilian"], frozenset({pair["contrast"]}))


def test_no_member_of_a_measured_pair_is_read(run: Path) -> None:
    members = {
        spoken_form(json.loads(line)[side])
        for line in (run / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
        for side in ("european", "brazilian")
    }
    for name in ("documents-train", "documents-val"):
        for document in records(run / f"shards/{name}"):
            spoken = f" {spoken_form(document.text or '')} "
            assert not any(f" {member} " in spoken for member in members)


def test_the_same_seed_gives_the_same_files(run: Path, tmp_path: Path) -> None:
    write_varieties(tmp_path, smoke=True, progress=False)
    for name in ("pairs.jsonl", "varieties.json", "text_test.jsonl"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()
    assert records(tmp_path / "shards/documents-train") == records(run / "shards/documents-train")
