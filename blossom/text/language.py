"""The language of a text by its letters, its non-words, and how often it repeats itself."""

import re
import unicodedata
from collections import Counter
from difflib import SequenceMatcher

from blossom.common import paths

SCRIPTS = {name: re.compile(letters) for name, letters in paths.read_yaml_beside(__file__).items()}
CODE = re.compile(r"```.*?(?:```|\Z)|\{[^{}\n]*\}", re.DOTALL)  # also placeholders like {name}
WORD = re.compile("[가-힣]{2,}")  # in Korean, with its endings
EDGES = re.compile(r"^[\W_]+|[\W_]+$")  # punctuation around a word
LOOP = re.compile(r"(.{1,8}?)\1{4,}|(.{9,200}?)\2{2,}|(?<!\S)((?:\S+ ){2,4}?)\3{2,}")  # see `measure_repetition`
JOSA = "은는이가을를에의도로만과와"  # particles of one syllable
KOREAN_FROM = 0.3  # share of Korean among Korean and Latin letters; Korean prose about software has many Latin letters
ENGLISH_UP_TO = 0.1  # likewise: English may name a Korean thing
HANJA_FROM = 0.2  # share of Hangul among Hangul and Han letters from which the Han letters are hanja in Korean text
KNOWN_FROM = 0.5  # share of all letters that are Korean or Latin
COMPARED = 1000  # letters of a prompt that an answer is compared with: the time grows with their square
LONGEST_WORD = 12  # characters; longer runs without a space are cut, so that loops in them are seen


def script_shares(text):
    """Share of each script ("hangul", "latin", "han", "kana", "other") among the letters outside fenced code: a dict."""
    text = CODE.sub(" ", text)
    letters = sum(c.isalpha() for c in text)
    counts = {name: sum(c.isalpha() for c in pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    counts["other"] = letters - sum(counts.values())
    return {name: count / letters if letters else 0.0 for name, count in counts.items()}


def name_scripts(lines):
    """Share of each script among the letters of lines, by Unicode's name, largest first: {"HANGUL": 0.9, "LATIN": 0.1}."""
    scripts = Counter()
    for letter, count in Counter(c for line in lines for c in line if c.isalpha()).items():
        scripts[unicodedata.name(letter, "OTHER").split()[0]] += count
    return {script: count / scripts.total() for script, count in scripts.most_common()}


def language_of(text):
    """The language of a text: "ko", "en", "mixed" (Korean and English), "other", or "none" when it has no letters."""
    share = script_shares(text)
    if not any(share.values()):
        return "none"
    korean = share["hangul"]
    if korean and korean >= HANJA_FROM * (korean + share["han"]):
        korean += share["han"]
    known = korean + share["latin"]
    if known < KNOWN_FROM:
        return "other"
    return "ko" if korean >= KOREAN_FROM * known else "en" if korean <= ENGLISH_UP_TO * known else "mixed"


def check_pair(english, korean):
    """Raise ValueError unless the first text is mainly in Latin letters and the second has a larger share of Hangul."""
    first, second = script_shares(english), script_shares(korean)
    if first["latin"] < max(first.values()) or second["hangul"] <= first["hangul"] or not keep_letters(english):
        raise ValueError(f"expected English, then Korean, found {english[:40]!r} and {korean[:40]!r}")


def answer_language(answer, prompt=""):
    """As `language_of`, or "empty" without text, or "copy" when it begins with the prompt or at least the half of it."""
    # a question restated as a statement ("한국의 수도는?" "한국의 수도는 서울입니다.") is no copy
    said, asked = (keep_letters(text) for text in (answer, prompt))
    size = min(len(asked), len(said), COMPARED)
    stated = prompt.rstrip().endswith(("?", "？")) and re.match(r"[^.?!。？！\n]*[.!。！]", answer.strip())
    stated = stated and keep_letters(stated[0])[-4:] != asked[-4:]  # else it is the question with a full stop
    if asked and not stated and 2 * len(said) >= len(asked) and is_alike(said[:size], asked[:size]):
        return "copy"
    return language_of(answer) if answer.strip() else "empty"


def is_alike(one, other):
    """Whether two texts have letters and are the same but for case, spaces, punctuation and one letter in five."""
    one, other = keep_letters(one), keep_letters(other)
    return bool(one and other) and SequenceMatcher(None, one, other, autojunk=False).ratio() >= 0.8


def keep_letters(text):
    """The letters of a text in lower case, full-width ones as the usual ones."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalpha())


def find_nonwords(text, starts):
    """The Korean words of a text, but one syllable with a josa, whose first two syllables are not in `starts`: a list."""
    return [w for w in WORD.findall(text) if w[:2] not in starts and not (len(w) == 2 and w[1] in JOSA)]


def measure_repetition(text, n=3):
    """The share (0 to 1) of `n`-grams of words, without punctuation, that occurred before, and whether the text is a loop.

    It is with a share of 0.3, or where a phrase with a letter stands in a row: 1 to 8 characters 5 times, or 3 times 2 words
    or more (Holtzman et al. 2020, arXiv:1904.09751) or 9 to 200 characters. Example: "A b c a, b c a" -> 2/5, True.
    """
    bare = [word for said in text.casefold().split() if (word := EDGES.sub("", said))]
    words = [w[i : i + LONGEST_WORD] for w in bare for i in range(0, len(w), LONGEST_WORD)]
    grams = list(zip(*(words[i:] for i in range(n)), strict=False))
    share = 1 - len(set(grams)) / len(grams) if grams else 0.0
    return share, share >= 0.3 or any(keep_letters(m[0]) for m in LOOP.finditer(" ".join([*bare, ""])))
