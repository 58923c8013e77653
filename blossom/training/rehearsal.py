"""Text that a model writes itself, to be read again while it learns something else.

What a small corpus does not contain is forgotten: a model that reads interface strings for an hour expects nothing else.
Its own samples are the natural counterweight. At the weights that wrote them their expected gradient is zero, so they pull
only against what has changed, and no corpus of its pretraining has to be at hand (Robins 1995, "pseudorehearsal").
"""

import hashlib
import json

import torch

from blossom import assets, models, paths

VERSION = 1


def rehearse(name, tokens, seed=0, length=128, batch=128):
    """Texts sampled from a model at temperature 1, from a document's start: list of str, one a document.

    name    folder, asset or hub id of the model
    tokens  how many to sample, about; 0 gives []
    length  longest text, tokens;  batch  texts sampled together

    The same request is found in the cache. Texts that broke off inside a character are cut before it.
    """
    if not tokens:
        return []
    model, tokenizer = models.load(name, models.dtype())
    asked = [VERSION, models.describe(model, tokenizer)["tokenizer_sha256"], _digest(model), tokens, seed, length, batch]
    target = assets.cache_folder() / "rehearsal" / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.json"
    if not target.exists():
        paths.write_json(target, _sample(model, tokenizer, tokens, seed, length, batch))
    return paths.read_json(target)


def _digest(model):
    """Enough of a model to tell it from another: sums of its parameters."""
    return [round(p.detach().float().sum().item(), 3) for p in model.parameters()][:40]


def _sample(model, tokenizer, tokens, seed, length, batch):
    start, texts, made = models.start_token(tokenizer), [], 0
    ends = {start, tokenizer.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        while made < tokens:
            prompt = torch.full((batch, 1), start, device=model.device)
            out = model.generate(
                prompt, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=length,
                eos_token_id=sorted(ends), pad_token_id=start, attention_mask=torch.ones_like(prompt),
            )  # fmt: skip
            for row in out[:, 1:].tolist():
                size = next((i for i, id in enumerate(row) if id in ends), len(row))
                text = tokenizer.decode(row[:size], skip_special_tokens=True).split("\ufffd")[0].strip()
                if size >= 8 and text:
                    texts.append(text)
                    made += size
    return texts
