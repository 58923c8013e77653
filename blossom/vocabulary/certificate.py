"""The certificate of a merge: what was merged, and what the checks of the saved files found."""

from collections import Counter
from itertools import chain, islice, product
from operator import ne
from pathlib import Path

from transformers import AutoConfig

from blossom.common import pages, paths
from blossom.vocabulary import encoding, loading, pieces, spelling

FILE = "certificate.json"
DIFFERS, NORMALISES = "lines that differ from SentencePiece", "lines that SentencePiece normalises differently"


def certify_merge(merged, folder, texts, scripts, policy, details, inputs=()):
    """Check a merged tokenizer as it is saved in a folder (and the model, where there is a config.json).

    texts            dict name -> lines to encode, each counted by itself. Where a name has "english", lines with letters of
                     `scripts` are left out and ids must not change, unless `scripts` has Latin or is empty (all scripts)
    policy           of `merge_vocab`; "keep" allows unreachable pieces
    details, inputs  a dict to copy in, and the files that the vocabulary was made from, to hash
    return           dict: `holds`, `checks` (what each found), `metrics` of stage 02, ...
    """
    base, folder = merged.base, Path(folder)
    if quoted := [s for s in scripts if not pieces.script_pattern([s]).search("a")]:  # English may quote a Korean word
        english, found = [name for name in texts if "english" in name], pieces.script_pattern(quoted).search
        texts = texts | {name: [line for line in texts[name] if not found(line)] for name in english}
    tokenizer = loading.load_tokenizer(folder)
    texts = texts | {"random_text": encoding.make_test_lines(500)}
    encoders = base.tokenizer, tokenizer
    before, after = ({t: encoding.encode_lines(e, ls, itself=True) for t, ls in texts.items()} for e in encoders)
    lines, encoded = (list(chain.from_iterable(found.values())) for found in (texts, after))
    vocabulary, new = tokenizer.get_vocab(), merged.pieces
    unreachable = find_unmade_pieces(base, tokenizer, new)
    config = paths.read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    rows = AutoConfig.for_model(**config).get_text_config().vocab_size if config else None
    found = {
        "ids of the base that moved": sum(vocabulary.get(t) != i for t, i in base.tokenizer.get_vocab().items()),
        "duplicate or empty pieces": len(new) - len(set(new) - {""}),
        "new ids that are not consecutive": sum(vocabulary.get(p) != base.size + i for i, p in enumerate(new)),
        "round trip failures": sum(map(ne, tokenizer.backend_tokenizer.decode_batch(encoded), _clean(base, lines))),
        **_compare_sentencepiece(folder, tokenizer, lines, encoded),
        "rows missing in the model": max(0, len(vocabulary) - rows) if rows else 0,
        "unreachable pieces": len(unreachable),
        "English lines whose ids changed": sum(sum(map(ne, before[t], after[t])) for t in texts if "english" in t),
    }
    reported = {NORMALISES}  # the base's own character map: not refused
    reported |= {"unreachable pieces"} if policy == "keep" else set()
    reported |= {"English lines whose ids changed"} if not scripts or len(quoted) < len(scripts) else set()
    holds = not any(count for name, count in found.items() if name not in reported)
    metrics = {"base_vocabulary": base.size, "added": len(new), "on_the_way": len(merged.on_the_way)}
    metrics |= {"dropped": len(merged.dropped), "vocabulary": len(vocabulary), "unreachable": len(unreachable)}
    metrics |= {"english_lines_changed": found["English lines whose ids changed"], "certificate_holds": holds}
    metrics |= {"round_trip_failures": found["round trip failures"], "slow_fast_differences": found.get(DIFFERS, 0)}
    for when, encoder, ids in (("before", base.tokenizer, before), ("after", tokenizer, after)):
        parts = spelling.fallback_ids(encoder)
        for text in texts:
            used = Counter(chain.from_iterable(ids[text]))
            share = sum(used[i] for i in parts) / max(1, used.total())
            metrics |= {f"{text}_tokens_{when}": used.total(), f"{text}_fallback_{when}": share}
    hashed = {Path(path).name: paths.hash_path(path) for path in inputs}
    return {"holds": holds, "base": base.name, "kind": base.kind, "rows": rows, "quoted": quoted} | {
        "checks": {name: {"found": count, "refuses": name not in reported} for name, count in found.items()},
        "lines": {name.replace("_", " "): len(lines) for name, lines in texts.items()},
        "metrics": metrics,
        "unreachable": [base.bytes(p).decode(errors="replace") for p in unreachable[:50]],
        **details,
        "sha256": {"inputs": hashed, "outputs": {f.name: paths.hash_path(f) for f in sorted(folder.glob("tokenizer*"))}},
    }


