"""The verbs of alignment as functions of a `Config`: from files to files."""

from collections.abc import Sequence
from pathlib import Path

from asr import manifest
from asr.align import files
from asr.align.aligner import Aligner
from asr.align.ctc_aligner import CtcAligner
from asr.align.ctc_paths import Written, write_ctc_paths
from asr.align.hmm_aligner import HmmAligner
from asr.align.manifests import Aligned, align_utterances
from asr.align.pronouncing import Pronouncing
from asr.align.recordings import AlignedRecording, align_recording
from asr.config import Config, DecoderConfig, check_choices
from asr.data.alignments import TABLE
from asr.errors import InputError
from asr.files import keep_inputs
from asr.manifest import Utterance
from asr.recognizer import run_folder
from asr.recognizer.opening import load
from asr.recognizer.recognizer import Recognizer
from asr.search.searchers import GreedySearcher
from asr.search.space import SearchSpace
from asr.states import HMM_FILE, States
from asr.text.lexicon import Lexicon
from asr.textfiles import lines
from asr.threads import limit_threads
from asr.tokens import Tokens


def align(cfg: Config) -> Aligned | Written:
    """Align the manifests `cfg.input` and write the alignments to `cfg.output`."""
    check_choices(cfg)
    if not cfg.input:
        raise InputError("asr align needs a manifest with texts: asr align model.asr test.jsonl output=test.ctm")
    if cfg.output is None:
        raise InputError("output= is missing; name FILE.jsonl, FILE.ctm, or FOLDER/ for TextGrids")
    format = files.format_of(cfg.format, cfg.output, cfg.align.level)
    utterances = [utterance for path in cfg.input for utterance in manifest.read(path)]
    _check_ids(utterances)
    report = files.report_path(cfg.output)
    written = {*files.targets(cfg.output, format, utterances).values(), report}
    if format == "npz":
        written |= {Path(cfg.output).with_name(name) for name in (HMM_FILE, TABLE)}
    model: list[str | Path] = [
        cfg.bundle,
        *(Path(place, "train", name) for place in (cfg.bundle, cfg.out) for name in (HMM_FILE, TABLE)),
    ]
    keep_inputs(written, [*cfg.input, *model, cfg.graph.lexicon, *(u.audio or u.features for u in utterances)])
    has_features = any(u.features for u in utterances)
    aligner, recognizer = open_aligner(cfg, cfg.graph.fillers, cfg.graph.filler_cost, has_features, format == "npz")
    if format == "npz" and not isinstance(aligner, HmmAligner):
        if cfg.graph.fillers or cfg.align.min_score:
            raise InputError(f"fillers and min_score are for the words of alignments; {cfg.output} gets the outputs of "
                             "a net trained with CTC on the texts as they are")  # fmt: skip
        return write_ctc_paths(cfg.output, recognizer, aligner.pronouncing, utterances)
    if format == "npz" and recognizer.cfg.model.subsampling != 1:
        raise InputError(f"output={cfg.output}: the net has frames of {1000 * recognizer.frame_s:g} ms, and states are "
                         "targets for those of the features; align with one of model.subsampling=1")  # fmt: skip
    aligned = align_utterances(recognizer, aligner, utterances, cfg.align.min_score)
    files.write(cfg.output, format, aligned.found, cfg.align.level)
    if format == "npz" and isinstance(aligner, HmmAligner):
        aligner.write_beside(cfg.output)
    files.write_suspicious(report, aligned.suspicious)
    return aligned


