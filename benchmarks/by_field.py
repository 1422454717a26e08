"""Error rates of a recogniser by a field of the manifest: rooms, noise levels, dialects, splits.

    python -m benchmarks.by_field MANIFEST.jsonl HYP.jsonl FIELD[,FIELD] [RATE] [lang=ko]

RATE is one of asr.evaluation.score.error_counts, or `ser`, the share of utterances with an error; `wer` without one.
With `lang=`, references and hypotheses are normalised as the recipes do (numbers in words, no punctuation). The id of a
hypothesis is that of its utterance, perhaps behind the name of the corpus (`korean_read-ID`); utterances without one
are left out, and their number is told. Prints the rate of each value with its 95 % interval (bootstrap over
utterances).
"""

import json
import sys
from collections import defaultdict
from pathlib import Path

from asr import manifest
from asr.evaluation.score import Counts, bootstrap, error_counts
from asr.text.clean import clean
from asr.text.spoken import spoken


def main(reference: str, hypotheses: str, fields: str, *words: str) -> None:
    lang = next((word.partition("=")[2] for word in words if "=" in word), None)
    rate = next((word for word in words if "=" not in word), "wer")
    rows = map(json.loads, Path(hypotheses).read_text(encoding="utf-8").splitlines())
    texts = {row["id"]: row["text"] for row in rows}
    counts: dict[str, list[Counts]] = defaultdict(list)
    left_out = 0
    for u in manifest.read(reference):
        text = texts.get(u.id, texts.get(f"{Path(reference).resolve().parent.name}-{u.id}"))
        if text is None:
            left_out += 1
            continue
        ref, text = (clean(spoken(x, lang), lang) if lang else x for x in (u.transcript, text))
        known = {**u.extra, "speaker": u.speaker}
        counts[" ".join(str(known.get(field, "-")) for field in fields.split(","))].append(
            Counts(ref == text, ref != text) if rate == "ser" else error_counts(ref, text, rate)
        )
    for value, each in sorted(counts.items()):
        errors, units = sum(c.errors for c in each), sum(c.reference for c in each)
        low, high = bootstrap(each)
        print(f"{value:30} {len(each):5} utterances  {100 * errors / units:6.2f} %  ({100 * low:.1f}-{100 * high:.1f})")
    print(f"{left_out} utterances have no hypothesis")


if __name__ == "__main__":
    main(*sys.argv[1:])
