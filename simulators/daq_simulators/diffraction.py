"""Diffraction patterns of a probe that is scanned over a glass that moves: electrons per cell."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import scipy.fft

from daq_simulators.glass_object import GlassObject, interpolated
from daq_simulators.probe import SUB_POSITIONS, Probe

Floats = npt.NDArray[np.float64]

MARGIN = 2
"""Rows of the object above and below the probe that are kept: drift moves it within a row."""


class Diffraction:
    """I(Q) = h(Q) [w |F(Q)|^2 + (1 - w) t] + d(Q) (1 - s t), in electrons per cell.

    F is the Fourier transform of probe times object, w the coherent weight, t the thickness over
    the reference thickness, both averaged over the probe; the mean of |F|^2 is t, and the direct
    beam d loses what is scattered.

    Parameters
    ----------
    probe, specimen
        Who looks at what.
    centre
        Cell [y, x] of the direct beam, with its fractions.
    halo, direct
        h and d in electrons per cell, float32 [y, x].
    thickness
        The reference thickness in nm.
    scattered
        s, the part of the beam scattered at the reference thickness.
    """

    def __init__(
        self,
        probe: Probe,
        specimen: GlassObject,
        centre: tuple[float, float],
        halo: npt.NDArray[np.float32],
        direct: npt.NDArray[np.float32],
        thickness: float,
        scattered: float,
    ) -> None:
        self._probes = probe.table()
        self._middle = probe.middle
        self._specimen = specimen
        self._halo, self._direct = halo, direct
        self._thickness, self._scattered = thickness, scattered
        # the origin of the discrete transform is moved to the direct beam
        y, x = (
            np.exp(2j * np.pi * cell * np.arange(length) / probe.size)
            for cell, length in zip(centre, specimen.shape, strict=True)
        )
        self._y_turn, self._x_turn = y, x
        self._window = np.empty((probe.size, probe.size), np.complex64)
        self._intensity = np.empty((probe.size, probe.size), np.float32)
        self._size = probe.size
        self._material_time = np.nan
        self._first_row = 0
        self._wave = np.empty((0, 0), np.complex64)

    def intensity(
        self, material_time: float, y: float, x: float, w_change: float = 0.0
    ) -> npt.NDArray[np.float32]:
        """Return the mean numbers of electrons [cell y, cell x], valid until the next call.

        The probe stands at (y, x) nm of the scan; ``w_change`` is added to the coherent weight.
        """
        pixel_y, pixel_x = self._specimen.pixel_of(y, x)
        top, down = divmod(round(float(pixel_y) * SUB_POSITIONS), SUB_POSITIONS)
        left, across = divmod(round(float(pixel_x) * SUB_POSITIONS), SUB_POSITIONS)
        w = float(interpolated(self._specimen.local_w, pixel_y, pixel_x)) + w_change
        thickness = float(interpolated(self._specimen.local_thickness, pixel_y, pixel_x))
        row = self._show(material_time, top - self._middle)
        _illuminate(
            self._wave, self._probes[down, across], row, left - self._middle, self._window
        )  # fmt: skip
        field = scipy.fft.fft2(self._window)
        share = thickness / self._thickness
        _square(
            field, self._halo, self._direct, np.float32(min(1.0, max(0.0, w))), np.float32(share),
            np.float32(max(0.0, 1.0 - self._scattered * share)), self._intensity,
        )  # fmt: skip
        return self._intensity

    def _show(self, material_time: float, top: int) -> int:
        """Have the wave of the rows under the probe at that time; return where ``top`` is in it."""
        row = top - self._first_row
        known = 0 <= row <= len(self._wave) - self._size
        if material_time != self._material_time or not known:
            first = max(0, top - MARGIN)
            rows = slice(first, min(self._specimen.shape[0], top + self._size + MARGIN))
            wave = self._specimen.wave(material_time, rows)
            wave *= self._y_turn[rows, None]
            wave *= self._x_turn[None, :]
            self._wave = wave.astype(np.complex64)
            self._material_time, self._first_row = material_time, first
        return top - self._first_row


@numba.njit(cache=True, nogil=True)
def _illuminate(wave, probe, top, left, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = wave[top + y, left + x] * probe[y, x]


@numba.njit(cache=True, nogil=True)
def _square(field, halo, direct, w, thickness, passed, out):  # type: ignore[no-untyped-def]
    rest = (np.float32(1.0) - w) * thickness
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            value = field[y, x]
            square = value.real * value.real + value.imag * value.imag
            out[y, x] = halo[y, x] * (w * square + rest) + direct[y, x] * passed
