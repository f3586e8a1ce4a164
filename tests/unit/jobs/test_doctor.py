# SPDX-License-Identifier: MIT
"""What doctor finds, on this machine and on others."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fake_debian import COMMIT, Network, package
from fake_host import DEBIAN_12, GIB, FakeHost
from fake_ndk import make_ndk
from fake_sdk import make_avd, make_sdk

from harness.build import debian, rootfs
from harness.core import process
from harness.core.cache import Cache
from harness.core.errors import InfrastructureError
from harness.core.paths import RESULTS
from harness.jobs import doctor
from harness.jobs.doctor import Finding
from harness.machine import sdk
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.progress import PlainConsole, Reporter
from harness.ui.workspace import Workspace

DEBIAN_13 = {**DEBIAN_12, "VERSION_ID": "13"}
UBUNTU = {"PRETTY_NAME": "Ubuntu 24.04.1 LTS", "ID": "ubuntu", "VERSION_ID": "24.04"}
UBUNTU_26 = {**UBUNTU, "VERSION_ID": "26.04"}


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def ws(tmp_path: Path, said: io.StringIO) -> Workspace:
    return Workspace(Cache(tmp_path / "cache"), Reporter(PlainConsole(file=said)))


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    network.install(monkeypatch)
    return network


@pytest.fixture(autouse=True)
def no_android(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has neither an SDK nor an NDK."""
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


def look(
    ws: Workspace, host: FakeHost, target: Target = LINUX_6_1, source: str | None = None
) -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine(ws, target, source, host)}


def test_a_whole_machine_is_ready(ws: Workspace, host: FakeHost, said: io.StringIO) -> None:
    assert doctor.run(ws, LINUX_6_1, host=host) == 0
    assert "MISS" not in said.getvalue()
    assert "to do" not in said.getvalue()
    assert said.getvalue().splitlines()[-1].startswith("ready")


def test_json_is_one_object_and_nothing_else(
    ws: Workspace, host: FakeHost, network: Network, said: io.StringIO
) -> None:
    network.says = "the security updates cannot be had now"
    assert doctor.run(ws, LINUX_6_1, as_json=True, host=host) == 0
    answer = json.loads(said.getvalue())
    assert answer["ready"] is True
    assert answer["to_do"] == []
    assert {"name", "ok", "detail", "fix", "required"} == answer["findings"][0].keys()


def test_a_missing_tool(ws: Workspace, host: FakeHost, said: io.StringIO) -> None:
    host.lacks = {"adb"}
    assert doctor.run(ws, LINUX_6_1, host=host) == 3
    assert "to do: ./inv setup\nnot ready\n" in said.getvalue()
    finding = look(ws, host)["adb"]
    assert (finding.ok, finding.fix) == (False, "./inv setup")


def test_a_tool_that_only_tests_need(ws: Workspace, host: FakeHost) -> None:
    host.lacks = {"chromium"}
    assert doctor.run(ws, LINUX_6_1, host=host) == 0


@pytest.mark.parametrize(
    ("version", "ok"), [("3.10.12", False), ("3.11.2", True), ("3.14.0rc1", True)]
)
def test_python(ws: Workspace, host: FakeHost, version: str, ok: bool) -> None:
    host.python_version = version
    finding = look(ws, host)["python"]
    assert (finding.ok, finding.detail) == (ok, version)


@pytest.mark.parametrize(
    ("system", "tried"), [(DEBIAN_12, True), (DEBIAN_13, True), (UBUNTU, False), (UBUNTU_26, False)]
)
def test_each_system_is_ready_and_it_is_said_whether_it_was_tried(
    ws: Workspace, host: FakeHost, system: dict[str, str], tried: bool
) -> None:
    host.system = system
    found = look(ws, host)
    assert found["system"].ok
    assert ("tried on Debian 12 and 13 only" in found["system"].detail) != tried
    # Debian's archive has it, whatever this system's own has.
    assert found["source of linux-6.1"].detail == "linux-source-6.1 6.1.1-1, from bookworm"
    assert found["packages of the guest"].detail == "adbd 6.1.1-1 and others, from trixie"
    assert doctor.run(ws, LINUX_6_1, host=host) == 0


