"use strict";
// Makes the report answer: dots and wells tell what they are, tables sort and filter. The page is complete without
// it, so everything that only works with it is made here. Texts are set as text, never as HTML: names are users'.
(() => {
  const told = JSON.parse(document.getElementById("told").textContent);
  const main = document.querySelector("main");

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // --- what is shown of a place

  const tip = make("div", "tip box");
  tip.setAttribute("role", "status"); // read out when the arrow keys go on
  tip.hidden = true;
  const panel = make("dialog", "panel box");
  panel.setAttribute("aria-labelledby", "panel-name");
  main.append(tip, panel);
  let opener = null; // where the focus goes when the panel closes
  let hideRing = () => {};

  function lines(names, place) {
    return names.map((name, k) => `${name.replace(/\s+/g, " ")}: ${place[3 + k]}`);
  }

  function describe(figure, names, place) {
    tip.replaceChildren();
    if (figure.of === "cells") {
      const [image, label, sentences, picture] = told.cells[place[2]];
      if (picture) {
        const shown = tip.appendChild(make("img"));
        shown.alt = "the cell";
        shown.src = picture;
      }
      tip.append(make("b", "", `${image}, cell ${label}`));
      for (const text of [...lines(names, place), ...sentences]) tip.append(make("p", "", text));
    } else {
      const well = told.wells[place[2]];
      tip.append(make("b", "", well.name));
      for (const text of [well.group, ...lines(names, place)]) if (text) tip.append(make("p", "", text));
    }
  }

  function openPanel(well, from) {
    opener = from;
    const close = make("button", "", "Close");
    close.type = "button";
    close.addEventListener("click", closePanel);
    const name = make("h2", "", `Well ${well.name}`);
    name.id = "panel-name";
    panel.replaceChildren(close, name);
    if (well.group) panel.append(make("p", "", well.group));
    for (const [fact, value] of well.facts) panel.append(make("p", "", `${fact}: ${value}`));
    for (const number of well.fields) {
      const [field, verdict, picture] = told.fields[number];
      panel.append(make("h3", "", field), make("p", "", verdict));
      if (!picture) continue;
      const shown = panel.appendChild(make("img"));
      shown.alt = `overlay of ${field}`;
      shown.src = picture;
    }
    tip.hidden = true; // the panel tells the same, and may lie under it
    if (!panel.open) panel.show();
    panel.scrollTop = 0;
    close.focus();
  }

  function closePanel() {
    hideRing();
    panel.close();
    opener.focus(); // which shows the well again where keys are used
  }

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    if (panel.open) closePanel();
    else hideRing();
  });

  // --- figures whose dots or wells answer to the pointer, the finger and the arrow keys

  function pointAt(name, figure) {
    const shown = document.getElementById(`figure-${name}`);
    const plot = shown.querySelector(".plot");
    const title = shown.querySelector("h3").textContent;
    const [what, next] = figure.of === "cells" ? ["dot", "its cell"] : ["well", "it; click or press Enter for more"];
    const wells = figure.of === "wells";
    const note = wells ? "" : told.note;
    const hint = make("p", "hint", `Point at a ${what}, or go there with Tab and the arrow keys, to see ${next}. ${note}`);
    plot.after(hint);
    plot.tabIndex = 0;
    plot.setAttribute("role", "application"); // the arrow keys are for the figure, not for the page
    plot.setAttribute("aria-label", `${title}: arrow keys go from ${what} to ${what}`);
    const ring = make("span", `ring ${figure.of}`);
    ring.hidden = true;
    if (wells) {
      ring.style.width = `${figure.size[0] / 100}%`;
      ring.style.height = `${figure.size[1] / 100}%`;
    }
    plot.append(ring);
    let column = 0, row = figure.columns[0][1].length - 1; // begins at the lowest
    if (wells) row = 0;

    const hide = () => {
      ring.hidden = tip.hidden = true;
    };

    function show() {
      hideRing();
      hideRing = hide;
      const [names, places] = figure.columns[column];
      const place = places[row];
      ring.style.left = `${place[0] / 100}%`;
      ring.style.top = `${place[1] / 100}%`;
      describe(figure, names, place);
      ring.hidden = tip.hidden = false;
      const at = ring.getBoundingClientRect(), own = tip.getBoundingClientRect();
      // right of the place and below it, or on the other side where the window ends
      const x = at.right + 8 + own.width > innerWidth ? at.left - 8 - own.width : at.right + 8;
      const y = at.bottom + 8 + own.height > innerHeight ? at.top - 8 - own.height : at.bottom + 8;
      tip.style.left = `${scrollX + Math.max(0, x)}px`;
      tip.style.top = `${scrollY + Math.max(0, y)}px`;
    }

    // Find the nearest place to a pointer; false where none is near enough to be meant.
    function find(event) {
      const box = plot.getBoundingClientRect();
      const reach = event.pointerType === "touch" ? 22 : 9;
      const [width, height] = wells
        ? [(figure.size[0] * box.width) / 20000, (figure.size[1] * box.height) / 20000]
        : [reach, reach];
      let best = 1;
      figure.columns.forEach(([, places], c) => {
        places.forEach((place, r) => {
          const dx = (box.left + (place[0] * box.width) / 10000 - event.clientX) / width;
          const dy = (box.top + (place[1] * box.height) / 10000 - event.clientY) / height;
          const far = wells ? Math.max(Math.abs(dx), Math.abs(dy)) : Math.hypot(dx, dy);
          if (far < best) [best, column, row] = [far, c, r];
        });
      });
      return best < 1;
    }

    function open() {
      openPanel(told.wells[figure.columns[column][1][row][2]], plot);
    }

    plot.addEventListener("pointermove", (event) => (find(event) ? show() : hide()));
    plot.addEventListener("pointerleave", hide);
    plot.addEventListener("click", (event) => {
      if (!find(event)) return;
      show(); // a finger has not moved before
      if (wells) open();
    });
    plot.addEventListener("focus", () => {
      if (plot.matches(":focus-visible")) show(); // not when it was clicked
    });
    plot.addEventListener("blur", () => {
      tip.hidden = true;
      ring.hidden = !panel.open; // the panel is about this well
    });

    plot.addEventListener("keydown", (event) => {
      const number = figure.columns.length, places = figure.columns[column][1];
      const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === "Enter" && wells) open();
      else if (event.key === "ArrowUp") row = Math.max(0, row - 1);
      else if (event.key === "ArrowDown") row = Math.min(places.length - 1, row + 1);
      else if (event.key === "Home") column = row = 0;
      else if (event.key === "End") {
        column = number - 1;
        row = figure.columns[column][1].length - 1;
      } else if (sideways) {
        const height = places[row][1];
        column = Math.min(number - 1, Math.max(0, column + sideways));
        const far = figure.columns[column][1].map((place) => Math.abs(place[1] - height));
        row = far.indexOf(Math.min(...far));
      } else return;
      event.preventDefault(); // the page shall not scroll
      if (event.key === "Enter") return;
      ring.scrollIntoView({ block: "nearest", inline: "nearest" });
      show();
    });
  }

  // --- tables: a click on a head sorts (up, down, as made), long ones have a box to filter them

  // A cell's number, of "1,234", "12.5 ± 3", "<0.001", "5 %", "3 (2 to 4)"; NaN for other texts.
  function numberIn(text) {
    const found = /^[<>≤≥]?\s*([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?![\w.])/i.exec(text.trim());
    return found ? Number(found[1].replace(/,/g, "").replace("−", "-")) : NaN;
  }

  function sorter(rows, k) {
    const texts = new Map(rows.map((row) => [row, row.cells[k].textContent.trim()]));
    const stated = (row) => !["", "-", "–"].includes(texts.get(row));
    const numbers = new Map(rows.map((row) => [row, numberIn(texts.get(row))]));
    const numeric = rows.some(stated) && rows.filter(stated).every((row) => !Number.isNaN(numbers.get(row)));
    return (a, b, direction) => {
      if (stated(a) !== stated(b)) return stated(a) ? -1 : 1; // what is missing comes last, either way
      if (numeric) return direction * (numbers.get(a) - numbers.get(b)) || 0;
      return direction * texts.get(a).localeCompare(texts.get(b), undefined, { numeric: true });
    };
  }

  function sortable(table) {
    const body = table.tBodies[0], made = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, k) => {
      const button = make("button", "", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const now = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        if (now) head.setAttribute("aria-sort", now);
        const compare = sorter(made, k), direction = now === "descending" ? -1 : 1;
        body.append(...(now ? [...made].sort((a, b) => compare(a, b, direction)) : made));
      });
    });
    if (made.length > 10) table.parentElement.before(filterOf(made));
  }

  function filterOf(rows) {
    const bar = make("div", "filter"), label = make("label", "", "Rows that hold "), input = make("input");
    const count = make("span", "", `${rows.length} rows`);
    input.type = "search";
    count.setAttribute("role", "status");
    label.append(input);
    bar.append(label, count);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      let left = 0;
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        left += !row.hidden;
      }
      count.textContent = `${left} of ${rows.length} rows`;
    });
    return bar;
  }

  for (const [name, figure] of Object.entries(told.figures)) pointAt(name, figure);
  document.querySelectorAll("main table").forEach(sortable);
})();
