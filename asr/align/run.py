"""The verbs of alignment as functions of a `Config`: from files to files."""

from collections.abc import Sequence
from pathlib import Path

from asr import manifest
from asr.align import files
from asr.align.aligner import Aligner
from asr.align.manifests import Aligned, align_utterances
from asr.align.pronouncing import Pronouncing
from asr.align.recordings import AlignedRecording, align_recording
from asr.config import Config, DecoderConfig, check_choices
from asr.errors import InputError
from asr.files import keep_inputs
from asr.manifest import Utterance
from asr.pipeline import limit_threads
from asr.recognizer import run_folder
from asr.recognizer.opening import load
from asr.recognizer.recognizer import Recognizer
from asr.search.space import SearchSpace
from asr.states import States
from asr.text.lexicon import Lexicon
from asr.textfiles import lines
from asr.tokens import Tokens


def align(cfg: Config) -> Aligned:
    """Align the manifests `cfg.input` and write the alignments to `cfg.output`."""
    check_choices(cfg)
    if not cfg.input:
        raise InputError("asr align needs a manifest with texts: asr align model.asr test.jsonl output=test.ctm")
    if cfg.output is None:
        raise InputError("output= is missing; name FILE.jsonl, FILE.ctm, or FOLDER/ for TextGrids")
    format = files.format_of(cfg.format, cfg.output)
    utterances = [utterance for path in cfg.input for utterance in manifest.read(path)]
    _check_ids(utterances)
    report = files.report_path(cfg.output)
    written = {*files.targets(cfg.output, format, utterances).values(), report}
    keep_inputs(written, [*cfg.input, cfg.bundle, cfg.graph.lexicon, *(u.audio or u.features for u in utterances)])
    has_features = any(u.features for u in utterances)
    aligner, recognizer = open_aligner(cfg, cfg.graph.fillers, cfg.graph.filler_cost, has_features)
    aligned = align_utterances(recognizer, aligner, utterances, cfg.align.min_score)
    files.write(cfg.output, format, aligned.found, cfg.align.level)
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
    format = files.format_of(cfg.format, cfg.output)
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
    cfg: Config, fillers: Sequence[str] = (), filler_cost: float = 0.0, has_features: bool = False
) -> tuple[Aligner, Recognizer]:
    """The aligner that the options ask for, and its recogniser."""
    limit_threads(cfg)
    recognizer = _open(cfg, has_features)
    _check_ctc(recognizer.tokens, cfg.bundle)
    lexicon = Lexicon.read(cfg.graph.lexicon) if cfg.graph.lexicon else None
    pronouncing = Pronouncing(recognizer, lexicon, cfg.g2p)
    edges = cfg.align.lead_s, cfg.align.tail_s
    return Aligner(recognizer, pronouncing, fillers, filler_cost, cfg.graph.silence, edges), recognizer


def _open(cfg: Config, has_features: bool) -> Recognizer:
    """The bundle or run folder `cfg.bundle`, or else, if that has its default place, the run folder `cfg.out`.

    A run folder needs no graph. `has_features`: the input is stored features, not sound.
    """
    place = Path(cfg.bundle)
    if place == Path(cfg.out) / "model.asr" and not place.exists():
        place = Path(cfg.out)
    if not place.is_dir():
        return load(place, cfg.device, cfg.data.max_audio_s, cfg.g2p.model, cfg.data.channel)
    options = run_folder.as_trained if has_features else run_folder.for_sound
    trained = options(Config(out=str(place), data=cfg.data, decoder=DecoderConfig(kind="greedy")))
    model, tokens = run_folder.load_model(trained)
    _check_ctc(tokens, place)
    graph, spelled = place / "graph", trained.graph.lexicon
    space = SearchSpace.read(graph, tokens) if (graph / "stats.json").exists() else None
    lexicon = Lexicon.read(spelled) if spelled and Path(spelled).exists() else None
    return Recognizer(model, trained, tokens, space, cfg.device, lexicon)


def _check_ctc(tokens: Tokens, place: str | Path) -> None:
    if States.of(tokens):
        raise InputError(f"{place} is a recogniser of HMMs; asr align is for nets trained with CTC, and `asr hmm "
                         "train` aligns its training data itself: train/alignments.npz")  # fmt: skip


def _check_ids(utterances: list[Utterance]) -> None:
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise InputError(f"the id '{utterance.id}' is in two manifests; align them separately")
        seen.add(utterance.id)
