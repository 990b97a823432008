// The files that are chosen: by picker or by drag and drop, folders with all that is in them; listed with sizes.

const SHOWN = 200; // rows of the list

export function readable(size) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (size < 1000) return `${unit === "B" || size >= 100 ? Math.round(size) : size.toFixed(1)} ${unit}`;
    size /= 1000;
  }
  return `${size.toFixed(1)} TB`;
}

export class Chosen {
  // `changed` is called with nothing after each change.
  constructor(section, changed) {
    this.files = new Map(); // path -> File
    this.section = section;
    this.changed = changed;
    this.frozen = false;
    for (const id of ["folder", "files"]) {
      const input = section.querySelector(`#${id}`);
      input.addEventListener("change", () => {
        this.add([...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
        input.value = "";
      });
    }
    section.querySelector("#clear").addEventListener("click", () => { this.files.clear(); this.show(); });
    this.catchDrops(section.querySelector("#drop"));
  }

  get size() {
    let size = 0;
    for (const file of this.files.values()) size += file.size;
    return size;
  }

  add(found) {
    if (this.frozen) return;
    for (const { path, file } of found) this.files.set(path, file);
    this.show();
  }

  freeze(frozen) {
    this.frozen = frozen;
    for (const element of this.section.querySelectorAll("#drop input, #clear, #chosen-list button")) element.disabled = frozen;
  }

  catchDrops(place) {
    for (const kind of ["dragenter", "dragover"]) {
      place.addEventListener(kind, (event) => { event.preventDefault(); place.classList.add("over"); });
    }
    place.addEventListener("dragleave", () => place.classList.remove("over"));
    place.addEventListener("drop", async (event) => {
      event.preventDefault();
      place.classList.remove("over");
      const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
      const loose = entries.length ? [] : [...event.dataTransfer.files].map((file) => ({ path: file.name, file }));
      const found = [];
      for (const entry of entries) await walk(entry, found);
      this.add([...found, ...loose]);
    });
  }

  show() {
    const list = this.section.querySelector("#chosen-list");
    const paths = [...this.files.keys()].sort();
    list.replaceChildren(...paths.slice(0, SHOWN).map((path) => this.row(path)));
    this.section.querySelector("#chosen-table").hidden = paths.length === 0;
    this.section.querySelector("#clear").hidden = paths.length === 0;
    const more = paths.length > SHOWN ? `; the first ${SHOWN} are listed` : "";
    const said = `${paths.length} ${paths.length === 1 ? "file" : "files"}, ${readable(this.size)}${more}`;
    this.section.querySelector("#chosen").textContent = paths.length ? said : "";
    this.changed();
  }

  row(path) {
    const row = document.createElement("tr");
    const name = document.createElement("td");
    name.textContent = path;
    const size = document.createElement("td");
    size.className = "number";
    size.textContent = readable(this.files.get(path).size);
    const act = document.createElement("td");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet small";
    button.textContent = "Take away";
    button.setAttribute("aria-label", `Take away ${path}`);
    button.addEventListener("click", () => { this.files.delete(path); this.show(); });
    act.append(button);
    row.append(name, size, act);
    return row;
  }
}

async function walk(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ path: entry.fullPath.replace(/^\//, ""), file });
    return;
  }
  const reader = entry.createReader();
  for (;;) { // it gives a hundred at a time, and none at the end
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const one of some) await walk(one, found);
  }
}
