"""A small language model on the text of Python's own manual, its weights sharded over all ranks by FSDP.

Runs under torchrun, on GPUs with NCCL or on CPUs with Gloo, and goes on from its last checkpoint:

    torchrun --nproc-per-node 2 train.py --steps 100
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from pathlib import Path
from pydoc_data.topics import topics

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional

TEXT = "\n".join(topics[name] for name in sorted(topics))
ALPHABET = sorted(set(TEXT))
CODES = torch.tensor([ALPHABET.index(sign) for sign in TEXT])


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x_btc: Tensor) -> Tensor:
        batch, time_, width = x_btc.shape
        split = self.qkv(self.norm1(x_btc)).view(batch, time_, 3, self.heads, width // self.heads)
        q_bhtc, k_bhtc, v_bhtc = split.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q_bhtc, k_bhtc, v_bhtc, is_causal=True)
        x_btc = x_btc + self.out(mixed.transpose(1, 2).reshape(batch, time_, width))
        return x_btc + self.mlp(self.norm2(x_btc))


class LanguageModel(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, context: int) -> None:
        super().__init__()
        self.signs, self.places = nn.Embedding(len(ALPHABET), width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, len(ALPHABET))

    def forward(self, codes_bt: Tensor) -> Tensor:
        x_btc = self.signs(codes_bt) + self.places(torch.arange(codes_bt.shape[1], device=codes_bt.device))
        for block in self.blocks:
            x_btc = block(x_btc)
        return self.head(self.norm(x_btc))


def batch(step: int, rank: int, size: int, context: int) -> tuple[Tensor, Tensor]:
    """Passages that no other rank and step reads, and the same ones shifted by one sign."""
    generator = torch.Generator().manual_seed(step * 10_007 + rank)
    begins = torch.randint(len(CODES) - context - 1, (size,), generator=generator)
    passages = torch.stack([CODES[begin : begin + context + 1] for begin in begins])
    return passages[:, :-1], passages[:, 1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=16, help="passages per rank")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=50)
    arguments = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if has_gpu else "gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)

    torch.manual_seed(0)
    model = LanguageModel(arguments.width, arguments.layers, 4, arguments.context).to(device)
    mesh = init_device_mesh(device.type, (ranks,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    folder = Path(os.environ.get("HPCAI_OUTPUTS", ".")) / "checkpoint"
    begin = load(folder, model, optimizer)
    for step in range(begin, arguments.steps):
        started = time.perf_counter()
        codes, wanted = batch(step, rank, arguments.batch_size, arguments.context)
        logits = model(codes.to(device))
        loss = functional.cross_entropy(logits.flatten(0, 1), wanted.to(device).flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        dist.all_reduce(mean := loss.detach(), op=dist.ReduceOp.SUM)
        if rank == 0 and (step + 1) % 10 == 0:
            passages_per_s = ranks * arguments.batch_size / (time.perf_counter() - started)
            print(
                f"step {step + 1} loss {mean.item() / ranks:.3f} {passages_per_s:.0f} passages/s", flush=True
            )
        if (step + 1) % arguments.save_every == 0 or step + 1 == arguments.steps:
            save(folder, step + 1, model, optimizer)
    dist.destroy_process_group()


def save(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Every rank writes its own shard; the last file that is written says that the checkpoint is whole."""
    weights, moments = get_state_dict(model, optimizer)
    checkpoint.save({"model": weights, "optimizer": moments}, checkpoint_id=folder / f"step-{step}")
    if dist.get_rank() == 0:
        (folder / "last.json").write_text(json.dumps({"step": step}))


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """The step from which to go on, 0 without a checkpoint."""
    if not (folder / "last.json").exists():
        return 0
    step = json.loads((folder / "last.json").read_text())["step"]
    weights, moments = get_state_dict(model, optimizer)
    checkpoint.load({"model": weights, "optimizer": moments}, checkpoint_id=folder / f"step-{step}")
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=moments)
    if dist.get_rank() == 0:
        print(f"goes on from step {step}", flush=True)
    return int(step)


if __name__ == "__main__":
    main()
    # Ends Gloo's threads while Python still runs: one that lets go of a tensor later aborts the process.
    gc.collect()
