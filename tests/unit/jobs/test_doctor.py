# SPDX-License-Identifier: MIT
"""What doctor finds, on this machine and on others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from fake_debian import COMMIT, package
from fake_host import DEBIAN_12, GIB, Machine
from fake_ndk import make_ndk
from fake_sdk import make_avd, make_sdk

from harness.build import debian, rootfs
from harness.core import process
from harness.core.errors import InfrastructureError
from harness.core.paths import RESULTS
from harness.jobs import doctor
from harness.jobs.doctor import Finding
from harness.machine import sdk
from harness.targets.goldfish_3_4 import GOLDFISH_3_4
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target

DEBIAN_13 = {**DEBIAN_12, "VERSION_ID": "13"}
UBUNTU = {"PRETTY_NAME": "Ubuntu 24.04.1 LTS", "ID": "ubuntu", "VERSION_ID": "24.04"}
UBUNTU_26 = {**UBUNTU, "VERSION_ID": "26.04"}


@pytest.fixture(autouse=True)
def no_android(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has neither an SDK nor an NDK."""
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT", "ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ndk-build of the host's NDK."""
    build = make_ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(build.parent))
    return build


def run(machine: Machine, target: Target = LINUX_6_1, *, as_json: bool = False) -> int:
    return doctor.run(machine.ws, target, as_json=as_json, host=machine.host)


def look(
    machine: Machine, target: Target = LINUX_6_1, source: str | None = None
) -> dict[str, Finding]:
    found = doctor.examine(machine.ws, target, source, machine.host)
    return {finding.name: finding for finding in found}


def test_a_whole_machine_is_ready(machine: Machine) -> None:
    assert run(machine) == 0
    assert "MISS" not in machine.said
    assert "to do" not in machine.said
    assert machine.said.splitlines()[-1].startswith("ready")


def test_json_is_one_object_and_nothing_else(machine: Machine) -> None:
    machine.network.says = "the security updates cannot be had now"
    assert run(machine, LINUX_6_1, as_json=True) == 0
    answer = json.loads(machine.said)
    assert answer["ready"] is True
    assert answer["to_do"] == []
    assert {"name", "ok", "detail", "fix", "required"} == answer["findings"][0].keys()


def test_a_missing_tool(machine: Machine) -> None:
    machine.host.lacks = {"adb"}
    assert run(machine) == 3
    assert "to do: ./inv setup\nnot ready\n" in machine.said
    finding = look(machine)["adb"]
    assert (finding.ok, finding.fix) == (False, "./inv setup")


def test_a_tool_that_only_tests_need(machine: Machine) -> None:
    machine.host.lacks = {"chromium"}
    assert run(machine) == 0


@pytest.mark.parametrize(
    ("version", "ok"), [("3.10.12", False), ("3.11.2", True), ("3.14.0rc1", True)]
)
def test_python(machine: Machine, version: str, ok: bool) -> None:
    machine.host.python_version = version
    finding = look(machine)["python"]
    assert (finding.ok, finding.detail) == (ok, version)


@pytest.mark.parametrize(
    ("system", "tried"), [(DEBIAN_12, True), (DEBIAN_13, True), (UBUNTU, False), (UBUNTU_26, False)]
)
def test_each_system_is_ready_and_it_is_said_whether_it_was_tried(
    machine: Machine, system: dict[str, str], tried: bool
) -> None:
    machine.host.system = system
    found = look(machine)
    assert found["system"].ok
    assert ("tried on Debian 12 and 13 only" in found["system"].detail) != tried
    # Debian's archive has it, whatever this system's own has.
    assert found["source of linux-6.1"].detail == "linux-source-6.1 6.1.1-1, from bookworm"
    assert found["packages of the guest"].detail == "adbd 6.1.1-1 and others, from trixie"
    assert run(machine) == 0