def test_without_a_network_only_what_is_in_the_cache_is_there(
    ws: Workspace, host: FakeHost, network: Network
) -> None:
    network.version = None
    found = look(ws, host)
    source, guest = found["source of linux-6.1"], found["packages of the guest"]
    assert (source.ok, source.detail) == (False, "the archive could not be asked")
    assert source.fix.startswith("look at the network; or give a source by hand: --source")
    assert (guest.ok, guest.fix) == (False, "look at the network")
    assert look(ws, host, source="/tree")["source of linux-6.1"].ok
    assert doctor.run(ws, LINUX_6_1, host=host) == 3
    network.known = debian.Known(package(), 0.0)
    ws.cache.ensure("sources", package().key, lambda _folder: None, seal=False)
    ws.cache.ensure("guest-packages", rootfs._packages_key(LINUX_6_1), lambda _folder: None)
    found = look(ws, host)
    assert found["source of linux-6.1"].detail == "linux-source-6.1 6.1.1-1, in the cache"
    assert found["packages of the guest"].detail == "in the cache"
    assert doctor.run(ws, LINUX_6_1, host=host) == 0


NO_TERMINALS = InfrastructureError("gives out no pseudo-terminals", hint="mount -t devpts")
NO_LOOPBACK = InfrastructureError("no server can listen", hint="ip link set lo up")


def no_terminals(host: FakeHost, _: Workspace) -> None:
    host.no_terminals = NO_TERMINALS


def no_loopback(host: FakeHost, _: Workspace) -> None:
    host.no_loopback = NO_LOOPBACK


def read_only_cache(host: FakeHost, ws: Workspace) -> None:
    host.read_only[ws.cache.root] = "Read-only file system"


def read_only_results(host: FakeHost, _: Workspace) -> None:
    host.read_only[RESULTS] = "Read-only file system"


@pytest.mark.parametrize(
    ("spoil", "name", "detail", "fix"),
    [
        (no_terminals, "pseudo-terminals", "gives out no pseudo-terminals", "mount -t devpts"),
        (no_loopback, "loopback network", "no server can listen", "ip link set lo up"),
        (read_only_cache, "cache", "Read-only file system", "set XDG_CACHE_HOME"),
        (read_only_results, "results", "Read-only file system", "clone the repository"),
    ],
)
def test_a_host_on_which_a_run_would_stop_later_is_not_ready(
    ws: Workspace,
    host: FakeHost,
    spoil: Callable[[FakeHost, Workspace], None],
    name: str,
    detail: str,
    fix: str,
) -> None:
    spoil(host, ws)
    found = look(ws, host)[name]
    assert not found.ok
    assert detail in found.detail
    assert fix in found.fix
    assert doctor.run(ws, LINUX_6_1, host=host) == 3


def test_a_system_without_apt(ws: Workspace, host: FakeHost) -> None:
    host.lacks, host.system = {"apt-get"}, {}
    found = look(ws, host)["system"]
    assert found.detail == "unknown: has no apt-get"
    assert not found.required


@pytest.mark.parametrize(
    ("gib", "built", "ok"), [(5, False, False), (5, True, True), (1, True, False)]
)
def test_disk(ws: Workspace, host: FakeHost, gib: int, built: bool, ok: bool) -> None:
    host.disk = gib * GIB
    if built:
        (ws.cache.root / "sources").mkdir(parents=True)
    finding = look(ws, host)["disk"]
    assert finding.ok == ok
    assert bool(finding.fix) != ok
    assert f"{gib}.0 GiB free" in finding.detail


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
def test_versions(ws: Workspace, host: FakeHost, output: str, status: int, version: str) -> None:
    host.answer = lambda _: (status, output)
    assert look(ws, host)["make"].detail == version


def test_each_program_is_asked_in_its_own_way(ws: Workspace, host: FakeHost) -> None:
    asked: list[list[str]] = []

    def answer(argv: Sequence[str]) -> tuple[int, str]:
        asked.append(list(argv))
        return 0, "1.0"

    host.answer = answer
    look(ws, host)
    assert ["/usr/bin/adb", "version"] in asked
    assert ["/usr/bin/make", "--version"] in asked


@pytest.mark.parametrize("content", [b"#!/lib/ld-linux.so.99\n", b"\x7fELFjunk"])
def test_a_tool_that_cannot_be_started_is_missed(
    ws: Workspace, host: FakeHost, said: io.StringIO, tmp_path: Path, content: bytes
) -> None:
    gcc = tmp_path / "arm-eabi-gcc"
    gcc.write_bytes(content)
    gcc.chmod(0o755)

    def answer(argv: Sequence[str]) -> tuple[int, str]:
        return (process.run(argv).status if argv[0] == str(gcc) else 0), "1.0"

    host.answer = answer
    target = LINUX_6_1.with_cross_compile(f"{tmp_path}/arm-eabi-")
    assert doctor.run(ws, target, host=host) == 3
    (line,) = (line for line in said.getvalue().splitlines() if line.startswith("MISS"))
    assert line.startswith(f"MISS  {gcc} ")
    assert "cannot be started here" in line
    assert "libc6-i386" in said.getvalue()


