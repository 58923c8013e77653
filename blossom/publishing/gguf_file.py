"""A Llama, Mistral or Qwen2 model as one GGUF file, which llama.cpp, Ollama and LM Studio read."""

import json
from pathlib import Path

import gguf
import torch
from gguf import GGMLQuantizationType, LlamaFileType, TokenType

from blossom.common import paths
from blossom.models.loading import load_model
from blossom.text.corpus import read_documents
from blossom.vocabulary.spelling import BYTE_PIECE, kind_of

SHAPES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2"}  # transformers' model_type -> GGUF's architecture
PRECISIONS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
TOLERANCE = 1e-3  # of logits read back
OTHERWISE = "Use llama.cpp's convert_hf_to_gguf.py"


def export_gguf(folder, target, precision="F16", name="", lines=None):
    """Write a saved model to a GGUF file, read it back, and return the largest difference of logits; see `compare_gguf`.

    precision  "F32", "F16" or "BF16" of the matrices; norms and biases stay float32, as llama.cpp expects
    lines      texts for the comparison; None takes the project's general Korean and English

    Raises ValueError for an unsupported model or tokenizer; RuntimeError when the file differs, which is then not kept.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, found {precision!r}")
    model, tokenizer = load_model(folder)
    architecture = _find_architecture(model.config)
    with paths.write_atomically(target) as temporary:
        writer = gguf.GGUFWriter(temporary, architecture, use_temp_file=True)  # buffers tensors on disk, not in memory
        writer.add_name(name or Path(target).stem)
        writer.add_file_type(LlamaFileType[f"{'ALL' if precision == 'F32' else 'MOSTLY'}_{precision}"])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        _add_shape(writer, model.config)
        _add_tokenizer(writer, tokenizer, model.get_input_embeddings().weight.shape[0])
        _add_tensors(writer, model, architecture, GGMLQuantizationType[precision])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return compare_gguf(model, tokenizer, temporary, precision, lines)


def _find_architecture(config):
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    window = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    for name, value, expected in (
        ("model_type", config.model_type, tuple(SHAPES)),
        ("rope_type", rope, ("default",)),
        ("hidden_act", getattr(config, "hidden_act", None), ("silu",)),
        ("sliding_window", window or None, (None,)),
    ):
        if value not in expected:
            raise ValueError(f"{name}: expected {' or '.join(map(str, expected))}, found {value!r}. {OTHERWISE}")
    return SHAPES[config.model_type]


def _add_shape(writer, config):
    for key, name in paths.read_yaml_beside(__file__).items():
        getattr(writer, f"add_{key}")(getattr(config, name))
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for key in ("key_length", "value_length", "rope_dimension_count"):
        getattr(writer, f"add_{key}")(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _add_tensors(writer, model, architecture, kind):
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # without output.weight, readers use token_embd.weight as the head
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise ValueError(f"{name}: GGUF's {architecture} has no such tensor. {OTHERWISE}")
        part = written.split(".")[-2]
        if architecture == "llama" and part in heads:
            weight = interleave_heads(weight, heads[part])
        exact = GGMLQuantizationType.F32 if weight.ndim == 1 else kind
        writer.add_tensor(written, gguf.quantize(weight.float().cpu().numpy(), exact), raw_dtype=exact)


def interleave_heads(weight, heads):
    """Query or key rows (heads * width, ...) with rows 0 and width/2 of a head, which are rotated together, at 0 and 1."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def _add_tokenizer(writer, tokenizer, rows):
    """Write tokens, their types, and merges (byte-level) or scores (SentencePiece); `rows` of the embedding table."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["model"]["merges"]]
    spelled = {i: token for token, i in tokenizer.get_vocab().items()}
    tokens = [spelled.get(i, f"[PAD{i}]") for i in range(rows)]
    byte_level = kind_of(tokenizer) == "byte-level"
    writer.add_tokenizer_model("gpt2" if byte_level else "llama")
    writer.add_tokenizer_pre(name_pretokenizer(state) if byte_level else "default")
    writer.add_token_list(tokens)
    if byte_level:
        writer.add_token_merges(merges)
    else:  # SentencePiece's scores: minus the rank of the merge that makes a token; pieces of no merge get the lowest
        rank = {merge.replace(" ", ""): n for n, merge in reversed(list(enumerate(merges)))}
        writer.add_token_scores([float(-rank.get(token, len(merges))) for token in tokens])
        writer.add_add_space_prefix(tokenizer.tokenize("a")[0].startswith("▁"))
    types = (_token_type(tokenizer, i, token) if i in spelled else TokenType.UNUSED for i, token in enumerate(tokens))
    writer.add_token_types(list(types))
    for name in ("bos", "eos", "unk", "pad"):
        if (i := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(i)
    writer.add_add_bos_token(tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(False)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _token_type(tokenizer, i, token):
    if kind_of(tokenizer) != "byte-level" and (i == tokenizer.unk_token_id or BYTE_PIECE.fullmatch(token)):
        return TokenType.UNKNOWN if i == tokenizer.unk_token_id else TokenType.BYTE
    added = tokenizer.added_tokens_decoder.get(i)
    return TokenType.NORMAL if added is None else TokenType.CONTROL if added.special else TokenType.USER_DEFINED


def name_pretokenizer(state):
    """llama.cpp's name for the pre-tokenizer of a tokenizer.json (dict); ValueError for one that it does not know."""
    from transformers.integrations.gguf import gguf_tokenizer_mapping

    outer = state["pre_tokenizer"] or {}
    steps = outer.get("pretokenizers", [outer])
    gpt2, digits = {"type": "ByteLevel", "use_regex": True}, {"type": "Digits", "individual_digits": True}
    plain = [{k: v for k, v in step.items() if k in ("type", "use_regex", "individual_digits")} for step in steps]
    if plain in ([gpt2], [digits, gpt2]):
        return "gpt-2" if plain == [gpt2] else "smollm"
    pattern = steps[0].get("pattern", {}).get("Regex") if len(steps) == 2 else None
    for name in ("llama-bpe", "qwen2"):
        if pattern == gguf_tokenizer_mapping.GGUF_PRE_TOKENIZER_SPLITS[name]:
            return name
    known = "GPT-2's, SmolLM's, Llama-3's or Qwen2's"
    raise ValueError(f"pre-tokenizer: expected {known}, found {json.dumps(outer)[:300]}. {OTHERWISE}")


