"""The verbs of the service: see asr/cli/verbs.py."""

from pathlib import Path

from asr.config import Config
from asr.errors import InputError


def serve(cfg: Config) -> None:
    """Serves a recogniser over HTTP and WebSockets.

    asr serve [MODEL.asr] [host=127.0.0.1] [port=8080] [modes=dictation,word,web=FILE] [serve=public]

    By default only this machine can connect, and no key is needed. `serve=public` listens on all addresses and requires
    keys, which `asr serve keys` manages. The modes share the acoustic model of MODEL; `web=FILE` gives a mode a graph
    folder, an n-gram model (*.ngram) or a whole bundle of its own. The calls are listed at /docs of the address.
    SIGTERM and Ctrl-C let the service finish the requests that it has accepted.
    """
    try:
        from asr.serve.process import serve
    except ModuleNotFoundError as e:
        raise InputError(f"asr serve needs {e.name}; install the extra: pip install 'asr-toolkit[serve]'") from None
    if not Path(cfg.bundle).exists():
        raise InputError(f"there is no recogniser {cfg.bundle}; name a bundle (*.asr) or a run folder with a trained "
                         "model: asr serve exp/my/model.asr")  # fmt: skip
    serve(cfg)
