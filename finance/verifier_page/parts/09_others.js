// Audit exports (a chain of signed events) and receipts (one leaf, its path, and the checkpoint that it leads to).

const EVENT_KEYS = ["id", "seq", "event_type", "actor_id", "created_at"];

// An export says in its name which events it holds; the chain without such a name begins at event 1.
const EXPORT_NAME = /(?:^|\/)seqs-([0-9]{19})-([0-9]{19})\.jsonl\.gz$/;

// `earlier`: the last event of the export before, in a bundle. The last event comes back.
async function checkAudit(blob, signers, out, progress, earlier = null) {
  const named = EXPORT_NAME.exec(out.object);
  const first = named ? Number(named[1]) : 1;
  let line = 0;
  let before = earlier;
  if (named && earlier !== null && first !== Number(earlier.seq) + 1) {
    out.add("audit.chain", `event ${Number(earlier.seq) + 1} is expected first`, { line: 1, seq: String(first), field: "seq" });
  }
  try {
    for await (const bytes of linesOf(blob, progress)) {
      line += 1;
      try {
        before = await checkEvent(bytes, before, signers, out, line, first);
      } catch (fault) {
        out.caught(fault, line);
      }
    }
  } catch (fault) {
    out.caught(fault, line + 1);
  }
  if (named && before !== null && Number(before.seq) !== Number(named[2])) {
    out.add("audit.chain", "the events end at another one than the name of the export says", { line, seq: before.seq, field: "seq" });
  }
  if (line === 0) out.add("audit.empty", "no audit event stands here", { line: 1, field: "seq" });
  else if (before !== null) {
    out.fact("Newest event", `${before.seq}, ${before.created_at}`);
    out.fact("Head of the chain", before.hash);
    out.note("Where the chain must reach is not known here: compare the newest event with one that you kept, or with the topic.");
  }
  return before;
}

async function checkEvent(bytes, before, signers, out, line, first) {
  const event = shaped(canonicalObject(bytes, "audit.form"), "audit_event", "audit.form");
  const where = { line, seq: event.seq };
  const bad = (field, words) => out.add("audit.chain", words, { ...where, field });
  const message = joined(canonicalBytes(event.payload), hashOrNothing(event.prev_hash));
  const digest = sha256(message);
  if (hexOf(digest) !== event.hash) out.add("audit.hash", "the hash is not that of what stands here", { ...where, field: "hash" });
  for (const name of EVENT_KEYS) if (event.payload[name] !== event[name]) bad(name, `the payload, which is hashed, says another ${name}`);
  const seq = whole(event.seq, "audit.form", "seq");
  if (!isDay(event.created_at)) bad("created_at", "no day of the calendar");
  if ((seq === 1) !== (event.prev_hash === null)) bad("prev_hash", "only the first event has no hash before it");
  if (before !== null) {
    if (seq !== Number(before.seq) + 1) bad("seq", `event ${Number(before.seq) + 1} is expected here`);
    if (event.prev_hash !== before.hash) bad("prev_hash", "not the hash of the event before");
    if (event.created_at <= before.created_at) bad("created_at", "the time does not rise");
  } else if (seq !== first) {
    bad("seq", `event ${first} is expected first`);
  } else if (seq !== 1) out.note(`These events begin at ${seq}, as the name of the export says: what stood before is not checked.`);
  const claim = { kind: "audit_event", ts: event.created_at, audit: { seq, head: event.hash } };
  await checkSignature(event, digest, message, claim, signers, out, "audit", where);
  out.count("audit events");
  return event;
}

const RECEIPT_FIELDS = ["checkpoint", "index", "path", "says", "signers", "tree"];

function receiptForm(receipt) {
  const bad = (field, words) => {
    throw new Fault("receipt.form", `${field} ${words}`, field);
  };
  const wanted = [...RECEIPT_FIELDS, Object.hasOwn(receipt, "leaf") ? "leaf" : "leaf_hash"];
  for (const name of wanted) if (!Object.hasOwn(receipt, name)) bad(name, "is missing");
  for (const name of Object.keys(receipt)) if (!wanted.includes(name)) bad(name, "is a field that no receipt has");
  if (receipt.says !== "finance.receipt.v1") bad("says", "is not finance.receipt.v1");
  if (typeof receipt.checkpoint !== "string") bad("checkpoint", "is no text");
  if (typeof receipt.index !== "string" || !/^(0|[1-9][0-9]{0,14})$/.test(receipt.index)) bad("index", "is no decimal text");
  if (receipt.tree !== "entries" && receipt.tree !== "verdicts") bad("tree", "is neither entries nor verdicts");
  if (!Array.isArray(receipt.path) || receipt.path.length > 64) bad("path", "is no list of at most 64 hashes");
  if (!Array.isArray(receipt.signers) || receipt.signers.length > 16) bad("signers", "is no list of at most 16 keys");
  if (receipt.leaf === undefined && !(typeof receipt.leaf_hash === "string" && /^[0-9a-f]{64}$/.test(receipt.leaf_hash))) bad("leaf_hash", "is no hash");
  if (receipt.leaf !== undefined && typeof receipt.leaf !== "string") bad("leaf", "is no text");
  for (const each of receipt.signers) {
    if (!TYPES.object(each) || Object.keys(each).join() !== "algorithm,public_key_pem,signer_kid" || !Object.values(each).every((it) => typeof it === "string") || !["ed25519", "rsa-sha256"].includes(each.algorithm)) bad("signers", "hold another field than algorithm, public_key_pem, signer_kid");
  }
}

