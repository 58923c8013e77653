"""English conversations to Korean drafts; every reply is kept, nothing is paid for twice.

translator = translators.ServedTranslator("gpt-4o", "https://api.openai.com/v1")        # any OpenAI-compatible server
translator = translators.LocalTranslator("Helsinki-NLP/opus-mt-tc-big-en-ko")           # a translation model on this machine
drafts = translating.translate(examples, translator, "replies.jsonl", requests=200)

The paper (B, 4.1) translates English LIMA by machine first and has people rework every row (see `review`).
"""

import hashlib
import json
import os
import re
import threading
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import filelock

from blossom.instructions.drafts import Draft, example_fields
from blossom.instructions.translators import Refused, Stopped


class Replies:
    """Every reply ever received, one JSON line each, on disk the moment it arrives.

    The file only grows; a line that a crash left half-written is dropped at the next opening. Raises ValueError naming a
    line that is broken elsewhere, RuntimeError when another run has the file open.
    """

    def __init__(self, path):
        self.path, self._writing = Path(path), threading.Lock()
        self.found = {reply["key"]: reply for reply in self._lines()}

    def _lines(self):
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        for n, line in enumerate(lines, 1):
            try:
                reply = json.loads(line) if line.strip() else None
                if reply and not {"key", "text", "cut"} <= reply.keys():
                    raise ValueError("no reply")
            except ValueError as error:
                if n == len(lines):  # no newline after it: written by a run that was killed at this very line
                    continue
                raise ValueError(
                    f"{self.path}, line {n}: no stored reply ({error}); move the file away or mend it"
                ) from None
            if reply:
                yield reply

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RuntimeError(f"{self.path}: another run is translating into it; wait for it to end") from None
        self.found = {reply["key"]: reply for reply in self._lines()}  # what another run added before the lock
        whole = self.path.read_bytes() if self.path.exists() else b""
        self._stream = open(self.path, "r+b" if whole else "wb")
        self._stream.seek(whole.rfind(b"\n") + 1)
        self._stream.truncate()
        return self

    def keep(self, reply):
        """Append one reply (dict with key, text, cut) and see it on the disk."""
        with self._writing:
            self._stream.write(json.dumps(reply, ensure_ascii=False).encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self.found[reply["key"]] = reply

    def __exit__(self, *_):
        self._stream.close()
        self._lock.release()


@dataclass(frozen=True)
class _Job:
    key: str
    id: str
    field: str
    text: str
    context: str


def plan_translation(examples, translator, store):
    """What a translation takes, before anything is sent.

    return  dict: rows, texts (fields that hold something), kept (replies already in `store`), requests (still to send),
            characters (English, of the requests), context_characters (sent along with them)
    """
    return _plan(examples, _jobs(examples, translator), Replies(store).found)


def _plan(examples, jobs, found):
    missing = {job.key: job for job in jobs if job.key not in found}.values()
    return {
        "rows": len(examples),
        "texts": len(jobs),
        "kept": sum(job.key in found for job in jobs),
        "requests": len(missing),
        "characters": sum(len(job.text) for job in missing),
        "context_characters": sum(len(job.context) for job in missing),
    }


def translate_examples(examples, translator, store, requests):
    """Drafts of English examples: what `store` has is used, the rest is asked for, at most `requests` times.

    examples    list of Example
    translator  a translators.ServedTranslator or Local
    store       .jsonl file of replies, made when missing; a reply belongs to a text, its context and the settings
    requests    most requests to send in this call; 0 sends none and shows what is there
    return      list of Draft, one an example; Korean fields without a reply are ""

    Prints the plan before the first request. When the service fails, requests under way are waited for and kept, then
    RuntimeError says how far it came; the next call continues there. A text that the service refuses is left empty and
    reported, unless the first five are all refused: then the settings are wrong and it stops.
    Raises ValueError for negative `requests` and for two examples of one id.
    """
    if requests < 0:
        raise ValueError(f"requests: expected at least 0, found {requests}")
    jobs = _jobs(examples, translator)
    with Replies(store) as replies:
        ahead = _plan(examples, jobs, replies.found)
        todo = list({job.key: job for job in jobs if job.key not in replies.found}.values())[:requests]
        print(
            f"{translator.name}: {ahead['rows']:,} rows, {ahead['texts']:,} texts; {ahead['kept']:,} are in {store}, "
            f"{ahead['requests']:,} to request ({ahead['characters']:,} characters + {ahead['context_characters']:,} of "
            f"context); sending {len(todo):,} now"
        )
        refused, problem = _send(todo, translator, replies)
        found = replies.found
    sent = sum(job.key in found for job in todo)
    if problem:
        raise RuntimeError(
            f"{translator.name}: stopped after {sent:,} of {len(todo):,} requests; their replies are in {store}, "
            f"the next call continues there. {problem}"
        )
    for job, reason in refused:
        print(f"  {job.id}, {job.field}: refused, left empty ({reason})")
    left = sum(job.key not in found for job in jobs)
    if left:
        print(f"  {left:,} texts have no translation yet: call again")
    return _drafts(examples, jobs, found)


def _jobs(examples, translator):
    twice = [name for name, n in Counter(e.id for e in examples).items() if n > 1]
    if twice:
        raise ValueError(f"examples: id {twice[0]!r} is given twice")
    settings, jobs = json.dumps(translator.settings(), sort_keys=True), []
    for example in examples:
        said = ""
        for field, text in example_fields(example).items():
            if text.strip():
                context = said[-translator.context :].strip() if translator.context else ""
                told = json.dumps([settings, text, context], ensure_ascii=False)
                jobs.append(_Job(hashlib.sha256(told.encode()).hexdigest(), example.id, field, text, context))
                said += f"{'Answer' if field.endswith(('assistant', 'output')) else 'Request'}: {text}\n"
    return jobs


def _send(jobs, translator, replies):
    """Send jobs, several at a time, each reply kept by the thread that got it; returns (refused jobs, why it stopped)."""
    refused, problem, stop = [], [], threading.Event()

    def work(job):
        if stop.is_set():
            return
        try:
            reply = translator(job.text, job.context)
        except Refused as error:
            refused.append((job, str(error)))
            if len(refused) >= 5 and not kept:
                problem.append(f"It refuses every text: {error}")
                stop.set()
        except Stopped as error:
            problem.append(str(error))
            stop.set()
        else:
            kept.append(job)
            replies.keep({"key": job.key, "id": job.id, "field": job.field, "model": translator.name, **reply})

    kept = []
    with ThreadPoolExecutor(translator.parallel) as pool:
        try:
            for future in [pool.submit(work, job) for job in jobs]:
                future.result()
        finally:
            stop.set()  # on an interrupt too: what is under way comes in and is kept, nothing more is sent
    return refused, problem[0] if problem else ""


def _drafts(examples, jobs, found):
    by_place = {(job.id, job.field): found.get(job.key) for job in jobs}
    drafts = []
    for example in examples:
        named = example_fields(example)
        replies = {field: by_place.get((example.id, field)) for field in named}
        korean = {field: _told(reply["text"]) if reply else "" for field, reply in replies.items()}
        cut = tuple(field for field, reply in replies.items() if reply and reply["cut"])
        drafts.append(Draft(example.id, example.category, named, korean, cut))
    return drafts


def _told(text):
    """The translation in a reply: without a model's thinking and without the marks it was asked between."""
    text = re.sub(r"<think>.*?(?:</think>|$)", "", text, flags=re.S).strip()
    text = re.sub(r"^<text>\s*|\s*</text>$", "", text)
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
