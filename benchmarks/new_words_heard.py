"""New words on real speech: recall, and errors elsewhere, before and after a second pass by Whisper's decoder.

    OMP_NUM_THREADS=1 python -m benchmarks.new_words_heard FOLDER RUN TEXT WHISPER FIRST.jsonl SECOND.jsonl ...

RUN is the run folder of a recogniser of sound with a dynamic graph, TEXT the text of its language model, WHISPER a
folder of Whisper in CTranslate2's format, FIRST the manifest that options are chosen on, and the others test them. From
the lexicon, the language model, and the tokens of the second pass 1,000 words are removed, and the request brings them
back: up to 200 that the manifests have once or twice, and words that nobody says. Recall is the share of their
occurrences that are recognised; WER elsewhere is that of utterances without any of them. Prints a row for each weight
of the new words and each weight of the second pass (share), and keeps what takes long in FOLDER.
"""

import collections
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rapidfuzz.distance import Levenshtein

import asr
from asr import manifest, pipeline
from asr.config import LmConfig
from asr.data.dataset import load_input
from asr.graph.dynamic import compile_dynamic
from asr.lm import train_file
from asr.lm.attention.file import convert
from asr.recognizer.recognizer import Recognizer
from asr.search.decoder import Decoder
from asr.search.new_words import NewWord
from asr.search.searchers import make_decoder
from asr.search.second_pass import Listed, SecondPass, TextScorer, open_scorer
from asr.search.space import DynamicSpace, SearchSpace
from asr.text.lexicon import Lexicon
from benchmarks.real_search import Scored, scored

NEW, HEARD = 1000, 200
WEIGHTS, SHARES, PENALTY = (0.0, 1.5, 3.0), (0.0, 0.3, 0.6, 1.0), -0.5
BIG = {"order": 4, "prune": [0, 0, 1, 1]}


class Remembering:
    """A scorer that scores each text once."""

    def __init__(self, scorer: TextScorer):
        self._scorer, self._known = scorer, dict[str, float]()

    def costs(self, texts: Sequence[str]) -> list[float]:
        if fresh := list(dict.fromkeys(text for text in texts if text not in self._known)):
            self._known.update(zip(fresh, self._scorer.costs(fresh), strict=True))
        return [self._known[text] for text in texts]


@dataclass
class Speech:
    """A manifest: its log-probs, its texts in words, and the second pass of each recording."""

    data: Scored
    refs: list[list[str]]
    seconds: list[SecondPass]

    @classmethod
    def read(cls, recognizer: Recognizer, path: Path, second: SecondPass, run: str) -> "Speech":
        data = scored(recognizer, path, run)
        sounds = (load_input(recognizer.cfg, u) for u, _, _ in data)
        heard = [second.heard(sound) for sound in sounds]
        remembering = [replace(one, scorer=Remembering(one.scorer)) for one in heard]
        return cls(data, [u.transcript.split() for u, _, _ in data], remembering)


def choose(refs: list[list[str]], lexicon: Lexicon) -> list[str]:
    counts = collections.Counter(word for ref in refs for word in ref)
    known, draw = [word for word in sorted(lexicon.pronunciations) if len(word) >= 4], random.Random(1)
    rare, unsaid = [w for w in known if 0 < counts[w] <= 2], [w for w in known if not counts[w]]
    said = draw.sample(rare, min(HEARD, len(rare)))
    return sorted([*said, *draw.sample(unsaid, NEW - len(said))])


def without(new: list[str], lexicon: Lexicon, recognizer: Recognizer, text: Path, whisper: Path, out: Path) -> None:
    """A graph and a second pass that do not know the new words."""
    assert recognizer.space is not None
    rest = sorted(set(lexicon.pronunciations).intersection(recognizer.space.words) - set(new))
    (out / "rest.txt").write_text("\n".join(rest))
    if not (out / "small/stats.json").exists():
        train_file(LmConfig([str(text)], arpa=str(out / "rest.arpa"), vocabulary=str(out / "rest.txt"), **BIG))
        small = Lexicon({word: lexicon.pronunciations[word] for word in rest})
        compile_dynamic(recognizer.tokens, small, out / "rest.arpa", out / "small")
    for name, texts in (("part", [str(out / "rest.txt")]), ("whole", [])):
        if not (out / f"{name}.safetensors").exists():
            convert(whisper, out / f"{name}.safetensors", "en", texts)


