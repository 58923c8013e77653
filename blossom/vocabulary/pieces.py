"""What a corpus asks of a vocabulary: its runs of the new script, the characters on the way, pieces learned from it."""

from collections import Counter

import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from blossom.assets.registry import fetch_asset
from blossom.vocabulary.spelling import is_whole

MOST_RUNS = 300_000  # different runs that are counted: the commonest; a large corpus has millions of others, each rare
MOST_WORDS = 5_000_000  # running words that pieces are learned from; above it, counts are scaled down
UNIT = 0xF0000  # first of the private-use characters that stand for units while training


def script_pattern(scripts):
    """Compiled `regex` of a run that new pieces may cover: an optional space, then letters of some scripts.

    scripts  Unicode script names ("Hangul"); empty: anything but white space
    Raises ValueError naming a script that Unicode does not know.
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
    """The runs of `pattern` in some lines, as pieces of the base, counted: Counter of str.

    A run never crosses a border that the base draws before it merges (its pre-tokenizer, its clean-up). The commonest
    MOST_RUNS are kept.
    Example (Llama-2, Hangul): ["OK, 먹는 공룡"] -> {"▁먹는": 1, "▁공룡": 1}
    """
    first = base.kind == "sentencepiece"  # it puts a space before the line
    found = Counter(run for line in lines for run in pattern.findall(" " + line if first else line))
    return _as_pieces(base, dict(found.most_common(MOST_RUNS)))


def _as_pieces(base, texts):
    counts = Counter()
    for text, count in texts.items():
        for piece in base.words(text):
            counts[piece] += count
    return counts


def add_word_frequencies(base, counts, pattern, source="wordfreq-ko"):
    """Word frequencies of the language at large, worth as much as the corpus itself: a new Counter.

    counts  of `count_runs`
    source  asset or TSV file: word, share of running text

    Each word is counted once inside a run and once with a space before it: the list is of morphemes (는, 을, 하),
    which Korean writes in both places.
    """
    with open(fetch_asset(source), encoding="utf-8") as lines:
        shares = dict(line.rstrip("\n").split("\t") for line in lines)
    total, texts = counts.total(), Counter()
    for word, share in shares.items():
        if pattern.fullmatch(word) and (count := round(float(share) * total)):
            texts[word] += count
            texts[" " + word] += count
    return counts + _as_pieces(base, texts)


def split_characters(base, piece):
    """The base's own tokens for a piece, joined to whole characters: list of (unit, new pieces on the way to it).

    Byte-level example (SmolLM2 spells 한 as two tokens and 먹 as three): 한 -> [("한", ["한"])], 먹 takes two steps.
    SentencePiece: a character that the base would spell in bytes is a new piece itself.
    """
    units, begun = [], ""
    steps = []
    for token in base.segment(piece):
        begun += token
        if begun not in base.vocabulary:
            steps.append(begun)
        if base.is_whole(begun):
            units.append((begun, steps))
            begun, steps = "", []
    return units


def train_pieces(base, counts, size):
    """Pieces learned by BPE on top of the base's own segmentation, the most useful first.

    base    a base of `bases`; its tokens are the atoms, so a new piece is one that the base cannot make
    counts  of `count_runs`: whole numbers
    size    merges of whole characters to learn; fewer when the text holds no more
    return  pieces: first the characters (byte-level: after the steps to them), then by rank

    Raises ValueError when the counts are empty. Source: continued BPE training, e.g. arXiv:2512.03989.
    """
    if not counts:
        raise ValueError("donor: 'trained' found no text in the wanted scripts (parameters korean_texts, scripts)")
    spelled = {run: split_characters(base, run) for run in counts}
    code = {}  # unit -> the private-use character that stands for it
    for units in spelled.values():
        for unit, _ in units:
            code.setdefault(unit, chr(UNIT + len(code)))
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=len(code) + size, show_progress=False, initial_alphabet=list(code.values()))
    scale = min(1.0, MOST_WORDS / counts.total())
    coded = (("".join(code[unit] for unit, _ in spelled[run]), max(1, round(n * scale))) for run, n in counts.items())
    learner.train_from_iterator((" ".join([word] * n) for word, n in coded), trainer)
    name = {character: unit for unit, character in code.items()}
    learned = sorted((i, token) for token, i in learner.get_vocab().items() if len(token) > 1)
    steps = (step for units in spelled.values() for _, unit_steps in units for step in unit_steps)
    return list(dict.fromkeys([*steps, *("".join(map(name.get, token)) for _, token in learned)]))


def texts_with_piece(base, piece):
    """Texts that hold a piece: its own, or, of a part of a character, each character it may begin (4,096 at most).

    Raises ValueError for a piece that no text begins with (it starts inside a character).
    """
    data = base.bytes(piece)
    if is_whole(data):
        return [data.decode()]
    tails = [b""]
    texts = []
    for _ in range(3):
        tails = [tail + bytes([byte]) for tail in tails for byte in range(0x80, 0xC0)][:4096]
        texts += [(data + tail).decode() for tail in tails if is_whole(data + tail)]
        if texts:
            return texts
    raise ValueError(f"{piece!r} is part of no character")
