// Brings the parts of a page that are marked `data-live` up to date; without it pages are whole.
"use strict";
const main = document.getElementById("main");
const silence = document.getElementById("silence");
let asked = false, again = false, events = null;

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
  if (document.hidden) return;
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

// listens as long as the page is seen: browsers open only six connections to a service
function listen() {
  if (events) events.close();
  events = null;
  if (document.hidden || !main.dataset.events) return;
  const own = events = new EventSource(main.dataset.events);
  for (const name of ["trial", "status"]) own.addEventListener(name, refresh);
  own.addEventListener("end", () => { own.close(); refresh(); setTimeout(refresh, 3000); });
  own.addEventListener("error", refresh);
}

if (main.dataset.events || main.dataset.every) {
  const every = main.dataset.events ? 15 : Number(main.dataset.every);
  listen();
  setInterval(refresh, 1000 * every);
  document.addEventListener("visibilitychange", () => { listen(); refresh(); });
}
