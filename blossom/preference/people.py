"""People as judges: a batch of anonymous pairs, and one HTML page a rater, which needs no server (B, 6.1).

batch = people.make_batch(answers, [("blossom-bi-biSFT", "base")], raters=["r1", "r2"])
batch, pages = people.publish(batch, "raters")      # raters/<batch>/rate-r1.html, ...: send one to each rater; beside them
                                                    # batch.json, the key to which model wrote what. Raters never get it
rated = ratings.merge(batch, ["ratings-....json", ...])                           # what they send back
"""

import hashlib
import json
import random
import re
import unicodedata
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import pandas as pd

from blossom.common import pages, paths

FORMAT = "blossom-ratings/1"
PAGE = Path(__file__).with_name("rate.html")
ANSWER = ["model", "prompt_id", "kind", "language", "prompt", "answer"]


@dataclass(frozen=True)
class Batch:
    """Pairs of answers to be rated. Its digest ties pages and raters' files to it.

    pairs            tuple of dicts: prompt_id, kind, language, prompt, model_a, model_b, answer_a, answer_b
    raters           tuple of names; not part of the digest, so that one more can join later
    repeats          pairs that each rater sees a second time, with the sides exchanged
    pairs_per_rater  0 shows every pair to everyone
    """

    pairs: tuple
    raters: tuple
    repeats: int
    pairs_per_rater: int
    seed: int

    @property
    def digest(self):
        """sha256 of all that decides what raters see; computed anew, so an edited batch has another."""
        content = {k: v for k, v in asdict(self).items() if k != "raters"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Item:
    """One screen of a rater's page.

    id     12 hex digits: the same for every rater who sees this pair this way round
    pair   its number in the batch
    first  a or b: whose answer is on the left, under the letter A
    look   1, or 2 when the same rater has seen the pair before
    """

    id: str
    pair: int
    first: str
    look: int


def make_batch(answers, comparisons=None, raters=("rater-1",), repeats=6, pairs_per_rater=0, seed=0):
    """The pairs of two models' answers to the same prompts, to be rated by people.

    answers          DataFrame or list of dicts: model, prompt_id, kind, language, prompt, answer
    comparisons      list of (model A, model B); default: every two models
    raters           names that people know each other by; more can be added later with `dataclasses.replace`
    repeats          pairs each rater sees again near the end, sides exchanged; at most a third of the rater's pairs
    pairs_per_rater  so many pairs each, going round, so that all pairs are seen about equally often; 0: all

    Raises ValueError: a missing column, an answer that is missing, given twice or not text, a name that is not one.
    """
    by_key = {}
    for row in answers.to_dict("records") if isinstance(answers, pd.DataFrame) else answers:
        for name in ANSWER:
            if name not in row:
                raise ValueError(f"answers: no column {name}; expected {', '.join(ANSWER)}")
            if not isinstance(row[name], str):
                raise ValueError(f"answers: {name}: expected text, found {row[name]!r}")
        key = (row["model"], row["prompt_id"], row["language"])
        if key in by_key:
            raise ValueError(f"answers: {key[0]} answers prompt {key[1]} ({key[2]}) twice")
        by_key[key] = {name: replace_surrogates(row[name]) for name in ANSWER}
    models = list(dict.fromkeys(key[0] for key in by_key))
    pairs = [p for a, b in comparisons or combinations(models, 2) for p in _pairs(by_key, models, a, b)]
    if not pairs:
        raise ValueError("no pairs: at least two models and one prompt are needed")
    return Batch(tuple(pairs), _checked_raters(raters), repeats, pairs_per_rater, seed)


def replace_surrogates(text):
    """`text` with half characters (lone surrogates), which no file can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _pairs(by_key, models, a, b):
    """The pairs of models a and b, one a prompt; both must have answered every prompt that one of them has."""
    for name in (a, b):
        if name not in models:
            raise ValueError(f"comparisons: no answers of {name!r}; there are those of {', '.join(models)}")
    if a == b:
        raise ValueError(f"comparisons: {a!r} is compared with itself")
    for prompt, language in dict.fromkeys((key[1], key[2]) for key in by_key if key[0] in (a, b)):
        left, right = by_key.get((a, prompt, language)), by_key.get((b, prompt, language))
        if not left or not right:
            raise ValueError(f"answers: {b if left else a} has no answer to prompt {prompt} ({language})")
        if left["prompt"] != right["prompt"]:
            raise ValueError(f"answers: {a} and {b} were asked different prompts {prompt} ({language})")
        shared = {name: left[name] for name in ("prompt_id", "kind", "language", "prompt")}
        yield shared | {"model_a": a, "model_b": b, "answer_a": left["answer"], "answer_b": right["answer"]}


def _checked_raters(raters):
    tidy = [unicodedata.normalize("NFC", str(name)).strip() for name in raters]
    for name in tidy:
        if not name or not name.isprintable() or len(name) > 60:
            raise ValueError(f"raters: expected names of 1 to 60 printable characters, found {name!r}")
    files = [_file_name(name) for name in tidy]
    same = [name for name, file in zip(tidy, files, strict=True) if files.count(file) > 1]
    if same or not tidy:
        raise ValueError(f"raters: expected different names, found {', '.join(same) or 'none'}")
    return tuple(tidy)


def list_items(batch, rater):
    """What `rater` sees, in order: list of Item. Side and order are random, but the same every time.

    Raises ValueError when the batch has no such rater.
    """
    if rater not in batch.raters:
        raise ValueError(f"the batch has no rater {rater!r}; its raters are {', '.join(batch.raters)}")
    every = list(range(len(batch.pairs)))
    if 0 < batch.pairs_per_rater < len(every):
        random.Random(f"{batch.seed}/share").shuffle(every)
        start = batch.raters.index(rater) * batch.pairs_per_rater
        every = [every[(start + n) % len(every)] for n in range(batch.pairs_per_rater)]
    chance = random.Random(f"{batch.seed}/{rater}")
    chance.shuffle(every)
    looks = [(n, chance.choice("ab"), 1) for n in every]
    third = len(looks) // 3
    again = [(n, "ab"[first == "a"], 2) for n, first, _ in chance.sample(looks[:third], min(batch.repeats, third))]
    tail = looks[len(looks) - third :] + again  # at least a third of the page lies between the two looks
    chance.shuffle(tail)
    digest = batch.digest
    return [Item(_id(digest, *look), *look) for look in looks[: len(looks) - third] + tail]


def _id(digest, pair, first, look):
    return hashlib.sha256(f"{digest}/{pair}/{first}/{look}".encode()).hexdigest()[:12]


def index_items(batch):
    """Every Item that any rater of the batch can have been shown: dict id -> Item."""
    digest = batch.digest
    looks = [(n, first, look) for n in range(len(batch.pairs)) for first in "ab" for look in (1, 2)]
    return {_id(digest, *look): Item(_id(digest, *look), *look) for look in looks}


def save_batch(batch, path):
    """Write the batch, the key to the raters' files, as JSON."""
    paths.write_json(path, {"digest": batch.digest} | asdict(batch))


def load_batch(path):
    """The Batch in a file of `save_batch`; raises ValueError when it was changed since."""
    content = paths.read_json(path)
    try:
        digest = content.pop("digest")
        batch = Batch(**content | {"pairs": tuple(content["pairs"]), "raters": tuple(content["raters"])})
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a batch file ({error})") from None
    if batch.digest != digest:
        raise ValueError(f"{path}: changed after it was made (its digest is {batch.digest[:8]}, written {digest[:8]})")
    return batch


def render_rating_page(batch, rater, language="ko"):
    """The rater's page: the text of one HTML file without any model's name but what the answers themselves say.

    language  ko or en: the page's own words at first; the rater can change them
    Answers are data: they reach the page as JSON and only ever become text nodes, and its policy allows no script but
    its own, no request, no frame and no form.
    """
    shown = []
    for item in list_items(batch, rater):
        pair = batch.pairs[item.pair]
        answers = [pair[f"answer_{item.first}"], pair[f"answer_{'ab'[item.first == 'a']}"]]
        shown.append({"id": item.id, "language": pair["language"], "prompt": pair["prompt"], "answers": answers})
    data = {"format": FORMAT, "batch": batch.digest, "rater": rater, "items": shown}
    return pages.render_page(PAGE, data, language=language, rater=rater)


def write_rating_pages(batch, folder):
    """Write `rate-<rater>.html` for every rater; returns their paths."""
    written = []
    for rater in batch.raters:
        written.append(Path(folder) / f"rate-{_file_name(rater)}.html")
        paths.write_text(written[-1], render_rating_page(batch, rater))
    return written


def publish_batch(batch, folder):
    """Write the key and every rater's page into a folder named after the batch, so that no batch overwrites another.

    return  (the batch with all its raters, earlier ones too; the paths of the pages)
    """
    own = Path(folder) / batch.digest[:8]
    key = own / "batch.json"
    if key.exists():  # raters of an earlier run stay, in their order: their shares of the pairs depend on it
        batch = replace(batch, raters=_checked_raters(dict.fromkeys([*load_batch(key).raters, *batch.raters])))
    save_batch(batch, key)
    return batch, write_rating_pages(batch, own)


def _file_name(rater):
    return re.sub(r"[^\w-]+", "_", rater).casefold()
