# SPDX-License-Identifier: MIT
"""What the report page shows of a run, prepared for the template. Pure.

Evidence is matched to the run's scenarios by name, policy and trigger. A scenario with
evidence but without a verdict is shown as not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rich.filesize import decimal

from harness.kernel_output.records import KillRecord
from harness.kernel_output.reports import KernelReport
from harness.report.chart import Chart, KillMark, draw, thinned
from harness.report.log import Log
from harness.results.run_result import RunResult, ScenarioResult
from harness.scenarios.evidence import Decision, ScenarioUsage, UsageSample

# Android's uids: each person has a range of this many, in which apps have _FIRST_APP and up.
_PER_PERSON = 100_000
_FIRST_APP, _LAST_APP = 10_000, 19_999
_SECOND = 10**9
_Key = tuple[str, str, str]
_Entry = tuple[_Key, ScenarioResult | None]
_Found = TypeVar("_Found", ScenarioUsage, Decision)
# Kills described in words; the table has all of them.
_MOST_NAMED = 5


@dataclass(frozen=True)
class KillView:
    """A kill record; `line` is the name of its line in a log, empty if it is in none."""

    number: int
    record: KillRecord
    line: str

    @property
    def over(self) -> int:
        """The bytes by which the user was above its limit."""
        return self.record.user_rss - self.record.mm_max


@dataclass(frozen=True)
class Reason:
    """A reason against a scenario; `line` is as in KillView."""

    text: str
    line: str


@dataclass(frozen=True)
class UserView:
    """A user's memory while a scenario ran: as a chart, in words and as a table.

    `samples` is the table; `left_out` is how many rows it lacks. `unplaced` is how many kills
    have no time, so that the chart does not show them.
    """

    uid: int
    chart: Chart
    words: str
    samples: tuple[UsageSample, ...]
    left_out: int
    unplaced: int


@dataclass(frozen=True)
class ScenarioView:
    """A scenario with all its evidence; `key` is its name on the page.

    `result` is None if it was planned, or has evidence, and has no verdict.
    """

    key: str
    scenario: str
    policy: str
    trigger: str
    result: ScenarioResult | None
    reasons: tuple[Reason, ...]
    kills: tuple[KillView, ...]
    users: tuple[UserView, ...]
    decisions: tuple[Decision, ...]

    @property
    def title(self) -> str:
        """The scenario's name, and its policy if it has one."""
        return f"{self.scenario}, policy {self.policy}" if self.policy else self.scenario

    @property
    def word(self) -> str:
        """The verdict on this scenario alone, in words."""
        return "NOT JUDGED" if self.result is None else self.result.status.word

    @property
    def outcome(self) -> str:
        """What came of it, in words."""
        return "not judged" if self.result is None else self.result.outcome.value

    @property
    def is_failed(self) -> bool:
        """Whether it has a verdict other than a pass."""
        return self.result is not None and not self.result.passed

    @property
    def is_log(self) -> bool:
        """Whether it is the verdict on a log, during which no memory is sampled."""
        return not self.policy

    @property
    def is_disputed(self) -> bool:
        """Whether it has a victim that the model would not have chosen."""
        return any(decision.is_disputed for decision in self.decisions)


