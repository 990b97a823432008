// Giving an order with its files: the form, then the parts, then what becomes of them. A page that was left is
// opened again at the order's upload; the same files, chosen once more, go on where they were.

import { Chosen, readable } from "./chosen.js";
import { asked, GivenUp, insist, Refused, Sending, SessionOver, wait } from "./sending.js";
import { Archive, Whole } from "./zip.js";

const WINDOW = 8000; // ms over which the speed is measured
const section = document.getElementById("uploader");
const form = document.getElementById("order-form");
const give = document.getElementById("give");
const base = document.body.dataset.base;
const at = (id) => document.getElementById(id);
let sending = null;
let order = section.dataset.order;

const chosen = new Chosen(section, () => {
  tell("");
  if (form) give.textContent = chosen.files.size ? "Give the order and upload" : "Give the order";
  else give.disabled = chosen.files.size === 0;
});

function tell(text, kind = "bad", ...more) {
  const place = at("upload-told");
  place.hidden = !text;
  place.className = `notice ${kind}`;
  place.replaceChildren(text, ...more);
  if (text && kind === "bad") place.focus();
}

function source() {
  const files = [...chosen.files].map(([path, file]) => ({ path, file }));
  if (files.length > 1 && files.some(({ path }) => /\.zip$/i.test(path))) {
    throw new Refused("Choose one ZIP archive alone, or the files without it: an archive inside an archive is not taken.");
  }
  const made = files.length === 1 ? new Whole(files[0].file) : new Archive(files);
  if (made.size === 0) throw new Refused("The chosen file is empty: choose another.");
  if (files.length > Number(section.dataset.maxFiles)) throw new Refused(`An upload has at most ${section.dataset.maxFiles} files: choose one study.`);
  if (made.size > Number(section.dataset.maxSize)) throw new Refused(`An upload has at most ${readable(Number(section.dataset.maxSize))}: choose one study.`);
  return made;
}

form?.addEventListener("submit", async (event) => {
  if (chosen.files.size === 0 && !order) return; // the form does it alone
  event.preventDefault();
  await run();
});
if (!form) give.addEventListener("click", () => run());

async function run(anew = false) {
  busy(true);
  try {
    const made = source();
    if (!order && !(await giveOrder())) return;
    await send(made, anew);
  } catch (error) {
    explain(error);
  } finally {
    busy(false);
  }
}

function busy(is) {
  give.disabled = is || (!form && chosen.files.size === 0);
  chosen.freeze(is);
  at("sending").hidden = !is;
}

async function giveOrder() {
  const place = at("form-mistakes");
  place.hidden = true;
  let answer;
  try {
    answer = await fetch(form.action, { method: "POST", headers: { Accept: "application/json" }, body: new URLSearchParams(new FormData(form)) });
  } catch {
    throw new Refused("The portal cannot be reached: look at your line and try again.");
  }
  if (answer.status === 401) throw new SessionOver();
  const told = await answer.json();
  if (told.mistakes) {
    at("metadata-details").open = true;
    place.replaceChildren(...Object.entries(told.mistakes).map(([name, why]) => {
      const line = document.createElement("p");
      const link = document.createElement("a");
      link.href = `#${name}`;
      link.textContent = document.querySelector(`label[for="${CSS.escape(name)}"]`)?.firstChild.textContent.trim() || "Order";
      line.append(link, `: ${why}`);
      return line;
    }));
    place.hidden = false;
    place.focus();
    return false;
  }
  if (!answer.ok) throw new Refused(told.detail);
  order = told.order_id;
  history.replaceState(null, "", told.upload); // a reload comes back to this order's upload
  for (const element of form.querySelectorAll("input, select, textarea")) if (!section.contains(element)) element.disabled = true;
  return true;
}

