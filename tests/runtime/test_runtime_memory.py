import platform

import pytest
import torch

from dgdd_cli.runtime.memory import free_memory_bytes, keep_freed_memory, peak_memory_bytes


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_glibc_accepts_the_settings():
    assert keep_freed_memory() is True


def test_elsewhere_nothing_is_set(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False


@pytest.mark.skipif(platform.system() != "Linux", reason="other systems may not tell")
def test_free_memory_is_told_in_bytes():
    free = free_memory_bytes(torch.device("cpu"))
    assert free is not None
    assert 2**20 < free < 2**50


def test_peak_memory_counts_what_was_used():
    before = peak_memory_bytes()
    block = bytearray(before + 2**26)  # more than the process ever had: the peak must rise
    block[:: 2**12] = b"\x01" * len(block[:: 2**12])
    assert peak_memory_bytes() > before


@pytest.mark.parametrize("least", range(3))
def test_free_memory_is_the_least_that_anything_leaves(monkeypatch, least):
    for place, name in enumerate(("left_on_machine", "left_in_groups", "left_of_limits")):
        monkeypatch.setattr(f"dgdd_cli.runtime.memory.{name}", lambda left=10 - (place == least): left)
    assert free_memory_bytes(torch.device("cpu")) == 9


def test_what_is_not_told_is_no_limit(monkeypatch):
    for name, left in (("left_on_machine", None), ("left_in_groups", None), ("left_of_limits", 7)):
        monkeypatch.setattr(f"dgdd_cli.runtime.memory.{name}", lambda left=left: left)
    assert free_memory_bytes(torch.device("cpu")) == 7
    monkeypatch.setattr("dgdd_cli.runtime.memory.left_of_limits", lambda: None)
    assert free_memory_bytes(torch.device("cpu")) is None
