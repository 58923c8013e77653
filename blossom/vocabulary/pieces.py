"""New pieces: learned by continued BPE from the runs of a script in a corpus, or taken from another tokenizer."""

import json
import unicodedata
from collections import Counter

import regex
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from blossom.assets.registry import fetch_asset
from blossom.vocabulary import fertility, loading
from blossom.vocabulary.spelling import BYTE_PIECE, is_whole, kind_of, piece_bytes

UNIT = 0xF0000  # first of the private-use characters that stand for units in training
LONGEST = 16  # units of a learned piece at most, as in SentencePiece: a long laughter ("ㅋㅋㅋㅋ") takes few pieces


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
    """Count the runs of `pattern` in some lines as pieces of the base, split where the base splits text: Counter."""
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
    for word, share in fertility.read_frequencies(source).items():
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
    limits = {"vocab_size": len(code) + size, "max_token_length": LONGEST}
    trainer = trainers.BpeTrainer(**limits, show_progress=False, initial_alphabet=list(code.values()))
    scale = min(1.0, 5_000_000 / counts.total())  # so many running words are enough
    coded = (("".join(code[unit] for unit, _ in spelled[run]), max(1, round(n * scale))) for run, n in counts.items())
    learner.train_from_iterator((" ".join([word] * n) for word, n in coded), trainer)
    name = {character: unit for unit, character in code.items()}
    learned = sorted((i, token) for token, i in learner.get_vocab().items() if len(token) > 1)
    steps = (step for split in spelled.values() for _, unit_steps in split for step in unit_steps)
    return list(dict.fromkeys([*steps, *("".join(map(name.get, token)) for _, token in learned)]))


def propose_pieces(donor, base, counts, size, scripts):
    """New pieces for a base, and how many were rejected for each reason.

    donor  "trained" (learn `size` pieces from `counts`; 0: 8,000, about KoBERT's number), or a source for `read_donor`
    """
    if donor == "trained":
        return train_pieces(base, counts, size or 8000), {}
    return clean_pieces(base, read_donor(donor), script_pattern(scripts) if scripts else None)


def read_donor(source):
    """The pieces of a tokenizer, best first: text with the space before a word, or bytes for part of a character.

    source  asset, hub id, folder or SentencePiece `.model`; ValueError for anything else
    """
    path = fetch_asset(str(source), weights=False)
    model_file = path / "tokenizer.model" if path.is_dir() else path
    if model_file.is_file():
        pieces, taken = loading.read_sentencepiece(model_file).pieces, (loading.NORMAL, loading.USER_DEFINED)
        return _to_texts([p.piece for p in sorted(pieces, key=lambda p: -p.score) if p.type in taken], "SentencePiece")
    tokenizer = loading.load_tokenizer(source)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    special = {t.content for t in tokenizer.added_tokens_decoder.values()}
    vocabulary = model["vocab"] if isinstance(model["vocab"], dict) else {p: i for i, (p, _) in enumerate(model["vocab"])}
    ordered = [p for p in sorted(vocabulary, key=vocabulary.get) if p not in special and not BYTE_PIECE.fullmatch(p)]
    return _to_texts(ordered, kind_of(tokenizer))


def _to_texts(pieces, kind):
    """Example: "▁먹" -> " 먹"; byte-level "Ġë¨¹" -> " 먹", "ë¨" -> two bytes; in WordPiece "먹" -> " 먹", "##는" -> "는"."""
    return [data.decode() if is_whole(data) else data for data in (piece_bytes(piece, kind) for piece in pieces)]


def clean_pieces(base, texts, pattern):
    """The pieces of `read_donor` that a base can take, in its alphabet, and a Counter of the others by reason.

    pattern  of `script_pattern`, which whole pieces must match; None allows every script
    """
    kept, removed = {}, Counter()
    for text in texts:
        if isinstance(text, str) and not unicodedata.is_normalized("NFC", text):
            removed["not NFC (taken as NFC)"] += 1
            text = unicodedata.normalize("NFC", text)
        if reason := _reject_text(text, pattern):
            removed[reason] += 1
            continue
        piece = base.piece(text)
        if piece in base.vocabulary:
            removed["in the base already"] += 1
        elif piece in kept:
            removed["twice in the donor"] += 1
        elif base.words(text) != [piece]:
            removed["split or rewritten by the base before merging"] += 1
        else:
            kept[piece] = text
    if not kept:
        reasons = ", ".join(f"{n} {reason}" for reason, n in removed.items())
        told = f"donor: none of its {len(texts)} pieces fits {base.name} ({reasons})"
        raise ValueError(f"{told}; take another donor or script")
    return list(kept), removed


def _reject_text(text, pattern):
    if isinstance(text, bytes):
        return "part of a character"
    if not text.strip():
        return "empty or white space"
    if any(unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") or c == "\ufffd" for c in text):
        return "control or unassigned characters"
    return "in another script" if pattern and not pattern.fullmatch(text) else ""
