// Statements: range proofs and manifests. Form, arithmetic, hash, signature, cosignatures, and whether the keys count.

// Findings of one object. Beyond a thousand they are counted, not kept.
class Findings {
  constructor(object) {
    this.object = object;
    this.kept = [];
    this.beyond = 0;
    this.counts = {};
    this.notes = [];
    this.facts = [];
  }

  add(code, message, { line = null, field = null, shard = null, seq = null, object = null } = {}) {
    if (this.kept.length >= 1000) this.beyond += 1;
    else this.kept.push({ code, message: visible(message), object: visible(object || this.object), line, field: field === null ? null : visible(field), shard, seq });
  }

  caught(fault, line = null) {
    if (!(fault instanceof Fault)) throw fault;
    this.add(fault.code, fault.message, { line, field: fault.field });
  }

  note(words) {
    if (this.notes.length < 100) this.notes.push(visible(words));
  }

  fact(name, value) {
    if (this.facts.length < 100) this.facts.push([name, visible(value)]);
  }

  count(name, number = 1) {
    this.counts[name] = (this.counts[name] || 0) + number;
  }
}

const hashOrNothing = (hex) => (hex === null ? NOTHING : fromHex(hex));

async function checkSignature(statement, digest, message, claim, signers, out, code, where) {
  const signer = signers.get(statement.signer_kid);
  const at = (field) => ({ ...where, field });
  if (!signer) {
    out.add(`${code}.signer`, `your signers.json has no key ${statement.signer_kid}`, at("signer_kid"));
    return false;
  }
  if (statement.alg !== undefined && signer.algorithm !== statement.alg) {
    out.add(`${code}.alg`, `${signer.kid} is a key of ${signer.algorithm}`, at("alg"));
    return false;
  }
  const fault = notCounting(signer, claim);
  if (fault) out.add(`${code}.${fault[0]}`, fault[1], at(fault[2]));
  if (signer.key === null) return null;
  let signature = null;
  try {
    signature = fromBase64(statement.signature, `${code}.signature`, "signature");
  } catch (problem) {
    out.caught(problem, where.line);
    return false;
  }
  const holds = await signatureHolds(signer, signature, message, digest);
  if (!holds) out.add(`${code}.signature`, `the signature of ${signer.kid} does not hold`, at("signature"));
  return holds && !fault;
}

// The hash that a statement says of itself, computed again; null where it is another.
function ownHash(statement, prev, leftOut, out, code, where) {
  const message = joined(canonicalBytes(without(statement, ...leftOut)), hashOrNothing(statement[prev]));
  const digest = sha256(message);
  if (hexOf(digest) !== statement.hash) {
    out.add(`${code}.hash`, "the hash is not that of what stands here", { ...where, field: "hash" });
  }
  return [digest, message];
}

function shardFaults(part, bad) {
  const numbers = {};
  for (const [name, text] of [...Object.entries(part), ...Object.entries(part.source)]) {
    if (typeof text === "string" && /_seq$|_offset$|^tree_size$|^posted$|^duplicates$|^rejected$/.test(name)) {
      numbers[name] = whole(text, "proof.form", name);
    }
  }
  const { first_seq: first, last_seq: last, first_offset: from, next_offset: next, posted, duplicates, rejected } = numbers;
  if (first < 1 || last < first - 1) bad("first_seq", "the range ends before it begins");
  if (numbers.tree_size !== last) bad("tree_size", "the tree's size is not last_seq");
  if (posted !== last - first + 1) bad("posted", "posted is not the number of sequences");
  if (next < from || posted + duplicates + rejected !== next - from) bad("next_offset", "the counts do not account for each offset");
  if (part.source.partition !== part.shard) bad("partition", "the partition is not the shard");
  if ((first === 1) !== (part.prev_hash === null)) bad("prev_hash", "only the first entry of a shard has no hash before it");
  if ((last === 0) !== (part.head_hash === null)) bad("head_hash", "only an empty shard has no head");
  if (posted === 0 && part.head_hash !== part.prev_hash) bad("head_hash", "a range without entries moves no head");
  if (last === 0 && part.root !== hexOf(EMPTY_ROOT)) bad("root", "the root of no entries is another");
  return numbers;
}

