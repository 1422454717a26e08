"""The verbs: plain functions from a `Config` to files and printed lines. Each imports its room when it runs.

A verb's docstring is its help: the first line stands in `asr --help`, the rest in `asr VERB --help`.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asr import run_folder
from asr.config import Config
from asr.errors import InputError
from asr.inputs import needed_output, only_input
from asr.lm_verbs import lm_adapt, lm_convert, lm_filter, lm_mix, lm_ppl, lm_prune, lm_train, lm_vocabulary
from asr.text_verbs import g2p_apply, g2p_train, lexicon, text_clean
from asr.tokens import BLANK, Tokens

if TYPE_CHECKING:
    from asr.api import Recognizer
    from asr.manifest import Utterance

FLAGS = ("--help", "--multirun", "--config-dir", "--cfg")


def data_import(cfg: Config) -> None:
    """A corpus in another toolkit's format -> a manifest.

    asr data import CORPUS output=data/train.jsonl [kind=KIND]

    CORPUS is a Kaldi data folder, a lhotse cut manifest, a NeMo JSONL file, a Common Voice TSV, a CSV, or a folder
    of sound and text files with equal names. Which of them is seen from its files, unless `kind` says it.
    """
    from asr import manifest
    from asr.importers import import_corpus

    path = needed_output(cfg, "the manifest")
    utterances = import_corpus(only_input(cfg, "a corpus"), cfg.data.kind)
    manifest.write(path, utterances)
    print(f"{len(utterances)} utterances -> {path}")


def data_check(cfg: Config) -> None:
    """The data doctor: names bad utterances, writes cleaned manifests and a report.

    asr data check [MANIFEST ...] [output=FOLDER]

    Without manifests it checks those of data.train, data.dev and data.test that exist, and that no recording is in
    two of them. Several manifests that are named are each checked against those before it. Texts are checked against
    tokens.table or the trained net's tokens; without them, against the characters of the first, the training set.
    """
    from asr.data_check import check
    from asr.text.lexicon import Lexicon

    own = [path for path in (cfg.data.train, cfg.data.dev, cfg.data.test) if Path(path).exists()]
    manifests = cfg.input or own
    if not manifests:
        raise InputError(f"there is no {cfg.data.train}, {cfg.data.dev} or {cfg.data.test}; name a manifest to check")
    tokens = run_folder.tokens(cfg)
    if tokens is None and cfg.tokens.unit != "phone" and manifests[0] == (cfg.input or [cfg.data.train])[0]:
        tokens = _units_of(manifests[0], cfg.tokens.unit)
    for number, path in enumerate(manifests):
        report = check(
            path,
            cfg.output or Path(cfg.data.dir) / "check",
            tokens,
            cfg.tokens.unit,
            Lexicon.read(cfg.tokens.lexicon) if cfg.tokens.lexicon else None,
            cfg.features.shift_ms / 1000 * cfg.model.subsampling,
            against=manifests[:number] if cfg.input else manifests[number + 1 :],
            sample_rate_hz=cfg.features.sample_rate_hz,
            feature_shift_s=cfg.features.shift_ms / 1000,
            feature_dim=cfg.features.num_bins,
            workers=cfg.data.workers or None,
        )
        print(report.table())


def features(cfg: Config) -> None:
    """Computes the features of a manifest once and stores them.

    asr features MANIFEST output=exp/features/train.jsonl features=mfcc

    Train on the written manifest with features=stored and num_bins=VALUES_A_FRAME.
    """
    from asr.extract import extract

    extract(only_input(cfg, "a manifest"), needed_output(cfg, "the manifest"), cfg)


def train(cfg: Config) -> None:
    """Trains the acoustic model; the same command again resumes a training that was stopped."""
    from asr.trainer import train

    train(cfg)


def graph(cfg: Config) -> None:
    """Makes the search graph of tokens, lexicon and language model.

    asr graph [kind=static|dynamic] [tokens.table=TOKENS] [lexicon=LEXICON] [arpa=LM] [forecast=true]

    A static graph is compiled whole, a dynamic one composed by the search: it is ready at once, takes new words and
    other language models. The tokens are those of the trained net in `out` unless a table is given. Without a lexicon
    the words of the language model are spelled in the net's units. Stages that an earlier build made from the same
    ingredients are reused. `forecast=true` only says how large the static graph would be, and what building it takes.
    """
    from asr.graph import Build, GraphOptions, dynamic
    from asr.graph.sources import ArpaSource
    from asr.lm import arpa
    from asr.lm.model import is_slot
    from asr.text.lexicon import Lexicon

    def spell(words: Sequence[str]) -> Lexicon:
        return Lexicon.from_spelling([word for word in words if not is_slot(word)], cfg.tokens.unit)

    if cfg.graph.kind not in ("static", "dynamic"):
        raise InputError(f"graph.kind={cfg.graph.kind}: `asr graph` makes static and dynamic ones; others need none")
    if not cfg.tokens.table:
        cfg = run_folder.as_trained(cfg)
    tokens = run_folder.tokens(cfg)
    if tokens is None:
        raise InputError(f"{cfg.out}/train holds no tokens.txt; run `asr train` first, or name a tokens.table")
    lexicon = Lexicon.read(cfg.graph.lexicon) if cfg.graph.lexicon else None
    if cfg.graph.kind == "dynamic":
        if cfg.graph.forecast:
            raise InputError("graph.forecast is of static graphs; of a dynamic one nothing is compiled")
        lexicon = lexicon or spell(arpa.read(cfg.lm.arpa).words)
        built = dynamic.compile_dynamic(tokens, lexicon, cfg.lm.arpa, cfg.graph.dir, cfg.graph.silence)
        print(f"{built['words']} words -> {cfg.graph.dir}")
        return
    options = GraphOptions(cfg.graph.silence, cfg.graph.draw_states, cfg.graph.topology, cfg.graph.cache,
                           cfg.graph.memory_mb)  # fmt: skip
    build = Build(ArpaSource(cfg.lm.arpa), lexicon or spell, tokens, options)
    if cfg.graph.forecast:
        print(build.forecast())
        return
    stats = build.write(cfg.graph.dir)
    last = stats.stages[-1]
    print(f"{stats.words} words, {last.states} states, {last.arcs} arcs -> {cfg.graph.dir}")


def decode(cfg: Config) -> None:
    """Recognises a manifest with the trained model and writes its hypotheses.

    asr decode split=dev
    asr decode MANIFEST output=hyp.jsonl

    Where `asr tune` and `asr calibrate` have been run, what they found is used unless the command line sets others.
    `phrases=FILE` favours the phrases of a file, one a line; `new_words=FILE` adds words, given a dynamic graph.
    """
    from asr.decode import decode_manifest

    utterances, name = _utterances(cfg)
    path = cfg.output or Path(cfg.out) / "decode" / name / "hyp.jsonl"
    recognizer = _recognizer(cfg)
    decode_manifest(recognizer, utterances, path, cfg.threads, recognizer.bias(_phrases(cfg)))


def tune(cfg: Config) -> None:
    """Finds the decoder's scale and penalties on the dev manifest; decode and bundle use them from then on."""
    from asr import manifest
    from asr.tune import tune

    utterances = manifest.read(only_input(cfg, "a manifest") if cfg.input else cfg.data.dev)
    tuning = tune(_recognizer(cfg), utterances, threads=cfg.threads)
    tuning.write(run_folder.tuning_path(cfg))
    run_folder.calibration_path(cfg).unlink(missing_ok=True)  # it was of other scales
    print(f"{tuning.table()}-> {run_folder.tuning_path(cfg)}")


