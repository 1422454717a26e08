"""The verbs of the service: see asr/cli/verbs.py."""

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from asr.cli.inputs import needed_output
from asr.config import Config
from asr.errors import InputError, needed
from asr.serve.address import bound

if TYPE_CHECKING:
    from asr.serve.store import Store


def serve(cfg: Config) -> None:
    """Serves a recogniser over HTTP and WebSockets.

    asr serve [MODEL.asr] [host=127.0.0.1] [port=8080] [modes=dictation,word,web=FILE] [serve=public]

    By default only this machine can connect, and no key is needed. `serve=public` listens on all addresses and requires
    keys, which `asr serve keys` manages. The modes share the acoustic model of MODEL; `web=FILE` gives a mode a graph
    folder, an n-gram model (*.ngram) or a whole bundle of its own. The calls are listed at /docs of the address.
    SIGTERM and Ctrl-C let the service finish the requests that it has accepted.
    """
    if not Path(cfg.bundle).exists():
        raise InputError(f"there is no recogniser {cfg.bundle}; name a bundle (*.asr) or a run folder with a trained "
                         "model: asr serve exp/my/model.asr")  # fmt: skip
    with bound(cfg.serve.host, cfg.serve.port) as listener:
        with needed("serve", "asr serve"):
            from asr.serve.process import serve
        serve(cfg, listener)


def keys_add(cfg: Config) -> None:
    """Makes an API key and prints it: it is shown once, and only its hash is stored.

    asr serve keys add NAME [keys=serve.db]

    NAME says who uses the key; two keys in use cannot share one. A running service takes the key at once.
    """
    name = _name(cfg)
    with _records(cfg) as store:
        from asr.serve.keys import Keys

        print(Keys(store).add(name))


def keys_list(cfg: Config) -> None:
    """Lists the keys with their calls of today (UTC) and in all."""
    with _records(cfg, must_exist=True) as store:
        from asr.serve.keys import Keys

        rows = [("name", "since", "state", "today", "in all")]
        for key in Keys(store).list():
            state = "in use" if key.revoked_s is None else f"revoked {_date(key.revoked_s)}"
            rows.append((key.name, _date(key.created_s), state, str(key.calls_today), str(key.calls)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.rjust(width) if number > 2 else cell.ljust(width)
                 for number, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        print("  ".join(cells))


def keys_revoke(cfg: Config) -> None:
    """Revokes an API key: running services refuse it from the next request on.

    asr serve keys revoke NAME [keys=serve.db]
    """
    name = _name(cfg)
    with _records(cfg, must_exist=True) as store:
        from asr.serve.keys import Keys

        Keys(store).revoke(name)
    print(f"revoked {name}")


def feedback_export(cfg: Config) -> None:
    """Writes the corrections that callers sent as a manifest, with the sound that was kept.

    asr serve feedback export output=exp/feedback.jsonl [keys=serve.db]

    The sound goes to the folder exp/feedback. `asr data check` checks the manifest, `asr train` trains on it. The text
    that was answered is in the field `answered`. Corrections without sound (serve.keep_audio=false) are counted.
    """
    path = Path(needed_output(cfg, "the manifest"))
    with _records(cfg, must_exist=True) as store:
        from asr.serve.feedback import export

        written, silent = export(store, path)
    print(f"{written} corrections -> {path}" + (f"; {silent} without sound are left out" if silent else ""))


def _name(cfg: Config) -> str:
    if len(cfg.input) != 1:
        raise InputError(f"expected exactly one name of a key; {len(cfg.input)} were given")
    return cfg.input[0]


def _records(cfg: Config, must_exist: bool = False) -> "AbstractContextManager[Store]":
    """The database of the service. Raises InputError if it fails, or if it is missing and must exist."""
    with needed("serve", "asr serve"):
        from asr.database import closing
        from asr.serve.store import Store
    place = cfg.serve.keys
    if must_exist and "://" not in place and not Path(place).exists():
        raise InputError(f"there is no database {place}; name it with keys=FILE, or make one with `asr serve keys add`")
    return closing(Store(place))


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
