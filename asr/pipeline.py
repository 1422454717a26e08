"""The main verbs as functions of a `Config`, without the command line: from manifests to a recogniser in one file.

    cfg = asr.Config(out="exp/my")  # manifests in exp/my/data
    asr.train(cfg)
    asr.train_lm(cfg)
    asr.build_graph(cfg)
    asr.tune(cfg)
    asr.calibrate(asr.tuned(cfg))
    cfg = asr.tuned(cfg)  # the options that tune and calibrate found
    asr.decode(cfg)
    print(asr.score(cfg).wer)
    asr.bundle(cfg)

Each function takes all its options from `cfg`, and reads and writes the run folder `cfg.out` as the verb of the
command line does. A manifest that is not in `cfg.out`/data is the one of the run's training, if there is one.
All raise InputError for an option whose value is not allowed, and for missing or damaged files.
Rooms are imported when they are needed.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.config import Config, check_choices
from asr.errors import InputError
from asr.files import keep_inputs
from asr.locks import locked
from asr.threads import limit_threads

if TYPE_CHECKING:
    from asr.evaluation.calibrate import Calibrated
    from asr.evaluation.exported import Comparison
    from asr.evaluation.lexicon_fit import LexiconFit
    from asr.evaluation.score import Score
    from asr.evaluation.tune import Tuning
    from asr.hmm.lattice_free import HmmGraphs
    from asr.hypothesis import Hypothesis
    from asr.lm.neural.training import Report as NeuralReport
    from asr.lm.training import Report, Workers
    from asr.recognizer.recognizer import Recognizer


def train(cfg: Config) -> Path:
    """Train the acoustic model, or resume a training that was stopped; returns the path of the final model.

    With `cfg.init` the training starts from that recogniser. Of several processes that torchrun started, the first
    trains and writes; the others compute parts of its batches.
    """
    from asr.recognizer import run_folder
    from asr.training.criteria import make_criterion
    from asr.training.ranks import joined
    from asr.training.trainer import train

    check_choices(cfg)
    with joined(cfg) as ranks:
        start = None if cfg.init is None else run_folder.read_start(cfg.init)
        if ranks and ranks.rank:
            ranks.serve(partial(make_criterion, start=start, make_graphs=_hmm_graphs))
            return Path(cfg.out) / "train" / "final.safetensors"
        return train(dataclasses.replace(cfg, init=start.path) if start else cfg, start, _hmm_graphs, ranks)


def _hmm_graphs(cfg: Config) -> "HmmGraphs":
    from asr.hmm.lattice_free import HmmGraphs

    return HmmGraphs.of(cfg)


def dev_errors(cfg: Config) -> float | None:
    """The token error rate of the best epoch on the dev set, from the log of the training in `cfg.out`; None without
    one."""
    from asr.training.curves import read_log

    folder = Path(cfg.out)
    return min(record["dev_ter"] for record in read_log(folder)) if (folder / "train" / "log.jsonl").exists() else None


def train_hmm(cfg: Config) -> Path:
    """Train HMMs with Gaussian mixtures, `cfg.hmm`; returns the path of the model. The verbs after `train` follow."""
    from asr.hmm.run_folder import train_hmm

    limit_threads(cfg)
    return train_hmm(cfg)


def import_model(cfg: Config) -> Path:
    """Make a foreign CTC model, `cfg.input`, a bundle `cfg.output`, or else the model of the run folder `cfg.out`.

    Returns the file written.
    """
    from asr.models.imported import read_model
    from asr.recognizer import bundle, run_folder

    check_choices(cfg)
    if len(cfg.input) != 1:
        raise InputError(f"import takes one model, not {len(cfg.input)}; name the folder of a model")
    imported = read_model(cfg.input[0])
    if cfg.output is None:
        return run_folder.write_imported(cfg.out, imported)
    keep_inputs([cfg.output], imported.source.weights)
    bundle.write(cfg.output, imported.model, imported.cfg, imported.tokens, None, imported.card())
    return Path(cfg.output)


def train_lm(cfg: Config, workers: "Workers | None" = None) -> "Report | NeuralReport":
    """Estimate an n-gram language model from `cfg.lm.text`, or else from the training manifest; writes `cfg.lm.arpa`.

    The report has the perplexity of the dev manifest, if it exists. With `cfg.lm.kind="neural"` an LSTM is trained and
    written to `cfg.lm.net`; the dev manifest selects its best state. `workers` count n-grams.
    """
    from asr.lm import train_file
    from asr.recognizer import run_folder

    check_choices(cfg)
    cfg = run_folder.with_manifests(cfg, "train", "dev")
    dev = [cfg.data.dev] if Path(cfg.data.dev).exists() else []
    lm = dataclasses.replace(cfg.lm, text=cfg.lm.text or [cfg.data.train])
    if lm.kind == "neural":
        from asr.lm.neural.training import train_file as train_net

        limit_threads(cfg)
        return train_net(lm, dev, cfg.seed)
    return train_file(lm, dev, workers)


def build_graph(cfg: Config) -> dict[str, Any]:
    """Make the search graph of tokens, lexicon and language model in `cfg.graph.dir`; returns its `stats.json`."""
    from asr.recognizer import graphs

    check_choices(cfg)
    names = ("tokens.txt", "lexicon.txt", "words.txt", "stats.json", "graph.bin", "tree.bin", "lm.ngram")
    keep_inputs((Path(cfg.graph.dir) / name for name in names), [cfg.lm.arpa, cfg.graph.lexicon, cfg.tokens.table])
    return graphs.build(cfg)


def forecast_graph(cfg: Config) -> str:
    """The size of the static graph that `build_graph` would make, and the time and memory to build it."""
    from asr.recognizer import graphs

    check_choices(cfg)
    return graphs.forecast(cfg)


def open_recognizer(cfg: Config) -> "Recognizer":
    """The trained model of the run folder with the search that `cfg` asks for, with its list, grammar or new words.

    `asr.load(folder)` opens a run folder with the options found for it instead.
    """
    from asr.recognizer import run_folder
    from asr.recognizer.recognizer import Recognizer
    from asr.recognizer.requests import requested
    from asr.text.lexicon import Lexicon

    check_choices(cfg)
    limit_threads(cfg)
    cfg = run_folder.as_trained(cfg, cfg.features.encoder)
    model, tokens = run_folder.load_model(cfg)
    needs_graph = cfg.decoder.kind == "graph" and cfg.graph.kind in ("static", "dynamic")
    space = run_folder.search_space(cfg, tokens) if needs_graph else None
    lexicon = Lexicon.read(cfg.graph.lexicon) if cfg.graph.lexicon and not needs_graph else None
    if cfg.graph.kind in ("word", "grammar"):  # which have no second pass, whatever `asr tune` found
        cfg.decoder = dataclasses.replace(cfg.decoder, rescore=None)
    return requested(Recognizer(model, cfg, tokens, space, cfg.device, lexicon, hmm=run_folder.hmm(cfg)), cfg)


def tuned(cfg: Config) -> Config:
    """`cfg` with what `tune` and `calibrate` found in its run folder: `decoder`, and `adapt` where it has defaults."""
    from asr.recognizer import run_folder

    return run_folder.tuned(cfg)


def fit_lexicon(cfg: Config, paths: Sequence[str | Path] = ()) -> "LexiconFit":
    """Fit the lexicon `cfg.graph.lexicon` to the manifests `paths` (default: train), as a model hears them.

    The model is that of the bundle or run folder `cfg.bundle`; if this has its default value, of the folder `cfg.out`.
    """
    from asr import manifest
    from asr.evaluation.lexicon_fit import fit
    from asr.recognizer import run_folder
    from asr.recognizer.opening import without_graph
    from asr.text.lexicon import Lexicon

    check_choices(cfg)
    limit_threads(cfg)
    if not cfg.graph.lexicon:
        raise InputError("lexicon=FILE is missing; it names the lexicon to fit, in units of the model")
    lexicon = Lexicon.read(cfg.graph.lexicon)
    cfg = run_folder.with_manifests(cfg, "train")
    utterances = [u for path in paths or [cfg.data.train] for u in manifest.read(path)]
    return fit(without_graph(cfg), lexicon, utterances)


def decode(cfg: Config, path: str | Path | None = None, output: str | Path | None = None) -> "list[Hypothesis]":
    """Recognise the manifest `path` (default: that of `cfg.split`) and write the hypotheses to `output`.

    The default of `output` is `out/decode/NAME/hyp.jsonl`, where NAME is the split or the manifest's name. Raises
    InputError if it holds the hypotheses of another manifest.
    """
    from asr import manifest
    from asr.recognizer import run_folder, sources
    from asr.recognizer.manifests import decode_manifest
    from asr.recognizer.requests import phrases_of

    check_choices(cfg)
    cfg = run_folder.with_manifests(cfg, cfg.split)
    source = str(path or getattr(cfg.data, cfg.split))
    target = hypotheses_path(cfg, path, output)
    utterances = manifest.read(source)
    keep_inputs(
        [target], [source, cfg.phrases, cfg.new_words, cfg.fill_slots, *(u.audio or u.features for u in utterances)]
    )
    with locked(target.parent, target.name):
        if output is None:
            way_out = f"set output=FILE for those of {source}, or delete {target.parent}"
            sources.check(target, source, way_out)
        recognizer = open_recognizer(cfg)
        phrases = recognizer.compile_phrases(phrases_of(cfg))
        found = decode_manifest(recognizer, utterances, target, cfg.threads, phrases)
        if output is None:
            sources.record(target, source)
    return found


def hypotheses_path(cfg: Config, path: str | Path | None, output: str | Path | None) -> Path:
    """Where `decode` writes."""
    return Path(output or Path(cfg.out) / "decode" / (Path(path).stem if path else cfg.split) / "hyp.jsonl")


def tune(cfg: Config, path: str | Path | None = None) -> "Tuning":
    """Find the decoder's scale and penalties on the manifest `path` (default: dev); writes `out/tune.json`.

    An earlier calibration, made with other scales, is deleted, which is told.
    """
    from asr import manifest
    from asr.evaluation.tune import tune
    from asr.recognizer import run_folder

    check_choices(cfg)
    cfg = run_folder.with_manifests(cfg, "dev")
    keep_inputs([run_folder.tuning_path(cfg)], [path or cfg.data.dev])
    utterances = manifest.read(path or cfg.data.dev)
    tuning = tune(open_recognizer(cfg), utterances, threads=cfg.threads, rate=cfg.score.rate)
    tuning.write(run_folder.tuning_path(cfg), run_folder.made_with(cfg))
    run_folder.forget_calibration(cfg)
    return tuning


def calibrate(cfg: Config, path: str | Path | None = None) -> "Calibrated":
    """Fit the words' confidences to the manifest `path` (default: dev); writes `out/calibration.json` and a plot."""
    from asr import manifest
    from asr.evaluation.calibrate import calibrate
    from asr.recognizer import run_folder

    check_choices(cfg)
    cfg = run_folder.with_manifests(cfg, "dev")
    keep_inputs([run_folder.calibration_path(cfg)], [path or cfg.data.dev])
    utterances = manifest.read(path or cfg.data.dev)
    result = calibrate(open_recognizer(cfg), utterances)
    result.write(run_folder.calibration_path(cfg), run_folder.made_with(cfg))
    return result


