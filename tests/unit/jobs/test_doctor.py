# SPDX-License-Identifier: MIT
"""What doctor finds, on this machine and on others."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_ndk import make_ndk
from fake_sdk import make_avd, make_sdk

from harness.build import debian, git_source, rootfs
from harness.core.cache import Cache
from harness.core.errors import SourceError
from harness.jobs import doctor, packages
from harness.jobs.doctor import Finding
from harness.machine import sdk
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.progress import PlainConsole, Reporter
from harness.ui.workspace import Workspace

UBUNTU = 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\nID=ubuntu\nVERSION_ID="24.04"\nID_LIKE=debian\n'
DEBIAN_12 = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def ws(tmp_path: Path, said: io.StringIO) -> Workspace:
    return Workspace(Cache(tmp_path / "cache"), Reporter(PlainConsole(file=said)))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has everything."""
    monkeypatch.setattr(packages, "find_tool", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(doctor, "_tool_version", lambda _tool: "1.0")
    monkeypatch.setattr(doctor, "needed_files", lambda _compilers: {"/": "everything"})
    monkeypatch.setattr(debian, "ask", found_in_debian)
    monkeypatch.setattr(git_source, "commit_of", lambda _ws, _source: "a" * 40)
    monkeypatch.setattr(doctor, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=99 << 30))
    memory = SimpleNamespace(available=9 << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)


def found_in_debian(
    _ws: Workspace, name: str, _suite: str, _architecture: str = "", *, security: bool = True
) -> debian.Package:
    return debian.Package(name, "6.1.1-1", "http://x/x.deb", "x.deb", "0" * 64)


def not_found(*_: object, **__: object) -> debian.Package:
    raise SourceError("the archive could not be asked", hint="look at the network")


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
def test_what_is_said_meanwhile_is_not_in_the_json(
    ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def telling(ws: Workspace, name: str, suite: str, *_: str, **__: bool) -> debian.Package:
        ws.reporter.say("the security updates cannot be had now")
        return found_in_debian(ws, name, suite)

    monkeypatch.setattr(debian, "ask", telling)
    doctor.run(ws, LINUX_6_1, as_json=True)
    assert json.loads(said.getvalue())["ready"] is True


@pytest.mark.usefixtures("whole")
def test_a_missing_tool(ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_tool", lambda tool: None if tool == "adb" else tool)
    assert doctor.run(ws, LINUX_6_1) == 3
    assert "to do: ./inv setup\nnot ready\n" in said.getvalue()
    finding = by_name(ws)["adb"]
    assert (finding.ok, finding.fix) == (False, "./inv setup")


DEBIAN_13 = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n'
UBUNTU_26 = 'PRETTY_NAME="Ubuntu 26.04 LTS"\nID=ubuntu\nVERSION_ID="26.04"\nID_LIKE=debian\n'


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("text", "tried"), [(DEBIAN_12, True), (DEBIAN_13, True), (UBUNTU, False), (UBUNTU_26, False)]
)
def test_each_system_is_ready_and_it_is_said_whether_it_was_tried(
    ws: Workspace, tmp_path: Path, text: str, tried: bool
) -> None:
    release = os_release(tmp_path, text)
    found = by_name(ws, release)
    assert found["system"].ok
    assert ("tried on Debian 12 and 13 only" in found["system"].detail) != tried
    # Debian's archive has it, whatever this system's own has.
    assert found["source of linux-6.1"].detail == "linux-source-6.1 6.1.1-1, from bookworm"
    assert found["packages of the guest"].detail == "adbd 6.1.1-1 and others, from trixie"
    assert doctor.run(ws, LINUX_6_1, os_release=release) == 0


@pytest.mark.usefixtures("whole")
def test_without_a_network_only_what_is_in_the_cache_is_there(
    ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "ask", not_found)
    found = by_name(ws)
    source, guest = found["source of linux-6.1"], found["packages of the guest"]
    assert (source.ok, source.detail) == (False, "the archive could not be asked")
    assert source.fix.startswith("look at the network; or give a source by hand: --source")
    assert (guest.ok, guest.fix) == (False, "look at the network")
    assert by_name(ws, source="/tree")["source of linux-6.1"].ok
    assert doctor.run(ws, LINUX_6_1) == 3
    package = found_in_debian(ws, "linux-source-6.1", "bookworm")
    monkeypatch.setattr(debian, "known", lambda *_: debian.Known(package, 0.0))
    ws.cache.ensure("sources", package.key, lambda _folder: None, seal=False)
    ws.cache.ensure("guest-packages", rootfs._packages_key(LINUX_6_1), lambda _folder: None)
    found = by_name(ws)
    assert found["source of linux-6.1"].detail == "linux-source-6.1 6.1.1-1, in the cache"
    assert found["packages of the guest"].detail == "in the cache"
    assert doctor.run(ws, LINUX_6_1) == 0


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("what", "function", "finding", "message"),
    [
        ("out of pty devices", "os.openpty", "pseudo-terminals", "gives out no pseudo-terminals"),
        ("no such address", "socket.socket.bind", "loopback network", "no server can listen"),
        ("Read-only file system", "tempfile.TemporaryFile", "cache", "cannot write to"),
        ("Read-only file system", "tempfile.TemporaryFile", "results", "cannot write to"),
    ],
)
def test_a_host_on_which_a_run_would_stop_later_is_not_ready(
    ws: Workspace,
    what: str,
    function: str,
    finding: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(1, what)

    monkeypatch.setattr(function, fail)
    found = by_name(ws)[finding]
    assert not found.ok
    assert message in found.detail
    assert what in found.detail
    assert found.fix
    assert doctor.run(ws, LINUX_6_1) == 3


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
    monkeypatch.setattr("harness.core.process.run", lambda *_, **__: done)
    assert doctor._tool_version("x") == version


@pytest.mark.parametrize("content", [b"#!/lib/ld-linux.so.99\n", b"\x7fELFjunk"])
def test_a_tool_that_cannot_be_started_is_missed(
    ws: Workspace, said: io.StringIO, tmp_path: Path, content: bytes
) -> None:
    gcc = tmp_path / "arm-eabi-gcc"
    gcc.write_bytes(content)
    gcc.chmod(0o755)
    target = LINUX_6_1.with_cross_compile(f"{tmp_path}/arm-eabi-")
    assert doctor.run(ws, target) == 3
    (line,) = (line for line in said.getvalue().splitlines() if line.startswith(f"MISS  {gcc} "))
    assert "cannot be started here" in line
    assert "libc6-i386" in said.getvalue()


# --- goldfish-3.4 ------------------------------------------------------------------

ON_SDK = GOLDFISH_3_4.on("sdk")


@pytest.fixture
def no_android(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: None) -> None:
    """A machine that has everything but an SDK and an NDK."""
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    # Where this is not Debian, apt-get is looked for.
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(apt.parent))


