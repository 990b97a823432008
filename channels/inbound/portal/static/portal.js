// What every page has: dialogs where the browser has no commands of its own, copying, and the end of a session.

for (const button of document.querySelectorAll("[data-opens], [data-closes]")) {
  if ("commandForElement" in HTMLButtonElement.prototype) break;
  button.addEventListener("click", () => {
    const dialog = document.getElementById(button.dataset.opens ?? button.dataset.closes);
    if (button.dataset.opens) dialog.showModal();
    else dialog.close();
  });
}

for (const button of document.querySelectorAll("[data-copies]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
    button.textContent = "Copied";
  });
}

// A form is sent once: a second click while the answer is on its way does nothing.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || event.defaultPrevented) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.forms) delete form.dataset.sent;
});

document.getElementById("mistakes")?.focus();

// On a phone the navigation is a row that may be scrolled: where one is should be in sight.
const here = document.querySelector(".side [aria-current]");
if (here) here.closest(".side").scrollLeft = here.offsetLeft - 24;

const left = Number(document.body.dataset.secondsLeft);
if (left > 0) {
  const ends = performance.now() + left * 1000;
  const look = () => {
    const rest = (ends - performance.now()) / 1000;
    document.getElementById("session-ending").hidden = rest > 120;
    if (rest <= 0) location.assign(`${document.body.dataset.signIn}?over=yes&next=${encodeURIComponent(location.pathname + location.search)}`);
    else setTimeout(look, Math.min(rest > 121 ? (rest - 120) * 1000 : 1000, 60000));
  };
  look();
}
