"""One of two gloo processes: shards models as accelerate does under its FSDP configuration, trains them, resumes them.

torchrun --nproc_per_node 2 tests/sharded.py FOLDER   (the configuration's variables in the environment)
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.fsdp_utils import fsdp2_prepare_model

from blossom import models, paths, training
from blossom.training import checkpoints
from blossom.training.learner import Learner, collate

sys.path.insert(0, str(Path(__file__).parent))
CASES = [("tiny-sentencepiece", "lora+embeddings"), ("tiny-byte-level", "lora+new-rows")]
STEPS = 4


def trained(base, mode, share=0, shares=1, wrap=lambda learner: learner, folder=None):
    """Losses of some steps on this process's share of every batch, the bits/byte before, the learner, the optimizer.

    With a folder the state is written there after two steps, spoilt, and read back.
    """
    from test_training import adapted, some_rows

    learner = wrap(Learner(adapted(base, mode), "float32", activation_checkpointing=True))
    groups = learner.groups(training.Settings(learning_rate=1e-2, row_learning_rate=3e-2))
    optimizer, losses = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0, fused=True), []
    with learner.whole():
        bits = models.bits_per_byte(learner.model, models.load(base)[1], ["Turn on the light."])
    for step in range(STEPS):
        if step == 2 and folder:
            _through_disk(learner, optimizer, folder)
        rows = [row | {"row": 0} for row in some_rows(4, seed=step)]
        batch = collate(rows[share::shares])
        loss = learner(batch["input_ids"], batch["labels"], items=4 * 23) * shares  # gradients are averaged
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach() / shares)
    return losses, bits, learner, optimizer


def _through_disk(learner, optimizer, folder):
    state = checkpoints.state(learner, optimizer)
    if dist.get_rank() == 0:
        checkpoints.write(folder, 2, state, {"progress.json": {}})
    dist.barrier()
    with torch.no_grad():
        for parameter in learner.parameters():
            if parameter.requires_grad:
                parameter.mul_(0.5)
    optimizer.state.clear()
    checkpoints.read(folder / "step-000002", learner, optimizer)


def main(folder):
    dist.init_process_group("gloo")
    state = SimpleNamespace(fsdp_plugin=FullyShardedDataParallelPlugin())
    rank, place = dist.get_rank(), torch.device("cpu")
    accelerator = SimpleNamespace(state=state, mixed_precision="no", is_main_process=rank == 0, device=place)
    for base, mode in CASES:
        losses, bits, learner, optimizer = trained(
            base, mode, rank, 2, lambda made: fsdp2_prepare_model(accelerator, made), folder / base
        )
        for loss in losses:
            dist.all_reduce(loss)
        held = sum(p.to_local().numel() for p in learner.parameters()) / sum(p.numel() for p in learner.parameters())
        whole = checkpoints.state(learner, optimizer)
        if rank == 0:
            told = {"losses": [loss.item() for loss in losses], "bits": bits, "held": held}
            checkpoints.write(folder / base, STEPS, whole, {"progress.json": told})
    dist.destroy_process_group()


if __name__ == "__main__":
    main(paths.Path(sys.argv[1]))