function proofArithmetic(proof, out, where) {
  const bad = (field, words) => out.add("proof.form", words, { ...where, field });
  let rows = 0;
  let before = -1;
  for (const part of proof.shards) {
    rows += shardFaults(part, bad).posted;
    if (part.shard <= before) bad("shards", "shards do not stand once each, in order");
    before = part.shard;
  }
  const ids = proof.shards.map(({ first_seq, last_seq, shard }) => ({ first_seq, last_seq, shard }));
  if (JSON.stringify(ids) !== JSON.stringify(proof.ledger_row_ids)) bad("ledger_row_ids", "other rows than those of the shards");
  if (Number(proof.num_rows) !== rows) bad("num_rows", "not the number of rows of the shards");
  for (const [currency, { debits, credits }] of Object.entries(proof.totals)) {
    if (debits !== credits) bad("totals", `debits and credits of ${currency} differ`);
  }
  const { from_ts: from, to_ts: to } = proof.range;
  if ((from === null) !== (rows === 0) || (to === null) !== (rows === 0)) bad("range", "times are null exactly where no rows are");
  if ((Object.keys(proof.totals).length === 0) !== (rows === 0)) bad("totals", "totals are empty exactly where no rows are");
  if (from !== null && to !== null && from > to) bad("range", "from_ts lies behind to_ts");
  for (const [field, text] of [["range", from], ["range", to], ["ts", proof.ts]]) {
    if (text !== null && !isDay(text)) bad(field, `${text} is no day of the calendar`);
  }
}

const isClosed = (proof) => proof.shards.length === 1 && new RegExp(`-${proof.shards[0].shard}-[1-9][0-9]*$`).test(proof.proof_id);

async function checkProof(bytes, signers, out, where = {}, held = null) {
  const proof = shaped(canonicalObject(bytes, "proof.form"), "range_proof", "proof.form");
  try {
    proofArithmetic(proof, out, where);
  } catch (fault) {
    out.caught(fault, where.line);
  }
  const [digest, message] = ownHash(proof, "prev_proof_hash", ["hash", "signature", "cosignatures"], out, "proof", where);
  const shards = proof.shards.map((part) => ({ shard: part.shard, seq: Number(part.last_seq), head: part.head_hash }));
  const claim = { kind: isClosed(proof) ? "proof" : "demand", ts: proof.ts, shards, alone: true, held: held !== null && held(proof) };
  const by = await checkSignature(proof, digest, message, claim, signers, out, "proof", where);
  let others = 0;
  let before = "";
  for (const each of proof.cosignatures || []) {
    if (each.signer_kid <= before || each.signer_kid === proof.signer_kid) {
      out.add("proof.cosignature", "cosignatures stand once each, in order of kid", { ...where, field: "cosignatures" });
    }
    before = each.signer_kid;
    const holds = await checkSignature(each, digest, message, claim, signers, out, "proof.cosignature", where);
    if (holds === true) others += 1;
  }
  if (by === null) {
    if (others === 0) out.add("proof.mac", "a MAC, which its key service alone can check, and no cosignature", { ...where, field: "signature" });
    else out.note("The MAC of this proof cannot be checked here; a cosignature over the same hash holds.");
  }
  out.count("proofs");
  return proof;
}

async function checkManifest(bytes, signers, out) {
  const manifest = shaped(canonicalObject(bytes, "manifest.form"), "manifest", "manifest.form");
  const range = manifest.object.range;
  const where = { shard: manifest.shard };
  const [digest, message] = ownHash(manifest, "prev_manifest_hash", ["hash", "signature"], out, "manifest", where);
  const claim = { kind: "manifest", ts: manifest.ts, shards: [{ shard: manifest.shard, seq: whole(range.last_seq, "manifest.form", "last_seq") }] };
  await checkSignature(manifest, digest, message, claim, signers, out, "manifest", where);
  const bad = (field, words) => out.add("manifest.form", words, { ...where, field });
  if ((manifest.manifest_no === "1") !== (manifest.prev_manifest_hash === null)) bad("prev_manifest_hash", "only the first manifest has none before it");
  if (manifest.object.key !== batchName(manifest.env, manifest.shard, range)) bad("key", "not the name of this range");
  const note = await checkCheckpoint(utf8.encode(manifest.checkpoint), signers, out);
  if (note.env !== manifest.env || note.shard !== manifest.shard) bad("checkpoint", "a checkpoint of another ledger");
  if (String(note.size) !== range.last_seq || String(note.next) !== range.next_offset) bad("checkpoint", "a checkpoint of another place than the range's end");
  out.count("manifests");
  return { manifest, note };
}

function batchName(env, shard, range) {
  const wide = (text) => String(text).padStart(19, "0");
  const offsets = `offsets-${wide(range.first_offset)}-${wide(range.next_offset)}`;
  return `${env}/batches/shard-${String(shard).padStart(5, "0")}/${offsets}.seqs-${wide(range.first_seq)}-${wide(range.last_seq)}.jsonl.gz`;
}
