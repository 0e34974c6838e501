"""Signs that are read: & e, @ arroba, = igual a, § parágrafo, π pi, a bar between words."""

from __future__ import annotations

import re
import unicodedata

from amalia_mm.portuguese.numbers import whole
from amalia_mm.portuguese.reading.rules import Rule
from amalia_mm.portuguese.reading.spelled import letter

_SAID = {
    "&": "e", "@": "arroba", "%": "por cento", "‰": "por mil", "€": "euros", "$": "dólares", "£": "libras",
    "¥": "ienes", "¢": "cêntimos", "+": "mais", "−": "menos", "=": "igual a", "#": "cardinal", "§": "parágrafo",
    "©": "direitos reservados", "®": "marca registada", "™": "marca registada", "×": "vezes", "÷": "a dividir por",
    "±": "mais ou menos", "<": "menor que", ">": "maior que", "≤": "menor ou igual a", "≥": "maior ou igual a",
    "≈": "aproximadamente", "≠": "diferente de", "√": "raiz quadrada de", "∞": "infinito", "∑": "somatório de",
    "°": "graus", "℃": "graus Celsius", "²": "ao quadrado", "³": "ao cubo", "*": "asterisco", "^": "elevado a",
    "\\": "barra invertida", "_": "sublinhado", "~": "til", "†": "falecido", "º": "grau", "ª": "á",
}  # fmt: skip


def _digits(found: re.Match[str]) -> str:
    return whole(unicodedata.normalize("NFKC", found[0]))


RULES = (
    Rule(re.compile(r"/\s?(?=[a-zà-ÿ]{3,}(?:\W|$))(?<=\dh/)"), lambda _: "por"),
    Rule(re.compile(r"(?<=\b10)[⁰¹⁴-⁹]+"), lambda found: f"elevado a {_digits(found)}"),
    Rule(re.compile(r"(?<=[A-Z])\.(?=[A-Z])"), lambda _: "ponto"),
    Rule(re.compile(r"/\s?(?=[a-zà-ÿ]{3,}(?:\W|$))(?<=\d/)"), lambda _: "por"),
    Rule(re.compile(r"/\s?(?=(?:dia|semana|mês|ano|hora|minuto|noite|pessoa|aluno)(?!\w))"), lambda _: "por"),
    Rule(re.compile(r"/\s?(?=100\s?km(?!\w|/))"), lambda _: "aos"),
    Rule(re.compile(r"(?<=\w)/(?=\w)"), lambda _: "barra"),
    Rule(re.compile(r"/"), lambda _: ","),
    Rule(re.compile(r"~(?=\s?\d)"), lambda _: "cerca de"),
    Rule(re.compile(r"\*(?=\s?\d)(?:(?<=\d\*)|(?<=\d \*))"), lambda _: "vezes"),
    Rule(re.compile("[⁰¹⁴-⁹]+"), _digits),
    Rule(re.compile("[" + re.escape("".join(_SAID)) + "]"), lambda found: _SAID[found[0]]),
    Rule(
        re.compile("[α-ρσ-ωΑ-ΡΣ-Ωµ](?![\u0370-\u03ff])"),
        lambda found: letter("µ" if found[0] == "Μ" else found[0]),
    ),
)
"""How signs are read."""