@dataclass(frozen=True)
class ReportView:
    """A kernel report, and the name of its first line."""

    report: KernelReport
    line: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the report."""
        return tuple(self.report.text.removesuffix("\n").split("\n"))


@dataclass(frozen=True)
class Page:
    """All that the page shows, except the verdict itself."""

    scenarios: tuple[ScenarioView, ...]
    strays: tuple[KillView, ...]
    reports: tuple[ReportView, ...]
    logs: tuple[Log, ...]
    has_usage: bool
    has_decisions: bool


def build(
    run: RunResult,
    logs: Sequence[Log],
    usage: Sequence[ScenarioUsage] = (),
    decisions: Sequence[Decision] = (),
) -> Page:
    """Return the page's contents; `usage` and `decisions` are the run's evidence."""
    # From the last line to the first, because the first one of those with the same text counts.
    lines = [
        (line, f"{log.key}{line.number}") for log in reversed(logs) for line in reversed(log.lines)
    ]
    places = {line.record: name for line, name in lines if line.record is not None}
    texts = {text: name for line, name in lines if (text := line.text.strip())}
    used, decided = _by_scenario(usage, run.trigger), _by_scenario(decisions, run.trigger)
    return Page(
        scenarios=tuple(
            _scenario(f"s{number}", one, places, texts, used, decided)
            for number, one in enumerate(_entries(run, [*used, *decided]), 1)
        ),
        strays=_kills(run.stray_kills, places),
        reports=tuple(
            ReportView(_decoded(report, run), f"{log.key}{report.begin + 1}")
            for log in logs
            for report in log.reports
        ),
        logs=tuple(logs),
        has_usage=bool(usage),
        has_decisions=bool(decisions),
    )


def _decoded(report: KernelReport, run: RunResult) -> KernelReport:
    """Return the report, with its places in the source if the run found them."""
    text = next((one.text for one in run.reports if one.title == report.title), report.text)
    return replace(report, text=text)


def _by_scenario(evidence: Iterable[_Found], trigger: str) -> dict[_Key, list[_Found]]:
    found: dict[_Key, list[_Found]] = {}
    for one in evidence:
        found.setdefault((one.scenario, one.policy, one.trigger or trigger), []).append(one)
    return found


def _entries(run: RunResult, evidence: Iterable[_Key]) -> list[_Entry]:
    """Return what was judged, then what was planned or has evidence, and has no verdict."""
    judged: list[_Entry] = [((one.scenario, one.policy, one.trigger), one) for one in run.judged]
    missing = [(one.scenario, one.policy, run.trigger) for one in run.missing]
    known = {key for key, _ in judged} | set(missing)
    unknown = [key for key in dict.fromkeys(evidence) if key not in known]
    return [*judged, *((key, None) for key in (*missing, *unknown))]


def _scenario(
    name: str,
    entry: _Entry,
    places: Mapping[KillRecord, str],
    texts: Mapping[str, str],
    usage: Mapping[_Key, Sequence[ScenarioUsage]],
    decisions: Mapping[_Key, Sequence[Decision]],
) -> ScenarioView:
    key, result = entry
    kills = _kills(result.kills if result else (), places)
    told = usage.get(key, ())
    samples = [sample for found in told for sample in found.samples]
    peaks = {peak.uid: peak.rss for found in told for peak in found.peaks}
    return ScenarioView(
        key=name,
        scenario=key[0],
        policy=key[1],
        trigger=key[2],
        result=result,
        reasons=tuple(
            Reason(text, texts.get(text.partition(": ")[2].strip(), ""))
            for text in (_words_on(result) if result else ())
        ),
        kills=kills,
        users=tuple(_users(samples, kills, peaks)),
        decisions=tuple(sorted(decisions.get(key, ()), key=lambda found: found.time)),
    )


def _words_on(result: ScenarioResult) -> Iterator[str]:
    """Yield what there is to say of a verdict: first, why earlier attempts are none."""
    yield from (f"judged again: {why}" for why in result.set_aside)
    if result.stood_still:
        yield f"the host stood still for {result.stood_still:.1f} s meanwhile"
    yield from result.reasons


def _kills(records: Iterable[KillRecord], places: Mapping[KillRecord, str]) -> tuple[KillView, ...]:
    return tuple(
        KillView(number, record, places.get(record, "")) for number, record in enumerate(records, 1)
    )


def _users(
    samples: Sequence[UsageSample], kills: Sequence[KillView], peaks: Mapping[int, int]
) -> Iterator[UserView]:
    """Yield the users that have samples, by uid."""
    killed_at = [kill.record.time for kill in kills if kill.record.time is not None]
    times = [*(one.time for one in samples), *killed_at]
    for uid in sorted({sample.uid for sample in samples}):
        own = sorted((one for one in samples if one.uid == uid), key=lambda one: one.time)
        killed = [kill for kill in kills if kill.record.uid == uid]
        marks = [
            KillMark(kill.record.time, kill.record.user_rss, kill.number)
            for kill in killed
            if kill.record.time is not None
        ]
        peak = peaks.get(uid)
        chart = draw(own, marks, (min(times), max(times)), peak)
        rows = thinned(own)
        yield UserView(
            uid=uid,
            chart=chart,
            words=_words(uid, own, chart, killed, peak),
            samples=tuple(rows),
            left_out=len(own) - len(rows),
            unplaced=len(killed) - len(marks),
        )


def _words(
    uid: int,
    samples: Sequence[UsageSample],
    chart: Chart,
    kills: Sequence[KillView],
    peak: int | None,
) -> str:
    """Describe the chart in words, for readers who cannot see it."""
    first, last = samples[0].time, samples[-1].time
    sums = (kill.record.user_rss for kill in kills)
    most = max(*(sample.rss for sample in samples), *sums, peak or 0)
    limits = sorted({one.mm_max for one in samples if one.mm_max is not None})
    limit = " and ".join(short_size(one) for one in limits) or "none"
    words = (
        f"User {user_words(uid)} used at most {short_size(most)} between {first:.2f} and "
        f"{last:.2f} s. Limit: {limit}."
    )
    if peak is not None:
        words += f" The kernel's largest sum: {short_size(peak)}."
    if chart.far_limit is not None:
        words += f" {short_size(chart.far_limit)} is too high for the picture."
    if not kills:
        return f"{words} Nobody was killed."
    shown = kills[:_MOST_NAMED]
    named = ", ".join(_kill_words(kill) for kill in shown)
    more = f", and {len(kills) - len(shown)} more" if len(kills) > len(shown) else ""
    return f"{words} Killed: {named}{more}."


def _kill_words(kill: KillView) -> str:
    record = kill.record
    time = "" if record.time is None else f" at {record.time:.2f} s"
    return f"pid {record.pid}{time}{' (dry run)' if record.dry_run else ''}"


def short_size(size: int) -> str:
    """Return a number of bytes in a unit that fits: 1 MB is 1,000,000 bytes."""
    return f"-{decimal(-size)}" if size < 0 else decimal(size)


def figure_words(policy: str, figure: int | None) -> str:
    """Return the figure that a policy compared, with its unit if that is known."""
    if figure is None:
        return ""
    if policy == "runtime":
        return f"{figure / _SECOND:.3f} s CPU time"
    return f"{figure:,} points" if policy == "badness" else f"{figure:,}"


def user_words(uid: int) -> str:
    """Return a uid, with Android's name for it if it is an app's."""
    person, app = divmod(uid, _PER_PERSON)
    if _FIRST_APP <= app <= _LAST_APP:
        return f"{uid} (u{person}_a{app - _FIRST_APP})"
    return str(uid)
