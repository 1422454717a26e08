"""Running a recipe: one verb after the other in one run folder, with the time and memory each of them took."""

import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.cli.main import main
from asr.cli.overrides import compose, for_verb, refuse_unread, to_overrides
from asr.files import atomic_write

VERBS = ("train", "lm train", "graph", "tune", "calibrate", "decode", "score", "bundle")
PREPARE_READS = ("data", "features")  # the options that prepare.py may read


class Recipe:
    """The verbs of one experiment. `recipe("train")` calls `asr train` as a user would; a failed verb ends the run.

    `folder` is the recipe's own; `folder/experiment/<experiment>.yaml` holds its choices. `cfg` is what they make.
    """

    def __init__(self, experiment: str, folder: Path, overrides: Sequence[str] = ()):
        self.folder, self.overrides = str(folder), [f"experiment={experiment}", *overrides]
        self.cfg = compose(to_overrides(self.overrides, (), self.folder))
        refuse_unread(overrides, (*VERBS, "transcribe"), PREPARE_READS, self.folder)
        self.stages: list[dict[str, float | str]] = []

    def __call__(self, verb: str, *words: str) -> None:
        print(f"\n== asr {verb} {' '.join(words)}", flush=True)
        start = time.perf_counter()
        common = for_verb(verb, self.overrides, self.folder)
        if code := main([*verb.split(), "--config-dir", self.folder, *common, *words]):
            raise SystemExit(code)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.stages.append({"verb": verb, "s": round(time.perf_counter() - start, 1), "peak_mb": round(peak_mb)})
        with atomic_write(Path(self.cfg.out) / "stages.json") as file:
            json.dump(self.stages, file, indent=1)

    def build(self) -> None:
        """From manifests to a scored test set and a bundle."""
        for verb in VERBS:
            self(verb)

    def result(self) -> dict[str, Any]:
        """What `asr score` wrote."""
        return json.loads((Path(self.cfg.score.dir) / "score.json").read_text())
