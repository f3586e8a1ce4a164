# SPDX-License-Identifier: MIT
"""The effect of a user's --config on the real tree's configuration; no kernel is compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build.configure import configure as configure_kernel
from harness.build.kconfig import parse_config
from harness.build.kernel import KernelBuild, prepared, requested_config
from harness.core.errors import KconfigError
from harness.ui.workspace import Workspace

Configure = Callable[[str], dict[str, str]]
HZ = pytest.mark.needs("a choice of HZ")


@pytest.fixture
def configure(workspace: Workspace, kernel: KernelBuild, tmp_path: Path) -> Configure:
    """Return a function that returns the `.config` for a user's file with these lines."""

    def configured(lines: str) -> dict[str, str]:
        file = tmp_path / "mine.config"
        file.write_text(lines)
        with prepared(workspace, kernel, tmp_path / "make.log") as make:
            make.forget()
            configure_kernel(make, requested_config(kernel.target, file))
            return parse_config((make.tree.build / ".config").read_text())

    return configured


@pytest.mark.parametrize(
    ("ours", "users"),
    [
        pytest.param("CONFIG_HZ_250", "CONFIG_HZ_1000", marks=HZ),
        ("CONFIG_PREEMPT_VOLUNTARY", "CONFIG_PREEMPT"),
        ("CONFIG_MM_LIMITS_DEFAULT_RSS", "CONFIG_MM_LIMITS_DEFAULT_BADNESS"),
        ("CONFIG_VMSPLIT_2G", "CONFIG_VMSPLIT_3G"),
    ],
)
def test_another_member_of_a_choice(configure: Configure, ours: str, users: str) -> None:
    config = configure(f"{users}=y\n")
    assert (config[ours], config[users]) == ("n", "y")
    # The other lines of the fragment are there: configure() checks that.
    assert config["CONFIG_MM_LIMITS"] == "y"


@HZ
def test_a_number_follows_from_the_choice(configure: Configure) -> None:
    assert configure("CONFIG_HZ_1000=y\n")["CONFIG_HZ"] == "1000"


def test_a_text_follows_from_the_choice(configure: Configure) -> None:
    policy = configure("CONFIG_MM_LIMITS_DEFAULT_BADNESS=y\n")["CONFIG_MM_LIMITS_DEFAULT_POLICY"]
    assert policy == '"badness"'


def test_no_member_of_a_choice_leaves_it_to_its_default(configure: Configure) -> None:
    config = configure("# CONFIG_PREEMPT_VOLUNTARY is not set\n")
    assert (config["CONFIG_PREEMPT_VOLUNTARY"], config["CONFIG_PREEMPT_NONE"]) == ("n", "y")


@pytest.mark.parametrize(
    ("lines", "message", "tail", "hint"),
    [
        (
            "CONFIG_PREEMPT=y\nCONFIG_PREEMPT_NONE=y\n",
            "mine.config asks for CONFIG_PREEMPT and CONFIG_PREEMPT_NONE, of which",
            "",
            "leave one of the lines",
        ),
        (
            "# CONFIG_SMP is not set\nCONFIG_NR_CPUS=4\n",
            "Kconfig dropped 1 of ",
            "mine.config: CONFIG_NR_CPUS=4 (got: n)",
            "see CONFIG_NR_CPUS: arch/arm/Kconfig:",
        ),
        (
            "# CONFIG_INET is not set\n",
            "Kconfig dropped 1 of ",
            "fragment.config: CONFIG_IPV6=y (got: n)",
            "if that is meant add to it: `# CONFIG_IPV6 is not set`",
        ),
        (
            "CONFIG_HZ_1001=y\n",
            "Kconfig dropped 1 of ",
            "mine.config: CONFIG_HZ_1001=y (got: n)",
            "this kernel has no CONFIG_HZ_1001",
        ),
    ],
)
def test_what_cannot_be(
    configure: Configure, lines: str, message: str, tail: str, hint: str
) -> None:
    with pytest.raises(KconfigError) as caught:
        configure(lines)
    assert caught.value.message.startswith(message)
    assert caught.value.tail == tail
    assert hint in caught.value.hint
