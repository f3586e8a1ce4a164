// SPDX-License-Identifier: MIT
"use strict";
const form = document.querySelector(".filters");
if (form !== null) {
  const rows = [...document.querySelectorAll("tbody tr")];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const text = form.querySelector("[data-text]");
  const selects = [...form.querySelectorAll("[data-filter]")];
  const shown = document.getElementById("shown");

  const filter = () => {
    const wanted = text.value.toLowerCase().split(/\s+/);
    let count = 0;
    for (const row of rows) {
      const fits =
        selects.every((one) => !one.value || row.dataset[one.dataset.filter] === one.value) &&
        wanted.every((word) => words.get(row).includes(word));
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent =
      count === rows.length ? `${count} results, the newest first.` : `${count} of ${rows.length} results.`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  // The fields have their new values only behind the event.
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  // A browser that comes back to a page may remember what was filled in.
  filter();
}
