"""S(Q) and the pair distribution of a glass, from azimuthal averages, while they come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.geometry.azimuthal_sectors import SECTORS, fit_harmonics
from daq_stem.scattering.pair_distribution import sine_matrix
from daq_stem.scattering.scattering_factors import composition_of, mean_scattering

Floats = npt.NDArray[np.float64]
TURN = 2 * math.pi


class StructureFactor(daq.Analysis):
    """S(Q) from I(Q) and the scattering of single atoms; G(r) and g(r) from S(Q).

    Takes ``profile`` of `azimuthal`. In ``fit_range`` I = N <f^2> + B is fitted, with f of the
    elements of ``composition`` (Lobato and Van Dyck 2014), weighed by 1 / I; B is a flat background. Then

        S(Q) = 1 + (I - N <f^2> - B) / (N <f>^2)
        G(r) = (2 / pi) integral of Q (S - 1) sin(Q r) dQ      (1/nm^2)
        g(r) = 1 + G(r) / (4 pi r rho_0)                       (Qiao2019, eq. 3-1)

    g needs the ``density``. **Q is 4 pi sin(theta) / lambda here**, 2 pi times the 1/d of camera
    and `azimuthal`; ``fit_range`` and ``q_range`` are in 1/d, like theirs. Between Q = 0 and the first ring Q (S - 1) is
    a straight line.

    Errors: azimuthal sectors are left out one after the other, all the way through the fit
    (jackknife), times what neighbouring sectors share; so they know that rings share speckles. They do not know
    what electrons do besides single elastic scattering: inelastic and multiple
    scattering bend the background, the range ends where the camera does, and N and B are fitted where
    S still oscillates. Peaks in r are as wide as 3.8 / Q_max and ring; distances below the first
    one are without meaning. Compare states of one sample rather than trust numbers.

    Gives one record per record of the input, not valid where that is not, or nothing can be fitted:

    ``structure``
        ``S``, ``S_errors``; ``S_cos2``, ``S_sin2`` and errors: the part with l = 2; ``scale`` N and
        ``background`` B. Constants ``q`` (1/nm, 4 pi sin(theta)/lambda) and ``f2`` = <f^2> nm^2.
    ``pair``
        ``G``, ``G_errors`` 1/nm^2, and with ``density`` ``g``, ``g_errors``; constant ``r`` nm.
    """

    name = "structure_factor"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "structure_factor"`` may say."""

        composition: str = daq.setting(..., "", "formula in atomic per cent, as Zr50Cu40Al10")
        density: float | None = daq.setting(
            None, "1/nm^3", "atoms in a volume, rho_0 (about 55 in Zr50Cu40Al10)", gt=0
        )
        q_range: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] | None = daq.setting(
            None, "1/nm", "Q (1/d) that are used; by default all"
        )
        fit_range: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] | None = daq.setting(
            None, "1/nm", "Q (1/d) where N and B are fitted; by default the upper half"
        )
        flat_background: bool = daq.setting(True, "", "fit B; false: B is 0")
        r_max: float = daq.setting(2.0, "nm", "largest distance", gt=0)
        r_step: float = daq.setting(0.005, "nm", "of distances", gt=0)
        lorch: bool = daq.setting(True, "", "damp with Lorch's window: fewer ripples, wider peaks")

        @pydantic.model_validator(mode="after")
        def _sensible(self) -> StructureFactor.Config:
            for name in ("q_range", "fit_range"):
                limits = getattr(self, name)
                if limits is not None and limits[0] >= limits[1]:
                    raise ValueError(f"{name}: the smaller Q comes first")
            if not 2 * self.r_step <= self.r_max <= 20000 * self.r_step:
                raise ValueError("r_max: from 2 to 20000 times r_step")
            composition_of(self.composition)
            return self

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Look for the azimuthal averages and make the matrices; ValueError where they do not fit."""
        (stream,) = streams.values() if len(streams) == 1 else (None,)
        if stream is None or not (
            "sectors" in stream.fields and {"q", "pixels", "basis"} <= set(stream.constants)
        ):
            raise ValueError("structure_factor takes one input, profile of azimuthal")
        q = np.asarray(stream.constants["q"], np.float64)
        low, high = config.q_range or (0.0, np.inf)
        self._used = np.flatnonzero((q >= low) & (q <= high))
        if len(self._used) < 8:
            raise ValueError(f"q_range: {len(self._used)} rings of {stream.name}, 8 are needed")
        q = q[self._used]
        fit_low, fit_high = config.fit_range or (0.5 * (q[0] + q[-1]), np.inf)
        self._fitted = (q >= fit_low) & (q <= fit_high)
        if self._fitted.sum() < 4:
            raise ValueError(
                f"fit_range: {self._fitted.sum()} rings from {fit_low:.3g} to {fit_high:.3g} 1/nm; "
                "4 are needed"
            )
        self._config = config
        self._pixels = np.asarray(stream.constants["pixels"])[:, self._used]
        self._basis = np.asarray(stream.constants["basis"])[:, self._used]
        self._q = q
        self._f2, self._f_squared = mean_scattering(composition_of(config.composition), q)
        self._r = np.arange(1, math.floor(config.r_max / config.r_step + 1e-9) + 1) * config.r_step
        finest = math.pi / float(np.diff(TURN * q).max())
        if self._r[-1] > finest:
            raise ValueError(
                f"r_max: rings {np.diff(q).max():.3g} 1/nm wide tell of distances up to "
                f"{finest:.3g} nm: choose a smaller r_max, or a smaller q_step of azimuthal"
            )
        self._to_r = 2 / math.pi * sine_matrix(TURN * q, self._r, damped=config.lorch)
        return self._outputs(stream.expect)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Transform each record."""
        for n in range(len(batch)):
            found = None
            if batch.valid[n]:
                found = self._transformed(batch["sectors"][n][:, self._used])
            yield from self._records(int(batch.time[n]), found)

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 8 bytes x rings x (distances + 60 sectors)."""
        (stream,) = streams.values()
        rings = len(stream.constants.get("q", ()))
        return int(8 * rings * (config.r_max / config.r_step + 60 * SECTORS))

    def _transformed(self, sectors: Floats) -> dict[str, Any] | None:
        harmonics, errors = fit_harmonics(sectors[None], self._pixels, self._basis, self._q)
        best = self._normalised(harmonics[0])
        if best is None:
            return None
        without = []
        for sector in range(SECTORS):
            if not (self._pixels[sector] > 0).any():
                continue
            pixels = self._pixels.copy()
            pixels[sector] = 0
            left = fit_harmonics(sectors[None], pixels, self._basis, self._q)[0][0]
            tried = self._normalised(left)
            if tried is None:
                return None
            without.append((left, tried))
        count = len(without)

        def jackknife(values: list[Floats], middle: Floats) -> Floats:
            scatter = ((np.array(values) - middle) ** 2).sum(axis=0)
            return np.asarray(np.sqrt(scatter * (count - 1) / count))

        plain = jackknife([left for left, _ in without], harmonics[0])
        # what neighbouring sectors share, a jackknife misses
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.median(errors[0] / plain, axis=0)
        more = np.where(np.isfinite(ratio), ratio, 1.0)
        S, scale, background = best
        S_errors = jackknife([tried[0] for _, tried in without], S) * more
        G = self._to_r @ (S[:, 0] - 1)
        G_errors = jackknife([self._to_r @ (t[0][:, 0] - 1) for _, t in without], G) * more[0]
        found: dict[str, Any] = {
            "scale": scale,
            "background": background,
            "G": G,
            "G_errors": G_errors,
        }
        for k, name in enumerate(("S", "S_cos2", "S_sin2")):
            found[name], found[f"{name}_errors"] = S[:, k], S_errors[:, k]
        if self._config.density is not None:
            over = 4 * math.pi * self._r * self._config.density
            found |= {"g": 1 + G / over, "g_errors": G_errors / over}
        return found

    def _normalised(self, harmonics: Floats) -> tuple[Floats, float, float] | None:
        """Return S [ring, (l = 0, cos, sin)], N and B; None where there is no sensible fit."""
        intensity, at = harmonics[:, 0], self._fitted
        if not np.isfinite(harmonics).all() or not (intensity[at] > 0).all():
            return None
        columns = [self._f2[at], np.ones(int(at.sum()))][: 2 if self._config.flat_background else 1]
        design = np.stack(columns, axis=1) / intensity[at, None]
        solved = np.linalg.lstsq(design, np.ones(len(design)), rcond=1e-10)[0]
        scale = float(solved[0])
        background = float(solved[1]) if self._config.flat_background else 0.0
        if not scale > 0:
            return None
        unit = scale * self._f_squared
        S = np.concatenate(
            [(1 + (intensity - scale * self._f2 - background) / unit)[:, None],
             harmonics[:, 1:] / unit[:, None]], axis=1,
        )  # fmt: skip
        return S, scale, background

    def _records(self, time: int, found: dict[str, Any] | None) -> Iterable[daq.Batch]:
        for name, stream in self._fields.items():
            arrays: dict[str, npt.NDArray[Any]] = {"time": np.array([time], np.int64)}
            for key, field in stream.items():
                value = field.fill if found is None else found[key]
                arrays[key] = np.broadcast_to(value, (1, *field.shape)).astype(field.numpy_dtype)
            yield daq.Batch(name, arrays, valid=np.array([found is not None]))

    def _outputs(self, expect: int | None) -> list[daq.Stream]:
        rings, distances = (len(self._q),), (len(self._r),)

        def both(name: str, shape: tuple[int, ...], units: str, said: str) -> dict[str, daq.Field]:
            return {
                name: daq.Field("<f8", shape, units, said),
                f"{name}_errors": daq.Field("<f8", shape, units, "1 sigma"),
            }

        structure = (
            both("S", rings, "", "structure factor")
            | both("S_cos2", rings, "", "S, part with cos 2 phi")
            | both("S_sin2", rings, "", "S, part with sin 2 phi")
        )
        scalars = {
            "scale": daq.Field("<f8", (), "counts/nm^2", "N"),
            "background": daq.Field("<f8", (), "counts", "B"),
        }
        pair = both("G", distances, "1/nm^2", "reduced pair distribution")
        if self._config.density is not None:
            pair |= both("g", distances, "", "pair distribution")
        self._fields = {"structure": structure | scalars, "pair": pair}
        q = {"name": "q", "units": "1/nm", "values": "q"}
        r = {"name": "r", "units": "nm", "offset": float(self._r[0]), "step": self._config.r_step}
        return [
            daq.Stream(
                "structure", self._fields["structure"], {name: [q] for name in structure}, None,
                {"q_convention": "4 pi sin(theta) / lambda", "composition": self._config.composition},
                expect, {"q": TURN * self._q, "f2": self._f2},
            ),
            daq.Stream(
                "pair", self._fields["pair"], {name: [r] for name in pair}, None,
                {"q_max": float(TURN * self._q[-1]), "lorch": self._config.lorch}, expect,
                {"r": self._r},
            ),
        ]  # fmt: skip
