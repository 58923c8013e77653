"""Automatic hints for the reviewers of a Korean draft. A hint is no verdict, so each check prefers to miss a fault.

flags = flag_draft(draft.english, draft.korean, draft.cut)    # list of Flag
count_flags([flags, ...])                                     # rows flagged, by kind
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from blossom.common.params import load_yaml
from blossom.text.language import language_of

TABLES = load_yaml(Path(__file__).with_suffix(".yaml"))
KINDS = {kind: tuple(labels) for kind, labels in TABLES["kinds"].items()}  # kind -> (Korean, English) label
WEAK_LEAST, WEAK_SHARE = 3, 1 / 40  # least number of weak patterns in a field, least number per word
STRONG, WEAK, AMERICAN, AMERICAN_KOREAN = (
    re.compile("|".join(TABLES[name])) for name in ("strong", "weak", "american_english", "american_korean")
)
NO_NAMES = set(TABLES["no_names"].split())
FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.M | re.S)
NOT_PROSE = re.compile(r"`[^`\n]+`|https?://\S+|\$\$.{1,500}?\$\$|\\\[.{1,500}?\\\]|\\\(.{1,500}?\\\)|<[^>\n]{1,80}>", re.S)
COMMENT = re.compile(r"#.*|//.*|--\s.*|/\*.*?\*/|<!--.*?-->|\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n]*\"|'[^'\n]*'", re.S)
COMMENT_LINE = re.compile(r"^\s*(?:#|//|--).*$|(?<=\s)(?:#|//).*$", re.M)
SHAPES = {  # formatting whose number must be the same in both languages
    "1.": re.compile(r"^[ \t]*\d+[.)][ \t]", re.M),
    "-": re.compile(r"^[ \t]*[-*+•][ \t]", re.M),
    "#": re.compile(r"^#{1,6}[ \t]", re.M),
    "|": re.compile(r"^[ \t]*\|.*\|[ \t]*$", re.M),
    "```": re.compile(r"^[ \t]*(?:```|~~~)", re.M),
    "http": re.compile(r"https?://"),
    "�": re.compile("\ufffd"),  # half a character: the service cut one in two
    "{}": re.compile(r"\{[A-Za-z_]\w*\}|%[sd]\b"),
}
END = re.compile(r"[.!?…。:;)\]}>\"'”’」』》`|~*_0-9%♪]$|[\U0001F300-\U0001FAFF]$|https?://\S+$")
SHORT, LONG = 0.28, 1.6  # ratio of Korean to English characters; reviewed rows lie between 0.47 and 0.86


@dataclass(frozen=True)
class Flag:
    """One hint: a `kind` of KINDS, the `field`, and an excerpt of what was `found` in it."""

    kind: str
    field: str
    found: str


def flag_draft(english, korean, cut=(), adaptation="none"):
    """The hints on one conversation: list of Flag, in the order of KINDS.

    english, korean  dict field -> text ("instruction", "input", "output", "history.1.user", ...; see drafts.example_fields)
    cut              fields whose reply the service stopped at its length limit
    adaptation       "ne_change" looks for no foreign names in the English; "topic_change" compares nothing with the English
    """
    found = {}  # (kind, field) -> excerpt
    for field, source in english.items():
        text = korean.get(field, "")
        if not text.strip():
            if source.strip() and adaptation != "topic_change":
                found["empty", field] = ""
            continue
        for kind, check in _CHECKS.items():
            if adaptation == "topic_change" and kind in _COMPARING:
                continue
            if kind == "foreign_name" and field.endswith(("output", "assistant")):
                continue  # only names in requests matter: answers hold too many
            compared = "" if kind.startswith("foreign") and adaptation != "none" else source
            if excerpt := " ".join(check(compared, text).split()):
                found[kind, field] = excerpt if len(excerpt) <= 80 else excerpt[:79] + "…"
        if field in cut:
            found["cut_off", field] = "…" + text[-20:]
    return [Flag(kind, field, found[kind, field]) for kind in KINDS for field in english if (kind, field) in found]


def count_flags(flagged):
    """Number of rows with a flag, by kind; `flagged` is a list of lists of Flag."""
    seen = Counter(kind for row in flagged for kind in {flag.kind for flag in row})
    return {kind: seen[kind] for kind in KINDS}


def _prose(text):
    """`text` without code, links, formulas and tags."""
    return NOT_PROSE.sub(" ", FENCE.sub(" ", text))


# Each check gives an excerpt of what it found, or "".


def _left_in_english(english, korean):
    text = _prose(korean)
    words = re.search(r"(?<![a-z]){0}(?: {0}){{2,}}".format("(?:[A-Z]?[a-z'’]++|I|A),?"), text)  # code has no such run
    if sum(c.isalpha() for c in text) >= 12 and words and language_of(text) in ("en", "mixed"):
        return words[0]
    source = " ".join(english.split()).casefold()
    runs = re.findall(r"\b[A-Za-z][\w'’,;-]*+(?: [A-Za-z(][\w'’,;:)-]*+){5,}", text)
    return next((run for run in runs if run.casefold() in source), "")  # an English sentence among Korean ones


def _cut_off(english, korean):
    source, text = _prose(english).strip(), _prose(korean).strip()
    if len(SHAPES["```"].findall(korean)) % 2 > len(SHAPES["```"].findall(english)) % 2:
        return "```"
    if len(source) >= 150 and len(text) < SHORT * len(source):
        return f"{len(source)} → {len(text)}"
    ends = [line for line in (english.strip(), korean.strip()) if line and END.search(line)]
    if len(source) >= 80 and korean.strip() not in ends and english.strip() in ends and not _verse(korean):
        return "…" + text[-20:]
    return ""


def _verse(text):
    """Do most lines end without a full stop, as in poems, tables and lists?"""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return len(lines) > 1 and sum(not END.search(line) for line in lines) > len(lines) / 2


def _extra(english, korean):
    source, text = _prose(english).strip(), _prose(korean).strip()
    opening = re.match(r"(?:다음은|아래는|물론입니다|네, |Here is|Sure)[^\n]{0,40}(?:번역|translation)[^\n]*", text)
    if opening:
        return opening[0]
    pieces = [p.strip() for p in re.split(r"(?<=[.!?])\s+|\n", text) if len(p.strip()) >= 8]
    again, times = Counter(pieces).most_common(1)[0] if pieces else ("", 0)
    if times >= 3 and times > max(Counter(re.split(r"(?<=[.!?])\s+|\n", source)).values(), default=0):
        return f"×{times} {again}"
    if len(source) >= 40 and len(text) > LONG * len(source):
        return f"{len(source)} → {len(text)}"
    return ""


def _broken_format(english, korean):
    bare_english, bare_korean = FENCE.sub("```", english), FENCE.sub("```", korean)
    found = []
    for name, shape in SHAPES.items():
        before, after = len(shape.findall(bare_english)), len(shape.findall(bare_korean))
        if before != after and (name not in ("1.", "-") or max(before, after) >= 2):
            found.append(f"{name} ×{before} → ×{after}")
    before, after = ([_bare_code(m[2]) for m in FENCE.finditer(text)] for text in (english, korean))
    if len(before) == len(after):
        found += [f"``` {line}" for a, b in zip(before, after, strict=True) for line in sorted(set(a) - set(b))[:1]]
    return ", ".join(found)


def _bare_code(code):
    """The lines of code without comments, strings and white space: these a translator must not change."""
    lines = COMMENT.sub("", COMMENT_LINE.sub("", code)).splitlines()
    return [bare for line in lines if (bare := "".join(line.split()))]


def _translationese(english, korean):
    text = _prose(korean)
    strong = [m[0].strip() for m in STRONG.finditer(text)]
    weak = Counter(m[0] for m in WEAK.finditer(text))
    if weak.total() < max(WEAK_LEAST, WEAK_SHARE * len(text.split())):
        weak = {}
    return ", ".join(dict.fromkeys(strong + [f"{word} ×{times}" for word, times in weak.items()]))


def _foreign_life(english, korean):
    found = [m[0].strip() for m in (*AMERICAN.finditer(_prose(english)), *AMERICAN_KOREAN.finditer(_prose(korean)))]
    return ", ".join(dict.fromkeys(found))


def _foreign_name(english, korean):
    """Names in the English: neighbouring capitalised words inside a sentence, but NO_NAMES, abbreviations, camel case and
    words that the text also has in small letters."""
    text = _prose(english)
    small = set(re.findall(r"\b[a-z]+", text))

    def telling(word):
        usual = word in NO_NAMES or word.lower() in small or word.lower().rstrip("s") in small
        return len(word) > 1 and not usual and not word.isupper() and not re.search(r"[a-z][A-Z]", word)

    names = re.findall(r"(?<=[a-z,] )(?:[A-Z][\w'’&-]+(?: (?:of |the )?(?=[A-Z]))?)+", text)
    bare = dict.fromkeys(re.sub(r"['’]s?$", "", name.strip()) for name in names)
    return ", ".join(n for n in bare if any(map(telling, n.split())) and not AMERICAN.fullmatch(n))


_CHECKS = {
    "left_in_english": _left_in_english,
    "cut_off": _cut_off,
    "extra": _extra,
    "broken_format": _broken_format,
    "translationese": _translationese,
    "foreign_life": _foreign_life,
    "foreign_name": _foreign_name,
}
_COMPARING = ("cut_off", "extra", "broken_format", "foreign_life", "foreign_name")
