"""Fetch what the runs of a scale read, for nodes without a network: python -m blossom.assets prefetch --scale laptop-hub"""

import argparse
import sys

from blossom.assets.registry import REGISTRY, fetch_asset, fetch_url
from blossom.benchmark.evaluation import read_comparators
from blossom.benchmark.rows import find_hub_source
from blossom.benchmark.suite import expand_tasks
from blossom.common import params, paths, shell
from blossom.text.hub import fetch_hub_set

WHOLE = ("base_model", "beside", "compare_with", "more_models")  # parameters that name models whose weights are read
TOKENIZERS = ("donor", "tokenizers")


def list_sources(scale, recipes):
    """{what is fetched (asset, hub id, "hub:..." set or address): whether its weights are too} for the stages of recipes."""
    found, comparators = {}, read_comparators()
    for recipe in dict.fromkeys(r.name for name in recipes for r in params.recipe_lineage(name)):
        for stage in params.read_recipe(recipe).stages:
            p = params.effective_params(stage, scale, recipe)
            if getattr(p, "benchmarks", "") == "hub":
                tasks = expand_tasks([*p.tasks, *p.probes])
                splits = (False, True) if p.shots else (False,)
                found |= dict.fromkeys(filter(None, (find_hub_source(t, split) for t in tasks for split in splits)), False)
            if getattr(p, "paper_merge", "") == "yes":
                found |= {"llama2-tokenizer": False, "kobert": False}
            for parameter, value in vars(p).items():
                for name in value if isinstance(value, list) else [value]:
                    name = comparators[name]["hub"] if parameter == "beside" and name in comparators else name
                    if _is_fetched(parameter, name):
                        found[name] = found.get(name, False) or parameter in WHOLE
    return found


def _is_fetched(parameter, name):
    if not isinstance(name, str):
        return False
    is_id = parameter in WHOLE + TOKENIZERS and name.count("/") == 1 and not (paths.ROOT / name).exists()
    return is_id or name in REGISTRY or name.startswith("hub:")


def fetch_source(name, weights):
    """The path of what `list_sources` names; ValueError or RuntimeError when it cannot be fetched."""
    if name.startswith("hub:"):
        return fetch_hub_set(name)
    return fetch_url(name) if name.startswith("https://") else fetch_asset(name, weights)


def main(words=None):
    parser = argparse.ArgumentParser(prog="python -m blossom.assets", description=__doc__)
    parser.add_argument("command", choices=["prefetch"])
    parser.add_argument("--scale", required=True, help="a file in params/scales")
    parser.add_argument(
        "--recipe", action="append", help="a file in params/recipes, may be repeated; else those of the report"
    )
    given = parser.parse_args(words)
    recipes, failed, total = given.recipe or params.effective_params("07_report", given.scale, "report").recipes, [], 0
    for name, weights in list_sources(given.scale, recipes).items():
        try:
            path = fetch_source(name, weights)
        except (ValueError, RuntimeError) as error:
            failed.append(name)
            print(f"  not fetched  {name}: {error}")
            continue
        size = sum(f.stat().st_size for f in ([path] if path.is_file() else path.rglob("*")) if f.is_file())
        total += size
        print(f"{size / 1e6:10,.1f} MB  {name}")
        sys.stdout.flush()
    print(f"{total / 1e6:10,.1f} MB  in all" + (f"; not fetched: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    shell.run(main)
