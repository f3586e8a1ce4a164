// SPDX-License-Identifier: MIT
"use strict";
// What needs a script is hidden where there is none.
for (const button of document.querySelectorAll("button[hidden]")) {
  button.hidden = false;
}

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  const told = document.getElementById("copied");
  button.addEventListener("click", async () => {
    select(source);
    try {
      await navigator.clipboard.writeText(source.textContent);
      told.textContent = "Copied.";
    } catch {
      told.textContent = "Selected: copy it with the keyboard.";
    }
  });
}

for (const button of document.querySelectorAll("[data-details]")) {
  button.addEventListener("click", () => {
    for (const details of document.querySelectorAll(".scenario")) {
      details.open = button.dataset.details === "open";
    }
  });
}

// Not every browser opens what holds the target of a link.
function reveal() {
  const target = document.getElementById(location.hash.slice(1));
  if (target === null) {
    return;
  }
  for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) {
    box.open = true;
  }
  target.scrollIntoView();
}
addEventListener("hashchange", reveal);
reveal();