def readings(speech: Speech, decoder: Decoder, space: SearchSpace) -> list[list[Listed]]:
    return [
        second.listed(decoder.decode_lattice(log_probs).lattice, space)
        for (_, log_probs, _), second in zip(speech.data, speech.seconds, strict=True)
    ]


def best(listed: list[Listed], share: float, space: SearchSpace) -> list[str]:
    """The words of the cheapest reading; the penalty belongs to the second pass."""
    cheapest = min(listed, key=lambda r: r.cost(share, PENALTY if share else 0.0))
    return space.text(cheapest.labels).split()


def keep(path: Path, listed: list[list[Listed]], refs: list[list[str]], space: SearchSpace) -> None:
    """Writes the readings of each utterance with their costs, without and of the second pass."""
    rows = [
        {"ref": " ".join(ref), "readings": [[space.text(r.labels), r.fixed, r.new, len(r.labels)] for r in each]}
        for each, ref in zip(listed, refs, strict=True)
    ]
    path.write_text(json.dumps(rows))


def judged(found: list[list[str]], refs: list[list[str]], new: set[str]) -> dict[str, float]:
    hits = total = alarms = errors = words = 0
    for hypothesis, ref in zip(found, refs, strict=True):
        same = [op for op in Levenshtein.opcodes(ref, hypothesis) if op.tag == "equal"]
        right = {k for op in same for k in range(op.src_start, op.src_end)}
        places = [k for k, word in enumerate(ref) if word in new]
        hits, total = hits + sum(k in right for k in places), total + len(places)
        if not places:
            errors, words = errors + Levenshtein.distance(hypothesis, ref), words + len(ref)
            alarms += sum(word in new for word in hypothesis)
    return {"found": hits, "of": total, "recall": round(100 * hits / total, 1), "alarms": alarms,
            "errors": errors, "words": words, "wer_elsewhere": round(100 * errors / words, 2)}  # fmt: skip


def main(folder: Path, run: Path, text: Path, whisper: Path, *paths: Path) -> None:
    recognizer = pipeline.open_recognizer(asr.tuned(asr.Config(out=str(run))))
    options, name = recognizer.cfg.decoder, run.resolve().name
    lexicon = Lexicon.read(run / "data/lexicon.txt")
    new = choose([u.transcript.split() for path in paths for u in manifest.read(path)], lexicon)
    folder.mkdir(parents=True, exist_ok=True)
    without(new, lexicon, recognizer, text, whisper, folder)
    small = SearchSpace.read(folder / "small", recognizer.tokens)
    assert isinstance(small, DynamicSpace) and recognizer.space is not None
    spaces = {"in the language model": recognizer.space, "unknown": small}
    for weight in WEIGHTS:
        words = [NewWord(word, tuple(lexicon.pronunciations[word]), weight=weight) for word in new]
        spaces[f"brought, weight {weight:g}"] = small.with_words(words, recognizer.tokens, lambda words: {})
    for tokens in ("part", "whole"):
        second = SecondPass(open_scorer(folder / f"{tokens}.safetensors"), nbest=options.rescore_nbest, adds=True)
        for path in paths if tokens == "part" else paths[:1]:
            speech = Speech.read(recognizer, path, second, name)
            for system, space in spaces.items():
                listed = readings(speech, make_decoder(space.graph, replace(options, rescore=None)), space)
                keep(folder / f"{tokens}-{path.stem}-{system}.json", listed, speech.refs, space)
                for share in SHARES:
                    found = [best(each, share, space) for each in listed]
                    row = {"tokens": tokens, "set": path.stem, "new words": system, "share": share}
                    print(json.dumps(row | judged(found, speech.refs, set(new))), flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
