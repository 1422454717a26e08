"""The lexicon fit: a synthetic model says known variants, and the fit finds them; refusals; the verb."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import onnx_writer
import pytest
import soundfile
import yaml
from tiny import noise

from asr import manifest
from asr.cli.main import main
from asr.errors import InputError
from asr.evaluation import lexicon_fit
from asr.manifest import Utterance
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, SPACE, Tokens

UNITS = list("abcdefgh")
SAID = {  # what the model says, and how often
    "often": {"a b": 0.7, "c d": 0.3},
    "two": {"e f": 0.75, "e g": 0.25},
    "plain": {"h a h": 1.0},
    "rare": {"g g": 1.0},
}
LEXICON = Lexicon(
    {
        "often": ["ab", "ef"],  # `c d` is new, `e f` is never said
        "two": ["ef", "eg"],
        "plain": ["hah"],
        "rare": ["b"],  # said once, otherwise
        "unseen": ["ad", "ca"],
    },
    {("unseen", ("c", "a")): 0.4},
)


class Speaker:
    """Has the face of a recogniser that the fit needs; its log-probs spell what it says."""

    def __init__(self, has_space=True, seed=0):
        self.tokens = Tokens([BLANK, *([SPACE] if has_space else []), *UNITS])
        self.cfg = SimpleNamespace(graph=SimpleNamespace(silence=None))
        self.rng = np.random.default_rng(seed)
        self.said, self.drawn = {}, Counter()

    def say(self, id, words):
        units = []
        for number, word in enumerate(words):
            variants = SAID[word]
            units += [SPACE] * (number > 0 and SPACE in self.tokens)
            drawn = list(variants)[self.rng.choice(len(variants), p=list(variants.values()))]
            self.drawn[word, drawn.replace(" ", "")] += 1
            units += drawn.split()
        frames = [self.tokens.encode([unit])[0] for unit in units]
        spread = [token for t in frames for token in ([0] * self.rng.integers(1, 3) + [t] * self.rng.integers(1, 3))]
        logits = self.rng.normal(size=(len(spread) + 1, len(self.tokens)))
        logits[np.arange(len(spread)), spread] += 6
        logits[-1, 0] += 6
        self.said[id] = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
        return Utterance(id, text=" ".join(words))

    def score_utterances(self, utterances, bar):
        yield [(u.id, self.said[u.id], 1.0) for u in utterances]


def corpus(speaker, count=100):
    words = ["often", "two", "plain"]
    sizes = speaker.rng.integers(6, 10, count)
    found = [speaker.say(f"u{i}", list(speaker.rng.choice(words, size))) for i, size in enumerate(sizes)]
    return [*found, speaker.say("r", [*words, "rare", *words])]


@pytest.mark.parametrize("has_space", [True, False])
def test_known_variants_are_found(has_space):
    speaker = Speaker(has_space)
    fitted = lexicon_fit.fit(speaker, LEXICON, corpus(speaker))
    found = {word: {"".join(v): fitted.lexicon.probabilities.get((word, v), 1.0) for v in variants}
             for word, variants in fitted.lexicon.pronunciations.items()}  # fmt: skip
    assert fitted.utterances == 101 and not fitted.set_aside
    for word, variants in (("often", ["ab", "cd"]), ("two", ["ef", "eg"])):
        drawn = {units: speaker.drawn[word, units] for units in variants}
        assert found[word] == pytest.approx({u: n / sum(drawn.values()) for u, n in drawn.items()}, abs=0.02)
    assert found["plain"] == {"hah": 1.0}
    assert found["rare"] == {"b": 1.0}  # heard once
    assert found["unseen"] == {"ad": 1.0, "ca": 0.4}
    changed = {change.word: change for change in fitted.changes}
    assert changed.keys() == {"often", "two"} and changed["often"].before == {("a", "b"): 0.5, ("e", "f"): 0.5}
    assert fitted.changes[0].count >= fitted.changes[1].count > 150


def test_rare_words_keep_what_the_lexicon_says():
    speaker = Speaker()
    utterances = [speaker.say(f"u{i}", ["plain", "rare", *["plain"] * 6]) for i in range(2)]
    fitted = lexicon_fit.fit(speaker, LEXICON, utterances)
    assert fitted.lexicon.probabilities["rare", ("b",)] == pytest.approx(0.5, abs=0.02)
    assert fitted.lexicon.probabilities["rare", ("g", "g")] == pytest.approx(0.5, abs=0.02)


def test_shares_are_the_most_probable_ones():
    """The closed form of the MAP estimate if each occurrence has one possible candidate; no NaN if it has none."""
    sure = np.where(np.arange(10)[:, None] < [7], [[0.0, -50.0]], [[-50.0, 0.0]])
    shares, explained = lexicon_fit._maximise(sure, np.array([1.0, 1.0]))
    assert explained == pytest.approx([7, 3]) and shares == pytest.approx([(7 + 1) / 12, (3 + 1) / 12])
    impossible = np.full((4, 2), lexicon_fit.IMPOSSIBLE)
    assert lexicon_fit._maximise(impossible, np.array([1.0, 0.0]))[0].sum() == pytest.approx(1)


def test_bad_utterances_are_named_and_set_aside():
    speaker = Speaker()
    good = [speaker.say(f"u{i}", ["two"] * 3 + ["plain"] * 3) for i in range(20)]
    bad = [speaker.say("wrong", ["two", "two"]), speaker.say("oov", ["two"]), speaker.say("short", ["plain"])]
    bad[0].text, bad[1].text, bad[2].text = "rare rare", "two new", " ".join(["plain"] * 20)
    fitted = lexicon_fit.fit(speaker, LEXICON, [*good, *bad, Utterance("none")])
    assert fitted.utterances == 20 and "rare" not in {change.word for change in fitted.changes}
    reasons = {line.split("'")[1]: line for line in fitted.set_aside}
    assert reasons.keys() == {"wrong", "oov", "short"}
    assert "does not match its transcript" in reasons["wrong"]
    assert "without a pronunciation in the model's units: new" in reasons["oov"]
    assert "too short for its transcript" in reasons["short"]
    assert "20 utterances, 3 set aside" in fitted.table()
    with pytest.raises(InputError, match="none of the 1 utterances could be aligned"):
        lexicon_fit.fit(speaker, LEXICON, [bad[0]])
    with pytest.raises(InputError, match=r"units \(X, Y\) are not those of the model \(<space>, a, b"):
        lexicon_fit.fit(speaker, Lexicon({"two": [["X", "Y"]]}), good)


@pytest.fixture
def files(tmp_path):
    """An imported model that says its own name for a sound, and a corpus of it."""
    weights = np.random.default_rng(3).standard_normal((4, 400)).astype(np.float32)
    (tmp_path / "m.onnx").write_bytes(onnx_writer.of_samples(weights, 320))
    description = {
        "model": "m.onnx", "input": "samples", "lengths": "count", "output": "log_probs", "shift_ms": 20,
        "tokens": ["<blank>", "aa", "bb", "cc"], "blank": "<blank>", "unit": "phone",
    }  # fmt: skip
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(description))
    soundfile.write(tmp_path / "a.wav", noise(0.3), 16000)
    utterances = [Utterance(f"u{i}", str(tmp_path / "a.wav"), text="word") for i in range(3)]
    manifest.write(tmp_path / "data.jsonl", utterances)
    (tmp_path / "lexicon.txt").write_text("word aa bb\nother cc\n")
    return tmp_path


def test_the_verb_takes_a_bundle_or_a_run_folder(files, monkeypatch, capsys):
    pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime")
    monkeypatch.chdir(files)
    monkeypatch.setattr(lexicon_fit, "LEAST_LIKENESS", 0)  # the model says anything
    assert main(["import", "m.yaml", "output=m.asr"]) == main(["import", "m.yaml", "out=run"]) == 0
    for model in ("m.asr", "run", "out=run"):
        fit = ["lexicon", "fit", model, "data.jsonl", "lexicon=lexicon.txt", "output=new.txt"]
        assert main(fit) == 0, capsys.readouterr().err
        fitted = Lexicon.read("new.txt")
        assert len(fitted.pronunciations["word"]) == 2  # and what the model says three times
        assert fitted.pronunciations["other"] == [("cc",)]
        rows = [line.split("\t") for line in (files / "new.txt.changes.tsv").read_text().splitlines()]
        assert rows[0] == ["word", "count", "before", "after"] and rows[1][:3] == ["word", "3", "aa bb 1.00"]
    assert "1 words heard, 1 changed, 1 new" in capsys.readouterr().out
    for words, message in {
        "m.asr data.jsonl output=new.txt": "lexicon=FILE is missing",
        "m.asr data.jsonl lexicon=lexicon.txt": "output=FILE is missing",
        "m.asr data.jsonl lexicon=lexicon.txt output=lexicon.txt": "lexicon.txt",
        "m.asr data.jsonl lexicon=data.jsonl.changes.tsv output=data.jsonl": "data.jsonl",
        "data.jsonl lexicon=lexicon.txt output=new.txt out=none": "holds no trained model",
        "typo.asr data.jsonl lexicon=lexicon.txt output=new.txt out=run": "there is no bundle typo.asr",
        "bundle=typo data.jsonl lexicon=lexicon.txt output=new.txt out=run": "there is no bundle typo",
        "m.asr data.jsonl lexicon=lexicon.txt output=new.txt silence=SIL": "graph.silence=SIL is not a token of the m",
        "m.asr other.jsonl lexicon=lexicon.txt output=new.txt": "other.jsonl",
    }.items():
        assert main(["lexicon", "fit", *words.split()]) == 2
        assert message in capsys.readouterr().err


def test_silence_is_no_part_of_a_pronunciation(files, monkeypatch, capsys):
    """It is named, or that of the graph in the run folder."""
    pytest.importorskip("onnxruntime", reason="ONNX models are run by onnxruntime")
    monkeypatch.chdir(files)
    monkeypatch.setattr(lexicon_fit, "LEAST_LIKENESS", 0)
    assert main(["import", "m.yaml", "output=m.asr"]) == main(["import", "m.yaml", "out=run"]) == 0
    fit = ["lexicon", "fit", "data.jsonl", "lexicon=lexicon.txt", "output=new.txt"]

    def heard():
        return {unit for variant in Lexicon.read("new.txt").pronunciations["word"] for unit in variant}

    assert main([*fit, "out=run"]) == 0 and "cc" in heard()
    for model in ("m.asr", "out=run"):
        assert main([*fit, model, "silence=cc"]) == 0, capsys.readouterr().err
        assert "cc" not in heard()
    (files / "run/graph").mkdir()
    (files / "run/graph/stats.json").write_text('{"silence": "cc"}')
    for model in ("run", "out=run"):
        assert main([*fit, model]) == 0, capsys.readouterr().err
        assert "cc" not in heard()
    (files / "other").mkdir()
    (files / "m.asr").rename(files / "other/model.asr")
    assert main([*fit, "other/model.asr", "out=other"]) == 0  # a bundle in the default place, without a training
