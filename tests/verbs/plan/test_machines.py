"""Machines by the name of their type."""

import pytest

from pipeline.shards.outcomes import ConfigError
from pipeline.verbs.plan.machines import here, rented


@pytest.mark.parametrize(
    ("name", "vcpus", "gibibytes"),
    [("n1-standard-1", 1, 3.75), ("n2-standard-8", 8, 32), ("n1-highmem-16", 16, 104), ("e2-highcpu-4", 4, 4)],
)
def test_a_type_says_its_cores_and_its_memory(name, vcpus, gibibytes):
    one = rented(name, 3)
    assert (one.workers, one.vcpus, one.memory_bytes, one.service) == (3, vcpus, gibibytes * 2**30, True)


@pytest.mark.parametrize("name", ["", "large", "n2-standard", "n2-standard-x", "n2-standard-8 "])
def test_what_is_no_type_is_refused(name):
    with pytest.raises(ConfigError, match="expected a type such as"):
        rented(name, 1)


def test_this_machine_has_memory_and_disk(tmp_path):
    one = here(tmp_path, 3)
    assert (one.workers, one.vcpus, one.service) == (1, 3, False)
    assert one.memory_bytes > 0
    assert one.disk_bytes > 0
