"""Is the phase a picture of the height? Correlation of two channels while they are scanned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import daq
from daq_afm.image_lines import Image, ImageLines, only_stream, record
from daq_afm.map_correlation import correlate_maps, ranks


class HeightPhase(daq.Analysis):
    """Pearson's and Spearman's correlation of two channels over the image so far.

    The check of Zhu2016 that the phase is independent of the roughness. Takes scan lines; gives the
    stream ``correlation``, a record after every ``every`` lines and at the end of an image (``final``
    1): ``pearson`` and ``spearman`` (of the ranks), each with ``_errors`` and ``_p_value``, the
    probability of as much for unrelated maps, and ``effective_samples`` for each. These know that
    pixels are not independent, see `daq_afm.map_correlation`; ``pixels`` says how many there are.
    Pixels where either channel is not finite do not count. NaN below 8 rows.
    """

    name = "height_phase"

    class Config(daq.Config):
        """What ``[analyses.NAME]`` with ``type = "height_phase"`` may say."""

        channels: tuple[str, str] = daq.setting(("height", "phase"), "", "which two channels")
        every: int = daq.setting(32, "", "lines per record", ge=1)

    def open(self, streams: Mapping[str, daq.Stream], config: Any) -> Sequence[daq.Stream]:
        """Find both channels; ValueError where one is missing."""
        stream = only_stream(streams, self.name)
        arrays = [name for name, field in stream.fields.items() if len(field.shape) == 1]
        for name in config.channels:
            if name not in arrays:
                raise ValueError(
                    f"{stream.name} has no channel {name!r}; it has {', '.join(arrays) or 'none'}"
                )
        if config.channels[0] == config.channels[1]:
            raise ValueError(f"{self.name}: {config.channels[0]} with itself says nothing")
        self._config = config
        self._lines = ImageLines(stream, dict.fromkeys(config.channels, 1.0))
        self._row = self._count = 0
        number, plain = daq.Field("<i4"), daq.Field("<f8")
        self._fields = {
            **self._lines.condition_fields(),
            "line": daq.Field("<i4", (), "", "row of the last line"),
            "lines": daq.Field("<i4", (), "", "rows so far"),
            "pixels": number,
            "final": daq.Field("|u1"),
            **{
                name + end: plain
                for name in ("pearson", "spearman")
                for end in ("", "_errors", "_p_value", "_effective_samples")
            },
        }
        said = stream.attributes.get("levelling") or {}
        levelling = {name: said.get(name, "not known") for name in config.channels}
        attributes = {"channels": list(config.channels), "levelling": levelling}
        return [daq.Stream("correlation", self._fields, attributes=attributes)]

    def process(self, batch: daq.Batch) -> Iterator[daq.Batch]:
        """Take each line; look when it is time."""
        for item in self._lines.take(batch):
            if isinstance(item, Image):
                yield self._record(item, final=True)
                self._count = 0
                continue
            image = self._lines.so_far()
            if image is None:
                continue  # after the end of its image
            self._row = item.row
            self._count += 1
            if self._count % self._config.every == 0 and not image.complete:
                yield self._record(image, final=False)

    def close(self) -> Iterator[daq.Batch]:
        """Look at the last image."""
        for image in self._lines.rest():
            yield self._record(image, final=True)

    def reconfigure(self, config: Any) -> None:
        """Change how often from the next line on."""
        if config.channels != self._config.channels:
            raise ValueError(f"{self.name}: channels cannot change while it runs; start it anew")
        self._config = config

    @classmethod
    def memory(cls, streams: Mapping[str, daq.Stream], config: Any) -> int:
        """Return what two maps, their ranks and five correlations of them need."""
        rows, columns = next(iter(streams.values())).scan_shape or (1, 1)
        return 8 * 16 * rows * columns

    def _record(self, image: Image, final: bool) -> daq.Batch:
        one, other = (image.values[name] for name in self._config.channels)
        good = np.isfinite(one) & np.isfinite(other)
        values: dict[str, float] = {}
        for name, maps in (("pearson", (one, other)), ("spearman", None)):
            pair = maps or (ranks(one, good), ranks(other, good))
            found = correlate_maps(*pair, good)
            values |= {
                name: found.value, f"{name}_errors": found.error,
                f"{name}_p_value": found.p_value,
                f"{name}_effective_samples": found.effective_samples,
            }  # fmt: skip
        return record(
            "correlation", image.time, self._fields, **self._lines.condition_values(image),
            line=self._row, lines=np.count_nonzero(image.present),
            pixels=np.count_nonzero(good), final=final, **values,
        )  # fmt: skip
