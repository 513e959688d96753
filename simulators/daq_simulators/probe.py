"""The electron probe of a round aperture: its amplitude over the object, and what it resolves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SUB_POSITIONS = 8
"""The probe stands at multiples of 1 / this of a pixel of the object."""


class Probe:
    """Amplitude P(x) of a probe, the Fourier transform of a round aperture; sum of P^2 is 1.

    It lives on ``size`` x ``size`` pixels of ``pixel`` nm and on ``size`` x ``size`` cells of
    ``cell`` = 1 / (size * pixel) 1/nm. The tails of the Airy pattern wrap round instead of being
    cut: cut tails would widen the speckles.

    Parameters
    ----------
    aperture
        Radius (semi-angle) in 1/nm.
    cell
        Size of a cell of the diffraction pattern in 1/nm.
    size
        Cells along one side.
    """

    def __init__(self, aperture: float, cell: float, size: int) -> None:
        self.aperture, self.cell, self.size = aperture, cell, size
        self.pixel = 1.0 / (size * cell)
        frequency = np.fft.fftfreq(size, 1.0 / size)
        square = (frequency * cell) ** 2
        # sharp: an edge softened over a cell would cut the tails that the small speckles come from
        inside = square[:, None] + square[None, :] < aperture**2
        self._aperture = inside / np.sqrt(inside.sum())
        self._frequency = frequency
        self.middle = size // 2
        """Pixel at which the probe stands when it is not displaced."""

    def amplitude(self, down: float = 0.0, across: float = 0.0) -> Floats:
        """Return P [y, x], displaced by parts of a pixel from the middle."""
        turn = -2j * np.pi * self._frequency / self.size
        y = np.exp(turn * (self.middle + down))[:, None]
        x = np.exp(turn * (self.middle + across))[None, :]
        return np.asarray(np.fft.ifft2(self._aperture * y * x).real * self.size)

    def table(self) -> npt.NDArray[np.float32]:
        """Return the amplitudes at all sub-positions: float32 [down, across, y, x]."""
        parts = np.arange(SUB_POSITIONS) / SUB_POSITIONS
        return np.array([[self.amplitude(d, a) for a in parts] for d in parts], np.float32)

    def overlap(self, distance: float) -> float:
        """Return the intensity correlation |gamma|^2 of two positions ``distance`` nm apart."""
        turn = np.exp(2j * np.pi * self._frequency * self.cell * distance)
        return float(np.abs((self._aperture**2 * turn[None, :]).sum()) ** 2)

    def speckle(self) -> Floats:
        """Return |mu|^2, the correlation of intensities at two cells of one pattern.

        [y, x] is the distance of the cells, negative ones at the end as in a Fourier transform.
        """
        return np.asarray(np.abs(np.fft.fft2(self.amplitude() ** 2)) ** 2)

    def smoothed(self, values: Floats) -> Floats:
        """Return ``values`` [y, x] on the object's pixels, averaged with the weight P^2.

        The borders, half a probe wide, are averaged with the opposite ones.
        """
        weight = np.zeros(values.shape)
        weight[: self.size, : self.size] = self.amplitude() ** 2
        weight = np.roll(weight, (-self.middle, -self.middle), axis=(0, 1))
        spectrum = np.fft.rfft2(values) * np.fft.rfft2(weight)
        return np.asarray(np.fft.irfft2(spectrum, s=values.shape))
