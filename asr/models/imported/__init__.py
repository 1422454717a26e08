"""Other people's CTC models: their files in, models and tokens of ours out. One module per family.

    hugging_face    `*ForCTC` folders of transformers
    outputs         which outputs become tokens, under which names

Nothing is unpickled and no code of a model is run.
"""

from pathlib import Path

from asr.errors import InputError
from asr.models.imported import hugging_face
from asr.models.imported.imported import Imported

__all__ = ["Imported", "read_model"]


def read_model(source: str) -> Imported:
    """The model in the folder `source`, or of that name in Hugging Face's hub.

    Raises InputError if there is none, if it is of an unknown kind, or if a file is missing or damaged.
    """
    if Path(source).is_file():
        raise InputError(f"{source}: expected the folder of a model, with its config.json")
    return hugging_face.read(source)
