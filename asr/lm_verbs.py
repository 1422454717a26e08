"""The verbs `asr lm ...`: see asr/verbs.py."""

from dataclasses import replace
from pathlib import Path

from asr.config import Config


def lm_train(cfg: Config) -> None:
    """Estimates an n-gram language model from text (interpolated modified Kneser-Ney).

    asr lm train text=a.txt,b.txt.gz order=4 arpa=lm.arpa

    Without text it takes that of the training manifest.
    """
    from asr.lm import train_file

    dev = [cfg.data.dev] if Path(cfg.data.dev).exists() else []
    print(train_file(replace(cfg.lm, text=cfg.lm.text or cfg.input or [cfg.data.train]), dev))


def lm_ppl(cfg: Config) -> None:
    """Perplexity of texts under a language model.

    asr lm ppl [heldout.txt ...] arpa=lm.arpa

    Without files it takes the text of the manifest of `split`.
    """
    from asr.lm.score import perplexity
    from asr.lm.texts import sentences

    print(perplexity(cfg.lm.arpa, sentences(cfg.input or [getattr(cfg.data, cfg.split)])))
