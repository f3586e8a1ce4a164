# SPDX-License-Identifier: MIT
"""What doctor finds, on this machine and on others."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import doctor, packages
from harness.cache import Cache
from harness.doctor import Finding
from harness.progress import PlainConsole, Reporter
from harness.targets import LINUX_6_1
from harness.workspace import Workspace

UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nVERSION_ID="24.04"\nID_LIKE=debian\n'
DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def ws(tmp_path: Path, said: io.StringIO) -> Workspace:
    return Workspace(Cache(tmp_path / "cache"), Reporter(PlainConsole(file=said)))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has everything."""
    monkeypatch.setattr(packages, "find_tool", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(doctor, "_tool_version", lambda _tool: "1.0")
    monkeypatch.setattr(doctor, "needed_files", lambda _compilers: {"/": "everything"})
    monkeypatch.setattr(packages, "candidate", lambda _name: "6.1.1-1")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=99 << 30))
    memory = SimpleNamespace(available=9 << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)


def by_name(ws: Workspace, os_release: Path | None = None, **options: str) -> dict[str, Finding]:
    release = os_release or Path("/etc/os-release")
    found = doctor.examine(ws, LINUX_6_1, options.get("source"), os_release=release)
    return {finding.name: finding for finding in found}


def os_release(folder: Path, text: str) -> Path:
    path = folder / "os-release"
    path.write_text(text)
    return path


@pytest.mark.usefixtures("whole")
def test_a_whole_machine_is_ready(ws: Workspace, said: io.StringIO, tmp_path: Path) -> None:
    release = os_release(tmp_path, DEBIAN_12)
    assert doctor.run(ws, LINUX_6_1, os_release=release) == 0
    assert "MISS" not in said.getvalue()
    assert "to do" not in said.getvalue()
    assert said.getvalue().splitlines()[-1].startswith("ready")


@pytest.mark.usefixtures("whole")
def test_json_is_one_object_and_nothing_else(ws: Workspace, said: io.StringIO) -> None:
    assert doctor.run(ws, LINUX_6_1, as_json=True) == 0
    answer = json.loads(said.getvalue())
    assert answer["ready"] is True
    assert answer["to_do"] == []
    assert {"name", "ok", "detail", "fix", "required"} == answer["findings"][0].keys()


@pytest.mark.usefixtures("whole")
def test_a_missing_tool(ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_tool", lambda tool: None if tool == "adb" else tool)
    assert doctor.run(ws, LINUX_6_1) == 3
    assert "to do: ./inv setup\nnot ready\n" in said.getvalue()
    finding = by_name(ws)["adb"]
    assert (finding.ok, finding.fix) == (False, "./inv setup")


@pytest.mark.usefixtures("whole")
def test_ubuntu(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "candidate", lambda _name: None)
    monkeypatch.setattr(packages, "lists_age", lambda: 60.0)
    release = os_release(tmp_path, UBUNTU)
    found = by_name(ws, release)
    assert "Ubuntu 24.04.1 LTS: tried on Debian 12 only" in found["system"].detail
    assert found["system"].ok
    source = found["source of linux-6.1"]
    assert not source.ok
    assert "--source" in source.fix
    assert doctor.run(ws, LINUX_6_1, os_release=release) == 3
    assert by_name(ws, release, source="/tree")["source of linux-6.1"].ok
    assert doctor.run(ws, LINUX_6_1, "/tree", os_release=release) == 0


@pytest.mark.usefixtures("whole")
def test_no_package_lists(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "candidate", lambda _name: None)
    monkeypatch.setattr(packages, "lists_age", lambda: float("inf"))
    assert by_name(ws)["source of linux-6.1"].fix == "./inv setup"


@pytest.mark.usefixtures("whole")
def test_a_system_without_apt(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _tool: None)
    found = by_name(ws, tmp_path / "none")["system"]
    assert found.detail == "unknown: has no apt-get"
    assert not found.required


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("gib", "built", "ok"), [(5, False, False), (5, True, True), (1, True, False)]
)
def test_disk(
    ws: Workspace, gib: int, built: bool, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=gib << 30))
    if built:
        (ws.cache.root / "sources").mkdir(parents=True)
    finding = by_name(ws)["disk"]
    assert finding.ok == ok
    assert bool(finding.fix) != ok
    assert f"{gib}.0 GiB free" in finding.detail


@pytest.mark.usefixtures("whole")
def test_memory(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=1 << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    assert not by_name(ws)["memory"].ok


@pytest.mark.parametrize(
    ("output", "status", "version"),
    [
        ("Android Debug Bridge version 1.0.41\nVersion 29.0.6-debian\n", 0, "29.0.6"),
        ("arm-linux-gnueabihf-gcc (Debian 12.2.0-14) 12.2.0\n", 0, "12.2.0"),
        ("QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7)\n", 0, "7.2.17"),
        ("usage: x\n", 0, "here"),
        ("x: unknown option 1.2.3\n", 1, "here"),
    ],
)
def test_versions(output: str, status: int, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done = SimpleNamespace(status=status, output=output)
    monkeypatch.setattr("harness.process.run", lambda *_, **__: done)
    assert doctor._tool_version("x") == version
