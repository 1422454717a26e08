"""The weights of a net as a bundle holds them: those of an encoder in half precision, if nothing is lost."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

from asr.errors import InputError
from asr.models.acoustic import AcousticModel

_ENCODER = "frontend.encoder."


def packed(model: AcousticModel) -> bytes:
    """The content of model.safetensors."""
    state = {name: _packed(name, tensor.detach().cpu().contiguous()) for name, tensor in model.state_dict().items()}
    return safetensors.save(state)


def unpacked(data: memoryview, path: str | Path) -> dict[str, torch.Tensor]:
    """The inverse of `packed`: tensors by name. Raises InputError naming the bundle `path` if they cannot be read."""
    try:
        return {name: _unpacked(name, tensor) for name, tensor in safetensors.load(bytes(data)).items()}
    except SafetensorError as e:
        raise InputError(f"{path}: member model.safetensors cannot be read ({e}); make the bundle again") from e


def kinds(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}


def _packed(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Weights of an encoder in half precision, if nothing is lost."""
    half = tensor.half() if name.startswith(_ENCODER) and tensor.dtype == torch.float32 else tensor
    return half if torch.equal(half.to(tensor.dtype), tensor) else tensor


def _unpacked(name: str, tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if name.startswith(_ENCODER) and tensor.dtype == torch.float16 else tensor
