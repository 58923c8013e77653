"""People as judges: a batch of anonymous pairs of answers, and one HTML page a rater that needs no server (B, 6.1).

batch = make_batch(answers, [("blossom-bi-biSFT", "base")], raters=["r1", "r2"])
batch, files = publish_batch(batch, "raters")              # raters/<batch>/rate-r1.html, ...: send each rater theirs
rated = merge_ratings(batch, ["ratings-....json", ...])    # ratings.py: what they send back
"""

import hashlib
import json
import random
import re
import unicodedata
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

from blossom.common import pages, paths

FORMAT = "blossom-ratings/1"
PAGE = Path(__file__).with_name("rate.html")
ANSWER = ["model", "prompt_id", "kind", "language", "prompt", "answer"]


@dataclass(frozen=True)
class Batch:
    """Pairs of answers to be rated. batch.json, which names the models, stays with the organiser.

    pairs            tuple of dicts: prompt_id, kind, language, prompt, model_a, model_b, answer_a, answer_b
    raters           tuple of names; not part of the digest, so that another can join later
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
        """sha256 of everything that decides what raters see."""
        content = {k: v for k, v in asdict(self).items() if k != "raters"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Item:
    """One screen of a rater's page: a pair (its number), a or b on the left as A, seen for the first or second time.

    The id, 12 hex digits, is the same for every rater who sees this pair this way round.
    """

    id: str
    pair: int
    first: str
    look: int


def make_batch(answers, comparisons=None, raters=("rater-1",), repeats=6, pairs_per_rater=0, seed=0):
    """The Batch of two models' answers to the same prompts.

    answers          list of dicts: model, prompt_id, kind, language, prompt, answer (all str)
    comparisons      list of (model A, model B); default: every two models
    raters           different names; more can be added later with `dataclasses.replace`
    repeats          pairs each rater sees again near the end; at most a third of the rater's pairs
    pairs_per_rater  pairs for each rater, going round so that all pairs are seen about equally often; 0: all

    Raises ValueError: an answer that is missing, given twice or not text, a wrong name.
    """
    by_model = {}
    for row in answers:
        for name in ANSWER:
            if not isinstance(row.get(name), str):
                raise ValueError(f"answers: {name}: expected text, found {row.get(name)!r}")
        own, key = by_model.setdefault(row["model"], {}), (row["prompt_id"], row["language"])
        if key in own:
            raise ValueError(f"answers: {row['model']} answers prompt {key[0]} ({key[1]}) twice")
        own[key] = {name: replace_surrogates(row[name]) for name in ANSWER}
    pairs = [p for a, b in comparisons or combinations(by_model, 2) for p in _pair_answers(by_model, a, b)]
    if not pairs:
        raise ValueError("no pairs: at least two models and one prompt are needed")
    return Batch(tuple(pairs), _check_raters(raters), repeats, pairs_per_rater, seed)


def replace_surrogates(text):
    """`text` with lone surrogates, which UTF-8 cannot encode, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _pair_answers(by_model, a, b):
    """Yield the pairs of models a and b, one a prompt; both must have answered every prompt that one of them has."""
    if a == b or not {a, b} <= set(by_model):
        raise ValueError(f"comparisons: expected two of the models {', '.join(by_model)}, found {a!r} and {b!r}")
    for key in dict.fromkeys([*by_model[a], *by_model[b]]):
        left, right = by_model[a].get(key), by_model[b].get(key)
        if not left or not right:
            raise ValueError(f"answers: {b if left else a} has no answer to prompt {key[0]} ({key[1]})")
        if left["prompt"] != right["prompt"]:
            raise ValueError(f"answers: {a} and {b} were asked different prompts {key[0]} ({key[1]})")
        shared = {name: left[name] for name in ("prompt_id", "kind", "language", "prompt")}
        yield shared | {"model_a": a, "model_b": b, "answer_a": left["answer"], "answer_b": right["answer"]}