def compare_gguf(model, tokenizer, file, precision, lines=None):
    """The largest difference of logits between a model and its GGUF file, read by transformers.

    The model is changed: its matrices are rounded to `precision`. Raises RuntimeError when logits differ by more than
    TOLERANCE or a line has other token ids.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    file = Path(file)
    lines = [*read_documents("general-ko"), *read_documents("general-en")] if lines is None else lines
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    read = AutoTokenizer.from_pretrained(**source)
    for line in (*lines, *(line.replace(" ", "  ") for line in lines[:1])):  # readers keep all spaces; a tokenizer may not
        ours, theirs = (t(line, add_special_tokens=False).input_ids for t in (tokenizer, read))
        if ours != theirs:
            raise RuntimeError(f"GGUF: {line[:60]!r} is {ours[:20]} in the model's tokenizer and {theirs[:20]} in the file")
    dequantized = GgufConfig(dequantize=True)
    again = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32, quantization_config=dequantized)
    model = model.to("cpu", torch.float32)
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data = weight.data.to(PRECISIONS[precision]).float()
    ids = torch.tensor([tokenizer(" ".join(lines)[:500], add_special_tokens=False).input_ids[:64]])
    with torch.no_grad():
        found = (model.eval()(ids).logits - again.eval()(ids).logits).abs().max().item()
    if not found <= TOLERANCE:
        raise RuntimeError(f"GGUF: logits differ by {found:.2e} from the model's; expected at most {TOLERANCE:.0e}")
    return found