async function send(made, anew) {
  const begun = await insist("POST", `${base}/orders/${order}/upload`, { size: made.size, ...(anew ? { anew: "yes" } : {}) }, hint);
  sending = new Sending(made, begun, hint);
  steerable(true);
  const figures = measure(sending);
  addEventListener("beforeunload", warn);
  try {
    await sending.all();
    const told = await insist("POST", `${begun.address}/complete`, {}, hint);
    await settled(told);
  } finally {
    clearInterval(figures);
    removeEventListener("beforeunload", warn);
    sending = null;
    steerable(false);
  }
}

// There is nothing to pause or to give up before the parts begin.
function steerable(is) {
  at("pause").disabled = at("give-up").disabled = !is;
  at("pause").textContent = "Pause";
}

function hint(text) { tell(text && sentence(text), "wait"); }

async function settled(told) {
  at("percent").textContent = "Sent. It is looked at and taken in.";
  at("amount").textContent = at("speed").textContent = at("rest").textContent = "";
  at("progress").removeAttribute("value");
  while (told.state === "taking" || told.state === "open") {
    await wait(1000);
    told = await insist("GET", told.address, null, hint);
    if (told.waits) hint(`It waits: ${told.waits}.`);
  }
  if (told.state !== "taken") throw new Refused(told.failure || `The upload has ${told.state}.`);
  at("upload-status").textContent = `${told.instances} instances were taken in.`;
  location.assign(told.order);
}

function measure(sending) {
  const seen = [];
  let quarter = 0;
  at("progress").max = sending.source.size;
  const look = () => {
    const now = performance.now();
    const { sent } = sending;
    const size = sending.source.size;
    seen.push([now, sent - sending.skipped]);
    while (seen.length > 2 && now - seen[0][0] > WINDOW) seen.shift();
    const span = (now - seen[0][0]) / 1000;
    const speed = span > 0.5 ? Math.max(0, seen.at(-1)[1] - seen[0][1]) / span : 0;
    const done = Math.floor((sent / size) * 100);
    at("progress").value = sent;
    at("percent").textContent = `${Math.min(done, 100)} %`;
    at("amount").textContent = `${readable(sent)} of ${readable(size)}`;
    at("speed").textContent = sending.paused ? "paused" : speed ? `${readable(speed)}/s` : "";
    at("rest").textContent = speed && !sending.paused && sent < size ? `${spell((size - sent) / speed)} left` : "";
    if (Math.floor(done / 25) > quarter) {
      quarter = Math.floor(done / 25);
      at("upload-status").textContent = `${quarter * 25} percent sent`;
    }
  };
  look();
  return setInterval(look, 250);
}

function spell(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.ceil(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function warn(event) { event.preventDefault(); }

at("pause").addEventListener("click", () => {
  if (!sending) return;
  if (sending.paused) sending.resume();
  else sending.pause();
  at("pause").textContent = sending.paused ? "Go on" : "Pause";
});

at("give-up").addEventListener("click", async () => {
  if (!sending) return;
  const { address } = sending;
  sending.stop();
  try {
    await asked("DELETE", address);
  } catch (error) {
    explain(error);
    return;
  }
  removeEventListener("beforeunload", warn);
  location.assign(`${base}/orders/${order}`);
});

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

function explain(error) {
  if (error instanceof GivenUp) return;
  if (error instanceof SessionOver) {
    const link = document.createElement("a");
    link.href = `${document.body.dataset.signIn}?next=${encodeURIComponent(location.pathname)}`;
    link.textContent = "Sign in again";
    tell("Your session is over. What was sent is kept. ", "bad", link, " and choose the same files: they go on where they were.");
    return;
  }
  if (error instanceof Refused && error.status === 409 && /under way/.test(error.message)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet small";
    button.id = "anew";
    button.textContent = "Drop what was sent and send these";
    button.addEventListener("click", () => run(true));
    tell("Other files of this order were being uploaded. Choose the same files to go on with them, or: ", "bad", button);
    return;
  }
  if (error instanceof Refused) tell(sentence(error.message));
  else {
    tell("The upload broke in your browser. Reload the page and choose the same files: they go on where they were.");
    throw error;
  }
}
