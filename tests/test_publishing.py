"""Publishing a model: GGUF with the same logits, a card from what was measured, pushes that are refused in time."""

import functools
import json
import shutil
from dataclasses import asdict
from unittest.mock import Mock

import gguf
import huggingface_hub
import pytest
import torch
import yaml

from blossom.assets.registry import REGISTRY, fetch_asset
from blossom.common import params, paths, runs, stages
from blossom.models.loading import load_model, resize_model, save_model
from blossom.publishing import __main__, card, gguf_file, hub, licences
from blossom.text.corpus import read_documents
from blossom.vocabulary import bases, embeddings, merging, pieces
from tests.cases import read_cases

BASES = ["tiny-byte-level", "tiny-sentencepiece", "tiny-qwen"]  # tied; untied; untied with biases and padding rows
LINES = ["햄버거를 먹는 공룡", "아직 샤워를 하고 있는데 주전자가 울었다.", "The kettle, at 10:45, isn't on.", "ハンバーガー"]


def change_json(file, **parts):
    paths.write_json(file, paths.read_json(file) | parts)


def expanded(name, folder):
    """A tiny base with Korean pieces, its weights large enough that every mistake shows; saved in `folder`."""
    base = bases.read_base(name)
    counts = pieces.count_runs(base, list(read_documents("smoke-ko")), pieces.script_pattern(["Hangul"]))
    merged = merging.merge_vocab(base, pieces.train_pieces(base, counts, 100))
    model, _ = load_model(name, torch.float32)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    tables = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    rows = [embeddings.subword_rows(t.detach()[: base.size], merged.base_ids()) for t in tables]
    resize_model(model, base.size, *(rows[:1] if model.config.tie_word_embeddings else rows))
    tokenizer = merged.tokenizer
    tokenizer.chat_template = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    save_model(model, tokenizer, folder)
    if name == "tiny-sentencepiece":  # it leaves out second spaces, Llama's does not
        normalizer = paths.read_json(folder / "tokenizer.json")["normalizer"]
        change_json(folder / "tokenizer.json", normalizer=normalizer | {"normalizers": normalizer["normalizers"][3:]})
        (folder / "blossom.json").unlink()
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`saved(name)`: the folder of an expanded tiny base, made once."""
    return functools.cache(lambda name: expanded(name, tmp_path_factory.mktemp(name) / "model"))


@pytest.mark.parametrize(("name", "precision"), zip(BASES, ["F32", "F16", "BF16"], strict=True))
def test_a_gguf_file_gives_the_same_logits_and_the_same_ids(saved, tmp_path, name, precision):
    assert gguf_file.export_gguf(saved(name), tmp_path / "m.gguf", precision, lines=LINES) < 1e-4
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    stored = {t.name: t.tensor_type.name for t in reader.tensors}
    assert stored["token_embd.weight"] == precision and stored["blk.0.attn_norm.weight"] == "F32"
    tied = paths.read_json(saved(name) / "config.json")["tie_word_embeddings"]
    assert tied == (name == "tiny-byte-level") == ("output.weight" not in stored)
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == len(load_model(saved(name))[0].get_input_embeddings().weight)
    assert "m.content" in reader.fields["tokenizer.chat_template"].contents()


def test_a_gguf_file_says_that_a_pre_tokenizer_puts_a_space_before_a_text(saved, tmp_path):
    folder = shutil.copytree(saved("tiny-sentencepiece"), tmp_path / "model")
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    change_json(folder / "tokenizer.json", normalizer=None, pre_tokenizer=space)
    gguf_file.export_gguf(folder, tmp_path / "m.gguf", "F32", lines=[LINES[0]])
    assert gguf.GGUFReader(tmp_path / "m.gguf").fields["tokenizer.ggml.add_space_prefix"].contents()
    change_json(folder / "tokenizer.json", normalizer={"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    with pytest.raises(RuntimeError, match="'햄버거를  먹는  공룡' is .* in the model's tokenizer"):
        gguf_file.export_gguf(folder, tmp_path / "n.gguf", "F32", lines=[LINES[0]])


def test_a_file_that_differs_from_the_model_is_not_kept(saved, tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(gguf_file, "interleave_heads", lambda weight, heads: weight)
        with pytest.raises(RuntimeError, match="logits"):
            gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / "m.gguf", "F32", lines=LINES)
    merges = gguf.GGUFWriter.add_token_merges
    monkeypatch.setattr(gguf.GGUFWriter, "add_token_merges", lambda self, pairs: merges(self, pairs[:10]))
    with pytest.raises(RuntimeError, match="tokenizer"):
        gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / "m.gguf", "F32", lines=LINES)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_by_name(saved, tmp_path):
    config = load_model("tiny-byte-level")[0].config
    config.rope_parameters = {"rope_type": "llama3", "rope_theta": 1e4}
    with pytest.raises(ValueError, match="rope_type.*'llama3'"):
        gguf_file._find_architecture(config)
    with pytest.raises(ValueError, match="pre-tokenizer.*Whitespace"):
        gguf_file.name_pretokenizer({"pre_tokenizer": {"type": "Whitespace"}})
    with pytest.raises(ValueError, match="precision.*'Q4'"):
        gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / "m.gguf", "Q4")


CASES = read_cases(__file__)
TASKS = CASES["tasks"]


@pytest.fixture(scope="module")
def template_run(saved, tmp_path_factory):
    outputs = tmp_path_factory.mktemp("runs") / "outputs"
    recipes = {"02_vocab_merge": "blossom-bi", "03_bilingual_pretraining": "blossom-bi"}

    def start(stage, recipe, read):
        return runs.Run(params.effective_params(stage, "smoke", recipe, outputs=str(outputs)), stage, [read])

    before = fetch_asset("tiny-byte-level")
    for n, (stage, measured) in enumerate(CASES["metrics"].items()):
        run = start(stage, recipes.get(stage, "blossom-bi-biSFT"), before)
        shutil.copytree(saved("tiny-byte-level"), run.folder / "model")
        settings = paths.read_json(run.folder / "model" / "generation_config.json")
        paths.write_json(run.folder / "model" / "generation_config.json", settings | {"seed": n})  # three different models
        run.finish(measured, outputs=["model"])
        before = run.folder / "model"
    tasks, probes = ({name: score} for name, score in TASKS.items())
    scores = {"tasks": tasks, "probes": probes, "benchmarks": "authored"}
    start("05_benchmark_eval", "blossom-bi-biSFT", before).finish(scores)
    start("06_qualitative_eval", "blossom-bi-biSFT", before).finish({"preference": [{"source": "people"}]})
    return outputs


@pytest.fixture
def tuned(template_run, tmp_path):
    shutil.copytree(template_run, tmp_path / "outputs")
    return tmp_path / "outputs/smoke/blossom-bi-biSFT/04_korean_lima_sft"


def test_the_card_holds_what_was_measured(tuned):
    data = (written := card.write_card(runs.read_lineage(tuned), "someone/tiny-ko")).data
    assert (data.language, data.license, data.base_model) == (["ko", "en"], "cc-by-4.0", "tiny-byte-level")
    (line := runs.read_lineage(tuned))[0].params["base_model"] = str(tuned)
    for language, codes in {"Traditional Chinese": ["zh", "en"], "Mandarin": ["en"]}.items():  # what the hub takes
        line[-1].params["language"] = language
        assert (other := card.write_card(line, "someone/tiny-ko").data).language == codes and other.base_model is None
    assert {r.dataset_name.split()[0]: r.metric_value for r in data.eval_results} == {"klue_nli": 52.0, "kobest_copa": 75.0}
    assert all("authored" in r.dataset_name for r in data.eval_results)
    hub_sets = {"klue_nli": "hub:klue/klue:nli:validation", "klue_sts": "hub:klue/klue:sts:validation"}
    results = [card._evaluation_result(task, TASKS["klue_nli"] | {"origin": o}, "hub") for task, o in hub_sets.items()]
    assert "(32 items, hub)" in results[0].dataset_name
    assert "authored" in card._evaluation_result("klue_nli", TASKS["klue_nli"], "hub").dataset_name
    index = huggingface_hub.repocard_data.eval_results_to_model_index("m", results)[0]["results"]
    assert [(r["dataset"]["type"], r["dataset"]["config"]) for r in index] == [("klue/klue", task) for task in hub_sets]
    model = paths.read_json(tuned / "manifest.json")["outputs"]["model"]
    for row in ("| 2.000 | 1.500 |", "| klue_nli | acc 52.0 ± 5.0 | 50.0 | 32 |", "| authored-ko | CC BY 4.0,", model):
        assert row in written.content, row
    assert yaml.safe_load(written.content.split("---")[1])["model-index"][0]["name"] == "tiny-ko"
    limits = written.content.split("\n## ")[1]
    for number in ("4,234 tokens", "7 of its new tokens", "10.0% more bits", "1 of 2 scores", "klue_nli", "2 of its 2"):
        assert number in limits, number
    assert "a judge" not in limits and "not measured" not in written.content
    assert "kobest_copa" not in limits, "its score is more than two standard errors from the constant answer's"


def test_scores_and_verdicts_of_another_model_are_left_out(tuned):
    for stage in ("05_benchmark_eval", "06_qualitative_eval"):
        change_json(tuned.parent / stage / "manifest.json", inputs={"model": "0" * 64})
    written = card.write_card(runs.read_lineage(tuned), "someone/tiny-ko")
    assert written.data.eval_results is None and "klue_nli" not in written.content and "nor a judge" in written.content


@pytest.mark.parametrize("other", ["bytes", "text"])
def test_a_base_measured_on_other_lines_is_not_shown_and_the_tokens_of_all_pretraining_count(tuned, other):
    first, before, made = runs.read_lineage(tuned)
    if other == "bytes":
        before.params["measured_bytes"] += 1
    else:
        made.manifest["inputs"]["a.txt"], before.manifest["inputs"]["a.txt"] = "0", "1"
    written = card.write_card([first, before, before, made], "someone/tiny-ko").content
    assert "| – | 1.500 |" in written and "not measured on the same lines" in written and "more bits" not in written
    assert "8,468 tokens" in written


@pytest.mark.parametrize("spoiled", ["model", "parent", "parent's model", "no model", "no run"])
def test_a_model_whose_runs_do_not_hold_is_not_published(tuned, spoiled):
    parent, folder, named = tuned.parents[1] / "blossom-bi/03_bilingual_pretraining", tuned, "model"
    if spoiled == "model":
        (tuned / "model/config.json").write_text("{}")
    elif spoiled == "parent":
        (parent / "metrics.json").unlink()
        named = "03_bilingual_pretraining.metrics.json"
    elif spoiled == "parent's model":
        outputs = paths.read_json(parent / "manifest.json")["outputs"]
        change_json(parent / "manifest.json", outputs=outputs | {"model": "0" * 64})
        named = "03_bilingual_pretraining"
    else:
        folder = tuned.parent / ("05_benchmark_eval" if spoiled == "no model" else "07_report")
        named = folder.name
    with pytest.raises(ValueError, match=named):
        hub.plan_push(folder, "someone/tiny-ko")


@pytest.mark.parametrize("name", ["tiny-ko", "a/b/c", "some one/x", "/x"])
def test_a_name_the_hub_does_not_take_is_refused(tuned, name):
    with pytest.raises(ValueError, match="^to: "):
        hub.plan_push(tuned, name)


def ingredients(licence, base="Apache-2.0"):
    return [licences.Ingredient("a base", "base model", base), licences.Ingredient("a text", "text", licence)]


@pytest.mark.parametrize(("base", "text", "name", "terms"), CASES["licences"])
def test_the_strictest_licence_decides(base, text, name, terms):
    found, told = licences.model_licence(ingredients(text, base))
    assert found == name and [words for words in terms if words not in "".join(told)] == []


def test_a_text_without_a_licence_or_not_to_be_given_away_is_refused():
    assert "--licence 'a text=" in licences.licence_refusals(ingredients(""))[0]
    assert [t for t in CASES["forbidden"] if t not in "".join(licences.licence_refusals(ingredients(t)))] == []


def test_licences_are_known_by_asset_and_by_hub_id_and_for_all_that_shipped_scales_read():
    assert licences.find_licence("aligned-ko", {}) == REGISTRY["aligned-en-ko"].licence
    assert licences.find_licence("hub:GAIR/lima@refs/convert/parquet:test", {}) == "CC BY-NC-SA 4.0"
    assert licences.find_licence("data/novels", {}) == licences.find_licence("data/novels", {"data/novels": " "}) == ""
    assert licences.find_licence("data/novels", {"data/novels": "CC0 "}) == "CC0"
    unknown = set()
    for scale in ("laptop", "laptop-ja", "llama2-13b", "llama2-7b", "qwen2.5-0.5b", "gpu-24gb"):
        for stage in stages.MODEL_STAGES:
            p = asdict(params.effective_params(stage, scale, "cross-lingual" if stage[1] == "4" else "blossom-bi"))
            made = runs.FinishedRun(None, "", stage, p, {}, {})
            unknown |= {i.name for i in licences.list_ingredients([made]) if not i.licence}
    own = {"data/aihub", "data/korean_lima.jsonl", "data/aihub_en_ko.tsv"}
    assert unknown <= own | {"hub:Bingsu/ko_alpaca_data", "beomi/llama-2-ko-7b"}


def test_a_push_is_one_commit_to_a_private_repository(tuned):
    plan, api = hub.plan_push(tuned, "someone/tiny-ko", precision="F16"), Mock()
    there = (".gitattributes", "chart.png", "config.json", "chat_template.jinja", "model-1.safetensors", "old.gguf")
    api.repo_info.return_value = Mock(private=True, siblings=[Mock(rfilename=name) for name in there])
    assert hub.push_model(plan, api=api) == api.create_commit.return_value.commit_url
    api.create_repo.assert_called_once_with("someone/tiny-ko", private=True, exist_ok=True)
    ((repo, operations),) = (call.args for call in api.create_commit.call_args_list)
    dropped = [o.path_in_repo for o in operations if isinstance(o, huggingface_hub.CommitOperationDelete)]
    sent = {o.path_in_repo: o for o in operations if o.path_in_repo not in dropped}
    assert repo == "someone/tiny-ko" and dropped == [*there[4:]], "model files of an earlier push"
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tiny-ko-F16.gguf"} <= set(sent)
    assert all(operation.upload_info.size > 0 for operation in sent.values())


def test_what_is_refused_never_reaches_the_hub(tuned):
    (tuned / "model/weights.bin").write_bytes(b"pickle")
    outputs = paths.read_json(tuned / "manifest.json")["outputs"] | {"model": paths.hash_path(tuned / "model")}
    change_json(tuned / "manifest.json", outputs=outputs)
    plan, api = hub.plan_push(tuned, "someone/tiny-ko", {"smoke-ko": "no redistribution"}), Mock()
    with pytest.raises(ValueError, match="(?s)'smoke-ko'.*weights.bin"):
        hub.push_model(plan, api=api)
    assert api.method_calls == []


def test_a_dry_run_lists_and_asks_nobody(tuned, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda *a, **k: pytest.fail("a dry run asked the hub"))
    words = [str(tuned), "--to", "someone/tiny-ko", "--dry-run"]
    assert __main__.run_publish_command(words) == 0
    out = capsys.readouterr().out
    assert "https://huggingface.co/someone/tiny-ko" in out and "model.safetensors" in out and "README.md" in out
    written = card.write_card(runs.read_lineage(tuned), "someone/tiny-ko")
    assert (tuned / "model_card.md").read_text(encoding="utf-8") == written.content
    assert __main__.run_publish_command([*words, "--license", "smoke-en=proprietary"]) == 1
    assert "refused: 'smoke-en'" in capsys.readouterr().out
    with pytest.raises(ValueError, match="licence: 'smoke_en' is no ingredient of this model; expected one of .*smoke-en"):
        hub.plan_push(tuned, "someone/tiny-ko", {"smoke_en": "CC0"})


@pytest.mark.parametrize(("token", "public", "told"), CASES["not sent"])
def test_nothing_is_sent_without_a_token_or_where_others_see_than_asked(tuned, serve, monkeypatch, token, public, told):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    there = f'{{"id": "someone/tiny-ko", "private": {json.dumps(public)}, "url": "x/y"}}'
    server = serve(lambda body, n: (409 if body else 200, {}, there) if token else (401, {"Content-Length": "0"}, ""))
    api = huggingface_hub.HfApi("http://127.0.0.1:9" if token == "away" else server.url.removesuffix("/v1"), token=token)
    with pytest.raises(RuntimeError, match=f"someone/tiny-ko: {told}"):
        hub.push_model(hub.plan_push(tuned, "someone/tiny-ko"), public, api)
    assert len(server.bodies) == 2 or token != "hf_x"  # made, and looked at
