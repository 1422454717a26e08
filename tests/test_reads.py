"""The options that each verb reads: help lists them, others are refused, and every choice is checked."""

import re
from itertools import zip_longest
from pathlib import Path

import hydra
import pytest
from hydra import initialize_config_dir
from test_cli import error_of

from asr.align.files import FORMATS
from asr.cli import help, reads
from asr.cli import main as cli
from asr.cli.options import Option, all_groups, all_options, conf_dir
from asr.cli.overrides import compose, compose_node, for_verb, references, refuse_unread, to_overrides
from asr.cli.reads import declared, own_options
from asr.cli.verbs import VERBS
from asr.config import Config, check_choices
from asr.errors import InputError
from asr.recognizer.formats import SUFFIXES

# The first choice of every group, then the second of every group that has two, and so on.
TOGETHER = [
    [f"{group}={choice}" for group, choice in zip(all_groups(), row, strict=True) if choice]
    for row in zip_longest(*all_groups().values())
]


def listed(verb: str) -> list[str]:
    """The keys at the start of a line in the options part of a verb's help."""
    options = help.verb_help([verb], None).partition("options: key=value")[2]
    return re.findall(r"^  ([\w.]+)=", options, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_help_lists_what_the_verb_reads_and_nothing_else(verb: str) -> None:
    names = [
        n if n in all_options() else next(o for o in own_options(verb) if o.endswith(f".{n}")) for n in listed(verb)
    ]
    assert sorted(names) == sorted(declared(verb))
    node = compose_node([])
    reads.check(
        verb, to_overrides([f"{key}=null" for key in listed(verb)], own_options(verb), None), references(node), {}
    )


@pytest.mark.parametrize(
    "argv,parts",
    [
        ("train order=4", ["'order'", "'lm.order' of `asr lm train`", "'g2p.order'"]),
        ("train lm.order=4", ["`asr train` does not read lm.order", "`asr lm train`"]),
        ("decode optim.lr=1", ["`asr decode` does not read optim.lr", "an option of `asr train`"]),
        ("decode features.kind=mfcc", ["`asr decode` does not read features.kind", "`asr train`"]),
        ("lm train threshold=1e-7", ["'lm.threshold' of `asr lm prune`"]),
        ("g2p apply w.txt model=x.npz", ["`asr g2p apply` has no choice model=x.npz", "written g2p.model=x.npz"]),
        ("serve model=x.asr", ["no choice model=x.asr", "name the bundle without a key: asr serve x.asr"]),
        ("transcribe model=x.asr a.wav", ["name the bundle without a key: asr transcribe x.asr"]),
        ("decode model=x", ["model=x: ", "cnn_stream"]),
        ("serve m.asr x.bin", ["given 'x.bin'; options are key=value"]),
        ("serve x.bin", ["`asr serve` takes no files", "'x.bin'", "name a bundle *.asr or a run folder"]),
        ("train x.wav", ["`asr train` takes no files", "x.wav"]),
        (
            "transcribe m.asr a.wav format=srtt",
            ["auto, txt, json, jsonl, srt, vtt, ctm, textgrid; did you mean 'srt'?"],
        ),
        ("align a.jsonl format=ctmm", ["format=ctmm: expected one of auto, jsonl, ctm, textgrid; did you mean 'ctm'?"]),
        ("export m.asr output=x format=onxx", ["format=onxx: expected one of auto, onnx; did you mean 'onnx'?"]),
        ("score hyp.jsonl", ["`asr score` takes no files", "name them with hyp=FILE and ref=FILE"]),
        ("doctor device=cuda", ["`asr doctor` does not read device"]),
        ("decode -m beam=1,2 optim.lr=1", ["`asr decode` does not read optim.lr"]),
        ("decode manifest=x.jsonl", ["no option 'manifest'; files are written without a key: x.jsonl"]),
        ("decode file=x.jsonl", ["no option 'file'; files are written without a key: x.jsonl"]),
        ("train file=x.jsonl", ["no option 'file'; `asr VERB --help` lists them"]),
        ("decode set=0.5", ["no option 'set'; `asr VERB --help` lists them"]),
        *(
            (f"decode {key}=x.jsonl", [f"no option '{key}'; files are written without a key: x.jsonl"])
            for key in ("path", "paths", "files", "set")
        ),
        ("transcribe modle=exp/x.asr", ["no option 'modle'; files are written without a key: exp/x.asr"]),
        ("decode modle=exp/x.asr", ["no option 'modle'; did you mean 'model'?"]),
        ("train modle=cnn", ["no option 'modle'; did you mean 'model'?"]),
        ("train files=x.jsonl", ["no option 'files'; `asr VERB --help` lists them"]),
        ("decode word_list=a.txt", ["no option 'word_list'; did you mean 'graph.words'?"]),
        ("decode grammar_file=x.jsgf", ["no option 'grammar_file'; did you mean 'graph.grammar'?"]),
        ("decode pronunciations=x.txt", ["no option 'pronunciations'; `asr VERB --help` lists them"]),
        ("transcribe boost_file=x.txt", ["no option 'boost_file'; `asr VERB --help` lists them"]),
        ("decode lattice=3", ["no option 'lattice'; did you mean 'decoder.lattice_beam'?"]),
        ("decode acoustic=2", ["no option 'acoustic'; did you mean 'decoder.acoustic_scale'?"]),
        ("train hidden_size=3", ["no option 'hidden_size'; did you mean 'model.hidden'?"]),
        ("decode decodr.beam=3", ["no option 'decodr.beam'; did you mean 'decoder.beam'?"]),
        ("decode beem=3", ["no option 'beem'; did you mean 'decoder.beam'?"]),
        ("decode graph.kind=statik", ["graph.kind=statik", "did you mean 'static'"]),
    ],
)
def test_options_that_a_verb_does_not_read_are_refused(seen: list, capsys: pytest.CaptureFixture, argv: str,
                                                       parts: list[str]) -> None:  # fmt: skip
    error = error_of(capsys, *argv.split())
    assert all(part in error for part in parts), error
    assert not seen


@pytest.mark.parametrize("verb", ["decode", "tune", "calibrate"])
@pytest.mark.parametrize(
    ("word", "part"),
    [
        (
            "exp/my/model.asr",
            "exp/my/model.asr is no manifest (*.jsonl); to recognise recordings with it: asr transcribe",
        ),
        ("x.flac", "x.flac is no manifest (*.jsonl); to recognise a recording: asr transcribe MODEL.asr x.flac"),
        ("out=exp/none", "there is no run folder exp/none; check out="),
    ],
)
def test_what_is_no_manifest_is_told(capsys: pytest.CaptureFixture, verb: str, word: str, part: str) -> None:
    assert part in error_of(capsys, verb, word)


def test_options_that_others_refer_to_are_read(seen: list[Config], capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["decode", "data.dir=d", "tokens.lexicon=l.txt"]) == 0
    assert (seen[0].data.test, seen[0].graph.lexicon) == ("d/test.jsonl", "l.txt")
    error = error_of(capsys, "graph", "data.dir=d")
    assert "does not read data.dir" in error
    assert cli.main(["graph", "data.dir=d", "lexicon=${data.dir}/l.txt"]) == 0
    assert seen[1].graph.lexicon == "d/l.txt"


def test_group_choices_warn_of_what_is_not_read(seen: list[Config], capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["lm", "train", "lm=small", "experiment=tiny"]) == 0
    assert capsys.readouterr().err == ("asr: warning: lm=small sets lm.threshold, which `asr lm train` does not read\n")
    assert cli.main(["lm", "prune", "lm=trigram", "arpa=a"]) == 0
    assert "lm=trigram sets lm.order, which" in capsys.readouterr().err
    assert cli.main(["train", "model=cnn", "optim=quick"]) == 0
    assert capsys.readouterr().err == ""
    assert len(seen) == 3


def test_a_verb_offers_the_formats_that_it_writes() -> None:
    offered = {verb: declared(verb)["format"].choices for verb in VERBS if "format" in declared(verb)}
    assert offered == {
        "transcribe": ("auto", *SUFFIXES), "align": ("auto", *FORMATS), "align long": ("auto", *FORMATS),
        "export": ("auto", "onnx"),
    }  # fmt: skip
    assert "(auto|jsonl|ctm|textgrid)" in help.verb_help(["align"], None)


@pytest.mark.parametrize("given", ["srt", "'srt'", '"srt"', "${oc.env:FORMAT,srt}"])
def test_a_format_may_be_quoted_or_refer_to_another_option(given: str, seen: list[Config]) -> None:
    assert cli.main(["transcribe", "m.asr", "a.wav", f"format={given}"]) == 0
    assert seen[0].format == "srt"


@pytest.mark.parametrize("option", [o for o in all_options().values() if o.choices], ids=lambda o: o.name)
def test_every_choice_is_checked_for_every_verb(option: Option) -> None:
    wrong = f"{option.choices[-1]}x"
    with pytest.raises(
        InputError, match=f"{option.name}={wrong}: expected one of .*did you mean '{option.choices[-1]}'"
    ):
        compose([f"{option.name}={wrong}"])
    cfg = Config()
    setattr(getattr(cfg, option.group) if option.group else cfg, option.key, wrong)
    with pytest.raises(InputError, match=f"{option.name}={wrong}: expected one of"):
        check_choices(cfg)


def test_overrides_of_a_recipe_go_to_the_verbs_that_read_them(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ntokens: {lexicon: '${data.dir}/l.txt'}\n"
    (tmp_path / "experiment" / "x.yaml").write_text(text)
    words = ["experiment=x", "out=o", "optim.epochs=3", "lm=small", "model=cnn", "data.dir=d", "decoder.beam=9"]
    kept = {verb: for_verb(verb, words, str(tmp_path)) for verb in ("train", "lm train", "graph", "decode")}
    assert kept["train"] == ["experiment=x", "out=o", "optim.epochs=3", "model=cnn", "data.dir=d"]
    assert kept["lm train"] == ["experiment=x", "out=o", "lm=small", "data.dir=d"]
    assert kept["graph"] == ["experiment=x", "out=o", "data.dir=d"]  # the experiment's lexicon is there
    assert kept["decode"] == ["experiment=x", "out=o", "data.dir=d", "decoder.beam=9"]
    refuse_unread(words, list(kept), config_dir=str(tmp_path))
    with pytest.raises(InputError, match="no step of this recipe reads text.lang; it is an option of `asr text clean`"):
        refuse_unread([*words, "text.lang=ko"], list(kept), config_dir=str(tmp_path))
    refuse_unread([*words, "data.root=r"], list(kept), ("data",), str(tmp_path))


@pytest.mark.parametrize("words", TOGETHER, ids=" ".join)
def test_every_choice_composes(words: list[str]) -> None:
    compose(words)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["model=cnn", "optim.lr=1e-4", "seed=3", "criterion=lfmmi", "lm.text=[a.txt,'b c.txt']"],
        ["out='exp/한 1'", "augment=none", "augment.speeds=[]", "graph.cache=null", "data.train='${data.dir}/t.jsonl'"],
        ["seed=1", "experiment=tiny", "optim.epochs=2", "seed=2", "++model.hidden=8"],
    ],
)
def test_values_are_set_as_hydra_sets_them(words: list[str]) -> None:
    """Hydra composes the choices of groups alone, which are kept."""
    found = compose_node(words)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        wanted = hydra.compose("config", words)
    assert found == wanted
    found.seed = 77  # of this copy alone
    assert compose_node(words) == wanted


