// Batches: metadata, entries, verdict lines, proof, read as a stream in bounded memory and judged line by line.

const OBJECT_BYTES_MAX = 4 * 1024 ** 3; // unpacked: beyond what an archive writes, and a bound for what claims more
const SHOWN_MAX = 500; // rows that the page lists of one batch
const REASONS = new Set([
  "malformed", "unknown_schema", "oversize", "bad_field", "key_mismatch", "unknown_account", "bad_currency", "bad_amount",
  "unbalanced", "unknown_reversal", "conflict", "no_record", "bad_rules", "unreadable",
]);

// The lines of a blob, gzip or plain, without their LF. The last one must be ended, and one gzip member is all there is.
async function* linesOf(blob, progress) {
  const head = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  let stream = blob.stream();
  let taken = 0;
  const counted = new TransformStream({
    transform(chunk, to) {
      taken += chunk.length;
      progress(taken, blob.size);
      to.enqueue(chunk);
    },
  });
  stream = stream.pipeThrough(counted);
  if (head[0] === 0x1f && head[1] === 0x8b) stream = stream.pipeThrough(new DecompressionStream("gzip"));
  const reader = stream.getReader();
  let rest = NOTHING;
  let unpacked = 0;
  for (;;) {
    let next = null;
    try {
      next = await reader.read();
    } catch {
      throw new Fault("file.gzip", "not exactly one sound gzip member: damaged, cut off, or something stands behind it");
    }
    if (next.done) break;
    unpacked += next.value.length;
    if (unpacked > OBJECT_BYTES_MAX) throw new Fault("file.size", "unpacks to more than 4 GiB");
    const bytes = rest.length > 0 ? joined(rest, next.value) : next.value;
    let from = 0;
    for (let at = bytes.indexOf(10, rest.length); at >= 0; at = bytes.indexOf(10, from)) {
      yield bytes.subarray(from, at);
      from = at + 1;
    }
    rest = bytes.subarray(from);
    if (rest.length > LINE_BYTES_MAX) throw new Fault("file.line", `a line of more than ${LINE_BYTES_MAX} bytes`);
  }
  if (rest.length > 0) throw new Fault("file.cut", "the last line is not ended: the file was cut off");
}

class BatchCheck {
  constructor(out, start = null) {
    this.out = out;
    this.start = start; // of a bundle: trees before this batch, and who wants to see each entry
    this.meta = null;
    this.line = 0;
    this.entries = 0;
    this.duplicates = 0;
    this.rejected = 0;
    this.offsets = [];
    this.verdictAt = -1;
    this.matched = 0;
    this.verdictsHash = new Sha256();
    this.totals = new Map();
    this.first = null;
    this.last = null;
    this.shown = [];
    this.tree = start ? start.tree : null;
    this.topic = null;
  }

  bad(code, message, field, seq = null) {
    this.out.add(code, message, { line: this.line, field, seq, shard: this.meta ? this.meta.shard : null });
  }

  metadata(bytes) {
    this.meta = shaped(canonicalObject(bytes, "batch.metadata"), "audit_batch_metadata", "batch.metadata");
    this.seq = whole(this.meta.first_seq, "batch.metadata", "first_seq");
    this.head = hashOrNothing(this.meta.prev_hash);
    if (this.seq === 1 && this.tree === null) this.tree = new GrowingTree();
    if ((this.seq === 1) !== (this.meta.prev_hash === null)) this.bad("batch.metadata", "only a shard's first entry has no hash before it", "prev_hash");
  }

  anyLine(bytes) {
    const value = canonicalObject(bytes, "batch.line");
    if (Object.hasOwn(value, "verdict")) this.verdict(value, bytes);
    else this.entry(value, bytes);
  }

  entry(value, bytes) {
    const entry = shaped(value, "journal_entry", "batch.entry");
    const bad = (field, message) => this.bad("batch.entry", message, field, entry.seq);
    this.head = sha256(bytes, this.head);
    if (this.tree && this.tree.append) this.tree.append(leafHash(bytes));
    if (this.verdictAt >= 0) bad("seq", "an entry behind the verdict lines");
    if (entry.seq !== String(this.seq)) bad("seq", `entry ${this.seq} is expected here`);
    this.seq = whole(entry.seq, "batch.entry", "seq") + 1;
    if (entry.shard !== this.meta.shard) bad("shard", "an entry of another shard");
    if (entry.source.partition !== entry.shard) bad("source.partition", "the partition is not the shard");
    if (this.topic === null) this.topic = entry.source.topic;
    if (entry.source.topic !== this.topic) bad("source.topic", "another topic than the entry before");
    const offset = whole(entry.source.offset, "batch.entry", "source.offset");
    if (this.offsets.length > 0 && offset <= this.offsets[this.offsets.length - 1]) bad("source.offset", "offsets do not rise");
    this.offsets.push(offset);
    this.times(entry, bad);
    this.balance(entry, bad);
    this.entries += 1;
    if (this.start && this.start.each) this.start.each(entry, bytes);
    if (this.shown.length < SHOWN_MAX) {
      const debit = entry.lines.find((each) => each.side === "debit") || entry.lines[0];
      this.shown.push([this.line, entry.seq, entry.recorded_at, entry.event_type, entry.settlement_id, entry.lines.length, debit.amount_minor, debit.currency].map(visible));
    }
  }