def test_without_a_network_only_what_is_in_the_cache_is_there(machine: Machine) -> None:
    machine.network.version = None
    found = look(machine)
    source, guest = found["source of linux-6.1"], found["packages of the guest"]
    assert (source.ok, source.detail) == (False, "the archive could not be asked")
    assert source.fix.startswith("look at the network; or give a source by hand: --source")
    assert (guest.ok, guest.fix) == (False, "look at the network")
    assert look(machine, source="/tree")["source of linux-6.1"].ok
    assert run(machine) == 3
    machine.network.known = debian.Known(package(), 0.0)
    machine.ws.cache.ensure("sources", package().key, lambda _folder: None, seal=False)
    machine.ws.cache.ensure("guest-packages", rootfs._packages_key(LINUX_6_1), lambda _folder: None)
    found = look(machine)
    assert found["source of linux-6.1"].detail == "linux-source-6.1 6.1.1-1, in the cache"
    assert found["packages of the guest"].detail == "in the cache"
    assert run(machine) == 0


@pytest.mark.parametrize(
    ("name", "detail", "fix"),
    [
        ("pseudo-terminals", "gives out no pseudo-terminals", "mount -t devpts"),
        ("loopback network", "no server can listen", "ip link set lo up"),
        ("cache", "Read-only file system", "set XDG_CACHE_HOME"),
        ("results", "Read-only file system", "set INVOKE_GOLDFISH_OOM_RESULTS"),
    ],
)
def test_a_host_on_which_a_run_would_stop_later_is_not_ready(
    machine: Machine, name: str, detail: str, fix: str
) -> None:
    match name:
        case "pseudo-terminals":
            machine.host.no_terminals = InfrastructureError(detail, hint=fix)
        case "loopback network":
            machine.host.no_loopback = InfrastructureError(detail, hint=fix)
        case _:
            folder = machine.ws.cache.root if name == "cache" else RESULTS
            machine.host.read_only[folder] = detail
    found = look(machine)[name]
    assert not found.ok
    assert detail in found.detail
    assert fix in found.fix
    assert run(machine) == 3


def test_a_system_without_apt(machine: Machine) -> None:
    machine.host.lacks, machine.host.system = {"apt-get"}, {}
    found = look(machine)["system"]
    assert found.detail == "unknown: has no apt-get"
    assert not found.required


@pytest.mark.parametrize(
    ("gib", "built", "ok"), [(5, False, False), (5, True, True), (1, True, False)]
)
def test_disk(machine: Machine, gib: int, built: bool, ok: bool) -> None:
    machine.host.disk = gib * GIB
    if built:
        (machine.ws.cache.root / "sources").mkdir(parents=True)
    finding = look(machine)["disk"]
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
def test_versions(machine: Machine, output: str, status: int, version: str) -> None:
    machine.host.answer = lambda _: (status, output)
    assert look(machine)["make"].detail == version


def test_each_program_is_asked_in_its_own_way(machine: Machine) -> None:
    asked: list[list[str]] = []

    def answer(argv: Sequence[str]) -> tuple[int, str]:
        asked.append(list(argv))
        return 0, "1.0"

    machine.host.answer = answer
    look(machine)
    assert ["/usr/bin/adb", "version"] in asked
    assert ["/usr/bin/make", "--version"] in asked


@pytest.mark.parametrize("content", [b"#!/lib/ld-linux.so.99\n", b"\x7fELFjunk"])
def test_a_tool_that_cannot_be_started_is_missed(
    machine: Machine, tmp_path: Path, content: bytes
) -> None:
    gcc = tmp_path / "arm-eabi-gcc"
    gcc.write_bytes(content)
    gcc.chmod(0o755)

    def answer(argv: Sequence[str]) -> tuple[int, str]:
        return (process.run(argv).status if argv[0] == str(gcc) else 0), "1.0"

    machine.host.answer = answer
    target = LINUX_6_1.with_cross_compile(f"{tmp_path}/arm-eabi-")
    assert run(machine, target) == 3
    (line,) = (line for line in machine.said.splitlines() if line.startswith("MISS"))
    assert line.startswith(f"MISS  {gcc} ")
    assert "cannot be started here" in line
    assert "libc6-i386" in machine.said


# --- goldfish-3.4 ------------------------------------------------------------------

ON_SDK = GOLDFISH_3_4.on("sdk")


