"""The runs of a script in a corpus, and new pieces learned from them by continued BPE."""

from collections import Counter

import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from blossom.vocabulary.fertility import read_frequencies
from blossom.vocabulary.spelling import is_whole

MOST_RUNS = 300_000  # different runs kept, the commonest first; a large corpus has millions of rare ones
MOST_WORDS = 5_000_000  # running words that pieces are learned from; larger counts are scaled down
UNIT = 0xF0000  # first of the private-use characters that stand for units in training


def script_pattern(scripts):
    """Compiled `regex` of the runs that new pieces may cover: an optional space, then letters of some Unicode scripts.

    No scripts: anything but white space. Raises ValueError naming a script that Unicode does not have.
    """
    if not scripts:
        return regex.compile(r" ?\S+")
    for script in scripts:
        try:
            regex.compile(rf"\p{{Script={script}}}")
        except regex.error:
            raise ValueError(f"scripts: Unicode knows no script '{script}'; e.g. Hangul, Han, Thai, Cyrillic") from None
    used = "".join(rf"\p{{Script={s}}}[\p{{Script_Extensions={s}}}&&\p{{L}}]" for s in scripts)  # Kana: the shared ー too
    return regex.compile(f" ?[{used}]+", regex.V1)


def count_runs(base, lines, pattern):
    """Count the runs of `pattern` in some lines: Counter of pieces of the base, from the MOST_RUNS commonest runs.

    A run ends where the base splits a text before it merges.
    Example (Llama-2, Hangul): ["OK, 먹는 공룡"] -> {"▁먹는": 1, "▁공룡": 1}
    """
    prefix = " " if base.kind == "sentencepiece" else ""  # the space that SentencePiece puts before a line
    found = Counter(run for line in lines for run in pattern.findall(prefix + line))
    return _split_runs(base, dict(found.most_common(MOST_RUNS)))


def _split_runs(base, texts):
    counts = Counter()
    for text, count in texts.items():
        for piece in base.words(text):
            counts[piece] += count
    return counts


def add_word_frequencies(base, counts, pattern, source="wordfreq-ko"):
    """Add the word list of `read_frequencies`, scaled to the size of the corpus, to the counts of `count_runs`.

    The list holds morphemes (는, 을, 하), which Korean writes inside a word and after a space: each counts once as either.
    """
    total, texts = counts.total(), Counter()
    for word, share in read_frequencies(source).items():
        if pattern.fullmatch(word) and (count := round(share * total)):
            texts[word] += count
            texts[" " + word] += count
    return counts + _split_runs(base, texts)


def split_characters(base, piece):
    """A piece as whole characters: list of (unit, new pieces needed to make it from the base's tokens).

    A unit is one of the base's tokens, or a character that it spells with several (SmolLM2: 한 -> [("한", ["한"])]).
    """
    units, begun, steps = [], "", []
    for token in base.segment(piece):
        begun += token
        if begun not in base.vocabulary:
            steps.append(begun)
        if is_whole(base.bytes(begun)):
            units.append((begun, steps))
            begun, steps = "", []
    return units


def train_pieces(base, counts, size):
    """New pieces by BPE on top of the base's own segmentation, from the counts of `count_runs`.

    size    merges of whole characters to learn; fewer when the text has no more
    return  pieces: first the characters and the steps to them, then the merges by rank
    Raises ValueError when the counts are empty. Source: continued BPE training, e.g. arXiv:2512.03989.
    """
    if not counts:
        raise ValueError("donor: 'trained' found no text in the wanted scripts (parameters korean_texts, scripts)")
    spelled = {run: split_characters(base, run) for run in counts}
    units = dict.fromkeys(unit for split in spelled.values() for unit, _ in split)
    code = {unit: chr(UNIT + i) for i, unit in enumerate(units)}  # each unit becomes one character for the trainer
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=len(code) + size, show_progress=False, initial_alphabet=list(code.values()))
    scale = min(1.0, MOST_WORDS / counts.total())
    coded = (("".join(code[unit] for unit, _ in spelled[run]), max(1, round(n * scale))) for run, n in counts.items())
    learner.train_from_iterator((" ".join([word] * n) for word, n in coded), trainer)
    name = {character: unit for unit, character in code.items()}
    learned = sorted((i, token) for token, i in learner.get_vocab().items() if len(token) > 1)
    steps = (step for split in spelled.values() for _, unit_steps in split for step in unit_steps)
    return list(dict.fromkeys([*steps, *("".join(map(name.get, token)) for _, token in learned)]))
