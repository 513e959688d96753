"""Heat flow, defects and density from the shear modulus of a glass that is heated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import daq
from daq_thermal.interstitialcy import concentration, density_change, internal_energy
from daq_thermal.readings import single

PASCALS: Final = {"Pa": 1.0, "kPa": 1e3, "MPa": 1e6, "GPa": 1e9}


class Interstitialcy(daq.Analysis):
    """What the interstitialcy theory makes of a shear modulus measured while heating.

    Takes a stream with ``temperature`` (K) and the unrelaxed shear modulus of the glass; that of
    the crystal, mu, is a field of the same stream (the second heating, say) or a straight line
    in T. Gives (Qiao2019, 4-5 to 4-8):

    ``state``
        A record per reading: ``temperature`` K, ``concentration`` of defects, ``internal_energy``
        J/g over the crystal, ``density_change`` against the first reading; and for a reading
        that has ``half_window`` good ones before and after it, a record of

    ``heat_flow``
        ``temperature`` K, ``heat_flow`` W/g, endothermic positive, and ``heating_rate`` K/min,
        with slopes against time from a straight line through those 2 ``half_window`` + 1. To be
        laid over a trace of a calorimeter at the same rate.

    Readings that are lost or not finite, and moduli that are not above 0, are left out.
    """

    name = "interstitialcy"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "interstitialcy"`` may say."""

        modulus: str = daq.setting("shear_modulus", "", "field with the modulus of the glass")
        crystal: str | None = daq.setting(None, "", "field with the modulus of the crystal")
        crystal_modulus: float | None = daq.setting(
            None, "GPa", "or: modulus of the crystal at crystal_temperature", gt=0
        )
        crystal_temperature: float = daq.setting(300.0, "K", "of crystal_modulus", gt=0)
        crystal_slope: float = daq.setting(0.0, "1/K", "its relative change with T")
        beta: float = daq.setting(..., "", "shear susceptibility, 15 to 21", gt=0)
        alpha: float = daq.setting(1.0, "", "strain field of a defect, about 1", gt=0)
        relaxation_volume: float = daq.setting(1.6, "", "alpha_i, in volumes per atom", gt=0)
        density: float = daq.setting(..., "g/cm^3", "of the glass", gt=0)
        half_window: int = daq.setting(5, "", "readings either side for a slope", ge=1, le=1000)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find the fields; ValueError where one is absent or in other units."""
        stream = single(streams, self.name)
        if (config.crystal is None) == (config.crystal_modulus is None):
            raise ValueError("interstitialcy: either crystal (a field) or crystal_modulus (GPa)")
        self._scale = {}
        for field in (config.modulus, *([config.crystal] if config.crystal else [])):
            unit = stream.fields[field].units if field in stream.fields else None
            if unit is None or stream.fields[field].shape or unit not in PASCALS:
                has = "is absent" if unit is None else f"is in {unit or 'no units'!r}"
                raise ValueError(f"{stream.name}: {field} {has}; {', '.join(PASCALS)} is needed")
            self._scale[field] = PASCALS[unit]
        found = stream.fields.get("temperature")
        if found is None or found.units != "K" or found.shape:
            raise ValueError(f"{stream.name}: a field 'temperature' in K is needed")
        self._config = config
        self._held = np.empty((4, 0))  # s, K, G, mu of the last good readings
        self._held_time = np.empty(0, np.int64)
        self._epoch: int | None = None
        self._first = np.nan
        kelvin, plain = daq.Field("<f8", (), "K", "temperature"), daq.Field("<f8", (), "")
        return [
            daq.Stream(
                "state",
                {
                    "temperature": kelvin,
                    "concentration": daq.Field("<f8", (), "", "concentration of defects"),
                    "internal_energy": daq.Field("<f8", (), "J/g", "over the crystal"),
                    "density_change": plain,
                },
            ),
            daq.Stream(
                "heat_flow",
                {
                    "temperature": kelvin,
                    "heat_flow": daq.Field("<f8", (), "W/g", "heat flow"),
                    "heating_rate": daq.Field("<f8", (), "K/min", "heating rate"),
                },
            ),
        ]

    def process(self, batch: daq.Batch) -> Iterable[daq.Batch]:
        """Turn moduli into states, and into heat where enough readings follow."""
        config = self._config
        T = np.asarray(batch["temperature"], np.float64)
        G = np.asarray(batch[config.modulus], np.float64) * self._scale[config.modulus]
        if config.crystal:
            mu = np.asarray(batch[config.crystal], np.float64) * self._scale[config.crystal]
        else:
            line = 1 + config.crystal_slope * (T - config.crystal_temperature)
            mu = 1e9 * config.crystal_modulus * line
        good = batch.valid & (batch.time != daq.NO_TIME) & np.isfinite(T + G + mu)
        good &= (G > 0) & (mu > 0)
        if not good.any():
            return
        time, T, G, mu = batch.time[good], T[good], G[good], mu[good]
        if self._epoch is None:
            self._epoch, self._first = int(time[0]), float(G[0])
        density = 1e3 * config.density
        yield daq.Batch(
            "state",
            {
                "time": time,
                "temperature": T,
                "concentration": np.asarray(concentration(G, mu, config.beta, config.alpha)),
                "internal_energy": np.asarray(internal_energy(G, mu, config.beta, density)) / 1e3,
                "density_change": np.asarray(
                    density_change(
                        G, self._first, config.beta, config.relaxation_volume, config.alpha
                    )
                ),
            },
        )
        rows = np.stack([(time - self._epoch) / 1e9, T, G, mu])
        self._held = np.concatenate([self._held, rows], axis=1)
        self._held_time = np.concatenate([self._held_time, time])
        yield from self._heat()
        keep = 2 * config.half_window
        self._held, self._held_time = self._held[:, -keep:].copy(), self._held_time[-keep:].copy()

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what the window and a batch of 65536 readings need."""
        return 8 * 20 * (65536 + 2 * int(config.half_window))

    def _heat(self) -> Iterable[daq.Batch]:
        """Give the heat of every reading that has its window."""
        half = self._config.half_window
        count = self._held.shape[1] - 2 * half
        if count < 1:
            return
        t, T, G, mu = self._held
        middle = slice(half, half + count)

        # offset by offset: such sums do not depend on how many readings came at once
        def slope(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            n = 2 * half + 1
            st, sy, stt, sty = (np.zeros(count) for _ in range(4))
            for k in range(n):
                dt, y = t[k : k + count] - t[middle], values[k : k + count] - values[middle]
                st, sy, stt, sty = st + dt, sy + y, stt + dt * dt, sty + dt * y
            spread = stt - st * st / n
            slopes = np.full(count, np.nan)
            np.divide(sty - st * sy / n, spread, out=slopes, where=spread > 0)
            return slopes

        beta, density = self._config.beta, 1e3 * self._config.density
        # 4-6 with derivatives against time: dT/dt dG/dT = dG/dt
        W = (G[middle] / mu[middle] * slope(mu) - slope(G)) / (beta * density)
        yield daq.Batch(
            "heat_flow",
            {
                "time": self._held_time[middle],
                "temperature": T[middle].copy(),
                "heat_flow": W / 1e3,
                "heating_rate": 60 * slope(T),
            },
        )
