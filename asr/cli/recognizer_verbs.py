"""The verbs from a trained net to a recogniser and its evaluation: see asr/cli/verbs.py."""

import sys
from pathlib import Path

from asr import pipeline
from asr.cli.inputs import only_input
from asr.config import Config
from asr.errors import InputError


def graph(cfg: Config) -> None:
    """Makes the search graph of tokens, lexicon and language model.

    asr graph [kind=static|dynamic] [table=TOKENS] [lexicon=LEXICON] [arpa=LM] [forecast=true]

    A static graph is compiled whole. A dynamic one is composed during the search: it is ready at once, and takes new
    words and other language models. The tokens are those of the trained net in `out` unless a table is given. Without a
    lexicon the words of the language model are spelled in the net's units. Stages that an earlier build made from the
    same ingredients are reused. `forecast=true` only says how large the static graph would be, and what building it
    takes.
    """
    if cfg.graph.kind not in ("static", "dynamic"):
        raise InputError(f"graph.kind={cfg.graph.kind}: `asr graph` makes static and dynamic ones; others need none")
    if cfg.graph.forecast:
        print(pipeline.forecast_graph(cfg))
        return
    stats = pipeline.build_graph(cfg)
    stages = stats.get("stages") or []
    size = f", {stages[-1]['states']} states, {stages[-1]['arcs']} arcs" if stages else ""
    print(f"{stats['words']} words{size} -> {cfg.graph.dir}")


def decode(cfg: Config) -> None:
    """Recognises a manifest with the trained model and writes its hypotheses.

    asr decode split=dev
    asr decode MANIFEST output=hyp.jsonl

    Where `asr tune` and `asr calibrate` have been run, the values they found are used unless the command line sets
    others. `phrases=FILE` boosts the phrases of a file, one per line; `new_words=FILE` adds words to a dynamic graph.
    """
    pipeline.decode(cfg, _manifest(cfg), cfg.output)


def tune(cfg: Config) -> None:
    """Finds the decoder's scale and penalties on the dev manifest; decode and bundle use them from then on."""
    tuning = pipeline.tune(cfg, _manifest(cfg))
    print(f"{tuning.table()}-> {Path(cfg.out) / 'tune.json'}")


def calibrate(cfg: Config) -> None:
    """Fits the words' confidences to the dev manifest; decode and bundle use the result from then on.

    Afterwards eight of ten words with confidence 0.8 are right. Run it after `asr tune`.
    """
    result = pipeline.calibrate(cfg, _manifest(cfg))
    path = Path(cfg.out) / "calibration.json"
    print(f"{result.table()}-> {path}, {path.with_suffix('.png')}")


def score(cfg: Config) -> None:
    """Word and character error rates of hypotheses against references, with a confidence interval.

    asr score split=test
    asr score ref=REF hyp=HYP
    """
    from asr.evaluation import report

    result = pipeline.score(cfg)
    names = ["score.txt", "score.json", "errors.png", *(["speakers.png"] if result.speakers else [])]
    print(f"{report.summary_text(result)}-> {', '.join(str(Path(cfg.score.dir) / name) for name in names)}")


def bundle(cfg: Config) -> None:
    """Packs model, graph and decoder options into one file, out/model.asr."""
    path = pipeline.bundle(cfg)
    print(f"-> {path} ({path.stat().st_size / 2**20:.1f} MiB)")


def transcribe(cfg: Config) -> None:
    """Writes down the words of sound files, with times.

    asr transcribe [MODEL.asr] FILE ... [output=hyp.jsonl] [phrases=FILE] [new_words=FILE]

    `phrases` names a file of phrases to favour, one a line; `new_words` one of words to know besides, given a dynamic
    graph; `nbest=5` prints other readings, too.
    """
    from asr import hypothesis
    from asr.recognizer.recognizer import load

    if not cfg.input:
        raise InputError("asr transcribe needs sound files: asr transcribe model.asr speech.wav")
    pipeline.limit_threads(cfg)
    recognizer = pipeline.requested(
        load(cfg.bundle, cfg.device, cfg.data.max_audio_s, cfg.g2p.model, **vars(cfg.decoder)), cfg
    )
    found, problems = [], []
    phrases = pipeline.phrases_of(cfg)
    for file in cfg.input:
        try:
            found.append(recognizer.transcribe(file, phrases=phrases))
        except InputError as e:
            problems.append(str(e))
            continue
        print(f"{file}: {found[-1].text}")
        for word in found[-1].words:
            rejected = "" if word.accepted else "  (rejected)"
            print(f"  {word.start_s:8.2f} {word.end_s:8.2f} s  {word.confidence:4.2f}  {word.word}{rejected}")
        for other in found[-1].alternatives:
            print(f"  or, at {other.cost - found[-1].cost:.2f} more: {other.text}")
        sys.stdout.flush()
    if found and cfg.output:
        hypothesis.write(cfg.output, found)
    if problems:
        others = f" (and {len(problems) - 1} other files)" if len(problems) > 1 else ""
        raise InputError(problems[0] + others)


def _manifest(cfg: Config) -> str | None:
    """The manifest given as a file; None for the configured one."""
    return only_input(cfg, "a manifest") if cfg.input else None
