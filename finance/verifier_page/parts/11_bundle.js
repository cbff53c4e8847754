// Bundles (docs/FORMATS.md): the statement, every member that it names, each shard from its first checkpoint to its last,
// the window with its neighbours, what was asked for, and the audit exports.

const BUNDLE_STATEMENT_BYTES_MAX = 256 * 1024 * 1024;
const RANGES_MAX = 1000000;
const ALWAYS = ["README.html", "SHA256SUMS", "bundle.json", "signers.json", "verify.html", "verify.sh"];
const wide = (number, digits) => String(number).padStart(digits, "0");
const folderOf = (shard) => `shards/${wide(shard, 5)}/`;

// What a part of the bundle found, under the member's name, among the bundle's own.
async function inMember(out, name, check) {
  const part = new Findings(name);
  let made = null;
  try {
    made = await check(part);
  } catch (fault) {
    part.caught(fault, 1);
  }
  for (const each of part.kept) out.add(each.code, each.message, each);
  out.beyond += part.beyond;
  for (const [what, number] of Object.entries(part.counts)) out.count(what, number);
  return part.kept.length + part.beyond > 0 ? null : made;
}

class Members {
  constructor(members, out) {
    this.members = members;
    this.out = out;
    this.expected = new Set(ALWAYS);
  }

  // The member's blob; null, with a finding, where it is missing.
  get(name) {
    this.expected.add(name);
    const member = this.members.get(name);
    if (member) return member.blob;
    this.out.add("bundle.missing", "the member is missing", { object: name, field: "files" });
    return null;
  }

  async bytes(name, bytesMax, code) {
    const blob = this.get(name);
    return blob === null ? null : bytesOf(blob, bytesMax, code);
  }
}

function inOrder(values) {
  return values.every((value, at) => at === 0 || values[at - 1] < value);
}

function bundleArithmetic(bundle, out) {
  const bad = (field, words, shard = null) => out.add("bundle.form", words, { object: "bundle.json", field, shard });
  for (const field of ["from_ts", "to_ts", "ts"]) if (!isDay(bundle[field])) bad(field, "no day of the calendar");
  if (bundle.from_ts >= bundle.to_ts) bad("to_ts", "the window ends before it begins");
  const { accounts, settlements, shards } = bundle.filter;
  const listed = bundle.shards.map((part) => part.shard);
  const lists = { accounts, settlements, "filter.shards": shards, shards: listed, empty_shards: bundle.empty_shards, files: bundle.files.map((file) => file.path) };
  for (const [field, values] of Object.entries(lists)) if (!inOrder(values)) bad(field, "does not stand in order, each once");
  const wanted = shards.length ? shards : Array.from({ length: bundle.ledger_shards }, (_, n) => n);
  const have = [...listed, ...bundle.empty_shards].sort((one, other) => one - other);
  if (JSON.stringify(have) !== JSON.stringify(wanted) || wanted[wanted.length - 1] >= bundle.ledger_shards) {
    bad("shards", "not the shards that were asked for: one is left out, or one is too many");
  }
  for (const part of bundle.shards) {
    const n = {};
    for (const [name, text] of Object.entries(part)) if (typeof text === "string" && name !== "checkpoint") n[name] = whole(text, "bundle.form", name);
    const wrong = (field, words) => bad(field, words, part.shard);
    if (n.num_entries !== n.last_seq - n.first_seq + 1) wrong("num_entries", "not the number of the sequences");
    if (n.num_entries + n.num_verdicts !== n.next_offset - n.first_offset) wrong("num_verdicts", "entries and verdicts are not the offsets");
    if (!(n.num_matching <= n.num_in_window && n.num_in_window <= n.num_entries)) wrong("num_in_window", "more than there are");
    if (n.first_range_no < 1 || n.last_range_no < n.first_range_no || n.last_range_no - n.first_range_no >= RANGES_MAX) wrong("last_range_no", "ranges count from 1, first to last");
  }
}

async function bundleStatement(members, signers, out) {
  const bytes = statementBytes(await members.bytes("bundle.json", BUNDLE_STATEMENT_BYTES_MAX, "bundle.form") || NOTHING);
  const bundle = shaped(canonicalObject(bytes, "bundle.form", BUNDLE_STATEMENT_BYTES_MAX), "bundle", "bundle.form");
  bundleArithmetic(bundle, out);
  const where = { object: "bundle.json" };
  const message = canonicalBytes(without(bundle, "hash", "signature"));
  const digest = sha256(message);
  if (hexOf(digest) !== bundle.hash) out.add("bundle.hash", "the hash is not that of what stands here", { ...where, field: "hash" });
  const shards = bundle.shards.map((part) => ({ shard: part.shard, seq: Number(part.last_seq) }));
  const claim = { kind: "bundle", ts: bundle.ts, shards, alone: true };
  await checkSignature(bundle, digest, message, claim, signers, out, "bundle", where);
  out.count("statements");
  return bundle;
}

