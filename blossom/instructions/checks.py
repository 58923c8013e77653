"""Automatic hints for the reviewers of a Korean draft; a check that is unsure gives no hint."""

import re
from collections import Counter
from dataclasses import dataclass

from blossom.common import paths
from blossom.text.language import language_of

TABLES = paths.read_yaml_beside(__file__)
KINDS = {kind: tuple(labels) for kind, labels in TABLES["kinds"].items()}  # kind -> (Korean, English) label
LISTS, PARTS = "strong weak american_english american_korean", "fence not_prose comment comment_line end sentence"
STRONG, WEAK, AMERICAN, AMERICAN_KOREAN = (re.compile("|".join(TABLES[name])) for name in LISTS.split())
FENCE, NOT_PROSE, COMMENT, COMMENT_LINE, END, SENTENCE = (re.compile(TABLES["parts"][name]) for name in PARTS.split())
SHAPES = {name: re.compile(shape, re.M) for name, shape in TABLES["shapes"].items()}
SHORT, LONG = 0.28, 1.6  # ratio of Korean to English characters; reviewed rows lie between 0.47 and 0.86


@dataclass(frozen=True)
class Flag:
    """One hint: its `kind` (a key of KINDS), the `field` of the draft, and the excerpt that was `found`."""

    kind: str
    field: str
    found: str


def flag_draft(english, korean, cut=(), adaptation="none"):
    """Check a translated conversation: a list of Flag, in the order of KINDS.

    english, korean  {field: text} with the fields of `translation.example_fields`
    cut              fields whose translation stopped at the length limit
    adaptation       "ne_change": foreign names are allowed; "topic_change": the Korean is not compared with the English
    """
    flags, adapted, other = [], adaptation != "none", adaptation == "topic_change"
    for field, source in english.items():
        text = korean.get(field, "")
        if not text.strip():
            flags += [Flag("empty", field, "")] if source.strip() and not other else []
            continue
        found = {"left_in_english": _left_in_english(source, text), "translationese": _translationese(text)}
        if not other:
            found |= {"cut_off": _cut_off(source, text), "extra": _extra(source, text)}
            found["broken_format"] = _broken_format(source, text)
            found["foreign_life"] = _foreign_life("" if adapted else source, text)
            if not adapted and not field.endswith(("output", "assistant")):  # answers contain too many names
                found["foreign_name"] = _foreign_name(source)
        if field in cut:
            found["cut_off"] = "…" + text[-20:]
        for kind, excerpt in found.items():
            excerpt = " ".join(excerpt.split())
            flags += [Flag(kind, field, excerpt if len(excerpt) <= 80 else excerpt[:79] + "…")] if excerpt else []
    return sorted(flags, key=lambda flag: list(KINDS).index(flag.kind))


def count_flags(flagged):
    """{kind: number of rows with such a flag}; `flagged` holds a list of Flag for each row."""
    seen = Counter(kind for row in flagged for kind in {flag.kind for flag in row})
    return {kind: seen[kind] for kind in KINDS}


# Each check below returns an excerpt of what it found, or "".


def _prose(text):  # without code, links, formulas and tags
    return NOT_PROSE.sub(" ", FENCE.sub(" ", text)).strip()


def _left_in_english(english, korean):
    text = _prose(korean)
    words = re.search(r"(?<![a-z]){0}(?: {0}){{2,}}".format("(?:[A-Z]?[a-z'’]++|I|A),?"), text)  # prose, not code
    if sum(c.isalpha() for c in text) >= 12 and words and language_of(text) in ("en", "mixed"):
        return words[0]
    source = " ".join(english.split()).casefold()
    runs = re.findall(r"\b[A-Za-z][\w'’,;-]*+(?: [A-Za-z(][\w'’,;:)-]*+){5,}", text)
    return next((run for run in runs if run.casefold() in source), "")  # an English sentence among Korean ones


def _cut_off(english, korean):
    source, text = _prose(english), _prose(korean)
    if len(SHAPES["```"].findall(korean)) % 2 > len(SHAPES["```"].findall(english)) % 2:
        return "```"
    if len(source) >= 150 and len(text) < SHORT * len(source):
        return f"{len(source)} → {len(text)}"
    lines = [line.strip() for line in korean.splitlines() if line.strip()]
    verse = len(lines) > 1 and sum(not END.search(line) for line in lines) > len(lines) / 2  # poems, tables and lists
    stops = END.search(english.strip()) and not END.search(korean.strip())
    return "…" + text[-20:] if len(source) >= 80 and stops and not verse else ""


def _extra(english, korean):
    source, text = _prose(english), _prose(korean)
    opening = re.match(r"(?:다음은|아래는|물론입니다|네, |Here is|Sure)[^\n]{0,40}(?:번역|translation)[^\n]*", text)
    if opening:
        return opening[0]
    pieces = Counter(p.strip() for p in SENTENCE.split(text) if len(p.strip()) >= 8)
    again, times = max(pieces.items(), key=lambda piece: piece[1], default=("", 0))
    if times >= 3 and times > max(Counter(SENTENCE.split(source)).values()):
        return f"×{times} {again}"
    return f"{len(source)} → {len(text)}" if len(source) >= 40 and len(text) > LONG * len(source) else ""


def _broken_format(english, korean):
    found, bare = [], [FENCE.sub("```", text) for text in (english, korean)]
    for name, shape in SHAPES.items():
        before, after = (len(shape.findall(text)) for text in bare)
        if before != after and (name not in ("1.", "-") or max(before, after) >= 2):
            found.append(f"{name} ×{before} → ×{after}")
    before, after = ([_bare_code(m[2]) for m in FENCE.finditer(text)] for text in (english, korean))
    if len(before) == len(after):
        found += [f"``` {line}" for a, b in zip(before, after, strict=True) for line in sorted(set(a) - set(b))[:1]]
    return ", ".join(found)


def _bare_code(code):  # lines of code without what a translator may change: comments, strings and spaces
    return [bare for line in COMMENT.sub("", COMMENT_LINE.sub("", code)).splitlines() if (bare := "".join(line.split()))]


def _translationese(korean):
    text = _prose(korean)
    found = [m[0].strip() for m in STRONG.finditer(text)]
    weak = Counter(m[0] for m in WEAK.finditer(text))
    if weak.total() >= max(3, len(text.split()) / 40):
        found += [f"{word} ×{times}" for word, times in weak.items()]
    return ", ".join(dict.fromkeys(found))


def _foreign_life(english, korean):
    found = [m[0].strip() for m in (*AMERICAN.finditer(_prose(english)), *AMERICAN_KOREAN.finditer(_prose(korean)))]
    return ", ".join(dict.fromkeys(found))


def _foreign_name(english):
    text = _prose(english)
    usual = {*TABLES["no_names"].split(), *re.findall(r"\b[a-z]+", text)}  # no names, even with a capital

    def is_name(word):
        known = not usual.isdisjoint((word, word.lower(), word.lower().rstrip("s")))
        return len(word) > 1 and not known and not word.isupper() and not re.search(r"[a-z][A-Z]", word)

    names = re.findall(r"(?<=[a-z,] )(?:[A-Z][\w'’&-]+(?: (?:of |the )?(?=[A-Z]))?)+", text)
    bare = dict.fromkeys(re.sub(r"['’]s?$", "", name.strip()) for name in names)
    return ", ".join(n for n in bare if any(map(is_name, n.split())) and not AMERICAN.fullmatch(n))