# --- goldfish-3.4 ------------------------------------------------------------------

ON_SDK = GOLDFISH_3_4.on("sdk")


def test_goldfish_on_qemu_needs_nothing_of_android(
    ws: Workspace, host: FakeHost, said: io.StringIO
) -> None:
    assert doctor.run(ws, GOLDFISH_3_4, host=host) == 0
    assert "MISS" not in said.getvalue()
    found = look(ws, host, GOLDFISH_3_4)
    assert found["Android NDK"].detail == "none; Debian's compiler is taken"
    assert not found["Android NDK"].required
    assert found.keys().isdisjoint({"Android SDK", "AVD", "arm-linux-gnueabihf-gcc"})
    assert found["arm-linux-gnueabi-gcc"].ok


def test_the_other_kernel_is_not_asked_about_an_ndk(
    ws: Workspace, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nowhere")
    assert "Android NDK" not in look(ws, host)


def test_a_source_in_git_is_asked_for(ws: Workspace, host: FakeHost, network: Network) -> None:
    found = look(ws, host, GOLDFISH_3_4)["source of goldfish-3.4"]
    url = "https://android.googlesource.com/kernel/goldfish"
    assert (found.ok, found.detail) == (True, f"{url} at {COMMIT[:12]}")
    network.version = None
    assert look(ws, host, GOLDFISH_3_4, "/tree")["source of goldfish-3.4"].detail == "/tree"
    found = look(ws, host, GOLDFISH_3_4)["source of goldfish-3.4"]
    assert (found.ok, found.detail) == (False, "the server could not be asked")
    assert "--source" in found.fix


def test_what_setup_installs_is_to_be_installed_for_this_kernel(
    ws: Workspace, host: FakeHost, said: io.StringIO
) -> None:
    library = "/usr/arm-linux-gnueabi/lib/libc.a"
    host.lacks = {"arm-linux-gnueabi-gcc", "git", library}
    assert doctor.run(ws, GOLDFISH_3_4, host=host) == 3
    text = said.getvalue()
    assert text.count("to do: ") == 1
    assert text.endswith("to do: ./inv setup --kernel goldfish-3.4\nnot ready\n")
    found = look(ws, host, GOLDFISH_3_4)
    assert found["arm-linux-gnueabi-gcc"].detail == "not installed (package gcc-arm-linux-gnueabi)"
    assert found["libc6-dev-armel-cross"].detail == f"not installed ({library} is missing)"


def test_a_compiler_that_was_given_and_is_not_there(ws: Workspace, host: FakeHost) -> None:
    own = ("/opt/bin/gcc", "/opt/bin/ld")
    host.lacks = set(own)
    found = look(ws, host, GOLDFISH_3_4.with_cross_compile("/opt/bin/"))
    for tool in own:
        finding = found[tool]
        assert (finding.ok, finding.detail) == (False, "not installed")
        assert finding.fix == "look at --cross-compile"
    # The programs have Debian's.
    assert found["arm-linux-gnueabi-gcc"].ok


def test_an_ndk_is_named_with_its_revision(
    ws: Workspace, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = make_ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))
    finding = look(ws, host, GOLDFISH_3_4)["Android NDK"]
    assert finding.ok
    assert finding.detail == f"27.0.12077973 ({build}); su of the guest takes Debian's compiler"


def test_an_ndk_does_not_spare_debians_compiler(
    ws: Workspace, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # rootfs.py compiles su with it, whoever builds the kernel and the test programs.
    build = make_ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))
    gcc = "arm-linux-gnueabi-gcc"
    host.lacks = {gcc}
    finding = look(ws, host, GOLDFISH_3_4.with_cross_compile("/opt/arm-eabi-"))[gcc]
    assert (finding.ok, finding.required) == (False, True)