async function checkFiles(members, bundle, out, progress) {
  const said = new Map(bundle.files.map((file) => [file.path, file]));
  const sums = [];
  let taken = 0;
  for (const name of said.keys()) if (!members.members.has(name)) members.get(name);
  for (const [name, member] of members.members) {
    const at = (field) => ({ object: name, field });
    const found = await memberSums(member, (bytes) => progress((taken += bytes)));
    if (found.crc !== member.crc) out.add("bundle.digest", "the CRC in its header is not that of its bytes", at("crc32"));
    if (name === "bundle.json") continue;
    if (name !== "SHA256SUMS") sums.push(`${found.sha256}  ${name}\n`);
    const file = said.get(name);
    if (!file) out.add("bundle.unlisted", "the statement does not name this member", at("files"));
    else if (file.sha256 !== found.sha256) out.add("bundle.digest", "its SHA-256 is not the one that the statement says", at("sha256"));
    else if (file.size_bytes !== String(member.size)) out.add("bundle.digest", "its size is not the one that the statement says", at("size_bytes"));
    out.count("members");
  }
  const listed = await members.bytes("SHA256SUMS", BUNDLE_STATEMENT_BYTES_MAX, "bundle.sums");
  if (listed !== null && !same(listed, utf8.encode(sums.join("")))) {
    out.add("bundle.sums", "is not the list of the members' digests", { object: "SHA256SUMS", field: "sha256" });
  }
}

async function checkOwnSigners(members, signers, out) {
  const blob = members.get("signers.json");
  if (blob === null) return;
  await inMember(out, "signers.json", async (part) => {
    for (const each of (await readSigners(await bytesOf(blob, SIGNERS_BYTES_MAX, "bundle.signers"))).values()) {
      const known = signers.get(each.kid);
      if (known && known.fingerprint !== each.fingerprint) part.add("bundle.signers", `${each.kid} is another key in your signers.json`, { field: "public_key_pem" });
    }
  });
}

// Which entries the window holds, and what stands right outside of them.
class Window {
  constructor(from, to) {
    Object.assign(this, { from, to, inside: 0, first: null, begins: null, early: null, after: null });
  }

  holds(seq, at) {
    if (this.begins === null) this.begins = seq;
    if (at >= this.from && at < this.to) {
      this.inside += 1;
      if (this.first === null) this.first = seq;
      this.after = null;
      return true;
    }
    if (this.first === null && at < this.from) [this.early, this.after] = [seq, null];
    else if (this.after === null) this.after = seq;
    return false;
  }

  get before() {
    if (this.first === null) return this.early;
    return this.first > this.begins ? this.first - 1 : null;
  }
}

// The lines of the member with what was asked for, one at a time.
class Matching {
  constructor(blob) {
    this.blob = blob;
    this.lines = linesOf(blob, () => {});
    this.fault = null;
    this.seq = null;
    this.queue = [];
  }

  take(bytes, seq) {
    this.queue.push([bytes.slice(), seq]);
  }

  async settle(isLast = false) {
    const head = await bytesAt(this.blob, 0, 1);
    if (this.fault === null && head.length > 0 && head[0] !== 0x7b) this.fault = "these are no entries, one a line";
    for (const [bytes, seq] of this.queue.splice(0)) {
      if (this.fault !== null) continue;
      const { done, value } = await this.lines.next();
      if (done || !same(value, bytes)) [this.fault, this.seq] = ["this entry matches, and is not the next one that stands there", seq];
    }
    if (isLast && this.fault === null && !(await this.lines.next()).done) this.fault = "an entry stands there that does not match";
  }
}

class ShardCheck {
  constructor(members, bundle, said, signers, openings, out) {
    Object.assign(this, { members, bundle, said, signers, openings, out, shard: said.shard, folder: folderOf(said.shard) });
    this.window = new Window(bundle.from_ts, bundle.to_ts);
    const { accounts, settlements } = bundle.filter;
    [this.accounts, this.settlements] = [new Set(accounts), new Set(settlements)];
    this.isNarrow = accounts.length + settlements.length > 0;
    this.matches = 0;
    this.shown = [];
    this.before = null; // { manifest, proof } of the range before
    this.matching = null;
  }

