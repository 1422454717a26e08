"""Word lists and grammars of recognisers over HMM states: graphs against brute force, and the ways to give a list."""

import dataclasses
import itertools
import json
import math
import time
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch
from hmm_reference import best_passage
from served import app_of, client_of
from test_hmm import HMMS, random_scores
from test_hmm import LEXICON as SMALL
from test_hmm_training import LEXICON, config, corpus  # noqa: F401, a fixture

import asr
from asr import manifest, pipeline
from asr.align.run import align
from asr.cli.main import main
from asr.errors import InputError
from asr.graph.lists import closed_graph, list_grammar
from asr.graph.phrase_grammar import read_grammar
from asr.hmm.graph import HmmExpansion
from asr.hmm.model import Hmm
from asr.models.acoustic import AcousticModel
from asr.recognizer import bundle
from asr.recognizer.recognizer import Recognizer
from asr.recognizer.spaces import RequestSpaces
from asr.search.decoder import Decoder
from asr.search.searchers import GraphSearcher
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import Tokens

WORDS = ["ab", "a"]
NUMBERS = {"ab": 1, "a": 2}
ENTRIES = {"ab": 1.0, "a": 3.0, "a ab": 0.5}
MOST_PAUSES = 2  # silences in a row, in the reference


def references(entries, hmm, frames):
    """(cost, words, phones) of every way to say an entry: pronunciations, and silences before, between and after."""
    total, shortest = sum(entries.values()), min(map(len, hmm.trees))
    pauses = [(hmm.silence_id,) * n for n in range(MOST_PAUSES + 1)] if hmm.silence else [()]
    for entry, weight in entries.items():
        words = entry.split()
        for units in itertools.product(*(SMALL.pronunciations[word] for word in words)):
            own = sum(SMALL.cost(word, spelled) for word, spelled in zip(words, units, strict=True))
            for gaps in itertools.product(pauses, repeat=len(words) + 1):
                phones = [*gaps[0]]
                for spelled, gap in zip(units, gaps[1:], strict=True):
                    phones += [*hmm.phones.encode(spelled), *gap]
                if len(phones) * shortest <= frames:
                    yield own - math.log(weight / total), tuple(words), tuple(phones)


def searched(graph, hmm, scores):
    return Decoder(graph, beam=1e6, acoustic_scale=hmm.scale, lattice_beam=1e6).decode_lattice(scores)


@pytest.mark.parametrize("name", HMMS)
@pytest.mark.parametrize("frames", [3, 5, 7])
def test_the_best_entry_is_that_of_all_paths(name, frames):
    hmm = HMMS[name]
    graph = closed_graph(list_grammar(ENTRIES, NUMBERS), WORDS, SMALL, hmm.phones, hmm.silence, HmmExpansion(hmm))
    frames -= 2 * name.startswith("one state")
    for seed in range(3):
        scores = random_scores(hmm, frames, seed)
        passages = cache(partial(best_passage, hmm, scores=scores))
        wanted = [(cost + passages(phones)[0], words) for cost, words, phones in references(ENTRIES, hmm, frames)]
        wanted = [row for row in wanted if math.isfinite(row[0])]
        path = searched(graph, hmm, scores).path
        assert path.complete == bool(wanted)
        if wanted:
            cost, words = min(wanted)
            assert path.cost == pytest.approx(cost, abs=1e-4)
            assert tuple(WORDS[label - 1] for label in path.labels) == words


@pytest.mark.parametrize("name", ["mono", "tri", "no silence"])
def test_a_grammar_allows_what_the_list_of_its_sentences_does(name):
    hmm = HMMS[name]
    rules = read_grammar("#JSGF V1.0; grammar g; public <c> = [a] ab;")
    entries = {"ab": 1.0, "a ab": 1.0}
    graphs = [
        closed_graph(g, WORDS, SMALL, hmm.phones, hmm.silence, HmmExpansion(hmm))
        for g in (rules.automaton(NUMBERS), list_grammar(entries, NUMBERS))
    ]
    for seed in range(4):
        scores = random_scores(hmm, 9, seed)
        one, other = (searched(graph, hmm, scores).path for graph in graphs)
        assert one.cost == pytest.approx(other.cost, abs=1e-4) and len(one.labels) == len(other.labels)


