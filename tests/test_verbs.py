"""Every verb once, in order, on a corpus of tones: each leaves the files that the next one needs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_writer
import pytest
from ctranslate2_model import write_model
from logged import heard, log_of
from recorder import READ
from smoke import WORDS, write_corpus

from asr import hypothesis, manifest
from asr.cli import main as cli
from asr.cli.overrides import compose
from asr.cli.reads import declared
from asr.cli.verbs import VERBS
from asr.flywheel.transcription.journal import Journal, Save
from asr.recognizer import bundle
from asr.recognizer.run_folder import as_trained
from asr.search.space import DynamicSpace, SearchSpace
from asr.tokens import Tokens
from asr.training.settings import settings


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder after every verb from `data import` to `bundle`."""
    folder = tmp_path_factory.mktemp("verbs")
    out = folder / "run"
    write_corpus(folder / "corpus", 16)
    for split in ("train", "dev", "test"):
        assert cli.main(["data", "import", str(folder / "corpus"), f"output={out}/data/{split}.jsonl"]) == 0
    small = ["experiment=tiny", "num_bins=16", "hidden=32", "subsampling=2", "lr=1e-2", "epochs=12", "batch_s=6"]
    assert cli.main(["train", f"out={out}", *small]) == 0
    assert cli.main(["lm", "train", f"out={out}", "order=2"]) == 0
    for verb in ("graph", "tune", "decode", "score", "bundle"):
        assert cli.main([verb, f"out={out}"]) == 0
    return out


def test_every_verb_leaves_its_files(out: Path) -> None:
    files = (
        "train/config.json train/tokens.txt train/final.safetensors train/curves.png lm.arpa graph/graph.bin "
        "tune.json decode/test/hyp.jsonl score/score.json model.asr"
    )
    assert [name for name in files.split() if not (out / name).is_file()] == []
    assert not list(out.rglob("*.tmp"))


def test_the_tones_are_learnt(out: Path) -> None:
    assert json.loads((out / "score" / "score.json").read_text())["wer"] < 0.3