  bad(code, message, field, object = "bundle.json", seq = null) {
    this.out.add(code, message, { object, field, seq, shard: this.shard });
  }

  async run(progress) {
    const [first, last] = [Number(this.said.first_range_no), Number(this.said.last_range_no)];
    const trees = await this.firstTrees(first);
    if (this.isNarrow) {
      const blob = this.members.get(`${this.folder}matching.jsonl`);
      if (blob !== null) this.matching = new Matching(blob);
    }
    for (let number = first; number <= last; number += 1) {
      await this.range(number, trees);
      progress(number - first + 1);
    }
    await this.finish();
  }

  async note(name, size, next) {
    const bytes = await this.members.bytes(this.folder + name, NOTE_BYTES_MAX, "checkpoint.form");
    if (bytes === null) return null;
    return inMember(this.out, this.folder + name, async (part) => {
      const note = await checkCheckpoint(bytes, this.signers, part);
      const bad = (field, words) => part.add("checkpoint.place", words, { field, shard: this.shard });
      if (note.env !== this.bundle.env || note.shard !== this.shard) bad("origin", "a checkpoint of another ledger");
      if (String(note.size) !== size) bad("size", `of another size than ${size}`);
      if (String(note.next) !== next || note.first !== 0) bad("record", `of another record than up to offset ${next}`);
      return note;
    });
  }

  // The trees before the first batch, out of two checkpoints and the proofs between them.
  async firstTrees(first) {
    const name = `${this.folder}consistency.json`;
    const { first_seq: from, last_seq: to, first_offset: offset, next_offset: next } = this.said;
    const before = String(Number(from) - 1);
    const empty = { root: EMPTY_ROOT, verdictRoot: EMPTY_ROOT };
    const old = first === 1 ? empty : await this.note("checkpoints/first.note", before, offset);
    const now = await this.note("checkpoints/last.note", to, next);
    this.last = now;
    const bytes = await this.members.bytes(name, STATEMENT_BYTES_MAX, "consistency.form");
    if (old === null || now === null || bytes === null) return {};
    const made = await inMember(this.out, name, async (part) => {
      const said = shaped(canonicalObject(statementBytes(bytes), "consistency.form"), "consistency", "consistency.form");
      const counts = [Number(offset) - Number(before), Number(next) - Number(to)];
      const tree = (prefix, { from_size, to_size, path }, sizes, roots) => {
        if (from_size !== String(sizes[0]) || to_size !== String(sizes[1])) throw new Fault("consistency.size", "other sizes than the bundle says", `${prefix}from_size`);
        const hashes = path.map((text) => fromBase64(text, "consistency.form", `${prefix}path`));
        const grown = treeByConsistency(sizes[0], sizes[1], hashes, ...roots);
        if (grown === null) throw new Fault("consistency.path", "does not lead from the one root to the other", `${prefix}path`);
        part.count("consistency proofs");
        return grown;
      };
      return {
        entries: tree("", said, [Number(before), Number(to)], [old.root, now.root]),
        verdicts: tree("verdicts.", said.verdicts, counts, [old.verdictRoot, now.verdictRoot]),
      };
    });
    return made || {};
  }

  async range(number, trees) {
    const name = `${this.folder}manifests/${wide(number, 19)}.json`;
    const bytes = await this.members.bytes(name, STATEMENT_BYTES_MAX, "manifest.form");
    const read = bytes === null ? null : await inMember(this.out, name, (part) => this.manifest(statementBytes(bytes), number, part));
    const proofName = `${this.folder}proofs/${wide(number, 19)}.json`;
    const proofBytes = await this.members.bytes(proofName, STATEMENT_BYTES_MAX, "proof.form");
    if (read === null) {
      this.before = null;
      trees.entries = trees.verdicts = undefined;
      return;
    }
    const { manifest, note } = read;
    const batchName_ = `${this.folder}batches/${manifest.object.key.split("/").pop()}`;
    const blob = this.members.get(batchName_);
    const done = blob === null ? null : await inMember(this.out, batchName_, (part) => this.batch(blob, manifest, note, number, trees, part));
    this.before = done === null ? null : { manifest, proof: done.proof };
    if (done !== null && proofBytes !== null && !same(proofBytes, utf8.encode(`${JSON.stringify(done.proof)}\n`))) {
      this.bad("bundle.proof", "is not the last line of its batch", "proof", proofName);
    }
  }