@pytest.mark.parametrize("name", ["mono", "tri", "one state, tri"])
def test_an_entry_said_as_the_states_want_is_sure_and_another_is_not(name):
    """Log-probs that favour the states of one entry, with silence around, against a list with and without it."""
    hmm = HMMS[name]
    phones = [hmm.silence_id, *hmm.phones.encode(["A", "B"]), hmm.silence_id]
    states = [o for n, p in enumerate(phones) for o in hmm.outputs(phones[n - 1] if n else 0, p, (*phones, 0)[n + 1])]
    scores = np.full((2 * len(states), len(hmm.tokens)), -8.0, np.float32)
    scores[np.arange(len(scores)), np.repeat(states, 2)] = -0.1
    found = {}
    for entries in (["ab", "a"], ["a"]):
        numbers = {word: n for n, word in enumerate(entries, 1)}
        listed = list_grammar(dict.fromkeys(entries, 1.0), numbers)
        graph = closed_graph(listed, entries, SMALL, hmm.phones, hmm.silence, HmmExpansion(hmm))
        space = SearchSpace(graph, ["<eps>", *entries], SMALL, hmm.silence, is_closed=True)
        searcher = GraphSearcher(Decoder(graph, lattice_beam=8.0), space, hmm.tokens)
        word = searcher.search(scores).words[0]
        found[word.word] = word.confidence
        if word.word == "ab":
            size = len(hmm.trees[hmm.silence_id - 1])
            assert (word.segments[0].start, word.segments[-1].end) == (2 * size, len(scores) - 2 * size)
    assert found["ab"] > 0.95 and found["a"] < 0.05


def test_large_lists_are_built_in_no_time():
    rng = np.random.default_rng(1)
    phones = [f"P{n}" for n in range(39)]
    hmm = Hmm.monophone([*phones, "SIL"], "SIL")
    words = [f"w{n}" for n in range(3000)]
    spelled = {word: [tuple(rng.choice(phones, rng.integers(2, 9)).tolist())] for word in words}
    numbers = {word: n for n, word in enumerate(words, 1)}
    start = time.process_time()
    closed_graph(list_grammar(dict.fromkeys(words, 1.0), numbers), words, Lexicon(spelled), hmm.phones, "SIL",
                 HmmExpansion(hmm))  # fmt: skip
    assert time.process_time() - start < 3.0


def test_long_entries_take_no_square_of_their_length():
    hmm = HMMS["tri"]
    entry = " ".join(WORDS[n] for n in np.random.default_rng(2).integers(0, 2, 3000))
    start = time.process_time()
    closed_graph(list_grammar({entry: 1.0}, NUMBERS), WORDS, SMALL, hmm.phones, hmm.silence, HmmExpansion(hmm))
    assert time.process_time() - start < 3.0


def test_requests_of_too_many_arcs_are_refused(monkeypatch):
    """Phones in context multiply the arcs between any words and any others."""
    monkeypatch.setattr("asr.recognizer.spaces.MOST_ARCS", 60)
    lexicon = Lexicon({"ab": [("A", "B")], "a": [("A",)]})
    spaces = RequestSpaces(config(Path("."), ".", "tri"), HMMS["tri"].tokens, None, lexicon, HMMS["tri"])
    spaces.of_list(["ab"])
    with pytest.raises(InputError, match="takes more than 60 arcs .*; give fewer words in a row"):
        spaces.of_grammar("#JSGF V1.0; grammar g; <a> = ab | a; public <c> = <a> <a> <a> <a> <a> <a>;")


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):  # noqa: F811
    """HMMs in context, and a bundle of them without a graph."""
    cfg = config(corpus[0], tmp_path_factory.mktemp("closed"), "tri")
    pipeline.train_hmm(cfg)
    cfg.graph.kind = "none"
    pipeline.bundle(cfg)
    return cfg


