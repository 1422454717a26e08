"""Korean numbers in words against what speakers said: correct sentences and CER, with and without spaces.

    python benchmarks/spoken_korean.py korean_dialog/manifest.jsonl

The manifest has the fields `text` (as spoken), `text_written` and `split`. Writes
benchmarks/results/spoken_korean.json.
"""

import json
import sys
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from asr import manifest
from asr.files import atomic_write
from asr.text.clean import clean
from asr.text.spoken import spoken

RESULT = Path(__file__).parent / "results/spoken_korean.json"


def compare(pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Pairs (ours, truth) -> number of equal pairs, and the character error rate in percent."""
    errors = sum(Levenshtein.distance(ours, truth) for ours, truth in pairs)
    return {
        "right": sum(ours == truth for ours, truth in pairs),
        "cer": 100 * errors / sum(len(truth) for _, truth in pairs),
    }


def main(path: str) -> None:
    utterances = manifest.read(path)
    results = []
    for splits in (("train", "dev"), ("test",)):
        for which in ("differ", "all"):
            chosen = [u for u in utterances if u.extra["split"] in splits]
            if which == "differ":
                chosen = [u for u in chosen if u.text != u.extra["text_written"]]
            for form in ("written", "spoken"):
                ours = [spoken(u.extra["text_written"], "ko") if form == "spoken" else u.extra["text_written"]
                        for u in chosen]  # fmt: skip
                pairs = [(clean(text, "ko"), clean(u.text, "ko")) for text, u in zip(ours, chosen, strict=True)]
                joined = [(a.replace(" ", ""), b.replace(" ", "")) for a, b in pairs]
                result = {"split": " ".join(splits), "sentences": which, "count": len(pairs), "form": form}
                results.append(result | {"spaces": compare(pairs), "no_spaces": compare(joined)})
    print(f"{'split':10} {'sentences':>15} {'form':8} {'right':>6} {'CER %':>6} {'right, no spaces':>17} {'CER %':>6}")
    for r in results:
        print(f"{r['split']:10} {r['count']:8} {r['sentences']:6} {r['form']:8} {r['spaces']['right']:6} "
              f"{r['spaces']['cer']:6.2f} {r['no_spaces']['right']:17} {r['no_spaces']['cer']:6.2f}")  # fmt: skip
    with atomic_write(RESULT) as file:
        json.dump(results, file, indent=1)
    print(f"-> {RESULT}")


if __name__ == "__main__":
    main(*sys.argv[1:])
