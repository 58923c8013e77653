"""Bits per byte of every document of a run's texts, and whether the model's states find a document's translation."""

from contextlib import ExitStack, contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from blossom.models import bits, loading
from blossom.text.corpus import check_script, draw_evenly, read_documents

DISTRACTORS = 31  # documents among which a translation has to be found, besides itself: chance is 1 in 32


def draw_texts(p, corpus):
    """`p.documents` documents of each of a corpus's four texts, and of general Korean in English: (name -> lines, lines).

    The English is [] when `p.parallel_english` is empty, or the documents too few for DISTRACTORS. ValueError when it is no
    translation of general Korean, by its letters and by the number and lengths of its documents.
    """
    english, korean = list(read_documents(p.parallel_english)) if p.parallel_english else [], corpus.general_korean
    if english and min(len(korean), p.documents or len(korean)) <= DISTRACTORS:
        print(f"note: finding translations is left out: it needs {DISTRACTORS + 1} documents (documents, general_korean)")
        english = []
    if english:
        check_script(p, "parallel_english", english, "english_texts", corpus.heldout_english)
        lengths = [[len(line) for line in lines] for lines in (english, korean)]
        if len(english) != len(korean) or not spearmanr(*lengths, alternative="greater").pvalue < 0.01:
            told = f"{len(english)} documents, general_korean {p.general_korean} has {len(korean)}; expected one translation"
            told = f"parallel_english: {p.parallel_english} has {told} a document, longer where the document is longer"
            raise ValueError(f"{told}: give its translation, or an empty text to leave retrieval out")
    texts = {name: draw_evenly(lines, p.documents, p.seed) for name, lines in corpus.heldout().items()}
    return texts, draw_evenly(english, p.documents, p.seed)


def measure_texts(model, tokenizer, texts, english=()):
    """Items of a model: one a document of {name: lines}, and one a document of general Korean and its translation.

    english  texts["general_korean"], translated: each document is looked for by the other among DISTRACTORS
    return   [{"task", "item", "nats", "bytes"}], then [{"task", "id", "acc", "rank" (1 is best)}]
    """
    items, states = [], {}
    with float32_residual(model):
        for name, lines in {**texts, "translated": english}.items():
            if not lines:
                continue
            with middle_states(model, lines) as (states[name], keep):
                nats = bits.document_nats(model, tokenizer, lines, seen=keep).tolist()
            sizes = [len(line.encode()) for line in lines]
            rows = enumerate(zip(nats, sizes, strict=True))
            items += [{"task": name, "item": n, "nats": own, "bytes": size} for n, (own, size) in rows if name in texts]
    if english:
        likeness = compare_states(states["general_korean"], states["translated"])
        for task, found in (("retrieve_english", likeness), ("retrieve_korean", likeness.T)):
            ranks = enumerate(rank_translations(found))
            items += [{"task": task, "id": str(n), "acc": float(rank == 1), "rank": rank} for n, rank in ranks]
    return items


@contextmanager
def float32_residual(model):
    """A model in half precision adds up its layers' outputs in float32, as training does; its products stay in half.

    Sums in bfloat16 raise bits per byte by up to 1 %, by different amounts for a model and its base.
    Models whose code does not take it (Doge) are left as they are.
    """
    with ExitStack() as stack, torch.no_grad():
        if (dtype := model.dtype) != torch.float32:
            stack.enter_context(torch.autocast(model.device.type, dtype))
            stack.callback(model.get_input_embeddings().register_forward_hook(lambda _, __, out: out.float()).remove)
            for norm in [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm)]:
                if norm.weight is not None and norm.weight.dtype == dtype:
                    stack.callback(norm.float().to, dtype)
            try:
                model(input_ids=torch.arange(2, device=model.device)[None], use_cache=False)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                stack.close()
        yield


@contextmanager
def middle_states(model, lines):
    """(N, D) mean states of lines behind the layer at three fifths of the depth, filled by `keep` during `document_nats`."""
    layers, caught = loading.find_layers(model), []
    found, counts = torch.zeros(len(lines), model.config.get_text_config().hidden_size), torch.zeros(len(lines), 1)
    layer = layers[3 * len(layers) // 5 - 1]
    hook = layer.register_forward_hook(lambda _, __, out: caught.extend(out[0] if isinstance(out, tuple | list) else out))

    def keep(numbers, read):
        for n, own in reversed([*zip(numbers, read, strict=True)]):  # a pass may read its rows one by one
            states = caught.pop()
            # the first token's state is large and the same for every document
            states = states[1:][own[1:].to(states.device)].float().flatten(0, -2)
            found[n], counts[n] = found[n] + states.sum(0).cpu(), counts[n] + len(states)  # of a line in pieces: of all

    try:
        yield found, keep
    finally:
        hook.remove()
        found /= counts.clamp(min=1)


def compare_states(one, other):
    """(N, N) cosines of two languages' mean states, each less its language's mean."""
    one, other = (F.normalize(states - states.mean(0), dim=-1) for states in (one, other))
    return one @ other.T


def rank_translations(likeness, distractors=DISTRACTORS, seed=0):
    """The rank of each row's own column among it and `distractors` others, drawn with `seed`; likeness (N, N)."""
    rng, numbers = np.random.default_rng(seed), np.arange(len(likeness))
    for n, row in enumerate(likeness.tolist()):
        others = rng.permutation(numbers[numbers != n])[:distractors]
        yield 1 + sum(row[m] >= row[n] for m in others)
