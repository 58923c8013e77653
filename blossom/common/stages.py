"""The parameters of every notebook: one frozen dataclass each, with type, default, range and help of every parameter."""

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

MODEL_STAGES = ("02_vocab_merge", "03_bilingual_pretraining", "04_korean_lima_sft")

Whole = Annotated[int, Field(gt=-(1 << 63), lt=1 << 63)]
Text = Annotated[str, Field(max_length=1 << 20)]  # without a rule pydantic does not check for broken characters
Words = list[Annotated[str, Field(min_length=1)]]
Weights = dict[Annotated[str, Field(min_length=1)], Annotated[float, Field(ge=0)]]
Trainable = Literal["lora+embeddings", "lora+new-rows", "lora", "full"]
Precision = Literal["auto", "float32", "bfloat16"]
Tasks = Annotated[list[Literal["ko", "en", "translation"]], Field(min_length=1)]
Template = Literal["chatml", "llama2", "alpaca", "newline", "own"]


def _p(default, help, low=None, high=None):
    value = {"default_factory": default.copy} if isinstance(default, list | dict) else {"default": default}
    return Field(description=help, ge=low, le=high, **value)


_checked = dataclass(frozen=True, config=ConfigDict(strict=True, allow_inf_nan=False, extra="forbid"))


@_checked
class Common:
    """Parameters of every notebook."""

    scale: Text = _p("laptop", "which base, how much text, which hardware: a file in params/scales")
    recipe: Text = _p("blossom-bi", "a row of table 4 or paper X: a file in params/recipes")
    outputs: Text = _p("outputs", "folder of all runs")
    seed: Whole = _p(0, "seed of every sampler of the run", 0)


@_checked
class WithModel(Common):
    """Parameters of the notebooks that use a model."""

    base_model: Text = _p("smollm2-135m-instruct", "asset name, hub id or folder")


@_checked
class Texts(Common):
    """Parameters of the notebooks that read the corpus."""

    language: Text = _p("Korean", "the new language, in English: what figures and tables call it")
    korean_texts: Words = _p(["authored-prose-ko", "aligned-ko"], "its texts: assets, files, folders or hub:owner/name")
    english_texts: Words = _p(["authored-prose-en", "aligned-en", "prose-en"], "likewise, in English")
    heldout_lines: Whole = _p(60, "lines a language kept out of training and measured", 1)
    general_korean: Text = _p("general-ko", "Korean outside the corpus, never trained on")
    general_english: Text = _p("general-en", "English outside the corpus, never trained on")


@_checked
class Training(Texts, WithModel):
    """Parameters of the notebooks that train."""

    trainable: Trainable = _p("lora+new-rows", "what is trained: lora+embeddings (the paper), lora+new-rows, lora, full")
    lora_rank: Whole = _p(32, "rank of the adapters", 1, 4096)
    lora_alpha: Whole = _p(64, "scale of the adapters, over the rank", 1)
    lora_targets: Words = _p(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], "the paper: q, k, v"
    )
    row_epsilon: float = _p(5.0e-5, "Adam's epsilon for the rows; large, so that rows of rare tokens hardly change", 0, 1)
    measured_bytes: Whole = _p(8000, "bytes of each text that this stage measures; stage 05 measures more", 1)
    precision: Precision = _p("auto", "auto takes bf16 where the processor has it")
    activation_checkpointing: bool = _p(False, "less memory, a third slower")
    liger: bool = _p(False, "Liger's fused kernels; CUDA, liger-kernel")
    optimizer: Literal["adamw", "adamw_8bit"] = _p("adamw", "adamw_8bit: moments in 8 bits; CUDA, bitsandbytes")


@_checked
class TokenizationAnalysis(Texts):
    """01: how tokenizers split text of the two languages."""

    recipe: Text = _p("base", "01 depends on the scale alone")
    tokenizers: Words = _p(["smollm2-135m-instruct", "mistral-v1"], "tokenizers to compare: assets, files, hub ids")
    sentence: Text = _p("햄버거를 먹는 공룡", "the sentence of table 1")
    analysed_lines: Whole = _p(2000, "lines a language to count", 10)
    parallel_english: Text = _p("general-ko-en", "general_korean in English, line by line; empty: none")
    more_korean: Words = _p([], "further Korean texts, each counted by itself: assets or files")
    context_tokens: Whole = _p(4096, "tokens that fit in a prompt; Llama-2's context", 1)
    word_frequencies: Text = _p("wordfreq-ko", "words by frequency, for weighted fertility; empty skips")


