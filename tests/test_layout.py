"""What README and docs name is there."""

import re

import pytest

from blossom.common import paths


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/data.md", "docs/cluster.md"])
def test_what_a_page_names_is_there(page):
    def named(pattern, file=page):
        return set(re.findall(pattern, (paths.ROOT / file).read_text(encoding="utf-8"), re.M))

    assert named(r"(?:^|`|&& )make ([a-z-]+)") <= set(" ".join(named(r"^\.PHONY: (.*)", "Makefile")).split())
    modules = [m.replace(".", "/") for m in named(r"-m (blossom[\w.]*\w)")]
    files = named(r"\b(?:params|notebooks|docs|tests|blossom)/[\w./-]+\.(?:yaml|ipynb|md|py)\b")
    scales = named(r"SCALE=([\w.-]+\w)") | named(r"outputs/([\w.-]+)/(?:report|book|[\w-]+/0)")
    assert [m for m in modules if not any((paths.ROOT / f"{m}{end}").exists() for end in (".py", "/__main__.py"))] == []
    assert [f for f in [*files, *(f"params/scales/{s}.yaml" for s in scales)] if not (paths.ROOT / f).exists()] == []
