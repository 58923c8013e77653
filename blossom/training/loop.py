"""The training loop, for continued pretraining and instruction tuning alike."""

import contextlib
import math
import time
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast_object_list
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import get_cosine_schedule_with_warmup, get_wsd_schedule

from blossom.common import params, paths, runs
from blossom.models.loading import find_layers, pick_device
from blossom.training import checkpoints, data, optimizers, packing
from blossom.training.cpu.compiled_ops import CompiledOps, pick_ops
from blossom.training.learner import Learner
from blossom.training.settings import check_options

TOLD = "stopped. The last checkpoint is intact; lower learning_rate or row_learning_rate, or look at these rows."


def train_model(model, dataset, settings, folder, evaluate=None, report=print):
    """Train `model` in place; continue from `folder`/checkpoints if an earlier call was interrupted.

    model      from `adapt_model`; its weights get back their dtypes after training
    dataset    len() and [i] -> dict of 1-D integer arrays of one length T; shuffled each epoch, unless it is `ordered`:
               "input_ids"
               "labels"    the same ids, or -100 where nothing is learned; labels[t] is predicted from input_ids[:t]
               "segments"  optional: tokens attend only within their segment, positions restart; 0 is padding
               "anchored"  optional bool: learn the base model's distribution, not the tokens (knowledge distillation)
    settings   TrainingSettings;  report  function(str)
    folder     for checkpoints/ and history.json; a finished training found there is loaded
    evaluate   function(model) -> dict name -> float, called at the start, `settings.evaluations` times between, at the end
    return     dict, also in history.json: "steps", "rows" (read), "tokens" (without padding), "labelled_tokens", "seconds"
               (without evaluations and checkpoints), "tokens_per_second", "peak_bytes", "device", "kernels" (C, torch),
               "first_loss" (of the first step), "loss": [{"step", "loss" (nats per labelled token), "gradient_norm"}],
               "during": [{"step", "tokens", **evaluate(model)}], "stopped": "" or why training stopped early

    Raises ValueError for wrong rows or settings, or a model that is trained already; RuntimeError for a loss or gradient
    that is not finite, a full disk, a locked folder, an end by a signal or Slurm's limit, after saving, or divergence.
    Source: equations (2) and (3) of the paper.
    """
    folder = Path(folder)
    check_options(settings)
    rows = data.TrainingRows(dataset, settings, model)
    data.check_rows(dataset, model)
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), log_with=settings.report_to or None, project_dir=folder)
    options = settings.precision, settings.activation_checkpointing, "segments" in dataset[0]
    told = f"{folder}: another process is training there; wait for it or choose another `outputs`"
    lock = runs.take_lock(folder / ".training.lock", told) if accelerator.is_main_process else contextlib.nullcontext()
    timer = checkpoints.SaveTimer(accelerator, settings.checkpoint_minutes)
    with lock, timer, Learner(model, *options) as learner:
        if settings.liger:  # for the layers; our own loss computes logits of labelled tokens only
            from transformers.integrations.liger import apply_liger_kernel

            apply_liger_kernel(model, {"cross_entropy": False, "fused_linear_cross_entropy": False})
        result = _train(accelerator, learner, rows, settings, folder, evaluate, report, timer)
        accelerator.free_memory()  # it holds the optimizer
    if accelerator.is_main_process:
        paths.write_json(folder / "history.json", result)
    check_converged(result)
    return result


