# SPDX-License-Identifier: MIT
"""Whatever is killed in a sweep: no guest is left, and the matrix says what is true."""

from __future__ import annotations

import signal

from sweep_world import World, ended, until

from harness.results.run_result import Status
from harness.ui.events import CellBegin, CellEnd, decode

PASSED, FAILED, ERROR = Status.PASSED, Status.FAILED, Status.ERROR


def nothing_is_left(world: World) -> None:
    until(lambda: not world.left())
    until(lambda: not world.left_behind())


def test_a_sweep_with_every_end(world: World) -> None:
    kinds = ("pass", "fail", "error", "usage", "daemon", "guest-dies", "pass")
    bad = world.built_by("error")
    cells = [world.cell(f"c{number}", kind) for number, kind in enumerate(kinds)]
    cells += [world.cell("large", "pass", "--size", str(80 << 20))]
    cells += [world.cell("unbuilt", build=bad)]
    client = world.client(file=world.matrix(*cells), jobs="2")
    until(lambda: world.has_guest("c5"), client)
    world.guest_of("c5").kill()
    status, out, err = ended(client)
    assert (status, err) == (1, "")
    assert out.splitlines()[-1] == "FAIL: of 9 cells 1 FAIL, 4 NO VERDICT, 4 PASS"
    found = world.by_name()
    expected = [PASSED, FAILED, ERROR, ERROR, PASSED, ERROR, PASSED]
    assert [found[f"c{number}"].status for number in range(7)] == expected
    assert found["c2"].headline == "error: the guest did not come up"
    assert found["c5"].headline == "error: QEMU ended by itself"
    assert found["unbuilt"].headline.endswith(": error: the compiler is missing")
    # Each kernel is built once, whoever builds it.
    assert len(world.lines_of("builds")) == 2
    assert set(world.sweep().workers) <= {"worker-1", "worker-2"}
    assert len(world.lines_of("started")) == 8
    folder = world.sweep_folder()
    for one in found.values():
        assert one.last is not None
        if one.last.status in (0, 1):
            assert (folder / one.last.folder / "report.html").is_file()
            assert (
                "PASS" in (folder / one.last.folder / "output.txt").read_text()
                or one.status == FAILED
            )
    last = found["large"].last
    assert last is not None
    assert (folder / last.folder / "left_out.txt").read_text() == "guest2/console.log\n"
    nothing_is_left(world)


def test_a_sweep_as_events(world: World) -> None:
    cells = [world.cell("c0"), world.cell("c1", "fail")]
    cells += [world.cell("unbuilt", build=world.built_by("error"))]
    status, out, _ = ended(world.client(file=world.matrix(*cells), jobs="1", mode="json"))
    told = [decode(line).event for line in out.splitlines()]
    begun = {one.cell: one for one in told if isinstance(one, CellBegin)}
    assert {name: one.command for name, one in begun.items()} == {
        one.title: one.command for one in cells[:2]
    }
    folder = world.sweep_folder()
    found = {one.cell: one for one in told if isinstance(one, CellEnd)}
    assert {name: (one.verdict, one.status, one.results) for name, one in found.items()} == {
        cells[0].title: ("PASSED", 0, str(folder / "cells/1/1")),
        cells[1].title: ("FAILED", 1, str(folder / "cells/2/1")),
        cells[2].title: ("ERROR", 3, ""),
    }
    assert found[cells[1].title].line == "FAIL: of 2 scenarios 1 FAIL"
    assert {found[one.title].worker for one in cells[:2]} == {"worker-1"}
    assert status == 1


def test_a_lost_worker(world: World) -> None:
    cells = (world.cell("once", "wait-once"), world.cell("twice", "wait"), world.cell("kept"))
    client = world.client(file=world.matrix(*cells), jobs="2")
    until(lambda: world.waits("once") and world.waits("twice"), client)
    world.worker_of("once").kill()
    world.keeper_of("twice").kill()
    until(lambda: world.lines_of("started").count("once") == 2, client)
    status, out, _ = ended(client)
    assert status == 3, out
    found = world.by_name()
    assert [one.status for one in found["once"].attempts] == [None, 0]
    assert found["once"].attempts[0].line == "the worker was lost"
    assert found["twice"].headline == "what watches over the command was killed"
    assert found["kept"].status == PASSED
    nothing_is_left(world)


