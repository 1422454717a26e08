"""The verbs from a trained net to a recogniser and its judgement: see asr/cli/verbs.py."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli import run_folder
from asr.cli.inputs import only_input
from asr.config import Config
from asr.errors import InputError

if TYPE_CHECKING:
    from asr.manifest import Utterance
    from asr.recognizer.recognizer import Recognizer


def graph(cfg: Config) -> None:
    """Makes the search graph of tokens, lexicon and language model.

    asr graph [kind=static|dynamic] [tokens.table=TOKENS] [lexicon=LEXICON] [arpa=LM] [forecast=true]

    A static graph is compiled whole, a dynamic one composed by the search: it is ready at once, takes new words and
    other language models. The tokens are those of the trained net in `out` unless a table is given. Without a lexicon
    the words of the language model are spelled in the net's units. Stages that an earlier build made from the same
    ingredients are reused. `forecast=true` only says how large the static graph would be, and what building it takes.
    """
    from asr.graph import Build, GraphOptions, dynamic
    from asr.graph.grammar_sources import ArpaSource
    from asr.lm import arpa
    from asr.text.lexicon import Lexicon
    from asr.words import is_slot

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
    from asr.recognizer.manifests import decode_manifest

    utterances, name = _utterances(cfg)
    path = cfg.output or Path(cfg.out) / "decode" / name / "hyp.jsonl"
    recognizer = _recognizer(cfg)
    decode_manifest(recognizer, utterances, path, cfg.threads, recognizer.compile_phrases(phrases_of(cfg)))


def tune(cfg: Config) -> None:
    """Finds the decoder's scale and penalties on the dev manifest; decode and bundle use them from then on."""
    from asr import manifest
    from asr.evaluation.tune import tune

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
    from asr.evaluation.calibrate import calibrate

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
    from asr.evaluation import report
    from asr.evaluation.score import read_texts, score

    reference = cfg.score.ref or getattr(cfg.data, cfg.split)
    refs, speakers = read_texts(reference)
    hyps, _ = read_texts(cfg.score.hyp or Path(cfg.out) / "decode" / cfg.split / "hyp.jsonl")
    result = score(refs, hyps, speakers, cfg.score.resamples, cfg.seed)
    paths = report.write(result, cfg.score.dir, reference)
    print(f"{report.summary_text(result)}-> {', '.join(map(str, paths))}")


def bundle(cfg: Config) -> None:
    """Packs model, graph and space into one file, out/model.asr.

    A net trained on features of `asr features` takes sound: the bundle holds the front end that made them.
    `graph.kind=none` packs no graph, for a recogniser whose requests bring lists or grammars.
    """
    from asr.recognizer import bundle
    from asr.training.trainer import load_model

    if cfg.graph.kind not in ("static", "dynamic", "none"):
        raise InputError(
            f"graph={cfg.graph.kind} comes with each request; bundle without it, and name it to transcribe"
        )
    cfg = run_folder.for_sound(cfg)
    model, tokens = load_model(cfg)
    graph_dir = cfg.graph.dir if cfg.decoder.kind == "graph" and cfg.graph.kind != "none" else None
    bundle.write(cfg.bundle, model, cfg, tokens, graph_dir, run_folder.card(cfg))
    print(f"-> {cfg.bundle} ({Path(cfg.bundle).stat().st_size / 2**20:.1f} MiB)")


def _recognizer(cfg: Config) -> "Recognizer":
    """The trained model of the run folder with the decoder of `cfg`."""
    from asr.recognizer.recognizer import Recognizer
    from asr.search.space import SearchSpace
    from asr.text.lexicon import Lexicon
    from asr.training.trainer import load_model

    limit_threads(cfg)
    cfg = run_folder.as_trained(cfg)
    model, tokens = load_model(cfg)
    needs_graph = cfg.decoder.kind == "graph" and cfg.graph.kind in ("static", "dynamic")
    space = SearchSpace.read(cfg.graph.dir, tokens, cfg.graph.ngram) if needs_graph else None
    lexicon = Lexicon.read(cfg.graph.lexicon) if cfg.graph.lexicon and not needs_graph else None
    return requested(Recognizer(model, cfg, tokens, space, cfg.device, lexicon), cfg)


def requested(recognizer: "Recognizer", cfg: Config) -> "Recognizer":
    """The recogniser for the list or grammar of `cfg`, or with its new words."""
    from asr.graph.lists import read_list
    from asr.search.new_words import read_new_words

    kind = cfg.graph.kind
    if kind in ("word", "grammar"):
        path = cfg.graph.words if kind == "word" else cfg.graph.grammar
        if path is None:
            raise InputError(f"graph={kind} needs a file: {'words' if kind == 'word' else 'grammar'}=FILE")
        if cfg.new_words:
            raise InputError(f"new_words={cfg.new_words} needs a dynamic graph; put the words into {path}")
        return recognizer.with_list(read_list(path)) if kind == "word" else recognizer.with_grammar(path)
    return recognizer.with_new_words(read_new_words(cfg.new_words)) if cfg.new_words else recognizer


def phrases_of(cfg: Config) -> dict[str, float] | None:
    from asr.search.phrases import read_phrases

    return read_phrases(cfg.phrases, cfg.boost) if cfg.phrases else None


def limit_threads(cfg: Config) -> None:
    """Torch's own threads; those of the search are limited where they start."""
    import torch

    if cfg.threads:
        torch.set_num_threads(cfg.threads)


def _utterances(cfg: Config) -> tuple[list["Utterance"], str]:
    """The manifest given as a file, or that of `split`; and its name."""
    from asr import manifest

    path = only_input(cfg, "a manifest") if cfg.input else getattr(cfg.data, cfg.split)
    return manifest.read(path), Path(path).stem if cfg.input else cfg.split
