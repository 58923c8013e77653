"""The certificate: what was merged, and proof that the result is what it should be, measured on the saved files."""

import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from blossom.common import paths
from blossom.vocabulary.encoding import encode_lines, make_test_lines
from blossom.vocabulary.loading import load_tokenizer
from blossom.vocabulary.pieces import texts_with_piece
from blossom.vocabulary.spelling import fallback_ids

FILE = "certificate.json"
WHEN = ("before", "after")
PAGES = Path(__file__).parent


def certify_merge(merged, folder, korean, english, scripts, policy, details, inputs=()):
    """Measure a merged tokenizer as it lies in a folder.

    merged           of `merge_vocab` or `select_pieces`
    folder           a saved tokenizer (and model, when there is a config.json)
    korean, english  lines to spell: of the new script, and of what must not change
    scripts          the scripts that were added; English must keep its ids unless Latin or every script was taken
    policy           "add", "drop" or "keep": with "keep" unreachable pieces are counted, not refused
    details          JSON-able dict that is copied in (donor, removed pieces, ...)
    inputs           files or folders it was made from
    return           dict; `holds` is true when every check does, `checks` says which does not
    """
    base, folder = merged.base, Path(folder)
    tokenizer = load_tokenizer(folder)
    lines = [*korean, *english, *make_test_lines(500)]
    before, after = (encode_lines(t, lines, itself=True) for t in (base.tokenizer, tokenizer))
    ko, en = slice(0, len(korean)), slice(len(korean), len(korean) + len(english))
    vocabulary = tokenizer.get_vocab()
    merged_apart, cleaned_apart = _differences(folder, tokenizer, lines, after)
    unreachable = find_unmade_pieces(base, tokenizer, merged.pieces)
    keeps_english = bool(scripts) and "Latin" not in scripts
    counts = {
        "ids of the base that moved": sum(vocabulary.get(t) != i for t, i in base.tokenizer.get_vocab().items()),
        "pieces twice or empty": len(merged.pieces) - len(set(merged.pieces) - {""}),
        "ids that do not follow on": sum(vocabulary.get(p) != base.size + i for i, p in enumerate(merged.pieces)),
        "round trip failures": sum(map(_differs, tokenizer.backend_tokenizer.decode_batch(after), _clean(base, lines))),
        "lines that differ from SentencePiece": merged_apart,
        "lines that SentencePiece cleans up otherwise": cleaned_apart,
        "rows missing in the model": max(0, len(vocabulary) - rows(folder)) if rows(folder) else 0,
        "unreachable pieces": len(unreachable),
        "English lines whose ids changed": sum(map(_differs, before[en], after[en])),
    }
    informs = {"unreachable pieces": policy == "keep", "English lines whose ids changed": not keeps_english}
    informs["lines that SentencePiece cleans up otherwise"] = True  # the base's own character map, not the merge
    checks = {name: {"found": n, "refuses": not informs.get(name, False)} for name, n in counts.items()}
    return {
        "holds": not any(check["found"] and check["refuses"] for check in checks.values()),
        "base": base.name,
        "kind": base.kind,
        "sizes": sizes(merged, len(vocabulary), folder),
        "checks": checks,
        "lines": {"korean": len(korean), "english": len(english), "made up": 500},
        "korean": _compared(base.tokenizer, tokenizer, before[ko], after[ko], korean),
        "english": _compared(base.tokenizer, tokenizer, before[en], after[en], english),
        "unreachable": [base.bytes(p).decode(errors="replace") for p in unreachable[:50]],
        **details,
        "sha256": {
            "inputs": {Path(path).name: paths.hash_path(path) for path in inputs},
            "outputs": {f.name: paths.hash_path(f) for f in sorted(folder.glob("tokenizer*"))},
        },
    }


def sizes(merged, vocabulary, folder):
    """The counts of a merge: base, added (of these on the way), whole vocabulary, rows of the model and padding rows."""
    table = rows(folder)
    return {
        "base": merged.base.size,
        "added": len(merged.pieces),
        "added on the way": len(merged.on_the_way),
        "dropped": len(merged.dropped),
        "vocabulary": vocabulary,
        "rows": table,
        "padding rows": table - vocabulary if table else None,
    }


def rows(folder):
    """Embedding rows that the folder's config.json names; None when it holds a tokenizer alone."""
    config = Path(folder) / "config.json"
    return paths.read_json(config)["vocab_size"] if config.exists() else None


