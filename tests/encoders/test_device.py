"""--device and --precision become torch objects, or one sentence."""

from __future__ import annotations

import pytest
import torch

from mfc.encoders.device import Compute, pick_compute
from mfc.errors import UserError


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an accelerator the CPU; bfloat16 only where the CPU has instructions for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for fast, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast, raising=False)
        compute = pick_compute()
        assert (compute.device.type, compute.dtype) == ("cpu", wanted)


def test_precision_can_be_forced() -> None:
    """What was asked for is used."""
    assert pick_compute("cpu", "float32").dtype == torch.float32
    compute = pick_compute("cpu", "bfloat16")
    with compute.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta", "meta:0", "", "cpu:x"])
def test_a_device_that_is_not_there(name: str) -> None:
    """The name and the way out; "meta" is known to torch, but holds no values."""
    with pytest.raises(UserError, match=f"device: '{name}' cannot be used here .*; try auto or cpu"):
        pick_compute(name)


def test_the_load_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory in GiB, and utilisation where the driver tells it; nothing on a CPU."""
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 87)
    gpu = Compute(torch.device("cuda"), torch.bfloat16)
    assert gpu.load() == {"gpu_memory_gb": 1.5, "gpu_utilization": 87.0}

    def no_driver(device: object) -> int:
        raise RuntimeError("NVML Shared Library Not Found")

    monkeypatch.setattr(torch.cuda, "utilization", no_driver)
    assert gpu.load() == {"gpu_memory_gb": 1.5}
    assert Compute(torch.device("cpu"), torch.float32).load() == {}
