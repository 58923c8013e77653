"""Prompt templates (Jinja): one rendering for training and for answering, so that both see the same prompt.

An answer's tokens do not depend on its prompt, and text of a user never becomes a special token ("</s>" is four characters).
"""

import re
from pathlib import Path

from blossom.vocabulary.encoding import encode_lines

FOLDER = Path(__file__).with_name("chat_templates")
TEMPLATES = {file.stem: file.read_text(encoding="utf-8").strip() for file in sorted(FOLDER.glob("*.jinja"))}  # name -> Jinja
OWN = "own"  # the chat template that came with the tokenizer
MASKED = -100  # the label of a token without loss (torch's ignore_index)
DAY = "{%- macro strftime_now(form) -%}26 Jul 2024{%- endmacro -%}"  # Llama-3's own default: one prompt on all days
_FIELD = re.compile("\ue000(\\d+)\ue001")  # private-use characters mark the place of a field's text


def find_template(template, tokenizer):
    """The Jinja text of a template's name; "own": the tokenizer's (of several, `default`). ValueError for another name."""
    if template == OWN:
        found = tokenizer.chat_template or {}
        if not isinstance(found, str) and "default" not in found:
            told = f"chat templates {', '.join(found)}, none called default: name one so" if found else "no chat template"
            raise ValueError(f"template: own: this tokenizer has {told}; or take one of {', '.join(TEMPLATES)}")
        return found if isinstance(found, str) else found["default"]
    if template not in TEMPLATES:
        raise ValueError(f"template: expected one of {', '.join([*TEMPLATES, OWN])}, found {template!r}")
    return TEMPLATES[template]


def render_conversation(template, messages, tokenizer):
    """The text of a conversation in pieces: a list of (text, kind).

    template  a name of TEMPLATES, or "own" for the tokenizer's own
    messages  list of {"role": "system" | "user" | "assistant", "content": str[, "input": Alpaca's second field]}
    kind      "marker" (one special token), "prompt", "answer" (trained on) or "end" (the EOS after an answer, trained on)

    With a user's message last, the list ends where the answer starts. Raises ValueError: roles out of order, an empty
    message, a template that leaves a text out or does not end answers with the EOS.
    """
    check_messages(messages)
    if not tokenizer.eos_token:
        raise ValueError("this tokenizer has no EOS token: answers could not end")
    jinja = find_template(template, tokenizer)
    marked, fields = _mark_fields(template, messages)
    whole, pieces, done = _apply(tokenizer, jinja, marked), [], 0
    if lost := next((m["role"] for m in marked if m["content"] not in whole or m.get("input", "") not in whole), ""):
        raise ValueError(f"template: {template} leaves out the text of the role {lost}")
    for n, message in enumerate(marked):
        if message["role"] == "assistant":
            start = whole.find(message["content"])
            prompt = _apply(tokenizer, jinja, marked[:n])  # the prompt when the model answers
            if not whole.startswith(prompt) or whole[len(prompt) : start].strip():
                raise ValueError(f"template: {template} writes another prompt in training than in answering")
            pieces += _split_markers(whole[done : len(prompt)], fields, tokenizer)
            after = whole[start + len(message["content"]) :].lstrip(" ")
            if not after.startswith(tokenizer.eos_token):
                raise ValueError(f"template: {template} closes an answer with {after[:20]!r}, not {tokenizer.eos_token!r}")
            pieces += [(messages[n]["content"], "answer"), (tokenizer.eos_token, "end")]
            done = len(whole) - len(after) + len(tokenizer.eos_token)
    if messages[-1]["role"] == "user":
        pieces += _split_markers(whole[done:], fields, tokenizer)
    return pieces


def encode_conversation(template, messages, tokenizer):
    """(token ids, labels) of a conversation; labels are MASKED except on each answer and the EOS after it."""
    ids, labels = [], []
    for text, kind in render_conversation(template, messages, tokenizer):
        new = [tokenizer.convert_tokens_to_ids(text)] if kind in ("marker", "end") else encode_lines(tokenizer, [text])[0]
        ids += new
        labels += new if kind in ("answer", "end") else [MASKED] * len(new)
    return ids, labels


def check_messages(messages):
    """Raise ValueError unless messages are [system,] user, assistant, user, ... and each has text."""
    roles = [m.get("role") for m in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2) + ["user"] * (len(turns) % 2):
        found = ", ".join(map(str, roles)) or "none"
        raise ValueError(f"roles out of order: expected user and assistant in turn, the user first, found {found}")
    for n, message in enumerate(messages, 1):
        if not isinstance(message.get("content"), str) or not message["content"].strip():
            raise ValueError(f"message {n} ({message['role']}) has no text")


def _mark_fields(template, messages):
    """The messages with a mark in place of every field, and the list of the fields' texts."""
    marked, fields = [], []
    for m in messages:
        if template != "alpaca" and m.get("input"):
            m = {"role": m["role"], "content": f"{m['content']}\n{m['input']}"}
        marked.append({"role": m["role"]})
        for name in ("content", "input"):
            if m.get(name):
                marked[-1][name] = f"\ue000{len(fields)}\ue001"
                fields.append(m[name])
    return marked, fields


def _apply(tokenizer, jinja, messages):
    asked, jinja = messages[-1]["role"] == "user", DAY + jinja
    try:  # transformers renders in a sandbox: a template cannot read files or run code
        return tokenizer.apply_chat_template(messages, chat_template=jinja, tokenize=False, add_generation_prompt=asked)
    except Exception as error:
        raise ValueError(f"template: its chat template fails ({type(error).__name__}: {str(error)[:200]})") from None


def _split_markers(text, fields, tokenizer):
    """Split a template's text at special tokens; then put the fields' texts in, so that they are never split."""
    markers = sorted((t.content for t in tokenizer.added_tokens_decoder.values() if t.special), key=len, reverse=True)
    pieces = re.split(f"({'|'.join(map(re.escape, markers))})", text) if markers else [text]
    filled = [_FIELD.sub(lambda m: fields[int(m[1])], piece) for piece in pieces]
    return [(piece, "marker" if n % 2 else "prompt") for n, piece in enumerate(filled) if piece]
