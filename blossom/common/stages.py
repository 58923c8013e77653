"""The parameters of every notebook: one frozen dataclass each; stages.yaml has the defaults, ranges and help."""

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from blossom.common import paths

MODEL_STAGES = MERGED, TRAINED, TUNED = "02_vocab_merge", "03_bilingual_pretraining", "04_korean_lima_sft"
SCORED, JUDGED = "05_benchmark_eval", "06_qualitative_eval"
ROWS = paths.read_yaml_beside(__file__)

Word = Annotated[str, Field(min_length=1)]
TYPES = {
    int: Annotated[int, Field(gt=-(1 << 63), lt=1 << 63)],
    str: Annotated[str, Field(max_length=1 << 20)],  # without a rule pydantic does not check for broken characters
    list: list[Word],
    dict: dict[Word, Annotated[float, Field(ge=0)]],
}


def _make_class(name, *bases):
    """A checked dataclass with the parameters in a class's rows of stages.yaml, after those of its bases."""
    cls = type(name, bases, {})
    cls.__annotations__ = {parameter: _find_type(**row) for parameter, row in ROWS[name].items()}
    for parameter, row in ROWS[name].items():
        default = row["default"]
        value = {"default_factory": default.copy} if isinstance(default, list | dict) else {"default": default}
        setattr(cls, parameter, Field(description=row["help"], ge=row.get("least"), le=row.get("most"), **value))
    return dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False, extra="forbid"))(cls)


def _find_type(default, choices=(), **_):
    if choices:
        word = Literal[tuple(choices)]
        return Annotated[list[word], Field(min_length=1)] if isinstance(default, list) else word
    return TYPES.get(type(default), type(default))


Common = _make_class("Common")  # parameters of every notebook
WithModel = _make_class("WithModel", Common)  # of the notebooks that use a model
Texts = _make_class("Texts", Common)  # of those that read the corpus
Training = _make_class("Training", Texts, WithModel)  # of those that train
TokenizationAnalysis = _make_class("TokenizationAnalysis", Texts)
VocabMerge = _make_class("VocabMerge", Texts, WithModel)
BilingualPretraining = _make_class("BilingualPretraining", Training)
KoreanLimaSFT = _make_class("KoreanLimaSFT", Training)
BenchmarkEval = _make_class("BenchmarkEval", Texts, WithModel)
QualitativeEval = _make_class("QualitativeEval", Texts, WithModel)
Report = _make_class("Report", Common)
CrossLingual = _make_class("CrossLingual", Common)
PlanAssumptions = _make_class("PlanAssumptions")  # what `snakemake -n` assumes of texts and hardware (batch/estimate.py)

READERS = ("07_report", "08_cross_lingual")  # read the runs of all chosen recipes
STAGES = {"01_tokenization_analysis": TokenizationAnalysis, MERGED: VocabMerge, TRAINED: BilingualPretraining}
STAGES |= {TUNED: KoreanLimaSFT, SCORED: BenchmarkEval, JUDGED: QualitativeEval}
STAGES |= dict(zip(READERS, (Report, CrossLingual), strict=True))
SHARED = [f.name for cls in (WithModel, Texts) for f in fields(cls) if f.name not in Common.__dataclass_fields__]
# what a model's bits per byte depend on besides the model
MEASURED = ["measured_bytes", "precision", "activation_checkpointing", *SHARED]