def check_converged(result):
    """Raise RuntimeError when a training (`train_model`) diverged: its own loss and every held-out measure ended higher.

    Higher is: the mean of the last tenth of the losses is above the first step's, and each held-out measure is above its
    start by more than a tenth. A healthy run can do one of these: losses of single batches differ by chance, many epochs of
    little text raise held-out measures while the loss falls, and a language that is not trained on may be forgotten.
    """
    rows, during = result["loss"], result["during"] or [{}]
    last = [row["loss"] for row in rows[len(rows) * 9 // 10 :]]
    rises = {name: (first, during[-1][name]) for name, first in during[0].items() if name not in ("step", "tokens")}
    if last and rises and sum(last) / len(last) > result["first_loss"] and all(b > 1.1 * a for a, b in rises.values()):
        rises = {"loss": (result["first_loss"], sum(last) / len(last))} | rises
        told = ", ".join(f"{name} from {a:.3f} to {b:.3f}" for name, (a, b) in rises.items())
        told += ". Lower learning_rate or row_learning_rate (sft_... in stage 04), and train again"
        raise RuntimeError(f"the training diverged: {told}; its last checkpoint is kept")


def _train(accelerator, learner, rows, settings, folder, evaluate, report, timer):
    world, rank, accumulation = accelerator.num_processes, accelerator.process_index, settings.accumulation
    batches = math.ceil(len(rows) / (settings.batch_size * world))  # per process
    steps = math.ceil(batches / accumulation)
    every = max(1, steps // 40)  # steps between logged losses
    evaluated = {round(k * steps / (settings.evaluations + 1)) for k in range(1, settings.evaluations + 2)}
    shapes = {name: list(p.shape) for name, p in learner.named_parameters() if p.requires_grad}
    start = next((m.trained_from for m in learner.modules() if hasattr(m, "trained_from")), None)  # of an earlier call
    run = rows.fingerprint() | checkpoints.fingerprint_settings(settings) | (start or checkpoints.fingerprint_start(learner))
    run |= {"trained": shapes, "processes": world, "format": 4} | checkpoints.fingerprint_texts(evaluate)
    progress = Progress(steps, every, report if accelerator.is_main_process else None)
    # by one process, which may rename what is damaged; the others take what it has found
    found = checkpoints.find_checkpoint(folder / "checkpoints", run, progress.say) if accelerator.is_main_process else None
    (found,) = broadcast_object_list([found])
    if start and not found:
        raise params.ParameterError("an earlier call has trained this model: run the cells again that load and adapt it")
    start = {name: run[name] for name in ("model", "lora_alpha")}
    if found and (result := paths.read_json(found / "progress.json")["result"]):
        learner.model.trained_from = start
        checkpoints.read_checkpoint(found, learner)
        return result
    runs.seed_generators(settings.seed)
    sharded = accelerator.distributed_type == DistributedType.FSDP
    if sharded:
        _shard_weights(learner)
    optimizer = optimizers.make_optimizer(learner.parameter_groups(settings), settings)
    model = learner if sharded else accelerator.prepare(learner)  # DDP around the learner, when there are several
    learner.model.trained_from = start
    if settings.report_to:
        accelerator.init_trackers(settings.report_to)

    def measure(step):
        if evaluate is None:
            return
        with learner.evaluation():
            (values,) = broadcast_object_list([evaluate(learner.model)])  # so that all decide alike
        progress.add_evaluation(step, values, settings.forgetting_budget)
        accelerator.log({f"heldout/{name}": value for name, value in values.items()}, step)

    if learner.note:
        progress.say(learner.note)
    learner.train()
    done, result, summed = 0, None, torch.zeros((), device=accelerator.device)  # summed: losses since the last logged one
    if found:
        state = checkpoints.read_checkpoint(found, learner, optimizer)
        done, progress.seen = state["step"], state["seen"]
        summed += state["losses"][rank]
    else:
        measure(0)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]  # which the schedule needs to start at step `done`
    make = {"cosine": get_cosine_schedule_with_warmup, "wsd": partial(get_wsd_schedule, num_decay_steps=max(1, steps // 5))}
    rising = min(steps - 1, max(1, round(settings.warmup * steps)))  # from 0, at which a single step would learn nothing
    sizes = {"num_warmup_steps": rising, "num_training_steps": steps}
    schedule = make[settings.schedule](optimizer, last_epoch=done - 1, **sizes)
    while result is None:
        started = time.perf_counter()
        numbers = [n * world + rank for n in range(done * accumulation, min((done + 1) * accumulation, batches))]
        update = [rows.batch(number, accelerator.device) for number in numbers]
        labelled = sum((batch["labels"][:, 1:] != packing.IGNORED).sum() for batch, _ in update)
        counts = torch.stack([labelled, labelled.new_tensor(sum(tokens for _, tokens in update))])
        labelled, tokens = accelerator.gather(counts[None]).sum(0)  # of all processes
        for number, (batch, _) in zip(numbers, update, strict=True):
            # gradients are summed over processes once an update, with its last batch; shards at once: they are smaller
            with contextlib.nullcontext() if sharded or number == numbers[-1] else accelerator.no_sync(model):
                loss = model(**batch, items=labelled.clamp(min=1)) * world  # DDP and FSDP average gradients; a sum is wanted
                if not torch.isfinite(loss):
                    raise RuntimeError(f"the loss is {loss.item()} at step {done + 1}, rows {rows.numbers(number)}: {TOLD}")
                accelerator.backward(loss)
            summed += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        norm = norm.full_tensor() if sharded else norm
        if not torch.isfinite(norm):
            raise RuntimeError(f"the gradient is not finite at step {done + 1}: {TOLD}")
        optimizer.step()
        schedule.step()
        model.zero_grad()
        done += 1
        progress.add_step(labelled.item(), tokens.item(), time.perf_counter() - started)
        if done == 1:
            progress.seen["first_loss"] = accelerator.gather(summed).mean().item()
        if done in evaluated:
            measure(done)
        if done % every == 0:
            loss = accelerator.gather(summed).mean().item() / every
            progress.add_loss(done, loss, norm.item())
            accelerator.log({"train/loss": loss, "train/gradient_norm": norm.item()}, done)
            summed.zero_()
        if done == steps or progress.seen["stopped"]:
            result = progress.result(done, min(done * accumulation * settings.batch_size * world, len(rows)))
            result["kernels"] = "C" if isinstance(pick_ops(learner.dtype, accelerator.device), CompiledOps) else "torch"
        wish = timer.ask()
        if wish or result:
            tensors = checkpoints.collect_state(learner, optimizer, keep=accelerator.is_main_process)
            losses = accelerator.gather(summed[None]).tolist()
            if accelerator.is_main_process:
                state = {"fingerprint": run, "step": done, "seen": progress.seen, "losses": losses, "result": result}
                checkpoints.write_checkpoint(folder / "checkpoints", tensors, state)
            accelerator.wait_for_everyone()
        if wish == 2 and not result:
            told = f"stopped by a signal, or before the end of its Slurm job, after step {done} of {steps}, and saved"
            raise RuntimeError(f"{told}: the same command goes on from there")
    if settings.report_to:
        accelerator.end_training()
    return result


def _shard_weights(learner):
    """Share the weights over the processes (FSDP2). Layers exchange theirs in the working precision, gradients in float32.

    Embedding tables are exchanged in float32: the gradient of a row is a sum over many tokens.
    """
    learner._dtypes.clear()  # they keep the whole weights in memory
    policy = MixedPrecisionPolicy(param_dtype=learner.dtype, reduce_dtype=torch.float32)
    for layer in find_layers(learner.decoder):
        fully_shard(layer, mp_policy=policy)
    fully_shard(learner)


class Progress:
    """Collects what `train_model` returns in `seen` (JSON, part of every checkpoint) and reports it."""

    def __init__(self, steps, every, report):
        self.steps, self.every, self.say = steps, every, report or (lambda line: None)
        self.seen = {"tokens": 0, "labelled_tokens": 0, "seconds": 0.0, "loss": [], "during": [], "stopped": ""}

    def add_step(self, labelled, tokens, seconds):
        for name, value in (("labelled_tokens", labelled), ("tokens", tokens), ("seconds", seconds)):
            self.seen[name] += value

    def add_loss(self, step, loss, norm):
        """Record the mean loss (nats per labelled token) since the last call."""
        self.seen["loss"].append({"step": step, "loss": loss, "gradient_norm": norm})
        if (step // self.every) % 5 == 0 or step == self.steps:
            left, rate = self.seen["seconds"] / step * (self.steps - step), self._rate()
            self.say(f"step {step}/{self.steps}  loss {loss:.3f} nats/token  {rate:,.0f} tokens/s  {left:.0f} s left")

    def add_evaluation(self, step, values, budget):
        """Record an evaluation; set "stopped" when the loss of English rose beyond the forgetting budget."""
        self.seen["during"].append({"step": step, "tokens": self.seen["tokens"], **values})
        self.say(f"step {step}/{self.steps}  " + "  ".join(f"{name} {value:.3f}" for name, value in values.items()))
        start = self.seen["during"][0].get("english")
        if budget and start and values["english"] > start * (1 + budget):
            rise = f"English rose from {start:.3f} to {values['english']:.3f}, beyond forgetting_budget {budget}"
            self.seen["stopped"] = f"step {step}: {rise}"
            self.say(f"stopped at {self.seen['stopped']}")

    def result(self, step, rows):
        measured = {"tokens_per_second": self._rate(), "peak_bytes": runs.peak_bytes(), "device": pick_device().type}
        return self.seen | {"steps": step, "rows": rows} | measured

    def _rate(self):
        return self.seen["tokens"] / max(self.seen["seconds"], 1e-9)
