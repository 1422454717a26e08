"""`asr align` with HMMs: phones and words where they begin, the states of each frame, and what is set aside."""

import dataclasses

import numpy as np
import pytest
from test_hmm import HMMS
from test_hmm import LEXICON as SMALL
from test_hmm_training import LEXICON, config, corpus  # noqa: F401, a fixture

from asr import manifest, pipeline
from asr.align.run import align, align_long
from asr.data.alignments import read_alignments
from asr.errors import InputError
from asr.hmm.alignment import Aligner, acceptor, read_path
from asr.hmm.model import Hmm
from asr.hmm.segments import Segments
from asr.manifest import Utterance
from asr.tokens import Tokens


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):  # noqa: F811
    cfg = config(corpus[0], tmp_path_factory.mktemp("hmm_align"), "tri")
    pipeline.train_hmm(cfg)
    return dataclasses.replace(cfg, bundle=cfg.out)


def test_words_and_phones_begin_where_they_sound(trained, corpus, tmp_path):  # noqa: F811
    output = tmp_path / "test.jsonl"
    found = align(dataclasses.replace(trained, input=[trained.data.test], output=str(output)))
    assert not found.set_aside and len(found.found) == 20
    late = []
    for utterance in manifest.read(output):
        words = utterance.extra["alignment"]["words"]
        assert [word["word"] for word in words] == utterance.text.split()
        phones = [token for word in words for token in word["tokens"]]
        assert [t["token"] for t in phones] == [p for w in words for p in LEXICON.pronunciations[w["word"]][0]]
        late += [t["start_s"] - begin / 100 for t, begin in zip(phones, corpus[1][utterance.id][1:], strict=False)]
        for word in words:
            assert word["start_s"] == word["tokens"][0]["start_s"] and word["end_s"] == word["tokens"][-1]["end_s"]
        assert utterance.extra["alignment"]["score"] > 0.5
    assert np.mean(np.abs(late) <= 0.0101) > 0.97


def test_states_are_those_of_the_training(trained, tmp_path):
    output = tmp_path / "again" / "alignments.npz"
    align(dataclasses.replace(trained, input=[trained.data.train, trained.data.dev], output=str(output)))
    found, trained_on = read_alignments(output), read_alignments(f"{trained.out}/train/alignments.npz")
    assert set(found) == set(trained_on)
    same = [np.mean(found[id] == path) for id, path in trained_on.items()]
    assert np.mean(same) > 0.995
    folder = output.parent
    assert Hmm.read(folder / "hmm.json").plain() == Hmm.read(f"{trained.out}/train/hmm.json").plain()
    assert Tokens.read(folder / "tokens.txt") == Tokens.read(f"{trained.out}/train/tokens.txt")


def test_what_hmms_do_not_do_is_refused(trained, tmp_path):
    def refused(match, verb=align, **options):
        cfg = dataclasses.replace(trained, input=[trained.data.test], output=str(tmp_path / "x.jsonl"))
        with pytest.raises(InputError, match=match):
            verb(dataclasses.replace(cfg, **options))
        assert not (tmp_path / "x.jsonl").exists()

    refused("fillers=um", graph=dataclasses.replace(trained.graph, fillers=["um"]))
    (tmp_path / "book.txt").write_text("ab")
    recording = [trained.data.test, str(tmp_path / "book.txt")]
    refused("asr align long is for nets trained with CTC", align_long, input=recording)
    refused("asr align long writes", align_long, input=recording, output=str(tmp_path / "x.npz"))
    inside = f"{trained.out}/train/alignments.npz"
    refused("tokens.txt|hmm.json", output=inside)


def test_a_word_without_a_pronunciation_sets_its_utterance_aside(trained, tmp_path, capsys):
    utterances = [dataclasses.replace(u) for u in manifest.read(trained.data.test)[:3]]
    utterances[0].text = "ab 3"
    utterances.append(Utterance("quiet", features=utterances[1].features, text=""))
    manifest.write(tmp_path / "in.jsonl", utterances)
    cfg = dataclasses.replace(trained, input=[str(tmp_path / "in.jsonl")], output=str(tmp_path / "out.ctm"))
    assert align(cfg).set_aside == 1
    assert "set aside utterance 'test0': '3' has no pronunciation" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["mono", "tri"])
def test_the_path_and_its_pronunciations_are_the_best(name):
    hmm, words = HMMS[name], ["a", "ab", "a"]
    scores = np.random.default_rng(4).normal(0, 4, (14, len(hmm.tokens))).astype(np.float32)
    spelled = [[(u, hmm.scale * SMALL.cost(w, u)) for u in SMALL.pronunciations[w]] for w in words]
    path, numbers = read_path(spelled, hmm, hmm.scale * scores)
    aligner = Aligner(acceptor(words, SMALL, hmm), hmm)
    assert path.tolist() == aligner.align(scores[:, aligner.outputs]).tolist()
    variants = [units for word in spelled for units, _ in word]
    said = [phone for number in numbers for phone in variants[number - 1]]
    heard = [hmm.phones[part.phone] for part in Segments(hmm).of(path) if part.phone != hmm.silence_id]
    assert said == heard and len(numbers) == 3
