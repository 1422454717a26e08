"""The second pass: readings ranked anew, against the formula over all readings; recogniser, requests."""

import json
import random
from dataclasses import replace
from fnmatch import fnmatch
from types import SimpleNamespace

import numpy as np
import pytest
import rescored
import torch
from rescored import with_second
from test_lattice import decode, random_case
from tiny import noise

import asr
from asr.errors import InputError
from asr.features.encoders import hub
from asr.lm import arpa
from asr.lm.neural import file
from asr.lm.neural.causal import CausalScorer
from asr.lm.neural.scorer import NeuralScorer
from asr.lm.training import train
from asr.recognizer import long
from asr.recognizer.options import DecodingOptions
from asr.search.confidence import search_of, word_confidences
from asr.search.second_pass import SecondPass, open_scorer, second_pass

folder, recognizer = rescored.folder, rescored.recognizer  # fixtures


class Drawn:
    """A language model that draws the cost of each text."""

    def __init__(self, seed=1):
        self.seed = seed

    def cost(self, text):
        return random.Random(f"{self.seed} {text}").uniform(0, 9)

    def costs(self, texts):
        return [self.cost(text) for text in texts]


SPACE = SimpleNamespace(text=lambda labels: " ".join("xabcd"[label] for label in labels))


@pytest.mark.parametrize(("share", "penalty"), [(0.0, 0.0), (0.4, -0.7), (1.0, 0.3)])
def test_readings_have_the_costs_of_the_formula(share, penalty):
    rng, changed = np.random.default_rng(4), 0
    for _ in range(80):
        lattice = decode(*random_case(rng), 6.0, word_penalty=0.2).lattice
        before = lattice.nbest(30)
        found = SecondPass(Drawn(), share, penalty, 30, 0.2).apply(lattice, SPACE).nbest(40)
        wanted = {}
        for r in before:
            words = len(r.labels)
            language = (1 - share) * (r.graph_cost - 0.2 * words) + share * Drawn().cost(SPACE.text(r.labels))
            cost = r.acoustic_cost + r.boost_cost + 0.2 * words + language + penalty * words
            wanted[tuple(r.labels)] = cost, r.acoustic_cost, r.alignment.tolist()
        assert {tuple(r.labels) for r in found} == set(wanted) and len(found) == len(before)
        assert [r.cost for r in found] == sorted(r.cost for r in found)
        for r in found:
            cost, acoustic, alignment = wanted[tuple(r.labels)]
            assert (r.cost, r.acoustic_cost) == pytest.approx((cost, acoustic), abs=1e-4)
            assert r.alignment.tolist() == alignment
        changed += found[0].labels != before[0].labels
    assert changed > 10 or not share


def test_without_a_share_the_posteriors_stay():
    rng = np.random.default_rng(5)
    for _ in range(60):
        lattice = decode(*random_case(rng), 4.0).lattice
        second = SecondPass(Drawn(), 0.0, 0.0, 1000).apply(lattice, SPACE)
        best = lattice.nbest(1)[0].labels
        assert word_confidences(second, best) == pytest.approx(word_confidences(lattice, best), abs=1e-3)


def test_a_cost_that_is_no_number_is_refused():
    lattice = decode(*random_case(np.random.default_rng(5)), 4.0).lattice
    for cost in (float("nan"), float("inf")):
        broken = SimpleNamespace(costs=lambda texts, cost=cost: [cost] * len(texts))
        with pytest.raises(InputError, match="gives a text the cost"):
            SecondPass(broken).apply(lattice, SPACE)


def test_a_recogniser_with_a_second_pass(recognizer, folder):
    second = with_second(recognizer, folder)
    assert second.with_list(["a b", "b"]).searcher.second is None  # a list has its own weights
    again = second.with_decoder(replace(second.cfg.decoder, rescore_share=0.5))
    assert again.rescorer is second.rescorer and second.with_list(["a"]).rescorer is second.rescorer
    changed = 0
    for seed in range(6):
        x = noise(1.0, seed)
        plain, found = recognizer.transcribe(x, 16000), second.transcribe(x, 16000)
        changed += plain.text != found.text
        [log_probs] = recognizer.log_probs([x])
        lattice = recognizer.searcher.decoder.decode_lattice(log_probs).lattice
        scorer = NeuralScorer(file.read(folder / "lm.safetensors"))
        readings = lattice.nbest(100)
        texts = [recognizer.space.text(r.labels) for r in readings]
        costs = [r.acoustic_cost + 0.1 * r.graph_cost + 0.9 * new
                 for r, new in zip(readings, scorer.costs(texts), strict=True)]  # fmt: skip
        order = np.argsort(costs)
        assert [found.text, *(a.text for a in found.alternatives)] == [texts[k] for k in order[:3]]
        weights = np.exp(-np.array(costs) + min(costs))
        if found.words:  # other places may have the first word, too
            share = weights[[text.split()[:1] == found.text.split()[:1] for text in texts]].sum() / weights.sum()
            assert found.words[0].confidence >= round(float(share), 4) - 0.01
        assert all(0 <= word.confidence <= 1 for word in found.words)
        stream = second.stream()
        stream.accept(x, 16000)
        assert stream.partial().num_stable == 0
        assert stream.finish().text == found.text
    assert changed
    assert with_second(recognizer, folder, mbr=True, confusion=True).transcribe(noise(1.0, 1), 16000).confusion


