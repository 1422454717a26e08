"""Steps whose loss or gradient is not finite: they change no parameter, and their utterances are named.

One such step may be the fault of a recording. Many in a row mean that the parameters are lost.
"""

from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr.errors import InputError
from asr.files import atomic_write
from asr.training.shards import ShardResult

SKIPPED = "skipped.txt"  # step<TAB>id<TAB>reason of each utterance
MOST_IN_A_ROW = 10
SHOWN_IDS = 3


def without_faults(folder: Path, state: dict[str, Any], results: list[ShardResult]) -> list[ShardResult]:
    """The results of a step, or none if one of them is faulty; then the step is reported and listed in `folder`.

    `state` counts the steps that were skipped in a row. Raises InputError if they are too many.
    """
    faulty = [result for result in results if result.fault]
    state["skipped"] = state["skipped"] + 1 if faulty else 0
    if not faulty:
        return results
    found = [(id, result.fault or "") for result in faulty for id in result.suspects]
    listed = folder / SKIPPED
    _list(listed, state["step"], found)
    ids = [id for id, _ in found]
    some = f"{', '.join(ids[:SHOWN_IDS])}, ... (all in {listed})" if len(ids) > SHOWN_IDS else ", ".join(ids)
    told = f"{faulty[0].fault}, over {len(ids)} utterances: {some}"
    if state["skipped"] >= MOST_IN_A_ROW:
        raise InputError(f"training diverged: {MOST_IN_A_ROW} steps in a row were skipped; at step {state['step']} "
                         f"{told}; lower optim.lr in another folder with out=, or check these utterances")  # fmt: skip
    tqdm.write(f"skipped step {state['step']}: {told}")
    return []


def _list(path: Path, step: int, found: list[tuple[str, str]]) -> None:
    """Add a step's utterances to the list, in the place of those of an earlier run of this step."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    lines = [line for line in lines if not line.startswith(f"{step}\t")]
    with atomic_write(path) as file:
        file.writelines(f"{line}\n" for line in [*lines, *(f"{step}\t{id}\t{reason}" for id, reason in found)])
