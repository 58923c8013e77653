"""What a model was made of, and what the names of the licences of that require, which is no legal advice."""

import re
from dataclasses import dataclass

from blossom.assets.registry import REGISTRY, SIDES
from blossom.common import paths, stages
from blossom.text.hub import parse_hub

LISTED = paths.read_yaml_beside(__file__)
TAGS = {name: tag for tag, others in LISTED["tags"].items() for name in (tag, *others)}
INSTRUCTIONS = {"ko": "korean_instructions", "en": "english_instructions", "translation": "translations"}


@dataclass(frozen=True)
class Ingredient:
    """A base, text or instruction set that a model was made of."""

    name: str  # in the parameters
    part: str  # for example "donor vocabulary"
    licence: str  # "" if unknown


def list_ingredients(line, known=None):
    """List the base model, vocabulary, texts and instructions that a model was made of, the base first: list of Ingredient.

    line   runs from `read_lineage`
    known  {name: licence} from the publisher, used before the licences known here; ValueError names one of no ingredient
    """
    found = {line[0].params["base_model"]: "base model"}
    for run in line:
        p, used = run.params, []
        if run.stage == stages.MERGED:
            vocabulary = "" if p["donor"] == "trained" else p["donor"]
            used += [(vocabulary, "donor vocabulary"), (p.get("word_frequencies"), "word frequencies")]
        if run.stage in (stages.MERGED, stages.TRAINED):
            used += [(name, "text") for name in (*p["korean_texts"], *p["english_texts"])]
        if run.stage == stages.TUNED:
            used += [(name, "instructions") for task in p["sft_tasks"] for name in p[INSTRUCTIONS[task]]]
        for name, part in used:
            if name:
                found.setdefault(name, part)
    if strange := [name for name in known or {} if name not in found]:
        raise ValueError(f"licence: {strange[0]!r} is no ingredient of this model; expected one of {', '.join(found)}")
    return [Ingredient(name, part, find_licence(name, known or {})) for name, part in found.items()]


def find_licence(name, known):
    """The licence of an asset, of a hub data set or model, or of a name in `known`; "" if unknown."""
    asset = REGISTRY.get(SIDES.get(name, (name,))[0])
    return known.get(name, "").strip() or (asset.licence if asset else LISTED["hub"].get(parse_hub(name).name, ""))


def licence_refusals(found):
    """The reasons why a model of these ingredients may not be published: list of str, empty when it may."""
    unknown = [i.name for i in found if not i.licence]
    reasons = [f"the licence of '{name}' is not known: give it with --licence '{name}=...'" for name in unknown]
    return reasons + [f"'{i.name}' forbids it: {i.licence}" for i in _select_term(found, "forbidden")]


def model_licence(found):
    """(licence in the hub's spelling, list of terms) for a model of these ingredients, of which the first is the base.

    Where a licence is none of those in licences.yaml, it is "other", and a term names the ingredient and its licence.
    """
    read = [_read_names(i.licence) for i in found]
    llama = [i.licence for i in found if "llama" in i.licence.lower()]
    non_commercial, share_alike = ([i.name for i in _select_term(found, t)] for t in ("non_commercial", "share_alike"))
    terms = [f"Not for commercial use: {', '.join(non_commercial)}."] if non_commercial else []
    terms += [f"Share alike is required by {', '.join(share_alike)}."] if share_alike else []
    terms += [f"{name}: pass on its text and notice, and follow its acceptable use policy." for name in dict.fromkeys(llama)]
    known = [bool(names) or i.name in non_commercial + share_alike for i, names in zip(found, read, strict=True)]
    unlisted = [i for i, named, names in zip(found, known, read, strict=True) if not named or {*names} - TAGS.keys()]
    told = "Read what the licence of {} allows before you use or pass on this model: {}."
    terms += [told.format(i.name, i.licence or "it is not known") for i in unlisted]
    if unlisted or (llama and non_commercial):
        return "other", terms
    if llama:
        return next(TAGS[name] for names in read for name in names if "llama" in name), terms
    if non_commercial:
        return "cc-by-nc-sa-4.0" if share_alike else "cc-by-nc-4.0", terms
    return "other" if found[0].name in share_alike else TAGS[read[0][0]], terms


def _read_names(licence):
    """The names in a licence's text, without its terms, as the hub's tags: "Apache License 2.0, MIT": [apache-2.0, mit]."""
    terms, words = (LISTED["terms"][t] for t in ("non_commercial", "share_alike")), LISTED["without_meaning"]
    plain = re.sub(rf"(?<![a-z])({'|'.join((*terms, words))})(?![a-z])", " ", licence.lower())
    names = ["-".join(re.findall(r"[^\W_]+(?:\.\d+)*", part)) for part in re.split(r"[,;/]| and | or ", plain)]
    return [name for name in names if name]


def _select_term(found, term):
    return [i for i in found if re.search(rf"(?<![a-z])({LISTED['terms'][term]})(?![a-z])", i.licence.lower())]
