// Checkpoints: a C2SP tlog-checkpoint in a signed note, with the two lines of the shard's record.

const NOTE_BYTES_MAX = 65536;
const NUMBER = "(0|[1-9][0-9]{0,14})";
const ROOT64 = "([A-Za-z0-9+/]{43}=)";
const CHECKPOINT = new RegExp(
  `^([!-~]+)\\n${NUMBER}\\n${ROOT64}\\nrecord ${NUMBER} ${NUMBER}\\nverdicts ${NUMBER} ${ROOT64}\\n$`,
);
const CHECKPOINT_LINES = ["origin", "size", "root", "record", "verdicts"];
const ORIGIN = /^[!-~]+\/finance\/([!-~]+)\/ledger\/(0|[1-9][0-9]{0,9})$/;

function parseCheckpoint(bytes) {
  if (bytes.length > NOTE_BYTES_MAX) throw new Fault("checkpoint.form", "a note of more than 65536 bytes");
  const note = textOf(bytes, "checkpoint.form");
  const end = note.lastIndexOf("\n\n");
  if (end < 0) throw new Fault("checkpoint.form", "no blank line before the signatures");
  const text = note.slice(0, end + 1);
  const parts = CHECKPOINT.exec(text);
  const lines = text.split("\n");
  if (!parts) {
    const field = CHECKPOINT_LINES[Math.min(lines.length - 1, 4)];
    throw new Fault("checkpoint.form", "not the five lines of a checkpoint: origin, size, root, record, verdicts", field);
  }
  const [, origin, size, root, first, next, count, verdictRoot] = parts;
  const named = ORIGIN.exec(origin);
  if (!named) throw new Fault("checkpoint.form", "an origin that is no ledger's", "origin");
  const made = {
    origin, env: named[1], shard: Number(named[2]), size: Number(size), root: fromBase64(root, "checkpoint.form", "root"),
    first: Number(first), next: Number(next), verdictCount: Number(count),
    verdictRoot: fromBase64(verdictRoot, "checkpoint.form", "verdicts"), text: utf8.encode(text), signatures: new Map(),
  };
  if (made.size + made.verdictCount !== made.next - made.first) {
    throw new Fault("checkpoint.record", "entries and verdicts do not account for each offset of the record", "record");
  }
  for (const [at, whole_] of [["root", [made.size, made.root]], ["verdicts", [made.verdictCount, made.verdictRoot]]]) {
    if (whole_[0] === 0 && !same(whole_[1], EMPTY_ROOT)) throw new Fault("checkpoint.form", "the root of nothing is another", at);
  }
  const signed = note.slice(end + 2);
  if (!signed.endsWith("\n")) throw new Fault("checkpoint.form", "the note does not end with LF", "signature");
  for (const line of signed.slice(0, -1).split("\n")) {
    const form = /^\u2014 ([!-~]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line);
    if (!form || form[1].includes("+")) throw new Fault("checkpoint.form", "a line that is no signature", "signature");
    const blob = fromBase64(form[2], "checkpoint.form", "signature");
    const id = `${form[1]} ${hexOf(blob.subarray(0, 4))}`;
    if (blob.length < 5 || made.signatures.has(id)) throw new Fault("checkpoint.form", "a key that signed twice", "signature");
    made.signatures.set(id, { kid: form[1], id: blob.subarray(0, 4), signature: blob.subarray(4) });
  }
  return made;
}

function noteKeyId(signer) {
  const name = utf8.encode(`${signer.kid}\n`);
  if (signer.algorithm === "ed25519") return sha256(name, Uint8Array.of(1), signer.der.subarray(12)).subarray(0, 4);
  return sha256(name, Uint8Array.of(0xff), utf8.encode("PKIX-RSA-PKCS#1v1.5"), signer.der).subarray(0, 4);
}

async function checkCheckpoint(bytes, signers, out) {
  const note = parseCheckpoint(bytes);
  let known = 0;
  let counting = false;
  const faults = [];
  for (const { kid, id, signature } of note.signatures.values()) {
    const signer = signers.get(kid);
    if (!signer || !signer.key || !same(noteKeyId(signer), id)) continue;
    known += 1;
    const fault = notCounting(signer, { kind: "checkpoint", shards: [{ shard: note.shard, seq: note.size }], alone: true });
    if (fault) faults.push(fault);
    if (await signatureHolds(signer, signature, note.text, null)) counting = counting || !fault;
    else {
      out.add("checkpoint.signature", `the signature of ${kid} does not hold`, { field: "signature", shard: note.shard });
    }
  }
  // A revoked key's signature does no harm beside one that counts by itself.
  for (const [code, words, field] of faults) {
    if (!(counting && code === "revoked")) out.add(`checkpoint.${code}`, words, { field, shard: note.shard });
  }
  if (known === 0) out.add("checkpoint.signer", "no key of your signers.json signed this", { field: "signature", shard: note.shard });
  out.count("checkpoints");
  return note;
}
