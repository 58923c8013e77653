"""Korean drafts of English examples, by a chat model on a server or a translation model on this machine (B, 4.1)."""

import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blossom.assets.registry import fetch_asset
from blossom.common import paths, runs, server
from blossom.models.loading import check_model
from blossom.text.rows import read_rows

SENTENCES = 16  # sentences that a local model translates at once
WORDS = paths.read_yaml_beside(__file__)
DRAFT = {"id": str, "category": str, "english": dict[str, str], "korean": dict[str, str], "cut": list[str]}


@dataclass(frozen=True)
class Draft:
    """An English conversation and its machine translation."""

    id: str
    category: str
    english: dict  # field -> text: "history.1.user", "history.1.assistant", ..., "instruction", "input", "output"
    korean: dict  # the same fields; "" where there is no translation
    cut: tuple = ()  # fields whose translation stopped at the length limit


def example_fields(example):
    """An example's texts as {field: text} (fields as in `Draft.english`); ValueError for a system message."""
    *earlier, asked, told = example.messages
    if earlier and earlier[0]["role"] == "system":
        raise ValueError(f"{example.where}: opens with a system message; put its text into the instruction, or drop it")
    named = {f"history.{n // 2 + 1}.{m['role']}": m["content"] for n, m in enumerate(earlier)}
    return named | {"instruction": asked["content"], "input": asked.get("input", ""), "output": told["content"]}


def read_drafts(path):
    """Read the drafts in a .jsonl file, one a line with the fields of `Draft`; ValueError names a wrong line."""
    drafts = []
    for place, row in read_rows(str(path)):
        row = paths.check_shape({"cut": [], **row}, place, DRAFT)
        if row["english"].keys() != row["korean"].keys():
            raise ValueError(f"{place}: expected Korean for {', '.join(row['english'])}, found {', '.join(row['korean'])}")
        drafts.append(Draft(**{name: row[name] for name in DRAFT} | {"cut": tuple(row["cut"])}))
    return drafts


def find_translator(name, model, folder, requests=200):
    """The translator for a `name`: the address of an OpenAI-compatible server, asked for `model`, or a local model."""
    if not name.startswith(("http://", "https://")):
        return LocalTranslator(name, folder, requests)
    return ServedTranslator(name, model, folder, requests, timeout=300.0, called="translator, translator_model")


class ServedTranslator(server.ChatServer):
    """A chat model on an OpenAI-compatible server; arguments as of `ChatServer`."""

    parallel = 4  # requests sent at once

    def ask_translation(self, text, context):
        """Make the request for the translation of `text`; `context` is the conversation before it."""
        context = context[-1500:].strip()  # characters
        before = f"The conversation so far, only to understand it:\n<before>\n{context}\n</before>\n\n" if context else ""
        told = {"role": "system", "content": WORDS["prompt"]}
        return self.make_request([told, {"role": "user", "content": f"{before}<text>\n{text}\n</text>"}], temperature=0.0)


class LocalTranslator:
    """A translation model (Marian, M2M-100, NLLB, mBART) on this machine; it gets single sentences without code."""

    parallel, gave_up = 1, False

    def __init__(self, name, folder, requests=200, new_tokens=256):
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        path = fetch_asset(name)
        check_model(path, name)
        self.store = server.ReplyStore(Path(folder) / runs.hash_unchanged(path)[:16])
        self.name, self.requests, self.sent = str(name), requests, 0
        self._tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        safe = {"use_safetensors": True, "trust_remote_code": False}
        self._model = AutoModelForSeq2SeqLM.from_pretrained(path, **safe).eval()
        self._new_tokens, self._options = new_tokens, {"num_beams": 4, "do_sample": False}
        known = self._tokenizer.get_vocab()
        for source, target in WORDS["languages"].items():
            if source in known and target in known:
                self._tokenizer.src_lang = source.strip("_")
                self._options["forced_bos_token_id"] = known[target]
        self._prefix = ">>kor<< " if ">>kor<<" in known else ""  # a Marian model of several target languages

    def ask_translation(self, text, context):
        """Make the request for the translation of `text`; the context is not used."""
        return {"model": self.name, **self._options, "new_tokens": self._new_tokens, "text": text}

    def stored_reply(self, request):
        """The stored translation of a request, or None."""
        return (self.store.get(request) or {}).get("reply")

    def fetch(self, request):
        """The translation, stored or new: {"reply", "cut"}; None once `requests` texts were translated."""
        found = self.store.get(request)
        if found is None and self.sent < self.requests:
            self.sent += 1
            found = self._translate(request["text"])
            self.store.put(request, **found)
        return found

    def _translate(self, text):
        parts, cut = _split_sentences(text), False
        prose = [n for n, (_, is_prose) in enumerate(parts) if is_prose]
        for start in range(0, len(prose), SENTENCES):
            chosen = prose[start : start + SENTENCES]
            lines = [self._prefix + parts[n][0] for n in chosen]
            ids = self._tokenizer(lines, return_tensors="pt", padding=True, truncation=True).to(self._model.device)
            cut |= max(map(len, self._tokenizer(lines).input_ids)) > ids.input_ids.shape[1]
            ids.pop("token_type_ids", None)
            out = self._model.generate(**ids, **self._options, max_new_tokens=self._new_tokens)
            cut |= bool((out[:, 1:] != self._tokenizer.pad_token_id).sum(1).max() >= self._new_tokens)
            for n, told in zip(chosen, self._tokenizer.batch_decode(out, skip_special_tokens=True), strict=True):
                parts[n] = (told.strip(), True)
        return {"reply": "".join(part for part, _ in parts), "cut": cut}