@_checked
class VocabMerge(Texts, WithModel):
    """02: which pieces are added, and the initial values of their embedding rows."""

    sentence: Text = _p("햄버거를 먹는 공룡", "the sentence of table 1")
    donor: Text = _p("trained", "'trained' makes Korean pieces from the corpus; else asset, hub id or file")
    added_pieces: Whole = _p(4000, "Korean pieces to add; 0 takes the whole donor vocabulary", 0, 200_000)
    min_reads: Whole = _p(0, "leave out pieces that the training text would read less often; 0 keeps them", 0)
    scripts: Words = _p(["Hangul"], "keep donor pieces written in these alone; empty keeps all (the paper)")
    unreachable: Literal["add", "drop", "keep"] = _p(
        "add", "pieces no merge reaches: add what is missing, drop them, keep them (the paper)"
    )
    word_frequencies: Text = _p("wordfreq-ko", "words by frequency, added to a trained donor's text; empty: none")
    row_init: Literal["random", "mean", "subword", "calibrated", "distilled"] = _p(
        "calibrated", "starting rows: random (the paper), mean, subword, calibrated, distilled"
    )
    untie: bool = _p(False, "give a base whose two embedding tables are one an output table of its own")
    calibration_lines: Whole = _p(20_000, "training lines that 'calibrated' and 'distilled' rows are fitted to", 10)
    paper_merge: Literal["auto", "yes", "no"] = _p(
        "auto", "the paper's own Llama + KoBERT: auto (when BLOSSOM_ASSETS has them), yes, no"
    )
    bake_off_bytes: Whole = _p(2000, "bytes of each text that the kinds of starting rows are compared on", 1)
    bake_off_steps: Whole = _p(0, "training steps of the comparison; 0 compares before training alone", 0)
    bake_off_seeds: Whole = _p(3, "times each is trained, with another order of the data", 1)


@_checked
class BilingualPretraining(Training):
    """03: the mixture of texts, and how the model is trained on it."""

    korean_share: float = _p(0.7, "Korean share of the blocks, so of the tokens read; no loss weight; the paper's 7:3", 0, 1)
    source_weights: Weights = _p({}, "source: weight within its language; empty: in proportion to their size")
    english_anchor: float = _p(0.5, "share of English blocks trained by knowledge distillation from the base", 0, 1)
    training_tokens: Whole = _p(50_000, "tokens to train on; 0 is one epoch", 0)
    block_size: Whole = _p(256, "tokens a block", 8, 1 << 20)
    batch_size: Whole = _p(2, "blocks a step on one device", 1)
    accumulation: Whole = _p(1, "gradient accumulation: batches an update", 1)
    learning_rate: float = _p(1.0e-3, "of the adapters; when full, of all but the embedding tables", 0, 1)
    row_learning_rate: float = _p(1.5e-3, "of the embedding rows", 0, 1)
    warmup: float = _p(0.05, "share of the steps", 0, 1)
    evaluations: Whole = _p(1, "times held-out bits/byte is measured during training", 0)
    report_to: Literal["", "tensorboard"] = _p("", "'tensorboard' writes curves to the run's folder too")
    forgetting_budget: float = _p(0.0, "stop when English bits/byte rises by this share; 0 never stops", 0)
    checkpoints: Whole = _p(2, "times the state is saved during training", 0)
    isolate_documents: bool = _p(True, "no attention across documents of one block")


