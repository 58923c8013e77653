"""Giving a model away: GGUF that says the same, a card from what was measured, and pushes that are refused in time."""

import functools
import shutil
from dataclasses import asdict

import gguf
import huggingface_hub as hub
import pytest
import torch
import yaml
from huggingface_hub import errors

from blossom.assets.registry import REGISTRY, fetch_asset
from blossom.common import params, paths, runs, stages
from blossom.models.loading import load_model, resize_model, save_model
from blossom.publishing import __main__ as command
from blossom.publishing import card, gguf_file, licences
from blossom.publishing import hub as push
from blossom.text.corpus import read_documents
from blossom.vocabulary.bases import read_base
from blossom.vocabulary.embeddings import subword_rows
from blossom.vocabulary.merging import merge_vocab
from blossom.vocabulary.pieces import count_runs, script_pattern, train_pieces

BASES = ["tiny-byte-level", "tiny-sentencepiece", "tiny-qwen"]  # tied; untied; untied with biases and padding rows
LINES = ["햄버거를 먹는 공룡", "아직 샤워를 하고 있는데 주전자가 울었다.", "The kettle, at 10:45, isn't on.", "ハンバーガー"]


def expanded(name, folder):
    """A tiny base with Korean pieces, its weights large enough that every mistake shows; saved in `folder`."""
    base = read_base(name)
    counts = count_runs(base, list(read_documents("smoke-ko")), script_pattern(["Hangul"]))
    merged = merge_vocab(base, train_pieces(base, counts, 100))
    model, _ = load_model(name, torch.float32)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    tables = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    rows = [subword_rows(t.detach()[: base.size], merged.base_ids()) for t in tables]
    resize_model(model, base.size, *(rows[:1] if model.config.tie_word_embeddings else rows))
    tokenizer = merged.tokenizer
    tokenizer.chat_template = "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}"
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`saved(name)`: the folder of an expanded tiny base, made once."""
    return functools.cache(lambda name: expanded(name, tmp_path_factory.mktemp(name) / "model"))


# ---------------------------------------------------------------------------------------------------------------- GGUF


@pytest.mark.parametrize("name", BASES)
def test_a_gguf_file_gives_the_same_logits_and_the_same_ids(saved, tmp_path, name):
    assert gguf_file.export_gguf(saved(name), tmp_path / "m.gguf", "F32", lines=LINES) < 1e-4
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    tied = paths.read_json(saved(name) / "config.json")["tie_word_embeddings"]
    assert tied == (name == "tiny-byte-level")
    assert any(t.name == "output.weight" for t in reader.tensors) != tied
    rows = load_model(saved(name))[0].get_input_embeddings().weight.shape[0]
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == rows
    assert "m.content" in reader.fields["tokenizer.chat_template"].contents()


@pytest.mark.parametrize("precision", ["F16", "BF16"])
def test_half_precision_is_half_the_size(saved, tmp_path, precision):
    for kind in ("F32", precision):
        gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / f"{kind}.gguf", kind, lines=LINES)
    stored = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / f"{precision}.gguf").tensors}
    assert stored["token_embd.weight"] == precision and stored["blk.0.attn_norm.weight"] == "F32"
    assert (tmp_path / f"{precision}.gguf").stat().st_size < 0.62 * (tmp_path / "F32.gguf").stat().st_size


def test_rows_change_places_as_llama_cpp_wants_them():
    rows = torch.arange(8)[:, None]
    assert gguf_file.interleave_heads(rows, 2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert gguf_file.interleave_heads(rows[:, 0], 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_a_file_that_says_something_else_is_not_kept(saved, tmp_path, monkeypatch):
    with monkeypatch.context() as m:
        m.setattr(gguf_file, "interleave_heads", lambda weight, heads: weight)
        with pytest.raises(RuntimeError, match="logits differ by"):
            gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / "m.gguf", "F32", lines=LINES)
    merges = gguf.GGUFWriter.add_token_merges
    monkeypatch.setattr(gguf.GGUFWriter, "add_token_merges", lambda self, pairs: merges(self, pairs[:10]))
    with pytest.raises(RuntimeError, match="in the model's tokenizer and .* in the file"):
        gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / "m.gguf", "F32", lines=LINES)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_by_name(saved, tmp_path):
    config = load_model("tiny-byte-level")[0].config
    config.rope_parameters = {"rope_type": "llama3", "rope_theta": 1e4}
    with pytest.raises(ValueError, match="rope_type 'llama3' .expected default.*convert_hf_to_gguf"):
        gguf_file._architecture(config)
    with pytest.raises(ValueError, match="pre-tokenizer has no name here.*Whitespace"):
        gguf_file.name_pretokenizer({"pre_tokenizer": {"type": "Whitespace"}})
    with pytest.raises(ValueError, match="precision: expected one of F32, F16, BF16, found 'Q4'"):
        gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / "m.gguf", "Q4")
    with pytest.raises(ValueError, match=r"expected a name ending in .gguf, found .*/m'"):
        gguf_file.export_gguf(saved("tiny-byte-level"), tmp_path / "m")


# --------------------------------------------------------------------------------------------- runs, cards and pushes

BITS = {"korean": 2.0, "english": 1.5, "general_korean": 2.5, "general_english": 1.4}
WORSE = BITS | {"korean": 1.5, "general_english": 1.54}
TASKS = {
    task: {"metric": "acc", "score": score, "stderr": 0.05, "items": 32, "majority_share": 0.5, "constant": 0.5, "shots": 0}
    | {"version": "1", "prompt_hash": "abc", "origin": f"data/benchmarks/{task}.json"}
    for task, score in (("klue_nli", 0.52), ("kobest_copa", 0.75))
}


@pytest.fixture(scope="module")
def template_run(saved, tmp_path_factory):
    """The outputs folder of runs 02 to 05 as their notebooks leave it, with a tiny model for each."""
    outputs = tmp_path_factory.mktemp("runs") / "outputs"
    recipes = {"02_vocab_merge": "blossom-bi", "03_bilingual_pretraining": "blossom-bi"}
    metrics = {
        "02_vocab_merge": {"bits_per_byte": BITS},
        "03_bilingual_pretraining": {
            "bits_per_byte": {"base": BITS, "after": BITS},
            "tokens": {"korean": 3000, "english": 1234},
            "rows_never_read": 7,
        },
        "04_korean_lima_sft": {"bits_per_byte": {"before": BITS, "after": WORSE}, "template": "chatml"},
    }
    before = fetch_asset("tiny-byte-level")
    for n, (stage, measured) in enumerate(metrics.items()):
        run = runs.Run(
            params.effective_params(stage, "smoke", recipes.get(stage, "blossom-bi-biSFT"), outputs=str(outputs)), stage
        )
        shutil.copytree(saved("tiny-byte-level"), run.folder / "model")
        settings = paths.read_json(run.folder / "model" / "generation_config.json")
        paths.write_json(run.folder / "model" / "generation_config.json", settings | {"seed": n})  # three different models
        run.finish(measured, inputs=[before], outputs=["model"])
        before = run.folder / "model"
    run = runs.Run(
        params.effective_params("05_benchmark_eval", "smoke", "blossom-bi-biSFT", outputs=str(outputs)), "05_benchmark_eval"
    )
    run.finish({"tasks": TASKS, "benchmarks": "authored"}, inputs=[before])
    return outputs


@pytest.fixture
def tuned(template_run, tmp_path):
    """The folder of the tuned model's run, in a copy that a test may spoil."""
    shutil.copytree(template_run, tmp_path / "outputs")
    return tmp_path / "outputs/smoke/blossom-bi-biSFT/04_korean_lima_sft"