  async manifest(bytes, number, part) {
    const { manifest, note } = await checkManifest(bytes, this.signers, part);
    const bad = (field, words) => part.add("manifest.place", words, { field, shard: this.shard });
    if (manifest.env !== this.bundle.env || manifest.shard !== this.shard) bad("shard", "of another environment or shard");
    if (manifest.manifest_no !== String(number)) bad("manifest_no", `stands where manifest ${number} belongs`);
    if (this.before !== null && manifest.prev_manifest_hash !== this.before.manifest.hash) bad("prev_manifest_hash", "not the hash of the manifest before");
    if (number === Number(this.said.first_range_no)) {
      if (manifest.object.range.first_seq !== this.said.first_seq) bad("first_seq", "begins at another entry than the bundle says");
      if (manifest.object.range.first_offset !== this.said.first_offset) bad("first_offset", "begins at another offset than the bundle says");
    }
    return { manifest, note };
  }

  async batch(blob, manifest, note, number, trees, part) {
    const pinned = manifest.object;
    const start = {
      tree: trees.entries || { append: null },
      verdicts: trees.verdicts && trees.verdicts.append ? trees.verdicts : null,
      each: (entry, bytes) => this.entry(entry, bytes),
    };
    const done = await checkBatch(blob, this.signers, part, () => {}, { start });
    if (this.matching !== null) await this.matching.settle();
    await this.openings.settle();
    const bad = (field, words) => part.add("bundle.batch", words, { field, shard: this.shard });
    if (done === null) {
      trees.entries = trees.verdicts = undefined; // what follows is judged without the lost tree
      return null;
    }
    const { proof, sha256: sum } = done;
    const said = proof.shards[0];
    const stored = await memberSums({ blob }, () => {});
    const pairs = [
      ["sha256", pinned.sha256, sum], ["stored_sha256", pinned.stored_sha256, stored.sha256],
      ["stored_size_bytes", pinned.stored_size_bytes, String(blob.size)], ["proof_hash", pinned.range.proof_hash, proof.hash],
      ["proof_id", `${this.bundle.env}-${this.shard}-${number}`, proof.proof_id], ["proof_id", pinned.range.proof_id, proof.proof_id],
      ["env", this.bundle.env, proof.env], ["shard", this.shard, said.shard],
      ["first_seq", pinned.range.first_seq, said.first_seq], ["last_seq", pinned.range.last_seq, said.last_seq],
      ["first_offset", pinned.range.first_offset, said.source.first_offset], ["next_offset", pinned.range.next_offset, said.source.next_offset],
      ["root", hexOf(note.root), said.root],
    ];
    if (this.before !== null) {
      const last = this.before.proof.shards[0];
      pairs.push(
        ["prev_proof_hash", this.before.proof.hash, proof.prev_proof_hash], ["prev_hash", last.head_hash, said.prev_hash],
        ["first_seq", String(Number(last.last_seq) + 1), said.first_seq], ["first_offset", last.source.next_offset, said.source.first_offset],
        ["topic", last.source.topic, said.source.topic],
      );
    } else if (number === 1) pairs.push(["prev_proof_hash", null, proof.prev_proof_hash], ["first_offset", "0", said.source.first_offset]);
    if (trees.entries && !trees.entries.append) pairs.push(["root", hexOf(trees.entries.root()), said.root]);
    if (trees.verdicts) pairs.push(["verdicts", hexOf(trees.verdicts.root()), hexOf(note.verdictRoot)]);
    for (const [field, wanted, found] of pairs) if (wanted !== found) bad(field, `must be ${wanted}, and is ${found}`);
    return done;
  }

  entry(entry, bytes) {
    if (!this.window.holds(Number(entry.seq), entry.recorded_at)) return;
    const asked = !this.isNarrow || this.settlements.has(entry.settlement_id) || entry.lines.some((line) => this.accounts.has(line.account));
    if (!asked) return;
    this.matches += 1;
    this.openings.take(this.shard, entry);
    if (this.matching !== null) this.matching.take(bytes, entry.seq);
    if (this.shown.length < SHOWN_MAX) {
      const debit = entry.lines.find((each) => each.side === "debit") || entry.lines[0];
      this.shown.push([this.shard, entry.seq, entry.recorded_at, entry.event_type, entry.settlement_id, debit.amount_minor, debit.currency].map(visible));
    }
  }

