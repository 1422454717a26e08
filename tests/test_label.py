"""`asr data label`: which hypotheses become texts to train on."""

from pathlib import Path

import pytest

from asr import hypothesis, manifest
from asr.cli import main as cli
from asr.data.label import label
from asr.errors import InputError
from asr.hypothesis import Hypothesis, Word
from asr.manifest import Utterance


def heard(id: str, *confidences: float, complete: bool = True) -> Hypothesis:
    words = [Word(f"w{i}", i, i + 1.0, confidence) for i, confidence in enumerate(confidences)]
    return Hypothesis(id, " ".join(word.word for word in words), words, 1.0, len(words), complete)


UTTERANCES = [Utterance(id, f"/s/{id}.wav", extra={"text": None, "room": 3}) for id in "abcdef"]
UTTERANCES.append(Utterance("told", "/s/told.wav", text="as it was"))
HEARD = [heard("a", 0.9, 0.7), heard("b", 0.7, 0.7), heard("c"), heard("d", 1.0, complete=False), heard("told", 1.0),
         heard("e", 0.8)]  # fmt: skip


def test_the_sure_ones_become_texts() -> None:
    found = label(UTTERANCES, HEARD, 0.8)
    assert [(u.id, u.text) for u in found.utterances] == [("a", "w0 w1"), ("e", "w0"), ("told", "as it was")]
    assert found.utterances[0].extra == {"room": 3, "confidence": 0.8} and found.transcribed == 1
    assert found.left_out == {"less sure than 0.8": 1, "in which no words were heard": 1, "whose text is incomplete": 1,
                              "without a hypothesis": 1}  # fmt: skip
    assert found.words == 3 and found.wrong_words == pytest.approx(0.1 + 0.3 + 0.2)
    assert "3 new words, of which 20.0% are expected to be wrong" in found.table()


def test_words_that_were_left_out_make_a_text_incomplete() -> None:
    half = Hypothesis("a", "w0", [Word("w0", 0, 1, 1.0), Word("w1", 1, 2, 1.0, accepted=False)], 1.0, 2.0, True)
    assert label(UTTERANCES, [half], 0.0).left_out["whose text is incomplete"] == 1


def test_hypotheses_of_other_utterances_are_refused() -> None:
    with pytest.raises(InputError, match="the ids differ"):
        label(UTTERANCES, [heard("other", 1.0)], 0.5)
    with pytest.raises(InputError, match="has a text already"):
        label(UTTERANCES[-1:], HEARD, 0.5)


def test_two_hypotheses_of_one_utterance_are_refused() -> None:
    with pytest.raises(InputError, match="two hypotheses have the id 'a'"):
        label(UTTERANCES, [*HEARD, heard("a", 1.0)], 0.5)


def test_the_verb_joins_manifests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, hyp, out = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "hyp.jsonl", "out.jsonl"))
    manifest.write(first, UTTERANCES[:6])
    manifest.write(second, UTTERANCES[6:])
    hypothesis.write(hyp, HEARD)
    words = ["data", "label", str(hyp), str(first), str(second)]
    assert cli.main([*words, f"output={out}", "min_confidence=0.75"]) == 0
    assert [u.id for u in manifest.read(out)] == ["a", "e", "told"]
    assert "2 utterances got a text, 1 had one" in capsys.readouterr().out
    assert cli.main([*words, f"output={first}"]) == 2 and "is also an input" in capsys.readouterr().err
    assert cli.main(["data", "label", str(hyp), f"output={out}"]) == 2
