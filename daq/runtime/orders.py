"""What each process of a run is told: plain JSON, made anew at every start."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from daq.run import Run
from daq.runtime.experiment import Experiment


@dataclasses.dataclass(frozen=True, slots=True)
class Orders:
    """Makes the orders of one run. ``output`` is the parent of the run's folder."""

    experiment: Experiment
    run: Run
    endpoint: str
    output: Path
    plugins_dir: Path | None

    def bus(self, *, recording: bool) -> dict[str, Any]:
        """Return the order of the bus; ``recording``: it holds every record until it is written."""
        bus, recorder = self.experiment.bus, self.experiment.recorder
        settings = {
            "endpoint": self.endpoint, "run": self.run.uid, "recording": recording,
            "credit": bus.credit, "ring_bytes": bus.ring << 20,
            "lookback": recorder.lookback if recorder.record != "never" else 1.0,
            "lookback_bytes": max(64, bus.ring) << 20,
        }  # fmt: skip
        return {"settings": settings, "folder": str(self.output / self.run.uid)}

    def recorder(self) -> dict[str, Any]:
        """Return the order of the recorder."""
        recorder = self.experiment.recorder
        return self._any(
            run=self.run.plain(), folder=str(self.output),
            settings={"compression": recorder.compression},
            durable_interval=recorder.durable_interval,
        )  # fmt: skip

    def source(self, name: str, scratch: Path) -> dict[str, Any]:
        """Return the order of a source; ``scratch`` is a folder that lives as long as the run."""
        settings = self.experiment.sources[name]
        return self._any(
            name=name, type=settings.type, config=settings.config.model_dump(mode="json"),
            corrections=settings.corrections.model_dump(mode="json"),
            attributes=dict(settings.attributes),
            base=str(self.experiment.base), memory=str(scratch / f"{name}.memory"),
        )  # fmt: skip

    def analyses(self, analyses: list[dict[str, Any]], *, recorded: bool) -> dict[str, Any]:
        """Return the order of the analyses of one process; ``recorded``: the file can be read back."""
        return self._any(
            analyses=analyses, folder=str(self.output / self.run.uid) if recorded else None
        )

    def _any(self, **own: Any) -> dict[str, Any]:
        plugins_dir = None if self.plugins_dir is None else str(self.plugins_dir)
        ring = self.experiment.bus.ring > 0
        return {"endpoint": self.endpoint, "plugins_dir": plugins_dir, "ring": ring, **own}