def calibrate(cfg: Config) -> None:
    """Makes the words' confidences honest on the dev manifest; decode and bundle use it from then on.

    Of words with confidence 0.8 then eight of ten are right. Run it after `asr tune`.
    """
    from asr import manifest
    from asr.calibrate import calibrate

    utterances = manifest.read(only_input(cfg, "a manifest") if cfg.input else cfg.data.dev)
    result = calibrate(_recognizer(cfg), utterances)
    path = run_folder.calibration_path(cfg)
    result.write(path)
    print(f"{result.table()}-> {path}, {path.with_suffix('.png')}")


def score(cfg: Config) -> None:
    """Word and character error rates of hypotheses against references, with an interval.

    asr score split=test
    asr score ref=REF hyp=HYP
    """
    from asr import report
    from asr.score import read_texts, score

    reference = cfg.score.ref or getattr(cfg.data, cfg.split)
    refs, speakers = read_texts(reference)
    hyps, _ = read_texts(cfg.score.hyp or Path(cfg.out) / "decode" / cfg.split / "hyp.jsonl")
    result = score(refs, hyps, speakers, cfg.score.resamples, cfg.seed)
    paths = report.write(result, cfg.score.dir, reference)
    print(f"{report.summary_text(result)}-> {', '.join(map(str, paths))}")


