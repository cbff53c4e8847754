// pii/openings.jsonl of a bundle (docs/FORMATS.md): each line opens the digest of an entry that was asked for. Lines and
// entries come in one order, so both are read once.

const OPENING_BYTES_MAX = 128 * 1024;
const OPENINGS = "pii/openings.jsonl";

class Openings {
  constructor(blob, out) {
    Object.assign(this, { out, lines: blob === null ? null : linesOf(blob, () => {}), blob, queue: [], line: 0, next: undefined });
    this.last = null;
  }

  bad(code, message, field) {
    const { shard, seq } = this.last || { shard: null, seq: null };
    this.out.add(code, message, { object: OPENINGS, line: this.line, field, shard, seq });
  }

  // An entry that was asked for.
  take(shard, { seq, event_id, pii_digest }) {
    if (this.lines !== null) this.queue.push({ shard, seq: Number(seq), event_id, digest: pii_digest });
  }

  // Compare what was taken with the lines, in order; at the end no line is left.
  async settle(isLast = false) {
    if (this.lines === null) return;
    if (this.next === undefined) await this.begin();
    for (const entry of this.queue.splice(0)) {
      while (this.next !== null && order(this.next, entry) < 0) await this.stray();
      if (this.next === null || order(this.next, entry) > 0) {
        if (entry.digest !== undefined) this.out.count("digests that are not opened");
        continue;
      }
      if (this.next.event_id !== entry.event_id) this.bad("opening.entry", "is of another event than this entry", "event_id");
      else if (this.next.digest !== entry.digest) this.bad("opening.digest", "the pairs have another digest than the entry", "pairs");
      else this.out.count("openings");
      await this.advance();
    }
    while (isLast && this.next !== null) await this.stray();
  }

  async begin() {
    const head = await bytesAt(this.blob, 0, 1);
    if (head.length > 0 && head[0] !== 0x7b) {
      this.next = null;
      this.out.add("opening.form", "these are no openings, one a line", { object: OPENINGS, line: 1, field: "pairs" });
    } else await this.advance();
  }

  async stray() {
    this.bad("opening.entry", "opens no entry of the window that was asked for", "seq");
    await this.advance();
  }

  async advance() {
    this.next = null;
    for (;;) {
      try {
        const { done, value } = await this.lines.next();
        if (done) return;
        this.line += 1;
        const opening = opened(value);
        if (this.last !== null && order(this.last, opening) >= 0) {
          throw new Fault("opening.order", "does not stand in order of shard and sequence", "seq");
        }
        this.next = this.last = opening;
        return;
      } catch (fault) {
        if (!(fault instanceof Fault)) throw fault;
        this.out.add(fault.code, fault.message, { object: OPENINGS, line: this.line, field: fault.field || "pairs" });
        if (fault.code.startsWith("file.")) return;
      }
    }
  }
}

const order = (one, other) => one.shard - other.shard || one.seq - other.seq;

// A line -> the entry that it names, and the digest of its pairs.
function opened(bytes) {
  const line = shaped(canonicalObject(bytes, "opening.form", OPENING_BYTES_MAX), "personal_opening", "opening.form");
  const commitments = [];
  let before = "";
  for (const { commitment, opened: shown } of line.pairs) {
    const said = fromHex(commitment);
    commitments.push(said);
    if (shown === null) continue;
    const { name, salt, value } = shown;
    if (name <= before) throw new Fault("opening.form", "pairs do not stand in order of their names, each once", "name");
    before = name;
    const made = sha256(fromHex(salt), utf8.encode(name), Uint8Array.of(0), utf8.encode(value));
    if (!same(made, said)) throw new Fault("opening.form", `the commitment of ${name} is not that of its value and salt`, "commitment");
  }
  if (before === "") throw new Fault("opening.form", "no pair is opened", "opened");
  return { shard: line.shard, seq: whole(line.seq, "opening.form", "seq"), event_id: line.event_id, digest: hexOf(sha256(...commitments)) };
}