def test_a_variable_that_names_no_ndk_has_to_go(
    ws: Workspace, host: FakeHost, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nowhere")
    assert doctor.run(ws, GOLDFISH_3_4, host=host) == 3
    text = said.getvalue()
    assert "ANDROID_NDK_HOME is /nowhere, where there is no ndk-build\n" in text
    assert "to do: unset ANDROID_NDK_HOME " in text


def test_no_sdk(ws: Workspace, host: FakeHost, said: io.StringIO) -> None:
    assert doctor.run(ws, ON_SDK, host=host) == 3
    lines = said.getvalue().splitlines()
    assert [line.split(maxsplit=3)[1:3] for line in lines if line.startswith("MISS")] == [
        ["Android", "SDK"]
    ]
    assert any(line.startswith("to do: docs/goldfish-3.4.md") for line in lines)
    assert lines[-1] == "not ready"
    # Without an SDK there is nothing to say about its devices.
    assert look(ws, host, ON_SDK).keys().isdisjoint({"AVD", "classic engine"})


def test_no_sdk_as_json(ws: Workspace, host: FakeHost, said: io.StringIO) -> None:
    assert doctor.run(ws, ON_SDK, as_json=True, host=host) == 3
    answer = json.loads(said.getvalue())
    assert answer["ready"] is False
    (missing,) = (finding for finding in answer["findings"] if not finding["ok"])
    assert missing["name"] == "Android SDK"
    assert missing["required"] is True
    assert answer["to_do"] == [missing["fix"]]
    assert "--emulator qemu" in missing["fix"]


def test_an_sdk_with_a_device_is_ready(
    ws: Workspace,
    host: FakeHost,
    said: io.StringIO,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "gfoom")
    make_avd(tmp_path, "pc", "x86", 34)
    assert doctor.run(ws, ON_SDK, host=host) == 0
    assert "to do" not in said.getvalue()
    found = look(ws, host, ON_SDK)
    assert found["Android SDK"].detail == f"emulator 26.1.2: {program}"
    assert found["AVD"].detail == "gfoom"
    assert found.keys().isdisjoint({"classic engine", "file", "32-bit programs"})


def test_an_sdk_without_a_device_that_fits(
    ws: Workspace, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "pc", "x86", 34)
    finding = look(ws, host, ON_SDK)["AVD"]
    assert not finding.ok
    assert finding.detail == "no AVD can run this kernel (pc is for x86, not armeabi-v7a)"
    assert finding.fix == sdk.MAKE_AVD
    assert doctor.run(ws, ON_SDK, host=host) == 3
    make_avd(tmp_path, "young", api=24)
    assert "young is API 24" in look(ws, host, ON_SDK)["AVD"].detail


def test_of_several_devices_one_must_be_named(
    ws: Workspace, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "one")
    make_avd(tmp_path, "other")
    finding = look(ws, host, ON_SDK)["AVD"]
    assert (finding.ok, finding.detail) == (False, "several AVDs are for armeabi-v7a")
    assert finding.fix == "--avd, with one of: one, other"


def test_a_device_without_its_system_image(
    ws: Workspace, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "gfoom")
    next((tmp_path / "sdk").rglob("userdata.img")).unlink()
    finding = look(ws, host, ON_SDK)["AVD"]
    assert (finding.ok, finding.detail) == (False, "the AVD gfoom has no userdata.img")


@pytest.mark.parametrize("there", [True, False])
def test_an_old_launcher_is_a_32_bit_program(
    ws: Workspace, host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    make_sdk(tmp_path, monkeypatch, revision="24.4.1", tools="tools")
    make_avd(tmp_path, "gfoom")
    host.lacks = set() if there else {"/lib/ld-linux.so.2", "file"}
    found = look(ws, host, ON_SDK)
    names = ("32-bit programs", "file")
    assert [found[name].ok for name in names] == [there, there]
    fixes = ["", ""] if there else [f"apt-get install {sdk.PACKAGES_32}", "apt-get install file"]
    assert [found[name].fix for name in names] == fixes


@pytest.mark.parametrize(
    ("revision", "boots"), [("28.0.25", True), ("28.0.25.0", True), ("29.0.1", False)]
)
def test_an_emulator_that_boots_no_goldfish_any_more(
    ws: Workspace,
    host: FakeHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    revision: str,
    boots: bool,
) -> None:
    make_sdk(tmp_path, monkeypatch, revision=revision)
    make_avd(tmp_path, "gfoom")
    assert (doctor.run(ws, ON_SDK, host=host) == 0) == boots
    finding = look(ws, host, ON_SDK).get("classic engine")
    assert (finding is None) == boots
    if finding is not None:
        assert finding.detail == f"gone from emulator {revision}"
        assert "r24.4.1" in finding.fix


def test_a_variable_that_names_no_sdk(
    ws: Workspace, host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_HOME", "/nowhere")
    finding = look(ws, host, ON_SDK)["Android SDK"]
    assert (finding.ok, finding.required) == (False, True)
    assert finding.detail == "ANDROID_HOME is /nowhere, where there is no emulator"


@pytest.mark.parametrize("target", [LINUX_6_1, GOLDFISH_3_4, ON_SDK])
def test_memory_for_each_board(ws: Workspace, host: FakeHost, target: Target) -> None:
    for gib, enough in ((1, False), (2, True)):
        host.memory = gib * GIB
        finding = look(ws, host, target)["memory"]
        assert (finding.ok, finding.detail) == (enough, f"{gib}.0 GiB available, 2 needed")
