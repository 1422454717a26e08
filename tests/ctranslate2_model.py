"""Writes small Whisper models in CTranslate2's format, with random weights."""

import struct
from pathlib import Path

import numpy as np

TYPES = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}


def string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def tensor(name: str, x: np.ndarray) -> bytes:
    head = string(name) + struct.pack(f"<B{x.ndim}IBI", x.ndim, *x.shape, TYPES[x.dtype.name], x.nbytes)
    return head + x.astype(x.dtype.newbyteorder("<")).tobytes()


def weights(dim: int = 16, layers: int = 2, hidden: int = 24, bands: int = 80, seed: int = 1) -> dict[str, np.ndarray]:
    """The tensors of an encoder with four heads, float32."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "conv1/weight": (dim, bands, 3), "conv1/bias": (dim,), "conv2/weight": (dim, dim, 3), "conv2/bias": (dim,),
        "position_encodings/encodings": (1500, dim), "layer_norm/gamma": (dim,), "layer_norm/beta": (dim,),
    }  # fmt: skip
    for i in range(layers):
        for part, rows, columns in [
            ("self_attention/linear_0", 3 * dim, dim), ("self_attention/linear_1", dim, dim),
            ("ffn/linear_0", hidden, dim), ("ffn/linear_1", dim, hidden),
        ]:  # fmt: skip
            shapes |= {f"layer_{i}/{part}/weight": (rows, columns), f"layer_{i}/{part}/bias": (rows,)}
        for part in ("self_attention", "ffn"):
            shapes |= {f"layer_{i}/{part}/layer_norm/{name}": (dim,) for name in ("gamma", "beta")}
    return {
        f"encoder/{name}": (rng.normal(scale=0.3, size=shape) + ("gamma" in name)).astype(np.float32)
        for name, shape in shapes.items()
    }


def model_bytes(tensors: dict[str, np.ndarray], specification: str = "WhisperSpec") -> bytes:
    everything = tensors | {"encoder/num_heads": np.array(4, np.int16)}
    everything.setdefault("decoder/embeddings/weight", np.ones((3, 4), np.float32))
    head = struct.pack("<I", 6) + string(specification) + struct.pack("<II", 3, len(everything))
    return head + b"".join(tensor(name, x) for name, x in everything.items()) + struct.pack("<I", 0)


def write_model(folder: Path, **sizes: int) -> Path:
    """Returns the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(model_bytes(weights(**sizes)))
    return folder