def find_unmade_pieces(base, tokenizer, new_pieces):
    """The new pieces that no text becomes, asked of the saved tokenizer itself.

    Each piece's own text is spelled; a part of a character is looked for in the characters it begins.
    """
    ids = tokenizer.get_vocab()
    texts = [(piece, text) for piece in new_pieces for text in texts_with_piece(base, piece)]
    if base.kind == "sentencepiece":  # without the space that it puts before a text
        model = tokenizer.backend_tokenizer.model
        made = {piece for piece, text in texts if [t.id for t in model.tokenize(base.piece(text))] == [ids[piece]]}
    else:
        spelled = encode_lines(tokenizer, [text for _, text in texts], itself=True)
        made = {
            piece
            for (piece, _), found in zip(texts, spelled, strict=True)
            if (found == [ids[piece]] if base.is_whole(piece) else ids[piece] in found)
        }
    return [piece for piece in new_pieces if piece not in made]


def _differs(a, b):
    return a != b


def _clean(base, lines):
    """The lines as they should come back: after the base's own clean-up."""
    backend = base.tokenizer.backend_tokenizer
    if not backend.normalizer:
        return lines
    cleaned = [backend.normalizer.normalize_str(line) for line in lines]
    if base.kind == "byte-level":
        return cleaned
    prefix = base.proto.normalizer_spec.add_dummy_prefix
    return [(line[1:] if prefix else line).replace("▁", " ") for line in cleaned]


def _differences(folder, tokenizer, lines, ids):
    """(lines that SentencePiece merges otherwise than the fast tokenizer, lines that it cleans up otherwise before).

    Both are 0 when there is no tokenizer.model. Llama's and Mistral's models have no character map, so nothing differs;
    models trained with SentencePiece's default map (NFKC) do, on rare combining characters.
    """
    if not (folder / "tokenizer.model").exists():
        return 0, 0
    from sentencepiece import SentencePieceProcessor

    slow = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    clean = tokenizer.backend_tokenizer.normalizer.normalize_str
    apart = [slow.normalize(line) != clean(line) for line in lines]
    merged = sum(a != b and not other for a, b, other in zip(slow.encode(lines), ids, apart, strict=True))
    return merged, sum(apart)


def _compared(base, tokenizer, before, after, lines):
    """Tokens and byte fallback of some lines, before and after."""

    def share(tokenizer, ids):
        part = fallback_ids(tokenizer)
        return sum(i in part for line in ids for i in line) / max(1, sum(map(len, ids)))

    return {
        "characters": sum(map(len, lines)),
        "tokens before": sum(map(len, before)),
        "tokens after": sum(map(len, after)),
        "byte fallback before": share(base, before),
        "byte fallback after": share(tokenizer, after),
    }


def certificate_metrics(certificate):
    """What stage 02 records of a certificate in its metrics.json: flat counts."""
    found = {name: check["found"] for name, check in certificate["checks"].items()}
    sizes, korean, english = (certificate[key] for key in ("sizes", "korean", "english"))
    return {
        "base_vocabulary": sizes["base"],
        "added": sizes["added"],
        "on_the_way": sizes["added on the way"],
        "dropped": sizes["dropped"],
        "vocabulary": sizes["vocabulary"],
        "unreachable": found["unreachable pieces"],
        "english_lines_changed": found["English lines whose ids changed"],
        "round_trip_failures": found["round trip failures"],
        "slow_fast_differences": found["lines that differ from SentencePiece"],
        **{
            f"{name}_tokens_{when}": c[f"tokens {when}"]
            for name, c in (("korean", korean), ("english", english))
            for when in WHEN
        },
        **{f"{name}_fallback_{when}": c[f"byte fallback {when}"] for name, c in (("korean", korean),) for when in WHEN},
        "certificate_holds": certificate["holds"],
    }


def render_certificate(certificate):
    """The certificate as a page of HTML that needs no other file."""
    template = Environment(loader=FileSystemLoader(PAGES), autoescape=True).get_template("certificate.html")
    return template.render(c=certificate)


def save_certificate(certificate, folder):
    """Write the certificate into a folder, for programs and for browsers: certificate.json, certificate.html."""
    paths.write_json(Path(folder) / FILE, certificate)
    paths.write_text(Path(folder) / "certificate.html", render_certificate(certificate))


def check_certificate(model_folder):
    """Raise ValueError unless the model's tokenizer is the one its certificate is for, and that certificate holds.

    model_folder  a stage's `model/`; its certificate lies inside it or beside it. Returns the certificate
    """
    folder = Path(model_folder)
    found = [f for f in (folder / FILE, folder.parent / FILE) if f.exists()]
    if not found:
        raise ValueError(f"{folder}: no {FILE} beside the model; run notebook 02, which makes it")
    certificate = paths.read_json(found[0])
    if not certificate["holds"]:
        broken = ", ".join(f"{n}: {c['found']}" for n, c in certificate["checks"].items() if c["found"] and c["refuses"])
        raise ValueError(f"{found[0]}: the vocabulary fails its checks ({broken}); merge again with other parameters")
    expected = certificate["sha256"]["outputs"]["tokenizer.json"]
    if hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest() != expected:
        raise ValueError(f"{folder}: its tokenizer.json is not the one that {found[0]} certifies; run notebook 02 again")
    return certificate