@_checked
class KoreanLimaSFT(Training):
    """04: the instruction sets, and how the model is trained on them."""

    recipe: Text = _p("blossom-bi-biSFT", "a recipe with instruction tuning")
    korean_instructions: Words = _p(["authored-short-ko", "authored-ko"], "asset names, files or hub:owner/name")
    english_instructions: Words = _p(["authored-short-en", "authored-en"], "likewise")
    translations: Words = _p(["aligned-en-ko"], "aligned text for paper X: asset names or TSV files")
    translator: Text = _p("", "drafts Korean: OpenAI-compatible address (.../v1) or translation model; empty: none")
    translator_model: Text = _p("", "model the translator's server is asked for; empty asks the server")
    translation_requests: Whole = _p(200, "most requests to send in one run", 0)
    review_folder: Text = _p("data/review", "drafts.jsonl or replies/, reviewers' files, settled.json")
    sft_tasks: Tasks = _p(["ko", "en"], "which of ko, en, translation to train on")
    examples: Whole = _p(60, "most training examples a task; 0 takes all", 0)
    evaluation_texts: Words = _p(["authored-prompts", "data/benchmarks"], "what models are scored with: never trained on")
    near_duplicate: float = _p(0.8, "Jaccard similarity from which an example counts as a near duplicate", 0, 1)
    template: Template = _p("chatml", "prompt template")
    epochs: float = _p(1.0, "times each example is read, parts allowed; the paper follows Alpaca (3)", 0, 100)
    sequence_length: Whole = _p(1024, "longest example, tokens; longer ones are left out whole", 16)
    sft_packing: bool = _p(False, "pack several examples into rows of sequence_length tokens")
    sft_batch_size: Whole = _p(1, "examples a step", 1)
    sft_accumulation: Whole = _p(2, "gradient accumulation: batches an update", 1)
    sft_learning_rate: float = _p(5.0e-4, "of the adapters; when full, of all but the embedding tables", 0, 1)
    sft_row_learning_rate: float = _p(5.0e-4, "of the embedding rows", 0, 1)
    sft_warmup: float = _p(0.05, "share of the steps", 0, 1)
    sft_evaluations: Whole = _p(1, "times the held-out loss is measured during training", 0)
    sft_checkpoints: Whole = _p(0, "times the state is saved during training", 0)
    heldout_examples: Whole = _p(12, "examples a language kept for evaluation", 1)
    shown_answers: Whole = _p(3, "held-out prompts a language answered before and after", 0)
    new_tokens: Whole = _p(128, "longest answer, tokens", 1)


@_checked
class BenchmarkEval(Texts, WithModel):
    """05: the benchmarks, and the models that are scored."""

    recipe: Text = _p("blossom-bi-biSFT", "the recipe whose model is scored")
    beside: Words = _p(["parents"], "also scored: parents (what it comes from), recipes, comparators, hub ids, folders")
    benchmarks: Text = _p("authored", "'authored' mini-sets, 'hub' for the public sets, or a folder of their files")
    tasks: Words = _p([], "benchmarks: table6 (the paper's eight), paper-x (the other paper's three), or names of tasks")
    probes: Words = _p(["minimal_pairs", "copy_pattern"], "tasks with power at this size; not in the benchmarks' average")
    parallel_english: Text = _p("general-ko-en", "general_korean in English, line by line; empty: none")
    documents: Whole = _p(32, "documents of each text to measure in bits per byte; 0 takes all", 0)
    items: Whole = _p(0, "items a task; 0 takes all", 0)
    written_items: Whole = _p(8, "items of a task whose answers are written; 0 takes `items`", 0)
    shots: Whole = _p(0, "examples in the prompt; the paper's is zero-shot", 0, 64)
    overlap_words: Whole = _p(8, "words in a row that must not occur in the training text", 2, 50)
    scoring_tokens: Whole = _p(0, "tokens a forward pass, 0 fits them to the memory; a longer item still goes in one", 0)
    precision: Precision = _p("auto", "auto takes bf16 where the processor has it")


