"""CTC of jamo on the features of `korean_sat`, adapted to each speaker: run the experiment korean_sat first."""

import shutil
from pathlib import Path

from asr import manifest, pipeline
from asr.cli.overrides import compose, to_overrides
from asr.cli.recipe import VERBS, Recipe
from asr.config import Config
from asr.errors import InputError
from asr.recognizer.adapted_features import write_features
from recipes.korean.prepare import CORPORA, SPLITS, score_corpora

ADAPTED_BY = Path("exp/korean_sat")
FIRST_PASS = ("decoder.beam=8", "decoder.max_active=1000")  # rough words are enough for the transform of a speaker


def prepare(cfg: Config) -> str:
    """Write the manifests, features, `lexicon.txt` and `lm.txt` in `cfg.data.dir`. Raises InputError if the experiment
    korean_sat has not been run."""
    if not (ADAPTED_BY / "tune.json").exists():
        raise InputError(f"{ADAPTED_BY} holds no tuned HMMs; run `python -m recipes.run korean experiment=korean_sat` "
                         "first")  # fmt: skip
    words = ["experiment=korean_sat", f"threads={cfg.threads}", *FIRST_PASS]
    hmms = compose(to_overrides(words, (), str(Path(__file__).parent)))
    recognizer = pipeline.open_recognizer(pipeline.tuned(hmms))
    out = Path(cfg.data.dir)
    for split in SPLITS:
        write_features(recognizer, ADAPTED_BY / f"data/{split}.jsonl", out / f"{split}.jsonl")
    test = manifest.read(out / "test.jsonl")
    for name in CORPORA:
        manifest.write(out / f"{name}.jsonl", [u for u in test if u.id.startswith(f"{name}-")])
    for name in ("lexicon.txt", "lm.txt"):
        shutil.copy(ADAPTED_BY / "data" / name, out / name)
    return f"real speech: {', '.join(CORPORA)}, adapted to each speaker by {ADAPTED_BY}"


def build(recipe: Recipe) -> None:
    """The usual verbs, with the language models of korean_sat, and then each test set on its own."""
    for verb in VERBS:
        if verb != "lm train":
            recipe(verb)
    score_corpora(recipe)