def said(cfg, *texts):
    return [u for u in manifest.read(cfg.data.test) if u.text in texts]


def test_a_bundle_without_a_graph_recognises_lists_and_grammars(trained):
    recognizer = asr.load(trained.bundle)
    assert recognizer.space is None and recognizer.hmm.plain() == Hmm.read(f"{trained.out}/train/hmm.json").plain()
    with pytest.raises(InputError, match="words only in a graph, .* give a word list or a grammar"):
        recognizer.transcribe(said(trained, "ab")[0].features)
    with pytest.raises(InputError, match="words that cannot be spelled in this model's units: ab"):
        recognizer.with_list(["ab"])  # as English
    listed = Recognizer(recognizer.model, recognizer.cfg, recognizer.tokens, hmm=recognizer.hmm, lexicon=LEXICON)
    for word in ("ab", "ba", "cc"):
        options = asr.DecodingOptions(word_list=["ab", "ba", "cc", "cab ab"])
        assert listed.transcribe(said(trained, word)[0].features, options=options).text == word


def test_damaged_and_earlier_bundles_are_refused(trained, tmp_path):
    opened = bundle.read(trained.bundle)
    other = dataclasses.replace(opened.hmm, phones=Tokens(["<blk>", *"XYZ", "SIL"]))
    for hmm, message in ((other, "hmm.json has other states than tokens.txt"), (None, None)):
        bundle.write(tmp_path / "m.asr", opened.model, opened.cfg, opened.tokens, None, "card", hmm)
        if message:
            with pytest.raises(InputError, match=message):
                bundle.read(tmp_path / "m.asr")
    earlier = asr.load(tmp_path / "m.asr")
    with pytest.raises(InputError, match="bundles of earlier versions lack; make the bundle again"):
        earlier.with_list(["ab"])
    asked = dataclasses.replace(trained, bundle=str(tmp_path / "m.asr"), input=[trained.data.test],
                                output=str(tmp_path / "x.ctm"))  # fmt: skip
    with pytest.raises(InputError, match="m.asr holds no HMMs, only their states"):
        align(asked)


def test_a_bundle_aligns_as_its_run_folder_does(trained, tmp_path):
    written = []
    for name, place in (("run", trained.out), ("bundle", trained.bundle)):
        cfg = dataclasses.replace(trained, bundle=str(place), input=[trained.data.test],
                                  output=str(tmp_path / f"{name}.ctm"))  # fmt: skip
        align(cfg)
        written.append((tmp_path / f"{name}.ctm").read_text())
    assert written[0] == written[1] and written[0].count("\n") >= 20


