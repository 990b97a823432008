// Changes of orders as they happen: `orders` with what changed, `missed` when the page should look again.
// A page that nobody looks at keeps no line: browsers have six to a host, and every tab would take one.

const AGAIN = 15000; // ms

export function follow(query, { orders, missed }) {
  const address = `${document.body.dataset.base}/events${query ? `?${query}` : ""}`;
  let source = null;
  let before = false;

  const show = (alive) => {
    for (const sign of document.querySelectorAll("[data-live]")) sign.hidden = !alive;
  };

  const close = () => {
    source?.close();
    source = null;
    show(false);
  };

  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(address);
    source.addEventListener("hello", () => {
      show(true);
      if (before) missed(); // what happened while there was no line was not told
      before = true;
    });
    source.addEventListener("orders", (event) => orders(JSON.parse(event.data)));
    source.addEventListener("missed", () => missed());
    source.addEventListener("over", close);
    source.addEventListener("error", () => {
      show(false);
      if (source?.readyState !== EventSource.CLOSED) return; // the browser connects again by itself
      close(); // an answer that is no stream, as of a proxy while the engine starts: it never would
      setTimeout(open, AGAIN);
    });
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
}

export function badge(element, change) {
  element.className = `badge ${change.kind}`;
  element.textContent = change.state;
}
