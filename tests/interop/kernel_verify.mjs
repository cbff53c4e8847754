// An independent reading of the audit chain, as Kernel's verifier does it: Node's own crypto, nothing of ours.
//
//   node tests/interop/kernel_verify.mjs ROWS.jsonl SIGNERS.json [--partial]
//
// ROWS.jsonl: rows of audit_events, one JSON object a line, ORDER BY created_at DESC (newest first), with
// id, payload, prev_hash, hash, signature, signer_kid (or signer_id) and, when there, created_at, seq, event_type, actor_id.
// Exit 0: sound; 1: findings, one a line. Where Kernel's tool is silent (an empty table, a missing head or tail, columns that
// the payload contradicts) this one is not. --partial allows the oldest row to have a predecessor (LIMIT n cut it off).

import { createHash, createPublicKey, verify, constants } from 'node:crypto';
import { readFileSync } from 'node:fs';

// RFC 8785: keys by UTF-16 code unit (what sort() does), strings and numbers as JSON.stringify prints them.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const members = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`);
    return `{${members.join(',')}}`;
  }
  return JSON.stringify(value);
}

function publicKey(text) {
  if (text.includes('-----BEGIN')) return createPublicKey(text);
  const der = Buffer.from(text, 'base64');
  if (der.length === 32) { // a raw Ed25519 key: give it the SPKI head of RFC 8410
    const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), der]);
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  }
  return createPublicKey({ key: der, format: 'der', type: 'spki' });
}

function readSigners(path) {
  const document = JSON.parse(readFileSync(path, 'utf8'));
  const listed = document.signers ?? document;
  const items = Array.isArray(listed) ? listed : Object.entries(listed).map(([kid, item]) => ({ signer_kid: kid, ...item }));
  const text = (item) => item.public_key_pem ?? item.publicKeyPem ?? item.public_key ?? item.publicKey;
  return new Map(items.map((item) => [
    item.signer_kid ?? item.signer_id ?? item.kid,
    { algorithm: item.algorithm, key: publicKey(text(item)) },
  ]));
}

const signatureBytes = (text) => (/^[0-9a-fA-F]+$/.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64'));

function signatureHolds(signer, message, digest, signature) {
  if (signer.algorithm === 'rsa-sha256') {
    return verify('sha256', message, { key: signer.key, padding: constants.RSA_PKCS1_PADDING }, signature);
  }
  if (signer.algorithm === 'ed25519') return verify(null, digest, signer.key, signature);
  return false;
}

function checkRow(row, previous, signers, say) {
  const message = Buffer.concat([Buffer.from(canonical(row.payload), 'utf8'), Buffer.from(row.prev_hash ?? '', 'hex')]);
  const digest = createHash('sha256').update(message).digest();
  if (digest.toString('hex') !== row.hash) say(row, 'hash is not SHA256(canonical(payload) || prev_hash)');
  const signer = signers.get(row.signer_kid ?? row.signer_id);
  if (signer === undefined) say(row, `unknown signer ${row.signer_kid ?? row.signer_id}`);
  else if (!signatureHolds(signer, message, digest, signatureBytes(row.signature))) say(row, 'signature does not verify');
  if (previous !== undefined && row.prev_hash !== previous.hash) say(row, `prev_hash is not the hash of ${previous.id}`);
  if (previous?.created_at !== undefined && !(previous.created_at < row.created_at)) say(row, 'created_at does not increase');
  if (previous?.seq !== undefined && Number(row.seq) !== Number(previous.seq) + 1) say(row, 'seq is not the next one');
  for (const column of ['id', 'seq', 'event_type', 'actor_id', 'created_at']) {
    const said = row.payload[column];
    if (row[column] !== undefined && String(row[column]) !== said) say(row, `${column} is not what the payload says`);
  }
}

function main([rowsPath, signersPath, ...options]) {
  const rows = readFileSync(rowsPath, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line)).reverse();
  const signers = readSigners(signersPath);
  const findings = [];
  const say = (row, text) => findings.push(`${row.id}: ${text}`);
  if (rows.length === 0) findings.push('the chain is empty');
  rows.forEach((row, index) => checkRow(row, rows[index - 1], signers, say));
  const genesis = rows[0];
  const first = genesis && !genesis.prev_hash && Number(genesis.seq ?? 1) === 1;
  if (genesis && !first && !options.includes('--partial')) say(genesis, 'the chain does not begin at genesis');
  findings.forEach((finding) => console.log(finding));
  console.log(`${rows.length} events, ${findings.length} findings`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}

main(process.argv.slice(2));