  async finish() {
    const { said, window, folder } = this;
    if (this.matching !== null) {
      try {
        await this.matching.settle(true);
      } catch (fault) {
        if (!(fault instanceof Fault)) throw fault;
        this.matching.fault = fault.message;
      }
      if (this.matching.fault !== null) this.bad("bundle.matching", this.matching.fault, "entries", `${folder}matching.jsonl`, this.matching.seq);
    }
    const text = (seq) => (seq === null ? null : String(seq));
    const pairs = [
      ["num_in_window", said.num_in_window, String(window.inside)], ["num_matching", said.num_matching, String(this.matches)],
      ["checkpoint", said.checkpoint, `${folder}checkpoints/last.note`],
      ["complete.before", said.complete.before, text(window.before)], ["complete.after", said.complete.after, text(window.after)],
    ];
    if (this.before !== null) {
      const part = this.before.proof.shards[0];
      pairs.push(["last_seq", said.last_seq, part.last_seq], ["next_offset", said.next_offset, part.source.next_offset]);
      const note = await this.members.bytes(`${folder}checkpoints/last.note`, NOTE_BYTES_MAX, "checkpoint.form");
      if (note !== null && !same(note, utf8.encode(this.before.manifest.checkpoint))) {
        this.bad("bundle.checkpoint", "is not the checkpoint of the last manifest", "checkpoint", `${folder}checkpoints/last.note`);
      }
    }
    for (const [field, says, found] of pairs) if (says !== found) this.bad("bundle.shards", `${field} is said to be ${says}, and is ${found}`, field);
    if (window.before === null && said.first_seq !== "1") this.bad("bundle.incomplete", "no entry before the window is here, and the bundle does not begin with the shard's first", "complete.before");
    const ends = window.after === null ? "the archive ended before the window did: what came later is not here" : `the first entry behind it is ${window.after}`;
    this.out.fact(`Shard ${this.shard}`, `${plain(window.inside)} entries in the window, of entries ${said.first_seq} to ${said.last_seq}; ${window.before === null ? "no entry lies before it" : `the last entry before it is ${window.before}`}; ${ends}`);
    this.out.count("entries in the window", window.inside);
    if (this.isNarrow) this.out.count("entries that match", this.matches);
  }
}

const plain = (number) => number.toLocaleString("en");

async function checkAuditMembers(members, signers, out) {
  const names = [...members.members.keys()].filter((name) => name.startsWith("audit/"));
  let before = null;
  for (const name of names) {
    await inMember(out, name, async (part) => {
      before = await checkAudit(members.get(name), signers, part, () => {}, before);
    });
  }
}

async function checkBundle(blob, signers, out, progress) {
  const members = new Members(await zipMembers(blob), out);
  let bundle = null;
  try {
    bundle = await bundleStatement(members, signers, out);
  } catch (fault) {
    if (!(fault instanceof Fault)) throw fault;
    out.add(fault.code, fault.message, { object: "bundle.json", line: 1, field: fault.field });
    return;
  }
  await checkFiles(members, bundle, out, (taken) => progress(taken / 2, blob.size));
  await checkOwnSigners(members, signers, out);
  const shown = [];
  const ranges = bundle.shards.reduce((sum, part) => sum + Math.max(1, Number(part.last_range_no) - Number(part.first_range_no) + 1), 0);
  let done = 0;
  out.fact("Environment", bundle.env);
  out.fact("Window", `recorded from ${bundle.from_ts} up to, and without, ${bundle.to_ts}`);
  const { accounts, settlements } = bundle.filter;
  if (accounts.length + settlements.length) out.fact("Asked for", [...accounts, ...settlements].slice(0, 20).join(", "));
  const openings = new Openings(bundle.pii_included ? members.get(OPENINGS) : null, out);
  for (const said of bundle.shards) {
    if (Number(said.last_range_no) - Number(said.first_range_no) >= RANGES_MAX) continue;
    const check = new ShardCheck(members, bundle, said, signers, openings, out);
    await check.run((number) => progress(((1 + (done + number) / ranges) / 2) * blob.size, blob.size));
    done += Number(said.last_range_no) - Number(said.first_range_no) + 1;
    shown.push(...check.shown);
  }
  await openings.settle(true);
  out.fact("Personal data", bundle.pii_included ? `of ${plain(out.counts.openings || 0)} entries, in ${OPENINGS}` : "none: an entry has a salted digest of them");
  await checkAuditMembers(members, signers, out);
  for (const name of members.members.keys()) {
    if (!members.expected.has(name)) out.add("bundle.member", "the statement's shards have no such member", { object: name, field: "files" });
  }
  if (bundle.empty_shards.length) out.note(`Of these shards nothing was archived yet: ${bundle.empty_shards.join(", ")}.`);
  out.fact("Hash of the statement", bundle.hash);
  const of = bundle.shards.reduce((sum, part) => sum + Number(part.num_matching), 0);
  out.rows = { columns: ["shard", "seq", "recorded at", "event", "settlement", "first debit", "currency"], rows: shown.slice(0, SHOWN_MAX), of };
}
