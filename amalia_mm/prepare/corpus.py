"""The built-in corpus: sentences, questions, dialogues and minimal pairs, split, always the same for a seed.

Sentences are held out, and so are templates; nothing that is measured has the spoken form of what is learned.
It knows nothing of voices.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from amalia_mm.batch import Role, Turn
from amalia_mm.portuguese.normalise import spoken_form, words
from amalia_mm.prepare.grammar import Grammar, Sentence, read_patterns, sample_texts, share_out
from amalia_mm.prepare.lexicon import load_lexicon, read_data
from amalia_mm.prepare.pairs import Pair, build_pairs
from amalia_mm.prepare.questions import Question, QuestionSets, build_questions
from amalia_mm.prepare.reading import build_reading

Dialogue = tuple[Turn, ...]

_SENTENCE_END = re.compile(r"(?<=[.?!]) ")
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
    reading: tuple[str, ...]
    """Sentences for the documents only: never spoken, never measured, and not in `vocabulary`."""

    @property
    def vocabulary(self) -> frozenset[str]:
        """Every word form of the sentences and questions to learn from, in spoken form."""
        texts = (*(s.text for s in self.train), *(q.text for q in self.questions_train))
        return frozenset(word for text in texts for word in words(text))


@dataclass(frozen=True)
class _Sizes:
    """How much of everything; the counts of questions hold for training, those held out are a tenth or so."""

    sentences: int
    heldout_sentences: int
    val_every: int
    test_every: int
    context_questions: int
    heldout_questions: int
    dialogues: int
    grammar_pairs: int
    reading: int | None
    """How many sentences to read only; None keeps them all."""
    num_questions: int | None
    """A cut through all kinds of questions; None keeps them all."""


_SMOKE = _Sizes(400, 40, 12, 12, 100, 40, 40, 1, reading=40, num_questions=300)


def _full(num_sentences: int) -> _Sizes:
    return _Sizes(
        num_sentences,
        min(2000, num_sentences // 10),
        *(100, 40, 7000, 300, 800, 12),
        reading=None,
        num_questions=None,
    )


def build_corpus(seed: int = 0, num_sentences: int = 100_000, smoke: bool = False) -> Corpus:
    """Return the corpus of a seed.

    Args:
        seed: Decides what is drawn and what is held out; the held-out templates are always the same.
        num_sentences: How many distinct sentences, over all splits.
        smoke: A few hundred of everything, in the same shape, whatever `num_sentences` says.
    """
    sizes = _SMOKE if smoke else _full(num_sentences)
    rng = random.Random(f"built-in corpus {seed}")
    grammar = Grammar.load()
    seen_templates = [name for name in grammar.templates if name not in grammar.heldout]
    pairs = build_pairs(rng, grammar.vocabulary(seen_templates), sizes.grammar_pairs)
    taken = {spoken_form(pair.european) for pair in pairs}
    questions = _questions(rng, sizes, taken)
    dialogues = _dialogues(rng, sizes.dialogues, taken)
    taken.update(_spoken_elsewhere(questions, dialogues))
    heldout = grammar.sample(sizes.heldout_sentences, rng, sorted(grammar.heldout), taken)
    taken |= {spoken_form(sentence.text) for sentence in heldout}
    pool = grammar.sample(sizes.sentences - len(heldout), rng, seen_templates, taken)
    taken |= {spoken_form(sentence.text) for sentence in pool}
    taken |= {spoken_form(pair.brazilian) for pair in pairs}
    # A source of its own: what is read does not change what is spoken.
    reading = build_reading(random.Random(f"reading {seed}"), taken, num=sizes.reading)
    train, val, test_seen = _split(pool, sizes)
    return Corpus(
        train=train,
        val=val,
        test_seen=test_seen,
        test_heldout=tuple(heldout),
        questions_train=questions.train,
        questions_val=questions.val,
        questions_test=questions.test,
        dialogues=dialogues,
        pairs=pairs,
        heldout_templates=grammar.heldout,
        reading=reading,
    )


def _questions(rng: random.Random, sizes: _Sizes, taken: Collection[str]) -> QuestionSets:
    sets = build_questions(rng, sizes.context_questions, sizes.heldout_questions, taken)
    if sizes.num_questions is None:
        return sets
    few = sizes.num_questions // 5
    return QuestionSets(_cut(sets.train, sizes.num_questions), _cut(sets.val, few), _cut(sets.test, few))


def _cut(questions: Sequence[Question], num: int) -> tuple[Question, ...]:
    """Return about `num` of the questions, of every kind as many as there are, or as of the others."""
    kinds = sorted({question.kind for question in questions})
    by_kind = [[question for question in questions if question.kind == kind] for kind in kinds]
    shares = share_out(num, [len(some) for some in by_kind])
    return tuple(q for some, share in zip(by_kind, shares, strict=True) for q in some[:share])


def _split(pool: list[Sentence], sizes: _Sizes) -> tuple[tuple[Sentence, ...], ...]:
    """Return train, val and test, which hold every so manieth sentence of the pool in order of template."""
    by_template = sorted(range(len(pool)), key=lambda i: pool[i].template)
    val = set(by_template[sizes.val_every // 2 :: sizes.val_every])
    test = set(by_template[:: sizes.test_every]) - val
    train = (sentence for i, sentence in enumerate(pool) if i not in val and i not in test)
    return tuple(train), tuple(pool[i] for i in sorted(val)), tuple(pool[i] for i in sorted(test))


def _dialogues(rng: random.Random, num: int, taken: Collection[str]) -> tuple[Dialogue, ...]:
    """Return about `num` dialogues, as many of each frame, without the turns whose spoken form is taken."""
    frames = read_data("dialogues.yaml")
    lexicon = load_lexicon()
    found: list[Dialogue] = []
    for content in frames.values():
        for text in sample_texts(read_patterns(content, lexicon), num // len(frames), rng).values():
            turns = text.split(" || ")
            if not any(spoken_form(turn) in taken for turn in turns):
                found.append(tuple(Turn(_ROLES[i % 2], turn) for i, turn in enumerate(turns)))
    rng.shuffle(found)
    return tuple(found)


def _spoken_elsewhere(questions: QuestionSets, dialogues: Sequence[Dialogue]) -> Iterator[str]:
    """Yield the spoken forms that no sentence may have: those of questions, contexts and turns."""
    for question in (*questions.train, *questions.val, *questions.test):
        yield from (spoken_form(question.text), spoken_form(question.question), spoken_form(question.context))
    for dialogue in dialogues:
        yield from (spoken_form(sentence) for turn in dialogue for sentence in _SENTENCE_END.split(turn.text))


def spoken_subset(corpus: Corpus, num: int, seed: int, min_uses: int = 2) -> tuple[Sentence, ...]:
    """Return `num` training sentences to be spoken: every word form often enough, then templates in balance.

    Words are served in rounds, so that each is heard once before any is heard twice on purpose, until each
    stands in `min_uses` sentences or `num` is reached. Asking for more than there are raises `ValueError`.
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
        chosen.add(by_template[template].pop())
    return tuple(corpus.train[i] for i in rng.sample(sorted(chosen), num))


