"""From transcribed requests and the current recogniser to a candidate for the next version, in one run folder.

    prepare(cfg, log)      # out/data: train.jsonl, dev.jsonl, test.jsonl
    retrain(cfg)           # out/model.asr; the same call goes on after an interruption

The steps are those of asr.pipeline, started from the bundle `cfg.init`: its net is trained further, its language model
is adapted to the transcripts, and its lexicon gets their new words, as far as `flywheel.parts` says.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import fingerprints, manifest, pipeline
from asr.config import Config
from asr.errors import InputError, nearest
from asr.files import atomic_write
from asr.flywheel import chosen, exchange
from asr.flywheel.fresh import divide, is_word
from asr.flywheel.log import RequestLog
from asr.flywheel.request import REQUESTS, TRANSCRIBED
from asr.g2p.pronunciation import guesser, spellings
from asr.literals import read_object
from asr.lm import arpa
from asr.lm.adapt import adapt
from asr.locks import locked
from asr.manifest import Utterance
from asr.recognizer import bundle, run_folder
from asr.search.space import DynamicSpace
from asr.states import States
from asr.text.lexicon import Lexicon, Spelled, name_some

if TYPE_CHECKING:
    from asr.recognizer.bundle import Bundle

PARTS = ("acoustic", "lm", "lexicon")
MARKER = "retrain.json"  # in out/data; written before the manifests, and again with their summary
WRITTEN = ("data/train.jsonl", "data/dev.jsonl", "data/test.jsonl", "train", "graph", "tokens.txt", "lexicon.txt",
           "lm.arpa", "rescore.safetensors", "rescore.trie", "tune.json", "calibration.json", "model.asr")  # fmt: skip
TUNED_FROM = 200  # words of dev; with fewer, the scales and the calibration of the start are kept
_NAMED = ("parts", "since", "until", "key", "mode", "test_days", "half_life_days", "least_requests")


def prepare(cfg: Config, log: RequestLog | None) -> str:
    """Writes the manifests of a retraining -> what they hold, for people.

    The requests are those of the log with a transcript, and of the manifests `cfg.input`; without `flywheel.mode`,
    those of mode `word` are left out. What an earlier call has written stays, so that a training can go on while the
    log grows. Raises InputError as `divide` does, if the start cannot be retrained, if other options were given
    earlier, and for a folder that holds files of another kind of run.
    """
    check_parts(cfg)
    out, folder = Path(cfg.out), Path(cfg.out) / "data"
    made_from: dict[str, Any] = {f"flywheel.{name}": getattr(cfg.flywheel, name) for name in _NAMED}
    made_from |= {"serve.log": log and str(log.folder.resolve()), "input": [fingerprints.digest(p) for p in cfg.input]}
    made_from["init"] = fingerprints.digest(cfg.init)
    with locked(folder):
        earlier = _read_marker(folder / MARKER)
        if earlier and "summary" in earlier:
            for name, value in made_from.items():
                if earlier.get("made_from", {}).get(name) != value:
                    raise InputError(
                        f"{folder} was made with another {name}; choose another folder with out=, or delete {out}"
                    )
            return f"{earlier['summary']}\nprepared before; choose another folder to use what was transcribed since"
        if not (folder / MARKER).exists() and (foreign := next((n for n in WRITTEN if (out / n).exists()), None)):
            raise InputError(f"{out} has {foreign}, which no retraining has written, and which this one would replace; "
                             "choose another folder with out=")  # fmt: skip
        sets = divide(
            _requests(cfg, log, folder / "logged.jsonl"), cfg.flywheel.test_days, cfg.flywheel.half_life_days,
            cfg.flywheel.least_requests,
        )  # fmt: skip
        _start(cfg)
        _write_marker(folder, {"made_from": made_from})
        for name in ("train", "dev", "test"):
            manifest.write(folder / f"{name}.jsonl", getattr(sets, name))
        _write_marker(folder, {"summary": sets.summary(), "made_from": made_from})
    return sets.summary()


def retrain(cfg: Config) -> Path:
    """Makes the candidate `out`/model.asr of the manifests that `prepare` has written.

    Raises InputError if the start cannot be retrained, and as the functions of asr.pipeline do.
    """
    parts, start = check_parts(cfg), _start(cfg)
    train, dev = (manifest.read(Path(cfg.out) / "data" / f"{name}.jsonl") for name in ("train", "dev"))
    words = dict.fromkeys(word for u in (*train, *dev) for word in (u.text or "").split())
    lexicon = _lexicon(cfg, start, list(words) if "lexicon" in parts else [])
    cfg = _continued(cfg, start, lexicon)
    if "acoustic" in parts:
        pipeline.train(cfg)
    else:
        run_folder.write_imported(cfg.out, start)
    if "lm" in parts:
        _adapt_lm(cfg, train, dev, lexicon)
        pipeline.build_graph(cfg)
    elif start.space is not None:
        bundle.unpack_graph(_named_start(cfg), cfg.graph.dir)
        if base := lm_of(_named_start(cfg)):  # the next retraining needs it
            with open(base, "rb") as source, atomic_write(cfg.lm.arpa, "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
    return pipeline.bundle(_tuned(cfg, dev, start.space is not None))


def check_parts(cfg: Config) -> list[str]:
    """The parts to retrain. Raises InputError for an unknown one, and if there is none."""
    for name in cfg.flywheel.parts:
        if name not in PARTS:
            raise InputError(f"flywheel.parts has '{name}'; choose among {', '.join(PARTS)}{nearest(name, PARTS)}")
    if not {"acoustic", "lm"} & set(cfg.flywheel.parts):
        raise InputError("flywheel.parts needs acoustic or lm: new words of the lexicon are heard through them")
    return cfg.flywheel.parts


def lm_of(model: str | Path) -> Path | None:
    """The language model beside a bundle, as in the folders of runs and versions; None if there is none."""
    path = Path(model).parent / "lm.arpa"
    return path if path.is_file() else None


def _requests(cfg: Config, log: RequestLog | None, path: Path) -> list[Utterance]:
    """The log's, whose sounds are copied, then those of the manifests that it does not have."""
    found: dict[str, Utterance] = {}
    words: set[str] = set()  # requests of mode word
    sources = [*cfg.input]
    if log is not None:
        which = chosen.days(cfg) & chosen.key(cfg) & chosen.mode(cfg) & TRANSCRIBED & REQUESTS.c.sound.is_not(None)
        of_speech = which & chosen.of_speech(cfg)
        ids = [row.id for row in log.rows(chosen.ids(of_speech).order_by(REQUESTS.c.time_s, REQUESTS.c.id))]
        words |= {row.id for row in log.rows(chosen.ids(which))} - {*ids}
        if not ids and not words:
            raise InputError(f"{log.folder} has no such request with sound and a transcript; `asr flywheel select` and "
                             "`asr flywheel import` bring transcripts")  # fmt: skip
        if ids:
            exchange.write(log, ids, path)
            sources.insert(0, str(path))
    for source in sources:
        for utterance in manifest.read(source):
            if cfg.flywheel.mode is None and is_word(utterance):
                words.add(utterance.id)
            else:
                found.setdefault(utterance.id, utterance)
    if words and not found:
        raise InputError(
            f"all {len(words)} requests are of mode word; mode=word retrains a recogniser of words by them"
        )
    if words:
        print(f"left out: {len(words)} requests of mode word, entries of lists and no free speech; "
              "mode=word takes them alone")  # fmt: skip
    if not found:
        raise InputError("no requests are named; name a log of requests, log=exp/log, or manifests of "
                         "`asr flywheel export transcribed=yes`")  # fmt: skip
    return list(found.values())


