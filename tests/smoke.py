"""What an installed toolkit must do: compute the CTC loss, train, build a graph and transcribe. `make wheels` runs it.

    python tests/smoke.py

It needs no pytest, and prints the versions in use.
"""

import platform
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch

import asr
from asr.cli import main as cli

RATE_HZ = 16000
WORDS = {"do": 500, "re": 1100, "mi": 2300}  # the pitch of each in Hz


def write_corpus(folder: Path, utterances: int = 16) -> None:
    """Recordings of one to three tones, each with a text of their names."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    for number in range(utterances):
        words = [list(WORDS)[k] for k in rng.integers(len(WORDS), size=rng.integers(1, 4))]
        time_s = np.arange(int(0.25 * RATE_HZ)) / RATE_HZ
        tones = [np.append(0.3 * np.sin(2 * np.pi * WORDS[w] * time_s), np.zeros(1600)) for w in words]
        samples = np.concatenate(tones) + rng.normal(scale=0.01, size=sum(map(len, tones)))
        soundfile.write(folder / f"u{number:02}.wav", samples, RATE_HZ)
        (folder / f"u{number:02}.txt").write_text(" ".join(words) + "\n")


def check_ctc_loss() -> None:
    """The extension against torch."""
    torch.manual_seed(0)
    log_probs = torch.randn(20, 2, 5).log_softmax(2)  # (F, N, V)
    targets, sizes = torch.tensor([[1, 2, 2], [3, 1, 4]]), (torch.tensor([20, 18]), torch.tensor([3, 2]))
    expected = torch.nn.functional.ctc_loss(log_probs, targets, *sizes, reduction="none")
    found = asr.ctc_loss(log_probs, targets, *sizes, reduction="none")
    torch.testing.assert_close(found, expected)


def run(*words: object) -> None:
    if code := cli.main([str(word) for word in words]):
        sys.exit(f"asr {' '.join(map(str, words))} ended with exit code {code}")


def main() -> None:
    assert "smoke.py" in sys.argv[0] and Path(asr.__file__).parents[1] != Path(__file__).parents[1], "not the wheel"
    check_ctc_loss()
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder) / "corpus", Path(folder) / "run"
        write_corpus(corpus)
        for split in ("train", "dev", "test"):
            run("data", "import", corpus, f"output={out}/data/{split}.jsonl")
        small = ["experiment=tiny", "num_bins=16", "hidden=32", "subsampling=2", "lr=1e-2", "epochs=12", "batch_s=6"]
        run("train", f"out={out}", *small)
        run("lm", "train", f"out={out}", "order=2")
        run("lm", "ppl", f"out={out}")
        run("graph", f"out={out}")
        recordings = sorted(corpus.glob("*.wav"))
        recognizer = asr.load(out)
        heard = [recognizer.transcribe(recording).text for recording in recordings]
        texts = [recording.with_suffix(".txt").read_text().strip() for recording in recordings]
    right = sum(a == b for a, b in zip(heard, texts, strict=True))
    if right < 0.7 * len(texts):
        sys.exit(f"only {right} of {len(texts)} recordings were transcribed correctly")
    print(
        f"smoke test: Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}: CTC loss, "
        f"train, lm, graph; {right} of {len(texts)} recordings transcribed correctly"
    )


if __name__ == "__main__":
    main()
