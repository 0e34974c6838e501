"""The built-in corpus: sentences, questions, dialogues and minimal pairs, split, and always the same for a seed.

Sentences are held out, and so are templates; nothing that is measured has the spoken form of anything learned. It
knows nothing of voices.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from amalia_mm.batch import Role, Turn
from amalia_mm.portuguese.normalise import spoken_form, words
from amalia_mm.prepare.grammar import Grammar, Sentence, read_patterns, sample_texts
from amalia_mm.prepare.lexicon import load_lexicon, read_data
from amalia_mm.prepare.pairs import Pair, build_pairs
from amalia_mm.prepare.questions import Question, build_questions

Dialogue = tuple[Turn, ...]

_ROLES: tuple[Role, Role] = ("user", "assistant")


@dataclass(frozen=True)
class Corpus:
    """Everything that the quickstart learns from and is measured by."""

    train: tuple[Sentence, ...]
    val: tuple[Sentence, ...]
    test_seen: tuple[Sentence, ...]
    """New sentences of templates that training knows."""
    test_heldout: tuple[Sentence, ...]
    """Sentences of templates that training never saw."""
    questions_train: tuple[Question, ...]
    questions_val: tuple[Question, ...]
    questions_test: tuple[Question, ...]
    dialogues: tuple[Dialogue, ...]
    pairs: tuple[Pair, ...]
    heldout_templates: frozenset[str]

    @property
    def vocabulary(self) -> frozenset[str]:
        """Every word form of the sentences and questions to learn from, in spoken form."""
        texts = (*(s.text for s in self.train), *(q.text for q in self.questions_train))
        return frozenset(word for text in texts for word in words(text))


@dataclass(frozen=True)
class _Sizes:
    sentences: int
    heldout: int
    val_per_template: int
    test_per_template: int
    context: int
    questions_heldout: int
    dialogues: int
    grammar_pairs: int


def build_corpus(seed: int = 0, num_sentences: int = 100_000, smoke: bool = False) -> Corpus:
    """Return the corpus of a seed.

    Args:
        seed: Decides what is drawn and what is held out; the held-out templates are always the same.
        num_sentences: How many distinct sentences, over all splits.
        smoke: A few hundred of everything, in the same shape, whatever `num_sentences` says.
    """
    sizes = (
        _Sizes(400, 40, 1, 1, 140, 14, 40, 1)
        if smoke
        else _Sizes(num_sentences, 2000, 10, 30, 7000, 300, 800, 12)
    )
    rng = random.Random(f"built-in corpus {seed}")
    grammar = Grammar.load()
    seen_templates = [name for name in grammar.templates if name not in grammar.heldout]
    pairs = build_pairs(rng, grammar.vocabulary(seen_templates), sizes.grammar_pairs)
    taken = {spoken_form(pair.european) for pair in pairs}
    questions = build_questions(rng, sizes.context, sizes.questions_heldout, taken)
    taken |= {spoken_form(q.text) for q in (*questions.train, *questions.val, *questions.test)}
    heldout = grammar.sample(sizes.heldout, rng, sorted(grammar.heldout), taken)
    taken |= {spoken_form(sentence.text) for sentence in heldout}
    pool = grammar.sample(sizes.sentences - len(heldout), rng, seen_templates, taken)
    train, val, test_seen = _split(pool, sizes)
    return Corpus(
        train=train,
        val=val,
        test_seen=test_seen,
        test_heldout=tuple(heldout),
        questions_train=questions.train,
        questions_val=questions.val,
        questions_test=questions.test,
        dialogues=_dialogues(rng, sizes.dialogues),
        pairs=pairs,
        heldout_templates=grammar.heldout,
    )


def _split(pool: Iterable[Sentence], sizes: _Sizes) -> tuple[tuple[Sentence, ...], ...]:
    """Return train, val and test: the latter take a tenth of a small template at most."""
    by_template: defaultdict[str, list[Sentence]] = defaultdict(list)
    for sentence in pool:
        by_template[sentence.template].append(sentence)
    train, val, test = [], [], []
    for sentences in by_template.values():
        num_test = min(sizes.test_per_template, len(sentences) // 10)
        num_val = min(sizes.val_per_template, len(sentences) // 10)
        test += sentences[:num_test]
        val += sentences[num_test : num_test + num_val]
        train += sentences[num_test + num_val :]
    return tuple(train), tuple(val), tuple(test)


def _dialogues(rng: random.Random, num: int) -> tuple[Dialogue, ...]:
    frames = read_data("dialogues.yaml")
    lexicon = load_lexicon()
    found: list[Dialogue] = []
    for content in frames.values():
        texts = sample_texts(read_patterns(content, lexicon), num // len(frames), rng)
        for text in texts.values():
            turns = text.split(" || ")
            found.append(tuple(Turn(_ROLES[i % 2], turn) for i, turn in enumerate(turns)))
    rng.shuffle(found)
    return tuple(found)


def spoken_subset(corpus: Corpus, num: int, seed: int, min_uses: int = 8) -> tuple[Sentence, ...]:
    """Return `num` training sentences to be spoken: every word form often enough, then templates in balance.

    Words are served in rounds, so that each is heard once before any is heard twice on purpose, until each stands in
    `min_uses` sentences or `num` is reached. Asking for more than there are raises `ValueError`.
    """
    if num > len(corpus.train):
        raise ValueError(f"{num} sentences to be spoken out of {len(corpus.train)}")
    rng = random.Random(f"spoken subset {seed}")
    chosen = _cover(corpus.train, num, min_uses, rng)
    by_template: defaultdict[str, list[int]] = defaultdict(list)
    for i in rng.sample(range(len(corpus.train)), len(corpus.train)):
        if i not in chosen:
            by_template[corpus.train[i].template].append(i)
    uses = Counter(corpus.train[i].template for i in chosen)
    while len(chosen) < num:
        template = min(
            (name for name in by_template if by_template[name]), key=lambda name: (uses[name], name)
        )
        uses[template] += 1
        chosen[by_template[template].pop()] = None
    order = list(chosen)
    rng.shuffle(order)
    return tuple(corpus.train[i] for i in order)


def _cover(train: tuple[Sentence, ...], num: int, min_uses: int, rng: random.Random) -> dict[int, None]:
    """Return the numbers of up to `num` sentences in which every word stands `min_uses` times where it can."""
    spoken = [frozenset(words(sentence.text)) for sentence in train]
    where: defaultdict[str, list[int]] = defaultdict(list)
    for i in rng.sample(range(len(train)), len(train)):
        for word in spoken[i]:
            where[word].append(i)
    rarest_first = sorted(where, key=lambda word: (len(where[word]), word))
    heard: Counter[str] = Counter()
    chosen: dict[int, None] = {}
    for uses in range(1, min_uses + 1):
        for word in rarest_first:
            while heard[word] < uses and where[word] and len(chosen) < num:
                i = where[word].pop()
                if i not in chosen:
                    chosen[i] = None
                    heard.update(spoken[i])
    return chosen
