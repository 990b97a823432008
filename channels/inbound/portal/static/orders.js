// The list of orders: states change in place; what is not on the page is told of, and shown when asked for.

import { badge, follow } from "./live.js";

const news = document.getElementById("news");

follow("", {
  orders(changes) {
    for (const change of changes) {
      const row = document.querySelector(`tr[data-order="${CSS.escape(change.id)}"]`);
      if (row && Number(row.dataset.version) < change.version) {
        row.dataset.version = change.version;
        badge(row.querySelector("[data-state]"), change);
        row.classList.add("changed");
        setTimeout(() => row.classList.remove("changed"), 3000);
      } else if (!row && news?.dataset.fresh) {
        news.hidden = false;
      }
    }
  },
  missed() {
    if (news?.dataset.fresh) news.hidden = false;
  },
});
