"""The command line: composition of every yaml choice, suggestions, help, completion, sweeps and exit codes."""

import dataclasses
import errno
import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from asr.cli import help
from asr.cli import main as cli
from asr.cli.completion import SCRIPTS, complete, script
from asr.cli.options import all_groups, all_options, first_comment
from asr.cli.overrides import compose, to_overrides
from asr.cli.reads import declared
from asr.cli.verbs import VERBS, Verb
from asr.config import Config
from asr.errors import InputError
from asr.models import FITTED

ROOT = Path(__file__).parents[1]
CHOICES = [(group, choice) for group, choices in all_groups().items() for choice in choices]


def running(run: Callable[[Config], None]) -> Verb:
    """The verb `train` with another body."""
    return dataclasses.replace(VERBS["train"], run=run)


def error_of(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """The sentence that a failing command line prints."""
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("asr: error: ") and error.count("\n") == 1
    return error


# Composition


@pytest.mark.parametrize("group,choice", CHOICES)
def test_every_choice_is_explained(group: str, choice: str) -> None:
    assert first_comment(all_groups()[group][choice]), (
        f"conf/{group}/{choice}.yaml lacks a comment that says what it is for"
    )


@pytest.mark.parametrize("group", ["features", "model", "decoder", "criterion"])
def test_kinds_have_a_choice(group: str) -> None:
    kinds = set(all_options()[f"{group}.kind"].choices) - set(FITTED)  # which are no choices of `asr train`
    assert kinds and kinds <= set(all_groups()[group])


def test_default_choices_are_the_defaults_of_the_schema() -> None:
    assert compose([]) == OmegaConf.to_object(OmegaConf.structured(Config))


def test_experiments_from_config_dir(tmp_path: Path, seen: list[Config]) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /model: cnn\nout: exp/digits\nmodel: {hidden: 96}\n"
    (tmp_path / "experiment" / "digits.yaml").write_text(text)
    argv = ["train", "--config-dir", str(tmp_path), "experiment=digits", "model.layers=2"]
    assert cli.main(argv) == 0
    assert (seen[0].model.kind, seen[0].model.hidden, seen[0].model.layers) == ("cnn", 96, 2)
    assert seen[0].data.train == "exp/digits/data/train.jsonl"


@pytest.mark.parametrize(
    "argv,name,value",
    [
        ("lm train text=a.txt", "lm.text", ["a.txt"]),
        ("lm train text=a.txt,b.txt order=4", "lm.text", ["a.txt", "b.txt"]),
        ("lm train lm.text=[a.txt,b.txt]", "lm.text", ["a.txt", "b.txt"]),
        ("lm train order=4", "lm.order", 4),
        ("train lr=1e-4", "optim.lr", 1e-4),
        ("train hidden=32", "model.hidden", 32),
        ("train speeds=[]", "augment.speeds", []),
        ("train speeds=0.9,1.1", "augment.speeds", [0.9, 1.1]),
        ("train +seed=7", "seed", 7),
        ("decode beam=9", "decoder.beam", 9.0),
        ("decode split=dev", "split", "dev"),
        ("graph dir=g", "graph.dir", "g"),
        ("score ref=r hyp=h", "score.hyp", "h"),
        ("features kind=mfcc", "features.kind", "mfcc"),
        ("transcribe exp/seed=1/m.asr a=1/b.wav", "bundle", "exp/seed=1/m.asr"),
        ("transcribe a.wav m.asr b.wav", "input", ["a.wav", "b.wav"]),
        ("transcribe tmp/x=1.wav", "input", ["tmp/x=1.wav"]),
        ("data import corpus output=한국.jsonl", "output", "한국.jsonl"),
    ],
)
def test_home_groups_and_files(seen: list[Config], argv: str, name: str, value: object) -> None:
    assert cli.main(argv.replace(" a=1/b.wav", "").split()) == 0
    assert OmegaConf.select(OmegaConf.structured(seen[0]), name) == value


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_file_name_arrives_unchanged(text: str) -> None:
    """Quotes, backslashes, commas, brackets, other scripts: as typed, unless Hydra's own syntax is meant."""
    file = "./" + text
    overrides = OverridesParser.create().parse_overrides(to_overrides([f"out={file}", file], (), None))
    assert [o.value() for o in overrides] == [file, [file]]


# What earlier verbs found


def test_tuned_scales_are_used_unless_the_command_line_sets_others(tmp_path: Path, seen: list[Config]) -> None:
    best = {"acoustic_scale": 0.7, "word_penalty": -1.0, "blank_penalty": 0.5, "wer": 0.1}
    (tmp_path / "tune.json").write_text(json.dumps({"points": [best, best | {"acoustic_scale": 2.0}]}))
    for argv in (["decode"], ["decode", "acoustic_scale=3"], ["tune"], ["decode", f"out={tmp_path}/other"]):
        assert cli.main([*argv[:1], f"out={tmp_path}", *argv[1:]]) == 0
    assert [cfg.decoder.acoustic_scale for cfg in seen] == [0.7, 3.0, 1.0, 1.0]
    assert [cfg.decoder.word_penalty for cfg in seen] == [-1.0, -1.0, 0.0, 0.0]


@pytest.mark.parametrize("text", ["", "[]", '{"points": []}', '{"points": [{"acoustic_scale": "x"}]}'])
def test_damaged_tuning_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, text: str) -> None:
    (tmp_path / "tune.json").write_text(text)
    assert "tune.json" in error_of(capsys, "decode", f"out={tmp_path}")


