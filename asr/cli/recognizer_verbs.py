"""The verbs from a trained net to a recogniser and its evaluation: see asr/cli/verbs.py."""

import sys
from pathlib import Path

from asr import pipeline
from asr.cli.inputs import only_input
from asr.config import Config
from asr.errors import InputError
from asr.filekinds import SOUND


def import_model(cfg: Config) -> None:
    """Makes a CTC model of another toolkit a recogniser of this one.

    asr import MODEL output=x.asr
    asr import MODEL out=exp/my

    MODEL is a folder of Hugging Face with a CTC model (wav2vec 2.0, HuBERT, WavLM, data2vec, wav2vec2-BERT, Parakeet),
    the name of one in the hub, as `facebook/wav2vec2-base-960h`, a `.nemo` file of NeMo with a CTC model, an ONNX file
    of sherpa-onnx with one, a YAML file that describes an ONNX model, a folder of `asr export`, or `hama`, an English
    phone model that `pip install hama` brings. The first form writes a bundle that recognises greedily.
    The second makes the model that of a run folder, as if trained there: `asr graph`, `tune`, `calibrate`, `decode`,
    `score` and `bundle` follow.
    """
    from asr.recognizer import bundle

    path = pipeline.import_model(cfg)
    print(bundle.read(path).card + f"-> {path} ({path.stat().st_size / 2**20:.1f} MiB)")


def graph(cfg: Config) -> None:
    """Builds the search graph from tokens, lexicon and language model.

    asr graph [kind=static|dynamic] [table=TOKENS] [lexicon=LEXICON] [arpa=LM] [forecast=true]

    A static graph is compiled whole. A dynamic one is composed during the search: it is ready at once, and takes new
    words and other language models. The tokens are those of the trained net in `out` unless a table is given. Without a
    lexicon the words of the language model are spelled in the net's units. Stages that an earlier build made from the
    same ingredients are reused. `forecast=true` only prints the size of the static graph, and the time and memory to
    build it.
    """
    if cfg.graph.kind not in ("static", "dynamic"):
        raise InputError(f"graph.kind={cfg.graph.kind}: `asr graph` makes static and dynamic graphs; others need none")
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

    The values that `asr tune` and `asr calibrate` found are used unless the command line sets others. `phrases=FILE`
    boosts the phrases of a file, one per line; `new_words=FILE` adds words to a dynamic graph, or gives
    pronunciations of the words of a list or grammar, and `fill_slots=FILE` fills the slots of a language model.
    """
    pipeline.decode(cfg, _manifest(cfg), cfg.output)


def tune(cfg: Config) -> None:
    """Finds the decoder's scale and penalties on the dev manifest; decode and bundle use them from then on.

    asr tune [rate=auto|wer|wer_without_spaces|cer|cer_without_spaces|jamo]

    It minimises the word error rate, or for Korean the character error rate without spaces.
    """
    tuning = pipeline.tune(cfg, _manifest(cfg))
    print(f"{tuning.table()}-> {Path(cfg.out) / 'tune.json'}")


def calibrate(cfg: Config) -> None:
    """Fits the words' confidences to the dev manifest; decode and bundle use the result from then on.

    Afterwards about eight in ten words with confidence 0.8 are right. Run it after `asr tune`.
    """
    result = pipeline.calibrate(cfg, _manifest(cfg))
    path = Path(cfg.out) / "calibration.json"
    print(f"{result.table()}-> {path}, {path.with_suffix('.png')}")


def score(cfg: Config) -> None:
    """Word and character error rates of hypotheses against references, with a confidence interval.

    asr score split=test
    asr score ref=REF hyp=HYP [lang=auto|none|en|ko]

    Korean texts are compared without punctuation and in lower case, and also reported without spaces, in jamo, and by
    the F1 of the spaces. `lang=en` compares English in the same way.
    """
    from asr.evaluation import report

    result = pipeline.score(cfg)
    names = ["score.txt", "score.json", "errors.png", *(["speakers.png"] if result.speakers else [])]
    print(f"{report.summary_text(result)}-> {', '.join(str(Path(cfg.score.dir) / name) for name in names)}")


def bundle(cfg: Config) -> None:
    """Packs model, graph and decoder options into one file, out/model.asr.

    The bundle of a net trained on features of `asr features` takes sound: it holds the front end that made them.
    `graph.kind=none` packs no graph, for a recogniser whose requests bring word lists or grammars.
    """
    path = pipeline.bundle(cfg)
    print(f"-> {path} ({path.stat().st_size / 2**20:.1f} MiB)")


def export(cfg: Config) -> None:
    """Writes a bundle's net in ONNX, for onnxruntime, sherpa-onnx and onnx-asr.

    asr export MODEL.asr output=FOLDER [MANIFEST]
    asr export out=exp/my output=FOLDER [split=dev]

    FOLDER/model.onnx takes samples and gives log-probs; `asr import FOLDER` reads it. FOLDER/sherpa-onnx and
    FOLDER/onnx-asr hold what these runtimes open, if they can give what the net hears: a sentence says why not. Each
    model is written in float32 and with 8-bit weights (model.int8.onnx). A static graph becomes HLG.fst. The models are
    compared with the recogniser on the manifest, or on noise. Needs the extra `export`.
    """
    comparison, notes = pipeline.export(cfg)
    print(comparison.table(), end="")
    print("".join(f"{note}\n" for note in notes), end="")
    for name in comparison.changed:
        print(f"asr: warning: {name} gives other texts than this recogniser", file=sys.stderr)
    print(f"-> {cfg.output}")


def _manifest(cfg: Config) -> str | None:
    """The manifest given as a file; None for the configured one.

    Raises InputError for a recogniser or a recording, which `asr transcribe` takes, and for a run folder that is not
    there.
    """
    if not cfg.input:
        if not Path(cfg.out).exists():
            raise InputError(f"there is no run folder {cfg.out}; check out=")
        return None
    path = only_input(cfg, "a manifest")
    if path.endswith(".asr") or Path(path).is_dir():
        raise InputError(
            f"{path} is no manifest (*.jsonl); to recognise recordings with it: asr transcribe {path} FILE"
        )
    if path.lower().endswith(SOUND):
        raise InputError(f"{path} is no manifest (*.jsonl); to recognise a recording: asr transcribe MODEL.asr {path}")
    return path
