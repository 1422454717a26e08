"""Options of one call: their effects, invalid ones, and that none changes the recogniser."""

import copy
import json
import pickle
import random
import string
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from test_dynamic import make_language
from tiny import TOKENS, config, graph_dir, model, noise

import asr
from asr.config import Config
from asr.errors import InputError
from asr.frozen import FrozenDict, frozen
from asr.graph.dynamic import compile_dynamic
from asr.hypothesis import Hypothesis
from asr.models.acoustic import AcousticModel
from asr.recognizer.recognizer import Recognizer
from asr.search.new_words import NewWord
from asr.search.space import SearchSpace
from asr.text.lexicon import Lexicon
from asr.tokens import BLANK, Tokens

Options = asr.DecodingOptions
GRAMMAR = "#JSGF V1.0;\ngrammar g;\npublic <g> = b;\n"


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    folder, cfg = tmp_path_factory.mktemp("options"), config()
    space = SearchSpace.read(graph_dir(folder / "graph"), TOKENS)
    return Recognizer(model(cfg), cfg, TOKENS, space)


@pytest.fixture(scope="module")
def x():
    return noise(2.1, 2)


@pytest.fixture
def dynamic(tmp_path):
    tokens, lexicon, _, space = make_language(random.Random(3), "plain", tmp_path, ["<name>"])
    cfg = config()
    torch.manual_seed(3)
    return Recognizer(AcousticModel(cfg.features, cfg.model, len(tokens)), cfg, tokens, space), lexicon


def test_each_option_does_as_the_prepared_recogniser(recognizer, x):
    cfg = recognizer.cfg.decoder
    prepared = {
        Options(beam=2.0): recognizer.with_decoder(replace(cfg, beam=2.0)),
        Options(nbest=4, lattice_beam=12.0): recognizer.with_decoder(replace(cfg, nbest=4, lattice_beam=12.0)),
        Options(mbr=True, confusion=True): recognizer.with_decoder(replace(cfg, mbr=True, confusion=True)),
        Options(reject_below=0.5): recognizer.with_decoder(replace(cfg, reject_below=0.5)),
        Options(remove=["a"]): recognizer.with_decoder(replace(cfg, remove=["a"])),
        Options(word_list=["a b", "b"]): recognizer.with_list(["a b", "b"]),
        Options(word_list={"a": 1.0, "b": 3.0}): recognizer.with_list({"a": 1.0, "b": 3.0}),
        Options(grammar=GRAMMAR): recognizer.with_grammar(GRAMMAR),
        Options(): recognizer,
    }
    plain = recognizer.transcribe(x, 16000)
    assert plain.text
    found = {options: recognizer.transcribe(x, 16000, options) for options in prepared}
    for options, other in prepared.items():
        assert found[options] == other.transcribe(x, 16000)
    assert found[Options(nbest=4, lattice_beam=12.0)].alternatives
    network = found[Options(mbr=True, confusion=True)]
    assert [b.start_s for b in network.confusion] == sorted(b.start_s for b in network.confusion)
    assert {w.word for w in network.words} <= {c.word for b in network.confusion for c in b.choices}
    assert Hypothesis.from_dict(json.loads(json.dumps(network.as_dict()))) == network
    assert len({str(h) for h in found.values()}) >= 5
    assert found[Options(remove=["a"])].text.split() == [word for word in plain.text.split() if word != "a"]
    assert recognizer.transcribe(x, 16000) == plain  # nothing stays
    reject = recognizer.with_decoder(replace(cfg, reject_below=0.5, nbest=3))
    both = reject.transcribe(x, 16000, Options(reject_below=0.0))
    assert both.text == plain.text and both.alternatives  # the others are the model's own
    without = recognizer.with_decoder(replace(cfg, remove=["a", "b"]))
    assert without.transcribe(x, 16000).text == "" and without.transcribe(x, 16000, Options(remove=[])) == plain


def test_a_boosted_word_that_was_not_said_is_rejected(recognizer, x):
    plain = recognizer.transcribe(x, 16000)
    for boost in (5.0, 20.0, 200.0):
        options = Options(phrases={"a": boost, "a zebra": 1.0}, reject_below=0.95)
        found = recognizer.transcribe(x, 16000, options)
        assert sum(w.word == "a" for w in found.words) > plain.text.split().count("a") or boost < 20
        assert found.text.split().count("a") <= plain.text.split().count("a")