def bundle(cfg: Config) -> None:
    """Packs model, graph and tables into one file, out/model.asr."""
    from asr import bundle
    from asr.trainer import load_model

    if cfg.graph.kind not in ("static", "dynamic"):
        raise InputError(
            f"graph={cfg.graph.kind} comes with each request; bundle without it, and name it to transcribe"
        )
    cfg = run_folder.as_trained(cfg)
    model, tokens = load_model(cfg)
    graph_dir = cfg.graph.dir if cfg.decoder.kind == "graph" else None
    bundle.write(cfg.bundle, model, cfg, tokens, graph_dir, run_folder.card(cfg))
    print(f"-> {cfg.bundle} ({Path(cfg.bundle).stat().st_size / 2**20:.1f} MiB)")


def transcribe(cfg: Config) -> None:
    """Writes down the words of sound files, with times.

    asr transcribe [MODEL.asr] FILE ... [output=hyp.jsonl] [phrases=FILE] [new_words=FILE]

    `phrases` names a file of phrases to favour, one a line; `new_words` one of words to know besides, given a dynamic
    graph; `nbest=5` prints other readings, too.
    """
    from asr import hypothesis
    from asr.api import load

    if not cfg.input:
        raise InputError("asr transcribe needs sound files: asr transcribe model.asr speech.wav")
    _limit_threads(cfg)
    recognizer = _asked(load(cfg.bundle, cfg.device, cfg.data.max_audio_s, cfg.g2p.model, **vars(cfg.decoder)), cfg)
    found, problems = [], []
    phrases = _phrases(cfg)
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


def doctor(cfg: Config) -> None:
    """What this machine has and lacks: Python, torch, extensions, libraries, formats, data."""
    from asr.doctor import report

    print(report(cfg.data.root))


def _recognizer(cfg: Config) -> "Recognizer":
    """The trained model of the run folder with the decoder of `cfg`."""
    from asr.api import Recognizer
    from asr.tables import GraphTables
    from asr.text.lexicon import Lexicon
    from asr.trainer import load_model

    _limit_threads(cfg)
    cfg = run_folder.as_trained(cfg)
    model, tokens = load_model(cfg)
    needs_graph = cfg.decoder.kind == "graph" and cfg.graph.kind in ("static", "dynamic")
    tables = GraphTables.read(cfg.graph.dir, tokens, cfg.graph.ngram) if needs_graph else None
    lexicon = Lexicon.read(cfg.graph.lexicon) if cfg.graph.lexicon and not needs_graph else None
    return _asked(Recognizer(model, cfg, tokens, tables, cfg.device, lexicon), cfg)


