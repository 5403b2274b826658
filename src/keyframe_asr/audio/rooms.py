"""Reverberation with recorded impulse responses, or with rooms simulated by the image method.

Image method (Allen and Berkley, 1979): a box of random size contains a speaker and a microphone at
random positions. All walls have the same reflection coefficient at all frequencies, derived from
the decay time by Eyring's formula. Every reflection is a straight path from a mirror image of the
speaker; a longer path arrives later, and is attenuated by its length and by each wall it meets.

Deviations: a path arrives at the nearest sample; responses begin with the direct path, so that the
timing of the speech does not change; and frequencies below 80 Hz are filtered out of the sum of
positive pulses, as a loudspeaker and a microphone would do. lhotse has a faster approximation
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
"""Smallest distance in metres of speaker and microphone from a wall."""

_HIGH_PASS = signal.butter(2, 80.0, "highpass", fs=SAMPLE_RATE, output="sos")
_EYRING = 0.161
"""Seconds per metre: 24 ln 10 over the speed of sound."""


def simulate_room(decay_seconds: float, generator: np.random.Generator) -> Samples:
    """Simulate the impulse response (R,) at 16 kHz of a random room.

    The first sample is the direct path and has the value 1.

    Args:
        decay_seconds: time in which sound decays by 60 dB, and the length of the response. Eyring
            assumes a diffuse field; in a box the decay is up to a third longer.
        generator: draws the size of the room and the positions in it.
    """
    size = generator.uniform(SMALLEST_ROOM, LARGEST_ROOM)
    speaker, microphone = generator.uniform(WALL_DISTANCE, size - WALL_DISTANCE, (2, 3))
    direct = float(np.linalg.norm(speaker - microphone))
    walls = 2 * (size[0] * size[1] + size[1] * size[2] + size[2] * size[0])
    # Eyring's formula is for energy; this is for pressure, hence the factor 1/2
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
    """Read a recorded impulse response; returns (R,) at 16 kHz with energy 1.

    Uses the first channel, because the mean of several is not the response of any position. The
    strongest sample is taken as the direct path; what precedes it is cut off.

    Raises:
        AudioError: the recording cannot be read, or is silent.
    """
    samples, rate = read_channels(path)
    response = samples[:, 0].astype(np.float64)
    if not response.any():
        raise AudioError(f"{path}: silent, not an impulse response; remove it from the folder")
    if rate != SAMPLE_RATE:
        response = soxr.resample(response, rate, SAMPLE_RATE)
    response = response[np.abs(response).argmax() :]
    normalised: Samples = (response / np.sqrt(np.square(response).sum())).astype(np.float32)
    return normalised


def reverberate(samples: Samples, response: Samples) -> Samples:
    """Convolve samples (S,) with an impulse response.

    Returns:
        (S,) with the same mean power as the input; reverberation after its end is cut off.
    """
    if not samples.size:
        return samples
    dry = samples.astype(np.float64)
    wet = signal.fftconvolve(dry, response)[: dry.size]
    if (power := np.mean(wet**2)) > 0:
        wet *= np.sqrt(np.mean(dry**2) / power)
    same_power: Samples = wet.astype(np.float32)
    return same_power


def _images(
    length: float, difference: float, total: float, reach: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Image sources along one axis: signed distances from the microphone, and wall reflections.

    An image lies a whole multiple of twice the length from the speaker, or from its mirror image in
    the wall at 0.

    Args:
        length: length of the room along this axis.
        difference: position of the speaker minus position of the microphone.
        total: sum of the two positions.
        reach: images farther away than this may be left out.
    """
    farthest = int(reach / (2 * length)) + 1
    steps = np.arange(-farthest, farthest + 1, dtype=np.float64)
    places = np.concatenate((difference + 2 * length * steps, 2 * length * steps - total))
    return places, np.concatenate((np.abs(2 * steps), np.abs(2 * steps - 1)))


def _outer_sum(axes: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Outer sum of three arrays."""
    x, y, z = axes
    result: npt.NDArray[np.float64] = x[:, None, None] + y[None, :, None] + z[None, None, :]
    return result