def _check_raters(raters):
    """The names, normalised; ValueError when one is unusable or two would have one file."""
    names = [unicodedata.normalize("NFC", str(name)).strip() for name in raters]
    wrong = [name for name in names if not 0 < len(name) <= 60 or not name.isprintable()]
    if wrong:
        raise ValueError(f"raters: expected names of 1 to 60 printable characters, found {wrong[0]!r}")
    if not names or len({_file_name(name) for name in names}) < len(names):
        raise ValueError(f"raters: expected different names, found {', '.join(names) or 'none'}")
    return tuple(names)


def _file_name(rater):
    return re.sub(r"[^\w-]+", "_", rater).casefold()


def list_items(batch, rater):
    """The screens (list of Item) that `rater` sees, in order. Sides and order are random, but the same at every call.

    Raises ValueError when the batch has no such rater.
    """
    if rater not in batch.raters:
        raise ValueError(f"the batch has no rater {rater!r}; its raters are {', '.join(batch.raters)}")
    own = list(range(len(batch.pairs)))
    if 0 < batch.pairs_per_rater < len(own):
        random.Random(f"{batch.seed}/share").shuffle(own)
        start = batch.raters.index(rater) * batch.pairs_per_rater
        own = [own[(start + n) % len(own)] for n in range(batch.pairs_per_rater)]
    rng = random.Random(f"{batch.seed}/{rater}")
    rng.shuffle(own)
    looks = [(n, rng.choice("ab"), 1) for n in own]
    third = len(looks) // 3
    again = [(n, "ab"[first == "a"], 2) for n, first, _ in rng.sample(looks[:third], min(batch.repeats, third))]
    tail = looks[len(looks) - third :] + again  # at least a third of the page lies between the two looks
    rng.shuffle(tail)
    digest = batch.digest
    return [_item(digest, *look) for look in looks[: len(looks) - third] + tail]


def _item(digest, *look):
    return Item(hashlib.sha256("/".join(map(str, (digest, *look))).encode()).hexdigest()[:12], *look)


def index_items(batch):
    """Every Item that any rater of the batch can have seen: dict id -> Item."""
    digest = batch.digest
    items = [_item(digest, n, first, look) for n in range(len(batch.pairs)) for first in "ab" for look in (1, 2)]
    return {item.id: item for item in items}


def load_batch(path):
    """The Batch in the batch.json of `publish_batch`; ValueError when it is none or was changed since."""
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
    """The rater's page as HTML (str). No model's name is in it, unless an answer mentions one.

    language  ko or en: of the page's own words at first; the rater can change it
    """
    shown = []
    for item in list_items(batch, rater):
        pair = batch.pairs[item.pair]
        answers = [pair["answer_a"], pair["answer_b"]][:: 1 if item.first == "a" else -1]
        shown.append({"id": item.id, "language": pair["language"], "prompt": pair["prompt"], "answers": answers})
    data = {"format": FORMAT, "batch": batch.digest, "rater": rater, "items": shown}
    return pages.assemble_page(PAGE, data, language=language, rater=rater)


def publish_batch(batch, folder):
    """Write batch.json and every rater's page into a folder named after the batch, so that no batch overwrites another.

    return  (the batch with the raters of earlier calls too, the paths of the pages)
    """
    own = Path(folder) / batch.digest[:8]
    key = own / "batch.json"
    if key.exists():  # earlier raters keep their places: their shares of the pairs depend on them
        batch = replace(batch, raters=_check_raters(dict.fromkeys([*load_batch(key).raters, *batch.raters])))
    paths.write_json(key, {"digest": batch.digest} | asdict(batch))
    written = {rater: own / f"rate-{_file_name(rater)}.html" for rater in batch.raters}
    for rater, path in written.items():
        paths.write_text(path, render_rating_page(batch, rater))
    return batch, list(written.values())
