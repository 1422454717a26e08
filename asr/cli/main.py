"""The command line: `asr VERB [key=value ...] [group=choice ...] [file ...]`.

Exit codes: 0 done, 2 bad input or a place that cannot be written (one sentence on stderr), 3 a candidate that is not
promoted, 130 stopped by Ctrl-C, 1 a bug (with its traceback).
Nothing heavy is imported before a verb runs, so that help and completion answer at once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from asr.cli import completion, help
from asr.cli.options import all_groups
from asr.cli.outputs import guarded
from asr.cli.overrides import (
    compose,
    compose_node,
    found_earlier,
    is_override,
    references,
    sweep,
    to_config,
    to_overrides,
)
from asr.cli.reads import check, check_format, check_groups, declared, own_options
from asr.cli.verbs import FLAGS, VERBS
from asr.config import Config
from asr.errors import InputError, nearest
from asr.files import explained


class _FlagParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `asr --help` shows how to call it")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code."""
    try:
        _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return 0
    except InputError as e:
        print(f"asr: error: {e}", file=sys.stderr)
        return 2
    except SystemExit as e:  # of a verb whose result is its exit code
        return e.code if isinstance(e.code, int) else 1
    except KeyboardInterrupt as e:
        print("; ".join(["asr: stopped", *e.args]), file=sys.stderr)
        return 130
    except BrokenPipeError:  # `asr --help | head`
        sys.stderr.close()
        return 0
    except UnicodeEncodeError as e:
        print(f"asr: error: {_unwritable(e)}", file=sys.stderr)
        return 2
    except OSError as e:
        if (refusal := explained(e)) is None:
            raise
        print(f"asr: error: {refusal}", file=sys.stderr)
        return 2


def _unwritable(error: UnicodeEncodeError) -> str:
    """The sentence for a text that a file or the terminal cannot hold."""
    shown = ascii(error.object[max(0, error.start - 40) : error.start + 40])
    if error.encoding == "utf-8":
        return f"{shown} holds a file name that is not UTF-8; rename the file, or whole folders with `convmv`"
    return f"the standard output is {error.encoding}, which cannot show {shown}; set PYTHONIOENCODING=utf-8"


def _dispatch(argv: list[str]) -> None:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(help.overview(), end="")
    elif argv[0] == "--version":
        from importlib.metadata import version

        print(f"asr {version('asr-toolkit')}")
    elif argv[0] == "completion":
        print(completion.script(argv[1] if len(argv) > 1 else ""), end="")
    elif argv[0] == "_complete":
        print("\n".join(completion.complete(argv[1:])))
    else:
        _run_verb(argv)


def _is_model(word: str) -> bool:
    """A bundle or the folder of a training run."""
    return word.endswith(".asr") or Path(word, "train", "config.json").is_file()


def _run_verb(argv: list[str]) -> None:
    flags, words = _flags(argv)
    names, words = _split_verb(words, flags.help)
    if flags.help:
        print(help.verb_help(names, flags.config_dir), end="")
        return
    _show_log()
    name, verb = names[0], VERBS[names[0]]
    if verb.takes_bundle:
        bundle = next((w for w in words if _is_model(w) and not is_override(w)), None)
        words = [f"bundle={w}" if w is bundle else w for w in words]
    if flags.multirun and flags.cfg:
        raise InputError("--cfg prints one configuration; leave out --multirun")
    check_groups(name, words, all_groups(flags.config_dir))
    overrides = to_overrides(words, own_options(name), flags.config_dir, flags.multirun)
    groups = all_groups(flags.config_dir)
    if flags.multirun:
        sweep(overrides, name, partial(_run, name), groups)
        return
    node = compose_node(overrides)
    check(name, overrides, references(node), groups)
    check_format(name, overrides)
    cfg = to_config(node)
    if found := found_earlier(name, cfg, overrides, groups):
        cfg = compose([*found, *overrides])
    if flags.cfg:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.structured(cfg)), end="")
    else:
        _run(name, cfg)


