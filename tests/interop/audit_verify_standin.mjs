// A stand-in for Kernel's audit-verify, with its arguments: --database-url URL, --signers FILE, --limit N (200).
//
// As that one does, it passes over every other option without a word, and reads the newest rows by the database itself.
// What it checks is kernel_verify.mjs's. Exit 0: sound; 1: findings.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const known = { '--database-url': 'postgres://localhost/kernel', '--signers': 'kernel/tools/signers.json', '--limit': '200' };
const words = process.argv.slice(2);
words.forEach((word, at) => { if (word in known) known[word] = words[at + 1]; });
const limit = Number(known['--limit']);
if (!Number.isSafeInteger(limit) || limit < 1) throw new Error(`--limit ${known['--limit']} is not a count`);

const query = `SELECT json_build_object('id', id, 'payload', payload, 'prev_hash', prev_hash, 'hash', hash, 'signature',
  signature, 'signer_kid', signer_kid) FROM audit_events ORDER BY created_at DESC LIMIT ${limit}`;
const rows = execFileSync(process.env.PSQL ?? 'psql', [known['--database-url'], '-X', '-At', '-c', query], { maxBuffer: 2 ** 30 });
const folder = mkdtempSync(join(tmpdir(), 'audit-verify-'));
try {
  writeFileSync(join(folder, 'rows.jsonl'), rows);
  const reader = join(dirname(fileURLToPath(import.meta.url)), 'kernel_verify.mjs');
  const partial = rows.toString().split('\n').length - 1 < limit ? [] : ['--partial'];
  const arguments_ = [reader, join(folder, 'rows.jsonl'), known['--signers'], ...partial];
  process.exitCode = spawnSync(process.execPath, arguments_, { stdio: 'inherit' }).status ?? 70;
} finally {
  rmSync(folder, { recursive: true });
}
