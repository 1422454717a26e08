"""No verb writes over its input, and what it replaces is reported: every verb, through the command line and Python."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asr
from asr import hypothesis, manifest
from asr.cli import main as cli
from asr.cli.outputs import results
from asr.cli.verbs import VERBS
from asr.config import Config, GraphConfig, LmConfig
from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.lm.training import train_file
from asr.manifest import Utterance
from asr.recognizer import sources
from asr.report.run import read_run
from asr.text.cleaning import clean_files

ARPA = "\\data\\\nngram 1=4\n\n\\1-grams:\n-0.5 a\n-0.5 </s>\n-99 <s>\n-1 <unk>\n\n\\end\\\n"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one input of each kind; the working directory."""
    monkeypatch.chdir(tmp_path)
    samples = 0.1 * np.random.default_rng(0).standard_normal(8000)
    (tmp_path / "corpus").mkdir()
    soundfile.write("corpus/talk.wav", samples, 16000)
    Path("corpus/talk.txt").write_text("a\n")
    manifest.write("m.jsonl", [Utterance("u", "corpus/talk.wav", text="a")])
    Path("table.csv").write_text("audio,text\ncorpus/talk.wav,a\n")
    Path("t.txt").write_text("a b\nb a\na\n")
    Path("words.txt").write_text("a\n")
    Path("lexicon.txt").write_text("a a\nab a b\n")
    for name in ("x.arpa", "y.arpa"):
        Path(name).write_text(ARPA)
    Path("phrases.txt").write_text("a\n")
    Path("ref.txt").write_text("u\ta\n")
    Path("hyp.txt").write_text("u\ta\n")
    Path("link.txt").symlink_to("t.txt")
    Path("hard.txt").hardlink_to("t.txt")
    return tmp_path