def _read_marker(path: Path) -> dict[str, Any] | None:
    try:
        found = read_object(path)
    except (OSError, ValueError):  # not there, or damaged
        return None
    return found if isinstance(found.get("made_from"), dict) else None


def _write_marker(folder: Path, content: dict[str, Any]) -> None:
    with atomic_write(folder / MARKER) as file:
        json.dump(content, file, indent=1)


def _named_start(cfg: Config) -> str:
    if cfg.init is None:
        raise InputError("no recogniser to start from is named; name the folder of versions, versions=exp/versions, or "
                         "a bundle, init=exp/my/model.asr")  # fmt: skip
    return cfg.init


def _start(cfg: Config) -> "Bundle":
    """The bundle to start from. Raises InputError if a wanted part of it cannot be retrained."""
    opened = bundle.read(_named_start(cfg))
    if States.of(opened.tokens):
        raise InputError(f"{cfg.init} is a recogniser of HMMs; retraining is for nets trained with CTC")
    if opened.space is None and cfg.flywheel.parts != ["acoustic"]:
        raise InputError(f"{cfg.init} has no graph, so that it has neither language model nor lexicon; set "
                         "flywheel.parts=acoustic")  # fmt: skip
    return opened


def _continued(cfg: Config, start: "Bundle", lexicon: Lexicon | None) -> Config:
    """`cfg` with the unit, tokens, decoder and kind of graph of the start, and with all files in the run folder."""
    out = Path(cfg.out)
    start.tokens.write(out / "tokens.txt")
    pronounced = str(out / "lexicon.txt") if lexicon else None
    if lexicon:
        lexicon.write(out / "lexicon.txt")
    of_phones = pronounced if start.cfg.tokens.unit == "phone" else None  # others spell the texts of the training
    kind = "dynamic" if isinstance(start.space, DynamicSpace) else "static" if start.space else "none"
    train, dev, test = (str(out / "data" / f"{name}.jsonl") for name in ("train", "dev", "test"))
    folder, silence = str(out / "graph"), start.cfg.graph.silence
    decoder = start.cfg.decoder
    if start.rescorer:
        decoder = replace(decoder, rescore=str(bundle.unpack_rescorer(_named_start(cfg), out)))
    return replace(
        cfg,
        data=replace(cfg.data, dir=str(out / "data"), train=train, dev=dev, test=test),
        tokens=replace(start.cfg.tokens, table=str(out / "tokens.txt"), lexicon=of_phones),
        decoder=decoder,
        graph=replace(
            cfg.graph, kind=kind, dir=folder, cache=f"{folder}/cache", lexicon=pronounced, silence=silence,
            draw_states=0, words=None, grammar=None, ngram=None,
        ),
        lm=replace(cfg.lm, arpa=str(out / "lm.arpa")),
        score=replace(cfg.score, rate="auto", dir=str(out / "score")),
        bundle=str(out / "model.asr"),
        phrases=None,
        new_words=None,
        fill_slots=None,
    )  # fmt: skip


