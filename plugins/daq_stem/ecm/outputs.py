"""The streams of `Ecm`: what each one holds, with units and axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import daq
from daq_stem.ecm.delays import bin_count
from daq_stem.geometry.annulus import Annulus

TOLD = {
    "maps": ("time", "scan", "stage", "temperature"),
    "sectors": ("time", "scan", "stage"),
    "g2": ("time", "scan", "stage", "temperature"),
    "two_time": ("time", "scan", "stage"),
    "ageing": ("time", "scan", "stage"),
    "summary": ("time", "scan", "stage", "temperature"),
    "pattern": ("time", "scan"),
}
"""What each stream tells of the scan that a record belongs to."""

_TOLD_FIELDS = {
    "scan": daq.Field("<i8", (), "", "number of the scan"),
    "stage": daq.Field("<i8", (), "", "temperature stage"),
    "temperature": daq.Field("<f8", (), "K", "temperature"),
}

_BAND = {"name": "band", "units": "1/nm", "values": "band"}

Fields = dict[str, daq.Field]
Axes = dict[str, list[Any]]


def output_streams(
    camera: daq.Stream,
    field: str,
    detector: Any,
    annuli: Sequence[Annulus],
    bad: npt.NDArray[np.bool_],
    config: Any,
    shape: tuple[int, int],
    step: float,
    scans: int,
    expect: int | None,
) -> list[daq.Stream]:
    """Return the streams, one record per scan.

    Parameters
    ----------
    camera, field
        The stream of patterns, and their field.
    detector, annuli, bad
        Its geometry, the annuli that are correlated, and which pixels [y, x] are bad.
    config
        That of `Ecm`.
    shape, step
        Positions (rows, columns), and their distance in nm.
    scans, expect
        Scans that are kept, and that will come (None: unknown).
    """
    bands = len(annuli)
    delays, windows = bin_count(2 * scans), config.waiting_times
    statement = {
        "bands": [list(band) for band in config.bands],
        "gamma": config.gamma,
        "baseline": config.baseline,
        "static_pattern": config.static_pattern,
        "normalisation": "each pattern by its mean over the annulus; mean of ratios",
    }
    on_map = [
        _BAND,
        *({"name": name, "units": "nm", "offset": 0.0, "step": step} for name in ("y", "x")),
    ]
    middles = np.array([(annulus.inner + annulus.outer) / 2 for annulus in annuli])

    def stream(name: str, described: tuple[Fields, Axes]) -> daq.Stream:
        told = {key: _TOLD_FIELDS[key] for key in TOLD[name] if key != "time"}
        return daq.Stream(
            name, {**told, **described[0]}, axes=described[1], attributes=statement, expect=expect,
            constants={"band": middles},
        )  # fmt: skip

    return [
        stream("maps", _maps((bands, *shape), on_map)),
        stream("sectors", _sectors(bands, shape, on_map)),
        stream("g2", _g2(bands, delays)),
        stream("two_time", _two_time(bands, scans)),
        stream("ageing", _ageing(bands, windows)),
        stream("summary", _summary(bands)),
        _pattern(camera, field, detector, annuli, bad, statement, expect),
    ]


def _field(units: str, *shape: int, dtype: str = "<f8", name: str = "") -> daq.Field:
    return daq.Field(dtype, shape, units, name)


def _maps(shape: tuple[int, ...], on_map: list[Any]) -> tuple[Fields, Axes]:
    fields = {
        "tau": _field("s", *shape, name="relaxation time"),
        "tau_errors": _field("s", *shape, name="half the 68 % interval"),
        "tau_lower": _field("s", *shape, name="lower end, 68 % (bounds: 95 %)"),
        "tau_upper": _field("s", *shape, name="upper end, 68 %"),
        "gamma": _field("", *shape, name="stretching exponent"),
        "beta": _field("", *shape, name="contrast"),
        "flag": _field("", *shape, dtype="|u1",
                       name="0 determined 1 bound 2 at bound 3 not converged 4 masked"),
    }  # fmt: skip
    return fields, {name: on_map for name in fields}


def _sectors(bands: int, shape: tuple[int, int], on_map: list[Any]) -> tuple[Fields, Axes]:
    fields = {
        "ln_tau": _field("", bands, 2, *shape, name="ln (tau / s)"),
        "flag": _field("", bands, 2, *shape, dtype="|u1"),
    }
    return fields, {name: [_BAND, {"name": "set"}, *on_map[1:]] for name in fields}


def _g2(bands: int, delays: int) -> tuple[Fields, Axes]:
    on_delay = [_BAND, {"name": "delay"}]
    return {
        "g2": _field("", bands, delays, name="mean over positions"),
        "g2_errors": _field("", bands, delays),
        "fit": _field("", bands, delays, name="KWW fit to the mean"),
        "delay_difference": _field("s", delays, name="delay"),
        "pairs": _field("", delays, dtype="<i8", name="pairs of patterns"),
        "tau": _field("s", bands), "gamma": _field("", bands),
        "beta": _field("", bands), "baseline": _field("", bands),
    }, {name: on_delay for name in ("g2", "g2_errors", "fit")}  # fmt: skip


def _two_time(bands: int, scans: int) -> tuple[Fields, Axes]:
    return {
        "two_time": _field("", bands, scans, name="mean G with earlier scans"),
        "age": _field("s", scans, name="time of the earlier scan"),
    }, {"two_time": [_BAND, {"name": "earlier scan"}]}


def _ageing(bands: int, windows: int) -> tuple[Fields, Axes]:
    return {
        "waiting_time": _field("s", windows, name="waiting time"),
        "tau": _field("s", bands, windows, name="relaxation time of the mean"),
        "tau_errors": _field("s", bands, windows),
    }, {name: [_BAND, {"name": "window"}] for name in ("tau", "tau_errors")}


def _summary(bands: int) -> tuple[Fields, Axes]:
    return {
        "mean_ln_tau": _field("", bands, name="mean of ln (tau / s)"),
        "mean_ln_tau_errors": _field("", bands),
        "ln_tau_sd": _field("", bands, name="spread of ln tau"),
        "n_effective": _field("", bands, name="independent positions"),
        "independent_speckles": _field("", bands, name="speckles of the annulus"),
        "beta": _field("", bands, name="mean contrast"),
        "gamma": _field("", bands, name="stretching exponent"),
        "gamma_errors": _field("", bands),
        "share": _field("", bands, 5, name="share of each flag"),
        "usable": _field("", name="part of the records used"),
    }, {}


def _pattern(
    camera: daq.Stream,
    field: str,
    detector: Any,
    annuli: Sequence[Annulus],
    bad: npt.NDArray[np.bool_],
    statement: Mapping[str, Any],
    expect: int | None,
) -> daq.Stream:
    axes = camera.axes.get(field) or [
        {"name": name, "units": "1/nm", "offset": -middle * detector.pixel_size,
         "step": detector.pixel_size}
        for name, middle in zip(("q_y", "q_x"), detector.centre, strict=True)
    ]  # fmt: skip
    given = {axis["values"] for axis in axes if axis.get("values") in camera.constants}
    return daq.Stream(
        "pattern",
        {
            "scan": _TOLD_FIELDS["scan"],
            "mean": daq.Field("<f4", detector.shape, camera.fields[field].units, "mean pattern"),
        },
        axes={"mean": list(axes)},
        attributes={
            **statement,
            "centre": list(detector.centre),
            "pixel_size": detector.pixel_size,
        },
        expect=expect,
        constants={
            "annulus": _annulus_image(annuli, bad),
            **{name: camera.constants[name] for name in sorted(given)},
        },
    )


def _annulus_image(annuli: Sequence[Annulus], bad: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    image = np.zeros(bad.shape, np.uint8)
    for number, annulus in enumerate(annuli, start=1):
        image[annulus.labels >= 0] = number
    image[bad] = 255
    return image
