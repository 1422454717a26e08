"""Options of the augmentation of training data; a part of `asr.config`.

A `..._share` is the fraction of the training utterances that get a change, drawn anew in each epoch; 0 never does. Two
numbers are the ends of the range from which its strength is drawn.
"""

from dataclasses import dataclass

from asr.declaration import Options, option

SHARES = ("room_share", "noise_share", "filter_share", "clip_share", "band_share", "codec_share")


@dataclass
class AugmentConfig(Options):
    speeds: list[float] = option(
        [0.9, 1.0, 1.1], "speed factors, one drawn per utterance and epoch; [] for none", within="[0.1, 10]"
    )
    silence_s: float = option(
        3.0, "longest silence or noise added before, behind and in a pause; 0 adds none", within="[0, 3600]"
    )
    gain_db: list[float] = option(
        [-30.0, 12.0], "lowest and highest change of level in dB; [] changes none", within="[-100, 100]"
    )
    room_share: float = option(0.0, "share of the utterances that get the echo of a room", within="[0, 1]")
    room_rt60_s: list[float] = option(
        [0.15, 0.8], "shortest and longest reverberation time (60 dB) of drawn rooms", within="[0.05, 10]"
    )
    room_files: str | None = option(
        None, "folder or manifest of impulse responses of rooms; null: rooms are drawn and simulated"
    )
    noise_share: float = option(0.0, "share of the utterances that get noise", within="[0, 1]")
    noise_db: list[float] = option(
        [0.0, 25.0], "lowest and highest level of the speech above the noise (SNR) in dB", within="[-100, 100]"
    )
    noises: list[str] = option(
        ["coloured", "babble", "hum"], "kinds of noise: coloured, babble (other training utterances), hum (mains)"
    )
    noise_files: str | None = option(None, "folder or manifest of recorded noise, which is one more kind of noise")
    filter_share: float = option(
        0.0, "share of the utterances with another frequency response, as of another microphone", within="[0, 1]"
    )
    filter_db: list[float] = option([3.0, 12.0], "lowest and highest peak of such a response in dB", within="[0, 100]")
    clip_share: float = option(0.0, "share of the utterances that are clipped", within="[0, 1]")
    clip_db: list[float] = option(
        [3.0, 15.0], "least and most that clipping cuts off the peak in dB", within="[0, 100]"
    )
    band_share: float = option(0.0, "share of the utterances limited to a telephone's band", within="[0, 1]")
    band_hz: list[float] = option(
        [300.0, 3400.0], "lower and upper edge of that band; each is drawn within a fifth of it", within="[1, 192000]"
    )
    codec_share: float = option(0.0, "share of the utterances that a codec encodes and decodes", within="[0, 1]")
    codecs: list[str] = option(
        ["mulaw", "gsm", "opus", "mp3"], "codecs, one drawn per utterance: mulaw, alaw, gsm, opus, mp3"
    )
    bin_warp: float = option(
        0.0, "largest relative stretch of an utterance's frequency bins (vocal tract length)", within="[0, 1)"
    )
    freq_masks: int = option(2, "SpecAugment: number of masks along frequency", within="[0, 1000]")
    freq_width: int = option(15, "SpecAugment: widest mask along frequency, in bins", within="[0, 8192]")
    time_masks: int = option(2, "SpecAugment: number of masks along time", within="[0, 1000]")
    time_width_s: float = option(0.25, "SpecAugment: widest mask along time, in seconds", within="[0, 3600]")
    time_fraction: float = option(
        0.2, "SpecAugment: largest fraction of an utterance that all time masks cover", within="[0, 1]"
    )