def test_options_in_a_bundle_are_used_unless_the_command_line_sets_others(tmp_path: Path, seen: list[Config]) -> None:
    path = tmp_path / "m.asr"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"decoder": {"kind": "greedy", "beam": 9.5}}))
    for words in ([], ["beam=12", "max_audio_s=30"]):
        assert cli.main(["transcribe", str(path), "a.wav", *words]) == 0
    assert [cfg.decoder.beam for cfg in seen] == [9.5, 12.0]
    assert [cfg.data.max_audio_s for cfg in seen] == [float("inf"), 30.0]
    assert {cfg.decoder.kind for cfg in seen} == {"greedy"}


# Wrong words


@pytest.mark.parametrize(
    "argv,parts",
    [
        ("trian", ["'trian'", "'train'"]),
        ("lm", ["train, count, ppl"]),
        ("lm trin", ["'trin'", "'train'"]),
        ("train optim.lrr=1", ["'optim.lrr'", "'optim.lr'"]),
        ("train learning_rate=1", ["'learning_rate'"]),
        ("train lrr=1", ["'optim.lr'"]),
        ("train beam=1", ["'decoder.beam'"]),
        ("train modell=lstm", ["'modell'", "'model'"]),
        ("serve x.asr prot=1", ["'prot'", "'serve.port'"]),  # not data.root, which this verb does not read
        (
            "train model=lstmm",
            ["model=lstmm", "cnn, cnn_stream, conformer, ", "ebranchformer_stream, fc, linear, lstm", "'lstm'"],
        ),
        ("train features.kind=mfc", ["features.kind=mfc", "'mfcc'"]),
        ("train device=gpu", ["device=gpu", "cpu, cuda"]),
        ("train seed=x", ["seed=x: expected a whole number in [0, 1e18]"]),
        ("train seed=1.5", ["seed=1.5: expected a whole number"]),
        ("train seed=null", ["seed=null: expected a whole number"]),
        ("train lr=fast", ["optim.lr=fast: expected a number in [0, 100]"]),
        ("train data.cache=perhaps", ["data.cache=perhaps: expected true or false"]),
        ("train speeds=[a]", ["augment.speeds[0]=a: expected a number in "]),
        ("train seed=1,2", ["seed=1,2", "-m"]),
        ("train seed=((", ["seed=(("]),
        ("lm train arpa=${nowhere}", ["lm.arpa", "nowhere"]),
        ("train experiment=tyny", ["'tiny'"]),
        ("train -m seed=1,x", ["seed=x: expected a whole number"]),
        ("train -m model=fc,cnnn", ["model=cnnn", "'cnn'"]),
        ("train --confg-dir x", ["'--config-dir'"]),
        ("train --lr 3", ["'--lr'", "lr=VALUE"]),
        ("train --config-dir", ["--config-dir"]),
        ("train --config-dir /nowhere", ["/nowhere"]),
        ("completion tcsh", ["'tcsh'", "bash"]),
    ],
)
def test_wrong_words_name_the_right_ones(seen: list, capsys: pytest.CaptureFixture, argv: str, parts: list) -> None:
    error = error_of(capsys, *argv.split())
    assert all(part in error for part in parts), error
    assert not seen