def _lexicon(cfg: Config, start: "Bundle", words: Sequence[str]) -> Lexicon | None:
    """That of the start's graph, and those of `words` that it lacks; None if its words are pieces, or without a
    graph. Words that cannot be spelled in its tokens are named and left out."""
    space = start.space
    if space is None or space.of_pieces:
        return None
    known = {word: units for word, units in space.known(space.words, start.tokens).items() if units}
    missing = [word for word in words if word not in known]
    if missing and start.cfg.tokens.unit == "phone" and (guess := guesser(cfg.g2p)):
        guess([])  # raises if there is no such model
    spelled: Spelled = {}
    with suppress(InputError):  # not one of them has a pronunciation
        spelled = spellings(missing, start.cfg.tokens.unit, cfg.g2p, start.tokens) if missing else {}
    found = {
        word: units
        for word, units in spelled.items()
        if all(unit in start.tokens for variant in units for unit in variant)
    }
    if missing:
        left_out = [word for word in missing if word not in found]
        why = f"; left out, without a spelling in the tokens of the net: {name_some(left_out)}" if left_out else ""
        print(f"{len(found)} new words{why}")
    return Lexicon({**known, **found}, space.probabilities(known, start.tokens))


def _adapt_lm(cfg: Config, train: Iterable[Utterance], dev: Iterable[Utterance], lexicon: Lexicon | None) -> None:
    """Writes the language model of the start, mixed with one of the transcripts; recent ones count more by their
    copies. Those with words that the lexicon lacks are left out: the graph could not recognise them, and other words
    would lose their probability. Without any, the model stays. Raises InputError if that of the start is not known."""
    base = cfg.lm.base or lm_of(_named_start(cfg))
    if base is None:
        raise InputError(f"there is no lm.arpa beside {cfg.init}; name the language model of its graph, "
                         "base=exp/my/lm.arpa, or leave lm out of flywheel.parts")  # fmt: skip
    texts, told = (
        [u.text for u in utterances if u.text and all(word in (lexicon or u.text) for word in u.text.split())]
        for utterances in (train, dev)
    )
    if not (texts and told):
        arpa.write(arpa.read(base), cfg.lm.arpa)
        print(f"the language model stays: no transcript of {'dev' if texts else 'the training'} has only known words")
        return
    found = adapt(arpa.read(base), texts, told, cfg.lm.size, cfg.lm.min_count)
    arpa.write(found.model, cfg.lm.arpa)
    before, after = (found.scores[name].perplexity for name in ("before", "after"))
    print(f"language model: weight {found.weights[1]:.3f} of the transcripts, {found.new_words} new words, perplexity "
          f"of dev {before:.1f} before, {after:.1f} after -> {cfg.lm.arpa}")  # fmt: skip


def _tuned(cfg: Config, dev: Sequence[Utterance], has_graph: bool) -> Config:
    """`cfg` with scales and calibration for the new parts, if dev has enough words to tell them."""
    num_words = sum(len((u.text or "").split()) for u in dev)
    if num_words < TUNED_FROM:
        print(f"dev has {num_words} words, too few to tune on: the scales and the calibration stay")
        return cfg
    if has_graph:
        pipeline.tune(cfg)
    pipeline.calibrate(pipeline.tuned(cfg))
    return pipeline.tuned(cfg)
