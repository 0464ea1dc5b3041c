"""What a container allows counts, not what the machine has."""

import os
from pathlib import Path

import psutil
import pytest

from diffst_cli import allowance, libraries

GB = 10**9
HUGE = 9223372036854771712  # version 1's word for no limit


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """64 cores, 40 of 64 GB free; gives the folder of the control groups, where nothing is yet."""
    root = tmp_path / "cgroup"
    memory = type("Memory", (), {"available": 40 * GB, "total": 64 * GB})
    monkeypatch.setattr(psutil, "virtual_memory", memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(allowance, "ROOT", root)
    monkeypatch.setattr(allowance, "GROUPS", tmp_path / "groups")
    return root


def put(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_without_groups_it_is_the_machine():
    assert allowance.num_cores() == 64
    assert allowance.main_memory() == (40 * GB, 64 * GB)


def test_version_2_limits_cores_and_memory(machine: Path):
    allowance.GROUPS.write_text("0::/\n")
    stat = "anon 1\ninactive_file 500000000\nactive_file 7"
    put(
        machine, memory__max=2 * GB, memory__current=GB, memory__stat=stat, cpu__max="150000 100000"
    )
    assert allowance.num_cores() == 2
    assert allowance.main_memory() == (3 * GB // 2, 2 * GB)


def test_the_tightest_of_nested_groups_holds(machine: Path):
    allowance.GROUPS.write_text("0::/outer/inner\n")
    put(machine / "outer" / "inner", memory__max="max", cpu__max="max 100000")
    put(machine / "outer", memory__max=8 * GB, memory__current=2 * GB, cpu__max="400000 100000")
    assert allowance.num_cores() == 4
    assert allowance.main_memory() == (6 * GB, 8 * GB)


def test_version_1_has_a_folder_for_each_kind(machine: Path):
    allowance.GROUPS.write_text("4:memory:/docker/ab\n2:cpu,cpuacct:/docker/ab\n1:name=systemd:/\n")
    put(
        machine / "memory",  # a container sees its own group as the root
        memory__limit_in_bytes=GB,
        memory__usage_in_bytes=GB // 2,
        memory__stat=f"inactive_file 1\nodd\ntotal_inactive_file {GB // 4}",
    )
    put(machine / "cpu,cpuacct", cpu__cfs_quota_us=300000, cpu__cfs_period_us=100000)
    assert allowance.num_cores() == 3
    (machine / "cpu").symlink_to("cpu,cpuacct")
    allowance.GROUPS.write_text("4:memory:/docker/ab\n2:cpuacct,cpu:/docker/ab\n")
    assert allowance.num_cores() == 3
    assert allowance.main_memory() == (3 * GB // 4, GB)


def test_no_limit_is_none(machine: Path):
    allowance.GROUPS.write_text("4:memory:/\n2:cpu:/\n")
    put(machine / "memory", memory__limit_in_bytes=HUGE, memory__usage_in_bytes=GB)
    put(machine / "cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100000)
    assert allowance.num_cores() == 64
    assert allowance.main_memory() == (40 * GB, 64 * GB)


def test_no_more_threads_are_taken_than_allowed(machine: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    told: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    libraries._share_cores()
    assert told == []
    allowance.GROUPS.write_text("0::/\n")
    put(machine, cpu__max="200000 100000")
    libraries._share_cores()
    assert told == [2]
