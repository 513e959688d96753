"""Export files of calorimeters, rheometers and dynamic-mechanical analysers, as streams."""

from __future__ import annotations

import daq


@daq.hookimpl
def daq_readers() -> list[type[daq.Reader]]:
    """Return the readers of export files."""
    from daq_exports.netzsch_binary import NetzschBinaryReader
    from daq_exports.netzsch_text import NetzschTextReader
    from daq_exports.pyris import PyrisReader
    from daq_exports.q_series import QSeriesReader
    from daq_exports.table import TableReader
    from daq_exports.trios_json import TriosJsonReader
    from daq_exports.trios_lims import TriosLimsReader

    return [
        NetzschBinaryReader, NetzschTextReader, PyrisReader, QSeriesReader, TableReader,
        TriosJsonReader, TriosLimsReader,
    ]  # fmt: skip