// The keys are for people; they stand there one for each signature, or a reader would see another signer.
async function checkReceiptSigners(receipt, note, out) {
  const named = [];
  for (const each of receipt.signers) {
    try {
      const der = (await publicKey(each)).der;
      const pem = `-----BEGIN PUBLIC KEY-----\n${toBase64(der).replace(/.{64}(?=.)/g, "$&\n")}\n-----END PUBLIC KEY-----\n`;
      if (pem !== each.public_key_pem) throw new Fault("signers.key", "another spelling of PEM");
      named.push(`${each.signer_kid} ${hexOf(noteKeyId({ kid: each.signer_kid, algorithm: each.algorithm, der }))}`);
    } catch (fault) {
      if (!(fault instanceof Fault)) throw fault;
      return out.add("receipt.signers", `a signer is no key: ${fault.message}`, { field: "signers", shard: note.shard });
    }
  }
  if (named.join("\n") !== [...note.signatures.keys()].sort().join("\n")) {
    out.add("receipt.signers", "the signers are not those on the checkpoint, in order of kid", { field: "signers", shard: note.shard });
  }
}

async function checkReceipt(bytes, signers, out) {
  if (bytes.length > 8192) throw new Fault("receipt.form", "a receipt has at most 8,192 bytes");
  if (bytes[bytes.length - 1] === 10) bytes = bytes.subarray(0, -1);
  const receipt = canonicalObject(bytes, "receipt.form");
  receiptForm(receipt);
  const path = receipt.path.map((text) => {
    const hash = typeof text === "string" ? fromBase64(text, "receipt.form", "path") : NOTHING;
    if (hash.length !== 32) throw new Fault("receipt.form", "a hash of the path has 32 bytes", "path");
    return hash;
  });
  const note = await checkCheckpoint(utf8.encode(receipt.checkpoint), signers, out);
  await checkReceiptSigners(receipt, note, out);
  const leaf = receipt.leaf === undefined ? null : utf8.encode(receipt.leaf);
  if (leaf !== null && leaf.length > 4096) throw new Fault("receipt.form", "a leaf of more than 4,096 bytes is left out", "leaf");
  const entries = receipt.tree === "entries";
  const [size, root] = entries ? [note.size, note.root] : [note.verdictCount, note.verdictRoot];
  const index = Number(receipt.index);
  const found = rootByInclusion(index, size, leaf === null ? fromHex(receipt.leaf_hash) : leafHash(leaf), path);
  if (found === null || !same(found, root)) out.add("receipt.path", "the path does not lead to the root of the checkpoint", { field: "path", shard: note.shard });
  if (leaf === null) out.note("The entry is too long to stand in the receipt: this says that an entry of this leaf hash is in the ledger. Hash the entry you hold (SHA-256 of a byte 00 and its bytes).");
  else leafSays(canonicalObject(leaf, "receipt.leaf"), entries, index, note, out);
  out.count("receipts");
  return { receipt, note };
}

function leafSays(value, entries, index, note, out) {
  const bad = (field, words) => out.add("receipt.leaf", words, { field, shard: note.shard, seq: value.seq || null });
  const line = entries ? shaped(value, "journal_entry", "receipt.leaf") : checkVerdict(value);
  const offset = whole(entries ? line.source.offset : line.offset, "receipt.leaf", "offset");
  if (offset < note.first || offset >= note.next) bad("offset", "the offset lies outside of the checkpoint's record");
  if (entries) {
    if (line.seq !== String(index + 1)) bad("seq", "the place in the tree is not the entry's sequence");
    if (line.shard !== note.shard) bad("shard", "an entry of another shard");
    out.fact("Entry", `${line.seq} of shard ${line.shard}: ${line.event_type} ${line.settlement_id}, ${line.recorded_at}`);
  } else out.fact("Verdict", `offset ${line.offset}: ${line.verdict}, ${line.reason}`);
  out.fact("Checkpoint", `${note.origin}, size ${note.size}`);
}
