"""`asr align long` with HMMs: against the best of all paths, and on a recording of tones whose words are known."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tone_net
from hmm_reference import best_passage
from test_align_long import misquote, places_of
from test_hmm import HMMS

from asr import manifest
from asr.align.hmm_aligner import SKIPPED, with_phones
from asr.cli.main import main
from asr.hmm.alignment import read_passage
from asr.hmm.loose import loose_acceptor
from asr.manifest import Utterance

GAIN = 0.7


def passages(words, gaps):
    """(phones, numbers of the pronunciations, cost) of every way to say some of the words with up to two phones of
    gaps between them; words are skipped behind a gap."""
    firsts = np.cumsum([1, *map(len, words)])
    runs = [run for size in range(3) for run in itertools.product(gaps, repeat=size)]
    for kept in itertools.product(*([None, *range(len(word))] for word in words)):
        said = [number for number, which in enumerate(kept) if which is not None]
        skipped = np.diff([-1, *said, len(words)]) > 1  # before each word and behind the last
        numbers = [int(firsts[number]) + kept[number] for number in said]
        cost = sum(words[n][kept[n]][1] - GAIN * min(len(units) for units, _ in words[n]) for n in said)
        for between in itertools.product(*([run for run in runs if run or not skip] for skip in skipped)):
            phones = list(between[0])
            for number, gap in zip(said, between[1:], strict=True):
                phones += [*words[number][kept[number]][0], *gap]
            yield phones, numbers, cost


@pytest.mark.parametrize("name", HMMS)
@pytest.mark.parametrize("frames", [3, 6])
def test_words_and_sound_are_skipped_on_the_best_of_all_paths(name, frames):
    hmm = with_phones(HMMS[name], SKIPPED)
    words = [[("AB", 0.0), ("B", 0.2)], [("A", 0.4)], [("BA", 0.1)]]
    gaps = [hmm.silence, SKIPPED] if hmm.silence else [SKIPPED]
    scores = np.random.default_rng(frames).normal(0, 1, (frames, len(hmm.tokens))).astype(np.float32)
    ways = []
    for phones, numbers, cost in passages(words, gaps):
        found = best_passage(hmm, hmm.phones.encode(phones), scores, scale=1.0) if phones else (np.inf, ())
        ways.append((found[0] + cost, found[1], numbers))
    _, path, numbers = min(ways)
    acceptor = loose_acceptor(words, hmm, hmm.phones.encode(gaps), GAIN)
    found = read_passage(acceptor, hmm, scores)
    assert (tuple(found[0].tolist()), found[1]) == (path, numbers)


def test_a_passage_that_is_too_large_or_too_short_has_no_words(monkeypatch):
    hmm = with_phones(HMMS["mono"], SKIPPED)
    acceptor = loose_acceptor([[("AB", 0.0)]] * 3, hmm, hmm.phones.encode([SKIPPED]), GAIN)
    scores = np.zeros((1, len(hmm.tokens)), np.float32)
    assert read_passage(acceptor, hmm, scores)[1] == []
    monkeypatch.setattr("asr.hmm.alignment.MOST_PASSAGE_CELLS", 10)
    assert read_passage(acceptor, hmm, scores) is None


@pytest.fixture(scope="module", params=["tri"])
def book(request, tmp_path_factory):
    """HMMs of tones, and a recording of 300 words with a text that differs."""
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(6)
    utterances, words = [], tone_net.new_words(800, rng)
    for number in range(25):
        said = tone_net.say(words[300 + 10 * number :][:10], rng)
        soundfile.write(folder / f"{number}.wav", said.samples, tone_net.RATE_HZ)
        utterances.append(Utterance(str(number), str(folder / f"{number}.wav"), text=said.text))
    manifest.write(folder / "train.jsonl", utterances[:22])
    manifest.write(folder / "dev.jsonl", utterances[22:])
    said = tone_net.say(words[:300], rng, (0.2, 0.6))
    soundfile.write(folder / "book.wav", said.samples, tone_net.RATE_HZ)
    wanted = misquote(said, rng, folder / "book.txt")
    listed = dict.fromkeys([*words, *(word for word, _ in wanted)])
    (folder / "lexicon.txt").write_text("".join(f"{word} {' '.join(word)}\n" for word in sorted(listed)))
    options = [f"hmm.context={request.param}", "hmm.gaussians=60", "hmm.rounds=4", "hmm.leaves=40"]
    options += [f"data.{split}={folder}/{split}.jsonl" for split in ("train", "dev")]
    options += [f"tokens.lexicon={folder}/lexicon.txt", "features=mfcc", "features.deltas=0"]
    assert main(["hmm", "train", f"out={folder}/run", *options]) == 0
    return folder, said, wanted


@pytest.fixture(scope="module")
def net(book):
    """A net over the states of these HMMs."""
    folder = book[0]
    options = [f"data.{split}={folder}/{split}.jsonl" for split in ("train", "dev")]
    options += [f"tokens.lexicon={folder}/lexicon.txt", "features.cmvn=utterance", "augment=none", "criterion=ce"]
    options += [f"criterion.alignments={folder}/run/train/alignments.npz", "model=fc", "model.subsampling=1"]
    options += ["model.hidden=64", "model.layers=1", "optim.epochs=8", "optim.batch_s=5", "optim.lr=1e-2", "threads=1"]
    assert main(["train", f"out={folder}/net", *options]) == 0


@pytest.mark.parametrize("out", ["run", "net"])
def test_a_long_recording_is_cut_into_utterances(out, book, net, monkeypatch, capsys):
    folder, said, wanted = book
    monkeypatch.chdir(folder)
    monkeypatch.setattr("asr.align.long.SECTION_S", 10.0)  # so that there are several sections
    assert main(["align", "long", f"out={out}", "book.wav", "book.txt", f"output={out}.jsonl", "longest_s=8"]) == 0
    right, wrong = places_of(manifest.read(f"{out}.jsonl"), said, wanted)
    spoken = sum(source is not None for _, source in wanted)
    assert right >= 0.97 * spoken and wrong <= 4
    assert f"of {len(wanted)} words found" in capsys.readouterr().out
    rows = (folder / f"{out}.jsonl.suspicious.tsv").read_text()
    assert "s of speech at" in rows and "words 181 to 200 of the text" in rows


def test_a_text_of_something_else_is_refused(book, tmp_path, monkeypatch, capsys):
    folder, said, _ = book
    monkeypatch.chdir(folder)
    foreign = tone_net.new_words(300, np.random.default_rng(77))
    (tmp_path / "lexicon.txt").write_text("".join(f"{word} {' '.join(word)}\n" for word in sorted(set(foreign))))
    soundfile.write(tmp_path / "part.wav", said.samples[: 4 * tone_net.RATE_HZ], tone_net.RATE_HZ)
    short = [word for word in foreign if len(word) == 5][:12]
    for recording, words, message in (
        (folder / "book.wav", foreign, "check that they belong together"),
        (tmp_path / "part.wav", short, "few words in common"),
        (tmp_path / "part.wav", ["???", "!!!", "12"], "no word of the text has a pronunciation"),
    ):
        (tmp_path / "foreign.txt").write_text(" ".join(words))
        call = ["out=run", str(recording), f"{tmp_path}/foreign.txt", f"lexicon={tmp_path}/lexicon.txt"]
        assert main(["align", "long", *call, f"output={tmp_path}/x.jsonl"]) == 2, message
        assert message in capsys.readouterr().err
        assert not Path(tmp_path / "x.jsonl").exists()