  times(entry, bad) {
    const { recorded_at: at, occurred_at: occurred } = entry;
    if (!isDay(at) || at < "2000" || at >= "2200") bad("recorded_at", "outside of 2000-01-01 to 2199-12-31, or no day");
    if (!isDay(occurred) || occurred < "1970" || occurred >= "2200") bad("occurred_at", "outside of 1970-01-01 to 2199-12-31, or no day");
    if (this.first === null || at < this.first) this.first = at;
    if (this.last === null || at > this.last) this.last = at;
  }

  balance(entry, bad) {
    const sums = new Map();
    for (const { currency, side, amount_minor: amount } of entry.lines) {
      const sum = sums.get(currency) || [0n, 0n];
      sum[side === "debit" ? 0 : 1] += BigInt(amount);
      sums.set(currency, sum);
    }
    for (const [currency, [debits, credits]] of sums) {
      if (debits !== credits) bad("lines", `debits and credits of ${currency} differ`);
      const total = this.totals.get(currency) || [0n, 0n];
      this.totals.set(currency, [total[0] + debits, total[1] + credits]);
    }
  }

  verdict(value, bytes) {
    const line = checkVerdict(value);
    this.verdictsHash.update(bytes).update(Uint8Array.of(10));
    if (this.start && this.start.verdicts) this.start.verdicts.append(leafHash(bytes));
    const offset = whole(line.offset, "batch.verdict", "offset");
    if (offset <= this.verdictAt) this.bad("batch.verdict", "offsets do not rise", "offset");
    while (this.matched < this.offsets.length && this.offsets[this.matched] < offset) this.matched += 1;
    if (this.offsets[this.matched] === offset) this.bad("batch.verdict", "this offset posted an entry", "offset");
    if (this.firstVerdict === undefined) this.firstVerdict = offset;
    this.verdictAt = offset;
    if (line.verdict === "duplicate") this.duplicates += 1;
    else this.rejected += 1;
  }

  compare(proof) {
    const { meta, out } = this;
    const part = proof.shards[0];
    const bad = (field, message) => this.bad("batch.proof", message, field);
    if (proof.shards.length !== 1 || !isClosed(proof) || !proof.proof_id.startsWith(`${meta.env}-${meta.shard}-`)) bad("proof_id", "not the proof of a closed range of this shard");
    const claims = [
      ["env", meta.env, proof.env], ["shard", meta.shard, part.shard], ["first_seq", meta.first_seq, part.first_seq],
      ["last_seq", meta.last_seq, part.last_seq], ["prev_hash", meta.prev_hash, part.prev_hash],
      ["from_ts", meta.from_ts, proof.range.from_ts], ["to_ts", meta.to_ts, proof.range.to_ts],
      ["count", meta.count, part.source.posted], ["signer_kid", meta.signer_kid, proof.signer_kid],
    ];
    for (const [field, said, signed] of claims) if (said !== signed) this.bad("batch.metadata", `the first line says another ${field} than the proof`, field);
    const totals = Object.fromEntries([...this.totals].sort(([a], [b]) => (a < b ? -1 : 1)).map(([currency, [debits, credits]]) => [currency, { credits: String(credits), debits: String(debits) }]));
    const head = this.head.length ? hexOf(this.head) : null;
    const sums = [
      ["count", meta.count, String(this.entries)], ["verdicts", meta.verdicts, String(this.duplicates + this.rejected)],
      ["posted", part.source.posted, String(this.entries)], ["duplicates", part.source.duplicates, String(this.duplicates)],
      ["rejected", part.source.rejected, String(this.rejected)], ["last_seq", part.last_seq, String(this.seq - 1)],
      ["head_hash", part.head_hash, head], ["verdicts_hash", part.source.verdicts_hash, hexOf(this.verdictsHash.digest())],
      ["totals", JSON.stringify(proof.totals), JSON.stringify(totals)],
      ["from_ts", proof.range.from_ts, this.first], ["to_ts", proof.range.to_ts, this.last],
    ];
    for (const [field, said, found] of sums) if (said !== found) bad(field, `says ${said}; what stands here makes ${found}`);
    if (this.topic !== null && this.topic !== part.source.topic) bad("topic", "the entries name another topic");
    this.coverage(part.source, bad);
    if (this.tree && this.tree.append) {
      if (hexOf(this.tree.root()) !== part.root) bad("root", "the entries make another root");
      else out.fact("Root of the tree", "computed from the entries, and it is the proof's");
    } else out.note(`The root is not checked: the tree of entries 1 to ${this.seq - 1 - this.entries} is not here. The chain, which is, fixes each entry.`);
  }

