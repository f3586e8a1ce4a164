# SPDX-License-Identifier: MIT
"""What browser tests share: one headless Chromium, and pages that may not complain.

Nothing here skips: without Chromium the tests fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from harness.core.errors import ToolMissingError
from harness.jobs.host import THIS_HOST

# A host that does other things as well needs a while.
_MILLISECONDS = 60_000.0
# Chromium tells a page of what its policy has stopped, and the console.
_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = THIS_HOST.find_tool("chromium")
    if path is None:
        raise ToolMissingError("not installed: chromium", hint="./inv setup")
    # Its sandbox refuses to be root's.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=arguments, timeout=_MILLISECONDS
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a file: `opened(path, width=320, …)`, with a context's options.

    When the test is over, none may have asked for another file, been stopped by its
    policy, or had anything to say on the console.
    """
    pages: list[tuple[Page, bool]] = []
    said: list[str] = []
    asked: list[str] = []

    def opening(path: Path, *, width: int = 1280, **options: Any) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(_MILLISECONDS)
        context.add_init_script(_VIOLATIONS)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        pages.append((page, bool(options.get("java_script_enabled", True))))
        return page

    yield opening
    for page, has_scripts in pages:
        violations = page.evaluate("window.violations") if has_scripts else []
        page.context.close()
        assert violations == []
    assert said == []
    assert [url for url in asked if not url.startswith("file:///")] == []
    # A page of its own, and a fragment of it, are no other file.
    assert len(asked) == len(pages)