def contents() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        "data import table.csv output=table.csv",
        "data import corpus output=corpus/talk.txt",
        "data import corpus output=corpus/talk.wav",
        "data import corpus output=corpus/../corpus/talk.wav",
        "data import table.csv output=corpus/talk.wav",
        "data import lhotse output=lhotse/supervisions.jsonl",
        "data check m.jsonl m.clean.jsonl output=.",
        "features m.jsonl output=m.jsonl",
        "features m.jsonl output=./m.jsonl",
        "features m.jsonl output=corpus.jsonl",
        "text clean t.txt output=t.txt",
        "text clean t.txt output=link.txt",
        "text clean t.txt output=hard.txt",
        "text clean t.txt repairs=words.txt output=words.txt",
        "align m.jsonl output=m.jsonl",
        "align long corpus/talk.wav t.txt output=link.txt format=ctm",
        "lexicon t.txt output=t.txt",
        "g2p train lexicon.txt output=lexicon.txt",
        "g2p apply words.txt output=words.txt",
        "lm train text=t.txt order=2 arpa=t.txt",
        "lm train text=t.txt,words.txt order=2 arpa=./words.txt",
        "lm train text=t.txt vocabulary=words.txt order=2 arpa=words.txt",
        "lm train text=t.txt order=2 dev=m.jsonl arpa=m.jsonl",
        "lm train text=t.txt kind=neural vocabulary=words.txt net=words.txt",
        "lm count t.txt words.txt output=words.txt",
        "lm ppl x.arpa t.txt output=t.txt",
        "lm ppl x.arpa t.txt output=x.arpa",
        "lm ppl x.arpa t.txt unknown=link.txt",
        "lm ppl x.arpa t.txt output=new.tsv unknown=./new.tsv",
        "lm prune arpa=x.arpa size=3 output=x.arpa",
        "lm mix x.arpa y.arpa weights=0.5,0.5 output=y.arpa",
        "lm mix x.arpa y.arpa dev=t.txt output=t.txt",
        "lm adapt base=x.arpa text=t.txt dev=words.txt output=x.arpa",
        "lm filter arpa=x.arpa vocabulary=words.txt output=words.txt",
        "lm convert x.arpa x.arpa",
        "lm convert x.arpa ./x.arpa",
        "lm vocabulary text=t.txt output=t.txt",
        "lm vocabulary text=t.txt output=hard.txt",
        "lm vocabulary text=m.json output=corpus/talk.wav",
        "lm train text=m.manifest order=1 arpa=corpus/talk.wav",
        "lm ppl x.arpa m.jsonl.gz output=corpus/talk.wav",
        "text clean m.json output=corpus/talk.wav",
        "g2p apply m.jsonl.gz output=corpus/talk.wav",
        "graph table=words.txt lexicon=lexicon.txt arpa=x.arpa dir=.",
        "decode m.jsonl output=m.jsonl",
        "decode m.jsonl output=corpus/talk.wav",
        "decode m.jsonl phrases=phrases.txt output=phrases.txt",
        "tune tune.json out=.",
        "calibrate calibration.json out=.",
        "score ref=score.txt hyp=hyp.txt dir=.",
        "score ref=ref.txt hyp=score.json dir=.",
        "bundle out=run bundle=run/train/final.safetensors",
        "bundle out=run bundle=run/graph/graph.bin",
    ],
)
def test_no_verb_writes_over_its_input(work: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    scales = "calibration.json" if command.startswith("calibrate") else "tune.json"
    for name in ("m.clean.jsonl", scales, "score.txt", "score.json"):
        Path(name).write_text(Path("m.jsonl").read_text())
    for name in ("run/train/final.safetensors", "run/graph/graph.bin"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_bytes(b"net")
    for name in ("m.json", "m.manifest"):
        Path(name).write_text(Path("m.jsonl").read_text())
    Path("m.jsonl.gz").write_bytes(gzip.compress(Path("m.jsonl").read_bytes()))
    Path("lhotse").mkdir()
    recording = {"id": "r", "sampling_rate": 16000, "num_samples": 8000, "duration": 0.5, "channel_ids": [0],
                 "sources": [{"type": "file", "channels": [0], "source": "corpus/talk.wav"}]}  # fmt: skip
    said = {"id": "s", "recording_id": "r", "start": 0, "duration": 0.5, "channel": 0, "text": "a"}
    for name, line in (("recordings", recording), ("supervisions", said)):
        Path(f"lhotse/{name}.jsonl").write_text(json.dumps(line) + "\n")
    before = contents()
    assert cli.main(command.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and ("input" in err or "one file" in err or "does not write" in err), err
    assert contents() == before


def test_every_verb_names_its_results() -> None:
    for verb in VERBS:
        cfg = Config(output="new/x.arpa", input=["a.arpa", "b.arpa"])
        assert results(verb, cfg) or verb in ("train", "data check", "doctor")


def test_replacing_another_result_is_reported(work: Path, capsys: pytest.CaptureFixture) -> None:
    def said(command: str) -> str:
        assert cli.main(command.split()) == 0
        return capsys.readouterr().err

    assert "replaced" not in said("lm vocabulary text=t.txt output=new.txt")
    assert "replaced" not in said("lm vocabulary text=t.txt output=new.txt")
    assert "replaced new.txt of 20" in said("lm vocabulary text=words.txt output=new.txt")
    assert "replaced" not in said("data import corpus output=corpus/all.jsonl")
    assert "replaced" not in said("data import corpus output=corpus/all.jsonl")
    Path("table.csv").write_text("audio,text\ncorpus/talk.wav,b\n")
    assert "replaced corpus/all.jsonl" in said("data import table.csv output=corpus/all.jsonl")
    assert "replaced" not in said("score ref=ref.txt hyp=hyp.txt dir=s resamples=10")
    Path("hyp.txt").write_text("u\tb\n")
    assert "replaced s/score.json" in said("score ref=ref.txt hyp=hyp.txt dir=s resamples=10")


def test_python_functions_keep_their_inputs_too(work: Path) -> None:
    before = contents()
    with pytest.raises(InputError, match="t.txt is also an input"):
        train_file(LmConfig(text=["t.txt"], arpa="./t.txt", order=2))
    with pytest.raises(InputError, match="also an input"):
        clean_files(["t.txt"], "link.txt", Config().text)
    with pytest.raises(InputError, match="also an input"):
        asr.train_lm(Config(out="run", lm=LmConfig(text=["t.txt"], arpa=str(work / "hard.txt"), order=2)))
    with pytest.raises(InputError, match="does not write|also an input"):
        cfg = Config(out="run", lm=LmConfig(arpa="x.arpa"), graph=GraphConfig(lexicon="lexicon.txt", dir="."))
        cfg.tokens.table = "words.txt"
        asr.build_graph(cfg)
    with pytest.raises(InputError, match="m.jsonl is also an input"):
        asr.decode(Config(out="run"), "m.jsonl", work / "m.jsonl")
    with pytest.raises(InputError, match="talk.wav is also an input"):
        asr.decode(Config(out="run"), "m.jsonl", "corpus/talk.wav")
    assert contents() == before


def test_a_place_that_cannot_be_written_is_named_before_work(work: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main("lm vocabulary text=t.txt output=corpus".split()) == 2
    assert "corpus is a folder; name a file" in capsys.readouterr().err
    assert cli.main("lm vocabulary text=t.txt output=t.txt/new.txt".split()) == 2
    assert "t.txt; it is not a folder" in capsys.readouterr().err
    assert cli.main("lm train text=t.txt kind=neural net=corpus".split()) == 2
    assert "corpus is a folder; name a file" in capsys.readouterr().err
    for command in (
        "lm vocabulary text=t.txt output=new/",
        "lm train text=t.txt arpa=new/",
        "lm train text=t.txt kind=neural net=new/",
    ):
        assert cli.main(command.split()) == 2
        assert "=new/ is the name of a folder; name a file" in capsys.readouterr().err
    for command in (
        "lm vocabulary text=t.txt output=",
        "train out=",
        "decode m.jsonl output=",
        "data shard m.jsonl output=s tars=",
    ):
        assert cli.main(command.split()) == 2
        assert "= is empty; name a place, or leave it out" in capsys.readouterr().err
    assert cli.main(f"lm vocabulary text=t.txt output={'n' * 300}.txt".split()) == 2
    assert "choose a shorter name" in capsys.readouterr().err


def test_json_in_a_corpus_folder_is_not_taken_for_a_manifest(work: Path, capsys: pytest.CaptureFixture) -> None:
    Path("corpus/notes.json").write_text(json.dumps(["mine"]))
    assert cli.main("data import corpus output=corpus/notes.json".split()) == 2
    assert "corpus/notes.json is part of the input" in capsys.readouterr().err
    assert os.listdir() and json.loads(Path("corpus/notes.json").read_text()) == ["mine"]


def test_reports_of_manifests_of_equal_names(work: Path, capsys: pytest.CaptureFixture) -> None:
    for folder in ("p", "q"):
        manifest.write(f"{folder}/part.jsonl", [Utterance(folder, str(work / "corpus" / "talk.wav"), text="a")])
    assert cli.main("data check p/part.jsonl q/part.jsonl output=check".split()) == 2  # q holds nothing new
    names = [
        f"{name}-part.{end}" for name in "pq" for end in ("clean.jsonl", "report.json", "report.png", "report.txt")
    ]
    assert sorted(os.listdir("check")) == names
    assert [u.id for u in manifest.read("check/p-part.clean.jsonl")] == ["p"]
    assert cli.main("data check m.jsonl ./m.jsonl output=check".split()) == 2
    assert "m.jsonl is named twice" in capsys.readouterr().err


def test_hypotheses_of_another_set_are_kept(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`asr decode` names its folder after the manifest; an edited manifest is still the same set."""

    def decoded(recognizer: object, utterances: list[Utterance], path: Path, *_: object) -> list:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(u.id for u in utterances))
        return []

    class Net:
        compile_phrases = staticmethod(lambda phrases: phrases)

    monkeypatch.setattr("asr.recognizer.manifests.decode_manifest", decoded)
    monkeypatch.setattr("asr.pipeline.open_recognizer", lambda cfg: Net())
    for folder in ("p", "q"):
        manifest.write(f"{folder}/part.jsonl", [Utterance(folder, str(work / "corpus" / "talk.wav"), text="a")])
    cfg = Config(out="run")
    asr.decode(cfg, "p/part.jsonl")
    monkeypatch.chdir("p")
    asr.decode(Config(out="../run"), "part.jsonl")  # another spelling
    monkeypatch.chdir(work)
    with pytest.raises(InputError, match="part/hyp.jsonl holds the hypotheses of .*p/part.jsonl; set output=FILE"):
        asr.decode(cfg, "q/part.jsonl")
    assert Path("run/decode/part/hyp.jsonl").read_text() == "p"
    asr.decode(cfg, "q/part.jsonl", "q.jsonl")
    manifest.write("p/part.jsonl", [Utterance("edited", str(work / "corpus" / "talk.wav"), text="a")])
    asr.decode(cfg, "p/part.jsonl")
    assert Path("run/decode/part/hyp.jsonl").read_text() == "edited"
    Path("p").rename("moved")
    asr.decode(cfg, "moved/part.jsonl")
    Path("run/decode/part/source.json").write_text("[]")
    with pytest.raises(InputError, match="source.json is not what `asr decode` writes"):
        asr.decode(cfg, "moved/part.jsonl")


@pytest.mark.parametrize(
    "command",
    [
        "data import corpus output=corpus/m.jsonl",
        "data check m.jsonl output=check",
        "features m.jsonl output=f/t.jsonl",
        "text clean t.txt output=clean.txt",
        "lexicon t.txt g2p.model=none output=l.txt",
        "g2p train lexicon.txt order=2 output=g.npz",
        "lm train text=t.txt order=2 arpa=lm.arpa",
        "lm count t.txt output=t.counts",
        "lm ppl x.arpa t.txt output=s.tsv unknown=u.tsv",
        "lm prune arpa=x.arpa size=4 output=p.arpa",
        "lm convert x.arpa x.fst",
        "lm vocabulary text=t.txt output=v.txt",
        "graph table=tokens.txt lexicon=lexicon.txt arpa=x.arpa dir=g",
        "score ref=ref.txt hyp=hyp.txt dir=s resamples=10",
    ],
)
def test_the_same_command_again_simply_works(work: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    Path("tokens.txt").write_text("<blk>\na\nb\n")
    for _ in range(2):
        assert cli.main(command.split()) == 0, capsys.readouterr().err
        assert "replaced" not in capsys.readouterr().err


def test_hypotheses_are_not_scored_against_another_set(work: Path) -> None:
    """The same ids and folder, but other sentences; references that are named count."""
    for name, text in (("one", "yes"), ("other", "no")):
        manifest.write(f"{name}/test.jsonl", [Utterance("u", str(work / "corpus" / "talk.wav"), text=text)])
    hypotheses = Path("run/decode/test/hyp.jsonl")
    hypothesis.write(hypotheses, [Hypothesis("u", "yes", [Word("yes", 0.0, 0.4, 0.9)], 1.0, 0.5, True)])
    sources.record(hypotheses, "one/test.jsonl")
    cfg = Config(out="run")
    cfg.score.dir, cfg.data.test = "run/score", "one/test.jsonl"
    assert asr.score(cfg).wer == 0.0
    cfg.data.test = "other/test.jsonl"
    with pytest.raises(InputError, match="holds the hypotheses of .*one/test.jsonl; decode other/test.jsonl"):
        asr.score(cfg)
    with pytest.raises(InputError, match="holds the hypotheses of .*one/test.jsonl; decode other/test.jsonl"):
        read_run(cfg)
    cfg.score.ref = "other/test.jsonl"
    assert asr.score(cfg).wer == 1.0