def test_the_card_holds_what_was_measured_and_nothing_else(tuned):
    written = card.write_card(tuned, "someone/tiny-ko")
    data = written.data
    assert (data.language, data.license, data.base_model) == (["ko", "en"], "cc-by-4.0", "tiny-byte-level")
    assert {r.dataset_name.split()[0]: r.metric_value for r in data.eval_results} == {"klue_nli": 52.0, "kobest_copa": 75.0}
    assert all("authored for this project" in r.dataset_name for r in data.eval_results)
    for words in (
        "| Korean, of the corpus' kind | 2.000 | 1.500 |",
        "| klue_nli | acc 52.0 ± 5.0 | 50.0 | 32 | data/benchmarks/klue_nli.json |",
        "4,234 tokens of text",
        "7 of its new tokens never came in training",
        "English, general prose: 10.0% more bits per byte than the base",
        "1 of 2 scores lie within two standard errors of always giving one answer and show nothing: klue_nli.",
        "No judge has compared its answers",
        "| instructions | authored-ko | CC BY 4.0, authored for this project |",
        "| 03_bilingual_pretraining | blossom-bi |",
        paths.read_json(tuned / "manifest.json")["outputs"]["model"],
    ):
        assert words in written.content, words
    assert yaml.safe_load(written.content.split("---")[1])["model-index"][0]["name"] == "tiny-ko"