def find_unmade_pieces(base, tokenizer, new):
    """The new pieces that the tokenizer makes neither from their own text nor from a character that they are part of."""
    ids = tokenizer.get_vocab()
    texts = [(piece, text) for piece in new for text in _texts_with(base, piece)]
    if base.kind == "sentencepiece":  # by the model alone, which puts no space before a text
        encode = tokenizer.backend_tokenizer.model.tokenize
        encoded = [[token.id for token in encode(base.piece(text))] for _, text in texts]
    else:
        encoded = encoding.encode_lines(tokenizer, [text for _, text in texts], itself=True)
    made = set()
    for (piece, _), found in zip(texts, encoded, strict=True):
        if found == [ids[piece]] or (ids[piece] in found and not spelling.is_whole(base.bytes(piece))):
            made.add(piece)
    return [piece for piece in new if piece not in made]


def _texts_with(base, piece):
    """Texts that contain a piece: its own text, or, for part of a character, up to 4,096 characters that contain it."""
    for length in range(4):
        tails = islice(product(range(0x80, 0xC0), repeat=length), 4096)
        candidates = [base.bytes(piece) + bytes(tail) for tail in tails]
        if texts := [data.decode() for data in candidates if spelling.is_whole(data)]:
            return texts
    raise ValueError(f"{piece!r} is part of no character")


def _clean(base, lines):
    normalizer = base.tokenizer.backend_tokenizer.normalizer
    cleaned = [normalizer.normalize_str(line) for line in lines] if normalizer else lines
    if base.kind == "byte-level":
        return cleaned
    prefix = base.proto.normalizer_spec.add_dummy_prefix
    return [(line[1:] if prefix else line).replace("▁", " ") for line in cleaned]


def _compare_sentencepiece(folder, tokenizer, lines, ids):
    """Lines with other ids than SentencePiece's, and lines that it normalises otherwise, with rare combining marks."""
    if not (folder / "tokenizer.model").exists():
        return {}  # a byte-level base
    from sentencepiece import SentencePieceProcessor

    slow = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    normalize = tokenizer.backend_tokenizer.normalizer.normalize_str
    apart = [slow.normalize(line) != normalize(line) for line in lines]
    merged = sum(a != b and not other for a, b, other in zip(slow.encode(lines), ids, apart, strict=True))
    return {DIFFERS: merged, NORMALISES: sum(apart)}


def render_certificate(certificate):
    return pages.Markup(pages.fill_template(Path(__file__).with_suffix(".html"), c=certificate))


def save_certificate(certificate, folder):
    paths.write_json(Path(folder) / FILE, certificate)
    paths.write_text(Path(folder) / "certificate.html", render_certificate(certificate))


def check_certificate(model_folder):
    """Read the certificate in or beside a stage's `model/`; ValueError if it is missing, failed or of another tokenizer."""
    folder = Path(model_folder)
    found = [f for f in (folder / FILE, folder.parent / FILE) if f.exists()]
    if not found:
        raise ValueError(f"{folder}: no {FILE} beside the model; run notebook 02, which makes it")
    certificate = paths.read_json(found[0], {"holds": bool, "checks": dict[str, dict], "sha256": dict[str, dict]})
    if not certificate["holds"]:
        broken = ", ".join(f"{n}: {c['found']}" for n, c in certificate["checks"].items() if c["found"] and c["refuses"])
        raise ValueError(f"{found[0]}: the vocabulary fails its checks ({broken}); merge again with other parameters")
    if paths.hash_path(folder / "tokenizer.json") != certificate["sha256"].get("outputs", {}).get("tokenizer.json"):
        raise ValueError(f"{folder}: its tokenizer.json is not the one that {found[0]} certifies; run notebook 02 again")
    return certificate
