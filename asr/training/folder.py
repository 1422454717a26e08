"""The run folder of a training before it begins: it may hold nothing else, and gets what belongs to the net."""

from pathlib import Path

from tqdm import tqdm

from asr.config import Config
from asr.data.extract import record_path
from asr.data.sets import SET_ASIDE
from asr.errors import InputError
from asr.features import recorded
from asr.files import atomic_write, keep_inputs, refuse_foreign
from asr.states import HMM_FILE
from asr.training.checkpoint import PREVIOUS, STATE
from asr.training.criteria import are_of_hmms, hmm_text
from asr.training.settings import inputs_of
from asr.training.skips import SKIPPED
from asr.training.start import ENCODER as OWN_ENCODER

WRITTEN = (  # besides the token table, which may be that of an earlier start
    "config.json", "inputs.json", SET_ASIDE, "frontend.json", HMM_FILE, STATE, PREVIOUS, "log.jsonl", "curves.png",
    SKIPPED, "final.safetensors", recorded.ENCODER,
)  # fmt: skip
TENSORS = ("final.safetensors", "resume-*.safetensors", "checkpoints")
STARTED = (STATE, PREVIOUS, *TENSORS)  # written after config.json
OWN_FILES = (*WRITTEN, *TENSORS, OWN_ENCODER, "tokens.txt", "tensorboard")


def record_front_end(cfg: Config, folder: Path) -> None:
    """Note which front end made the stored features, so that a bundle can put it in front of the net."""
    front_end = recorded.read(record_path(cfg.data.train)) if cfg.features.kind == "stored" else None
    if front_end is None:
        return
    recorded.behind(front_end, cfg.features)
    recorded.record(front_end, folder / "frontend.json")
    if front_end.kind == "pretrained":
        encoder = record_path(cfg.data.train).with_name(recorded.ENCODER)
        with atomic_write(folder / recorded.ENCODER) as file:
            file.write(encoder.read_text(encoding="utf-8"))


def record_hmm(cfg: Config, folder: Path, outputs: str) -> None:
    """Keep the HMMs whose states the net scores, for `asr graph`. `outputs`: see `outputs_of`."""
    if are_of_hmms(cfg):
        with atomic_write(folder / HMM_FILE) as file:
            file.write(hmm_text(cfg, outputs))


def check_folder(cfg: Config, folder: Path) -> None:
    """Raises InputError if the folder holds files that a training would overwrite: inputs, files of others, or a
    training without the config.json that describes it. Forgets the recordings of a start that failed before."""
    is_new = not (folder / "config.json").exists()
    if is_new:
        refuse_foreign(folder, OWN_FILES, "asr train")
    keep_inputs((folder / name for name in WRITTEN), inputs_of(cfg))
    if is_new and (kept := next((path.name for name in STARTED for path in folder.glob(name)), None)):
        raise InputError(f"{folder} holds {kept} of a training, but no config.json with its options; restore "
                         f"that, choose another folder with out=, or delete {folder}")  # fmt: skip
    if is_new:
        (folder / "inputs.json").unlink(missing_ok=True)


def check_streams(cfg: Config) -> None:
    """Warns if the net is one for streams and the features are not."""
    model, cmvn = cfg.model, cfg.features.cmvn
    is_for_streams = model.lookahead is not None or not model.bidirectional or model.chunk
    if is_for_streams and cmvn in ("speech", "utterance"):
        tqdm.write(f"the net is one for streams, but features.cmvn={cmvn} needs whole utterances; "
                   "for streams set features.cmvn=causal")  # fmt: skip
