"""Fetch what the runs of a scale read, for nodes without a network: python -m blossom.assets prefetch --scale laptop-hub"""

from blossom.assets.registry import REGISTRY, SIDES, fetch_asset, fetch_url
from blossom.benchmark import evaluation, suite
from blossom.benchmark.rows import find_hub_source
from blossom.common import params, shell, stages
from blossom.text.hub import fetch_hub_set

WHOLE = ("base_model", "beside", "compare_with", "more_models", "translator")  # these name models whose weights are read


def list_sources(scale, recipes):
    """{what is fetched (asset, hub id, "hub:..." set or address): whether its weights are too} for recipes and report."""
    found, known = {}, evaluation.read_comparators()
    named = {r.name: r.stages for name in recipes for r in params.recipe_lineage(name)} | {"report": stages.READERS}
    for recipe, own in named.items():
        for p in (params.effective_params(stage, scale, recipe) for stage in own):
            tasks = suite.expand_tasks([*p.tasks, *p.probes]) if getattr(p, "benchmarks", "") == "hub" else ()
            rows = [find_hub_source(task, training) for task in tasks for training in (False, True)[: 1 + bool(p.shots)]]
            paper = ["llama2-tokenizer", "kobert"] if getattr(p, "paper_merge", "") == "yes" else []
            for parameter, value in {**vars(p), "rows": rows, "paper": paper}.items():
                for name in filter(lambda v: isinstance(v, str), value if isinstance(value, list) else [value]):
                    name = known[name]["hub"] if parameter == "beside" and name in known else SIDES.get(name, [name])[0]
                    is_id = parameter in (*WHOLE, "donor", "tokenizers") and name.count("/") == 1
                    if is_id or name in REGISTRY or name.startswith(("hub:", "https:")) or name and parameter == "rows":
                        found[name] = found.get(name, False) or parameter in WHOLE
    return found


def run_prefetch_command(words=None):
    given = shell.read_words(__file__, words)
    recipes, failed, total = given.recipe or params.effective_params("07_report", given.scale, "report").recipes, [], 0
    for name, weights in list_sources(given.scale, recipes).items():
        try:
            is_set, is_url = (name.startswith(start) for start in ("hub:", "https:"))
            path = fetch_hub_set(name) if is_set else fetch_url(name) if is_url else fetch_asset(name, weights)
        except (ValueError, RuntimeError) as error:
            failed.append(name)
            print(f"  not fetched  {name}: {error}")
            continue
        size = sum(f.stat().st_size for f in ([path] if path.is_file() else path.rglob("*")) if f.is_file())
        total += size
        print(f"{size / 1e6:10,.1f} MB  {name}", flush=True)
    print(f"{total / 1e6:10,.1f} MB  in all" + (f"; not fetched: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    shell.run(run_prefetch_command)
