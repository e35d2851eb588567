"use strict";
// Arrow keys walk the grid; the cell that has the focus or the pointer shows its details.
// Without this script the page says the same, only less comfortably.
(() => {
  const tip = document.getElementById("tip");
  const put = (parent, tag, text, kind) => {
    const made = parent.appendChild(document.createElement(tag));
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const show = (cell) => {
    tip.replaceChildren();
    put(put(tip, "p", ""), "code", cell.dataset.n);
    const [disk, built] = cell.querySelectorAll("b");
    const list = put(tip, "dl", "");
    const say = (label, node) => {
      put(list, "dt", label);
      list.appendChild(document.createElement("dd")).append(node);
    };
    say("on disk", disk.childNodes[1].textContent);
    say("built", built.childNodes[1].textContent);
    say("verdict", cell.querySelector("em")?.textContent || "✓ agrees");
    for (const id of cell.dataset.i.split(" ")) {
      const told = document.createDocumentFragment();
      told.append(...document.getElementById(id).cloneNode(true).childNodes);
      say(id.includes("e") ? "decided by" : "what happens", told);
    }
    tip.hidden = false;
    document.querySelector(".here")?.classList.remove("here");
    cell.classList.add("here");
  };
  const hide = () => {
    tip.hidden = true;
    document.querySelector(".here")?.classList.remove("here");
  };
  const columnOf = (cell) => {
    let at = 0;
    for (const other of cell.parentNode.children) {
      if (other === cell) return at;
      at += other.colSpan;
    }
    return at;
  };
  const cellAt = (row, column) => {
    const cells = [...row.querySelectorAll("td[tabindex]")];
    const away = (cell) => {
      const start = columnOf(cell);
      return Math.max(start - column, column - start - cell.colSpan + 1, 0);
    };
    return cells.sort((a, b) => away(a) - away(b))[0];
  };
  for (const grid of document.querySelectorAll(".grid")) {
    let column = 0;
    const rows = [...grid.rows].filter((row) => row.querySelector("td[tabindex]"));
    const focus = (cell) => {
      for (const old of grid.querySelectorAll('td[tabindex="0"]')) old.tabIndex = -1;
      cell.tabIndex = 0;
      cell.focus();
    };
    grid.addEventListener("focusin", (event) => {
      const cell = event.target.closest("td[tabindex]");
      if (!cell) return;
      show(cell);
      cell.setAttribute("aria-describedby", "tip");
      cell.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    grid.addEventListener("focusout", (event) => {
      event.target.removeAttribute("aria-describedby");
      hide();
    });
    grid.addEventListener("pointerover", (event) => {
      const cell = event.target.closest("td[tabindex]");
      if (cell) show(cell);
    });
    grid.addEventListener("pointerleave", hide);
    grid.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td[tabindex]");
      if (!cell || event.ctrlKey || event.altKey || event.metaKey) return;
      const all = [...cell.parentNode.querySelectorAll("td[tabindex]")];
      const at = all.indexOf(cell);
      const row = rows.indexOf(cell.parentNode);
      const moves = {
        ArrowRight: () => all[at + 1],
        ArrowLeft: () => all[at - 1],
        Home: () => all[0],
        End: () => all[all.length - 1],
        ArrowDown: () => rows[row + 1] && cellAt(rows[row + 1], column),
        ArrowUp: () => rows[row - 1] && cellAt(rows[row - 1], column),
      };
      if (event.key === "Escape") hide();
      if (!(event.key in moves)) return;
      const upright = event.key === "ArrowDown" || event.key === "ArrowUp";
      if (!upright || cellAt(cell.parentNode, column) !== cell) column = columnOf(cell);
      event.preventDefault();
      const next = moves[event.key]();
      if (!next) return;
      focus(next);
      if (!upright) column = columnOf(next);
    });
  }
})();
