"""What every notebook takes: a frozen dataclass each, whose fields say type, default, meaning and range."""

from dataclasses import dataclass, field, fields

MODEL_STAGES = ("02_vocab_merge", "03_bilingual_pretraining", "04_korean_lima_sft")


def _p(default, help, low=None, high=None, choices=None):
    """A field with its help text and the values it may take."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Common:
    """What every notebook takes."""

    scale: str = _p("laptop", "which base, how much text, which hardware: a file in params/scales")
    recipe: str = _p("blossom-bi", "a row of table 4 or paper X: a file in params/recipes")
    outputs: str = _p("outputs", "folder of all runs")
    seed: int = _p(0, "every sampler of the run", 0)


@dataclass(frozen=True)
class WithModel(Common):
    """What the notebooks that work on a model share."""

    base_model: str = _p("smollm2-135m-instruct", "asset name, hub id or folder")


@dataclass(frozen=True)
class Texts(Common):
    """What the notebooks that read the corpus share."""

    language: str = _p("Korean", "the new language, in English: what figures and tables call it")
    korean_texts: list = _p(["aligned-ko"], "texts of that language: assets, files, folders or hub:<id>[:config]")
    english_texts: list = _p(["aligned-en", "prose-en"], "likewise")
    heldout_lines: int = _p(250, "lines a language kept out of training and measured", 1)
    general_korean: str = _p("general-ko", "Korean outside the corpus, never trained on")
    general_english: str = _p("general-en", "English outside the corpus, never trained on")


@dataclass(frozen=True)
class Training(Texts, WithModel):
    """What the notebooks that train share."""

    trainable: str = _p("lora+new-rows", "what learns", choices=("lora+embeddings", "lora+new-rows", "full"))
    lora_rank: int = _p(16, "rank of the adapters", 1, 4096)
    lora_alpha: int = _p(32, "scale of the adapters, over the rank", 1)
    lora_targets: list = _p(["q_proj", "k_proj", "v_proj"], "the paper's: query, key, value")
    precision: str = _p("auto", "auto takes bf16 where the processor has it", choices=("auto", "float32", "bfloat16"))
    activation_checkpointing: bool = _p(False, "less memory, a third slower")
    liger: bool = _p(False, "Liger's fused kernels; CUDA, liger-kernel")
    optimizer: str = _p(
        "adamw", "adamw_8bit: moments in 8 bits; CUDA, package bitsandbytes", choices=("adamw", "adamw_8bit")
    )


@dataclass(frozen=True)
class TokenizationAnalysis(Texts):
    """01: how tokenizers spell the two languages."""

    recipe: str = _p("base", "01 depends on the scale alone")
    tokenizers: list = _p(["smollm2-135m-instruct", "mistral-v1"], "tokenizers to compare")
    sentence: str = _p("햄버거를 먹는 공룡", "the sentence of table 1")
    analysed_lines: int = _p(2000, "lines a language to count", 10)
    more_korean: list = _p([], "further Korean texts, each counted by itself: assets or files")
    context_tokens: int = _p(4096, "tokens that fit in a prompt; Llama-2's context", 1)
    word_frequencies: str = _p("wordfreq-ko", "words by frequency, for weighted fertility; empty skips")


@dataclass(frozen=True)
class VocabMerge(Texts, WithModel):
    """02: which pieces are added, and how their rows start."""

    sentence: str = _p("햄버거를 먹는 공룡", "the sentence of table 1")
    donor: str = _p("trained", "'trained' makes Korean pieces from the corpus; else asset, hub id or file")
    added_pieces: int = _p(4000, "Korean pieces to add; 0 takes the whole donor vocabulary", 0, 200_000)
    scripts: list = _p(["Hangul"], "keep donor pieces written in these alone; empty keeps all (the paper)")
    unreachable: str = _p("add", "pieces no merge reaches", choices=("add", "drop", "keep"))
    word_frequencies: str = _p("wordfreq-ko", "words by frequency, added to a trained donor's text; empty: none")
    row_init: str = _p("calibrated", "starting rows", choices=("random", "mean", "subword", "calibrated"))
    calibration_lines: int = _p(1000, "training lines whose contexts 'calibrated' rows are fitted to", 10)
    sentencepiece_base: str = _p("mistral-v1", "a SentencePiece base merged beside the model's; empty skips")
    sentencepiece_donor: str = _p("trained", "its donor")
    paper_merge: str = _p("auto", "the paper's own Llama + KoBERT", choices=("auto", "yes", "no"))
    bake_off_bytes: int = _p(2000, "bytes of each text that the kinds of starting rows are compared on", 1)
    bake_off_steps: int = _p(0, "training steps of the comparison; 0 compares before training alone", 0)
    bake_off_seeds: int = _p(3, "times each is trained, with another order of the data", 1)


@dataclass(frozen=True)
class BilingualPretraining(Training):
    """03: what is read, in which shares, and how it is learnt."""

    korean_share: float = _p(0.7, "share of Korean tokens; the paper's 7:3", 0.0, 1.0)
    source_weights: dict = _p({}, "source: weight within its language; empty: as much of each as there is")
    english_anchor: float = _p(0.5, "share of English blocks that teach the base's own expectation, not the text", 0.0, 1.0)
    training_tokens: int = _p(140_000, "tokens to train on; 0 is one epoch", 0)
    same_text_as: str = _p("", "a recipe: read as many bytes of text as its training_tokens hold, not as many tokens")
    block_size: int = _p(256, "tokens a block", 8, 1 << 20)
    batch_size: int = _p(2, "blocks a step on one device", 1)
    accumulation: int = _p(1, "batches an update", 1)
    learning_rate: float = _p(6.0e-4, "of the adapters, or of everything when full", 0.0, 1.0)
    row_learning_rate: float = _p(1.5e-3, "of the embedding rows", 0.0, 1.0)
    row_epsilon: float = _p(5.0e-5, "Adam's, of the rows: those with gradients far below it, never read, stay", 0.0, 1.0)
    warmup: float = _p(0.05, "share of the steps", 0.0, 1.0)
    evaluations: int = _p(1, "times held-out bits/byte is measured during training", 0)
    report_to: str = _p("", "'tensorboard' writes curves to the run's folder too", choices=("", "tensorboard"))
    forgetting_budget: float = _p(0.0, "stop when English bits/byte rises by this share; 0 never stops", 0.0)
    checkpoints: int = _p(2, "times the state is saved during training", 0)
    isolate_documents: bool = _p(True, "no attention across documents of one block")


@dataclass(frozen=True)
class KoreanLimaSFT(Training):
    """04: instructions: made, chosen, learnt."""

    recipe: str = _p("blossom-bi-biSFT", "a recipe with instruction tuning")
    korean_instructions: list = _p(["authored-ko"], "asset names, files or hub:<id>")
    english_instructions: list = _p(["authored-en"], "likewise")
    translations: list = _p(["aligned-en-ko"], "aligned text for paper X: asset names or TSV files")
    translator: str = _p("", "drafts Korean: OpenAI-compatible address (.../v1) or translation model; empty: none")
    translator_model: str = _p("", "model the translator's server is asked for")
    translation_requests: int = _p(200, "most requests to send in one run", 0)
    review_folder: str = _p("data/review", "drafts.jsonl or replies/, reviewers' files, settled.json")
    sft_tasks: list = _p(["ko", "en"], "which of ko, en, translation to train on")
    examples: int = _p(200, "most training examples a task; 0 takes all", 0)
    evaluation_texts: list = _p(["authored-prompts", "data/benchmarks"], "what models are scored with: never trained on")
    near_duplicate: float = _p(0.8, "similarity from which an example repeats another", 0.0, 1.0)
    template: str = _p("chatml", "prompt template", choices=("chatml", "llama2", "alpaca", "newline", "own"))
    epochs: float = _p(0.3, "times each example is seen, parts allowed; the paper follows Alpaca (3)", 0.0, 100.0)
    sequence_length: int = _p(1024, "longest example, tokens; longer ones are left out whole", 16)
    sft_batch_size: int = _p(2, "examples a step", 1)
    sft_accumulation: int = _p(1, "batches an update", 1)
    sft_learning_rate: float = _p(1.0e-3, "of the adapters, or of everything when full", 0.0, 1.0)
    sft_row_learning_rate: float = _p(1.0e-3, "of the embedding rows", 0.0, 1.0)
    sft_warmup: float = _p(0.05, "share of the steps", 0.0, 1.0)
    sft_evaluations: int = _p(1, "times the held-out loss is measured during training", 0)
    sft_checkpoints: int = _p(0, "times the state is saved during training", 0)
    heldout_examples: int = _p(12, "examples a language kept for evaluation", 1)
    shown_answers: int = _p(2, "held-out prompts a language answered before and after", 0)
    new_tokens: int = _p(48, "longest answer", 1)


@dataclass(frozen=True)
class BenchmarkEval(Texts, WithModel):
    """05: which tasks, and which models beside."""

    recipe: str = _p("blossom-bi-biSFT", "the recipe whose model is scored")
    beside: list = _p(
        ["parents"], "scored too: parents (what it comes from), recipes, names of comparators.yaml, ids, folders"
    )
    benchmarks: str = _p("authored", "'authored' mini-sets, 'hub' for the public sets, or a folder of their files")
    tasks: list = _p(["table6"], "table6 (the paper's eight), paper-x (the other paper's three), or names of tasks")
    probes: list = _p(["josa", "consistency", "paper-x", "answers"], "measured beside, outside the average")
    items: int = _p(0, "items a task; 0 takes all", 0)
    written_items: int = _p(8, "items of a task whose answers are written; 0 takes `items`", 0)
    shots: int = _p(0, "examples in the prompt; the paper's is zero-shot", 0, 64)
    overlap_words: int = _p(8, "words in a row that must not occur in the training text", 2, 50)
    scoring_tokens: int = _p(0, "tokens a forward pass, 0 fits them to the memory; a longer item still goes in one", 0)
    precision: str = _p("auto", "auto takes bf16 where the processor has it", choices=("auto", "float32", "bfloat16"))


@dataclass(frozen=True)
class QualitativeEval(WithModel):
    """06: whose answers are compared, how they are written, and who judges."""

    recipe: str = _p("blossom-bi-biSFT", "model A")
    compare_with: str = _p("base", "model B: a recipe, asset name, folder or hub id")
    more_models: list = _p([], "further models to compare with, likewise; blossom-bi-koSFT gives figure 4")
    served: list = _p([], "models that a server answers for (vLLM, transformers serve): name@http://host:8000/v1")
    prompts: str = _p("authored-prompts", "asset name, file or hub:<id>; rows with id, kind, ko, en, or LIMA's")
    korean_prompts: str = _p("", "Korean translation of prompts that are English only; empty: none")
    prompts_per_language: int = _p(24, "prompts to answer in each language", 1)
    template: str = _p("chatml", "prompt template", choices=("chatml", "llama2", "alpaca", "newline", "own"))
    new_tokens: int = _p(48, "longest answer", 1)
    temperature: float = _p(0.2, "the released model's; 0 is greedy", 0.0, 10.0)
    top_p: float = _p(0.9, "the released model's; share of the probability that is kept", 0.0, 1.0)
    top_k: int = _p(40, "the released model's; tokens that are kept, 0 keeps all", 0)
    repetition_penalty: float = _p(1.1, "the released model's", 0.1, 10.0)
    decoding_batch: int = _p(24, "prompts decoded together", 1)
    raters: list = _p(["rater-1"], "people; each gets an HTML page to rate the pairs in")
    rating_files: list = _p([], "files that raters sent back, or folders of them")
    rater_pairs: int = _p(0, "pairs a rater, going round; 0 shows all to everyone", 0)
    rater_repeats: int = _p(6, "pairs a rater sees twice, to measure consistency", 0)
    judge_url: str = _p("", "OpenAI-compatible endpoint; empty: no judge")
    judge_model: str = _p("", "model the judge's server is asked for; empty asks the server")
    judge_examples: int = _p(0, "judged pairs that the judge is shown first; 6 for a small model", 0)
    judge_requests: int = _p(400, "most requests to send, retries included; two a pair", 0)
    judge_money: float = _p(0.0, "most to spend on the judge, in the currency of the prices", 0.0)
    judge_input_price: float = _p(0.0, "price of a million tokens in; 0 for a local server", 0.0)
    judge_output_price: float = _p(0.0, "price of a million tokens out", 0.0)
    judge_parallel: int = _p(1, "pairs the judge is asked about at once", 1, 64)
    judge_probes: int = _p(2, "pairs with an order to the judge inside an answer; two requests each", 0)
    shown_pairs: int = _p(4, "pairs a language shown side by side, and examples of wins and losses", 0)
    precision: str = _p("auto", "auto takes bf16 where the processor has it", choices=("auto", "float32", "bfloat16"))


@dataclass(frozen=True)
class Report(Common):
    """07: which runs stand in the report."""

    recipe: str = _p("report", "the folder the report is written in")
    recipes: list = _p(["base", "blossom-bi", "blossom-bi-biSFT"], "rows of the report")
    sweeps: list = _p([], "sweeps of params/sweeps whose comparison is shown")
    margin: float = _p(1.8, "points of the average that count as a difference; the paper's gain by expansion", 0.0)
    bootstraps: int = _p(2000, "draws of the items for every interval", 100)
    dpi: int = _p(150, "sharpness of the report's own figures", 30, 600)


@dataclass(frozen=True)
class Forecast:
    """What no notebook reads: what `snakemake -n` reckons with before model, texts and card are here (blossom.forecast)."""

    device_name: str = _p("", "the card that is reckoned with; empty: nothing is forecast")
    devices: int = _p(1, "cards that train together", 1)
    device_memory: float = _p(0.0, "of one card, GB", 0.0)
    device_tflops: float = _p(0.0, "one card's peak at dense bfloat16 products, 10^12 operations a second", 0.0)
    utilisation: float = _p(0.4, "share of that peak which training reaches: an assumption", 0.0, 1.0)
    text_gigabytes: dict = _p({}, "size of the texts: korean, english")
    bytes_per_token: dict = _p({}, "how they are spelled: korean, english, and base_korean, base_english unexpanded")
    new_rows: int = _p(0, "tokens that 02 adds", 0)
    sft_counts: dict = _p({}, "examples of each task: ko, en, translation")
    sft_tokens: dict = _p({}, "tokens of one example of each task")
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