def test_phrases_of_a_word_list_are_those_of_the_list(recognizer, x):
    listed = recognizer.transcribe(x, 16000, Options(word_list=["a", "b"]))
    other = {"a": "b", "b": "a"}[listed.text]
    options = Options(word_list=["a", "b"], phrases={other: 1000.0})
    assert recognizer.transcribe(x, 16000, options).text == other
    with pytest.raises(InputError, match="'a' in 'a'"):
        recognizer.transcribe(x, 16000, Options(word_list=["b"], phrases={"a": 1.0}))


def test_new_words_apply_to_one_call(dynamic):
    recognizer, lexicon = dynamic
    x = noise(0.5, 1)
    plain = recognizer.transcribe(x, 16000)
    new = [NewWord("anew", (("a",),), None, 50.0)]
    found = recognizer.transcribe(x, 16000, Options(new_words=new, phrases={"anew": 200.0}))
    assert "anew" in found.text.split()
    assert recognizer.transcribe(x, 16000) == plain
    with pytest.raises(InputError, match="'anew' in 'anew'"):
        recognizer.transcribe(x, 16000, Options(phrases={"anew": 1.0}))
    first = next(iter(lexicon.pronunciations))
    assert recognizer.transcribe(x, 16000, Options(word_list=[first])).text in ("", first)


def test_slots_apply_to_one_call(dynamic, tmp_path):
    recognizer, lexicon = dynamic
    x = noise(0.5, 1)
    plain = recognizer.transcribe(x, 16000)
    first = next(iter(lexicon.pronunciations))
    slots = {"<name>": ["aba ba", "bab", first], "<other>": {"a": 1.0}}
    with pytest.raises(InputError, match="no slot '<other>'.*It has: <name>"):
        recognizer.transcribe(x, 16000, Options(slots=slots))
    listed = Options(slots={"<name>": slots["<name>"]}, phrases={"aba ba": 200.0})
    text = recognizer.transcribe(x, 16000, listed).text
    assert "aba ba" in text
    grammar = "#JSGF V1.0; grammar g; public <name> = aba ba | bab | " + first + ";"
    (tmp_path / "slots.jsgf").write_text(grammar)
    for given in (grammar, tmp_path / "slots.jsgf", str(tmp_path / "slots.jsgf"), {"<name>": grammar}):
        assert recognizer.transcribe(x, 16000, replace(listed, slots=given)).text == text
    words = [NewWord("anew", (("a",),), None, 50.0)]
    both = replace(listed, new_words=words, phrases={"anew": 200.0, "aba ba": 1.0})
    assert "anew" in recognizer.transcribe(x, 16000, both).text.split()
    assert recognizer.transcribe(x, 16000) == plain
    assert len({listed, replace(listed)}) == 1 and replace(listed).slots["<name>"] == ("aba ba", "bab", first)


def spoken(folder, letters, word="no"):
    tokens = Tokens([BLANK, *letters])
    unigrams = "\n".join(f"-1 {word}" for word in ("</s>", "<digits>", "<number>", "<name>", word))
    (folder / "lm.arpa").write_text(f"\\data\\\nngram 1=6\n\n\\1-grams:\n-99 <s>\n{unigrams}\n\n\\end\\\n")
    compile_dynamic(tokens, Lexicon({word: [tuple(word)]}), folder / "lm.arpa", folder / "graph")
    cfg = config()
    net = AcousticModel(cfg.features, cfg.model, len(tokens))
    return Recognizer(net, cfg, tokens, SearchSpace.read(folder / "graph", tokens))


def test_spoken_slots_are_filled_without_a_request(tmp_path, caplog):
    recognizer = spoken(tmp_path, string.ascii_lowercase)
    assert recognizer.space.filled == {"<digits>", "<number>"} and "seven" in recognizer.space.labels
    more = recognizer.with_slots({"<name>": ["gate <digits>"]})
    assert more.space.filled == {"<digits>", "<number>", "<name>"} and {"gate", "seven"} <= more.space.labels.keys()
    own = recognizer.with_slots({"<digits>": ["ab"], "<number>": ["ab"]})
    assert own.space.filled == {"<digits>", "<number>"} and "seven" not in own.space.labels
    assert "seven" in own.with_new_words(["ba"]).space.labels and "not filled" not in caplog.text
    without = spoken(tmp_path, "aeno")
    assert "the slots <digits>, <number> of the language model are not filled" in caplog.text
    assert without.with_slots({"<name>": ["one"]}).space.filled == {"<name>"}
    without.with_decoder(without.cfg.decoder).transcribe(noise(0.5, 1), 16000, Options(nbest=2))
    assert caplog.text.count("not filled") == 1  # not again in each request


