"""`amalia phonemes`: sounds on stdout, what was left out on stderr."""

import pytest


def test_sounds_of_a_text(amalia):
    assert amalia("phonemes", "Olá, bom dia!") == (0, "ɔˈla, ˈbõ ˈdiɐ!\n", "")
    assert amalia("phonemes", "--sampa", "Olá, bom dia!") == (0, 'O"la, "bo~ "di6!\n', "")


def test_what_is_left_out_is_told(amalia):
    code, out, err = amalia("phonemes", "Bom dia 😊!")
    assert (code, out) == (0, "ˈbõ ˈdiɐ!\n")
    assert "😊" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["phonemes", "😊"], "nothing that can be said"),
        (["phonemes"], "found neither; wanted TEXT or --against-espeak"),
        (["phonemes", "olá", "--against-espeak", "a.txt"], "found both"),
        (["phonemes", "--against-espeak", "missing.txt"], "missing.txt"),
    ],
)
def test_bad_input_is_one_line(amalia, words, told):
    code, out, err = amalia(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_agreement_with_espeak(amalia, tmp_path):
    (tmp_path / "text.txt").write_text("A casa da minha segunda amiga.\n", encoding="utf-8")
    code, out, _ = amalia("phonemes", "--against-espeak", tmp_path / "text.txt", "--words", "5")
    assert code == 0
    assert out.startswith("5 words\t")
    assert "unstressed e\tright: ours" in out
