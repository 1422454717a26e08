"""What an import gives: a model of ours, its tokens, and where it comes from."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.config import Config
from asr.models.acoustic import AcousticModel
from asr.models.imported.onnx_model import OnnxModel
from asr.tokens import Tokens


@dataclass(frozen=True)
class Source:
    """The files of a model, for its card."""

    name: str
    kind: str  # family and type, as `wav2vec2 of Hugging Face`
    licence: str | None  # as its files state it
    weights: Sequence[Path]

    def facts(self) -> dict[str, str]:
        files = {path.name: path for path in self.weights}
        return {
            "source": f"{self.name}, {self.kind}",
            "licence": self.licence or "not stated by the source",
            **{
                f"weights {name}": f"{path.stat().st_size} bytes, sha256 {_digest(path)}"
                for name, path in files.items()
            },
        }


@dataclass(frozen=True)
class Imported:
    """`cfg` has the features, the model and the unit that a bundle records. `dropped` outputs are no tokens."""

    model: AcousticModel | OnnxModel
    cfg: Config
    tokens: Tokens
    dropped: Sequence[str]
    source: Source

    def card(self) -> str:
        """A description of the bundle for people."""
        facts = self.source.facts() | {
            "sample rate": f"{self.cfg.features.sample_rate_hz} Hz",
            "output frames": f"one per {self.model.frame_s * 1000:g} ms",
            "unit": self.cfg.tokens.unit,
            "tokens": f"{len(self.tokens)}; outputs left out: {' '.join(self.dropped) or 'none'}",
        }
        lines = [f"# {self.source.name}", "", "A speech recogniser: an imported CTC acoustic model", ""]
        return "\n".join([*lines, *(f"- {name}: {value}" for name, value in facts.items())]) + "\n"


def _digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()