def test_a_run_folder_transcribes_as_its_bundle_does(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = str(next((out.parent / "corpus").glob("*.wav")))
    capsys.readouterr()
    printed = []
    for model in (out, out / "model.asr"):
        assert cli.main(["transcribe", str(model), sound]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_transcribe_prints_words_with_times(out: Path, capsys: pytest.CaptureFixture) -> None:
    sound = out.parent / "corpus" / "u00.wav"
    assert cli.main(["transcribe", str(out / "model.asr"), str(sound), f"output={out}/hyp.jsonl"]) == 0
    found = json.loads((out / "hyp.jsonl").read_text())
    printed = capsys.readouterr().out
    assert f"{sound}: {found['text']}" in printed
    assert printed.count(" s  ") == len(found["words"])


def test_import_of_the_given_kind(out: Path, capsys: pytest.CaptureFixture) -> None:
    path = out / "again.jsonl"
    assert cli.main(["data", "import", str(out.parent / "corpus"), f"output={path}", "kind=folder"]) == 0
    assert path.read_text().count("\n") == 16
    assert cli.main(["data", "import", str(out.parent / "corpus"), f"output={path}", "kind=kaldis"]) == 2
    assert "data.kind=kaldis: expected one of auto, kaldi" in capsys.readouterr().err


def test_lexicon_of_a_text(tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture) -> None:
    text, lexicon = tmp_path / "text.txt", tmp_path / "lexicon.txt"
    text.write_text("nine lives\nnine qqqxz\n")
    assert cli.main(["lexicon", str(text), f"output={lexicon}", "g2p.model=none"]) == 0
    assert "nine N AY N\n" in lexicon.read_text() and "qqqxz" not in lexicon.read_text()
    assert "2 of 3 words" in capsys.readouterr().out and "left out: qqqxz" in caplog.text
    assert cli.main(["lexicon", str(text)]) == 2


def test_data_check_of_the_three_manifests(out: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["data", "check", f"out={out}"]) == 2  # they are one corpus: nothing of train and dev is kept
    assert "duplicate" in capsys.readouterr().out
    assert (out / "data" / "check" / "train.clean.jsonl").is_file()


def test_features_are_stored_once(out: Path) -> None:
    output = out / "stored" / "train.jsonl"
    assert cli.main(["features", f"{out}/data/train.jsonl", f"output={output}", "features=mfcc"]) == 0
    assert all(u.features and not u.audio for u in manifest.read(output))


def test_perplexity_of_a_file_and_of_the_split(out: Path, capsys: pytest.CaptureFixture) -> None:
    (out / "held.txt").write_text("do re mi\n")
    for words in ([], [f"{out}/held.txt"]):
        assert cli.main(["lm", "ppl", f"out={out}", *words]) == 0
        assert "perplexity" in capsys.readouterr().out


def test_another_training_in_the_same_folder_is_refused(out: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["train", f"out={out}", "experiment=tiny", "hidden=48"]) == 2
    assert "choose another folder" in capsys.readouterr().err


def test_a_graph_is_forecast_and_refused(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    where = [f"out={out}", f"graph.dir={tmp_path}/graph", f"graph.cache={tmp_path}/cache"]
    assert cli.main(["graph", *where, "forecast=true"]) == 0
    assert "forecast: " in capsys.readouterr().out and not (tmp_path / "graph").exists()
    assert cli.main(["graph", *where, "memory_mb=1"]) == 2
    assert "graph.memory_mb=1; prune" in capsys.readouterr().err and not list((tmp_path / "graph").iterdir())
    assert cli.main(["graph", *where]) == 0
    assert (tmp_path / "graph" / "graph.bin").exists()


def test_the_graph_stores_its_silence(out: Path, tmp_path: Path) -> None:
    """Only `asr graph` is given `silence=...`; decode and bundle read it from the graph."""
    tokens = (out / "train" / "tokens.txt").read_text().split()
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("".join(f"{word} {' '.join(word)}\n" for word in WORDS))
    compiled = [f"out={out}", f"graph.dir={tmp_path}/graph"]
    assert cli.main(["graph", *compiled, f"lexicon={lexicon}", f"silence={tokens[-1]}"]) == 0
    assert SearchSpace.read(tmp_path / "graph", Tokens(tokens)).silence == tokens[-1]
    assert cli.main(["decode", *compiled, f"output={tmp_path}/hyp.jsonl"]) == 0
    assert cli.main(["bundle", *compiled, f"bundle={tmp_path}/model.asr"]) == 0
    opened = bundle.read(tmp_path / "model.asr")
    assert opened.space and opened.space.silence == tokens[-1]


def test_the_card_names_the_scored_set(out: Path, tmp_path: Path) -> None:
    places = [f"out={out}", f"score.dir={tmp_path}/score"]
    assert cli.main(["score", *places, f"ref={out}/data/dev.jsonl"]) == 0
    assert cli.main(["bundle", *places, f"bundle={tmp_path}/model.asr"]) == 0
    assert f"on {out}/data/dev.jsonl" in bundle.read(tmp_path / "model.asr").card


def test_the_lexicon_of_the_training_is_stored(tmp_path: Path) -> None:
    trained = settings(compose([f"out={tmp_path}", "tokens.unit=phone", f"tokens.lexicon={tmp_path}/data/a.txt"]))
    assert trained["tokens"]["lexicon"] == "data/a.txt"
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "config.json").write_text(json.dumps(trained))
    assert as_trained(compose([f"out={tmp_path}"])).graph.lexicon == f"{tmp_path}/data/a.txt"
    assert as_trained(compose([f"out={tmp_path}", "graph.lexicon=b.txt"])).graph.lexicon == "b.txt"


def test_threads_limit_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", limits.append)
    (tmp_path / "model.asr").touch()
    for words in (["transcribe", "none.wav"], ["decode"], ["tune"]):
        (tmp_path / "data").mkdir(exist_ok=True)
        for split in ("dev", "test"):
            manifest.write(tmp_path / "data" / f"{split}.jsonl", [manifest.Utterance("u", "u.wav", text="do")])
        assert cli.main([*words, f"out={tmp_path}", "threads=2"]) == 2  # no model can be opened, which is found later
    assert limits == [2, 2, 2]


def test_a_dynamic_graph_takes_new_words(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The same words as the compiled graph finds; a word that a language model of two lacks comes with the request."""
    places = [f"out={out}", f"graph.dir={tmp_path}/graph"]
    hyps = {name: f"{tmp_path}/{name}.jsonl" for name in ("static", "dynamic", "without", "with")}
    assert cli.main(["decode", f"out={out}", f"output={hyps['static']}"]) == 0
    assert cli.main(["graph", *places, "graph=dynamic"]) == 0
    assert cli.main(["decode", *places, f"output={hyps['dynamic']}"]) == 0
    assert texts(hyps["static"]) == texts(hyps["dynamic"])
    assert cli.main(["bundle", *places, f"bundle={tmp_path}/model.asr"]) == 0
    assert isinstance(bundle.read(tmp_path / "model.asr").space, DynamicSpace)

    (tmp_path / "two.txt").write_text("do re do\nre do\n")
    (tmp_path / "new.txt").write_text("mi\n")
    assert cli.main(["lm", "train", f"text={tmp_path}/two.txt", "order=2", f"arpa={tmp_path}/two.arpa"]) == 0
    assert cli.main(["graph", *places, "kind=dynamic", f"arpa={tmp_path}/two.arpa"]) == 0
    assert cli.main(["decode", *places, f"output={hyps['without']}"]) == 0
    assert cli.main(["decode", *places, f"output={hyps['with']}", f"new_words={tmp_path}/new.txt"]) == 0
    assert "mi" not in " ".join(texts(hyps["without"]).values())
    assert " ".join(texts(hyps["with"]).values()).count("mi") > 2
    assert cli.main(["decode", f"out={out}", f"new_words={tmp_path}/new.txt"]) == 2
    assert "new words need a dynamic graph" in capsys.readouterr().err


def texts(path: str) -> dict[str, str]:
    return {line["id"]: line["text"] for line in map(json.loads, Path(path).read_text().splitlines())}


def test_lists_and_grammars_need_no_graph(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "list.txt").write_text("do\nre\nmi re\n")
    (tmp_path / "g.jsgf").write_text("#JSGF V1.0;\ngrammar g;\npublic <all> = (do | re | mi)+;\n")
    hyp = f"{tmp_path}/hyp.jsonl"
    assert cli.main(["decode", f"out={out}", "graph=word", f"words={tmp_path}/list.txt", f"output={hyp}"]) == 0
    assert set(texts(hyp).values()) <= {"do", "re", "mi re", ""}
    assert cli.main(["decode", f"out={out}", "graph=grammar", f"grammar={tmp_path}/g.jsgf", f"output={hyp}"]) == 0
    refs = {u.id: u.text for u in manifest.read(out / "data" / "test.jsonl")}
    assert sum(texts(hyp)[name] == text for name, text in refs.items()) >= len(refs) // 2
    sound = next((out.parent / "corpus").glob("*.wav"))
    called = ["transcribe", f"{out}/model.asr", str(sound), "graph=word", f"words={tmp_path}/list.txt"]
    assert cli.main(called) == 0
    capsys.readouterr()
    assert cli.main(called[:4]) == 2 and "words=FILE" in capsys.readouterr().err
    assert cli.main(["bundle", f"out={out}", "graph=word"]) == 2
    assert "comes with each request" in capsys.readouterr().err
    assert cli.main(["graph", f"out={out}", "graph=dynamic", "forecast=true"]) == 2
    assert "nothing is compiled" in capsys.readouterr().err
    assert cli.main([*called, "fill_slots=x.txt"]) == 2 and "put the words into" in capsys.readouterr().err
    (tmp_path / "new.txt").write_text("do\tr e\n")
    assert cli.main([*called, f"new_words={tmp_path}/new.txt"]) == 0


# Each verb once more with options that the tests above leave out, so that every declared option is read.
MORE = [
    "data check {out}/data/dev.jsonl output={tmp}/check",
    "features {out}/data/dev.jsonl output={tmp}/f.jsonl kind=mfcc",
    "train out={tmp}/pretrained data.dir={out}/data features=pretrained encoder={tmp}/whisper layer=1 epochs=1",
    "data check {tmp}/f.jsonl output={tmp}/check features=stored",
    "import {tmp}/m.yaml output={tmp}/m.asr",
    "import {tmp}/m.yaml out={tmp}/imported",
    "text clean {tmp}/ko.txt output={tmp}/clean.txt lang=ko",
    "text write {tmp}/t.txt output={tmp}/written.txt lang=ko",
    "text split {tmp}/ko.txt output={tmp}/ko.pieces pieces=morphemes",
    "data check out={out} output={tmp}/check",
    "data check out={out}",
    "data shard {out}/data/dev.jsonl output={tmp}/tars tar_mb=0.1",
    "data label {out}/decode/test/hyp.jsonl {tmp}/silent.jsonl output={tmp}/labelled.jsonl min_confidence=0",
    "punctuation train {tmp}/p.txt output={tmp}/p.npz epochs=1 threads=1",
    "punctuation apply {tmp}/t.txt output={tmp}/marked.txt lang=ko punctuation.model={tmp}/p.npz",
    "punctuation score {tmp}/p.txt lang=ko lines=2",
    "punctuation apply {tmp}/t.txt output={tmp}/marked.txt lang=ko",
    "g2p train {tmp}/l.txt output={tmp}/g2p.npz order=2",
    "g2p apply {tmp}/ko.txt output={tmp}/l3.txt g2p.model=ko",
    "lexicon {tmp}/ko.txt output={tmp}/l3.txt lang=ko",
    "g2p apply {tmp}/t.txt output={tmp}/l2.txt nbest=2 g2p.model={tmp}/g2p.npz",
    "lexicon {tmp}/new.txt output={tmp}/l2.txt nbest=2 g2p.model={tmp}/g2p.npz",
    "lexicon out={out} output={tmp}/l2.txt nbest=2",
    "lexicon fit out={out} lexicon={tmp}/l.txt output={tmp}/l3.txt",
    "lexicon fit {out}/model.asr {out}/data/dev.jsonl lexicon={tmp}/l.txt output={tmp}/l3.txt",
    "align out={out} {out}/data/dev.jsonl lexicon={tmp}/l.txt fillers=re output={tmp}/x.ctm",
    "align {out}/model.asr {out}/data/dev.jsonl output={tmp}/grids",
    "align long out={out} {sound} {tmp}/t.txt output={tmp}/x.jsonl",
    "lm train out={out} arpa={tmp}/a.arpa order=2",
    "lm train {tmp}/t.txt arpa={tmp}/b.arpa order=1",
    "lm train {tmp}/t.txt dev={tmp}/t.txt kind=neural net={tmp}/n.safetensors hidden=4 updates=2 threads=1",
    "lm train out={out} kind=neural net={tmp}/n2.safetensors hidden=4 updates=2",
    "lm count {tmp}/t.txt output={tmp}/t.counts",
    "lm ppl {tmp}/n.safetensors {tmp}/t.txt",
    "lm ppl {tmp}/t.txt out={out} unknown={tmp}/u.txt output={tmp}/s.txt",
    "lm ppl split=train out={out}",
    "lm ppl split=dev out={out}",
    "lm ppl out={out}",
    "lm prune arpa={tmp}/a.arpa threshold=1e-3 output={tmp}/c.arpa",
    "lm mix {tmp}/a.arpa {tmp}/b.arpa weights=0.5,0.5 dev={tmp}/t.txt output={tmp}/m.arpa",
    "lm adapt base={tmp}/a.arpa text={tmp}/ko.txt dev={tmp}/ko.txt lang=ko output={tmp}/d.arpa",
    "lm filter arpa={tmp}/a.arpa vocabulary={tmp}/v.txt output={tmp}/e.arpa",
    "lm convert {tmp}/a.arpa {tmp}/a.ngram",
    "lm vocabulary out={out} output={tmp}/v2.txt",
    "lm vocabulary text={tmp}/t.txt output={tmp}/v2.txt",
    "graph out={out} dir={tmp}/graph",
    "graph out={out} dir={tmp}/dynamic kind=dynamic table={out}/train/tokens.txt",
    "calibrate out={out} graph.dir={tmp}/graph",
    "bundle out={out} bundle={tmp}/model.asr",
    "export {out}/model.asr {out}/data/dev.jsonl output={tmp}/exported",
    "model {out}",
    "model model=cnn",
    "doctor",
]
MORE += ["export out={out} split=" + split + " output={tmp}/exported-" + split for split in ("train", "dev", "test")]
for _verb in ("decode", "tune", "calibrate"):
    MORE += [
        _verb + " {out}/data/dev.jsonl out={out} graph.kind=dynamic graph.dir={tmp}/dynamic new_words={tmp}/n.txt",
        _verb + " out={out} graph.kind=word words={tmp}/v.txt",
        _verb + " out={out} graph.kind=grammar graph.grammar={tmp}/g.jsgf",
    ]
MORE += ["decode out={out} split=" + split + " phrases={tmp}/v.txt output={tmp}/h.jsonl" for split in ("train", "dev")]
MORE += ["score out={out} split=" + split + " hyp={tmp}/h.jsonl score.dir={tmp}/score" for split in ("train", "dev")]
MORE += ["score out={out} ref={out}/data/dev.jsonl hyp={tmp}/h.jsonl score.dir={tmp}/score"]
MORE += ["report out={out} output={tmp}/r.html split=" + split for split in ("train", "dev", "test")]
MORE += ["transcribe {out}/model.asr {sound} output={tmp}/h.jsonl phrases={tmp}/v.txt"]
MORE += ["decode out={out} output={tmp}/h.jsonl rescore={tmp}/n.safetensors",
         "calibrate out={out} rescore={tmp}/n.safetensors", "tune out={out} rescore={tmp}/n.safetensors",
         "bundle out={out} bundle={tmp}/second.asr rescore={tmp}/n.safetensors rescore_share=0.3",
         "transcribe {tmp}/second.asr {sound}",
         "transcribe {out}/model.asr {sound} rescore={tmp}/n.safetensors"]  # fmt: skip
MORE += ["transcribe {out}/model.asr {sound} graph.kind=" + kind for kind in ("word words={tmp}/v.txt",
         "grammar graph.grammar={tmp}/g.jsgf")]  # fmt: skip

MORE += ["serve keys add app serve.keys={tmp}/keys.db", "serve keys list serve.keys={tmp}/keys.db",
         "serve keys revoke app serve.keys={tmp}/keys.db"]  # fmt: skip
MORE += ["serve feedback export serve.keys={tmp}/keys.db output={tmp}/f.jsonl"]

MORE += ["flywheel " + rest + " log={tmp}/log" for rest in (
    "export output={tmp}/logged.jsonl", "import {tmp}/transcripts.jsonl", "select output={tmp}/next.jsonl",
    "report output={tmp}/log.html", "threshold", "delete asr-1")]  # fmt: skip
MORE += ["flywheel agreement {tmp}/sounds.jsonl output={tmp}/agreed.jsonl"]
SERVING = ("serve", "flywheel transcribe")  # they read their options while they serve

MORE += ["flywheel " + rest + " versions={tmp}/versions" for rest in (
    "promote {out}/model.asr output={tmp}/decision.json",
    "retrain log={tmp}/live out={tmp}/next least_requests=1 test_days=1 epochs=1 fillers=mi",
    "promote out={tmp}/next least_requests=1 regressions={out}/data/dev.jsonl",
    "versions", "rollback 1")]  # fmt: skip

MORE += ["hmm train out={tmp}/hmm data.train={out}/data/train.jsonl data.dev={out}/data/dev.jsonl "
         "tokens.lexicon={tmp}/l.txt hmm.rounds=1 hmm.gaussians=12 hmm.leaves=8",
         "graph out={tmp}/hmm arpa={out}/lm.arpa lexicon={tmp}/l.txt",
         "hmm features {out}/data/dev.jsonl out={tmp}/hmm output={tmp}/adapted.jsonl"]  # fmt: skip

OF_PHONES = ("decode", "tune", "calibrate", "flywheel retrain")  # read for models of phones; this has letters
OF_G2P = {"g2p.model", "g2p.nbest", "g2p.min_probability"}


def test_every_declared_option_is_read(out: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("do re mi\nre do\nmi mi do re\n" * 3)
    (tmp_path / "p.txt").write_text("Do, re.\nMi?\n" * 3)
    (tmp_path / "ko.txt").write_text("도 레 미\n레 도 la\n" * 3)
    (tmp_path / "l.txt").write_text("do d o\nre r e\nmi m i\ndore d o r e\n")
    (tmp_path / "new.txt").write_text("qqdorez\ndoremid\n")
    (tmp_path / "v.txt").write_text("do\nre\nmi\n")
    (tmp_path / "n.txt").write_text("dore\n")
    (tmp_path / "g.jsgf").write_text("#JSGF V1.0;\ngrammar g;\npublic <all> = (do | re | mi)+;\n")
    log_of(tmp_path / "log", heard("asr-1"), heard("asr-2"))
    live = log_of(tmp_path / "live", *(heard(f"asr-{number}") for number in range(4)))
    live.slice_rate = 1.0
    live.add(heard("asr-9", day=1))
    live.transcribe({f"asr-{number}": "do re" for number in (0, 1, 2, 3, 9)}, 1.0)
    (tmp_path / "transcripts.jsonl").write_text('{"id": "asr-1", "audio": "x.flac", "text": "a c"}\n')
    write_model(tmp_path / "whisper")
    (tmp_path / "m.onnx").write_bytes(onnx_writer.of_samples(np.eye(3, 400), 320, lengths=False))
    (tmp_path / "m.yaml").write_text(
        "{model: m.onnx, input: samples, output: log_probs, shift_ms: 20, tokens: [b, a, c], blank: b}"
    )
    sound = next((out.parent / "corpus").glob("*.wav"))
    (tmp_path / "sounds.jsonl").write_text(f'{{"id": "a", "audio": "{sound}"}}\n')
    Journal(tmp_path / "sounds.transcripts.jsonl").add(Save("a", "me", "done", "do", None, 1.0))
    wrong = [replace(h, text="do do do do") for h in hypothesis.read(out / "decode/test/hyp.jsonl")]
    hypothesis.write(out / "decode/train/hyp.jsonl", wrong)  # a report shows the utterances with errors
    untold = [replace(u, text=None) for u in manifest.read(out / "data/test.jsonl")]
    manifest.write(tmp_path / "silent.jsonl", untold)
    for line in MORE:
        code = cli.main([word.format(out=out, tmp=tmp_path, sound=sound) for word in line.split()])
        assert code == 0 or line.startswith(("tune", "data check", "serve feedback", "flywheel promote out")), line
    unread = {verb: set(declared(verb)) - READ[verb] for verb in VERBS if verb not in SERVING}
    kept = {"decoder.reject_below", "decoder.remove", "decoder.remove_restarts"}  # both verbs keep all words themselves
    ruled = {"tune": kept, "calibrate": kept}
    ruled["transcribe"] = {name for name in declared("transcribe") if name.startswith("live.")}  # of live sound alone
    ruled["align"] = ruled["align long"] = OF_G2P - {"g2p.model"}  # of models of phones
    unread_of = {verb: names - ruled.get(verb, set()) for verb, names in unread.items()}
    assert {verb: names for verb, names in unread_of.items() if names} == {name: OF_G2P for name in OF_PHONES}