def test_a_cell_whose_workers_are_lost_twice(world: World) -> None:
    cells = (world.cell("twice", "wait"), world.cell("kept"))
    client = world.client(file=world.matrix(*cells), jobs="1")
    for count in (1, 2):
        until(lambda: world.lines_of("started").count("twice") == count, client)  # noqa: B023
        until(lambda: world.left() and world.program_of("twice").children(), client)
        world.worker_of("twice").kill()
    status, out, _ = ended(client)
    assert status == 3, out
    found = world.by_name()
    assert [one.status for one in found["twice"].attempts] == [None, None]
    assert found["twice"].status == ERROR
    assert found["kept"].status == PASSED
    nothing_is_left(world)


def test_a_sweep_is_ended_and_resumed_again_and_again(world: World) -> None:
    ends = {"c2": signal.SIGINT, "c3": signal.SIGKILL, "c4": signal.SIGTERM}
    cells = [world.cell("done"), world.cell("failed", "fail")]
    cells += [world.cell(name, "wait") for name in ends]
    told: dict[str, object] = {"file": world.matrix(*cells)}
    for name, number in ends.items():
        client = world.client(**told, jobs="1")
        until(lambda: world.waits(name), client)  # noqa: B023
        client.send_signal(number)
        status, out, _ = ended(client)
        nothing_is_left(world)
        assert status == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(number, -9)
        if number != signal.SIGKILL:
            assert f"./inv sweep --resume results/{world.sweep_folder().name}" in out
            assert "nothing runs any more" in out
            assert world.by_name()[name].headline == "stopped: the sweep has ended early"
        assert (world.by_name()["done"].status, world.sweep().finished) == (PASSED, False)
        (world.trace / f"go-{name}").touch()
        told = {"resume": world.sweep_folder()}
    status, out, err = ended(world.client(**told, jobs="1"))
    assert (status, err) == (1, "")
    expected = {"done": PASSED, "failed": FAILED, "c2": PASSED, "c3": PASSED, "c4": PASSED}
    assert {name: one.status for name, one in world.by_name().items()} == expected
    assert world.lines_of("started") == ["done", "failed", "c2", "c2", "c3", "c3", "c4", "c4"]
    nothing_is_left(world)
    # Nor the folder of the one that was killed, with the key of its cluster.
    assert not list(world.tmp.glob("goldfish-oom-*"))


def test_a_scheduler_of_its_own_that_is_killed(world: World) -> None:
    scheduler, address = world.scheduler()
    other = world.worker(address, "other", code="another version")
    workers = [world.worker(address, name) for name in ("left", "right")]
    cells = [
        world.cell(f"c{number}", "wait" if number in (1, 2) else "pass") for number in range(4)
    ]
    client = world.client(file=world.matrix(*cells), scheduler=address)
    until(lambda: world.waits("c1") and world.waits("c2"), client, other)
    scheduler.kill()
    status, out, err = ended(client)
    assert status == 3
    assert err.startswith(f"error: the scheduler {address} went away")
    assert "other is not used: it has another version of this project or of Python" in out
    assert "it is not known whether something still runs" in out
    for worker in (other, *workers):
        assert ended(worker)[0] == 0
    nothing_is_left(world)
    assert world.by_name()["c0"].status == PASSED
    for name in ("c1", "c2"):
        (world.trace / f"go-{name}").touch()
    status, out, _ = ended(world.client(resume=world.sweep_folder(), jobs="1"))
    assert (status, out.splitlines()[-1]) == (0, "PASS: 4 cells")
    nothing_is_left(world)


def test_the_sweep_vanishes_while_the_scheduler_lives(world: World) -> None:
    scheduler, address = world.scheduler()
    worker = world.worker(address, "one")
    client = world.client(file=world.matrix(world.cell("c0", "wait")), scheduler=address)
    until(lambda: world.waits("c0"), client)
    keeper = world.keeper_of("c0")
    client.kill()
    until(lambda: not keeper.is_running())
    assert (worker.poll(), scheduler.poll()) == (None, None)
    # The worker is free for the next sweep; then it is told to end in the middle of a cell.
    client = world.client(file=world.matrix(world.cell("c1", "wait-once")), scheduler=address)
    until(lambda: world.waits("c1"), client)
    worker.send_signal(signal.SIGTERM)
    assert ended(worker)[0] == 143
    world.worker(address, "two")
    status, out, _ = ended(client)
    assert (status, out.splitlines()[-1]) == (0, "PASS: 1 cell")