def _cover(train: tuple[Sentence, ...], num: int, min_uses: int, rng: random.Random) -> set[int]:
    """Return the numbers of up to `num` sentences in which every word stands `min_uses` times if it can."""
    spoken = [frozenset(words(sentence.text)) for sentence in train]
    where: defaultdict[str, list[int]] = defaultdict(list)
    for i in rng.sample(range(len(train)), len(train)):
        for word in spoken[i]:
            where[word].append(i)
    rarest_first = sorted(where, key=lambda word: (len(where[word]), word))
    heard: Counter[str] = Counter()
    chosen: set[int] = set()
    for uses in range(1, min_uses + 1):
        for word in rarest_first:
            while heard[word] < uses and len(chosen) < num:
                candidates = _draw(where[word], chosen)
                if not candidates:
                    break
                # The sentence that serves most words that still wait.
                best = max(candidates, key=lambda i: sum(heard[other] < uses for other in spoken[i]))
                chosen.add(best)
                heard.update(spoken[best])
    return chosen


def _draw(numbers: list[int], chosen: set[int], num: int = 12) -> list[int]:
    """Return the next few numbers that are not chosen yet, and put them back at the front of the list."""
    drawn: list[int] = []
    while numbers and len(drawn) < num:
        number = numbers.pop()
        if number not in chosen:
            drawn.append(number)
    numbers[:0] = drawn
    return drawn
