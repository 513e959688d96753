"""The file that holds the geometry of a camera: written by `calibration`, read by analyses."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

import daq
from daq_stem.geometry.detector import Detector, detector_for
from daq_stem.geometry.ellipse import Ellipse

Pair = tuple[float, float]

HEAD = """\
# Geometry of a camera, measured on a ring. Pixels are [y, x]; errors are 1 sigma.
# ellipse_angle: degrees from +x towards +y (down). distortion = ln(ellipse_ratio)
# * [cos(2 angle), sin(2 angle)]: its errors hold for both numbers.
"""


class Calibration(daq.Config):
    """What is known of a camera; None where nobody measured it."""

    frame: tuple[pydantic.PositiveInt, pydantic.PositiveInt] = daq.setting(
        ..., "px", "shape of the frames it holds for, [y, x]"
    )
    centre: Pair = daq.setting(..., "px", "[y, x] of the direct beam")
    centre_errors: Pair | None = daq.setting(None, "px", "of both")
    ellipse_ratio: float = daq.setting(1.0, "", "long axis of a ring over its short one", ge=1)
    ellipse_angle: float = daq.setting(0.0, "degrees", "of the long axis")
    distortion_errors: Pair | None = daq.setting(None, "", "of ln(ratio) [cos, sin](2 angle)")
    ring_radius: float | None = daq.setting(None, "px", "of the ring it was measured on", gt=0)
    ring_radius_error: float | None = daq.setting(None, "px", "of the radius", ge=0)
    pixel_size: float | None = daq.setting(None, "1/nm", "of a pixel; Q is 1/d", gt=0)
    pixel_size_error: float | None = daq.setting(None, "1/nm", "of the size", ge=0)
    counts_per_electron: float | None = daq.setting(
        None, "counts", "variance over mean of the raw counts of a pixel", gt=0
    )
    counts_per_electron_error: float | None = daq.setting(None, "counts", "of that", ge=0)
    patterns: int = daq.setting(0, "", "patterns it rests on", ge=0)

    @property
    def ellipse(self) -> Ellipse:
        """The distortion of the camera."""
        return Ellipse(self.ellipse_ratio, self.ellipse_angle)

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Return what a file holds; raise ValueError in one line that names the file."""
        try:
            content = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ValueError(f"calibration: {path}: {error.strerror or error}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"calibration: {path} is not TOML: {error}") from None
        try:
            return cls.model_validate(content)
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise ValueError(f"calibration: {path}: {key}: {first['msg']}") from None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        lines = [
            f"{key} = {_toml(value)}\n"
            for key, value in self.model_dump().items()
            if value is not None
        ]
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(HEAD + "".join(lines), "utf-8")
        draft.replace(path)


def geometry(
    stream: daq.Stream,
    field: str,
    path: Path | None,
    centre: Pair | None,
    pixel_size: float | None,
) -> tuple[Detector, Ellipse]:
    """Return detector (1/nm) and ellipse of an image field.

    ``centre`` and ``pixel_size`` are what the configuration says; what it does not say is in the
    calibration file ``path``, and what that does not say is in the stream, see `detector_for`; its
    attributes may have ``ellipse_ratio`` and ``ellipse_angle`` too. Raises ValueError where the file is of frames of another shape, or nobody knows the pixel size.
    """
    if path is None:
        told = [stream.attributes.get(key) for key in ("ellipse_ratio", "ellipse_angle")]
        ratio, angle = (float(v) if isinstance(v, int | float) else None for v in told)
        ellipse = Ellipse() if ratio is None or ratio < 1 else Ellipse(ratio, angle or 0.0)
        return detector_for(stream, field, centre, pixel_size, "1/nm"), ellipse
    found = Calibration.load(path)
    if found.frame != stream.fields[field].shape:
        raise ValueError(
            f"calibration: {path} holds for frames of {list(found.frame)} pixels, "
            f"{stream.name} has {list(stream.fields[field].shape)}"
        )
    detector = detector_for(
        stream, field, centre or found.centre, pixel_size or found.pixel_size, "1/nm"
    )
    return detector, found.ellipse


def circular_coordinates(
    detector: Detector, ellipse: Ellipse
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (q_y, q_x) of the middle of each pixel without distortion: [y, x], in its units."""
    y = np.arange(detector.shape[0])[:, None] - detector.centre[0]
    x = np.arange(detector.shape[1])[None, :] - detector.centre[1]
    down, across = ellipse.circular(*np.broadcast_arrays(y, x))
    return down * detector.pixel_size, across * detector.pixel_size


def _toml(value: Any) -> str:
    return f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else repr(value)