def test_goldfish_on_qemu_needs_nothing_of_android(machine: Machine) -> None:
    assert run(machine, GOLDFISH_3_4) == 0
    assert "MISS" not in machine.said
    found = look(machine, GOLDFISH_3_4)
    assert found["Android NDK"].detail == "none; Debian's compiler is taken"
    assert not found["Android NDK"].required
    assert found.keys().isdisjoint({"Android SDK", "AVD", "arm-linux-gnueabihf-gcc"})
    assert found["arm-linux-gnueabi-gcc"].ok


def test_the_other_kernel_is_not_asked_about_an_ndk(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nowhere")
    assert "Android NDK" not in look(machine)


def test_a_source_in_git_is_asked_for(machine: Machine) -> None:
    found = look(machine, GOLDFISH_3_4)["source of goldfish-3.4"]
    url = "https://android.googlesource.com/kernel/goldfish"
    assert (found.ok, found.detail) == (True, f"{url} at {COMMIT[:12]}")
    machine.network.version = None
    assert look(machine, GOLDFISH_3_4, "/tree")["source of goldfish-3.4"].detail == "/tree"
    found = look(machine, GOLDFISH_3_4)["source of goldfish-3.4"]
    assert (found.ok, found.detail) == (False, "the server could not be asked")
    assert "--source" in found.fix


def test_what_setup_installs_is_to_be_installed_for_this_kernel(machine: Machine) -> None:
    library = "/usr/arm-linux-gnueabi/lib/libc.a"
    machine.host.lacks = {"arm-linux-gnueabi-gcc", "git", library}
    assert run(machine, GOLDFISH_3_4) == 3
    assert machine.said.count("to do: ") == 1
    assert machine.said.endswith("to do: ./inv setup --kernel goldfish-3.4\nnot ready\n")
    found = look(machine, GOLDFISH_3_4)
    assert found["arm-linux-gnueabi-gcc"].detail == "not installed (package gcc-arm-linux-gnueabi)"
    assert found["libc6-dev-armel-cross"].detail == f"not installed ({library} is missing)"


def test_a_compiler_that_was_given_and_is_not_there(machine: Machine) -> None:
    own = ("/opt/bin/gcc", "/opt/bin/ld")
    machine.host.lacks = set(own)
    found = look(machine, GOLDFISH_3_4.with_cross_compile("/opt/bin/"))
    for tool in own:
        finding = found[tool]
        assert (finding.ok, finding.detail) == (False, "not installed")
        assert finding.fix == "look at --cross-compile"
    # The programs have Debian's.
    assert found["arm-linux-gnueabi-gcc"].ok


def test_an_ndk_is_named_with_its_revision(machine: Machine, ndk: Path) -> None:
    finding = look(machine, GOLDFISH_3_4)["Android NDK"]
    assert finding.ok
    assert finding.detail == f"27.0.12077973 ({ndk}); su of the guest takes Debian's compiler"


@pytest.mark.usefixtures("ndk")
def test_an_ndk_does_not_spare_debians_compiler(machine: Machine) -> None:
    # rootfs.py compiles su with it, whoever builds the kernel and the test programs.
    gcc = "arm-linux-gnueabi-gcc"
    machine.host.lacks = {gcc}
    finding = look(machine, GOLDFISH_3_4.with_cross_compile("/opt/arm-eabi-"))[gcc]
    assert (finding.ok, finding.required) == (False, True)


def test_a_variable_that_names_no_ndk_has_to_go(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nowhere")
    assert run(machine, GOLDFISH_3_4) == 3
    assert "ANDROID_NDK_HOME is /nowhere, where there is no ndk-build\n" in machine.said
    assert "to do: unset ANDROID_NDK_HOME " in machine.said


def test_no_sdk(machine: Machine) -> None:
    assert run(machine, ON_SDK) == 3
    lines = machine.said.splitlines()
    assert [line.split(maxsplit=3)[1:3] for line in lines if line.startswith("MISS")] == [
        ["Android", "SDK"]
    ]
    assert any(line.startswith("to do: docs/goldfish-3.4.md") for line in lines)
    assert lines[-1] == "not ready"
    # Without an SDK there is nothing to say about its devices.
    assert look(machine, ON_SDK).keys().isdisjoint({"AVD", "classic engine"})


def test_no_sdk_as_json(machine: Machine) -> None:
    assert run(machine, ON_SDK, as_json=True) == 3
    answer = json.loads(machine.said)
    assert answer["ready"] is False
    (missing,) = (finding for finding in answer["findings"] if not finding["ok"])
    assert missing["name"] == "Android SDK"
    assert missing["required"] is True
    assert answer["to_do"] == [missing["fix"]]
    assert "--emulator qemu" in missing["fix"]


def test_an_sdk_with_a_device_is_ready(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "gfoom")
    make_avd(tmp_path, "pc", "x86", 34)
    assert run(machine, ON_SDK) == 0
    assert "to do" not in machine.said
    found = look(machine, ON_SDK)
    assert found["Android SDK"].detail == f"emulator 26.1.2: {program}"
    assert found["AVD"].detail == "gfoom"
    assert found.keys().isdisjoint({"classic engine", "file", "32-bit programs"})


def test_a_device_that_cannot_be_taken(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def avd() -> tuple[bool, str, str]:
        found = look(machine, ON_SDK)["AVD"]
        return found.ok, found.detail, found.fix

    make_sdk(tmp_path, monkeypatch)
    make_avd(tmp_path, "pc", "x86", 34)
    none = "no AVD can run this kernel (pc is for x86, not armeabi-v7a"
    assert avd() == (False, f"{none})", sdk.MAKE_AVD)
    assert run(machine, ON_SDK) == 3
    make_avd(tmp_path, "young", api=24)
    assert "young is API 24" in avd()[1]
    make_avd(tmp_path, "one")
    next((tmp_path / "sdk").rglob("android-22/**/userdata.img")).unlink()
    assert avd()[:2] == (False, "the AVD one has no userdata.img")
    make_avd(tmp_path, "other")
    several = "several AVDs are for armeabi-v7a"
    assert avd() == (False, several, "--avd, with one of: one, other")


@pytest.mark.parametrize("there", [True, False])
def test_an_old_launcher_is_a_32_bit_program(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    make_sdk(tmp_path, monkeypatch, revision="24.4.1", tools="tools")
    make_avd(tmp_path, "gfoom")
    machine.host.lacks = set() if there else {"/lib/ld-linux.so.2", "file"}
    found = look(machine, ON_SDK)
    names = ("32-bit programs", "file")
    assert [found[name].ok for name in names] == [there, there]
    fixes = ["", ""] if there else [f"apt-get install {sdk.PACKAGES_32}", "apt-get install file"]
    assert [found[name].fix for name in names] == fixes


@pytest.mark.parametrize(
    ("revision", "boots"), [("28.0.25", True), ("28.0.25.0", True), ("29.0.1", False)]
)
def test_an_emulator_that_boots_no_goldfish_any_more(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str, boots: bool
) -> None:
    make_sdk(tmp_path, monkeypatch, revision=revision)
    make_avd(tmp_path, "gfoom")
    assert (run(machine, ON_SDK) == 0) == boots
    finding = look(machine, ON_SDK).get("classic engine")
    assert (finding is None) == boots
    if finding is not None:
        assert finding.detail == f"gone from emulator {revision}"
        assert "r24.4.1" in finding.fix


def test_a_variable_that_names_no_sdk(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_HOME", "/nowhere")
    finding = look(machine, ON_SDK)["Android SDK"]
    assert (finding.ok, finding.required) == (False, True)
    assert finding.detail == "ANDROID_HOME is /nowhere, where there is no emulator"


@pytest.mark.parametrize("target", [LINUX_6_1, GOLDFISH_3_4, ON_SDK])
def test_memory_for_each_board(machine: Machine, target: Target) -> None:
    for gib, enough in ((1, False), (2, True)):
        machine.host.memory = gib * GIB
        finding = look(machine, target)["memory"]
        assert (finding.ok, finding.detail) == (enough, f"{gib}.0 GiB available, 2 needed")