def test_scores_of_another_model_are_left_out(tuned):
    manifest = paths.read_json(tuned.parent / "05_benchmark_eval/manifest.json")
    paths.write_json(tuned.parent / "05_benchmark_eval/manifest.json", manifest | {"inputs": {"model": "0" * 64}})
    written = card.write_card(tuned, "someone/tiny-ko")
    assert written.data.eval_results is None and "No benchmark has been run on it." in written.content


def test_a_folder_edited_by_hand_is_named(tuned):
    config = tuned / "model/config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(ValueError, match="04_korean_lima_sft/model was changed"):
        push.plan_push(tuned, "someone/tiny-ko")


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_so_is_a_parents(tuned, how):
    file = tuned.parents[1] / "blossom-bi/03_bilingual_pretraining/metrics.json"
    file.write_text("{}") if how == "changed" else file.unlink()
    with pytest.raises(ValueError, match=f"metrics.json (was|is) {how}"):
        push.plan_push(tuned, "someone/tiny-ko")


def test_a_parent_made_again_after_its_child_is_told(tuned):
    manifest = tuned.parents[1] / "blossom-bi/03_bilingual_pretraining/manifest.json"
    told = paths.read_json(manifest)
    told["outputs"]["model"] = "0" * 64
    paths.write_json(manifest, told)
    with pytest.raises(ValueError, match="was not made from the model that is now in .*03_bilingual_pretraining"):
        push.plan_push(tuned, "someone/tiny-ko")


