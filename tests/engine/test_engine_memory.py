import platform

import pytest
import torch

from dgdd_cli.engine.memory import free_memory_bytes, keep_freed_memory, peak_memory_bytes


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


def test_a_container_may_leave_less_than_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("dgdd_cli.engine.memory.CGROUP", tmp_path)
    plain = free_memory_bytes(torch.device("cpu"))
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("4000000\n")
    assert free_memory_bytes(torch.device("cpu")) == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    free = free_memory_bytes(torch.device("cpu"))
    assert (free is None) == (plain is None)
    assert free is None or free > 1_000_000
