"""Whisper's own transcripts of a test set, by faster-whisper, beside those of a recogniser of ours.

    python -m venv peer && peer/bin/pip install faster-whisper
    peer/bin/python benchmarks/whisper_peer.py data/whisper-base ko exp/pansori/data/test.jsonl whisper.jsonl
    python benchmarks/whisper_peer.py compare ko exp/pansori/data/test.jsonl hyp.jsonl whisper.jsonl

The first command needs no package of ours: int8, beam 5, one thread, the language given, no conditioning on earlier
text; interrupted, it goes on where it stopped. The second normalises references and both hypotheses alike (numbers in
words, no punctuation) and prints WER, CER and CER without spaces of both, with the 95 % interval of the difference
(paired bootstrap over utterances).
"""

import json
import sys
import time
from pathlib import Path

RESAMPLES = 2000


def transcribe(folder: str, lang: str, manifest: str, output: str) -> None:
    from faster_whisper import WhisperModel

    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)
    rows = [json.loads(line) for line in Path(manifest).read_text(encoding="utf-8").splitlines()]
    done = {json.loads(line)["id"] for line in open(output, encoding="utf-8")} if Path(output).exists() else set()
    rows = [row for row in rows if row["id"] not in done]
    start_s, heard_s = time.process_time(), 0.0
    with open(output, "a", encoding="utf-8") as file:
        for number, row in enumerate(rows, 1):
            path = Path(manifest).parent / row["audio"]
            parts, info = model.transcribe(str(path), language=lang, beam_size=5, condition_on_previous_text=False)
            text = " ".join(part.text.strip() for part in parts)
            heard_s += info.duration
            file.write(json.dumps({"id": row["id"], "text": text}, ensure_ascii=False) + "\n")
            file.flush()
            if number % 20 == 0:
                print(f"{number} of {len(rows)}", file=sys.stderr, flush=True)
    print(f"{(time.process_time() - start_s) / heard_s:.3f} CPU seconds per second of {heard_s:.0f} s -> {output}")


def compare(lang: str, reference: str, ours: str, theirs: str) -> None:
    from asr import manifest
    from asr.evaluation.comparison import paired_bootstrap
    from asr.evaluation.score import bootstrap, error_counts
    from asr.text.clean import clean
    from asr.text.spoken import spoken

    def form(text: str) -> str:
        return clean(spoken(text, lang), lang)

    refs = {u.id: form(u.transcript) for u in manifest.read(reference)}
    hypotheses = []
    for path in (ours, theirs):
        rows = map(json.loads, Path(path).read_text(encoding="utf-8").splitlines())
        texts = {row["id"]: form(row["text"]) for row in rows}
        hypotheses.append([texts.get(id, "") for id in refs])
    for rate in ("wer", "cer", "cer_without_spaces"):
        each = [[error_counts(*pair, rate) for pair in zip(refs.values(), texts, strict=True)] for texts in hypotheses]
        found = paired_bootstrap(*each, RESAMPLES)
        line = []
        for system, share in zip(each, (found.first, found.second), strict=True):
            low, high = bootstrap(system, RESAMPLES)
            line.append(f"{100 * share:6.2f} % [{100 * low:.2f}, {100 * high:.2f}]")
        low, high = found.interval
        print(f"{rate:19} ours {line[0]}  Whisper {line[1]}  difference [{100 * low:+.2f}, {100 * high:+.2f}]")


if __name__ == "__main__":
    if sys.argv[1:2] == ["compare"]:
        compare(*sys.argv[2:])
    else:
        transcribe(*sys.argv[1:])
