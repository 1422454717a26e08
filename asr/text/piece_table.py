"""Pieces of words learned from texts, by byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909)."""

import io
from collections.abc import Sequence

from asr.errors import InputError, missing
from asr.pieces import BEGIN


def learn(texts: Sequence[str], size: int) -> list[str]:
    """At most `size` pieces, in the order in which SentencePiece learns them, then the characters.

    `▁` begins a word. Every character of the texts is a piece, so that each of their words can be spelled. Raises
    InputError if there are more than `size` of them.
    """
    try:
        from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
    except ImportError as e:
        raise InputError(missing("korean", "tokens.unit=piece without tokens.table", "sentencepiece")) from e
    # To SentencePiece only " " is white space, and `▁` in a text is the same as " ".
    texts = [" ".join(word for word in text.split() if BEGIN not in word) for text in texts]
    characters = {c for text in texts for c in text if c != " "}
    if size < len(characters) + 1:
        raise InputError(f"tokens.size={size} pieces cannot spell a text with {len(characters)} different characters; "
                         f"set at least tokens.size={len(characters) + 1}")  # fmt: skip
    file = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=file, model_type="bpe", vocab_size=size + 1,  # one is <unk>
        hard_vocab_limit=False, character_coverage=1.0, normalization_rule_name="identity", bos_id=-1, eos_id=-1,
        max_sentence_length=1 << 20, num_threads=1, minloglevel=2,
    )  # fmt: skip
    model = SentencePieceProcessor(model_proto=file.getvalue())
    return [model.id_to_piece(i) for i in range(model.get_piece_size()) if not model.is_unknown(i)]