@pytest.mark.parametrize("name", ["lm.safetensors", "lm.arpa"])
def test_a_recogniser_that_rescores_lattices(recognizer, folder, name):
    """With whole histories, as with all readings in a list; times, confidences and streams follow."""
    options = {"rescore": str(folder / name), "lattice_beam": 5.0}
    lists = with_second(recognizer, folder, **options, rescore_nbest=300, rescore_order=0)
    whole = with_second(recognizer, folder, **options, rescore_order=100)
    assert whole.with_list(["a b", "b"]).searcher.second is None
    found_all = 0
    for seed in range(4):
        x = noise(0.3, seed)
        a, b = lists.transcribe(x, 16000), whole.transcribe(x, 16000)
        [log_probs] = recognizer.log_probs([x])
        if len(lists.searcher.decoder.decode_lattice(log_probs).lattice.nbest(300)) == 300:
            continue
        found_all += 1
        assert (b.text, [w.start_s for w in b.words]) == (a.text, [w.start_s for w in a.words])
        assert [w.confidence for w in b.words] == pytest.approx([w.confidence for w in a.words], abs=2e-3)
        assert b.alternatives[0].text == a.alternatives[0].text
        stream = whole.stream()
        stream.accept(x, 16000)
        assert stream.finish().text == b.text
    assert found_all > 1
    merged = with_second(recognizer, folder, **options, rescore_order=3, mbr=True, confusion=True)
    found = merged.transcribe(noise(0.3, 1), 16000, options=asr.DecodingOptions(phrases={"b b": 3.0}))
    assert found.confusion and all(0 <= word.confidence <= 1 for word in found.words)
    assert search_of(merged.cfg.decoder) != search_of(whole.cfg.decoder)


def test_each_piece_of_a_long_recording_has_a_second_pass(recognizer, folder):
    second = with_second(recognizer, folder, nbest=1, beam=8.0)
    x = noise(33.0, 3)
    x[16000 * 20 : 16000 * 21] *= 1e-3
    pieces = [piece for _, piece, _ in long.cut([x], 16000)]
    assert len(pieces) > 1
    parts = [second.search("x", second.log_probs([piece])[0], len(piece) / 16000).text for piece in pieces]
    assert second.transcribe(x, 16000).text == " ".join(parts) != recognizer.transcribe(x, 16000).text


def test_what_ranks_readings_and_what_lattices(recognizer, folder):
    """By default n-gram models of the graph's unit follow lattices, and other models rank readings."""

    def paths(name, space, **options):
        cfg = replace(recognizer.cfg.decoder, rescore=str(folder / name), **options)
        return second_pass(cfg, open_scorer(folder / name), space).paths

    arpa.write(train(["▁a ▁a b"], 2), folder / "pieces.arpa")
    words = recognizer.space
    assert paths("lm.trie", words) and paths("lm.arpa", words) and not paths("lm.arpa", words, rescore_order=0)
    assert not paths("lm.safetensors", words) and paths("lm.safetensors", words, rescore_order=3)
    assert not paths("pieces.arpa", words)
    with pytest.raises(InputError, match="do not have the same unit"):
        paths("pieces.arpa", words, rescore_order=3)


def test_n_gram_models_and_what_is_refused(recognizer, folder):
    cost = open_scorer(folder / "lm.arpa").costs(["a b"])[0]
    assert cost == pytest.approx(-np.log(10) * sum(p for p, *_ in asr.lm.score.load(folder / "lm.arpa")
                                                   .full_scores("a b")))  # fmt: skip
    assert with_second(recognizer, folder, rescore=str(folder / "lm.arpa")).transcribe(noise(0.5), 16000)
    for options, wrong in (
        ({"rescore": str(folder / "none")}, "there is no folder"),
        ({"rescore": "models/none.safetensors"}, "there is no language model models/none.safetensors"),
        ({"rescore": str(folder / "graph" / "words.txt")}, "is not a neural language model"),
        ({"rescore": str(folder / "graph")}, "config.json"),
        ({"rescore": "bundled"}, "no language model is bundled"),
        ({"rescore": "False"}, "rescore=false must name a language model; decoder.rescore=null leaves"),
        ({"lattice_beam": None, "nbest": 1}, "needs a lattice"),
        ({"kind": "greedy"}, "set decoder.rescore=null"),
        ({"rescore_share": 1.5}, "rescore_share"),
    ):
        with pytest.raises(InputError, match=wrong):
            with_second(recognizer, folder, **options)


