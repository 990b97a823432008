// One ZIP archive of many files, none of it in memory: any range of its bytes can be asked for, in any order.
// Files are stored as they are (method 0), with constant times, so that the same files always give the same
// bytes (APPNOTE 6.3.10: 4.3.7 local header, 4.3.12 central directory, 4.3.14 and 4.3.15 ZIP64 records).

const PIECE = 1 << 20;
const UTF8 = 0x0800;
const DAY = 0x0021; // 1980-01-01
const LIMIT = 0xffffffff;

const TABLES = Array.from({ length: 8 }, () => new Uint32Array(256));
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  TABLES[0][n] = c >>> 0;
}
for (let n = 0; n < 256; n++) {
  for (let t = 1; t < 8; t++) TABLES[t][n] = (TABLES[0][TABLES[t - 1][n] & 255] ^ (TABLES[t - 1][n] >>> 8)) >>> 0;
}

export function crc32(bytes, before = 0) {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  let crc = ~before;
  let at = 0;
  for (const end = bytes.length - 7; at < end; at += 8) {
    const low = crc ^ (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24));
    crc = t7[low & 255] ^ t6[(low >>> 8) & 255] ^ t5[(low >>> 16) & 255] ^ t4[low >>> 24]
      ^ t3[bytes[at + 4]] ^ t2[bytes[at + 5]] ^ t1[bytes[at + 6]] ^ t0[bytes[at + 7]];
  }
  for (; at < bytes.length; at++) crc = t0[(crc ^ bytes[at]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

class Record {
  constructor() { this.bytes = []; }
  u16(value) { this.bytes.push(value & 255, (value >>> 8) & 255); return this; }
  u32(value) { return this.u16(value & 0xffff).u16(value >>> 16); }
  u64(value) { return this.u32(value >>> 0).u32(Math.floor(value / 4294967296)); }
  raw(bytes) { for (const one of bytes) this.bytes.push(one); return this; }
  get size() { return this.bytes.length; }
}

export class Archive {
  // `files`: [{ path, file }]; their order is that of their paths, whatever the browser gave.
  constructor(files) {
    const encoder = new TextEncoder();
    this.entries = [...files]
      .sort((one, other) => (one.path < other.path ? -1 : one.path > other.path ? 1 : 0))
      .map(({ path, file }) => ({ name: encoder.encode(path), file, crc: null }));
    let at = 0;
    for (const entry of this.entries) {
      entry.at = at;
      entry.large = entry.file.size >= LIMIT;
      entry.head = 30 + entry.name.length + (entry.large ? 20 : 0);
      at += entry.head + entry.file.size;
    }
    this.directoryAt = at;
    let directory = 0;
    for (const entry of this.entries) {
      entry.extra = (entry.large ? 16 : 0) + (entry.at >= LIMIT ? 8 : 0);
      directory += 46 + entry.name.length + (entry.extra ? 4 + entry.extra : 0);
    }
    this.directorySize = directory;
    this.zip64 = at >= LIMIT || directory >= LIMIT || this.entries.length >= 0xffff;
    this.size = at + directory + (this.zip64 ? 76 : 0) + 22;
    this.tail = null;
  }

  // The bytes from `start` to `end`, as a Blob: pieces of files are named in it, not read.
  async range(start, end) {
    const pieces = [];
    const take = (at, size, give) => {
      const from = Math.max(start, at);
      const to = Math.min(end, at + size);
      if (from < to) pieces.push(give(from - at, to - at));
    };
    for (let n = this.firstAt(start); n < this.entries.length && this.entries[n].at < end; n++) {
      const entry = this.entries[n];
      if (start < entry.at + entry.head) {
        const head = await this.headOf(entry);
        take(entry.at, entry.head, (from, to) => head.subarray(from, to));
      }
      take(entry.at + entry.head, entry.file.size, (from, to) => entry.file.slice(from, to));
    }
    if (end > this.directoryAt) {
      const tail = await this.tailOf();
      take(this.directoryAt, tail.length, (from, to) => tail.subarray(from, to));
    }
    return new Blob(pieces);
  }

  firstAt(position) {
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = this.entries[middle];
      if (entry.at + entry.head + entry.file.size <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async crcOf(entry) {
    if (entry.crc === null) {
      let crc = 0;
      for (let at = 0; at < entry.file.size; at += PIECE) {
        crc = crc32(new Uint8Array(await entry.file.slice(at, at + PIECE).arrayBuffer()), crc);
      }
      entry.crc = crc;
    }
    return entry.crc;
  }

  async headOf(entry) {
    const crc = await this.crcOf(entry);
    const size = entry.large ? LIMIT : entry.file.size;
    const head = new Record().u32(0x04034b50).u16(entry.large ? 45 : 20).u16(UTF8).u16(0).u16(0).u16(DAY)
      .u32(crc).u32(size).u32(size).u16(entry.name.length).u16(entry.large ? 20 : 0).raw(entry.name);
    if (entry.large) head.u16(1).u16(16).u64(entry.file.size).u64(entry.file.size);
    return Uint8Array.from(head.bytes);
  }

  async tailOf() {
    if (this.tail) return this.tail;
    const all = new Record();
    for (const entry of this.entries) {
      const crc = await this.crcOf(entry);
      const size = entry.large ? LIMIT : entry.file.size;
      const far = entry.at >= LIMIT;
      const version = entry.large || far ? 45 : 20;
      all.u32(0x02014b50).u16(version).u16(version).u16(UTF8).u16(0).u16(0).u16(DAY).u32(crc).u32(size).u32(size)
        .u16(entry.name.length).u16(entry.extra ? 4 + entry.extra : 0).u16(0).u16(0).u16(0).u32(0)
        .u32(far ? LIMIT : entry.at).raw(entry.name);
      if (entry.extra) {
        all.u16(1).u16(entry.extra);
        if (entry.large) all.u64(entry.file.size).u64(entry.file.size);
        if (far) all.u64(entry.at);
      }
    }
    const count = this.entries.length;
    if (this.zip64) {
      all.u32(0x06064b50).u64(44).u16(45).u16(45).u32(0).u32(0).u64(count).u64(count)
        .u64(this.directorySize).u64(this.directoryAt)
        .u32(0x07064b50).u32(0).u64(this.directoryAt + this.directorySize).u32(1);
    }
    all.u32(0x06054b50).u16(0).u16(0).u16(Math.min(count, 0xffff)).u16(Math.min(count, 0xffff))
      .u32(Math.min(this.directorySize, LIMIT)).u32(Math.min(this.directoryAt, LIMIT)).u16(0);
    this.tail = Uint8Array.from(all.bytes);
    return this.tail;
  }
}

// A file as it is, with the same face.
export class Whole {
  constructor(file) { this.file = file; this.size = file.size; }
  async range(start, end) { return this.file.slice(start, end); }
}
