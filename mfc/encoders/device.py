"""Where and how precisely to compute: the words of the command line become torch objects, once, here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from mfc.errors import UserError, reason_of


@dataclass(frozen=True)
class Compute:
    """A device and the number format of its matrix products (parameters stay float32)."""

    device: torch.device
    dtype: torch.dtype
    compiled: bool = False
    """Whether training compiles the network first (torch.compile)."""

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Mixed precision for the forward pass; does nothing in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            yield

    def synchronize(self) -> None:
        """Wait for queued work, before reading a clock."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def load(self) -> dict[str, float]:
        """Peak GPU memory since the last call (GiB) and utilisation (per cent); empty without a GPU."""
        if self.device.type != "cuda":
            return {}
        values = {"gpu_memory_gb": torch.cuda.max_memory_allocated(self.device) / 2**30}
        torch.cuda.reset_peak_memory_stats(self.device)
        with contextlib.suppress(Exception):  # NVML, or this number, is not to be had everywhere
            values["gpu_utilization"] = float(torch.cuda.utilization(self.device))
        return values

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        compiled = ", compiled" if self.compiled else ""
        return f"{name}, {str(self.dtype).removeprefix('torch.')}{compiled}"


def pick_compute(device: str = "auto", precision: str = "auto", compiled: bool = False) -> Compute:
    """Resolve `--device`, `--precision` and `--compile`.

    Raises:
        UserError: for a device that torch does not know or this machine does not have.
    """
    picked = _auto_device() if device == "auto" else _named_device(device)
    if precision == "auto":
        precision = "bfloat16" if _computes_bfloat16_fast(picked) else "float32"
    return Compute(picked, torch.bfloat16 if precision == "bfloat16" else torch.float32, compiled)


def _auto_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _named_device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()  # "meta" makes tensors, but there is nothing in them
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = reason_of(error)
        raise UserError(f"device: {name!r} cannot be used here ({reason}); try auto or cpu") from None
    return device


def _computes_bfloat16_fast(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Without these instructions bfloat16 is emulated, several times slower than float32.
        known = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return bool(known())
    return False