def test_a_request_chooses_the_second_pass(recognizer, folder):
    x = next(
        x
        for x in map(noise, [1.0] * 9, range(9))
        if spoken(recognizer, x) != spoken(with_second(recognizer, folder), x)
    )
    on = with_second(recognizer, folder)
    off = on.with_decoder(replace(on.cfg.decoder, rescore=None))
    assert spoken(off, x) == spoken(recognizer, x)
    assert spoken(off, x, rescore=True) == spoken(on, x) == spoken(on, x, rescore=True)
    assert spoken(on, x, rescore=False) == spoken(off, x, rescore=False, rescore_order=3) == spoken(recognizer, x)
    with pytest.raises(InputError, match="rescore_order=3 is of the second pass, .* add rescore=true"):
        spoken(off, x, rescore_order=3)
    whole = with_second(recognizer, folder, rescore_order=3)
    assert spoken(on, x, rescore_order=3) == spoken(whole, x) and spoken(whole, x, rescore_order=0) == spoken(on, x)
    assert on.transcribe(x, 16000, DecodingOptions(rescore=True, word_list=["a b"])).text in ("a b", "")
    stream = on.stream(DecodingOptions(rescore=False))
    stream.accept(x, 16000)
    assert stream.finish().text == recognizer.transcribe(x, 16000).text
    bare = off.with_decoder(replace(off.cfg.decoder, lattice_beam=None, nbest=1))
    with pytest.raises(InputError, match=r"rescore=.* needs a lattice"):
        bare.transcribe(x, 16000, DecodingOptions(rescore=True))


def spoken(recognizer, x, **options):
    found = recognizer.transcribe(x, 16000, DecodingOptions(nbest=3, **options))
    return found.text, [(other.text, other.cost) for other in found.alternatives]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A folder with a GPT-2 of random weights and a tokeniser of characters."""
    transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("gpt2")
    letters = {letter: number for number, letter in enumerate("?abcdefghij ")}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters | {"<end>": 12}, unk_token="?"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", unk_token="?").save_pretrained(folder)
    torch.manual_seed(1)
    shape = transformers.GPT2Config(vocab_size=13, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    net = transformers.GPT2LMHeadModel(shape).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.5)
    net.save_pretrained(folder)
    return folder, net


def test_causal_models_of_transformers(gpt2, recognizer, tmp_path):
    folder, net = gpt2
    scorer = open_scorer(folder)
    texts = ["a b", "", "abc dej", "b a d", "a b", *("abcdefghij"[:n] for n in range(1, 11))]
    for text, cost in zip(texts, scorer.costs(texts), strict=True):
        ids = [12, *("?abcdefghij ".index(letter) for letter in text), 12]
        with torch.inference_mode():
            log_probs = net(torch.tensor([ids])).logits[0].double().log_softmax(1)
        assert cost == pytest.approx(-sum(float(log_probs[k, id]) for k, id in enumerate(ids[1:])), abs=1e-3)
    with pytest.raises(InputError, match="is longer than"):
        scorer.costs(["a" * 15])
    assert with_second(recognizer, folder, rescore=str(folder), rescore_nbest=5).transcribe(noise(0.3), 16000)
    with pytest.raises(InputError, match="scores whole texts"):
        with_second(recognizer, folder, rescore=str(folder), rescore_order=3)
    for source in folder.iterdir():
        if source.suffix != ".safetensors":
            (tmp_path / source.name).write_bytes(source.read_bytes())
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")  # pickled
    with pytest.raises(InputError, match="no weights in safetensors"):
        CausalScorer(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(InputError, match="is not a causal language model"):
        CausalScorer(tmp_path)
    data = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(data | {"eos_token": None}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="neither bos_token nor eos_token"):
        CausalScorer(tmp_path)


def test_tokenisers_of_the_hub_are_downloaded_whole():
    transformers = pytest.importorskip("transformers")
    kinds = (transformers.GPT2Tokenizer, transformers.LlamaTokenizer, transformers.T5Tokenizer)
    names = {name for kind in kinds for name in kind.vocab_files_names.values()}
    assert [name for name in names if not any(fnmatch(name, pattern) for pattern in hub.FILES)] == []


def test_an_empty_lattice_stays():
    empty = SimpleNamespace(num_states=0)
    assert SecondPass(Drawn()).apply(empty, SPACE) is empty
