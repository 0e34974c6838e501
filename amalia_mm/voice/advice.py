"""What the quality gate tells a person who records their voice: one sentence for each kind of fault, in Portuguese."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "silence",
    "short",
    "quiet",
    "clipped",
    "noisy",
    "narrow",
    "music",
    "two_people",
    "other_person",
    "too_few_words",
    "other_words",
]

ADVICE: dict[Kind, str] = {
    "silence": "Não se ouve ninguém: veja se o microfone está ligado e escolhido, e grave outra vez.",
    "short": "Há pouca fala nesta gravação: leia a frase toda, sem deixar muito silêncio antes ou depois.",
    "quiet": "A voz está muito baixa: aproxime o microfone, a um palmo da boca, ou suba o volume de entrada.",
    "clipped": "O som está saturado: afaste um pouco o microfone ou baixe o volume de entrada.",
    "noisy": "Há demasiado ruído à volta: feche a janela, desligue o que faz barulho e grave outra vez.",
    "narrow": "O som é de telefone, sem agudos: grave com outro programa ou microfone, a 44 100 Hz ou mais.",
    "music": "Ouve-se música: desligue a música ou a televisão e grave outra vez.",
    "two_people": "Parecem falar duas pessoas: nesta gravação só se pode ouvir a sua voz.",
    "other_person": "A voz não parece ser a da pessoa registada: só ela pode gravar estas frases.",
    "too_few_words": "A gravação é curta demais para o que devia dizer: leia o texto todo, do princípio ao fim.",
    "other_words": "O que se ouve não é a frase pedida: leia-a outra vez, com calma.",
}


def comma(value: float, digits: int) -> str:
    """Return a number as it is written in Portuguese, with a comma."""
    return f"{value:.{digits}f}".replace(".", ",").replace("-", "−")