def test_a_changed_yaml_file_is_read_again(tmp_path: Path) -> None:
    """Of the same length, within the resolution of any file system's clock."""
    (tmp_path / "experiment").mkdir()
    for hidden in (96, 48):
        (tmp_path / "experiment/x.yaml").write_text(f"# @package _global_\nmodel: {{hidden: {hidden}}}\n")
        words = to_overrides(["experiment=x", "layers=3"], ["model.layers"], str(tmp_path))
        assert (compose(words).model.hidden, compose(words).model.layers) == (hidden, 3)


def test_choices_of_the_command_line_win_over_those_of_an_experiment(
    tmp_path: Path, seen: list[Config], capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(
        "# @package _global_\ntokens: {unit: jamo}\nmodel: {kind: lstm, hidden: 77, layers: 9, dropout: 0.4}\n"
    )
    mine = ["train", "--config-dir", str(tmp_path), "experiment=mine"]
    assert cli.main([*mine, "++model.hidden=8", "model.layers=2", "tokens=phone", "model=cnn"]) == 0
    assert cli.main([*mine, "-m", f"out={tmp_path}", "model=cnn,fc"]) == 0
    alone, *swept = seen
    assert (alone.tokens.unit, alone.model.kind, alone.model.hidden, alone.model.layers) == ("phone", "cnn", 8, 2)
    found = [(cfg.model.kind, cfg.model.hidden, cfg.model.dropout, cfg.tokens.unit) for cfg in swept]
    assert found == [("cnn", 256, 0.4, "jamo"), ("fc", 512, 0.4, "jamo")]
