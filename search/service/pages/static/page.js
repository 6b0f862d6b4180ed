// Brings the parts of a page that are marked `data-live` up to date; without it pages are whole.
"use strict";
const main = document.getElementById("main");
const silence = document.getElementById("silence");
let asked = false, again = false;

// what a link, button or the like is, by which it is found again
function nameOf(one) {
  const figure = one.closest("figure");
  return [
    one.tagName, one.getAttribute("href"), one.getAttribute("aria-label"), one.name, one.value,
    one.getAttribute("aria-labelledby"), one.form && one.form.getAttribute("action"),
    figure && figure.querySelector("h3").textContent,
  ].join("\n");
}

function replace(old, fresh) {
  if (old.innerHTML === fresh.innerHTML) return;
  const used = old.contains(document.activeElement) ? document.activeElement : null;
  // a field that somebody fills in stays
  if (used && used.matches("input:not([type=checkbox]), select, textarea")) return;
  const ticked = [...old.querySelectorAll("input:checked")].map((one) => one.value);
  const open = [...old.querySelectorAll("details")].map((one) => one.open);
  const at = [...old.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  old.replaceChildren(...fresh.childNodes);
  for (const one of old.querySelectorAll("input[type=checkbox]")) {
    one.checked = ticked.includes(one.value);
  }
  old.querySelectorAll("details").forEach((one, index) => { one.open = Boolean(open[index]); });
  old.querySelectorAll(".scroll").forEach((one, index) => { one.scrollLeft = at[index] || 0; });
  if (!used) return;
  const names = "a, button, input, summary, [tabindex]";
  const same = [...old.querySelectorAll(names)].find((one) => nameOf(one) === nameOf(used));
  if (!same) old.tabIndex = -1;  // it is gone: the next one is that after its place
  (same || old).focus({ preventScroll: true });
}

async function refresh() {
  if (asked) { again = true; return; }
  asked = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected) { location.assign(answer.url); return; }
    silence.hidden = answer.ok;
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const part = fresh.getElementById(old.id);
      if (part) replace(old, part);
    }
    document.title = fresh.title;
  } catch {
    silence.hidden = false;
  } finally {
    setTimeout(() => {
      asked = false;
      if (again) { again = false; refresh(); }
    }, 1000);
  }
}

if (main.dataset.events) {
  const events = new EventSource(main.dataset.events);
  for (const name of ["trial", "round", "status"]) events.addEventListener(name, refresh);
  events.addEventListener("end", () => { events.close(); refresh(); setTimeout(refresh, 3000); });
  events.addEventListener("error", refresh);
  setInterval(() => { if (!document.hidden) refresh(); }, 15000);
} else if (main.dataset.every) {
  setInterval(() => { if (!document.hidden) refresh(); }, 1000 * Number(main.dataset.every));
}