def align_long(cfg: Config) -> AlignedRecording:
    """Align a recording with its text, `cfg.input`, and write its utterances to `cfg.output`."""
    check_choices(cfg)
    if len(cfg.input) != 2:
        raise InputError("asr align long needs a recording and its text: asr align long model.asr book.mp3 book.txt "
                         "output=book.jsonl")  # fmt: skip
    if cfg.output is None:
        raise InputError("output= is missing; name FILE.jsonl, FILE.ctm, or FOLDER/ for TextGrids")
    recording, text = cfg.input
    format = files.format_of(cfg.format, cfg.output, cfg.align.level)
    if format == "npz":
        raise InputError(f"output={cfg.output}: asr align long writes FILE.jsonl, FILE.ctm or FOLDER/ of TextGrids")
    report = files.report_path(cfg.output)
    keep_inputs([report, *([cfg.output] if format != "textgrid" else [])],
                [recording, text, cfg.bundle, cfg.graph.lexicon])  # fmt: skip
    words = [word for _, line in lines(text, "text", "the words of the recording") for word in line.split()]
    if not words:
        raise InputError(f"the text {text} is empty; it needs the words of the recording")
    aligner, recognizer = open_aligner(cfg)
    if not recognizer.can_cut:
        raise InputError("this model takes stored features, which cannot be cut at pauses; use a model of sound")
    options = cfg.align
    found = align_recording(recognizer, aligner, recording, words, options.longest_s, options.min_score,
                            cfg.data.channel)  # fmt: skip
    files.write(cfg.output, format, found.found, options.level)
    files.write_suspicious(report, found.suspicious)
    return found


def open_aligner(
    cfg: Config, fillers: Sequence[str] = (), filler_cost: float = 0.0, has_features: bool = False,
    known_only: bool = False,
) -> tuple[Aligner, Recognizer]:  # fmt: skip
    """The aligner that the options ask for, and its recogniser; `known_only`: as in `HmmAligner`.

    Raises InputError for a bundle of HMMs that does not hold them.
    """
    limit_threads(cfg)
    recognizer, place = _open(cfg, has_features)
    lexicon = Lexicon.read(cfg.graph.lexicon) if cfg.graph.lexicon else None
    if States.of(recognizer.tokens):
        hmm = recognizer.hmm
        if hmm is None:
            raise InputError(f"{place} holds no HMMs, only their states, as bundles of earlier versions do; make it "
                             "again with `asr bundle`, or align with the run folder: asr align out=RUN")  # fmt: skip
        phones = Tokens([s for s in hmm.phones.symbols if s != hmm.silence])
        pronouncing = Pronouncing(recognizer, lexicon, cfg.g2p, phones)
        return HmmAligner(recognizer, hmm, pronouncing, fillers, filler_cost, known_only), recognizer
    pronouncing = Pronouncing(recognizer, lexicon, cfg.g2p)
    edges = cfg.align.lead_s, cfg.align.tail_s
    return CtcAligner(recognizer, pronouncing, fillers, filler_cost, cfg.graph.silence, edges), recognizer


def _open(cfg: Config, has_features: bool) -> tuple[Recognizer, Path]:
    """The bundle or run folder `cfg.bundle`, or else, if that has its default place, the run folder `cfg.out`; and its
    place.

    A run folder needs no graph. `has_features`: the input is stored features, not sound.
    """
    place = Path(cfg.bundle)
    if place == Path(cfg.out) / "model.asr" and not place.exists():
        place = Path(cfg.out)
    if not place.is_dir():
        return load(place, cfg.device, cfg.data.max_audio_s, cfg.g2p.model, cfg.data.channel), place
    options = run_folder.as_trained if has_features else run_folder.for_sound
    trained = options(Config(out=str(place), data=cfg.data, decoder=DecoderConfig(kind="greedy")))
    model, tokens = run_folder.load_model(trained)
    graph, spelled = place / "graph", trained.graph.lexicon
    space = SearchSpace.read(graph, tokens) if (graph / "stats.json").exists() else None
    lexicon = Lexicon.read(spelled) if spelled and Path(spelled).exists() else None
    searcher = GreedySearcher(tokens, trained.tokens.unit)  # which HMMs do not have; nothing is searched here
    hmm = run_folder.hmm(trained)
    return Recognizer(model, trained, tokens, space, cfg.device, lexicon, searcher, hmm=hmm), place


def _check_ids(utterances: list[Utterance]) -> None:
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise InputError(f"the id '{utterance.id}' is in two manifests; align them separately")
        seen.add(utterance.id)