@_checked
class QualitativeEval(Texts, WithModel):
    """06: whose answers are compared, how they are generated, and who judges."""

    recipe: Text = _p("blossom-bi-biSFT", "model A")
    compare_with: Text = _p("base", "model B: a recipe, asset name, folder or hub id")
    more_models: Words = _p(["base-bi-biSFT"], "more models to compare with, likewise; blossom-bi-koSFT gives figure 4")
    served: Words = _p([], "models that a server answers for (vLLM, transformers serve): name@http://host:8000/v1")
    prompts: Text = _p("authored-prompts", "asset name, file or hub:owner/name; rows with id, kind, ko, en, or LIMA's")
    prompts_per_language: Whole = _p(24, "prompts to answer in each language", 1)
    template: Template = _p("chatml", "prompt template")
    new_tokens: Whole = _p(64, "longest answer, tokens", 1)
    temperature: float = _p(0.2, "the released model's; 0 is greedy", 0, 10)
    top_p: float = _p(0.9, "the released model's; share of the probability that is kept", 0, 1)
    top_k: Whole = _p(40, "the released model's; tokens that are kept, 0 keeps all", 0)
    repetition_penalty: float = _p(1.1, "the released model's", 0.1, 10)
    decoding_batch: Whole = _p(24, "prompts decoded together", 1)
    word_frequencies: Text = _p("wordfreq-ko", "words by frequency, known beside the training text's; empty: none")
    raters: Words = _p(["rater-1"], "people; each gets an HTML page to rate the pairs in")
    rating_files: Words = _p([], "files that raters sent back, or folders of them")
    rater_pairs: Whole = _p(0, "pairs per rater, assigned in rotation; 0: every rater sees all pairs", 0)
    rater_repeats: Whole = _p(6, "pairs a rater sees twice, to measure consistency", 0)
    judge_url: Text = _p("", "OpenAI-compatible endpoint; empty: no judge")
    judge_model: Text = _p("", "model the judge's server is asked for; empty asks the server")
    judge_examples: Whole = _p(0, "judged pairs that the judge is shown first; 6 for a small model", 0)
    judge_requests: Whole = _p(400, "most requests to send, retries included; two a pair", 0)
    judge_money: float = _p(0.0, "most to spend on the judge, in the currency of the prices", 0)
    judge_input_price: float = _p(0.0, "price of a million tokens in; 0 for a local server", 0)
    judge_output_price: float = _p(0.0, "price of a million tokens out", 0)
    judge_parallel: Whole = _p(1, "pairs the judge is asked about at once", 1, 64)
    judge_probes: Whole = _p(2, "pairs with an order to the judge inside an answer; two requests each", 0)
    shown_pairs: Whole = _p(4, "pairs a language shown side by side, and examples of wins and losses", 0)
    precision: Precision = _p("auto", "auto takes bf16 where the processor has it")


@_checked
class Report(Common):
    """07: the runs in the report."""

    recipe: Text = _p("report", "the folder the report is written in")
    recipes: Words = _p(["base", "base-bi", "blossom-bi", "base-bi-biSFT", "blossom-bi-biSFT"], "rows of the report")
    sweeps: Words = _p([], "sweeps of params/sweeps whose comparison is shown")
    margin: float = _p(1.8, "points of the average that count as a difference; the paper's gain by expansion", 0)
    bootstraps: Whole = _p(2000, "draws of the items for every interval", 100)
    dpi: Whole = _p(150, "sharpness of the report's own figures", 30, 600)


@_checked
class PlanAssumptions:
    """What `snakemake -n` assumes about texts and hardware that are not there yet (batch/estimate.py)."""

    device_name: Text = _p("", "the card; empty: nothing is estimated")
    devices: Whole = _p(1, "cards that train together", 1)
    device_memory: float = _p(0.0, "of one card, GB", 0)
    device_tflops: float = _p(0.0, "one card's peak at dense bfloat16 matmuls, 10^12 operations a second", 0)
    utilisation: float = _p(0.4, "share of that peak which training reaches: an assumption", 0, 1)
    text_gigabytes: Weights = _p({}, "size of the texts: korean, english")
    bytes_per_token: Weights = _p({}, "korean, english, and base_korean, base_english without added tokens")
    new_rows: Whole = _p(0, "tokens that 02 adds", 0)
    sft_counts: Weights = _p({}, "examples of each task: ko, en, translation")
    sft_tokens: Weights = _p({}, "tokens of one example of each task")
    limit_hours: float = _p(24.0, "asked of a cluster for a stage that does not train", 0.1)


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
