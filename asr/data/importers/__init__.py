"""Importing corpora in the formats of other toolkits as utterances.

    kaldi         data folder: wav.scp or feats.scp; optional segments, text, utt2spk, ...
    lhotse        manifest of cuts, or of recordings and supervisions: one utterance per supervision
    nemo          JSON lines with audio_filepath, text, duration, offset
    wenet         JSON lines with key, wav, txt
    common_voice  TSV with path and sentence next to clips/, or audio_file and transcription next to audios/
    table         CSV, TSV or JSON lines with named columns, such as metadata.csv of a Hugging Face audio folder
    ljspeech      id|text|text as spoken, without a header
    folder        recordings, each with a text file of the same name, at any depth
    transcripts   recordings with lists of transcripts: LibriSpeech, MLS, AISHELL
    sphinx        NAME.fileids and NAME.transcription
    stm           NIST segment time marks

Each column, field and file of these formats is used, kept as an extra field, or named once as not used.
A relative path is resolved against the folder of the corpus first, then, as in Kaldi, against the working directory.
"""

from asr.data.importers.corpus import READERS, detect, import_corpus

__all__ = ["READERS", "detect", "import_corpus"]
