"""Your own training with Horovod, ten lines of it: a regression that all ranks learn together.

horovodrun -np 2 python train.py
"""

from __future__ import annotations

import horovod.torch as hvd
import torch
from torch import nn

STEPS = 60


def main() -> None:
    hvd.init()
    torch.manual_seed(hvd.rank())
    if torch.cuda.is_available():
        torch.cuda.set_device(hvd.local_rank())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)

    for step in range(STEPS):
        x = torch.randn(64, 8, device=device)
        loss = nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if hvd.rank() == 0 and (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {loss.item():.3f} on {hvd.size()} ranks", flush=True)
    hvd.shutdown()


if __name__ == "__main__":
    main()