@pytest.mark.parametrize(
    "yaml,parts",
    [
        ("# @package _global_\nmodel:\n  hiden: 3\n", ["experiment/x.yaml", "'model.hiden'", "'model.hidden'"]),
        ("# @package _global_\nseed: x\n", ["experiment/x.yaml", "seed=x: expected a whole number"]),
        ("# @package _global_\nlm:\n  text: a.txt\n", ["experiment/x.yaml", "lm.text=a.txt: expected a list of text"]),
        ("# @package _global_\nmodel: {kind: rnn}\n", ["model.kind=rnn", "fc, cnn, lstm"]),
        ("# @package _global_\ndefaults:\n  - override /model: lstmm\n", ["model=lstmm", "'lstm'"]),
        ("# @package _global_\ndefaults:\n  - override /modell: fc\n", ["'modell'", "'model'"]),
        ("# @package _global_\nseed: [1\nfoo: 2\n", ["x.yaml, line 3"]),
        ("seed: 3\n", ["# @package _global_"]),
        ("- 1\n", ["# @package _global_"]),
        ("\xff", ["# @package _global_"]),
    ],
)
def test_wrong_yaml_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, yaml: str, parts: list[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "x.yaml").write_text(yaml)
    error = error_of(capsys, "train", "--config-dir", str(tmp_path), "experiment=x")
    assert all(part in error for part in parts), error


# Help and completion


def test_help_explains_every_option() -> None:
    shown = "".join(help.verb_help([name], None) for name in VERBS)
    read = {name for verb in VERBS for name in declared(verb)}
    assert set(all_options()) == read, "an option that no verb reads"
    assert all(option.help for option in all_options().values())
    for group, choice in CHOICES:
        assert f"  {group}={choice} " in shown or group in ("graph", "data")  # some set nothing but defaults


def test_help_of_verbs_and_families(capsys: pytest.CaptureFixture) -> None:
    for argv in (["--help"], [], ["train", "--help"], ["lm", "--help"], ["lm", "train", "-h"]):
        assert cli.main(argv) == 0
        out = capsys.readouterr().out
        assert out.isprintable() or "\n" in out
    assert cli.main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(f"  {name} " in overview for name in VERBS)


def test_help_and_completion_import_nothing_heavy() -> None:
    program = (
        "import sys; from asr.cli.main import main\n"
        "for argv in (['--help'], ['train', '--help'], ['_complete', 'train', 'mo']): assert main(argv) == 0\n"
        "assert not {'torch', 'hydra', 'numpy', 'matplotlib', 'soundfile'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "words,expected",
    [
        ([""], "train"),
        (["tr"], "train transcribe"),
        (["lm", ""], "ppl train"),
        (["lm", "t"], "train"),
        (["train", "model=con"], "model=conformer model=conformer_stream"),
        (["train", "features.kind=m"], "features.kind=mfcc"),
        (["train", "data.cache="], "data.cache=true data.cache=false"),
        (["train", "optim.lr"], "optim.lr="),
        (["lm", "train", "ord"], "order="),
        (["train", "--conf"], "--config-dir"),
        (["score", "ref="], ""),
        (["nonsense", "xyz"], ""),
    ],
)
def test_completion(words: list[str], expected: str) -> None:
    found = complete(words)
    assert set(expected.split()) <= set(found)
    assert all(item.startswith(words[-1]) for item in found)
    assert words[-1] == "" or "=" not in words[-1] or len(found) == len(expected.split())


def test_bash_completion_in_bash() -> None:
    probe = (
        f'asr() {{ "{sys.executable}" -m asr "$@"; }}; eval "$(asr completion bash)"\n'
        'COMP_LINE="asr train model=l"; COMP_POINT=${#COMP_LINE}; _asr asr; echo "${COMPREPLY[*]}"\n'
        'COMP_LINE="asr lm "; COMP_POINT=${#COMP_LINE}; _asr asr; echo "${COMPREPLY[*]}"\n'
    )
    run = subprocess.run(["bash", "-c", probe], cwd=ROOT, check=True, capture_output=True, text=True)
    found = run.stdout.split("\n")[:2]
    assert found == ["linear lstm lstm_stream", "adapt convert count filter mix ppl prune train vocabulary"], run.stderr


def test_every_shell_has_a_script() -> None:
    assert set(SCRIPTS) == {"bash", "zsh", "fish"}
    assert all("_complete" in script(shell) for shell in SCRIPTS)


# Sweeps and exit codes


