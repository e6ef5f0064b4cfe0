"""Who would do the work: this machine, or rented ones by the name of their type."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.shards import machine
from pipeline.shards.outcomes import ConfigError

TYPE = re.compile(r"(?P<family>[a-z]\d+[a-z]?)-(?P<kind>standard|highmem|highcpu)-(?P<vcpus>\d+)")
# GB of memory a vCPU: cloud.google.com/compute/docs/general-purpose-machines; N1 has less
MEMORY_GB = {"standard": 4.0, "highmem": 8.0, "highcpu": 1.0}
N1_MEMORY_GB = {"standard": 3.75, "highmem": 6.5, "highcpu": 0.9}


@dataclass(frozen=True)
class Machines:
    """`workers` machines of `vcpus` each, one shard a vCPU. `service`: rented, so that their start is paid for too."""

    workers: int
    vcpus: int
    memory_bytes: float  # of one of them
    service: bool = False
    disk_bytes: float | None = None  # free in the working directory; None: a service's disks grow


def here(root: Path, workers: int) -> Machines:
    """The machine that plans, with so many worker processes (0: one a core)."""
    cores = os.cpu_count() or 1
    return Machines(1, workers or cores, machine.memory_bytes(), disk_bytes=shutil.disk_usage(root).free)


def rented(name: str, workers: int) -> Machines:
    """So many machines of a type such as n2-standard-8. Raises ConfigError: not the name of a type."""
    found = TYPE.fullmatch(name)
    if found is None:
        raise ConfigError(f"--machine {name}: expected a type such as n2-standard-8, e2-highmem-4, n1-highcpu-16")
    a_vcpu = (N1_MEMORY_GB if found["family"] == "n1" else MEMORY_GB)[found["kind"]]
    vcpus = int(found["vcpus"])
    return Machines(workers, vcpus, vcpus * a_vcpu * 2**30, service=True)
