// One upload: its parts are sent a few at a time, again where the line failed, not again where they are there.

const AT_ONCE = 3;
const LONGEST_WAIT = 30000; // ms between two tries
const WRONG_DIGESTS = 3; // tries of a part that arrives otherwise than it was sent

export class Refused extends Error {} // nothing that a repetition would change
export class SessionOver extends Error {}
export class GivenUp extends Error {}

const csrf = () => document.body.dataset.csrf;

export async function asked(method, address, fields) {
  let answer;
  try {
    answer = await fetch(address, {
      method,
      headers: { Accept: "application/json", "X-CSRF-Token": csrf() },
      body: fields ? new URLSearchParams(fields) : undefined,
    });
  } catch {
    return { again: true };
  }
  return judged(answer.status, await answer.text().catch(() => ""), answer.headers.get("Retry-After"));
}

function judged(status, text, retryAfter) {
  let body = {};
  try { body = JSON.parse(text); } catch { /* an answer of a proxy */ }
  if (status >= 200 && status < 300) return { body };
  if (status === 401) throw new SessionOver();
  if (status === 0 || status === 408 || status === 429 || status >= 500) {
    return { again: true, after: Number(retryAfter) * 1000 || 0, detail: body.detail };
  }
  const refused = new Refused(body.detail || `the portal answered ${status}`);
  refused.status = status;
  throw refused;
}

export class Sending {
  // `source`: with `size` and `range(start, end)`; `begun`: what the portal answered to the beginning.
  constructor(source, begun, told) {
    this.source = source;
    this.address = begun.address;
    this.partSize = begun.part_size;
    this.told = told; // called with a sentence while something is in the way, with "" when it is not any more
    this.count = Math.ceil(source.size / begun.part_size);
    this.there = new Map(begun.parts.map((part) => [part.number, part]));
    this.done = 0; // bytes of whole parts
    this.skipped = 0; // of these, those that were there
    this.under = new Map(); // number -> bytes of a part under way
    this.requests = new Set();
    this.next = 1;
    this.paused = null; // a promise while it is
    this.stopped = false;
  }

  get sent() {
    let sent = this.done;
    for (const size of this.under.values()) sent += size;
    return sent;
  }

  pause() {
    if (this.paused) return;
    this.paused = new Promise((resolve) => { this.resume = () => { this.paused = null; resolve(); }; });
    for (const request of this.requests) request.abort();
  }

  stop() {
    this.stopped = true;
    this.resume?.();
    for (const request of this.requests) request.abort();
  }

  async all() {
    const workers = Array.from({ length: AT_ONCE }, async () => {
      while (this.next <= this.count && !this.stopped) await this.part(this.next++);
    });
    try {
      await Promise.all(workers);
    } catch (error) {
      this.stop();
      throw error;
    }
    if (this.stopped) throw new GivenUp();
  }

  async part(number) {
    const start = (number - 1) * this.partSize;
    const end = Math.min(this.source.size, start + this.partSize);
    let bytes;
    try {
      bytes = await (await this.source.range(start, end)).arrayBuffer();
    } catch {
      throw new Refused("a chosen file cannot be read any more, or has changed: choose the files again");
    }
    const digest = crypto.subtle ? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)) : null;
    const before = this.there.get(number);
    if (before && digest && before.size === bytes.byteLength && before.sha256 === hex(digest)) {
      this.done += bytes.byteLength;
      this.skipped += bytes.byteLength;
      return;
    }
    let wrong = 0;
    for (let tries = 0; ; tries++) {
      while (this.paused) await this.paused;
      if (this.stopped) throw new GivenUp();
      let answer;
      try {
        answer = await this.put(number, bytes, digest);
      } catch (error) {
        if (error.status !== 422 || ++wrong >= WRONG_DIGESTS) throw error;
        continue;
      } finally {
        this.under.delete(number);
      }
      if (answer.body) {
        this.done += bytes.byteLength;
        this.told("");
        return;
      }
      if (this.paused) { tries = -1; continue; }
      if (this.stopped) throw new GivenUp();
      this.told(`${answer.detail || "The line is down"}. It goes on by itself as soon as it can.`);
      await wait(answer.after || Math.min(LONGEST_WAIT, 1000 * 2 ** tries) * (0.75 + Math.random() / 2));
    }
  }

  put(number, bytes, digest) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest(); // it tells how far it is, which fetch does not
      this.requests.add(request);
      request.open("PUT", `${this.address}/parts/${number}`);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.setRequestHeader("X-CSRF-Token", csrf());
      if (digest) request.setRequestHeader("Content-Digest", `sha-256=:${btoa(String.fromCharCode(...digest))}:`);
      request.upload.addEventListener("progress", (event) => this.under.set(number, event.loaded));
      request.addEventListener("loadend", () => {
        this.requests.delete(request);
        try {
          resolve(judged(request.status, request.responseText, request.getResponseHeader("Retry-After")));
        } catch (error) {
          reject(error);
        }
      });
      request.send(bytes);
    });
  }
}

export async function insist(method, address, fields, told) {
  for (let tries = 0; ; tries++) {
    const answer = await asked(method, address, fields);
    if (answer.body) {
      told("");
      return answer.body;
    }
    told(`${answer.detail || "The line is down"}. It goes on by itself as soon as it can.`);
    await wait(answer.after || Math.min(LONGEST_WAIT, 1000 * 2 ** tries));
  }
}

export function wait(milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, milliseconds);
    function end() { clearTimeout(timer); removeEventListener("online", end); resolve(); }
    addEventListener("online", end);
  });
}

function hex(bytes) {
  return [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
}
