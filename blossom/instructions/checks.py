"""Automatic hints for the reviewers of a Korean draft. A hint is no verdict, so each check prefers to miss a fault.

flags = flag_draft(draft.english, draft.korean, draft.cut)    # list of Flag
count_flags([flags, ...])                                     # rows flagged, by kind
"""

import re
from collections import Counter
from dataclasses import dataclass

from blossom.text.language import language_of

# kind -> (Korean, English) label, in the order of the page
KINDS = {
    "empty": ("번역 없음", "no translation"),
    "left_in_english": ("영어가 남음", "left in English"),
    "cut_off": ("끝이 잘림", "answer cut off"),
    "extra": ("덧붙거나 되풀이됨", "added or repeated text"),
    "broken_format": ("서식이 깨짐", "format broken"),
    "translationese": ("번역 투", "translationese"),
    "foreign_life": ("미국 사정·단위", "American institutions, money or units"),
    "foreign_name": ("외국 고유명사", "foreign named entity"),
}
PERSON = r"(?<![가-힣])"  # start of a word: 그는 counts, 도그는 does not
# Rare in Korean by native writers, common in translations of he, she, you, passives, "one of the": one is a hint.
STRONG = (
    r"되어[지진졌져질집]\S*|[보쓰모]여[지진졌져질집]\S*|불려[지진졌져질집]\S*|잊혀[지진졌져질집]\S*",  # doubled passive
    r"\S{1,20}에 의해서?(?![가-힣])",  # by ...
    PERSON + r"(?:당신|그녀)(?=[은는이가의를을도와에]|\s)\S*",  # you, she
    r"\S{1,20}[을를] 가지고 있(?:습|어|는|다|었|을)\S*",  # have
    r"\S{1,20}[ 들] ?중(?:의|에)? ?하나(?=[가는로를와의입이인다]|\W)\S*",  # one of the
    r"(?:많은|여러|모든|수많은|몇몇|다양한|대부분의) \S{1,20}들(?=[이은을의에과도]|\s)\S*",  # a quantity and a plural
    r"\S{1,20}는 것[이은] 불?가능\S*",  # it is possible to
    r"\S{1,20}[을를] 필요로 \S{1,20}",  # needs
    r"\S{1,20}(?<!그럼)에도 불구하고",  # in spite of
    r"\S{1,20}[으]?로 하여금",  # make someone
    PERSON + r"보다 더(?= )",
)
# Native writers use these too: only many of them are a hint.
WEAK = "|".join(
    (
        r"에 대한|에 관한|[을를] 통해|또한|것입니다|[을를] 위해|[을를] 위한|제공[하합]|에 있어서?(?=\s)|으로부터",
        r"(?:에서|에게서|로서|에|(?<!앞)으로)의(?=\s)",  # doubled particles
        PERSON + r"(?:이것|그것|이들|그들|우리)[은이을의]",
    )
)
WEAK_LEAST, WEAK_SHARE = 3, 1 / 40  # least number in a field, least number per word
# American daily life, law and units, in English and in Korean
ABROAD = (
    r"\b(?:IRS|401\(k\)|FDA|FBI|DMV|USPS|FAFSA|SAT|ACT|GED|Medicare|Medicaid|Social Security|Thanksgiving|Groundhog Day|"
    r"Super Bowl|Black Friday|Fourth of July|Memorial Day|Halloween|Congress|Senate|Supreme Court|Democrats?|Republicans?|"
    r"Electoral College|NFL|MLB|NBA|Craigslist|Venmo|Walmart|Walgreens|CVS|Home Depot|Fahrenheit|zip code|US|USA|U\.S\.|"
    r"America(?:n|ns)?|United States|mph|dollars?|cents)\b|\$\d(?:[\d,.]*\d)?|\d+ ?°F|\b911\b|"
    r"(?:\d[\d,.]*|\b(?:hundred|thousand|few|several|many|per|an?))"
    r"[ -](?:feet|foot|miles?|pounds?|ounces?|gallons?|inch(?:es)?)\b"
)
ABROAD_KOREAN = (
    r"국세청\(IRS\)|추수감사절|슈퍼볼|미식축구|블랙 ?프라이데이|선거인단|사회보장(?:번호|연금)|메디케어|"
    r"[0-9][0-9,만천백 ]{0,12}달러|화씨|[0-9][0-9,]* ?(?:마일|파운드|피트)|갤런|온스|"
    r"캘리포니아|텍사스|플로리다|뉴욕|시카고|보스턴|시애틀|오하이오|미시간|버지니아|콜로라도|애리조나|조지아주|"
    r"펜실베이니아|매사추세츠|워싱턴"
)
# Capitalised English words that are no foreign names
COMMON = set(
    "I I'm I've I'd I'll OK TV PC AM PM CEO AI DNA URL PDF USB GPS API CPU RAM HTML CSS SQL JSON CSV XML HTTP HTTPS UTF "
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August September "
    "October November December English Korean Chinese Japanese French German Spanish Latin Greek Korea Seoul Earth Moon Sun "
    "Mars Python Java JavaScript TypeScript Excel Windows Linux Git GitHub Google YouTube Bash Rust React Node Wi-Fi "
    "True False None Mr Mrs Ms Dr Step Part Note Internet Bluetooth Celsius Word Android Mac Apple Dear Sincerely".split()
)
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
    strong = [m[0].strip() for pattern in STRONG for m in re.finditer(pattern, text)]
    weak = [m[0] for m in re.finditer(WEAK, text)]
    if len(weak) < max(WEAK_LEAST, WEAK_SHARE * len(text.split())):
        weak = []
    return ", ".join(dict.fromkeys(strong + [f"{word} ×{times}" for word, times in Counter(weak).items()]))


def _foreign_life(english, korean):
    names = [m[0] for m in re.finditer(ABROAD, _prose(english))]
    return ", ".join(dict.fromkeys(names + [m[0].strip() for m in re.finditer(ABROAD_KOREAN, _prose(korean))]))


def _foreign_name(english, korean):
    """Names in the English: neighbouring capitalised words inside a sentence, but COMMON ones, abbreviations, camel case and
    words that the text also has in small letters."""
    text = _prose(english)
    small = set(re.findall(r"\b[a-z]+", text))

    def telling(word):
        usual = word in COMMON or word.lower() in small or word.lower().rstrip("s") in small
        return len(word) > 1 and not usual and not word.isupper() and not re.search(r"[a-z][A-Z]", word)

    names = re.findall(r"(?<=[a-z,] )(?:[A-Z][\w'’&-]+(?: (?:of |the )?(?=[A-Z]))?)+", text)
    bare = dict.fromkeys(re.sub(r"['’]s?$", "", name.strip()) for name in names)
    return ", ".join(n for n in bare if any(map(telling, n.split())) and not re.fullmatch(ABROAD, n))


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
