// SPDX-License-Identifier: MIT
"use strict";
const form = document.querySelector(".filters");
const again = document.querySelector("[data-again]");

if (form !== null) {
  const table = document.querySelector(".matrix");
  const columns = [...table.querySelectorAll("col")].slice(1).map((col) => col.dataset);
  const heads = [...table.querySelectorAll("thead [data-columns]")].map((head) => ({
    head,
    columns: head.dataset.columns.split(" ").map(Number),
  }));
  const elsewhere = new Map();
  for (const one of document.querySelectorAll("[data-of]")) {
    elsewhere.set(one.dataset.of, [...(elsewhere.get(one.dataset.of) ?? []), one]);
  }
  // Each place of the matrix, and the cells of the sweep in it.
  const rows = [...table.querySelectorAll("tbody tr")].map((row) => {
    const name = row.cells[0].textContent;
    const places = [...row.cells].slice(1).map((td, at) => {
      const found = td.dataset.n ? [td] : [...td.querySelectorAll("li[data-n]")];
      const cells = found.map((element) => ({
        element,
        elsewhere: elsewhere.get(element.dataset.n) ?? [],
        verdict: element.dataset.v,
        marks: (element.dataset.m ?? "").split(","),
        words: `${name} ${columns[at].text} ${element.textContent}`.toLowerCase(),
      }));
      return { td, details: td.querySelector("details"), cells };
    });
    return { row, kernel: row.dataset.kernel, places };
  });
  const total = rows.flatMap((one) => one.places).reduce((sum, one) => sum + one.cells.length, 0);
  const fields = [...form.querySelectorAll("[data-filter]")];
  const shown = document.getElementById("shown");
  // Folded cells that a filter has opened.
  const opened = new Set();

  const filter = () => {
    const values = Object.fromEntries(fields.map((one) => [one.dataset.filter, one.value]));
    const is = (what, value) => !values[what] || values[what] === value;
    const words = values.text.toLowerCase().split(/\s+/);
    const isFiltered = fields.some((one) => one.value);
    const isUsed = columns.map(() => false);
    let count = 0;
    for (const { row, kernel, places } of rows) {
      let inRow = 0;
      places.forEach(({ td, details, cells }, at) => {
        const fitsPlace =
          is("kernel", kernel) && is("policy", columns[at].policy) && is("trigger", columns[at].trigger);
        let inPlace = 0;
        for (const cell of cells) {
          const fits =
            fitsPlace &&
            is("verdict", cell.verdict) &&
            (!values.mark || cell.marks.includes(values.mark)) &&
            words.every((word) => cell.words.includes(word));
          if (cell.element !== td) {
            cell.element.hidden = !fits;
          }
          for (const one of cell.elsewhere) {
            one.hidden = !fits;
          }
          inPlace += fits;
        }
        td.classList.toggle("out", isFiltered && inPlace === 0);
        // What is found among many is shown at once.
        if (details !== null) {
          const isFound = isFiltered && inPlace > 0 && inPlace < cells.length && inPlace <= 20;
          if (isFound && !details.open) {
            opened.add(details);
            details.open = true;
          } else if (!isFound && opened.delete(details)) {
            details.open = false;
          }
        }
        isUsed[at] ||= inPlace > 0 || !isFiltered;
        inRow += inPlace;
      });
      row.hidden = isFiltered && inRow === 0;
      count += inRow;
    }
    for (const { head, columns: own } of heads) {
      const used = own.filter((at) => isUsed[at]).length;
      head.hidden = used === 0;
      head.colSpan = Math.max(used, 1);
    }
    for (const { places } of rows) {
      places.forEach(({ td }, at) => {
        td.hidden = !isUsed[at];
      });
    }
    shown.textContent = count === total ? `${total} cells.` : `${count} of ${total} cells.`;
  };

  // The filters are in the address, so that a filtered view can be sent to others.
  const write = () => {
    const set = fields.filter((one) => one.value).map((one) => [one.dataset.filter, one.value]);
    const hash = new URLSearchParams(set).toString();
    history.replaceState(null, "", `${location.pathname}${location.search}${hash && `#${hash}`}`);
  };
  const read = () => {
    const hash = location.hash.slice(1);
    // Any other fragment is the name of a place on the page.
    if (hash && !hash.includes("=")) {
      return;
    }
    const found = new URLSearchParams(hash);
    for (const one of fields) {
      one.value = found.get(one.dataset.filter) ?? "";
      // A value that is not in the list leaves nothing chosen.
      if (one.selectedIndex === -1) {
        one.selectedIndex = 0;
      }
    }
    filter();
  };
  form.addEventListener("input", () => {
    filter();
    write();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  // The fields have their new values only behind the event.
  form.addEventListener("reset", () =>
    setTimeout(() => {
      filter();
      write();
    }),
  );
  form.hidden = false;
  addEventListener("hashchange", read);
  read();
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

if (again !== null) {
  again.hidden = false;
  const timer = setInterval(() => {
    if (!document.hidden && !form?.contains(document.activeElement)) {
      location.reload();
    }
  }, 20_000);
  document.addEventListener("click", (event) => {
    if (event.target.closest("summary") !== null) {
      clearInterval(timer);
    }
  });
}
