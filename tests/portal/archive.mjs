// Makes an archive of a folder as the portal's page does, in ranges of so many bytes, the last one first.
// node archive.mjs FOLDER SIZE TARGET; files beyond those of the folder: EMPTY of no byte.

import { openAsBlob } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import { Archive } from "../../channels/inbound/portal/static/zip.js";

const [folder, size, target, empty] = process.argv.slice(2);
const files = [];
for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  files.push({ path: relative(folder, path), file: await openAsBlob(path) });
}
for (let n = 0; n < Number(empty ?? 0); n++) files.push({ path: `empty/${n}`, file: new Blob([]) });
const archive = new Archive(files);
const step = Number(size);
const written = await open(target, "w");
for (let start = Math.floor((archive.size - 1) / step) * step; start >= 0; start -= step) {
  const range = await archive.range(start, Math.min(archive.size, start + step));
  const bytes = new Uint8Array(await range.arrayBuffer());
  if (bytes.length !== Math.min(archive.size, start + step) - start) throw new Error(`${bytes.length} bytes at ${start}`);
  await written.write(bytes, 0, bytes.length, start);
}
await written.close();
