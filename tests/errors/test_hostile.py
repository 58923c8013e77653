"""Models and data sets made to run code when they are loaded: each would write a marker file, and none does."""

import json
import zipfile
from types import SimpleNamespace

import pytest
import torch

from blossom.assets import builders
from blossom.batch.estimate import estimate_run
from blossom.benchmark.evaluation import score_models
from blossom.common.server import ReplyStore
from blossom.generation.answers import generate_answers, stored_answers
from blossom.instructions import templates, translation
from blossom.models.loading import load_model
from blossom.text import corpus, rows
from blossom.vocabulary import bases, loading
from tests.cases import read_cases

CASES = read_cases(__file__)


@pytest.fixture
def marker(tmp_path, monkeypatch):
    file = tmp_path / "marker"
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    yield file
    assert not file.exists(), "code from a model or a data set has run"


def changed(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


CLASSES = {"AutoConfig": "hostile.Config", "AutoModelForCausalLM": "hostile.Model"}
CLASSES |= {"AutoModelForSeq2SeqLM": "hostile.Model", "AutoTokenizer": ["hostile.Words", "hostile.Words"]}


@pytest.fixture
def hostile(broken, marker):
    """`hostile(model_type)`: a model's folder whose configurations name classes of a module in it."""

    def make(model_type):
        folder = broken()
        code = CASES["module"].replace("MARKER", str(marker))
        (folder / "hostile.py").write_text(code)
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(code)
        changed(folder / "config.json", model_type=model_type, auto_map=CLASSES)
        changed(folder / "tokenizer_config.json", auto_map=CLASSES, tokenizer_class="Words")
        torch.save(Opens(marker), folder / "vocab.pkl")
        changed(folder / "generation_config.json", custom_generate=str(folder))
        return folder

    return make


def test_a_known_architecture_is_read_without_the_code_beside_it(hostile, smoke):
    folder = hostile("llama")
    model, tokenizer = load_model(folder)
    assert type(model).__module__.startswith("transformers.models.llama")
    assert generate_answers(model, tokenizer, ["Hi"], "newline", new_tokens=2)
    estimate_run(smoke("03_bilingual_pretraining", english_anchor=0.0, trainable="lora+embeddings"), folder, 2, 16)
    bases.read_base(folder)


TASK = SimpleNamespace(name="a", digest="b", origin="c")
READS = {
    "estimate": lambda folder, smoke: estimate_run(smoke("03_bilingual_pretraining"), folder, 2, 16),
    "translator": lambda folder, smoke: translation.LocalTranslator(str(folder), folder),
    "benchmark": lambda folder, smoke: score_models({"m": folder}, [TASK], folder, "float32"),
    "answers": lambda folder, smoke: stored_answers(str(folder), ["Hi"], "newline", ReplyStore(folder)),
}


@pytest.mark.parametrize("name", READS)
def test_an_architecture_of_its_own_is_refused_wherever_models_are_read(hostile, smoke, name):
    with pytest.raises(ValueError, match="'mine', which transformers does not know; code that comes with a model is never"):
        READS[name](hostile("mine"), smoke)


class Opens:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "pytorch_model.bin.index.json", "weights.bin"])
def test_pickled_weights_are_not_opened_under_any_name(broken, marker, name):
    folder = broken("model.safetensors", lambda old: None)
    torch.save({"model.norm.weight": Opens(marker)}, folder / name)
    if name == "weights.bin":
        index = {"metadata": {}, "weight_map": {"model.norm.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="pickle|do not load|no weights there|'weights.bin', which is no .safetensors file"):
        load_model(folder)


@pytest.mark.parametrize("trick", CASES["tricks"])
def test_a_chat_template_reaches_nothing(marker, trick):
    tokenizer = loading.load_tokenizer("tiny-byte-level")
    tokenizer.chat_template = trick.replace("MARKER", str(marker))
    asked = [{"role": "user", "content": "질문"}, {"role": "assistant", "content": "답"}]
    with pytest.raises(ValueError, match="template: "):
        templates.encode_conversation("own", asked, tokenizer)


@pytest.mark.parametrize("read", [corpus.read_documents, rows.read_rows], ids=["texts", "instructions"])
def test_a_data_set_s_loading_script_does_not_run(tmp_path, marker, read):
    folder = tmp_path / "evil"
    folder.mkdir()
    script = "import datasets\nclass Evil(datasets.GeneratorBasedBuilder): pass\n"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').write('x')\n" + script)
    with pytest.raises(ValueError, match="holds no text|expected a .json"):
        list(read(str(folder)))


def test_a_wheel_s_member_cannot_leave_the_folder_it_is_unpacked_in(tmp_path, marker):
    wheel = tmp_path / "evil-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("../../marker", "x")
        archive.writestr("../marker/model.gguf", "GGUF")
    with pytest.raises((ValueError, OSError, RuntimeError, NotImplementedError)):
        builders.model_from_gguf_wheel([wheel], tmp_path / "deep" / "er" / "target")
    assert not list(tmp_path.rglob("marker"))
