"""`daq doctor` says what is wrong with a machine, and what to do."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from daq.cli import doctor, main
from daq.cli.doctor import Finding, examine


def by_what(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_a_line_for_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--output", str(tmp_path / "runs")])

    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "warn", "fail") for line in lines)
    for what in ("python", "libraries", "HDF5", "viewer", "shared memory", "runtime folder", "output",
                 "plugins", "clock"):  # fmt: skip
        assert any(line[5:].startswith(what) for line in lines), (what, lines)
    assert not (tmp_path / "runs").exists()


def test_nothing_fails_here(tmp_path: Path) -> None:
    assert [
        f for f in examine(tmp_path) if f.level == "fail" and not f.what.startswith("output")
    ] == []


def test_qt_that_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda n: "6.12.0" if n == "PySide6_Essentials" else real(n)
    )
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))

    finding = by_what(list(doctor.libraries()))["PySide6"]

    assert finding.level == "fail"
    assert "pip install 'PySide6-Essentials>=6.8.3,<6.12'" in finding.advice


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("h5py", "bitshuffle"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)

    found = by_what(list(doctor.libraries()))

    assert found["h5py"].level == "fail"
    assert "bitshuffle" not in found


def test_no_fast_compressor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitshuffle", None)

    assert by_what(list(doctor.compression()))["bitshuffle"].level == "warn"


def test_little_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daq.posix.free_shared_memory", lambda: 64 << 20)

    (finding,) = doctor.shared_memory()

    assert finding.level == "warn"
    assert "set bus.ring = 32," in finding.advice


def test_a_runtime_folder_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rt").mkdir(mode=0o755)
    monkeypatch.setenv("GLASSWATCH_RUNTIME_DIR", str(tmp_path / "rt"))

    (finding,) = doctor.sockets()

    assert finding.level == "fail"
    assert "0700" in finding.found


def test_a_socket_path_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSWATCH_RUNTIME_DIR", str(tmp_path / ("x" * 110)))

    (finding,) = doctor.sockets()

    assert finding.level == "fail"
    assert "longer than" in finding.found


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    (finding,) = doctor.disk(tmp_path / "file" / "runs")

    assert (finding.level, finding.what) == ("fail", "output")


def test_little_space_and_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LITTLE_SPACE", 1e30)
    monkeypatch.setattr(doctor, "SLOW_DISK", 1e30)
    monkeypatch.setattr(doctor, "SAMPLE_BYTES", 2 << 20)

    found = by_what(list(doctor.disk(tmp_path)))

    assert found["output"].level == "warn"
    assert found["disk speed"].level == "warn"
    assert list(tmp_path.iterdir()) == []


def test_plugins_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("daq.discovery._loaded", None)
    (tmp_path / "gw_doctor_bad.py").write_text("raise RuntimeError('[x] broken')")

    assert main(["doctor", "--output", str(tmp_path), "--plugins-dir", str(tmp_path)]) == 1
    assert "fail plugin gw_doctor_bad: RuntimeError: [x] broken; mend it" in capsys.readouterr().out


def test_a_check_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("no statvfs here")

    monkeypatch.setattr("daq.posix.free_shared_memory", broken)

    findings = list(examine(tmp_path))

    assert by_what(findings)["shared_memory"].found == "RuntimeError: no statvfs here"
    assert findings[-1].what == "clock"


def test_a_clock_before_this_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)

    (finding,) = doctor.clock()

    assert finding.level == "warn"
    assert finding.found.startswith("1970-01-01")