  coverage(source, bad) {
    const from = whole(source.first_offset, "proof.form", "first_offset");
    const next = whole(source.next_offset, "proof.form", "next_offset");
    const ends = [this.offsets[0], this.offsets[this.offsets.length - 1], this.firstVerdict, this.verdictAt < 0 ? undefined : this.verdictAt];
    if (ends.some((offset) => offset !== undefined && (offset < from || offset >= next))) bad("first_offset", "an offset outside of the proof's");
    if (this.entries + this.duplicates + this.rejected !== next - from) bad("next_offset", "not each offset of the record is accounted for");
  }
}

function checkVerdict(value) {
  const line = shaped(value, "verdict_line", "batch.verdict");
  const bad = (field, words) => {
    throw new Fault("batch.verdict", words, field);
  };
  if (line.verdict === "duplicate") {
    if (line.reason !== "already_posted") bad("reason", "a duplicate was already_posted");
    for (const name of ["event_id", "content_hash", "key_sha256", "value_sha256"]) if (!line[name]) bad(name, `${name} is missing`);
  } else if (/^rules_[1-9][0-9]{0,8}$/.test(line.reason)) {
    if (!line.content_hash || line.event_id) bad("content_hash", "a control record has a content hash and no event id");
  } else if (!REASONS.has(line.reason)) bad("reason", "no reason that there is");
  return line;
}

async function checkBatch(blob, signers, out, progress, { start = null, held = null } = {}) {
  const check = new BatchCheck(out, start);
  let waiting = null;
  const digest = new Sha256();
  try {
    for await (const bytes of linesOf(blob, progress)) {
      digest.update(bytes).update(Uint8Array.of(10));
      if (waiting !== null) takeLine(check, waiting, out);
      waiting = bytes;
    }
  } catch (fault) {
    check.line += 1;
    out.caught(fault, check.line);
    if (!(fault instanceof Fault) || check.meta === null) return null;
    waiting = null;
  }
  check.line += 1;
  if (waiting === null || check.meta === null) {
    out.add("batch.cut", "the batch is not whole: it has no metadata and proof", { line: check.line, field: "proof" });
    return null;
  }
  try {
    const proof = await checkProof(waiting, signers, out, { line: check.line, shard: check.meta.shard }, held);
    check.compare(proof);
    out.count("entries", check.entries);
    out.count("verdict lines", check.duplicates + check.rejected);
    facts(check, proof, out);
    return { proof, check, sha256: hexOf(digest.digest()) };
  } catch (fault) {
    out.caught(fault, check.line);
    return null;
  }
}

function takeLine(check, bytes, out) {
  check.line += 1;
  try {
    if (check.line === 1) check.metadata(bytes);
    else check.anyLine(bytes);
  } catch (fault) {
    out.caught(fault, check.line);
    if (check.meta === null) throw new Fault("batch.metadata", "without its first line a batch cannot be read on");
  }
}

function facts(check, proof, out) {
  const part = proof.shards[0];
  out.fact("Environment, shard", `${proof.env}, ${part.shard}`);
  out.fact("Entries", `${part.first_seq} to ${part.last_seq}`);
  out.fact("Offsets", `${part.source.first_offset} up to ${part.source.next_offset} of ${part.source.topic}/${part.source.partition}`);
  out.fact("Recorded", `${proof.range.from_ts} to ${proof.range.to_ts}`);
  for (const [currency, { debits }] of Object.entries(proof.totals)) out.fact(`Debits and credits, ${currency}`, `${debits} minor units`);
  out.fact("Proof", proof.proof_id);
  out.fact("Hash of the proof", proof.hash);
  out.fact("Head of the chain", part.head_hash);
  out.rows = { columns: ["line", "seq", "recorded at", "event", "settlement", "lines", "first debit", "currency"], rows: check.shown, of: check.entries };
}
