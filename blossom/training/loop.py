"""The training loop: transformers' Trainer with our loss, our order of data, our rates and our checkpoints."""

import contextlib
import math
from dataclasses import asdict, replace
from pathlib import Path

import filelock
import torch
from accelerate import PartialState
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.integrations import TensorBoardCallback

from blossom.common import paths
from blossom.training import checkpoints
from blossom.training.data import Rows, check_rows
from blossom.training.learner import Learner, collate
from blossom.training.packing import IGNORED
from blossom.training.settings import OPTIMIZERS, check_options, use_liger
from blossom.training.watch import Watch


def train_model(model, dataset, settings, folder, evaluate=None, report=print):
    """Train `model` in place; goes on by itself from `folder`/checkpoints when an earlier call was killed.

    model      what `adapt_model` returned (frozen weights are recast to the working precision in place)
    dataset    len() and [i] -> dict of 1-D integer arrays of one length T <= sequence length:
                   "input_ids"  (T,) token ids
                   "labels"     (T,) the same ids where the model is to learn them, -100 elsewhere; NOT shifted: the
                                loop predicts labels[t] from input_ids[:t], so labels[0] is never used
                   "segments"   (T,) optional: equal numbers may attend to each other, others not (positions restart);
                                0 marks padding
               rows of unequal length are padded to the longest of their batch. `dataset.ordered = True` keeps its order
               (packing.Blocks are mixed already), others are shuffled by the seed, each epoch anew.
    settings   TrainingSettings
    folder     the run's folder; checkpoints/ below it is the loop's. A training that is finished there already, by this
               process or by several (`python -m blossom.training`), is loaded, not repeated
    evaluate   None, or function(model) -> dict name -> float, called before the first step, `settings.evaluations`
               times in between, and after the last; the model is in eval mode then
    report     function(str) for one line every few steps
    return     dict: "steps", "rows" (of the dataset that were read), "tokens" (without padding),
               "labelled_tokens", "seconds" (training alone, without
               evaluations and checkpoints), "tokens_per_second", "peak_bytes", "loss": [{"step", "loss"}] (nats a
               labelled token), "during": [{"step", "tokens", **evaluate(model)}], "stopped": "" or why it stopped early;
               the same is written to `folder`/history.json

    A checkpoint of other settings, data or rows is set aside (checkpoints.old) with a line that says so.
    Raises ValueError before training: an empty dataset, a row without a label (its number), a row that is too long, ids
    outside the vocabulary, an option that this machine does not have.
    Raises RuntimeError: a loss that is not finite (names step and rows),
    another process training in the same folder, a full disk.
    Source: eq. (2) and eq. (3) of the paper are the same sum, over all tokens or over the output's.
    """
    folder = Path(folder)
    check_options(settings)
    rows = Rows(dataset, settings)
    check_rows(rows, model)
    learner = Learner(model, settings.precision, settings.activation_checkpointing)
    if settings.liger:
        use_liger(model)
    folder.mkdir(parents=True, exist_ok=True)
    state = PartialState(cpu=not torch.cuda.is_available())
    with _alone(folder) if state.is_main_process else contextlib.nullcontext():
        return _fit(learner, rows, settings, folder, evaluate, report if state.is_main_process else lambda line: None)