def test_sweep_runs_each_value_in_its_own_folder(seen: list[Config], tmp_path: Path) -> None:
    argv = ["train", f"out={tmp_path}/run 한", "model=lstm", "optim.lr=1e-3", "-m", "seed=1,2,3"]
    assert cli.main(argv) == 0
    assert [cfg.seed for cfg in seen] == [1, 2, 3]
    assert [Path(cfg.out).name for cfg in seen] == ["seed=1", "seed=2", "seed=3"]
    assert {Path(cfg.out).parent for cfg in seen} == {tmp_path / "run 한"}
    assert {cfg.data.train for cfg in seen} == {f"{tmp_path}/run 한/data/train.jsonl"}  # all read the same data
    assert seen[1].graph.dir == f"{seen[1].out}/graph"


def test_sweep_leaves_the_log_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    log = logging.getLogger("asr.some_room")
    monkeypatch.setitem(VERBS, "train", running(lambda cfg: log.warning("seed %d", cfg.seed)))
    assert cli.main(["train", "-m", f"out={tmp_path}", "seed=1,2"]) == 0
    assert caplog.messages == ["seed 1", "seed 2"]


def test_sweep_over_a_trained_run_stays_in_its_folder(seen: list[Config], tmp_path: Path) -> None:
    best = {"acoustic_scale": 0.7, "word_penalty": -1.0, "blank_penalty": 0.5}
    (tmp_path / "tune.json").write_text(json.dumps({"points": [best]}))
    assert cli.main(["decode", f"out={tmp_path}", "word_penalty=2", "-m", "split=dev,test"]) == 0
    assert [(cfg.split, cfg.out) for cfg in seen] == [("dev", str(tmp_path)), ("test", str(tmp_path))]
    assert {(cfg.decoder.acoustic_scale, cfg.decoder.word_penalty) for cfg in seen} == {(0.7, 2.0)}
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []


def test_sweep_stops_at_bad_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def fail(cfg: Config) -> None:
        raise InputError("the manifest is empty")

    monkeypatch.setitem(VERBS, "train", running(fail))
    assert cli.main(["train", "-m", f"out={tmp_path}", "seed=1,2"]) == 2
    assert capsys.readouterr().err.endswith("asr: error: the manifest is empty\n")


def test_cfg_prints_the_configuration(seen: list[Config], capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["train", "--cfg", "seed=5"]) == 0
    assert OmegaConf.create(capsys.readouterr().out).seed == 5
    assert not seen


def test_cfg_prints_yaml_alone(seen: list[Config], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    best = {"acoustic_scale": 0.7, "word_penalty": -1.0, "blank_penalty": 0.5}
    (tmp_path / "tune.json").write_text(json.dumps({"points": [best]}))
    assert cli.main(["decode", f"out={tmp_path}", "--cfg", "model=cnn"]) == 0
    printed = capsys.readouterr()
    assert list(OmegaConf.create(printed.out)) == list(OmegaConf.structured(Config))
    assert OmegaConf.create(printed.out).decoder.acoustic_scale == 0.7
    assert "tuned on dev" in printed.err and "warning: model=cnn" in printed.err
    assert "leave out --multirun" in error_of(capsys, "train", "-m", "--cfg", "seed=1,2")


def test_doctor_names_what_it_finds(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["doctor"]) == 0
    report = capsys.readouterr().out
    names = ["Python", "torch", "asr._ctc", "asr._decoder", "nvcc", "pynini", "soxr", "PyAV", "audio formats"]
    assert [name for name in [*names, "data root"] if f" {name} " not in report] == []


def test_version(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("asr 0.")


def test_ctrl_c_and_bugs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def raising(error: BaseException) -> Verb:
        def run(cfg: Config) -> None:
            raise error

        return running(run)

    monkeypatch.setitem(VERBS, "train", raising(KeyboardInterrupt()))
    assert cli.main(["train"]) == 130
    assert capsys.readouterr().err == "asr: stopped; the same command continues where it stopped\n"
    for verb, again in (("tune", "starts again"), ("hmm train", "continues after the last stage that it finished")):
        monkeypatch.setitem(VERBS, verb, dataclasses.replace(VERBS[verb], run=raising(KeyboardInterrupt()).run))
        assert cli.main(verb.split()) == 130
        assert capsys.readouterr().err == f"asr: stopped; the same command {again}\n"
    monkeypatch.setitem(VERBS, "train", raising(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["train"])


def test_full_disk_and_missing_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    def fill(cfg: Config) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "model.asr")

    monkeypatch.setitem(VERBS, "train", running(fill))
    assert "No space left on device: model.asr" in error_of(capsys, "train", f"out={tmp_path}")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "set device=cpu" in error_of(capsys, "train", "device=cuda")


def test_one_command_as_a_process(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "asr", "train", "modl=lstm"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr == "asr: error: there is no option 'modl'; did you mean 'model'?\n"
