"""`amalia corpus | tokenizer | ctc-vocabulary | varieties | needles | prepare ...`: what is made before training.

Each imports its room only when it is called.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from amalia_mm.commands.distil import add_distil
from amalia_mm.commands.shards import EARS_HZ, RATE_HELP
from amalia_mm.errors import InputError
from amalia_mm.terminal import note, result

Commands = argparse._SubParsersAction  # pyright: ignore[reportPrivateUsage]
SPEECH_FORMATS = (
    *("common-voice", "voxpopuli", "mls", "fleurs", "tagarela", "falar", "camoes", "manifest", "hf-dataset"),
)
"""The keys of `FORMATS` in `prepare/corpus_shards.py`, which is not imported for a list of words."""
WORDS_HELP = "keep only the built-in sentences that need no other than the N commonest words"


def add_preparation(commands: Commands) -> None:
    """Add the sub-commands that make data: text, speech, tokenizers."""
    corpus = commands.add_parser("corpus", help="write the built-in corpus, spoken and as shards")
    corpus.add_argument("--output", type=Path, default=Path("runs/quickstart"), help="run folder")
    corpus.add_argument("--text", type=Path, action="append", default=[], help="your own text as well")
    corpus.add_argument(
        "--speech", type=Path, action="append", default=[], help="your own recordings as well"
    )
    corpus.add_argument("--seed", type=int, default=0)
    corpus.add_argument("--words", type=int, help=WORDS_HELP)
    corpus.add_argument("--smoke", action="store_true", help="a few hundred sentences")
    corpus.add_argument(
        "--part",
        choices=("text", "speech"),
        help="only the text, or only the speech of the text that is there",
    )
    corpus.set_defaults(run=_corpus)

    tokenizer = commands.add_parser("tokenizer", help="train a tokenizer on the text of shards")
    tokenizer.add_argument("-c", "--config", type=Path, help="a recipe with shards, vocab_size and output")
    tokenizer.add_argument("--shards", nargs="+", type=Path, help="folders of shards")
    tokenizer.add_argument("--vocab-size", type=int)
    tokenizer.add_argument("--output", type=Path, help="folder of the tokenizer")
    tokenizer.set_defaults(run=_tokenizer)

    vocabulary = commands.add_parser(
        "ctc-vocabulary", help="the tokens of a large tokenizer that a CTC head needs to write what is said"
    )
    vocabulary.add_argument("--tokenizer", type=Path, required=True, help="folder of the decoder's tokenizer")
    vocabulary.add_argument("--shards", nargs="+", type=Path, required=True, help="folders of shards")
    vocabulary.add_argument("--size", type=int, default=1024, help="classes (default: 1024)")
    vocabulary.add_argument("--output", type=Path, required=True, help="a .json file")
    vocabulary.set_defaults(run=_ctc_vocabulary)

    varieties = commands.add_parser(
        "varieties", help="built-in text in two varieties, pairs to prefer and pairs to measure"
    )
    varieties.add_argument("--output", type=Path, default=Path("runs/varieties"), help="run folder")
    varieties.add_argument("--seed", type=int, default=0)
    varieties.add_argument("--smoke", action="store_true", help="a few hundred sentences")
    varieties.set_defaults(run=_varieties)

    needles = commands.add_parser(
        "needles", help="facts hidden in long text, to learn and measure long context"
    )
    needles.add_argument("--haystack", type=Path, required=True, help="folder of shards with documents")
    needles.add_argument("--tokenizer", type=Path, required=True, help="folder of the tokenizer")
    needles.add_argument("--tokens", type=int, required=True, help="most tokens of a conversation")
    needles.add_argument("--needles", type=int, default=4, help="facts in each haystack")
    needles.add_argument("--questions", type=int, default=2, help="facts asked for, in training")
    needles.add_argument("--train", type=int, default=4000, help="conversations to train on")
    needles.add_argument("--test", type=int, default=200, help="conversations to measure with")
    needles.add_argument("--output", type=Path, required=True)
    needles.add_argument("--seed", type=int, default=0)
    needles.set_defaults(run=_needles)

    _add_prepare(commands)


def _add_prepare(commands: Commands) -> None:
    prepare = commands.add_parser(
        "prepare", help="shards of speech: from corpora, of what a decoder says, of nothing"
    )
    jobs = prepare.add_subparsers(title="jobs", metavar="JOB", required=True)
    _add_corpus_job(jobs)
    add_distil(jobs)
    voice = jobs.add_parser("voice", help="the lines of a corpus said clean, for a voice to be learned from")
    voice.add_argument(
        "--output", type=Path, default=Path("runs/quickstart"), help="run folder with the lines"
    )
    voice.add_argument("--clips", type=int, default=3000, help="most clips to train on")
    voice.add_argument("--val-clips", type=int, default=48, help="most clips to validate on")
    voice.add_argument(
        "--rate-hz",
        type=int,
        default=EARS_HZ,
        help="samples a second: 16000 (default) to 22050, the synthesiser's own; recordings alone have more",
    )
    voice.add_argument(
        "--held-out",
        type=float,
        metavar="MINUTES",
        help="instead: so much of each voice that nothing was trained on, as shards/held-out, to adapt to",
    )
    voice.add_argument("--seed", type=int, default=0)
    voice.set_defaults(run=_voice)
    listen = jobs.add_parser("listen", help="a page to hear and see what augmentation does to a clip")
    listen.add_argument("clip", type=Path)
    listen.add_argument("--augment", type=Path, required=True, help="a recipe or data fragment that augments")
    listen.add_argument(
        "--encoder", type=Path, help="an encoder fragment that masks (default: the recipe's encoder)"
    )
    listen.add_argument("--output", type=Path, default=Path("runs/listen.html"))
    listen.add_argument("--seed", type=int, default=0)
    listen.set_defaults(run=_listen)


def _add_corpus_job(jobs: Commands) -> None:
    job = jobs.add_parser("corpus", help="a corpus of speech as shards, split, checked and counted")
    job.add_argument("path", type=Path, help="the folder or manifest of the corpus")
    job.add_argument("--format", required=True, choices=SPEECH_FORMATS)
    job.add_argument(
        "--output", type=Path, required=True, help="folder for train/, val/, test/ and the counts"
    )
    job.add_argument("--name", default="", help="what figures call it; the format where left out")
    job.add_argument("--variety", default="", help="of clips that say none: pt-PT, pt-BR, other")
    job.add_argument("--licence", default="", help="of clips that say none")
    job.add_argument(
        "--where",
        action="append",
        default=[],
        help="only rows with FIELD=VALUE (of a field named twice with either), or FIELD!=VALUE",
    )
    job.add_argument("--split-by", help="split anew, all rows with one value of this field in one split")
    job.add_argument("--val-share", type=float, default=0.05, help="of rows, where they are split anew")
    job.add_argument("--test-share", type=float, default=0.1, help="of rows, where they are split anew")
    job.add_argument(
        "--field", action="append", default=[], help="what a manifest calls a field: text=sentence"
    )
    job.add_argument("--validated", action="store_true", help="train on all that Common Voice validated")
    job.add_argument(
        "--same-sentence", action="store_true", help="a sentence of one speaker twice is a duplicate"
    )
    job.add_argument(
        "--keep-odd-rates",
        action="store_true",
        help="also clips that sound as if recorded at another sample rate than their header says",
    )
    job.add_argument("--min-s", type=float, help="shortest clip, in seconds")
    job.add_argument("--max-s", type=float, help="longest clip, in seconds")
    job.add_argument("--min-chars-per-s", type=float, help="fewest letters a second")
    job.add_argument("--max-chars-per-s", type=float, help="most letters a second")
    job.add_argument("--rate-hz", type=int, help=RATE_HELP)
    job.add_argument(
        "--channels",
        choices=("mix", "left", "right"),
        help="of two channels: their mean, or one (default: mix, but clips of two speakers are quarantined)",
    )
    job.add_argument("--processes", type=int, help="that decode; one a core where left out")
    job.set_defaults(run=_corpus_job)


def _corpus(options: argparse.Namespace) -> int:
    for name in ("text", "words", "smoke") if options.part == "speech" else ():
        if getattr(options, name):
            wanted, remedy = f"no --{name} with --part speech", "leave one of them out"
            raise InputError(f"--{name}", found=getattr(options, name), wanted=wanted, remedy=remedy)
    from amalia_mm.evaluate.own_data import speech_lines, text_lines
    from amalia_mm.quickstart_folder import taken_for_corpus
    from amalia_mm.quickstart_plan import Options

    made = Options(
        options.output,
        options.smoke,
        seed=options.seed,
        words=options.words,
        text=tuple(options.text),
        speech=tuple(options.speech),
    )
    with taken_for_corpus(made, options.part):
        if options.part != "speech":
            from amalia_mm.prepare.synthetic import write_text

            write_text(
                options.output,
                seed=options.seed,
                smoke=options.smoke,
                num_words=options.words,
                text=options.text,
                speech=options.speech,
            )
        if options.part != "text":
            from amalia_mm.prepare.spoken import write_speech

            write_speech(options.output, seed=options.seed, speech=options.speech)
    about_text = text_lines(options.output) if options.part != "speech" else []
    for line in about_text + (speech_lines(options.output) if options.part != "text" else []):
        note(line)
    return 0


def _voice(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.voice_shards import write_held_out, write_voice

    if options.held_out is not None:
        held_out = write_held_out(
            options.output, minutes=options.held_out, seed=options.seed, rate_hz=options.rate_hz
        )
        note(f"{options.output}: hours {held_out['hours']}, voices {held_out['voices']}")
        return 0
    made = write_voice(
        options.output,
        num_clips=options.clips,
        num_val_clips=options.val_clips,
        seed=options.seed,
        rate_hz=options.rate_hz,
    )
    note(f"{options.output}: {made['clips']} clips, {made['hours']} hours, {made['rate_hz']} Hz")
    return 0


def _tokenizer(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.tokenizer import parse_recipe, train_tokenizer
    from amalia_mm.recipe_paths import read_recipe

    values = read_recipe(options.config) if options.config else {}
    values |= {
        name: getattr(options, name) for name in ("shards", "vocab_size", "output") if getattr(options, name)
    }
    recipe = parse_recipe(values, str(options.config or "amalia tokenizer"))
    tokenizer = train_tokenizer(recipe)
    note(f"{recipe.output}: {tokenizer.vocab_size} entries")
    return 0


def _ctc_vocabulary(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.ctc_vocabulary import write_vocabulary

    made, per_word = write_vocabulary(options.output, options.tokenizer, options.shards, options.size)
    note(f"{options.output}: {len(made.tokens)} classes, {per_word:.2f} for a word")
    return 0


def _varieties(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.varieties import write_varieties

    made = write_varieties(options.output, smoke=options.smoke, seed=options.seed)
    note(
        f"{options.output}: {made['sentences']} sentences, {made['preferences']} preferences, {made['pairs']} pairs"
    )
    return 0


def _needles(options: argparse.Namespace) -> int:
    from amalia_mm.prepare.needle_shards import write_needles
    from amalia_mm.prepare.needles import NeedleTask

    write_needles(
        options.output,
        options.haystack,
        options.tokenizer,
        NeedleTask(options.tokens, options.needles, options.questions),
        num_train=options.train,
        num_test=options.test,
        seed=options.seed,
    )
    return 0


def _corpus_job(options: argparse.Namespace) -> int:
    if options.processes is not None and options.processes < 1:
        remedy = "correct the number"
        raise InputError("--processes", found=options.processes, wanted="at least 1", remedy=remedy)
    from amalia_mm.prepare.choice import parse_choices
    from amalia_mm.prepare.corpus_plan import Wishes
    from amalia_mm.prepare.corpus_shards import summary_lines, write_corpus
    from amalia_mm.prepare.plausible import Limits
    from amalia_mm.prepare.readers.manifest import NAMES
    from amalia_mm.prepare.readers.row import Reading
    from amalia_mm.variety import Variety

    given = {
        name: value
        for name in ("min_s", "max_s", "min_chars_per_s", "max_chars_per_s", "rate_hz")
        if (value := getattr(options, name)) is not None
    }
    wishes = Wishes(
        choices=parse_choices(options.where),
        split_by=options.split_by,
        val_share=options.val_share,
        test_share=options.test_share,
        variety=Variety.parse(options.variety, "--variety"),
        licence=options.licence,
        limits=Limits(**given),
        same_sentence=options.same_sentence,
        keep_odd_rates=options.keep_odd_rates,
        channels=options.channels,
    )
    summary = write_corpus(
        options.path,
        options.output,
        layout=options.format,
        name=options.name,
        reading=Reading(_named_fields(options.field, tuple(NAMES)), options.validated),
        wishes=wishes,
        num_processes=options.processes or os.cpu_count() or 1,
    )
    for line in summary_lines(summary):
        result(line)
    return 0


def _listen(options: argparse.Namespace) -> int:
    from amalia_mm.evaluate.listening import augment_of, write_listening_page
    from amalia_mm.evaluate.masked import spec_augment_of
    from amalia_mm.recipe_paths import read_recipe

    augment = augment_of(read_recipe(options.augment), str(options.augment))
    masking = options.encoder or options.augment
    masks = spec_augment_of(read_recipe(masking), str(masking))
    num_players = write_listening_page(options.clip, augment, options.output, options.seed, masks)
    result(f"{options.output}\t{num_players} clips")
    return 0


def _named_fields(options: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Return what a manifest calls its fields, from `thing=name`."""
    fields = {}
    for option in options:
        thing, _, name = option.partition("=")
        if thing not in known or not name:
            wanted, remedy = f"one of {', '.join(known)}, = and its name", "correct the option"
            raise InputError("--field", found=option, wanted=wanted, remedy=remedy)
        fields[thing] = name
    return fields
