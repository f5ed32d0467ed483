// The page keeps itself current. It stands still while the keyboard or a selection is in what would be exchanged, which would take
// the focus away, while nobody can see it, and for as long as it is asked to.
"use strict";

const button = document.getElementById("hold");
const isHeld = () => button?.getAttribute("aria-pressed") === "true";

function isInUse(live) {
  const selection = document.getSelection();
  return live.querySelector(":focus-visible") !== null || (!selection.isCollapsed && selection.containsNode(live, true));
}

if (button) {
  button.hidden = false;
  button.addEventListener("click", () => button.setAttribute("aria-pressed", String(!isHeld())));
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const live = document.getElementById("live");
  if (event.target.id === "main" && (isHeld() || document.hidden || isInUse(live))) event.preventDefault();
});

// tables that are wider than the window stay where they were scrolled to
let scrolled = [];
const wide = () => [...document.querySelectorAll(".scroll")];
document.addEventListener("htmx:beforeSwap", () => { scrolled = wide().map((table) => table.scrollLeft); });
document.addEventListener("htmx:afterSwap", () => { wide().forEach((table, number) => { table.scrollLeft = scrolled[number] ?? 0; }); });
