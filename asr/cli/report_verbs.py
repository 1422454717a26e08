"""The verb `asr report`: see asr/cli/verbs.py."""

import sys
from pathlib import Path

from asr.config import Config


def report(cfg: Config) -> None:
    """Writes one HTML page about a run: curves, error rates, confusions, worst utterances with sound, calibration.

    asr report out=RUN [other=RUN2] [split=dev] [worst=10] [output=FILE.html]

    The page holds pictures and sounds itself and needs no network. It reads the training log and what `asr decode`
    wrote; parts whose files are missing are named. The worst utterances are shown with their sound and with the places
    of the words of text and hypothesis. `other=RUN2` compares both runs on the utterances that both have recognised,
    by a paired bootstrap.
    """
    from asr.report.page import write_report

    path = report_path(cfg)
    for sentence in write_report(cfg, path):
        print(f"asr: warning: {sentence}", file=sys.stderr)
    print(f"-> {path} ({path.stat().st_size / 2**20:.1f} MiB)")


def report_path(cfg: Config) -> Path:
    """Where the page is written."""
    return Path(cfg.output or Path(cfg.out) / "report.html")
