// Keeps the figures up to date: when orders change (server-sent events), and every quarter of a minute in any case.
// While somebody is in the figures with the keyboard, or has opened the table, they stay as they are.

const figures = document.getElementById("figures");
const state = document.getElementById("live-state");
const LEAST = 2000;
const MOST = 15000;
let looked = performance.now();
let planned = 0;

const busy = () =>
  document.hidden || figures.contains(document.activeElement) || figures.querySelector("details[open]") !== null;

async function look() {
  planned = 0;
  looked = performance.now();
  if (!busy()) {
    try {
      const answer = await fetch(figures.dataset.live, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const text = await answer.text();
      if (!busy()) figures.innerHTML = text;
      figures.dataset.looks = String(Number(figures.dataset.looks ?? 0) + 1);
      state.hidden = true;
    } catch {
      state.hidden = false;
    }
  }
  plan(MOST);
}

function plan(within) {
  const wait = Math.max(within, LEAST - (performance.now() - looked));
  if (planned) clearTimeout(planned);
  planned = setTimeout(look, wait);
}

const events = new EventSource(figures.dataset.events);
events.addEventListener("orders", () => plan(0));
events.addEventListener("missed", () => plan(0));
events.addEventListener("over", () => events.close());
addEventListener("pagehide", () => events.close());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) plan(0);
});
plan(MOST);
