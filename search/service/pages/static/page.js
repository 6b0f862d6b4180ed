// Brings the parts of a page that are marked `data-live` up to date; without it pages are whole.
"use strict";
const main = document.getElementById("main");
let asked = false, again = false;

function replace(old, fresh) {
  if (old.innerHTML === fresh.innerHTML) return;
  // what somebody uses just now stays: a field with the focus, or boxes that are ticked
  if (old.contains(document.activeElement) || old.querySelector("input:checked")) return;
  const open = [...old.querySelectorAll("details")].map((one) => one.open);
  old.replaceChildren(...fresh.childNodes);
  old.querySelectorAll("details").forEach((one, index) => { one.open = Boolean(open[index]); });
}

async function refresh() {
  if (asked) { again = true; return; }
  asked = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const part = fresh.getElementById(old.id);
      if (part) replace(old, part);
    }
    document.title = fresh.title;
  } catch (error) {
    console.warn("the service does not answer, it is asked again", error);
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
  setInterval(() => { if (!document.hidden) refresh(); }, 15000);
} else if (main.dataset.every) {
  setInterval(() => { if (!document.hidden) refresh(); }, 1000 * Number(main.dataset.every));
}