def test_a_slot_without_a_spoken_rule_in_the_language_stays_empty(tmp_path):
    korean = spoken(tmp_path, "가공영일이삼사오육칠팔구", "가")
    assert korean.space.filled == {"<digits>"}
    filled = korean.with_slots({"<number>": ["삼"]})
    assert filled.space.filled == {"<digits>", "<number>"}
    assert filled.with_new_words(["이가"]).space.filled == {"<digits>"}


def test_requests_copy_no_list_of_the_vocabulary(dynamic):
    recognizer, _ = dynamic
    extended = recognizer.with_new_words([NewWord("anew", (("a",),))])
    words = recognizer.space.words
    assert extended.space.language is recognizer.space.language and extended.space.words._shared is words
    assert list(extended.space.words) == [*words, "anew"] and extended.space.words[-1] == "anew"
    assert extended.space.labels["anew"] == len(words) and extended.space.labels[words[1]] == 1
    assert "anew" not in recognizer.space.labels
    again = extended.with_new_words([NewWord("other", (("b",),))])  # in the place of the earlier ones
    assert list(again.space.words) == [*words, "other"] and "anew" not in again.space.labels
    for at in (len(words) + 1, -len(words) - 2):
        with pytest.raises(IndexError):
            extended.space.words[at]


def test_an_index_of_a_static_graph_is_built_once(recognizer):
    fresh = replace(recognizer.space)
    with ThreadPoolExecutor(8) as pool:
        assert len({id(labels) for labels in pool.map(lambda _: fresh.labels, range(64))}) == 1
    assert recognizer.space.labels is recognizer.with_decoder(recognizer.cfg.decoder).space.labels
    assert dict(recognizer.space.labels) == {"<eps>": 0, "a": 1, "b": 2}
    with pytest.raises(InputError, match="'<eps>' in '<eps>'"):
        recognizer.compile_phrases({"<eps>": 1.0})


def test_lists_and_grammars_take_pronunciations(recognizer, x, caplog):
    """In the place of those that the model knows: the words behave as those that are spelled so."""
    new_words = [NewWord("q", (("a", "b"), ("b", "a"))), NewWord("a", (("b",),))]
    spelled = {"ab": "q", "ba": "q", "b": "a"}
    asked = [Options(word_list=["q", "a"], new_words=new_words)]
    asked += [Options(grammar="#JSGF V1.0;grammar g;public <r> = q | a;", new_words=new_words)]
    expected = recognizer.transcribe(x, 16000, Options(word_list=[*spelled]))
    for options in asked:
        found = recognizer.transcribe(x, 16000, options)
        assert found.text == spelled[expected.text]
        assert found.words[0].start_s == expected.words[0].start_s
    for new, says in (
        (NewWord("q", (("a", "?"),)), "'q' cannot be spelled: .*'\\?'"),
        (NewWord("q", slot="<name>"), "'q' has a slot or weight"),
    ):
        with pytest.raises(InputError, match=says):
            recognizer.with_list(["q"], [new])
    assert recognizer.with_list(["ab"], ["ab", "c"]).transcribe(x, 16000).text == "ab"
    assert "not in the list or grammar, and so are not recognised: c" in caplog.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beam": 0}, "beam=0 must be greater than 0"),
        ({"beam": float("nan")}, "beam=nan must be a number"),
        ({"beam": "wide"}, "beam='wide' must be a number"),
        ({"lattice_beam": -1}, "lattice_beam=-1 must be at least 0"),
        ({"nbest": 0}, "nbest=0 must be a whole number"),
        ({"nbest": 2.5}, "nbest=2.5 must be a whole number"),
        ({"nbest": True}, "nbest=True must be"),
        ({"mbr": 1}, "mbr=1 must be True or False"),
        ({"rescore": "lm.arpa"}, "rescore='lm.arpa' must be True or False"),
        ({"rescore_order": 2.5}, "rescore_order=2.5 must be a whole number from 0 to 100"),
        ({"rescore_order": 101}, "rescore_order=101 must be a whole number"),
        ({"reject_below": 1.5}, "reject_below=1.5 must be from 0 to 1"),
        ({"remove": "um"}, "remove must be a list of strings, not the text 'um'"),
        ({"remove": [5]}, "remove=5 must be a list of str"),
        ({"phrases": ["a"]}, "phrases=.* must be a mapping"),
        ({"new_words": "ab"}, "new_words must be a list of strings, not the text 'ab'"),
        ({"new_words": [5]}, "new_words=5 must be a list of NewWord or str"),
        ({"word_list": "ab"}, "word_list must be a list of strings"),
        ({"word_list": 5}, "word_list=5 must be a list"),
        ({"word_list": [5]}, "word_list=5 must be a list of str"),
        ({"grammar": 5}, "grammar=5 must be a path"),
        ({"word_list": ["a"], "grammar": GRAMMAR}, "word_list and grammar exclude each other"),
        ({"grammar": GRAMMAR, "slots": {"<a>": ["c"]}}, "slots and grammar exclude each other"),
        ({"slots": 5}, "slots=5 must be a mapping"),
        ({"slots": {"<a>": [5]}}, "must be a list of str"),
    ],
)
def test_invalid_options_are_refused_when_they_are_made(options, says):
    with pytest.raises(InputError, match=says):
        Options(**options)