def test_only_a_finished_run_with_a_model_can_be_given_away(tuned, tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        push.plan_push(tmp_path, "someone/tiny-ko")
    with pytest.raises(ValueError, match="stage 05_benchmark_eval makes no model; expected one of 02_vocab_merge"):
        push.plan_push(tuned.parent / "05_benchmark_eval", "someone/tiny-ko")


@pytest.mark.parametrize("name", ["tiny-ko", "a/b/c", "some one/x", "/x"])
def test_a_name_the_hub_does_not_take_is_refused(tuned, name):
    with pytest.raises(ValueError, match="^to: "):
        push.plan_push(tuned, name)


def ingredient(licence, part="text"):
    return licences.Ingredient(f"{part}-{licence}", part, licence)


def test_licences_decide():
    base = ingredient("Apache-2.0", "base model")
    assert licences.model_licence([base, ingredient("CC BY 4.0")]) == ("apache-2.0", [])
    name, asks = licences.model_licence([base, ingredient("CC BY-NC-SA 4.0")])
    assert name == "cc-by-nc-sa-4.0" and "Not for commercial use: text-CC BY-NC-SA 4.0." in asks
    llama = ingredient("Llama 2 community licence", "base model")
    assert licences.model_licence([llama])[0] == "llama2" and "notice" in licences.model_licence([llama])[1][0]
    assert licences.model_licence([llama, ingredient("CC BY-NC 4.0")])[0] == "other"
    assert licences.licence_refusals([base, ingredient("")]) == [
        "the licence of 'text-' is not known: say it with --licence 'text-=...'"
    ]
    assert "forbids it" in licences.licence_refusals([base, ingredient("AI-Hub terms: no redistribution")])[0]


def test_licences_are_known_by_asset_and_by_hub_id():
    assert licences.find_licence("aligned-ko", {}) == REGISTRY["aligned-en-ko"].licence
    assert licences.find_licence("hub:GAIR/lima@refs/convert/parquet:plain_text:test", {}) == "CC BY-NC-SA 4.0"
    assert licences.find_licence("data/novels", {}) == ""
    assert licences.find_licence("data/novels", {"data/novels": "CC0"}) == "CC0"


def test_what_the_shipped_scales_use_is_known_or_has_to_be_said():
    """Folders of the user's own are unknown, and two hub ids of paper X: whoever publishes looks at their pages."""
    unknown = set()
    for scale in ("laptop", "laptop-ja", "llama2-13b", "llama2-7b", "qwen2.5-0.5b"):
        for stage in stages.MODEL_STAGES:
            p = asdict(params.effective_params(stage, scale, "cross-lingual" if stage[1] == "4" else "blossom-bi"))
            made = runs.FinishedRun(None, "", stage, p, {}, {})
            unknown |= {i.name for i in licences.list_ingredients([made]) if not i.licence}
    own = {"data/aihub", "data/korean_lima.jsonl", "data/aihub_en_ko.tsv"}
    assert unknown <= own | {"hub:Bingsu/ko_alpaca_data", "beomi/llama-2-ko-7b"}


class Hub:
    """Stands where huggingface_hub.HfApi stands, and keeps what it was asked."""

    def __init__(self):
        self.asked = []

    def create_repo(self, repo, **settings):
        self.asked.append((repo, settings))

    def create_commit(self, repo, operations, commit_message):
        self.asked.append((repo, {o.path_in_repo: o for o in operations}))
        return hub.CommitInfo(f"https://huggingface.co/{repo}/commit/1", commit_message, "", "1")


def test_a_push_is_one_commit_to_a_private_repository(tuned):
    plan, api = push.plan_push(tuned, "someone/tiny-ko", precision="F16"), Hub()
    assert push.push_model(plan, api=api).endswith("/commit/1")
    (repo, settings), (_, sent) = api.asked
    assert repo == "someone/tiny-ko" and settings["private"] is True
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tiny-ko-F16.gguf"} <= set(sent)
    assert all(operation.upload_info.size > 0 for operation in sent.values())


def test_what_is_refused_never_reaches_the_hub(tuned):
    (tuned / "model/weights.bin").write_bytes(b"pickle")
    manifest = paths.read_json(tuned / "manifest.json")
    manifest["outputs"]["model"] = paths.hash_path(tuned / "model")
    paths.write_json(tuned / "manifest.json", manifest)
    plan, api = push.plan_push(tuned, "someone/tiny-ko", {"smoke-ko": "no redistribution"}), Hub()
    with pytest.raises(ValueError, match="(?s)not pushed:.*'smoke-ko' forbids it.*weights.bin is no file of a safe model"):
        push.push_model(plan, api=api)
    assert api.asked == []


def test_a_dry_run_lists_and_asks_nobody(tuned, monkeypatch, capsys):
    monkeypatch.setattr(hub, "HfApi", lambda *a, **k: pytest.fail("a dry run asked the hub"))
    assert command.run_publish_command([str(tuned), "--to", "someone/tiny-ko", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "to https://huggingface.co/someone/tiny-ko" in out and "MB  model.safetensors" in out and "MB  README.md" in out
    assert (tuned / "model_card.md").read_text(encoding="utf-8") == card.write_card(tuned, "someone/tiny-ko").content
    assert (
        command.run_publish_command(
            [str(tuned), "--to", "someone/tiny-ko", "--dry-run", "--licence", "smoke-en=proprietary"]
        )
        == 1
    )
    assert "refused: 'smoke-en' forbids it: proprietary" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no finished run"):
        command.run_publish_command([str(tuned / "figures"), "--to", "someone/tiny-ko"])


def test_nobody_signed_in_is_told_what_to_do(tuned, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)

    class Nobody(Hub):
        def create_repo(self, repo, **settings):
            raise errors.LocalTokenNotFoundError("no token")

    with pytest.raises(RuntimeError, match="hf auth login"):
        push.push_model(push.plan_push(tuned, "someone/tiny-ko"), api=Nobody())
