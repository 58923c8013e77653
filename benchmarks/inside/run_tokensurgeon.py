"""mergekit-tokensurgeon rows for a merged vocabulary; its donor is the checkpoint that carries the merged tokenizer."""

import json
import sys
import time
from pathlib import Path

from mergekit.scripts.tokensurgeon import main
from safetensors.torch import load_file, save_file

asked = json.loads(Path(sys.argv[1]).read_text())
out, started = Path(asked["folder"]) / "out", time.perf_counter()
words = [asked["base"], asked["merged"], str(out), "--approximation-method", asked["method"]]
main([*words, "--k", "8"], standalone_mode=False)
seconds = time.perf_counter() - started
tables = {k: v for file in out.glob("*.safetensors") for k, v in load_file(file).items() if "embed_tokens" in k}
save_file({"rows": next(iter(tables.values())).float().contiguous()}, asked["rows"])
Path(asked["result"]).write_text(json.dumps({"seconds": seconds}))
