"""Reverberation in recorded rooms, and in rooms simulated by the image method.

The image method (Allen and Berkley, 1979): a box of random size with a speaker and a microphone
somewhere in it; the walls reflect alike at all frequencies, and as much as Eyring's formula asks
for the decay time. Every reflection is a straight path from a mirror image of the speaker, which
arrives later by its longer way, softer by the way and by the walls that it met.

Deviations: a path arrives at the nearest sample; responses begin with the direct path, so that what
is said stays where it was in time; and the sum of all these positive pulses is freed from what lies
below 80 Hz, as no loudspeaker or microphone would pass it on. lhotse has a faster approximation
(arXiv 2208.04101), which needs torchaudio.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
from scipy import signal

from keyframe_asr.audio.reading import Samples, read_channels
from keyframe_asr.errors import AudioError
from keyframe_asr.timing import SAMPLE_RATE

METRES_PER_SECOND = 343.0
SMALLEST_ROOM = (3.0, 3.0, 2.5)
LARGEST_ROOM = (10.0, 8.0, 4.0)
"""Length, width and height in metres."""

WALL_DISTANCE = 0.5
"""Metres that speaker and microphone keep from every wall."""

_HIGH_PASS = signal.butter(2, 80.0, "highpass", fs=SAMPLE_RATE, output="sos")
_EYRING = 0.161
"""Seconds a metre: 24 ln 10 over the speed of sound."""


def simulate_room(decay_seconds: float, generator: np.random.Generator) -> Samples:
    """Impulse response (R,) at 16 kHz of a random room, the direct path its first sample, of 1.

    Args:
        decay_seconds: time in which sound decays by 60 dB, and the end of the response. Eyring
            takes for granted that sound comes from everywhere; in a box it lingers up to a third
            longer.
        generator: where the room's size and the places in it are drawn from.
    """
    size = generator.uniform(SMALLEST_ROOM, LARGEST_ROOM)
    speaker, microphone = generator.uniform(WALL_DISTANCE, size - WALL_DISTANCE, (2, 3))
    direct = float(np.linalg.norm(speaker - microphone))
    walls = 2 * (size[0] * size[1] + size[1] * size[2] + size[2] * size[0])
    # of pressure, so half of what Eyring's formula says of energy
    log_reflection = -_EYRING * float(size.prod()) / (2 * walls * decay_seconds)

    reach = direct + decay_seconds * METRES_PER_SECOND
    places, reflections = zip(
        *(
            _images(*axis, reach)
            for axis in zip(size, speaker - microphone, speaker + microphone, strict=True)
        ),
        strict=True,
    )
    squared = _outer_sum([place**2 for place in places])
    met = _outer_sum(list(reflections))
    near = squared < reach**2
    distance = np.sqrt(squared[near])
    strength = direct / distance * np.exp(log_reflection * met[near])
    arrival = np.rint((distance - direct) / METRES_PER_SECOND * SAMPLE_RATE).astype(np.int64)
    response = signal.sosfilt(_HIGH_PASS, np.bincount(arrival, strength))
    normalised: Samples = (response / response[0]).astype(np.float32)
    return normalised


def read_response(path: Path) -> Samples:
    """Impulse response (R,) at 16 kHz of a recording of one, the direct path its first sample.

    Of several channels it is the first: their mean would be heard nowhere. The direct path is taken
    to be the strongest sample; what comes before it is left out. The energy is 1.

    Raises:
        AudioError: the recording cannot be read, or is silent.
    """
    samples, rate = read_channels(path)
    response = samples[:, 0].astype(np.float64)
    if not response.any():
        raise AudioError(f"{path}: is silent, so no impulse response; take it out of the folder")
    if rate != SAMPLE_RATE:
        response = soxr.resample(response, rate, SAMPLE_RATE)
    response = response[np.abs(response).argmax() :]
    normalised: Samples = (response / np.sqrt(np.square(response).sum())).astype(np.float32)
    return normalised


def reverberate(samples: Samples, response: Samples) -> Samples:
    """Samples (S,) as heard in a room, (S,) of the same mean power; what lingers on is cut off."""
    if not samples.size:
        return samples
    dry = samples.astype(np.float64)
    heard = signal.fftconvolve(dry, response)[: dry.size]
    if (power := np.mean(heard**2)) > 0:
        heard *= np.sqrt(np.mean(dry**2) / power)
    same_power: Samples = heard.astype(np.float32)
    return same_power


def _images(
    length: float, difference: float, total: float, reach: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Along one axis: distances of the images from the microphone, and how many walls each met.

    An image lies a whole number of double lengths from the speaker, or from its mirror image in the
    wall at 0.

    Args:
        length: of the room.
        difference: place of the speaker minus that of the microphone.
        total: sum of the two.
        reach: images farther than this may be left out.
    """
    farthest = int(reach / (2 * length)) + 1
    steps = np.arange(-farthest, farthest + 1, dtype=np.float64)
    places = np.concatenate((difference + 2 * length * steps, 2 * length * steps - total))
    return places, np.concatenate((np.abs(2 * steps), np.abs(2 * steps - 1)))


def _outer_sum(axes: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Sum of every choice of one number from each of three lists."""
    x, y, z = axes
    result: npt.NDArray[np.float64] = x[:, None, None] + y[None, :, None] + z[None, None, :]
    return result