def score(cfg: Config) -> "Score":
    """Error rates of `cfg.score.hyp` against `cfg.score.ref`, by default of what `decode` wrote; writes a report."""
    from asr.evaluation import report
    from asr.evaluation.score import score
    from asr.evaluation.texts import read_pair
    from asr.recognizer import run_folder, sources

    check_choices(cfg)
    cfg = run_folder.with_manifests(cfg, cfg.split)
    reference = cfg.score.ref or getattr(cfg.data, cfg.split)
    hypotheses = cfg.score.hyp or hypotheses_path(cfg, None, None)
    if not (cfg.score.ref or cfg.score.hyp):
        sources.check(Path(hypotheses), reference, f"decode {reference}, or name references with score.ref=FILE")
    keep_inputs((Path(cfg.score.dir) / name for name in report.FILES), [reference, hypotheses])
    refs, hyps = read_pair(reference, hypotheses)
    result = score(refs.texts, hyps.texts, refs.speakers, cfg.score.resamples, cfg.seed, cfg.score.lang)
    report.write(result, cfg.score.dir, reference)
    return result


def bundle(cfg: Config) -> Path:
    """Pack the trained model, the graph and the decoder options of `cfg` into one file, `cfg.bundle`."""
    from asr.recognizer import bundle, run_folder
    from asr.recognizer.speakers import tell_unadapted

    check_choices(cfg)
    if cfg.graph.kind not in ("static", "dynamic", "none"):
        raise InputError(
            f"graph={cfg.graph.kind} comes with each request; bundle with graph.kind=none, and give it to transcribe"
        )
    cfg = run_folder.for_sound(cfg)
    model, tokens = run_folder.load_model(cfg)
    tell_unadapted(model, "a bundle")
    graph_dir = cfg.graph.dir if cfg.decoder.kind == "graph" and cfg.graph.kind != "none" else None
    keep_inputs(
        [cfg.bundle], [cfg.decoder.rescore, *Path(cfg.out, "train").glob("*"), *Path(cfg.graph.dir).glob("*.*")]
    )
    if graph_dir:
        run_folder.check_hmms(cfg)
    bundle.write(cfg.bundle, model, cfg, tokens, graph_dir, run_folder.card(cfg), run_folder.hmm(cfg))
    return Path(cfg.bundle)


