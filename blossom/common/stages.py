"""The parameters of every notebook: one frozen dataclass each; stages.yaml has the defaults, ranges and help."""

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from blossom.common import paths

MODEL_STAGES = ("02_vocab_merge", "03_bilingual_pretraining", "04_korean_lima_sft")
ROWS = paths.read_yaml_beside(__file__)

Word = Annotated[str, Field(min_length=1)]
TYPES = {
    int: Annotated[int, Field(gt=-(1 << 63), lt=1 << 63)],
    str: Annotated[str, Field(max_length=1 << 20)],  # without a rule pydantic does not check for broken characters
    list: list[Word],
    dict: dict[Word, Annotated[float, Field(ge=0)]],
}


def _checked(cls):
    """Make a checked dataclass of `cls` with the parameters in its rows of stages.yaml."""
    cls.__annotations__ = {name: _find_type(**row) for name, row in ROWS[cls.__name__].items()}
    for name, row in ROWS[cls.__name__].items():
        default = row["default"]
        value = {"default_factory": default.copy} if isinstance(default, list | dict) else {"default": default}
        setattr(cls, name, Field(description=row["help"], ge=row.get("least"), le=row.get("most"), **value))
    return dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False, extra="forbid"))(cls)


def _find_type(default, choices=(), **_):
    if choices:
        word = Literal[tuple(choices)]
        return Annotated[list[word], Field(min_length=1)] if isinstance(default, list) else word
    return TYPES.get(type(default), type(default))


@_checked
class Common:
    """Parameters of every notebook."""


@_checked
class WithModel(Common):
    """Parameters of the notebooks that use a model."""


@_checked
class Texts(Common):
    """Parameters of the notebooks that read the corpus."""


@_checked
class Training(Texts, WithModel):
    """Parameters of the notebooks that train."""


@_checked
class TokenizationAnalysis(Texts):
    """01: how tokenizers split text of the two languages."""


@_checked
class VocabMerge(Texts, WithModel):
    """02: which pieces are added, and the initial values of their embedding rows."""


@_checked
class BilingualPretraining(Training):
    """03: the mixture of texts, and how the model is trained on it."""


@_checked
class KoreanLimaSFT(Training):
    """04: the instruction sets, and how the model is trained on them."""


@_checked
class BenchmarkEval(Texts, WithModel):
    """05: the benchmarks, and the models that are scored."""


@_checked
class QualitativeEval(Texts, WithModel):
    """06: whose answers are compared, how they are generated, and who judges."""


@_checked
class Report(Common):
    """07: the runs in the report."""


@_checked
class PlanAssumptions:
    """What `snakemake -n` assumes about texts and hardware that are not there yet (batch/estimate.py)."""


STAGES = {
    "01_tokenization_analysis": TokenizationAnalysis,
    "02_vocab_merge": VocabMerge,
    "03_bilingual_pretraining": BilingualPretraining,
    "04_korean_lima_sft": KoreanLimaSFT,
    "05_benchmark_eval": BenchmarkEval,
    "06_qualitative_eval": QualitativeEval,
    "07_report": Report,
}
SHARED = [f.name for cls in (WithModel, Texts) for f in fields(cls) if f.name not in Common.__dataclass_fields__]
