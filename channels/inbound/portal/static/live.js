// Changes of orders as they happen: `orders` with what changed, `missed` when the page should look again.

export function follow(query, { orders, missed, on }) {
  const base = document.body.dataset.base;
  const source = new EventSource(`${base}/events${query ? `?${query}` : ""}`);
  const show = (alive) => {
    for (const sign of document.querySelectorAll("[data-live]")) sign.hidden = !alive;
  };
  let before = false;
  source.addEventListener("hello", () => {
    show(true);
    if (before) (missed ?? on)?.(); // what happened while the line was down was not told
    before = true;
  });
  source.addEventListener("orders", (event) => orders(JSON.parse(event.data)));
  source.addEventListener("missed", () => (missed ?? on)?.());
  source.addEventListener("over", () => { show(false); source.close(); });
  source.addEventListener("error", () => show(false)); // the browser connects again by itself
  addEventListener("pagehide", () => source.close());
  return source;
}

export function badge(element, change) {
  element.className = `badge ${change.kind}`;
  element.textContent = change.state;
}
