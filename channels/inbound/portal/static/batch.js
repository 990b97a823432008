// One batch: its counts and orders are fetched anew when one of them changes.

import { follow } from "./live.js";

const live = document.getElementById("live");
const { batch, after } = live.dataset;
let fetching = false;
let again = false;

async function look() {
  if (fetching) { again = true; return; }
  fetching = true;
  do {
    again = false;
    try {
      const answer = await fetch(`${document.body.dataset.base}/batches/${batch}/live${after ? `?after=${encodeURIComponent(after)}` : ""}`, { headers: { Accept: "text/html" } });
      if (answer.ok) {
        const next = document.createElement("template");
        next.innerHTML = await answer.text();
        live.replaceChildren(...next.content.children);
      } else if (answer.status === 401) location.reload();
    } catch { /* the line is down: its return looks again */ }
  } while (again);
  fetching = false;
}

follow(`batch=${batch}`, { orders: look, missed: look });
