"""HMMs from a corpus to words: training, alignments, graph, search, bundle; the corpus is drawn from known HMMs."""

import dataclasses
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import asr
from asr import manifest, pipeline
from asr.align.run import align
from asr.config import Config, DecoderConfig
from asr.data.alignments import read_alignments, write_alignments
from asr.errors import InputError
from asr.hmm.model import Hmm, Split
from asr.hmm.segments import Segments
from asr.manifest import Utterance
from asr.states import States
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

LEXICON = Lexicon({"ab": [("A", "B")], "ba": [("B", "A")], "cab": [("C", "A", "B")], "cc": [("C", "C")]})
DIM = 4


def speak(words, rng, states=3):
    """Features (F, D) of the words, and the frames where phones begin; the middle of a phone differs after B and C."""
    means = {p: np.random.default_rng(ord(p[0])).normal(0, 3, (3, DIM)) for p in ("A", "B", "C", "SIL")}
    frames, begins, before = [], [], "SIL"
    units = ["SIL", *(u for w in words for u in LEXICON.pronunciations[w][0]), "SIL"]
    for unit in units:
        begins.append(len(frames))
        for state in range(states):
            shift = 2.0 if before in ("B", "C") and state == states // 2 and unit != "SIL" else 0.0
            frames += [means[unit][state] + shift] * int(rng.integers(2, 6))
        before = unit
    return np.array(frames) + rng.normal(0, 0.5, (len(frames), DIM)), begins


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Manifests, lexicon and texts; `begins` has the phones of each utterance."""
    return write_corpus(tmp_path_factory.mktemp("hmm"))


def write_corpus(folder, states=3):
    rng = np.random.default_rng(1)
    begins = {}
    for split, count in (("train", 60), ("dev", 12), ("test", 20)):
        utterances = []
        for n in range(count):
            words = rng.choice(list(LEXICON.pronunciations), rng.integers(1, 4)).tolist()
            features, begins[f"{split}{n}"] = speak(words, rng, states)
            path = folder / f"{split}{n}.npy"
            np.save(path, features.astype(np.float32))
            utterances.append(
                Utterance(f"{split}{n}", features=str(path), duration_s=len(features) / 100, text=" ".join(words))
            )
        if split == "train":
            np.save(folder / "short.npy", np.zeros((5, DIM), np.float32))
            utterances.append(Utterance("short", features=str(folder / "short.npy"), duration_s=0.05, text="ab"))
            utterances.append(Utterance("unlisted", features=str(path), duration_s=0.5, text="xyz"))
        manifest.write(folder / f"{split}.jsonl", utterances)
    LEXICON.write(folder / "lexicon.txt")
    return folder, begins


def config(corpus, out, context):
    cfg = Config(out=str(out))
    for split in ("train", "dev", "test"):
        setattr(cfg.data, split, str(corpus / f"{split}.jsonl"))
    cfg.tokens.unit, cfg.tokens.lexicon = "phone", str(corpus / "lexicon.txt")
    cfg.graph.lexicon = cfg.tokens.lexicon
    cfg.features.kind, cfg.features.num_bins, cfg.features.cmvn = "stored", DIM, "none"
    cfg.hmm.context, cfg.hmm.gaussians, cfg.hmm.rounds, cfg.hmm.leaves = context, 40, 6, 24
    return cfg


@pytest.fixture(scope="module", params=["mono", "tri"])
def trained(request, corpus, tmp_path_factory):
    cfg = config(corpus[0], tmp_path_factory.mktemp(request.param), request.param)
    pipeline.train_hmm(cfg)
    pipeline.train_lm(cfg)
    pipeline.build_graph(cfg)
    return cfg, request.param


def test_words_are_recognised_with_times(trained, corpus):
    cfg, _ = trained
    pipeline.decode(cfg)
    assert pipeline.score(cfg).wer == 0
    recognizer = pipeline.open_recognizer(cfg)
    for utterance in manifest.read(cfg.data.test)[:5]:
        found = recognizer.transcribe(utterance.features)
        begins = [b / 100 for b in corpus[1][utterance.id]]
        lengths = [len(LEXICON.pronunciations[word.word][0]) for word in found.words]
        first = np.cumsum([1, *lengths])[:-1]
        last = first + lengths
        np.testing.assert_allclose([w.start_s for w in found.words], [begins[i] for i in first], atol=0.031)
        np.testing.assert_allclose([w.end_s for w in found.words], [begins[i] for i in last], atol=0.031)


def test_alignments_find_the_phones(trained, corpus):
    cfg, context = trained
    hmm = Hmm.read(f"{cfg.out}/train/hmm.json")
    assert hmm.has_contexts == (context == "tri")
    split = {(state, tree.side) for trees in hmm.trees for state, tree in enumerate(trees) if isinstance(tree, Split)}
    assert (1, 0) in split if context == "tri" else not split  # the middle of a phone, by the phone before
    assert len(hmm.tokens) - 1 > 14 if context == "tri" else len(hmm.tokens) - 1 == 14
    paths = read_alignments(f"{cfg.out}/train/alignments.npz")
    assert len(paths) == 72
    errors = [
        found.begin - true
        for id, path in paths.items()
        for found, true in zip(Segments(hmm).of(path), corpus[1][id], strict=True)
    ]
    assert np.mean(np.abs(errors) <= 1) > 0.97


def test_a_run_folder_is_that_of_a_trained_model(trained):
    cfg, _ = trained
    data = json.loads((Path(cfg.out) / "train" / "config.json").read_text())
    assert data["model"]["kind"] == "gmm"
    assert data["hmm"]["context"] == cfg.hmm.context
    aside = [json.loads(line) for line in open(f"{cfg.out}/train/set_aside.jsonl")]
    assert {entry["id"]: entry["why"] for entry in aside} == {
        "unlisted": "not in the lexicon: xyz",
        "short": "too few frames for the states of its phones",
    }
    assert {point.blank_penalty for point in pipeline.tune(cfg).points} == {0.0}
    pipeline.bundle(cfg)
    bundled = asr.load(cfg.bundle)
    test = manifest.read(cfg.data.test)[0]
    assert bundled.transcribe(test.features).text == test.text
    assert States.of(bundled.tokens) is not None


def test_a_training_is_repeated_to_the_same_bytes(corpus, tmp_path):
    found = []
    for unit in ("phone", "char"):  # it is always phones
        cfg = config(corpus[0], tmp_path / unit, "tri")
        cfg.hmm.rounds, cfg.tokens.unit = 2, unit
        folder = pipeline.train_hmm(cfg).parent
        found.append([(folder / file).read_bytes() for file in ("final.safetensors", "hmm.json", "alignments.npz")])
        assert json.loads((folder / "config.json").read_text())["tokens"]["unit"] == "phone"
    assert found[0] == found[1]


def test_what_needs_ctc_is_refused(trained, corpus):
    cfg, _ = trained
    with pytest.raises(InputError, match="only in a graph"):
        pipeline.open_recognizer(dataclasses.replace(cfg, decoder=DecoderConfig(kind="greedy")))
    for option, value in (("kind", "dynamic"), ("topology", "implicit"), ("forecast", True)):
        other = config(corpus[0], cfg.out, "mono")
        setattr(other.graph, option, value)
        with pytest.raises(InputError, match="HMMs"):
            (pipeline.forecast_graph if option == "forecast" else pipeline.build_graph)(other)


def test_a_graph_of_earlier_hmms_is_refused(trained, corpus, tmp_path):
    """HMMs that are trained again may have the same outputs, in other contexts."""
    copy = shutil.copytree(trained[0].out, tmp_path / "copy")
    cfg = config(corpus[0], copy, trained[1])
    pipeline.open_recognizer(cfg)
    hmm = Hmm.read(copy / "train" / "hmm.json")
    hmm.with_steps([steps**2 / (steps**2).sum(1, keepdims=True) for steps in hmm.steps]).write(
        copy / "train" / "hmm.json"
    )
    for opened in (lambda: pipeline.open_recognizer(cfg), lambda: asr.load(copy), lambda: pipeline.bundle(cfg)):
        with pytest.raises(InputError, match="graph is of other HMMs than .*hmm.json; run `asr graph` again"):
            opened()
    pipeline.build_graph(cfg)
    pipeline.open_recognizer(cfg)


def test_bad_input_is_refused(corpus, tmp_path):
    def refused(match, change):
        cfg = config(corpus[0], tmp_path / "run", "mono")
        change(cfg)
        with pytest.raises(InputError, match=match):
            pipeline.train_hmm(cfg)
        assert not (tmp_path / "run" / "train" / "final.safetensors").exists()

    refused("hmm.silence=A is a phone of words", lambda cfg: setattr(cfg.hmm, "silence", "A"))
    refused("hmm.silence='' is not the name of a phone", lambda cfg: setattr(cfg.hmm, "silence", ""))
    refused("hmm.silence='S P' is not the name of a phone", lambda cfg: setattr(cfg.hmm, "silence", "S P"))
    refused("tokens.lexicon=FILE", lambda cfg: setattr(cfg.tokens, "lexicon", None))
    refused("no utterance can be used; 'train0': ", lambda cfg: setattr(cfg.features, "num_bins", 7))
    (tmp_path / "run" / "train").mkdir(parents=True)
    (tmp_path / "run" / "train" / "config.json").write_text("{}")
    refused("holds the training of a net", lambda cfg: None)


def test_a_training_is_compared_by_what_it_depends_on(corpus, tmp_path):
    cfg = config(corpus[0], tmp_path / "run", "mono")
    cfg.hmm.rounds = 1
    path = pipeline.train_hmm(cfg)
    before, recorded = path.read_bytes(), path.with_name("config.json")
    data = json.loads(recorded.read_text())
    data |= {"seed": 7, "init": "../earlier.asr", "sha256": data["sha256"] | {"init": "0", "data.replay": "1"}}
    recorded.write_text(json.dumps(data | {"data": data["data"] | {"replay_share": 0.3}}))
    cfg.tokens.table, cfg.seed = str(shutil.copy(path.with_name("tokens.txt"), tmp_path)), 3
    assert pipeline.train_hmm(cfg).read_bytes() == before
    for name, value in (("max_audio_s", 20.0), ("train", cfg.data.dev)):
        other = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, **{name: value}))
        with pytest.raises(InputError, match=f"holds a training with .*{name}"):
            pipeline.train_hmm(other)


def test_a_finished_training_is_kept_and_told(corpus, tmp_path, caplog):
    caplog.set_level("INFO", "asr")
    cfg = config(corpus[0], tmp_path / "run", "mono")
    cfg.hmm.rounds = 1
    path = pipeline.train_hmm(cfg)
    before = path.read_bytes()
    path.write_bytes(before + b"mark")
    assert pipeline.train_hmm(cfg) == path and path.read_bytes() == before + b"mark"
    assert f"already trained: {path}; to train anew, delete {path.parent}" in caplog.text
    path.with_name("tokens.txt").unlink()  # as a move that was interrupted leaves it
    assert pipeline.train_hmm(cfg).read_bytes() == before


def test_a_net_trained_on_states_is_kept(corpus, tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    for name in ("config.json", "hmm.json", "final.safetensors"):  # as `asr train criterion=ce` leaves it
        (folder / name).write_text("kept")
    with pytest.raises(InputError, match="holds the training of a net"):
        pipeline.train_hmm(config(corpus[0], tmp_path, "mono"))
    assert (folder / "final.safetensors").read_text() == "kept"


def changed(folder, out, change):
    """A manifest `out` with the first utterances of the dev set, each as `change` makes it."""
    manifest.write(out, [change(utterance) for utterance in manifest.read(folder / "dev.jsonl")[:3]])
    return str(out)


def test_ids_of_the_training_set_are_refused_for_other_utterances(corpus, tmp_path):
    cfg = config(corpus[0], tmp_path / "run", "mono")
    cfg.data.dev = changed(
        corpus[0], tmp_path / "dev.jsonl", lambda u: dataclasses.replace(u, id=u.id.replace("dev", "train"))
    )
    with pytest.raises(InputError, match="'train0' is an utterance of .*train.jsonl and another one of .*dev.jsonl"):
        pipeline.train_hmm(cfg)
    cfg.data.dev = cfg.data.train = changed(corpus[0], tmp_path / "same.jsonl", lambda u: u)
    cfg.hmm.rounds = 1
    assert len(read_alignments(pipeline.train_hmm(cfg).with_name("alignments.npz"))) == 3


def test_a_dev_utterance_with_an_unseen_phone_is_set_aside(corpus, tmp_path):
    cfg = config(corpus[0], tmp_path / "run", "mono")
    Lexicon(LEXICON.pronunciations | {"zed": [("Z", "A"), ("A", "B")]}).write(tmp_path / "lexicon.txt")
    cfg.tokens.lexicon, cfg.hmm.rounds = str(tmp_path / "lexicon.txt"), 1
    cfg.data.dev = changed(
        corpus[0], tmp_path / "dev.jsonl", lambda u: dataclasses.replace(u, text="ab zed") if u.id == "dev0" else u
    )
    folder = pipeline.train_hmm(cfg).parent
    aside = [json.loads(line) for line in open(folder / "set_aside.jsonl")]
    assert {"id": "dev0", "why": "no training utterance has its phone Z"} in aside
    assert {"dev1", "dev2", "train0"} < set(read_alignments(folder / "alignments.npz"))


def test_the_dev_set_changes_nothing_in_the_model(corpus, tmp_path):
    found = []
    np.save(tmp_path / "loud.npy", np.random.default_rng(0).normal(0, 1000, (60, DIM)).astype(np.float32))
    for name, change in (("quiet", {}), ("loud", {"features": str(tmp_path / "loud.npy")})):
        cfg = config(corpus[0], tmp_path / name, "mono")
        cfg.data.dev = changed(corpus[0], tmp_path / f"{name}.jsonl", lambda u, c=change: dataclasses.replace(u, **c))
        cfg.hmm.rounds = 2
        found.append(pipeline.train_hmm(cfg).read_bytes())
    assert found[0] == found[1]


def test_huge_features_are_set_aside(corpus, tmp_path):
    np.save(tmp_path / "huge.npy", np.full((60, DIM), 1e30, np.float32))
    cfg = config(corpus[0], tmp_path / "run", "mono")
    cfg.hmm.rounds = 1
    cfg.data.dev = changed(corpus[0], tmp_path / "dev.jsonl", lambda u: dataclasses.replace(
        u, features=str(tmp_path / "huge.npy")) if u.id == "dev1" else u)  # fmt: skip
    folder = pipeline.train_hmm(cfg).parent
    aside = {entry["id"]: entry["why"] for entry in map(json.loads, open(folder / "set_aside.jsonl"))}
    assert "its features reach 1e+30" in aside["dev1"]


def test_the_number_of_threads_is_that_of_the_option(corpus, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr("torch.set_num_threads", found.append)
    cfg = config(corpus[0], tmp_path, "mono")
    cfg.threads, cfg.tokens.lexicon = 3, None
    with pytest.raises(InputError, match="lexicon"):
        pipeline.train_hmm(cfg)
    assert found == [3]


def test_asr_train_does_not_take_mixtures(corpus, tmp_path):
    cfg = config(corpus[0], tmp_path, "mono")
    cfg.model.kind = "gmm"
    with pytest.raises(InputError, match="comes from `asr hmm train`"):
        pipeline.train(cfg)


def test_alignments_survive_their_file(tmp_path):
    path = tmp_path / "alignments.npz"
    paths = {"a/한": np.array([1, 1, 2], np.int32), "b": np.zeros(0, np.int32)}
    write_alignments(path, paths)
    found = read_alignments(path)
    assert {id: list(p) for id, p in found.items()} == {id: list(p) for id, p in paths.items()}
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="does not hold alignments"):
        read_alignments(path)
    np.savez(path, ids=np.array(["a"]), first=np.array([0, 5]), outputs=np.zeros(3, np.int32))
    with pytest.raises(InputError, match="do not fit each other"):
        read_alignments(path)
    for ids, first in (([["a"]], [0, 3]), ([1], [0, 3]), (["a", "b"], [0, 1.5, 3])):
        np.savez(path, ids=np.array(ids), first=np.array(first), outputs=np.zeros(3, np.int32))
        with pytest.raises(InputError, match="do not fit each other"):
            read_alignments(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="does not hold alignments"):
        read_alignments(path)
    with pytest.raises(InputError, match="cannot read the alignments"):
        read_alignments(tmp_path / "none.npz")


def test_a_table_of_tokens_is_none_of_states():
    assert States.of(Tokens(["<blk>", "a", "b"])) is None


@pytest.mark.parametrize("context", ["mono", "tri"])
def test_phones_of_one_state(tmp_path, context):
    """From the training to words with times, and to `asr align`. `cc`, and `ab ba`, have a phone twice in a row."""
    _, begins = write_corpus(tmp_path, states=1)
    cfg = config(tmp_path, tmp_path / "run", context)
    cfg.hmm.states, cfg.hmm.rounds = 1, 4
    pipeline.train_hmm(cfg)
    hmm = Hmm.read(f"{cfg.out}/train/hmm.json")
    assert [len(steps) - 1 for steps in hmm.steps] == [1, 1, 1, 5] and hmm.has_contexts == (context == "tri")
    segments, doubled, late = Segments(hmm), 0, []
    texts = {u.id: u.text for split in (cfg.data.train, cfg.data.dev) for u in manifest.read(split)}
    paths = read_alignments(f"{cfg.out}/train/alignments.npz")
    for id, path in ((id, path) for id, path in paths.items() if id in begins):
        words = texts[id].split()
        found = list(segments.of(path, segments.spellings(words, LEXICON)))
        said = [hmm.phones[part.phone] for part in found if part.phone != hmm.silence_id]
        assert said == [phone for word in words for phone in LEXICON.pronunciations[word][0]]
        doubled += sum(a == b for a, b in pairwise(said))
        edges = zip(pairwise(found), begins[id][1:], strict=True)
        late += [abs(part.begin - begin) for (before, part), begin in edges if part.phone != before.phone]
    assert doubled > 10 and np.mean(np.array(late) <= 1) > 0.97
    pipeline.train_lm(cfg)
    pipeline.build_graph(cfg)
    pipeline.decode(cfg)
    assert pipeline.score(cfg).wer < 0.25  # nothing but its length tells "cc" from "cc cc"
    output = tmp_path / "aligned.jsonl"
    cfg = dataclasses.replace(cfg, bundle=cfg.out, input=[cfg.data.test], output=str(output))
    assert not align(cfg).set_aside
    for utterance in manifest.read(output):
        aligned = [token for word in utterance.extra["alignment"]["words"] for token in word["tokens"]]
        said = [phone for word in utterance.text.split() for phone in LEXICON.pronunciations[word][0]]
        assert [token["token"] for token in aligned] == said
        assert all(a["end_s"] <= b["start_s"] and a["start_s"] < a["end_s"] for a, b in pairwise(aligned))
