"""The specimen: an edge, a wedge, and a glass whose atoms move at a pace that varies with place."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import numpy.typing as npt

from daq_simulators.kww_process import KwwProcess
from daq_simulators.probe import Probe

Floats = npt.NDArray[np.float64]

LARGEST = 1 << 21
"""Pixels of an object, at most: 64 bytes each for its oscillators."""


def smooth_field(draw: np.random.Generator, shape: tuple[int, ...], length: float) -> Floats:
    """Return a Gaussian random field of mean 0 and variance 1 with correlation exp(-(d/length)^2).

    ``length`` in pixels, over which the correlation falls to 1/e; 0 gives white noise.
    """
    # the field is periodic: room enough that opposite borders do not know of each other
    padded = [size + math.ceil(3 * length) for size in shape]
    noise = draw.standard_normal(padded)
    square = np.zeros(())
    for size in padded:
        square = np.add.outer(square, np.fft.fftfreq(size) ** 2)
    response = np.exp(-0.5 * (np.pi * length) ** 2 * square)
    response /= np.sqrt(np.mean(response**2))
    field = np.fft.ifftn(np.fft.fftn(noise) * response).real
    return np.asarray(field[tuple(slice(size) for size in shape)])


@dataclasses.dataclass(frozen=True)
class Wedge:
    """Thickness of the specimen in nm: nothing, an edge, a steep rise, then a gentle one.

    Coordinates are those of the scan without drift, in nm; ``width`` is that of the scan. It rises
    from the edge to the middle, from there on with ``gradient``, and is ``thickness`` in the
    middle of the right half. The edge stands at the part ``edge`` of the width (0: no edge, the
    gentle part everywhere), and is displaced along its length by ``roughness`` nm rms.
    """

    thickness: float
    gradient: float
    edge: float
    roughness: float
    width: float

    def at(self, x: Floats, displaced: Floats) -> Floats:
        """Return the thickness [y, x] for columns ``x`` and an edge displaced row by row."""
        gentle = self.thickness + self.gradient * (x - 0.75 * self.width)
        if not self.edge:
            return np.maximum(0, np.broadcast_to(gentle, (len(displaced), len(x))))
        middle, foot = self.width / 2, self.edge * self.width
        top = self.thickness - self.gradient * self.width / 4
        distance = x[None, :] - foot - displaced[:, None]
        steep = top * distance / (middle - foot)
        return np.maximum(0, np.minimum(steep, gentle[None, :]))


@dataclasses.dataclass(frozen=True)
class Glass:
    """What varies within the glass, at the scale of the probe and over the positions scanned.

    ``median_tau`` s and ``ln_tau_sd`` of the relaxation time, ``gamma`` and ``gamma_sd`` of its
    exponent, ``w`` and ``w_sd`` of the coherent weight; the fields of tau, gamma and w vary over
    ``length`` nm; ``coupling`` is Pearson's correlation of ln tau and w. Means, spreads and
    coupling hold exactly for the positions scanned that are not vacuum.
    """

    median_tau: float
    ln_tau_sd: float
    gamma: float
    gamma_sd: float
    w: float
    w_sd: float
    length: float
    coupling: float


class GlassObject:
    """An object wide enough for a scan, drift and probe; row and column are pixels of the probe.

    Parameters
    ----------
    seed
        Of everything here.
    probe
        Its pixels are those of the object.
    positions
        Probe positions in nm, scan without drift: (y of the rows, x of the columns).
    reach
        How far drift carries the probe: ((lowest y, highest y), (lowest x, highest x)) in nm.
    glass, wedge
        What it is made of.
    pairing
        See `KwwProcess`.

    Raises
    ------
    ValueError
        If it would be too large.
    """

    def __init__(
        self,
        seed: np.random.SeedSequence,
        probe: Probe,
        positions: tuple[Floats, Floats],
        reach: tuple[tuple[float, float], tuple[float, float]],
        glass: Glass,
        wedge: Wedge,
        pairing: float = 0.0,
    ) -> None:
        self._probe, self._positions, self._glass = probe, positions, glass
        self._origin = [p[0] + low for p, (low, _) in zip(positions, reach, strict=True)]
        height, width = (
            math.ceil((p[-1] - p[0] + high - low) / probe.pixel) + probe.size + 2
            for p, (low, high) in zip(positions, reach, strict=True)
        )
        if height * width > LARGEST:
            raise ValueError(
                f"an object of {height} x {width} pixels of {probe.pixel:.3f} nm is too large: "
                "make the scan smaller, or the drift slower"
            )
        self.shape = (height, width)
        edge, first, second, third, atoms = (np.random.default_rng(s) for s in seed.spawn(5))
        y = np.arange(height) * probe.pixel
        x = (np.arange(width) - probe.middle) * probe.pixel + self._origin[1]
        displaced = wedge.roughness * smooth_field(edge, (len(y),), 2.0 / probe.pixel)
        self._thickness = wedge.at(x, displaced)
        self.local_thickness = np.maximum(0, probe.smoothed(self._thickness))
        """Averaged over the probe, nm [y, x]; it stands where the probe's middle is."""

        length = glass.length / probe.pixel
        u, v, z = (smooth_field(draw, self.shape, length) for draw in (first, second, third))
        u, v = self._coupled(u, v)
        self._ln_tau = math.log(glass.median_tau) + glass.ln_tau_sd * u
        self._gamma = np.clip(glass.gamma + glass.gamma_sd * z, 0.3, 2.0)
        self.local_w = np.clip(probe.smoothed(glass.w + glass.w_sd * v), 0.0, 1.0)
        """The coherent weight, averaged over the probe [y, x]."""

        self._atoms = KwwProcess(atoms, np.exp(self._ln_tau), self._gamma, pairing=pairing)
        self._amplitude = np.sqrt(self._thickness / wedge.thickness)

    def pixel_of(self, y: npt.ArrayLike, x: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return where in the object, in pixels, a probe at (y, x) nm of the scan stands."""
        pixel, middle = self._probe.pixel, self._probe.middle
        return (
            (np.asarray(y) - self._origin[0]) / pixel + middle,
            (np.asarray(x) - self._origin[1]) / pixel + middle,
        )

    def wave(self, material_time: float, rows: slice = slice(None)) -> npt.NDArray[np.complex128]:
        """Return what the object does to the wave [y, x], at a material time in s.

        The mean square is the thickness over the reference thickness. ``rows`` are those of the
        object that are wanted.
        """
        return np.asarray(self._atoms.at(material_time, rows) * self._amplitude[rows])

    def at_positions(self, values: Floats) -> Floats:
        """Return ``values``, a map on the object's pixels, at the scan positions [row, column]."""
        y, x = self.pixel_of(self._positions[0][:, None], self._positions[1][None, :])
        return interpolated(values, y, x)

    @functools.cached_property
    def truth(self) -> dict[str, Floats]:
        """What is known, float64 [row, column]; NaN in the vacuum.

        ``tau``, s: where the correlation of the field, exactly that of the atoms under the
        probe, is 1/e. ``gamma``: the slope of its ln(-ln) there. ``ln_tau``: mean under the probe.
        ``w``: coherent weight. ``thickness``, nm.
        """
        thickness = self.at_positions(self.local_thickness)
        spread = 3.0 * self._glass.ln_tau_sd
        lags = np.exp(np.arange(-spread - 0.3, spread + 0.3, 0.1)) * self._glass.median_tau
        # the wave of thick places counts more
        weight = self.at_positions(self._probe.smoothed(self._thickness))
        tau = np.exp(self._ln_tau)
        stretched = []
        for lag in lags:
            kept = self._thickness * np.exp(-((lag / tau) ** self._gamma))
            with np.errstate(all="ignore"):
                share = self.at_positions(self._probe.smoothed(kept)) / weight
                stretched.append(np.log(-np.log(share)))
        found = np.array(stretched)
        at = np.clip((found < 0).sum(axis=0), 1, len(lags) - 1)[None]
        below = np.take_along_axis(found, at - 1, 0)[0]
        above = np.take_along_axis(found, at, 0)[0]
        step = np.log(lags[1] / lags[0])
        slope = (above - below) / step
        ln_tau = np.log(lags)[at[0] - 1] - below / slope
        maps = {
            "tau": np.exp(ln_tau),
            "gamma": slope,
            "ln_tau": self.at_positions(self._probe.smoothed(self._ln_tau)),
            "w": self.at_positions(self.local_w),
        }
        vacuum = thickness < _THINNEST
        return {
            **{name: np.where(vacuum, np.nan, values) for name, values in maps.items()},
            "thickness": thickness,
        }

    def _coupled(self, u: Floats, v: Floats) -> tuple[Floats, Floats]:
        """Return two fields with mean 0, variance 1 and the coupling, as the probe sees them."""
        coupling = self._glass.coupling
        glass = self.at_positions(self.local_thickness) >= _THINNEST
        seen_u, seen_v = (self.at_positions(self._probe.smoothed(f))[glass] for f in (u, v))
        if len(seen_u) >= 16:
            u, seen_u = (f - seen_u.mean() for f in (u, seen_u))
            v, seen_v = (f - seen_v.mean() for f in (v, seen_v))
            size = np.sqrt(np.mean(seen_u**2))
            u, seen_u = u / size, seen_u / size
            share = np.mean(seen_u * seen_v)
            v, seen_v = v - share * u, seen_v - share * seen_u
            v = v / np.sqrt(np.mean(seen_v**2))
        return u, coupling * u + math.sqrt(1 - coupling**2) * v


_THINNEST = 1.0
"""nm; where less glass is under the probe, that is vacuum."""


def interpolated(values: Floats, y: Floats, x: Floats) -> Floats:
    """Return ``values`` [y, x] at places between pixels, bilinear."""
    top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
    down, across = y - top, x - left
    upper = values[top, left] * (1 - across) + values[top, left + 1] * across
    lower = values[top + 1, left] * (1 - across) + values[top + 1, left + 1] * across
    return np.asarray(upper * (1 - down) + lower * down)