def export(cfg: Config) -> "tuple[Comparison, list[str]]":
    """Write the recogniser of `cfg.bundle` to the folder `cfg.output`, for other runtimes.

    Returns how the exported models compare with the recogniser on the utterances of the manifest `cfg.input`, by
    default of the run's `cfg.split`, or else on noise, and sentences for the user.
    """
    from asr import manifest
    from asr.evaluation import exported
    from asr.models.exported import export, graphs_of
    from asr.recognizer import bundle, export_folder
    from asr.recognizer.recognizer import Recognizer
    from asr.states import States

    check_choices(cfg)
    if cfg.format not in ("auto", "onnx"):
        raise InputError(f"format={cfg.format} is a format of transcripts; `asr export` writes onnx")
    if cfg.output is None:
        raise InputError("output=FOLDER is missing; it names the folder to write")
    if len(cfg.input) > 1:
        raise InputError(f"export compares on one manifest, not {len(cfg.input)}")
    opened = bundle.read(cfg.bundle)
    if States.of(opened.tokens):
        raise InputError(f"{cfg.bundle} is a recogniser of HMMs; export is for nets trained with CTC")
    recognizer = Recognizer(opened.model, opened.cfg, opened.tokens, opened.space, rescorer=opened.rescorer)
    graphs, notes = graphs_of(opened.model, opened.cfg.features)
    name = cfg.input[0] if cfg.input else getattr(cfg.data, cfg.split)
    is_own = Path(cfg.bundle).resolve() == Path(cfg.out, "model.asr").resolve() and Path(name).exists()
    utterances = manifest.read(name) if cfg.input or is_own else []
    others, missing = export_folder.side_files(cfg.bundle, opened, graphs)
    files = [file for graph in graphs for file in export(graph)]
    contents = others | {file.name: file.data for file in files}
    keep_inputs((Path(cfg.output, name) for name in contents), [cfg.bundle, *cfg.input])
    comparison = exported.compare(recognizer, files, utterances, name)
    export_folder.write(cfg.output, contents)
    own = [f"{graph.folder}: {note}" for graph in graphs for note in graph.notes]
    return comparison, [*own, *missing, *notes]