@contextlib.contextmanager
def _alone(folder):
    """Hold the folder for this training; RuntimeError when another has it."""
    lock = filelock.FileLock(folder / ".training.lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RuntimeError(f"{folder}: another process is training there; wait for it or choose another `outputs`") from None
    try:
        yield
    finally:
        lock.release()


def _fit(learner, rows, settings, folder, evaluate, report):
    arguments = _arguments(settings, folder)
    at_once = settings.batch_size * arguments.world_size
    rows.fill(at_once)
    steps = math.ceil(len(rows) // at_once / settings.accumulation)
    every = max(1, steps // 40)
    arguments.warmup_steps, arguments.logging_steps = max(1, round(settings.warmup * steps)), every
    watch = Watch(learner, settings, steps, every, evaluate, report)
    callbacks = [*_trackers(settings, folder), watch]
    trainer = Loop(learner, arguments, train_dataset=rows, data_collator=collate, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    trainer.settings, trainer.watch = settings, watch
    watch.gather, watch.log = trainer.accelerator.gather, trainer.log
    trainer.fingerprint = rows.fingerprint() | asdict(replace(settings, report_to="")) | {"trained": learner.shapes()}
    trainer.fingerprint["processes"] = arguments.world_size
    with trainer.accelerator.main_process_first():
        found = checkpoints.find_checkpoint(folder / "checkpoints", trainer.fingerprint, report)
    if found and (result := checkpoints.read_result(found)):
        checkpoints.read_checkpoint(found, learner)
    else:
        trainer.train(resume_from_checkpoint=str(found) if found else None)
        result = watch.result(trainer.state.global_step)
        result["rows"] = min(result["steps"] * at_once * settings.accumulation, rows.real)
        if arguments.should_save and settings.checkpoints:
            checkpoints.mark_finished(folder / "checkpoints", result["steps"], result)
    if arguments.should_save:
        paths.write_json(folder / "history.json", result)
    return result


def _trackers(settings, folder):
    """Trainer's callbacks that show the curves elsewhere; they write below `folder`."""
    if settings.report_to != "tensorboard":
        return []
    from tensorboardX import SummaryWriter

    return [TensorBoardCallback(SummaryWriter(str(folder / "tensorboard")))]


def _arguments(settings, folder):
    return TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        use_cpu=not torch.cuda.is_available(),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        num_train_epochs=1,  # Rows has the epochs in it
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        ddp_find_unused_parameters=False,  # all that learns is used in every step
        optim=OPTIMIZERS[settings.optimizer],
        adam_beta2=0.95,
        logging_nan_inf_filter=False,
        save_strategy="no",  # the Watch asks for checkpoints
        report_to="none",  # _trackers has ours
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=settings.seed,
    )


class Loop(Trainer):
    """Trainer, but for the loss, two learning rates, the order, and whole-or-absent checkpoints."""

    def __init__(self, learner, arguments, **more):
        super().__init__(learner, arguments, **more)
        self.model_accepts_loss_kwargs = True  # the loss is already divided by the labelled tokens of the whole update

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)

    def _get_num_items_in_batch(self, batch_samples, device):
        items = sum((batch["labels"][:, 1:] != IGNORED).sum() for batch in batch_samples).to(device)
        return self.accelerator.gather(items).sum() if self.args.world_size > 1 else items

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        sequences = {k: inputs[k] for k in ("input_ids", "labels", "segments", "anchored") if k in inputs}
        loss = model(**sequences, items=num_items_in_batch)
        if not torch.isfinite(loss):
            raise RuntimeError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}, rows {inputs['row'].tolist()}: "
                "stopped. The weights "
                "of the last checkpoint are intact; lower learning_rate or row_learning_rate, or look at these rows."
            )
        self.watch.count(inputs)
        return loss * self.args.world_size  # DDP averages gradients; the sum over processes is wanted

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            made, more = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = made(self.watch.learner.groups(self.settings), **more | {"weight_decay": 0.0})
        return self.optimizer

    def _save_checkpoint(self, model, trial=None):
        """Instead of Trainer's, which writes a file after another into the final place."""
        progress = {
            "fingerprint": self.fingerprint,
            "seen": self.watch.seen,
            "schedule": self.lr_scheduler.state_dict(),
            "rates": [group["lr"] for group in self.optimizer.param_groups],
        }
        tensors = checkpoints.collect_state(self.watch.learner, self.optimizer)
        if self.args.should_save:
            files = {"progress.json": progress, "trainer_state.json": asdict(self.state)}  # the second is Trainer's own
            checkpoints.write_checkpoint(Path(self.args.output_dir), self.state.global_step, tensors, files)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        """Nothing yet: parameters come back with the optimizer's state."""

    def _load_optimizer_and_scheduler(self, checkpoint):
        if checkpoint is None:
            return
        progress = checkpoints.read_checkpoint(Path(checkpoint), self.watch.learner, self.optimizer)
        self.watch.seen = progress["seen"]
        self.lr_scheduler.load_state_dict(progress["schedule"])
        for group, rate in zip(self.optimizer.param_groups, progress["rates"], strict=True):
            group["lr"] = rate

    def _load_rng_state(self, checkpoint):
        if checkpoint is not None:
            checkpoints.restore_generators(Path(checkpoint))
