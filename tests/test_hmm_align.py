"""`asr align` with HMMs: phones and words where they begin, fillers, any sound, the states of each frame, beams."""

import dataclasses
import itertools

import numpy as np
import pytest
from hmm_reference import best_passage
from test_hmm import HMMS
from test_hmm import LEXICON as SMALL
from test_hmm_training import LEXICON, config, corpus  # noqa: F401, a fixture

from asr import manifest, pipeline
from asr.align.hmm_aligner import ANY_SOUND, with_phones
from asr.align.run import align, align_long
from asr.data.alignments import read_alignments
from asr.errors import InputError
from asr.hmm.alignment import Aligner, acceptor, read_path
from asr.hmm.model import Hmm
from asr.hmm.segments import Segments
from asr.manifest import Utterance
from asr.search.decoder import Decoder
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

    refused("fillers without a pronunciation: um", graph=dataclasses.replace(trained.graph, fillers=["um"]))
    (tmp_path / "book.txt").write_text("ab")
    recording = [trained.data.test, str(tmp_path / "book.txt")]
    refused("stored features, which cannot be cut", align_long, input=recording)
    refused("asr align long writes", align_long, input=recording, output=str(tmp_path / "x.npz"))
    inside = f"{trained.out}/train/alignments.npz"
    refused("tokens.txt|hmm.json", output=inside)


def test_unknown_words_are_any_sound_and_fillers_may_be_heard(trained, corpus, tmp_path, capsys):  # noqa: F811
    listed = [(u, u.text.split()) for u in manifest.read(trained.data.test)]
    utterances = [u for u, words in listed if len(words) == 3 and words[1] not in (words[0], words[2])]
    said, unknown, shorter = [u.text.split() for u in utterances], [], []
    for utterance, words in zip(utterances, said, strict=True):
        unknown.append(dataclasses.replace(utterance, text=f"{words[0]} 3 {words[2]}"))
        shorter.append(dataclasses.replace(utterance, text=f"{words[0]} {words[2]}"))
    unknown.append(Utterance("quiet", features=utterances[1].features, text=""))

    def aligned(utterances, **options):
        manifest.write(tmp_path / "in.jsonl", utterances)
        cfg = dataclasses.replace(trained, input=[str(tmp_path / "in.jsonl")], output=str(tmp_path / "out.jsonl"))
        return [found for _, found in align(dataclasses.replace(cfg, **options)).found]

    late = []
    for utterance, words, found in zip(utterances, said, aligned(unknown), strict=False):
        before, any_sound, after = found.words
        assert (any_sound.word, any_sound.score, any_sound.tokens, any_sound.is_unknown) == ("3", 0.0, [], True)
        assert before.end_s <= any_sound.start_s < any_sound.end_s <= after.start_s
        assert any("'3'" in remark and "has no pronunciation" in remark for remark in found.remarks)
        begins = [begin / 100 for begin in corpus[1][utterance.id]]
        first, last = np.cumsum([1, *(len(LEXICON.pronunciations[word][0]) for word in words)])[1:3]
        late += [any_sound.start_s - begins[first], any_sound.end_s - begins[last]]
    assert np.mean(np.abs(late) <= 0.0301) > 0.9
    graph = dataclasses.replace(trained.graph, fillers=["cc", "ba", "ab", "cab"], filler_cost=0.5)
    for words, found in zip(said, aligned(shorter, graph=graph), strict=True):
        assert [(word.word, word.is_filler) for word in found.words] == [*zip(words, (False, True, False), strict=True)]
    for words, found in zip(said, aligned(utterances, graph=graph), strict=True):
        assert [word.word for word in found.words if not word.is_filler] == words
        assert not any(word.is_filler for word in found.words)
    states = dataclasses.replace(trained, input=[str(tmp_path / "in.jsonl")], output=str(tmp_path / "out.npz"))
    unknown[0].text = said[0][0]
    manifest.write(tmp_path / "in.jsonl", unknown[:3])
    found = align(states)
    assert found.set_aside == 2 and not found.unknown and "stand for any sound" not in found.table()
    assert f"set aside utterance '{unknown[1].id}': '3' has no pronunciation" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", HMMS)
@pytest.mark.parametrize("frames", [4, 6, 7])
def test_fillers_and_any_sound_are_on_the_best_of_all_paths(name, frames):
    """Against every sequence of phones that the text allows, and every path through their states."""
    hmm = with_phones(HMMS[name], ANY_SOUND)
    words = [[("AB", 0.0), ("B", 0.2)], [("A", 0.4), ((), 0.0)], [([ANY_SOUND], 0.0)]]
    scores = np.random.default_rng(frames).normal(0, 1, (frames, len(hmm.tokens))).astype(np.float32)
    quiet = [(), ("SIL",)] if hmm.silence else [()]
    ways = []
    for numbers in itertools.product((1, 2), (3, 4), (5,)):
        said = [
            words[slot][number - first] for slot, (number, first) in enumerate(zip(numbers, (1, 3, 5), strict=True))
        ]
        parts = [units for units, _ in said if units]
        for pauses in itertools.product(quiet, repeat=len(parts) + 1):
            units = [*pauses[0], *(u for part, pause in zip(parts, pauses[1:], strict=True) for u in (*part, *pause))]
            cost, path = best_passage(hmm, hmm.phones.encode(units), scores, scale=1.0)
            ways.append((cost + sum(cost for _, cost in said), path, [n for n in numbers if n != 4]))
    cost, path, numbers = min(ways)
    found = read_path(words, hmm, scores)
    assert found is None if np.isinf(cost) else (tuple(found[0].tolist()), found[1]) == (path, numbers)


def test_the_beam_is_widened_and_large_utterances_that_it_loses_are_named(monkeypatch):
    hmm, words = HMMS["mono"], [[("AB", 0.0)]] * 3
    scores = np.random.default_rng(1).normal(0, 30, (40, len(hmm.tokens))).astype(np.float32)
    monkeypatch.setattr("asr.hmm.alignment.BEAMS", ())
    exact = read_path(words, hmm, scores)
    widths = []

    class Narrow(Decoder):
        def __init__(self, graph, beam, **options):
            widths.append(beam)
            super().__init__(graph, beam=beam, min_active=0, **options)

    monkeypatch.setattr("asr.hmm.alignment.Decoder", Narrow)
    monkeypatch.setattr("asr.hmm.alignment.BEAMS", (0.01, 0.02))
    found = read_path(words, hmm, scores)
    assert widths == [0.01, 0.02, np.inf]
    assert found[0].tolist() == exact[0].tolist() and found[1] == exact[1]
    assert read_path(words, hmm, scores[:5]) is None  # too short
    monkeypatch.setattr("asr.hmm.alignment.MOST_CELLS", 10)
    with pytest.raises(InputError, match="no path of its text survives a beam of 0.02"):
        read_path(words, hmm, scores)


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
