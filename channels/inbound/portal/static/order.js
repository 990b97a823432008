// One order: what changes is fetched anew and put in place; what was opened stays open.

import { follow } from "./live.js";

const live = document.getElementById("live");
const told = document.getElementById("told");
const order = live.dataset.order;
let fetching = false;
let again = false;

async function look() {
  if (fetching) { again = true; return; }
  fetching = true;
  do {
    again = false;
    const had = encodeURIComponent(live.dataset.result);
    try {
      const answer = await fetch(`${document.body.dataset.base}/orders/${order}/live?had=${had}`, { headers: { Accept: "text/html" } });
      if (answer.ok) put(await answer.text());
      else if (answer.status === 401) location.reload();
    } catch { /* the line is down: the next change, or its return, looks again */ }
  } while (again);
  fetching = false;
}

function put(text) {
  const next = document.createElement("template");
  next.innerHTML = text;
  const section = next.content.querySelector("[data-version]");
  if (Number(section.dataset.version) === Number(live.dataset.version)) return;
  for (const details of next.content.querySelectorAll("details[id]")) {
    const before = document.getElementById(details.id);
    if (before) details.open = before.open;
  }
  // A viewer that is open is not loaded anew while it shows the same result.
  if (section.dataset.result === live.dataset.result) {
    const before = live.querySelector("#result-section");
    const after = next.content.querySelector("#result-section");
    if (before && after) {
      for (const element of [...live.children]) if (element !== before) element.remove();
      let passed = false;
      for (const element of [...next.content.children]) {
        if (element === after) passed = true;
        else if (passed) live.append(element);
        else live.insertBefore(element, before);
      }
      settle(section);
      return;
    }
  }
  live.replaceChildren(...next.content.children);
  settle(section);
}

function settle(section) {
  if (told.dataset.state !== section.dataset.state) told.textContent = `The order is ${section.dataset.state}.`;
  told.dataset.state = section.dataset.state;
  live.dataset.version = section.dataset.version;
  live.dataset.result = section.dataset.result;
}

told.dataset.state = live.querySelector("[data-state]").dataset.state;
follow(`order=${order}`, { orders: look, missed: look });
