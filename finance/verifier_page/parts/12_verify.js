// What the worker does with the files: signers first, then each file by its kind, in the order an auditor reads.

const STATEMENT_BYTES_MAX = 16 * 1024 * 1024;
const FILES_MAX = 1000;

async function bytesOf(blob, bytesMax, code) {
  if (blob.size > bytesMax) throw new Fault(code, `longer than ${bytesMax} bytes`);
  return new Uint8Array(await blob.arrayBuffer());
}

// By content, never by name: a name says what somebody wants it to be.
async function kindOf(blob) {
  const head = new Uint8Array(await blob.slice(0, 4).arrayBuffer());
  if (head.length === 0) return "empty";
  if (head[0] === 0x50 && head[1] === 0x4b) return "bundle";
  let first = null;
  try {
    for await (const line of linesOf(blob, () => {})) {
      first = strictUtf8.decode(line.subarray(0, 65536));
      break;
    }
  } catch {
    first = head[0] === 0x1f ? null : new TextDecoder().decode(await blob.slice(0, 65536).arrayBuffer());
  }
  if (first === null) return "damaged";
  if (ORIGIN.test(first)) return "checkpoint";
  const start = new TextDecoder().decode(await blob.slice(0, 4096).arrayBuffer());
  if (head[0] !== 0x1f && /^\s*\{\s*"signers"/.test(start)) return "signers";
  if (/"says":"finance\.receipt\.v1"/.test(first) && /^\{"checkpoint"/.test(first)) return "receipt";
  if (/"manifest_no":/.test(first)) return "manifest";
  if (/"event_type":/.test(first) && /"payload":/.test(first)) return "audit export";
  if (/"proof_id":/.test(first)) return "range proof";
  if (/^\{"count":/.test(first) || /"pii_policy_version":/.test(first)) return "batch";
  return "unknown";
}

const KNOWN = "signers.json, a bundle, a batch, a range proof, a manifest, a receipt, a checkpoint, an audit export";

function statementBytes(bytes) {
  return bytes.length > 0 && bytes[bytes.length - 1] === 10 ? bytes.subarray(0, -1) : bytes;
}

async function checkOne(kind, blob, signers, out, progress, held) {
  const statement = async (code) => statementBytes(await bytesOf(blob, STATEMENT_BYTES_MAX, code));
  if (kind === "batch") await checkBatch(blob, signers, out, progress, { held });
  else if (kind === "audit export") await checkAudit(blob, signers, out, progress);
  else if (kind === "range proof") proofFacts(await checkProof(await statement("proof.form"), signers, out, { line: 1 }, held), out);
  else if (kind === "manifest") manifestFacts(await checkManifest(await statement("manifest.form"), signers, out), out);
  else if (kind === "receipt") await checkReceipt(await bytesOf(blob, STATEMENT_BYTES_MAX, "receipt.form"), signers, out);
  else if (kind === "checkpoint") noteFacts(await checkCheckpoint(await bytesOf(blob, STATEMENT_BYTES_MAX, "checkpoint.form"), signers, out), out);
  else if (kind === "bundle") await checkBundle(blob, signers, out, progress);
  else if (kind === "empty") out.add("file.empty", "the file is empty: it proves nothing", { line: 1 });
  else out.add("file.kind", `this is none of: ${KNOWN}`, { line: 1 });
}

function proofFacts(proof, out) {
  out.fact("Proof", proof.proof_id);
  out.fact("Environment", proof.env);
  out.fact("Hash", proof.hash);
  for (const part of proof.shards) out.fact(`Shard ${part.shard}`, `entries ${part.first_seq} to ${part.last_seq}, offsets ${part.source.first_offset} up to ${part.source.next_offset}`);
  for (const [currency, { debits }] of Object.entries(proof.totals)) out.fact(`Debits and credits, ${currency}`, `${debits} minor units`);
  out.note("A proof says what its range holds. The entries themselves stand in the batch.");
}

function manifestFacts({ manifest, note }, out) {
  out.fact("Manifest", `${manifest.manifest_no} of shard ${manifest.shard}, ${manifest.env}`);
  out.fact("Object", manifest.object.key);
  out.fact("SHA-256 of the stored object", manifest.object.stored_sha256);
  out.fact("Locked until", `${manifest.object.retain_until}, ${manifest.object.mode}`);
  noteFacts(note, out);
}

function noteFacts(note, out) {
  out.fact("Ledger", note.origin);
  out.fact("Entries", note.size);
  out.fact("Verdict lines", note.verdictCount);
  out.fact("Offsets", `${note.first} up to ${note.next}`);
  out.fact("Root", toBase64(note.root));
}

const isCount = (findings) => findings.kept.length + findings.beyond;

function told(out, kind) {
  const { object, kept, beyond, counts, notes, facts: known, rows = null } = out;
  return { name: visible(object), kind, sound: isCount(out) === 0, findings: kept, beyond, counts, notes, facts: known, rows };
}

async function signersOf(kinds, results) {
  const given = kinds.filter(({ kind }) => kind === "signers");
  if (given.length === 0) return null;
  const out = new Findings(given[0].name);
  let signers = null;
  try {
    signers = await readSigners(await bytesOf(given[0].blob, SIGNERS_BYTES_MAX, "signers.form"));
    for (const signer of signers.values()) {
      const end = signer.revokedAt ? `, revoked ${signer.revokedAt}` : signer.retiredAt ? `, retired ${signer.retiredAt}` : "";
      out.fact(signer.kid, `${signer.algorithm}${end}; fingerprint ${signer.fingerprint}`);
    }
    out.note("Compare the fingerprints with ones that you got on another way: whoever made up a ledger can make up this file.");
    out.count("keys", signers.size);
  } catch (fault) {
    out.caught(fault, null);
  }
  if (given.length > 1) out.add("signers.two", "more than one signers.json: which keys do you trust?", { field: "signers" });
  results.push(told(out, "signers"));
  return signers;
}

// files: [{name, blob}]. Sound is what was checked and had no finding; nothing checked is never sound.
async function verifyFiles(files, progress = () => {}, part = () => {}) {
  const results = [];
  const done = () => part(results[results.length - 1]);
  const problem = (code, message) => ({ sound: false, results, problem: { code, message } });
  if (!(await sha256Agrees())) return problem("page.sha256", "this browser computes SHA-256 in two ways that differ");
  if (files.length === 0) return problem("files.none", "no file was given");
  if (files.length > FILES_MAX) return problem("files.many", `more than ${FILES_MAX} files`);
  const kinds = [];
  for (const { name, blob } of files) kinds.push({ name, blob, kind: await kindOf(blob) });
  const signers = await signersOf(kinds, results);
  if (results.length) done();
  const rest = kinds.filter(({ kind }) => kind !== "signers");
  if (rest.length === 0) return problem("files.keys", "keys alone prove nothing: add what they signed");
  for (const { name, blob, kind } of rest) {
    const out = new Findings(name);
    try {
      if (signers === null) out.add("signers.none", "no sound signers.json is here: say whose keys you trust", { field: "signers" });
      await checkOne(kind, blob, signers || new Map(), out, (taken, of) => progress(out.object, taken, of), null);
    } catch (fault) {
      out.caught(fault, 1);
    }
    results.push(told(out, kind));
    done();
  }
  return { sound: results.every((each) => each.sound), results, problem: null };
}