def _asked(recognizer: "Recognizer", cfg: Config) -> "Recognizer":
    """The recogniser for the list or grammar of `cfg`, or with its new words."""
    from asr.graph.closed import read_list
    from asr.new_words import read_new_words

    kind = cfg.graph.kind
    if kind in ("word", "grammar"):
        path = cfg.graph.words if kind == "word" else cfg.graph.grammar
        if path is None:
            raise InputError(f"graph={kind} needs a file: {'words' if kind == 'word' else 'grammar'}=FILE")
        if cfg.new_words:
            raise InputError(f"new_words={cfg.new_words} needs a dynamic graph; put the words into {path}")
        return recognizer.with_list(read_list(path)) if kind == "word" else recognizer.with_grammar(path)
    return recognizer.with_new_words(read_new_words(cfg.new_words)) if cfg.new_words else recognizer


def _phrases(cfg: Config) -> dict[str, float] | None:
    from asr.bias import read_phrases

    return read_phrases(cfg.phrases, cfg.boost) if cfg.phrases else None


def _limit_threads(cfg: Config) -> None:
    """Torch's own threads; those of the search are limited where they start."""
    import torch

    if cfg.threads:
        torch.set_num_threads(cfg.threads)


def _utterances(cfg: Config) -> tuple[list["Utterance"], str]:
    """The manifest given as a file, or that of `split`; and its name."""
    from asr import manifest

    path = only_input(cfg, "a manifest") if cfg.input else getattr(cfg.data, cfg.split)
    return manifest.read(path), Path(path).stem if cfg.input else cfg.split


def _units_of(path: str, unit: str) -> Tokens:
    """The token table of a manifest's text."""
    from asr import manifest
    from asr.text.units import to_units

    return Tokens([BLANK, *sorted({x for u in manifest.stream(path, {}) for x in to_units(u.text, unit)})])


@dataclass(frozen=True)
class Verb:
    """`home` lists the groups in which a bare key is looked up. `earlier` gives overrides that verbs before this one
    found; they stand before those of the command line. `takes_bundle`: the first *.asr file is the model.
    `starts_run`: each job of a sweep gets a run folder of its own.
    """

    run: Callable[[Config], None]
    home: tuple[str, ...] = ()
    earlier: Callable[[Config], list[str]] | None = None
    takes_bundle: bool = False
    starts_run: bool = False


VERBS: dict[str, Verb] = {
    "data import": Verb(data_import, ("data",)),
    "data check": Verb(data_check, ("data", "tokens", "features", "model")),
    "features": Verb(features, ("features", "data")),
    "train": Verb(train, ("optim", "model", "features", "augment", "criterion", "tokens", "data"), starts_run=True),
    "text clean": Verb(text_clean, ("text",)),
    "lexicon": Verb(lexicon, ("g2p", "data")),
    "g2p train": Verb(g2p_train, ("g2p",)),
    "g2p apply": Verb(g2p_apply, ("g2p",)),
    "lm train": Verb(lm_train, ("lm",)),
    "lm ppl": Verb(lm_ppl, ("lm", "data")),
    "lm prune": Verb(lm_prune, ("lm",)),
    "lm mix": Verb(lm_mix, ("lm", "data")),
    "lm adapt": Verb(lm_adapt, ("lm", "data")),
    "lm filter": Verb(lm_filter, ("lm",)),
    "lm convert": Verb(lm_convert, ("lm",)),
    "lm vocabulary": Verb(lm_vocabulary, ("lm", "data")),
    "graph": Verb(graph, ("graph", "lm", "tokens")),
    "decode": Verb(decode, ("decoder", "graph", "data"), earlier=run_folder.tuned),
    "tune": Verb(tune, ("decoder", "graph", "data")),
    "calibrate": Verb(calibrate, ("decoder", "graph", "data"), earlier=run_folder.tuned_scales),
    "score": Verb(score, ("score", "data")),
    "bundle": Verb(bundle, ("decoder", "graph"), earlier=run_folder.tuned),
    "transcribe": Verb(transcribe, ("decoder", "graph", "data"), earlier=run_folder.bundled, takes_bundle=True),
    "doctor": Verb(doctor, ("data",)),
}
