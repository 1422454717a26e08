"""Runs a recipe: one verb after the other in one run folder, with the time and memory of each."""

import dataclasses
import json
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asr.cli.main import main
from asr.cli.overrides import compose, for_verb, refuse_unread, to_overrides
from asr.config import Config
from asr.files import atomic_write
from asr.literals import parse_json

VERBS = ("train", "lm train", "graph", "tune", "calibrate", "decode", "score", "bundle")
PREPARE_READS = ("data", "features")  # the options that `prepare` may read
SAYS = {
    "prepare": "Finds or downloads the recordings and lists all utterances with their texts in manifests.",
    "import": "Makes the imported model that of the run folder, in place of a training.",
    "lexicon fit": "Fits the pronunciations to what the model says on transcribed speech.",
    "train": "Trains the acoustic model, which estimates the probability of each phone or letter at each moment.",
    "hmm train": "Trains HMMs: aligns the frames with states of phones and fits Gaussian mixtures to them, in rounds.",
    "lm train": "Estimates the language model, which gives the probability of each word after the words before it.",
    "lm convert": "Keeps the part of a Whisper that ranks the best readings of the search anew by their sound.",
    "graph": "Compiles lexicon and language model into the search graph, so that only known words are recognised.",
    "tune": "Balances the two models: tries scales and penalties on the dev set and keeps the best.",
    "calibrate": "Fits confidences to the dev set, so that about eight in ten words with confidence 0.8 are right.",
    "decode": "Recognises the test set, which no earlier step has used.",
    "score": "Compares the recognised words with the reference texts: the word error rate, with its interval.",
    "bundle": "Packs model, graph and settings into one file, which `asr transcribe` and `asr.load` open.",
    "transcribe": "Recognises one recording with that file: each word with start, end and confidence.",
}


class Recipe:
    """The verbs of one experiment. `recipe("train")` calls `asr train` as a user would; a failed verb ends the run.

    `folder` is the recipe's own; `folder/experiment/<experiment>.yaml` holds its choices. `cfg` is the configuration
    that follows from them, and `source` the sentence that says where the data came from. `usually` maps a verb to how
    long it takes.
    """

    def __init__(
        self, experiment: str, folder: Path, overrides: Sequence[str] = (), usually: Mapping[str, str] | None = None
    ):
        self.folder, self.overrides = str(folder), [f"experiment={experiment}", *overrides]
        self.cfg = compose(to_overrides(self.overrides, (), self.folder))
        refuse_unread(overrides, (*VERBS, "hmm train", "transcribe", "lexicon fit"), PREPARE_READS, self.folder)
        self.usually = usually or {}
        self.source = ""
        self.stages: list[dict[str, float | str]] = []

    def prepare(self, prepare: Callable[[Config], str], options: Mapping[str, str] | None = None) -> None:
        """Call `prepare(cfg)`, unless the data of the same sources and options is already complete.

        `data.dir/source.json` is written last: it marks the data as complete and names its sources and options.
        """
        made_from = {"root": self.cfg.data.root, **(options or {}), "features": self._stored_features()}
        marker = Path(self.cfg.data.dir) / "source.json"
        manifests = (self.cfg.data.train, self.cfg.data.dev, self.cfg.data.test)
        with self._stage("prepare", "prepare"):
            try:
                done = parse_json(marker.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # not there, or damaged
                done = None
            if (
                isinstance(done, dict)
                and done.get("made_from") == made_from
                and all(Path(m).exists() for m in manifests)
            ):
                self.source = str(done.get("source"))
                print(f"Prepared before: delete {marker} to prepare it again.")
            else:
                marker.unlink(missing_ok=True)
                self.source = prepare(self.cfg)
                with atomic_write(marker) as file:
                    json.dump({"source": self.source, "made_from": made_from}, file, indent=1)
            print(self.source[:1].upper() + self.source[1:])

    def __call__(self, verb: str, *words: str) -> None:
        with self._stage(verb, " ".join(["asr", verb, *words])):
            common = for_verb(verb, self.overrides, self.folder)
            if code := main([*verb.split(), "--config-dir", self.folder, *common, *words]):
                raise SystemExit(code)

    def build(self) -> None:
        """From manifests to a scored test set and a bundle."""
        for verb in VERBS:
            self(verb)

    def result(self) -> dict[str, Any]:
        """The contents of `score.json`; empty if `asr score` has not been run."""
        path = Path(self.cfg.score.dir) / "score.json"
        return parse_json(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _stored_features(self) -> dict[str, Any] | None:
        """The front end, if the preparation stores features; they are then part of the data."""
        from asr.features.recorded import stored_part

        features = self.cfg.features
        return dataclasses.asdict(stored_part(features)) if features.kind == "stored" else None

    @contextmanager
    def _stage(self, verb: str, title: str) -> Iterator[None]:
        """Say what the step does, and note its seconds and the peak memory so far."""
        usually = f" Usually {self.usually[verb]}." if verb in self.usually else ""
        print(f"\n== {title}\n{SAYS.get(verb, '')}{usually}\n", flush=True)
        start = time.perf_counter()
        yield
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.stages.append({"verb": verb, "s": round(time.perf_counter() - start, 1), "peak_mb": round(peak_mb)})
        with atomic_write(Path(self.cfg.out) / "stages.json") as file:
            json.dump(self.stages, file, indent=1)
