"""What a model was made of, and what the licences of it ask.

A licence is known for every asset of this project and for the hub ids of the shipped scales. For anything else the
person who publishes says it; an unknown licence stops the publication. This reads labels; it is no legal advice.
"""

from dataclasses import dataclass

from blossom.assets.registry import REGISTRY
from blossom.text.corpus import ALIGNED

HUB = {  # as their hub pages state them
    "meta-llama/Llama-2-7b-hf": "Llama 2 community licence",
    "meta-llama/Llama-2-13b-chat-hf": "Llama 2 community licence",
    "meta-llama/Llama-3.2-1B": "Llama 3.2 community licence",
    "Qwen/Qwen2.5-0.5B": "Apache-2.0",
    "wikimedia/wikipedia": "CC BY-SA 3.0, GFDL",
    "GAIR/lima": "CC BY-NC-SA 4.0",
    "tatsu-lab/alpaca": "CC BY-NC 4.0",
}
FORBIDDEN = ("no redistribution", "proprietary", "all rights reserved")
HUB_NAMES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "CC BY 4.0": "cc-by-4.0"}


@dataclass(frozen=True)
class Ingredient:
    """One thing a model was made of: its name in the parameters, its part, its licence ("" when nobody has said)."""

    name: str
    part: str
    licence: str


def list_ingredients(line, told=None):
    """The base, vocabulary, texts and instructions of a model, each once.

    line  of `read_lineage`;  told  name -> licence, from the person who publishes (goes before what is known here)
    """
    found = {line[0].params["base_model"]: "base model"}
    for made in line:
        for name, part in _used(made):
            found.setdefault(name, part)
    return [Ingredient(name, part, find_licence(name, told or {})) for name, part in found.items()]


def _used(made):
    p = made.params
    if made.stage == "02_vocab_merge":
        yield from ((p["donor"], "donor vocabulary"),) if p["donor"] != "trained" else ()
        yield from ((p["word_frequencies"], "word frequencies"),) if p.get("word_frequencies") else ()
    if made.stage in ("02_vocab_merge", "03_bilingual_pretraining"):
        yield from ((name, "text") for name in (*p["korean_texts"], *p["english_texts"]))
    if made.stage == "04_korean_lima_sft":
        lists = {"ko": "korean_instructions", "en": "english_instructions", "translation": "translations"}
        yield from ((name, "instructions") for task in p["sft_tasks"] for name in p[lists[task]])


def find_licence(name, told):
    """The licence of an asset, a hub id ("hub:owner/name:config" too) or anything in `told`; "" when unknown.

    Example: find_licence("hub:GAIR/lima@main:train", {}) -> "CC BY-NC-SA 4.0"
    """
    if name in told:
        return told[name]
    asset = REGISTRY.get(ALIGNED.get(name, (name,))[0])
    return asset.licence if asset else HUB.get(name.removeprefix("hub:").split(":")[0].split("@")[0], "")


def licence_refusals(found):
    """Why a model made of these ingredients may not be given away: list of str, empty when it may."""
    unknown = [i.name for i in found if not i.licence]
    reasons = [f"the licence of '{name}' is not known: say it with --licence '{name}=...'" for name in unknown]
    forbidden = [i for i in found if any(word in i.licence.lower() for word in FORBIDDEN)]
    return reasons + [f"'{i.name}' forbids it: {i.licence}" for i in forbidden]


def model_licence(found):
    """The licence that a model made of these must carry: (the hub's name for it, what it asks: list of str)."""
    base = found[0].licence
    llama = [i.licence for i in found if "llama" in i.licence.lower()]
    non_commercial = [i.name for i in found if "NC" in i.licence]
    share_alike = [i.name for i in found if "SA" in i.licence]
    asks = [f"Not for commercial use: {', '.join(non_commercial)}."] if non_commercial else []
    if share_alike:
        asks.append(f"Share alike is asked by {', '.join(share_alike)}.")
    if llama:
        asks.append(f"{llama[0]}: pass its text and notice on, and keep its acceptable use policy.")
    if llama and not non_commercial:
        return llama[0].lower().replace(" community licence", "").replace(" ", ""), asks
    if non_commercial and not llama:
        return "cc-by-nc-sa-4.0" if share_alike else "cc-by-nc-4.0", asks
    return HUB_NAMES.get(base.split(",")[0], "other"), asks
