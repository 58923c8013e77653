"""The runs of a script in a corpus, and new pieces learned from them by continued BPE."""

from collections import Counter

import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from blossom.vocabulary.fertility import read_frequencies
from blossom.vocabulary.spelling import is_whole

UNIT = 0xF0000  # first of the private-use characters that stand for units in training


def script_pattern(scripts):
    """Pattern of the runs that new pieces may cover: an optional space, then letters of `scripts` (none: any non-space)."""
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
    """Count the runs of `pattern` in some lines as pieces of the base, split where the base splits text: Counter.

    Example (Llama-2, Hangul): ["OK, 먹는 공룡"] -> {"▁먹는": 1, "▁공룡": 1}
    """
    prefix = " " if base.kind == "sentencepiece" else ""  # the space that SentencePiece puts before a line
    found = Counter(run for line in lines for run in pattern.findall(prefix + line))
    return _split_runs(base, dict(found.most_common(300_000)))  # a large corpus has millions of rare runs


def _split_runs(base, texts):
    counts = Counter()
    for text, count in texts.items():
        for piece in base.words(text):
            counts[piece] += count
    return counts


def add_word_frequencies(base, counts, pattern, source="wordfreq-ko"):
    """Add the word list of `read_frequencies`, scaled to the size of the corpus, to the counts of `count_runs`."""
    total, texts = counts.total(), Counter()
    for word, share in read_frequencies(source).items():
        if pattern.fullmatch(word) and (count := round(share * total)):
            texts[word] += count
            texts[" " + word] += count  # a morpheme (는, 을) stands inside a word or after a space
    return counts + _split_runs(base, texts)


def split_characters(base, piece):
    """Split a piece into units of whole characters: list of (unit, new pieces needed to make it from the base's tokens).

    A unit is a token of the base, or a character that the base spells with several (SmolLM2: 한 -> [("한", ["한"])]).
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
    """Learn new pieces by BPE on top of the base's segmentation, from the counts of `count_runs` (e.g. arXiv:2512.03989).

    size    merges of whole characters to learn; fewer when the text has no more
    return  pieces: the characters and the steps to them, then the merges by rank
    """
    if not counts:
        raise ValueError("donor: 'trained' found no text in the wanted scripts (parameters korean_texts, scripts)")
    spelled = {run: split_characters(base, run) for run in counts}
    units = dict.fromkeys(unit for split in spelled.values() for unit, _ in split)
    code = {unit: chr(UNIT + i) for i, unit in enumerate(units)}  # each unit becomes one character for the trainer
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=len(code) + size, show_progress=False, initial_alphabet=list(code.values()))
    scale = min(1.0, 5_000_000 / counts.total())  # so many running words are enough
    coded = (("".join(code[unit] for unit, _ in spelled[run]), max(1, round(n * scale))) for run, n in counts.items())
    learner.train_from_iterator((" ".join([word] * n) for word, n in coded), trainer)
    name = {character: unit for unit, character in code.items()}
    learned = sorted((i, token) for token, i in learner.get_vocab().items() if len(token) > 1)
    steps = (step for split in spelled.values() for _, unit_steps in split for step in unit_steps)
    return list(dict.fromkeys([*steps, *("".join(map(name.get, token)) for _, token in learned)]))
