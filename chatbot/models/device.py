"""Which device a model runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chatbot.errors import UsageError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def check_device(device: str) -> None:
    """Raise :class:`UsageError` for a name that is no device."""
    if device not in DEVICES:
        raise UsageError(f"--device '{device}'은(는) 없는 장치예요. {', '.join(DEVICES)} 중에서 골라 주세요.")


def resolve_device(device: str = "auto") -> str:
    """Return ``"cuda"``, ``"mps"`` or ``"cpu"``; ``auto`` takes the first there is. Imports torch."""
    check_device(device)
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, there in available.items() if there)
    if not available[device]:
        raise UsageError(
            f"이 컴퓨터에서는 --device {device}을(를) 쓸 수 없어요. --device cpu로 실행해 주세요."
        )
    return device


def number_type(device: str) -> torch.dtype:
    """Return bfloat16 where the device computes in it natively, else float32."""
    import torch

    return torch.bfloat16 if device == "cuda" and native_bfloat16(device) else torch.float32


def native_bfloat16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 matrices in hardware."""
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in known)
    return False