def look(ws: Workspace, target: Target, source: str | None = None) -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine(ws, target, source)}


@pytest.mark.usefixtures("no_android")
def test_goldfish_on_qemu_needs_nothing_of_android(
    ws: Workspace, said: io.StringIO, tmp_path: Path
) -> None:
    assert doctor.run(ws, GOLDFISH_3_4, os_release=os_release(tmp_path, DEBIAN_12)) == 0
    assert "MISS" not in said.getvalue()
    found = look(ws, GOLDFISH_3_4)
    assert found["Android NDK"].detail == "none; Debian's compiler is taken"
    assert not found["Android NDK"].required
    assert found.keys().isdisjoint({"Android SDK", "AVD", "arm-linux-gnueabihf-gcc"})
    assert found["arm-linux-gnueabi-gcc"].ok


@pytest.mark.usefixtures("no_android")
def test_the_other_kernel_is_not_asked_about_an_ndk(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nowhere")
    assert "Android NDK" not in look(ws, LINUX_6_1)


@pytest.mark.usefixtures("no_android")
def test_a_source_in_git_is_asked_for(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(ws, GOLDFISH_3_4)["source of goldfish-3.4"]
    url = "https://android.googlesource.com/kernel/goldfish"
    assert (found.ok, found.detail) == (True, f"{url} at {'a' * 12}")
    assert look(ws, GOLDFISH_3_4, "/tree")["source of goldfish-3.4"].detail == "/tree"
    monkeypatch.setattr(git_source, "commit_of", not_found)
    found = look(ws, GOLDFISH_3_4)["source of goldfish-3.4"]
    assert (found.ok, found.detail) == (False, "the archive could not be asked")
    assert "--source" in found.fix


@pytest.mark.usefixtures("no_android")
def test_what_setup_installs_is_to_be_installed_for_this_kernel(
    ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = ("arm-linux-gnueabi-gcc", "git")
    monkeypatch.setattr(packages, "find_tool", lambda tool: None if tool in lacking else tool)
    files = {"/no/such/libc.a": "libc6-dev-armel-cross"}
    monkeypatch.setattr(doctor, "needed_files", lambda _compilers: files)
    assert doctor.run(ws, GOLDFISH_3_4) == 3
    text = said.getvalue()
    assert text.count("to do: ") == 1
    assert text.endswith("to do: ./inv setup --kernel goldfish-3.4\nnot ready\n")
    found = look(ws, GOLDFISH_3_4)
    assert found["arm-linux-gnueabi-gcc"].detail == "not installed (package gcc-arm-linux-gnueabi)"
    assert found["libc6-dev-armel-cross"].detail == "not installed (/no/such/libc.a is missing)"


@pytest.mark.usefixtures("no_android")
def test_a_compiler_that_was_given_and_is_not_there(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = GOLDFISH_3_4.with_cross_compile("/opt/bin/")
    monkeypatch.setattr(
        packages, "find_tool", lambda tool: None if tool.startswith("/opt/bin/") else tool
    )
    found = look(ws, target)
    for tool in ("/opt/bin/gcc", "/opt/bin/ld"):
        finding = found[tool]
        assert (finding.ok, finding.detail) == (False, "not installed")
        assert finding.fix == "look at --cross-compile"
    # The programs have Debian's.
    assert found["arm-linux-gnueabi-gcc"].ok


@pytest.mark.usefixtures("no_android")
def test_an_ndk_is_named_with_its_revision(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = make_ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))
    finding = look(ws, GOLDFISH_3_4)["Android NDK"]
    assert finding.ok
    assert finding.detail == f"27.0.12077973 ({build}); su of the guest takes Debian's compiler"


@pytest.mark.usefixtures("no_android")
def test_an_ndk_does_not_spare_debians_compiler(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # rootfs.py compiles su with it, whoever builds the kernel and the test programs.
    build = make_ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))
    gcc = "arm-linux-gnueabi-gcc"
    monkeypatch.setattr(packages, "find_tool", lambda tool: None if tool == gcc else tool)
    finding = look(ws, GOLDFISH_3_4.with_cross_compile("/opt/arm-eabi-"))[gcc]
    assert (finding.ok, finding.required) == (False, True)


@pytest.mark.usefixtures("no_android")
def test_a_variable_that_names_no_ndk_has_to_go(
    ws: Workspace, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nowhere")
    assert doctor.run(ws, GOLDFISH_3_4) == 3
    text = said.getvalue()
    assert "ANDROID_NDK_HOME is /nowhere, where there is no ndk-build\n" in text
    assert "to do: unset ANDROID_NDK_HOME " in text


@pytest.mark.usefixtures("no_android")
def test_no_sdk(ws: Workspace, said: io.StringIO) -> None:
    assert doctor.run(ws, ON_SDK) == 3
    lines = said.getvalue().splitlines()
    assert [line.split(maxsplit=3)[1:3] for line in lines if line.startswith("MISS")] == [
        ["Android", "SDK"]
    ]
    assert any(line.startswith("to do: docs/goldfish-3.4.md") for line in lines)
    assert lines[-1] == "not ready"
    # Without an SDK there is nothing to say about its devices.
    assert look(ws, ON_SDK).keys().isdisjoint({"AVD", "classic engine"})


@pytest.mark.usefixtures("no_android")
def test_no_sdk_as_json(ws: Workspace, said: io.StringIO) -> None:
    assert doctor.run(ws, ON_SDK, as_json=True) == 3
    answer = json.loads(said.getvalue())
    assert answer["ready"] is False
    (missing,) = (finding for finding in answer["findings"] if not finding["ok"])
    assert missing["name"] == "Android SDK"
    assert missing["required"] is True
    assert answer["to_do"] == [missing["fix"]]
    assert "--emulator qemu" in missing["fix"]


@pytest.mark.usefixtures("no_android")
def test_an_sdk_with_a_device_is_ready(
    ws: Workspace, said: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "gfoom")
    make_avd(tmp_path, "pc", "x86", 34)
    assert doctor.run(ws, ON_SDK, os_release=os_release(tmp_path, DEBIAN_12)) == 0
    assert "to do" not in said.getvalue()
    found = look(ws, ON_SDK)
    assert found["Android SDK"].detail == f"emulator 26.1.2: {program}"
    assert found["AVD"].detail == "gfoom"
    assert found.keys().isdisjoint({"classic engine", "file", "32-bit programs"})


@pytest.mark.usefixtures("no_android")
def test_an_sdk_without_a_device_that_fits(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "pc", "x86", 34)
    finding = look(ws, ON_SDK)["AVD"]
    assert not finding.ok
    assert finding.detail == "no AVD can run this kernel (pc is for x86, not armeabi-v7a)"
    assert finding.fix == sdk.MAKE_AVD
    assert doctor.run(ws, ON_SDK) == 3
    make_avd(tmp_path, "young", api=24)
    assert "young is API 24" in look(ws, ON_SDK)["AVD"].detail


@pytest.mark.usefixtures("no_android")
def test_of_several_devices_one_must_be_named(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "one")
    make_avd(tmp_path, "other")
    finding = look(ws, ON_SDK)["AVD"]
    assert (finding.ok, finding.detail) == (False, "several AVDs are for armeabi-v7a")
    assert finding.fix == "--avd, with one of: one, other"


@pytest.mark.usefixtures("no_android")
def test_a_device_without_its_system_image(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "gfoom")
    next((tmp_path / "sdk").rglob("userdata.img")).unlink()
    finding = look(ws, ON_SDK)["AVD"]
    assert (finding.ok, finding.detail) == (False, "the AVD gfoom has no userdata.img")


@pytest.mark.usefixtures("no_android")
@pytest.mark.parametrize("there", [True, False])
def test_an_old_launcher_is_a_32_bit_program(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    make_sdk(tmp_path, monkeypatch, revision="24.4.1", tools="tools")
    make_avd(tmp_path, "gfoom")
    loader = tmp_path / "ld-linux.so.2"
    monkeypatch.setattr(doctor, "_LOADER_32", loader)
    if there:
        loader.touch()
    else:
        monkeypatch.setattr(packages, "find_tool", lambda tool: None if tool == "file" else tool)
    found = look(ws, ON_SDK)
    names = ("32-bit programs", "file")
    assert [found[name].ok for name in names] == [there, there]
    fixes = ["", ""] if there else [f"apt-get install {sdk.PACKAGES_32}", "apt-get install file"]
    assert [found[name].fix for name in names] == fixes


@pytest.mark.usefixtures("no_android")
@pytest.mark.parametrize(
    ("revision", "boots"), [("28.0.25", True), ("28.0.25.0", True), ("29.0.1", False)]
)
def test_an_emulator_that_boots_no_goldfish_any_more(
    ws: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
    boots: bool,
) -> None:
    make_sdk(tmp_path, monkeypatch, revision=revision)
    make_avd(tmp_path, "gfoom")
    assert (doctor.run(ws, ON_SDK) == 0) == boots
    finding = look(ws, ON_SDK).get("classic engine")
    assert (finding is None) == boots
    if finding is not None:
        assert finding.detail == f"gone from emulator {revision}"
        assert "r24.4.1" in finding.fix


@pytest.mark.usefixtures("no_android")
def test_a_variable_that_names_no_sdk(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_HOME", "/nowhere")
    finding = look(ws, ON_SDK)["Android SDK"]
    assert (finding.ok, finding.required) == (False, True)
    assert finding.detail == "ANDROID_HOME is /nowhere, where there is no emulator"


@pytest.mark.usefixtures("no_android")
@pytest.mark.parametrize("target", [GOLDFISH_3_4, ON_SDK], ids=["qemu", "sdk"])
def test_memory_for_each_board(
    ws: Workspace, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gib, enough in ((1, False), (2, True)):
        memory = SimpleNamespace(available=gib << 30)
        monkeypatch.setattr("psutil.virtual_memory", lambda memory=memory: memory)
        finding = look(ws, target)["memory"]
        assert (finding.ok, finding.detail) == (enough, f"{gib}.0 GiB available, 2 needed")
