"""Causal language models of Hugging Face's transformers (extra `pretrained`), such as GPT-2, as scorers of texts.

Weights are read from safetensors alone, and code of a model's folder is not run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from asr.errors import InputError, needed
from asr.features.encoders.hub import find_folder
from asr.features.encoders.json_files import read_json

BATCH = 16  # texts


class CausalScorer:
    """Thread-safe."""

    def __init__(self, source: str | Path):
        """`source`: a folder with config.json, a tokeniser and model.safetensors, or the name of a model in the hub.

        Raises InputError for a folder that lacks them, and for a tokeniser that marks neither the beginning nor the end
        of a text.
        """
        with needed("pretrained", f"the language model {source}"):
            import transformers
        folder = find_folder(str(source), None)
        read_json(folder / "config.json")
        if not list(folder.glob("*.safetensors")):
            raise InputError(
                f"{folder} has no weights in safetensors; convert them with save_pretrained of transformers"
            )
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
            )
        except Exception as e:  # transformers raises errors of many kinds for files that do not fit each other
            raise InputError(f"{folder} is not a causal language model of transformers ({e!s:.200})") from e
        model, report = loaded
        if lacking := sorted(report["missing_keys"]):
            raise InputError(f"{folder}: the weights lack {lacking[0]}; copy or download the folder again")
        self._model = model.eval()
        begin, end = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if begin is None and end is None:
            raise InputError(f"{folder}: its tokeniser has neither bos_token nor eos_token, so texts have no beginning")
        self._begin, self._end = begin if begin is not None else end, end
        self._most = getattr(model.config, "max_position_embeddings", None)
        self._folder = folder

    def costs(self, texts: Sequence[str]) -> list[float]:
        """The cost of each text, and of its end if the tokeniser has one, in nats.

        Raises InputError for a text that is longer than the model can read.
        """
        found: dict[str, float] = {}
        ordered = sorted({text: self._encoded(text) for text in texts}.items(), key=lambda item: len(item[1]))
        for at in range(0, len(ordered), BATCH):
            part = ordered[at : at + BATCH]
            found.update(zip([text for text, _ in part], self._costs([ids for _, ids in part]), strict=True))
        return [found[text] for text in texts]

    def _encoded(self, text: str) -> list[int]:
        ids = [self._begin, *self._tokenizer.encode(text, add_special_tokens=False)]
        ids += [] if self._end is None else [self._end]
        if self._most is not None and len(ids) > self._most:
            raise InputError(f"a text of {len(ids)} tokens is longer than {self._folder} can read, {self._most}; "
                             "rescore shorter recordings, or use another model")  # fmt: skip
        return ids

    @torch.inference_mode()
    def _costs(self, rows: Sequence[Sequence[int]]) -> list[float]:
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])  # (N, T)
        is_token = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        log_probs = self._model(ids, attention_mask=is_token.long()).logits[:, :-1].log_softmax(2)  # (N, T - 1, V)
        chosen = log_probs.gather(2, ids[:, 1:, None])[..., 0].double()
        costs = -(chosen * is_token[:, 1:]).sum(1)
        if not torch.isfinite(costs).all():
            raise InputError(f"{self._folder} gives costs that are not finite; its weights are damaged")
        return costs.tolist()