def test_lists_and_grammars_of_a_run_folder(trained, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("ab\nba\ncab\ncc ab\n")
    cfg = dataclasses.replace(trained, graph=dataclasses.replace(trained.graph, kind="word", words=str(path)))
    recognizer = pipeline.open_recognizer(cfg)
    assert recognizer.space.is_closed and recognizer.space.silence == "SIL"
    for utterance in said(trained, "ab", "ba", "cab", "cc ab"):
        found = recognizer.transcribe(utterance.features)
        assert found.text == utterance.text and min(word.confidence for word in found.words) > 0.5
    other = said(trained, "cc")[0]
    assert all(word.confidence < 0.5 for word in recognizer.transcribe(other.features).words)
    grammar = recognizer.with_grammar("#JSGF V1.0; grammar g; public <c> = cc+;")
    assert grammar.transcribe(other.features).text == "cc"


def test_words_are_spelled_by_the_pieces_of_a_graph_of_characters():
    """As in a Korean recogniser whose language model is of syllables."""
    hmm = HMMS["mono"]
    pieces = Lexicon({"▁x": [("A",), ("A", "B")], "x": [("A",)], "▁y": [("B",)], "y": [("B",), ("B", "A")]})
    names = list(pieces.pronunciations)
    grammar = list_grammar(dict.fromkeys(names, 1.0), {name: n for n, name in enumerate(names, 1)})
    graph = closed_graph(grammar, names, pieces, hmm.phones, hmm.silence, HmmExpansion(hmm))
    space = SearchSpace(graph, ["<eps>", *names], pieces, hmm.silence)
    cfg = config(Path("."), ".", "mono")
    spaces = RequestSpaces(cfg, hmm.tokens, space, None, hmm)
    wanted = {"xy": ["AB", "ABA", "ABB", "ABBA"], "y": ["B"]}
    for _ in range(2):  # the second list is that of the first one's recogniser
        listed = spaces.of_list(["xy", "y"])
        assert {w: ["".join(units) for units in v] for w, v in listed.lexicon.pronunciations.items()} == wanted
        spaces = RequestSpaces(cfg, hmm.tokens, listed, None, hmm)
    with pytest.raises(InputError, match="no pronunciation|cannot be spelled"):
        spaces.of_list(["xz"])
    with pytest.raises(InputError, match="x<eps>"):  # `<eps>` is a word of the graph that nobody says
        spaces.of_list(["x<eps>"])


@pytest.mark.anyio
async def test_the_server_the_command_line_and_streams_take_lists(tmp_path, capsys):
    """A net of random weights over the states of phones of sound; all ways agree."""
    hmm = Hmm.monophone(["N", "OW", "Y", "EH", "S", "SIL"], "SIL", states=1, scale=0.3)
    cfg = tiny.config()
    cfg.tokens.unit = "phone"
    torch.manual_seed(5)
    net = AcousticModel(cfg.features, cfg.model, len(hmm.tokens)).eval()
    bundle.write(tmp_path / "m.asr", net, cfg, hmm.tokens, None, "card", hmm)
    words = ["no", "yes", "yes no"]
    sound = tiny.noise(1.5)
    wanted = asr.load(tmp_path / "m.asr").with_list(words).transcribe(sound, 16000)
    assert wanted.text in words and 0 < wanted.words[0].confidence < 1
    soundfile.write(tmp_path / "x.wav", sound, 16000, subtype="FLOAT")
    (tmp_path / "list.txt").write_text("\n".join(words) + "\n")
    listed = ["graph=word", f"words={tmp_path}/list.txt"]
    assert main(["transcribe", f"{tmp_path}/m.asr", f"{tmp_path}/x.wav", *listed]) == 0
    assert wanted.text in capsys.readouterr().out
    (tmp_path / "own.txt").write_text("xoxo\tY EH S\n")
    (tmp_path / "list.txt").write_text("\n".join(words).replace("yes", "xoxo") + "\n")
    assert main(["transcribe", f"{tmp_path}/m.asr", f"{tmp_path}/x.wav", *listed, f"new_words={tmp_path}/own.txt"]) == 0
    assert wanted.text.replace("yes", "xoxo") in capsys.readouterr().out
    with pytest.raises(InputError, match="this recogniser has none; give a word list or a grammar"):
        asr.load(tmp_path / "m.asr").stream()
    stream = asr.load(tmp_path / "m.asr").with_list(words).stream()
    stream.accept(sound, 16000)
    assert stream.finish().text == wanted.text
    with pytest.raises(InputError, match="mode 'dictation' is free speech, and .*m.asr has no graph"):
        app_of(tmp_path / "m.asr", modes=["word", "dictation"])
    async with client_of(app_of(tmp_path / "m.asr", modes=["word"])) as client:
        data = {"request": json.dumps({"words": words})}
        answer = await client.post("/v1/recognize", files={"file": (tmp_path / "x.wav").read_bytes()}, data=data)
        assert answer.status_code == 200 and answer.json()["text"] == wanted.text, answer.text
        own = [{"word": "xoxo", "pronunciation": "Y EH S"}]
        data = {"request": json.dumps({"words": [w.replace("yes", "xoxo") for w in words], "new_words": own})}
        answer = await client.post("/v1/recognize", files={"file": (tmp_path / "x.wav").read_bytes()}, data=data)
        assert answer.json()["text"] == wanted.text.replace("yes", "xoxo"), answer.text