def _split_sentences(text):
    """Split a text into (piece, is it prose) pairs that join to it; code blocks, list markers and spaces are not prose."""
    parts, fenced = [], False
    for line in text.splitlines(keepends=True):
        fence = line.lstrip().startswith(("```", "~~~"))
        if fenced or fence:
            parts.append((line, False))
            fenced ^= fence
            continue
        marker = re.match(r"\s*(?:(?:[-*+•>]|\d+[.)]|#{1,6})\s+)*", line)[0]
        parts.append((marker, False))
        for sentence, space in re.findall(r"(\S.*?(?:(?<=[.!?])(?=\s)|$))(\s*)", line[len(marker) :], re.S):
            parts += [(sentence, any(c.isalpha() for c in sentence)), (space, False)]
    return [part for part in parts if part[0]]


def translate_examples(examples, translator):
    """Translate English examples to a list of Draft, in which a field is "" while its text has no translation.

    Raises RuntimeError when the server fails or another run translates into the same folder.
    """
    asked = {}  # (id, field) -> request
    for example in examples:
        said = ""
        for field, text in example_fields(example).items():
            if text.strip():
                asked[example.id, field] = translator.ask_translation(text, said)
                said += f"{'Answer' if field.endswith(('assistant', 'output')) else 'Request'}: {text}\n"
    requests, folder = {str(request): request for request in asked.values()}, translator.store.folder
    new = sum(translator.stored_reply(request) is None for request in requests.values())
    print(f"{translator.name}: {len(asked):,} texts, {new:,} requests to send, at most {translator.requests:,} in this run")
    folder.mkdir(parents=True, exist_ok=True)
    lock = runs.take_lock(folder / ".lock", f"{folder}: another run is translating into it; wait for it to end")
    with lock, ThreadPoolExecutor(translator.parallel) as pool:
        replies = dict(zip(requests, pool.map(translator.fetch, requests.values()), strict=True))
    left = sum(reply is None for reply in replies.values())
    if translator.gave_up:
        told = f"{translator.name}: stopped after {new - left:,} of {new:,} requests; their replies are in {folder}"
        raise RuntimeError(f"{told}, the next call continues there. {translator.last_error}")
    if left:
        print(f"  texts without a translation: {left:,}; the next call asks for them again")
    if cut := sum(bool(reply and reply.get("cut")) for reply in replies.values()):
        print(f"  {cut:,} translations were cut off at the limit of tokens; they are marked for the reviewers")
    drafts = []
    for example in examples:
        english = example_fields(example)
        told = {field: replies.get(str(asked.get((example.id, field)))) or {"reply": ""} for field in english}
        korean = {field: _clean_reply(reply["reply"]) for field, reply in told.items()}
        cut = tuple(field for field, reply in told.items() if reply.get("cut"))
        drafts.append(Draft(example.id, example.category, english, korean, cut))
    return drafts


def _clean_reply(text):
    return unicodedata.normalize("NFC", re.sub(r"^<text>\s*|\s*</text>$", "", text.strip()).replace("\r\n", "\n")).strip()
