"""Distributed training: several processes, one run, which `torchrun` starts, each on its share of every step's windows.

    torchrun --nproc-per-node 2 -m webtext train --dir work

Choice: two ways. `ddp`: every process holds all weights, gradients are averaged once a step. `fsdp`: every process
holds its share of weights, gradients and optimizer state (FSDP2's `fully_shard`), and gathers a layer while it is
needed. The global batch stays that of the settings, so the losses are those of one process but for rounding. Cost:
validation is measured by every process alike. Alternative: a launcher of our own, or a framework's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from trainer.objective import Objective


@dataclass(frozen=True)
class World:
    """Which of how many processes this is; `local` counts those of this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0


@contextmanager
def process_group(device: str) -> Iterator[World]:
    """The world that torchrun's environment describes, for the length of the block; alone without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield World()
        return
    world = World(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
    if device == "cuda":
        torch.cuda.set_device(world.local)
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield world
    finally:
        dist.destroy_process_group()


def wrap(objective: Objective, world: World, way: str) -> nn.Module:
    """The objective as it is called from now on; with `fsdp` its model's parameters are sharded in place."""
    if world.size == 1:
        return objective
    if way == "ddp":
        return DistributedDataParallel(objective)
    kind = objective.model.wte.weight.device.type
    mesh = init_device_mesh(kind, (world.size,))
    for layer in objective.model.h:
        fully_shard(layer, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    return objective


def no_sync(objective: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """For one micro-batch: gradients stay where they are, but in the last one of a step."""
    if isinstance(objective, FSDPModule):
        objective.set_requires_gradient_sync(last)
    elif isinstance(objective, DistributedDataParallel) and not last:
        return objective.no_sync()
    return nullcontext()


def reshard(objective: nn.Module) -> None:
    """After a forward pass without a backward pass: give back the weights that FSDP gathered and would keep for it.

    Until then the model's parameters are not those that the optimiser moves.
    """
    if isinstance(objective, FSDPModule):
        objective.reshard()


def any_rank(flag: bool, world: World, device: torch.device) -> bool:
    """Whether `flag` holds in any of the processes: all come to the same answer."""
    return all_reduce(torch.tensor(float(flag), device=device), world).item() > 0


def all_reduce(value: Tensor, world: World) -> Tensor:
    """The sum over all processes, in place."""
    if world.size > 1:
        dist.all_reduce(value)
    return value


def barrier(world: World) -> None:
    """Go on when all processes are here."""
    if world.size > 1:
        dist.barrier()


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor of which each process may hold a share, whole. All processes have to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """A copy of a whole tensor, on the device of a parameter and sharded as it is, if of its shape (a count is not)."""
    moved = tensor.to(parameter.device, copy=True)
    if isinstance(parameter, DTensor) and tensor.shape == parameter.shape:
        return distribute_tensor(moved, parameter.device_mesh, parameter.placements)
    return moved
