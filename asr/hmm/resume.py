"""Resume points of `asr hmm train`: what a stage leaves to the next one, so that a training that was killed goes on.

A file of numpy arrays, without pickled objects: `key` says what it was made from, `name` is the stage, `hmm` its HMMs
as in `hmm.json`, `matrix` that of `asr.hmm.spliced`. Paths and mixtures are stored one after the other, with their
sizes; an utterance without a path has the size -1. The features are computed again. All numbers come back as they
were, so a resumed training ends with the same bits.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from asr.array_files import DAMAGE
from asr.config import Config
from asr.files import atomic_write
from asr.fingerprints import digest
from asr.hmm.corpus import Corpus
from asr.hmm.mixtures import Mixture
from asr.hmm.model import Hmm
from asr.hmm.training import Stage
from asr.literals import parse_json

RESUME = "resume.npz"


@dataclass
class Resumed:
    """The last stage that was done. Its corpus has the features themselves, without the matrix."""

    name: str
    stage: Stage
    matrix: torch.Tensor | None


@dataclass(frozen=True)
class ResumePoint:
    path: Path
    key: str  # of the training; a file with another key counts as none

    @classmethod
    def of(cls, cfg: Config, hmm: Hmm, corpus: Corpus) -> "ResumePoint":
        """That of the training of these HMMs: the key depends on all that the parameters depend on."""
        texts = [asdict(cfg.hmm), hmm.plain(), digest(cfg.tokens.lexicon), corpus.ids, corpus.words, corpus.own,
                 corpus.speakers, corpus.first.tolist()]  # fmt: skip
        found = sha256(json.dumps(texts).encode())
        found.update(corpus.features.numpy().data)
        return cls(Path(cfg.out) / "train" / RESUME, found.hexdigest())

    def write(self, name: str, stage: Stage, matrix: torch.Tensor | None) -> None:
        """Keep a stage that is done, in place of the one before."""
        mixtures = stage.mixtures.values()
        columns: dict[str, Any] = {
            part: _joined(getattr(m, part).numpy() for m in mixtures) for part in ("weights", "means", "variances")
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path, "wb") as file:
            np.savez(file, key=np.array(self.key), name=np.array(name), hmm=np.array(json.dumps(stage.hmm.plain())),
                     paths=_joined(path for path in stage.paths if path is not None),
                     path_sizes=np.array([-1 if path is None else len(path) for path in stage.paths]),
                     outputs=np.array([*stage.mixtures], np.int64), gaussians=np.array([*map(len, mixtures)], np.int64),
                     matrix=np.zeros(0) if matrix is None else matrix.numpy(), **columns)  # fmt: skip

    def read(self, corpus: Corpus) -> Resumed | None:
        """The stage that a training of the same key has left; None if there is none, or if it is damaged."""
        try:
            with np.load(self.path, allow_pickle=False) as data:
                if str(data["key"]) != self.key:
                    return None
                name, hmm = str(data["name"]), Hmm.of(parse_json(str(data["hmm"])))
                sizes, matrix = data["path_sizes"], data["matrix"]
                own = iter(np.split(data["paths"], np.cumsum(sizes[sizes >= 0])[:-1]))
                paths = [next(own) if size >= 0 else None for size in sizes.tolist()]
                ends = np.cumsum(data["gaussians"])[:-1]
                parts = zip(*(np.split(data[part], ends) for part in ("weights", "means", "variances")), strict=True)
                mixtures = [Mixture(*map(torch.from_numpy, part)) for part in parts]
                found = dict(zip(data["outputs"].tolist(), mixtures, strict=True))
        except FileNotFoundError:
            return None
        except (*DAMAGE, StopIteration) as e:
            tqdm.write(f"{self.path} cannot be read ({e}); the training begins anew")
            return None
        tqdm.write(f"resuming {self.path.parent} after the stage: {name}")
        return Resumed(name, Stage(hmm, corpus, paths, found), torch.from_numpy(matrix) if len(matrix) else None)


def _joined(parts: Iterable[NDArray]) -> NDArray:
    found: Sequence[NDArray] = [*parts]
    return np.concatenate(found) if found else np.zeros(0)
