"""The figures a report leads with: their Portuguese names, how they are written, and their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["share", "seconds", "milliseconds", "gigabytes", "count", "ratio", "points", "difference"]
_TWO_DECIMALS = {"ratio": ".2f", "points": ".2f", "difference": "+.2f"}


@dataclass(frozen=True)
class Target:
    """One figure of `report.json`, and the bound set for the quickstart where there is one."""

    key: str
    label: str
    unit: Unit = "share"
    at_most: float | None = None
    at_least: float | None = None
    strictly: bool = False

    @property
    def bound(self) -> str:
        """The bound in words, "" without one."""
        if self.at_most == 0:
            return written(0, self.unit)
        if self.at_most is not None:
            return ("< " if self.strictly else "≤ ") + written(self.at_most, self.unit)
        return "" if self.at_least is None else "≥ " + written(self.at_least, self.unit)

    def is_met(self, value: float | None) -> bool | None:
        """Return whether a value keeps the bound; None without value or bound."""
        if value is None or (self.at_most is None and self.at_least is None):
            return None
        if self.at_most is not None:
            return value < self.at_most if self.strictly else value <= self.at_most
        return self.at_least is not None and value >= self.at_least


TARGETS = (
    Target("wer", "Palavras erradas (WER), moldes de frase conhecidos", at_most=0.06),
    Target("wer_templates", "Palavras erradas (WER), moldes de frase novos", at_most=0.15),
    Target("wer_alone", "WER do descodificador sem a ajuda do CTC, moldes conhecidos"),
    Target("wer_alone_templates", "WER do descodificador sem a ajuda do CTC, moldes novos"),
    Target("wer_ctc", "WER só com o codificador (CTC), moldes conhecidos"),
    Target("wer_ctc_templates", "WER só com o codificador (CTC), moldes novos"),
    Target("wer_frozen", "WER, sem CTC, de um descodificador que nunca ouviu som"),
    Target("cer", "Caracteres errados (CER), moldes conhecidos"),
    Target("spoken_qa_exact", "Perguntas faladas reformuladas, resposta exata", at_least=0.80),
    Target("spoken_qa_direct", "As mesmas, sem transcrição pelo meio"),
    Target("text_qa_exact", "Perguntas escritas reformuladas, resposta exata", at_least=0.90),
    Target("text_qa_exact_before_joint", "As mesmas, antes de o modelo aprender a ouvir", at_least=0.90),
    Target("text_qa_context", "Perguntas escritas com contexto", at_least=0.80),
    Target("text_qa_arithmetic", "Contas com operandos novos"),
    Target("ptpt_preference", "Preferência pelo português europeu", at_least=0.95),
    Target("ptpt_preference_in_vocabulary", "A mesma, só com palavras do treino"),
    Target("no_speech_words", "Clipes sem fala que deram palavras", "count", at_most=0),
    Target("no_speech_words_without_vad", "Os mesmos, sem deteção de fala", "count"),
    Target("music_words", "Clipes de música que deram palavras", "count"),
    Target("music_words_without_vad", "Os mesmos, sem deteção de fala", "count"),
    Target("voice_wer_all", "WER do que a voz diz, frases novas", at_most=0.15),
    Target("voice_wer", "Dessas, as de moldes conhecidos"),
    Target("voice_wer_templates", "Dessas, as de moldes novos"),
    Target("voice_wer_reference_all", "WER da fala de referência, as mesmas frases"),
    Target("voice_wer_reference", "Dessas, as de moldes conhecidos"),
    Target("voice_wer_reference_templates", "Dessas, as de moldes novos"),
    Target("voice_wer_turns_all", "WER de várias vozes à vez, as mesmas frases"),
    Target("voice_wer_turns", "Dessas, as de moldes conhecidos"),
    Target("voice_wer_turns_templates", "Dessas, as de moldes novos"),
    Target("voice_first_audio_s", "Da frase ao primeiro som, dez palavras", "milliseconds", at_most=0.3),
    Target("voice_real_time", "Tempo que demora a fazer um segundo de fala", "ratio", at_most=0.3),
    Target(
        "voice_dnsmos_difference",
        "DNSMOS da voz, acima da fala de que a aprendeu",
        "difference",
        at_least=-0.2,
    ),
    Target("voice_dnsmos_difference_corpus", "O mesmo, acima dos clipes do teste", "difference"),
    Target("total_seconds", "Tempo de todas as etapas", "seconds", at_most=1320),
    Target("peak_rss_gb", "Memória máxima", "gigabytes", at_most=6),
    Target("data_wait_fraction", "Espera por dados no treino do codificador", at_most=0.05, strictly=True),
)

OF_RUNS = ("total_seconds", "data_wait_fraction")
"""Figures of how a model came to be; of a model by itself there are none."""


def shown(report: Mapping[str, Any]) -> list[Target]:
    """Return the figures that a report has to show: how long all stages took is one of whole runs alone."""
    return [target for target in TARGETS if target.key not in OF_RUNS or report.get(target.key) is not None]


def written(value: float | None, unit: Unit) -> str:
    """Return a value as a Portuguese reader writes it: decimal comma, per cent with a space."""
    if value is None:
        return "–"
    if unit == "share":
        digits = 0 if round(100 * value, 6).is_integer() else 1
        return f"{100 * value:.{digits}f}\u202f%".replace(".", ",")
    if unit == "seconds":
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes}\u202fmin {seconds:02d}\u202fs" if minutes else f"{seconds}\u202fs"
    if unit == "milliseconds":
        return f"{1000 * value:.0f}\u202fms"
    if unit == "gigabytes":
        return f"{value:.2f}\u202fGB".replace(".", ",")
    if unit in _TWO_DECIMALS:
        return format(value, _TWO_DECIMALS[unit]).replace(".", ",") + ("\u202fs" if unit == "ratio" else "")
    return f"{value:g}"


def counted(counts: Mapping[str, float] | None) -> str:
    """Return the sums behind a rate: "12 de 480", and for errors what they were."""
    if not counts or not counts["total"]:
        return ""
    if "errors" not in counts:
        return f"{counts['hits']:g} de {counts['total']:g}".replace(".", ",")
    if "substitutions" not in counts:
        return f"{counts['errors']:g} em {counts['total']:g}"
    return (
        f"{counts['errors']} em {counts['total']} ({counts['substitutions']} trocas, "
        f"{counts['deletions']} omissões, {counts['insertions']} acrescentos)"
    )