def _run(name: str, cfg: Config) -> None:
    """Runs the verb. If Ctrl-C or the end of the output's reader stops it, the message says how to go on."""
    if cfg.device == "cuda" and "device" in declared(name):
        import torch

        if not torch.cuda.is_available():
            raise InputError("device=cuda, but torch finds no CUDA device; set device=cpu, or see `asr doctor`")
    if not VERBS[name].starts_run:
        cfg = _with_manifests(name, cfg)
    verb = VERBS[name]
    resumes = verb.resumes(cfg) if callable(verb.resumes) else verb.resumes
    resumes = "where it stopped" if resumes is True else resumes
    again = f"continues {resumes}" if resumes else "starts again"
    try:
        with guarded(name, cfg):
            verb.run(cfg)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the same command {again}") from None
    except BrokenPipeError:  # `asr transcribe ... | head`
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        raise InputError(f"the program that reads the output ended before the verb; the same command {again}") from None


def _with_manifests(name: str, cfg: Config) -> Config:
    """The manifests of the run's training, where the run folder has none of its own; a line on stderr says so."""
    from asr.recognizer.run_folder import with_manifests

    splits = [split for split in ("train", "dev", "test") if f"data.{split}" in declared(name)]
    found = with_manifests(cfg, *splits)
    changed = [split for split in splits if getattr(found.data, split) != getattr(cfg.data, split)]
    if used := [f"data.{split}={getattr(found.data, split)}" for split in changed]:
        print(f"as in the training of {cfg.out}: {' '.join(used)}", file=sys.stderr)
    return found


def _show_log() -> None:
    """Shows the package's log as plain lines on stderr, and only the warnings of other libraries."""
    logging.getLogger("asr").setLevel(logging.INFO)
    if logging.lastResort:
        logging.lastResort.setLevel(logging.INFO)


def _flags(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = _FlagParser(prog="asr", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--config-dir")
    parser.add_argument("--cfg", action="store_true")
    parser.add_argument("--microphone", action="store_true")
    flags, words = parser.parse_known_args(argv)
    if flags.microphone:
        words.append("live.microphone=true")
    unknown = next((word for word in words if word.startswith("-") and word != "-"), None)
    if unknown:
        key = unknown.lstrip("-").partition("=")[0]
        hint = nearest(unknown, FLAGS, cutoff=0.75) or f"; options are written without dashes: {key}=VALUE"
        if os.path.exists(unknown):
            hint = f"; name the file as ./{unknown}"
        raise InputError(f"there is no flag '{unknown}'{hint}")
    return flags, words


def _split_verb(words: list[str], family_allowed: bool) -> tuple[list[str], list[str]]:
    """(full name of the verb, or for help those of its whole family; remaining words)."""
    if not words:
        raise InputError(f"a verb is missing; there are: {', '.join(VERBS)}")
    for size in range(min(3, len(words)), 0, -1):  # the longest first, as `lexicon fit` begins with the verb `lexicon`
        begin = " ".join(words[:size])
        if begin in VERBS:
            return [begin], words[size:]
        if family := [name for name in VERBS if name.startswith(f"{begin} ")]:
            return _of_family(family, begin, words[size:], family_allowed)
    hint = nearest(words[0], {name.split()[0] for name in VERBS}) or f"; there are: {', '.join(VERBS)}"
    raise InputError(f"there is no verb '{words[0]}'{hint}")


def _of_family(family: list[str], begin: str, rest: list[str], family_allowed: bool) -> tuple[list[str], list[str]]:
    """The verbs of a family for help. Raises InputError if a verb was to be run: its last word is missing or wrong."""
    if family_allowed and not rest:
        return family, []
    subs = [name.removeprefix(f"{begin} ") for name in family]
    given = f"not '{rest[0]}'{nearest(rest[0], subs)}" if rest else f"as in `asr {family[0]}`"
    raise InputError(f"asr {begin} needs one of {', '.join(subs)}, {given}")
