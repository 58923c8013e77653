"""The language a text is in."""

import re

HANGUL = re.compile("[\uac00-\ud7a3]")


def language_of(text):
    """Korean when a quarter of the letters are Hangul (Korean text keeps Latin names), English when four fifths are ASCII.

    return  "ko", "en" or "other"
    """
    letters = [c for c in text if c.isalpha()]
    if hangul_share(text) >= 1 / 4:
        return "ko"
    return "en" if letters and sum(c.isascii() for c in letters) / len(letters) >= 0.8 else "other"


def hangul_share(text):
    """Share of the letters of `text` that are Hangul syllables, 0 to 1; 0 when it has no letters."""
    letters = sum(c.isalpha() for c in text)
    return len(HANGUL.findall(text)) / letters if letters else 0.0
