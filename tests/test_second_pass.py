"""The second pass: readings ranked anew, against the formula over all readings; recogniser, bundle, tuning."""

import json
import random
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatch
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_bundle import rewritten
from test_lattice import decode, random_case
from test_neural_lm import model as neural_model
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr import pipeline
from asr.cli import earlier
from asr.cli.overrides import compose
from asr.cli.transcripts import fingerprint
from asr.config import Config, DecoderConfig
from asr.errors import InputError
from asr.evaluation.score import Counts, error_counts
from asr.evaluation.tune import Point, Tuning
from asr.evaluation.tune_second_pass import PENALTIES, SHARES, Rescoring, SecondPoint, tune_second_pass
from asr.features.encoders import hub
from asr.flywheel import retrain
from asr.lm import arpa, trie_file
from asr.lm.neural import file
from asr.lm.neural.causal import CausalScorer
from asr.lm.neural.scorer import NeuralScorer
from asr.lm.training import train
from asr.recognizer import bundle, run_folder
from asr.recognizer.options import DecodingOptions
from asr.recognizer.recognizer import Recognizer
from asr.search.confidence import search_of, word_confidences
from asr.search.second_pass import SecondPass, open_scorer
from asr.search.space import SearchSpace
from asr.words import END, UNKNOWN


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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models of the words a and b: neural, n-gram."""
    folder = tmp_path_factory.mktemp("second")
    file.write(folder / "lm.safetensors", neural_model([END, UNKNOWN, "a", "b"], layers=1, seed=7))
    arpa.write(train(["a a b", "b a a a"], 2), folder / "lm.arpa")
    trie_file.write(train(["a a b", "b a a a"], 2), folder / "lm.trie")
    graph_dir(folder / "graph")
    return folder


@pytest.fixture(scope="module")
def recognizer(folder):
    cfg = config()
    net = model(cfg)
    with torch.no_grad():
        net.net.output.linear.weight *= 0.15  # so that the language model can change the words
    return Recognizer(net, cfg, TOKENS, SearchSpace.read(folder / "graph", TOKENS))


def with_second(recognizer, folder, **options):
    found = {"rescore": str(folder / "lm.safetensors"), "rescore_share": 0.9, "nbest": 3, **options}
    return recognizer.with_decoder(replace(recognizer.cfg.decoder, **found))


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
    lists = with_second(recognizer, folder, **options, rescore_nbest=300)
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
        ({"lattice_beam": None, "nbest": 1}, "needs a lattice"),
        ({"kind": "greedy"}, "set decoder.rescore=null"),
        ({"rescore_share": 1.5}, "rescore_share"),
    ):
        with pytest.raises(InputError, match=wrong):
            with_second(recognizer, folder, **options)


def test_a_word_list_in_a_run_folder_whose_second_pass_was_tuned(recognizer, folder, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("a b\nb\n")
    monkeypatch.setattr(run_folder, "as_trained", replace)
    monkeypatch.setattr(run_folder, "load_model", lambda cfg: (recognizer.model, TOKENS))
    cfg = replace(config(), lm=Config().lm)
    cfg.decoder = replace(cfg.decoder, rescore=str(folder / "lm.safetensors"))
    cfg.graph = replace(cfg.graph, kind="word", words=str(tmp_path / "list.txt"), lexicon=None)
    assert pipeline.open_recognizer(cfg).transcribe(noise(0.5), 16000).text in ("a b", "b", "")


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


def test_a_calibration_belongs_to_its_second_pass():
    one = DecoderConfig(rescore="x", rescore_share=0.3)
    assert search_of(one) != search_of(DecoderConfig()) and search_of(one) != search_of(replace(one, rescore_share=0.4))
    assert search_of(one) == search_of(replace(one, rescore="bundled"))  # the place of the file does not matter


@pytest.mark.parametrize("name", ["lm.safetensors", "lm.trie"])
def test_a_bundle_holds_its_language_model(recognizer, folder, tmp_path, name):
    second = with_second(recognizer, folder, rescore=str(folder / name))
    path = tmp_path / "model.asr"
    bundle.write(path, second.model, second.cfg, TOKENS, folder / "graph", "")
    opened, x = asr.load(path), noise(1.0, 2)
    assert opened.cfg.decoder.rescore == "bundled" and str(folder) not in path.read_bytes().decode("latin-1")
    assert opened.transcribe(x, 16000) == second.transcribe(x, 16000)
    assert opened.with_list(["a b"]).transcribe(x, 16000).text in ("a b", "")
    assert asr.load(path, rescore=None).transcribe(x, 16000).text == recognizer.transcribe(x, 16000).text
    assert asr.load(path, rescore="bundled", rescore_share=0.0).transcribe(x, 16000)
    other = asr.load(path, rescore=str(folder / "lm.arpa"))
    assert other.rescorer.source.endswith("arpa")
    with pytest.raises(InputError, match="which alone a bundle can hold"):
        bundle.write(tmp_path / "m.asr", other.model, other.cfg, TOKENS, folder / "graph", "")
    with pytest.raises(InputError, match="this bundle gets none"):
        bundle.write(tmp_path / "m.asr", second.model, second.cfg, TOKENS, None, "")
    assert not (tmp_path / "m.asr").exists()


def test_a_bundle_cannot_name_a_language_model_outside(recognizer, folder, tmp_path):
    """The command line passes on the options in a bundle: a name would be opened, or downloaded."""
    second = with_second(recognizer, folder)
    bundle.write(tmp_path / "model.asr", second.model, second.cfg, TOKENS, folder / "graph", "")
    with zipfile.ZipFile(tmp_path / "model.asr") as archive:
        data = json.loads(archive.read("config.json"))
    data["decoder"]["rescore"] = str(folder / "lm.arpa")
    rewritten(tmp_path / "model.asr", tmp_path / "other.asr", {"config.json": json.dumps(data).encode()})
    with pytest.raises(InputError, match="disagree about decoder.rescore"):
        asr.load(tmp_path / "other.asr")


@pytest.mark.parametrize("name", ["lm.safetensors", "lm.trie"])
def test_retraining_keeps_the_second_pass(recognizer, folder, tmp_path, name):
    second = with_second(recognizer, folder, rescore=str(folder / name))
    bundle.write(tmp_path / "model.asr", second.model, second.cfg, TOKENS, folder / "graph", "")
    start = bundle.read(tmp_path / "model.asr")
    cfg = retrain._continued(Config(out=str(tmp_path / "next"), init=str(tmp_path / "model.asr")), start, None)
    run_folder.write_imported(cfg.out, start)
    bundle.unpack_graph(tmp_path / "model.asr", cfg.graph.dir)
    found = bundle.read(pipeline.bundle(cfg))
    assert found.cfg.decoder == start.cfg.decoder and found.rescorer
    assert found.rescorer.scorer.costs(["a b"]) == start.rescorer.scorer.costs(["a b"])


def test_results_of_another_language_model_are_not_mixed_in(folder, tmp_path):
    """Neither with those of an interrupted `asr transcribe`, nor with those of workers that have another file."""
    (tmp_path / "gpt2").mkdir()
    for path in (tmp_path / "lm.arpa", tmp_path / "gpt2" / "model.safetensors"):
        path.write_text("one")
        cfg = Config(bundle=str(folder / "lm.arpa"))
        cfg.decoder.rescore = str(path if path.suffix == ".arpa" else path.parent)
        before = fingerprint(cfg)
        assert fingerprint(cfg) == before
        path.write_text("another")
        assert fingerprint(cfg) != before


def test_tuning_finds_the_best_share_and_penalty(recognizer, folder, tmp_path):
    """Against decoding the dev set at each point of the grid."""
    second = with_second(recognizer, folder)
    dev = [("a b a", recognizer.log_probs([noise(0.8, seed)])[0]) for seed in range(5)]
    with ThreadPoolExecutor(1) as pool:
        found = tune_second_pass(second, second.cfg.decoder, dev, "wer", pool)
    errors = {}
    for point in found.points[:3] + found.points[-3:]:
        cfg = replace(second.cfg.decoder, rescore_share=point.share, rescore_penalty=point.penalty)
        at = second.with_decoder(cfg if point.share else replace(cfg, rescore=None))
        texts = [at.search("x", log_probs, 1.0).text for _, log_probs in dev]
        errors[point] = sum(error_counts(ref, text, "wer").errors for (ref, _), text in zip(dev, texts, strict=True))
        assert point.counts.errors == errors[point]
    assert len(found.points) == 1 + len(SHARES) * len(PENALTIES)
    assert min(errors.values()) == errors[found.points[0]]
    first = Point(1.0, 0.0, 0.0, found.points[0].counts)
    tuning, cfg = Tuning([first], None, 5, "wer", found), Config(out=str(tmp_path))
    assert "rescore_share" in tuning.table()
    tuning.write(run_folder.tuning_path(cfg), {})
    applied = tuning.apply(second.cfg.decoder)
    if found.points[0].share:
        chosen = run_folder.tuned(cfg).decoder
        assert (chosen.rescore, chosen.rescore_share) == (str(folder / "lm.safetensors"), found.points[0].share)
        assert (applied.rescore, applied.rescore_penalty) == (chosen.rescore, chosen.rescore_penalty)
    useless = replace(found, points=[p for p in found.points if not p.share] + found.points)
    tuning = replace(tuning, rescoring=useless)
    assert "makes no dev text better and is not used" in tuning.table()
    assert tuning.apply(second.cfg.decoder).rescore is None
    tuning.write(run_folder.tuning_path(cfg), {})
    assert run_folder.tuned(cfg).decoder.rescore is None
    given = Config(out=cfg.out, decoder=replace(cfg.decoder, rescore=str(folder / "lm.safetensors")))
    assert run_folder.tuned(given).decoder.rescore is None  # as in a retraining
    assert "decoder.rescore=null" in earlier.tuned_scales(cfg)
    odd = replace(found, model="/home/o'neil/a b=1,2/lm.arpa", points=sorted(found.points, key=lambda p: -p.share))
    replace(tuning, rescoring=odd).write(run_folder.tuning_path(cfg), {})
    assert compose(earlier.tuned_scales(cfg)).decoder.rescore == odd.model


def test_a_share_that_was_tuned_for_another_model_is_told(folder, tmp_path, caplog):
    model = tmp_path / "lm.arpa"
    model.write_bytes((folder / "lm.arpa").read_bytes())
    cfg = Config(out=str(tmp_path))
    tuned = Config(out=cfg.out, decoder=DecoderConfig(rescore=str(model)))
    second = Rescoring(str(model), 100, [SecondPoint(0.3, 0.0, Counts())])
    tuning = Tuning([Point(1.0, 0.0, 0.0, Counts())], None, 5, "wer", second)
    tuning.write(run_folder.tuning_path(cfg), run_folder.made_with(tuned))
    assert run_folder.tuned(cfg).decoder.rescore_share == 0.3 and not caplog.text
    model.write_text("another")
    assert run_folder.tuned(cfg).decoder.rescore == str(model)
    assert "was made with another decoder.rescore; run `asr tune` again" in caplog.text


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