def test_options_that_do_not_fit_the_recogniser_are_refused(recognizer, x):
    cfg = recognizer.cfg
    greedy = Recognizer(recognizer.model, cfg, TOKENS)
    switched = recognizer.with_decoder(replace(cfg.decoder, kind="greedy"))
    bare = recognizer.with_decoder(replace(cfg.decoder, lattice_beam=None))
    for other, options, says in [
        (recognizer, Options(new_words=["c"]), "new words need a dynamic graph"),
        (recognizer, Options(slots={"<a>": ["c"]}), "slots need a dynamic graph"),
        (recognizer, Options(lattice_beam=17.0), "lattice_beam=17 must be at most beam=16"),
        (recognizer, Options(beam=4.0, lattice_beam=5.0), "lattice_beam=5 must be at most beam=4"),
        (recognizer, Options(phrases={"a": float("nan")}), "boost nan"),
        (recognizer, Options(phrases={"a": "much"}), "boost 'much'"),
        (recognizer, Options(phrases={"zebra": 1.0}), "'zebra' in 'zebra'"),
        (recognizer, Options(word_list=[]), "the list is empty"),
        (recognizer, Options(word_list={"a": -1.0}), "'a' has the weight -1"),
        (recognizer, Options(grammar="nowhere.jsgf"), "nowhere.jsgf"),
        (bare, Options(nbest=3), "nbest=3 needs a lattice"),
        (bare, Options(confusion=True), "confusion=True needs a lattice"),
        (recognizer, Options(rescore=True), "rescore=True needs a language model for the second pass"),
        (recognizer, Options(rescore_order=3), "rescore_order=3 needs a language model for the second pass"),
        (greedy, Options(mbr=True), "mbr is an option of graph search"),
        (greedy, Options(rescore=True), "rescore is an option of graph search"),
        (greedy, Options(beam=3.0), "beam needs phrases in greedy search"),
        (greedy, Options(nbest=3), "nbest is an option of graph search"),
        (greedy, Options(phrases={"zebra": 1.0}), "do not spell words of any phrase.*'zebra'"),
        (switched, Options(lattice_beam=3.0), "lattice_beam is an option of graph search"),
        (switched, Options(word_list=["a"]), "greedy search takes no word list"),
    ]:
        for errors in ("raise", "return"):  # a wrong argument is of the call, not of a recording
            with pytest.raises(InputError, match=says):
                other.transcribe([x], 16000, options, errors=errors)
    with pytest.raises(InputError, match="options must be asr.DecodingOptions.*not dict"):
        recognizer.transcribe(x, 16000, {"beam": 3})
    assert greedy.transcribe(x, 16000, Options(word_list=["a"], beam=8.0)).text == "a"  # the list is a graph


