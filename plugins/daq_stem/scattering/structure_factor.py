"""S(Q) and the pair distribution of a glass, from azimuthal averages, while they come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.geometry.azimuthal_sectors import SECTORS, fit_harmonics
from daq_stem.scattering.pair_distribution import sine_matrix
from daq_stem.scattering.scattering_factors import composition_of, mean_scattering
from daq_stem.scattering.strain_split import StrainSplit, load_crept, save_crept

Floats = npt.NDArray[np.float64]
TURN = 2 * math.pi


class StructureFactor(daq.Analysis):
    """S(Q) from I(Q) and the scattering of single atoms; G(r) and g(r) from S(Q).

    Takes ``profile`` of `azimuthal`, or its ``regions`` with ``region_sectors``: then every result
    is [row, column] of the parts of the scan, NaN where nothing can be fitted. In ``fit_range`` I = N <f^2> + B is fitted, with f of the
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
    ``split``
        Where ``strain_axis`` says along which direction the sample is strained: the l = 2 part
        ``G2`` [r], and ``affine_strain``, what it would be were all of it affine. With ``applied_strain`` and
        ``crept`` also ``elastic_strain``, ``anelastic_strain`` and ``elastic_share`` (Qiao2019,
        eq. 3-4), see `StrainSplit`. All with ``..._errors``; ``G2_fit`` [r] the shape that was fitted.

    The file ``crept`` comes from a crept sample without load, with ``crept_strain`` and ``save_crept``:
    its last G2 by its strain.
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

        strain_axis: float | None = daq.setting(
            None, "degrees", "direction of a uniaxial strain, from +x towards +y: tells of it"
        )
        poisson: float = daq.setting(0.36, "", "Poisson's ratio", gt=-1, le=0.5)
        strain_range: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = daq.setting(
            (0.2, 0.8), "nm", "distances whose l = 2 part is fitted"
        )
        applied_strain: float | None = daq.setting(
            None, "", "the whole strain: splits it, with crept"
        )
        crept: Path | None = daq.setting(None, "", "l = 2 part of a crept sample, by its strain")
        crept_strain: float | None = daq.setting(
            None, "", "of this sample, which has crept and bears no load: with save_crept"
        )
        save_crept: Path | None = daq.setting(None, "", "file for its l = 2 part, at the end")

        @pydantic.model_validator(mode="after")
        def _sensible(self) -> StructureFactor.Config:
            self._strain_is_sensible()
            for name in ("q_range", "fit_range", "strain_range"):
                limits = getattr(self, name)
                if limits is not None and limits[0] >= limits[1]:
                    raise ValueError(f"{name}: the smaller one comes first")
            if not 2 * self.r_step <= self.r_max <= 20000 * self.r_step:
                raise ValueError("r_max: from 2 to 20000 times r_step")
            composition_of(self.composition)
            return self

        def _strain_is_sensible(self) -> None:
            both = {"applied_strain": self.applied_strain, "crept": self.crept}
            saved = {"crept_strain": self.crept_strain, "save_crept": self.save_crept}
            for pair in (both, saved):
                given = [name for name, value in pair.items() if value is not None]
                if given and self.strain_axis is None:
                    raise ValueError(f"{given[0]} needs strain_axis")
                if len(given) == 1:
                    raise ValueError(f"{' and '.join(pair)} go together")
            if self.applied_strain == 0 or self.crept_strain == 0:
                raise ValueError("a strain of 0 cannot be split")

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Look for the azimuthal averages and make the matrices; ValueError where they do not fit."""
        (stream,) = streams.values() if len(streams) == 1 else (None,)
        if stream is None or not (
            "sectors" in stream.fields and {"q", "pixels", "basis"} <= set(stream.constants)
        ):
            raise ValueError(
                "structure_factor takes one input, profile of azimuthal (or its regions, with "
                "region_sectors)"
            )
        self._parts = stream.fields["sectors"].shape[:-2]
        self._places = list(stream.axes.get("sectors", [])[:-2])
        if len(self._places) != len(self._parts):
            self._places = [{"name": name, "units": "", "offset": 0, "step": 1} for name in "yx"]
        if len(self._parts) and config.save_crept is not None:
            raise ValueError("save_crept: a crept sample is taken as a whole, from profile")
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
        self._split = self._splitter() if config.strain_axis is not None else None
        if config.save_crept is not None and not config.save_crept.absolute().parent.is_dir():
            raise ValueError(f"save_crept: there is no folder {config.save_crept.parent}")
        self._last: Floats | None = None
        return self._outputs(stream.expect)

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Transform each record."""
        for n in range(len(batch)):
            found: dict[tuple[int, ...], dict[str, Any]] = {}
            if batch.valid[n]:
                sectors = batch["sectors"][n][..., self._used]
                for part in np.ndindex(self._parts):
                    if (one := self._transformed(sectors[part])) is not None:
                        found[part] = one
            yield from self._records(int(batch.time[n]), found)

    def close(self) -> Iterable[daq.Batch]:
        """Write the l = 2 part of a crept sample."""
        if self._config.save_crept is not None and self._last is not None:
            save_crept(self._config.save_crept, self._r, self._last, self._config.crept_strain)
        return ()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return 8 bytes x rings x (distances + 60 sectors)."""
        (stream,) = streams.values()
        rings = len(stream.constants.get("q", ()))
        parts = 1
        if "sectors" in stream.fields:
            parts = math.prod(stream.fields["sectors"].shape[:-2])
        distances = config.r_max / config.r_step
        return int(8 * (rings * (distances + 60 * SECTORS) + 8 * parts * (rings + distances)))

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
        if self._split is not None:
            split = self._split.found(S)
            others = [self._split.found(tried[0]) for _, tried in without]
            for name, value in split.items():
                found[name] = value
                if name != "G2_fit":
                    spread = jackknife([other[name] for other in others], value)
                    found[f"{name}_errors"] = spread * float(more[1:].mean())
            self._last = split["G2"]
        if self._config.density is not None:
            over = 4 * math.pi * self._r * self._config.density
            found |= {"g": 1 + G / over, "g_errors": G_errors / over}
        return found

    def _splitter(self) -> StrainSplit:
        config = self._config
        crept = config.crept and load_crept(config.crept, self._r, config.strain_range)
        return StrainSplit(
            TURN * self._q, self._r, axis=config.strain_axis, poisson=config.poisson,
            fit=config.strain_range, damped=config.lorch, applied=config.applied_strain, crept=crept,
        )  # fmt: skip

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

    def _records(
        self, time: int, found: dict[tuple[int, ...], dict[str, Any]]
    ) -> Iterable[daq.Batch]:
        """Give one record of each output; ``found`` by part of the scan."""
        for name, stream in self._fields.items():
            arrays: dict[str, npt.NDArray[Any]] = {"time": np.array([time], np.int64)}
            for key, field in stream.items():
                arrays[key] = np.full((1, *field.shape), field.fill, field.numpy_dtype)
                for part, values in found.items():
                    arrays[key][(0, *part)] = values[key]
            yield daq.Batch(name, arrays, valid=np.array([bool(found)]))

    def _outputs(self, expect: int | None) -> list[daq.Stream]:
        rings, distances, parts = (len(self._q),), (len(self._r),), self._parts

        def both(name: str, shape: tuple[int, ...], units: str, said: str) -> dict[str, daq.Field]:
            return {
                name: daq.Field("<f8", (*parts, *shape), units, said),
                f"{name}_errors": daq.Field("<f8", (*parts, *shape), units, "1 sigma"),
            }

        def along(axis: dict[str, Any] | None, names: Iterable[str]) -> dict[str, list[Any]]:
            axes = [*self._places, *([] if axis is None else [axis])]
            return {name: axes for name in names} if axes else {}

        structure = (
            both("S", rings, "", "structure factor")
            | both("S_cos2", rings, "", "S, part with cos 2 phi")
            | both("S_sin2", rings, "", "S, part with sin 2 phi")
        )
        scalars = {
            "scale": daq.Field("<f8", parts, "counts/nm^2", "N"),
            "background": daq.Field("<f8", parts, "counts", "B"),
        }
        pair = both("G", distances, "1/nm^2", "reduced pair distribution")
        if self._config.density is not None:
            pair |= both("g", distances, "", "pair distribution")
        self._fields = {"structure": structure | scalars, "pair": pair}
        second = both("G2", distances, "1/nm^2", "pair distribution, l = 2: 4 pi r rho_0 g_2")
        second["G2_fit"] = daq.Field("<f8", (*parts, *distances), "1/nm^2", "shape that was fitted")
        q = {"name": "q", "units": "1/nm", "values": "q"}
        r = {"name": "r", "units": "nm", "offset": float(self._r[0]), "step": self._config.r_step}
        outputs = [
            daq.Stream(
                "structure", self._fields["structure"], along(q, structure) | along(None, scalars), None,
                {"q_convention": "4 pi sin(theta) / lambda", "composition": self._config.composition},
                expect, {"q": TURN * self._q, "f2": self._f2},
            ),
            daq.Stream(
                "pair", self._fields["pair"], along(r, pair), None,
                {"q_max": float(TURN * self._q[-1]), "lorch": self._config.lorch}, expect,
                {"r": self._r},
            ),
        ]  # fmt: skip
        if self._split is not None:
            said = {
                "affine_strain": "strain, were all of it affine",
                "anelastic_strain": "anelastic strain", "elastic_strain": "elastic strain",
                "elastic_share": "elastic part of the strain",
            }  # fmt: skip
            self._fields["split"], curves = second, ("G2", "G2_errors", "G2_fit")
            for name, text in said.items():
                second |= both(name, (), "", text)
            limits = {"strain_range": list(self._config.strain_range)}
            outputs.append(
                daq.Stream(
                    "split", second, along(r, curves) | along(None, set(second) - set(curves)), None,
                    {**limits, "strain_axis": self._config.strain_axis}, expect, {"r": self._r},
                )
            )  # fmt: skip
        return outputs