def test_greedy_search_with_phrases_takes_the_beam_of_a_call(recognizer, x):
    """It equals the beam of the recogniser. The boost pays off along the phrase: a narrow beam loses some of it."""
    greedy = Recognizer(recognizer.model, recognizer.cfg, TOKENS)
    found = {}
    for beam in (0.5, 500.0):
        options = Options(beam=beam, phrases={"bbab": 400.0})
        wanted = greedy.with_decoder(replace(recognizer.cfg.decoder, beam=beam, lattice_beam=None))
        found[beam] = greedy.transcribe(x, 16000, options)
        assert found[beam] == wanted.transcribe(x, 16000, replace(options, beam=None))
    assert found[500.0].cost < found[0.5].cost


def test_options_are_immutable_values():
    phrases, words = {"new york": 3.0}, ["bixby"]
    options = Options(beam=9.0, phrases=phrases, new_words=words)
    phrases["old york"] = 1.0
    words.append("other")
    assert dict(options.phrases) == {"new york": 3.0} and options.new_words == ("bixby",)
    for change in (lambda: setattr(options, "beam", 3.0), lambda: options.phrases.update({"a": 1.0})):
        with pytest.raises(AttributeError):
            change()
    assert len({options, Options(beam=9.0, phrases={"new york": 3.0}, new_words=iter(["bixby"]))}) == 1
    assert pickle.loads(pickle.dumps(options)) == copy.deepcopy(options) == options
    assert replace(options, beam=4.0).phrases == options.phrases


def test_a_recogniser_cannot_be_changed(recognizer):
    for change in (
        lambda: setattr(recognizer, "model", None),
        lambda: setattr(recognizer, "other", 1),
        lambda: delattr(recognizer, "cfg"),
        lambda: setattr(recognizer.cfg, "seed", 3),
        lambda: setattr(recognizer.cfg.decoder, "beam", 3.0),
        lambda: delattr(recognizer.cfg.decoder, "beam"),
        lambda: recognizer.cfg.input.append("x"),
        lambda: recognizer.cfg.augment.speeds.append(1.0),
    ):
        with pytest.raises(AttributeError):
            change()
    with pytest.raises(FrozenInstanceError, match="'beam' of a DecoderConfig in use"):
        recognizer.cfg.decoder.beam = 3.0


def test_later_changes_of_a_configuration_reach_no_recogniser(x):
    cfg = config()
    made = Recognizer(model(cfg), cfg, TOKENS)
    want = made.transcribe(x, 16000)
    cfg.decoder.reject_below, cfg.data.max_audio_s, cfg.tokens.unit = 1.0, 0.1, "phone"
    cfg.features.sample_rate_hz, cfg.features.shift_ms, cfg.model.subsampling = 8000, 20.0, 6
    cfg.input.append("x")
    assert made.transcribe(x, 16000) == want and made.cfg.decoder.reject_below == 0.0 and not made.cfg.input
    assert made.with_decoder(made.cfg.decoder).transcribe(x, 16000) == want


def test_copies_of_a_frozen_configuration_can_be_changed():
    cfg = Config(seed=7)
    fixed = frozen(cfg)
    assert isinstance(fixed, Config) and frozen(fixed) is fixed and fixed.decoder == frozen(cfg).decoder
    for made in (replace(fixed), copy.copy(fixed), copy.deepcopy(fixed), pickle.loads(pickle.dumps(fixed))):
        assert type(made) is Config and made.seed == 7
        made.seed = 8
    deep = copy.deepcopy(fixed)
    deep.decoder.beam = 3.0
    assert fixed.decoder.beam == Config().decoder.beam and fixed.seed == 7
    items = FrozenDict({"a": 1})
    assert items == {"a": 1} and hash(items) == hash(FrozenDict({"a": 1})) and repr(items) == "{'a': 1}"


def test_a_frozen_configuration_can_be_bundled(recognizer, tmp_path):
    from asr.recognizer import bundle

    bundle.write(tmp_path / "m.asr", recognizer.model, recognizer.cfg, TOKENS, None, "# tiny")
    opened = asr.load(tmp_path / "m.asr", beam=5.0)
    assert opened.cfg.decoder.beam == 5.0 and opened.cfg.features.num_bins == recognizer.cfg.features.num_bins
